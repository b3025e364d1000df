//! The journal's bytes: segment headers, groups and records, and nothing that touches a disk.
//!
//! # Layout, format version 2 (all integers little-endian)
//!
//! A **segment** is a file of groups behind a header. The header repeats everything that is needed to read the segment alone:
//! the name table, and which destinations are paused.
//!
//! ```text
//! header  magic "VEROJRNL" | version u32 | header length u32 | segment u64 | first sequence u64 | first group u64
//!         journal u64 | created ms u64 | sealed segment u64 | sealed at u64 | names u32 | pauses u32
//!         names: kind u8, number u32, length u16, text … | pauses: number u32, since ms u64, length u16, text …
//!         marks u32, and for each: number u32, what u8, since ms u64     (breaker open, removed, held; not in version 1)
//!         zeros to a multiple of 8, less 4 | CRC32C u32 over all before it
//! group   magic u32 | CRC32C u32 over the rest of the head and the record heads | segment u64 | own offset u64 | group u64
//!         durable up to u64 | first sequence u64 | heads length u32 | bodies length u32 | events u32 | records u32
//!         record heads … | bodies … | zeros to a multiple of 8
//! record  kind u8, 0 u8 ×3, head length u32, and by kind:
//!   1 event     body length u32 | body CRC32C u32 | id 16 bytes | source u32 | generation u32 | rules u32 | deliveries u32
//!               rule u32 … | destination u32, rule u32 …
//!   2 outcomes  count u32, and for each: state u8, end u8, attempts u16 | destination u32 | to u32 | sequence u64 | at ms u64
//!               delivered: end 0 arrived, 1 skipped, 2 dropped, 3 moved to; else 0
//!               postponed: first attempt ms u64, due ms u64;  postponed and dead: length u16, reason
//!   3 name      kind u8 | number u32 | length u16, text
//!   4 control   what u8 | destination u32 | at ms u64 | length u16, reason
//!   5 carried   as 1: an event of an older segment, moved here before that one was removed. Its number is not dense
//!   6 selection act u8 | destination u32 | at ms u64 | replay 16 bytes | length u16, reason
//!               chunks u32, and for each: key u64 | length u32, bytes;  moved and yielded: to u32
//!   7 replay    done u8 | replay 16 bytes | at ms u64 | cursor u64 | until u64 | selected u64 | length u32, spec
//! ```
//!
//! Version 1 had records 1 to 4 and no marks; it is read as it is.
//!
//! Record heads lie together and bodies behind them, so one CRC and one read cover what a scan needs, and a body can be erased in
//! place: its CRC stands in its head. A group says where it lies (segment and offset), so bytes of another time are never taken
//! for it; and up to where its segment was synced before it was written, so damage below that mark is told from a torn tail.

mod acts;
mod codec;
mod header;
mod limits;

use bytes::Bytes;

pub use self::acts::{Act, Control, ReplayRecord, SelectionRecord};
use self::acts::{decode_replay, encode_replay};
pub use self::codec::cut;
use self::codec::{Take, count, kind_from_u8, kind_to_u8, put_text, put_u32, put_u64};
pub use self::header::{HeaderError, SegmentHeader};
pub use self::limits::*;
use crate::event::EventId;
use crate::store::{DeliveryKey, NameId, NameKind, PlannedDelivery};

/// The format this release writes.
pub const VERSION: u32 = 2;
/// The oldest that it reads.
pub const VERSION_MIN: u32 = 1;

const MAGIC: &[u8; 8] = b"VEROJRNL";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"VGRP");

/// Bytes of a group's own head.
pub const GROUP_HEAD: usize = 64;
/// Groups begin at multiples of this, so that a search for the next one steps by it.
pub const ALIGN: usize = 8;
const HEADER_FIXED: usize = 80;

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

/// A record's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event.
    Event(EventHead),
    /// An event of an older segment, moved here.
    Carried(EventHead),
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
}

