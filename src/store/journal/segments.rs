//! The segments on disk and how to read them: from an event's number to its bytes, and group after group.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::bitmap::Bitmap;
use super::disk::{Disk, DiskFile};
use super::format::{
    ALIGN, EventHead, GROUP_HEAD, GroupHead, HEADS_MAX, OutcomeRecord, Record, SEGMENT_MAX, SelectionRecord, records,
};
use crate::store::{NameId, ReadError, Selecting, StoredEvent};

/// An entry of the sparse index stands for this many bytes of journal at least: a segment needs some thousand entries, so a
/// journal of ten million events is indexed in a few megabytes.
const INDEX_STEP: u64 = 32 << 10;
/// Segments kept open for reading. There may be hundreds, and file descriptors are few.
const OPEN_MAX: usize = 8;

/// The file name of a segment.
pub fn file_name(segment: u64) -> String {
    format!("{segment:010}.journal")
}

/// The segment that a file name names: exactly what [`file_name`] makes of a number that a segment may have.
pub fn segment_of(name: &str) -> Option<u64> {
    let segment = name.strip_suffix(".journal")?.parse().ok()?;
    (segment <= SEGMENT_MAX && file_name(segment) == name).then_some(segment)
}

/// The name that a segment has until it is complete.
pub fn unfinished(segment: u64) -> String {
    format!("{}.tmp", file_name(segment))
}

/// Whether a file is a segment that was never completed.
pub fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| segment_of(name).is_some())
}

/// Where a segment lies among the others.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    /// Its number.
    pub segment: u64,
    /// The sequence number its first event has or would have.
    pub first_sequence: u64,
    /// Where its first group begins.
    pub start: u64,
    /// Where its last group ends.
    pub end: u64,
    /// When it was made, by the wall clock, unix milliseconds.
    pub created_ms: u64,
    /// How long the store had run then, milliseconds.
    pub made_ms: u64,
    /// The lowest and the highest number that an outcome in it speaks of.
    pub outcomes: Option<(u64, u64)>,
    /// The same for acts that change what a delivery came to: redelivered, dropped, moved.
    pub acts: Option<(u64, u64)>,
    /// The numbers of all names that events in it refer to.
    pub names: Bitmap,
    /// Some groups: the number of their first event, and their offset.
    pub index: Vec<(u64, u64)>,
}

impl SegmentInfo {
    /// A segment that nothing has been written to.
    pub fn empty(segment: u64, first_sequence: u64, start: u64, created_ms: u64) -> Self {
        Self {
            segment,
            first_sequence,
            start,
            end: start,
            created_ms,
            made_ms: 0,
            outcomes: None,
            acts: None,
            names: Bitmap::default(),
            index: Vec::new(),
        }
    }

    /// Takes note of the names that events refer to.
    pub fn note_names<'e>(&mut self, heads: impl IntoIterator<Item = &'e EventHead>) {
        let mut last: Option<&EventHead> = None;
        for head in heads {
            self.names.insert(head.source.0.into());
            // Under load most events are like the one before, and one may match ten thousand rules.
            if last.is_none_or(|last| last.rules != head.rules) {
                for rule in &head.rules {
                    self.names.insert(rule.0.into());
                }
            }
            if last.is_none_or(|last| last.deliveries != head.deliveries) {
                for delivery in &head.deliveries {
                    self.names.insert(delivery.destination.0.into());
                    self.names.insert(delivery.rule.0.into());
                }
            }
            last = Some(head);
        }
    }

    /// Takes note of outcomes that are in it.
    pub fn note_outcomes<'a>(&mut self, outcomes: impl IntoIterator<Item = &'a OutcomeRecord>) {
        for outcome in outcomes {
            widen(&mut self.outcomes, outcome.key.sequence);
        }
    }

    /// Takes note of an act on deliveries that is in it. A dead letter is known as one without being looked for.
    pub fn note_selection(&mut self, selection: &SelectionRecord) {
        if let Selecting::Move(to) | Selecting::Yield(to) = selection.act
            && to != NameId::NONE
        {
            self.names.insert(to.0.into());
        }
        if selection.act != Selecting::Bury {
            [selection.sequences.next(0), selection.sequences.previous(u64::MAX)]
                .into_iter()
                .flatten()
                .for_each(|sequence| widen(&mut self.acts, sequence));
        }
    }

    /// Takes note of a group, in order.
    pub fn note(&mut self, first_sequence: u64, offset: u64) {
        if self.index.last().is_none_or(|(_, last)| offset - last >= INDEX_STEP) {
            self.index.push((first_sequence, offset));
        }
    }
}

