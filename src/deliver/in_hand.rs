//! Claims in a worker's hands, and what has been decided about them. A worker may panic, or its task be dropped, at any place: what
//! is decided then takes effect, and the rest is handed back. No delivery stays in flight with nobody behind it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::EventId;
use crate::store::{
    AttemptNote, Claim, Claimed, DeliveryId, DigestId, NameId, Queue, Settled, Settlement, StoreError, StoredEvent,
};

/// The event of a claim, or why it cannot be read.
pub type Read = Result<Arc<StoredEvent>, StoreError>;

/// What was claimed together and whose attempts have not begun. What is left when this goes is handed back.
pub struct Unattempted {
    queue: Arc<dyn Queue>,
    claimed: std::vec::IntoIter<Claimed>,
}

impl Unattempted {
    /// All of a claim.
    pub fn new(queue: &Arc<dyn Queue>, claimed: Vec<Claimed>) -> Self {
        Self { queue: queue.clone(), claimed: claimed.into_iter() }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.claimed.len() == 0
    }

    /// The bytes of each body.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.claimed.as_slice().iter().map(|claimed| claimed.event.as_ref().map_or(0, |event| event.body.len()))
    }

    /// Whose they are.
    pub fn events(&self) -> impl Iterator<Item = EventId> + '_ {
        self.claimed.as_slice().iter().map(|claimed| claimed.claim.delivery.event)
    }

    /// Puts them into another order; those that are alike there stay in theirs.
    pub fn sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(EventId) -> K) {
        self.claimed.as_mut_slice().sort_by_key(|claimed| key(claimed.claim.delivery.event));
    }

    /// The digests among them.
    pub fn digests(&self) -> impl Iterator<Item = DigestId> + '_ {
        self.claimed.as_slice().iter().filter_map(|claimed| claimed.claim.digest)
    }

    /// Hands the digests back that are among these.
    pub fn hand_back(&mut self, digests: &[DigestId]) {
        let is_meant = |claimed: &Claimed| claimed.claim.digest.is_some_and(|id| digests.contains(&id));
        let (back, rest): (Vec<_>, Vec<_>) = self.claimed.by_ref().partition(is_meant);
        self.claimed = rest.into_iter();
        hand_back(&self.queue, back.into_iter().map(|claimed| claimed.claim));
    }

    /// Takes the first so many out.
    pub fn split(&mut self, count: usize) -> InHand {
        let parts = self.claimed.by_ref().take(count).map(|Claimed { claim, event }| (claim, event));
        let (claims, events) = parts.unzip();
        InHand { queue: self.queue.clone(), claims, events }
    }
}

impl Drop for Unattempted {
    fn drop(&mut self) {
        let claims = self.claimed.by_ref().map(|claimed| claimed.claim);
        hand_back(&self.queue, claims);
    }
}

fn hand_back(queue: &Arc<dyn Queue>, claims: impl ExactSizeIterator<Item = Claim>) {
    if claims.len() > 0 {
        let returned = |claim| Settled { claim, settlement: Settlement::Returned, attempt: None };
        queue.settle(claims.map(returned).collect());
    }
}

/// Claims in flight: one, mostly. What is left when this goes is handed back.
pub struct InHand {
    queue: Arc<dyn Queue>,
    claims: SmallVec<[Claim; 1]>,
    /// Of each claim its event, until it is taken.
    events: SmallVec<[Read; 1]>,
}

impl InHand {
    /// Where they came from.
    pub fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    /// Whose they are.
    pub fn destination(&self) -> Option<NameId> {
        self.claims.first().map(|claim| claim.delivery.destination)
    }

    /// The first of them.
    pub fn first(&self) -> Option<DeliveryId> {
        self.claims.first().map(|claim| claim.delivery)
    }

    /// Of each the digest that it is; `None` where it is a delivery by itself.
    pub fn digests(&self) -> impl Iterator<Item = Option<DigestId>> + '_ {
        self.claims.iter().map(|claim| claim.digest)
    }

    /// Takes the events, in the order of their claims.
    pub fn take_events(&mut self) -> SmallVec<[Read; 1]> {
        std::mem::take(&mut self.events)
    }

    /// Decides about all of them in turn. Each stays in hand until its settlement is there.
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

impl Drop for InHand {
    fn drop(&mut self) {
        hand_back(&self.queue, self.claims.drain(..));
    }
}

/// What has been decided. It takes effect when this goes.
pub struct Decided {
    queue: Arc<dyn Queue>,
    settled: Vec<Settled>,
}

impl Decided {
    /// Of a queue, with nothing decided.
    pub fn new(queue: &Arc<dyn Queue>) -> Self {
        Self { queue: queue.clone(), settled: Vec::new() }
    }

    /// How many claims have been decided.
    pub fn len(&self) -> usize {
        self.settled.len()
    }
}

impl Drop for Decided {
    fn drop(&mut self) {
        self.queue.settle(std::mem::take(&mut self.settled));
    }
}
