//! One destination's worker: claims and attempts here, as fast as its rate limit allows; [`settle`] has what follows when attempts have ended.

mod settle;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::settle::HOLD_MAX;
use self::settle::Sparing;
use super::apart::{Apart, prefix};
use super::bodies::{Bodies, ONE_BYTES_MAX, Reservation, Share};
use super::breaker::{Allowed, Breaker};
use super::collecting::Collecting;
use super::decide::Policy;
use super::in_hand::{InHand, Read, Unattempted};
use super::rate_limit::Turn;
use super::recalled::{self, Recalled};
use super::section::Section;
use super::sorting::Verdict;
use super::status::Status;
use crate::destination::{Batching, Delivery, Digest, Outcome, Outcomes, Reason};
use crate::event::RelayFields;
use crate::store::{
    Change, Claimed, DigestId, NameId, Names, Queue, QueueState, QueueWatch, Room, Store, StoreError, StoredEvent,
};
use crate::time::{Clock, Instant, sleep_until};

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerParts {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    /// What the config says of it. A reload gives another.
    pub section: watch::Receiver<Arc<Section>>,
    /// The bodies in flight, of all destinations.
    pub bodies: Arc<Bodies>,
    pub clock: Clock,
    pub status: Arc<Status>,
    /// No new attempt once this is cancelled.
    pub stop: CancellationToken,
}

/// One destination's worker.
pub struct Worker {
    parts: WorkerParts,
    /// How the destination stands.
    state: QueueWatch,
    /// How often it had been let go on when it was looked at last.
    ramp_ups: u64,
    /// The section that new attempts are made by.
    section: Arc<Section>,
    share: Share,
    /// A claim whose events are being read.
    claiming: Option<Claiming>,
    /// There may be something to claim.
    is_ready: bool,
    /// What comes next does not fit beside the bodies in flight.
    lacks_room: bool,
    /// Where several go out in one request: how long the next is waited for.
    collecting: Collecting,
    /// Those that were refused together.
    apart: Apart,
    rejects_in_a_row: u32,
    /// Of what is skipped.
    skip_notes: Sparing,
    /// As its troubles say, so that a delivery that arrives need not ask.
    is_failing: bool,
    breaker: Breaker,
    /// Since when the breaker is open, unix milliseconds: time does not count from there on.
    open_since_ms: Option<u64>,
}

/// A claim that is being read.
struct Claiming {
    claimed: BoxFuture<'static, Vec<Claimed>>,
    /// Room for what it may give.
    _room: Reservation,
    begin: Begin,
}

/// How attempts begin.
#[derive(Clone, Copy)]
struct Begin {
    attempts_max: usize,
    is_probe: bool,
    turn: Turn,
}

/// What may go out.
struct Order {
    urgent_only: bool,
    turn: Turn,
}

/// What an attempt leaves behind.
struct Attempted {
    /// What it was made by.
    section: Arc<Section>,
    claims: InHand,
    outcomes: Outcomes,
    started_ms: u64,
    took: Duration,
    is_probe: bool,
}

/// One that is to begin.
struct Attempt {
    clock: Clock,
    section: Arc<Section>,
    names: Arc<Names>,
    /// Of each claim the digest that it is; empty where none is one.
    digests: SmallVec<[Option<Arc<Digest>>; 1]>,
    claims: InHand,
    reservation: Reservation,
    is_probe: bool,
}

/// Those in flight. What they are made by is kept beside them, so that each is of one type and needs no box of its own.
struct Attempts<F> {
    running: FuturesUnordered<F>,
    begin: fn(Attempt) -> F,
}

impl<F: Future<Output = Attempted>> Attempts<F> {
    fn new(begin: fn(Attempt) -> F) -> Self {
        Self { running: FuturesUnordered::new(), begin }
    }

