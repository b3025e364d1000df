//! Windows that are over are ended as soon as their digest can go out; until then they go on collecting.

use std::collections::HashSet;

use super::prepare::Known;
use super::{LOOK_AGAIN, LOOK_AT_WALL, Sorter};
use crate::deliver::breaker::{PROBE_FIRST, after_probe};
use crate::deliver::sorting::windows::Over;
use crate::deliver::sorting::{CLOSED_APART, FIRST_CLOSED_AFTER, Fold, Looked, Windows, closed_after};
use crate::store::{self, DIGESTS_MAX, DigestId, GroupKey, OpenWindows, QueueState, WindowHead};
use crate::time::Instant;

/// Digests that no attempt was made at, or whose attempt is in flight. With so many of them windows go on collecting: that costs less than one
/// more message to who takes none.
pub(super) const UNTRIED_MAX: usize = 16;
/// Digests to the one place where all go.
pub(super) const TO_ONE_PLACE_MAX: usize = 16;
/// Digests to one of several addresses: one that takes nothing leaves the others their room.
pub(super) const TO_ONE_ADDRESS_MAX: usize = 4;
/// With so many digests in all, an address has no second one: what is left of [`DIGESTS_MAX`] is for those that have none.
pub(super) const SECOND_ONES_UP_TO: usize = 16;
/// So many are left for addresses that have none.
const LEFT_FOR_OTHERS: usize = 16;
/// With so many, nothing is closed any more beyond what a place or an address may have.
const MORE_UP_TO: usize = DIGESTS_MAX - LEFT_FOR_OTHERS;

/// What there is where the digest of a window would go.
#[derive(Clone, Copy)]
struct There {
    /// Digests that wait there.
    waiting: usize,
    /// So many may.
    max: usize,
    /// The last of them was closed so long ago that one more may say something new.
    is_long_ago: bool,
    /// The other side works, and there are few digests in all.
    may_have_more: bool,
}

impl There {
    /// Whether there is room for one more. Those of groups of which one waits already (`is_apart`) fill half of it at once and the other half but one
    /// place slowly: the rest is for groups of which none waits. Those may have more than that, slowly, where the other side works: what is taken
    /// takes no room, and what is not makes one more now and then.
    fn has_room(self, is_apart: bool) -> bool {
        let Self { waiting, max, is_long_ago, may_have_more } = self;
        match is_apart {
            true => waiting < max.div_ceil(2) || waiting + 1 < max && is_long_ago,
            false => waiting < max || may_have_more && is_long_ago,
        }
    }
}

/// What there is beside the windows that are over.
struct Beside {
    state: QueueState,
    windows: OpenWindows,
    digests: Vec<store::Digest>,
}

impl Beside {
    /// Whether nothing lies in any of these.
    fn are_empty(&self, over: &Over) -> bool {
        let open = &self.windows.open;
        let count = |key| open.binary_search_by_key(key, |(head, _)| head.key).map_or(0, |at| open[at].1);
        over.keys.iter().all(|key| count(key) == 0)
    }
}

impl Sorter {
    /// Ends windows that are over, if their digest can go out now. Returns when to look again.
    pub(super) fn end_some(&mut self) -> Option<Instant> {
        let wall = self.wall_changes();
        let mut later = None;
        // Where attempts are counted, none is made to learn something.
        let may_doubt = self.section.config.policy.attempts_max.is_none();
        loop {
            let state = self.state.see();
            let is_down = state.state.open_since_ms.is_some();
            let now_ms = self.parts.clock.now_ms();
            let first_ms = self.parts.status.sorted().windows(|windows| windows.next_end_ms());
            if first_ms.is_none_or(|first_ms| first_ms > now_ms) {
                break;
            }
            let queue = &self.parts.queue;
            let beside = Beside { state, windows: queue.windows(), digests: queue.digests() };
            let sorted = self.parts.status.sorted();
            let Looked { over, waits, doubted } = sorted.over(now_ms, is_down, may_doubt, &beside.digests);
            for id in doubted {
                sorted.doubts(id);
                self.parts.queue.hasten(id);
            }
            let may_end: Vec<Result<Over, Instant>> =
                over.into_iter().map(|over| self.may_end(&beside, &over).map(|()| over)).collect();
            let waits = waits.then(|| Instant::now() + LOOK_AGAIN);
            later = may_end.iter().filter_map(|may_end| may_end.as_ref().err().copied()).chain(waits).min();
            // One digest after the other: with each there is one more beside the rest.
            let Some(over) = may_end.into_iter().find_map(Result::ok) else { break };
            self.end(&over);
        }
        self.end_leftover();
        let now_ms = self.parts.clock.now_ms();
        let next = self.parts.status.sorted().windows(|windows| windows.next_end_after_ms(now_ms));
        let next = next.map(|ends_ms| Instant::now() + self.parts.clock.until(ends_ms));
        [wall, later, next].into_iter().flatten().min()
    }

