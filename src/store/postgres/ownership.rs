//! The right of this process to a destination.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::following::Came;
use crate::store::locks::lock;
use crate::time::Instant;

/// Up to which number each stream was read when a queue was read: what is above comes by following.
pub type Ends = BTreeMap<u16, u64>;

/// The right to one destination.
#[derive(Debug)]
pub struct Owned {
    /// The epoch of its lease: whatever is changed names it.
    pub epoch: i64,
    /// Cancelled when the right is lost.
    pub lost: CancellationToken,
    coming: Mutex<Coming>,
    /// A worker of this process has it.
    is_out: AtomicBool,
    /// It may be given to one: not while it is here for commands alone.
    is_for_work: AtomicBool,
    /// Nothing more is to be claimed: it is given back when nothing is in flight.
    is_draining: AtomicBool,
    /// Its lease is kept until then, though it is lost: what could not be written is not tried again at once.
    rests_until: Mutex<Option<Instant>>,
}

impl Owned {
    /// The right, before its queue is in memory.
    pub fn new(epoch: i64, lost: CancellationToken) -> Self {
        Self {
            epoch,
            lost,
            coming: Mutex::new(Coming::Later(Vec::new())),
            is_out: AtomicBool::default(),
            is_for_work: AtomicBool::default(),
            is_draining: AtomicBool::default(),
            rests_until: Mutex::default(),
        }
    }

    /// Whether an event is to be added to the queue now: not before that was read, which is when all that has come meanwhile is added,
    /// and not if it was read with it.
    pub fn takes(&self, came: Came) -> bool {
        match &mut *lock(&self.coming) {
            Coming::Later(later) => {
                later.push(came);
                false
            }
            Coming::Behind(ends) => is_behind(ends, came),
        }
    }

    /// The queue was read as it was when all streams ended there. What has come since is added before anything that comes from now on.
    pub fn loaded<T>(&self, ends: Ends, add: impl FnOnce(&[Came]) -> T) -> T {
        let mut coming = lock(&self.coming);
        let later = match std::mem::replace(&mut *coming, Coming::Behind(ends.clone())) {
            Coming::Later(later) => later,
            Coming::Behind(_) => Vec::new(),
        };
        let later: Vec<Came> = later.into_iter().filter(|came| is_behind(&ends, *came)).collect();
        add(&later)
    }

    /// Whether its queue is in memory, and the right is not lost.
    pub fn is_loaded(&self) -> bool {
        matches!(*lock(&self.coming), Coming::Behind(_)) && !self.lost.is_cancelled()
    }

    /// Whether it can be given to a worker.
    pub fn is_ready(&self) -> bool {
        let may_be = self.is_for_work.load(Ordering::Acquire) && !self.is_draining.load(Ordering::Acquire);
        may_be && self.is_loaded() && !self.is_out.load(Ordering::Acquire)
    }

    /// Gives it to a worker, unless one has it, or none may.
    pub fn hand_out(&self) -> bool {
        self.is_ready() && !self.is_out.swap(true, Ordering::AcqRel)
    }

    /// Says whether a worker may have it.
    pub fn is_for_work(&self, is_so: bool) {
        self.is_for_work.store(is_so, Ordering::Release);
    }

    /// Nothing more is to be claimed.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether something may be claimed.
    pub fn may_claim(&self) -> bool {
        !self.is_draining.load(Ordering::Acquire) && !self.lost.is_cancelled()
    }

    /// Nobody has it for so long.
    pub fn rest(&self, pause: Duration) {
        *lock(&self.rests_until) = Some(Instant::now() + pause);
    }

    /// Whether that lasts.
    pub fn rests(&self) -> bool {
        lock(&self.rests_until).is_some_and(|until| Instant::now() < until)
    }

    /// The worker has gone.
    pub fn came_back(&self) {
        self.is_out.store(false, Ordering::Release);
    }
}

/// What becomes of events that arrive.
#[derive(Debug)]
enum Coming {
    /// The queue is being read: they are added afterwards. Their bodies are read when they are claimed.
    Later(Vec<Came>),
    Behind(Ends),
}

fn is_behind(ends: &Ends, came: Came) -> bool {
    ends.get(&came.slot).is_none_or(|end| came.number > *end)
}
