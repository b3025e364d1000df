//! One destination's deliveries as its worker has them: claimed with their events, settled, and a word when there is more.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::acts::{Act, Urgency};
use super::backing::{Backing, By, Read};
use super::destination::Destination;
use super::outcomes::DeliveryKey;
use super::queue::Claim;
use crate::event::EventId;
use crate::store::changes::told_of;
use crate::store::locks::lock;
use crate::store::{
    Answer, AttemptNote, Change, Claimable, Claimed, NameId, Queue, QueueWatch, REMEMBERED_BYTES_MAX, Room, Settled,
    StoreError,
};
use crate::time::{Instant, sleep_until};

/// A destination's queue, for its worker.
pub struct OwnQueue<B: Backing> {
    pub backing: Arc<B>,
    pub id: NameId,
    pub destination: Arc<Destination<B::Reader>>,
    /// Cancelled once others may have the right to it.
    pub lost: CancellationToken,
    pub hold: B::Hold,
}

/// Claims on their way to a worker. What is left when this goes is handed back.
struct Handing<R> {
    destination: Arc<Destination<R>>,
    lost: CancellationToken,
    /// The store's own number, which stands in the id of an event that cannot be read.
    store: u64,
    claimed: Vec<Claimed>,
    /// Those of which the events are still to be read.
    unread: Vec<Claim>,
}

impl<R> Handing<R> {
    /// What was claimed; the rest is handed back.
    fn take(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }

    /// Takes over what was read of the first of them. The rest waits for its turn, and comes first then, in its order.
    fn was_read(&mut self, read: Vec<Read>) {
        for (claim, (sequence, event)) in self.unread.drain(..read.len()).zip(read) {
            let id = event.as_ref().map_or_else(|_| EventId::mint(0, self.store as u16, sequence), |event| event.id);
            self.claimed.push(Claimed { claim: claim.of_event(id), event });
        }
    }
}

impl<R> Drop for Handing<R> {
    fn drop(&mut self) {
        let claims = self.claimed.drain(..).map(|claimed| claimed.claim.into()).chain(self.unread.drain(..));
        let claims: Vec<Claim> = claims.collect();
        if !claims.is_empty() {
            let mut queue = lock(&self.destination.queue);
            if !self.lost.is_cancelled() {
                claims.into_iter().for_each(|claim| queue.give_back(claim));
                self.destination.tell_of_order(&mut queue);
            }
        }
    }
}

impl<B: Backing> Queue for OwnQueue<B> {
    fn claim(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
        let claims = {
            let mut queue = lock(&self.destination.queue);
            if self.lost.is_cancelled() || !self.backing.may_claim(&self.hold) {
                Vec::new()
            } else {
                let gone = queue.drop_come_back();
                self.backing.tell_dropped(&self.destination, &mut queue, self.id, gone);
                queue.claim_within(room.deliveries, room.urgent_only, self.backing.clock.now_ms())
            }
        };
        if claims.is_empty() {
            // This one holds nothing, so that its box needs no memory.
            return Box::pin(std::future::poll_fn(|_| Poll::Ready(Vec::new())));
        }
        let destination = self.destination.clone();
        let lost = self.lost.clone();
        let store = self.backing.number;
        let mut handing =
            Handing { destination, lost, store, claimed: Vec::with_capacity(claims.len()), unread: claims };
        // What is in memory is there at once. Where the first is not, the store is read.
        let Handing { claimed, unread, .. } = &mut handing;
        let mut claims = unread.iter();
        self.backing.recent_of(unread.iter().map(|claim| claim.key.sequence), room.body_bytes, |event| {
            let claim = claims.next().expect("an event is one of those that were asked for");
            claimed.push(Claimed { claim: claim.of_event(event.id), event: Ok(event) });
        });
        handing.unread.drain(..handing.claimed.len());
        if !handing.claimed.is_empty() || handing.unread.is_empty() {
            return Box::pin(async move { handing.take() });
        }
        let numbers = handing.unread.iter().map(|claim| claim.key.sequence).collect();
        let backing = self.backing.clone();
        Box::pin(async move {
            let read = backing.read(&handing.destination, By::Worker, numbers, room.body_bytes).await;
            // Where nothing was read, all are handed back.
            handing.was_read(read.unwrap_or_default());
            handing.take()
        })
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        let backing = self.backing.clone();
        let destination = self.destination.clone();
        Box::pin(async move {
            loop {
                let due_ms = lock(&destination.queue).next_due();
                let due = due_ms.map(|due_ms| Instant::now() + backing.clock.until(due_ms));
                tokio::select! {
                    biased;
                    () = destination.wakeup.notified() => return,
                    () = destination.scheduled.notified() => {}
                    () = sleep_until(due) => return,
                }
            }
        })
    }

    fn claimable(&self) -> Claimable {
        if self.lost.is_cancelled() {
            return Claimable::default();
        }
        lock(&self.destination.queue).claimable(self.backing.clock.now_ms())
    }

    fn settle(&self, settled: Vec<Settled>) {
        let watchers = &self.backing.watchers;
        let has_digest = settled.iter().any(|settled| settled.claim.digest.is_some());
        let told = if watchers.are_there() { told_of(&settled, self.backing.clock.now_ms()) } else { Vec::new() };
        let mut notes: Vec<(DeliveryKey, AttemptNote)> = Vec::new();
        let settlements = settled.into_iter().map(|Settled { claim, settlement, attempt }| {
            let claim = Claim::from(claim);
            notes.extend(attempt.map(|attempt| (claim.key, attempt)));
            (claim, settlement)
        });
        self.backing.settle(&self.destination, &self.lost, settlements);
        if !told.is_empty() && !self.lost.is_cancelled() {
            watchers.settled(&told);
        }
        if has_digest {
            // Any of its members may stand elsewhere now.
            watchers.commanded();
        }
        if !notes.is_empty() && !self.lost.is_cancelled() {
            self.backing.note(notes);
        }
    }

    fn change(&self, change: Change) {
        if self.lost.is_cancelled() {
            return;
        }
        let control = |act, urgency| self.backing.control(self.id, act, urgency);
        match change {
            Change::Pause { reason } => drop(control(Act::Pause(reason), Urgency::Now)),
            Change::Breaker { is_open: true } => drop(control(Act::Open, Urgency::Soon)),
            Change::Breaker { is_open: false } => drop(control(Act::Close, Urgency::Soon)),
            Change::Section { fingerprint } => self.backing.go_by_section(self.id, fingerprint),
        }
    }

    fn state(&self) -> QueueWatch {
        QueueWatch::new(self.destination.state.subscribe())
    }

    fn recall(&self, key: &str) -> Option<String> {
        lock(&self.backing.remembered).get(self.id, key).map(str::to_owned)
    }

    fn remember(&self, key: &str, text: Option<String>) -> Answer<'static, ()> {
        if self.lost.is_cancelled() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let bytes = key.len() + text.as_ref().map_or(0, String::len);
        if bytes > REMEMBERED_BYTES_MAX {
            let why =
                format!("at most {REMEMBERED_BYTES_MAX} bytes are remembered under one key, and these are {bytes}");
            return Box::pin(std::future::ready(Err(StoreError::Conflict(why))));
        }
        let mut remembered = lock(&self.backing.remembered);
        let rows = remembered.set(self.id, key, text);
        // Told while it is locked, so that the last one to be known is the last one to be written.
        self.backing.tell_remembered(rows)
    }
}
