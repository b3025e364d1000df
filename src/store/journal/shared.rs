//! What the store's threads and callers share.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::bitmap::Bitmap;
use super::commands::Commands;
use super::disk::Disk;
use super::format::{Act, Control, OutcomeRecord, OutcomeState, ReplayRecord};
use super::index::{Arrivals, Index, Lived};
use super::look::unreadable;
use super::names::Names;
use super::queue::{Queue, Snapshot};
use super::recent::{RecentEvents, RecentOutcomes};
use super::retention::{Resolved, resolve};
use super::segments::{SegmentInfo, Segments, Window};
use super::upkeep::Upkeep;
use super::writer::{Message, Sender, Urgency};
use super::{LAG_READ_BYTES, lock, reading, writing};
use crate::store::{
    DeliveryKey, DeliveryState, Health, NameId, NameKind, QueueState, ReadError, Retention, Selecting, Sources,
    Standing, StoredEvent,
};
use crate::time::Clock;

pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub segments: Segments,
    pub index: Index,
    pub upkeep: Upkeep,
    /// To the writer.
    pub sender: Sender,
    /// The journal's own number.
    pub journal: u64,
    pub clock: Clock,
    pub names: RwLock<Names>,
    /// Of the config in force; 0 before the first.
    pub generation: AtomicU32,
    /// The oldest config that let in an event which is being written just now; the greatest number where there is none.
    pub writing: AtomicU32,
    pub destinations: RwLock<HashMap<NameId, Arc<Destination>>>,
    pub recent: Mutex<RecentEvents>,
    pub outcomes: Mutex<RecentOutcomes>,
    pub health: watch::Sender<Health>,
    pub sources: watch::Sender<Sources>,
    pub retention: Mutex<Retention>,
    /// Why nothing may be taken in.
    pub refusal: Mutex<Option<String>>,
    /// Held while a command is carried out that chooses deliveries.
    pub commanding: Mutex<()>,
    pub commands: Mutex<Commands>,
    /// Held while deliveries of the history are chosen, and while history goes.
    pub selecting: Mutex<()>,
    /// Cancelled when the store closes: no lease outlives it.
    pub leases: CancellationToken,
    /// Who copies segments, which must not go meanwhile.
    pub pins: AtomicUsize,
    pub next_sequence: AtomicU64,
    pub next_group: AtomicU64,
    /// The sources whose events are held from here on in the journal. Changed by the writer alone.
    pub holding: Mutex<BTreeSet<NameId>>,
    pub dead_expired: AtomicU64,
    pub replays: Mutex<Vec<ReplayRecord>>,
    /// What is remembered of destinations, as the index has it.
    pub facts: Mutex<HashMap<NameId, String>>,
    pub lived: Lived,
    /// Whether nothing in the segment that is written to was stamped by a clock other than ours.
    pub is_by_one_clock: AtomicBool,
    pub arrivals: Mutex<Arrivals>,
}

/// What it begins with.
pub struct Parts {
    pub disk: Arc<dyn Disk>,
    pub index: Index,
    pub sender: Sender,
    pub journal: u64,
    pub clock: Clock,
    pub retention: Retention,
    pub segments: Vec<SegmentInfo>,
    pub names: Names,
    pub queues: HashMap<NameId, Queue>,
    pub next_sequence: u64,
    pub next_group: u64,
    pub lived: Lived,
}

/// What is kept in memory of one destination.
pub struct Destination {
    pub queue: Mutex<Queue>,
    /// Notified when there may be something new to claim.
    pub wakeup: Arc<Notify>,
    /// Notified when something is scheduled, which may be due sooner than what was before.
    pub scheduled: Notify,
    pub state: watch::Sender<QueueState>,
    pub window: Mutex<Window>,
    /// The event that waited longest when somebody asked last, and when it arrived.
    pub oldest: Mutex<Option<(u64, u64)>>,
}

impl Destination {
    pub fn new(queue: Queue) -> Arc<Self> {
        let window = Mutex::new(Window::new(LAG_READ_BYTES));
        let state = watch::Sender::new(QueueState { standing: queue.standing().clone(), nudges: 0 });
        let (wakeup, scheduled, oldest) = (Arc::default(), Notify::new(), Mutex::default());
        Arc::new(Self { queue: Mutex::new(queue), wakeup, scheduled, state, window, oldest })
    }

