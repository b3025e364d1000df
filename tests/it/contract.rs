//! The contract of [`Store`], held against every backend. A second backend is proved by these same tests.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vero_relay::event::EventId;
use vero_relay::store::journal::disk::{Disk, RealDisk};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::{
    AppendError, Claim, DeliveryState, Health, NameId, NameKind, NewEvent, PlannedDelivery, ReadError, ReplayProgress,
    Retention, Selecting, Selection, Settlement, Store,
};
use vero_relay::time::Clock;

/// A backend under test: it can be opened, and opened again after its process has died.
trait Backend {
    fn open(&self) -> Arc<dyn Store> {
        self.open_by(Clock::start())
    }

    /// Opens it by a clock of one's own.
    fn open_by(&self, clock: Clock) -> Arc<dyn Store>;
}

struct OnDisk<D>(D, Location);

impl<D: Fn() -> Arc<dyn Disk>> Backend for OnDisk<D> {
    fn open_by(&self, clock: Clock) -> Arc<dyn Store> {
        let options = Options { segment_bytes: 1 << 20, index: self.1.clone(), clock, ..Options::default() };
        Arc::new(JournalStore::open((self.0)(), options).expect("it opens").0)
    }
}

/// Runs a test against every backend.
fn each(test: impl Fn(&dyn Backend)) {
    let model = ModelDisk::default();
    test(&OnDisk(move || -> Arc<dyn Disk> { Arc::new(model.clone()) }, Location::Memory));
    let directory = tempfile::tempdir().expect("a directory");
    let (path, index) = (directory.path().join("journal"), Location::File(directory.path().join("state.db")));
    test(&OnDisk(move || -> Arc<dyn Disk> { Arc::new(RealDisk::open(&path).expect("a directory")) }, index));
}

fn destination(store: &dyn Store, name: &str) -> NameId {
    store.name(NameKind::Destination, name)
}

fn append(store: &dyn Store, body: &str, destinations: &[&str]) -> EventId {
    store.append(event(store, body, destinations)).blocking_recv().expect("an answer").expect("taken")
}

fn event(store: &dyn Store, body: &str, destinations: &[&str]) -> NewEvent {
    let rule = store.name(NameKind::Rule, "all");
    let to = |name: &&str| PlannedDelivery { destination: destination(store, name), rule };
    NewEvent {
        received_ms: 1_700_000_000_000,
        source: store.name(NameKind::Source, "vero"),
        generation: 1,
        rules: vec![rule],
        deliveries: destinations.iter().map(to).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Does something to deliveries of a destination; returns to how many.
fn select(
    store: &dyn Store,
    name: &str,
    act: Selecting,
    replay: u128,
    sequences: impl IntoIterator<Item = u64>,
) -> u64 {
    let selection = Selection {
        destination: destination(store, name),
        act,
        reason: "by hand".to_owned(),
        replay,
        sequences: sequences.into_iter().collect(),
    };
    store.select(selection).blocking_recv().expect("an answer").expect("done")
}

/// Waits for a condition, half a minute at most.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < limit, "it did not come");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn bodies(store: &dyn Store, claims: &[Claim]) -> Vec<String> {
    let body = |claim: &Claim| store.read(claim).expect("readable").body.clone();
    claims.iter().map(|claim| String::from_utf8_lossy(&body(claim)).into_owned()).collect()
}

#[test]
fn what_was_appended_is_claimed_by_its_destinations_and_by_no_other() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        append(&*store, "two", &["b"]);
        assert_eq!(bodies(&*store, &store.claim(destination(&*store, "a"), 9)), ["one"]);
        assert_eq!(bodies(&*store, &store.claim(destination(&*store, "b"), 9)), ["one", "two"]);
        assert_eq!(store.claim(destination(&*store, "c"), 9), []);
    });
}

#[test]
fn a_claim_is_exclusive_until_it_is_released() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let claim = store.claim(a, 9)[0];
        assert_eq!(store.claim(a, 9), []);
        store.settle(vec![(claim, Settlement::Released)]);
        assert_eq!(store.claim(a, 9), [claim]);
    });
}

