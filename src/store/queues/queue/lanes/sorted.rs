//! Claiming by lanes.

use super::super::claim::next_unclaimed;
use super::*;

/// So many first attempts at urgent deliveries are made beyond [`SCHEDULED_MAX`]: what waits for another attempt must not hold them up, and
/// a destination that is down need not be asked for ever.
pub const URGENT_SCHEDULED_MAX: usize = SCHEDULED_MAX + 1_000;

/// What a claim takes turns over behind what is urgent.
const TURNS: usize = 3;
/// The same while the other side is down, and each claim is a probe: what is urgent is one of them, so that it is not always the same that is
/// tried, which may not be taken for what is in it.
const TURNS_DOWN: usize = 4;
/// The same where a section that does not sort any more has left digests.
const TURNS_UNSORTED: usize = 4;

impl Queue {
    /// As `claim_within` says, where there are lanes.
    pub(in super::super) fn claim_by_lanes(&mut self, max: usize, urgent_only: bool, now_ms: u64) -> Vec<Claim> {
        let sorts = self.sorts();
        let is_down = self.state.open_since_ms.is_some();
        self.lanes().urgent_only = urgent_only;
        let mut claims = Vec::new();
        while claims.len() < max {
            let claim = match (sorts, urgent_only) {
                (true, true) => self.take_returned_urgent().or_else(|| self.take_urgent(now_ms, |_| None)),
                (true, false) if is_down => {
                    let first = self.take_returned_urgent().or_else(|| self.take_returned());
                    first.or_else(|| self.take_by_turns(TURNS_DOWN, now_ms, Self::take_probe))
                }
                (true, false) => {
                    let rest = |queue: &mut Self| {
                        let returned = queue.take_returned();
                        returned.or_else(|| queue.take_by_turns(TURNS, now_ms, Self::take_sorted))
                    };
                    self.take_returned_urgent().or_else(|| self.take_urgent(now_ms, rest))
                }
                (false, true) => None,
                (false, false) => {
                    let first = self.take_returned();
                    first.or_else(|| self.take_by_turns(TURNS_UNSORTED, now_ms, Self::take_unsorted))
                }
            };
            let Some(claim) = claim else { break };
            claims.push(claim);
        }
        claims
    }

    fn take_probe(&mut self, turn: usize, now_ms: u64) -> Option<Claim> {
        match turn {
            // What nobody has tried says more than what was not taken.
            TURNS.. => self.take_urgent_first().or_else(|| self.take_urgent_retry(now_ms)),
            _ => self.take_sorted(turn, now_ms),
        }
    }

    fn take_sorted(&mut self, turn: usize, now_ms: u64) -> Option<Claim> {
        match turn {
            0 if self.is_in_order() => self.take_retry_in_order(now_ms),
            0 => self.take_usual_retry(now_ms),
            1 => self.take_ready(),
            _ => self.take_digest(now_ms),
        }
    }

    /// A retry of what is not urgent.
    fn take_usual_retry(&mut self, now_ms: u64) -> Option<Claim> {
        let urgent = &self.lanes.as_ref()?.urgent_due;
        let mut due = self.scheduled.keys().take_while(|(due_ms, _)| *due_ms <= now_ms);
        let (due_ms, sequence) = *due.find(|place| !urgent.contains(place))?;
        let scheduled = self.take_scheduled(sequence).expect("what is due is scheduled");
        Some(self.claim_retry(sequence, due_ms, scheduled))
    }

    fn take_unsorted(&mut self, turn: usize, now_ms: u64) -> Option<Claim> {
        match turn {
            0 => self.take_retry(now_ms),
            1 => self.take_first(),
            2 => self.take_redelivery(),
            _ => self.take_digest(now_ms),
        }
    }

    fn take_returned_urgent(&mut self) -> Option<Claim> {
        let at = self.first_returned_urgent()?;
        self.returned.remove(at)
    }

    /// Whether a claim would give something urgent.
    pub fn has_urgent(&mut self, now_ms: u64) -> bool {
        if self.state.paused.is_some() || !self.sorts() {
            return false;
        }
        let first_due = self.lanes.as_ref().and_then(|lanes| lanes.urgent_due.first());
        first_due.is_some_and(|(due_ms, _)| *due_ms <= now_ms)
            || self.first_returned_urgent().is_some()
            || self.next_urgent().is_some()
    }

