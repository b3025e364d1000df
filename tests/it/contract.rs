//! The contract of [`Store`] and the traits that it is made of, held against every backend. A second backend is proved by these same tests.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use vero_relay::event::EventId;
use vero_relay::seeds::part_of;
use vero_relay::store::journal::disk::{Disk, RealDisk};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::{
    AppendError, Change, Claim, Claimed, Command, Counts, Cursor, DeadQuery, DeliveryState, Done, Duty, EventQuery,
    Health, NameId, NameKind, Named, NewEvent, Order, Page, PlannedDelivery, Queue, ReplayProgress, Retention, Room,
    SearchLimit, Settled, Settlement, Standing, Store, StoreError, TakenFrom, TakenOver, What, Which,
};
use vero_relay::time::Clock;

/// A backend under test: it can be opened, and opened again after its process has died.
trait Backend {
    fn open(&self) -> Arc<dyn Store> {
        self.open_by(Clock::start())
    }

    /// Opens it by a clock of one's own.
    fn open_by(&self, clock: Clock) -> Arc<dyn Store>;

    /// A second handle on what is open already.
    fn open_again(&self) -> Arc<dyn Store>;

    /// Lets go of what need not be kept, as happens now and then.
    fn trim(&self);
}

struct OnDisk<D> {
    disk: D,
    index: Location,
    /// What was opened last.
    open: RefCell<Weak<JournalStore>>,
}

impl<D> OnDisk<D> {
    fn new(disk: D, index: Location) -> Self {
        Self { disk, index, open: RefCell::default() }
    }

    fn opened(&self) -> Arc<JournalStore> {
        self.open.borrow().upgrade().expect("it is open")
    }
}

impl<D: Fn() -> Arc<dyn Disk>> Backend for OnDisk<D> {
    fn open_by(&self, clock: Clock) -> Arc<dyn Store> {
        let options = Options { segment_bytes: 1 << 20, index: self.index.clone(), clock, ..Options::default() };
        let store = Arc::new(JournalStore::open((self.disk)(), options).expect("it opens").0);
        *self.open.borrow_mut() = Arc::downgrade(&store);
        store
    }

    fn open_again(&self) -> Arc<dyn Store> {
        self.opened()
    }

    fn trim(&self) {
        self.opened().trim();
    }
}

/// Runs a test against every backend.
fn each(test: impl Fn(&dyn Backend)) {
    let model = ModelDisk::default();
    test(&OnDisk::new(move || -> Arc<dyn Disk> { Arc::new(model.clone()) }, Location::Memory));
    let directory = tempfile::tempdir().expect("a directory");
    let (path, index) = (directory.path().join("journal"), Location::File(directory.path().join("state.db")));
    test(&OnDisk::new(move || -> Arc<dyn Disk> { Arc::new(RealDisk::open(&path).expect("a directory")) }, index));
}

fn destination(store: &dyn Store, name: &str) -> NameId {
    store.name(NameKind::Destination, name)
}

/// Names of a config, to be numbered.
fn named(names: &[(NameKind, &str)]) -> Vec<Named> {
    let named = |(kind, name): &(NameKind, &str)| Named { kind: *kind, name: (*name).to_owned(), renamed_from: None };
    names.iter().map(named).collect()
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

/// What may wait is waited for here.
pub fn wait<T>(answer: impl AsyncFnOnce() -> T) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.block_on(answer())
}

/// Has something done, under an id.
fn ask(store: &dyn Store, id: u128, of: &str, what: What) -> Done {
    let command = Command { id, of: destination(store, of), what };
    wait(async || store.ask(command).await).expect("done")
}