    /// While the other side is down and something waits in windows, what could go by itself would be tried as a probe; where there is no
    /// such thing, a digest is that waits for another attempt, and goes where one of these goes. When the other side is well again, none of
    /// them waits for longer because it was the probe. Returns when to look again.
    pub(super) fn hasten_probe(&mut self) -> Option<Instant> {
        let QueueState { state, .. } = self.state.now();
        if state.open_since_ms.is_none() {
            let was_hastened = self.hastened.take().is_some();
            if std::mem::take(&mut self.began_down) || was_hastened {
                let sorted = self.parts.status.sorted();
                let mut waiting = self.waiting_digests();
                // What is not taken for what is in it waits for its time.
                waiting.retain(|digest| !sorted.is_suspect(digest.id));
                waiting.iter().for_each(|digest| self.parts.queue.hasten(digest.id));
            }
            return None;
        }
        // Where attempts are counted, those of an outage would use them up.
        let are_counted = self.section.config.policy.attempts_max.is_some();
        if state.paused.is_some() || self.is_quiet || are_counted {
            return None;
        }
        let has_some = |(head, fold): (&WindowHead, &Fold)| (fold.count > 0).then_some(head.address);
        let sorted = self.parts.status.sorted();
        let gathered: HashSet<u64> = sorted.windows(|windows| windows.iter().filter_map(has_some).collect());
        if gathered.is_empty() {
            return None;
        }
        let now = Instant::now();
        if self.hastened.is_none_or(|(at, wait)| at + wait <= now) && self.parts.queue.windows().others == 0 {
            // Of another address it would say nothing of this one, and hold up what does.
            let is_of_these =
                |digest: &&store::Digest| self.addresses.get(&digest.id).is_some_and(|at| gathered.contains(at));
            let waiting = self.waiting_digests();
            if let Some(next) =
                waiting.iter().filter(|digest| digest.is_offered).filter(is_of_these).min_by_key(|digest| digest.due_ms)
            {
                // A probe that says nothing of the other side moves no other: these come further and further apart by themselves.
                let wait = self.hastened.map_or(PROBE_FIRST, |(_, wait)| after_probe(wait));
                self.hastened = Some((now, wait));
                self.parts.queue.hasten(next.id);
            }
        }
        Some(now + LOOK_AGAIN)
    }

    /// Digests that wait for their next attempt, and not because the other side has asked for that.
    fn waiting_digests(&self) -> Vec<store::Digest> {
        let now_ms = self.parts.clock.now_ms();
        let sorted = self.parts.status.sorted();
        let mut digests = self.parts.queue.digests();
        digests.retain(|digest| digest.due_ms > Some(now_ms) && sorted.may_hasten(digest.id));
        digests
    }

    /// Whether what waits in some windows could go out at once, or when to ask again.
    fn may_end(&self, beside: &Beside, over: &Over) -> Result<(), Instant> {
        let now = Instant::now();
        let Beside { state: QueueState { state, .. }, windows, digests } = beside;
        // With so many digests nothing is ended, not even a window in which nothing waits.
        if !windows.are_whole || digests.len() >= DIGESTS_MAX {
            return Err(now + LOOK_AGAIN);
        }
        if beside.are_empty(over) {
            return Ok(());
        }
        // One address that takes nothing holds up no other.
        let goes_elsewhere =
            |digest: &&store::Digest| self.addresses.get(&digest.id).is_some_and(|at| *at != over.address);
        let to_it = || digests.iter().filter(|digest| !goes_elsewhere(digest));
        let to_it_max = match over.address {
            0 => TO_ONE_PLACE_MAX,
            _ if digests.len() < SECOND_ONES_UP_TO => TO_ONE_ADDRESS_MAX,
            _ => 1,
        };
        let untried = digests.iter().filter(|digest| digest.due_ms.is_none()).count();
        let closed_ms = to_it().map(|digest| digest.closed_ms).max().unwrap_or_default();
        let is_long_ago = closed_ms + CLOSED_APART.as_millis() as u64 <= self.parts.clock.now_ms();
        let may_have_more = state.open_since_ms.is_none() && digests.len() < MORE_UP_TO;
        let there = There { waiting: to_it().count(), max: to_it_max, is_long_ago, may_have_more };
        let has_room = there.has_room(over.is_apart);
        if untried >= UNTRIED_MAX || !(has_room || over.is_wanted) {
            return Err(now + LOOK_AGAIN);
        }
        if self.is_quiet {
            return Err(now + LOOK_AT_WALL);
        }
        let is_one_waiting = to_it().any(|digest| digest.due_ms.is_none());
        let now_ms = self.parts.clock.now_ms();
        // What nobody has tried can be the probe of whether it works again, at first. Of much of it, it may be what is in it that is not taken.
        let has_probe =
            |since_ms: u64| windows.untried > 0 && now_ms < since_ms + FIRST_CLOSED_AFTER.as_millis() as u64;
        let is_one_enough = |since_ms: u64| {
            !over.is_wanted && (has_probe(since_ms) || self.have_enough_closed(to_it(), since_ms, over.is_apart))
        };
        if state.paused.is_some() || is_one_waiting || state.open_since_ms.is_some_and(is_one_enough) {
            return Err(now + LOOK_AGAIN);
        }
        self.section.rate_limit.held_until(now).map_or(Ok(()), Err)
    }

