//! Claims in a worker's hands, and what has been decided about them. A worker may panic, or its task be dropped, at any place: what
//! is decided then takes effect, and the rest is handed back. No delivery stays in flight with nobody behind it.

use std::sync::Arc;

use crate::store::{AttemptNote, Claim, Claimed, NameId, Queue, Settled, Settlement, StoreError, StoredEvent};

/// The event of a claim, or why it cannot be read.
pub type Read = Result<Arc<StoredEvent>, StoreError>;

/// Claims that are not settled. What is left when this goes is handed back.
pub struct Held {
    queue: Arc<dyn Queue>,
    claims: Vec<Claim>,
    /// Of each claim its event, until it is taken.
    events: Vec<Read>,
}

impl Held {
    /// Holds what was claimed.
    pub fn new(queue: &Arc<dyn Queue>, claimed: Vec<Claimed>) -> Self {
        let (claims, events) = claimed.into_iter().map(|Claimed { claim, event }| (claim, event)).unzip();
        Self { queue: queue.clone(), claims, events }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Whose they are.
    pub fn destination(&self) -> Option<NameId> {
        self.claims.first().map(|claim| claim.key.destination)
    }

    /// The bytes of each body.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.events.iter().map(|event| event.as_ref().map_or(0, |event| event.body.len()))
    }

    /// Takes the first so many out.
    pub fn split(&mut self, count: usize) -> Self {
        let (claims, events) = (self.claims.split_off(count), self.events.split_off(count));
        let (claims, events) =
            (std::mem::replace(&mut self.claims, claims), std::mem::replace(&mut self.events, events));
        Self { queue: self.queue.clone(), claims, events }
    }

    /// Takes the events, in the order of their claims.
    pub fn take_events(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.events)
    }

    /// Decides about all of them in turn. Each is held until its settlement is there.
    pub fn settle<T>(
        mut self,
        with: impl IntoIterator<Item = T>,
        decided: &mut Decided,
        mut decide: impl FnMut(&Claim, T) -> (Settlement, Option<AttemptNote>),
    ) {
        self.claims.reverse();
        for with in with {
            let Some(claim) = self.claims.last() else { return };
            let (settlement, attempt) = decide(claim, with);
            decided.settled.extend(self.claims.pop().map(|claim| Settled { claim, settlement, attempt }));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            let released = |claim| Settled { claim, settlement: Settlement::Returned, attempt: None };
            self.queue.settle(self.claims.drain(..).map(released).collect());
        }
    }
}

/// What has been decided. It takes effect when this goes.
pub struct Decided {
    queue: Arc<dyn Queue>,
    settled: Vec<Settled>,
}

impl Decided {
    /// Nothing yet.
    pub fn new(queue: &Arc<dyn Queue>) -> Self {
        Self { queue: queue.clone(), settled: Vec::new() }
    }

    /// How much.
    pub fn len(&self) -> usize {
        self.settled.len()
    }
}

impl Drop for Decided {
    fn drop(&mut self) {
        self.queue.settle(std::mem::take(&mut self.settled));
    }
}
