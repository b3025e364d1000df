//! What of a file is at hand: read ahead, and the last group of which an event was read.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::{DiskFile, FoundGroup, ReadError, StoredEvent, erased, events_in, stored};
use crate::store::journal::format::{ALIGN, EventHead, GROUP_HEAD, GroupHead};
use crate::store::journal::words::Place;

/// A range of one file, read ahead, so that small groups do not cost a read each.
pub struct Window {
    file: Option<Arc<dyn DiskFile>>,
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
    /// The last group of which an event was read: they are asked for one after the other.
    pub(super) group: Option<ReadGroup>,
}

/// A group whose heads were read, with the place of each body.
pub(super) struct ReadGroup {
    group: FoundGroup,
    events: HashMap<u64, (EventHead, u64)>,
}

impl ReadGroup {
    pub(super) fn place(&self) -> Place {
        Place { segment: self.group.segment, offset: self.group.offset }
    }
}

impl Window {
    /// A window that reads this much at a time.
    pub fn new(read_bytes: usize) -> Self {
        Self { file: None, start: 0, bytes: Vec::new(), read_bytes, group: None }
    }

    /// Lets go of what was read.
    pub fn clear(&mut self) {
        (self.file, self.group) = (None, None);
        self.bytes.clear();
    }

    /// Reads the heads of a group, to read events of it from there on.
    pub(super) fn take_group(&mut self, group: FoundGroup) -> Result<(), ReadError> {
        let mut events = HashMap::new();
        for (event, body_offset, _) in events_in(self.heads(&group.file, group.offset, &group.head)?) {
            events.entry(event.id.sequence()).or_insert((event, body_offset));
        }
        self.group = Some(ReadGroup { group, events });
        Ok(())
    }

    /// An event of the last group, if it is in it.
    pub(super) fn read_from_group(&self, sequence: u64) -> Option<Result<StoredEvent, ReadError>> {
        let ReadGroup { group, events } = self.group.as_ref()?;
        let (event, body_offset) = events.get(&sequence)?;
        Some(self.read_body(group, event.clone(), *body_offset))
    }

    /// Reads and checks the body of an event of a group. Of one that was erased no byte is read.
    pub fn read_body(&self, group: &FoundGroup, event: EventHead, body_offset: u64) -> Result<StoredEvent, ReadError> {
        if event.is_erased {
            return Err(ReadError::Erased(Box::new(erased(event))));
        }
        let body = self.read_bytes(group, &event, body_offset)?;
        Ok(stored(event, body.into()))
    }

    /// Reads and checks what lies in the place of an event's body, also where that was erased.
    pub fn read_bytes(&self, group: &FoundGroup, event: &EventHead, body_offset: u64) -> Result<Vec<u8>, ReadError> {
        let mut body = vec![0; event.body_bytes as usize];
        let at = group.offset + group.head.heads_end() as u64 + body_offset;
        match self.peek(&group.file, at, body.len()) {
            Some(bytes) => body.copy_from_slice(bytes),
            None if group.file.read_at(&mut body, at)? == body.len() => {}
            None => return Err(ReadError::Damaged("its body is cut off".to_owned())),
        }
        if crc32c::crc32c(&body) != event.body_crc {
            return Err(ReadError::Damaged("its body is not what was written".to_owned()));
        }
        Ok(body)
    }

    pub(super) fn peek(&self, file: &Arc<dyn DiskFile>, offset: u64, length: usize) -> Option<&[u8]> {
        let same = self.file.as_ref().is_some_and(|known| Arc::ptr_eq(known, file));
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        if same { self.bytes.get(from..from.checked_add(length)?) } else { None }
    }

    /// The bytes there, `None` if the file ends before. Nothing at or beyond `end` is kept: what is there now, behind the last
    /// group of the segment that is written to, is not what will be there later.
    pub(super) fn get(
        &mut self,
        file: &Arc<dyn DiskFile>,
        offset: u64,
        length: usize,
        end: u64,
    ) -> io::Result<Option<&[u8]>> {
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
    pub(super) fn next_magic(&mut self, file: &Arc<dyn DiskFile>, from: u64, end: u64) -> io::Result<u64> {
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
