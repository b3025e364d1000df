//! Writing a sealed segment again, with some of it erased, and putting it in its own place.
//!
//! It keeps its name and its length, every group stays where it was, and every CRC is right: a start, `verify` and an older release read it like
//! any other, and nothing that says where something lies changes. The copy is written beside it, synced and read back before it takes the name,
//! so the name is that of the old file or of the new one at every moment, each of them whole. A copy that a crash leaves has the name of a
//! segment that was never completed, and goes at the next start.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DiskFile, SegmentInfo, Segments, Window, next_group};
use crate::store::journal::format::{
    EventHead, GroupHead, Record, RecordPlace, SegmentHeader, erase_event, erased_body, record_places, redact_event,
    seal_group,
};
use crate::store::journal::segment_name::{file_name, unfinished};
use crate::store::queues::Change;

/// What is copied at once of what is no group.
const PIECE_BYTES: usize = 1 << 20;
/// How often it is looked whether somebody still reads the old file.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What lies in the place of a body, where it is another one.
pub type Redacts<'e> = &'e dyn Fn(&EventHead, &[u8]) -> Option<Vec<u8>>;

/// What is to be changed of a segment.
pub struct Edits<'e> {
    /// Whether an event's body goes.
    pub erases: &'e dyn Fn(&EventHead) -> bool,
    /// Of an event that is not erased: as long as it was, and saying less.
    pub redacts: Redacts<'e>,
    /// What becomes of a text, where it changes.
    pub texts: Change<'e>,
    /// Whether a range is made zeros that nobody can read, by what lies there: it is damaged.
    pub blanks: &'e dyn Fn(&[u8]) -> bool,
}

/// Why a segment was not written again.
#[derive(Debug)]
pub enum RewriteError {
    /// The old file is there, as it was.
    Unchanged(io::Error),
    /// The new one has its name, and it is not known whether it has it after a crash.
    Broken(io::Error),
}

/// A segment that was written again: what is left of the old file, which has no name of ours any more.
pub struct Rewritten {
    old: Arc<dyn DiskFile>,
    /// What is another in the new one.
    changed: Vec<Range<u64>>,
    /// How many bodies were erased.
    pub erased: u64,
    /// In how many bodies values were taken away.
    pub redacted: u64,
    /// In how many records and headers a text was changed.
    pub texts: u64,
    /// The old file has a second name.
    is_shared: bool,
}

impl Rewritten {
    /// Writes zeros over what was erased in the old file, once nobody reads it any more. Whoever does would find a damaged group, so where that takes
    /// too long it is left: as it is where the file has a second name, under which it is somebody's copy. Says then why.
    pub fn overwrite(&self, patience: Duration) -> Result<(), String> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if self.is_shared {
            return Err("its file has a second name elsewhere, under which everything is as it was".to_owned());
        }
        let until = Instant::now() + patience;
        while Arc::strong_count(&self.old) > 1 {
            if Instant::now() >= until {
                return Err(
                    "its old file was read for too long to be overwritten; what it says is in free blocks".to_owned()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let zeros = vec![0; PIECE_BYTES];
        let write = |range: &Range<u64>| {
            pieces(range.clone()).try_for_each(|piece| {
                let bytes = (piece.end - piece.start) as usize;
                self.old.write_at(&zeros[..bytes], piece.start)
            })
        };
        let written = self.changed.iter().try_for_each(write).and_then(|()| self.old.sync());
        match written {
            Ok(()) => Ok(()),
            // It is told of a file without a name, once it is synced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(format!("its old file could not be overwritten ({error}); what it says is in free blocks"))
            }
        }
    }
}

/// A range in pieces of at most [`PIECE_BYTES`].
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    range.clone().step_by(PIECE_BYTES).map(move |start| start..(start + PIECE_BYTES as u64).min(range.end))
}

impl Segments {
    /// Writes a segment again. Never the newest: that is being written to.
    pub fn rewrite(&self, info: &SegmentInfo, edits: &Edits<'_>) -> Result<Rewritten, RewriteError> {
        assert_ne!(info.segment, self.newest(), "the newest segment is the writer's");
        let (name, aside) = (file_name(info.segment), unfinished(info.segment));
        let written = self.file(info.segment).and_then(|old| {
            let rewritten = self.write_aside(&old, info, edits, &aside)?;
            drop(old);
            self.disk.rename(&aside, &name)?;
            Ok(rewritten)
        });
        let rewritten = written.map_err(|error| {
            // Nothing of it counts under this name; a leftover is removed at the next start too.
            let _ = self.disk.remove(&aside);
            RewriteError::Unchanged(error)
        })?;
        self.let_go_of(info.segment);
        self.disk.sync_names().map_err(RewriteError::Broken)?;
        Ok(rewritten)
    }

