//! At each limit that a reader has and just beyond it: what was acknowledged is read again.

use super::retention::{Kept, fill, id};
use super::*;
use crate::store::ReplayProgress;
use crate::store::journal::format::{
    EventHead, GroupBuilder, GroupHead, GroupPlace, OUTCOMES_MAX, RECORD_MAX, Record, SPEC_MAX, event_head_bytes,
    records,
};
use crate::store::queues::{BulkAct, CHUNK, DeliveryKey, TEXT_MAX};

/// An event whose record head has exactly so many bytes, a multiple of four.
fn event_of(store: &JournalStore, head_bytes: usize) -> NewEvent {
    let to = event(store, "x", &[CRM]);
    let rules = (head_bytes - event_head_bytes(0, 1)) / 4;
    NewEvent { rules: vec![to.rules[0]; rules], ..to }
}

/// A journal whose writer takes everything in one turn.
fn by_hand(disk: &ModelDisk) -> (JournalStore, Writer) {
    JournalStore::open_by_hand(Arc::new(disk.clone()), Options::default(), &Untold::default()).expect("it opens")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    #[test]
    fn events_whose_heads_fill_a_group_and_more_are_read_again(
        sizes in prop::collection::vec(prop_oneof![
            Just(RECORD_MAX), Just(RECORD_MAX - 4), Just(1000),
        ], 1..5),
    ) {
        let disk = ModelDisk::default();
        let (store, mut writer) = by_hand(&disk);
        let answers: Vec<_> = sizes.iter().map(|size| store.append(event_of(&store, *size))).collect();
        for _ in &sizes {
            prop_assert!(writer.turn().expect("the disk is good"));
        }
        let ids: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().expect("written").expect("taken")).collect();
        drop((store, writer));
        let (store, opened) = open(&disk.after_power_cut(|_| 0));
        prop_assert_eq!(opened.damage, []);
        prop_assert_eq!(opened.backlog, sizes.len() as u64);
        for (id, size) in ids.into_iter().zip(sizes) {
            let read = store.event(id).expect("it is there").event.event().expect("not erased");
            prop_assert_eq!(event_head_bytes(read.rules.len(), read.deliveries.len()), size);
        }
    }

}

proptest! {
    #[test]
    fn a_group_takes_records_up_to_its_limit_and_leaves_the_rest_as_it_was(
        sizes in prop::collection::vec(0..300usize, 1..40), heads_max in 100..2000usize,
    ) {
        let mut builder = GroupBuilder::default();
        let mut groups = Vec::new();
        let mut bytes = Vec::new();
        let place = GroupPlace { segment: 1, offset: 8, group: 0, durable_up_to: 8, first_sequence: 0 };
        let mut finish = |builder: &mut GroupBuilder| {
            builder.finish(place, &mut bytes);
            groups.push(bytes.clone());
        };
        for (at, rules) in sizes.iter().enumerate() {
            let head = EventHead {
                id: EventId::mint(1, 1, at as u64), body_bytes: 1, body_crc: 0, source: NameId(0),
                rules: vec![NameId(7); *rules], deliveries: Vec::new(),
                is_erased: false,
                is_redacted: false,
            };
            if !builder.add_within(heads_max, |builder| builder.event(&head, Bytes::from_static(b"x"))) {
                finish(&mut builder);
                builder.event(&head, Bytes::from_static(b"x"));
            }
        }
        finish(&mut builder);
        let mut read = Vec::new();
        for bytes in &groups {
            let head = GroupHead::peek(bytes, 1, 8).expect("a group");
            prop_assert!(head.is_sound(bytes));
            prop_assert!(head.heads_bytes as usize <= heads_max || head.records == 1);
            prop_assert_eq!((head.events, head.bodies_bytes), (head.records, head.records));
            for record in records(&bytes[format::GROUP_HEAD..head.heads_end()]) {
                if let Record::Event(head) = record {
                    read.push(head.rules.len());
                }
            }
        }
        prop_assert_eq!(read, sizes);
    }
}

#[test]
fn an_event_that_can_never_be_written_is_refused_and_its_neighbour_is_taken() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let refused = store.append(event_of(&store, RECORD_MAX + 4)).blocking_recv().expect("an answer");
    let why = refused.expect_err("no record holds it").to_string();
    assert!(why.contains("use fewer rules or destinations"), "{why}");
    store.append(event_of(&store, RECORD_MAX)).blocking_recv().expect("an answer").expect("taken");
}

