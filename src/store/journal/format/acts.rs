//! What somebody did, as records: to a whole destination, to some of its deliveries, or over the history.

use super::CHUNKS_MAX;
use super::codec::{Take, count, put_text, put_u32, put_u64};
use super::lanes::{put_members, take_members};
use crate::store::queues::{Act, BulkAct, CommandRecord, Control, SelectionRecord};
use crate::store::{AskedPrint, NameId};

impl Control {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (what, reason) = match &self.act {
            Act::Pause(reason) => (1, reason.as_str()),
            Act::Resume => (2, ""),
            Act::Open => (3, ""),
            Act::Close => (4, ""),
            Act::Remove => (5, ""),
            Act::Restore => (6, ""),
            Act::RetryNow => (7, ""),
            Act::Hold => (8, ""),
        };
        out.push(what);
        put_u32(out, self.destination.0);
        put_u64(out, self.at_ms);
        put_text(out, reason);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let what = take.u8()?;
        let destination = NameId(take.u32()?);
        let at_ms = take.u64()?;
        let reason = take.text()?;
        let act = match what {
            1 => Act::Pause(reason),
            2 => Act::Resume,
            3 => Act::Open,
            4 => Act::Close,
            5 => Act::Remove,
            6 => Act::Restore,
            7 => Act::RetryNow,
            8 => Act::Hold,
            _ => return None,
        };
        Some(Self { destination, at_ms, act })
    }
}

/// Stands where a record is part of no command; no UUID of one is all zeros.
const NO_COMMAND: u128 = 0;

impl SelectionRecord {
    /// The same as records of which each has at most [`CHUNKS_MAX`] chunks: one nearly always.
    pub fn split(self) -> Vec<Self> {
        if self.sequences.chunks() <= CHUNKS_MAX {
            return vec![self];
        }
        let parts = self.sequences.split(CHUNKS_MAX);
        parts.into_iter().map(|sequences| Self { sequences, reason: self.reason.clone(), ..self }).collect()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.act {
            BulkAct::Redeliver => 1,
            BulkAct::DeadLetter => 2,
            BulkAct::Drop | BulkAct::MoveDead(_) => 3,
            BulkAct::MoveWaiting(_) => 4,
        });
        put_u32(out, self.destination.0);
        put_u64(out, self.at_ms);
        out.extend_from_slice(&self.command.map_or(NO_COMMAND, |command| command.id).to_le_bytes());
        put_text(out, &self.reason);
        put_members(out, &self.sequences);
        let to = match self.act {
            BulkAct::MoveDead(to) | BulkAct::MoveWaiting(to) => Some(to),
            BulkAct::Redeliver | BulkAct::DeadLetter | BulkAct::Drop => None,
        };
        let asked = self.command.and_then(|command| command.asked);
        if to.is_some() || asked.is_some() {
            put_u32(out, to.unwrap_or(NameId::NONE).0);
        }
        if let Some(AskedPrint(asked)) = asked {
            put_u64(out, asked);
        }
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let act = match take.u8()? {
            1 => BulkAct::Redeliver,
            2 => BulkAct::DeadLetter,
            3 => BulkAct::Drop,
            4 => BulkAct::MoveWaiting(NameId::NONE),
            _ => return None,
        };
        let destination = NameId(take.u32()?);
        let at_ms = take.u64()?;
        let command = u128::from_le_bytes(take.bytes(16)?.try_into().ok()?);
        let reason = take.text()?;
        let sequences = take_members(take)?;
        // Behind the rest, where the first builds did not look. Of a drop that says what was asked for, a build before this one reads that it
        // was a move to no destination, which leaves as little here.
        let act = match (act, take.u32().map(NameId)) {
            (BulkAct::Drop, Some(to)) if to != NameId::NONE => BulkAct::MoveDead(to),
            (BulkAct::MoveWaiting(_), Some(to)) => BulkAct::MoveWaiting(to),
            (act, _) => act,
        };
        let asked = take.u64().map(AskedPrint);
        let command = (command != NO_COMMAND).then_some(CommandRecord { id: command, asked });
        Some(Self { destination, at_ms, act, command, reason, sequences })
    }
}

/// How far a replay of the history has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRecord {
    pub id: u128,
    /// What was asked for.
    pub spec: String,
    /// Events below this have been looked at.
    pub cursor: u64,
    pub until: u64,
    /// Deliveries selected so far.
    pub selected: u64,
    /// When this was said, unix milliseconds.
    pub at_ms: u64,
    /// Whether it has come to its end.
    pub is_done: bool,
}

pub(super) fn encode_replay(replay: &ReplayRecord, out: &mut Vec<u8>) {
    out.push(u8::from(replay.is_done));
    out.extend_from_slice(&replay.id.to_le_bytes());
    for number in [replay.at_ms, replay.cursor, replay.until, replay.selected] {
        put_u64(out, number);
    }
    put_u32(out, count(replay.spec.len()));
    out.extend_from_slice(replay.spec.as_bytes());
}

pub(super) fn decode_replay(take: &mut Take<'_>) -> Option<ReplayRecord> {
    let is_done = take.u8()? != 0;
    let id = u128::from_le_bytes(take.bytes(16)?.try_into().ok()?);
    let at_ms = take.u64()?;
    let cursor = take.u64()?;
    let until = take.u64()?;
    let selected = take.u64()?;
    let length = take.u32()? as usize;
    let spec = String::from_utf8(take.bytes(length)?.to_vec()).ok()?;
    Some(ReplayRecord { id, spec, cursor, until, selected, at_ms, is_done })
}
