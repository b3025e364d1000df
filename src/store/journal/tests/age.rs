//! Since when what waits has waited.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lanes::{place, wait};
use super::retention::{Kept, SEGMENT, select};
use super::*;
use crate::store::queues::BulkAct;

/// When all events here came.
const CAME_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const A: GroupKey = GroupKey([1; 16]);

fn open_at(kept: &Kept, hand: &'static AtomicU64) -> JournalStore {
    kept.open_by(Clock::by_hand(hand))
}

fn pass(hand: &AtomicU64, hours: u64) {
    hand.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
}

/// For how many hours the oldest waits.
fn age(store: &JournalStore) -> Option<u64> {
    let oldest_ms = store.counts(crm(store)).oldest_ms;
    oldest_ms.map(|oldest_ms| store.journal.clock.now_ms().saturating_sub(oldest_ms) / HOUR_MS)
}

fn a_hand() -> &'static AtomicU64 {
    Box::leak(Box::new(AtomicU64::new(CAME_MS)))
}

#[test]
fn a_digest_waits_since_its_window_was_over_and_a_window_does_not() {
    let (kept, hand) = (Kept::new(64 * SEGMENT), a_hand());
    let store = open_at(&kept, hand);
    for body in ["0", "1", "2"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let queue = store.queue(crm(&store));
    queue.sort(true);
    pass(hand, 9);
    assert_eq!(age(&store), None, "any of them may be to lie in a window");
    let oldest_unplaced = |store: &JournalStore| store.counts(crm(store)).oldest_unplaced_ms;
    assert_eq!(oldest_unplaced(&store), Some(CAME_MS));
    let head = WindowHead { key: A, address: 7, opened_ms: CAME_MS, ends_ms: CAME_MS + 9 * HOUR_MS, passed: 3 };
    place(&store, crm(&store), vec![head], &[(0, Lane::Window(A)), (1, Lane::Window(A)), (2, Lane::Ready)]);
    assert_eq!(age(&store), Some(9), "the one that is ready");
    assert_eq!(oldest_unplaced(&store), None, "all of them have their lane");
    let claim = store.claim(crm(&store), 1)[0];
    assert_eq!(age(&store), Some(9), "it is in flight");
    store.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
    assert_eq!(age(&store), None);
    let digest = wait(queue.end(vec![A])).expect("durable").expect("something lay in it");
    assert_eq!(age(&store), Some(0));
    pass(hand, 2);
    assert_eq!(age(&store), Some(2));
    queue.offer(digest);
    assert!(store.claim(crm(&store), 1)[0].digest.is_some());
    assert_eq!(age(&store), Some(2));
    drop(queue);
    store.close();
    drop(store);
    let store = open_at(&kept, hand);
    assert_eq!(age(&store), Some(2), "also after a restart");
    store.queue(crm(&store)).sort(true);
    assert_eq!(age(&store), Some(2));
}

#[test]
fn what_a_source_had_held_waits_since_it_was_let_go() {
    let (kept, hand) = (Kept::new(64 * SEGMENT), a_hand());
    let store = open_at(&kept, hand);
    let vero = store.name(NameKind::Source, "vero");
    store.hold(vero);
    store.sync().expect("durable");
    let held = NewEvent { source: vero, ..event(&store, "held", &[CRM]) };
    store.append(held).blocking_recv().expect("an answer").expect("taken");
    pass(hand, 9);
    assert_eq!(age(&store), None);
    assert!(store.resume(vero));
    store.sync().expect("durable");
    pass(hand, 1);
    assert_eq!(age(&store), Some(1));
    store.claim(crm(&store), 1);
    assert_eq!(age(&store), Some(1), "it is in flight");
    append(&store, "new", &[CRM]).expect("taken");
    assert_eq!(age(&store), Some(10), "by the stamp that it came with");
}

#[test]
fn what_is_put_into_the_queue_again_waits_from_then_on_also_after_a_crash_and_a_restart() {
    let (kept, hand) = (Kept::new(64 * SEGMENT), a_hand());
    let store = open_at(&kept, hand);
    for body in ["0", "1"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 2);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    pass(hand, 9);
    for (sequence, count) in [(0, 1), (1, 1), (0, 0)] {
        assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[sequence]), count);
        pass(hand, 1);
    }
    assert_eq!(age(&store), Some(3), "the first of them");
    store.sync().expect("durable");
    drop(store);
    // What the index does not know was put there no sooner than when the store was last known to live.
    let store = open_at(&kept, hand);
    assert!(age(&store) <= Some(3), "{:?}", age(&store));
    let known = age(&store);
    store.close();
    drop(store);
    let store = open_at(&kept, hand);
    assert_eq!(age(&store), known);
    let claims = store.claim(crm(&store), 1);
    assert_eq!(age(&store), known, "in flight");
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    let claims = store.claim(crm(&store), 1);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    pass(hand, 1);
    assert_eq!((age(&store), select(&store, CRM, BulkAct::Redeliver, &[0])), (None, 1));
    assert_eq!(age(&store), Some(0), "and anew each time");
}

#[test]
fn what_is_put_into_the_queue_again_and_fails_waits_since_then() {
    let (kept, hand) = (Kept::new(64 * SEGMENT), a_hand());
    let store = open_at(&kept, hand);
    for body in ["0", "1"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 2);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    pass(hand, 9);
    select(&store, CRM, BulkAct::Redeliver, &[0]);
    let claim = store.claim(crm(&store), 1)[0];
    let due_ms = CAME_MS + 99 * HOUR_MS;
    let again = Settlement::Scheduled { attempts: 1, first_attempt_ms: CAME_MS, due_ms, reason: "503".to_owned() };
    store.settle(vec![(claim, again)]);
    pass(hand, 2);
    select(&store, CRM, BulkAct::Redeliver, &[1]);
    assert_eq!(age(&store), Some(2));
    store.close();
    drop(store);
    let after_a_restart = age(&open_at(&kept, hand));
    assert!(matches!(after_a_restart, Some(..=2)), "{after_a_restart:?}");
}
