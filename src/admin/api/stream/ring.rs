//! The last frames, for whoever reads them a little later: in the steps in which they came, numbered through.
//!
//! Readers have no queue of their own. One that falls behind what is kept is told so, and asks anew.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::event::EventId;
use crate::store::{DeliveryState, NameId, Others, StoredEvent};

/// Frames that are kept.
pub(super) const FRAMES_MAX: usize = 4096;
/// Bytes of them, with the bodies of the events that they are about.
pub(super) const BYTES_MAX: usize = 2 << 20;

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
    Told { kind: &'static str, data: serde_json::Value },
    /// What is known of deliveries may not be so any more.
    Reset,
}

impl Entry {
    pub(super) fn of_event(event: Arc<StoredEvent>) -> Self {
        Self::Event { event, frame: OnceLock::new() }
    }

    /// About what it takes.
    fn bytes(&self) -> usize {
        /// A frame of usual length.
        const FRAME: usize = 512;
        /// What is kept of a delivery, but for its reason.
        const DELIVERY: usize = 64;
        FRAME
            + match self {
                Self::Event { event, .. } => event.body.len() + std::mem::size_of_val(&*event.rules),
                Self::Deliveries { now, .. } => {
                    let reason = |state: &DeliveryState| match state {
                        DeliveryState::Scheduled { reason, .. }
                        | DeliveryState::Dead { reason, .. }
                        | DeliveryState::Skipped { reason, .. } => reason.len(),
                        _ => 0,
                    };
                    now.iter().map(|(_, state)| DELIVERY + reason(state)).sum()
                }
                Self::Told { .. } | Self::Others(_) | Self::DeliveriesBesides(_) | Self::Reset => 0,
            }
    }
}

/// What came together.
#[derive(Debug)]
pub(super) struct Step {
    /// The number of its first frame.
    pub first: u64,
    pub entries: Vec<Entry>,
    bytes: usize,
}

impl Step {
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
    /// More than is kept.
    TooFar,
}

/// The last steps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The number of the newest frame; 0 before the first.
    last: u64,
    steps: VecDeque<Arc<Step>>,
    frames: usize,
    bytes: usize,
}

impl Ring {
    /// The number of the newest frame.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a step; one without entries is none. The newest is kept, however large it is.
    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let bytes = entries.iter().map(Entry::bytes).sum();
        let step = Step { first: self.last + 1, entries, bytes };
        self.last = step.last();
        self.frames += step.entries.len();
        self.bytes += bytes;
        self.steps.push_back(Arc::new(step));
        while self.steps.len() > 1 && (self.frames > FRAMES_MAX || self.bytes > BYTES_MAX) {
            let Some(oldest) = self.steps.pop_front() else { break };
            self.frames -= oldest.entries.len();
            self.bytes -= oldest.bytes;
        }
    }

    /// What comes behind a frame.
    pub(super) fn behind(&self, number: u64) -> Behind {
        if number == self.last {
            return Behind::Nothing;
        }
        let first = self.steps.front().map_or(self.last + 1, |step| step.first);
        if number > self.last || number + 1 < first {
            return Behind::TooFar;
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
        }))
    }

    #[track_caller]
    fn check(ring: &Ring, number: u64, expected: &str) {
        let told = match ring.behind(number) {
            Behind::Nothing => "nothing".to_owned(),
            Behind::TooFar => "too far".to_owned(),
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
    fn so_many_bytes_are_kept_of_bodies_and_of_reasons() {
        let mut ring = Ring::default();
        let reason = "x".repeat(BYTES_MAX / 2);
        let dead = DeliveryState::Dead { attempts: 1, at_ms: 0, reason };
        for large in
            [event(BYTES_MAX / 2), Entry::Deliveries { event: EventId::mint(0, 0, 1), now: vec![(NameId(1), dead)] }]
        {
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