fn widen(range: &mut Option<(u64, u64)>, sequence: u64) {
    let (low, high) = range.unwrap_or((sequence, sequence));
    *range = Some((low.min(sequence), high.max(sequence)));
}

/// All segments, oldest first.
pub struct Segments {
    disk: Arc<dyn Disk>,
    list: RwLock<Vec<SegmentInfo>>,
    open: Mutex<VecDeque<(u64, Arc<dyn DiskFile>)>>,
}

impl Segments {
    pub fn new(disk: Arc<dyn Disk>, list: Vec<SegmentInfo>) -> Self {
        Self { disk, list: RwLock::new(list), open: Mutex::new(VecDeque::new()) }
    }

    /// Adds a segment behind the others.
    pub fn push(&self, info: SegmentInfo) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(info);
    }

    /// Changes the newest segment.
    pub fn update_last(&self, change: impl FnOnce(&mut SegmentInfo)) {
        if let Some(last) = self.list.write().unwrap_or_else(PoisonError::into_inner).last_mut() {
            change(last);
        }
    }

    /// Says where the newest segment ends for good.
    pub fn seal_last(&self, end: u64) {
        self.update_last(|info| {
            info.end = end.max(info.start);
            info.index.retain(|(_, offset)| *offset < end);
        });
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.with(|list| list.iter().map(|info| info.end).sum())
    }

    /// Those with numbers in a range, with all that is known of them.
    pub fn between(&self, numbers: Range<u64>) -> Vec<SegmentInfo> {
        self.with(|list| list.iter().filter(|info| numbers.contains(&info.segment)).cloned().collect())
    }

    /// All of them, without the places of their groups, which are most of it.
    pub fn outline(&self) -> Vec<SegmentInfo> {
        let plain = |info: &SegmentInfo| SegmentInfo {
            segment: info.segment,
            first_sequence: info.first_sequence,
            start: info.start,
            end: info.end,
            created_ms: info.created_ms,
            made_ms: info.made_ms,
            outcomes: info.outcomes,
            acts: info.acts,
            names: Bitmap::default(),
            index: Vec::new(),
        };
        self.with(|list| list.iter().map(plain).collect())
    }

    /// Adds the numbers of all names that events refer to.
    pub fn add_names_to(&self, names: &mut Bitmap) {
        self.with(|list| list.iter().for_each(|info| names.insert_all(&info.names)));
    }

    /// The oldest number that is found by arithmetic; what is older was carried.
    pub fn history_start(&self) -> u64 {
        self.with(|list| list.first().map_or(0, |info| info.first_sequence))
    }

    /// The number of the segment that is written to.
    pub fn newest(&self) -> u64 {
        self.with(|list| list.last().map_or(0, |info| info.segment))
    }

    /// Bytes from the event on to the journal's end: what it keeps from being trimmed.
    pub fn bytes_from(&self, sequence: u64) -> u64 {
        self.with(|list| {
            let after = list.partition_point(|info| info.first_sequence <= sequence);
            let Some(at) = after.checked_sub(1) else { return 0 };
            let info = &list[at];
            let entry = info.index.partition_point(|(first, _)| *first <= sequence).checked_sub(1);
            let offset = entry.map_or(info.start, |entry| info.index[entry].1);
            info.end.saturating_sub(offset) + list[after..].iter().map(|info| info.end).sum::<u64>()
        })
    }

    /// Forgets the oldest segment; its file is the caller's to remove.
    pub fn forget(&self, segment: u64) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).retain(|info| info.segment != segment);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != segment);
    }

    fn with<T>(&self, look: impl FnOnce(&[SegmentInfo]) -> T) -> T {
        look(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn file(&self, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| *known == segment) {
            let entry = open.remove(at).expect("the position was just found");
            open.push_back(entry.clone());
            return Ok(entry.1);
        }
        let file = self.disk.open(&file_name(segment))?;
        open.push_back((segment, file.clone()));
        if open.len() > OPEN_MAX {
            open.pop_front();
        }
        Ok(file)
    }

    /// Reads one event by its number. Who lags reads one after the other, so the group of the last one is at hand.
    pub fn read(&self, sequence: u64, window: &mut Window) -> Result<StoredEvent, ReadError> {
        if let Some(found) = window.read_from_group(sequence) {
            return found;
        }
        let mut scan = self.scan_from(sequence).ok_or(ReadError::Missing)?;
        while let Some(group) = scan.next_group(window)? {
            if sequence < group.head.first_sequence {
                return Err(ReadError::Damaged("its group is gone".to_owned()));
            }
            if sequence >= group.head.first_sequence + u64::from(group.head.events) {
                continue;
            }
            window.take_group(group)?;
            return window.read_from_group(sequence).unwrap_or_else(not_there);
        }
        Err(ReadError::Missing)
    }

    /// The numbers of the events that count on in a segment, with the bytes of their bodies.
    pub fn bodies_in(&self, info: &SegmentInfo) -> io::Result<Vec<(u64, u64)>> {
        let file = self.file(info.segment)?;
        let (mut window, mut offset, mut bodies) = (Window::new(64 << 10), info.start, Vec::new());
        while let Some((at, head)) = next_group(&file, info.segment, offset, info.end, &mut window)? {
            offset = at + head.length();
            for (event, _, is_carried) in events_in(window.heads(&file, at, &head)?) {
                if !is_carried {
                    bodies.push((event.id.sequence(), u64::from(event.body_bytes)));
                }
            }
        }
        Ok(bodies)
    }

    /// Reads an event that was carried, from the group that holds it.
    pub fn read_carried(&self, sequence: u64, place: Place, window: &mut Window) -> Result<StoredEvent, ReadError> {
        if window.group.as_ref().is_none_or(|known| known.place() != place) {
            let end = self.with(|list| list.iter().find(|info| info.segment == place.segment).map(|info| info.end));
            let file = self.file(place.segment)?;
            let end = end.ok_or(ReadError::Missing)?;
            let Some(head) = group_at(&file, place.segment, place.offset, end, window)? else {
                return Err(ReadError::Damaged("its group is gone".to_owned()));
            };
            window.take_group(FoundGroup { file, segment: place.segment, offset: place.offset, head })?;
        }
        window.read_from_group(sequence).unwrap_or_else(not_there)
    }

    /// Goes through the groups from the one that may hold an event on.
    pub fn scan_from(&self, sequence: u64) -> Option<Scan<'_>> {
        self.with(|list| {
            let at = list.partition_point(|info| info.first_sequence <= sequence).checked_sub(1)?;
            let info = &list[at];
            let entry = info.index.partition_point(|(first, _)| *first <= sequence).checked_sub(1);
            let offset = entry.map_or(info.start, |entry| info.index[entry].1);
            Some(Scan { segments: self, segment: info.segment, offset, end: info.end, is_done: false })
        })
    }

    /// Goes through the groups from one on.
    pub fn scan_at(&self, place: Place) -> Option<Scan<'_>> {
        self.with(|list| {
            let info = list.iter().find(|info| info.segment == place.segment)?;
            Some(Scan { segments: self, segment: info.segment, offset: place.offset, end: info.end, is_done: false })
        })
    }

    /// Goes through all groups there are.
    pub fn scan_all(&self) -> Option<Scan<'_>> {
        self.with(|list| {
            let info = list.first()?;
            Some(Scan { segments: self, segment: info.segment, offset: info.start, end: info.end, is_done: false })
        })
    }

    /// The segment behind another.
    fn after(&self, segment: u64) -> Option<(u64, u64, u64)> {
        self.with(|list| {
            let next = list.iter().find(|info| info.segment > segment)?;
            Some((next.segment, next.start, next.end))
        })
    }
}

