//! Windows and digests, in the journal and in the index: what a start finds of them, wherever it looks.

use std::sync::atomic::Ordering;

use super::retention::{Kept, SEGMENT, fill, id, select};
use super::*;
use crate::store::journal::format::{SegmentHeader, VERSION_OF_LANES, VERSION_PLAIN};
use crate::store::journal::verify::verify_disk;
use crate::store::queues::{BulkAct, DeliveryKey};

const A: GroupKey = GroupKey([1; 16]);
const B: GroupKey = GroupKey([2; 16]);

fn head(key: GroupKey) -> WindowHead {
    let now_ms = crate::time::wall_ms();
    WindowHead { key, address: 7, opened_ms: now_ms, ends_ms: now_ms + 60_000, passed: 3 }
}

/// Waits for what is answered where no runtime is needed.
pub(super) fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(answer)
}

/// Gives lanes to deliveries by the numbers of their events.
pub(super) fn place(store: &JournalStore, of: NameId, heads: Vec<WindowHead>, lanes: &[(u64, Lane)]) {
    let delivery =
        |sequence| DeliveryId { event: EventId::mint(0, store.journal.number as u16, sequence), destination: of };
    store.queue(of).place(heads, lanes.iter().map(|(sequence, lane)| (delivery(*sequence), *lane)).collect());
}

/// A digest of events 0 to 2 that waits for its second attempt, an open window with event 3 in it, and event 4 that is ready.
fn with_lanes(store: &JournalStore) -> DigestId {
    for body in ["0", "1", "2", "3", "4"] {
        append(store, body, &[CRM]).expect("taken");
    }
    let crm = crm(store);
    let queue = store.queue(crm);
    queue.sort(true);
    let lanes = [0, 1, 2].map(|sequence| (sequence, Lane::Window(A)));
    place(store, crm, vec![head(A), head(B)], &lanes);
    place(store, crm, Vec::new(), &[(3, Lane::Window(B)), (4, Lane::Ready)]);
    let digest = wait(queue.end(vec![A])).expect("durable").expect("something lay in it");
    queue.offer(digest);
    let claims = store.claim(crm, 9);
    let claim = *claims.iter().find(|claim| claim.digest.is_some()).expect("due");
    let due_ms = crate::time::wall_ms() + 3_600_000;
    let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() };
    store.settle(vec![(claim, retry)]);
    digest
}

#[track_caller]
fn check(store: &JournalStore, digest: DigestId, name: &str) {
    let of = id(store, name);
    let queue = store.queue(of);
    let known = queue.digests();
    assert_eq!(known.iter().map(|known| (known.id, known.members)).collect::<Vec<_>>(), [(digest, 3)]);
    assert_eq!(known[0].name, digest.name(store.journal.number));
    assert!(!known[0].is_offered && known[0].due_ms > Some(crate::time::wall_ms()));
    let state = stands(store, DeliveryKey { sequence: 1, destination: of });
    assert!(matches!(&state, DeliveryState::Scheduled { attempts: 1, reason, .. } if reason == "503"), "{state:?}");
    queue.sort(true);
    let open = queue.windows().open;
    assert_eq!(
        open.iter().map(|(head, members)| (head.key, head.address, head.passed, *members)).collect::<Vec<_>>(),
        [(B, 7, 3, 0)]
    );
    let unplaced = lock(&store.journal.destination(of).queue).unplaced(9);
    assert_eq!(unplaced, [3, 4], "what is derived is to be derived again");
    let before = store.journal.last_digest.load(Ordering::Acquire);
    assert_eq!(before, digest.0.get(), "the next has a greater number");
}

#[test]
fn a_start_finds_windows_and_digests_by_the_checkpoint_by_the_journal_and_by_both() {
    let changes: [fn(&Kept, &JournalStore); 4] = [
        |_, store| store.close(),
        |_, store| store.sync().expect("durable"),
        |_, store| store.trim(),
        |kept, store| {
            store.close();
            kept.remove_index();
        },
    ];
    for change in changes {
        let kept = Kept::new(64 * SEGMENT);
        let store = kept.open();
        let digest = with_lanes(&store);
        change(&kept, &store);
        drop(store);
        check(&kept.open(), digest, CRM);
        // Twice: the old end was written again.
        check(&kept.open(), digest, CRM);
    }
}

