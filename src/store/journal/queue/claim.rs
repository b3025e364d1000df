//! Handing out what is due, and taking back what is handed back.

use super::*;

/// What a claim takes turns over.
const TURNS: usize = 3;

impl Queue {
    /// Hands out at most `max` deliveries: returned ones first, then due retries, first attempts and repeated ones in turn.
    pub fn claim(&mut self, max: usize, now_ms: u64) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.state.paused.is_some() {
            return claims;
        }
        while claims.len() < max {
            let Some(claim) = self.take_returned().or_else(|| self.take_in_turn(now_ms)) else { break };
            claims.push(claim);
        }
        claims
    }

    pub(super) fn take_returned(&mut self) -> Option<Claim> {
        let claim = self.returned.pop_front()?;
        self.claimed.entry(claim.key.sequence).or_insert(Origin::Fresh);
        Some(claim)
    }

    pub(super) fn take_in_turn(&mut self, now_ms: u64) -> Option<Claim> {
        for offset in 0..TURNS {
            let turn = (self.turn + offset) % TURNS;
            let taken = match turn {
                0 => self.take_retry(now_ms),
                1 => self.take_first(),
                _ => self.take_redelivery(),
            };
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
        let claim = Claim {
            key: self.key(sequence),
            attempts: scheduled.attempts,
            first_attempt_ms: Some(scheduled.first_attempt_ms),
            due_ms: Some(due_ms),
        };
        self.claimed.insert(sequence, Origin::Retry { due_ms, entry: scheduled });
        Some(claim)
    }

    pub(super) fn take_first(&mut self) -> Option<Claim> {
        if self.scheduled.len() >= SCHEDULED_MAX {
            return None;
        }
        let sequence = next_unclaimed(&self.unsettled, &mut self.cursor, &self.claimed)?;
        Some(self.claim_fresh(sequence))
    }

    pub(super) fn take_redelivery(&mut self) -> Option<Claim> {
        if self.scheduled.len() >= SCHEDULED_MAX {
            return None;
        }
        let sequence = next_unclaimed(&self.redeliveries, &mut self.redelivery_cursor, &self.claimed)?;
        Some(self.claim_fresh(sequence))
    }

    pub(super) fn claim_fresh(&mut self, sequence: u64) -> Claim {
        self.claimed.insert(sequence, Origin::Fresh);
        Claim { key: self.key(sequence), attempts: 0, first_attempt_ms: None, due_ms: None }
    }

    pub(super) fn key(&self, sequence: u64) -> DeliveryKey {
        DeliveryKey { sequence, destination: self.destination }
    }

    /// Puts a claim back as it was. A claim that is not in flight any more changes nothing.
    pub fn give_back(&mut self, claim: Claim) {
        if self.claimed.contains_key(&claim.key.sequence) {
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
            self.cursor = self.cursor.min(sequence);
            self.redelivery_cursor = self.redelivery_cursor.min(sequence);
        }
    }

    /// Claims that were handed back are none any more.
    pub(super) fn take_back_returned(&mut self) {
        for claim in std::mem::take(&mut self.returned) {
            let sequence = claim.key.sequence;
            if let Some(Origin::Retry { due_ms, entry }) = self.claimed.remove(&sequence) {
                self.schedule(sequence, due_ms, entry);
            }
            self.cursor = self.cursor.min(sequence);
            self.redelivery_cursor = self.redelivery_cursor.min(sequence);
        }
    }
}

fn next_unclaimed(set: &Bitmap, cursor: &mut u64, claimed: &BTreeMap<u64, Origin>) -> Option<u64> {
    loop {
        let sequence = set.next(*cursor)?;
        *cursor = sequence + 1;
        if !claimed.contains_key(&sequence) {
            return Some(sequence);
        }
    }
}