/// Where a carried event lies: its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which segment.
    pub segment: u64,
    /// Where the group begins.
    pub offset: u64,
}

/// The events among a group's record heads, each with where its body begins among the bodies, and whether it was carried.
pub fn events_in(heads: &[u8]) -> impl Iterator<Item = (EventHead, u64, bool)> + '_ {
    let mut body_offset = 0;
    records(heads).filter_map(move |record| {
        let (head, is_carried) = match record {
            Record::Event(head) => (head, false),
            Record::Carried(head) => (head, true),
            _ => return None,
        };
        let at = body_offset;
        body_offset += u64::from(head.body_bytes);
        Some((head, at, is_carried))
    })
}

fn not_there() -> Result<StoredEvent, ReadError> {
    Err(ReadError::Damaged("its head is not where it should be".to_owned()))
}

/// Reads and checks the body of an event of a group.
pub fn read_body(
    group: &FoundGroup,
    event: EventHead,
    body_offset: u64,
    window: &Window,
) -> Result<StoredEvent, ReadError> {
    let mut body = vec![0; event.body_bytes as usize];
    let at = group.offset + group.head.heads_end() as u64 + body_offset;
    match window.peek(&group.file, at, body.len()) {
        Some(bytes) => body.copy_from_slice(bytes),
        None if group.file.read_at(&mut body, at)? == body.len() => {}
        None => return Err(ReadError::Damaged("its body is cut off".to_owned())),
    }
    if crc32c::crc32c(&body) != event.body_crc {
        return Err(ReadError::Damaged("its body is not what was written".to_owned()));
    }
    Ok(stored(event, body.into()))
}

