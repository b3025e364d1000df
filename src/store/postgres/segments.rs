//! Segments come and go: each step is one transaction, which names the lease of who keeps house. A housekeeper that dies between two leaves a state
//! from which the next goes on.
//!
//! ```text
//!  open ──► closed ──► closing ──► gone ──► (dropped)
//! ```
//!
//! * *open*: the newest is written to. A relay goes on to it with its next tide ([`tide`](super::tide)), and those before are still open until
//!   all streams have left them.
//! * *closed*: nothing new comes in it, and the law was asked of it: each destination of each event has its row, and nothing waits below a floor.
//! * *closing*: its time is over, and what of it is still needed is [carried](super::carrying) into the segment of what outlives its own.
//! * *gone*: nothing of it is needed, so that nobody looks into it any more. Who has heard of that late writes nothing that counts to it.
//! * It is dropped when nobody who lives can have missed that it is gone.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::link::Link;
use super::schema::{self, Schema};
use super::transaction::{Snapshot, Step, Transaction};
use super::trouble::Trouble;

/// As it stands for a segment in the table of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub k: i32,
    pub state: State,
    /// Since when its state is that, milliseconds ago.
    pub since_ms: i64,
    /// How old it is, and how long it has been closed.
    pub opened_ms: i64,
    pub closed_ms: Option<i64>,
    pub bytes: Option<i64>,
    /// The law was asked of it.
    pub is_checked: bool,
    /// A stream is in it or before it.
    pub has_streams: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Closed,
    Closing,
    Gone,
}

/// What `read` asks. Ages go by the clock of the database alone.
const READ: &str =
    "SELECT k, state, t.now_ms - since_ms, t.now_ms - opened_ms, t.now_ms - closed_ms, bytes, faults IS NOT NULL,
        EXISTS (SELECT 1 FROM stream s WHERE s.segment <= g.k)
    FROM segment g, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now_ms) t WHERE k > 0 ORDER BY k";

const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::int8";

/// Who keeps house, by its lease.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    pub link: &'a Link,
    pub epoch: i64,
    pub me: i64,
}

/// Whether a relay still keeps house: it does so until the transaction ends.
const FENCE: &str = "SELECT 1 FROM lease WHERE duty = 'housekeeping' AND epoch = $1 AND incarnation = $2 FOR SHARE";
/// What others have locked is done another time: whoever comes behind this would wait with it.
const LOCKS_WITHIN: &str = "SET LOCAL lock_timeout = '500ms'";
/// No owner changes a row of its destination until the transaction ends. In the order in which a flush locks them.
pub const ALL_OWNERS: &str =
    "SELECT duty FROM lease WHERE duty LIKE 'destination/%' ORDER BY duty COLLATE \"C\" FOR UPDATE";

