//! A group: records that are written and checked together.

use bytes::Bytes;

use super::acts::encode_replay;
use super::codec::{Take, count, kind_to_u8, put_text, put_u32, put_u64};
use super::record::*;
use super::{ALIGN, GROUP_HEAD, GROUP_MAGIC, HEADS_MAX, NUMBER_MAX, ReplayRecord, VERSION_OF_LANES, VERSION_PLAIN};
use crate::store::queues::{Control, DigestRecord, OutcomeRecord, OutcomeState, SelectionRecord, WindowsRecord};
use crate::store::{NameId, NameKind};

/// The head of a group, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// Counts through the whole journal.
    pub group: u64,
    /// Up to where the segment was synced before this group was written.
    pub durable_up_to: u64,
    /// The sequence number of its first event.
    pub first_sequence: u64,
    /// Bytes of record heads.
    pub heads_bytes: u32,
    /// Bytes of bodies.
    pub bodies_bytes: u32,
    /// How many events it holds.
    pub events: u32,
    /// How many records it holds.
    pub records: u32,
}

impl GroupHead {
    /// Reads a group's head if `bytes` begin one that says it lies in `segment` at `offset`. The CRC is not checked yet.
    pub fn peek(bytes: &[u8], segment: u64, offset: u64) -> Option<Self> {
        let mut take = Take(bytes.get(..GROUP_HEAD)?);
        let magic = take.u32()?;
        take.u32()?;
        if magic != GROUP_MAGIC || take.u64()? != segment || take.u64()? != offset {
            return None;
        }
        let head = Self {
            group: take.u64()?,
            durable_up_to: take.u64()?,
            first_sequence: take.u64()?,
            heads_bytes: take.u32()?,
            bodies_bytes: take.u32()?,
            events: take.u32()?,
            records: take.u32()?,
        };
        (head.group <= NUMBER_MAX && head.first_sequence <= NUMBER_MAX).then_some(head)
    }

    /// Whether the CRC over the head and the record heads is right. `bytes` begin at the group.
    pub fn is_sound(&self, bytes: &[u8]) -> bool {
        let Some(heads) = bytes.get(..self.heads_end()) else { return false };
        let stored = u32::from_le_bytes([heads[4], heads[5], heads[6], heads[7]]);
        crc32c::crc32c(&heads[8..]) == stored
    }

    /// Bytes from the group's start to its first body.
    pub fn heads_end(&self) -> usize {
        GROUP_HEAD + self.heads_bytes as usize
    }

    /// Bytes from the group's start to the next group.
    pub fn length(&self) -> u64 {
        (self.heads_end() as u64 + u64::from(self.bodies_bytes)).next_multiple_of(ALIGN as u64)
    }
}

/// Collects records and bodies into one group.
#[derive(Debug, Default)]
pub struct GroupBuilder {
    heads: Vec<u8>,
    /// As they came: they are copied once, into the group.
    bodies: Vec<Bytes>,
    bodies_bytes: usize,
    events: u32,
    records: u32,
    /// Those of them that a segment of [`VERSION_PLAIN`] cannot have.
    of_lanes: u32,
}

impl GroupBuilder {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The oldest format that a segment may have which this group goes into.
    pub fn version(&self) -> u32 {
        if self.of_lanes > 0 { VERSION_OF_LANES } else { VERSION_PLAIN }
    }

    /// Bytes of record heads so far.
    pub fn heads_bytes(&self) -> usize {
        self.heads.len()
    }

    /// Bytes of bodies so far.
    pub fn bodies_bytes(&self) -> usize {
        self.bodies_bytes
    }

    /// Adds something, unless its records would then have more than `heads_max` bytes of heads and there are others before it: then
    /// everything is as it was, and it goes into the next group. Returns whether it was added.
    #[must_use]
    pub fn add_within(&mut self, heads_max: usize, add: impl FnOnce(&mut Self)) -> bool {
        let heads = self.heads.len();
        let bodies = self.bodies.len();
        let records = self.records;
        let bodies_bytes = self.bodies_bytes;
        let (events, of_lanes) = (self.events, self.of_lanes);
        add(self);
        let fits = records == 0 || self.heads.len() <= heads_max;
        if !fits {
            self.heads.truncate(heads);
            self.bodies.truncate(bodies);
            (self.bodies_bytes, self.events, self.records) = (bodies_bytes, events, records);
            self.of_lanes = of_lanes;
        }
        fits
    }

    /// Bytes it would take.
    pub fn length(&self) -> usize {
        (GROUP_HEAD + self.heads.len() + self.bodies_bytes).next_multiple_of(ALIGN)
    }

    /// Adds an event.
    pub fn event(&mut self, head: &EventHead, body: Bytes) {
        self.event_as(KIND_EVENT, head, body);
        self.events += 1;
    }

    /// Adds an event of an older segment.
    pub fn relocated(&mut self, head: &EventHead, body: Bytes) {
        self.event_as(KIND_RELOCATED, head, body);
    }

    fn event_as(&mut self, kind: u8, head: &EventHead, body: Bytes) {
        debug_assert_eq!(head.body_bytes as usize, body.len());
        let flags = [(head.is_erased, FLAG_ERASED), (head.is_redacted, FLAG_REDACTED)];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        self.record_with(kind, flags, |out| {
            put_u32(out, head.body_bytes);
            put_u32(out, head.body_crc);
            out.extend_from_slice(&head.id.to_bytes());
            put_u32(out, head.source.0);
            // Where earlier releases wrote a number that nobody read.
            put_u32(out, 0);
            put_u32(out, count(head.rules.len()));
            put_u32(out, count(head.deliveries.len()));
            for rule in &head.rules {
                put_u32(out, rule.0);
            }
            for delivery in &head.deliveries {
                put_u32(out, delivery.destination.0);
                put_u32(out, delivery.rule.0);
            }
        });
        self.bodies_bytes += body.len();
        self.bodies.push(body);
    }

