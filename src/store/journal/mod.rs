//! The embedded backend: an append-only journal that is the queue and the truth.
//!
//! # Cast
//!
//! * [`writer`]: one thread that owns the journal's end: groups, syncs, new segments.
//! * [`mod@format`]: the bytes, and nothing that touches a disk.
//! * [`segments`]: from an event's number to its bytes.
//! * [`queue`]: what waits for one destination, as a bit an event; a backlog of ten million takes 1.25 MB.
//! * [`recent`]: the newest events in memory, so that a destination that keeps up never reads the disk.
//! * [`mod@recover`]: opening: what holds together, where everything stands.
//! * [`disk`], [`model`]: the real disk, and one that fails and forgets on demand.
//!
//! # Reopening
//!
//! Nothing is ever appended to an old segment. What lies past its last durable mark may be on the platter or only in a cache that
//! lied, so it is written again into a new segment and synced before the door opens; the new segment's header says where the old
//! one ends. A segment gets its name only when it is complete, so a crash while reopening starts over.

mod bitmap;
pub mod disk;
pub mod format;
pub mod model;
mod queue;
mod recent;
mod recover;
mod segments;
mod writer;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ring::rand::SecureRandom;
use tokio::sync::{Notify, oneshot, watch};

pub use self::queue::POSTPONED_MAX;
pub use self::recent::BODIES_MAX as RECENT_BODIES_MAX;
pub use self::recover::{Damage, OpenError};
pub use self::writer::{GROUP_BYTES_MAX, OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN};

use self::disk::Disk;
use self::format::{Control, OutcomeRecord, OutcomeState, Record, records};
use self::queue::Queue;
use self::recent::{RecentEvents, RecentOutcomes};
use self::recover::recover;
use self::segments::{Segments, Window};
use self::writer::{Message, Position, Writer};
use super::{
    AppendError, Claim, Counts, DeliveryKey, DeliveryState, Durability, EventView, Health, NameId, NameKind, NewEvent,
    Pause, ReadError, Settlement, Store, StoredEvent,
};
use crate::event::EventId;
use crate::time::Clock;

/// What is called after each sync, with how long it took.
pub type OnSync = Box<dyn Fn(Duration) + Send + Sync>;

/// How a journal is opened.
pub struct Options {
    /// Bytes of a segment, set aside when it is made.
    pub segment_bytes: u64,
    /// The time that retries go by.
    pub clock: Clock,
    /// No retry is due later than this after opening, whatever a wrong clock wrote down.
    pub due_within: Duration,
    /// Called after each sync.
    pub on_sync: OnSync,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            clock: Clock::start(),
            due_within: Duration::from_secs(24 * 60 * 60),
            on_sync: Box::new(|_| {}),
        }
    }
}

/// What opening found, for the log.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Deliveries that wait, in all destinations together.
    pub backlog: u64,
    /// Stretches that were synced once and do not hold together now.
    pub damage: Vec<Damage>,
    /// Bytes of a group that was being written when the last process ended; nobody was told that it is there.
    pub torn_bytes: u64,
}

/// How much of the disk a destination that lags reads at once.
const LAG_READ_BYTES: usize = 64 << 10;

/// The embedded store.
pub struct JournalStore {
    shared: Arc<Shared>,
    sender: Sender<Message>,
    clock: Clock,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    segments: Segments,
    names: RwLock<Names>,
    destinations: RwLock<HashMap<NameId, Arc<Destination>>>,
    recent: Mutex<RecentEvents>,
    outcomes: Mutex<RecentOutcomes>,
    health: watch::Sender<Health>,
}

#[derive(Default)]
struct Names {
    by_id: HashMap<NameId, (NameKind, Arc<str>)>,
    by_name: HashMap<(NameKind, Arc<str>), NameId>,
    next: u32,
}

impl Names {
    fn insert(&mut self, kind: NameKind, id: NameId, name: Arc<str>) {
        self.by_id.insert(id, (kind, name.clone()));
        self.by_name.insert((kind, name), id);
        self.next = self.next.max(id.0 + 1);
    }
}

struct Destination {
    queue: Mutex<Queue>,
    wakeup: Arc<Notify>,
    window: Mutex<Window>,
}

impl Destination {
    fn new(queue: Queue) -> Arc<Self> {
        let window = Mutex::new(Window::new(LAG_READ_BYTES));
        Arc::new(Self { queue: Mutex::new(queue), wakeup: Arc::new(Notify::new()), window })
    }
}

