//! The durable queue: what must not be lost, and what has become of it.
//!
//! # Cast
//!
//! * [`Store`]: the trait that everything else talks to. [`journal::JournalStore`] is the one backend today; a shared one on an
//!   existing engine would be a second implementation and not a second program. `tests/it/contract.rs` holds any backend to it.
//! * [`NewEvent`] → [`Store::append`]: an event with the list of its destinations; answered once both are durable.
//! * [`Claim`]: one delivery handed to a worker. It holds a position and not a body, so a backlog costs no memory.
//! * [`Settlement`]: what became of a claim. It is durable within a second, not on return: after a crash a delivery may happen
//!   again, and none is forgotten.
//! * [`NameId`]: a destination, source or rule, numbered for good when the store first hears its name.
//!
//! # Not promised
//!
//! Exactly once; order, within a destination or between two; that a settlement is durable when `settle` returns.

pub mod journal;
pub mod lock;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};

use crate::event::EventId;

/// The number of a name. Numbers are given once and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameKind {
    /// A configured place to deliver to.
    Destination,
    /// A configured way in.
    Source,
    /// A rule.
    Rule,
}

/// An event on its way in.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// Which generation of the config routed it.
    pub generation: u32,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    /// Where it is to go; each destination once.
    pub deliveries: Vec<PlannedDelivery>,
    /// The bytes that came.
    pub body: Bytes,
}

/// One destination of an event, and the rule that chose it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedDelivery {
    /// Where to.
    pub destination: NameId,
    /// By which rule.
    pub rule: NameId,
}

/// An event as it lies in the store.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its id, which holds its sequence number and its arrival.
    pub id: EventId,
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// Which generation of the config routed it.
    pub generation: u32,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    /// Where it goes.
    pub deliveries: Vec<PlannedDelivery>,
    /// The bytes that came.
    pub body: Bytes,
}

/// Names one delivery: an event, a destination, and which run at it (0 is the first; a replay counts up).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The event's sequence number.
    pub sequence: u64,
    /// Where to.
    pub destination: NameId,
    /// Which run.
    pub run: u32,
}

/// A delivery in the hands of a worker, until it is settled or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Attempts made before this claim.
    pub attempts: u16,
    /// When the first attempt was made, unix milliseconds; `None` before it.
    pub first_attempt_ms: Option<u64>,
    /// When it was due, unix milliseconds; `None` for a first attempt.
    pub due_ms: Option<u64>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The destination has it.
    Delivered {
        /// Attempts made in all.
        attempts: u16,
    },
    /// To be tried again.
    Postponed {
        /// Attempts made in all.
        attempts: u16,
        /// When the first of them was made, unix milliseconds.
        first_attempt_ms: u64,
        /// When the next is due, unix milliseconds.
        due_ms: u64,
        /// What the last one came to.
        reason: String,
    },
    /// Given up: a dead letter.
    Dead {
        /// Attempts made in all.
        attempts: u16,
        /// Why.
        reason: String,
    },
    /// Handed back as it was: no attempt counts, and it is claimed again first.
    Released,
}

/// Where one delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// No attempt has been settled yet.
    Waiting,
    /// An attempt is under way.
    UnderWay,
    /// Waiting for its next attempt.
    Postponed {
        /// Attempts made.
        attempts: u16,
        /// When the next is due, unix milliseconds.
        due_ms: u64,
        /// What the last one came to.
        reason: String,
    },
    /// The destination has it.
    Delivered {
        /// Attempts made.
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
    },
    /// Given up.
    Dead {
        /// Attempts made.
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
        /// Why.
        reason: String,
    },
}

/// An event with where each of its deliveries stands.
#[derive(Clone, Debug)]
pub struct EventView {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// In the order of its deliveries.
    pub states: Vec<(PlannedDelivery, DeliveryState)>,
}

/// A destination that is held until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
}