/// An event's head and body, put together.
pub fn stored(head: EventHead, body: bytes::Bytes) -> StoredEvent {
    StoredEvent {
        id: head.id,
        received_ms: head.id.received_ms(),
        source: head.source,
        generation: head.generation,
        rules: head.rules,
        deliveries: head.deliveries,
        body,
    }
}

/// A group that was found.
pub struct FoundGroup {
    /// In which file.
    pub file: Arc<dyn DiskFile>,
    /// In which segment.
    pub segment: u64,
    /// Where.
    pub offset: u64,
    /// Its head, checked.
    pub head: GroupHead,
}

/// A walk over groups, across segments.
pub struct Scan<'s> {
    segments: &'s Segments,
    segment: u64,
    offset: u64,
    end: u64,
    is_done: bool,
}

impl Scan<'_> {
    /// Whether it begins at an older place than another.
    pub fn begins_before(&self, other: &Scan<'_>) -> bool {
        (self.segment, self.offset) < (other.segment, other.offset)
    }

    /// Passes over whole segments, from the one that comes next, of which `skips` says so.
    pub fn skip_segments(&mut self, skips: impl Fn(&SegmentInfo) -> bool) {
        let next = self.segments.with(|list| {
            let rest = list.iter().filter(|info| info.segment >= self.segment);
            rest.skip_while(|info| skips(info)).map(|info| (info.segment, info.start, info.end)).next()
        });
        match next {
            Some((segment, ..)) if segment == self.segment => {}
            Some((segment, start, end)) => (self.segment, self.offset, self.end) = (segment, start, end),
            None => self.is_done = true,
        }
    }

    /// The next sound group. Damaged stretches are passed over: they were told of when the journal was opened.
    pub fn next_group(&mut self, window: &mut Window) -> io::Result<Option<FoundGroup>> {
        while !self.is_done {
            let file = self.segments.file(self.segment)?;
            if let Some((offset, head)) = next_group(&file, self.segment, self.offset, self.end, window)? {
                self.offset = offset + head.length();
                return Ok(Some(FoundGroup { file, segment: self.segment, offset, head }));
            }
            match self.segments.after(self.segment) {
                Some((segment, start, end)) => (self.segment, self.offset, self.end) = (segment, start, end),
                None => self.is_done = true,
            }
        }
        Ok(None)
    }
}

/// Finds the first sound group of `segment` at or after `offset` that ends by `end`.
pub fn next_group(
    file: &Arc<dyn DiskFile>,
    segment: u64,
    mut offset: u64,
    end: u64,
    window: &mut Window,
) -> io::Result<Option<(u64, GroupHead)>> {
    while offset + GROUP_HEAD as u64 <= end {
        if let Some(head) = group_at(file, segment, offset, end, window)? {
            return Ok(Some((offset, head)));
        }
        offset = window.next_magic(file, offset + ALIGN as u64, end)?;
    }
    Ok(None)
}