#[test]
fn a_settled_delivery_does_not_come_back_and_an_unsettled_one_does() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<_> = ["delivered", "dead", "open"].map(|body| append(&*store, body, &["a"])).into();
        let claims = store.claim(destination(&*store, "a"), 9);
        store.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 2, reason: "no".into() }),
        ]);
        // The process dies after its last settlements have become durable.
        store.close();
        let store = backend.open();
        assert_eq!(bodies(&*store, &store.claim(destination(&*store, "a"), 9)), ["open"]);
        let state = |id: EventId| store.event(id).expect("found").states[0].1.clone();
        assert!(matches!(state(ids[0]), DeliveryState::Delivered { attempts: 1, .. }));
        assert!(matches!(state(ids[1]), DeliveryState::Dead { attempts: 2, reason, .. } if reason == "no"));
        assert_eq!(state(ids[2]), DeliveryState::UnderWay);
    });
}

#[test]
fn a_process_that_dies_without_a_word_loses_no_event_and_no_unsettled_delivery() {
    each(|backend| {
        let store = backend.open();
        for i in 0..100 {
            append(&*store, &i.to_string(), &["a", "b"]);
        }
        let claims = store.claim(destination(&*store, "a"), 50);
        store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
        // Dropped, not closed: what was settled may happen again.
        drop(store);
        let store = backend.open();
        let a = store.claim(destination(&*store, "a"), 1000).len();
        assert!((50..=100).contains(&a), "{a}");
        assert_eq!(store.claim(destination(&*store, "b"), 1000).len(), 100);
    });
}

#[test]
fn a_postponed_delivery_comes_when_it_is_due_with_its_attempts_also_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "later", &["a"]);
        append(&*store, "now", &["a"]);
        let a = destination(&*store, "a");
        let claims = store.claim(a, 9);
        let postponed =
            |due_ms| Settlement::Postponed { attempts: 3, first_attempt_ms: 5, due_ms, reason: "503".into() };
        let far = vero_relay::time::wall_ms() + 3_600_000;
        store.settle(vec![(claims[0], postponed(far)), (claims[1], postponed(1))]);
        assert_eq!(store.next_due(a), Some(1));
        store.close();
        let store = backend.open();
        let a = destination(&*store, "a");
        let claims = store.claim(a, 9);
        assert_eq!(bodies(&*store, &claims), ["now"]);
        assert_eq!((claims[0].attempts, claims[0].first_attempt_ms, claims[0].due_ms), (3, Some(5), Some(1)));
        assert_eq!(store.next_due(a), Some(far));
    });
}

#[test]
fn settling_a_claim_twice_changes_nothing() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let claim = store.claim(a, 1)[0];
        store.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
        store.settle(vec![(claim, Settlement::Dead { attempts: 1, reason: "late".into() })]);
        let counts = store.counts(a);
        assert_eq!((counts.backlog, counts.dead), (0, 0));
    });
}

#[test]
fn a_pause_holds_one_destination_across_a_restart() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        store.pause(destination(&*store, "a"), "410 Gone");
        store.close();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.claim(a, 9).len(), store.claim(b, 9).len()), (0, 1));
        assert_eq!(store.counts(a).standing.paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
        assert!(store.resume(a));
        assert!(!store.resume(a));
        assert_eq!(store.claim(a, 9).len(), 1);
    });
}

#[test]
fn names_keep_their_numbers() {
    each(|backend| {
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        let rule = store.name(NameKind::Rule, "a");
        assert!(a != b && rule != a, "a rule and a destination of one name are two");
        append(&*store, "one", &["b"]);
        store.close();
        let store = backend.open();
        assert_eq!([destination(&*store, "b"), destination(&*store, "a")], [b, a]);
        assert_eq!(store.name_of(rule).as_deref(), Some("a"));
        assert_eq!(store.names(NameKind::Rule).len(), 2);
    });
}

#[test]
fn ids_are_unique_across_restarts_and_a_strange_id_is_missing() {
    each(|backend| {
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let store = backend.open();
            (0..5).for_each(|_| assert!(ids.insert(append(&*store, "x", &["a"]))));
            drop(store);
        }
        let store = backend.open();
        assert_eq!(store.claim(destination(&*store, "a"), 99).len(), 20);
        assert!(matches!(store.event(EventId::mint(1, 1, 3)), Err(ReadError::Missing)));
    });
}