/// How many it was done to, the first time.
fn done(deliveries: u64) -> Done {
    Done { deliveries, ..Done::default() }
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

/// What a destination's worker does, without one.
pub trait AsWorker {
    fn queue(&self, of: NameId) -> Arc<dyn Queue>;
    fn claimed(&self, of: NameId, max: usize) -> Vec<Claimed>;
    fn claim(&self, of: NameId, max: usize) -> Vec<Claim>;
    fn settle(&self, settlements: Vec<(Claim, Settlement)>);
    fn pause(&self, of: NameId, reason: &str);
    fn counts_of(&self, of: NameId) -> Counts;
    fn standing(&self, of: NameId) -> Standing;
    fn close_now(&self);
    /// The number of a name.
    fn name(&self, kind: NameKind, name: &str) -> NameId;
    /// When an event's one delivery is due, if it is scheduled.
    fn due_ms(&self, id: EventId) -> Option<u64>;
}

impl AsWorker for dyn Store {
    fn queue(&self, of: NameId) -> Arc<dyn Queue> {
        wait(async || self.lease(Duty::deliver_to(of)).await).queues.remove(0)
    }

    fn claimed(&self, of: NameId, max: usize) -> Vec<Claimed> {
        let (queue, mut all) = (self.queue(of), Vec::new());
        // A claim may give less than there is.
        loop {
            let room = Room { deliveries: max - all.len(), body_bytes: 1 << 20 };
            let some = wait(async || queue.claim(room).await);
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    fn claim(&self, of: NameId, max: usize) -> Vec<Claim> {
        self.claimed(of, max).into_iter().map(|claimed| claimed.claim).collect()
    }

    fn settle(&self, settlements: Vec<(Claim, Settlement)>) {
        for (claim, settlement) in settlements {
            self.queue(claim.key.destination).settle(vec![Settled { claim, settlement, attempt: None }]);
        }
    }

    fn pause(&self, of: NameId, reason: &str) {
        self.queue(of).change(Change::Pause { reason: reason.to_owned() });
    }

    fn counts_of(&self, of: NameId) -> Counts {
        wait(async || self.counts().await).expect("counted").of(of)
    }

    fn standing(&self, of: NameId) -> Standing {
        self.queue(of).state().borrow().standing.clone()
    }

    fn close_now(&self) {
        wait(async || self.close().await);
    }

    fn name(&self, kind: NameKind, name: &str) -> NameId {
        let names = self.names();
        if let Some(known) = names.find(kind, name) {
            return known;
        }
        // As a config would that has all the names so far, and this.
        let kinds = [NameKind::Destination, NameKind::Source, NameKind::Rule];
        let of_kind = |kind| names.of_kind(kind).into_iter().map(move |(_, name)| (kind, name));
        let known: Vec<(NameKind, Arc<str>)> = kinds.into_iter().flat_map(of_kind).collect();
        let all: Vec<_> = known.iter().map(|(kind, name)| (*kind, &**name)).chain([(kind, name)]).collect();
        let ids = wait(async || self.intern(named(&all)).await).expect("there is room").ids;
        self.announce(1, &ids);
        ids[ids.len() - 1]
    }

    fn due_ms(&self, id: EventId) -> Option<u64> {
        match wait(async || self.event(id).await).expect("found").deliveries[0].state {
            DeliveryState::Scheduled { due_ms, .. } => Some(due_ms),
            _ => None,
        }
    }
}

/// The bodies of what is claimed.
fn bodies(store: &dyn Store, of: NameId, max: usize) -> Vec<String> {
    let body = |claimed: Claimed| String::from_utf8_lossy(&claimed.event.expect("readable").body).into_owned();
    store.claimed(of, max).into_iter().map(body).collect()
}

#[test]
fn what_was_appended_is_claimed_by_its_destinations_and_by_no_other() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        append(&*store, "two", &["b"]);
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["one"]);
        assert_eq!(bodies(&*store, destination(&*store, "b"), 9), ["one", "two"]);
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
        store.settle(vec![(claim, Settlement::Returned)]);
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
        store.close_now();
        let store = backend.open();
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["open"]);
        let state = |id: EventId| wait(async || store.event(id).await).expect("found").deliveries[0].state.clone();
        assert!(matches!(state(ids[0]), DeliveryState::Delivered { attempts: 1, .. }));
        assert!(matches!(state(ids[1]), DeliveryState::Dead { attempts: 2, reason, .. } if reason == "no"));
        assert_eq!(state(ids[2]), DeliveryState::InFlight);
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
        let ids = ["later", "now"].map(|body| append(&*store, body, &["a"]));
        let a = destination(&*store, "a");
        let claims = store.claim(a, 9);
        let postponed =
            |due_ms| Settlement::Scheduled { attempts: 3, first_attempt_ms: 5, due_ms, reason: "503".into() };
        let far = vero_relay::time::wall_ms() + 3_600_000;
        store.settle(vec![(claims[0], postponed(far)), (claims[1], postponed(1))]);
        assert_eq!(ids.map(|id| store.due_ms(id)), [Some(far), Some(1)]);
        store.close_now();
        let store = backend.open();
        let a = destination(&*store, "a");
        let claims = store.claim(a, 9);
        assert_eq!(claims.len(), 1);
        assert_eq!((claims[0].attempts, claims[0].first_attempt_ms, claims[0].due_ms), (3, Some(5), Some(1)));
        assert_eq!(store.due_ms(ids[0]), Some(far));
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
        let counts = store.counts_of(a);
        assert_eq!((counts.backlog, counts.dead), (0, 0));
    });
}

