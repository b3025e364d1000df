//! The contract of [`Store`] and the traits that it is made of, held against every backend. A second backend is proved by these same
//! tests: one file a trait, but for commands, for what only one process may do, and for what several relays keep together (`cluster`, `moving`). They speak of events by their ids and bodies and of order by what came first, and of no number that a backend
//! might count by.

mod cluster;
mod commands;
mod erasing;
mod exclusive;
mod floors;
mod in_order;
mod intake;
mod lanes;
mod looking;
mod moving;
mod on_postgres;
mod queue;
mod segments;
mod store;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vero_relay::event::EventId;
use vero_relay::seeds::part_of;
use vero_relay::store::journal::disk::{Disk, RealDisk};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::{
    AppendError, AttemptNote, Change, Claim, Claimable, Claimed, Command, Counts, Cursor, DeadQuery, DeadReasons,
    DeliveryState, Done, Duty, EventQuery, Health, Lease, MEMO_BYTES_MAX, MEMOS_MAX, NameId, NameKind, NameState,
    Named, NewEvent, Order, Page, PlannedDelivery, Queue, QueueState, QueueWatch, REASONS_MAX, REMEMBERED_BYTES_MAX,
    REMEMBERED_MAX, ReplayProgress, Retention, Room, SearchLimit, Settled, Settlement, Store, StoreError, TakenFrom,
    TakenOver, What, Which, Why,
};
use vero_relay::time::Clock;

use self::exclusive::Exclusively;
use self::on_postgres::OnPostgres;

/// A backend under test: it can be opened, and opened again after its process has died.
trait Backend {
    fn open(&self) -> Arc<dyn Store> {
        self.open_by(Clock::start())
    }

    /// Opens it by a clock of one's own.
    fn open_by(&self, clock: Clock) -> Arc<dyn Store>;

    /// What another process would have open beside the first; where only one can have it open, the same.
    fn open_again(&self) -> Arc<dyn Store>;

    /// Lets go of what need not be kept, as happens now and then.
    fn trim(&self);

    /// Whether it keeps copies of what was written that no process reaches, and says so.
    fn keeps_copies(&self) -> bool {
        false
    }

    /// Takes a lease from who has it, as happens to a process that has stood still for too long.
    fn take_away(&self, lease: &Lease) {
        lease.lost.cancel();
    }
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
    let on_model = || {
        let model = ModelDisk::default();
        OnDisk::new(move || -> Arc<dyn Disk> { Arc::new(model.clone()) }, Location::Memory)
    };
    test(&on_model());
    test(&Exclusively::new(on_model()));
    each_with_files(test);
}

/// Runs a test against every backend, the shared one among them.
fn each_and_shared(test: impl Fn(&dyn Backend)) {
    each(&test);
    test(&OnPostgres::default());
}

/// Runs a test against every backend that keeps all that it knows when its process ends, also what no journal says.
fn each_with_files(test: impl Fn(&dyn Backend)) {
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

/// So long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(30);

/// What may wait is waited for here.
#[track_caller]
pub fn wait<T>(answer: impl AsyncFnOnce() -> T) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    let answered = RUNTIME.block_on(async { tokio::time::timeout(LIMIT, answer()).await });
    answered.unwrap_or_else(|_| panic!("it did not come within {LIMIT:?}"))
}

/// Has something done, under an id.
fn ask(store: &dyn Store, id: u128, of: &str, what: What) -> Done {
    ask_of(store, id, destination(store, of), what)
}

/// An id that no command has.
fn new_id() -> u128 {
    static IDS: AtomicU64 = AtomicU64::new(1);
    (u128::from(IDS.fetch_add(1, Ordering::Relaxed)) << 64) + 1
}

/// How many it was done to, the first time.
fn done(deliveries: u64) -> Done {
    Done { deliveries, ..Done::default() }
}

/// Waits until something is known that another process has said.
#[track_caller]
fn eventually_known(is_known: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_known() {
        assert!(began.elapsed() < LIMIT, "it did not come within {LIMIT:?}");
        std::thread::yield_now();
    }
}