    /// Shows how its queue stands now.
    pub fn show(&self, queue: &Queue) {
        self.state.send_if_modified(|state| {
            let has_changed = state.standing != *queue.standing();
            if has_changed {
                state.standing = queue.standing().clone();
            }
            has_changed
        });
    }

    /// Tells its worker to let out what waits gently.
    pub fn nudge(&self) {
        self.state.send_modify(|state| state.nudges += 1);
    }
}

pub fn state_of(outcome: &OutcomeRecord) -> DeliveryState {
    let (attempts, at_ms) = (outcome.attempts, outcome.at_ms);
    match &outcome.state {
        OutcomeState::Delivered => DeliveryState::Delivered { attempts, at_ms },
        OutcomeState::Skipped => DeliveryState::Skipped { at_ms, reason: String::new() },
        OutcomeState::Dropped => DeliveryState::Dropped { at_ms },
        OutcomeState::Moved(to) => DeliveryState::Moved { at_ms, to: *to },
        OutcomeState::Dead { reason } => DeliveryState::Dead { attempts, at_ms, reason: reason.clone() },
        OutcomeState::Postponed { due_ms, reason, .. } => {
            DeliveryState::Postponed { attempts, due_ms: *due_ms, reason: reason.clone() }
        }
    }
}

/// What an act makes of a delivery, where it ends it.
pub fn state_after(act: Selecting, at_ms: u64, reason: &str) -> Option<DeliveryState> {
    match act {
        Selecting::Again => None,
        Selecting::Bury => Some(DeliveryState::Dead { attempts: 0, at_ms, reason: reason.to_owned() }),
        Selecting::Drop => Some(DeliveryState::Dropped { at_ms }),
        Selecting::Move(to) | Selecting::Yield(to) => Some(DeliveryState::Moved { at_ms, to }),
    }
}

impl Shared {
    pub fn new(parts: Parts) -> Self {
        let is_held = |(id, queue): (&NameId, &Queue)| queue.standing().held_since_ms.map(|_| *id);
        let holding = parts.queues.iter().filter_map(is_held).collect();
        let stands = |(id, queue): (&NameId, &Queue)| {
            let is_source = parts.names.of(*id).is_some_and(|(kind, _)| *kind == NameKind::Source);
            let standing = queue.standing();
            (is_source && *standing != Standing::default()).then(|| (*id, standing.clone()))
        };
        let sources = parts.queues.iter().filter_map(stands).collect();
        let destinations = parts.queues.into_iter().map(|(id, queue)| (id, Destination::new(queue))).collect();
        let database = parts.index.read();
        let replays = database.replays().unwrap_or_default();
        let facts = database.facts().unwrap_or_default();
        let arrivals = Arrivals::go_on(database.arrived().unwrap_or_default(), parts.next_sequence);
        drop(database);
        Self {
            is_by_one_clock: AtomicBool::new(parts.lived.moved_by_ms == 0),
            lived: parts.lived,
            arrivals: Mutex::new(arrivals),
            segments: Segments::new(parts.disk.clone(), parts.segments),
            disk: parts.disk,
            index: parts.index,
            upkeep: Upkeep::default(),
            sender: parts.sender,
            journal: parts.journal,
            clock: parts.clock,
            names: RwLock::new(parts.names),
            generation: AtomicU32::new(0),
            writing: AtomicU32::new(u32::MAX),
            destinations: RwLock::new(destinations),
            recent: Mutex::default(),
            outcomes: Mutex::default(),
            health: watch::Sender::new(Health::Good),
            sources: watch::Sender::new(Arc::new(sources)),
            retention: Mutex::new(parts.retention),
            refusal: Mutex::default(),
            commanding: Mutex::default(),
            commands: Mutex::default(),
            selecting: Mutex::default(),
            leases: CancellationToken::new(),
            pins: AtomicUsize::new(0),
            next_sequence: AtomicU64::new(parts.next_sequence),
            next_group: AtomicU64::new(parts.next_group),
            holding: Mutex::new(holding),
            dead_expired: AtomicU64::new(0),
            replays: Mutex::new(replays),
            facts: Mutex::new(facts),
        }
    }

    pub fn destination(&self, id: NameId) -> Arc<Destination> {
        if let Some(known) = reading(&self.destinations).get(&id) {
            return known.clone();
        }
        let mut destinations = writing(&self.destinations);
        destinations.entry(id).or_insert_with(|| Destination::new(Queue::new(id))).clone()
    }