#[test]
fn a_pause_holds_one_destination_across_a_restart() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        store.pause(destination(&*store, "a"), "410 Gone");
        store.close_now();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.claim(a, 9).len(), store.claim(b, 9).len()), (0, 1));
        assert_eq!(store.counts_of(a).standing.paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
        assert_eq!(ask(&*store, 1, "a", What::Resume), done(1));
        assert_eq!(ask(&*store, 2, "a", What::Resume), done(0));
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
        store.close_now();
        let store = backend.open();
        assert_eq!([destination(&*store, "b"), destination(&*store, "a")], [b, a]);
        assert_eq!((&*store.names().name(rule), store.names().of_kind(NameKind::Rule).len()), ("a", 2));
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
        let unknown = wait(async || store.event(EventId::mint(1, 1, 3)).await);
        assert!(matches!(unknown, Err(StoreError::Missing)));
    });
}

#[test]
fn a_closed_store_takes_nothing() {
    each(|backend| {
        let store = backend.open();
        let rule = store.name(NameKind::Rule, "all");
        store.close_now();
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
        // Names are numbered once a config, and not by senders.
        destination(&*store, "a");
        event(&*store, "", &["a"]);
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
        let bodies = bodies(&*store, destination(&*store, "a"), 1000);
        let distinct: std::collections::BTreeSet<_> = bodies.iter().collect();
        assert_eq!((bodies.len(), distinct.len()), (400, 400));
    });
}

#[test]
fn the_same_command_twice_is_done_once_also_across_a_restart_and_a_crash() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..10).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let deliver = |store: &dyn Store| {
            let claims = store.claim(a, 10);
            let count = claims.len();
            store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
            count
        };
        assert_eq!(deliver(&*store), 10);
        let again = || What::Redeliver(Which::Events(ids.clone()));
        assert_eq!(ask(&*store, 7, "a", again()), done(10));
        assert_eq!(deliver(&*store), 10);
        // Killed right after the answer.
        drop(store);
        let mut store = backend.open();
        let waiting = store.counts_of(a).backlog;
        for _ in 0..2 {
            let repeated = ask(&*store, 7, "a", again());
            assert_eq!((repeated.deliveries, repeated.was_done_before), (10, true));
            assert_eq!(store.counts_of(a).backlog, waiting, "nothing was done");
            store.close_now();
            store = backend.open();
        }
        let other = Command { id: 7, of: a, what: What::Drop(Which::Dead(DeadQuery::default())) };
        let refused = wait(async || store.ask(other).await);
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
        let replay = ReplayProgress { id: 7, ..ReplayProgress::default() };
        let refused = wait(async || store.save_replay(replay).await);
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    });
}

