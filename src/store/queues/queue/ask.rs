//! What is asked of a queue: how much waits, what is the oldest, where one delivery stands.

use super::*;
use crate::store::Counts;

impl Queue {
    /// Whether it is in the hands of a worker, or was handed back by one: nothing else is done to it then.
    pub(super) fn is_in_hand(&self, sequence: u64) -> bool {
        self.claimed.contains_key(&sequence) || self.lanes.as_ref().is_some_and(|lanes| lanes.is_in_hand(sequence))
    }

    /// Whether a delivery is still to be made.
    pub fn is_pending(&self, sequence: u64) -> bool {
        self.unsettled.contains(sequence)
            || self.redeliveries.contains(sequence)
            || self.due.contains_key(&sequence)
            || self.is_in_hand(sequence)
            || self.is_held(sequence)
    }

    /// Whether it is a dead letter.
    pub fn is_dead(&self, sequence: u64) -> bool {
        self.dead.contains(sequence)
    }

    /// What waits and was never attempted, below a number; but what was held before, or lay in a window, only if it was let go by then, and
    /// nothing that is in a digest.
    pub fn unattempted_below(&self, end: u64, let_go_by_ms: u64) -> Bitmap {
        let younger = self.let_go.range(let_go_by_ms.saturating_add(1)..).map(|(_, set)| set);
        let others: Vec<&Bitmap> = younger.chain(self.ageless()).collect();
        let first = self.unsettled.iter_outside(&others).take_while(|sequence| *sequence < end);
        first.filter(|sequence| self.ages(*sequence)).collect()
    }

    /// What does not grow old, as far as there are sets of it: it lies in a window, or in a digest, which is closed when it can go out and is
    /// given up by the age of its attempts.
    fn ageless(&self) -> impl Iterator<Item = &Bitmap> {
        self.lanes.iter().flat_map(|lanes| [lanes.closed(), lanes.gathered()])
    }

    /// Whether something outside of these grows old: it is not in flight, and not to be looked at for a window.
    fn ages(&self, sequence: u64) -> bool {
        !self.claimed.contains_key(&sequence) && self.lanes.as_ref().is_none_or(|lanes| !lanes.is_ageless(sequence))
    }

    /// Everything that waits and is not in flight: what was handed back as well.
    pub fn waiting(&self) -> Bitmap {
        let scheduled = self.due.keys().copied();
        let all = self.unsettled.iter_from(0).chain(self.redeliveries.iter_from(0)).chain(scheduled);
        let unclaimed = all.filter(|sequence| !self.is_in_hand(*sequence));
        let mut waiting: Bitmap = unclaimed.collect();
        for claim in &self.returned {
            match claim.digest.and_then(|id| self.digest(id)) {
                Some(digest) => waiting.insert_all(&digest.members),
                None => drop(waiting.insert(claim.key.sequence)),
            }
        }
        waiting
    }

    /// Everything not settled that is not kept in a window: waiting, in flight, scheduled.
    pub fn backlog(&self) -> u64 {
        self.pending() - self.gathered()
    }

    /// Everything not settled.
    fn pending(&self) -> u64 {
        self.unsettled.len() + self.redeliveries.len() + (self.scheduled.len() + self.retries_claimed()) as u64
    }

    pub(super) fn retries_claimed(&self) -> usize {
        self.claimed.values().filter(|origin| origin.retry().is_some()).count()
    }

    /// Whether nothing of it would be missed.
    pub fn is_blank(&self) -> bool {
        let NameState { paused, held_since_ms, open_since_ms, removed_since_ms: _ } = &self.state;
        self.holds_nothing() && paused.is_none() && held_since_ms.is_none() && open_since_ms.is_none()
    }

    /// Whether nothing waits and nothing is dead.
    pub fn holds_nothing(&self) -> bool {
        self.pending() == 0 && self.dead.is_empty() && self.claimed.is_empty() && self.held_in_all() == 0
    }

    /// Whether anything is said of an event with this number or a greater one.
    pub fn knows_from(&self, sequence: u64) -> bool {
        let sets = [&self.unsettled, &self.redeliveries, &self.dead];
        let mut sets = sets.into_iter().chain(self.held.values()).chain(self.let_go.values());
        sets.any(|set| set.next(sequence).is_some()) || self.due.range(sequence..).next().is_some()
    }

    /// How many wait for another attempt, by themselves.
    pub fn scheduled(&self) -> usize {
        self.scheduled.len()
    }

    /// How many wait to go out again.
    pub fn redeliveries(&self) -> u64 {
        self.redeliveries.len()
    }

    /// How many are in the hands of workers: of a digest, its members.
    pub fn in_flight(&self) -> usize {
        let of_digests = self.digests_in_hand().into_iter().map(|members| members.len() as usize).sum::<usize>();
        self.claimed.len() + of_digests - self.returned.iter().map(|claim| self.deliveries_of(claim)).sum::<usize>()
    }

    fn deliveries_of(&self, claim: &Claim) -> usize {
        claim.digest.and_then(|id| self.digest(id)).map_or(1, |digest| digest.members.len() as usize)
    }

