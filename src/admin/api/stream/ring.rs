//! The last frames, for whoever reads them a little later: in the steps in which they came, numbered through.
//!
//! Readers have no queue of their own. One that falls behind what is kept is told so, and asks anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;

use crate::event::EventId;
use crate::store::{DeliveryState, NameId, Others, StoredEvent};

/// Frames that are kept.
pub(super) const FRAMES_MAX: usize = 4096;
/// Bytes of them, with the bodies of the events that they are about.
pub(super) const BYTES_MAX: usize = 2 << 20;
/// About what an entry takes by itself, with a frame of usual length.
const ENTRY_BYTES: usize = 512;
/// What is kept of where a delivery stands, but for its reason.
const DELIVERY_BYTES: usize = 64;

/// What a frame is made of, once somebody wants it.
#[derive(Debug)]
pub(super) enum Entry {
    /// An event that arrived, and its frame, once it is made.
    Event { event: Arc<StoredEvent>, frame: OnceLock<Bytes> },
    /// Events of which only the number is known.
    Others(Others),
    /// Where deliveries of an event stand now.
    Deliveries { event: EventId, now: Vec<(NameId, DeliveryState)> },
    /// Outcomes of which only the number is known.
    DeliveriesBesides(u64),
    /// The same for all: its kind, and its data in JSON.
    Told { kind: &'static str, data: Box<str> },
    /// What the running minute has counted, in JSON, as long as nothing newer says it: only the newest of these is kept.
    Minute(Weak<str>),
    /// A command was done: what is known of deliveries may not be so any more.
    Reset,
}

impl Entry {
    pub(super) fn of_event(event: Arc<StoredEvent>) -> Self {
        Self::Event { event, frame: OnceLock::new() }
    }

    /// About what it takes, before a frame is made of it.
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Event { event, .. } => {
                    event.body.len() + std::mem::size_of_val(&*event.rules) + std::mem::size_of_val(&*event.deliveries)
                }
                Self::Deliveries { now, .. } => {
                    let reason = |state: &DeliveryState| match state {
                        DeliveryState::Scheduled { reason, .. }
                        | DeliveryState::Dead { reason, .. }
                        | DeliveryState::Skipped { reason, .. } => reason.len(),
                        _ => 0,
                    };
                    now.iter().map(|(_, state)| DELIVERY_BYTES + reason(state)).sum()
                }
                Self::Told { data, .. } => data.len(),
                Self::Others(_) | Self::DeliveriesBesides(_) | Self::Minute(_) | Self::Reset => 0,
            }
    }
}

/// What came together.
#[derive(Debug)]
pub(super) struct Step {
    /// The number of its first frame.
    pub first: u64,
    pub entries: Vec<Entry>,
    /// About what it takes: more, once frames are made.
    bytes: AtomicUsize,
}

impl Step {
    /// The entries behind a frame, each with its number.
    pub(super) fn behind(&self, number: u64) -> impl Iterator<Item = (u64, &Entry)> {
        (self.first..).zip(&self.entries).filter(move |(at, _)| *at > number)
    }

    /// Counts a frame of so many bytes that was made for an event, and is kept. Returns whether it makes a difference.
    pub(super) fn keeps(&self, frame_bytes: usize) -> bool {
        let more = frame_bytes.saturating_sub(ENTRY_BYTES);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        more > 0
    }

    /// The number of its last frame.
    pub(super) fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }
}

/// What a reader has not seen.
#[derive(Debug)]
pub(super) enum Behind {
    Nothing,
    Step(Arc<Step>),
    /// More than is kept; it goes on behind the newest frame.
    TooFar {
        newest: u64,
    },
}

/// The last steps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The number of the newest frame; 0 before the first.
    last: u64,
    steps: VecDeque<Arc<Step>>,
    frames: usize,
}