/// An event without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Its id.
    pub id: EventId,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// CRC32C of its body.
    pub body_crc: u32,
    /// The way it came in by.
    pub source: NameId,
    /// Which generation of the config routed it.
    pub generation: u32,
    /// The rules that matched.
    pub rules: Vec<NameId>,
    /// Where it goes.
    pub deliveries: Vec<PlannedDelivery>,
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Attempts made in all.
    pub attempts: u16,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub state: OutcomeState,
}

/// The states that are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeState {
    /// The destination has it.
    Delivered,
    /// There was nothing to send. Older releases read this, and the next two, as delivered: it is over.
    Skipped,
    /// It was a dead letter and was dropped: said again where its event is carried.
    Dropped,
    /// It was given to another destination: said again where its event is carried.
    Moved(NameId),
    /// To be tried again.
    Postponed {
        /// When the first attempt was made.
        first_attempt_ms: u64,
        /// When the next is due.
        due_ms: u64,
        /// What the last one came to.
        reason: String,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: String,
    },
}

const KIND_EVENT: u8 = 1;
const KIND_OUTCOMES: u8 = 2;
const KIND_NAME: u8 = 3;
const KIND_CONTROL: u8 = 4;
const KIND_CARRIED: u8 = 5;
const KIND_SELECTION: u8 = 6;
const KIND_REPLAY: u8 = 7;

const STATE_DELIVERED: u8 = 1;
const STATE_POSTPONED: u8 = 2;
const STATE_DEAD: u8 = 3;

const END_ARRIVED: u8 = 0;
const END_SKIPPED: u8 = 1;
const END_DROPPED: u8 = 2;
const END_MOVED: u8 = 3;

/// Collects records and bodies into one group.
#[derive(Debug, Default)]
pub struct GroupBuilder {
    heads: Vec<u8>,
    /// As they came: they are copied once, into the group.
    bodies: Vec<Bytes>,
    bodies_bytes: usize,
    events: u32,
    records: u32,
}