#[test]
fn a_closed_store_takes_nothing() {
    each(|backend| {
        let store = backend.open();
        let rule = store.name(NameKind::Rule, "all");
        store.close();
        let event = NewEvent {
            received_ms: 1,
            source: rule,
            generation: 1,
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: Bytes::from_static(b"{}"),
        };
        assert_eq!(store.append(event).blocking_recv().expect("an answer"), Err(AppendError::Closed));
    });
}

#[test]
fn appends_from_many_threads_are_all_there() {
    each(|backend| {
        let store = backend.open();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..50 {
                        append(&**store, &format!("{thread}-{i}"), &["a"]);
                    }
                });
            }
        });
        let bodies = bodies(&*store, &store.claim(destination(&*store, "a"), 1000));
        let distinct: std::collections::BTreeSet<_> = bodies.iter().collect();
        assert_eq!((bodies.len(), distinct.len()), (400, 400));
    });
}

#[test]
fn the_same_replay_twice_sends_every_event_out_once_more_also_across_a_restart() {
    each(|backend| {
        let store = backend.open();
        for i in 0..10 {
            append(&*store, &i.to_string(), &["a"]);
        }
        let a = destination(&*store, "a");
        let claims = store.claim(a, 10);
        store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
        assert_eq!(select(&*store, "a", Selecting::Again, 7, 0..10), 10);
        assert_eq!(select(&*store, "a", Selecting::Again, 7, 0..10), 0, "they wait already");
        // Killed right after the answer.
        drop(store);
        let store = backend.open();
        assert_eq!(select(&*store, "a", Selecting::Again, 7, 0..10), 0);
        assert_eq!((store.counts(a).backlog, store.counts(a).again), (10, 10));
        let claimed: Vec<u64> = store.claim(a, 99).iter().map(|claim| claim.key.sequence).collect();
        assert_eq!(claimed, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn how_far_a_replay_has_come_is_known_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        let progress = |id, cursor| ReplayProgress { id, cursor, at_ms: cursor, ..ReplayProgress::default() };
        for (id, cursor) in [(1, 5), (2, 6), (1, 9)] {
            let answer = store.set_replay(progress(id, cursor)).blocking_recv();
            answer.expect("an answer").expect("written");
        }
        store.close();
        assert_eq!(backend.open().replays(), [progress(1, 9), progress(2, 6)]);
    });
}

#[test]
fn what_is_buried_is_dead_what_is_dropped_is_gone_and_neither_happens_twice() {
    each(|backend| {
        let store = backend.open();
        for i in 0..4 {
            append(&*store, &i.to_string(), &["a", "b"]);
        }
        let under_way = store.claim(destination(&*store, "a"), 1)[0];
        assert_eq!(select(&*store, "a", Selecting::Bury, 0, 0..4), 3, "what is under way is left alone");
        assert_eq!(select(&*store, "a", Selecting::Bury, 0, 1..4), 0);
        assert_eq!(
            (select(&*store, "a", Selecting::Drop, 0, [1]), select(&*store, "a", Selecting::Drop, 0, [1])),
            (1, 0)
        );
        store.settle(vec![(under_way, Settlement::Delivered { attempts: 1 })]);
        store.close();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.counts(a).backlog, store.counts(a).dead), (0, 2));
        assert_eq!((store.counts(b).backlog, store.counts(b).dead), (4, 0));
    });
}

#[test]
fn a_dead_destination_with_a_hundred_thousand_waiting_is_opened_and_drained_in_order_of_age() {
    const WAITING: u64 = 100_000;
    each(|backend| {
        let store = backend.open();
        let one = event(&*store, "waits", &["dead"]);
        // Many at once, as from many senders; each is waited for.
        for _ in 0..WAITING / 10_000 {
            let answers: Vec<_> = (0..10_000).map(|_| store.append(one.clone())).collect();
            for answer in answers {
                answer.blocking_recv().expect("an answer").expect("taken");
            }
        }
        store.close();
        drop(store);
        let store = backend.open();
        let dead = destination(&*store, "dead");
        assert_eq!(store.counts(dead).backlog, WAITING);
        let mut next = 0;
        loop {
            let claims = store.claim(dead, 1000);
            let Some(first) = claims.first() else { break };
            assert_eq!(store.read(first).expect("readable").body, "waits");
            for claim in &claims {
                assert_eq!(claim.key.sequence, next);
                next += 1;
            }
            store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
        }
        assert_eq!((next, store.counts(dead).backlog), (WAITING, 0));
    });
}

