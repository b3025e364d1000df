//! One destination's deliveries as its worker has them: claimed with their events, settled, and a word when there is more.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::format::{Act, DeliveryKey, OutcomeRecord, OutcomeState, cut};
use super::inbox::{Message, Urgency};
use super::index::Update;
use super::queue::Claim;
use super::words::{ReadError, state_of};
use super::{Journal, lock, reading};
use crate::event::EventId;
use crate::store::changes::told_of;
use crate::store::{
    Answer, AttemptNote, Change, Claimable, Claimed, DeliveryState, NameId, Queue, QueueWatch, REMEMBERED_BYTES_MAX,
    Room, Settled, Settlement, StoreError, StoredEvent,
};
use crate::time::{Instant, sleep_until};

/// A destination's queue, for its worker.
pub struct JournalQueue {
    pub journal: Arc<Journal>,
    pub id: NameId,
    pub destination: Arc<Destination>,
    /// Cancelled once others may have the right to it.
    pub lost: CancellationToken,
}

/// Claims on their way to a worker. What is left when this goes is handed back.
struct Handing {
    destination: Arc<Destination>,
    lost: CancellationToken,
    /// The journal's own number, which its events' ids hold.
    journal: u64,
    claimed: Vec<Claimed>,
    /// Those of which the events are still to be read.
    unread: Vec<Claim>,
}

impl Handing {
    /// What was claimed; the rest is handed back.
    fn take(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }

    /// Reads events, as far as there is room for their bodies.
    fn read(mut self, journal: &Journal, body_bytes: usize) -> Self {
        let destination = self.destination.clone();
        let mut window = lock(&destination.window);
        let mut bytes = 0;
        self.unread.reverse();
        while let Some(claim) = self.unread.last().copied() {
            let sequence = claim.key.sequence;
            let recent = lock(&journal.recent).get(sequence);
            let read = recent.map_or_else(|| journal.read_anywhere(sequence, &mut window).map(Arc::new), Ok);
            let read = read.and_then(to_go_out);
            bytes += read.as_ref().map_or(0, |event| event.body.len());
            if bytes > body_bytes && !self.claimed.is_empty() {
                // The rest waits for its turn, and comes first then, in its order.
                self.unread.reverse();
                return self;
            }
            self.unread.pop();
            let id = read.as_ref().map_or_else(|_| EventId::mint(0, self.journal as u16, sequence), |event| event.id);
            self.claimed.push(Claimed { claim: claim.of_event(id), event: read.map_err(StoreError::from) });
        }
        self
    }
}

/// An event of which somebody has to send what came: it may have been redacted, and then sent again in the same breath.
pub fn to_go_out(event: Arc<StoredEvent>) -> Result<Arc<StoredEvent>, ReadError> {
    if event.is_redacted { Err(ReadError::Redacted) } else { Ok(event) }
}

