#!/bin/bash
# Makes roles and the database, once, where db1 begins with an empty volume. The image runs it.
set -eu

psql --username postgres -v ON_ERROR_STOP=1 -v relay="$RELAY_PASSWORD" -v replica="$REPLICA_PASSWORD" <<'SQL'
CREATE ROLE relay LOGIN PASSWORD :'relay';
CREATE DATABASE relay OWNER relay;
-- So that `vero-relay store check` sees the standbys.
GRANT pg_read_all_stats TO relay;
CREATE ROLE replica LOGIN REPLICATION PASSWORD :'replica';
-- Each commit waits until one of the others has it: any one of the three servers may be lost. The standbys copy this with the rest, since
-- each may be the primary one day. It is in force from the next start on, so nothing here waits for standbys that are not there yet.
ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (db1, db2, db3)';
SQL
echo 'host replication replica all scram-sha-256' >>"$PGDATA/pg_hba.conf"