#[test]
fn what_waits_already_is_not_redelivered_and_a_dead_letter_moves_whole() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..4).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(ids.clone()))), done(0));
        let give_up = |which| What::DeadLetter { which, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 2, "a", give_up(Which::Events(ids[..3].to_vec()))), done(3));
        let to = destination(&*store, "b");
        let which = || Which::Dead(DeadQuery { reason: Some("HAND".into()), ..DeadQuery::default() });
        let how_many = wait(async || store.how_many(destination(&*store, "a"), which()).await);
        assert_eq!(how_many, Ok(3));
        let one = DeadQuery { events: Some(vec![ids[1], ids[3]]), ..DeadQuery::default() };
        assert_eq!(ask(&*store, 3, "a", What::Drop(Which::Dead(one))), done(1), "one of them is no dead letter");
        // It waits there already, and is a dead letter here no longer.
        assert_eq!(ask(&*store, 4, "a", What::Move { which: which(), to }), done(2));
        let none = DeadQuery { events: Some(Vec::new()), ..DeadQuery::default() };
        assert_eq!(ask(&*store, 5, "a", What::Drop(Which::Dead(none))), done(0));
        store.close_now();
        let store = backend.open();
        let counts = ["a", "b", "c"].map(|name| store.counts_of(destination(&*store, name)));
        assert_eq!(counts.map(|counts| (counts.backlog, counts.dead)), [(1, 0), (4, 0), (0, 0)]);
    });
}

#[test]
fn how_far_a_replay_has_come_is_known_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        for _ in 0..9 {
            append(&*store, "x", &["a"]);
        }
        // Where the walk is after so many.
        let walked = |store: &dyn Store, events| {
            let page = wait(async || store.events(&EventQuery::all(Order::OldestFirst), None, events).await);
            page.expect("a page")
        };
        let progress = |store: &dyn Store, id, events| {
            let Page { next: cursor, left, .. } = walked(store, events);
            ReplayProgress { id, cursor, left, at_ms: events as u64, ..ReplayProgress::default() }
        };
        for (id, events) in [(1, 2), (2, 3), (1, 5)] {
            let progress = progress(&*store, id, events);
            assert_eq!(wait(async || store.save_replay(progress.clone()).await), Ok(progress));
        }
        let (behind, known) = (progress(&*store, 1, 4), progress(&*store, 1, 5));
        assert_eq!(wait(async || store.save_replay(behind.clone()).await), Ok(known), "it never goes back");
        store.close_now();
        let store = backend.open();
        let replays = wait(async || store.replays().await).expect("known");
        assert_eq!(replays, [progress(&*store, 1, 5), progress(&*store, 2, 3)]);
    });
}

#[test]
fn what_is_given_up_is_dead_what_is_dropped_is_gone_and_what_is_in_flight_is_left_alone() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..4).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        let in_flight = store.claim(destination(&*store, "a"), 1)[0];
        let give_up = || What::DeadLetter { which: Which::Pending, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 1, "a", give_up()), done(3));
        assert_eq!(ask(&*store, 2, "a", give_up()), done(0));
        let of = |id: EventId| Which::Dead(DeadQuery { events: Some(vec![id]), ..DeadQuery::default() });
        let dropped = [3, 4].map(|id| ask(&*store, id, "a", What::Drop(of(ids[1]))));
        assert_eq!(dropped, [done(1), done(0)]);
        store.settle(vec![(in_flight, Settlement::Delivered { attempts: 1 })]);
        store.close_now();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.counts_of(a).backlog, store.counts_of(a).dead), (0, 2));
        assert_eq!((store.counts_of(b).backlog, store.counts_of(b).dead), (4, 0));
    });
}