/// A panic elsewhere must not take the queue with it: every change under these locks is complete when it is made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JournalStore {
    /// Opens a journal, or starts one, and its writer. Blocks until the old end is safe in a new segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Opened), OpenError> {
        for leftover in disk.list()?.iter().filter(|name| name.ends_with(".tmp")) {
            disk.remove(leftover)?;
        }
        let mut recovered = recover(&disk)?;
        keep_copies(&disk, &recovered.damage);
        let latest_due_ms = options.clock.now_ms() + options.due_within.as_millis() as u64;
        recovered.queues.values_mut().for_each(|queue| queue.clamp_due(latest_due_ms));
        let opened = Opened {
            backlog: recovered.queues.values().map(Queue::backlog).sum(),
            damage: recovered.damage,
            torn_bytes: recovered.torn_bytes,
        };
        let last = recovered.segments.last();
        let position = Position {
            next_sequence: recovered.next_sequence,
            next_group: recovered.next_group,
            next_segment: last.map_or(1, |info| info.segment + 1),
            journal: recovered.journal.map_or_else(random, Ok)?,
            sealed: (last.map_or(0, |info| info.segment), recovered.mark),
            carried: recovered.carried,
            carried_first: recovered.carried_first,
        };
        let mut names = Names::default();
        for (kind, id, name) in recovered.names {
            names.insert(kind, id, name.into());
        }
        let destinations = recovered.queues.into_iter().map(|(id, queue)| (id, Destination::new(queue))).collect();
        let old = last.map(|info| (info.segment, recovered.mark));
        let shared = Arc::new(Shared {
            segments: Segments::new(disk.clone(), recovered.segments),
            disk,
            names: RwLock::new(names),
            destinations: RwLock::new(destinations),
            recent: Mutex::default(),
            outcomes: Mutex::default(),
            health: watch::Sender::new(Health::Good),
        });
        let (sender, receiver) = channel();
        let mut writer = Writer::new(shared.clone(), receiver, position, options.segment_bytes, options.on_sync);
        writer.prepare()?;
        if let Some((segment, mark)) = old
            && *shared.health.borrow() == Health::Good
        {
            // The new segment's header already says so; this gives the room back.
            let cut = shared.disk.open(&segments::file_name(segment)).and_then(|file| file.set_len(mark));
            if let Err(error) = cut {
                tracing::debug!(segment, %error, "an old segment's unused end could not be given back");
            }
        }
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        let store = Self { shared, sender, clock: options.clock, thread: Mutex::new(Some(thread)) };
        Ok((store, opened))
    }

    fn destination(&self, id: NameId) -> Arc<Destination> {
        self.shared.destination(id)
    }

    /// What an event's journal says became of its deliveries, read from the event on. Slow for an old event.
    fn search_outcomes(&self, wanted: &mut HashMap<DeliveryKey, Option<DeliveryState>>) -> io::Result<()> {
        let Some(sequence) = wanted.keys().map(|key| key.sequence).min() else { return Ok(()) };
        let Some(mut scan) = self.shared.segments.scan_from(sequence) else { return Ok(()) };
        let mut window = Window::new(LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            for record in records(window.heads(&group.file, group.offset, &group.head)?) {
                let Record::Outcomes(outcomes) = record else { continue };
                for outcome in outcomes {
                    if let Some(state) = wanted.get_mut(&outcome.key) {
                        *state = Some(state_of(&outcome));
                    }
                }
            }
            let is_final = |state: &Option<DeliveryState>| {
                matches!(state, Some(DeliveryState::Delivered { .. } | DeliveryState::Dead { .. }))
            };
            if wanted.values().all(is_final) {
                break;
            }
        }
        Ok(())
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gave no random number")).map(|()| u64::from_le_bytes(bytes))
}

/// Keeps a copy of each damaged segment as it was found. A copy that cannot be made is told and holds nothing up.
fn keep_copies(disk: &Arc<dyn Disk>, damage: &[Damage]) {
    let existing = disk.list().unwrap_or_default();
    let mut seen = Vec::new();
    for Damage { file, .. } in damage {
        let copy = format!("{file}.damaged");
        if seen.contains(&file) || existing.contains(&copy) || !existing.contains(file) {
            continue;
        }
        seen.push(file);
        if let Err(error) = disk.copy(file, &copy) {
            tracing::warn!(file, %error, "no copy of the damaged segment could be kept");
        }
    }
}

fn state_of(outcome: &OutcomeRecord) -> DeliveryState {
    let (attempts, at_ms) = (outcome.attempts, outcome.at_ms);
    match &outcome.state {
        OutcomeState::Delivered => DeliveryState::Delivered { attempts, at_ms },
        OutcomeState::Dead { reason } => DeliveryState::Dead { attempts, at_ms, reason: reason.clone() },
        OutcomeState::Postponed { due_ms, reason, .. } => {
            DeliveryState::Postponed { attempts, due_ms: *due_ms, reason: reason.clone() }
        }
    }
}

