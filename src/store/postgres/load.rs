//! Reading a queue when its lease is taken: what waits, what is scheduled, dead letters, windows and digests, as they were in one
//! snapshot, and up to where each stream had come in it. What is behind that comes by following.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::holds::Holds;
use super::link::Link;
use super::ownership::Ends;
use super::transaction::{Snapshot as Sees, Step};
use super::trouble::Trouble;
use crate::store::queues::{Bitmap, Closed, Queue, RememberedRow, Scheduled, Snapshot};
use crate::store::{DigestId, GroupKey, NameId, NameState, Pause, WindowHead};

/// What was read of a destination.
pub struct Loaded {
    pub queue: Queue,
    /// How far each stream had come.
    pub ends: Ends,
    pub section: Option<String>,
    pub remembered: Vec<RememberedRow>,
}

/// Reads all that there is of a destination.
pub async fn load(link: &Link, segments: &[i32], holds: &Holds, id: NameId) -> Result<Loaded, Trouble> {
    let of = id.0.cast_signed();
    let union = |select: &str| -> String {
        let parts: Vec<String> = segments.iter().map(|k| select.replace("{k}", &k.to_string())).collect();
        parts.join(" UNION ALL ")
    };
    let ends = union("SELECT s.slot, (SELECT max(n) FROM event_{k} e WHERE e.slot = s.slot) AS n FROM stream s");
    let waiting = union(
        "SELECT d.n, d.hold, e.source FROM delivery_{k} d LEFT JOIN event_{k} e ON e.n = CASE WHEN d.hold IS NOT NULL THEN d.n END
         WHERE d.dest = $1 AND d.state = 'waiting' AND d.n >= (SELECT coalesce(max(floor), 0) FROM destination WHERE id = $1)",
    );
    let retries = union(
        "SELECT n, due_ms, first_ms, at_ms, attempts, reason FROM delivery_{k} WHERE dest = $1 AND due_ms IS NOT NULL",
    );
    let dead = union("SELECT n FROM delivery_{k} WHERE dest = $1 AND dead_ms IS NOT NULL");
    let values: [&(dyn ToSql + Sync); 1] = [&of];
    let steps = [
        Step { sql: &ends, values: &[] },
        Step { sql: "SELECT * FROM destination WHERE id = $1", values: &values },
        Step { sql: &waiting, values: &values },
        Step { sql: &retries, values: &values },
        Step { sql: &dead, values: &values },
        Step { sql: "SELECT * FROM delivery_window WHERE dest = $1", values: &values },
        Step { sql: "SELECT * FROM digest WHERE dest = $1", values: &values },
        Step { sql: "SELECT key, text, number FROM remembered WHERE dest = $1", values: &values },
    ];
    let read = link.transaction(Sees::One, &steps, |_| true).await?;
    let [ends, row, waiting, retries, dead, windows, digests, remembered] =
        <[Vec<Row>; 8]>::try_from(read.answers).map_err(|_| Trouble::Broken("answers are missing".to_owned()))?;
    let mut snapshot = Snapshot::default();
    read_waiting(&mut snapshot, holds, &waiting);
    read_retries(&mut snapshot, &retries);
    snapshot.dead = dead.iter().map(number).collect();
    snapshot.windows = windows.iter().map(head).collect();
    // What was put into the queue again after a digest was closed is none of its members any more.
    let again: BTreeMap<u64, u64> = retries.iter().map(|row| (number(row), at_ms(row))).collect();
    let waits = |number: u64, closed_ms: u64| match again.get(&number) {
        Some(since_ms) => snapshot.redeliveries.contains(number) && *since_ms <= closed_ms,
        None => snapshot.unsettled.contains(number),
    };
    snapshot.digests = digests.iter().filter_map(|row| digest(row, &waits)).collect();
    let mut queue = Queue::restore(id, snapshot);
    if let Some(row) = row.first() {
        queue.set_state(state(row));
    }
    let remembered = remembered.iter().map(|row| RememberedRow {
        of: id,
        key: row.get("key"),
        text: row.get("text"),
        number: unsigned(row.get("number")),
    });
    Ok(Loaded {
        queue,
        ends: read_ends(&ends),
        section: row.first().and_then(|row| row.get("section")),
        remembered: remembered.collect(),
    })
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

fn read_ends(rows: &[Row]) -> Ends {
    let mut ends = Ends::new();
    for row in rows {
        let (slot, number): (i16, Option<i64>) = (row.get("slot"), row.get("n"));
        let end = ends.entry(slot.cast_unsigned()).or_default();
        *end = unsigned(number.unwrap_or(0)).max(*end);
    }
    ends
}

fn read_waiting(snapshot: &mut Snapshot, holds: &Holds, rows: &[Row]) {
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
    snapshot.let_go.extend(let_go);
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
