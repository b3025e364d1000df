//! Names: how many there may be, when they go, and what becomes of queues whose names are gone.

use std::sync::Mutex;

use super::retention::{Kept, fill, id};
use super::*;
use crate::store::journal::format::{HEADER_MAX, SegmentHeader, VERSION_PLAIN};
use crate::store::journal::model::Call;

/// The rules of a generator that puts something new into every name: as long as a rule's name may nearly be.
fn rules(store: &JournalStore, round: u32, count: usize) -> Vec<NameId> {
    let name = |at| format!("{round:05} {at:05} {}", "r".repeat(183));
    (0..count).map(|at| store.name(NameKind::Rule, &name(at))).collect()
}

/// Bytes of the header of the newest segment.
fn header_bytes(disk: &ModelDisk) -> usize {
    let newest = disk.list().expect("a list").into_iter().filter_map(|name| segment_name::segment_of(&name)).max();
    let mut length = 0;
    disk.edit(&file_name(newest.expect("a segment")), |bytes| {
        length = SegmentHeader::length(&bytes[..16]).expect("a header");
    });
    length
}

fn names_of(store: &JournalStore, kind: NameKind) -> Vec<String> {
    store.names(kind).into_iter().map(|(_, name)| name.to_string()).collect()
}

#[test]
fn twenty_configs_with_other_names_leave_a_small_header_and_every_queue_where_it_was() {
    let kept = Kept::new(64 << 20);
    let store = kept.open_with(1 << 20);
    append(&store, "waits", &[CRM]).expect("taken");
    store.pause(crm(&store), "by hand");
    for round in 1..=20 {
        let mut ids = rules(&store, round, 4700);
        ids.push(crm(&store));
        store.use_names(round, &ids);
        // The writer has this round before the next begins, as between two reloads; else one group may hold several.
        store.sync().expect("synced");
    }
    store.close();
    drop(store);
    for index in ["kept", "lost"] {
        if index == "lost" {
            kept.remove_index();
        }
        let (store, opened) = kept.try_open();
        assert_eq!((opened.damage, opened.nameless), (Vec::new(), Vec::<String>::new()), "the index is {index}");
        assert!(header_bytes(&kept.disk) < 4 << 20, "{} bytes, the index is {index}", header_bytes(&kept.disk));
        assert_eq!(store.state(crm(&store)).paused.map(|pause| pause.reason), Some("by hand".to_owned()));
        assert_eq!(store.counts(crm(&store)).backlog, 1);
        store.use_names(1, &[crm(&store)]);
        store.use_names(2, &[crm(&store)]);
        assert!(store.names(NameKind::Rule).len() <= 2, "that of the event stays, and the newest number of all");
        store.close();
    }
}

#[test]
fn a_name_stays_while_an_event_a_queue_or_a_pause_needs_it_and_its_number_is_never_given_again() {
    let kept = Kept::new(1 << 20);
    let store = kept.open();
    append(&store, "waits", &["waiting"]).expect("taken");
    append(&store, "arrives", &["delivered"]).expect("taken");
    let claims = store.claim(id(&store, "delivered"), 1);
    store.settle(vec![(claims[0], Settlement::Delivered { attempts: 1 })]);
    store.pause(id(&store, "paused"), "by hand");
    let unused = id(&store, "unused");
    let last = store.name(NameKind::Rule, "the newest");
    for _ in 0..3 {
        store.use_names(1, &[]);
    }
    let there = |store: &JournalStore| names_of(store, NameKind::Destination);
    assert_eq!(there(&store), ["waiting", "delivered", "paused"]);
    assert_eq!(store.find(NameKind::Destination, "unused"), None);
    let again = id(&store, "unused");
    assert!(again > last && again != unused, "{again:?}");
    store.use_names(1, &[]);
    // Its event goes with its segment, and its name with it.
    let claims = store.claim(id(&store, "waiting"), 1);
    store.settle(vec![(claims[0], Settlement::Delivered { attempts: 1 })]);
    fill(&store, 4 << 20);
    store.trim();
    assert!(store.history().start > 1, "{:?}", store.history());
    assert_eq!(there(&store), ["paused", "unused"], "and the newest of all");
    store.close();
    drop(store);
    // The header of the segment from which it was read may be older than that.
    let store = kept.open();
    store.use_names(1, &[]);
    assert_eq!(there(&store), ["paused", "unused"]);
}

