//! What waits for one destination: pure bookkeeping, no disk and no clock of its own.
//!
//! [`claim`]: handing out. [`held`]: what waits for its source. [`lanes`]: in which order it goes out, where that is sorted. [`time`]: when
//! retries are due, and what time counts. [`ask`]: questions. [`erase`]: what becomes of an event that is erased.
//!
//! A delivery is in exactly one place: in `held` (its source is held), in `unsettled` (no attempt settled yet), in `redeliveries` (somebody asked for them), in
//! `scheduled`, in `dead`, or nowhere, when it has arrived. A claim enters `claimed` on top. What lies in a set costs a bit, so
//! neither a backlog nor a heap of dead letters costs memory; `scheduled` is bounded by [`SCHEDULED_MAX`], since beyond it no first
//! attempts are handed out.
//!
//! The journal's records are applied by the same functions that made them, so reading it leads to the state that was written. Each
//! sets a delivery's place whatever it was before: reading a range twice changes no place. Only the time that did not count may be
//! taken off twice then, so that a delivery is given up later, and never earlier.

mod ask;
mod claim;
mod erase;
mod held;
mod lanes;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use self::lanes::Lanes;
pub use self::lanes::{Closed, Ended, News, Oldest, Placed};
use super::acts::{Act, BulkAct};
use super::bitmap::Bitmap;
use super::outcomes::{DeliveryKey, OutcomeState};
use crate::event::EventId;
use crate::store::{self, DeliveryId, DeliveryState, DigestId, HeldBy, NameId, NameState, Pause, WindowHead};

/// Scheduled deliveries of one destination. When so many wait for another attempt, no first attempts are made: what is down
/// need not be asked ten thousand times, and each of them costs memory.
pub const SCHEDULED_MAX: usize = 10_000;

/// A delivery that waits for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub attempts: u16,
    /// When the first was made, unix milliseconds; moved on by the time that did not count.
    pub first_attempt_ms: u64,
    /// What the last one came to. Shared with copies: a checkpoint copies every queue.
    pub reason: Arc<str>,
}

/// What waits for one destination.
#[derive(Debug)]
pub struct Queue {
    destination: NameId,
    /// Deliveries of which no attempt is settled.
    unsettled: Bitmap,
    /// Everything in `unsettled` below this has been handed out.
    cursor: u64,
    /// Deliveries selected to go out again.
    redeliveries: Bitmap,
    redelivery_cursor: u64,
    /// Handed back; goes out first.
    returned: VecDeque<Claim>,
    /// By when it is due, then by age.
    scheduled: BTreeMap<(u64, u64), Scheduled>,
    /// When each scheduled delivery is due, to find it by its number.
    due: BTreeMap<u64, u64>,
    /// What is in flight, or was handed back.
    claimed: BTreeMap<u64, Origin>,
    /// What was in somebody's hands when its event was erased. A start begins without: nothing is in hand then.
    erased_in_hand: Bitmap,
    dead: Bitmap,
    /// What came in while its source is held, by source.
    held: BTreeMap<NameId, Bitmap>,
    /// What was held before, by when it was let go, in milliseconds that the store had lived through: it is as old as that. What is
    /// settled since may be in it still.
    let_go: BTreeMap<u64, Bitmap>,
    /// Of a destination whose section sorts, or that has digests; elsewhere there are none.
    lanes: Option<Box<Lanes>>,
    /// Its worker has said what its section does.
    is_told: bool,
    state: NameState,
    /// Since when time does not count, because it is paused or its breaker is open.
    stopped_since: Option<u64>,
    turn: usize,
}

/// A delivery that was handed out, by its event's number; of a digest, the first of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: DeliveryKey,
    /// Attempts made before this claim.
    pub attempts: u16,
    /// When the first attempt was made, unix milliseconds; `None` before it.
    pub first_attempt_ms: Option<u64>,
    /// When it was due, unix milliseconds; `None` for a first attempt.
    pub due_ms: Option<u64>,
    /// The digest that it is instead.
    pub digest: Option<DigestId>,
}

impl Claim {
    /// As the worker knows it, whose event has this id.
    pub fn of_event(self, event: EventId) -> store::Claim {
        let Self { key: DeliveryKey { destination, .. }, attempts, first_attempt_ms, due_ms, digest } = self;
        store::Claim { delivery: DeliveryId { event, destination }, attempts, first_attempt_ms, due_ms, digest }
    }
}

