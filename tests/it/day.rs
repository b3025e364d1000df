//! A day of steady load with one dead destination, in seconds: the clock is set by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use vero_relay::deliver::{BacklogLimits, Limited, Limiter};
use vero_relay::store::journal::disk::RealDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::{NameKind, NewEvent, PlannedDelivery, Retention, Settlement, Store};
use vero_relay::time::Clock;

use crate::contract::{InShort, worker};

const HOUR_MS: u64 = 60 * 60 * 1000;
/// Events in an hour, all of them to both destinations.
const EVENTS_AN_HOUR: u64 = 400;

#[test]
fn over_a_day_with_a_dead_destination_the_disks_use_is_flat_once_retention_has_begun() {
    let start_ms = vero_relay::time::wall_ms();
    let now_ms: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(start_ms)));
    let clock = Clock::by_hand(now_ms);
    let directory = tempfile::tempdir().expect("a directory");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let options = || Options {
        segment_bytes: 128 << 10,
        clock,
        index: Location::File(directory.path().join("state.db")),
        retention: Retention { history_age: hours(2), dead_age: hours(6), ..Retention::default() },
        ..Options::default()
    };
    let disk = || Arc::new(RealDisk::open(&directory.path().join("journal")).expect("a directory"));
    let mut journal = Arc::new(JournalStore::open(disk(), options()).expect("it opens").0);
    let mut store: Arc<dyn Store> = journal.clone();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut by_hour = Vec::new();
    for hour in 0..24 {
        if hour % 8 == 7 {
            // A restart changes nothing.
            journal.close_here();
            journal = Arc::new(JournalStore::open(disk(), options()).expect("it opens").0);
            store = journal.clone();
        }
        let name = |name: &str| store.name(NameKind::Destination, name);
        let (alive, dead) = (name("alive"), name("dead"));
        let rule = store.name(NameKind::Rule, "all");
        let source = store.name(NameKind::Source, "vero");
        let limits = BacklogLimits { max_age: Some(hours(3)), max_size: None };
        let destinations =
            [(alive, "alive"), (dead, "dead")].map(|(id, name)| Limited { id, name: name.to_owned(), limits }).into();
        let mut limiter = Limiter::new(store.clone(), clock);
        limiter.set(destinations, hours(72));
        for number in 0..EVENTS_AN_HOUR {
            now_ms.store(start_ms + hour * HOUR_MS + number * HOUR_MS / EVENTS_AN_HOUR, Ordering::Relaxed);
            let answer = store.append(NewEvent {
                received_ms: clock.now_ms(),
                source,
                generation: 1,
                rules: vec![rule],
                deliveries: [alive, dead].map(|destination| PlannedDelivery { destination, rule }).into(),
                body: Bytes::from(vec![b'x'; 1000]),
            });
            if number.is_multiple_of(50) {
                answer.blocking_recv().expect("an answer").expect("taken");
                let alive = worker(&*store, alive);
                let claims = alive.claim(100);
                let delivered = claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 }));
                alive.settle(delivered.collect());
                runtime.block_on(limiter.look());
            }
        }
        journal.trim();
        by_hour.push(journal.usage().bytes);
    }
    // Three hours until the dead destination's first are stale, two more of history, six until dead letters expire.
    let settled = &by_hour[12..];
    let (least, most) = (settled.iter().min().expect("some"), settled.iter().max().expect("some"));
    println!("bytes by the hour: {by_hour:?}");
    assert!(*most < least + least / 3, "it grows: {by_hour:?}");
    let whole_day = 24 * EVENTS_AN_HOUR * 1100;
    assert!(*most < whole_day, "more than all events together: {by_hour:?}");
    assert!(journal.usage().dead_expired > 0 && store.counts_of(store.name(NameKind::Destination, "dead")).dead > 0);
    journal.close_here();
}
