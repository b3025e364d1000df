//! Processes whose clocks do not agree: what one wrote down is as old for the next as it was.

use std::sync::atomic::AtomicU64;

use super::retention::{Kept, SEGMENT, id};
use super::*;

const NOW_MS: u64 = 1_764_000_000_000;
const IN_2100_MS: u64 = 4_102_444_800_000;
/// What the first process and its successors live through, at most.
const LIVED_MS: u64 = 60_000;

fn open_at(kept: &Kept, now_ms: u64) -> JournalStore {
    kept.open_by(Clock::by_hand(Box::leak(Box::new(AtomicU64::new(now_ms)))))
}

/// How old what is to be tried again is, and the removal of its destination.
fn ages_ms(store: &JournalStore) -> [u64; 2] {
    let scheduled = lock(&store.journal.destination(crm(store)).queue).snapshot().scheduled;
    let removed_ms = store.state(id(store, ALERTS)).removed_since_ms.expect("it is removed");
    [scheduled[0].2.first_attempt_ms, removed_ms].map(|at_ms| store.journal.clock.now_ms().saturating_sub(at_ms))
}

#[test]
fn what_was_written_last_does_not_age_by_the_clocks_of_later_processes() {
    for clocks in [[IN_2100_MS, NOW_MS], [1000, NOW_MS], [IN_2100_MS, 1000], [1000, IN_2100_MS]] {
        for is_closed in [true, false] {
            let kept = Kept::new(64 * SEGMENT);
            let store = open_at(&kept, NOW_MS);
            append(&store, "one", &[CRM, ALERTS]).expect("taken");
            store.close();
            drop(store);
            let store = open_at(&kept, NOW_MS);
            // The last group of a process lies behind its last durable mark, and is written again by the next one.
            let claims = store.claim(crm(&store), 1);
            let first_attempt_ms = NOW_MS;
            let due_ms = NOW_MS + 1000;
            let settlement = Settlement::Scheduled { attempts: 1, first_attempt_ms, due_ms, reason: "503".into() };
            store.settle(vec![(claims[0], settlement)]);
            store.set_removed(id(&store, ALERTS), true);
            store.close();
            drop(store);
            for now_ms in clocks.into_iter().chain(clocks) {
                let store = open_at(&kept, now_ms + 1000);
                let ages = ages_ms(&store);
                let told = format!("{ages:?} ms at {now_ms} of {clocks:?}, closed: {is_closed}");
                assert!(ages.iter().all(|age| *age <= LIVED_MS), "{told}");
                if is_closed {
                    store.close();
                }
            }
        }
    }
}
