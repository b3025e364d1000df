//! A record: what one of them says, and how it is read.

use std::ops::Range;

use super::ReplayRecord;
use super::acts::decode_replay;
use super::codec::{Take, kind_from_u8};
use crate::event::EventId;
use crate::store::queues::{
    Control, DeliveryKey, DigestRecord, OutcomeRecord, OutcomeState, SelectionRecord, WindowsRecord,
};
use crate::store::{NameId, NameKind, PlannedDelivery};

/// A record's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Event(EventHead),
    /// An event of an older segment, moved here.
    Relocated(EventHead),
    /// What became of deliveries.
    Outcomes(Vec<OutcomeRecord>),
    /// A name got its number.
    Name(NameKind, NameId, String),
    /// Somebody acted on a whole destination.
    Control(Control),
    /// Somebody acted on some of a destination's deliveries.
    Selection(SelectionRecord),
    /// How far a replay has come.
    Replay(ReplayRecord),
    /// Windows that are open.
    Windows(WindowsRecord),
    /// What happened to a digest.
    Digest(DigestRecord),
}

/// An event without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead {
    pub id: EventId,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// CRC32C of its body.
    pub body_crc: u32,
    /// The way it came in by.
    pub source: NameId,
    /// The rules that matched.
    pub rules: Vec<NameId>,
    pub deliveries: Vec<PlannedDelivery>,
    /// Its body was erased: [`erased_body`](super::erased_body) lies in its place.
    pub is_erased: bool,
    /// Some of its values were taken away after a while.
    pub is_redacted: bool,
}

pub(super) const KIND_EVENT: u8 = 1;
pub(super) const KIND_OUTCOMES: u8 = 2;
pub(super) const KIND_NAME: u8 = 3;
pub(super) const KIND_CONTROL: u8 = 4;
pub(super) const KIND_RELOCATED: u8 = 5;
pub(super) const KIND_SELECTION: u8 = 6;
pub(super) const KIND_REPLAY: u8 = 7;
pub(super) const KIND_WINDOWS: u8 = 8;
pub(super) const KIND_DIGEST: u8 = 9;
/// Of an event, that its body was erased. Releases that do not know it write 0 and do not look.
pub(super) const FLAG_ERASED: u8 = 1;
/// Of an event, that it is not what came: some of its values were taken away.
pub(super) const FLAG_REDACTED: u8 = 2;
pub(super) const STATE_DELIVERED: u8 = 1;
pub(super) const STATE_SCHEDULED: u8 = 2;
pub(super) const STATE_DEAD: u8 = 3;
pub(super) const END_ARRIVED: u8 = 0;
pub(super) const END_SKIPPED: u8 = 1;
pub(super) const END_DROPPED: u8 = 2;
pub(super) const END_MOVED: u8 = 3;

/// Reads the record heads of a sound group, in order. Stops at the first that does not hold together.
pub fn records(heads: &[u8]) -> impl Iterator<Item = Record> + '_ {
    records_in(heads).map(|(_, record)| record)
}

/// The same, each with where it lies among the heads.
pub fn records_in(heads: &[u8]) -> impl Iterator<Item = (Range<usize>, Record)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = heads.get(at..)?;
        let mut take = Take(rest);
        let kind = take.u8()?;
        let flags = take.u8()?;
        take.bytes(2)?;
        let length = take.u32()? as usize;
        let record = decode_record(kind, flags, rest.get(8..length)?)?;
        let place = at..at + length;
        at = place.end;
        Some((place, record))
    })
}

fn decode_record(kind: u8, flags: u8, content: &[u8]) -> Option<Record> {
    let mut take = Take(content);
    match kind {
        KIND_EVENT => decode_event(&mut take, flags).map(Record::Event),
        KIND_RELOCATED => decode_event(&mut take, flags).map(Record::Relocated),
        KIND_OUTCOMES => {
            let mut outcomes = Vec::new();
            for _ in 0..take.u32()? {
                outcomes.push(decode_outcome(&mut take)?);
            }
            Some(Record::Outcomes(outcomes))
        }
        KIND_NAME => Some(Record::Name(kind_from_u8(take.u8()?)?, NameId(take.u32()?), take.text()?)),
        KIND_CONTROL => Control::decode(&mut take).map(Record::Control),
        KIND_SELECTION => SelectionRecord::decode(&mut take).map(Record::Selection),
        KIND_REPLAY => decode_replay(&mut take).map(Record::Replay),
        KIND_WINDOWS => WindowsRecord::decode(&mut take).map(Record::Windows),
        KIND_DIGEST => DigestRecord::decode(&mut take).map(Record::Digest),
        _ => None,
    }
}

fn decode_event(take: &mut Take<'_>, flags: u8) -> Option<EventHead> {
    let body_bytes = take.u32()?;
    let body_crc = take.u32()?;
    let id = EventId::from_bytes(take.bytes(16)?.try_into().ok()?);
    let source = NameId(take.u32()?);
    take.bytes(4)?;
    let rules = take.u32()?;
    let deliveries = take.u32()?;
    let is_erased = flags & FLAG_ERASED != 0;
    let is_redacted = flags & FLAG_REDACTED != 0;
    let mut head = EventHead {
        id,
        body_bytes,
        body_crc,
        source,
        rules: Vec::new(),
        deliveries: Vec::new(),
        is_erased,
        is_redacted,
    };
    for _ in 0..rules {
        head.rules.push(NameId(take.u32()?));
    }
    for _ in 0..deliveries {
        let destination = NameId(take.u32()?);
        head.deliveries.push(PlannedDelivery { destination, rule: NameId(take.u32()?) });
    }
    Some(head)
}

fn decode_outcome(take: &mut Take<'_>) -> Option<OutcomeRecord> {
    let state = take.u8()?;
    let end = take.u8()?;
    let attempts = u16::from_le_bytes(take.bytes(2)?.try_into().ok()?);
    let destination = NameId(take.u32()?);
    let to = NameId(take.u32()?);
    let key = DeliveryKey { sequence: take.u64()?, destination };
    let at_ms = take.u64()?;
    let state = match state {
        STATE_DELIVERED => match end {
            END_SKIPPED => OutcomeState::Skipped,
            END_DROPPED => OutcomeState::Dropped,
            END_MOVED => OutcomeState::Moved(to),
            _ => OutcomeState::Delivered,
        },
        STATE_SCHEDULED => {
            OutcomeState::Scheduled { first_attempt_ms: take.u64()?, due_ms: take.u64()?, reason: take.text()? }
        }
        STATE_DEAD => OutcomeState::Dead { reason: take.text()? },
        _ => return None,
    };
    Some(OutcomeRecord { key, attempts, at_ms, state })
}
