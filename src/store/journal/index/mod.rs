//! The index over what went wrong: dead letters, postponed deliveries, attempts, carried events, and the checkpoint.
//!
//! # Cast
//!
//! * [`Index`]: the handle. Lookups go straight to the database; what has happened is sent to a thread of its own.
//! * [`Update`]: something that is synced in the journal. Nothing else enters, so the index is never ahead of it.
//! * [`database`]: SQLite, and every statement.
//! * [`retention`](super::retention): what that thread does besides: checkpoints, retention, limits.
//!
//! It is never on the way of an acknowledgement, and it may be lost: the journal is read again then. While it cannot be written (a
//! full disk), what has happened waits in memory; beyond [`UPDATES_MAX`] it is forgotten, and the next start reads the journal.
//!
//! # Checkpoints
//!
//! The number of the newest segment is noted *first*, then every queue is copied from memory, then the writer says that everything
//! before is synced, and only then is it all committed. Memory is ahead of the journal, so what lies in older segments is in the
//! copies; whatever is not lies in the noted segment or behind it, and a start reads those again.

mod ages;
mod database;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::ages::{Arrivals, Lived};
pub use self::database::{Database, META_GROUP, META_JOURNAL, META_SEGMENT, REPLAYS_MAX};
use super::format::{OutcomeRecord, OutcomeState, SelectionRecord};
use super::recover::Damage;
use super::retention::Keeper;
use super::segments::Place;
use super::{Shared, lock};
use crate::store::{AttemptNote, DeadLetter, DeliveryKey, NameId, ReplayProgress};
use crate::time::Clock;

/// Updates are committed this long after the first of them: late enough to gather, early enough for who looks.
const COMMIT_WITHIN: Duration = Duration::from_millis(100);
/// Updates written in one go, so that who looks something up waits for no more.
const COMMIT_ROWS_MAX: usize = 4096;
/// Updates kept while the index cannot be written; some hundred bytes each.
pub const UPDATES_MAX: usize = 65_536;
/// Limits are looked at this often, and the index is tried again.
const TICK: Duration = Duration::from_secs(1);

/// Something that has happened, and is synced in the journal where it stands there at all.
#[derive(Clone, Debug)]
pub enum Update {
    /// A delivery was given up.
    Dead(DeadLetter),
    /// A delivery arrived that had failed before.
    Late {
        /// Which.
        key: DeliveryKey,
        /// Attempts made.
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
    },
    /// Something was done to deliveries.
    Selection(SelectionRecord),
    /// A replay has come this far.
    Replay(ReplayProgress),
    /// Events lie elsewhere now: number, place, bytes of the body.
    Carried(Vec<(u64, Place, u64)>),
    /// Attempts that failed.
    Notes(Vec<(DeliveryKey, AttemptNote)>),
    /// Something to remember of a destination.
    Fact(NameId, String),
    /// Nothing refers to these any more.
    NamesGone(Vec<NameId>),
    /// The journal is damaged.
    Damage(Damage),
    /// There is a new segment: time for a checkpoint.
    Rolled,
}

impl Update {
    /// What the index keeps of an outcome: nothing of one that arrived at once, nor of one that is tried again.
    pub fn of_outcome(outcome: OutcomeRecord) -> Option<Self> {
        let OutcomeRecord { key, attempts, at_ms, state } = outcome;
        match state {
            OutcomeState::Dead { reason } => {
                let (sequence, destination) = (key.sequence, key.destination);
                Some(Update::Dead(DeadLetter { sequence, destination, attempts, at_ms, reason }))
            }
            OutcomeState::Delivered if attempts > 1 => Some(Update::Late { key, attempts, at_ms }),
            _ => None,
        }
    }
}

/// Where the index lies.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a file.
    File(PathBuf),
    /// In memory, for tests: each start reads the whole journal.
    Memory,
}

/// An empty database, made once and used for start after start.
#[cfg(test)]
#[derive(Clone)]
pub struct Untold(Arc<Mutex<Database>>);

#[cfg(test)]
impl Default for Untold {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Database::open(None).expect("a database in memory"))))
    }
}

enum Message {
    Updates(Vec<Update>),
    /// Applies everything before it, and says so.
    Flush(SyncSender<()>),
    /// Trims what may go.
    Trim(SyncSender<()>),
    /// A checkpoint, then the end of the thread with the next `Close`.
    Checkpoint(SyncSender<()>),
    Close,
}

/// The handle.
pub struct Index {
    pub database: Arc<Mutex<Database>>,
    path: Option<PathBuf>,
    sender: Sender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
    thread: OnceLock<Mutex<Option<JoinHandle<()>>>>,
}

