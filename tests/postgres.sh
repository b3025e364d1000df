#!/bin/sh
# Some tests need a real PostgreSQL: its programs, and no server that runs by itself. This installs Debian's package where it may, says in
# one line what to do where it may not, and does nothing where it is there.
set -eu

if command -v initdb >/dev/null 2>&1; then
    exit 0
fi
for programs in /usr/lib/postgresql/*/bin; do
    # 15 is the oldest that the relay works with.
    version=${programs#/usr/lib/postgresql/}
    if [ -x "$programs/initdb" ] && [ "${version%/bin}" -ge 15 ]; then
        exit 0
    fi
done
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root="no"
fi
# What makes a cluster of its own, starts it and has it started with the machine, unless this says otherwise at the time of the installation.
own="/etc/postgresql-common/createcluster.d/vero-relay-tests.conf"
if command -v apt-get >/dev/null 2>&1 && [ "$as_root" != no ] &&
    $as_root apt-get update && $as_root apt-get install -y --no-install-recommends postgresql-common; then
    $as_root mkdir -p "$(dirname "$own")"
    echo "create_main_cluster = false" | $as_root tee "$own" >/dev/null
    installed=yes
    $as_root apt-get install -y --no-install-recommends postgresql || installed=no
    $as_root rm -f "$own"
    if [ "$installed" = yes ]; then
        exit 0
    fi
fi
echo "The tests with PostgreSQL will fail: they need version 15 or later, on Debian: sudo apt-get install postgresql" >&2
