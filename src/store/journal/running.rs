//! The journal while it runs: what its threads and its callers share.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::watch;

use super::blocking::Blocking;
use super::disk::Disk;
use super::format::ReplayRecord;
use super::inbox::{Message, Sender};
use super::index::{Arrivals, Index, Lived};
use super::names::Names;
use super::recent::RecentEvents;
use super::segments::{Segments, Window};
use super::state::State;
use super::upkeep_inbox::Upkeep;
use super::words::{ReadError, unreadable};
use super::{LAG_READ_BYTES, lock, reading};
use crate::store::queues::{CommandIds, Memory, Queue, Remembered, Snapshot};
use crate::store::{Health, NameId, NameKind, NameState, Retention, StoredEvent};
use crate::time::Clock;

/// The journal while it runs: what its threads and its callers share.
pub struct Journal {
    /// What is kept in memory of all destinations; of it, what is not in the journal is as the index has it or will have it.
    pub memory: Memory<LagWindow>,
    pub disk: Arc<dyn Disk>,
    pub segments: Segments,
    pub index: Arc<Index>,
    pub upkeep: Upkeep,
    pub sender: Sender,
    /// Where what waits for the disk is done.
    pub blocking: Blocking,
    pub names: RwLock<Names>,
    /// Of the config in force; 0 before the first.
    pub generation: AtomicU32,
    /// The oldest config that let in an event which is being written just now; the greatest number where there is none.
    pub writing: AtomicU32,
    pub recent: Mutex<RecentEvents>,
    pub health: watch::Sender<Health>,
    pub retention: Mutex<Retention>,
    /// Why nothing may be accepted.
    pub refusal: Mutex<Option<String>>,
    /// Held while a command is carried out that chooses deliveries.
    pub commanding: Mutex<()>,
    pub commands: CommandIds,
    /// Held while deliveries of the history are chosen, and while history goes.
    pub selecting: Mutex<()>,
    /// Who copies segments, which must not go meanwhile.
    pub pins: AtomicUsize,
    pub next_sequence: AtomicU64,
    pub next_group: AtomicU64,
    pub dead_expired: AtomicU64,
    pub replays: Mutex<Vec<ReplayRecord>>,
    /// What parts of the relay have written down, as the index has it or will have it.
    pub memos: Mutex<HashMap<String, String>>,
    pub lived: Lived,
    /// Whether nothing in the segment that is written to was stamped by a clock other than ours.
    pub is_by_one_clock: AtomicBool,
    pub arrivals: Mutex<Arrivals>,
}

/// What the journal works with.
pub struct Outside {
    pub disk: Arc<dyn Disk>,
    pub index: Arc<Index>,
    pub sender: Sender,
    pub clock: Clock,
    pub blocking: Blocking,
}

/// How far who reads events of a destination that lags has come.
pub struct LagWindow(pub Mutex<Window>);

impl Default for LagWindow {
    fn default() -> Self {
        Self(Mutex::new(Window::new(LAG_READ_BYTES)))
    }
}

impl Deref for Journal {
    type Target = Memory<LagWindow>;

    fn deref(&self) -> &Memory<LagWindow> {
        &self.memory
    }
}

impl Journal {
    pub fn new(outside: Outside, number: u64, state: State, lived: Lived, retention: Retention) -> Self {
        let Outside { disk, index, sender, clock, blocking } = outside;
        let State { segments, names, queues, next_sequence, next_group, last_digest, .. } = state;
        let stands = |(id, queue): (&NameId, &Queue)| {
            let is_source = names.of(*id).is_some_and(|(kind, _)| *kind == NameKind::Source);
            let state = queue.state();
            (is_source && *state != NameState::default()).then(|| (*id, state.clone()))
        };
        let sources: HashMap<NameId, NameState> = queues.iter().filter_map(stands).collect();
        let memory = Memory::new(number, clock, queues);
        memory.sources.send_replace(Arc::new(sources));
        memory.last_digest.fetch_max(last_digest.map_or(0, |id| id.0.get()), Ordering::AcqRel);
        let database = index.read();
        let replays = database.replays().unwrap_or_default();
        *lock(&memory.facts) = database.facts().unwrap_or_default();
        let memos = database.memos().unwrap_or_default();
        *lock(&memory.remembered) = Remembered::known(database.remembered().unwrap_or_default());
        let arrivals = Arrivals::go_on(database.arrived().unwrap_or_default(), next_sequence);
        drop(database);
        Self {
            memory,
            is_by_one_clock: AtomicBool::new(lived.moved_by_ms == 0),
            lived,
            arrivals: Mutex::new(arrivals),
            segments: Segments::new(disk.clone(), segments),
            disk,
            index,
            upkeep: Upkeep::default(),
            sender,
            blocking,
            names: RwLock::new(names),
            generation: AtomicU32::new(0),
            writing: AtomicU32::new(u32::MAX),
            recent: Mutex::default(),
            health: watch::Sender::new(Health::Good),
            retention: Mutex::new(retention),
            refusal: Mutex::default(),
            commanding: Mutex::default(),
            commands: CommandIds::default(),
            selecting: Mutex::default(),
            pins: AtomicUsize::new(0),
            next_sequence: AtomicU64::new(next_sequence),
            next_group: AtomicU64::new(next_group),
            dead_expired: AtomicU64::new(0),
            replays: Mutex::new(replays),
            memos: Mutex::new(memos),
        }
    }

    /// Whether anywhere a window is open or a digest is not settled.
    pub fn has_lanes(&self) -> bool {
        self.destination_ids().into_iter().any(|id| lock(&self.destination(id).queue).has_windows_or_digests())
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
