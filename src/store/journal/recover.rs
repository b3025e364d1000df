//! Opening a journal: what is on the disk, what of it holds together, and where everything stands.
//!
//! Every group that is sound counts, wherever damage lies around it. A stretch without a sound group is a *torn tail* where nothing
//! says that it was ever synced, and *damage* where a later group's durable mark, or the sealing of the segment, says that it was.
//! A torn tail is the normal end of a crash. Damage is told, at this and every later start, and a copy of the segment is kept.
//!
//! Where the index has a checkpoint, only the segments from there on are read. What they say is applied to what the checkpoint
//! holds, whether or not it is in there already: every record sets a state, so reading it twice changes nothing. A checkpoint that
//! does not fit the journal (an index of another journal, an older or a newer one) is not used, and everything is read.

mod checkpoint;
mod found;
mod read;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use self::checkpoint::Checkpoint;
use self::found::Found;
use self::read::read;
use super::disk::Disk;
use super::format::HeaderError;
use super::index::Database;
use super::names::Names;
use super::queue::Queue;
use super::segments::{SegmentInfo, file_name};
use super::words::{Damage, TailRecord};
use crate::store::NameId;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another release wrote it.
    #[error("{file} cannot be read by this release")]
    Version {
        /// Which file.
        file: String,
        /// What it says.
        #[source]
        source: HeaderError,
    },
    /// The disk said no.
    #[error("the journal could not be opened")]
    Io(#[from] io::Error),
}

/// What opening found.
pub struct Recovered {
    /// All segments; the last one ends where its sound groups do.
    pub segments: Vec<SegmentInfo>,
    /// All names.
    pub names: Names,
    /// Queues of numbers that had no name, which have one now that says so.
    pub nameless: Vec<String>,
    /// The queues of all destinations that have one.
    pub queues: HashMap<NameId, Queue>,
    /// The number for the next event.
    pub next_sequence: u64,
    /// The number for the next group.
    pub next_group: u64,
    /// The journal's own number, if it has one yet.
    pub journal: Option<u64>,
    /// What lies past the last durable mark.
    pub tail: Vec<TailRecord>,
    /// The number of the first event among them, or of the next.
    pub tail_first: u64,
    /// Up to where the last segment was synced for sure.
    pub mark: u64,
    /// Damage, oldest first.
    pub damage: Vec<Damage>,
    /// Bytes of the torn tail, 0 when the journal ended cleanly.
    pub torn_bytes: u64,
    /// Files that are named like segments and are not part of the journal. They are left alone.
    pub strays: Vec<String>,
    /// Segments that had to be read.
    pub segments_read: usize,
    /// The index could not be written, so its checkpoints cannot be used.
    pub index_failed: bool,
}

/// Reads a journal, from the index's checkpoint on if it has one that fits.
pub fn recover(disk: &Arc<dyn Disk>, database: &mut Database) -> Result<Recovered, OpenError> {
    let Found { headers, mut strays } = Found::look(disk)?;
    if let Some(checkpoint) = Checkpoint::load(database, &headers) {
        let group = checkpoint.next_group;
        let (before, known): (Vec<_>, Vec<_>) =
            headers.iter().cloned().partition(|found| checkpoint.is_older_than_known(found.segment));
        let recovered = read(disk, database, &known, Some(checkpoint))?;
        if recovered.next_group >= group {
            strays.extend(before.iter().map(|found| file_name(found.segment)));
            return Ok(Recovered { strays, ..recovered });
        }
        tracing::error!(
            "the index is newer than the journal, which has lost its end or was put back; the index is made again"
        );
    }
    let cleared = database.clear();
    let mut recovered = read(disk, database, &headers, None)?;
    // The numbers of events that are gone are given again: what the index says of their attempts is not about the new ones.
    let cleared = cleared.and_then(|()| database.forget_attempts_from(recovered.next_sequence));
    if let Err(error) = cleared {
        tracing::error!(%error, "the index could not be emptied");
        recovered.index_failed = true;
    }
    Ok(Recovered { strays, ..recovered })
}