#[test]
fn outcomes_with_the_longest_reasons_taken_in_one_turn_are_read_again() {
    // 65 536 of them have more bytes than a reader takes for one group.
    const EVENTS: usize = 16_384;
    let names = ["a", "b", "c", "d"];
    let disk = ModelDisk::default();
    let (store, mut writer) = by_hand(&disk);
    let mut answers: Vec<_> = (0..EVENTS).map(|_| store.append(event(&store, "x", &names))).collect();
    while !matches!(answers.last_mut().expect("some").try_recv(), Ok(Ok(_))) {
        assert!(writer.turn().expect("the disk is good"));
    }
    for name in names {
        let claims = store.claim(id(&store, name), usize::MAX);
        let dead = |claim| (claim, Settlement::Dead { attempts: 1, reason: "r".repeat(TEXT_MAX) });
        store.settle(claims.into_iter().map(dead).collect());
    }
    // Nothing else is asked of it, so that all of them come together.
    let mut all = store.append(event(&store, "last", &[]));
    assert!(writer.turn().expect("the disk is good"));
    all.try_recv().expect("an answer").expect("taken");
    drop((store, writer));
    let (store, opened) = open(&disk.after_power_cut(|_| 0));
    assert_eq!((opened.damage, opened.backlog), (Vec::new(), 0));
    for name in names {
        assert_eq!(store.dead(id(&store, name)).len(), EVENTS as u64, "{name}");
    }
}

#[test]
fn relocated_events_with_more_outcomes_than_a_group_holds_are_read_again() {
    // Each event stands for four dead letters with the longest reason: 6 MB of heads for three thousand bytes of bodies.
    const EVENTS: u64 = 1500;
    let names = ["a", "b", "c", "d"];
    let disk = ModelDisk::default();
    let (store, mut writer) = by_hand(&disk);
    // Few in a group: who looks at one event reads its group up to it.
    for _ in 0..EVENTS / 50 {
        let mut answers: Vec<_> = (0..50).map(|_| store.append(event(&store, "{}", &names))).collect();
        while !matches!(answers.last_mut().expect("some").try_recv(), Ok(Ok(_))) {
            assert!(writer.turn().expect("the disk is good"));
        }
    }
    let reason = |name: &str| format!("{name}{}", "r".repeat(TEXT_MAX - 1));
    for name in names {
        let claims = store.claim(id(&store, name), usize::MAX);
        let dead = |claim| (claim, Settlement::Dead { attempts: 2, reason: reason(name) });
        store.settle(claims.into_iter().map(dead).collect());
    }
    let mut last = store.append(event(&store, "last", &[]));
    assert!(writer.turn().expect("the disk is good"));
    last.try_recv().expect("an answer").expect("taken");
    drop((store, writer));
    // In a segment of their own, without the one that they are of.
    let (store, mut writer) = by_hand(&disk);
    let events = (0..EVENTS).map(|sequence| store.event_by_number(sequence).expect("it is there")).collect();
    let at_ms = crate::time::wall_ms();
    let letters = names.iter().flat_map(|name| (0..EVENTS).map(move |sequence| (*name, sequence)));
    let ends = letters.map(|(name, sequence)| {
        let state = DeliveryState::Dead { attempts: 2, at_ms, reason: reason(name) };
        (DeliveryKey { sequence, destination: id(&store, name) }, state)
    });
    let (reply, done) = std::sync::mpsc::sync_channel(1);
    let relocating = super::super::words::Relocating { events, ends: ends.collect(), reply };
    assert!(store.journal.sender.send(inbox::Message::Relocate(relocating)).is_ok());
    assert!(writer.turn().expect("the disk is good"));
    done.recv().expect("an answer").expect("there is room");
    drop((store, writer));
    let disk = disk.after_power_cut(|_| 0);
    disk.remove(&file_name(1)).expect("removed");
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage, []);
    for name in names {
        let dead = store.dead(id(&store, name));
        assert_eq!(dead.len(), EVENTS, "{name}");
        for sequence in dead.iter_from(0).step_by(997) {
            assert_eq!(store.event_by_number(sequence).expect("relocated").body, "{}".as_bytes());
            let state = stands(&store, DeliveryKey { sequence, destination: id(&store, name) });
            assert_eq!(state, DeliveryState::Dead { attempts: 2, at_ms, reason: reason(name) });
        }
    }
}

#[test]
fn dead_letters_of_small_events_outlive_a_trim_and_a_restart_without_the_index() {
    const EVENTS: u64 = 1500;
    let names = ["a", "b", "c", "d"];
    let kept = Kept::new(8 << 20);
    let store = kept.open_with(2 << 20);
    let mut answers: Vec<_> = (0..EVENTS).map(|_| store.append(event(&store, "{}", &names))).collect();
    answers.pop().expect("some").blocking_recv().expect("an answer").expect("taken");
    for name in names {
        let claims = store.claim(id(&store, name), usize::MAX);
        let dead = |claim| (claim, Settlement::Dead { attempts: 1, reason: "r".repeat(300) });
        store.settle(claims.into_iter().map(dead).collect());
    }
    fill(&store, 12 << 20);
    store.trim();
    assert!(store.history().start >= EVENTS, "their segment is gone: {:?}", store.history());
    store.close();
    drop(store);
    kept.remove_index();
    let store = kept.open_with(2 << 20);
    for name in names {
        let dead = store.dead(id(&store, name));
        assert_eq!(dead.len(), EVENTS, "{name}");
        assert!(dead.iter_from(0).step_by(97).all(|sequence| store.event_by_number(sequence).is_ok()));
    }
}

