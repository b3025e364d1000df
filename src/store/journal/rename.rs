//! What a destination's queue is, under another name: by giving its number the name, or by moving everything to the name's own number.

use std::collections::BTreeSet;

use super::inbox::Message;
use super::words::ReadError;
use super::{Journal, lock, writing};
use crate::store::queues::{Moving, Queue};
use crate::store::{NameId, TakenOver};

/// Dead letters that are moved in one go: each has a reason, and the queues are locked meanwhile.
const DEAD_AT_ONCE: usize = 4096;

impl Journal {
    /// Gives a number another name, unless somebody who would be missed has it.
    pub fn rename(&self, id: NameId, name: &str) -> bool {
        let mut names = writing(&self.names);
        let Some((kind, old)) = names.of(id).cloned() else { return false };
        if let Some(other) = names.find(kind, name).filter(|other| *other != id) {
            if !lock(&self.destination(other).queue).is_blank() {
                return false;
            }
            // It has a past, which is shown by this. No config can name it.
            let past: std::sync::Arc<str> = format!("{name} (former {})", other.0).into();
            names.insert(kind, other, past.clone());
            let _ = self.sender.send(Message::Name(kind, other, past));
        }
        tracing::debug!(from = %old, to = name, number = id.0, "a destination is called something else");
        let name: std::sync::Arc<str> = name.into();
        names.insert(kind, id, name.clone());
        let _ = self.sender.send(Message::Name(kind, id, name));
        true
    }

    /// Moves everything that one queue is to another: first it is there, then it is no longer here.
    pub fn take_over(&self, from: NameId, to: NameId) -> TakenOver {
        let mut taken = TakenOver::default();
        if from == to {
            return taken;
        }
        let mut after = 0;
        loop {
            let some: BTreeSet<u64> = {
                let destination = self.destination(from);
                let queue = lock(&destination.queue);
                queue.dead().iter_from(after).take(DEAD_AT_ONCE).collect()
            };
            let Some(last) = some.last() else { break };
            after = last + 1;
            match self.move_dead(from, to, &some) {
                Ok(moved) => taken.dead += moved,
                Err(error) => {
                    tracing::warn!(%error, "dead letters stay under the old name for now: the index cannot be read");
                    break;
                }
            }
        }
        let _selecting = lock(&self.selecting);
        self.move_rest(from, to, &mut taken);
        taken
    }

    /// Does something to both queues at once, while nothing of the history goes.
    pub fn with_both<T>(&self, from: NameId, to: NameId, act: impl FnOnce(&mut Queue, &mut Queue) -> T) -> T {
        let _selecting = lock(&self.selecting);
        self.do_with_both(from, to, act)
    }

    fn move_dead(&self, from: NameId, to: NameId, sequences: &BTreeSet<u64>) -> Result<u64, ReadError> {
        // What died a moment ago may be on its way to the index.
        self.index.flush();
        let mut letters = self.letters(from, sequences)?;
        let letters = sequences.iter().map(|sequence| match letters.remove(sequence) {
            Some(letter) => (*sequence, letter.attempts, letter.at_ms, letter.reason),
            None => (*sequence, 0, self.clock.now_ms(), String::new()),
        });
        let letters: Vec<_> = letters.collect();
        Ok(self.with_both(from, to, |here, there| self.move_letters(here, there, (from, to), letters.into_iter())))
    }
}
