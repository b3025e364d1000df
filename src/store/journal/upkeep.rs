//! The journal's upkeep, on a thread of its own: checkpoints, what is kept no longer, and the word to the writer that there is no room.
//!
//! It reads and copies whole segments and waits for syncs, so it may take long, and on a disk that hangs for ever. Nobody waits for it
//! but who asks for it by name: no lock that others need is held while it waits for the disk.
//!
//! # Checkpoints
//!
//! The number of the newest segment is noted *first*, then every queue is copied from memory, then the writer says that everything
//! before is synced and the index that it has heard of it, and only then is it all committed. Memory is ahead of the journal, so what
//! lies in older segments is in the copies; whatever is not lies in the noted segment or behind it, and a start reads those again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::inbox::Message as ToWriter;
use super::index::{Database, META_DIGEST, META_GROUP, META_JOURNAL, META_LANES, META_SEGMENT};
use super::redact::Redactor;
use super::retention::Trimmer;
use super::upkeep_inbox::Message;
use super::{Journal, lock};
use crate::store::NameId;
use crate::store::queues::Snapshot;

/// Limits are looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// After a crash, everything is younger by this at most.
const SAVE_AGES_EVERY: Duration = Duration::from_secs(60);

/// What does it, for a thread of its own, and how it is asked.
pub fn begin(journal: &Arc<Journal>) -> (Sender<Message>, Worker) {
    let (sender, receiver) = channel();
    let trimmer = Trimmer::new(journal.clone());
    let worker = Worker {
        journal: journal.clone(),
        trimmer,
        redactor: Redactor::default(),
        receiver,
        saved_up_to: 0,
        ages_saved_at: Instant::now(),
    };
    (sender, worker)
}

pub struct Worker {
    journal: Arc<Journal>,
    trimmer: Trimmer,
    redactor: Redactor,
    receiver: Receiver<Message>,
    /// The segment of the last checkpoint; 0 before the first of this process.
    saved_up_to: u64,
    ages_saved_at: Instant,
}

impl Worker {
    /// Works until it is closed.
    pub fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            match self.receiver.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(Message::Trim(done)) => {
                    self.trim();
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Ok(Message::Checkpoint(done)) => {
                    self.checkpoint();
                    let _ = done.send(());
                }
                Ok(Message::Work(work)) => work(),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn tick(&mut self) {
        self.note_ages();
        self.look_at_room();
        let is_checkpoint_due = self.journal.segments.newest() != self.saved_up_to;
        if !self.journal.index.is_broken() && (is_checkpoint_due || self.trimmer.is_due()) {
            self.trim();
        }
        self.journal.redact_some(&mut self.redactor, &mut || {});
    }

    /// A checkpoint, and then whatever it allows to go.
    fn trim(&mut self) {
        self.checkpoint();
        self.trimmer.trim();
    }

    fn checkpoint(&mut self) {
        match self.try_checkpoint() {
            Ok(true) => self.journal.index.note_written(Ok(())),
            Ok(false) => {}
            Err(error) => self.journal.index.note_written(Err(error)),
        }
    }

    /// Copies every queue, and says from where the journal is to be read at the next start. False where there is none to be written yet.
    fn try_checkpoint(&mut self) -> rusqlite::Result<bool> {
        let journal = self.journal.clone();
        if !journal.is_by_one_clock.load(Ordering::Acquire) {
            // The last one, and how far ages had come by it, go by the other clock, and so does what would be read again.
            return Ok(false);
        }
        let newest = journal.segments.newest();
        // Noted before the sync is waited for: a group that is written later may be lost with the power, and then the index would
        // look newer than the journal.
        let next_group = journal.next_group.load(Ordering::Acquire);
        let snapshots: Vec<(NameId, Snapshot)> =
            journal.destination_ids().into_iter().map(|id| (id, journal.snapshot(id))).collect();
        let last_digest = journal.last_digest.load(Ordering::Acquire);
        let is_synced = journal.wait_for_sync();
        // The writer tells the index of everything before it says that it is synced.
        if !journal.index.flush() {
            return Ok(false);
        }
        journal.note_arrivals();
        let mut database = journal.index.write();
        database.sync_commits(true)?;
        let done = database.transaction(|database| {
            snapshots.iter().try_for_each(|(id, snapshot)| {
                database.save_queue(*id, snapshot)?;
                database.save_lanes(*id, snapshot)
            })?;
            self.save_ages(database)?;
            if !is_synced || journal.index.has_forgotten() {
                return database.forget_checkpoint();
            }
            for info in journal.segments.between(self.saved_up_to..newest) {
                database.save_segment(&info)?;
            }
            database.set_meta(META_JOURNAL, journal.number)?;
            database.set_meta(META_GROUP, next_group)?;
            database.set_meta(META_LANES, newest)?;
            if last_digest > 0 {
                database.set_meta(META_DIGEST, last_digest)?;
            }
            database.set_meta(META_SEGMENT, newest)
        });
        let relaxed = database.sync_commits(false);
        drop(database);
        done.and(relaxed)?;
        self.saved_up_to = newest;
        Ok(true)
    }

    /// Tells the writer to take nothing in while a limit is reached, and that it may again.
    fn look_at_room(&self) {
        let why = self.journal.no_room_for(0);
        let mut refusal = lock(&self.journal.refusal);
        if refusal.is_some() != why.is_some() {
            let _ = self.journal.sender.send(ToWriter::LookForRoom);
        }
        *refusal = why;
    }

    /// Notes what has come by now, and writes it down now and then.
    fn note_ages(&mut self) {
        self.journal.note_arrivals();
        // They hold together with the stamps in the last checkpoint, which may be another clock's until there is one of this process.
        if self.saved_up_to == 0 || self.ages_saved_at.elapsed() < SAVE_AGES_EVERY {
            return;
        }
        self.ages_saved_at = Instant::now();
        let mut database = self.journal.index.write();
        if let Err(error) = database.transaction(|database| self.save_ages(database)) {
            tracing::debug!(%error, "ages are written down later");
        }
    }

    fn save_ages(&self, database: &Database) -> rusqlite::Result<()> {
        database.save_ages(self.journal.lived.save(), lock(&self.journal.arrivals).notes())?;
        database.save_made(&self.journal.segments.outline())
    }
}
