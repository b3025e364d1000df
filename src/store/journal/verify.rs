//! Reading a whole store to see whether it holds together: every CRC, and the index against the journal.

use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, RealDisk};
use super::index::{Database, META_GROUP, META_JOURNAL};
use super::recover::{OpenError, Recovered, recover};
use super::segments::{Segments, Window, events_in};
use super::words::ReadError;

/// Dead letters that are compared in one go: each has a reason.
const COMPARED_AT_ONCE: usize = 4096;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub segments: usize,
    /// Groups whose CRC is right.
    pub groups: u64,
    /// Events whose body's CRC is right.
    pub events: u64,
    /// Events that were relocated from segments that are gone, right as well.
    pub relocated: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of a group that was being written when the process ended. Nobody was told that it was there.
    pub torn_bytes: u64,
    /// Deliveries that wait, by the journal.
    pub backlog: u64,
    /// Dead letters, by the journal.
    pub dead: u64,
    /// Everything that is wrong, in sentences.
    pub problems: Vec<String>,
}

/// Reads the store in a data directory that no relay is using. Changes nothing. `progress` is told the share read so far.
pub fn verify(data_dir: &Path, progress: &mut dyn FnMut(f64)) -> Result<Verified, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&data_dir.join("journal"))?);
    verify_disk(disk, &data_dir.join("state.db"), progress)
}

/// The same for a journal on any disk, whose index is at `index`.
pub fn verify_disk(disk: Arc<dyn Disk>, index: &Path, progress: &mut dyn FnMut(f64)) -> Result<Verified, OpenError> {
    let other = |error: rusqlite::Error| OpenError::Io(std::io::Error::other(error.to_string()));
    // Into an index of its own: what the journal says by itself.
    let mut fresh = Database::open(None).map_err(other)?;
    let Recovered { state, opened, .. } = recover(&disk, &mut fresh)?;
    let mut verified = Verified {
        segments: opened.segments,
        torn_bytes: opened.torn_bytes,
        backlog: opened.backlog,
        dead: state.queues.values().map(|queue| queue.dead().len()).sum(),
        ..Verified::default()
    };
    for damage in &opened.damage {
        let start = damage.bytes.start;
        let end = damage.bytes.end;
        verified.problems.push(format!("{}: bytes {start} to {end} do not hold together", damage.file));
    }
    for stray in &opened.strays {
        verified.problems.push(format!("{stray} is not part of the journal and is not read"));
    }
    let segments = Segments::new(disk, state.segments);
    verified.bytes = segments.bytes();
    check_bodies(&segments, &mut verified, progress)?;
    for (id, queue) in &state.queues {
        for sequence in queue.waiting().iter_from(0).chain(queue.dead().iter_from(0)).chain(queue.all_held()) {
            let is_there =
                sequence >= segments.history_start() || fresh.place(sequence).is_ok_and(|place| place.is_some());
            if !is_there {
                verified
                    .problems
                    .push(format!("event {sequence} is still needed by destination {} and is not there", id.0));
            }
        }
    }
    let said = Said { fresh: &fresh, queues: &state.queues, journal: state.number, next_group: state.next_group };
    compare(index, &said, &mut verified);
    Ok(verified)
}

fn check_bodies(segments: &Segments, verified: &mut Verified, progress: &mut dyn FnMut(f64)) -> Result<(), OpenError> {
    let Some(mut scan) = segments.scan_all() else { return Ok(()) };
    let mut window = Window::new(1 << 20);
    let mut bytes = 0;
    while let Some(group) = scan.next_group(&mut window)? {
        verified.groups += 1;
        bytes += group.head.length();
        if verified.groups.is_multiple_of(256) {
            progress(bytes as f64 / verified.bytes.max(1) as f64);
        }
        let heads: Vec<_> = events_in(window.heads(&group.file, group.offset, &group.head)?).collect();
        for (head, body_offset, is_relocated) in heads {
            let id = head.id;
            match window.read_body(&group, head, body_offset) {
                Ok(_) if is_relocated => verified.relocated += 1,
                Ok(_) => verified.events += 1,
                Err(ReadError::Io(error)) => return Err(error.into()),
                Err(error) => verified.problems.push(format!("event {id} in segment {}: {error}", group.segment)),
            }
        }
    }
    progress(1.0);
    Ok(())
}

/// What the journal says.
struct Said<'s> {
    fresh: &'s Database,
    queues: &'s std::collections::HashMap<crate::store::NameId, super::queue::Queue>,
    journal: Option<u64>,
    next_group: u64,
}

/// What the index says against what the journal says. The index may be behind, which is no fault: it is made up for at the start.
fn compare(path: &Path, said: &Said<'_>, verified: &mut Verified) {
    let Said { fresh, queues, journal, next_group } = *said;
    if !path.exists() {
        verified.problems.push("there is no index (state.db): the next start makes it from the journal".to_owned());
        return;
    }
    let index = match Database::open_to_read(path) {
        Ok(index) => index,
        Err(error) => {
            verified.problems.push(format!("the index (state.db) cannot be read: {error}"));
            return;
        }
    };
    match index.check() {
        Ok(faults) => verified.problems.extend(faults.into_iter().map(|fault| format!("state.db: {fault}"))),
        Err(error) => verified.problems.push(format!("state.db: {error}")),
    }
    if let (Ok(Some(known)), Some(journal)) = (index.meta(META_JOURNAL), journal)
        && known != journal
    {
        verified.problems.push("state.db belongs to another journal".to_owned());
        return;
    }
    if index.meta(META_GROUP).is_ok_and(|known| known.is_some_and(|known| known > next_group)) {
        verified.problems.push(
            "state.db is newer than the journal, which has lost its end or was put back: what was there is lost"
                .to_owned(),
        );
        return;
    }
    for (id, queue) in queues {
        let dead: Vec<u64> = queue.dead().iter_from(0).collect();
        for some in dead.chunks(COMPARED_AT_ONCE) {
            let letters = |database: &Database| database.dead_letters(*id, some.iter().copied());
            let (known, said) = match (letters(&index), letters(fresh)) {
                (Ok(known), Ok(said)) => (known, said),
                (Err(error), _) | (_, Err(error)) => {
                    let problem = format!("state.db: dead letters of destination {} cannot be read: {error}", id.0);
                    verified.problems.push(problem);
                    continue;
                }
            };
            let differs = |sequence: &&u64| match (known.get(sequence), said.get(sequence)) {
                (Some(known), Some(said)) => (known.at_ms, &known.reason) != (said.at_ms, &said.reason),
                // Without a row the index is only behind; with another one than the journal's it is wrong.
                _ => false,
            };
            let problem = |sequence| format!("state.db: the dead letter {sequence} of destination {} differs", id.0);
            verified.problems.extend(some.iter().filter(differs).map(problem));
        }
    }
}
