//! Reading a queue when its lease is taken: what waits, what is scheduled, dead letters, windows and digests, as they were in one
//! snapshot, and up to where each stream had come in it. What is behind that comes by following.
//!
//! What waits is read from the floor on, a bounded number of rows at a time; segments whose events are all below it are not looked into. Settled rows
//! are passed in the database. What was attempted and waits, what is to go out again and what is dead is found by an index of its own, wherever it lies.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use super::holds::Holds;
use super::link::Link;
use super::ownership::Ends;
use super::spans::{CARRIED, SPANS, Span, each, span};
use super::trouble::Trouble;
use crate::store::queues::{Bitmap, Closed, Queue, RememberedRow, Scheduled, Snapshot};
use crate::store::{DigestId, GroupKey, NameId, NameState, Pause, WindowHead};

/// Rows that one statement looks at: some megabytes, and some ten milliseconds.
const PAGE_ROWS: i64 = 20_000;

/// What was read of a destination.
pub struct Loaded {
    pub queue: Queue,
    /// How far each stream had come.
    pub ends: Ends,
    pub section: Option<String>,
    pub remembered: Vec<RememberedRow>,
}

/// Reads all that there is of a destination, unless the right to it is lost amid that.
pub async fn load(link: &Link, holds: &Holds, id: NameId, lost: &CancellationToken) -> Result<Loaded, Trouble> {
    link.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let loaded = Loading { link, holds, id, of: id.0.cast_signed(), lost }.load().await;
    // It has changed nothing, so how it ends is the same.
    link.script("COMMIT").await?;
    loaded
}

struct Loading<'a> {
    link: &'a Link,
    holds: &'a Holds,
    id: NameId,
    of: i32,
    lost: &'a CancellationToken,
}

