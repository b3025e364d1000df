//! Carrying: what of a segment is still needed when its time is over goes to the segment of what outlives its own, some events at a time. An event
//! goes with all its deliveries and attempts, in one transaction that keeps the owners of all destinations from changing any: so it lies in one
//! segment always, and each change finds it where it is.

use std::collections::BTreeSet;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::segments::{ALL_OWNERS, Keeper};
use super::transaction::Step;
use super::trouble::Trouble;

/// Rows that one statement looks at.
const PAGE_ROWS: i64 = 20_000;
/// Events that go at once: no owner can write meanwhile.
const EVENTS_AT_ONCE: usize = 200;
/// With more of a segment that waits for its first attempt it stays where it is: that is a backlog, and not what is left of one.
const WAITING_MAX: i64 = 10_000;

/// What a delivery's row says that is still to be made, or that a person may want once more.
const NEEDED: &str = "('waiting', 'retry', 'dead')";

/// Names of a destination, and whether one has a row of an event `e.n`: no index finds a row by its event alone.
fn rows_of(table: &str, which: &str) -> String {
    format!("SELECT 1 FROM name m JOIN {table} d ON d.dest = m.id AND d.n = {which} WHERE m.kind = 'destination'")
}

impl Keeper<'_> {
    /// Whether so much of a segment waits that it is not to go yet.
    pub async fn is_waited_for(&self, k: i32) -> Result<bool, Trouble> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM name m LEFT JOIN destination o ON o.id = m.id
                JOIN delivery_{k} d ON d.dest = m.id AND d.n >= coalesce(o.floor, 0)
             WHERE m.kind = 'destination' AND d.state = 'waiting' LIMIT {WAITING_MAX} + 1) w"
        );
        let rows = self.link.rows(&sql, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) > WAITING_MAX))
    }

    /// Carries all of a segment that is needed.
    pub async fn carry(&self, k: i32) -> Result<(), Trouble> {
        let sql = format!(
            "WITH page AS MATERIALIZED (
                SELECT dest, n, state FROM delivery_{k} WHERE (dest, n) > ($1, $2) ORDER BY dest, n LIMIT {PAGE_ROWS})
             SELECT dest, n, true FROM page WHERE state IN {NEEDED}
             UNION ALL (SELECT dest, n, false FROM page ORDER BY dest DESC, n DESC LIMIT 1)"
        );
        let (mut dest, mut after) = (i32::MIN, -1_i64);
        loop {
            let rows = self.link.rows(&sql, &[&dest, &after]).await?;
            let (needed, last): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.get(2));
            let events: BTreeSet<i64> = needed.iter().map(|row| row.get(1)).collect();
            let events: Vec<i64> = events.into_iter().collect();
            for some in events.chunks(EVENTS_AT_ONCE) {
                self.carry_some(k, some).await?;
            }
            let Some(last) = last.first() else { return Ok(()) };
            (dest, after) = (last.get(0), last.get(1));
        }
    }

    async fn carry_some(&self, k: i32, events: &[i64]) -> Result<(), Trouble> {
        // Nobody begins to own one of the destinations meanwhile that nobody has ever owned.
        let leases = format!(
            "INSERT INTO lease (duty, epoch, incarnation)
             SELECT 'destination/' || m.id, 1, NULL FROM name m WHERE m.kind = 'destination'
                AND EXISTS (SELECT 1 FROM delivery_{k} d WHERE d.dest = m.id AND d.n = ANY ($1)) ON CONFLICT DO NOTHING"
        );
        // Whoever erases one of them comes before this, or finds it where it goes.
        let copied = format!(
            "WITH e AS MATERIALIZED (SELECT * FROM event_{k} WHERE n = ANY ($1) FOR UPDATE)
             INSERT INTO event_0 SELECT * FROM e ON CONFLICT DO NOTHING"
        );
        let deliveries = format!(
            "WITH d AS (DELETE FROM delivery_{k} d USING name m
                WHERE m.kind = 'destination' AND d.dest = m.id AND d.n = ANY ($1) RETURNING d.*)
             INSERT INTO delivery_0 SELECT * FROM d ON CONFLICT DO NOTHING"
        );
        let attempts = format!(
            "WITH a AS (DELETE FROM attempt_{k} WHERE n = ANY ($1) RETURNING *)
             INSERT INTO attempt_0 SELECT * FROM a ON CONFLICT DO NOTHING"
        );
        let gone = format!("DELETE FROM event_{k} WHERE n = ANY ($1)");
        let values: [&(dyn ToSql + Sync); 1] = [&events];
        let mut steps = vec![Step { sql: &leases, values: &values }, Step { sql: ALL_OWNERS, values: &[] }];
        let moves = [&copied, &deliveries, &attempts, &gone];
        steps.extend(moves.map(|sql| Step { sql, values: &values }));
        self.does(&steps, |_| true).await.map(drop)
    }

    /// Removes what was carried and is not needed any more.
    pub async fn clean(&self) -> Result<(), Trouble> {
        let is_needed = |which: &str| {
            format!(
                "(EXISTS ({} AND d.state IN {NEEDED}) OR EXISTS (SELECT 1 FROM handover h WHERE h.n = {which}))",
                rows_of("delivery_0", which)
            )
        };
        let page = format!(
            "WITH page AS MATERIALIZED (SELECT n FROM event_0 WHERE n > $1 ORDER BY n LIMIT {EVENTS_AT_ONCE})
             SELECT n, NOT {} FROM page ORDER BY n",
            is_needed("page.n")
        );
        let remove = format!(
            "WITH e AS (DELETE FROM event_0 e WHERE n = ANY ($1) AND NOT {} RETURNING n),
                d AS (DELETE FROM delivery_0 d USING e, name m WHERE m.kind = 'destination' AND d.dest = m.id AND d.n = e.n)
             DELETE FROM attempt_0 a USING e WHERE a.n = e.n",
            is_needed("e.n")
        );
        let mut after = -1_i64;
        loop {
            let rows = self.link.rows(&page, &[&after]).await?;
            let unneeded: Vec<i64> = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
            if !unneeded.is_empty() {
                let values: [&(dyn ToSql + Sync); 1] = [&unneeded];
                let steps = [Step { sql: ALL_OWNERS, values: &[] }, Step { sql: &remove, values: &values }];
                self.does(&steps, |_| true).await?;
            }
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.get(0);
        }
    }

    /// Says which of the dead letters that were carried are too many, the oldest of them, and how many bytes their bodies have.
    pub async fn limit_dead(&self, bytes_max: u64) -> Result<(), Trouble> {
        let page = format!(
            "WITH page AS MATERIALIZED (SELECT n, octet_length(body)::int8 AS bytes FROM event_0 WHERE n < $1 ORDER BY n DESC LIMIT {EVENTS_AT_ONCE})
             SELECT n, bytes, EXISTS ({} AND d.state IN ('waiting', 'retry')) FROM page ORDER BY n DESC",
            rows_of("delivery_0", "page.n")
        );
        let (mut before, mut bytes, mut below) = (i64::MAX, 0_i64, 0_i64);
        loop {
            let rows = self.link.rows(&page, &[&before]).await?;
            // What waits for another attempt is no dead letter: it stays, and does not count.
            for row in rows.iter().filter(|row| !row.get::<_, bool>(2)) {
                bytes += row.get::<_, i64>(1);
                if below == 0 && bytes.cast_unsigned() > bytes_max {
                    below = row.get(0);
                }
            }
            let Some(last) = rows.last() else { break };
            before = last.get(0);
        }
        let values: [&(dyn ToSql + Sync); 2] = [&below, &bytes];
        let sql = "UPDATE meta SET dead_below = $1, dead_bytes = $2 WHERE (dead_below, dead_bytes) <> ($1, $2)";
        self.does(&[Step { sql, values: &values }], |_| true).await.map(drop)
    }
}