#[test]
fn the_oldest_goes_where_too_much_waits() {
    each(|backend| {
        let store = backend.open();
        let body = "b".repeat(10_000);
        for _ in 0..100 {
            append(&*store, &body, &["a"]);
        }
        let a = destination(&*store, "a");
        let before = store.counts_of(a);
        let most = before.limited_bytes / 2;
        let oldest = || What::DeadLetter { which: Which::OldestBeyond(most), reason: "too much".to_owned() };
        assert_eq!(ask(&*store, 1, "a", oldest()).deliveries, before.backlog / 2);
        assert!(store.counts_of(a).limited_bytes < before.limited_bytes);
        let enough = What::DeadLetter { which: Which::OldestBeyond(u64::MAX), reason: "too much".to_owned() };
        assert_eq!(ask(&*store, 2, "a", enough), done(0));
    });
}

#[test]
fn a_dead_destination_with_a_long_backlog_is_opened_and_drained_in_order_of_age() {
    let waiting = part_of(100_000);
    each(|backend| {
        let store = backend.open();
        let one = event(&*store, "waits", &["dead"]);
        // Many at once, as from many senders; each is waited for.
        for _ in 0..waiting / 500 {
            let answers: Vec<_> = (0..500).map(|_| store.append(one.clone())).collect();
            for answer in answers {
                answer.blocking_recv().expect("an answer").expect("taken");
            }
        }
        store.close_now();
        drop(store);
        let store = backend.open();
        let dead = destination(&*store, "dead");
        assert_eq!(store.counts_of(dead).backlog, waiting);
        let (mut next, mut last) = (0, None);
        loop {
            let claimed = store.claimed(dead, 1000);
            let Some(first) = claimed.first() else { break };
            assert_eq!(first.event.as_ref().expect("readable").body, "waits");
            next += claimed.len() as u64;
            let keys: Vec<u64> = claimed.iter().map(|claimed| claimed.claim.key.sequence).collect();
            assert!(keys.is_sorted() && keys.first() > last.as_ref(), "{last:?} {keys:?}");
            last = keys.last().copied();
            let delivered = |claimed: Claimed| (claimed.claim, Settlement::Delivered { attempts: 1 });
            store.settle(claimed.into_iter().map(delivered).collect());
        }
        assert_eq!((next, store.counts_of(dead).backlog), (waiting, 0));
    });
}

#[test]
fn a_full_store_refuses_events_lets_deliveries_go_on_and_takes_events_again_when_it_may() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "before", &["a"]);
        store.retain(Retention { bytes_max: Some(1), ..Retention::default() });
        until(|| matches!(*store.health().borrow(), Health::Full(_)));
        let refused = store.append(event(&*store, "refused", &["a"])).blocking_recv().expect("an answer");
        assert!(matches!(refused, Err(AppendError::Full(_))), "{refused:?}");
        let a = destination(&*store, "a");
        let claim = store.claim(a, 9)[0];
        store.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
        store.retain(Retention::default());
        until(|| *store.health().borrow() == Health::Good);
        append(&*store, "after", &["a"]);
        store.close_now();
        let store = backend.open();
        assert_eq!(bodies(&*store, a, 9), ["after"]);
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
        store.close_now();
        for _ in 0..2 {
            let store = backend.open();
            assert_eq!(store.standing(a).paused, Some(paused.clone()));
            assert_eq!(store.queue(a).state().borrow().standing.paused, Some(paused.clone()));
            store.close_now();
        }
    });
}

#[test]
fn an_open_breaker_and_a_removed_name_stand_across_restarts_and_hold_nothing() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        store.queue(a).change(Change::Breaker { is_open: true });
        store.announce(1, &[]);
        let standing = store.standing(a);
        assert!(standing.open_since_ms.is_some() && standing.removed_since_ms.is_some());
        store.close_now();
        let store = backend.open();
        assert_eq!(store.standing(a), standing);
        assert_eq!(store.claim(a, 9).len(), 1, "whether a probe goes out is the caller's business");
    });
}

