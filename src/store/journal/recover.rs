//! Opening a journal: what is on the disk, what of it holds together, and where everything stands.
//!
//! [`found`]: the files. [`checkpoint`]: what the index knew. [`mod@read`]: group after group, from there on.
//!
//! Every group that is sound counts, wherever damage lies around it. A range without a sound group is a *torn tail* where nothing
//! says that it was ever synced, and *damage* where a later group's durable mark, or the sealing of the segment, says that it was.
//! A torn tail is the normal end of a crash. Damage is told, at this and every later start, and a copy of the segment is kept.
//!
//! Where the index has a checkpoint, only the segments from there on are read. What they say is applied to what the checkpoint
//! holds, whether or not it is in there already: every record sets a state, so reading it twice changes nothing. A checkpoint that
//! does not fit the journal (an index of another journal, an older or a newer one) is not used, and everything is read.

mod checkpoint;
mod found;
mod read;

use std::io;
use std::sync::Arc;

use self::checkpoint::Checkpoint;
use self::found::Found;
use self::read::read;
use super::disk::Disk;
use super::format::HeaderError;
use super::index::Database;
use super::segment_name::file_name;
use super::state::{OldEnd, State};
use super::words::Damage;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another release wrote it.
    #[error("{file} cannot be read by this release")]
    Version {
        file: String,
        #[source]
        source: HeaderError,
    },
    #[error("the journal could not be opened")]
    Io(#[from] io::Error),
}

/// What opening found, for the log.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Deliveries that wait, in all destinations together.
    pub backlog: u64,
    /// Ranges that were synced once and do not hold together now.
    pub damage: Vec<Damage>,
    /// Bytes of a group that was being written when the last process ended; nobody was told that it is there.
    pub torn_bytes: u64,
    /// Files that are named like segments and are not part of the journal. They are left alone.
    pub strays: Vec<String>,
    /// Queues of numbers that have no name, which have one now that says so.
    pub nameless: Vec<String>,
    pub segments: usize,
    /// Segments that had to be read: the others are known from the index.
    pub segments_read: usize,
}

/// What recovery comes to.
pub struct Recovered {
    pub state: State,
    pub old_end: OldEnd,
    pub opened: Opened,
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
        let mut recovered = read(disk, database, &known, Some(checkpoint))?;
        if recovered.state.next_group >= group && !recovered.state.knows_more_events() {
            // The numbers of events that are gone are given again, also where nothing but the index's rows is newer than the journal.
            if let Err(error) = database.forget_events_from(recovered.state.next_sequence) {
                tracing::error!(%error, "the index cannot be written; what it says of lost events may be shown for others");
                recovered.index_failed = true;
            }
            strays.extend(before.iter().map(|found| file_name(found.segment)));
            recovered.opened.strays = strays;
            return Ok(recovered);
        }
        tracing::error!(
            "the index is newer than the journal, which has lost its end or was put back; the index is made again"
        );
    }
    let cleared = database.clear();
    let mut recovered = read(disk, database, &headers, None)?;
    // The numbers of events that are gone are given again: what the index says of their attempts is not about the new ones.
    let cleared = cleared.and_then(|()| database.forget_events_from(recovered.state.next_sequence));
    if let Err(error) = cleared {
        tracing::error!(%error, "the index could not be emptied");
        recovered.index_failed = true;
    }
    recovered.opened.strays = strays;
    Ok(recovered)
}

/// Where a start by an index finds everything; `None` where it reads the whole journal instead. The index is only looked into: what else is
/// read is noted in `scratch`.
pub fn by_index(
    disk: &Arc<dyn Disk>,
    index: &mut Database,
    scratch: &mut Database,
) -> Result<Option<State>, OpenError> {
    let Found { mut headers, .. } = Found::look(disk)?;
    let Some(checkpoint) = Checkpoint::load(index, &headers) else { return Ok(None) };
    headers.retain(|found| !checkpoint.is_older_than_known(found.segment));
    Ok(Some(read(disk, scratch, &headers, Some(checkpoint))?.state))
}
