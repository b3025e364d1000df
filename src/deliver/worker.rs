//! One destination's worker: claims, paces and attempts here; [`settle`] has what follows when attempts have ended.

mod settle;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::settle::Sparing;
use super::bodies::{Bodies, ONE_BYTES_MAX, Reservation, Share};
use super::breaker::{Allowed, Breaker};
use super::held::Held;
use super::pace::Pace;
use super::status::Status;
use crate::config::DestinationConfig;
use crate::destination::{Delivery, Outcome, Reason};
use crate::store::{Claim, NameId, ReadError, Store, StoredEvent};
use crate::telemetry::{DestinationMetrics, in_full, in_vain};
use crate::time::{Clock, Instant};

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerParts {
    /// Where deliveries come from and go back to.
    pub store: Arc<dyn Store>,
    /// The destination's number in the store.
    pub id: NameId,
    /// What the config says of it. A reload puts another in its place.
    pub section: Arc<ArcSwap<Section>>,
    /// The bodies under attempt, of all destinations.
    pub bodies: Arc<Bodies>,
    /// The time.
    pub clock: Clock,
    /// What it shows.
    pub status: Arc<Status>,
    /// Where events that are not in memory are read.
    pub reading: Reading,
    /// No new attempt once this is cancelled.
    pub stop: CancellationToken,
}

/// What a config says of one destination. An attempt takes one and keeps it.
pub struct Section {
    /// The destination.
    pub config: DestinationConfig,
    /// Its pace, perhaps shared with others.
    pub pace: Arc<Pace>,
    /// Its counters.
    pub metrics: DestinationMetrics,
}

/// Where a worker reads the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// On a thread where blocking is allowed.
    Aside,
    /// Where it stands. For simulations, in which only one thing happens at a time.
    Here,
}

/// One destination's worker.
pub struct Worker {
    parts: WorkerParts,
    /// The section that new attempts are made by.
    section: Arc<Section>,
    share: Share,
    /// One read of the disk at a time: reads of one destination wait for each other anyway, and each waiting one would hold a thread.
    disk: Arc<Semaphore>,
    rejects_in_a_row: u32,
    /// Of what is skipped.
    skip_notes: Sparing,
    /// As its troubles say, so that a delivery that arrives need not ask.
    is_failing: bool,
    breaker: Breaker,
    /// Since when the breaker is open, unix milliseconds: time does not count from there on.
    open_since_ms: Option<u64>,
}

/// What an attempt leaves behind.
struct Attempted {
    /// What it was made by.
    section: Arc<Section>,
    claims: Held,
    /// `None`: the delivery was not attempted, for want of room for its body.
    outcomes: Vec<Option<Outcome>>,
    started_ms: u64,
    took: Duration,
    is_probe: bool,
}

type Attempts = FuturesUnordered<BoxFuture<'static, Attempted>>;

impl Worker {
    /// A worker that has not begun.
    pub fn new(parts: WorkerParts) -> Self {
        let share = Share::new(parts.bodies.clone());
        let section = parts.section.load_full();
        let concurrency = section.config.policy.concurrency;
        let open_since_ms = parts.store.standing(parts.id).open_since_ms;
        let breaker = match open_since_ms {
            Some(_) => Breaker::open(concurrency, Instant::now()),
            None => Breaker::closed(concurrency),
        };
        let disk = Arc::new(Semaphore::new(1));
        let is_failing = parts.status.troubles().is_failing();
        Self {
            parts,
            section,
            share,
            disk,
            rejects_in_a_row: 0,
            skip_notes: Sparing::default(),
            is_failing,
            breaker,
            open_since_ms,
        }
    }

