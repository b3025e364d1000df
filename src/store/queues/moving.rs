//! Everything that one queue is, given to another: first it is there, then it is no longer here.

use super::acts::{Act, BulkAct, Control, RENAMED, Urgency};
use super::backing::{Backing, Told};
use super::bitmap::Bitmap;
use super::outcomes::{DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, WindowsRecord};
use super::queue::Queue;
use crate::store::locks::lock;
use crate::store::{GroupKey, NameId, TakenOver};

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
        let at_ms = self.clock.now_ms();
        self.do_with_both(from, to, |here, there| {
            let moving = here.movable();
            let mut gone: Bitmap = moving.unsettled.iter_from(0).chain(moving.redeliveries.iter_from(0)).collect();
            (taken.waiting, taken.scheduled) = (gone.len(), moving.scheduled.len() as u64);
            let again = there.select(BulkAct::Redeliver, &gone);
            let mut outcomes = Vec::new();
            for (sequence, due_ms, entry) in moving.scheduled {
                gone.insert(sequence);
                if there.is_pending(sequence) {
                    continue;
                }
                let first_attempt_ms = entry.first_attempt_ms;
                let reason = entry.reason.to_string();
                let state = OutcomeState::Scheduled { first_attempt_ms, due_ms, reason };
                there.apply(sequence, entry.attempts, &state);
                let key = DeliveryKey { sequence, destination: to };
                outcomes.push(OutcomeRecord { key, attempts: entry.attempts, at_ms, state });
            }
            self.tell_outcomes(outcomes);
            self.tell_selected(to, BulkAct::Redeliver, again.clone());
            for (id, _) in &moving.digests {
                self.move_digest(there, to, &here.records_of(*id), &again);
            }
            if !moving.windows.is_empty() {
                there.apply_windows(&moving.windows);
                let keys: Vec<GroupKey> = moving.windows.iter().map(|head| head.key).collect();
                here.forget_windows(&keys);
                let windows = WindowsRecord { destination: to, heads: moving.windows };
                self.tell(Told::Windows(windows));
                let ended = DigestRecord { destination: from, at_ms, what: DigestAct::Ended { windows: keys } };
                self.tell(Told::Digests(vec![ended], None));
            }
            if let Some(pause) = here.state().paused.clone() {
                taken.paused = true;
                self.control_queue(there, to, Act::Pause(pause.reason), at_ms);
            }
            here.select(BulkAct::MoveWaiting(to), &gone);
            self.tell_selected(from, BulkAct::MoveWaiting(to), gone);
            for act in [Act::Resume, Act::Close] {
                self.control_queue(here, from, act, at_ms);
            }
            taken.in_flight = here.in_flight() as u64;
        });
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