fn group_at(
    file: &Arc<dyn DiskFile>,
    segment: u64,
    offset: u64,
    end: u64,
    window: &mut Window,
) -> io::Result<Option<GroupHead>> {
    let Some(start) = window.get(file, offset, GROUP_HEAD, end)? else { return Ok(None) };
    let Some(head) = GroupHead::peek(start, segment, offset) else { return Ok(None) };
    if head.heads_bytes as usize > HEADS_MAX || offset + head.length() > end {
        return Ok(None);
    }
    let heads = window.get(file, offset, head.heads_end(), end)?;
    Ok(heads.is_some_and(|heads| head.is_sound(heads)).then_some(head))
}

/// A stretch of one file, read ahead, so that small groups do not cost a read each.
pub struct Window {
    file: Option<Arc<dyn DiskFile>>,
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
    /// The last group of which an event was read: they are asked for one after the other.
    group: Option<ReadGroup>,
}

/// A group whose heads were read, with the place of each body.
struct ReadGroup {
    group: FoundGroup,
    events: HashMap<u64, (EventHead, u64)>,
}

impl ReadGroup {
    fn place(&self) -> Place {
        Place { segment: self.group.segment, offset: self.group.offset }
    }
}

impl Window {
    /// A window that reads this much at a time.
    pub fn new(read_bytes: usize) -> Self {
        Self { file: None, start: 0, bytes: Vec::new(), read_bytes, group: None }
    }

    /// Reads the heads of a group, to read events of it from there on.
    fn take_group(&mut self, group: FoundGroup) -> Result<(), ReadError> {
        let mut events = HashMap::new();
        for (event, body_offset, _) in events_in(self.heads(&group.file, group.offset, &group.head)?) {
            events.entry(event.id.sequence()).or_insert((event, body_offset));
        }
        self.group = Some(ReadGroup { group, events });
        Ok(())
    }

    /// An event of the last group, if it is in it.
    fn read_from_group(&self, sequence: u64) -> Option<Result<StoredEvent, ReadError>> {
        let ReadGroup { group, events } = self.group.as_ref()?;
        let (event, body_offset) = events.get(&sequence)?;
        Some(read_body(group, event.clone(), *body_offset, self))
    }

    fn peek(&self, file: &Arc<dyn DiskFile>, offset: u64, length: usize) -> Option<&[u8]> {
        let same = self.file.as_ref().is_some_and(|known| Arc::ptr_eq(known, file));
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        if same { self.bytes.get(from..from.checked_add(length)?) } else { None }
    }

    /// The bytes there, `None` if the file ends before. Nothing at or beyond `end` is kept: what is there now, behind the last
    /// group of the segment that is written to, is not what will be there later.
    fn get(&mut self, file: &Arc<dyn DiskFile>, offset: u64, length: usize, end: u64) -> io::Result<Option<&[u8]>> {
        if self.peek(file, offset, length).is_none() {
            let until_end = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(length.max(self.read_bytes).min(until_end), 0);
            // What a failed read leaves behind must not be taken for the file's.
            self.file = None;
            let read = file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            (self.file, self.start) = (Some(file.clone()), offset);
        }
        Ok(self.peek(file, offset, length))
    }

    /// The record heads of a group that was found; empty if the file has been cut since.
    pub fn heads(&mut self, file: &Arc<dyn DiskFile>, offset: u64, head: &GroupHead) -> io::Result<&[u8]> {
        let bytes = self.get(file, offset, head.heads_end(), offset + head.length())?;
        Ok(bytes.map(|bytes| &bytes[GROUP_HEAD..]).unwrap_or_default())
    }

    /// The next aligned offset where a group's magic stands; `end` when there is none.
    fn next_magic(&mut self, file: &Arc<dyn DiskFile>, from: u64, end: u64) -> io::Result<u64> {
        const CHUNK: usize = 256 << 10;
        let mut offset = from;
        let mut chunk = vec![0; CHUNK];
        while offset < end {
            let read = file.read_at(&mut chunk, offset)?;
            if read < ALIGN {
                break;
            }
            let found = chunk[..read].chunks_exact(ALIGN).position(|word| word.starts_with(b"VGRP"));
            if let Some(at) = found {
                return Ok((offset + (at * ALIGN) as u64).min(end));
            }
            offset += (read / ALIGN * ALIGN) as u64;
        }
        Ok(end)
    }
}