impl Ring {
    /// The number of the newest frame.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a step; one without entries is none.
    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let bytes = entries.iter().map(Entry::bytes).sum();
        let step = Step { first: self.last + 1, entries, bytes: AtomicUsize::new(bytes) };
        self.last = step.last();
        self.frames += step.entries.len();
        self.steps.push_back(Arc::new(step));
        self.trim();
    }

    /// Forgets the oldest steps, where there is too much. The newest is kept, however large it is.
    pub(super) fn trim(&mut self) {
        let bytes_of = |step: &Arc<Step>| step.bytes.load(Ordering::Relaxed);
        let mut bytes: usize = self.steps.iter().map(bytes_of).sum();
        while self.steps.len() > 1 && (self.frames > FRAMES_MAX || bytes > BYTES_MAX) {
            let Some(oldest) = self.steps.pop_front() else { break };
            self.frames -= oldest.entries.len();
            // A reader may have made more of it since it was counted.
            bytes = bytes.saturating_sub(bytes_of(&oldest));
        }
    }

    /// Whether an event is kept that arrived with another one or before it.
    pub(super) fn has_one_up_to(&self, other: EventId) -> bool {
        let mut entries = self.steps.iter().flat_map(|step| &step.entries);
        let is_one = |event: &StoredEvent| event.id.sequence() <= other.sequence();
        entries.any(|entry| matches!(entry, Entry::Event { event, .. } if is_one(event)))
    }

    /// What comes behind a frame.
    pub(super) fn behind(&self, number: u64) -> Behind {
        if number == self.last {
            return Behind::Nothing;
        }
        let first = self.steps.front().map_or(self.last + 1, |step| step.first);
        if number > self.last || number + 1 < first {
            return Behind::TooFar { newest: self.last };
        }
        let at = self.steps.partition_point(|step| step.last() <= number);
        self.steps.get(at).map_or(Behind::Nothing, |step| Behind::Step(step.clone()))
    }

    /// Forgets all frames, but not how many there were. From here on something may be missed, so who had seen all of them has not now.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last + 1, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PlannedDelivery;

    fn resets(count: usize) -> Vec<Entry> {
        (0..count).map(|_| Entry::Reset).collect()
    }

    fn event(body_bytes: usize) -> Entry {
        Entry::of_event(Arc::new(StoredEvent {
            id: EventId::mint(0, 0, 1),
            received_ms: 0,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: vec![0; body_bytes].into(),
            is_redacted: false,
        }))
    }

    #[track_caller]
    fn check(ring: &Ring, number: u64, expected: &str) {
        let told = match ring.behind(number) {
            Behind::Nothing => "nothing".to_owned(),
            Behind::TooFar { .. } => "too far".to_owned(),
            Behind::Step(step) => format!("{}-{}", step.first, step.last()),
        };
        assert_eq!(told, expected, "behind {number}");
    }

    #[test]
    fn a_reader_gets_the_first_step_that_it_has_not_seen_to_the_end() {
        let mut ring = Ring::default();
        check(&ring, 0, "nothing");
        check(&ring, 1, "too far");
        ring.push(resets(3));
        ring.push(resets(0));
        ring.push(resets(2));
        check(&ring, 0, "1-3");
        check(&ring, 2, "1-3");
        check(&ring, 3, "4-5");
        check(&ring, 4, "4-5");
        check(&ring, 5, "nothing");
        check(&ring, 6, "too far");
        check(&ring, u64::MAX, "too far");
    }

    #[test]
    fn so_many_frames_are_kept_and_the_newest_step_whatever_it_has() {
        let mut ring = Ring::default();
        ring.push(resets(1));
        ring.push(resets(FRAMES_MAX - 1));
        check(&ring, 0, "1-1");
        ring.push(resets(1));
        check(&ring, 0, "too far");
        check(&ring, 1, &format!("2-{FRAMES_MAX}"));
        ring.push(resets(FRAMES_MAX + 1));
        check(&ring, FRAMES_MAX as u64 + 1, &format!("{}-{}", FRAMES_MAX + 2, FRAMES_MAX * 2 + 2));
    }

    #[test]
    fn so_many_bytes_are_kept_of_bodies_of_reasons_and_of_what_is_the_same_for_all() {
        let mut ring = Ring::default();
        let text = "x".repeat(BYTES_MAX / 2);
        let dead = DeliveryState::Dead { attempts: 1, at_ms: 0, reason: text.clone() };
        for large in [
            event(BYTES_MAX / 2),
            Entry::Deliveries { event: EventId::mint(0, 0, 1), now: vec![(NameId(1), dead)] },
            Entry::Told { kind: "destination", data: text.into() },
        ] {
            ring.push(vec![large]);
            ring.push(resets(1));
            let behind = ring.last() - 2;
            check(&ring, behind, &format!("{0}-{0}", behind + 1));
            ring.push(vec![event(BYTES_MAX / 2)]);
            check(&ring, behind, "too far");
            ring.clear();
        }
    }

    #[test]
    fn rules_and_deliveries_of_an_event_count_and_so_does_a_frame_that_is_made_of_it() {
        let planned = PlannedDelivery { destination: NameId(0), rule: NameId(0) };
        let (few, many) = (1_000, 10_000);
        let of = |rules: usize, deliveries: usize| {
            let Entry::Event { event, .. } = event(0) else { panic!("an event") };
            let (rules, deliveries) = (vec![NameId(0); rules], vec![planned; deliveries]);
            Entry::of_event(Arc::new(StoredEvent { rules, deliveries, ..(*event).clone() })).bytes()
        };
        assert!(of(many, 0) - of(few, 0) >= (many - few) * 4);
        assert!(of(0, many) - of(0, few) >= (many - few) * 8);
        let mut ring = Ring::default();
        ring.push(vec![event(0)]);
        ring.push(vec![event(0)]);
        let Behind::Step(newest) = ring.behind(1) else { panic!("a step") };
        assert!(!newest.keeps(ENTRY_BYTES), "so much is counted before");
        assert!(newest.keeps(BYTES_MAX));
        check(&ring, 0, "1-1");
        ring.trim();
        check(&ring, 0, "too far");
        check(&ring, 1, "2-2");
    }

    #[test]
    fn the_running_minute_is_kept_once_however_often_it_is_told() {
        let mut ring = Ring::default();
        let mut running: Arc<str> = "".into();
        for at in 0..FRAMES_MAX {
            running = format!("{at}{}", "x".repeat(BYTES_MAX / 64)).into();
            ring.push(vec![Entry::Minute(Arc::downgrade(&running))]);
        }
        let kept = ring.steps.iter().flat_map(|step| &step.entries).filter_map(|entry| match entry {
            Entry::Minute(data) => data.upgrade(),
            _ => None,
        });
        assert_eq!(kept.collect::<Vec<_>>(), [running]);
        assert_eq!(ring.steps.len(), FRAMES_MAX);
    }

    #[test]
    fn what_is_forgotten_is_too_far_behind_and_numbers_go_on() {
        let mut ring = Ring::default();
        ring.push(resets(3));
        ring.clear();
        check(&ring, 2, "too far");
        check(&ring, 3, "too far");
        ring.push(resets(1));
        check(&ring, ring.last() - 1, "5-5");
        check(&ring, 3, "too far");
    }
}
