//! Records of an old segment's unsynced end on their way into a new one.

use crate::store::journal::format::{
    ALIGN, GROUP_BYTES_MAX, GROUP_HEAD, GROUP_HEADS_MAX, GroupBuilder, Record, event_head_bytes,
};
use crate::store::journal::words::TailRecord;

/// The number of an event that counts on from the one before it; a relocated one does not.
pub(super) fn sequence(record: &TailRecord) -> Option<u64> {
    match &record.record {
        Record::Event(head) => Some(head.id.sequence()),
        _ => None,
    }
}

/// Cuts records into ranges of at most [`GROUP_BYTES_MAX`] of bodies and [`GROUP_HEADS_MAX`] of heads, in each of which the events
/// follow one another without a gap: damage before them may have left one.
pub(super) fn ranges(tail: &[TailRecord]) -> Vec<&[TailRecord]> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    let mut heads = 0;
    let mut last = None;
    for (i, record) in tail.iter().enumerate() {
        let body = record.body.len();
        let head = head_bytes(record);
        let number = sequence(record);
        let is_gap = number.is_some_and(|number| last.is_some_and(|last| number != last + 1));
        if i > start && (is_gap || bytes + body > GROUP_BYTES_MAX || heads + head > GROUP_HEADS_MAX) {
            ranges.push(&tail[start..i]);
            (start, bytes, heads) = (i, 0, 0);
        }
        (bytes, heads) = (bytes + body, heads + head);
        last = number.or(last);
    }
    if start < tail.len() {
        ranges.push(&tail[start..]);
    }
    ranges
}

/// Bytes of a record's head.
fn head_bytes(TailRecord { record, .. }: &TailRecord) -> usize {
    match record {
        Record::Event(head) | Record::Relocated(head) => event_head_bytes(head.rules.len(), head.deliveries.len()),
        record => record.head_bytes().len(),
    }
}

/// Adds a record as it was.
pub(super) fn add(builder: &mut GroupBuilder, TailRecord { record, body }: &TailRecord) {
    builder.put(record, body.clone());
}

/// Bytes that the records will take, or a few more.
pub(super) fn tail_bytes(tail: &[TailRecord]) -> u64 {
    // Each group has a head of its own, and ends at a multiple.
    let groups = ranges(tail).len() * (GROUP_HEAD + ALIGN);
    let records = tail.iter().map(|record| (record.body.len() + head_bytes(record)) as u64);
    groups as u64 + records.sum::<u64>()
}
