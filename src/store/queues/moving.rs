//! Everything that one queue is, given to another: first it is there, then it is no longer here.

use super::acts::{Act, BulkAct, Control, RENAMED, Urgency};
use super::backing::{Backing, Told};
use super::bitmap::Bitmap;
use super::outcomes::{DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, WindowsRecord};
use super::queue::{Closed, Queue, Scheduled};
use crate::store::locks::lock;
use crate::store::{DigestId, GroupKey, NameId, TakenOver, WindowHead};

/// What a queue gives up for another: all that waits, but for what is in flight and what its source holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Going {
    pub waiting: Bitmap,
    /// What waits for another attempt: number, due time, and the rest.
    pub scheduled: Vec<(u64, u64, Scheduled)>,
    pub windows: Vec<WindowHead>,
    pub digests: Vec<(DigestId, Closed)>,
    /// Why it is paused, if it is.
    pub pause: Option<String>,
}

impl Going {
    /// All that a queue can give up.
    pub fn of(queue: &mut Queue) -> Self {
        let moving = queue.movable();
        let waiting = moving.unsettled.iter_from(0).chain(moving.redeliveries.iter_from(0));
        Self {
            waiting: waiting.collect(),
            scheduled: moving.scheduled,
            windows: moving.windows,
            digests: moving.digests,
            pause: queue.state().paused.as_ref().map(|pause| pause.reason.clone()),
        }
    }

    /// Says how much it is.
    pub fn count(&self, taken: &mut TakenOver) {
        (taken.waiting, taken.scheduled) = (self.waiting.len(), self.scheduled.len() as u64);
        taken.paused = self.pause.is_some();
    }
}

/// What a backend can do with two queues that it has.
pub trait Moving: Backing {
    /// Does something to both queues at once.
    fn do_with_both<T>(&self, from: NameId, to: NameId, act: impl FnOnce(&mut Queue, &mut Queue) -> T) -> T {
        let here = self.destination(from);
        let there = self.destination(to);
        // In the order of their numbers, whoever else does the same.
        let (mut from, mut to) = if from < to {
            let from = lock(&here.queue);
            (from, lock(&there.queue))
        } else {
            let to = lock(&there.queue);
            (lock(&here.queue), to)
        };
        let done = act(&mut from, &mut to);
        here.show(&from);
        there.show(&to);
        there.wake(&to);
        // A digest has to be prepared there, though nothing is to be placed.
        there.sorting.wakeup.notify_one();
        here.tell_of_order(&mut from);
        drop((from, to));
        done
    }

    /// Moves dead letters, each with its attempts, when it died and why. Returns how many were still dead here.
    fn move_letters(
        &self,
        here: &mut Queue,
        there: &mut Queue,
        (from, to): (NameId, NameId),
        letters: impl Iterator<Item = (u64, u16, u64, String)>,
    ) -> u64 {
        let mut outcomes = Vec::new();
        let mut moved = Bitmap::default();
        for (sequence, attempts, at_ms, reason) in letters {
            if !here.is_dead(sequence) {
                continue;
            }
            moved.insert(sequence);
            // What waits there goes out anyway, and what is dead there is known.
            if there.needs(sequence) {
                continue;
            }
            let state = OutcomeState::Dead { reason };
            there.apply(sequence, attempts, &state);
            outcomes.push(OutcomeRecord { key: DeliveryKey { sequence, destination: to }, attempts, at_ms, state });
        }
        let count = moved.len();
        here.select(BulkAct::MoveDead(to), &moved);
        self.tell_outcomes(outcomes);
        self.tell_selected(from, BulkAct::MoveDead(to), moved);
        count
    }

    /// Moves everything that waits, with windows, digests and a pause.
    fn move_rest(&self, from: NameId, to: NameId, taken: &mut TakenOver) {
        self.do_with_both(from, to, |here, there| {
            let going = Going::of(here);
            going.count(taken);
            self.come(there, to, &going);
            let gone = self.leave(here, from, to, &going);
            self.tell_selected(from, BulkAct::MoveWaiting(to), gone);
            taken.in_flight = here.in_flight() as u64;
        });
    }

