//! Where everything stands: recovery fills it in, and the running journal goes on from it.

use std::collections::HashMap;

use super::names::Names;
use super::segments::SegmentInfo;
use super::words::TailRecord;
use crate::store::queues::Queue;
use crate::store::{DigestId, NameId};

/// Where everything stands, by what was read.
#[derive(Default)]
pub struct State {
    /// The journal's own number, if it has one yet.
    pub number: Option<u64>,
    /// All segments, oldest first; the last one ends where its sound groups do.
    pub segments: Vec<SegmentInfo>,
    pub names: Names,
    /// Of every destination, and of sources that somebody acted on.
    pub queues: HashMap<NameId, Queue>,
    /// The number for the next event.
    pub next_sequence: u64,
    /// The number for the next group.
    pub next_group: u64,
    /// The greatest number of a digest that is known.
    pub last_digest: Option<DigestId>,
}

impl State {
    /// The number of the newest segment; 0 where there is none.
    pub fn newest_segment(&self) -> u64 {
        self.segments.last().map_or(0, |info| info.segment)
    }

    /// Whether something waits of an event that would still get its number: then the journal has lost its end.
    pub fn knows_more_events(&self) -> bool {
        self.queues.values().any(|queue| queue.knows_from(self.next_sequence))
    }

    /// Deliveries that wait, in all destinations together.
    pub fn backlog(&self) -> u64 {
        self.queues.values().map(Queue::backlog).sum()
    }
}

/// The end of the newest segment that was found. What of it may never have been synced goes into the first new one.
#[derive(Default)]
pub struct OldEnd {
    /// Up to where the segment was synced for sure.
    pub mark: u64,
    /// What lies behind that.
    pub tail: Vec<TailRecord>,
    /// The number of the first event among it, or of the next.
    pub tail_first: u64,
}
