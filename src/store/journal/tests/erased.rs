//! What is left of an event whose body was erased, and what nobody is given any more.

use super::*;
use crate::store::journal::format::{GroupHead, Record, SegmentHeader, erase_event, record_places, seal_group};
use crate::store::journal::verify::verify_disk;

const ANN: &str = r#"{"user":{"id":"ann@example.com"}}"#;

/// Erases the events of these numbers in a file.
fn erase_in(disk: &ModelDisk, segment: u64, sequences: &[u64]) {
    disk.edit(&file_name(segment), |bytes| {
        let mut offset = SegmentHeader::decode(bytes).expect("a header").encode().len();
        while let Some(head) = GroupHead::peek(&bytes[offset..], segment, offset as u64) {
            let group = &mut bytes[offset..offset + head.length() as usize];
            for place in record_places(&head, group) {
                if let Record::Event(event) | Record::Relocated(event) = &place.record
                    && sequences.contains(&event.id.sequence())
                {
                    erase_event(group, &place);
                }
            }
            seal_group(&head, group);
            offset += head.length() as usize;
        }
    });
}

#[test]
fn an_erased_event_is_known_by_its_id_and_is_nowhere_else() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let ids = ["one", ANN, "three"].map(|body| append(&store, body, &[CRM]).expect("taken"));
    store.close();
    erase_in(&disk, 1, &[1]);
    for _ in 0..2 {
        // The second time round it lies in a later segment: what was the unsynced end is written again.
        let (store, opened) = open(&disk);
        assert_eq!(opened.damage, []);
        let view = store.event(ids[1]).expect("its head is kept");
        let Kept::Erased(left) = view.event else { panic!("{view:?}") };
        assert_eq!((left.id, left.received_ms, left.deliveries.len()), (ids[1], 1_700_000_000_000, 1));
        assert_eq!(view.deliveries.len(), 1);
        assert!(matches!(store.event_by_number(1), Err(ReadError::Erased(_))));
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let page = store.journal.events(&EventQuery::all(order), None, 10).expect("a page");
            let mut seen: Vec<_> = page.items.iter().map(|event| event.id).collect();
            seen.sort();
            assert_eq!(seen, [ids[0], ids[2]]);
        }
        let (named, looked_at) = store.journal.events_of(&ids).expect("read");
        assert_eq!((named.len(), looked_at), (2, 3));
        store.close();
    }
}

#[test]
fn a_claim_of_an_erased_event_has_no_body() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, ANN, &[CRM]).expect("taken");
    store.close();
    erase_in(&disk, 1, &[0]);
    let (store, _) = open(&disk);
    let claims = store.claim(crm(&store), 9);
    let read: Vec<_> = claims.iter().map(|claim| store.read(claim).map_err(StoreError::from)).collect();
    assert!(matches!(&read[..], [Err(StoreError::Erased)]), "{read:?}");
}

#[test]
fn what_is_erased_is_counted_and_a_body_that_is_there_all_the_same_is_a_problem() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    for body in ["one", ANN] {
        append(&store, body, &[CRM]).expect("taken");
    }
    store.close();
    erase_in(&disk, 1, &[1]);
    let verified = || {
        let disk = Arc::new(disk.clone());
        let mut verified = verify_disk(disk, Path::new("/nowhere/state.db"), &mut |_| {}).expect("it reads");
        verified.problems.retain(|problem| !problem.starts_with("there is no index"));
        (verified.events, verified.erased, verified.problems)
    };
    assert_eq!(verified(), (1, 1, Vec::new()));
    disk.edit(&file_name(1), |bytes| {
        let mut offset = SegmentHeader::decode(bytes).expect("a header").encode().len();
        while let Some(head) = GroupHead::peek(&bytes[offset..], 1, offset as u64) {
            let group = &mut bytes[offset..offset + head.length() as usize];
            for place in record_places(&head, group) {
                if matches!(&place.record, Record::Event(event) if event.is_erased) {
                    let body = ANN.as_bytes();
                    group[place.body.clone()].copy_from_slice(body);
                    let at = place.head.start + 12;
                    group[at..at + 4].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
                }
            }
            seal_group(&head, group);
            offset += head.length() as usize;
        }
    });
    let (events, erased, problems) = verified();
    assert_eq!((events, erased, problems.len()), (1, 0, 1), "{problems:?}");
    assert!(problems[0].ends_with("it was erased, and its body is there"), "{problems:?}");
}