    fn first_returned_urgent(&self) -> Option<usize> {
        let urgent = &self.lanes.as_ref()?.urgent;
        let is_urgent = |claim: &Claim| claim.digest.is_none() && urgent.contains(claim.key.sequence);
        self.returned.iter().position(is_urgent)
    }

    /// The next first attempt at something urgent.
    fn next_urgent(&mut self) -> Option<u64> {
        if self.scheduled.len() >= URGENT_SCHEDULED_MAX {
            return None;
        }
        let Self { lanes: Some(lanes), claimed, .. } = self else { return None };
        loop {
            lanes.urgent_cursor = lanes.urgent.next(lanes.urgent_cursor)?;
            // What is scheduled has its place there.
            if lanes.placed.contains(lanes.urgent_cursor) && !claimed.contains_key(&lanes.urgent_cursor) {
                return Some(lanes.urgent_cursor);
            }
            lanes.urgent_cursor += 1;
        }
    }

    /// Something urgent. A retry that is due is not taken twice in a row where anything else may go: what is not taken for what is in it leaves
    /// every other attempt to others, of which what is urgent comes first and then the rest.
    fn take_urgent(&mut self, now_ms: u64, rest: impl Fn(&mut Self) -> Option<Claim>) -> Option<Claim> {
        if !std::mem::take(&mut self.lanes().was_urgent_retry)
            && let Some(claim) = self.take_urgent_retry(now_ms)
        {
            return Some(claim);
        }
        self.take_urgent_first().or_else(|| rest(self)).or_else(|| self.take_urgent_retry(now_ms))
    }

    fn take_urgent_first(&mut self) -> Option<Claim> {
        self.next_urgent().map(|sequence| self.claim_fresh(sequence))
    }

    fn take_urgent_retry(&mut self, now_ms: u64) -> Option<Claim> {
        let due = self.lanes.as_ref()?.urgent_due.first().copied();
        let (due_ms, sequence) = due.filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.lanes().was_urgent_retry = true;
        let scheduled = self.take_scheduled(sequence).expect("what is urgent and due is scheduled");
        Some(self.claim_retry(sequence, due_ms, scheduled))
    }

    fn take_ready(&mut self) -> Option<Claim> {
        if self.scheduled_in_turn() >= SCHEDULED_MAX {
            return None;
        }
        let Self { lanes: Some(lanes), claimed, .. } = self else { return None };
        let Lanes { ready, ready_cursor, .. } = &mut **lanes;
        let sequence = next_unclaimed(ready, ready_cursor, claimed, None)?;
        Some(self.claim_fresh(sequence))
    }

    /// How many wait for another attempt that may be claimed when it is due. In order what is not looked at yet is none of them: it must not
    /// keep back what it waits for.
    fn scheduled_in_turn(&self) -> usize {
        let order = self.lanes.as_ref().and_then(|lanes| lanes.order.as_ref());
        order.map_or(self.scheduled.len(), |order| order.count_due())
    }

    fn take_retry_in_order(&mut self, now_ms: u64) -> Option<Claim> {
        let (due_ms, sequence) = self.lanes.as_ref()?.order.as_ref()?.first_due()?;
        if due_ms > now_ms {
            return None;
        }
        let scheduled = self.take_scheduled(sequence).expect("what is due is scheduled");
        Some(self.claim_retry(sequence, due_ms, scheduled))
    }

    fn take_digest(&mut self, now_ms: u64) -> Option<Claim> {
        let destination = self.destination;
        let is_down = self.state.open_since_ms.is_some();
        let digests = &mut self.lanes.as_mut()?.digests;
        let is_due = |(_, digest): &(&DigestId, &mut Closed)| digest.is_to_be_claimed() && digest.due_ms <= now_ms;
        // As a probe of what is down, one that was not taken may say nothing: before it those that nobody has tried.
        let order = |(id, digest): &(&DigestId, &mut Closed)| (is_down && digest.attempts > 0, digest.due_ms, **id);
        let (id, digest) = digests.iter_mut().filter(is_due).min_by_key(order)?;
        digest.is_in_hand = true;
        let sequence = digest.members.next(0).expect("a digest without members is none");
        Some(Claim {
            key: DeliveryKey { sequence, destination },
            attempts: digest.attempts,
            first_attempt_ms: digest.first_attempt_ms,
            due_ms: (digest.attempts > 0).then_some(digest.due_ms),
            digest: Some(*id),
        })
    }
}
