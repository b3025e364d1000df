//! One destination's deliveries: what its worker claims, attempts and settles.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{Answer, AttemptNote, Claim, Lanes, NameState, Room, Settlement, StoreError, StoredEvent};

/// The deliveries of one destination, while this process has the [`Lease`](super::Lease) to make them. All of it is in memory, but for events of a
/// destination that lags, and cannot fail.
pub trait Queue: Lanes {
    /// What is due, with its events: returned ones first, then due retries, first attempts and redeliveries in turn. Where the section sorts:
    /// what is urgent, returned ones, and then due retries, what is ready and digests in turn. As much as both limits allow, and at least one
    /// event, however large. Empty while the destination is paused, and once the lease is lost. Dropping the future hands back what it had
    /// claimed.
    fn claim(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>>;

    /// Resolves when a claim may give something: an event, a retry that is due, the end of a pause. May resolve for nothing. Not for a
    /// claim that was handed back. After a claim of what is urgent alone, such a claim is meant, until [`Lanes::wake`].
    fn ready(&self) -> BoxFuture<'static, ()>;

    /// How much such a claim would give now, roughly: for who waits until it is worth one. Hands out nothing.
    fn claimable(&self) -> Claimable;

    /// Says what became of claims. Takes effect at once, is written within 100 ms and durable within a second. Changes nothing once the
    /// lease is lost.
    fn settle(&self, settled: Vec<Settled>);

    /// Says something of the destination as a whole; changes nothing once the lease is lost.
    fn change(&self, change: Change);

    /// How the destination stands, now and from now on.
    fn state(&self) -> QueueWatch;

    /// What an attempt has left behind under a key for those that follow; nothing where nothing was, or where it was lost.
    fn recall(&self, key: &str) -> Option<String>;

    /// Leaves something behind under a key in the place of what stood there, or takes that away: at most [`REMEMBERED_BYTES_MAX`] bytes with
    /// the key, and nothing that is of a person. Of more than [`REMEMBERED_MAX`] keys of a destination those that were written first go. It is
    /// known at once, and resolves when the end of the process would not undo it; where it cannot be written now that is an error, and it is written
    /// later. It may be lost with what is kept beside the journal, and where another queue is joined to this. Changes nothing once the lease is lost.
    ///
    /// [`REMEMBERED_MAX`]: super::REMEMBERED_MAX
    /// [`REMEMBERED_BYTES_MAX`]: super::REMEMBERED_BYTES_MAX
    fn remember(&self, key: &str, text: Option<String>) -> Answer<'static, ()>;
}

/// How much a claim would give. It may be too much where another claims as well, and of what goes in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    pub deliveries: u64,
    /// Some of them have waited already: for the time of a retry, in somebody's hands, or behind another of their key.
    pub have_waited: bool,
}

/// A delivery that was claimed.
#[derive(Debug)]
pub struct Claimed {
    /// Which. It is to be settled, or handed back.
    pub claim: Claim,
    /// Its event, or why that cannot be read.
    pub event: Result<Arc<StoredEvent>, StoreError>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub claim: Claim,
    pub settlement: Settlement,
    /// The attempt, for who wants to know later. It may be lost; nothing depends on it.
    pub attempt: Option<AttemptNote>,
}

/// What a worker, or a config, says of a destination as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its queue is held until somebody resumes it, across restarts. A second one changes nothing.
    Pause { reason: String },
    /// Its breaker has opened, so that time does not count, or has closed.
    Breaker {
        /// Whether it is open.
        is_open: bool,
    },
    /// Its section of the config is this. Where it was another, what is scheduled is due now, and goes out gently: most likely the change is
    /// to help it.
    Section { fingerprint: String },
}

/// How a destination stands, for its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Whether it is paused, and the like.
    pub state: NameState,
    /// Counts how often somebody has let it go on: what waits is to go out, a few deliveries at first, whatever the other side had asked
    /// for.
    pub ramp_ups: u64,
}

/// How a destination stands, now and from now on. Looked at by copy alone: it is written while the queue is locked, so that whoever kept looking
/// while they ask the queue would wait for a writer who waits for them.
#[derive(Clone, Debug)]
pub struct QueueWatch(watch::Receiver<QueueState>);

impl QueueWatch {
    /// Sees what is sent there.
    pub fn new(receiver: watch::Receiver<QueueState>) -> Self {
        Self(receiver)
    }

    /// How it stands now.
    pub fn now(&self) -> QueueState {
        self.0.borrow().clone()
    }

    /// The same, which is not new from here on.
    pub fn see(&mut self) -> QueueState {
        self.0.borrow_and_update().clone()
    }

    /// Whether that is new.
    pub fn is_new(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Resolves when it is; never where the store has ended.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