impl Index {
    /// Opens the database. One that cannot be read is put aside and made again; where none can be made, it lies in memory.
    pub fn open(place: &Location) -> Self {
        let path = match place {
            Location::File(path) => Some(path.as_path()),
            Location::Memory => None,
        };
        let database = Database::open(path).or_else(|error| {
            let Some(path) = path else { return Err(error) };
            tracing::error!(%error, path = %path.display(), "the index cannot be read; it is put aside and made again from the journal");
            put_aside(path);
            Database::open(Some(path))
        });
        let database = database.or_else(|error| {
            tracing::error!(%error, "no index can be written; it is kept in memory until the next start");
            Database::open(None)
        });
        let database = database.expect("SQLite opens a database in memory");
        let (sender, receiver) = channel();
        let (database, receiver) = (Arc::new(Mutex::new(database)), Mutex::new(Some(receiver)));
        Self { database, path: path.map(std::path::Path::to_owned), sender, receiver, thread: OnceLock::new() }
    }

    /// An index that is told nothing: each start reads the whole journal.
    #[cfg(test)]
    pub fn untold(Untold(database): &Untold) -> Self {
        let (database, thread) = (database.clone(), OnceLock::new());
        Self { database, path: None, sender: channel().0, receiver: Mutex::default(), thread }
    }

    /// Goes on counting the time that the store lives through.
    pub fn go_on(&self, clock: Clock) {
        if let Err(error) = lock(&self.database).go_on(clock) {
            tracing::error!(%error, "the index cannot be read: everything in the store counts as new");
        }
    }

    /// Makes a new database in place of one that cannot be written: what is damaged is put aside, and where there only is no room
    /// it lies in memory until the next start. Returns whether there is a new one.
    pub fn remake(&self) -> bool {
        let mut database = lock(&self.database);
        let Some(path) = &self.path else { return false };
        let is_sound = database.check().is_ok_and(|faults| faults.is_empty());
        // Closes the old one before its file is moved.
        let Ok(memory) = Database::open(None) else { return false };
        *database = memory;
        if !is_sound {
            tracing::error!(path = %path.display(), "the index is damaged; it is put aside and made again from the journal");
            put_aside(path);
            match Database::open(Some(path)) {
                Ok(new) => *database = new,
                Err(error) => {
                    tracing::error!(%error, "no index can be written; it is kept in memory until the next start")
                }
            }
        }
        true
    }

    /// The directory that its file lies in.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.path.as_ref()?.parent()
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        let Some(path) = &self.path else { return 0 };
        let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(path) + length(&beside(path, "-wal"))
    }

    /// Starts the thread. Called once, when everything is recovered.
    pub(super) fn start(shared: &Arc<Shared>, has_forgotten: bool) -> std::io::Result<()> {
        let index = &shared.index;
        let Some(receiver) = lock(&index.receiver).take() else { return Ok(()) };
        let keeper = Keeper::new(shared.clone(), has_forgotten);
        let thread = std::thread::Builder::new().name("index".to_owned());
        let (database, pending) = (index.database.clone(), Vec::new());
        let worker = Worker { keeper, database, receiver, deferred: VecDeque::new(), pending, is_broken: false };
        let watching = shared.clone();
        let thread = thread.spawn(move || watching.watched("index", || worker.run()))?;
        let _ = index.thread.set(Mutex::new(Some(thread)));
        Ok(())
    }

    /// Tells what has happened. Returns at once.
    pub fn update(&self, updates: Vec<Update>) {
        // When the thread has ended, the store is closing and the next start reads the journal.
        let _ = self.sender.send(Message::Updates(updates));
    }

    /// Waits until everything told so far is in the database.
    pub fn flush(&self) {
        self.ask(Message::Flush);
    }

    /// Trims what need not be kept.
    pub fn trim(&self) {
        self.ask(Message::Trim);
    }

    /// Writes a checkpoint.
    pub fn checkpoint(&self) {
        self.ask(Message::Checkpoint);
    }

    fn ask(&self, message: impl FnOnce(SyncSender<()>) -> Message) {
        let (reply, done) = std::sync::mpsc::sync_channel(1);
        if self.sender.send(message(reply)).is_ok() {
            // An error means that the thread has ended: there is nothing left to wait for.
            let _ = done.recv();
        }
    }

    /// Ends the thread, when everything told so far is in the database.
    pub fn close(&self) {
        let _ = self.sender.send(Message::Close);
        if let Some(thread) = self.thread.get()
            && let Some(thread) = lock(thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the index's thread panicked");
        }
    }
}