impl GroupBuilder {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records == 0
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
        let (heads, bodies, records) = (self.heads.len(), self.bodies.len(), self.records);
        let (bodies_bytes, events) = (self.bodies_bytes, self.events);
        add(self);
        let fits = records == 0 || self.heads.len() <= heads_max;
        if !fits {
            self.heads.truncate(heads);
            self.bodies.truncate(bodies);
            (self.bodies_bytes, self.events, self.records) = (bodies_bytes, events, records);
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
    pub fn carried(&mut self, head: &EventHead, body: Bytes) {
        self.event_as(KIND_CARRIED, head, body);
    }

    fn event_as(&mut self, kind: u8, head: &EventHead, body: Bytes) {
        debug_assert_eq!(head.body_bytes as usize, body.len());
        self.record(kind, |out| {
            put_u32(out, head.body_bytes);
            put_u32(out, head.body_crc);
            out.extend_from_slice(&head.id.to_bytes());
            put_u32(out, head.source.0);
            put_u32(out, head.generation);
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
                    OutcomeState::Postponed { .. } => (STATE_POSTPONED, 0, 0),
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
                    OutcomeState::Postponed { first_attempt_ms, due_ms, reason } => {
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

    fn record(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.heads.len();
        self.heads.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
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
        (self.bodies_bytes, self.events, self.records) = (0, 0, 0);
    }
}

/// Where a group goes.
#[derive(Clone, Copy, Debug)]
pub struct GroupPlace {
    /// In which segment.
    pub segment: u64,
    /// At which offset.
    pub offset: u64,
    /// Which group it is.
    pub group: u64,
    /// Up to where the segment is synced.
    pub durable_up_to: u64,
    /// What its first event has as sequence number.
    pub first_sequence: u64,
}

/// Reads the record heads of a sound group, in order. Stops at the first that does not hold together.
pub fn records(heads: &[u8]) -> impl Iterator<Item = Record> + '_ {
    let mut rest = heads;
    std::iter::from_fn(move || {
        let mut take = Take(rest);
        let kind = take.u8()?;
        take.bytes(3)?;
        let length = take.u32()? as usize;
        let record = rest.get(8..length)?;
        rest = rest.get(length..)?;
        decode_record(kind, record)
    })
}

fn decode_record(kind: u8, content: &[u8]) -> Option<Record> {
    let mut take = Take(content);
    match kind {
        KIND_EVENT => decode_event(&mut take).map(Record::Event),
        KIND_CARRIED => decode_event(&mut take).map(Record::Carried),
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
        _ => None,
    }
}

fn decode_event(take: &mut Take<'_>) -> Option<EventHead> {
    let (body_bytes, body_crc) = (take.u32()?, take.u32()?);
    let id = EventId::from_bytes(take.bytes(16)?.try_into().ok()?);
    let (source, generation) = (NameId(take.u32()?), take.u32()?);
    let (rules, deliveries) = (take.u32()?, take.u32()?);
    let mut head =
        EventHead { id, body_bytes, body_crc, source, generation, rules: Vec::new(), deliveries: Vec::new() };
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
    let (state, end) = (take.u8()?, take.u8()?);
    let attempts = u16::from_le_bytes(take.bytes(2)?.try_into().ok()?);
    let (destination, to) = (NameId(take.u32()?), NameId(take.u32()?));
    let key = DeliveryKey { sequence: take.u64()?, destination };
    let at_ms = take.u64()?;
    let state = match state {
        STATE_DELIVERED => match end {
            END_SKIPPED => OutcomeState::Skipped,
            END_DROPPED => OutcomeState::Dropped,
            END_MOVED => OutcomeState::Moved(to),
            _ => OutcomeState::Delivered,
        },
        STATE_POSTPONED => {
            OutcomeState::Postponed { first_attempt_ms: take.u64()?, due_ms: take.u64()?, reason: take.text()? }
        }
        STATE_DEAD => OutcomeState::Dead { reason: take.text()? },
        _ => return None,
    };
    Some(OutcomeRecord { key, attempts, at_ms, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Pause, Selecting, Standing};
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = OutcomeRecord> {
        let state = prop_oneof![
            Just(OutcomeState::Delivered),
            Just(OutcomeState::Skipped),
            Just(OutcomeState::Dropped),
            any::<u32>().prop_map(|to| OutcomeState::Moved(NameId(to))),
            (any::<u64>(), any::<u64>(), "\\PC{0,20}").prop_map(|(first_attempt_ms, due_ms, reason)| {
                OutcomeState::Postponed { first_attempt_ms, due_ms, reason }
            }),
            "\\PC{0,20}".prop_map(|reason| OutcomeState::Dead { reason }),
        ];
        (any::<u64>(), any::<u32>(), any::<u16>(), any::<u64>(), state).prop_map(
            |(sequence, destination, attempts, at_ms, state)| OutcomeRecord {
                key: DeliveryKey { sequence, destination: NameId(destination) },
                attempts,
                at_ms,
                state,
            },
        )
    }

    proptest! {
        #[test]
        fn a_group_reads_back_as_written(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            outcomes in prop::collection::vec(outcome(), 0..5),
            name in "\\PC{0,20}",
        ) {
            let mut builder = GroupBuilder::default();
            let mut expected = Vec::new();
            for (i, body) in bodies.iter().enumerate() {
                let head = EventHead {
                    id: EventId::mint(7, 1, i as u64),
                    body_bytes: body.len() as u32,
                    body_crc: crc32c::crc32c(body),
                    source: NameId(3),
                    generation: 4,
                    rules: vec![NameId(9)],
                    deliveries: vec![PlannedDelivery { destination: NameId(1), rule: NameId(9) }],
                };
                builder.event(&head, Bytes::copy_from_slice(body));
                expected.push(Record::Event(head));
            }
            builder.outcomes(&outcomes);
            expected.push(Record::Outcomes(outcomes));
            builder.name(NameKind::Rule, NameId(5), &name);
            expected.push(Record::Name(NameKind::Rule, NameId(5), name));
            for act in [
                Act::Pause("410".into()), Act::Resume, Act::Open, Act::Close, Act::Remove, Act::Restore, Act::RetryNow, Act::Hold,
            ] {
                let control = Control { destination: NameId(2), at_ms: 5, act };
                builder.control(&control);
                expected.push(Record::Control(control));
            }
            let moves = [Selecting::Move(NameId(7)), Selecting::Yield(NameId(7))];
            for act in [Selecting::Again, Selecting::Bury, Selecting::Drop].into_iter().chain(moves) {
                let sequences = [1, 2, 70_000].into_iter().collect();
                let reason = "operator".to_owned();
                let selection = SelectionRecord { destination: NameId(3), at_ms: 6, act, command: 99, reason, sequences };
                builder.selection(&selection);
                expected.push(Record::Selection(selection));
            }
            let replay = ReplayRecord {
                id: u128::MAX, at_ms: 8, cursor: 1, until: 2, selected: 3, is_done: true, spec: "{}".repeat(2000),
            };
            builder.replay(&replay);
            expected.push(Record::Replay(replay));
            let head = EventHead {
                id: EventId::mint(7, 1, 77), body_bytes: 2, body_crc: 0, source: NameId(3), generation: 4,
                rules: Vec::new(), deliveries: Vec::new(),
            };
            builder.carried(&head, Bytes::from_static(b"{}"));
            expected.push(Record::Carried(head));

            let mut bytes = Vec::new();
            let place = GroupPlace { segment: 2, offset: 64, group: 3, durable_up_to: 64, first_sequence: 0 };
            builder.finish(place, &mut bytes);
            let head = GroupHead::peek(&bytes, 2, 64).expect("a group");
            prop_assert!(head.is_sound(&bytes));
            prop_assert_eq!(head.length(), bytes.len() as u64);
            prop_assert_eq!(records(&bytes[GROUP_HEAD..head.heads_end()]).collect::<Vec<_>>(), expected);
            prop_assert!(GroupHead::peek(&bytes, 2, 72).is_none(), "it says where it lies");
            prop_assert!(GroupHead::peek(&bytes, 1, 64).is_none());
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = records(&bytes).count();
            let _ = SegmentHeader::decode(&bytes);
        }
    }

    #[test]
    fn a_header_reads_back_and_any_changed_byte_is_noticed() {
        let header = SegmentHeader {
            segment: 3,
            first_sequence: 100,
            first_group: 7,
            journal: 0xabcd,
            created_ms: 5,
            sealed_segment: 2,
            sealed_at: 4096,
            names: vec![(NameKind::Destination, NameId(1), "crm".into()), (NameKind::Rule, NameId(2), "ä".into())],
            standings: vec![
                (
                    NameId(1),
                    Standing { paused: Some(Pause { since_ms: 9, reason: "gone".into() }), ..Standing::default() },
                ),
                (NameId(2), Standing { open_since_ms: Some(4), removed_since_ms: Some(5), ..Standing::default() }),
                (NameId(4), Standing { held_since_ms: Some(6), ..Standing::default() }),
            ],
        };
        let bytes = header.encode();
        assert!(bytes.len().is_multiple_of(ALIGN));
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x10;
            assert!(SegmentHeader::decode(&damaged).is_err(), "byte {i}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_its_number() {
        let mut bytes = b"VEROJRNL".to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&104u32.to_le_bytes());
        bytes.resize(100, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::UnknownVersion(3)));
        bytes[50] = 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_text_is_cut_at_its_limit_on_a_characters_boundary() {
        let cut = |text: &str| {
            let mut out = Vec::new();
            put_text(&mut out, text);
            Take(&out).text().expect("utf-8")
        };
        let exact = "a".repeat(TEXT_MAX);
        assert_eq!(cut(&exact), exact);
        assert_eq!(cut(&format!("{}ä", "a".repeat(TEXT_MAX - 1))), "a".repeat(TEXT_MAX - 1));
    }
}
