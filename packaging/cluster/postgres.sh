#!/bin/bash
# Starts a PostgreSQL of compose-cluster.yaml, in the place of the image's entrypoint. db1 makes the database; any other, and any that comes
# with an empty volume later, copies it from whichever takes writes by then.
set -eu
# While it waits it is the first process of its container, which ends by a signal only if it says so.
trap 'exit 1' INT TERM

# All three are named, so that a standby follows whoever is the primary. As for relays, the one that takes writes is used.
export PGPASSWORD="$REPLICA_PASSWORD"
primary="host=db1,db2,db3 user=replica dbname=postgres connect_timeout=3 target_session_attrs=read-write"
there_is_a_primary() { psql -d "$primary" -Atqc 'SELECT 1' >/dev/null 2>&1; }

if [ -s "$PGDATA/PG_VERSION" ]; then
    # Two that take writes are two queues: who was the primary does not come back as one where another was promoted meanwhile.
    if [ ! -e "$PGDATA/standby.signal" ] && there_is_a_primary; then
        echo "another server is the primary now: remove the volume of $NAME, and it is copied anew" >&2
        sleep 10
        exit 1
    fi
elif [ "$NAME" != db1 ] || there_is_a_primary; then
    until there_is_a_primary; do
        echo "$NAME waits for a primary to copy"
        sleep 1
    done
    install -d -m 0700 -o postgres -g postgres "$PGDATA"
    # -R writes down whom it follows from then on.
    gosu postgres pg_basebackup --pgdata="$PGDATA" --wal-method=stream --checkpoint=fast -R -d "$primary"
fi

unset PGPASSWORD
# cluster_name: as this it is known to the primary. wal_keep_size: what a standby may be behind, and still follow.
exec docker-entrypoint.sh postgres -c "cluster_name=$NAME" -c wal_keep_size=1GB -c max_wal_size=4GB
