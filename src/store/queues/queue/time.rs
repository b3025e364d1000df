//! How the whole destination stands, when retries are due, and what time counts.

use super::*;

impl Queue {
    /// When the next retry is due. A queue that is held has none.
    pub fn next_due(&self) -> Option<u64> {
        if self.state.paused.is_some() {
            return None;
        }
        let scheduled = self.scheduled.first_key_value().map(|((due_ms, _), _)| *due_ms);
        match &self.lanes {
            None => scheduled,
            Some(lanes) => lanes.next_due(scheduled),
        }
    }

    /// Applies an act on the whole destination. Returns whether it changed anything.
    pub fn control(&mut self, act: &Act, at_ms: u64) -> bool {
        let state = &mut self.state;
        let changed = match act {
            Act::Pause(_) if state.paused.is_some() => false,
            Act::Hold => {
                let was_paused = state.paused.take().is_some();
                let was_held = state.held_since_ms.is_some();
                state.held_since_ms.get_or_insert(at_ms);
                was_paused || !was_held
            }
            Act::Pause(reason) => {
                state.paused = Some(Pause { since_ms: at_ms, reason: reason.clone() });
                true
            }
            Act::Resume => {
                let was_held = state.held_since_ms.take().is_some();
                state.paused.take().is_some() || was_held
            }
            Act::Open if state.open_since_ms.is_some() => false,
            Act::Open => {
                state.open_since_ms = Some(at_ms);
                true
            }
            Act::Close => state.open_since_ms.take().is_some(),
            Act::Remove if state.removed_since_ms.is_some() => false,
            Act::Remove => {
                state.removed_since_ms = Some(at_ms);
                true
            }
            Act::Restore => state.removed_since_ms.take().is_some(),
            Act::RetryNow => {
                !self.scheduled.is_empty() || self.lanes.as_ref().is_some_and(|lanes| lanes.has_scheduled())
            }
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
    pub fn set_state(&mut self, state: NameState) {
        let pause = state.paused.as_ref().map(|pause| pause.since_ms);
        self.stopped_since = [pause, state.open_since_ms].into_iter().flatten().min();
        self.state = state;
    }

    /// How it stands.
    pub fn state(&self) -> &NameState {
        &self.state
    }

    /// Time counts again, or does not any more. What was tried before is moved on by the time that did not count.
    pub(super) fn start_or_stop_time(&mut self, at_ms: u64) {
        let is_stopped = self.state.paused.is_some() || self.state.open_since_ms.is_some();
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
        for claim in &mut self.returned {
            claim.first_attempt_ms = claim.first_attempt_ms.map(moved);
        }
        let claimed = self.claimed.values_mut().filter_map(|origin| match origin {
            Origin::Fresh => None,
            Origin::Retry { entry, .. } => Some(entry),
        });
        for entry in claimed.chain(self.scheduled.values_mut()) {
            entry.first_attempt_ms = moved(entry.first_attempt_ms);
        }
        for digest in self.lanes.iter_mut().flat_map(|lanes| lanes.digests_mut()) {
            digest.first_attempt_ms = digest.first_attempt_ms.map(moved);
        }
    }

    pub(super) fn make_due(&mut self, at_ms: u64) {
        let late = self.scheduled.split_off(&(at_ms, 0));
        for ((due_ms, sequence), entry) in late {
            if let Some(lanes) = &mut self.lanes {
                lanes.note_unscheduled(due_ms, sequence);
            }
            self.schedule(sequence, at_ms, entry);
        }
        for digest in self.lanes.iter_mut().flat_map(|lanes| lanes.digests_mut()) {
            digest.due_ms = digest.due_ms.min(at_ms);
        }
    }

    /// No retry may be due later than this, and no window end: a clock that was set wrong when it was written must not hold it for years.
    pub fn clamp_due(&mut self, latest_ms: u64) {
        self.make_due(latest_ms);
        for head in self.lanes.iter_mut().flat_map(|lanes| lanes.heads_mut()) {
            head.ends_ms = head.ends_ms.min(latest_ms);
        }
    }

    /// Moves what was stamped by another clock to ours, so that it is as old as it was then. To be called before anything is under
    /// way. What is due later by a clock that was ahead comes nearer; what is due by now stays so.
    pub fn move_by(&mut self, ms: i64) {
        if ms == 0 {
            return;
        }
        let moved = |at_ms: u64| at_ms.saturating_add_signed(ms);
        for ((due_ms, sequence), mut entry) in std::mem::take(&mut self.scheduled) {
            entry.first_attempt_ms = moved(entry.first_attempt_ms);
            self.schedule(sequence, due_ms.min(moved(due_ms)), entry);
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.heads_mut().for_each(|head| {
                head.opened_ms = moved(head.opened_ms);
                head.ends_ms = head.ends_ms.min(moved(head.ends_ms));
            });
            lanes.digests_mut().for_each(|digest| {
                digest.closed_ms = moved(digest.closed_ms);
                digest.first_attempt_ms = digest.first_attempt_ms.map(moved);
                digest.due_ms = digest.due_ms.min(moved(digest.due_ms));
            });
        }
        let NameState { paused, held_since_ms, open_since_ms, removed_since_ms } = &mut self.state;
        let pauses = paused.iter_mut().map(|pause| &mut pause.since_ms);
        let others = [held_since_ms, open_since_ms, removed_since_ms, &mut self.stopped_since].into_iter().flatten();
        pauses.chain(others).for_each(|at_ms| *at_ms = moved(*at_ms));
    }
}