    /// Adds outcomes, as one record.
    pub fn outcomes(&mut self, outcomes: &[OutcomeRecord]) {
        self.record(KIND_OUTCOMES, |out| {
            put_u32(out, count(outcomes.len()));
            for outcome in outcomes {
                let (state, end, to) = match outcome.state {
                    OutcomeState::Delivered => (STATE_DELIVERED, END_ARRIVED, 0),
                    OutcomeState::Skipped => (STATE_DELIVERED, END_SKIPPED, 0),
                    OutcomeState::Dropped => (STATE_DELIVERED, END_DROPPED, 0),
                    OutcomeState::Moved(to) => (STATE_DELIVERED, END_MOVED, to.0),
                    OutcomeState::Scheduled { .. } => (STATE_SCHEDULED, 0, 0),
                    OutcomeState::Dead { .. } => (STATE_DEAD, 0, 0),
                };
                out.extend_from_slice(&[state, end]);
                out.extend_from_slice(&outcome.attempts.to_le_bytes());
                put_u32(out, outcome.key.destination.0);
                put_u32(out, to);
                put_u64(out, outcome.key.sequence);
                put_u64(out, outcome.at_ms);
                match &outcome.state {
                    OutcomeState::Delivered | OutcomeState::Skipped => {}
                    OutcomeState::Dropped | OutcomeState::Moved(_) => {}
                    OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } => {
                        put_u64(out, *first_attempt_ms);
                        put_u64(out, *due_ms);
                        put_text(out, reason);
                    }
                    OutcomeState::Dead { reason } => put_text(out, reason),
                }
            }
        });
    }

    /// Adds a name.
    pub fn name(&mut self, kind: NameKind, id: NameId, name: &str) {
        self.record(KIND_NAME, |out| {
            out.push(kind_to_u8(kind));
            put_u32(out, id.0);
            put_text(out, name);
        });
    }

    /// Adds an act on a whole destination.
    pub fn control(&mut self, control: &Control) {
        self.record(KIND_CONTROL, |out| control.encode(out));
    }

    /// Adds an act on some deliveries.
    pub fn selection(&mut self, selection: &SelectionRecord) {
        self.record(KIND_SELECTION, |out| selection.encode(out));
    }

    /// Adds how far a replay has come.
    pub fn replay(&mut self, replay: &ReplayRecord) {
        self.record(KIND_REPLAY, |out| encode_replay(replay, out));
    }

    /// Adds windows that are open.
    pub fn windows(&mut self, windows: &WindowsRecord) {
        self.record(KIND_WINDOWS, |out| windows.encode(out));
        self.of_lanes += 1;
    }

    /// Adds what happened to a digest.
    pub fn digest(&mut self, digest: &DigestRecord) {
        self.record(KIND_DIGEST, |out| digest.encode(out));
        self.of_lanes += 1;
    }

    /// Adds any record as it was read; the body is that of an event.
    pub fn put(&mut self, record: &Record, body: Bytes) {
        match record {
            Record::Event(head) => self.event(head, body),
            Record::Relocated(head) => self.relocated(head, body),
            Record::Outcomes(outcomes) => self.outcomes(outcomes),
            Record::Name(kind, id, name) => self.name(*kind, *id, name),
            Record::Control(control) => self.control(control),
            Record::Selection(selection) => self.selection(selection),
            Record::Replay(replay) => self.replay(replay),
            Record::Windows(windows) => self.windows(windows),
            Record::Digest(digest) => self.digest(digest),
        }
    }

    /// The record heads that were added.
    pub fn into_heads(self) -> Vec<u8> {
        self.heads
    }

    fn record(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        self.record_with(kind, 0, fill);
    }

    fn record_with(&mut self, kind: u8, flags: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.heads.len();
        self.heads.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
        fill(&mut self.heads);
        let length = count(self.heads.len() - start);
        self.heads[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        self.records += 1;
    }

    /// Writes the group out for its place, and empties the builder. Panics if no reader would take it: whoever adds to it counts.
    pub fn finish(&mut self, at: GroupPlace, out: &mut Vec<u8>) {
        assert!(self.heads.len() <= HEADS_MAX, "a group of {} bytes of heads could not be read", self.heads.len());
        out.clear();
        out.reserve_exact(self.length());
        put_u32(out, GROUP_MAGIC);
        put_u32(out, 0);
        for number in [at.segment, at.offset, at.group, at.durable_up_to, at.first_sequence] {
            put_u64(out, number);
        }
        for number in [count(self.heads.len()), count(self.bodies_bytes), self.events, self.records] {
            put_u32(out, number);
        }
        out.extend_from_slice(&self.heads);
        let crc = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bodies.iter().for_each(|body| out.extend_from_slice(body));
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        self.clear();
    }

    /// Empties the builder, and gives back the room that one large group took.
    pub fn clear(&mut self) {
        const KEPT: usize = 1 << 20;
        self.heads.clear();
        self.heads.shrink_to(KEPT);
        self.bodies.clear();
        (self.bodies_bytes, self.events, self.records, self.of_lanes) = (0, 0, 0, 0);
    }
}

/// Where a group goes.
#[derive(Clone, Copy, Debug)]
pub struct GroupPlace {
    pub segment: u64,
    pub offset: u64,
    /// Which group it is.
    pub group: u64,
    /// Up to where the segment is synced.
    pub durable_up_to: u64,
    /// What its first event has as sequence number.
    pub first_sequence: u64,
}
