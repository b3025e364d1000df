//! What is written of lanes: heads of windows, and closed digests. See [`Lanes`](crate::store::Lanes) for what is not.

use super::CHUNKS_MAX;
use super::codec::{Take, count, put_text, put_u32, put_u64};
use crate::store::queues::{Bitmap, DigestAct, DigestRecord, WindowsRecord};
use crate::store::{DigestId, GroupKey, NameId, WindowHead};

const CLOSED: u8 = 1;
const SCHEDULED: u8 = 2;
const DELIVERED: u8 = 3;
const SKIPPED: u8 = 4;
const ENDED: u8 = 5;
const DISSOLVED: u8 = 6;

impl WindowsRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.destination.0);
        put_u32(out, count(self.heads.len()));
        for WindowHead { key, address, opened_ms, ends_ms, passed } in &self.heads {
            out.extend_from_slice(&key.0);
            [address, opened_ms, ends_ms].into_iter().for_each(|number| put_u64(out, *number));
            put_u32(out, *passed);
        }
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let destination = NameId(take.u32()?);
        let mut heads = Vec::new();
        for _ in 0..take.u32()? {
            let key = take_key(take)?;
            let (address, opened_ms, ends_ms) = (take.u64()?, take.u64()?, take.u64()?);
            heads.push(WindowHead { key, address, opened_ms, ends_ms, passed: take.u32()? });
        }
        Some(Self { destination, heads })
    }
}

impl DigestRecord {
    /// The same as records of which each has at most [`CHUNKS_MAX`] chunks: one nearly always.
    pub fn split(self) -> Vec<Self> {
        let Self { destination, at_ms, what } = self;
        let record = |what| Self { destination, at_ms, what };
        let parts = |members: &Bitmap| members.split(CHUNKS_MAX);
        match what {
            DigestAct::Closed { id, windows, members } if members.chunks() > CHUNKS_MAX => {
                let mut windows = Some(windows);
                let closed =
                    |members| record(DigestAct::Closed { id, windows: windows.take().unwrap_or_default(), members });
                parts(&members).into_iter().map(closed).collect()
            }
            DigestAct::Delivered { id, attempts, members } if members.chunks() > CHUNKS_MAX => {
                let delivered = |members| record(DigestAct::Delivered { id, attempts, members });
                parts(&members).into_iter().map(delivered).collect()
            }
            DigestAct::Skipped { id, attempts, members } if members.chunks() > CHUNKS_MAX => {
                let skipped = |members| record(DigestAct::Skipped { id, attempts, members });
                parts(&members).into_iter().map(skipped).collect()
            }
            what => vec![record(what)],
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.what {
            DigestAct::Closed { .. } => CLOSED,
            DigestAct::Scheduled { .. } => SCHEDULED,
            DigestAct::Delivered { .. } => DELIVERED,
            DigestAct::Skipped { .. } => SKIPPED,
            DigestAct::Ended { .. } => ENDED,
            DigestAct::Dissolved { .. } => DISSOLVED,
        });
        put_u32(out, self.destination.0);
        put_u64(out, self.at_ms);
        match &self.what {
            DigestAct::Closed { id, windows, members } => {
                put_u64(out, id.0.get());
                put_keys(out, windows);
                put_members(out, members);
            }
            DigestAct::Scheduled { id, attempts, first_attempt_ms, due_ms, reason } => {
                put_u64(out, id.0.get());
                out.extend_from_slice(&attempts.to_le_bytes());
                put_u64(out, *first_attempt_ms);
                put_u64(out, *due_ms);
                put_text(out, reason);
            }
            DigestAct::Delivered { id, attempts, members } | DigestAct::Skipped { id, attempts, members } => {
                put_u64(out, id.0.get());
                out.extend_from_slice(&attempts.to_le_bytes());
                put_members(out, members);
            }
            DigestAct::Ended { windows } => put_keys(out, windows),
            DigestAct::Dissolved { id } => put_u64(out, id.0.get()),
        }
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let what = take.u8()?;
        let destination = NameId(take.u32()?);
        let at_ms = take.u64()?;
        let id = |take: &mut Take<'_>| Some(DigestId(take.u64()?.try_into().ok()?));
        let what = match what {
            CLOSED => DigestAct::Closed { id: id(take)?, windows: take_keys(take)?, members: take_members(take)? },
            SCHEDULED => DigestAct::Scheduled {
                id: id(take)?,
                attempts: take.u16()?,
                first_attempt_ms: take.u64()?,
                due_ms: take.u64()?,
                reason: take.text()?,
            },
            DELIVERED => DigestAct::Delivered { id: id(take)?, attempts: take.u16()?, members: take_members(take)? },
            SKIPPED => DigestAct::Skipped { id: id(take)?, attempts: take.u16()?, members: take_members(take)? },
            ENDED => DigestAct::Ended { windows: take_keys(take)? },
            DISSOLVED => DigestAct::Dissolved { id: id(take)? },
            _ => return None,
        };
        Some(Self { destination, at_ms, what })
    }
}

fn take_key(take: &mut Take<'_>) -> Option<GroupKey> {
    Some(GroupKey(take.bytes(16)?.try_into().ok()?))
}

fn put_keys(out: &mut Vec<u8>, keys: &[GroupKey]) {
    put_u32(out, count(keys.len()));
    keys.iter().for_each(|key| out.extend_from_slice(&key.0));
}

fn take_keys(take: &mut Take<'_>) -> Option<Vec<GroupKey>> {
    let mut keys = Vec::new();
    for _ in 0..take.u32()? {
        keys.push(take_key(take)?);
    }
    Some(keys)
}

/// Writes a set's chunks, at most [`CHUNKS_MAX`].
pub(super) fn put_members(out: &mut Vec<u8>, members: &Bitmap) {
    put_u32(out, count(members.chunks()));
    for (key, bytes) in members.encode() {
        put_u64(out, key);
        put_u32(out, count(bytes.len()));
        out.extend_from_slice(&bytes);
    }
}

pub(super) fn take_members(take: &mut Take<'_>) -> Option<Bitmap> {
    let mut members = Bitmap::default();
    for _ in 0..take.u32()? {
        let key = take.u64()?;
        let length = take.u32()? as usize;
        if !members.decode(key, take.bytes(length)?) {
            return None;
        }
    }
    Some(members)
}