#[test]
fn a_full_store_refuses_events_lets_deliveries_go_on_and_takes_events_again_when_it_may() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "before", &["a"]);
        store.set_retention(Retention { bytes_max: Some(1), ..Retention::default() });
        until(|| matches!(*store.health().borrow(), Health::Full(_)));
        let refused = store.append(event(&*store, "refused", &["a"])).blocking_recv().expect("an answer");
        assert!(matches!(refused, Err(AppendError::Full(_))), "{refused:?}");
        let a = destination(&*store, "a");
        let claim = store.claim(a, 9)[0];
        store.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
        store.set_retention(Retention::default());
        until(|| *store.health().borrow() == Health::Good);
        append(&*store, "after", &["a"]);
        store.close();
        let store = backend.open();
        assert_eq!(bodies(&*store, &store.claim(a, 9)), ["after"]);
    });
}

#[test]
fn a_pause_is_counted_from_when_it_began_also_across_restarts() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        store.pause(a, "410 Gone");
        let paused = store.standing(a).paused.expect("paused");
        store.pause(a, "a second time");
        store.close();
        for _ in 0..2 {
            let store = backend.open();
            assert_eq!(store.standing(a).paused, Some(paused.clone()));
            assert_eq!(store.next_due(a), None);
            store.close();
        }
    });
}

#[test]
fn an_open_breaker_and_a_removed_name_stand_across_restarts_and_hold_nothing() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        store.set_open(a, true);
        store.set_removed(a, true);
        let standing = store.standing(a);
        assert!(standing.open_since_ms.is_some() && standing.removed_since_ms.is_some());
        store.close();
        let store = backend.open();
        assert_eq!(store.standing(a), standing);
        assert_eq!(store.claim(a, 9).len(), 1, "whether a probe goes out is the caller's business");
    });
}

#[test]
fn counts_say_what_waits_what_is_under_way_and_what_is_dead_before_and_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        for i in 0..6 {
            append(&*store, &i.to_string(), &["a"]);
        }
        let a = destination(&*store, "a");
        let claims = store.claim(a, 5);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        store.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 1, reason: "no".into() }),
            (claims[2], Settlement::Postponed { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
            (claims[3], Settlement::Released),
        ]);
        assert_eq!(select(&*store, "a", Selecting::Again, 0, [0]), 1);
        let counts = store.counts(a);
        assert_eq!((counts.backlog, counts.postponed, counts.again, counts.under_way, counts.dead), (5, 1, 1, 1, 1));
        assert_eq!(store.oldest_ms(a), Some(1_700_000_000_000));
        store.close();
        let store = backend.open();
        let counts = store.counts(a);
        assert_eq!((counts.backlog, counts.postponed, counts.again, counts.under_way, counts.dead), (5, 1, 1, 0, 1));
    });
}

#[test]
fn a_clock_that_steps_stalls_no_retry_and_loses_nothing() {
    const DAY_MS: u64 = 24 * 3_600_000;
    each(|backend| {
        let now_ms = vero_relay::time::wall_ms();
        let at = |now_ms: u64| Clock::by_hand(Box::leak(Box::new(AtomicU64::new(now_ms))));
        let store = backend.open_by(at(now_ms));
        append(&*store, "later", &["a"]);
        append(&*store, "waits", &["a"]);
        let a = destination(&*store, "a");
        let claim = store.claim(a, 1)[0];
        let due_ms = now_ms + DAY_MS / 24;
        let reason = "503".to_owned();
        store.settle(vec![(claim, Settlement::Postponed { attempts: 1, first_attempt_ms: now_ms, due_ms, reason })]);
        store.close();
        // A day back, as after a flat battery, then to 1970: what was due in an hour is due within a day.
        for stepped in [now_ms - DAY_MS, 1000] {
            let store = backend.open_by(at(stepped));
            let due_ms = store.next_due(destination(&*store, "a")).expect("postponed");
            assert!(due_ms <= stepped + DAY_MS, "{due_ms} is more than a day after {stepped}");
            store.close();
        }
        // And to 2100: both are due, and are there although the history they lie in is long over.
        let store = backend.open_by(at(4_102_444_800_000));
        store.trim();
        let a = destination(&*store, "a");
        let mut waiting = bodies(&*store, &store.claim(a, 9));
        waiting.sort();
        assert_eq!(waiting, ["later", "waits"]);
    });
}
