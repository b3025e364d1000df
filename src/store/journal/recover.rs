//! Opening a journal: what is on the disk, what of it holds together, and where everything stands.
//!
//! Every group that is sound counts, wherever damage lies around it. A stretch without a sound group is a *torn tail* where nothing
//! says that it was ever synced, and *damage* where a later group's durable mark, or the sealing of the segment, says that it was.
//! A torn tail is the normal end of a crash. Damage is told, at this and every later start, and a copy of the segment is kept.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format::{Control, EventHead, GROUP_HEAD, GroupHead, HeaderError, Record, SegmentHeader, records};
use super::queue::Queue;
use super::segments::{SegmentInfo, Window, file_name, next_group, segment_of};
use crate::store::{NameId, NameKind};

/// How much is read at once: record heads of a group of 64 events take a tenth of this, and bodies are passed over.
const READ_BYTES: usize = 64 << 10;

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

/// A stretch of a segment that was synced once and does not hold together now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Which bytes.
    pub bytes: Range<u64>,
}

/// A record of the last segment's unsynced end, to be written again into the next segment.
#[derive(Clone, Debug)]
pub enum Carried {
    /// An event with its body.
    Event(EventHead, Vec<u8>),
    /// Anything else.
    Other(Record),
}

/// What opening found.
pub struct Recovered {
    /// All segments; the last one ends where its sound groups do.
    pub segments: Vec<SegmentInfo>,
    /// All names.
    pub names: Vec<(NameKind, NameId, String)>,
    /// The queues of all destinations that have one.
    pub queues: HashMap<NameId, Queue>,
    /// The number for the next event.
    pub next_sequence: u64,
    /// The number for the next group.
    pub next_group: u64,
    /// The journal's own number, if it has one yet.
    pub journal: Option<u64>,
    /// What lies past the last durable mark.
    pub carried: Vec<Carried>,
    /// The number of the first carried event, or of the next.
    pub carried_first: u64,
    /// Up to where the last segment was synced for sure.
    pub mark: u64,
    /// Damage, oldest first.
    pub damage: Vec<Damage>,
    /// Bytes of the torn tail, 0 when the journal ended cleanly.
    pub torn_bytes: u64,
}

/// Reads a whole journal.
pub fn recover(disk: &Arc<dyn Disk>) -> Result<Recovered, OpenError> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|name| segment_of(name)).collect();
    numbers.sort_unstable();
    let mut state = State::default();
    let mut files = Vec::new();
    for segment in numbers {
        let file = disk.open(&file_name(segment))?;
        files.push((segment, read_header(segment, &file)?));
    }
    let count = files.len();
    for at in 0..count {
        let (segment, header) = &files[at];
        // One at a time: there may be more segments than file descriptors.
        let file = disk.open(&file_name(*segment))?;
        let sealed_at = files.get(at + 1).and_then(|(_, next)| next.as_ref()).and_then(|next| {
            // Said by the segment that took over; what lies beyond was moved there.
            (next.sealed_segment == *segment).then_some(next.sealed_at)
        });
        state.segment(*segment, header.as_ref(), &file, sealed_at, at + 1 == count)?;
    }
    Ok(state.finish())
}

/// The header of a segment, `None` when it is damaged.
fn read_header(segment: u64, file: &Arc<dyn DiskFile>) -> Result<Option<SegmentHeader>, OpenError> {
    let mut start = vec![0; 16];
    let read = file.read_at(&mut start, 0)?;
    let Ok(length) = SegmentHeader::length(&start[..read]) else { return Ok(None) };
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.segment == segment => Ok(Some(header)),
        Err(source @ HeaderError::UnknownVersion(_)) => Err(OpenError::Version { file: file_name(segment), source }),
        _ => Ok(None),
    }
}

#[derive(Default)]
struct State {
    segments: Vec<SegmentInfo>,
    names: BTreeMap<NameId, (NameKind, String)>,
    queues: HashMap<NameId, Queue>,
    next_sequence: u64,
    next_group: u64,
    journal: Option<u64>,
    carried: Vec<Carried>,
    carried_first: u64,
    mark: u64,
    damage: Vec<Damage>,
    torn_bytes: u64,
}

impl State {
    fn segment(
        &mut self,
        segment: u64,
        header: Option<&SegmentHeader>,
        file: &Arc<dyn DiskFile>,
        sealed_at: Option<u64>,
        is_last: bool,
    ) -> Result<(), OpenError> {
        let length = file.length()?;
        let end = sealed_at.map_or(length, |at| at.min(length));
        let start = match header {
            Some(header) => self.header(header),
            None => {
                self.damage.push(Damage { file: file_name(segment), bytes: 0..16 });
                0
            }
        };
        if let Some(missing) = sealed_at.filter(|at| *at > length) {
            self.damage.push(Damage { file: file_name(segment), bytes: length..missing });
        }
        if let Some(last) = self.segments.last()
            && last.segment + 1 != segment
        {
            self.damage.push(Damage { file: file_name(last.segment + 1), bytes: 0..0 });
        }
        let mut window = Window::new(READ_BYTES);
        let (groups, mark) =
            if is_last { find_groups(segment, file, start, end, &mut window)? } else { (Vec::new(), end) };
        let mut info =
            SegmentInfo { segment, first_sequence: self.next_sequence, start, end: start, index: Vec::new() };
        let mut found = groups.into_iter();
        let mut offset = start;
        if is_last {
            (self.mark, self.carried_first) = (mark, self.next_sequence);
        }
        loop {
            let next = if is_last { found.next() } else { next_group(file, segment, offset, end, &mut window)? };
            let Some((at, head)) = next else { break };
            if at > offset && offset < mark {
                self.damage.push(Damage { file: file_name(segment), bytes: offset..at });
            }
            offset = at + head.length();
            let is_past_mark = is_last && at >= mark;
            if is_past_mark && !bodies_are_sound(file, at, &head, &mut window)? {
                // Written and not synced: nobody was told that it is there.
                continue;
            }
            info.note(head.first_sequence, at);
            info.end = offset;
            self.next_group = self.next_group.max(head.group + 1);
            let heads = window.heads(file, at, &head)?.to_vec();
            let mut body_at = at + head.heads_end() as u64;
            for record in records(&heads) {
                if is_past_mark {
                    self.carry(&record, file, body_at)?;
                }
                if let Record::Event(event) = &record {
                    body_at += u64::from(event.body_bytes);
                }
                self.apply(record);
            }
        }
        if !is_last && offset < end {
            self.damage.push(Damage { file: file_name(segment), bytes: offset..end });
        }
        if is_last {
            self.torn_bytes = torn_bytes(file, info.end, end)?;
        }
        self.segments.push(info);
        Ok(())
    }

