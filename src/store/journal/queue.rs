//! What waits for one destination: pure bookkeeping, no disk and no clock of its own.
//!
//! A delivery is in exactly one place: in `held` (its source is held), in `unsettled` (no attempt settled yet), in `again` (selected for another delivery), in
//! `postponed`, in `dead`, or nowhere, when it has arrived. A claim enters `claimed` on top. What lies in a set costs a bit, so
//! neither a backlog nor a heap of dead letters costs memory; `postponed` is bounded by [`POSTPONED_MAX`], since beyond it no first
//! attempts are handed out.
//!
//! The journal's records are applied by the same functions that made them, so reading it leads to the state that was written. Each
//! sets a delivery's place whatever it was before: reading a stretch twice changes no place. Only the time that did not count may be
//! taken off twice then, so that a delivery is given up later, and never earlier.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::bitmap::Bitmap;
use super::format::{Act, OutcomeState};
use crate::store::{Claim, DeliveryKey, DeliveryState, NameId, Pause, Selecting, Standing};

/// Postponed deliveries of one destination. When so many wait for another attempt, no first attempts are made: what is down
/// need not be asked ten thousand times, and each of them costs memory.
pub const POSTPONED_MAX: usize = 10_000;

/// A delivery that waits for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Attempts made.
    pub attempts: u16,
    /// When the first was made, unix milliseconds; moved on by the time that did not count.
    pub first_attempt_ms: u64,
    /// What the last one came to. Shared with copies: a checkpoint copies every queue.
    pub reason: Arc<str>,
}

/// So many times something was let go are told apart.
const LET_GO_MAX: usize = 64;

/// What a claim takes turns over.
const TURNS: usize = 3;

/// What waits for one destination.
#[derive(Clone, Debug)]
pub struct Queue {
    destination: NameId,
    /// Deliveries of which no attempt is settled.
    unsettled: Bitmap,
    /// Everything in `unsettled` below this has been handed out.
    cursor: u64,
    /// Deliveries selected to go out again.
    again: Bitmap,
    again_cursor: u64,
    /// Handed back; goes out first.
    released: VecDeque<Claim>,
    /// By when it is due, then by age.
    postponed: BTreeMap<(u64, u64), Postponed>,
    /// When each postponed delivery is due, to find it by its number.
    due: BTreeMap<u64, u64>,
    /// What is under way, or was handed back.
    claimed: BTreeMap<u64, Option<(u64, Postponed)>>,
    dead: Bitmap,
    /// What came in while its source is held, by source.
    held: BTreeMap<NameId, Bitmap>,
    /// What was held before, by when it was let go, in milliseconds that the store had lived through: it is as old as that. What is
    /// settled since may be in it still.
    let_go: BTreeMap<u64, Bitmap>,
    standing: Standing,
    /// Since when time does not count, because it is paused or its breaker is open.
    stopped_since: Option<u64>,
    turn: usize,
}

/// What of a queue is written down now and then, so that opening need not read the whole journal.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Deliveries of which no attempt is settled.
    pub unsettled: Bitmap,
    /// Deliveries selected to go out again.
    pub again: Bitmap,
    /// Dead letters.
    pub dead: Bitmap,
    /// What waits for another attempt: number, due time, and the rest.
    pub postponed: Vec<(u64, u64, Postponed)>,
    /// What came in while its source is held, by source.
    pub held: BTreeMap<NameId, Bitmap>,
    /// What was held before and was not attempted yet, by when it was let go.
    pub let_go: BTreeMap<u64, Bitmap>,
}

impl Queue {
    pub fn new(destination: NameId) -> Self {
        Self {
            destination,
            unsettled: Bitmap::default(),
            cursor: 0,
            again: Bitmap::default(),
            again_cursor: 0,
            released: VecDeque::new(),
            postponed: BTreeMap::new(),
            due: BTreeMap::new(),
            claimed: BTreeMap::new(),
            dead: Bitmap::default(),
            held: BTreeMap::new(),
            let_go: BTreeMap::new(),
            standing: Standing::default(),
            stopped_since: None,
            turn: 0,
        }
    }