/// Waits until what is shown is as it should be.
#[track_caller]
fn until<T: Clone + std::fmt::Debug>(shown: &mut watch::Receiver<T>, is_right: impl Fn(&T) -> bool) -> T {
    let came = wait(async || {
        let came = tokio::time::timeout(LIMIT / 2, shown.wait_for(|now| is_right(now))).await;
        came.map(|came| came.expect("the store is open").clone()).ok()
    });
    came.unwrap_or_else(|| panic!("it did not come, but {:?}", *shown.borrow()))
}

/// The same of how a destination stands.
#[track_caller]
fn until_state(shown: &mut QueueWatch, is_right: impl Fn(&QueueState) -> bool) -> QueueState {
    let came = wait(async || {
        let came = async {
            while !is_right(&shown.see()) {
                shown.changed().await;
            }
        };
        tokio::time::timeout(LIMIT / 2, came).await.ok()
    });
    assert!(came.is_some(), "it did not come, but {:?}", shown.now());
    shown.now()
}

/// Who has the lease of a destination, and does what its worker does. When it goes, the next may have it.
pub struct Worker(Lease);

/// Has the right to deliver to a destination.
#[track_caller]
pub fn worker(store: &dyn Store, of: NameId) -> Worker {
    Worker(wait(async || store.lease(Duty::deliver_to(of)).await))
}

impl Worker {
    fn queue(&self) -> &dyn Queue {
        &*self.0.queues[0]
    }

    /// Claims so many, or all there are.
    fn claimed(&self, max: usize) -> Vec<Claimed> {
        let mut all = Vec::new();
        // A claim may give less than there is.
        loop {
            let some = self.claim_once(Room { deliveries: max - all.len(), body_bytes: 1 << 20, urgent_only: false });
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    fn claim_once(&self, room: Room) -> Vec<Claimed> {
        wait(async || self.queue().claim(room).await)
    }

    pub fn claim(&self, max: usize) -> Vec<Claim> {
        self.claimed(max).into_iter().map(|claimed| claimed.claim).collect()
    }

    /// The bodies of what is claimed.
    fn bodies(&self, max: usize) -> Vec<String> {
        let body = |claimed: Claimed| String::from_utf8_lossy(&claimed.event.expect("readable").body).into_owned();
        self.claimed(max).into_iter().map(body).collect()
    }

    pub fn settle(&self, settlements: Vec<(Claim, Settlement)>) {
        for (claim, settlement) in settlements {
            self.queue().settle(vec![Settled { claim, settlement, attempt: None }]);
        }
    }

    fn pause(&self, reason: &str) {
        self.queue().change(Change::Pause { reason: reason.to_owned() });
    }

    fn state(&self) -> QueueState {
        self.queue().state().now()
    }
}

/// What a test asks of a store in a few words.
pub trait InShort {
    fn counts_of(&self, of: NameId) -> Counts;
    /// How a destination stands.
    fn state(&self, of: NameId) -> NameState;
    fn close_now(&self);
    /// The number of a name.
    fn name(&self, kind: NameKind, name: &str) -> NameId;
    /// When an event's one delivery is due, if it is scheduled.
    fn due_ms(&self, id: EventId) -> Option<u64>;
}

impl InShort for dyn Store {
    fn counts_of(&self, of: NameId) -> Counts {
        wait(async || self.counts().await).expect("counted").of(of)
    }

    fn state(&self, of: NameId) -> NameState {
        self.counts_of(of).state
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

/// The bodies of what waits for a destination, claimed by somebody who then goes.
fn bodies(store: &dyn Store, of: NameId, max: usize) -> Vec<String> {
    worker(store, of).bodies(max)
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

/// Which event was claimed.
fn id_of(claimed: &Claimed) -> EventId {
    claimed.event.as_ref().expect("readable").id
}

/// What its worker says of a delivery that arrived.
fn delivered(Claimed { claim, .. }: Claimed) -> Settled {
    Settled { claim, settlement: Settlement::Delivered { attempts: 1 }, attempt: None }
}

/// Has something done to a destination or a source.
fn ask_of(store: &dyn Store, id: u128, of: NameId, what: What) -> Done {
    wait(async || store.ask(Command::new(id, of, what)).await).expect("done")
}