#[test]
fn counts_say_what_waits_what_is_under_way_and_what_is_dead_before_and_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..6).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let claims = store.claim(a, 5);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        store.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 1, reason: "no".into() }),
            (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
            (claims[3], Settlement::Returned),
        ]);
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(vec![ids[0]]))), done(1));
        let counts = store.counts_of(a);
        assert_eq!(
            (counts.backlog, counts.scheduled, counts.redeliveries, counts.in_flight, counts.dead),
            (5, 1, 1, 1, 1)
        );
        assert_eq!(counts.oldest_ms, Some(1_700_000_000_000));
        store.close_now();
        let store = backend.open();
        let counts = store.counts_of(a);
        assert_eq!(
            (counts.backlog, counts.scheduled, counts.redeliveries, counts.in_flight, counts.dead),
            (5, 1, 1, 0, 1)
        );
    });
}

#[test]
fn a_clock_that_steps_stalls_no_retry_and_loses_nothing() {
    const DAY_MS: u64 = 24 * 3_600_000;
    each(|backend| {
        let now_ms = vero_relay::time::wall_ms();
        let at = |now_ms: u64| Clock::by_hand(Box::leak(Box::new(AtomicU64::new(now_ms))));
        let store = backend.open_by(at(now_ms));
        let later = append(&*store, "later", &["a"]);
        append(&*store, "waits", &["a"]);
        let a = destination(&*store, "a");
        let claim = store.claim(a, 1)[0];
        let due_ms = now_ms + DAY_MS / 24;
        let reason = "503".to_owned();
        store.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: now_ms, due_ms, reason })]);
        store.close_now();
        // A day back, as after a flat battery, then to 1970: what was due in an hour is due within a day.
        for stepped in [now_ms - DAY_MS, 1000] {
            let store = backend.open_by(at(stepped));
            let due_ms = store.due_ms(later).expect("postponed");
            assert!(due_ms <= stepped + DAY_MS, "{due_ms} is more than a day after {stepped}");
            store.close_now();
        }
        // And to 2100: both are due, and are there although the history they lie in is long over.
        let store = backend.open_by(at(4_102_444_800_000));
        backend.trim();
        let a = destination(&*store, "a");
        let mut waiting = bodies(&*store, a, 9);
        waiting.sort();
        assert_eq!(waiting, ["later", "waits"]);
    });
}

/// All pages of a list, of at most so many each, and how many there were.
fn pages<T>(page: impl Fn(Option<&Cursor>) -> Page<T>) -> (Vec<T>, usize) {
    let (mut all, mut after, mut count) = (Vec::new(), None, 0);
    loop {
        let page = page(after.as_ref());
        all.extend(page.items);
        count += 1;
        after = page.next;
        if after.is_none() {
            return (all, count);
        }
    }
}

#[test]
fn a_walk_sees_what_was_there_when_it_began_and_goes_on_while_events_arrive() {
    each(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        let ids: Vec<EventId> = (0..25).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let query = EventQuery::all(order);
            let walk = |max: usize, after: Option<&Cursor>| {
                append(&*store, "meanwhile", &["a"]);
                let page = wait(async || other.events(&query, after, max).await).expect("a page");
                assert!(page.items.len() <= max);
                page
            };
            let begins = wait(async || store.events(&query, None, 0).await).expect("a page");
            assert_eq!((begins.items.len(), begins.left >= 25), (0, true));
            let (seen, count) = pages(|after| walk(7, Some(after.unwrap_or(begins.next.as_ref().expect("some")))));
            let mut seen: Vec<EventId> = seen.iter().map(|event| event.id).collect();
            assert!(count >= 4, "{count} pages");
            if order == Order::NewestFirst {
                seen.reverse();
            }
            assert_eq!(seen[..25], ids, "{order:?}");
            assert_eq!(seen.len() as u64, begins.left, "and nothing that came later");
        }
        let last = EventQuery { last: Some(3), ..EventQuery::all(Order::OldestFirst) };
        assert_eq!(wait(async || store.events(&last, None, 9).await).expect("a page").items.len(), 3);
        // All of them arrived in one millisecond.
        for (since_ms, until_ms, found) in
            [(0, 1_700_000_000_000, 0), (1_700_000_000_000, 1_700_000_000_001, 9), (1_700_000_000_001, u64::MAX, 0)]
        {
            let of_time = EventQuery { since_ms, until_ms, ..EventQuery::all(Order::NewestFirst) };
            assert_eq!(wait(async || store.events(&of_time, None, 9).await).expect("a page").items.len(), found);
        }
    });
}