    /// A queue as a snapshot left it.
    pub fn restore(destination: NameId, snapshot: Snapshot) -> Self {
        let Snapshot { unsettled, again, dead, postponed, held, let_go } = snapshot;
        let mut queue = Self { unsettled, again, dead, held, let_go, ..Self::new(destination) };
        for (sequence, due_ms, entry) in postponed {
            queue.postpone(sequence, due_ms, entry);
        }
        queue
    }

    /// Everything but what is claimed, which counts as it was before, and how it stands.
    pub fn snapshot(&self) -> Snapshot {
        let waiting = self.postponed.iter().map(|((due_ms, sequence), entry)| (*sequence, *due_ms, entry.clone()));
        let claimed = self.claimed.iter().filter_map(|(sequence, retry)| {
            let (due_ms, entry) = retry.as_ref()?;
            Some((*sequence, *due_ms, entry.clone()))
        });
        Snapshot {
            unsettled: self.unsettled.clone(),
            again: self.again.clone(),
            dead: self.dead.clone(),
            postponed: waiting.chain(claimed).collect(),
            held: self.held.clone(),
            let_go: self.let_go.clone(),
        }
    }

    /// An event for this destination is durable.
    pub fn add(&mut self, sequence: u64) {
        self.unsettled.insert(sequence);
    }

    /// The same for an event whose source is held.
    pub fn hold(&mut self, source: NameId, sequence: u64) {
        self.held.entry(source).or_default().insert(sequence);
    }

    /// What came in by a source while it is held may be delivered now, and is as old as this moment: so many milliseconds the store
    /// has lived through. Returns how much that is.
    pub fn let_go(&mut self, source: NameId, passed_ms: u64) -> u64 {
        let Some(held) = self.held.remove(&source) else { return 0 };
        self.cursor = self.cursor.min(held.next(0).unwrap_or(u64::MAX));
        self.unsettled.insert_all(&held);
        self.forget_let_go();
        self.let_go.entry(passed_ms).or_default().insert_all(&held);
        held.len()
    }