    fn push(&self, attempt: Attempt) {
        self.running.push((self.begin)(attempt));
    }
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(parts: WorkerParts) -> Self {
        let mut state = parts.queue.state();
        let QueueState { state: found, ramp_ups } = state.see();
        let section = parts.section.borrow().clone();
        let concurrency = section.config.policy.concurrency;
        let breaker = match found.open_since_ms {
            Some(_) => Breaker::open(concurrency, Instant::now()),
            None => Breaker::closed(concurrency),
        };
        let is_failing = parts.status.troubles().is_failing();
        Self {
            share: Share::new(parts.bodies.clone()),
            parts,
            state,
            ramp_ups,
            section,
            claiming: None,
            is_ready: true,
            lacks_room: false,
            collecting: Collecting::default(),
            apart: Apart::default(),
            rejects_in_a_row: 0,
            skip_notes: Sparing::default(),
            is_failing,
            breaker,
            open_since_ms: found.open_since_ms,
        }
    }

    /// Works until it is stopped; attempts in flight are then finished and settled.
    pub async fn run(mut self) {
        let stop = self.parts.stop.clone();
        let mut attempts = Attempts::new(attempted);
        self.show_section();
        self.show_probe();
        self.look_at_changes();
        // Kept from turn to turn: to wait anew for each of these costs more than an attempt's share of the rest.
        let mut ready = self.parts.queue.ready();
        let mut changes = self.changes();
        while !stop.is_cancelled() {
            // Before anything is claimed: what somebody has let go on goes out gently.
            self.look_at_changes();
            let next_turn = self.fill(&mut attempts);
            tokio::select! {
                // In this order, so that a run can be repeated; nothing here is ready for long.
                biased;
                () = stop.cancelled() => break,
                Some(attempted) = attempts.running.next() => {
                    self.lacks_room = false;
                    if !attempts.running.is_empty() {
                        // Under load others end at nearly the same time. Settled together, and followed by new ones together, they leave
                        // the threads to who sends events in between.
                        tokio::task::yield_now().await;
                    }
                    self.settle_ready(attempted, &mut attempts);
                }
                claimed = claimed(&mut self.claiming) => drop(self.take(claimed, &mut attempts)),
                () = &mut ready, if !self.is_ready => {
                    self.is_ready = true;
                    ready = self.parts.queue.ready();
                }
                () = &mut changes => {
                    self.look_at_changes();
                    changes = self.changes();
                }
                () = sleep_until(next_turn) => {}
            }
        }
        // What is being read goes back.
        self.claiming = None;
        while let Some(attempted) = attempts.running.next().await {
            self.settle_ready(attempted, &mut attempts);
        }
    }