/// What waits for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries not settled yet: waiting, under way and postponed.
    pub backlog: u64,
    /// Of them, waiting for another attempt.
    pub postponed: u64,
    /// Of them, in the hands of a worker.
    pub under_way: u64,
    /// When the oldest of them arrived, unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Dead letters in the journal.
    pub dead: u64,
    /// Held, and why.
    pub paused: Option<Pause>,
}

/// What an acknowledgement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to a local disk.
    LocalFsync,
}

/// Whether the store can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Good,
    /// No room: nothing can be taken in, what is there goes on. Passes without a restart.
    Full(String),
    /// A sync failed, so what is on the disk is not known any more. Only a restart can find out.
    Poisoned(String),
}

/// Why an event could not be taken in. It was not acknowledged, and may exist all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk.
    #[error("the store has no room: {0}")]
    Full(String),
    /// The store is broken until a restart.
    #[error("the store has failed: {0}")]
    Poisoned(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}

/// Why a stored event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("no such event in the store")]
    Missing,
    /// It is there and its bytes are not what was written.
    #[error("the event's bytes on the disk are damaged ({0})")]
    Damaged(String),
    /// The disk would not give it.
    #[error("reading the store failed")]
    Io(#[from] std::io::Error),
}

/// The durable queue behind the relay. See the [module](self) for who is who.
///
/// No call blocks on another destination. All may be called from any thread; those that touch the disk say so.
pub trait Store: Send + Sync + 'static {
    /// Numbers a name, or finds its number. The number is durable no later than the first event that uses it.
    fn name(&self, kind: NameKind, name: &str) -> NameId;

    /// The name behind a number.
    fn name_of(&self, id: NameId) -> Option<Arc<str>>;

    /// The names of one kind that the store has ever heard, with their numbers.
    fn names(&self, kind: NameKind) -> Vec<(NameId, Arc<str>)>;

    /// Takes an event in. The receiver resolves once the event and its deliveries are durable, or cannot be made so.
    /// Dropping the receiver cancels nothing.
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>>;

    /// Hands out at most `max` deliveries of one destination that are due: released ones first, then due retries and first
    /// attempts in turn. Empty while the destination is paused.
    fn claim(&self, destination: NameId, max: usize) -> Vec<Claim>;

    /// The event of a claim, if it is still in memory.
    fn recent(&self, sequence: u64) -> Option<Arc<StoredEvent>>;

    /// The event of a claim. Reads the disk when it is not in memory any more.
    fn read(&self, claim: &Claim) -> Result<Arc<StoredEvent>, ReadError>;

    /// Says what became of claims. Takes effect at once, is written within 100 ms and durable within a second.
    fn settle(&self, settlements: Vec<(Claim, Settlement)>);

    /// When the destination next has a retry due, unix milliseconds. `None`: nothing is postponed.
    fn next_due(&self, destination: NameId) -> Option<u64>;

    /// Is notified whenever the destination may have something new to claim: an event, or the end of a pause. Not for a claim that
    /// was handed back.
    fn wakeup(&self, destination: NameId) -> Arc<Notify>;

    /// Holds a destination's queue until [`resume`](Self::resume), across restarts. A second call changes nothing.
    fn pause(&self, destination: NameId, reason: &str);

    /// Lets a paused destination go on. Its postponed deliveries are due now, and the time it was paused does not count.
    /// Returns whether it was paused.
    fn resume(&self, destination: NameId) -> bool;

    /// One event and where its deliveries stand. Reads the disk.
    fn event(&self, id: EventId) -> Result<EventView, ReadError>;

    /// What waits for a destination. May read the disk for the age of the oldest.
    fn counts(&self, destination: NameId) -> Counts;

    /// Bytes on disk.
    fn bytes(&self) -> u64;

    /// What an acknowledgement is worth.
    fn durability(&self) -> Durability;

    /// Whether the store can do its work, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// Makes everything settled so far durable and closes: later appends are refused. Blocks on the disk.
    fn close(&self);
}
