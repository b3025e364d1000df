//! The embedded backend: an append-only journal that is the queue and the truth, and an index beside it over what went wrong.
//!
//! # Cast
//!
//! * [`writer`]: one thread that owns the journal's end: groups, syncs, new segments, letting old ones go.
//! * [`mod@format`]: the bytes, and nothing that touches a disk.
//! * [`segments`]: from an event's number to its bytes.
//! * [`queue`]: what waits for one destination, as a bit an event; a backlog of ten million takes 1.25 MB.
//! * [`recent`]: the newest events in memory, so that a destination that keeps up never reads the disk.
//! * [`mod@recover`]: opening: what holds together, where everything stands.
//! * [`index`]: SQLite, on a thread of its own.
//! * [`upkeep`]: what is done now and then, on another: checkpoints; [`mod@retention`]: what is kept no longer.
//! * [`shared`]: what all of these share. [`look`]: reading for people; [`ends`]: how deliveries ended. [`backup`], [`verify`]: copies, and their proof.
//! * [`disk`]: the real disk; in tests `model`, one that fails and forgets on demand. [`blocking`]: where one waits for it.
//!
//! # Order
//!
//! Whatever changes a queue is sent to the writer while the queue is still locked, so the journal has everything in the order in
//! which it took effect, and reading it leads to the same state.
//!
//! # Reopening
//!
//! Nothing is ever appended to an old segment. What lies past its last durable mark may be on the platter or only in a cache that
//! lied, so it is written again into a new segment and synced before the door opens; the new segment's header says where the old
//! one ends. A segment gets its name only when it is complete, so a crash while reopening starts over.

mod backup;
mod bitmap;
mod blocking;
#[cfg(test)]
pub(crate) mod by_hand;
mod commands;
mod cursor;
pub mod disk;
mod ends;
pub mod format;
mod index;
mod intern;
mod look;
#[cfg(any(test, feature = "test-support"))]
pub mod model;
mod names;
mod queue;
mod queues;
mod recent;
mod recover;
mod rename;
mod retention;
mod segments;
mod shared;
mod upkeep;
pub mod verify;
mod writer;

use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ring::rand::SecureRandom;
use tokio::sync::{oneshot, watch};

pub use self::bitmap::Bitmap;
pub use self::blocking::Blocking;
pub use self::index::Location;
pub use self::queue::POSTPONED_MAX;
pub use self::recent::BODIES_MAX as RECENT_BODIES_MAX;
pub use self::recover::{Damage, OpenError};
pub use self::writer::{GROUP_BYTES_MAX, OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN};

use self::disk::Disk;
use self::index::Index;
#[cfg(test)]
pub(crate) use self::index::Untold;
use self::queues::JournalQueue;
use self::recover::recover;
use self::shared::Shared;
use self::upkeep::Upkeep;
pub(crate) use self::writer::Writer;
use self::writer::{Message, Position, inbox};
use super::{
    Answer, AppendError, BackupError, Command, Done, Health, Intake, Interned, NameId, Named, NewEvent, Queue,
    ReplayProgress, Retention, Sources, Store, StoreError, Usage,
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
    /// Where the index lies.
    pub index: Location,
    /// What is kept.
    pub retention: Retention,
    /// Where what waits for the disk is done.
    pub blocking: Blocking,
}

impl Options {
    /// As usual, with the index somewhere.
    pub fn new(index: Location) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_MAX,
            clock: Clock::start(),
            due_within: Duration::from_secs(24 * 60 * 60),
            on_sync: Box::new(|_| {}),
            index,
            retention: Retention::default(),
            blocking: Blocking::default(),
        }
    }
}

#[cfg(any(test, feature = "test-support"))]
impl Default for Options {
    fn default() -> Self {
        Self::new(Location::Memory)
    }
}

/// A segment is no larger: history goes by whole segments.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Nor smaller, where the history is short: each begins with a header and ends with room for outcomes.
const SEGMENT_BYTES_LEAST: u64 = 4 << 20;

