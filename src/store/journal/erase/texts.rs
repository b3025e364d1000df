//! The texts that quote whom an erasing is about: in memory, from where they are written down again and again, and in the index.
//!
//! What is said of a delivery of theirs goes wholly. Of other texts only what names them does: as many `*` as it has bytes.

use super::Walk;
use crate::store::journal::index::Update;
use crate::store::journal::words::unreadable;
use crate::store::journal::{Journal, lock};
use crate::store::queues::Bitmap;
use crate::store::{StoreError, Whom, overwrite};

/// What becomes of a text: of a delivery of one of these events, or of another.
pub fn change(whom: &Whom, gone: &Bitmap, of: Option<u64>, text: &str) -> Option<String> {
    let is_gone = of.is_some_and(|sequence| gone.contains(sequence));
    if !is_gone {
        return whom.masked(text);
    }
    let masked = "*".repeat(text.len());
    (masked != text).then_some(masked)
}

impl Journal {
    /// Refuses to begin while a replay names whom it is about: it would not know any more what was asked for.
    pub(super) fn refuse_amid_replay(&self, whom: &Whom) -> Result<(), StoreError> {
        let replays = lock(&self.replays);
        let is_amid = replays.iter().any(|replay| !replay.is_done && whom.masked(&replay.spec).is_some());
        if is_amid {
            let why = "a replay that names them is not done yet: wait until it is, or stop it, and erase then";
            return Err(StoreError::Conflict(why.to_owned()));
        }
        Ok(())
    }

    /// Masks what lies in memory. Returns how many texts that were.
    pub(super) fn mask_memory(&self, walk: &Walk) -> u64 {
        let mask = |of: Option<u64>, text: &str| change(&walk.whom, &walk.gone, of, text);
        let mut texts = 0;
        for id in self.destination_ids() {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            let masked = queue.mask_texts(&mask);
            if masked > 0 {
                texts += masked;
                destination.show(&queue);
                self.sources.send_if_modified(|sources| {
                    let known = sources.get(&id).cloned();
                    let differs = known.is_some_and(|known| known != *queue.state());
                    if differs {
                        std::sync::Arc::make_mut(sources).insert(id, queue.state().clone());
                    }
                    differs
                });
            }
        }
        texts += lock(&self.outcomes).mask_texts(&mask);
        for replay in lock(&self.replays).iter_mut() {
            if let Some(spec) = walk.whom.masked(&replay.spec) {
                replay.spec = spec;
                texts += 1;
            }
        }
        for (key, text) in lock(&self.memos).iter_mut() {
            if let Some(masked) = walk.whom.masked(text) {
                text.clone_from(&masked);
                self.index.update(vec![Update::Memo(key.clone(), masked)]);
                texts += 1;
            }
        }
        texts
    }

    /// The index has nothing of these events any more, and nothing in it names whom it is about. Its file is written anew where nothing of them is in
    /// flight, which would leave more behind, and has nothing of what was deleted before then.
    pub fn clean_index(&self, walk: &Walk, in_flight: u64) -> Result<u64, StoreError> {
        self.index.flush();
        let cleaned = self.index.clean(&walk.gone, &walk.whom, in_flight == 0);
        cleaned.map_err(|error| unreadable(error).into())
    }

    /// Copies of damaged segments, kept for who wants to know: one that names them is overwritten and goes. Returns which went.
    pub(super) fn remove_damaged_copies(&self, whom: &Whom) -> std::io::Result<Vec<String>> {
        let mut gone = Vec::new();
        for name in self.disk.list()?.into_iter().filter(|name| name.ends_with(".journal.damaged")) {
            let file = self.disk.open(&name)?;
            let length = file.length()?;
            if !whom.is_named_in(length, |bytes, at| file.read_at(bytes, at).map(drop))? {
                continue;
            }
            if !file.is_shared() {
                overwrite(length, |zeros, at| file.write_at(zeros, at))?;
                file.sync()?;
            }
            self.disk.remove(&name)?;
            gone.push(name);
        }
        if !gone.is_empty() {
            self.disk.sync_names()?;
        }
        Ok(gone)
    }
}