impl Loading<'_> {
    async fn load(&self) -> Result<Loaded, Trouble> {
        // What is in force in this snapshot, whatever is known of it by now.
        let spans: Vec<Span> = self.link.rows(SPANS, &[]).await?.iter().map(span).collect();
        let ends = self.ends(&spans).await?;
        let row = self.rows("SELECT * FROM destination WHERE id = $1").await?;
        let row = row.first();
        let floor = row.map_or(0, |row| unsigned(row.get("floor")));
        let mut snapshot = Snapshot::default();
        for span in &spans {
            if span.segment == CARRIED || span.until.is_none_or(|until| until >= floor) {
                self.waiting(&mut snapshot, span.segment, floor).await?;
            }
            self.retries(&mut snapshot, span.segment).await?;
            self.dead(&mut snapshot, span.segment).await?;
        }
        let windows = self.rows("SELECT * FROM delivery_window WHERE dest = $1").await?;
        snapshot.windows = windows.iter().map(head).collect();
        let digests = self.rows("SELECT * FROM digest WHERE dest = $1").await?;
        // What was put into the queue again after a digest was closed is none of its members any more.
        let waits = |number: u64, closed_ms: u64| {
            let is_old = || snapshot.let_go.range(..=closed_ms).any(|(_, set)| set.contains(number));
            if snapshot.redeliveries.contains(number) { is_old() } else { snapshot.unsettled.contains(number) }
        };
        snapshot.digests = digests.iter().filter_map(|row| digest(row, &waits)).collect();
        let mut queue = Queue::restore(self.id, snapshot);
        if let Some(row) = row {
            queue.set_state(state(row));
        }
        let remembered = self.rows("SELECT key, text, number FROM remembered WHERE dest = $1").await?;
        let remembered = remembered.iter().map(|row| RememberedRow {
            of: self.id,
            key: row.get("key"),
            text: row.get("text"),
            number: unsigned(row.get("number")),
        });
        let section = row.and_then(|row| row.get("section"));
        Ok(Loaded { queue, ends, section, remembered: remembered.collect() })
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Row>, Trouble> {
        self.page(sql, &[&self.of]).await
    }

    async fn page(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        if self.lost.is_cancelled() {
            return Err(Trouble::Again("the right to the destination was lost meanwhile".to_owned()));
        }
        self.link.rows(sql, values).await
    }

    /// How far all streams had come: at least to where nothing new of them comes, which is behind all that is in segments that they have left.
    async fn ends(&self, spans: &[Span]) -> Result<Ends, Trouble> {
        let streams = self.link.rows("SELECT slot, n_from FROM stream", &[]).await?;
        let mut ends: Ends = streams.iter().map(|row| (slot(row), unsigned(row.get("n_from")))).collect();
        let first = ends.values().copied().min().unwrap_or(0);
        let open = spans.iter().filter(|span| span.segment != CARRIED && span.until.is_none_or(|until| until > first));
        let open: Vec<i32> = open.map(|span| span.segment).collect();
        let last =
            |k| format!("SELECT s.slot, (SELECT max(n) FROM event_{k} e WHERE e.slot = s.slot) AS n FROM stream s");
        for row in self.link.rows(&each(&open, last), &[]).await? {
            let end = ends.entry(slot(&row)).or_default();
            *end = unsigned(row.get::<_, Option<i64>>("n").unwrap_or(0)).max(*end);
        }
        Ok(ends)
    }

    async fn waiting(&self, snapshot: &mut Snapshot, k: i32, floor: u64) -> Result<(), Trouble> {
        let sql = waiting_page(k);
        let mut after = floor.cast_signed() - 1;
        loop {
            let rows = self.page(&sql, &[&self.of, &after]).await?;
            let (waiting, passed): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.get("waits"));
            read_waiting(snapshot, self.holds, &waiting);
            let Some(last) = passed.first().and_then(|row| row.get::<_, Option<i64>>("n")) else { return Ok(()) };
            after = last;
        }
    }

    async fn retries(&self, snapshot: &mut Snapshot, k: i32) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT n, due_ms, first_ms, at_ms, attempts, reason FROM delivery_{k}
             WHERE dest = $1 AND due_ms IS NOT NULL AND (due_ms, n) > ($2, $3) ORDER BY due_ms, n LIMIT {PAGE_ROWS}"
        );
        let (mut due_ms, mut after) = (-1_i64, -1_i64);
        loop {
            let rows = self.page(&sql, &[&self.of, &due_ms, &after]).await?;
            read_retries(snapshot, &rows);
            let Some(last) = rows.last() else { return Ok(()) };
            (due_ms, after) = (last.get("due_ms"), last.get("n"));
        }
    }

    async fn dead(&self, snapshot: &mut Snapshot, k: i32) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT n FROM delivery_{k} WHERE dest = $1 AND dead_ms IS NOT NULL AND n > $2 ORDER BY n LIMIT {PAGE_ROWS}"
        );
        let mut after = -1_i64;
        loop {
            let rows = self.page(&sql, &[&self.of, &after]).await?;
            snapshot.dead.insert_all(&rows.iter().map(number).collect());
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.get("n");
        }
    }
}

/// A page of what waits in a segment, of the destination `$1` and above the number `$2`; and in a row of its own, which does not wait, the last
/// number that was looked at, which is null at the end.
fn waiting_page(k: i32) -> String {
    format!(
        "WITH page AS MATERIALIZED (
            SELECT n, hold, state FROM delivery_{k} WHERE dest = $1 AND n > $2 ORDER BY n LIMIT {PAGE_ROWS})
         SELECT n, hold, CASE WHEN hold IS NOT NULL THEN (SELECT e.source FROM event_{k} e WHERE e.n = page.n) END AS source, true AS waits
         FROM page WHERE state = 'waiting'
         UNION ALL SELECT max(n), NULL, NULL, false FROM page"
    )
}

fn slot(row: &Row) -> u16 {
    row.get::<_, i16>("slot").cast_unsigned()
}

fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

fn number(row: &Row) -> u64 {
    unsigned(row.get("n"))
}