    /// Resolves when the section, or how the destination stands, is not what it is now; or when the next turn comes sooner than was said.
    fn changes(&self) -> BoxFuture<'static, ()> {
        let mut state = self.state.clone();
        let mut section = self.parts.section.clone();
        let mut sooner = self.section.rate_limit.sooner();
        Box::pin(async move {
            tokio::select! {
                () = state.changed() => {}
                // An error means that the other end is gone: the process is ending.
                Ok(()) = section.changed() => {}
                Ok(()) = sooner.changed() => {}
            }
        })
    }

    /// Says by which section of the config new attempts are made: what waits for one that has changed is due now, and by the new one.
    fn show_section(&self) {
        let fingerprint = self.section.config.fingerprint.clone();
        self.parts.queue.change(Change::Section { fingerprint });
    }

    /// Goes by what has changed: the section, and whether somebody has let the destination go on.
    fn look_at_changes(&mut self) {
        if self.parts.section.has_changed().unwrap_or(false) {
            self.section = self.parts.section.borrow_and_update().clone();
            self.breaker.set_concurrency(self.section.config.policy.concurrency);
            // By the new one it may be enough; what waits has waited for as long as before.
            self.is_ready = true;
            self.show_section();
        }
        if !self.state.is_new() {
            return;
        }
        let ramp_ups = self.state.see().ramp_ups;
        if std::mem::replace(&mut self.ramp_ups, ramp_ups) != ramp_ups {
            self.breaker.ramp_up(Instant::now());
            self.section.rate_limit.release();
            self.parts.status.show(|shown| (shown.held_until_ms, shown.has_paused) = (None, false));
            self.show_probe();
            self.is_ready = true;
        }
    }

    /// When the breaker lets the next probe through, unix milliseconds.
    fn next_probe_ms(&self) -> Option<u64> {
        let at = self.breaker.probe_at()?;
        Some(self.parts.clock.now_ms() + at.saturating_duration_since(Instant::now()).as_millis() as u64)
    }

    fn show_probe(&self) {
        let next_probe_ms = self.next_probe_ms();
        self.parts.status.show(|shown| shown.next_probe_ms = next_probe_ms);
    }

    /// Starts as many attempts as there is room, turns and deliveries for. Returns when the next turn is, if that is what lacks.
    fn fill<F>(&mut self, attempts: &mut Attempts<F>) -> Option<Instant>
    where
        F: Future<Output = Attempted>,
    {
        self.is_ready |= self.collecting.is_over(Instant::now());
        while self.claiming.is_none() && self.is_ready && !self.lacks_room {
            let now = Instant::now();
            let running = attempts.running.len();
            let allowed = self.breaker.allowed(now);
            let batching = self.section.config.destination.batching();
            let batching = batching.filter(|_| matches!(allowed, Allowed::AtOnce(_)));
            if let Some(until) = batching.as_ref().and_then(|batching| self.collect(batching, now)) {
                return Some(until);
            }
            let Section { config, rate_limit, .. } = &*self.section;
            // Those in flight when it opened end by themselves, and hold no probe up.
            if matches!(allowed, Allowed::AtOnce(most) if running >= most) {
                return None;
            }
            let Order { urgent_only, turn } = self.order();
            if let Some(later) = rate_limit.closed_until(now, turn) {
                if turn == Turn::Urgent {
                    rate_limit.want(later);
                }
                return Some(later);
            }
            let (attempts_max, batch_max, is_probe) = match allowed {
                Allowed::Not(until) => return Some(until),
                Allowed::AfterProbe => return None,
                Allowed::Probe => (1, 1, true),
                // Where turns are counted, one attempt at a time: what is claimed is attempted at once.
                Allowed::AtOnce(_) if rate_limit.is_limited() => (1, config.destination.batch_max(), false),
                Allowed::AtOnce(most) => (most - running, config.destination.batch_max(), false),
            };
            // Without room, one of our own attempts will end and bring us back here.
            let mut body_bytes = self.share.room()?;
            let mut deliveries = attempts_max * batch_max;
            if let Some(batching) = batching {
                // One request, after which it is seen whether there is enough for another; or some of those that go apart, which come first.
                deliveries =
                    self.apart.soon().map_or(batch_max, |with| with.saturating_mul(attempts_max).min(batch_max));
                body_bytes = body_bytes.min(batching.bytes_max);
            }
            self.collecting.begin();
            let asked = Room { deliveries, body_bytes, urgent_only };
            let mut claimed = self.parts.queue.claim(asked);
            match (&mut claimed).now_or_never() {
                Some(claimed) => {
                    if let Some(later) = self.take((claimed, Begin { attempts_max, is_probe, turn }), attempts) {
                        return Some(later);
                    }
                }
                None => {
                    let room = self.share.take(body_bytes);
                    let begin = Begin { attempts_max, is_probe, turn };
                    self.claiming = Some(Claiming { claimed, _room: room, begin });
                }
            }
        }
        self.collecting.until().filter(|_| !self.is_ready)
    }

    /// Until when others are waited for, if what is there is not enough for a request. What was refused together waits for nobody.
    fn collect(&mut self, batching: &Batching, now: Instant) -> Option<Instant> {
        if self.apart.soon().is_some() {
            return None;
        }
        let until = self.collecting.waits_until(self.parts.queue.claimable(), batching, now)?;
        // What comes meanwhile may make it enough.
        self.is_ready = false;
        Some(until)
    }

    /// What may go out now: in quiet hours only what is urgent.
    fn order(&self) -> Order {
        if self.section.config.sorting.is_none() {
            return Order { urgent_only: false, turn: Turn::Usual };
        }
        let turn = if self.parts.queue.has_urgent() { Turn::Urgent } else { Turn::Usual };
        Order { urgent_only: self.parts.status.sorted().quiet_until_ms().is_some(), turn }
    }

    /// Attempts what was claimed, as far as there is room; what is not attempted goes back. Returns when the next turn is, if it is not
    /// now.
    fn take<F>(
        &mut self,
        (claimed, Begin { attempts_max, is_probe, turn }): (Vec<Claimed>, Begin),
        attempts: &mut Attempts<F>,
    ) -> Option<Instant>
    where
        F: Future<Output = Attempted>,
    {
        let mut rest = Unattempted::new(&self.parts.queue, claimed);
        if rest.is_empty() {
            self.is_ready = false;
            return None;
        }
        let digests = self.take_digests(&mut rest);
        if rest.is_empty() {
            return None;
        }
        let destination = &self.section.config.destination;
        let batch_max = if is_probe { 1 } else { destination.batch_max() };
        let batching = destination.batching();
        let bytes_max = batching.map_or(ONE_BYTES_MAX, |batching| batching.bytes_max);
        if batching.is_some() {
            self.apart.claimed(rest.events());
            // Those that go with the fewest are first, so that they are not behind others for ever.
            rest.sort_by_key(|event| self.apart.most_with(event));
        }
        let mut is_first = true;
        for _ in 0..attempts_max {
            if rest.is_empty() {
                break;
            }
            let most_with = rest.events().map(|event| self.apart.most_with(event));
            let (count, bytes) = prefix(rest.sizes().zip(most_with).take(batch_max), bytes_max);
            let Some(reservation) = self.share.reserve(bytes) else { break };
            // No turn is taken for what finds no room. Somebody who shares the rate limit may have been faster.
            if std::mem::take(&mut is_first)
                && let Err(later) = self.section.rate_limit.take(Instant::now(), turn)
            {
                self.apart.returned(rest.events());
                return Some(later);
            }
            let claims = rest.split(count);
            attempts.push(Attempt {
                clock: self.parts.clock,
                section: self.section.clone(),
                names: self.parts.store.names(),
                digests: if digests.is_empty() { SmallVec::new() } else { of_claims(&claims, &digests) },
                claims,
                reservation,
                is_probe,
            });
        }
        self.apart.returned(rest.events());
        if is_first {
            self.lacks_room = true;
        } else if is_probe {
            self.breaker.probe();
            self.show_probe();
        }
        None
    }

    /// The digests among what was claimed. Those that cannot go out as they are go back: what this section has not put together, and all where
    /// the destination takes each event by itself. Their sorter sees to them, and the rest waits for none of them.
    fn take_digests(&self, claimed: &mut Unattempted) -> Vec<(DigestId, Arc<Digest>)> {
        let config = &self.section.config;
        let sorted = self.parts.status.sorted();
        let (mut digests, mut lacking) = (Vec::new(), Vec::new());
        for id in claimed.digests() {
            match sorted.digest(id, &config.fingerprint).filter(|_| config.can_gather()) {
                Some(digest) => digests.push((id, digest)),
                None => lacking.push(id),
            }
        }
        if !lacking.is_empty() {
            claimed.hand_back(&lacking);
            lacking.into_iter().for_each(|id| self.parts.queue.withhold(id));
            sorted.look_again();
        }
        digests
    }
}

