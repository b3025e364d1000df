//! Records of an old segment's end on their way into a new one.

use super::GROUP_BYTES_MAX;
use crate::store::journal::format::{EventHead, GroupBuilder, Record};
use crate::store::journal::recover::Carried;

/// The number of a carried event.
pub(super) fn sequence(carried: &Carried) -> Option<u64> {
    match carried {
        Carried::Event(head, _) => Some(head.id.sequence()),
        Carried::Other(_) => None,
    }
}

/// Cuts carried records into stretches of at most [`GROUP_BYTES_MAX`] of bodies, in each of which the events follow one another
/// without a gap: damage before them may have left one.
pub(super) fn stretches(carried: &[Carried]) -> Vec<&[Carried]> {
    let (mut stretches, mut start, mut bytes, mut last) = (Vec::new(), 0, 0, None);
    for (i, record) in carried.iter().enumerate() {
        let body = if let Carried::Event(_, body) = record { body.len() } else { 0 };
        let number = sequence(record);
        let is_gap = number.is_some_and(|number| last.is_some_and(|last| number != last + 1));
        if i > start && (is_gap || bytes + body > GROUP_BYTES_MAX) {
            stretches.push(&carried[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += body;
        last = number.or(last);
    }
    if start < carried.len() {
        stretches.push(&carried[start..]);
    }
    stretches
}

pub(super) fn carried_bytes(carried: &[Carried]) -> u64 {
    let mut builder = GroupBuilder::default();
    let mut bodies = 0;
    for record in carried {
        match record {
            Carried::Event(head, body) => {
                bodies += body.len() as u64;
                builder.event(&EventHead { body_bytes: 0, ..head.clone() }, &[]);
            }
            Carried::Other(Record::Outcomes(outcomes)) => builder.outcomes(outcomes),
            // Names and acts are a few bytes each, and the reserve covers them.
            Carried::Other(_) => {}
        }
    }
    builder.length() as u64 + bodies
}