impl From<store::Claim> for Claim {
    fn from(claim: store::Claim) -> Self {
        let store::Claim { delivery, attempts, first_attempt_ms, due_ms, digest } = claim;
        let key = DeliveryKey { sequence: delivery.event.sequence(), destination: delivery.destination };
        Self { key, attempts, first_attempt_ms, due_ms, digest }
    }
}

/// Where a claim came from, and goes back to where nothing comes of it.
#[derive(Clone, Debug)]
enum Origin {
    /// A first attempt or a redelivery: it still lies in its set.
    Fresh,
    Retry {
        due_ms: u64,
        entry: Scheduled,
    },
}

impl Origin {
    /// When it was due, and the rest, where it was scheduled.
    fn retry(&self) -> Option<(u64, &Scheduled)> {
        match self {
            Self::Fresh => None,
            Self::Retry { due_ms, entry } => Some((*due_ms, entry)),
        }
    }
}

/// What of a queue is written down now and then, so that opening need not read the whole journal.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Deliveries of which no attempt is settled.
    pub unsettled: Bitmap,
    /// Deliveries selected to go out again.
    pub redeliveries: Bitmap,
    pub dead: Bitmap,
    /// What waits for another attempt: number, due time, and the rest.
    pub scheduled: Vec<(u64, u64, Scheduled)>,
    /// What came in while its source is held, by source.
    pub held: BTreeMap<NameId, Bitmap>,
    /// What was held before and was not attempted yet, by when it was let go.
    pub let_go: BTreeMap<u64, Bitmap>,
    /// The windows that are open; what lies in them is derived.
    pub windows: Vec<WindowHead>,
    pub digests: Vec<(DigestId, Closed)>,
}

impl Queue {
    pub fn new(destination: NameId) -> Self {
        Self {
            destination,
            unsettled: Bitmap::default(),
            cursor: 0,
            redeliveries: Bitmap::default(),
            redelivery_cursor: 0,
            returned: VecDeque::new(),
            scheduled: BTreeMap::new(),
            due: BTreeMap::new(),
            claimed: BTreeMap::new(),
            erased_in_hand: Bitmap::default(),
            dead: Bitmap::default(),
            held: BTreeMap::new(),
            let_go: BTreeMap::new(),
            lanes: None,
            is_told: false,
            state: NameState::default(),
            stopped_since: None,
            turn: 0,
        }
    }

    /// A queue as a snapshot left it.
    pub fn restore(destination: NameId, snapshot: Snapshot) -> Self {
        let Snapshot { unsettled, redeliveries, dead, scheduled, held, let_go, windows, digests } = snapshot;
        let mut queue = Self { unsettled, redeliveries, dead, held, let_go, ..Self::new(destination) };
        queue.restore_lanes(windows, digests);
        for (sequence, due_ms, entry) in scheduled {
            queue.schedule(sequence, due_ms, entry);
        }
        queue
    }

    /// Everything but what is claimed, which counts as it was before, and how it stands.
    pub fn snapshot(&self) -> Snapshot {
        let waiting = self.scheduled.iter().map(|((due_ms, sequence), entry)| (*sequence, *due_ms, entry.clone()));
        let claimed = self.claimed.iter().filter_map(|(sequence, origin)| {
            let (due_ms, entry) = origin.retry()?;
            Some((*sequence, due_ms, entry.clone()))
        });
        Snapshot {
            unsettled: self.unsettled.clone(),
            redeliveries: self.redeliveries.clone(),
            dead: self.dead.clone(),
            scheduled: waiting.chain(claimed).collect(),
            held: self.held.clone(),
            let_go: self.let_go.clone(),
            windows: self.heads().collect(),
            digests: self.digests().collect(),
        }
    }

    /// An event for this destination is durable.
    pub fn add(&mut self, sequence: u64) {
        self.unsettled.insert(sequence);
        // Where several take in, one with a smaller number may come later.
        self.cursor = self.cursor.min(sequence);
        self.may_place(sequence);
    }

    /// An event is read from the journal, where something newer may be known of it already: that is read again as well. `holder` is
    /// its source, where that was held.
    pub fn read_again(&mut self, sequence: u64, holder: Option<NameId>) {
        self.redeliveries.remove(sequence);
        self.dead.remove(sequence);
        self.take_scheduled(sequence);
        self.remove_held(sequence);
        self.unsettled.remove(sequence);
        self.take_out_of_lane(sequence, false);
        match holder {
            Some(source) => self.hold(source, sequence),
            None => self.add(sequence),
        }
    }