impl Keeper<'_> {
    /// Does some steps as one, as long as this relay keeps house. `go_on` sees what they came to. False: nothing was done.
    pub async fn does(
        &self,
        steps: &[Step<'_>],
        go_on: impl FnOnce(&[Vec<Row>]) -> bool + Send,
    ) -> Result<Transaction, Trouble> {
        let fence: [&(dyn ToSql + Sync); 2] = [&self.epoch, &self.me];
        let mut all = vec![Step { sql: LOCKS_WITHIN, values: &[] }, Step { sql: FENCE, values: &fence }];
        all.extend_from_slice(steps);
        let keeps_house = |answers: &[Vec<Row>]| !answers[1].is_empty() && go_on(&answers[2..]);
        let mut done = self.link.transaction(Snapshot::Each, &all, keeps_house).await?;
        if done.answers[1].is_empty() {
            return Err(Trouble::Again("another relay keeps house".to_owned()));
        }
        done.answers.drain(..2);
        Ok(done)
    }

    /// The segments of the history, the newest last.
    pub async fn segments(&self) -> Result<Vec<Segment>, Trouble> {
        let rows = self.link.rows(READ, &[]).await?;
        let segment = |row: &Row| {
            let state = match row.get(1) {
                "open" => State::Open,
                "closed" => State::Closed,
                "closing" => State::Closing,
                "gone" => State::Gone,
                other => return Err(Trouble::Broken(format!("a segment's state is `{other}`, which is none"))),
            };
            Ok(Segment {
                k: row.get(0),
                state,
                since_ms: row.get(2),
                opened_ms: row.get(3),
                closed_ms: row.get(4),
                bytes: row.get(5),
                is_checked: row.get(6),
                has_streams: row.get(7),
            })
        };
        rows.iter().map(segment).collect()
    }

    /// Bytes that a segment takes, and whether there is an event in it.
    pub async fn measure(&self, k: i32) -> Result<(i64, bool), Trouble> {
        let sql = format!(
            "SELECT pg_total_relation_size('event_{k}') + pg_total_relation_size('delivery_{k}') + pg_total_relation_size('attempt_{k}'),
                EXISTS (SELECT 1 FROM event_{k})"
        );
        let rows = self.link.rows(&sql, &[]).await?;
        Ok(rows.first().map_or((0, false), |row| (row.get(0), row.get(1))))
    }

    /// Makes the next segment. Each relay goes on to it by itself. False: a later program has changed the tables, and has to make it.
    pub async fn make(&self, k: i32) -> Result<bool, Trouble> {
        let tables = Schema::OURS.segment(k);
        let mut steps: Vec<Step<'_>> = schema::statements(&tables).map(|sql| Step { sql, values: &[] }).collect();
        let sql = format!(
            "INSERT INTO segment (k, state, since_ms, opened_ms, n_from)
             SELECT {k}, 'open', {NOW_MS}, {NOW_MS}, last_value FROM event_number"
        );
        steps.push(Step { sql: &sql, values: &[] });
        let version = Schema::OURS.version();
        let values: [&(dyn ToSql + Sync); 1] = [&version];
        steps.push(Step { sql: "SELECT 1 FROM meta WHERE schema_version = $1 FOR SHARE", values: &values });
        let is_ours = |answers: &[Vec<Row>]| answers.last().is_some_and(|rows| !rows.is_empty());
        Ok(self.does(&steps, is_ours).await?.is_committed)
    }

    /// Closes a segment that all streams have left. False: one has come to it meanwhile.
    pub async fn close(&self, k: i32, bytes: i64) -> Result<bool, Trouble> {
        // Who begins a stream in it has it locked.
        let lock = "SELECT 1 FROM segment WHERE k = $1 AND state = 'open' FOR UPDATE";
        let sql = format!(
            "UPDATE segment SET state = 'closed', since_ms = {NOW_MS}, closed_ms = {NOW_MS}, bytes = $2,
                n_until = greatest(n_from, (SELECT max(n) FROM event_{k}))
             WHERE k = $1 AND NOT EXISTS (SELECT 1 FROM stream WHERE segment <= $1) RETURNING 1"
        );
        let steps = [Step { sql: lock, values: &[&k] }, Step { sql: &sql, values: &[&k, &bytes] }];
        let done = self.does(&steps, |answers| !answers[0].is_empty() && !answers[1].is_empty()).await?;
        Ok(done.is_committed)
    }

    /// Asks the law of a segment that is closed. What is wrong is told, and written down.
    pub async fn check(&self, k: i32) -> Result<(), Trouble> {
        let missing = format!(
            "SELECT count(*) FROM event_{k} e CROSS JOIN unnest(e.destinations) t (dest)
             WHERE NOT EXISTS (SELECT 1 FROM delivery_{k} d WHERE d.dest = t.dest AND d.n = e.n)"
        );
        let below = format!(
            "SELECT count(*) FROM destination o JOIN delivery_{k} d ON d.dest = o.id AND d.n < o.floor WHERE d.state = 'waiting'"
        );
        let count = |rows: &[Row]| rows.first().map_or(0, |row| row.get::<_, i64>(0));
        let missing = count(&self.link.rows(&missing, &[]).await?);
        let below = count(&self.link.rows(&below, &[]).await?);
        if missing > 0 {
            tracing::error!(
                segment = k,
                deliveries = missing,
                "deliveries of events are missing in the database: rows were removed, or this is a bug"
            );
        }
        if below > 0 {
            tracing::error!(
                segment = k,
                deliveries = below,
                "deliveries wait where no relay looks for them: a floor is too high, which is a bug"
            );
        }
        let faults = missing + below;
        let values: [&(dyn ToSql + Sync); 2] = [&k, &faults];
        self.does(&[Step { sql: "UPDATE segment SET faults = $2 WHERE k = $1", values: &values }], |_| true).await?;
        Ok(())
    }

    /// Its time is over.
    pub async fn begin_to_close(&self, k: i32) -> Result<(), Trouble> {
        let sql =
            format!("UPDATE segment SET state = 'closing', since_ms = {NOW_MS} WHERE k = $1 AND state = 'closed'");
        self.does(&[Step { sql: &sql, values: &[&k] }], |_| true).await?;
        Ok(())
    }

    /// Nothing of it is needed any more. False: something is, or may be.
    pub async fn let_go(&self, k: i32) -> Result<bool, Trouble> {
        // What is attempted later lies in the newest segment; what was before, of events that are carried, goes with them.
        let attempts = format!(
            "INSERT INTO attempt_0 SELECT a.* FROM attempt_{k} a WHERE EXISTS (SELECT 1 FROM event_0 e WHERE e.n = a.n)
             ON CONFLICT DO NOTHING"
        );
        let is_needed = format!(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM delivery_{k} WHERE due_ms IS NOT NULL)
                OR EXISTS (SELECT 1 FROM delivery_{k} WHERE dead_ms IS NOT NULL)
                OR EXISTS (SELECT 1 FROM handover h JOIN event_{k} e ON e.n = h.n)"
        );
        let sql = format!("UPDATE segment SET state = 'gone', since_ms = {NOW_MS} WHERE k = $1 AND state = 'closing'");
        self.does(&[Step { sql: &attempts, values: &[] }], |_| true).await?;
        let steps = [
            Step { sql: ALL_OWNERS, values: &[] },
            Step { sql: &is_needed, values: &[] },
            Step { sql: &sql, values: &[&k] },
        ];
        Ok(self.does(&steps, |answers| answers[1].is_empty()).await?.is_committed)
    }

    /// Drops a segment that is gone.
    pub async fn drop(&self, k: i32, others: &[i32]) -> Result<(), Trouble> {
        let mut all = schema::views(others);
        all.extend(["delivery", "attempt", "event"].map(|table| format!("DROP TABLE {table}_{k}")));
        let mut steps: Vec<Step<'_>> = all.iter().map(|sql| Step { sql, values: &[] }).collect();
        let values: [&(dyn ToSql + Sync); 1] = [&k];
        steps.push(Step { sql: "DELETE FROM segment WHERE k = $1 AND state = 'gone'", values: &values });
        self.does(&steps, |_| true).await?;
        tracing::debug!(segment = k, "the oldest range of the history was removed");
        Ok(())
    }

    /// The views show these segments.
    pub async fn show(&self, segments: &[i32]) -> Result<(), Trouble> {
        let views = schema::views(segments);
        let steps: Vec<Step<'_>> = views.iter().map(|sql| Step { sql, values: &[] }).collect();
        self.does(&steps, |_| true).await.map(drop)
    }
}
