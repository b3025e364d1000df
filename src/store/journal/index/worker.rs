//! The thread that writes what the index is told.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::*;

/// Updates are committed this long after the first of them: late enough to gather, early enough for who looks.
const COMMIT_WITHIN: Duration = Duration::from_millis(100);
/// Updates written in one go, so that who looks something up waits for no more.
const COMMIT_ROWS_MAX: usize = 4096;
/// Updates kept while the index cannot be written; some hundred bytes each.
pub const UPDATES_MAX: usize = 65_536;
/// What could not be written is tried again this often.
const TRIED_EVERY: Duration = Duration::from_secs(1);

pub struct Worker {
    index: Arc<Index>,
    receiver: Receiver<Message>,
    /// What was told and is not written yet.
    pending: Vec<Update>,
}

impl Worker {
    pub(super) fn new(index: Arc<Index>, receiver: Receiver<Message>) -> Self {
        Self { index, receiver, pending: Vec::new() }
    }

    /// Works until the index is closed.
    pub fn run(mut self) {
        let mut commit_at: Option<Instant> = None;
        loop {
            match self.receive(commit_at) {
                Ok(Message::Updates(updates)) => {
                    self.take(updates);
                    commit_at.get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
                }
                Ok(Message::Flush(done)) => {
                    self.commit();
                    // Who asked may have gone.
                    let _ = done.send(self.pending.is_empty());
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return self.commit(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if commit_at.is_some_and(|at| Instant::now() >= at) || self.is_much() {
                self.commit();
                commit_at = (!self.pending.is_empty()).then(|| Instant::now() + TRIED_EVERY);
            }
        }
    }

    /// Whether so much is pending that it is written at once; what cannot be written waits for its time.
    fn is_much(&self) -> bool {
        self.pending.len() >= COMMIT_ROWS_MAX && !self.index.is_broken()
    }

    fn receive(&self, until: Option<Instant>) -> Result<Message, RecvTimeoutError> {
        match until {
            Some(until) => self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, updates: Vec<Update>) {
        let is_broken = self.index.is_broken();
        // Nothing depends on notes, and each may hold a kilobyte of an answer.
        let is_kept = |update: &Update| !(is_broken && matches!(update, Update::Notes(_)));
        self.pending.extend(updates.into_iter().filter(is_kept));
        if self.pending.len() > UPDATES_MAX {
            self.pending.clear();
            self.index.forget();
            tracing::error!(
                "the index could not be written for too long; the next start makes it again from the journal"
            );
        }
    }

    /// Writes what is pending; what cannot be written stays so.
    fn commit(&mut self) {
        while !self.pending.is_empty() {
            let rows = self.pending.len().min(COMMIT_ROWS_MAX);
            let mut database = self.index.write();
            let written = database
                .transaction(|database| self.pending[..rows].iter().try_for_each(|update| database.apply(update)));
            drop(database);
            let is_written = written.is_ok();
            self.index.note_written(written);
            if !is_written {
                return;
            }
            self.pending.drain(..rows);
        }
    }
}
