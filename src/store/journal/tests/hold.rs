//! A source that is held: what comes in by it is kept, whatever happens, until it is resumed.

use super::retention::{Kept, SEGMENT, fill, id, select};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::deliver::{BacklogLimits, Limited, Limiter};
use crate::store::queues::{BulkAct, DeliveryKey};

fn vero(store: &JournalStore) -> NameId {
    store.name(NameKind::Source, "vero")
}

fn append_from(store: &JournalStore, source: &str, body: &str) -> EventId {
    let source = store.name(NameKind::Source, source);
    let event = NewEvent { source, ..event(store, body, &[CRM, ALERTS]) };
    store.append(event).blocking_recv().expect("an answer").expect("taken")
}

fn held(store: &JournalStore) -> Vec<u64> {
    let held = [CRM, ALERTS].map(|name| store.held_numbers(store.name(NameKind::Destination, name), vero(store)));
    let all: BTreeSet<u64> = held.iter().flat_map(|held| held.iter_from(0)).collect();
    assert_eq!(all.len() as u64, store.held(vero(store)));
    all.into_iter().collect()
}

/// Event 0 from before the hold, 1 and 3 held, 2 of another source.
fn with_held(kept: &Kept) -> JournalStore {
    let store = kept.open();
    append_from(&store, "vero", "before");
    store.hold(vero(&store));
    store.sync().expect("durable");
    for (source, body) in [("vero", "held"), ("other", "free"), ("vero", "held too")] {
        append_from(&store, source, body);
    }
    store
}

#[track_caller]
fn check(store: &JournalStore) {
    assert_eq!(held(store), [1, 3]);
    let by_source = DeliveryState::Held { by: HeldBy::Source };
    let counts = store.counts(crm(store));
    assert_eq!((counts.backlog, counts.held), (2, 2));
    let state = |sequence| stands(store, DeliveryKey { sequence, destination: crm(store) });
    assert_eq!(
        (0..4).map(state).collect::<Vec<_>>(),
        [DeliveryState::Waiting, by_source.clone(), DeliveryState::Waiting, by_source]
    );
    assert_eq!(store.pinning(crm(store)).iter_from(0).collect::<Vec<_>>(), [0, 2], "never too much");
}

#[test]
fn what_is_held_is_so_after_restarts_with_and_without_an_index_and_a_power_cut() {
    let kept = Kept::new(64 * SEGMENT);
    let store = with_held(&kept);
    check(&store);
    let cut = open_with(&kept.disk.after_power_cut(|_| 0), SEGMENT).0;
    check(&cut);
    store.close();
    let store = kept.open();
    check(&store);
    // Behind a segment whose header alone says so.
    fill(&store, 3 * SEGMENT);
    store.close();
    let store = kept.open();
    assert_eq!(held(&store)[..2], [1, 3]);
    store.close();
    kept.remove_index();
    let store = kept.open();
    assert_eq!(held(&store)[..2], [1, 3]);
    assert!(store.resume(vero(&store)));
    store.sync().expect("durable");
    assert_eq!(waiting(&store, ALERTS), ["before", "held", "free", "held too"]);
    store.close();
    let store = kept.open();
    assert_eq!((held(&store), store.counts(crm(&store)).backlog), (Vec::new(), 4));
}

#[test]
fn what_is_held_keeps_its_segment_and_goes_with_nothing_but_its_source() {
    let kept = Kept::new(4 * SEGMENT);
    let store = with_held(&kept);
    assert_eq!(waiting(&store, CRM), ["before", "free"]);
    // A replay of the history leaves alone what is still to come.
    assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[1, 3]), 0);
    let claims = store.claim(id(&store, ALERTS), 9);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    fill(&store, 12 * SEGMENT);
    store.trim();
    assert_eq!(store.history().start, 0, "what is held is never trimmed");
    assert!(store.resume(vero(&store)));
    store.sync().expect("durable");
    assert_eq!(waiting(&store, CRM), ["held", "held too"]);
}