impl Shared {
    fn destination(&self, id: NameId) -> Arc<Destination> {
        if let Some(known) = self.destinations.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return known.clone();
        }
        let mut destinations = self.destinations.write().unwrap_or_else(PoisonError::into_inner);
        destinations.entry(id).or_insert_with(|| Destination::new(Queue::new(id))).clone()
    }

    fn set_health(&self, health: Health) {
        self.health.send_if_modified(|now| {
            if *now == health {
                return false;
            }
            match &health {
                Health::Good => tracing::info!("the store takes events again"),
                Health::Full(why) => {
                    tracing::error!(why, "the store has no room: events are refused with 503, deliveries go on")
                }
                Health::Poisoned(why) => tracing::error!(why, "the store has failed; nothing is acknowledged any more"),
            }
            *now = health;
            true
        });
    }

    fn all_names(&self) -> Vec<(NameKind, NameId, String)> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = names.by_id.iter().map(|(id, (kind, name))| (*kind, *id, name.to_string())).collect();
        all.sort_by_key(|(_, id, _)| *id);
        all
    }

    fn all_pauses(&self) -> Vec<(NameId, Pause)> {
        let destinations = self.destinations.read().unwrap_or_else(PoisonError::into_inner);
        let paused = destinations
            .iter()
            .filter_map(|(id, destination)| lock(&destination.queue).paused().map(|pause| (*id, pause.clone())));
        paused.collect()
    }

    /// Hands durable events to memory and to their destinations.
    fn publish(&self, events: Vec<Arc<StoredEvent>>) {
        let mut by_destination: Vec<(NameId, Vec<u64>)> = Vec::new();
        for event in &events {
            for delivery in &event.deliveries {
                let known = by_destination.iter_mut().find(|(id, _)| *id == delivery.destination);
                match known {
                    Some((_, sequences)) => sequences.push(event.id.sequence()),
                    None => by_destination.push((delivery.destination, vec![event.id.sequence()])),
                }
            }
        }
        let mut recent = lock(&self.recent);
        events.into_iter().for_each(|event| recent.push(event));
        drop(recent);
        for (id, sequences) in by_destination {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            sequences.into_iter().for_each(|sequence| queue.add(sequence));
            drop(queue);
            destination.wakeup.notify_one();
        }
    }
}

impl Store for JournalStore {
    fn name(&self, kind: NameKind, name: &str) -> NameId {
        let mut names = self.shared.names.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        if let Some(id) = names.by_name.get(&(kind, name.clone())) {
            return *id;
        }
        let id = NameId(names.next);
        names.insert(kind, id, name.clone());
        // Sent under the lock, so that nobody can use the number before the writer has heard of it. If the writer is gone,
        // every append is refused anyway.
        let _ = self.sender.send(Message::Name(kind, id, name));
        id
    }

    fn name_of(&self, id: NameId) -> Option<Arc<str>> {
        let names = self.shared.names.read().unwrap_or_else(PoisonError::into_inner);
        names.by_id.get(&id).map(|(_, name)| name.clone())
    }

    fn names(&self, kind: NameKind) -> Vec<(NameId, Arc<str>)> {
        let names = self.shared.names.read().unwrap_or_else(PoisonError::into_inner);
        let of_kind = names.by_id.iter().filter(|(_, (other, _))| *other == kind);
        let mut found: Vec<_> = of_kind.map(|(id, (_, name))| (*id, name.clone())).collect();
        found.sort_by_key(|(id, _)| *id);
        found
    }

    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>> {
        let (reply, answer) = oneshot::channel();
        if let Err(refused) = self.sender.send(Message::Append(event, reply))
            && let Message::Append(_, reply) = refused.0
        {
            let _ = reply.send(Err(AppendError::Closed));
        }
        answer
    }

    fn claim(&self, destination: NameId, max: usize) -> Vec<Claim> {
        let destination = self.destination(destination);
        lock(&destination.queue).claim(max, self.clock.now_ms())
    }

    fn recent(&self, sequence: u64) -> Option<Arc<StoredEvent>> {
        lock(&self.shared.recent).get(sequence)
    }

    fn read(&self, claim: &Claim) -> Result<Arc<StoredEvent>, ReadError> {
        if let Some(event) = self.recent(claim.key.sequence) {
            return Ok(event);
        }
        let destination = self.destination(claim.key.destination);
        let mut window = lock(&destination.window);
        self.shared.segments.read(claim.key.sequence, &mut window).map(Arc::new)
    }

