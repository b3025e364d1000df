//! The index over what went wrong: dead letters, scheduled deliveries, attempts, relocated events, and the checkpoint.
//!
//! # Cast
//!
//! * [`Index`]: the handle. What has happened is sent to a thread of its own; look-ups have a connection of their own.
//! * [`update`]: something that is synced in the journal. Nothing else enters, so the index is never ahead of it.
//! * [`worker`]: the thread that writes it. [`ages`]: how old things are, whatever a clock says.
//! * [`database`]: SQLite, and every statement.
//!
//! It is never on the way of an acknowledgement, and it may be lost: the journal is read again then. While it cannot be written (a
//! full disk), what has happened waits in memory; beyond `UPDATES_MAX` it is forgotten, and the next start reads the journal.
//!
//! Its thread does nothing but write what it is told, so whoever waits for that ([`Index::flush`]) waits for a few rows. What may take
//! long is done by the [upkeep](super::upkeep), which has a thread of its own.

mod ages;
mod database;
mod update;
mod worker;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;

pub use self::ages::{Arrivals, Lived};
pub use self::database::{Database, META_DIGEST, META_GROUP, META_JOURNAL, META_LANES, META_SEGMENT, REPLAYS_MAX};
use super::lock;
use crate::store::queues::Bitmap;
use crate::store::{Whom, overwrite};
use crate::time::Clock;

pub use self::update::Update;
use self::worker::Worker;

/// Where the index lies.
#[derive(Clone, Debug)]
pub enum Location {
    File(PathBuf),
    /// In memory, for tests: each start reads the whole journal.
    #[cfg(any(test, feature = "test-support"))]
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
    /// Applies everything before it, and says whether it could.
    Flush(SyncSender<bool>),
    Close,
}

/// The handle: what tells the thread, and what reads.
pub struct Index {
    /// What is read by: nobody who looks waits for a commit and its sync. It goes before the other, which cleans up when it is the last.
    reader: OnceLock<Mutex<Database>>,
    /// What is written by; where it lies in memory, also what is read by.
    database: Arc<Mutex<Database>>,
    path: Option<PathBuf>,
    sender: Sender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
    thread: OnceLock<Mutex<Option<JoinHandle<()>>>>,
    /// What was told last could not be written.
    is_broken: AtomicBool,
    /// Updates were lost, so no checkpoint may be used at the next start.
    has_forgotten: AtomicBool,
}

impl Index {
    /// Opens the database. One that cannot be read is quarantined and made again; where none can be made, it lies in memory.
    pub fn open(place: &Location) -> Self {
        let path = match place {
            Location::File(path) => Some(path.as_path()),
            #[cfg(any(test, feature = "test-support"))]
            Location::Memory => None,
        };
        let database = Database::open(path).or_else(|error| {
            let Some(path) = path else { return Err(error) };
            tracing::error!(%error, path = %path.display(), "the index cannot be read; it is put aside and made again from the journal");
            quarantine(path);
            Database::open(Some(path))
        });
        let database = database.or_else(|error| {
            tracing::error!(%error, "no index can be written; it is kept in memory until the next start");
            Database::open(None)
        });
        let database = database.expect("SQLite opens a database in memory");
        let (sender, receiver) = channel();
        Self::new(Arc::new(Mutex::new(database)), path.map(Path::to_owned), sender, Some(receiver))
    }

    fn new(
        database: Arc<Mutex<Database>>,
        path: Option<PathBuf>,
        sender: Sender<Message>,
        receiver: Option<Receiver<Message>>,
    ) -> Self {
        Self {
            database,
            reader: OnceLock::new(),
            path,
            sender,
            receiver: Mutex::new(receiver),
            thread: OnceLock::new(),
            is_broken: AtomicBool::new(false),
            has_forgotten: AtomicBool::new(false),
        }
    }

    /// An index that is told nothing: each start reads the whole journal.
    #[cfg(test)]
    pub fn untold(Untold(database): &Untold) -> Self {
        Self::new(database.clone(), None, channel().0, None)
    }