    /// How much waits, but for what only the events say: bytes, and since when.
    pub fn counts(&self, destination: NameId) -> Counts {
        let (windows, next_end_ms) = self.open_windows();
        let (order_keys, behind) = self.in_order();
        // Nobody ends the windows of a destination that is removed.
        let is_removed = self.state.removed_since_ms.is_some();
        let [gathered, stranded] = if is_removed { [0, self.gathered()] } else { [self.gathered(), 0] };
        Counts {
            destination,
            backlog: self.backlog() + stranded,
            scheduled: self.scheduled() as u64 + self.scheduled_in_digests(),
            redeliveries: self.redeliveries(),
            in_flight: self.in_flight() as u64,
            held: self.held_in_all(),
            gathered,
            windows,
            next_end_ms,
            urgent: self.urgent(),
            unplaced: self.count_unplaced(),
            behind,
            order_keys,
            dead: self.dead().len(),
            state: self.state.clone(),
            ..Counts::default()
        }
    }

    /// Dead letters.
    pub fn dead(&self) -> &Bitmap {
        &self.dead
    }

    /// Whether something waits in a range of the history, which can therefore not go yet.
    pub fn waits_in(&self, range: &Range<u64>) -> bool {
        let first = [self.unsettled.next(range.start), self.redeliveries.next(range.start)];
        let held = self.held.values().filter_map(|held| held.next(range.start));
        first.into_iter().flatten().chain(held).any(|sequence| sequence < range.end)
    }

    /// The oldest delivery of which no attempt is settled, held or in flight as it may be.
    pub fn first_unattempted(&self) -> Option<u64> {
        let held = self.held.values().filter_map(|held| held.next(0));
        self.unsettled.next(0).into_iter().chain(held).min()
    }

    /// What keeps the journal from being trimmed, is not in flight, in no window, and was not held before.
    pub fn never_held(&self) -> Bitmap {
        let others: Vec<&Bitmap> = self.let_go.values().chain(self.ageless()).collect();
        let ageless: Vec<&Bitmap> = self.ageless().collect();
        let waiting = self.unsettled.iter_outside(&others).chain(self.redeliveries.iter_outside(&ageless));
        waiting.filter(|sequence| self.ages(*sequence)).collect()
    }

    /// The oldest of these.
    pub fn oldest_never_held(&self) -> Option<u64> {
        let others: Vec<&Bitmap> = self.let_go.values().chain(self.ageless()).collect();
        let ageless: Vec<&Bitmap> = self.ageless().collect();
        let first = self.unsettled.iter_outside(&others).find(|sequence| self.ages(*sequence));
        let again = self.redeliveries.iter_outside(&ageless).find(|sequence| self.ages(*sequence));
        [first, again].into_iter().flatten().min()
    }

    /// The oldest that keeps the journal from being trimmed and is not in flight.
    pub fn oldest_pinning(&self) -> Option<u64> {
        let in_hand = self.digests_in_hand();
        let first = |set: &Bitmap| set.iter_outside(&in_hand).find(|sequence| !self.claimed.contains_key(sequence));
        [first(&self.unsettled), first(&self.redeliveries)].into_iter().flatten().min()
    }

    /// What of a range must be relocated when it goes: scheduled deliveries and dead letters.
    pub fn kept_in(&self, range: &Range<u64>) -> Bitmap {
        let dead = self.dead.iter_from(range.start).take_while(|sequence| *sequence < range.end);
        let others = self.due.keys().chain(self.claimed.keys()).copied();
        dead.chain(others.filter(|sequence| range.contains(sequence))).collect()
    }

    /// Whether the event's body may be asked for.
    pub fn needs(&self, sequence: u64) -> bool {
        self.is_pending(sequence) || self.is_dead(sequence)
    }

    /// What a scheduled delivery waits for, also while it is claimed.
    pub fn scheduled_state(&self, sequence: u64) -> Option<(u64, Scheduled)> {
        if let Some(due_ms) = self.due.get(&sequence) {
            return self.scheduled.get(&(*due_ms, sequence)).map(|entry| (*due_ms, entry.clone()));
        }
        let (due_ms, entry) = self.claimed.get(&sequence)?.retry()?;
        Some((due_ms, entry.clone()))
    }

    /// Whether it waits to go out again.
    pub fn is_redelivery(&self, sequence: u64) -> bool {
        self.redeliveries.contains(sequence)
    }

    /// Where a delivery stands, if it is not settled.
    pub fn delivery_state(&self, sequence: u64) -> Option<DeliveryState> {
        let digest = self.lanes.as_ref().and_then(|lanes| lanes.digest_of(sequence));
        let is_handed_back = |claim: &Claim| match claim.digest {
            None => claim.key.sequence == sequence,
            Some(id) => self.digest(id).is_some_and(|digest| digest.members.contains(sequence)),
        };
        if self.is_in_hand(sequence) && !self.returned.iter().any(is_handed_back) {
            return Some(DeliveryState::InFlight);
        }
        if self.is_held(sequence) {
            return Some(DeliveryState::Held { by: HeldBy::Source });
        }
        if let Some(window) = self.lanes.as_ref().and_then(|lanes| lanes.window_of(sequence)) {
            return Some(DeliveryState::Held { by: HeldBy::Window { ends_ms: window.ends_ms } });
        }
        if self.is_behind(sequence) {
            return Some(DeliveryState::Held { by: HeldBy::Order { earlier: None } });
        }
        if let Some(digest) = digest.filter(|digest| digest.attempts > 0) {
            let reason = digest.reason.to_string();
            return Some(DeliveryState::Scheduled { attempts: digest.attempts, due_ms: digest.due_ms, reason });
        }
        if self.unsettled.contains(sequence) || self.redeliveries.contains(sequence) {
            return Some(DeliveryState::Waiting);
        }
        let (due_ms, scheduled) = self.scheduled_state(sequence)?;
        Some(DeliveryState::Scheduled { attempts: scheduled.attempts, due_ms, reason: scheduled.reason.to_string() })
    }
}