#[test]
fn after_a_power_cut_a_closed_digest_is_there_with_the_same_members() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let digest = with_lanes(&store);
    store.sync().expect("durable");
    let (store, _) = open(&disk.after_power_cut(|_| 0));
    check(&store, digest, CRM);
}

#[test]
fn how_a_digest_ended_is_known_of_each_member_also_after_a_start_without_an_index() {
    type Said = fn(&DeliveryState) -> bool;
    let ends: [(Settlement, Said); 3] = [
        (Settlement::Delivered { attempts: 2 }, |state| matches!(state, DeliveryState::Delivered { attempts: 2, .. })),
        (Settlement::Skipped { attempts: 2, reason: "no".into() }, |state| {
            matches!(state, DeliveryState::Skipped { .. })
        }),
        (
            Settlement::Dead { attempts: 2, reason: "400 no".into() },
            |state| matches!(state, DeliveryState::Dead { attempts: 2, reason, .. } if reason == "400 no"),
        ),
    ];
    for (settlement, is_right) in ends {
        let kept = Kept::new(64 * SEGMENT);
        let store = kept.open();
        let digest = with_lanes(&store);
        assert_eq!(store.counts(crm(&store)).scheduled, 3, "its members");
        store.retry_now(crm(&store));
        let claim = store.claim(crm(&store), 9)[0];
        assert_eq!(claim.digest, Some(digest));
        store.settle(vec![(claim, settlement)]);
        let check = |store: &JournalStore| {
            let crm = crm(store);
            let is_dead = store.counts(crm).dead;
            assert_eq!(store.counts(crm).backlog + is_dead, if is_dead > 0 { 5 } else { 2 });
            for sequence in 0..3 {
                let event = store.event_by_number(sequence).expect("it is there");
                let states = store.states(&[event], &mut SearchLimit::whole()).expect("read");
                assert!(is_right(&states[0][0].1), "{:?}", states[0][0]);
            }
            assert_eq!(store.queue(crm).digests(), []);
        };
        assert!(store.queue(crm(&store)).digests().is_empty());
        let waiting = store.waiting(crm(&store));
        assert_eq!(waiting.iter_from(0).collect::<Vec<_>>(), [3]);
        store.close();
        drop(store);
        check(&kept.open());
        kept.remove_index();
        check(&kept.open());
    }
}

#[test]
fn of_a_digest_that_is_given_up_each_member_is_a_dead_letter_however_many_they_are() {
    use crate::store::journal::format::OUTCOMES_MAX;
    for (members, attempts) in [(OUTCOMES_MAX, 20), (OUTCOMES_MAX + 1, 0)] {
        let kept = Kept::new(64 * SEGMENT);
        let store = kept.open();
        let events: Vec<_> = (0..members).map(|_| store.append(event(&store, "x", &[CRM]))).collect();
        for event in events {
            event.blocking_recv().expect("an answer").expect("taken");
        }
        let crm = crm(&store);
        let queue = store.queue(crm);
        queue.sort(true);
        let lanes: Vec<_> = (0..members as u64).map(|sequence| (sequence, Lane::Window(A))).collect();
        place(&store, crm, vec![head(A)], &lanes);
        queue.offer(wait(queue.end(vec![A])).expect("durable").expect("something lay in it"));
        let claim = store.claim(crm, 1)[0];
        store.settle(vec![(claim, Settlement::Dead { attempts: 20, reason: "400 no".into() })]);
        store.close();
        drop((queue, store));
        kept.remove_index();
        let store = kept.open();
        assert_eq!((store.dead(crm).len(), store.counts(crm).backlog), (members as u64, 0));
        let state = stands(&store, DeliveryKey { sequence: members as u64 - 1, destination: crm });
        // Very many are given up by one record, which says of none how often it was tried.
        assert!(
            matches!(&state, DeliveryState::Dead { attempts: found, reason, .. } if *found == attempts && reason == "400 no"),
            "{state:?}"
        );
    }
}

/// The formats of a disk's segments.
fn versions(disk: &ModelDisk) -> Vec<u32> {
    let mut found = Vec::new();
    for name in disk.list().expect("it lists").iter().filter(|name| name.ends_with(".journal")) {
        disk.edit(name, |bytes| found.push(SegmentHeader::decode(bytes).expect("a header").version));
    }
    found
}