    /// The sources of which something is held.
    pub fn holders(&self) -> impl Iterator<Item = NameId> + '_ {
        self.held.keys().copied()
    }

    /// Forgets when something was let go of which nothing waits for its first attempt any more, and which of the oldest was let go
    /// first where there are too many: it is younger then.
    pub fn forget_let_go(&mut self) {
        let unsettled = &self.unsettled;
        self.let_go.retain(|_, set| set.iter_from(0).any(|sequence| unsettled.contains(sequence)));
        while self.let_go.len() >= LET_GO_MAX
            && let Some((_, oldest)) = self.let_go.pop_first()
            && let Some(mut next) = self.let_go.first_entry()
        {
            next.get_mut().insert_all(&oldest);
        }
    }

    /// What came in by a source while it is held.
    pub fn held(&self, source: NameId) -> Option<&Bitmap> {
        self.held.get(&source)
    }

    /// How much is held, whatever the source.
    pub fn held_in_all(&self) -> u64 {
        self.held.values().map(Bitmap::len).sum()
    }

    /// All that is held.
    pub fn all_held(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.values().flat_map(|held| held.iter_from(0))
    }

    fn is_held(&self, sequence: u64) -> bool {
        self.held.values().any(|held| held.contains(sequence))
    }

    fn remove_held(&mut self, sequence: u64) {
        for held in self.held.values_mut() {
            held.remove(sequence);
        }
    }

    /// An event is read from the journal, where something newer may be known of it already: that is read again as well. `holder` is
    /// its source, where that was held.
    pub fn read_again(&mut self, sequence: u64, holder: Option<NameId>) {
        self.again.remove(sequence);
        self.dead.remove(sequence);
        self.take_postponed(sequence);
        self.remove_held(sequence);
        self.unsettled.remove(sequence);
        match holder {
            Some(source) => self.hold(source, sequence),
            None => drop(self.unsettled.insert(sequence)),
        }
    }

    /// Hands out at most `max` deliveries: released ones first, then due retries, first attempts and repeated ones in turn.
    pub fn claim(&mut self, max: usize, now_ms: u64) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.standing.paused.is_some() {
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
        for offset in 0..TURNS {
            let turn = (self.turn + offset) % TURNS;
            let taken = match turn {
                0 => self.take_retry(now_ms),
                1 => self.take_first(),
                _ => self.take_again(),
            };
            if taken.is_some() {
                self.turn = turn + 1;
                return taken;
            }
        }
        None
    }

    fn take_retry(&mut self, now_ms: u64) -> Option<Claim> {
        let entry = self.postponed.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((due_ms, sequence), postponed) = entry.remove_entry();
        self.due.remove(&sequence);
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
        let sequence = next_unclaimed(&self.unsettled, &mut self.cursor, &self.claimed)?;
        Some(self.claim_fresh(sequence))
    }

    fn take_again(&mut self) -> Option<Claim> {
        if self.postponed.len() >= POSTPONED_MAX {
            return None;
        }
        let sequence = next_unclaimed(&self.again, &mut self.again_cursor, &self.claimed)?;
        Some(self.claim_fresh(sequence))
    }

    fn claim_fresh(&mut self, sequence: u64) -> Claim {
        self.claimed.insert(sequence, None);
        Claim { key: self.key(sequence), attempts: 0, first_attempt_ms: None, due_ms: None }
    }

    fn key(&self, sequence: u64) -> DeliveryKey {
        DeliveryKey { sequence, destination: self.destination }
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

    /// Applies an outcome, whatever was known before.
    pub fn apply(&mut self, sequence: u64, attempts: u16, state: &OutcomeState) {
        self.unsettled.remove(sequence);
        self.again.remove(sequence);
        self.take_postponed(sequence);
        self.dead.remove(sequence);
        self.remove_held(sequence);
        match state {
            OutcomeState::Delivered | OutcomeState::Skipped | OutcomeState::Dropped | OutcomeState::Moved(_) => {}
            OutcomeState::Dead { .. } => drop(self.dead.insert(sequence)),
            OutcomeState::Postponed { first_attempt_ms, due_ms, reason } => {
                let entry = Postponed { attempts, first_attempt_ms: *first_attempt_ms, reason: reason.as_str().into() };
                self.postpone(sequence, *due_ms, entry);
            }
        }
    }

    fn postpone(&mut self, sequence: u64, due_ms: u64, entry: Postponed) {
        self.due.insert(sequence, due_ms);
        self.postponed.insert((due_ms, sequence), entry);
    }

    fn take_postponed(&mut self, sequence: u64) -> Option<Postponed> {
        let due_ms = self.due.remove(&sequence)?;
        self.postponed.remove(&(due_ms, sequence))
    }

    /// Does something to some deliveries; returns those to which it was done. What is under way is left alone.
    pub fn select(&mut self, act: Selecting, sequences: &Bitmap) -> Bitmap {
        if matches!(act, Selecting::Bury | Selecting::Yield(_)) {
            self.take_back_released();
        }
        sequences.iter_from(0).filter(|sequence| self.select_one(act, *sequence)).collect()
    }

    fn select_one(&mut self, act: Selecting, sequence: u64) -> bool {
        match act {
            Selecting::Again => {
                if self.is_pending(sequence) {
                    return false;
                }
                self.dead.remove(sequence);
                self.again_cursor = self.again_cursor.min(sequence);
                self.again.insert(sequence)
            }
            Selecting::Bury | Selecting::Yield(_) => {
                if self.claimed.contains_key(&sequence) || !self.is_pending(sequence) {
                    return false;
                }
                self.remove_held(sequence);
                self.unsettled.remove(sequence);
                self.again.remove(sequence);
                self.take_postponed(sequence);
                act != Selecting::Bury || self.dead.insert(sequence)
            }
            Selecting::Drop | Selecting::Move(_) => self.dead.remove(sequence),
        }
    }

    /// Whether a delivery is still to be made.
    pub fn is_pending(&self, sequence: u64) -> bool {
        self.unsettled.contains(sequence)
            || self.again.contains(sequence)
            || self.due.contains_key(&sequence)
            || self.claimed.contains_key(&sequence)
            || self.is_held(sequence)
    }

    /// Whether it is a dead letter.
    pub fn is_dead(&self, sequence: u64) -> bool {
        self.dead.contains(sequence)
    }

    /// What waits and was never attempted, below a number; but what was held before only if it was let go by then.
    pub fn unattempted_below(&self, end: u64, let_go_by_ms: u64) -> Bitmap {
        let younger: Vec<&Bitmap> = self.let_go.range(let_go_by_ms.saturating_add(1)..).map(|(_, set)| set).collect();
        let first = self.unsettled.iter_outside(&younger).take_while(|sequence| *sequence < end);
        first.filter(|sequence| !self.claimed.contains_key(sequence)).collect()
    }

    /// Everything that waits and is not under way: what was handed back as well.
    pub fn waiting(&self) -> Bitmap {
        let postponed = self.due.keys().copied();
        let all = self.unsettled.iter_from(0).chain(self.again.iter_from(0)).chain(postponed);
        let unclaimed = all.filter(|sequence| !self.claimed.contains_key(sequence));
        unclaimed.chain(self.released.iter().map(|claim| claim.key.sequence)).collect()
    }

    /// Claims that were handed back are none any more.
    fn take_back_released(&mut self) {
        for claim in std::mem::take(&mut self.released) {
            let sequence = claim.key.sequence;
            if let Some(Some((due_ms, entry))) = self.claimed.remove(&sequence) {
                self.postpone(sequence, due_ms, entry);
            }
            self.cursor = self.cursor.min(sequence);
            self.again_cursor = self.again_cursor.min(sequence);
        }
    }

    /// When the next retry is due. A queue that is held has none.
    pub fn next_due(&self) -> Option<u64> {
        if self.standing.paused.is_some() {
            return None;
        }
        self.postponed.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Applies an act on the whole destination. Returns whether it changed anything.
    pub fn control(&mut self, act: &Act, at_ms: u64) -> bool {
        let standing = &mut self.standing;
        let changed = match act {
            Act::Pause(_) if standing.paused.is_some() => false,
            Act::Hold => {
                let was_paused = standing.paused.take().is_some();
                let was_held = standing.held_since_ms.is_some();
                standing.held_since_ms.get_or_insert(at_ms);
                was_paused || !was_held
            }
            Act::Pause(reason) => {
                standing.paused = Some(Pause { since_ms: at_ms, reason: reason.clone() });
                true
            }
            Act::Resume => {
                let was_held = standing.held_since_ms.take().is_some();
                standing.paused.take().is_some() || was_held
            }
            Act::Open if standing.open_since_ms.is_some() => false,
            Act::Open => {
                standing.open_since_ms = Some(at_ms);
                true
            }
            Act::Close => standing.open_since_ms.take().is_some(),
            Act::Remove if standing.removed_since_ms.is_some() => false,
            Act::Remove => {
                standing.removed_since_ms = Some(at_ms);
                true
            }
            Act::Restore => standing.removed_since_ms.take().is_some(),
            Act::RetryNow => !self.postponed.is_empty(),
        };
        if changed {
            self.start_or_stop_time(at_ms);
            if matches!(act, Act::Resume | Act::RetryNow) {
                self.make_due(at_ms);
            }
        }
        changed
    }

    /// How it stands, as a segment's header said.
    pub fn set_standing(&mut self, standing: Standing) {
        let pause = standing.paused.as_ref().map(|pause| pause.since_ms);
        self.stopped_since = [pause, standing.open_since_ms].into_iter().flatten().min();
        self.standing = standing;
    }

    /// How it stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Time counts again, or does not any more. What was tried before is moved on by the time that did not count.
    fn start_or_stop_time(&mut self, at_ms: u64) {
        let is_stopped = self.standing.paused.is_some() || self.standing.open_since_ms.is_some();
        let since_ms = match (is_stopped, self.stopped_since) {
            (true, None) => {
                self.stopped_since = Some(at_ms);
                return;
            }
            (false, Some(since_ms)) => since_ms,
            _ => return,
        };
        self.stopped_since = None;
        let stopped_ms = at_ms.saturating_sub(since_ms);
        // What was first tried while time stood still begins to count now.
        let moved = |first_ms: u64| if first_ms >= since_ms { at_ms.max(first_ms) } else { first_ms + stopped_ms };
        for claim in &mut self.released {
            claim.first_attempt_ms = claim.first_attempt_ms.map(moved);
        }
        let claimed = self.claimed.values_mut().flatten().map(|(_, entry)| entry);
        for entry in claimed.chain(self.postponed.values_mut()) {
            entry.first_attempt_ms = moved(entry.first_attempt_ms);
        }
    }

    fn make_due(&mut self, at_ms: u64) {
        let late = self.postponed.split_off(&(at_ms, 0));
        for ((_, sequence), entry) in late {
            self.postpone(sequence, at_ms, entry);
        }
    }

    /// No retry may be due later than this: a clock that was set wrong when it was written must not hold it for years.
    pub fn clamp_due(&mut self, latest_ms: u64) {
        self.make_due(latest_ms);
    }

    /// Moves what was stamped by another clock to ours, so that it is as old as it was then. To be called before anything is under
    /// way. What is due later by a clock that was ahead comes nearer; what is due by now stays so.
    pub fn move_by(&mut self, ms: i64) {
        if ms == 0 {
            return;
        }
        let moved = |at_ms: u64| at_ms.saturating_add_signed(ms);
        for ((due_ms, sequence), mut entry) in std::mem::take(&mut self.postponed) {
            entry.first_attempt_ms = moved(entry.first_attempt_ms);
            self.postpone(sequence, due_ms.min(moved(due_ms)), entry);
        }
        let Standing { paused, held_since_ms, open_since_ms, removed_since_ms } = &mut self.standing;
        let pauses = paused.iter_mut().map(|pause| &mut pause.since_ms);
        let others = [held_since_ms, open_since_ms, removed_since_ms, &mut self.stopped_since].into_iter().flatten();
        pauses.chain(others).for_each(|at_ms| *at_ms = moved(*at_ms));
    }

    /// Everything not settled: waiting, under way, postponed.
    pub fn backlog(&self) -> u64 {
        self.unsettled.len() + self.again.len() + (self.postponed.len() + self.retries_claimed()) as u64
    }

    fn retries_claimed(&self) -> usize {
        self.claimed.values().filter(|retry| retry.is_some()).count()
    }

    /// Whether nothing of it would be missed.
    pub fn is_blank(&self) -> bool {
        let Standing { paused, held_since_ms, open_since_ms, removed_since_ms: _ } = &self.standing;
        self.holds_nothing() && paused.is_none() && held_since_ms.is_none() && open_since_ms.is_none()
    }

    /// What may be moved elsewhere: all but what is in flight and what is held, dead letters aside.
    pub fn movable(&mut self) -> Snapshot {
        self.take_back_released();
        let unclaimed =
            |set: &Bitmap| set.iter_from(0).filter(|sequence| !self.claimed.contains_key(sequence)).collect();
        let scheduled = self.postponed.iter().map(|((due_ms, sequence), entry)| (*sequence, *due_ms, entry.clone()));
        Snapshot {
            unsettled: unclaimed(&self.unsettled),
            again: unclaimed(&self.again),
            dead: Bitmap::default(),
            postponed: scheduled.collect(),
            held: BTreeMap::new(),
            let_go: BTreeMap::new(),
        }
    }

    /// Whether nothing waits and nothing is dead.
    pub fn holds_nothing(&self) -> bool {
        self.backlog() == 0 && self.dead.is_empty() && self.claimed.is_empty() && self.held_in_all() == 0
    }

    /// How many wait for another attempt.
    pub fn postponed(&self) -> usize {
        self.postponed.len()
    }

    /// How many wait to go out again.
    pub fn again(&self) -> u64 {
        self.again.len()
    }

    /// How many are in the hands of workers.
    pub fn under_way(&self) -> usize {
        self.claimed.len() - self.released.len()
    }

    /// Dead letters.
    pub fn dead(&self) -> &Bitmap {
        &self.dead
    }

    /// The oldest event that is not settled.
    pub fn oldest(&self) -> Option<u64> {
        let postponed = self.due.keys().next().copied();
        let claimed = self.claimed.keys().next().copied();
        [self.unsettled.next(0), self.again.next(0), postponed, claimed].into_iter().flatten().min()
    }

    /// Whether something waits in a stretch of the history, which can therefore not go yet.
    pub fn waits_in(&self, stretch: &Range<u64>) -> bool {
        let first = [self.unsettled.next(stretch.start), self.again.next(stretch.start)];
        let held = self.held.values().filter_map(|held| held.next(stretch.start));
        first.into_iter().flatten().chain(held).any(|sequence| sequence < stretch.end)
    }

    /// The oldest event of which no attempt was made or is under way.
    pub fn oldest_unattempted(&self) -> Option<u64> {
        self.unsettled.iter_from(0).find(|sequence| !self.claimed.contains_key(sequence))
    }

    /// What keeps the journal from being trimmed, is not under way and was not held before.
    pub fn never_held(&self) -> Bitmap {
        let let_go: Vec<&Bitmap> = self.let_go.values().collect();
        let waiting = self.unsettled.iter_outside(&let_go).chain(self.again.iter_from(0));
        waiting.filter(|sequence| !self.claimed.contains_key(sequence)).collect()
    }

    /// The oldest of these.
    pub fn oldest_never_held(&self) -> Option<u64> {
        let let_go: Vec<&Bitmap> = self.let_go.values().collect();
        let is_free = |sequence: &u64| !self.claimed.contains_key(sequence);
        let first = self.unsettled.iter_outside(&let_go).find(is_free);
        [first, self.again.iter_from(0).find(is_free)].into_iter().flatten().min()
    }

    /// The oldest that keeps the journal from being trimmed and is not under way.
    pub fn oldest_pinning(&self) -> Option<u64> {
        let again = self.again.iter_from(0).find(|sequence| !self.claimed.contains_key(sequence));
        [self.oldest_unattempted(), again].into_iter().flatten().min()
    }

    /// What of a stretch must be carried over when it goes: postponed deliveries and dead letters.
    pub fn kept_in(&self, stretch: &Range<u64>) -> Bitmap {
        let dead = self.dead.iter_from(stretch.start).take_while(|sequence| *sequence < stretch.end);
        let others = self.due.keys().chain(self.claimed.keys()).copied();
        dead.chain(others.filter(|sequence| stretch.contains(sequence))).collect()
    }

    /// Whether the event's body may be asked for.
    pub fn needs(&self, sequence: u64) -> bool {
        self.is_pending(sequence) || self.is_dead(sequence)
    }

    /// What a postponed delivery waits for, also while it is claimed.
    pub fn postponed_state(&self, sequence: u64) -> Option<(u64, Postponed)> {
        if let Some(due_ms) = self.due.get(&sequence) {
            return self.postponed.get(&(*due_ms, sequence)).map(|entry| (*due_ms, entry.clone()));
        }
        self.claimed.get(&sequence).cloned().flatten()
    }

    /// Whether it waits to go out again.
    pub fn goes_again(&self, sequence: u64) -> bool {
        self.again.contains(sequence)
    }

    /// Where a delivery stands, if it is not settled.
    pub fn state(&self, sequence: u64) -> Option<DeliveryState> {
        let is_under_way =
            self.claimed.contains_key(&sequence) && !self.released.iter().any(|claim| claim.key.sequence == sequence);
        if is_under_way {
            return Some(DeliveryState::UnderWay);
        }
        if self.is_held(sequence) {
            return Some(DeliveryState::Held);
        }
        if self.unsettled.contains(sequence) || self.again.contains(sequence) {
            return Some(DeliveryState::Waiting);
        }
        let (due_ms, postponed) = self.postponed_state(sequence)?;
        Some(DeliveryState::Postponed { attempts: postponed.attempts, due_ms, reason: postponed.reason.to_string() })
    }
}

fn next_unclaimed(set: &Bitmap, cursor: &mut u64, claimed: &BTreeMap<u64, Option<(u64, Postponed)>>) -> Option<u64> {
    loop {
        let sequence = set.next(*cursor)?;
        *cursor = sequence + 1;
        if !claimed.contains_key(&sequence) {
            return Some(sequence);
        }
    }
}

#[cfg(test)]
mod tests;