    /// The connection to write by. Whoever holds it may wait for the disk.
    pub fn write(&self) -> MutexGuard<'_, Database> {
        lock(&self.database)
    }

    /// The connection to look things up by, in what is committed.
    pub fn read(&self) -> MutexGuard<'_, Database> {
        lock(self.reader.get().unwrap_or(&*self.database))
    }

    /// A connection of one's own, for who reads for long; none where the index lies in memory.
    pub fn another_reader(&self) -> Option<rusqlite::Result<Database>> {
        Some(Database::open_to_read(self.reader.get().and(self.path.as_ref())?))
    }

    /// Whether what was told last could not be written.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Whether updates were lost, so that no checkpoint may be used at the next start.
    pub fn has_forgotten(&self) -> bool {
        self.has_forgotten.load(Ordering::Acquire)
    }

    /// From now on no checkpoint may be used.
    pub fn forget(&self) {
        self.has_forgotten.store(true, Ordering::Release);
    }

    /// Goes on counting the time that the store lives through.
    pub fn go_on(&self, clock: Clock) {
        if let Err(error) = self.write().go_on(clock) {
            tracing::error!(%error, "the index cannot be read: everything in the store counts as new");
        }
    }

    /// Makes a new database in place of one that cannot be written: what is damaged is quarantined, and where there only is no room
    /// it lies in memory until the next start. Returns whether there is a new one.
    pub fn remake(&self) -> bool {
        let mut database = self.write();
        let Some(path) = &self.path else { return false };
        let is_sound = database.check().is_ok_and(|faults| faults.is_empty());
        // Of these there is no other copy.
        let memos = database.memos().unwrap_or_default();
        let remembered = database.remembered().unwrap_or_default();
        // Closes the old one before its file is moved.
        let Ok(memory) = Database::open(None) else { return false };
        *database = memory;
        if !is_sound {
            tracing::error!(path = %path.display(), "the index is damaged; it is put aside and made again from the journal");
            quarantine(path);
            match Database::open(Some(path)) {
                Ok(new) => *database = new,
                Err(error) => {
                    tracing::error!(%error, "no index can be written; it is kept in memory until the next start")
                }
            }
        }
        let memos = memos.into_iter().map(|(key, text)| Update::Memo(key, text));
        for memo in memos.chain([Update::Remembered(remembered)]) {
            if let Err(error) = database.apply(&memo) {
                tracing::warn!(%error, "what a part of the relay had written down is lost");
            }
        }
        true
    }

    /// Erases what is said of some events and masks what names somebody. With `writes_anew` also what was deleted before, by age too, and lies in
    /// free pages or in SQLite's log: an answer about somebody need not name them, so no look tells whether one is there. Returns how many texts
    /// were masked.
    pub fn clean(&self, sequences: &Bitmap, whom: &Whom, writes_anew: bool) -> rusqlite::Result<u64> {
        let mut database = self.write();
        database.overwrite_deleted(true)?;
        let mut masked = 0;
        let cleaned = database.transaction(|database| {
            database.forget_events(sequences)?;
            masked = database.mask(whom)?;
            Ok(())
        });
        let cleaned = cleaned.and_then(|()| self.clean_file(&database, whom, writes_anew));
        let relaxed = database.overwrite_deleted(false);
        cleaned.and(relaxed)?;
        Ok(masked)
    }

    fn clean_file(&self, database: &Database, whom: &Whom, writes_anew: bool) -> rusqlite::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| database.is_in_file()) else { return Ok(()) };
        database.empty_log()?;
        if writes_anew {
            database.vacuum(self.bytes())?;
            database.empty_log()?;
        }
        let copy = beside(path, ".damaged");
        remove_where_named(&copy, whom).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }

    /// The directory that its file lies in.
    pub fn directory(&self) -> Option<&Path> {
        self.path.as_ref()?.parent()
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        let Some(path) = &self.path else { return 0 };
        let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(path) + length(&beside(path, "-wal"))
    }

    /// What writes what is told, for a thread of its own. Once, when everything is recovered; none where nothing is told.
    pub fn worker(index: &Arc<Self>) -> Option<Worker> {
        let receiver = lock(&index.receiver).take()?;
        index.open_reader();
        Some(Worker::new(index.clone(), receiver))
    }

    /// The worker has its thread.
    pub fn has_started(&self, thread: JoinHandle<()>) {
        let _ = self.thread.set(Mutex::new(Some(thread)));
    }

    /// Opens the second connection, where the file is the index: it may lie in memory for want of a better place.
    fn open_reader(&self) {
        let Some(path) = self.path.as_ref().filter(|_| self.write().is_in_file()) else { return };
        match Database::open_to_read(path) {
            Ok(reader) => drop(self.reader.set(Mutex::new(reader))),
            Err(error) => tracing::warn!(%error, "the index cannot be read beside its writer: who looks waits for it"),
        }
    }

    /// Tells what has happened. Returns at once.
    pub fn update(&self, updates: Vec<Update>) {
        // When the thread has ended, the store is closing and the next start reads the journal.
        let _ = self.sender.send(Message::Updates(updates));
    }

    /// Waits until everything told so far is in the database, and says whether it is: while it cannot be written, it is not.
    pub fn flush(&self) -> bool {
        let (reply, done) = std::sync::mpsc::sync_channel(1);
        // An error means that the thread has ended: there is nothing left to wait for.
        self.sender.send(Message::Flush(reply)).is_ok() && done.recv().unwrap_or(false)
    }

    /// Takes down whether the database could be written; tells of trouble once, and of its end.
    pub fn note_written(&self, written: rusqlite::Result<()>) {
        let was_broken = self.is_broken.swap(written.is_err(), Ordering::AcqRel);
        match written {
            Ok(()) if was_broken => tracing::info!("the index is written again"),
            Err(error) if !was_broken => {
                tracing::error!(%error, "the index cannot be written; events and deliveries go on, and it is tried again");
            }
            _ => {}
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

/// A file in which somebody is named is overwritten and goes. Where there is none, nothing is done.
fn remove_where_named(path: &Path, whom: &Whom) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if !whom.is_named_in(length, |bytes, at| file.read_exact_at(bytes, at))? {
        return Ok(());
    }
    overwrite(length, |zeros, at| file.write_all_at(zeros, at))?;
    file.sync_all()?;
    std::fs::remove_file(path)
}

fn quarantine(path: &std::path::Path) {
    // Only the last unreadable one is kept: it is for who wants to know, and nothing depends on it.
    if let Err(error) = std::fs::rename(path, beside(path, ".damaged")) {
        tracing::warn!(%error, "the index could not be put aside");
    }
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}
