//! What a destination's queue is, under another name: by giving its number the name, or by moving everything to the name's own number.

use std::collections::BTreeSet;

use super::inbox::Message;
use super::words::ReadError;
use super::{Journal, lock, writing};
use crate::store::queues::{
    Act, Backing, Bitmap, BulkAct, Control, DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, Queue,
    RENAMED, Urgency, WindowsRecord,
};
use crate::store::{GroupKey, NameId, TakenOver};

/// Dead letters that are moved in one go: each has a reason, and the queues are locked meanwhile.
const DEAD_AT_ONCE: usize = 4096;

impl Journal {
    /// Gives a number another name, unless somebody who would be missed has it.
    pub fn rename(&self, id: NameId, name: &str) -> bool {
        let mut names = writing(&self.names);
        let Some((kind, old)) = names.of(id).cloned() else { return false };
        if let Some(other) = names.find(kind, name).filter(|other| *other != id) {
            if !lock(&self.destination(other).queue).is_blank() {
                return false;
            }
            // It has a past, which is shown by this. No config can name it.
            let past: std::sync::Arc<str> = format!("{name} (former {})", other.0).into();
            names.insert(kind, other, past.clone());
            let _ = self.sender.send(Message::Name(kind, other, past));
        }
        tracing::debug!(from = %old, to = name, number = id.0, "a destination is called something else");
        let name: std::sync::Arc<str> = name.into();
        names.insert(kind, id, name.clone());
        let _ = self.sender.send(Message::Name(kind, id, name));
        true
    }

    /// Moves everything that one queue is to another: first it is there, then it is no longer here.
    pub fn take_over(&self, from: NameId, to: NameId) -> TakenOver {
        let mut taken = TakenOver::default();
        if from == to {
            return taken;
        }
        let mut after = 0;
        loop {
            let some: BTreeSet<u64> = {
                let destination = self.destination(from);
                let queue = lock(&destination.queue);
                queue.dead().iter_from(after).take(DEAD_AT_ONCE).collect()
            };
            let Some(last) = some.last() else { break };
            after = last + 1;
            match self.move_dead(from, to, &some) {
                Ok(moved) => taken.dead += moved,
                Err(error) => {
                    tracing::warn!(%error, "dead letters stay under the old name for now: the index cannot be read");
                    break;
                }
            }
        }
        self.move_rest(from, to, &mut taken);
        taken
    }

    /// Does something to both queues at once, while nothing of the history goes.
    pub fn with_both<T>(&self, from: NameId, to: NameId, act: impl FnOnce(&mut Queue, &mut Queue) -> T) -> T {
        let _selecting = lock(&self.selecting);
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

    fn move_dead(&self, from: NameId, to: NameId, sequences: &BTreeSet<u64>) -> Result<u64, ReadError> {
        // What died a moment ago may be on its way to the index.
        self.index.flush();
        let mut letters = self.letters(from, sequences)?;
        Ok(self.with_both(from, to, |here, there| {
            let mut outcomes = Vec::new();
            let mut moved = Bitmap::default();
            for sequence in sequences.iter().copied().filter(|sequence| here.is_dead(*sequence)) {
                moved.insert(sequence);
                // What waits there goes out anyway, and what is dead there is known.
                if there.needs(sequence) {
                    continue;
                }
                let unknown = || (0, self.clock.now_ms(), String::new());
                let known = letters.remove(&sequence).map(|letter| (letter.attempts, letter.at_ms, letter.reason));
                let (attempts, at_ms, reason) = known.unwrap_or_else(unknown);
                let state = OutcomeState::Dead { reason };
                there.apply(sequence, attempts, &state);
                outcomes.push(OutcomeRecord { key: DeliveryKey { sequence, destination: to }, attempts, at_ms, state });
            }
            let count = moved.len();
            here.select(BulkAct::MoveDead(to), &moved);
            self.tell(outcomes);
            self.tell_selected(from, BulkAct::MoveDead(to), moved);
            count
        }))
    }

    fn move_rest(&self, from: NameId, to: NameId, taken: &mut TakenOver) {
        let at_ms = self.clock.now_ms();
        self.with_both(from, to, |here, there| {
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
            self.tell(outcomes);
            self.tell_selected(to, BulkAct::Redeliver, again.clone());
            for (id, _) in &moving.digests {
                self.move_digest(there, to, &here.records_of(*id), &again);
            }
            if !moving.windows.is_empty() {
                there.apply_windows(&moving.windows);
                let keys: Vec<GroupKey> = moving.windows.iter().map(|head| head.key).collect();
                here.forget_windows(&keys);
                let windows = WindowsRecord { destination: to, heads: moving.windows };
                let _ = self.sender.send(Message::Windows(windows));
                let ended = DigestRecord { destination: from, at_ms, what: DigestAct::Ended { windows: keys } };
                let _ = self.sender.send(Message::Digests(vec![ended], None));
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
        let passed_ms = self.lived.passed_ms();
        let mut moved = Vec::new();
        for record in records {
            let mut record = DigestRecord { destination: to, ..record.clone() };
            if let DigestAct::Closed { members, .. } = &mut record.what {
                members.keep_within(again);
            }
            there.apply_digest(&record, passed_ms);
            moved.push(record);
        }
        let _ = self.sender.send(Message::Digests(moved, None));
    }

    fn control_queue(&self, queue: &mut Queue, destination: NameId, act: Act, at_ms: u64) {
        if queue.control(&act, at_ms) {
            let _ = self.sender.send(Message::Control(Control { destination, at_ms, act }, Urgency::Now));
        }
    }

    fn tell(&self, outcomes: Vec<OutcomeRecord>) {
        if !outcomes.is_empty() {
            // If the writer is gone the process is ending, and nothing has moved.
            let _ = self.sender.send(Message::Outcomes(outcomes));
        }
    }

    fn tell_selected(&self, destination: NameId, act: BulkAct, sequences: Bitmap) {
        if sequences.is_empty() {
            return;
        }
        let record = self.record(destination, act, None, RENAMED, sequences);
        let parts = record.split().into_iter().map(|part| vec![part]).collect();
        let _ = self.sender.send(Message::Selections(parts));
    }
}
