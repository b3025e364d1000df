//! The journal while it runs: what its threads and its callers share.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::blocking::Blocking;
use super::destination::Destination;
use super::disk::Disk;
use super::format::{DeliveryKey, ReplayRecord};
use super::inbox::{Message, Sender};
use super::index::{Arrivals, Index, Lived};
use super::known::CommandIds;
use super::names::Names;
use super::queue::{Queue, Snapshot};
use super::recent::{RecentEvents, RecentOutcomes};
use super::remembered::Remembered;
use super::segments::{Segments, Window};
use super::state::State;
use super::upkeep_inbox::Upkeep;
use super::words::{ReadError, unreadable};
use super::{lock, reading, writing};
use crate::store::changes::Watchers;
use crate::store::{DeliveryState, DigestId, Health, NameId, NameKind, NameState, Retention, Sources, StoredEvent};
use crate::time::Clock;

/// A digest's number begins with the milliseconds of its closing and has this many bits more, so that two closings have two numbers, also
/// where nothing has remained of the first.
const DIGESTS_IN_MS_BITS: u32 = 20;

/// The journal while it runs: what its threads and its callers share.
pub struct Journal {
    pub disk: Arc<dyn Disk>,
    pub segments: Segments,
    pub index: Arc<Index>,
    pub upkeep: Upkeep,
    pub sender: Sender,
    /// The journal's own number.
    pub number: u64,
    pub clock: Clock,
    /// Where what waits for the disk is done.
    pub blocking: Blocking,
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
    /// Why nothing may be accepted.
    pub refusal: Mutex<Option<String>>,
    /// Held while a command is carried out that chooses deliveries.
    pub commanding: Mutex<()>,
    pub commands: CommandIds,
    /// Held while deliveries of the history are chosen, and while history goes.
    pub selecting: Mutex<()>,
    /// Cancelled when the store closes: no lease outlives it.
    pub leases: CancellationToken,
    /// Who copies segments, which must not go meanwhile.
    pub pins: AtomicUsize,
    pub next_sequence: AtomicU64,
    pub next_group: AtomicU64,
    /// The number of the digest that was closed last.
    pub last_digest: AtomicU64,
    /// The sources whose events are held from here on in the journal. Changed by the writer alone.
    pub holding: Mutex<BTreeSet<NameId>>,
    pub dead_expired: AtomicU64,
    pub replays: Mutex<Vec<ReplayRecord>>,
    /// What is remembered of destinations, as the index has it.
    pub facts: Mutex<HashMap<NameId, String>>,
    /// What parts of the relay have written down, as the index has it or will have it.
    pub memos: Mutex<HashMap<String, String>>,
    /// What attempts have left behind for those that follow, as the index has it or will have it.
    pub remembered: Mutex<Remembered>,
    pub lived: Lived,
    /// Whether nothing in the segment that is written to was stamped by a clock other than ours.
    pub is_by_one_clock: AtomicBool,
    pub arrivals: Mutex<Arrivals>,
    pub watchers: Watchers,
}

/// What the journal works with.
pub struct Outside {
    pub disk: Arc<dyn Disk>,
    pub index: Arc<Index>,
    pub sender: Sender,
    pub clock: Clock,
    pub blocking: Blocking,
}

impl Journal {
    pub fn new(outside: Outside, number: u64, state: State, lived: Lived, retention: Retention) -> Self {
        let Outside { disk, index, sender, clock, blocking } = outside;
        let State { segments, names, queues, next_sequence, next_group, last_digest, .. } = state;
        let is_held = |(id, queue): (&NameId, &Queue)| queue.state().held_since_ms.map(|_| *id);
        let holding = queues.iter().filter_map(is_held).collect();
        let stands = |(id, queue): (&NameId, &Queue)| {
            let is_source = names.of(*id).is_some_and(|(kind, _)| *kind == NameKind::Source);
            let state = queue.state();
            (is_source && *state != NameState::default()).then(|| (*id, state.clone()))
        };
        let sources = queues.iter().filter_map(stands).collect();
        let known = queues.values().filter_map(Queue::last_digest).max();
        let last_digest = last_digest.max(known).map_or(0, |id| id.0.get());
        let destinations = queues.into_iter().map(|(id, queue)| (id, Destination::new(queue))).collect();
        let database = index.read();
        let replays = database.replays().unwrap_or_default();
        let facts = database.facts().unwrap_or_default();
        let memos = database.memos().unwrap_or_default();
        let remembered = Remembered::known(database.remembered().unwrap_or_default());
        let arrivals = Arrivals::go_on(database.arrived().unwrap_or_default(), next_sequence);
        drop(database);
        Self {
            is_by_one_clock: AtomicBool::new(lived.moved_by_ms == 0),
            lived,
            arrivals: Mutex::new(arrivals),
            segments: Segments::new(disk.clone(), segments),
            disk,
            index,
            upkeep: Upkeep::default(),
            sender,
            number,
            clock,
            blocking,
            names: RwLock::new(names),
            generation: AtomicU32::new(0),
            writing: AtomicU32::new(u32::MAX),
            destinations: RwLock::new(destinations),
            recent: Mutex::default(),
            outcomes: Mutex::default(),
            health: watch::Sender::new(Health::Good),
            sources: watch::Sender::new(Arc::new(sources)),
            retention: Mutex::new(retention),
            refusal: Mutex::default(),
            commanding: Mutex::default(),
            commands: CommandIds::default(),
            selecting: Mutex::default(),
            leases: CancellationToken::new(),
            pins: AtomicUsize::new(0),
            next_sequence: AtomicU64::new(next_sequence),
            next_group: AtomicU64::new(next_group),
            last_digest: AtomicU64::new(last_digest),
            holding: Mutex::new(holding),
            dead_expired: AtomicU64::new(0),
            replays: Mutex::new(replays),
            facts: Mutex::new(facts),
            memos: Mutex::new(memos),
            remembered: Mutex::new(remembered),
            watchers: Watchers::default(),
        }
    }

    /// The number for one more digest: greater than all before, also than those of which nothing is known any more, unless the clock was
    /// set back.
    pub fn mint_digest(&self, now_ms: u64) -> DigestId {
        let next = |last: u64| (last + 1).max(now_ms << DIGESTS_IN_MS_BITS);
        let last = self.last_digest.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        let id = next(last.expect("there is always a next one"));
        DigestId(NonZeroU64::new(id).expect("it is greater than another number"))
    }

    /// Whether anywhere a window is open or a digest is not settled.
    pub fn has_lanes(&self) -> bool {
        self.destination_ids().into_iter().any(|id| lock(&self.destination(id).queue).has_windows_or_digests())
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

    pub fn all_names(&self) -> Vec<(NameKind, NameId, String)> {
        reading(&self.names).all()
    }

    /// Where destinations stand that do not simply go on.
    pub fn all_states(&self) -> Vec<(NameId, NameState)> {
        let state = |id| (id, lock(&self.destination(id).queue).state().clone());
        let all = self.destination_ids().into_iter().map(state);
        all.filter(|(_, state)| *state != NameState::default()).collect()
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
        self.segments.read_relocated(sequence, place.map_err(unreadable)?.ok_or(ReadError::Missing)?, window)
    }
}
