//! The texts that quote whom an erasing is about: in memory, from where they are written down again and again, and in the index.
//!
//! What is said of a delivery of theirs goes wholly. Of other texts only what names them does: as many `*` as it has bytes.

use super::Walk;
use crate::store::journal::bitmap::Bitmap;
use crate::store::journal::disk::DiskFile;
use crate::store::journal::index::Update;
use crate::store::journal::words::unreadable;
use crate::store::journal::{Journal, lock};
use crate::store::{StoreError, Trace, Whom};

/// What is read at once of a file, and how much of it once more with the next piece: what is looked for is no longer.
const PIECE_BYTES: usize = 1 << 20;
const OVERLAP_BYTES: usize = 64 << 10;

/// What becomes of a text: of a delivery of one of these events, or of another.
pub fn change(whom: &Whom, hers: &Bitmap, of: Option<u64>, text: &str) -> Option<String> {
    let is_hers = of.is_some_and(|sequence| hers.contains(sequence));
    if !is_hers {
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
        let mask = |of: Option<u64>, text: &str| change(&walk.whom, &walk.hers, of, text);
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
        let cleaned = self.index.clean(&walk.hers, &walk.whom, in_flight == 0);
        cleaned.map_err(|error| unreadable(error).into())
    }

    /// Copies of damaged segments, kept for who wants to know: one that names them is overwritten and goes. Returns which went.
    pub(super) fn remove_damaged_copies(&self, whom: &Whom) -> std::io::Result<Vec<String>> {
        let mut gone = Vec::new();
        for name in self.disk.list()?.into_iter().filter(|name| name.ends_with(".journal.damaged")) {
            let file = self.disk.open(&name)?;
            if !holds(&*file, whom)? {
                continue;
            }
            let (length, zeros) = (file.length()?, vec![0; PIECE_BYTES]);
            if !file.is_shared() {
                for start in (0..length).step_by(PIECE_BYTES) {
                    file.write_at(&zeros[..(length - start).min(PIECE_BYTES as u64) as usize], start)?;
                }
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

    /// What of the index names somebody.
    pub fn traces(&self, whom: &Whom) -> Result<Vec<Trace>, StoreError> {
        self.index.flush();
        let found = self.index.traces(whom);
        found.map_err(|error| unreadable(error).into())
    }
}

/// Whether a file names somebody.
fn holds(file: &dyn DiskFile, whom: &Whom) -> std::io::Result<bool> {
    let mut bytes = vec![0; PIECE_BYTES + OVERLAP_BYTES];
    for start in (0..file.length()?).step_by(PIECE_BYTES) {
        let read = file.read_at(&mut bytes, start)?;
        if !(whom.found)(&bytes[..read]).is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