impl Drop for Handing {
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

impl Queue for JournalQueue {
    fn claim(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
        let claims = {
            let mut queue = lock(&self.destination.queue);
            if self.lost.is_cancelled() {
                Vec::new()
            } else {
                let gone = queue.drop_come_back();
                self.journal.tell_dropped(&self.destination, &mut queue, self.id, gone);
                queue.claim_within(room.deliveries, room.urgent_only, self.journal.clock.now_ms())
            }
        };
        if claims.is_empty() {
            // This one holds nothing, so that its box needs no memory.
            return Box::pin(std::future::poll_fn(|_| Poll::Ready(Vec::new())));
        }
        let destination = self.destination.clone();
        let lost = self.lost.clone();
        let journal = self.journal.number;
        let mut handing =
            Handing { destination, lost, journal, claimed: Vec::with_capacity(claims.len()), unread: claims };
        // What is in memory is there at once. Where the first is not, the disk is read.
        let mut bytes = 0;
        let recent = lock(&self.journal.recent);
        for claim in &handing.unread {
            let Some(event) = recent.get(claim.key.sequence) else { break };
            bytes += event.body.len();
            if bytes > room.body_bytes && !handing.claimed.is_empty() {
                break;
            }
            handing.claimed.push(Claimed { claim: claim.of_event(event.id), event: Ok(event) });
        }
        drop(recent);
        handing.unread.drain(..handing.claimed.len());
        if !handing.claimed.is_empty() || handing.unread.is_empty() {
            return Box::pin(async move { handing.take() });
        }
        let journal = self.journal.clone();
        Box::pin(async move {
            // If that panics, its claims are handed back on the way; so they are if the runtime ends.
            let blocking = journal.blocking;
            let read = blocking.begin(move || handing.read(&journal, room.body_bytes)).await;
            read.map(Handing::take).unwrap_or_default()
        })
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        let journal = self.journal.clone();
        let destination = self.destination.clone();
        Box::pin(async move {
            loop {
                let due_ms = lock(&destination.queue).next_due();
                let due = due_ms.map(|due_ms| Instant::now() + journal.clock.until(due_ms));
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
        lock(&self.destination.queue).claimable(self.journal.clock.now_ms())
    }

    fn settle(&self, settled: Vec<Settled>) {
        let watchers = &self.journal.watchers;
        let has_digest = settled.iter().any(|settled| settled.claim.digest.is_some());
        let told = if watchers.are_there() { told_of(&settled, self.journal.clock.now_ms()) } else { Vec::new() };
        let mut notes: Vec<(DeliveryKey, AttemptNote)> = Vec::new();
        let settlements = settled.into_iter().map(|Settled { claim, settlement, attempt }| {
            let claim = Claim::from(claim);
            notes.extend(attempt.map(|attempt| (claim.key, attempt)));
            (claim, settlement)
        });
        self.journal.settle(&self.destination, &self.lost, settlements);
        if !told.is_empty() && !self.lost.is_cancelled() {
            watchers.settled(&told);
        }
        if has_digest {
            // Any of its members may stand elsewhere now.
            watchers.commanded();
        }
        if !notes.is_empty() && !self.lost.is_cancelled() {
            self.journal.index.update(vec![Update::Notes(notes)]);
        }
    }

    fn change(&self, change: Change) {
        if self.lost.is_cancelled() {
            return;
        }
        let control = |act, urgency| self.journal.control(self.id, act, urgency);
        match change {
            Change::Pause { reason } => drop(control(Act::Pause(reason), Urgency::Now)),
            Change::Breaker { is_open: true } => drop(control(Act::Open, Urgency::Soon)),
            Change::Breaker { is_open: false } => drop(control(Act::Close, Urgency::Soon)),
            Change::Section { fingerprint } => self.journal.go_by_section(self.id, fingerprint),
        }
    }

    fn state(&self) -> QueueWatch {
        QueueWatch::new(self.destination.state.subscribe())
    }

    fn recall(&self, key: &str) -> Option<String> {
        lock(&self.journal.remembered).get(self.id, key).map(str::to_owned)
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
        let mut remembered = lock(&self.journal.remembered);
        let rows = remembered.set(self.id, key, text);
        // Told while it is locked, so that the last one to be known is the last one to be written.
        self.journal.index.update(vec![Update::Remembered(rows)]);
        drop(remembered);
        let journal = self.journal.clone();
        Box::pin(async move {
            let blocking = journal.blocking;
            match blocking.begin(move || journal.index.flush()).await {
                Some(true) => Ok(()),
                _ => Err(StoreError::written_later()),
            }
        })
    }
}

impl Journal {
    /// Says what became of claims of one destination, with its queue locked until the writer has them: the order is that of the journal.
    fn settle(
        &self,
        destination: &Destination,
        lost: &CancellationToken,
        settlements: impl Iterator<Item = (Claim, Settlement)>,
    ) {
        let at_ms = self.clock.now_ms();
        let mut queue = lock(&destination.queue);
        if lost.is_cancelled() {
            return;
        }
        let mut written = Vec::new();
        let mut skipped = Vec::new();
        let mut is_scheduled = false;
        for (claim, settlement) in settlements {
            let (attempts, state) = match settlement {
                Settlement::Returned => {
                    // No wakeup: who hands a claim back knows why, and would only be woken to hand it back again.
                    queue.give_back(claim);
                    continue;
                }
                Settlement::Delivered { attempts } => (attempts, OutcomeState::Delivered),
                // The note of the attempt says why, also after a restart.
                Settlement::Skipped { attempts, reason } => {
                    skipped.push((claim.key, DeliveryState::Skipped { at_ms, reason: cut(reason) }));
                    (attempts, OutcomeState::Skipped)
                }
                Settlement::Dead { attempts, reason } => (attempts, OutcomeState::Dead { reason: cut(reason) }),
                Settlement::Scheduled { attempts, first_attempt_ms, due_ms, reason } => {
                    is_scheduled = true;
                    (attempts, OutcomeState::Scheduled { first_attempt_ms, due_ms, reason: cut(reason) })
                }
            };
            if let Some(id) = claim.digest {
                match queue.settle_digest(id, attempts, &state) {
                    Some(members) => {
                        // The next may be ended.
                        destination.sorting.wakeup.notify_one();
                        self.digest_settled((claim.key.destination, id), (attempts, at_ms), state, members)
                    }
                    None => tracing::warn!(?claim, "settled a digest that was not in flight; nothing was changed"),
                }
            } else if queue.settle(claim.key.sequence, attempts, &state) {
                written.push(OutcomeRecord { key: claim.key, attempts, at_ms, state });
            } else {
                tracing::warn!(?claim, "settled a delivery that was not in flight; nothing was changed");
            }
        }
        if is_scheduled {
            destination.scheduled.notify_one();
        }
        destination.tell_of_order(&mut queue);
        if written.is_empty() {
            return;
        }
        let mut outcomes = lock(&self.outcomes);
        for outcome in written.iter().filter(|outcome| !matches!(outcome.state, OutcomeState::Scheduled { .. })) {
            outcomes.push(outcome.key, state_of(outcome));
        }
        for (key, state) in skipped {
            outcomes.push(key, state);
        }
        drop(outcomes);
        // If the writer is gone the process is ending, and these deliveries may happen again.
        let _ = self.sender.send(Message::Outcomes(written));
    }

    /// Remembers a destination's section of the config. What waits by another one is due now.
    fn go_by_section(&self, id: NameId, fingerprint: String) {
        let before = lock(&self.facts).insert(id, fingerprint.clone());
        if before.as_ref() == Some(&fingerprint) {
            return;
        }
        self.index.update(vec![Update::Fact(id, fingerprint)]);
        let name = reading(&self.names).of(id).map(|(_, name)| name.clone());
        if before.is_some() && lock(&self.destination(id).queue).backlog() > 0 {
            let destination = name.as_deref().unwrap_or_default();
            tracing::info!(destination, "its section of the config has changed: what waits for it is due now");
            self.let_go_on(id, Act::RetryNow);
        }
    }

    /// Lets a destination go on, gently.
    pub fn let_go_on(&self, id: NameId, act: Act) -> bool {
        let destination = self.destination(id);
        // Seen by the worker before there is more to claim.
        destination.ramp_up();
        self.control(id, act, Urgency::Now)
    }
}