    /// What another queue gives up is in this one, which is locked, and that is written down.
    fn come(&self, there: &mut Queue, to: NameId, going: &Going) {
        let at_ms = self.clock.now_ms();
        let again = there.select(BulkAct::Redeliver, &going.waiting);
        let mut outcomes = Vec::new();
        for (sequence, due_ms, entry) in &going.scheduled {
            if there.is_pending(*sequence) {
                continue;
            }
            let first_attempt_ms = entry.first_attempt_ms;
            let reason = entry.reason.to_string();
            let state = OutcomeState::Scheduled { first_attempt_ms, due_ms: *due_ms, reason };
            there.apply(*sequence, entry.attempts, &state);
            let key = DeliveryKey { sequence: *sequence, destination: to };
            outcomes.push(OutcomeRecord { key, attempts: entry.attempts, at_ms, state });
        }
        self.tell_outcomes(outcomes);
        self.tell_selected(to, BulkAct::Redeliver, again.clone());
        for (id, digest) in &going.digests {
            self.move_digest(there, to, &digest.records(to, *id), &again);
        }
        if !going.windows.is_empty() {
            there.apply_windows(&going.windows);
            self.tell(Told::Windows(WindowsRecord { destination: to, heads: going.windows.clone() }));
        }
        if let Some(reason) = &going.pause {
            self.control_queue(there, to, Act::Pause(reason.clone()), at_ms);
        }
    }

    /// What a queue gives up, which is locked, is in it no more. What waited is told by who calls; returns its numbers.
    fn leave(&self, here: &mut Queue, from: NameId, to: NameId, going: &Going) -> Bitmap {
        let at_ms = self.clock.now_ms();
        if !going.windows.is_empty() {
            let keys: Vec<GroupKey> = going.windows.iter().map(|head| head.key).collect();
            here.forget_windows(&keys);
            let ended = DigestRecord { destination: from, at_ms, what: DigestAct::Ended { windows: keys } };
            self.tell(Told::Digests(vec![ended], None));
        }
        let scheduled = going.scheduled.iter().map(|(sequence, ..)| *sequence);
        let gone: Bitmap = going.waiting.iter_from(0).chain(scheduled).collect();
        here.select(BulkAct::MoveWaiting(to), &gone);
        for act in [Act::Resume, Act::Close] {
            self.control_queue(here, from, act, at_ms);
        }
        gone
    }

    /// A digest goes on under its id where its members wait now, but for those that waited there by themselves.
    fn move_digest(&self, there: &mut Queue, to: NameId, records: &[DigestRecord], again: &Bitmap) {
        let passed_ms = self.passed_ms();
        let mut moved = Vec::new();
        for record in records {
            let mut record = DigestRecord { destination: to, ..record.clone() };
            if let DigestAct::Closed { members, .. } = &mut record.what {
                members.keep_within(again);
            }
            there.apply_digest(&record, passed_ms);
            moved.push(record);
        }
        self.tell(Told::Digests(moved, None));
    }

    /// Applies an act to a queue that is locked, and has it written down.
    fn control_queue(&self, queue: &mut Queue, destination: NameId, act: Act, at_ms: u64) {
        if queue.control(&act, at_ms) {
            self.tell(Told::Control(Control { destination, at_ms, act }, Urgency::Now));
        }
    }

    /// Has written down where deliveries stand that came over.
    fn tell_outcomes(&self, outcomes: Vec<OutcomeRecord>) {
        if !outcomes.is_empty() {
            // If nothing is written any more the process is ending, and nothing has moved.
            self.tell(Told::CameOver(outcomes));
        }
    }

    /// Has written down that deliveries go over since their destination was renamed.
    fn tell_selected(&self, destination: NameId, act: BulkAct, sequences: Bitmap) {
        if sequences.is_empty() {
            return;
        }
        let record = self.record(destination, act, None, RENAMED, sequences);
        self.tell(Told::Selection(record));
    }
}

impl<B: Backing> Moving for B {}