    /// Says whether the store can do its work. What has failed stays so: only a restart can tell what is on the disk.
    pub fn set_health(&self, health: Health) {
        self.health.send_if_modified(|now| {
            if *now == health || matches!(now, Health::Poisoned(_)) {
                return false;
            }
            if let Health::Poisoned(why) = &health {
                tracing::error!(why, "the store has failed; nothing is acknowledged any more");
            }
            *now = health;
            true
        });
    }

    /// Does what a thread of the store is for. If that panics, nothing is known any more, and the process must end.
    pub fn watched(&self, thread: &str, work: impl FnOnce()) {
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.set_health(Health::Poisoned(format!("its {thread} thread panicked, which is a bug: see the log")));
        }
    }

    pub fn all_names(&self) -> Vec<(NameKind, NameId, String)> {
        reading(&self.names).all()
    }

    /// Where destinations stand that do not simply go on.
    pub fn all_standings(&self) -> Vec<(NameId, Standing)> {
        let standing = |id| (id, lock(&self.destination(id).queue).standing().clone());
        let all = self.destination_ids().into_iter().map(standing);
        all.filter(|(_, standing)| *standing != Standing::default()).collect()
    }

    /// Everything that has a queue.
    pub fn destination_ids(&self) -> Vec<NameId> {
        let destinations = reading(&self.destinations);
        let mut ids: Vec<_> = destinations.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How a delivery was given up, while that is so new that it is in memory: attempts, when, why.
    pub fn just_died(&self, key: &DeliveryKey) -> Option<(u16, u64, String)> {
        match lock(&self.outcomes).get(key)? {
            DeliveryState::Dead { attempts, at_ms, reason } => Some((attempts, at_ms, reason)),
            _ => None,
        }
    }

    /// What is kept, and its limits in bytes.
    pub fn limits(&self) -> (Retention, Resolved) {
        let retention = *lock(&self.retention);
        let total = self.disk.space().map(|space| space.total);
        (retention, resolve(&retention, total))
    }

    /// Why events may not take so many bytes more, if they may not.
    pub fn no_room_for(&self, more: u64) -> Option<String> {
        let (retention, resolved) = self.limits();
        let mib = |bytes: u64| bytes >> 20;
        let used = self.bytes();
        if let Some(most) = retention.bytes_max.filter(|most| used >= *most) {
            return Some(format!("the store has {} MiB, and store.max_size is {} MiB", mib(used), mib(most)));
        }
        let free = self.disk.space()?.free;
        (free < resolved.free_bytes_min + more).then(|| {
            let least = mib(resolved.free_bytes_min);
            let segment = if more > 0 { ", beside room for another segment" } else { "" };
            format!("{} MiB are free on the file system, and store.free_space_min is {least} MiB{segment}", mib(free))
        })
    }

    /// Why nothing may be taken in just now, if it may not.
    pub fn refusal(&self) -> Option<String> {
        lock(&self.refusal).clone()
    }

    /// Waits until everything that was sent to the writer is synced. False when it has ended.
    pub fn wait_for_sync(&self) -> bool {
        let (reply, done) = sync_channel(1);
        self.sender.send(Message::Barrier(reply)).is_ok() && done.recv().is_ok()
    }

    /// A queue as it is written down.
    pub fn snapshot(&self, id: NameId) -> Snapshot {
        let destination = self.destination(id);
        let mut queue = lock(&destination.queue);
        queue.forget_let_go();
        queue.snapshot()
    }

    /// Whether any destination may still ask for an event's body.
    pub fn needs(&self, sequence: u64) -> bool {
        self.destination_ids().into_iter().any(|id| lock(&self.destination(id).queue).needs(sequence))
    }

    /// Whether any destination is still to get an event.
    pub fn is_pending(&self, sequence: u64) -> bool {
        self.destination_ids().into_iter().any(|id| lock(&self.destination(id).queue).is_pending(sequence))
    }

    /// Reads an event wherever it lies.
    pub fn read_anywhere(&self, sequence: u64, window: &mut Window) -> Result<StoredEvent, ReadError> {
        if sequence >= self.segments.history_start() {
            match self.segments.read(sequence, window) {
                Err(ReadError::Missing) => {}
                read => return read,
            }
        }
        let place = self.index.read().place(sequence);
        self.segments.read_carried(sequence, place.map_err(unreadable)?.ok_or(ReadError::Missing)?, window)
    }

    /// Applies an act on a whole destination, or source, and has it written down. Returns whether it changed anything.
    pub fn control(&self, id: NameId, act: Act, urgency: Urgency) -> bool {
        let destination = self.destination(id);
        let is_source = {
            let names = reading(&self.names);
            names.of(id).is_some_and(|(kind, _)| *kind == NameKind::Source)
        };
        let at_ms = self.clock.now_ms();
        let mut queue = lock(&destination.queue);
        let changed = queue.control(&act, at_ms);
        if changed {
            let control = Control { destination: id, at_ms, act };
            // If the writer is gone the process is ending.
            let _ = self.sender.send(Message::Control(control, urgency));
            destination.show(&queue);
            destination.wakeup.notify_one();
            if is_source {
                // Whoever lets events in sees it from here on: they are behind the act in the journal.
                self.sources.send_modify(|shown| {
                    let (shown, standing) = (Arc::make_mut(shown), queue.standing().clone());
                    if standing == Standing::default() {
                        shown.remove(&id);
                    } else {
                        shown.insert(id, standing);
                    }
                });
            }
        }
        changed
    }

    /// Notes what has come by now.
    pub fn note_arrivals(&self) {
        lock(&self.arrivals).note(self.lived.passed_ms(), self.next_sequence.load(Ordering::Acquire));
    }

    /// The number below which everything had come longer ago than this.
    pub fn older_than(&self, age: Duration) -> u64 {
        self.note_arrivals();
        let before_ms = self.lived.passed_ms().checked_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        before_ms.map_or(0, |before_ms| lock(&self.arrivals).before(before_ms))
    }

    /// What waits for a destination, was never attempted, and came longer ago than this.
    pub fn stale(&self, id: NameId, age: Duration) -> Bitmap {
        let end = self.older_than(age);
        let let_go_by_ms = self.lived.passed_ms().checked_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let Some(let_go_by_ms) = let_go_by_ms.filter(|_| end > 0) else { return Bitmap::default() };
        lock(&self.destination(id).queue).unattempted_below(end, let_go_by_ms)
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes() + self.index.bytes()
    }

    /// An act on a whole destination, or source, stands in the journal: what comes behind it goes by it.
    pub fn written(&self, control: &Control) {
        let id = control.destination;
        match control.act {
            Act::Hold => drop(lock(&self.holding).insert(id)),
            Act::Resume if lock(&self.holding).remove(&id) => {
                let passed_ms = self.lived.passed_ms();
                for destination in self.destination_ids().into_iter().map(|id| self.destination(id)) {
                    let mut queue = lock(&destination.queue);
                    if queue.held(id).is_some() {
                        // It comes all at once: a few deliveries at first.
                        destination.nudge();
                        queue.let_go(id, passed_ms);
                        destination.wakeup.notify_one();
                    }
                }
            }
            _ => {}
        }
    }

    /// Hands durable events to memory and to their destinations. Returns who is to be woken for them: an event may go to thousands, and
    /// its sender is answered before they all set out.
    pub fn publish(&self, events: Vec<Arc<StoredEvent>>) -> Vec<Arc<Notify>> {
        let holding = lock(&self.holding).clone();
        let mut deliveries: Vec<(NameId, u64)> = Vec::new();
        for event in &events {
            let sequence = event.id.sequence();
            if !holding.is_empty() && holding.contains(&event.source) {
                for delivery in &event.deliveries {
                    lock(&self.destination(delivery.destination).queue).hold(event.source, sequence);
                }
            } else {
                deliveries.extend(event.deliveries.iter().map(|delivery| (delivery.destination, sequence)));
            }
        }
        deliveries.sort_by_key(|(destination, _)| *destination);
        let mut recent = lock(&self.recent);
        events.into_iter().for_each(|event| recent.push(event));
        drop(recent);
        let of_one = |of: &[(NameId, u64)]| {
            let destination = self.destination(of[0].0);
            let mut queue = lock(&destination.queue);
            of.iter().for_each(|(_, sequence)| queue.add(*sequence));
            drop(queue);
            destination.wakeup.clone()
        };
        deliveries.chunk_by(|(one, _), (other, _)| one == other).map(of_one).collect()
    }
}
