//! Reading a whole store to see whether it holds together: every CRC, and the index against the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, RealDisk};
use super::format::erased_body;
use super::index::{Database, META_GROUP, META_JOURNAL, META_LANES, META_SEGMENT};
use super::recover::{OpenError, Recovered, by_index, recover};
use super::segments::{Segments, Window, events_in};
use super::words::ReadError;
use crate::store::queues::{Bitmap, Queue};
use crate::store::{DigestId, GroupKey, NameId};

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
    /// Events whose bodies were erased, relocated ones among them, of which nothing is left.
    pub erased: u64,
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
    let segments = Segments::new(disk.clone(), state.segments);
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
    let said = Said {
        disk: &disk,
        fresh: &fresh,
        queues: &state.queues,
        journal: state.number,
        next_group: state.next_group,
        is_whole: opened.damage.is_empty(),
    };
    compare(index, &said, &mut verified)?;
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
            if head.is_erased {
                match window.read_bytes(&group, &head, body_offset) {
                    Ok(bytes) if bytes == erased_body(bytes.len()) => verified.erased += 1,
                    Ok(_) => {
                        let problem =
                            format!("event {id} in segment {}: it was erased, and its body is there", group.segment);
                        verified.problems.push(problem);
                    }
                    Err(ReadError::Io(error)) => return Err(error.into()),
                    Err(error) => verified.problems.push(format!("event {id} in segment {}: {error}", group.segment)),
                }
                continue;
            }
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
    disk: &'s Arc<dyn Disk>,
    fresh: &'s Database,
    queues: &'s HashMap<NameId, Queue>,
    journal: Option<u64>,
    next_group: u64,
    /// Nothing of it is lost, which the index may know still.
    is_whole: bool,
}

/// What the index says against what the journal says. The index may be behind, which is no fault: it is made up for at the start.
fn compare(path: &Path, said: &Said<'_>, verified: &mut Verified) -> Result<(), OpenError> {
    let Said { disk, fresh, queues, journal, next_group, is_whole } = *said;
    if !path.exists() {
        verified.problems.push("there is no index (state.db): the next start makes it from the journal".to_owned());
        return Ok(());
    }
    let mut index = match Database::open_to_read(path) {
        Ok(index) => index,
        Err(error) => {
            verified.problems.push(format!("the index (state.db) cannot be read: {error}"));
            return Ok(());
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
        return Ok(());
    }
    if index.meta(META_GROUP).is_ok_and(|known| known.is_some_and(|known| known > next_group)) {
        verified.problems.push(
            "state.db is newer than the journal, which has lost its end or was put back: what was there is lost"
                .to_owned(),
        );
        return Ok(());
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
    if is_whole {
        compare_lanes(disk, &mut index, queues, verified)?;
    }
    Ok(())
}

/// What of a queue's windows and digests must be the same wherever it is read. Times are not: a start moves them on by what did not count.
#[derive(Default, PartialEq)]
struct Gathered<'q> {
    /// Their addresses, and how many passed.
    windows: BTreeMap<GroupKey, (u64, u32)>,
    digests: BTreeMap<DigestId, (u16, &'q str, &'q Bitmap)>,
}

impl<'q> Gathered<'q> {
    fn of(queue: Option<&'q Queue>) -> Self {
        let Some(queue) = queue else { return Self::default() };
        let windows = queue.heads().map(|head| (head.key, (head.address, head.passed)));
        let digests = queue.all_digests().map(|(id, digest)| (id, (digest.attempts, &*digest.reason, &digest.members)));
        Self { windows: windows.collect(), digests: digests.collect() }
    }
}

/// The windows and digests that a start by the index would find, against those of the journal.
fn compare_lanes(
    disk: &Arc<dyn Disk>,
    index: &mut Database,
    queues: &HashMap<NameId, Queue>,
    verified: &mut Verified,
) -> Result<(), OpenError> {
    let checkpoint = |key| index.meta(key).ok().flatten();
    if checkpoint(META_LANES).is_some_and(|of| Some(of) == checkpoint(META_SEGMENT))
        && let Err(error) = index.load_lanes(&mut HashMap::new())
    {
        verified.problems.push(format!("state.db: windows and digests cannot be read: {error}"));
        return Ok(());
    }
    let mut scratch = Database::open(None).map_err(|error| OpenError::Io(std::io::Error::other(error.to_string())))?;
    let Some(known) = by_index(disk, index, &mut scratch)? else { return Ok(()) };
    let ids: BTreeSet<NameId> = known.queues.keys().chain(queues.keys()).copied().collect();
    for id in ids {
        let (known, said) = (Gathered::of(known.queues.get(&id)), Gathered::of(queues.get(&id)));
        if known.windows != said.windows {
            verified.problems.push(format!("state.db: the windows of destination {} differ", id.0));
        }
        let digests: BTreeSet<&DigestId> = known.digests.keys().chain(said.digests.keys()).collect();
        for digest in digests.into_iter().filter(|digest| known.digests.get(digest) != said.digests.get(digest)) {
            verified.problems.push(format!("state.db: the digest {} of destination {} differs", digest.0, id.0));
        }
    }
    Ok(())
}