#[test]
fn a_segment_has_the_newer_format_only_where_something_is_said_of_lanes() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "0", &[CRM]).expect("taken");
    store.pause(crm(&store), "410");
    store.sync().expect("durable");
    assert_eq!(versions(&disk), [VERSION_PLAIN]);
    let queue = store.queue(crm(&store));
    queue.sort(true);
    place(&store, crm(&store), Vec::new(), &[(0, Lane::Ready)]);
    store.sync().expect("durable");
    assert_eq!(versions(&disk), [VERSION_PLAIN], "lanes alone are not written");
    place(&store, crm(&store), vec![head(A)], &[]);
    store.sync().expect("durable");
    assert_eq!(versions(&disk), [VERSION_PLAIN, VERSION_OF_LANES]);
    append(&store, "1", &[CRM]).expect("taken");
    place(&store, crm(&store), vec![head(B)], &[]);
    store.sync().expect("durable");
    assert_eq!(versions(&disk), [VERSION_PLAIN, VERSION_OF_LANES], "once");
    drop((queue, store));
    let (store, _) = open(&disk);
    assert_eq!(versions(&disk), [VERSION_PLAIN, VERSION_OF_LANES, VERSION_OF_LANES], "windows are open");
    store.queue(crm(&store)).sort(false);
    store.sync().expect("durable");
    store.close();
    drop(store);
    let (store, _) = open(&disk);
    assert_eq!(versions(&disk).last(), Some(&VERSION_OF_LANES), "that they are forgotten is said again");
    for body in ["2", "3"] {
        append(&store, body, &[]).expect("taken");
    }
    store.close();
    drop(store);
    drop(open(&disk));
    assert_eq!(versions(&disk).last(), Some(&VERSION_PLAIN));
}

#[test]
fn windows_and_digests_outlive_the_segments_that_spoke_of_them_and_the_index() {
    let kept = Kept::new(2 * SEGMENT);
    let store = kept.open();
    // Dead letters that are relocated, then replayed: nothing of them lies in the history.
    for body in ["0", "1", "2"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let crm = crm(&store);
    select(&store, CRM, BulkAct::DeadLetter, &[0, 1, 2]);
    fill(&store, 6 * SEGMENT);
    store.trim();
    assert!(store.history().start > 2, "{:?}", store.history());
    select(&store, CRM, BulkAct::Redeliver, &[0, 1, 2]);
    let queue = store.queue(crm);
    queue.sort(true);
    place(&store, crm, vec![head(A), head(B)], &[0, 1, 2].map(|sequence| (sequence, Lane::Window(A))));
    let digest = wait(queue.end(vec![A])).expect("durable").expect("something lay in it");
    queue.offer(digest);
    let claim = store.claim(crm, 9)[0];
    let due_ms = crate::time::wall_ms() + 3_600_000;
    let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() };
    store.settle(vec![(claim, retry)]);
    let before = store.history().start;
    fill(&store, 6 * SEGMENT);
    store.trim();
    assert!(store.history().start > before + 3, "the segment with the digest is gone");
    drop((queue, store));
    kept.remove_index();
    let store = kept.open();
    let queue = store.queue(crm);
    assert_eq!(queue.digests().iter().map(|known| (known.id, known.members)).collect::<Vec<_>>(), [(digest, 3)]);
    assert_eq!(stands(&store, DeliveryKey { sequence: 2, destination: crm }), {
        DeliveryState::Scheduled { attempts: 1, due_ms, reason: "503".into() }
    });
    assert_eq!(queue.windows().open.iter().map(|(head, _)| head.key).collect::<Vec<_>>(), [B]);
    assert_eq!(store.event_by_number(1).expect("it is there").body, "1");
}