/// Since when a delivery stands where it does.
fn at_ms(row: &Row) -> u64 {
    row.get::<_, Option<i64>>("at_ms").map_or(0, unsigned)
}

fn read_waiting(snapshot: &mut Snapshot, holds: &Holds, rows: &[&Row]) {
    let mut let_go: BTreeMap<u64, Bitmap> = BTreeMap::new();
    for row in rows {
        let (number, hold, source) =
            (number(row), row.get::<_, Option<i32>>("hold"), row.get::<_, Option<i32>>("source"));
        let source = NameId(source.unwrap_or(-1).cast_unsigned());
        if holds.is_held(source, hold) {
            snapshot.held.entry(source).or_default().insert(number);
            continue;
        }
        snapshot.unsettled.insert(number);
        if let Some(at_ms) = hold.and_then(|hold| holds.let_go_ms(source, hold)) {
            let_go.entry(at_ms).or_default().insert(number);
        }
    }
    for (at_ms, set) in let_go {
        snapshot.let_go.entry(at_ms).or_default().insert_all(&set);
    }
}

fn read_retries(snapshot: &mut Snapshot, rows: &[Row]) {
    for row in rows {
        let (number, due_ms) = (number(row), unsigned(row.get("due_ms")));
        if due_ms == 0 {
            snapshot.redeliveries.insert(number);
            snapshot.let_go.entry(at_ms(row)).or_default().insert(number);
            continue;
        }
        let entry = Scheduled {
            attempts: row.get::<_, i16>("attempts").cast_unsigned(),
            first_attempt_ms: row.get::<_, Option<i64>>("first_ms").map_or(due_ms, unsigned),
            reason: row.get::<_, Option<&str>>("reason").unwrap_or_default().into(),
        };
        snapshot.scheduled.push((number, due_ms, entry));
    }
}

fn head(row: &Row) -> WindowHead {
    let mut key = [0; 16];
    let bytes: &[u8] = row.get("key");
    let length = bytes.len().min(key.len());
    key[..length].copy_from_slice(&bytes[..length]);
    WindowHead {
        key: GroupKey(key),
        address: unsigned(row.get("address")),
        opened_ms: unsigned(row.get("opened_ms")),
        ends_ms: unsigned(row.get("ends_ms")),
        passed: u32::try_from(row.get::<_, i64>("passed")).unwrap_or(u32::MAX),
    }
}

/// A digest with those of its members that wait; none where nobody does.
fn digest(row: &Row, waits: &dyn Fn(u64, u64) -> bool) -> Option<(DigestId, Closed)> {
    let id = DigestId(NonZeroU64::new(unsigned(row.get("id")))?);
    let members = Bitmap::from_bytes(row.get("members"))?;
    let closed_ms = unsigned(row.get("closed_ms"));
    let members: Bitmap = members.iter_from(0).filter(|number| waits(*number, closed_ms)).collect();
    let attempts = u16::try_from(row.get::<_, i32>("attempts")).unwrap_or(u16::MAX);
    let mut closed = Closed::new(closed_ms, members);
    closed.attempts = attempts;
    closed.first_attempt_ms = row.get::<_, Option<i64>>("first_ms").map(unsigned);
    closed.due_ms = unsigned(row.get("due_ms"));
    closed.reason = row.get::<_, Option<&str>>("reason").unwrap_or_default().into();
    (!closed.members.is_empty()).then_some((id, closed))
}

/// How it stands, from its row.
pub fn state(row: &Row) -> NameState {
    let ms = |column: &str| row.get::<_, Option<i64>>(column).map(unsigned);
    let paused = ms("paused_since_ms")
        .map(|since_ms| Pause { since_ms, reason: row.get::<_, Option<String>>("pause_reason").unwrap_or_default() });
    NameState {
        paused,
        held_since_ms: None,
        open_since_ms: ms("open_since_ms"),
        removed_since_ms: ms("removed_since_ms"),
    }
}