    /// Works until it is stopped; attempts under way are then finished and settled.
    pub async fn run(mut self) {
        let wakeup = self.parts.store.wakeup(self.parts.id);
        let stop = self.parts.stop.clone();
        let mut attempts = Attempts::new();
        while !stop.is_cancelled() {
            self.section = self.parts.section.load_full();
            self.breaker.set_concurrency(self.section.config.policy.concurrency);
            if self.parts.status.takes_wish() {
                self.breaker.begin_gently(Instant::now());
                self.section.pace.release();
                self.parts.status.show(|shown| shown.held_until_ms = None);
            }
            let next_turn = self.fill(&mut attempts);
            let has_room = attempts.len() < self.attempts_max();
            let is_probing = self.breaker.allowed(Instant::now()) == Allowed::AfterProbe;
            let wake_at = if has_room && !is_probing { self.wake_at(next_turn) } else { None };
            tokio::select! {
                // In this order, so that a run can be repeated; nothing here is ready for long.
                biased;
                () = stop.cancelled() => break,
                Some(attempted) = attempts.next() => self.settle_ready(attempted, &mut attempts),
                () = wakeup.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
        while let Some(attempted) = attempts.next().await {
            self.settle_ready(attempted, &mut attempts);
        }
    }

    /// Starts as many attempts as there is room, turns and deliveries for. Returns when the next turn is, if that is what lacks.
    fn fill(&mut self, attempts: &mut Attempts) -> Option<Instant> {
        while attempts.len() < self.attempts_max() {
            let (WorkerParts { store, id, .. }, Section { config, pace, .. }) = (&self.parts, &*self.section);
            let now = Instant::now();
            if let Some(later) = pace.closed_until(now) {
                return Some(later);
            }
            let (attempts_max, batch_max, is_probe) = match self.breaker.allowed(now) {
                Allowed::Not(until) => return Some(until),
                Allowed::AfterProbe => return None,
                Allowed::Probe => (1, 1, true),
                // Where turns are counted, one attempt at a time: what is claimed is attempted at once.
                Allowed::AtOnce(_) if pace.is_limited() => (1, config.destination.batch_max(), false),
                Allowed::AtOnce(most) => (most - attempts.len(), config.destination.batch_max(), false),
            };
            let mut rest = Held::claim(store, *id, attempts_max * batch_max);
            if rest.is_empty() {
                return None;
            }
            if let Err(later) = pace.take(now) {
                // Somebody who shares the pace was faster. What is held goes back.
                return Some(later);
            }
            while !rest.is_empty() {
                let mut recent: Vec<_> =
                    rest.iter().take(batch_max).map(|claim| store.recent(claim.key.sequence)).collect();
                let expected = self.share.expected();
                let sizes = recent.iter().map(|event| event.as_ref().map_or(expected, |event| event.body.len()));
                let (count, bytes) = prefix(sizes, ONE_BYTES_MAX);
                recent.truncate(count);
                let Some(reservation) = self.share.reserve(bytes) else {
                    // One of our own attempts will end and bring us back here.
                    return None;
                };
                attempts.push(self.attempt(rest.split(count), recent, reservation, is_probe).boxed());
            }
            if is_probe {
                self.breaker.probe();
            }
        }
        None
    }

    /// Attempts that may be under way at once.
    fn attempts_max(&self) -> usize {
        match self.breaker.allowed(Instant::now()) {
            Allowed::AtOnce(most) => most,
            // Those under way when it opened end by themselves, and hold no probe up.
            Allowed::Probe | Allowed::Not(_) | Allowed::AfterProbe => usize::MAX,
        }
    }

    /// When to look again although nobody wakes us: at the next turn, or when a retry is due.
    fn wake_at(&self, next_turn: Option<Instant>) -> Option<Instant> {
        // A retry that is due and was not handed out waits for room among the bodies; it is looked at again soon.
        const SOON: Duration = Duration::from_millis(10);
        next_turn.or_else(|| {
            let due_ms = self.parts.store.next_due(self.parts.id)?;
            Some(Instant::now() + self.parts.clock.until(due_ms).max(SOON))
        })
    }

    /// One attempt at some deliveries.
    fn attempt(
        &self,
        claims: Held,
        recent: Vec<Option<Arc<StoredEvent>>>,
        mut reservation: Reservation,
        is_probe: bool,
    ) -> impl Future<Output = Attempted> + use<> {
        let WorkerParts { store, clock, reading, .. } = &self.parts;
        let (store, clock, reading, disk) = (store.clone(), *clock, *reading, self.disk.clone());
        let section = self.section.clone();
        let (destination, timeout) = (section.config.destination.clone(), section.config.policy.timeout);
        async move {
            let read = read_all(&store, reading, &disk, &claims, recent).await;
            reservation.found(read.iter().flatten().map(|event| event.body.len()).sum());
            let deliveries: Vec<Delivery> =
                read.iter().flatten().map(|event| delivery(&store, event, &claims)).collect();
            let (started_ms, started) = (clock.now_ms(), Instant::now());
            // The call itself may panic as well as what it returns.
            let attempt = AssertUnwindSafe(async { destination.attempt(&deliveries).await }).catch_unwind();
            let made = match tokio::time::timeout(timeout, attempt).await {
                Ok(Ok(outcomes)) => outcomes,
                Ok(Err(_)) => vec![Outcome::local("a bug: the attempt panicked; see the log"); deliveries.len()],
                Err(_) => vec![Outcome::retry(format!("no answer within {timeout:?}")); deliveries.len()],
            };
            let mut made = made.into_iter();
            let outcomes = read.into_iter().map(|event| match event {
                Ok(_) => made.next().unwrap_or_else(|| Outcome::local("a bug: the attempt gave no outcome")),
                Err(error @ ReadError::Io(_)) => {
                    Outcome::Retry { reason: Reason::local(in_full(&error)), after: None, holds_all: false }
                }
                Err(error) => Outcome::local(in_full(&error)),
            });
            let mut outcomes: Vec<_> = outcomes.map(Some).collect();
            outcomes.resize(claims.len(), None);
            Attempted { section, outcomes, claims, started_ms, took: started.elapsed(), is_probe }
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

type Read = Result<Arc<StoredEvent>, ReadError>;

/// Takes events from memory, or reads them where blocking is allowed.
async fn read_all(
    store: &Arc<dyn Store>,
    reading: Reading,
    disk: &Semaphore,
    claims: &[Claim],
    recent: Vec<Option<Arc<StoredEvent>>>,
) -> Vec<Read> {
    if recent.iter().all(Option::is_some) {
        return recent.into_iter().flatten().map(Ok).collect();
    }
    // Never closed, so it is always granted.
    let _turn = disk.acquire().await;
    let (store, claims) = (store.clone(), claims.to_vec());
    let count = claims.len();
    let read = move || {
        let (mut read, mut bytes) = (Vec::new(), 0);
        for claim in &claims {
            let event = store.read(claim);
            bytes += event.as_ref().map_or(0, |event| event.body.len());
            if bytes > ONE_BYTES_MAX && !read.is_empty() {
                // The rest is larger than it was taken to be, and waits for its turn.
                break;
            }
            read.push(event);
        }
        read
    };
    if reading == Reading::Here {
        return read();
    }
    let failed = |why: &str| Err(ReadError::Io(std::io::Error::other(why.to_owned())));
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| (0..count).map(|_| failed(&in_vain("the reading thread", &error))).collect())
}

/// How many of some sizes, at least one, come to no more than a limit; and to how much.
fn prefix(sizes: impl Iterator<Item = usize>, limit: usize) -> (usize, usize) {
    let (mut count, mut total) = (0, 0);
    for size in sizes {
        if count > 0 && total + size > limit {
            break;
        }
        count += 1;
        total += size;
    }
    (count, total)
}

fn delivery(store: &Arc<dyn Store>, event: &Arc<StoredEvent>, claims: &[Claim]) -> Delivery {
    let destination = claims.first().map(|claim| claim.key.destination);
    let planned = event.deliveries.iter().find(|planned| Some(planned.destination) == destination);
    let name = |id: Option<NameId>| id.and_then(|id| store.name_of(id)).unwrap_or_else(|| "".into());
    Delivery { source: name(Some(event.source)), rule: name(planned.map(|planned| planned.rule)), event: event.clone() }
}