#[test]
fn a_destination_that_is_called_something_else_keeps_its_windows_and_digests_wherever_they_are_moved() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let digest = with_lanes(&store);
    let alerts = id(&store, ALERTS);
    let taken = store.take_over(crm(&store), alerts);
    assert_eq!((taken.waiting, taken.in_flight), (4, 1), "event 4 is in flight");
    assert!(store.queue(crm(&store)).digests().is_empty() && store.queue(crm(&store)).windows().open.is_empty());
    store.sync().expect("durable");
    drop(store);
    for _ in 0..2 {
        let store = kept.open();
        let queue = store.queue(id(&store, ALERTS));
        let known = queue.digests();
        assert_eq!(known.iter().map(|known| (known.id, known.members)).collect::<Vec<_>>(), [(digest, 3)]);
        assert!(known[0].due_ms.is_some());
        assert_eq!(queue.windows().open.iter().map(|(head, _)| head.key).collect::<Vec<_>>(), [B]);
        assert!(store.queue(crm(&store)).digests().is_empty() && store.queue(crm(&store)).windows().open.is_empty());
        drop((queue, store));
        kept.remove_index();
    }
}

#[test]
fn a_journal_with_windows_and_digests_holds_together() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    with_lanes(&store);
    store.close();
    drop(store);
    let verified = verify_disk(Arc::new(kept.disk.clone()), &kept.index(), &mut |_| {}).expect("read");
    assert_eq!((verified.problems, verified.backlog), (Vec::new(), 5));
}

#[test]
fn verify_finds_windows_and_digests_of_which_the_index_says_something_else() {
    const WINDOWS: Option<&str> = Some("state.db: the windows of destination CRM differ");
    const DIGEST: Option<&str> = Some("state.db: the digest DIGEST of destination CRM differs");
    let another = "INSERT INTO head SELECT destination, x'07070707070707070707070707070707', 7, 1, 2, 0 FROM head";
    let changes = [
        ("UPDATE head SET passed = passed + 1", WINDOWS),
        ("UPDATE head SET address = 8", WINDOWS),
        ("DELETE FROM head", WINDOWS),
        (another, WINDOWS),
        ("UPDATE digest SET attempts = 2", DIGEST),
        ("UPDATE digest SET reason = '418'", DIGEST),
        ("UPDATE digest SET digest = digest + 1", DIGEST),
        ("DELETE FROM digest", DIGEST),
        ("DELETE FROM member", DIGEST),
        ("UPDATE member SET bits = x'ff'", Some("state.db: windows and digests cannot be read: ")),
        // Times are moved on at a start.
        ("UPDATE head SET ends_ms = ends_ms + 1", None),
    ];
    for (change, expected) in changes {
        let kept = Kept::new(64 * SEGMENT);
        let store = kept.open();
        let (digest, crm) = (with_lanes(&store), crm(&store));
        // The records lie in segments that a start does not read.
        fill(&store, 2 * SEGMENT);
        store.close();
        drop(store);
        let problems = || {
            let verified = verify_disk(Arc::new(kept.disk.clone()), &kept.index(), &mut |_| {}).expect("read");
            verified.problems
        };
        assert_eq!(problems(), [""; 0], "{change}");
        let connection = rusqlite::Connection::open(kept.index()).expect("it opens");
        assert!(connection.execute(change, []).expect("changed") > 0, "{change}");
        drop(connection);
        let told = |expected: &str| {
            let expected = expected.replace("DIGEST", &digest.0.to_string());
            expected.replace("CRM", &crm.0.to_string())
        };
        let (problems, expected) = (problems(), expected.map(told));
        assert_eq!(problems.len(), usize::from(expected.is_some()), "{change}: {problems:?}");
        assert!(expected.is_none_or(|expected| problems[0].starts_with(&expected)), "{change}: {problems:?}");
    }
}

#[test]
fn tables_of_lanes_that_a_release_between_has_left_as_they_were_are_not_believed() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "0", &[CRM]).expect("taken");
    let queue = store.queue(crm(&store));
    queue.sort(true);
    place(&store, crm(&store), vec![head(A)], &[]);
    // The record lies in a segment that is not read again.
    fill(&store, 2 * SEGMENT);
    store.close();
    drop((queue, store));
    let store = kept.open();
    assert_eq!(store.queue(crm(&store)).windows().open.len(), 1, "those of this release are");
    store.close();
    drop(store);
    // It has written a checkpoint of its own since.
    let connection = rusqlite::Connection::open(kept.index()).expect("it opens");
    connection.execute("UPDATE meta SET value = value - 1 WHERE key = 'lanes segment'", []).expect("set");
    drop(connection);
    let store = kept.open();
    assert_eq!(store.queue(crm(&store)).windows().open, []);
}