    /// Says what became of a claim. Returns whether the claim was in flight.
    pub fn settle(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) -> bool {
        let was_claimed = self.claimed.remove(&sequence).is_some();
        if was_claimed {
            self.apply(sequence, attempts, state);
        }
        was_claimed
    }

    /// Applies an outcome, whatever was known before.
    pub fn apply(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) {
        self.unsettled.remove(sequence);
        self.redeliveries.remove(sequence);
        self.take_scheduled(sequence);
        self.dead.remove(sequence);
        self.remove_held(sequence);
        self.take_out_of_lane(sequence, matches!(state, OutcomeState::Scheduled { .. }));
        match state {
            OutcomeState::Delivered | OutcomeState::Skipped | OutcomeState::Dropped | OutcomeState::Moved(_) => {}
            OutcomeState::Dead { .. } => drop(self.dead.insert(sequence)),
            OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } => {
                let entry = Scheduled { attempts, first_attempt_ms: *first_attempt_ms, reason: reason.as_str().into() };
                self.schedule(sequence, *due_ms, entry);
                self.keep_order(sequence);
            }
        }
    }

    fn schedule(&mut self, sequence: u64, due_ms: u64, entry: Scheduled) {
        self.due.insert(sequence, due_ms);
        self.scheduled.insert((due_ms, sequence), entry);
        if let Some(lanes) = &mut self.lanes {
            lanes.note_scheduled(due_ms, sequence);
        }
    }

    fn take_scheduled(&mut self, sequence: u64) -> Option<Scheduled> {
        let due_ms = self.due.remove(&sequence)?;
        if let Some(lanes) = &mut self.lanes {
            lanes.note_unscheduled(due_ms, sequence);
        }
        self.scheduled.remove(&(due_ms, sequence))
    }

    /// Does something to some deliveries; returns those to which it was done. What is in flight is left alone.
    pub fn select(&mut self, act: BulkAct, sequences: &Bitmap) -> Bitmap {
        if matches!(act, BulkAct::DeadLetter | BulkAct::MoveWaiting(_)) {
            self.take_back_returned();
        }
        let selected = sequences.iter_from(0).filter(|sequence| self.select_one(act, *sequence)).collect();
        if let (BulkAct::DeadLetter | BulkAct::MoveWaiting(_), Some(lanes)) = (act, &mut self.lanes) {
            lanes.take_all_out(&selected);
            self.drop_idle_lanes();
        }
        selected
    }

    fn select_one(&mut self, act: BulkAct, sequence: u64) -> bool {
        match act {
            BulkAct::Redeliver => {
                if self.is_pending(sequence) {
                    return false;
                }
                self.dead.remove(sequence);
                self.redelivery_cursor = self.redelivery_cursor.min(sequence);
                self.may_place(sequence);
                self.redeliveries.insert(sequence)
            }
            BulkAct::DeadLetter | BulkAct::MoveWaiting(_) => {
                if self.is_in_hand(sequence) || !self.is_pending(sequence) {
                    return false;
                }
                self.remove_held(sequence);
                self.unsettled.remove(sequence);
                self.redeliveries.remove(sequence);
                self.take_scheduled(sequence);
                act != BulkAct::DeadLetter || self.dead.insert(sequence)
            }
            BulkAct::Drop | BulkAct::MoveDead(_) => self.dead.remove(sequence),
        }
    }

    /// What may be moved elsewhere: all but what is in flight and what its source holds, dead letters aside.
    pub fn movable(&mut self) -> Snapshot {
        self.take_back_returned();
        let in_hand = self.digests_in_hand();
        let unclaimed = |set: &Bitmap| {
            let outside = set.iter_outside(&in_hand);
            outside.filter(|sequence| !self.claimed.contains_key(sequence)).collect()
        };
        let scheduled = self.scheduled.iter().map(|((due_ms, sequence), entry)| (*sequence, *due_ms, entry.clone()));
        Snapshot {
            unsettled: unclaimed(&self.unsettled),
            redeliveries: unclaimed(&self.redeliveries),
            dead: Bitmap::default(),
            scheduled: scheduled.collect(),
            held: BTreeMap::new(),
            let_go: BTreeMap::new(),
            windows: self.heads().collect(),
            digests: self.digests().filter(|(_, digest)| !digest.is_in_hand()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
