//! The contract of [`Store`], held against every backend. A second backend is proved by these same tests.

use std::sync::Arc;

use bytes::Bytes;
use vero_relay::event::EventId;
use vero_relay::store::journal::disk::{Disk, RealDisk};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::{JournalStore, Options};
use vero_relay::store::{
    AppendError, Claim, DeliveryState, NameId, NameKind, NewEvent, PlannedDelivery, ReadError, Settlement, Store,
};

/// A backend under test: it can be opened, and opened again after its process has died.
trait Backend {
    fn open(&self) -> Arc<dyn Store>;
}

struct OnDisk<D>(D);

impl<D: Fn() -> Arc<dyn Disk>> Backend for OnDisk<D> {
    fn open(&self) -> Arc<dyn Store> {
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        Arc::new(JournalStore::open((self.0)(), options).expect("it opens").0)
    }
}

/// Runs a test against every backend.
fn each(test: impl Fn(&dyn Backend)) {
    let model = ModelDisk::default();
    test(&OnDisk(move || -> Arc<dyn Disk> { Arc::new(model.clone()) }));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    test(&OnDisk(move || -> Arc<dyn Disk> { Arc::new(RealDisk::open(&path).expect("a directory")) }));
}

fn destination(store: &dyn Store, name: &str) -> NameId {
    store.name(NameKind::Destination, name)
}

fn append(store: &dyn Store, body: &str, destinations: &[&str]) -> EventId {
    let rule = store.name(NameKind::Rule, "all");
    let to = |name: &&str| PlannedDelivery { destination: destination(store, name), rule };
    let event = NewEvent {
        received_ms: 1_700_000_000_000,
        source: store.name(NameKind::Source, "vero"),
        generation: 1,
        rules: vec![rule],
        deliveries: destinations.iter().map(to).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    store.append(event).blocking_recv().expect("an answer").expect("taken")
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
        // Abandoned, not closed: what was settled may happen again.
        std::mem::forget(store);
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
            std::mem::forget(store);
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