#[test]
fn a_second_pause_changes_the_kind_and_a_pause_of_an_old_journal_refuses() {
    let kept = Kept::new(64 * SEGMENT);
    let store = with_held(&kept);
    store.pause(vero(&store), "refuse");
    let state = store.state(vero(&store));
    assert!(state.paused.is_some() && state.held_since_ms.is_some());
    check(&store);
    store.close();
    let store = kept.open();
    assert_eq!(store.state(vero(&store)), state);
    store.hold(vero(&store));
    assert_eq!(store.state(vero(&store)).paused, None);
    check(&store);
}

const HOUR_MS: u64 = 3_600_000;

/// A store that goes by a clock that stands where it is put, and what looks after a limit of six hours and one of two segments.
fn open_at(kept: &Kept, hand: &'static AtomicU64) -> (Arc<JournalStore>, Limiter) {
    let clock = Clock::by_hand(hand);
    let store = Arc::new(kept.open_by(clock));
    let limits = BacklogLimits { max_age: Some(Duration::from_millis(6 * HOUR_MS)), max_size: Some(2 * SEGMENT) };
    let limited = |name: &str| Limited { id: id(&store, name), name: name.to_owned(), limits };
    let mut limiter = Limiter::new(store.clone(), clock);
    limiter.set(vec![limited(CRM), limited(ALERTS)], Duration::MAX);
    (store, limiter)
}

#[test]
fn what_a_source_lets_go_is_as_old_as_its_release_also_after_restarts_and_a_crash() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let hand: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_700_000_000_000)));
    let pass = |hours: u64| hand.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
    let kept = Kept::new(64 * SEGMENT);
    let (store, mut limiter) = open_at(&kept, hand);
    store.hold(vero(&store));
    store.sync().expect("durable");
    append_from(&store, "vero", "held");
    append_from(&store, "other", "free");
    append_from(&store, "vero", "held too");
    // More than the limit lies between what was held and what comes now, and much more time than the other.
    fill(&store, 4 * SEGMENT);
    pass(60);
    runtime.block_on(limiter.look());
    let dead = |store: &JournalStore| store.dead(crm(store)).iter_from(0).collect::<Vec<_>>();
    assert_eq!(dead(&store), [1]);
    assert!(store.resume(vero(&store)));
    store.sync().expect("durable");
    append_from(&store, "vero", "new");
    runtime.block_on(limiter.look());
    assert_eq!((dead(&store), store.counts(crm(&store)).backlog), (vec![1], 3));
    // A crash, in which the index knows nothing of it; then two restarts, in which the index alone does.
    drop((store, limiter));
    for _ in 0..3 {
        let (store, mut limiter) = open_at(&kept, hand);
        pass(1);
        runtime.block_on(limiter.look());
        assert_eq!((dead(&store), store.counts(crm(&store)).backlog), (vec![1], 3));
        fill(&store, SEGMENT / 2);
        store.close();
    }
    let (store, mut limiter) = open_at(&kept, hand);
    pass(6);
    runtime.block_on(limiter.look());
    assert_eq!(dead(&store)[..3], [0, 1, 2], "six hours after it was let go");
}

#[test]
fn what_was_held_is_let_go_although_the_record_of_the_resume_is_damaged() {
    let kept = Kept::new(64 * SEGMENT);
    let store = with_held(&kept);
    // All that is held lies in segments before, and the resume alone in a group of its own.
    fill(&store, 2 * SEGMENT);
    let newest = segment_name::file_name(store.journal.segments.newest());
    let mut start = 0;
    kept.disk.edit(&newest, |bytes| start = bytes.iter().rposition(|byte| *byte != 0).expect("written") + 1);
    assert!(store.resume(vero(&store)));
    store.sync().expect("durable");
    kept.disk
        .edit(&newest, |bytes| bytes[start..].iter_mut().for_each(|byte| *byte ^= if *byte == 0 { 0 } else { 0x55 }));
    // So that a later header says that the source is not held.
    fill(&store, 2 * SEGMENT);
    store.close();
    drop(store);
    for index in ["kept", "lost"] {
        if index == "lost" {
            kept.remove_index();
        }
        let (store, opened) = kept.try_open();
        assert!(index == "kept" || !opened.damage.is_empty(), "the record is gone");
        let counts = store.counts(crm(&store));
        assert_eq!((held(&store), counts.held, counts.backlog), (Vec::new(), 0, 4), "the index is {index}");
        store.close();
    }
}