fn beside(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn put_aside(path: &std::path::Path) {
    // Only the last unreadable one is kept: it is for who wants to know, and nothing depends on it.
    if let Err(error) = std::fs::rename(path, beside(path, ".damaged")) {
        tracing::warn!(%error, "the index could not be put aside");
    }
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}

struct Worker {
    keeper: Keeper,
    database: Arc<Mutex<Database>>,
    receiver: Receiver<Message>,
    /// Came in while a checkpoint was made.
    deferred: VecDeque<Message>,
    pending: Vec<Update>,
    is_broken: bool,
}

impl Worker {
    fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        let mut commit_at: Option<Instant> = None;
        loop {
            let wake = commit_at.map_or(next_tick, |at| at.min(next_tick));
            match self.receive(wake.saturating_duration_since(Instant::now())) {
                Ok(Message::Updates(updates)) => {
                    self.take(updates);
                    commit_at.get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
                }
                Ok(Message::Flush(done)) => {
                    self.commit();
                    let _ = done.send(());
                }
                Ok(Message::Trim(done)) => {
                    self.commit();
                    self.trim();
                    let _ = done.send(());
                }
                Ok(Message::Checkpoint(done)) => {
                    self.checkpoint();
                    let _ = done.send(());
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.commit();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if commit_at.is_some_and(|at| now >= at) || self.pending.len() >= COMMIT_ROWS_MAX {
                self.commit();
                commit_at = None;
            }
            if now >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn receive(&mut self, wait: Duration) -> Result<Message, RecvTimeoutError> {
        self.deferred.pop_front().map_or_else(|| self.receiver.recv_timeout(wait), Ok)
    }

    fn take(&mut self, updates: Vec<Update>) {
        for update in updates {
            match update {
                Update::Rolled => self.keeper.is_checkpoint_due = true,
                // Nothing depends on them, and each may hold a kilobyte of an answer.
                Update::Notes(_) if self.is_broken => {}
                update => self.pending.push(update),
            }
        }
        if self.pending.len() > UPDATES_MAX {
            self.pending.clear();
            self.keeper.has_forgotten = true;
            tracing::error!(
                "the index could not be written for too long; the next start makes it again from the journal"
            );
        }
    }

    fn tick(&mut self) {
        self.commit();
        self.keeper.note_ages();
        self.keeper.look_at_room();
        if !self.is_broken && (self.keeper.is_checkpoint_due || self.keeper.is_trim_due()) {
            self.trim();
        }
    }

    /// A checkpoint, and then whatever it allows to go.
    fn trim(&mut self) {
        self.checkpoint();
        self.expire();
        let newest = self.keeper.newest();
        while !self.is_broken
            && let Some(carried) = self.keeper.carry_oldest(newest)
        {
            // Who asks for a carried event must find it from the moment on in which its old place is gone.
            self.drain();
            self.commit();
            if self.is_broken || !self.keeper.retire(carried) {
                return;
            }
            self.keeper.remove_retired();
            self.keeper.forget_names();
            // What was carried counts among the dead letters now.
            self.expire();
        }
    }

    fn expire(&mut self) {
        while !self.is_broken && self.keeper.expire_some() {
            self.drain();
            self.commit();
        }
    }

    fn checkpoint(&mut self) {
        self.drain();
        let Self { keeper, receiver, deferred, pending, .. } = self;
        let done = keeper.checkpoint(&mut || {
            pending.extend(updates_waiting(receiver, deferred));
            std::mem::take(pending)
        });
        self.tell(done);
    }

    /// What has come in meanwhile, without waiting.
    fn drain(&mut self) {
        let updates = updates_waiting(&self.receiver, &mut self.deferred);
        self.take(updates);
    }

    fn commit(&mut self) {
        while !self.pending.is_empty() {
            let rows = self.pending.len().min(COMMIT_ROWS_MAX);
            let mut database = lock(&self.database);
            let written = database
                .transaction(|database| self.pending[..rows].iter().try_for_each(|update| database.apply(update)));
            drop(database);
            let is_written = written.is_ok();
            self.tell(written);
            if !is_written {
                return;
            }
            self.pending.drain(..rows);
        }
    }

    /// Tells of trouble once, and of its end.
    fn tell(&mut self, written: rusqlite::Result<()>) {
        match written {
            Ok(()) if self.is_broken => {
                self.is_broken = false;
                tracing::info!("the index is written again");
            }
            Err(error) if !self.is_broken => {
                self.is_broken = true;
                tracing::error!(%error, "the index cannot be written; events and deliveries go on, and it is tried again");
            }
            _ => {}
        }
    }
}

/// Takes the updates that have come in; what else has come is left for later.
fn updates_waiting(receiver: &Receiver<Message>, deferred: &mut VecDeque<Message>) -> Vec<Update> {
    let mut updates = Vec::new();
    while let Ok(message) = receiver.try_recv() {
        match message {
            Message::Updates(more) => updates.extend(more),
            other => deferred.push_back(other),
        }
    }
    updates
}