/// The bytes of a segment for a history: sixteen of them at least, so that it goes in small steps.
pub fn segment_bytes(retention: &Retention, directory: &Path) -> u64 {
    let total = disk::space_of(directory).map(|space| space.total);
    let history_bytes = retention::resolve(retention, total).history_bytes;
    (history_bytes / 16).clamp(SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MAX).next_multiple_of(4096)
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
    /// Files that are named like segments and are not part of the journal. They are left alone.
    pub strays: Vec<String>,
    /// Queues of numbers that have no name, which have one now that says so.
    pub nameless: Vec<String>,
    /// Segments there are.
    pub segments: usize,
    /// Segments that had to be read: the others are known from the index.
    pub segments_read: usize,
}

/// How much of the disk a destination that lags reads at once.
const LAG_READ_BYTES: usize = 64 << 10;

/// The embedded store.
pub struct JournalStore {
    shared: Arc<Shared>,
    blocking: Blocking,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A panic elsewhere must not take the queue with it: every change under these locks is complete when it is made.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`lock`], to read what others may read too.
fn reading<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// [`lock`], to write what others may read.
fn writing<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl JournalStore {
    /// Opens a journal, or starts one, and its threads. Blocks until the old end is safe in a new segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Opened), OpenError> {
        let index = Index::open(&options.index);
        let (store, opened, writer, index_failed) = Self::prepare(disk, options, index)?;
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let shared = store.shared.clone();
        let thread = thread.spawn(move || shared.watched("journal", || writer.run()))?;
        *lock(&store.thread) = Some(thread);
        if index_failed {
            store.shared.index.forget();
        }
        Index::start(&store.shared)?;
        // Where what was carried lies since the old end was moved.
        store.shared.index.flush();
        Upkeep::start(&store.shared)?;
        if store.shared.lived.moved_by_ms != 0 {
            // Before anything is stamped by the new clock, so that a crash leaves stamps of one clock alone.
            store.shared.upkeep.checkpoint();
        }
        Ok((store, opened))
    }

    /// Opens a journal without threads: who opens it gives the writer its turns, and the index is told nothing. For simulations.
    #[cfg(test)]
    pub(crate) fn open_by_hand(
        disk: Arc<dyn Disk>,
        options: Options,
        untold: &index::Untold,
    ) -> Result<(Self, Writer), OpenError> {
        let (store, _, writer, _) = Self::prepare(disk, options, Index::untold(untold))?;
        Ok((store, writer))
    }

    /// Everything but the threads. Also returns whether the index failed.
    fn prepare(disk: Arc<dyn Disk>, options: Options, index: Index) -> Result<(Self, Opened, Writer, bool), OpenError> {
        for leftover in disk.list()?.iter().filter(|name| segments::is_unfinished(name)) {
            disk.remove(leftover)?;
        }
        index.go_on(options.clock);
        let mut recovered = recover(&disk, &mut index.write())?;
        if recovered.index_failed && index.remake() {
            index.go_on(options.clock);
            recovered = recover(&disk, &mut index.write())?;
        }
        let lived = index.write().lived.unwrap_or_else(|| index::Lived::go_on(options.clock, None));
        recovered.queues.values_mut().for_each(|queue| queue.move_by(lived.moved_by_ms));
        let made = index.write().made().unwrap_or_default();
        for info in &mut recovered.segments {
            // One that the index has not heard of counts from now on.
            info.made_ms = made.get(&info.segment).copied().unwrap_or_else(|| lived.ran_ms());
        }
        keep_copies(&disk, &recovered.damage);
        let latest_due_ms = options.clock.now_ms() + options.due_within.as_millis() as u64;
        recovered.queues.values_mut().for_each(|queue| queue.clamp_due(latest_due_ms));
        let opened = Opened {
            backlog: recovered.queues.values().map(queue::Queue::backlog).sum(),
            damage: recovered.damage,
            torn_bytes: recovered.torn_bytes,
            strays: recovered.strays,
            nameless: recovered.nameless,
            segments: recovered.segments.len(),
            segments_read: recovered.segments_read,
        };
        let last = recovered.segments.last();
        let journal = recovered.journal.map_or_else(random, Ok)?;
        let position = Position {
            next_sequence: recovered.next_sequence,
            next_group: recovered.next_group,
            next_segment: last.map_or(1, |info| info.segment + 1),
            journal,
            sealed: (last.map_or(0, |info| info.segment), recovered.mark),
            tail: recovered.tail,
            tail_first: recovered.tail_first,
        };
        let old = last.map(|info| (info.segment, recovered.mark));
        let (sender, receiver) = inbox();
        let shared = Arc::new(Shared::new(shared::Parts {
            disk,
            index,
            sender,
            journal,
            clock: options.clock,
            retention: options.retention,
            segments: recovered.segments,
            names: recovered.names,
            queues: recovered.queues,
            next_sequence: recovered.next_sequence,
            next_group: recovered.next_group,
            lived,
        }));
        if let Err(error) = shared.load_commands() {
            tracing::warn!(%error, "commands of before are not known: the same one again is done again");
        }
        shared.note_arrivals();
        let mut writer = Writer::new(shared.clone(), receiver, position, options.segment_bytes, options.on_sync);
        writer.prepare()?;
        if let Some((segment, mark)) = old
            && *shared.health.borrow() == Health::Good
        {
            // The new segment's header already says so; this gives the room back.
            let cut = shared.disk.open(&segments::file_name(segment));
            // Under another name it may be somebody else's, who writes behind the mark.
            let cut = cut.and_then(|file| if file.is_shared() { Ok(()) } else { file.set_len(mark) });
            if let Err(error) = cut {
                tracing::debug!(segment, %error, "an old segment's unused end could not be given back");
            }
        }
        let store = Self { shared, blocking: options.blocking, thread: Arc::default() };
        Ok((store, opened, writer, recovered.index_failed))
    }

    fn destination(&self, id: NameId) -> Arc<shared::Destination> {
        self.shared.destination(id)
    }

    /// Does what waits for the disk where that is allowed. It is finished although nobody waits for it any more.
    fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let shared = self.shared.clone();
        let done = self.blocking.begin(move || work(&shared));
        Box::pin(async move {
            let panicked = || StoreError::Unavailable("it panicked, which is a bug: see the log".to_owned());
            done.await.unwrap_or_else(|| Err(panicked()))
        })
    }
}

