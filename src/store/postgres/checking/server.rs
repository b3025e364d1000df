//! How PostgreSQL itself stands.

use super::*;

/// Tables of a few rows that are updated each second: with more old versions each look at them is slow.
const DEAD_ROWS_MAX: i64 = 100_000;
/// Who holds a snapshot for longer keeps everything from being cleaned up that was updated since.
const SNAPSHOT_MAX_S: i64 = 3600;

impl Check {
    pub(super) async fn server(&self) -> Result<Vec<Answered>, Trouble> {
        Ok(vec![
            self.indexes().await?,
            self.small_tables().await?,
            self.snapshots().await?,
            self.replication().await?,
            self.commits().await?,
        ])
    }

    /// An update that changes no value of an index writes none.
    async fn indexes(&self) -> Result<Answered, Trouble> {
        let mut answered = Answered::new("no index of deliveries names what each outcome changes");
        let sql = r"SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema() AND tablename ~ '^delivery_\d+$'
            AND substr(indexdef, strpos(indexdef, ' USING ')) ~ '\m(state|at_ms|attempts)\M' ORDER BY 1";
        for row in self.ask(sql, &[]).await? {
            let name: String = row.get(0);
            answered.add_why(format!("the index {name} names a column that each outcome changes, and makes each of them write all indexes: drop it"));
        }
        let sql = r"SELECT coalesce(sum(n_tup_upd), 0)::int8, coalesce(sum(n_tup_hot_upd), 0)::int8 FROM pg_stat_user_tables
            WHERE schemaname = current_schema() AND relname ~ '^delivery_\d+$'";
        let rows = self.ask(sql, &[]).await?;
        let (updated, hot): (i64, i64) = rows.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
        answered.answer = match updated {
            0 => "no updates yet".to_owned(),
            _ => format!("{} % of {updated} updates touched no index", hot * 100 / updated),
        };
        Ok(answered)
    }

    async fn small_tables(&self) -> Result<Answered, Trouble> {
        let mut answered = Answered::new("small tables are vacuumed");
        let sql = "SELECT relname::text, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = current_schema()
            AND relname IN ('relay', 'lease', 'stream', 'destination', 'source', 'meta', 'segment') ORDER BY n_dead_tup DESC, relname";
        let rows = self.ask(sql, &[]).await?;
        let dead: i64 = rows.iter().map(|row| row.get::<_, i64>(1)).sum();
        answered.answer = of(dead, "old version of a row", "old versions of rows");
        for row in rows {
            let (table, dead): (String, i64) = (row.get(0), row.get(1));
            if dead > DEAD_ROWS_MAX {
                answered.add_why(format!(
                    "{table} has {dead} old versions of rows: is autovacuum off, or is an old snapshot held?"
                ));
            }
        }
        Ok(answered)
    }

    async fn snapshots(&self) -> Result<Answered, Trouble> {
        let sql = "SELECT who, since_s, age FROM (
                SELECT concat('process ', pid, ' (', nullif(application_name, ''), ' of ', usename, ', ', state, ')') AS who,
                    extract(epoch FROM clock_timestamp() - xact_start)::int8 AS since_s, age(backend_xmin)::int8 AS age
                FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
              UNION ALL
                SELECT concat('the prepared transaction ', gid), extract(epoch FROM clock_timestamp() - prepared)::int8, age(transaction)::int8
                FROM pg_prepared_xacts
              UNION ALL
                SELECT concat('the replication slot ', slot_name), NULL, greatest(age(xmin), age(catalog_xmin))::int8
                FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL) held
            ORDER BY age DESC NULLS LAST LIMIT 1";
        let rows = self.ask(sql, &[]).await?;
        let mut answered = Answered::new("no snapshot is held for long");
        let Some(row) = rows.first() else {
            answered.answer = "none is held".to_owned();
            return Ok(answered);
        };
        let (who, since_s, age): (String, Option<i64>, Option<i64>) = (row.get(0), row.get(1), row.get(2));
        let since = since_s.map(|since_s| format!(", since {since_s} s")).unwrap_or_default();
        answered.answer =
            format!("the oldest: {who}{since}, {}", of(age.unwrap_or(0), "transaction ago", "transactions ago"));
        if since_s.is_some_and(|since_s| since_s > SNAPSHOT_MAX_S) {
            answered.add_why(format!(
                "{who} has held a snapshot{since}: nothing that was updated since can be cleaned up; end it"
            ));
        }
        Ok(answered)
    }

    async fn replication(&self) -> Result<Answered, Trouble> {
        let sql = "SELECT concat(application_name, ' (', sync_state, ', ', state, coalesce(', ' || pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::int8
                || ' bytes behind', ''), ')'), coalesce(sync_state IN ('sync', 'quorum'), false), current_setting('synchronous_standby_names')
            FROM (SELECT 1) one LEFT JOIN pg_stat_replication ON true ORDER BY 1";
        let rows = self.ask(sql, &[]).await?;
        let names: String = rows.first().map_or_else(String::new, |row| row.get(2));
        let there = "SELECT count(*) FROM pg_stat_replication";
        let there: i64 = self.ask(there, &[]).await?.first().map_or(0, |row| row.get(0));
        let mut answered = Answered::new("standbys");
        let list: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        answered.answer = match (there, names.is_empty()) {
            (0, true) => "none: what the server's disk loses is lost".to_owned(),
            (0, false) => format!("none is connected, and synchronous_standby_names is {names}"),
            (_, true) => format!("{}; commits wait for none of them", list.join(", ")),
            (_, false) => format!("{}; synchronous_standby_names is {names}", list.join(", ")),
        };
        let waits_for_nobody = !names.is_empty() && !rows.iter().any(|row| row.get(1));
        if waits_for_nobody {
            answered.add_why(
                "commits wait for a synchronous standby, and none is there: no event is accepted until one is",
            );
        }
        Ok(answered)
    }

    async fn commits(&self) -> Result<Answered, Trouble> {
        let sql = "SELECT current_setting('synchronous_commit'), current_setting('fsync')";
        let rows = self.ask(sql, &[]).await?;
        let (commit, fsync): (String, String) =
            rows.first().map_or_else(Default::default, |row| (row.get(0), row.get(1)));
        let mut answered =
            Answered::told("commits are durable", format!("synchronous_commit is {commit}, fsync is {fsync}"));
        if commit == "off" {
            answered.add_why("synchronous_commit is off: events that were accepted are lost when the server crashes; set it to on for the relay's role");
        }
        if fsync == "off" {
            answered.add_why("fsync is off: all of it may be lost when the server's machine crashes; set it to on");
        }
        Ok(answered)
    }
}