#[test]
fn a_selection_over_more_events_than_one_record_holds_is_read_again() {
    let disk = ModelDisk::default();
    let (store, mut writer) = by_hand(&disk);
    let mut answer = store.append(event(&store, "x", &[CRM]));
    assert!(writer.turn().expect("the disk is good"));
    answer.try_recv().expect("an answer").expect("taken");
    // One in each chunk, far beyond what one record holds, and a real one among them. What is not there is left alone.
    let chunks = (format::CHUNKS_MAX * 2 + 1) as u64;
    let sequences: NumberSet = (0..chunks).map(|chunk| chunk * CHUNK).collect();
    let record = queues::SelectionRecord {
        destination: crm(&store),
        at_ms: 1,
        act: BulkAct::DeadLetter,
        command: None,
        reason: "stale".to_owned(),
        sequences: sequences.clone(),
    };
    let parts = record.split();
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|part| part.sequences.chunks() <= format::CHUNKS_MAX));
    let together: NumberSet = parts.iter().flat_map(|part| part.sequences.iter_from(0)).collect();
    assert_eq!(together, sequences);
    let selection =
        Selection { destination: crm(&store), act: BulkAct::DeadLetter, reason: "stale".to_owned(), sequences };
    let (count, mut durable) = store.select(selection);
    assert!(writer.turn().expect("the disk is good"));
    assert_eq!((count, durable.try_recv()), (1, Ok(Ok(0))));
    drop((store, writer));
    let (store, _) = open(&disk.after_power_cut(|_| 0));
    assert_eq!(store.dead(crm(&store)).iter_from(0).collect::<Vec<_>>(), [0]);
}

#[test]
fn what_a_replay_was_asked_for_is_kept_up_to_its_limit_and_refused_beyond() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let replay = |id, length: usize| ReplayProgress { id, spec: "s".repeat(length), ..ReplayProgress::default() };
    for id in 0..20 {
        store.set_replay(replay(id, SPEC_MAX)).expect("taken");
    }
    let refused = store.set_replay(replay(99, SPEC_MAX + 1));
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    store.close();
    drop(store);
    let (store, opened) = open(&disk.after_power_cut(|_| 0));
    assert_eq!(opened.damage, []);
    let found = store.replays();
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|replay| replay.spec.len() == SPEC_MAX));
}

#[test]
fn an_unsynced_end_of_full_groups_is_written_again_in_groups_that_are_read() {
    let disk = ModelDisk::default();
    let (store, mut writer) = by_hand(&disk);
    let sizes = [RECORD_MAX, RECORD_MAX - 4, RECORD_MAX, 1000];
    let answers: Vec<_> = sizes.iter().map(|size| store.append(event_of(&store, *size))).collect();
    for _ in sizes {
        assert!(writer.turn().expect("the disk is good"));
    }
    drop((store, writer, answers));
    // The first time with its last group past the last mark.
    for _ in 0..2 {
        let (store, opened) = open(&disk);
        assert_eq!((opened.damage, opened.backlog), (Vec::new(), sizes.len() as u64));
        drop(store);
    }
}

#[test]
fn each_outcome_of_a_record_at_its_limit_is_read_again() {
    let outcome = |sequence| queues::OutcomeRecord {
        key: DeliveryKey { sequence, destination: NameId(u32::MAX) },
        attempts: u16::MAX,
        at_ms: u64::MAX,
        state: queues::OutcomeState::Scheduled { first_attempt_ms: 1, due_ms: 2, reason: "r".repeat(TEXT_MAX) },
    };
    let outcomes: Vec<_> = (0..OUTCOMES_MAX as u64).map(outcome).collect();
    let mut builder = GroupBuilder::default();
    builder.outcomes(&outcomes);
    assert!(builder.heads_bytes() <= RECORD_MAX, "{}", builder.heads_bytes());
    let mut bytes = Vec::new();
    let place = GroupPlace { segment: 1, offset: 8, group: 0, durable_up_to: 8, first_sequence: 0 };
    builder.finish(place, &mut bytes);
    let head = GroupHead::peek(&bytes, 1, 8).expect("a group");
    let read: Vec<_> = records(&bytes[format::GROUP_HEAD..head.heads_end()]).collect();
    assert_eq!(read, [Record::Outcomes(outcomes)]);
}

#[test]
fn after_an_event_the_writer_looks_once_by_itself_so_that_its_outcome_wakes_nobody() {
    let disk = ModelDisk::default();
    let (store, mut writer) = by_hand(&disk);
    // What was said at the start is written and synced.
    let mut first = store.append(event(&store, "x", &["a"]));
    while first.try_recv().is_err() {
        assert!(writer.turn().expect("the disk is good"));
    }
    assert!(writer.deadline().is_some(), "its outcome is on its way");
    assert!(writer.turn().expect("the disk is good"));
    assert_eq!(writer.deadline(), None, "nothing came, and nothing is due");
    let claims = store.claim(id(&store, "a"), 1);
    store.settle(vec![(claims[0], Settlement::Delivered { attempts: 1 })]);
    assert!(writer.turn().expect("the disk is good"));
    assert!(writer.turn().expect("the disk is good"));
    assert!(writer.deadline().is_some(), "the outcome is written later");
}
