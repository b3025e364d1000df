//! Erasing in the bytes of a group: nothing becomes longer or shorter, and all CRCs are right in the end.

use std::ops::Range;

use super::record::{FLAG_ERASED, FLAG_REDACTED, Record, records_in};
use super::{GROUP_HEAD, GroupHead};

const ERASED: &[u8] = br#"{"type":"erased"}"#;
const ERASED_BYTES: usize = ERASED.len();
/// Where in an event's record the CRC of its body stands: behind the record's own eight bytes and the body's length.
const BODY_CRC_AT: usize = 12;

/// What lies in the place of a body that was erased: as long, and JSON that a release takes for an event which does not know of erasing.
pub fn erased_body(bytes: usize) -> Vec<u8> {
    let says: &[u8] = match bytes {
        ..2 => b"",
        2..ERASED_BYTES => b"{}",
        _ => ERASED,
    };
    let mut body = says.to_vec();
    body.resize(bytes, b' ');
    body
}

/// A record of a group, and where in the group it lies.
pub struct RecordPlace {
    pub record: Record,
    /// Its head.
    pub head: Range<usize>,
    /// Its body, where it is an event; else nothing.
    pub body: Range<usize>,
}

/// The records of a sound group. `group` is all of it.
pub fn record_places(head: &GroupHead, group: &[u8]) -> Vec<RecordPlace> {
    let mut body_at = head.heads_end();
    let heads = group.get(GROUP_HEAD..head.heads_end()).unwrap_or_default();
    let placed = records_in(heads).map(|(at, record)| {
        let bytes = match &record {
            Record::Event(event) | Record::Relocated(event) => event.body_bytes as usize,
            _ => 0,
        };
        let body = body_at..body_at + bytes;
        body_at = body.end;
        RecordPlace { record, head: GROUP_HEAD + at.start..GROUP_HEAD + at.end, body }
    });
    placed.collect()
}

/// Erases an event. The group is to be [sealed](seal_group) afterwards.
pub fn erase_event(group: &mut [u8], place: &RecordPlace) {
    put_body(group, place, FLAG_ERASED, &erased_body(place.body.len()));
}

/// Puts a body that says less in the place of an event's, of the same length. The group is to be [sealed](seal_group) afterwards.
pub fn redact_event(group: &mut [u8], place: &RecordPlace, body: &[u8]) {
    put_body(group, place, FLAG_REDACTED, body);
}

fn put_body(group: &mut [u8], place: &RecordPlace, flag: u8, body: &[u8]) {
    let head = &mut group[place.head.clone()];
    head[1] |= flag;
    head[BODY_CRC_AT..BODY_CRC_AT + 4].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    group[place.body.clone()].copy_from_slice(body);
}

/// Makes the CRC of a group right again whose records were changed.
pub fn seal_group(head: &GroupHead, group: &mut [u8]) {
    let crc = crc32c::crc32c(&group[8..head.heads_end()]);
    group[4..8].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::EventId;
    use crate::store::journal::format::{EventHead, GroupBuilder, GroupPlace, records};
    use crate::store::{NameId, PlannedDelivery};

    #[test]
    fn what_lies_in_the_place_of_a_body_is_as_long_and_json() {
        for (bytes, expected) in [(0, ""), (1, " "), (2, "{}"), (16, "{}              "), (17, r#"{"type":"erased"}"#)]
        {
            assert_eq!(erased_body(bytes), expected.as_bytes());
        }
        assert_eq!(erased_body(19), br#"{"type":"erased"}  "#);
    }

    #[test]
    fn an_erased_event_leaves_the_others_of_its_group_as_they_were_letter_for_letter() {
        let event = |sequence: u64, body: &'static str| {
            let head = EventHead {
                id: EventId::mint(7, 1, sequence),
                body_bytes: body.len() as u32,
                body_crc: crc32c::crc32c(body.as_bytes()),
                source: NameId(3),
                rules: vec![NameId(9)],
                deliveries: vec![PlannedDelivery { destination: NameId(1), rule: NameId(9) }],
                is_erased: false,
                is_redacted: false,
            };
            (head, Bytes::from_static(body.as_bytes()))
        };
        let mut builder = GroupBuilder::default();
        let events = [event(0, r#"{"user":"ann"}"#), event(1, r#"{"user":{"id":"ann"}}"#), event(2, "three")];
        events.iter().for_each(|(head, body)| builder.event(head, body.clone()));
        let mut group = Vec::new();
        let place = GroupPlace { segment: 2, offset: 64, group: 3, durable_up_to: 64, first_sequence: 0 };
        builder.finish(place, &mut group);
        let before = group.clone();
        let head = GroupHead::peek(&group, 2, 64).expect("a group");
        let places = record_places(&head, &group);
        assert_eq!(&group[places[1].body.clone()], &events[1].1);
        erase_event(&mut group, &places[1]);
        assert!(!head.is_sound(&group), "not before it is sealed");
        seal_group(&head, &mut group);

        assert_eq!(GroupHead::peek(&group, 2, 64), Some(head));
        assert!(head.is_sound(&group));
        let read: Vec<_> = records(&group[GROUP_HEAD..head.heads_end()]).collect();
        let body = erased_body(events[1].1.len());
        let erased = EventHead { is_erased: true, body_crc: crc32c::crc32c(&body), ..events[1].0.clone() };
        assert_eq!(read, [events[0].0.clone(), erased, events[2].0.clone()].map(Record::Event));
        assert_eq!(group[places[1].body.clone()], body);
        let touched = |at: usize| {
            let [flag, crc] = [1, BODY_CRC_AT].map(|by| places[1].head.start + by);
            (4..8).contains(&at) || at == flag || (crc..crc + 4).contains(&at) || places[1].body.contains(&at)
        };
        let changed: Vec<_> = (0..group.len()).filter(|at| group[*at] != before[*at] && !touched(*at)).collect();
        assert_eq!(changed, [0; 0]);
    }
}
