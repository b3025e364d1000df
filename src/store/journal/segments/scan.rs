//! A walk over groups, across segments.

use std::io;
use std::sync::Arc;

use super::{DiskFile, FoundGroup, SegmentInfo, Segments, Window};
use crate::store::journal::format::{ALIGN, GROUP_HEAD, GroupHead, HEADS_MAX};
use crate::store::journal::words::Place;

/// A walk over groups, across segments.
pub struct Scan<'s> {
    segments: &'s Segments,
    segment: u64,
    offset: u64,
    end: u64,
    is_done: bool,
}

impl Segments {
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
    pub(super) fn after(&self, segment: u64) -> Option<(u64, u64, u64)> {
        self.with(|list| {
            let next = list.iter().find(|info| info.segment > segment)?;
            Some((next.segment, next.start, next.end))
        })
    }
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

    /// The next sound group. Damaged ranges are passed over: they were told of when the journal was opened.
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

pub(super) fn group_at(
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
