//! What waits for one destination: pure bookkeeping, no disk and no clock of its own.
//!
//! A delivery is in exactly one place: in `unsettled` (no attempt settled yet), in `postponed`, or in `claimed`, which a claim of
//! either kind enters on top. What lies in `unsettled` costs a bit, so a backlog costs no memory; `postponed` is bounded by
//! [`POSTPONED_MAX`], since beyond it no first attempts are handed out.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::bitmap::Bitmap;
use super::format::OutcomeState;
use crate::store::{Claim, DeliveryKey, DeliveryState, NameId, Pause};

/// Postponed deliveries of one destination. When so many wait for another attempt, no first attempts are made: what is down
/// need not be asked ten thousand times, and each of them costs memory.
pub const POSTPONED_MAX: usize = 10_000;

/// A delivery that waits for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Attempts made.
    pub attempts: u16,
    /// When the first was made, unix milliseconds.
    pub first_attempt_ms: u64,
    /// What the last one came to.
    pub reason: String,
}

/// What waits for one destination.
#[derive(Debug)]
pub struct Queue {
    destination: NameId,
    /// Deliveries of which no attempt is settled.
    unsettled: Bitmap,
    /// Everything in `unsettled` below this has been handed out.
    cursor: u64,
    /// Handed back; goes out first.
    released: VecDeque<Claim>,
    /// By when it is due, then by age.
    postponed: BTreeMap<(u64, u64), Postponed>,
    claimed: HashMap<u64, Option<(u64, Postponed)>>,
    /// Only while the journal is read: when each postponed delivery is due, to find it by its number.
    replayed_due: HashMap<u64, u64>,
    dead: u64,
    paused: Option<Pause>,
    is_retrys_turn: bool,
}

impl Queue {
    pub fn new(destination: NameId) -> Self {
        Self {
            destination,
            unsettled: Bitmap::default(),
            cursor: 0,
            released: VecDeque::new(),
            postponed: BTreeMap::new(),
            claimed: HashMap::new(),
            replayed_due: HashMap::new(),
            dead: 0,
            paused: None,
            is_retrys_turn: false,
        }
    }

    /// An event for this destination is durable.
    pub fn add(&mut self, sequence: u64) {
        self.unsettled.insert(sequence);
    }

