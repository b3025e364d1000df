//! The embedded backend: an append-only journal that is the queue and the truth, and an index beside it over what went wrong.
//!
//! # Cast
//!
//! * [`writer`]: one thread that owns the journal's end: groups, syncs, new segments, letting old ones go. [`inbox`]: what it is told.
//! * [`mod@format`]: the bytes, and nothing that touches a disk.
//! * [`segments`]: from an event's number to its bytes.
//! * [`queue`]: what waits for one destination, as a bit an event; a backlog of ten million takes 1.25 MB.
//! * [`recent`]: the newest events in memory, so that a destination that keeps up never reads the disk.
//! * [`mod@recover`]: opening: what holds together, where everything stands.
//! * [`index`]: SQLite, on a thread of its own.
//! * [`upkeep`]: what is done now and then, on another: checkpoints; [`mod@retention`]: what is kept no longer.
//! * [`state`]: what all of these share. [`look`]: reading for people; [`ends`]: how deliveries ended. [`backup`], [`verify`]: copies, and their proof.
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

mod arrivals;
mod backup;
mod bitmap;
mod blocking;
#[cfg(test)]
pub(crate) mod by_hand;
mod claims;
mod commands;
mod cursor;
mod destination;
pub mod disk;
mod ends;
mod files;
pub mod format;
mod inbox;
mod index;
mod intake;
mod intern;
mod known;
mod look;
#[cfg(any(test, feature = "test-support"))]
pub mod model;
mod names;
mod open;
mod publish;
mod queue;
mod recent;
mod recover;
mod rename;
mod retention;
mod room;
mod segments;
mod sizes;
mod state;
mod upkeep;
pub mod verify;
mod words;
mod writer;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;

pub use self::bitmap::Bitmap;
pub use self::blocking::Blocking;
pub use self::index::Location;
pub use self::open::{OnSync, Opened, Options, segment_bytes};
pub use self::queue::POSTPONED_MAX;
pub use self::recent::BODIES_MAX as RECENT_BODIES_MAX;
pub use self::recover::OpenError;
pub use self::words::Damage;
pub use self::writer::{GROUP_BYTES_MAX, OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN};

use self::claims::JournalQueue;
use self::inbox::Message;
#[cfg(test)]
pub(crate) use self::index::Untold;
use self::state::Journal;
pub(crate) use self::writer::Writer;
use super::{
    Answer, AppendError, Command, Done, Duty, Health, Interned, Lease, NameId, Named, Queue, ReplayProgress, Retention,
    Store, StoreError,
};

/// How much of the disk a destination that lags reads at once.
const LAG_READ_BYTES: usize = 64 << 10;

/// The embedded store.
pub struct JournalStore {
    journal: Arc<Journal>,
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
    fn destination(&self, id: NameId) -> Arc<destination::Destination> {
        self.journal.destination(id)
    }

    /// Does what waits for the disk where that is allowed. It is finished although nobody waits for it any more.
    fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let journal = self.journal.clone();
        let done = self.blocking.begin(move || work(&journal));
        Box::pin(async move {
            let panicked = || StoreError::Unavailable("it panicked, which is a bug: see the log".to_owned());
            done.await.unwrap_or_else(|| Err(panicked()))
        })
    }
}

impl Drop for JournalStore {
    /// Ends the threads as they are; what should be durable was made so by [`close`](Store::close).
    fn drop(&mut self) {
        let _ = self.journal.sender.send(Message::Abandon);
        join(&self.thread);
        self.journal.upkeep.close();
        self.journal.index.close();
    }
}

fn checkpoint(journal: &Journal) {
    if !matches!(*journal.health.borrow(), Health::Poisoned(_)) {
        journal.upkeep.checkpoint();
    }
}

/// Ends the threads, when everything settled so far is durable.
fn close(journal: &Journal, thread: &Mutex<Option<JoinHandle<()>>>) {
    journal.leases.cancel();
    // So that the next start reads little. Without it, it would read what was written since the last one.
    checkpoint(journal);
    let (reply, done) = sync_channel(1);
    if journal.sender.send(Message::Close(reply)).is_ok() {
        // An error means that the writer ended by itself: there is nothing left to wait for.
        let _ = done.recv();
    }
    join(thread);
    journal.upkeep.close();
    journal.index.close();
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = lock(thread).take()
        && thread.join().is_err()
    {
        tracing::error!("the journal's thread panicked");
    }
}

impl Store for JournalStore {
    fn names(&self) -> Arc<crate::store::Names> {
        reading(&self.journal.names).shown()
    }

    fn intern(&self, named: Vec<Named>) -> Answer<'_, Interned> {
        self.aside(move |journal| Ok(journal.intern(&named)?))
    }

    fn announce(&self, generation: u32, ids: &[NameId]) {
        self.journal.announce(generation, ids);
    }

    fn lease(&self, duty: Duty) -> BoxFuture<'static, Lease> {
        let lost = self.journal.leases.child_token();
        let destinations = match duty {
            Duty::Deliver { destinations, .. } => destinations,
            Duty::Replay(_) => Vec::new(),
        };
        let queue = |id: NameId| -> Arc<dyn Queue> {
            Arc::new(JournalQueue {
                journal: self.journal.clone(),
                id,
                destination: self.destination(id),
                blocking: self.blocking,
                lost: lost.clone(),
            })
        };
        let lease = Lease { queues: destinations.into_iter().map(queue).collect(), lost };
        Box::pin(std::future::ready(lease))
    }

    fn ask(&self, command: Command) -> Answer<'_, Done> {
        let begun = self.aside(move |journal| journal.begin(&command));
        Box::pin(async move {
            let (done, durable) = begun.await?;
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            Ok(done)
        })
    }

    fn replays(&self) -> Answer<'_, Vec<ReplayProgress>> {
        let replays = lock(&self.journal.replays).iter().map(|replay| self.journal.progress_of(replay)).collect();
        Box::pin(std::future::ready(Ok(replays)))
    }

    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress> {
        let saved = self.journal.save_replay(progress);
        Box::pin(async move {
            let (known, durable) = saved?;
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            Ok(known)
        })
    }

    fn retain(&self, retention: Retention) {
        *lock(&self.journal.retention) = retention;
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let thread = self.thread.clone();
        let closing = self.aside(move |journal| {
            close(journal, &thread);
            Ok(())
        });
        Box::pin(async move {
            if let Err(error) = closing.await {
                tracing::error!(%error, "the store was not closed");
            }
        })
    }
}

#[cfg(test)]
mod tests;
