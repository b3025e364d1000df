//! Handing out what is due, and taking back what is handed back.

use super::*;
use crate::store::Claimable;

/// What a claim takes turns over.
const TURNS: usize = 3;

impl Queue {
    /// [`claim_within`](Self::claim_within) of whatever is due.
    #[cfg(test)]
    pub fn claim(&mut self, max: usize, now_ms: u64) -> Vec<Claim> {
        self.claim_within(max, false, now_ms)
    }

    /// Hands out at most `max` deliveries: returned ones first, then due retries, first attempts and repeated ones in turn. Where they
    /// are sorted: returned ones, what is urgent, and then due retries, what is ready and due digests in turn; or of them what is urgent
    /// alone.
    pub fn claim_within(&mut self, max: usize, urgent_only: bool, now_ms: u64) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.state.paused.is_some() {
            return claims;
        }
        if self.lanes.is_some() {
            return self.claim_by_lanes(max, urgent_only, now_ms);
        }
        if urgent_only {
            return claims;
        }
        while claims.len() < max {
            let Some(claim) = self.take_returned().or_else(|| self.take_in_turn(now_ms)) else { break };
            claims.push(claim);
        }
        claims
    }

    /// How much a claim would give, if not of what is urgent alone.
    pub fn claimable(&self, now_ms: u64) -> Claimable {
        if self.state.paused.is_some() {
            return Claimable::default();
        }
        let due = self.scheduled.range(..=(now_ms, u64::MAX)).count();
        let have_waited = due > 0 || !self.returned.is_empty();
        if self.sorts() {
            let have_waited = have_waited || self.has_followed();
            return Claimable { deliveries: self.others(now_ms), have_waited };
        }
        let fresh = match self.scheduled.len() {
            ..SCHEDULED_MAX => self.unsettled.len() + self.redeliveries.len(),
            _ => 0,
        };
        let in_hand = self.claimed.len() - self.retries_claimed();
        let in_digests = self.lanes.as_ref().map_or(0, |lanes| lanes.closed().len());
        let fresh = fresh.saturating_sub(in_hand as u64 + in_digests);
        Claimable { deliveries: fresh + (due + self.returned.len()) as u64, have_waited }
    }

    pub(super) fn take_returned(&mut self) -> Option<Claim> {
        let claim = self.returned.pop_front()?;
        if claim.digest.is_none() {
            self.claimed.entry(claim.key.sequence).or_insert(Origin::Fresh);
        }
        Some(claim)
    }

    pub(super) fn take_in_turn(&mut self, now_ms: u64) -> Option<Claim> {
        self.take_by_turns(TURNS, now_ms, |queue, turn, now_ms| match turn {
            0 => queue.take_retry(now_ms),
            1 => queue.take_first(),
            _ => queue.take_redelivery(),
        })
    }

    pub(super) fn take_by_turns(
        &mut self,
        turns: usize,
        now_ms: u64,
        take: impl Fn(&mut Self, usize, u64) -> Option<Claim>,
    ) -> Option<Claim> {
        for offset in 0..turns {
            let turn = (self.turn + offset) % turns;
            let taken = take(self, turn, now_ms);
            if taken.is_some() {
                self.turn = turn + 1;
                return taken;
            }
        }
        None
    }

    pub(super) fn take_retry(&mut self, now_ms: u64) -> Option<Claim> {
        let entry = self.scheduled.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((due_ms, sequence), scheduled) = entry.remove_entry();
        self.due.remove(&sequence);
        if let Some(lanes) = &mut self.lanes {
            lanes.note_unscheduled(due_ms, sequence);
        }
        Some(self.claim_retry(sequence, due_ms, scheduled))
    }

    pub(super) fn claim_retry(&mut self, sequence: u64, due_ms: u64, scheduled: Scheduled) -> Claim {
        let claim = Claim {
            key: self.key(sequence),
            attempts: scheduled.attempts,
            first_attempt_ms: Some(scheduled.first_attempt_ms),
            due_ms: Some(due_ms),
            digest: None,
        };
        self.claimed.insert(sequence, Origin::Retry { due_ms, entry: scheduled });
        claim
    }

    pub(super) fn take_first(&mut self) -> Option<Claim> {
        if self.scheduled.len() >= SCHEDULED_MAX {
            return None;
        }
        let digests = self.lanes.as_ref().map(|lanes| lanes.closed());
        let sequence = next_unclaimed(&self.unsettled, &mut self.cursor, &self.claimed, digests)?;
        Some(self.claim_fresh(sequence))
    }

    pub(super) fn take_redelivery(&mut self) -> Option<Claim> {
        if self.scheduled.len() >= SCHEDULED_MAX {
            return None;
        }
        let digests = self.lanes.as_ref().map(|lanes| lanes.closed());
        let sequence = next_unclaimed(&self.redeliveries, &mut self.redelivery_cursor, &self.claimed, digests)?;
        Some(self.claim_fresh(sequence))
    }

    pub(super) fn claim_fresh(&mut self, sequence: u64) -> Claim {
        self.claimed.insert(sequence, Origin::Fresh);
        Claim { key: self.key(sequence), attempts: 0, first_attempt_ms: None, due_ms: None, digest: None }
    }

    pub(super) fn key(&self, sequence: u64) -> DeliveryKey {
        DeliveryKey { sequence, destination: self.destination }
    }

    /// Puts a claim back as it was. A claim that is not in flight any more changes nothing.
    pub fn give_back(&mut self, claim: Claim) {
        let is_in_flight = match claim.digest {
            None => self.claimed.contains_key(&claim.key.sequence),
            Some(id) => self.lanes.as_ref().is_some_and(|lanes| lanes.has_in_hand(id)),
        };
        if is_in_flight && claim.digest.is_none() && self.is_in_order() {
            self.take_back(claim.key.sequence);
            self.keep_order(claim.key.sequence);
        } else if is_in_flight {
            self.returned.push_back(claim);
        }
    }

    /// What is in flight goes back to where it was: who had it has lost its lease.
    #[cfg(test)]
    pub fn take_back_all(&mut self) {
        self.returned.clear();
        for (sequence, origin) in std::mem::take(&mut self.claimed) {
            if let Origin::Retry { due_ms, entry } = origin {
                self.schedule(sequence, due_ms, entry);
            }
            self.came_back(sequence);
        }
        self.forget_lanes();
    }

    /// Claims that were handed back are none any more.
    pub(super) fn take_back_returned(&mut self) {
        for claim in std::mem::take(&mut self.returned) {
            let sequence = claim.key.sequence;
            if let (Some(id), Some(lanes)) = (claim.digest, &mut self.lanes) {
                lanes.take_back(id);
                continue;
            }
            self.take_back(sequence);
        }
    }

    /// What is in hand goes back to where it was.
    fn take_back(&mut self, sequence: u64) {
        if let Some(Origin::Retry { due_ms, entry }) = self.claimed.remove(&sequence) {
            self.schedule(sequence, due_ms, entry);
        }
        self.came_back(sequence);
    }
}

/// What comes next of a set and is neither claimed nor in another set.
pub(super) fn next_unclaimed(
    set: &Bitmap,
    cursor: &mut u64,
    claimed: &BTreeMap<u64, Origin>,
    outside: Option<&Bitmap>,
) -> Option<u64> {
    loop {
        let sequence = match outside {
            None => set.next(*cursor)?,
            Some(outside) => set.iter_outside_from(*cursor, &[outside]).next()?,
        };
        *cursor = sequence + 1;
        if !claimed.contains_key(&sequence) {
            return Some(sequence);
        }
    }
}
