#!/usr/bin/env bash
# Installs a package with dpkg, looks at what it brought, uses it, and removes it again. As root, on a machine without vero-relay.
#   packaging/test-deb.sh target/debian/vero-relay_*.deb
set -euo pipefail

fail() {
    echo "deb: $1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "dpkg needs root"
[ $# = 1 ] && [ -f "$1" ] || fail "name one package"
deb=$1
for left in /etc/vero-relay /var/lib/vero-relay /var/backups/vero-relay /usr/bin/vero-relay; do
    [ ! -e "$left" ] || fail "$left is there already: this test would remove it"
done

purge() {
    [ -z "${relay:-}" ] || kill "$relay" 2>/dev/null || true
    rm -rf /var/lib/vero-relay /var/lib/vero-relay.old /var/backups/vero-relay
    dpkg --purge vero-relay >/dev/null 2>&1 || true
    deluser --system --quiet vero-relay >/dev/null 2>&1 || true
}
trap purge EXIT

command -v adduser >/dev/null || apt-get install -y --no-install-recommends adduser >/dev/null
dpkg --install "$deb" >/dev/null

has() { # path owner:group mode
    [ -e "$1" ] || fail "$1 is missing"
    found=$(stat --format '%U:%G %a' "$1")
    [ "$found" = "$2 $3" ] || fail "$1 is $found and should be $2 $3"
}
has /usr/bin/vero-relay root:root 755
has /etc/vero-relay root:vero-relay 750
has /etc/vero-relay/config.yaml root:vero-relay 640
has /etc/vero-relay/token root:vero-relay 640
has /etc/vero-relay/environment root:root 600
has /var/lib/vero-relay vero-relay:vero-relay 700
has /var/backups/vero-relay vero-relay:vero-relay 700
has /usr/share/doc/vero-relay/docs/config.md root:root 644
has /usr/share/doc/vero-relay/packaging/socket/vero-relay.socket root:root 644
unit=$(dpkg --listfiles vero-relay | grep '/systemd/system/vero-relay.service$') || fail "the package has no unit"
[ -f "$unit" ] || fail "$unit is missing"
! dpkg --listfiles vero-relay | grep -q '/systemd/system/vero-relay.socket$' || fail "an upgrade would restart the socket"
grep -q '^ReadWritePaths=.*/var/backups/vero-relay' "$unit" || fail "the unit cannot write backups"
[ "$(wc -c </etc/vero-relay/token)" = 48 ] || fail "the token should be 48 hexadecimal digits"
getent passwd vero-relay >/dev/null || fail "there is no user vero-relay"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$unit" || fail "the unit is not good"
fi

# As the service would: the user of the package, its config, its directory.
as_service="setpriv --reuid vero-relay --regid vero-relay --clear-groups"
$as_service vero-relay check --strict -c /etc/vero-relay/config.yaml || fail "the installed config is not good"
$as_service vero-relay run -c /etc/vero-relay/config.yaml 2>/tmp/vero-relay-deb.log &
relay=$!
for _ in $(seq 150); do
    vero-relay healthcheck -c /etc/vero-relay/config.yaml >/dev/null 2>&1 && break
    kill -0 "$relay" 2>/dev/null || fail "the relay ended: $(cat /tmp/vero-relay-deb.log)"
    sleep 0.2
done
vero-relay send bounced -c /etc/vero-relay/config.yaml || fail "a sample is not accepted: $(cat /tmp/vero-relay-deb.log)"
ls /var/lib/vero-relay/archive/*.ndjson >/dev/null || fail "the archive is not there"

# A backup, made by the relay and looked at as its user; then the drill of docs/operations.md.
copy=/var/backups/vero-relay/2026-11-25
vero-relay store backup "$copy" -c /etc/vero-relay/config.yaml >/dev/null || fail "the relay cannot write a backup"
$as_service vero-relay store verify "$copy" >/dev/null || fail "the backup is not good"
kill "$relay"
wait "$relay" || fail "the relay did not end well: $(cat /tmp/vero-relay-deb.log)"
relay=
mv /var/lib/vero-relay /var/lib/vero-relay.old
cp -a "$copy" /var/lib/vero-relay
cp -a /var/lib/vero-relay.old/archive /var/lib/vero-relay/
chown -R vero-relay: /var/lib/vero-relay
$as_service vero-relay store verify /var/lib/vero-relay >/dev/null || fail "what was restored is not good"
alien=$(find /var/lib/vero-relay ! -user vero-relay)
[ -z "$alien" ] || fail "not the service's own after the drill: $alien"

# What the administrator has made of /etc/vero-relay survives an upgrade: a file that is gone, a token and rights.
rm /etc/vero-relay/environment
chmod 0600 /etc/vero-relay/config.yaml
chown vero-relay /etc/vero-relay/config.yaml
token=$(cat /etc/vero-relay/token)
dpkg --install "$deb" >/dev/null || fail "an upgrade fails where a config file was deleted"
[ ! -e /etc/vero-relay/environment ] || fail "an upgrade has brought a deleted file back"
has /etc/vero-relay/config.yaml vero-relay:vero-relay 600
[ "$token" = "$(cat /etc/vero-relay/token)" ] || fail "an upgrade has changed the token"

# A first installation on a full disk leaves no half of a token, and the next try makes it. (No file may grow: as good as full.)
scripts=$(dpkg-query --control-path vero-relay postinst)
rm /etc/vero-relay/token
if (ulimit -f 0 && "$scripts" configure "" >/dev/null 2>&1); then fail "nobody noticed that the token could not be written"; fi
[ -z "$(find /etc/vero-relay -name '*token*')" ] || fail "a token was left that could not be written"
"$scripts" configure "" >/dev/null 2>&1 || fail "the next try fails"
[ "$(wc -c </etc/vero-relay/token)" = 48 ] || fail "the next try makes no token"
has /etc/vero-relay/token root:vero-relay 640

dpkg --remove vero-relay >/dev/null
[ ! -e /usr/bin/vero-relay ] || fail "the program is still there"
[ -e /etc/vero-relay/config.yaml ] || fail "removing took the config"
[ -d /var/lib/vero-relay/journal ] || fail "removing took the events"
dpkg --purge vero-relay >/dev/null 2>&1
[ ! -e /etc/vero-relay ] || fail "purging left /etc/vero-relay"
[ -d /var/lib/vero-relay/journal ] || fail "purging took the events: they go by hand alone"
[ -d /var/backups/vero-relay/2026-11-25 ] || fail "purging took the backups: they go by hand alone"
getent passwd vero-relay >/dev/null || fail "purging took the user whose files are still there"
echo "deb: installed, used, backed up, restored, upgraded, removed, purged"