    /// Hands out at most `max` deliveries: released ones first, then due retries and first attempts in turn.
    pub fn claim(&mut self, max: usize, now_ms: u64) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.paused.is_some() {
            return claims;
        }
        while claims.len() < max {
            let Some(claim) = self.take_released().or_else(|| self.take_in_turn(now_ms)) else { break };
            claims.push(claim);
        }
        claims
    }

    fn take_released(&mut self) -> Option<Claim> {
        let claim = self.released.pop_front()?;
        self.claimed.entry(claim.key.sequence).or_insert(None);
        Some(claim)
    }

    fn take_in_turn(&mut self, now_ms: u64) -> Option<Claim> {
        self.is_retrys_turn = !self.is_retrys_turn;
        if self.is_retrys_turn {
            self.take_retry(now_ms).or_else(|| self.take_first())
        } else {
            self.take_first().or_else(|| self.take_retry(now_ms))
        }
    }

    fn take_retry(&mut self, now_ms: u64) -> Option<Claim> {
        let entry = self.postponed.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((due_ms, sequence), postponed) = entry.remove_entry();
        let claim = Claim {
            key: self.key(sequence),
            attempts: postponed.attempts,
            first_attempt_ms: Some(postponed.first_attempt_ms),
            due_ms: Some(due_ms),
        };
        self.claimed.insert(sequence, Some((due_ms, postponed)));
        Some(claim)
    }

    fn take_first(&mut self) -> Option<Claim> {
        if self.postponed.len() >= POSTPONED_MAX {
            return None;
        }
        let sequence = self.unsettled.next(self.cursor)?;
        self.cursor = sequence + 1;
        self.claimed.insert(sequence, None);
        Some(Claim { key: self.key(sequence), attempts: 0, first_attempt_ms: None, due_ms: None })
    }

    fn key(&self, sequence: u64) -> DeliveryKey {
        DeliveryKey { sequence, destination: self.destination, run: 0 }
    }

    /// Puts a claim back as it was. A claim that is not under way any more changes nothing.
    pub fn release(&mut self, claim: Claim) {
        if self.claimed.contains_key(&claim.key.sequence) {
            self.released.push_back(claim);
        }
    }

    /// Says what became of a claim. Returns whether the claim was under way.
    pub fn settle(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) -> bool {
        let was_claimed = self.claimed.remove(&sequence).is_some();
        if was_claimed {
            self.apply(sequence, attempts, state);
        }
        was_claimed
    }

    /// Applies an outcome that the journal holds, while it is read at the start.
    pub fn replay(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) {
        if let Some(due_ms) = self.replayed_due.remove(&sequence) {
            self.postponed.remove(&(due_ms, sequence));
        }
        if let OutcomeState::Postponed { due_ms, .. } = state {
            self.replayed_due.insert(sequence, *due_ms);
        }
        self.apply(sequence, attempts, state);
    }

    /// The journal has been read.
    pub fn finish_replay(&mut self) {
        self.replayed_due = HashMap::new();
    }

    fn apply(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) {
        self.unsettled.remove(sequence);
        match state {
            OutcomeState::Delivered => {}
            OutcomeState::Dead { .. } => self.dead += 1,
            OutcomeState::Postponed { first_attempt_ms, due_ms, reason } => {
                let postponed = Postponed { attempts, first_attempt_ms: *first_attempt_ms, reason: reason.clone() };
                self.postponed.insert((*due_ms, sequence), postponed);
            }
        }
    }

    /// When the next retry is due. A queue that is held has none.
    pub fn next_due(&self) -> Option<u64> {
        if self.paused.is_some() {
            return None;
        }
        self.postponed.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Holds the queue.
    pub fn pause(&mut self, pause: Pause) -> bool {
        let is_new = self.paused.is_none();
        if is_new {
            self.paused = Some(pause);
        }
        is_new
    }

    /// Lets it go on: what is postponed is due now, and the time since the pause counts for nothing.
    pub fn resume(&mut self, now_ms: u64) -> bool {
        let Some(pause) = self.paused.take() else { return false };
        self.replayed_due.values_mut().for_each(|due_ms| *due_ms = (*due_ms).min(now_ms));
        let held_ms = now_ms.saturating_sub(pause.since_ms);
        for claim in &mut self.released {
            claim.first_attempt_ms = claim.first_attempt_ms.map(|first_ms| first_ms + held_ms);
        }
        for (_, retry) in self.claimed.values_mut().flatten() {
            retry.first_attempt_ms += held_ms;
        }
        let postponed = std::mem::take(&mut self.postponed);
        self.postponed = postponed
            .into_iter()
            .map(|((due_ms, sequence), postponed)| {
                let first_attempt_ms = postponed.first_attempt_ms + held_ms;
                ((due_ms.min(now_ms), sequence), Postponed { first_attempt_ms, ..postponed })
            })
            .collect();
        true
    }

    /// Whether and why it is held.
    pub fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    /// No retry may be due later than this: a clock that was set wrong when it was written must not hold it for years.
    pub fn clamp_due(&mut self, latest_ms: u64) {
        let late = self.postponed.split_off(&(latest_ms, u64::MAX));
        self.postponed.extend(late.into_iter().map(|((_, sequence), postponed)| ((latest_ms, sequence), postponed)));
    }

    /// Everything not settled: waiting, under way, postponed.
    pub fn backlog(&self) -> u64 {
        self.unsettled.len() + (self.postponed.len() + self.retries_claimed()) as u64
    }

    fn retries_claimed(&self) -> usize {
        self.claimed.values().filter(|retry| retry.is_some()).count()
    }

    /// How many wait for another attempt.
    pub fn postponed(&self) -> usize {
        self.postponed.len()
    }

    /// How many are in the hands of workers.
    pub fn under_way(&self) -> usize {
        self.claimed.len() - self.released.len()
    }

    /// Dead letters.
    pub fn dead(&self) -> u64 {
        self.dead
    }

    /// The oldest event that is not settled.
    pub fn oldest(&self) -> Option<u64> {
        let postponed = self.postponed.keys().map(|(_, sequence)| *sequence).min();
        let claimed = self.claimed.keys().copied().min();
        [self.unsettled.next(0), postponed, claimed].into_iter().flatten().min()
    }

    /// Where a delivery stands, if it is not settled.
    pub fn state(&self, sequence: u64) -> Option<DeliveryState> {
        let is_under_way =
            self.claimed.contains_key(&sequence) && !self.released.iter().any(|claim| claim.key.sequence == sequence);
        if is_under_way {
            return Some(DeliveryState::UnderWay);
        }
        if self.unsettled.contains(sequence) {
            return Some(DeliveryState::Waiting);
        }
        let handed_back = self.claimed.get(&sequence).and_then(Option::as_ref).map(|(due_ms, p)| (*due_ms, p));
        let waiting = || self.postponed.iter().find(|((_, other), _)| *other == sequence);
        handed_back.or_else(|| waiting().map(|((due_ms, _), p)| (*due_ms, p))).map(|(due_ms, postponed)| {
            DeliveryState::Postponed { attempts: postponed.attempts, due_ms, reason: postponed.reason.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(waiting: u64) -> Queue {
        let mut queue = Queue::new(NameId(1));
        (0..waiting).for_each(|sequence| queue.add(sequence));
        queue
    }

    fn sequences(claims: &[Claim]) -> Vec<u64> {
        claims.iter().map(|claim| claim.key.sequence).collect()
    }

    fn postponed(due_ms: u64) -> OutcomeState {
        OutcomeState::Postponed { first_attempt_ms: 1, due_ms, reason: "503".into() }
    }

    #[test]
    fn first_attempts_go_out_once_and_in_order_of_age() {
        let mut queue = queue(5);
        assert_eq!(sequences(&queue.claim(3, 0)), [0, 1, 2]);
        assert_eq!(sequences(&queue.claim(9, 0)), [3, 4]);
        assert_eq!(queue.claim(9, 0), []);
        assert_eq!((queue.backlog(), queue.under_way()), (5, 5));
    }

    #[test]
    fn what_is_delivered_or_dead_is_gone_and_what_is_postponed_returns_when_due() {
        let mut queue = queue(3);
        queue.claim(3, 0);
        assert!(queue.settle(0, 1, &OutcomeState::Delivered));
        assert!(queue.settle(1, 1, &OutcomeState::Dead { reason: "no".into() }));
        assert!(queue.settle(2, 1, &postponed(100)));
        assert_eq!((queue.backlog(), queue.dead(), queue.next_due()), (1, 1, Some(100)));
        assert_eq!(queue.claim(9, 99), []);
        let claim = queue.claim(9, 100)[0];
        assert_eq!(
            (claim.key.sequence, claim.attempts, claim.first_attempt_ms, claim.due_ms),
            (2, 1, Some(1), Some(100))
        );
        assert_eq!(queue.backlog(), 1);
        queue.settle(2, 2, &OutcomeState::Delivered);
        assert_eq!((queue.backlog(), queue.oldest()), (0, None));
    }

    #[test]
    fn a_claim_is_settled_once() {
        let mut queue = queue(1);
        queue.claim(1, 0);
        assert!(queue.settle(0, 1, &OutcomeState::Delivered));
        assert!(!queue.settle(0, 1, &OutcomeState::Dead { reason: "late".into() }));
        assert_eq!(queue.dead(), 0);
    }

    #[test]
    fn a_released_claim_goes_out_first_and_unchanged() {
        let mut queue = queue(3);
        let first = queue.claim(1, 0)[0];
        queue.release(first);
        assert_eq!((queue.under_way(), queue.state(0)), (0, Some(DeliveryState::Waiting)));
        assert_eq!(queue.claim(1, 0), [first]);
        queue.settle(0, 1, &postponed(50));
        let retry = queue.claim(9, 50).into_iter().find(|claim| claim.key.sequence == 0).expect("due");
        queue.release(retry);
        assert!(matches!(queue.state(0), Some(DeliveryState::Postponed { attempts: 1, .. })));
        assert_eq!(queue.claim(1, 50), [retry]);
    }

    #[test]
    fn due_retries_and_first_attempts_alternate() {
        let mut queue = queue(6);
        queue.claim(3, 0);
        for sequence in 0..3 {
            queue.settle(sequence, 1, &postponed(10));
        }
        let claims = queue.claim(6, 10);
        let kinds: Vec<_> = claims.iter().map(|claim| claim.due_ms.is_some()).collect();
        assert!(kinds == [true, false, true, false, true, false] || kinds == [false, true, false, true, false, true]);
    }

    #[test]
    fn at_the_cap_of_postponed_no_first_attempts_go_out() {
        let mut queue = queue(POSTPONED_MAX as u64 + 5);
        for claim in queue.claim(POSTPONED_MAX - 1, 0) {
            queue.settle(claim.key.sequence, 1, &postponed(1_000));
        }
        let last = queue.claim(1, 0);
        assert_eq!(last.len(), 1, "one below the cap");
        queue.settle(last[0].key.sequence, 1, &postponed(1_000));
        assert_eq!(queue.claim(9, 0), [], "at the cap");
        assert_eq!(
            queue.claim(9, 1_000).iter().filter(|claim| claim.due_ms.is_some()).count(),
            5,
            "retries go on, in turn"
        );
    }

    #[test]
    fn a_pause_holds_everything_and_its_time_does_not_count() {
        let mut queue = queue(2);
        queue.claim(1, 0);
        queue.settle(0, 1, &postponed(5_000));
        assert!(queue.pause(Pause { since_ms: 100, reason: "410".into() }));
        assert!(!queue.pause(Pause { since_ms: 200, reason: "again".into() }));
        assert_eq!(queue.claim(9, 9_999), []);
        assert!(queue.resume(1_100));
        assert!(!queue.resume(1_100));
        let claims = queue.claim(9, 1_100);
        let retry = claims.iter().find(|claim| claim.due_ms.is_some()).expect("due now");
        assert_eq!(retry.first_attempt_ms, Some(1 + 1_000));
    }

    #[test]
    fn the_time_of_a_pause_does_not_count_for_the_delivery_that_caused_it() {
        let mut queue = queue(1);
        queue.claim(1, 0);
        queue.settle(0, 1, &postponed(10));
        let retry = queue.claim(1, 10)[0];
        queue.pause(Pause { since_ms: 100, reason: "410".into() });
        queue.release(retry);
        queue.resume(1_100);
        assert_eq!(queue.claim(1, 1_100)[0].first_attempt_ms, Some(1 + 1_000));
    }

    #[test]
    fn a_due_time_of_a_wrong_clock_is_brought_near() {
        let mut queue = queue(1);
        queue.claim(1, 0);
        queue.settle(0, 1, &postponed(u64::MAX / 2));
        queue.clamp_due(500);
        assert_eq!(queue.next_due(), Some(500));
    }
}
