//! The embedded store: its handle, which ends the threads, and what it does for everybody.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;

use super::inbox::Message;
use super::index::Update;
use super::{Journal, lock, reading};
use crate::store::queues::OwnQueue;
use crate::store::{
    Answer, AppendError, Command, Depth, Done, Duty, Erasing, Health, Interned, Lease, MEMO_BYTES_MAX, MEMOS_MAX,
    NameId, Named, Queue, ReplayProgress, Retention, Store, StoreError, Whom,
};

/// The embedded store.
pub struct JournalStore {
    pub(super) journal: Arc<Journal>,
    pub(super) thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl JournalStore {
    /// Does what waits for the disk where that is allowed. It is finished although nobody waits for it any more.
    pub(super) fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let journal = self.journal.clone();
        let done = self.journal.blocking.begin(move || work(&journal));
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
            let journal = self.journal.clone();
            let destination = self.journal.destination(id);
            Arc::new(OwnQueue { backing: journal, id, destination, lost: lost.clone(), hold: () })
        };
        let lease = Lease { queues: destinations.into_iter().map(queue).collect(), lost };
        Box::pin(std::future::ready(lease))
    }

    fn ask(&self, command: Command) -> Answer<'_, Done> {
        let has_id = command.id.is_some();
        let begun = self.aside(move |journal| journal.begin(&command));
        Box::pin(async move {
            let (done, durable) = begun.await?;
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            if has_id {
                // The id of an act on no deliveries stands in the index alone. One that cannot be written now is told by itself.
                self.aside(|journal| Ok(journal.index.flush())).await?;
            }
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

    fn memo(&self, key: &str) -> Answer<'_, Option<String>> {
        let memo = lock(&self.journal.memos).get(key).cloned();
        Box::pin(std::future::ready(Ok(memo)))
    }

    fn keep_memo(&self, key: &str, text: String) -> Answer<'_, ()> {
        let kept = self.journal.keep_memo(key, text);
        Box::pin(async move {
            kept?;
            let is_written = self.aside(|journal| Ok(journal.index.flush())).await?;
            if is_written { Ok(()) } else { Err(StoreError::written_later()) }
        })
    }

    fn erase(&self, whom: Whom, depth: Depth) -> Box<dyn Erasing> {
        self.erasing(whom, depth)
    }

    fn retain(&self, retention: Retention) {
        *lock(&self.journal.retention) = retention;
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let thread = self.thread.clone();
        let closing = self.aside(move |journal| {
            journal.close(&thread);
            Ok(())
        });
        Box::pin(async move {
            if let Err(error) = closing.await {
                tracing::error!(%error, "the store was not closed");
            }
        })
    }
}

impl Journal {
    fn keep_memo(&self, key: &str, text: String) -> Result<(), StoreError> {
        if text.len() > MEMO_BYTES_MAX {
            let why = format!("a memo has at most {MEMO_BYTES_MAX} bytes, and this has {}", text.len());
            return Err(StoreError::Conflict(why));
        }
        let mut memos = lock(&self.memos);
        if memos.len() >= MEMOS_MAX && !memos.contains_key(key) {
            return Err(StoreError::Conflict(format!("there are {MEMOS_MAX} memos, and no more are kept")));
        }
        memos.insert(key.to_owned(), text.clone());
        // Told while it is locked, so that the last one to be known is the last one to be written.
        self.index.update(vec![Update::Memo(key.to_owned(), text)]);
        Ok(())
    }

    /// Writes down where everything stands, unless nothing is known any more.
    pub fn checkpoint(&self) {
        if !matches!(*self.health.borrow(), Health::Poisoned(_)) {
            self.upkeep.checkpoint();
        }
    }

    /// Ends the threads, when everything settled so far is durable.
    pub fn close(&self, writer: &Mutex<Option<JoinHandle<()>>>) {
        self.leases.cancel();
        // So that the next start reads little. Without it, it would read what was written since the last one.
        self.checkpoint();
        let (reply, done) = sync_channel(1);
        if self.sender.send(Message::Close(reply)).is_ok() {
            // An error means that the writer ended by itself: there is nothing left to wait for.
            let _ = done.recv();
        }
        join(writer);
        self.upkeep.close();
        self.index.close();
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = lock(thread).take()
        && thread.join().is_err()
    {
        tracing::error!("the journal's thread panicked");
    }
}
