//! The header of a segment: everything that is needed to read the segment alone.

use std::collections::BTreeMap;

use super::codec::{Take, count, kind_from_u8, kind_to_u8, put_text, put_u32, put_u64};
use super::{ALIGN, HEADER_FIXED, HEADER_MAX, MAGIC, NUMBER_MAX, VERSION_MAX, VERSION_MIN};
use crate::store::{NameId, NameKind, NameState, Pause};

/// Bytes of a pause without its reason.
const PAUSE_BYTES: usize = 14;
/// Bytes of a mark.
const MARK_BYTES: usize = 13;
const MARK_OPEN: u8 = 1;
const MARK_REMOVED: u8 = 2;
const MARK_HELD: u8 = 3;

/// What stands at the start of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The format of the segment, as old as what is in it allows: a release before this one can read what needs no more.
    pub version: u32,
    /// The segment's number, counting from 1.
    pub segment: u64,
    /// The sequence number that its first event has or would have.
    pub first_sequence: u64,
    /// The number of its first group.
    pub first_group: u64,
    /// Tells one journal from another.
    pub journal: u64,
    /// When it was made, unix milliseconds.
    pub created_ms: u64,
    /// The segment before it, 0 for none.
    pub sealed_segment: u64,
    /// Where that one ends. What lies beyond was moved here, or never was.
    pub sealed_at: u64,
    /// All names that something refers to.
    pub names: Vec<(NameKind, NameId, String)>,
    /// Where destinations stand that do not simply go on.
    pub states: Vec<(NameId, NameState)>,
}

/// Why a header could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short, a wrong magic, or a wrong CRC.
    #[error("the header is damaged")]
    Damaged,
    /// Written by another release.
    #[error(
        "the journal has format version {0} and this release reads versions {VERSION_MIN} to {VERSION_MAX}: run the release that wrote it, or move data_dir away"
    )]
    UnknownVersion(u32),
}

impl SegmentHeader {
    /// Writes the header; its length is a multiple of [`ALIGN`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_FIXED + self.names.len() * 24);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, self.version);
        put_u32(&mut out, 0);
        let numbers = [self.segment, self.first_sequence, self.first_group, self.journal, self.created_ms];
        for number in numbers.into_iter().chain([self.sealed_segment, self.sealed_at]) {
            put_u64(&mut out, number);
        }
        put_u32(&mut out, count(self.names.len()));
        let pauses: Vec<_> = self.states.iter().filter_map(|(id, s)| Some((*id, s.paused.as_ref()?))).collect();
        put_u32(&mut out, count(pauses.len()));
        for (kind, id, name) in &self.names {
            out.push(kind_to_u8(*kind));
            put_u32(&mut out, id.0);
            put_text(&mut out, name);
        }
        // That it is paused must be known; of why, as much as fits.
        let fixed = out.len() + pauses.len() * PAUSE_BYTES + 4 + self.states.len() * 3 * MARK_BYTES + 4 + ALIGN;
        let reason_max = HEADER_MAX.saturating_sub(fixed) / pauses.len().max(1);
        for (id, pause) in pauses {
            put_u32(&mut out, id.0);
            put_u64(&mut out, pause.since_ms);
            put_text(&mut out, &pause.reason[..pause.reason.floor_char_boundary(reason_max)]);
        }
        let opened = |(id, s): &(NameId, NameState)| Some((*id, MARK_OPEN, s.open_since_ms?));
        let removed = |(id, s): &(NameId, NameState)| Some((*id, MARK_REMOVED, s.removed_since_ms?));
        let held = |(id, s): &(NameId, NameState)| Some((*id, MARK_HELD, s.held_since_ms?));
        let marks = self.states.iter().filter_map(opened).chain(self.states.iter().filter_map(removed));
        let marks: Vec<_> = marks.chain(self.states.iter().filter_map(held)).collect();
        put_u32(&mut out, count(marks.len()));
        for (id, what, since_ms) in marks {
            put_u32(&mut out, id.0);
            out.push(what);
            put_u64(&mut out, since_ms);
        }
        out.resize((out.len() + 4).next_multiple_of(ALIGN) - 4, 0);
        let length = count(out.len() + 4);
        out[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        put_u32(&mut out, crc);
        out
    }

    /// The length of the header that `start` (at least 16 bytes of a segment) begins. The first 16 bytes and the CRC at the end
    /// are the same in every format version.
    pub fn length(start: &[u8]) -> Result<usize, HeaderError> {
        let mut take = Take(start);
        if take.bytes(8) != Some(MAGIC) {
            return Err(HeaderError::Damaged);
        }
        take.u32().ok_or(HeaderError::Damaged)?;
        let length = take.u32().ok_or(HeaderError::Damaged)? as usize;
        let is_sound = (HEADER_FIXED + 4..=HEADER_MAX).contains(&length) && length.is_multiple_of(ALIGN);
        if is_sound { Ok(length) } else { Err(HeaderError::Damaged) }
    }

    /// Reads a header of the length that [`length`](Self::length) gave.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let length = Self::length(bytes)?;
        let (content, crc) =
            bytes.get(..length).and_then(|b| b.split_at_checked(length - 4)).ok_or(HeaderError::Damaged)?;
        if crc32c::crc32c(content).to_le_bytes() != crc {
            return Err(HeaderError::Damaged);
        }
        let mut take = Take(&content[8..]);
        match take.u32() {
            Some(version @ VERSION_MIN..=VERSION_MAX) => {
                Self::decode_content(&content[16..], version).ok_or(HeaderError::Damaged)
            }
            // The CRC is right, so this is no flipped bit.
            version => Err(HeaderError::UnknownVersion(version.unwrap_or(0))),
        }
    }

    fn decode_content(content: &[u8], version: u32) -> Option<Self> {
        let mut take = Take(content);
        let mut header = SegmentHeader {
            version,
            segment: take.u64()?,
            first_sequence: take.u64()?,
            first_group: take.u64()?,
            journal: take.u64()?,
            created_ms: take.u64()?,
            sealed_segment: take.u64()?,
            sealed_at: take.u64()?,
            names: Vec::new(),
            states: Vec::new(),
        };
        if [header.segment, header.first_sequence, header.first_group].iter().any(|number| *number > NUMBER_MAX) {
            return None;
        }
        let mut states: BTreeMap<NameId, NameState> = BTreeMap::new();
        let names = take.u32()?;
        let pauses = take.u32()?;
        for _ in 0..names {
            header.names.push((kind_from_u8(take.u8()?)?, NameId(take.u32()?), take.text()?));
        }
        for _ in 0..pauses {
            let id = NameId(take.u32()?);
            let pause = Pause { since_ms: take.u64()?, reason: take.text()? };
            states.entry(id).or_default().paused = Some(pause);
        }
        let marks = if version == 1 { 0 } else { take.u32()? };
        for _ in 0..marks {
            let id = NameId(take.u32()?);
            let what = take.u8()?;
            let since_ms = take.u64()?;
            match what {
                MARK_OPEN => states.entry(id).or_default().open_since_ms = Some(since_ms),
                MARK_REMOVED => states.entry(id).or_default().removed_since_ms = Some(since_ms),
                MARK_HELD => states.entry(id).or_default().held_since_ms = Some(since_ms),
                _ => return None,
            }
        }
        header.states = states.into_iter().collect();
        Some(header)
    }
}