    fn header(&mut self, header: &SegmentHeader) -> u64 {
        self.journal.get_or_insert(header.journal);
        self.next_sequence = self.next_sequence.max(header.first_sequence);
        self.next_group = self.next_group.max(header.first_group);
        for (kind, id, name) in &header.names {
            self.names.insert(*id, (*kind, name.clone()));
        }
        for (destination, pause) in &header.pauses {
            self.queue(*destination).pause(pause.clone());
        }
        header.encode().len() as u64
    }

    fn queue(&mut self, destination: NameId) -> &mut Queue {
        self.queues.entry(destination).or_insert_with(|| Queue::new(destination))
    }

    fn carry(&mut self, record: &Record, file: &Arc<dyn DiskFile>, body_at: u64) -> Result<(), OpenError> {
        let carried = match record {
            Record::Event(head) => {
                let mut body = vec![0; head.body_bytes as usize];
                file.read_at(&mut body, body_at)?;
                Carried::Event(head.clone(), body)
            }
            other => Carried::Other(other.clone()),
        };
        self.carried.push(carried);
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Event(event) => {
                let sequence = event.id.sequence();
                self.next_sequence = self.next_sequence.max(sequence + 1);
                if self.carried.is_empty() {
                    self.carried_first = self.next_sequence;
                }
                for delivery in &event.deliveries {
                    self.queue(delivery.destination).add(sequence);
                }
            }
            Record::Outcomes(outcomes) => {
                for outcome in outcomes {
                    self.queue(outcome.key.destination).replay(outcome.key.sequence, outcome.attempts, &outcome.state);
                }
            }
            Record::Name(kind, id, name) => drop(self.names.insert(id, (kind, name))),
            Record::Control(Control::Pause(destination, pause)) => drop(self.queue(destination).pause(pause)),
            Record::Control(Control::Resume { destination, at_ms }) => drop(self.queue(destination).resume(at_ms)),
        }
    }

    fn finish(mut self) -> Recovered {
        self.queues.values_mut().for_each(Queue::finish_replay);
        Recovered {
            segments: self.segments,
            names: self.names.into_iter().map(|(id, (kind, name))| (kind, id, name)).collect(),
            queues: self.queues,
            next_sequence: self.next_sequence,
            next_group: self.next_group,
            journal: self.journal,
            carried: self.carried,
            carried_first: self.carried_first,
            mark: self.mark,
            damage: self.damage,
            torn_bytes: self.torn_bytes,
        }
    }
}

type Groups = (Vec<(u64, GroupHead)>, u64);

/// All sound groups of the last segment, and its last durable mark: what lies before it was synced.
fn find_groups(
    segment: u64,
    file: &Arc<dyn DiskFile>,
    start: u64,
    end: u64,
    window: &mut Window,
) -> Result<Groups, OpenError> {
    let (mut groups, mut mark, mut offset) = (Vec::new(), start, start);
    while let Some((at, head)) = next_group(file, segment, offset, end, window)? {
        mark = mark.max(head.durable_up_to.min(at));
        offset = at + head.length();
        groups.push((at, head));
    }
    Ok((groups, mark))
}

fn bodies_are_sound(file: &Arc<dyn DiskFile>, at: u64, head: &GroupHead, window: &mut Window) -> io::Result<bool> {
    let heads = window.heads(file, at, head)?.to_vec();
    let mut body_at = at + head.heads_end() as u64;
    for record in records(&heads) {
        if let Record::Event(event) = record {
            let mut body = vec![0; event.body_bytes as usize];
            if file.read_at(&mut body, body_at)? != body.len() || crc32c::crc32c(&body) != event.body_crc {
                return Ok(false);
            }
            body_at += u64::from(event.body_bytes);
        }
    }
    Ok(true)
}

/// How many bytes after the last sound group are not zero: up to the last such byte.
fn torn_bytes(file: &Arc<dyn DiskFile>, from: u64, end: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 256 << 10];
    let (mut offset, mut torn) = (from, 0);
    while offset < end {
        let read = file.read_at(&mut chunk, offset)?;
        if read == 0 {
            break;
        }
        let within = (end - offset).min(read as u64) as usize;
        if let Some(last) = chunk[..within].iter().rposition(|byte| *byte != 0) {
            torn = offset + last as u64 + 1 - from;
        }
        offset += read as u64;
    }
    Ok(torn)
}

const _: () = assert!(GROUP_HEAD < READ_BYTES, "a window must hold a group's head");