/// Makes one attempt at some deliveries.
async fn attempted(attempt: Attempt) -> Attempted {
    let Attempt { clock, section, names, digests, mut claims, reservation, is_probe } = attempt;
    let mut read = claims.take_events();
    let to = claims.destination();
    let mut together = SmallVec::new();
    if !digests.is_empty() {
        together = together_of(digests, &mut read);
    }
    let mut together = together.into_iter();
    let deliveries = read.iter().flatten().map(|event| {
        let digest = together.next().flatten();
        Delivery { digest, ..delivery(&names, event, to) }
    });
    let deliveries: SmallVec<[Delivery; 1]> = deliveries.collect();
    drop(names);
    let started_ms = clock.now_ms();
    let started = Instant::now();
    let Policy { timeout, .. } = section.config.policy;
    // The call itself may panic as well as what it returns.
    let destination = &*section.config.destination;
    let mut recalled = Recalled::default();
    let batches = destination.batching().is_some();
    let attempt = AssertUnwindSafe(async {
        match destination.memory() {
            // None of them can be read.
            _ if deliveries.is_empty() => Ok(Outcomes::new()),
            None if batches => Ok(destination.attempt_within(&deliveries, timeout).await),
            None => tokio::time::timeout(timeout, destination.attempt(&deliveries)).await,
            // In a box, so that the others have no room for it.
            Some(memory) => {
                let is_urgent = |delivery: &Delivery| is_urgent(&section, delivery);
                let queue = claims.queue();
                let attempt = recalled::attempt(memory, &*queue, &deliveries, is_urgent, &mut recalled);
                tokio::time::timeout(timeout, Box::pin(attempt)).await
            }
        }
    })
    .catch_unwind();
    let made = match attempt.await {
        Ok(Ok(outcomes)) => outcomes,
        // Any one of them may be to blame.
        Err(_) if batches && deliveries.len() > 1 => {
            let reason = Reason::local("a bug: the attempt at several panicked; see the log");
            Outcomes::from_elem(Outcome::Apart { reason, at_most: 1, was_sent: true }, deliveries.len())
        }
        Err(_) => Outcomes::from_elem(Outcome::local("a bug: the attempt panicked; see the log"), deliveries.len()),
        Ok(Err(_)) => Outcomes::from_elem(Outcome::unanswered(timeout), deliveries.len()),
    };
    if destination.memory().is_some() {
        Box::pin(recalled.keep(&claims.queue())).await;
    }
    let mut made = made.into_iter();
    let outcomes = read.into_iter().map(|event| match event {
        Ok(_) => made.next().unwrap_or_else(|| Outcome::local("a bug: the attempt gave no outcome")),
        Err(error @ StoreError::Unavailable(_)) => {
            Outcome::Retry { reason: Reason::local(error.to_string()), after: None, holds_all: false }
        }
        // Somebody asked for it, or some of it, to be erased, which is no reason to keep it as a dead letter.
        Err(error @ (StoreError::Erased | StoreError::Redacted)) => Outcome::skipped(error.to_string()),
        Err(error) => Outcome::local(error.to_string()),
    });
    let outcomes = outcomes.collect();
    drop(reservation);
    Attempted { section, outcomes, claims, started_ms, took: started.elapsed(), is_probe }
}