    /// Writes the copy, syncs it and reads it back.
    fn write_aside(
        &self,
        old: &Arc<dyn DiskFile>,
        info: &SegmentInfo,
        edits: &Edits<'_>,
        aside: &str,
    ) -> io::Result<Rewritten> {
        let length = old.length()?;
        let new = self.disk.create_aside(aside, length)?;
        let mut copy = Copy { old, new: &new, changed: Vec::new(), erased: 0, redacted: 0, texts: 0 };
        // It may have been cut off.
        let end = info.end.min(length);
        let mut at = info.start.min(end);
        copy.header(at, edits)?;
        let mut window = Window::new(PIECE_BYTES);
        while let Some((offset, head)) = next_group(old, info.segment, at, end, &mut window)? {
            copy.unreadable(at..offset, edits)?;
            copy.group(offset, &head, edits)?;
            at = offset + head.length();
        }
        copy.unreadable(at..end, edits)?;
        // What lies behind the last group was set aside, or was never acknowledged.
        copy.is_left_out(end..length)?;
        let Copy { changed, erased, redacted, texts, .. } = copy;
        if new.length()? != length {
            new.set_len(length)?;
        }
        new.sync()?;
        drop(new);
        self.read_back(old, info, edits, aside)?;
        Ok(Rewritten { is_shared: old.is_shared(), old: old.clone(), changed, erased, redacted, texts })
    }

    /// Compares the copy with the old file, as everybody will read it: the same groups with the same records, but for what was to be erased.
    fn read_back(&self, old: &Arc<dyn DiskFile>, info: &SegmentInfo, edits: &Edits<'_>, aside: &str) -> io::Result<()> {
        let new = self.disk.open(aside)?;
        let differs = |at: u64| {
            let why =
                format!("{aside} does not read back as it was written, at {at}: nothing was erased in this segment");
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        };
        if new.length()? != old.length()? {
            return differs(old.length()?);
        }
        let (mut old_window, mut new_window) = (Window::new(PIECE_BYTES), Window::new(PIECE_BYTES));
        let end = info.end.min(old.length()?);
        let mut at = info.start.min(end);
        loop {
            let before = next_group(old, info.segment, at, end, &mut old_window)?;
            let after = next_group(&new, info.segment, at, end, &mut new_window)?;
            if before != after {
                return differs(at);
            }
            let Some((offset, head)) = before else { return Ok(()) };
            let (before, after) = (whole_group(old, offset, &head)?, whole_group(&new, offset, &head)?);
            if !is_same(&head, &before, &after, edits) {
                return differs(offset);
            }
            at = offset + head.length();
        }
    }
}

fn whole_group(file: &Arc<dyn DiskFile>, offset: u64, head: &GroupHead) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; head.length() as usize];
    if file.read_at(&mut bytes, offset)? < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Whether a group says the same before and after, but for what was to be erased, of which nothing is left.
fn is_same(head: &GroupHead, before: &[u8], after: &[u8], edits: &Edits<'_>) -> bool {
    let (old, new) = (record_places(head, before), record_places(head, after));
    let is_same = |(old, new): (&RecordPlace, &RecordPlace)| {
        let (before, after) = (before.get(old.body.clone()), after.get(new.body.clone()));
        let redacted = before.and_then(|before| redacted_by(&old.record, before, edits));
        if redacted.is_none() && !is_erased_by(&old.record, edits) {
            let other = old.record.with_texts(edits.texts);
            let says_it = old.record == new.record || other.is_some_and(|other| other == new.record);
            return says_it && old.head == new.head && before == after;
        }
        let is_redacted = redacted.is_some();
        let body = redacted.unwrap_or_else(|| erased_body(old.body.len()));
        let changed = |event: &EventHead| EventHead {
            is_erased: event.is_erased || !is_redacted,
            is_redacted: event.is_redacted || is_redacted,
            body_crc: crc32c::crc32c(&body),
            ..event.clone()
        };
        let expected = match &old.record {
            Record::Event(event) => Record::Event(changed(event)),
            Record::Relocated(event) => Record::Relocated(changed(event)),
            other => other.clone(),
        };
        expected == new.record && old.head == new.head && after == Some(&body)
    };
    head.is_sound(after) && old.len() == new.len() && old.iter().zip(&new).all(is_same)
}