#[test]
fn more_names_than_a_header_holds_refuse_events_and_lose_nothing() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "waits", &[CRM]).expect("taken");
    // Nobody says which of them are in use.
    let ids = rules(&store, 1, 90_000);
    let refused = append(&store, "no", &[CRM]).expect_err("no segment can be made");
    assert!(refused.to_string().contains("names"), "{refused}");
    store.use_names(1, &ids);
    let full = store.room_for_names(&[(NameKind::Rule, "one more")]).expect_err("there is no room");
    assert!(full.to_string().contains("use names that stay the same"), "{full}");
    let destinations: Vec<NameId> = store.names(NameKind::Destination).into_iter().map(|(id, _)| id).collect();
    for _ in 0..2 {
        store.use_names(1, &destinations);
    }
    append(&store, "yes", &[CRM]).expect("the names are gone");
    store.close();
    drop(store);
    // Their records are still read, and at the start nothing is in force yet.
    let (store, opened) = open(&disk);
    assert_eq!((opened.damage, opened.backlog), (Vec::new(), 2));
    assert_eq!(store.room_for_names(&[(NameKind::Destination, CRM), (NameKind::Rule, "one more")]), Ok(()));
    append(&store, "and again", &[CRM]).expect("the names are gone");
    assert_eq!(waiting(&store, CRM), ["waits", "yes", "and again"]);
}

#[test]
fn an_event_of_an_older_config_is_refused_where_its_names_are_gone_and_taken_where_they_are_not() {
    for is_known in [true, false] {
        let (store, _) = open(&ModelDisk::default());
        let old = event(&store, "old", &["gone"]);
        let ids: Vec<NameId> = old.names().collect();
        // So that none of them is the newest, which stays.
        crm(&store);
        store.use_names(1, &ids);
        store.use_names(2, &[]);
        if is_known {
            store.append(old.clone()).blocking_recv().expect("an answer").expect("taken");
        }
        store.use_names(3, &[]);
        let answer = store.append(old).blocking_recv().expect("an answer");
        assert!(if is_known { answer.is_ok() } else { answer == Err(AppendError::Outdated) }, "{answer:?}");
    }
}

#[test]
fn a_queue_whose_number_has_no_name_is_told_and_kept_under_one_that_says_so() {
    use super::format::{EventHead, GroupBuilder, GroupPlace};
    let disk = ModelDisk::default();
    let header = SegmentHeader {
        version: VERSION_PLAIN,
        segment: 1,
        first_sequence: 0,
        first_group: 0,
        journal: 5,
        created_ms: 5,
        sealed_segment: 0,
        sealed_at: 0,
        names: Vec::new(),
        states: Vec::new(),
    };
    let mut file = header.encode();
    let head = EventHead {
        id: EventId::mint(1_700_000_000_000, 0, 0),
        body_bytes: 3,
        body_crc: crc32c::crc32c(b"one"),
        source: NameId(2),
        rules: Vec::new(),
        deliveries: vec![PlannedDelivery { destination: NameId(7), rule: NameId(3) }],
        is_erased: false,
        is_redacted: false,
    };
    let mut builder = GroupBuilder::default();
    let mut group = Vec::new();
    builder.event(&head, Bytes::from_static(b"one"));
    let at = file.len() as u64;
    builder.finish(GroupPlace { segment: 1, offset: at, group: 0, durable_up_to: at, first_sequence: 0 }, &mut group);
    file.extend_from_slice(&group);
    disk.create(&file_name(1), 0).expect("made");
    disk.edit(&file_name(1), |bytes| *bytes = file);
    let (store, opened) = open(&disk);
    assert_eq!(opened.nameless, ["unnamed (former 7)"]);
    assert_eq!(waiting(&store, "unnamed (former 7)"), ["one"]);
}