#[test]
fn dead_letters_of_several_destinations_are_one_list_and_a_cursor_is_of_its_own_list_alone() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..10).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        for (id, of) in [(1, "a"), (2, "b")] {
            let reason = format!("{of} is gone");
            assert_eq!(ask(&*store, id, of, What::DeadLetter { which: Which::Pending, reason }), done(10));
        }
        let of = ["a", "b"].map(|name| destination(&*store, name)).to_vec();
        let list = |query: &DeadQuery, after: Option<&Cursor>, max: usize| {
            wait(async || store.dead_letters(of.clone(), query, after, max).await)
        };
        let any = DeadQuery::default();
        for max in [1, 3, 20, 100] {
            let (letters, _) = pages(|after| list(&any, after, max).expect("a page"));
            let seen: Vec<_> = letters
                .iter()
                .map(|letter| (letter.event.as_ref().expect("read").id, letter.destination, letter.reason.clone()))
                .collect();
            let both = |id: &EventId| [(*id, of[0], "a is gone".to_owned()), (*id, of[1], "b is gone".to_owned())];
            assert_eq!(seen, ids.iter().rev().flat_map(both).collect::<Vec<_>>(), "{max} at once");
        }
        let of_b = DeadQuery { reason: Some("B IS".into()), events: Some(ids[2..5].to_vec()), ..any.clone() };
        assert_eq!(pages(|after| list(&of_b, after, 2).expect("a page")).0.len(), 3);
        let next = list(&any, None, 1).expect("a page").next.expect("more");
        let of_events = wait(async || store.events(&EventQuery::all(Order::NewestFirst), Some(&next), 1).await);
        assert!(matches!(of_events, Err(StoreError::Conflict(_))), "{of_events:?}");
        let view = wait(async || store.event(ids[0]).await).expect("found");
        let states = wait(async || store.states(vec![view.event], SearchLimit::whole()).await).expect("known").0;
        let is_dead = |(_, state): &(_, DeliveryState)| matches!(state, DeliveryState::Dead { .. });
        assert!(states[0].len() == 2 && states[0].iter().all(is_dead), "{states:?}");
    });
}

#[test]
fn a_claim_keeps_to_its_bytes_and_one_whose_future_is_dropped_goes_back_in_its_place() {
    each(|backend| {
        let store = backend.open();
        let body = "b".repeat(100_000);
        for _ in 0..20 {
            append(&*store, &body, &["a"]);
        }
        let a = destination(&*store, "a");
        // From memory, and after a restart from the disk.
        for _ in 0..2 {
            let store = backend.open_again();
            let queue = store.queue(a);
            let claim = |deliveries, body_bytes| wait(async || queue.claim(Room { deliveries, body_bytes }).await);
            drop(queue.claim(Room { deliveries: 9, body_bytes: usize::MAX }));
            let some = claim(9, 250_000);
            assert_eq!(some.len(), 2, "as many as fit");
            let one = claim(9, 1);
            assert_eq!(one.len(), 1, "and one however large");
            let keys: Vec<u64> = some.iter().chain(&one).map(|claimed| claimed.claim.key.sequence).collect();
            assert!(keys.is_sorted(), "{keys:?}");
            let back = |claimed: Claimed| (claimed.claim, Settlement::Returned);
            store.settle(some.into_iter().chain(one).map(back).collect());
            assert_eq!(store.counts_of(a).backlog, 20);
        }
    });
}

