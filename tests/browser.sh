#!/bin/sh
# The tests of the page need chromium and its driver. This installs Debian's packages where it may, says in one line what to do where it may
# not, and does nothing where they are there.
set -eu

packages="chromium chromium-driver"

if command -v chromedriver >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root="no"
fi
if command -v apt-get >/dev/null 2>&1 && [ "$as_root" != no ] &&
    $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $packages; then
    exit 0
fi
echo "The tests of the page will fail: they need chromium and chromedriver, on Debian: sudo apt-get install $packages" >&2