    /// Whether one of these was closed so lately, in an outage that has been since then, that another would say nothing more. `is_apart`: it
    /// would tell of a group of which one waits already.
    fn have_enough_closed<'d>(
        &self,
        digests: impl Iterator<Item = &'d store::Digest> + Clone,
        since_ms: u64,
        is_apart: bool,
    ) -> bool {
        let now_ms = self.parts.clock.now_ms();
        let sorted = self.parts.status.sorted();
        let is_soon = |due_ms: u64| due_ms <= now_ms + FIRST_CLOSED_AFTER.as_millis() as u64;
        let can_be_probe = |digest: &store::Digest| sorted.may_hasten(digest.id) || digest.due_ms.is_none_or(is_soon);
        let is_of_outage = |digest: &&store::Digest| digest.closed_ms >= since_ms && can_be_probe(digest);
        let closed = digests.clone().filter(is_of_outage).count();
        let apart = if closed > 0 && is_apart { CLOSED_APART } else { closed_after(closed) };
        digests.into_iter().any(|digest| now_ms < digest.closed_ms + apart.as_millis() as u64)
    }

    /// Ends windows: what waits in them is a digest from here on.
    fn end(&mut self, over: &Over) {
        let queue = &self.parts.queue;
        let before: Vec<DigestId> = queue.digests().iter().map(|digest| digest.id).collect();
        let durable = queue.end(over.keys.clone());
        let is_told = |windows: &Windows, key: &GroupKey| windows.get(key).is_some_and(|(_, fold)| fold.count > 0);
        let (told, folds) = self.parts.status.sorted().windows(|windows| {
            let told: Vec<GroupKey> = over.keys.iter().filter(|key| is_told(windows, key)).copied().collect();
            (told, windows.end(&over.keys))
        });
        let closed = queue.digests().into_iter().find(|digest| !before.contains(&digest.id));
        if let Some(digest) = closed {
            self.parts.status.sorted().made_of(digest.id, told);
            self.addresses.insert(digest.id, over.address);
            self.prepare(digest, Some(Known { folds, address: over.address, durable }));
        }
    }

    /// Where the section gathers nothing and no window is open any more, it is sorted as the section says.
    fn end_leftover(&mut self) {
        if self.leftover.is_none() || !self.is_backlog_placed {
            return;
        }
        let is_over = self.parts.status.sorted().windows(|windows| windows.iter().next().is_none());
        if is_over {
            self.leftover = None;
            if self.sorting().is_none() {
                self.parts.queue.sort(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With how many waiting digests there is room for one more: at once, and when the last was closed long ago.
    #[track_caller]
    fn check(max: usize, is_apart: bool, may_have_more: bool, [at_once, slowly]: [usize; 2]) {
        let up_to = |is_long_ago| {
            (0..100)
                .take_while(|waiting| There { waiting: *waiting, max, is_long_ago, may_have_more }.has_room(is_apart))
                .count()
        };
        assert_eq!([up_to(false), up_to(true)], [at_once, slowly], "of {max}");
    }

    #[test]
    fn a_group_of_which_one_waits_leaves_room_for_those_of_which_none_does() {
        check(16, true, false, [8, 15]);
        check(16, true, true, [8, 15]);
        check(4, true, true, [2, 3]);
        check(1, true, true, [1, 1]);
    }

    #[test]
    fn a_group_of_which_none_waits_has_all_of_it_and_more_where_the_other_side_works() {
        check(16, false, false, [16, 16]);
        check(16, false, true, [16, 100]);
        check(1, false, true, [1, 100]);
    }
}