    fn settle(&self, settlements: Vec<(Claim, Settlement)>) {
        let at_ms = self.clock.now_ms();
        let mut written = Vec::with_capacity(settlements.len());
        for (claim, settlement) in settlements {
            let destination = self.destination(claim.key.destination);
            let (attempts, state) = match settlement {
                Settlement::Released => {
                    // No wakeup: who hands a claim back knows why, and would only be woken to hand it back again.
                    lock(&destination.queue).release(claim);
                    continue;
                }
                Settlement::Delivered { attempts } => (attempts, OutcomeState::Delivered),
                Settlement::Dead { attempts, reason } => (attempts, OutcomeState::Dead { reason }),
                Settlement::Postponed { attempts, first_attempt_ms, due_ms, reason } => {
                    (attempts, OutcomeState::Postponed { first_attempt_ms, due_ms, reason })
                }
            };
            if lock(&destination.queue).settle(claim.key.sequence, attempts, &state) {
                written.push(OutcomeRecord { key: claim.key, attempts, at_ms, state });
            } else {
                tracing::warn!(?claim, "settled a delivery that was not under way; nothing was changed");
            }
        }
        let mut outcomes = lock(&self.shared.outcomes);
        for outcome in written.iter().filter(|outcome| !matches!(outcome.state, OutcomeState::Postponed { .. })) {
            outcomes.push(outcome.key, state_of(outcome));
        }
        drop(outcomes);
        if !written.is_empty() {
            // If the writer is gone the process is ending, and these deliveries may happen again.
            let _ = self.sender.send(Message::Outcomes(written));
        }
    }

    fn next_due(&self, destination: NameId) -> Option<u64> {
        lock(&self.destination(destination).queue).next_due()
    }

    fn wakeup(&self, destination: NameId) -> Arc<Notify> {
        self.destination(destination).wakeup.clone()
    }

    fn pause(&self, id: NameId, reason: &str) {
        let destination = self.destination(id);
        let pause = Pause { since_ms: self.clock.now_ms(), reason: reason.to_owned() };
        let mut queue = lock(&destination.queue);
        if queue.pause(pause.clone()) {
            let _ = self.sender.send(Message::Control(Control::Pause(id, pause)));
        }
    }

    fn resume(&self, id: NameId) -> bool {
        let destination = self.destination(id);
        let at_ms = self.clock.now_ms();
        let mut queue = lock(&destination.queue);
        let was_paused = queue.resume(at_ms);
        if was_paused {
            let _ = self.sender.send(Message::Control(Control::Resume { destination: id, at_ms }));
            destination.wakeup.notify_one();
        }
        was_paused
    }

    fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        let sequence = id.sequence();
        let event = match self.recent(sequence) {
            Some(event) => event,
            None => Arc::new(self.shared.segments.read(sequence, &mut Window::new(LAG_READ_BYTES))?),
        };
        if event.id != id {
            return Err(ReadError::Missing);
        }
        let mut settled = HashMap::new();
        let mut states = Vec::new();
        for delivery in &event.deliveries {
            let key = DeliveryKey { sequence, destination: delivery.destination, run: 0 };
            let open = lock(&self.destination(delivery.destination).queue).state(sequence);
            let state = open.or_else(|| lock(&self.shared.outcomes).get(&key));
            if state.is_none() {
                settled.insert(key, None);
            }
            states.push((*delivery, key, state));
        }
        self.search_outcomes(&mut settled)?;
        let states = states.into_iter().map(|(delivery, key, state)| {
            let from_journal = || settled.get(&key).cloned().flatten();
            (delivery, state.or_else(from_journal).unwrap_or(DeliveryState::Waiting))
        });
        Ok(EventView { states: states.collect(), event })
    }

    fn counts(&self, id: NameId) -> Counts {
        let destination = self.destination(id);
        let queue = lock(&destination.queue);
        let (oldest, mut counts) = (
            queue.oldest(),
            Counts {
                backlog: queue.backlog(),
                postponed: queue.postponed() as u64,
                under_way: queue.under_way() as u64,
                oldest_ms: None,
                dead: queue.dead(),
                paused: queue.paused().cloned(),
            },
        );
        drop(queue);
        counts.oldest_ms = oldest.and_then(|sequence| {
            let recent = self.recent(sequence).map(|event| event.received_ms);
            let from_disk = || self.shared.segments.read(sequence, &mut Window::new(4 << 10)).ok();
            recent.or_else(|| from_disk().map(|event| event.received_ms))
        });
        counts
    }

    fn bytes(&self) -> u64 {
        self.shared.segments.bytes()
    }

    fn durability(&self) -> Durability {
        Durability::LocalFsync
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn close(&self) {
        let (reply, done) = sync_channel(1);
        if self.sender.send(Message::Close(reply)).is_ok() {
            // An error means that the writer ended by itself: there is nothing left to wait for.
            let _ = done.recv();
        }
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
