//! What is kept in memory of all destinations, whatever the backend.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::outcomes::DeliveryKey;
use super::queue::Queue;
use super::recent::RecentOutcomes;
use super::remembered::Remembered;
use crate::store::changes::Watchers;
use crate::store::locks::{lock, reading, writing};
use crate::store::{DeliveryState, DigestId, NameId, NameState, Sources};
use crate::time::Clock;

/// A digest's number begins with the milliseconds of its closing and has this many bits more, so that two closings have two numbers, also
/// where nothing has remained of the first.
const DIGESTS_IN_MS_BITS: u32 = 20;

/// What is kept in memory of all destinations. `R`: by what the backend reads the events of one that lags.
pub struct Memory<R> {
    /// The store's own number.
    pub number: u64,
    pub clock: Clock,
    pub destinations: RwLock<HashMap<NameId, Arc<Destination<R>>>>,
    pub outcomes: Mutex<RecentOutcomes>,
    pub sources: watch::Sender<Sources>,
    /// The sources whose events are held from here on. Changed where events are written alone.
    pub holding: Mutex<BTreeSet<NameId>>,
    /// Cancelled when the store closes: no lease outlives it.
    pub leases: CancellationToken,
    /// The number of the digest that was closed last.
    pub last_digest: AtomicU64,
    /// By which section of the config each destination delivered last: a fingerprint.
    pub facts: Mutex<HashMap<NameId, String>>,
    /// What attempts have left behind for those that follow.
    pub remembered: Mutex<Remembered>,
    pub watchers: Watchers,
}

impl<R: Default> Memory<R> {
    /// With these queues, and nothing else yet.
    pub fn new(number: u64, clock: Clock, queues: HashMap<NameId, Queue>) -> Self {
        let is_held = |(id, queue): (&NameId, &Queue)| queue.state().held_since_ms.map(|_| *id);
        let holding = queues.iter().filter_map(is_held).collect();
        let last_digest = queues.values().filter_map(Queue::last_digest).max();
        let destinations = queues.into_iter().map(|(id, queue)| (id, Destination::new(queue))).collect();
        Self {
            number,
            clock,
            destinations: RwLock::new(destinations),
            outcomes: Mutex::default(),
            sources: watch::Sender::default(),
            holding: Mutex::new(holding),
            leases: CancellationToken::new(),
            last_digest: AtomicU64::new(last_digest.map_or(0, |id| id.0.get())),
            facts: Mutex::default(),
            remembered: Mutex::default(),
            watchers: Watchers::default(),
        }
    }

    /// What there is of one destination, from now on also where there was nothing.
    pub fn destination(&self, id: NameId) -> Arc<Destination<R>> {
        if let Some(known) = reading(&self.destinations).get(&id) {
            return known.clone();
        }
        let mut destinations = writing(&self.destinations);
        destinations.entry(id).or_insert_with(|| Destination::new(Queue::new(id))).clone()
    }

    /// The number for one more digest: greater than all before, also than those of which nothing is known any more, unless the clock was
    /// set back.
    pub fn mint_digest(&self, now_ms: u64) -> DigestId {
        let next = |last: u64| (last + 1).max(now_ms << DIGESTS_IN_MS_BITS);
        let last = self.last_digest.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        let id = next(last.expect("there is always a next one"));
        DigestId(NonZeroU64::new(id).expect("it is greater than another number"))
    }

    /// Everything that has a queue.
    pub fn destination_ids(&self) -> Vec<NameId> {
        let destinations = reading(&self.destinations);
        let mut ids: Vec<_> = destinations.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Where destinations stand that do not simply go on.
    pub fn all_states(&self) -> Vec<(NameId, NameState)> {
        let state = |id| (id, lock(&self.destination(id).queue).state().clone());
        let all = self.destination_ids().into_iter().map(state);
        all.filter(|(_, state)| *state != NameState::default()).collect()
    }

    /// How a delivery was given up, while that is so new that it is in memory: attempts, when, why.
    pub fn just_died(&self, key: &DeliveryKey) -> Option<(u16, u64, String)> {
        match lock(&self.outcomes).get(key)? {
            DeliveryState::Dead { attempts, at_ms, reason } => Some((attempts, at_ms, reason)),
            _ => None,
        }
    }

    /// Where a delivery stands as far as memory knows: [`DeliveryState::Settled`] for what ended a while ago, and none for a dead letter
    /// of which memory knows no more.
    pub fn state_in_memory(&self, key: &DeliveryKey) -> Option<DeliveryState> {
        let destination = self.destination(key.destination);
        let queue = lock(&destination.queue);
        if let Some(state) = queue.delivery_state(key.sequence) {
            return Some(state);
        }
        let is_dead = queue.is_dead(key.sequence);
        drop(queue);
        if let Some(recent) = lock(&self.outcomes).get(key)
            && matches!(recent, DeliveryState::Dead { .. }) == is_dead
        {
            return Some(recent);
        }
        if !is_dead {
            return Some(DeliveryState::Settled);
        }
        let (attempts, at_ms, reason) = self.just_died(key)?;
        Some(DeliveryState::Dead { attempts, at_ms, reason })
    }

    /// What came in by a source while it was held goes out, and is as old as this moment: so many milliseconds the store has lived through.
    pub fn let_go_of_source(&self, source: NameId, passed_ms: u64) {
        for id in self.destination_ids() {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            if queue.held(source).is_some() {
                // It comes all at once: a few deliveries at first.
                destination.ramp_up();
                queue.let_go(source, passed_ms);
                destination.wake(&queue);
            }
        }
    }
}
