//! Going on in a new segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use super::room::Failure;
use super::tail::{self, ranges, sequence, tail_bytes};
use super::{Active, Writer};
use crate::store::journal::disk::{DiskFile, is_full};
use crate::store::journal::format::{GroupBuilder, GroupPlace, HEADER_MAX, Record, SegmentHeader, VERSION_OF_LANES};
use crate::store::journal::index::Update;
use crate::store::journal::segment_name::{file_name, unfinished};
use crate::store::journal::segments::SegmentInfo;
use crate::store::journal::words::{Place, TailRecord};

/// The end of each segment, where no event goes: room for some thirty thousand outcomes while the disk is full.
const OUTCOMES_RESERVE: u64 = 1 << 20;
/// Events need this much above what must stay free: a segment worth beginning.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// On a disk with less room than a segment, smaller ones are tried, down to this beyond what is to be written at once: what is
/// relocated must find room where it will make some.
const SEGMENT_SPARE_MIN: u64 = 256 << 10;

impl Writer {
    /// Goes on in a new segment for events, which may not use up what must stay free for the rest.
    pub(super) fn roll_for_events(&mut self, needed: u64) -> Result<(), Failure> {
        if let Some(why) = self.journal.no_room_for(SEGMENT_BYTES_MIN.min(self.segment_bytes) + needed) {
            return Err(Failure::Full(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        self.roll(needed)
    }

    /// Seals the active segment and goes on in a new one with room for `needed` bytes, which is complete and synced before it
    /// gets its name.
    pub(super) fn roll(&mut self, needed: u64) -> Result<(), Failure> {
        if self.unsynced_since.is_some() {
            self.sync().map_err(Failure::Broken)?;
        }
        if let Some(active) = &self.active {
            self.position.sealed = (active.segment, active.offset);
        }
        // A name may be taken by what is no segment. The new header says which segment it follows, whatever their numbers.
        let is_taken = |segment| {
            self.journal.disk.is_taken(&file_name(segment)) || self.journal.disk.is_taken(&unfinished(segment))
        };
        while is_taken(self.position.next_segment) {
            self.position.next_segment += 1;
        }
        let segment = self.position.next_segment;
        let temporary = unfinished(segment);
        let name = file_name(segment);
        let made = self.make_segment(segment, &temporary, &name, needed);
        if made.is_err() {
            // Nothing of it counts without its name; leftovers are removed at the next start too.
            let _ = self.journal.disk.remove(&temporary);
        }
        let (active, info) = made?;
        if let Some(old) = self.active.replace(active) {
            // Only gives back what was set aside: the new header says where the old segment ends.
            let _ = old.file.set_len(old.offset);
        }
        self.journal.segments.seal_last(self.position.sealed.1);
        self.journal.segments.push(info);
        let has_tail = !std::mem::take(&mut self.position.tail).is_empty();
        self.position.next_segment += 1;
        self.unsynced_since = None;
        if has_tail && !self.journal.is_by_one_clock.load(Ordering::Acquire) {
            // It was stamped by another clock, and is read again at the next start if a checkpoint names its segment.
            return self.roll(needed);
        }
        self.journal.is_by_one_clock.store(true, Ordering::Release);
        Ok(())
    }

    /// Goes on in a new segment because somebody asks for it. Fails only where nothing is known any more.
    pub(super) fn seal(&mut self, reply: &SyncSender<io::Result<u64>>) -> io::Result<()> {
        let (answer, sealed) = match self.roll(0) {
            Ok(()) => (Ok(self.journal.segments.newest()), Ok(())),
            Err(Failure::Full(error)) => (Err(error), Ok(())),
            Err(Failure::Broken(error)) => (Err(io::Error::other(error.to_string())), Err(error)),
        };
        // Who asked may have gone.
        let _ = reply.send(answer);
        sealed
    }

    pub(super) fn make_segment(
        &mut self,
        segment: u64,
        temporary: &str,
        name: &str,
        needed: u64,
    ) -> Result<(Active, SegmentInfo), Failure> {
        let version = self.version();
        let header = SegmentHeader {
            version,
            segment,
            first_sequence: self.position.tail_first,
            first_group: self.position.next_group,
            journal: self.position.journal,
            created_ms: self.journal.clock.arrival_ms(),
            sealed_segment: self.position.sealed.0,
            sealed_at: self.position.sealed.1,
            names: self.journal.all_names(),
            states: self.journal.all_states(),
        };
        let created_ms = header.created_ms;
        let header = header.encode();
        if header.len() > HEADER_MAX {
            let why = format!(
                "the names of all rules, destinations and sources need {} bytes, and {HEADER_MAX} are the most in a segment",
                header.len()
            );
            return Err(Failure::Full(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        let start = header.len() as u64;
        let tail_bytes = tail_bytes(&self.position.tail);
        // Whatever kept the file from being made (no room, no file descriptors), nothing has been written, and it may pass.
        let (file, limit) = self.create(temporary, start + tail_bytes + needed).map_err(Failure::Full)?;
        file.write_at(&header, 0).map_err(Failure::of_write)?;
        let first_sequence = self.position.tail_first;
        let mut info = SegmentInfo::empty(segment, first_sequence, start, created_ms);
        info.made_ms = self.journal.lived.ran_ms();
        let mut places = Vec::new();
        let mut next = first_sequence;
        let mut group = self.position.next_group;
        let mut builder = GroupBuilder::default();
        let mut bytes = Vec::new();
        for range in ranges(&self.position.tail) {
            let first = range.iter().find_map(sequence).unwrap_or(next);
            for record in range {
                tail::add(&mut builder, record);
                match &record.record {
                    Record::Event(head) => {
                        next = head.id.sequence() + 1;
                        info.note_names([head]);
                    }
                    Record::Relocated(head) => {
                        let place = Place { segment, offset: info.end };
                        places.push((head.id.sequence(), place, u64::from(head.body_bytes)));
                        info.note_names([head]);
                    }
                    Record::Outcomes(outcomes) => info.note_outcomes(outcomes),
                    Record::Selection(selection) => info.note_selection(selection),
                    Record::Digest(digest) => info.note_digest(digest),
                    _ => {}
                }
            }
            let place = GroupPlace { segment, offset: info.end, group, durable_up_to: start, first_sequence: first };
            builder.finish(place, &mut bytes);
            file.write_at(&bytes, info.end).map_err(Failure::of_write)?;
            info.note(first, info.end);
            info.end += bytes.len() as u64;
            group += 1;
        }
        file.sync().map_err(Failure::Broken)?;
        self.journal.disk.rename(temporary, name).map_err(Failure::of_write)?;
        self.journal.disk.sync_names().map_err(Failure::Broken)?;
        if !places.is_empty() {
            self.journal.index.update(vec![Update::Relocated(places)]);
        }
        self.position.next_group = group;
        self.position.tail_first = self.position.next_sequence;
        let active = Active { file, segment, version, offset: info.end, durable_up_to: info.end, limit };
        Ok((active, info))
    }

    /// The format of the next segment: the newer one where something is to be said in it that the older one does not have, or most likely
    /// will be.
    fn version(&self) -> u32 {
        let is_of_lanes = |record: &TailRecord| matches!(record.record, Record::Windows(_) | Record::Digest(_));
        let has_lanes = self.position.tail.iter().any(is_of_lanes) || self.journal.has_lanes();
        if has_lanes { VERSION_OF_LANES } else { self.builder.version() }
    }

    pub(super) fn reserve(&self) -> u64 {
        OUTCOMES_RESERVE.min(self.segment_bytes / 16)
    }

    /// Makes the file, with as much set aside as there is room for.
    pub(super) fn create(&self, name: &str, needed: u64) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        let smallest = SEGMENT_SPARE_MIN.min(self.segment_bytes) + needed;
        // Near the limit smaller ones are made, so that as much as can be stays free for what is not events.
        let (_, limits) = self.journal.limits();
        let above = self.journal.disk.space().map(|space| space.free.saturating_sub(limits.free_bytes_min));
        let mut bytes = (self.segment_bytes + needed).min(above.unwrap_or(u64::MAX)).max(smallest);
        loop {
            match self.journal.disk.create(name, bytes) {
                Ok(file) => return Ok((file, bytes)),
                Err(error) if is_full(&error) && bytes > smallest => bytes = (bytes / 4).max(smallest),
                Err(error) => return Err(error),
            }
        }
    }
}