impl Drop for JournalStore {
    /// Ends the threads as they are; what should be durable was made so by [`close`](Store::close).
    fn drop(&mut self) {
        let _ = self.shared.sender.send(Message::Abandon);
        join(&self.thread);
        self.shared.upkeep.close();
        self.shared.index.close();
    }
}

fn checkpoint(shared: &Shared) {
    if !matches!(*shared.health.borrow(), Health::Poisoned(_)) {
        shared.upkeep.checkpoint();
    }
}

/// Ends the threads, when everything settled so far is durable.
fn close(shared: &Shared, thread: &Mutex<Option<JoinHandle<()>>>) {
    // So that the next start reads little. Without it, it would read what was written since the last one.
    checkpoint(shared);
    let (reply, done) = sync_channel(1);
    if shared.sender.send(Message::Close(reply)).is_ok() {
        // An error means that the writer ended by itself: there is nothing left to wait for.
        let _ = done.recv();
    }
    join(thread);
    shared.upkeep.close();
    shared.index.close();
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = lock(thread).take()
        && thread.join().is_err()
    {
        tracing::error!("the journal's thread panicked");
    }
}

/// Why an event can never be written down in one piece, if so.
fn never_fits(event: &NewEvent) -> Option<String> {
    let (rules, destinations, bytes) = (event.rules.len(), event.deliveries.len(), event.body.len());
    if format::event_head_bytes(rules, destinations) > format::RECORD_MAX {
        return Some(format!(
            "it matches {rules} rules and goes to {destinations} destinations: use fewer rules or destinations"
        ));
    }
    (bytes > format::BODY_MAX).then(|| format!("its body has {bytes} bytes"))
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

impl Intake for JournalStore {
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>> {
        let (reply, answer) = oneshot::channel();
        if let Some(why) = never_fits(&event) {
            let _ = reply.send(Err(AppendError::TooLarge(why)));
            return answer;
        }
        if let Err(refused) = self.shared.sender.send(Message::Append(event, reply))
            && let Message::Append(_, reply) = *refused
        {
            let _ = reply.send(Err(AppendError::Closed));
        }
        answer
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn sources(&self) -> watch::Receiver<Sources> {
        self.shared.sources.subscribe()
    }
}

impl Store for JournalStore {
    fn names(&self) -> Arc<crate::store::Names> {
        reading(&self.shared.names).shown()
    }

    fn intern(&self, named: Vec<Named>) -> Answer<'_, Interned> {
        self.aside(move |shared| Ok(shared.intern(&named)?))
    }

    fn announce(&self, generation: u32, ids: &[NameId]) {
        self.shared.announce(generation, ids);
    }

    fn queue(&self, id: NameId) -> Arc<dyn Queue> {
        let (shared, destination, blocking) = (self.shared.clone(), self.destination(id), self.blocking);
        Arc::new(JournalQueue { shared, id, destination, blocking })
    }

    fn ask(&self, command: Command) -> Answer<'_, Done> {
        let begun = self.aside(move |shared| shared.begin(&command));
        Box::pin(async move {
            let (done, durable) = begun.await?;
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            Ok(done)
        })
    }

    fn replays(&self) -> Answer<'_, Vec<ReplayProgress>> {
        let replays = lock(&self.shared.replays).iter().map(|replay| self.shared.progress_of(replay)).collect();
        Box::pin(std::future::ready(Ok(replays)))
    }

    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress> {
        let saved = self.shared.save_replay(progress);
        Box::pin(async move {
            let (known, durable) = saved?;
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            Ok(known)
        })
    }

    fn retain(&self, retention: Retention) {
        *lock(&self.shared.retention) = retention;
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let thread = self.thread.clone();
        let closing = self.aside(move |shared| {
            close(shared, &thread);
            Ok(())
        });
        Box::pin(async move {
            if let Err(error) = closing.await {
                tracing::error!(%error, "the store was not closed");
            }
        })
    }
}