/// Whether a delivery passes all that waits.
fn is_urgent(section: &Section, delivery: &Delivery) -> bool {
    let Some(sorting) = section.config.sorting.as_ref().filter(|_| delivery.digest.is_none()) else { return false };
    let relay = RelayFields { source: &delivery.source, received_ms: delivery.event.received_ms };
    sorting.verdict(&delivery.event.body, relay, 0) == Ok(Verdict::Urgent)
}

/// Of each claim the digest that it is.
fn of_claims(claims: &InHand, digests: &[(DigestId, Arc<Digest>)]) -> SmallVec<[Option<Arc<Digest>>; 1]> {
    let known = |id| digests.iter().find(|(known, _)| *known == id).map(|(_, digest)| digest.clone());
    claims.digests().map(|id| id.and_then(known)).collect()
}

/// Of each claim whose event was read, the digest that it is; `None` where it is a delivery by itself, and of a digest with one member.
fn together_of(digests: SmallVec<[Option<Arc<Digest>>; 1]>, read: &mut [Read]) -> SmallVec<[Option<Arc<Digest>>; 1]> {
    let mut together = SmallVec::new();
    for (digest, read) in digests.into_iter().zip(read) {
        // One of its events that cannot be read is no reason to give all of them up.
        if let (Some(digest), Err(_)) = (&digest, &read) {
            let unread = || StoreError::Unavailable("none of the digest's events can be read".to_owned());
            *read = match read {
                // What was put together has it still: without it, it is another message.
                Err(StoreError::Erased) => Err(StoreError::Unavailable(
                    "an event of the digest was erased: it is put together anew".to_owned(),
                )),
                _ => digest.events.first().map(|first| first.event.clone()).ok_or_else(unread),
            };
        }
        if read.is_ok() {
            together.push(digest.filter(|digest| digest.count > 1));
        }
    }
    together
}

/// What was claimed, once its events are read.
async fn claimed(claiming: &mut Option<Claiming>) -> (Vec<Claimed>, Begin) {
    let Some(Claiming { claimed, begin, .. }) = claiming else { return std::future::pending().await };
    let claimed = (claimed.await, *begin);
    *claiming = None;
    claimed
}

/// An event as its destination gets it.
pub(super) fn delivery(names: &Names, event: &Arc<StoredEvent>, destination: Option<NameId>) -> Delivery {
    let planned = event.deliveries.iter().find(|planned| Some(planned.destination) == destination);
    let rule = planned.map_or(NameId::NONE, |planned| planned.rule);
    Delivery { source: names.name(event.source), rule: names.name(rule), event: event.clone(), digest: None }
}