#[test]
fn a_header_with_more_reasons_than_it_holds_keeps_every_pause_and_as_much_of_why_as_fits() {
    let names: Vec<_> =
        (0..20_000).map(|at| (NameKind::Destination, NameId(at), format!("destination {at}"))).collect();
    let pause = |at| NameState {
        paused: Some(crate::store::Pause { since_ms: 5, reason: format!("{at:<1024}") }),
        held_since_ms: Some(8),
        open_since_ms: Some(6),
        removed_since_ms: Some(7),
    };
    let header = SegmentHeader {
        version: VERSION_PLAIN,
        segment: 1,
        first_sequence: 0,
        first_group: 0,
        journal: 5,
        created_ms: 5,
        sealed_segment: 0,
        sealed_at: 0,
        states: (0..20_000).map(|at| (NameId(at), pause(at))).collect(),
        names,
    };
    let bytes = header.encode();
    assert!(bytes.len() <= HEADER_MAX && bytes.len() > HEADER_MAX / 10 * 9, "{}", bytes.len());
    let mut read = SegmentHeader::decode(&bytes).expect("it can be read");
    for ((id, state), (_, given)) in read.states.iter_mut().zip(&header.states) {
        let pause = state.paused.as_mut().expect("paused");
        let given = given.paused.as_ref().expect("paused");
        assert!(given.reason.starts_with(&pause.reason) && pause.reason.len() > 500, "{id:?}");
        pause.reason.clone_from(&given.reason);
    }
    assert_eq!(read, header);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn names_that_have_room_make_a_header_that_is_read(
        lengths in prop::collection::vec(0..1100usize, 0..40), reasons in prop::collection::vec("\\PC{0,40}", 0..40),
    ) {
        let mut names = super::super::names::Names::default();
        for (at, length) in lengths.iter().enumerate() {
            let name = queues::cut(format!("{at} {}", "ä".repeat(*length)));
            names.insert(NameKind::Rule, NameId(at as u32), name.into());
        }
        let pause = |reason: &String| crate::store::Pause { since_ms: 1, reason: queues::cut(reason.clone()) };
        let paused = |(at, reason): (usize, &String)| {
            (NameId(at as u32), NameState { paused: Some(pause(reason)), ..NameState::default() })
        };
        let header = SegmentHeader {
            version: VERSION_PLAIN,
            segment: 1, first_sequence: 0, first_group: 0, journal: 5, created_ms: 5, sealed_segment: 0, sealed_at: 0,
            names: names.all(), states: reasons.iter().enumerate().map(paused).collect(),
        };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}

#[test]
fn names_of_an_event_that_is_being_written_stay_whatever_is_reloaded_meanwhile() {
    const SEGMENT: u64 = 64 << 10;
    let disk = ModelDisk::default();
    let options = Options { segment_bytes: SEGMENT, ..Options::default() };
    let (store, _) = JournalStore::open(Arc::new(disk.clone()), options).expect("it opens");
    let store = Arc::new(store);
    let new = event(&store, &"b".repeat(SEGMENT as usize), &["going"]);
    let going = id(&store, "going");
    let used = [new.source, new.rules[0], going];
    let last = store.name(NameKind::Rule, "the newest");
    store.use_names(1, &used);
    // Two reloads while the event is on its way into a segment of its own.
    let reloading = store.clone();
    let rounds = Arc::new(Mutex::new(2..4));
    let left = rounds.clone();
    disk.before_each_call(move |call| {
        if call == Call::Create {
            lock(&left).by_ref().for_each(|round| reloading.use_names(round, &[last]));
        }
    });
    store.append(new).blocking_recv().expect("an answer").expect("taken");
    assert!(lock(&rounds).is_empty(), "both were in between");
    assert_eq!(store.name_of(going).as_deref(), Some("going"));
    store.close();
    let (store, opened) = open_with(&disk, SEGMENT);
    assert_eq!((opened.nameless, waiting(&store, "going").len()), (Vec::<String>::new(), 1));
}
