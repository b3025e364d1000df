//! Records of an old segment's unsynced end on their way into a new one.

use bytes::Bytes;

use super::GROUP_BYTES_MAX;
use crate::store::journal::format::{EventHead, GroupBuilder, Record};
use crate::store::journal::recover::TailRecord;

/// The number of an event that counts on from the one before it; a carried one does not.
pub(super) fn sequence(record: &TailRecord) -> Option<u64> {
    match &record.record {
        Record::Event(head) => Some(head.id.sequence()),
        _ => None,
    }
}

/// Cuts records into stretches of at most [`GROUP_BYTES_MAX`] of bodies, in each of which the events follow one another
/// without a gap: damage before them may have left one.
pub(super) fn stretches(tail: &[TailRecord]) -> Vec<&[TailRecord]> {
    let (mut stretches, mut start, mut bytes, mut last) = (Vec::new(), 0, 0, None);
    for (i, record) in tail.iter().enumerate() {
        let body = record.body.len();
        let number = sequence(record);
        let is_gap = number.is_some_and(|number| last.is_some_and(|last| number != last + 1));
        if i > start && (is_gap || bytes + body > GROUP_BYTES_MAX) {
            stretches.push(&tail[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += body;
        last = number.or(last);
    }
    if start < tail.len() {
        stretches.push(&tail[start..]);
    }
    stretches
}

/// Adds a record as it was.
pub(super) fn add(builder: &mut GroupBuilder, TailRecord { record, body }: &TailRecord) {
    match record {
        Record::Event(head) => builder.event(head, body.clone()),
        Record::Carried(head) => builder.carried(head, body.clone()),
        Record::Outcomes(outcomes) => builder.outcomes(outcomes),
        Record::Name(kind, id, name) => builder.name(*kind, *id, name),
        Record::Control(control) => builder.control(control),
        Record::Selection(selection) => builder.selection(selection),
        Record::Replay(replay) => builder.replay(replay),
    }
}

/// Bytes that the records will take, or a few more.
pub(super) fn tail_bytes(tail: &[TailRecord]) -> u64 {
    let mut builder = GroupBuilder::default();
    let mut bodies = 0;
    for TailRecord { record, body } in tail {
        bodies += body.len() as u64;
        match record {
            Record::Event(head) | Record::Carried(head) => {
                builder.event(&EventHead { body_bytes: 0, ..head.clone() }, Bytes::new());
            }
            _ => add(&mut builder, &TailRecord { record: record.clone(), body: Bytes::new() }),
        }
    }
    builder.length() as u64 + bodies
}