#[test]
fn a_queue_says_when_there_may_be_more_and_when_it_was_let_go_on() {
    each(|backend| {
        let store = backend.open();
        let a = destination(&*store, "a");
        let (queue, other) = (store.queue(a), store.queue(a));
        let mut state = other.state();
        let comes = |ready: BoxFuture<'static, ()>| {
            let limit = std::time::Duration::from_secs(30);
            wait(async || tokio::time::timeout(limit, ready).await).expect("it comes");
        };
        let ready = queue.ready();
        append(&*store, "one", &["a"]);
        comes(ready);
        let claim = store.claim(a, 1)[0];
        let due_ms = vero_relay::time::wall_ms() + 50;
        let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() };
        store.settle(vec![(claim, retry)]);
        comes(queue.ready());
        store.pause(a, "410 Gone");
        assert_eq!(state.borrow_and_update().standing.paused.as_ref().map(|pause| &*pause.reason), Some("410 Gone"));
        assert!(store.claim(a, 1).is_empty());
        let ready = queue.ready();
        assert_eq!(ask(&*store, 1, "a", What::Resume), done(1));
        comes(ready);
        let let_go_on = state.borrow_and_update().clone();
        assert_eq!((let_go_on.standing.paused, let_go_on.nudges), (None, 1));
        queue.change(Change::Section { digest: "one".into() });
        queue.change(Change::Section { digest: "one".into() });
        assert_eq!(state.borrow_and_update().nudges, 1, "the first section of all is not another one");
        queue.change(Change::Section { digest: "two".into() });
        assert_eq!(state.borrow_and_update().nudges, 2);
    });
}

#[test]
fn a_renamed_destination_keeps_its_queue_and_one_that_meets_another_is_joined_to_it() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["old", "other"]);
        let [old, other] = ["old", "other"].map(|name| destination(&*store, name));
        store.announce(1, &[old, other]);
        let renamed = |name: &str, from: &str| Named {
            kind: NameKind::Destination,
            name: name.to_owned(),
            renamed_from: Some(from.to_owned()),
        };
        let interned = wait(async || store.intern(vec![renamed("new", "old")]).await).expect("there is room");
        let from_old = TakenFrom { name: "new".into(), from: "old".into(), moved: None };
        assert_eq!((interned.ids.as_slice(), interned.taken_over), ([old].as_slice(), vec![from_old]));
        assert_eq!(store.names().former(NameKind::Destination, "old"), Some(old));
        store.announce(2, &[old]);
        let both = || vec![renamed("new", "other")];
        let interned = wait(async || store.intern(both()).await).expect("there is room");
        let moved = Some(TakenOver { waiting: 1, ..TakenOver::default() });
        assert_eq!(interned.taken_over, [TakenFrom { name: "new".into(), from: "other".into(), moved }]);
        assert_eq!((store.counts_of(old).backlog, store.counts_of(other).backlog), (1, 0), "one event is one delivery");
        store.close_now();
        let store = backend.open();
        assert_eq!((store.counts_of(old).backlog, store.counts_of(other).backlog), (1, 0));
        assert!(store.standing(other).removed_since_ms.is_some() && store.standing(old).removed_since_ms.is_none());
    });
}

#[test]
fn a_config_whose_names_find_no_room_changes_nothing() {
    each(|backend| {
        let store = backend.open();
        let long = |number: usize| format!("{number:06}{}", "r".repeat(1000));
        let names: Vec<String> = (0..15_000).map(long).collect();
        let all: Vec<_> = names.iter().map(|name| (NameKind::Rule, &**name)).collect();
        let refused = wait(async || store.intern(named(&all)).await);
        assert!(matches!(refused, Err(StoreError::NamesFull(_))), "{refused:?}");
        assert!(store.names().of_kind(NameKind::Rule).is_empty());
        assert!(wait(async || store.intern(named(&all[..1000])).await).is_ok());
    });
}