fn is_erased_by(record: &Record, edits: &Edits<'_>) -> bool {
    matches!(record, Record::Event(event) | Record::Relocated(event) if !event.is_erased && (edits.erases)(event))
}

/// What lies in the place of a sound body then, where it is another.
fn redacted_by(record: &Record, body: &[u8], edits: &Edits<'_>) -> Option<Vec<u8>> {
    let (Record::Event(event) | Record::Relocated(event)) = record else { return None };
    if event.is_erased || (edits.erases)(event) {
        return None;
    }
    let redacted = (edits.redacts)(event, body).filter(|redacted| redacted.len() == body.len() && redacted != body)?;
    // Of a damaged one nobody knows which bytes are its values.
    (crc32c::crc32c(body) == event.body_crc).then_some(redacted)
}

/// A copy that is being written.
struct Copy<'c> {
    old: &'c Arc<dyn DiskFile>,
    new: &'c Arc<dyn DiskFile>,
    changed: Vec<Range<u64>>,
    erased: u64,
    redacted: u64,
    texts: u64,
}

impl Copy<'_> {
    /// The header, which is as long as it was.
    fn header(&mut self, end: u64, edits: &Edits<'_>) -> io::Result<()> {
        let bytes = self.read(&(0..end))?;
        let header = SegmentHeader::decode(&bytes).ok().filter(|header| header.encode() == bytes);
        let other = header.and_then(|header| header.with_texts(edits.texts)).map(|other| other.encode());
        let Some(other) = other.filter(|other| other.len() == bytes.len()) else { return self.as_it_is(0..end) };
        self.texts += 1;
        self.changed.push(0..end);
        self.new.write_at(&other, 0)
    }

    fn as_it_is(&mut self, range: Range<u64>) -> io::Result<()> {
        pieces(range).try_for_each(|piece| self.new.write_at(&self.read(&piece)?, piece.start))
    }

    /// Zeros stand in its place, which the new file has by itself.
    fn is_left_out(&mut self, range: Range<u64>) -> io::Result<()> {
        for piece in pieces(range) {
            if self.read(&piece)?.iter().any(|byte| *byte != 0) {
                self.changed.push(piece);
            }
        }
        Ok(())
    }

    /// A range between groups, of which nobody knows what it says.
    fn unreadable(&mut self, range: Range<u64>, edits: &Edits<'_>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // All of it at once, or what is looked for might lie on an edge. It is less than a segment, and rare.
        let bytes = self.read(&range)?;
        if (edits.blanks)(&bytes) { self.is_left_out(range) } else { self.as_it_is(range) }
    }

    fn group(&mut self, offset: u64, head: &GroupHead, edits: &Edits<'_>) -> io::Result<()> {
        let mut bytes = whole_group(self.old, offset, head)?;
        for place in record_places(head, &bytes) {
            if let Some(other) = place.record.with_texts(edits.texts) {
                let other = other.head_bytes();
                // What another release wrote otherwise is left as it is; the search finds it.
                if place.record.head_bytes() == bytes[place.head.clone()] && other.len() == place.head.len() {
                    bytes[place.head.clone()].copy_from_slice(&other);
                    self.texts += 1;
                    self.changed.push(offset + place.head.start as u64..offset + place.head.end as u64);
                }
            }
            let redacted = redacted_by(&place.record, &bytes[place.body.clone()], edits);
            let is_erased = is_erased_by(&place.record, edits);
            if let Some(body) = &redacted {
                redact_event(&mut bytes, &place, body);
                self.redacted += 1;
            }
            if is_erased {
                erase_event(&mut bytes, &place);
                self.erased += 1;
            }
            if is_erased || redacted.is_some() {
                self.changed.push(offset + place.body.start as u64..offset + place.body.end as u64);
            }
        }
        seal_group(head, &mut bytes);
        self.new.write_at(&bytes, offset)
    }

    fn read(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = self.old.read_at(&mut bytes, range.start)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