/// What only an embedded store has: its files are the operator's business.
impl JournalStore {
    /// Trims what need not be kept now, rather than in a while. Blocks until it is done.
    pub fn trim(&self) {
        self.shared.upkeep.trim();
    }

    /// How much it has and may have. Reads the disk.
    pub fn usage(&self) -> Usage {
        self.shared.usage()
    }

    /// Writes a consistent copy of everything into an empty directory, while the store goes on. Blocks on the disk.
    pub fn backup(&self, directory: &Path) -> Result<(), BackupError> {
        self.shared.backup(directory)
    }

    /// What has become of its files, if they are not what it left there: removed, replaced, written to by another. Reads the disk.
    pub fn trouble(&self) -> Option<String> {
        let look = || {
            let files: Vec<_> = self.shared.segments.outline();
            let files: Vec<_> = files.iter().map(|info| (segments::file_name(info.segment), info.end)).collect();
            // One that is let go is forgotten before its file is removed.
            let is_listed = |name: &str| {
                let listed = self.shared.segments.outline();
                listed.iter().any(|info| segments::file_name(info.segment) == name)
            };
            self.shared.disk.trouble(&files, &is_listed)
        };
        // What is wrong is wrong twice.
        look().and_then(|_| look())
    }

    /// Refuses everything from now on, for a reason: the process is expected to end.
    pub fn fail(&self, why: &str) {
        self.shared.set_health(Health::Poisoned(why.to_owned()));
        // If the writer is gone, everything is refused anyway.
        let _ = self.shared.sender.send(Message::Fail(why.to_owned()));
    }

    /// Writes down where everything stands, so that closing, and the next start, have little to do. Blocks on the disk.
    pub fn checkpoint(&self) {
        checkpoint(&self.shared);
    }

    /// Closes where it stands. Blocks on the disk.
    pub fn close_here(&self) {
        close(&self.shared, &self.thread);
    }
}

#[cfg(test)]
mod tests;
