//! What is on the disk: segments, as far as their headers tell, and strays.

use std::io;
use std::sync::Arc;

use super::OpenError;
use crate::store::journal::disk::{Disk, DiskFile};
use crate::store::journal::format::{HeaderError, SegmentHeader};
use crate::store::journal::segment_name::{file_name, segment_of};
use crate::store::journal::segments::{Window, next_group};

/// How much is read at once: record heads of a group of 64 events take a tenth of this, and bodies are passed over.
pub(super) const READ_BYTES: usize = 64 << 10;

/// A segment on the disk.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) segment: u64,
    /// Bytes of its file.
    pub(super) length: u64,
    /// `None` when it is damaged, or says that this is another segment.
    pub(super) header: Option<SegmentHeader>,
    /// It is sound and of another journal.
    pub(super) is_foreign: bool,
}

/// What is on the disk.
pub(super) struct Found {
    /// All segments, oldest first.
    pub(super) headers: Vec<Header>,
    pub(super) strays: Vec<String>,
}

impl Found {
    pub(super) fn look(disk: &Arc<dyn Disk>) -> Result<Self, OpenError> {
        let names = disk.list()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_of(name)).collect();
        numbers.sort_unstable();
        let is_stray = |name: &&String| name.ends_with(".journal") && segment_of(name).is_none();
        let mut found = Self { headers: Vec::new(), strays: names.iter().filter(is_stray).cloned().collect() };
        for segment in numbers {
            // One at a time: there may be more segments than file descriptors.
            let file = disk.open(&file_name(segment))?;
            let header = read_header(segment, &file)?;
            let previous = found.headers.last().map(|last| last.segment);
            // Nothing says that it belongs here, neither its head nor its number nor anything in it.
            let is_far = previous.is_some_and(|previous| previous + 1 != segment);
            let mut window = Window::new(READ_BYTES);
            if header.is_none() && is_far && next_group(&file, segment, 0, file.length()?, &mut window)?.is_none() {
                found.strays.push(file_name(segment));
                continue;
            }
            found.headers.push(Header { segment, length: file.length()?, header, is_foreign: false });
        }
        let journal = journal_of(&found.headers);
        for found in &mut found.headers {
            found.is_foreign = found.header.as_ref().is_some_and(|header| Some(header.journal) != journal);
        }
        Ok(found)
    }
}

/// The journal that most segments are of; of two with as many, the newest's.
pub(super) fn journal_of(headers: &[Header]) -> Option<u64> {
    let mut counts: Vec<(u64, usize)> = Vec::new();
    for journal in headers.iter().rev().filter_map(|found| Some(found.header.as_ref()?.journal)) {
        match counts.iter_mut().find(|(known, _)| *known == journal) {
            Some((_, count)) => *count += 1,
            None => counts.push((journal, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(journal, _)| journal)
}

/// The header of a segment, `None` when it is damaged.
pub(super) fn read_header(segment: u64, file: &Arc<dyn DiskFile>) -> Result<Option<SegmentHeader>, OpenError> {
    let Some(length) = header_length(file)? else { return Ok(None) };
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.segment == segment => Ok(Some(header)),
        Err(source @ HeaderError::UnknownVersion(_)) => Err(OpenError::Version { file: file_name(segment), source }),
        _ => Ok(None),
    }
}

/// How long the header says it is: what another version wrote need not be as long as what this one would write.
pub(super) fn header_length(file: &Arc<dyn DiskFile>) -> io::Result<Option<usize>> {
    let mut start = [0; 16];
    let read = file.read_at(&mut start, 0)?;
    Ok(SegmentHeader::length(&start[..read]).ok())
}
