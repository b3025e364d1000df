//! How old things are, whatever a clock says.
//!
//! A process may begin with a wrong clock: a board without a battery says 1970 until NTP corrects it, a restored machine says last
//! month, a typing error says 2100. What one process stamps another compares with its own clock, so an age that is the difference of
//! two stamps may be wrong by decades, and what is dropped for its age is gone. Nothing tells a clock that was corrected by forty
//! days from a relay that was off for forty days. So ages do not come from stamps, which are for people. The store counts the time
//! that it has lived through, by a clock that cannot jump and that knows of suspensions, and writes down how far it has come:
//!
//! * `ran` counts while a process runs and at no other time. Dead letters and the history go by it: each is kept for at least its time
//!   whatever any clock said, and no longer than its time and the time in which nothing ran.
//! * `passed` also counts the time between two processes, where the clocks of both agree that it was [`OFF_MAX`] at most. What waits for
//!   its first attempt goes by it (`backlog.max_age`): after a weekend without the relay it is stale, after a jump by years it is not;
//!   and what is stale becomes a dead letter and is not gone.
//! * Where the clocks do not agree, whatever a queue holds by the old clock is moved to the new one: first attempts, breakers, removals.
//!
//! All of it lies in the index. When that is lost, everything is as old as the loss.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Clock;

/// Time between two processes that is believed: a long weekend and a day to notice.
pub const OFF_MAX: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// A clock that is put right by less than this has not jumped.
const CORRECTED_MAX: Duration = Duration::from_secs(60);

/// How far the store had come when that was written down last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Milliseconds in which a process ran.
    pub ran_ms: u64,
    /// The same, and those between two processes that are believed.
    pub passed_ms: u64,
    /// What the process's clock said then, unix milliseconds.
    pub clock_ms: u64,
}

/// How far the store has come.
#[derive(Clone, Copy, Debug)]
pub struct Lived {
    clock: Clock,
    opened_ms: u64,
    ran_before_ms: u64,
    passed_before_ms: u64,
    /// By so much stamps of the process before are to be moved, milliseconds: 0 where its clock and ours agree.
    pub moved_by_ms: i64,
}

impl Lived {
    /// Goes on from what was saved.
    pub fn go_on(clock: Clock, saved: Option<Saved>) -> Self {
        let opened_ms = clock.now_ms();
        let Saved { ran_ms, passed_ms, clock_ms } = saved.unwrap_or(Saved { clock_ms: opened_ms, ..Saved::default() });
        let off_ms = opened_ms.cast_signed().saturating_sub(clock_ms.cast_signed());
        let millis = |duration: Duration| duration.as_millis() as i64;
        let is_believed = (-millis(CORRECTED_MAX)..=millis(OFF_MAX)).contains(&off_ms);
        let (off_ms, moved_by_ms) = if is_believed { (off_ms.max(0).cast_unsigned(), 0) } else { (0, off_ms) };
        if moved_by_ms != 0 {
            let [before, now] = [clock_ms, opened_ms].map(crate::time::rfc3339);
            tracing::warn!(%before, %now, "the clock is far from where the last process left it; ages go on as if no time had passed");
        }
        Self {
            clock,
            opened_ms,
            ran_before_ms: ran_ms,
            passed_before_ms: passed_ms.saturating_add(off_ms),
            moved_by_ms,
        }
    }

    /// Milliseconds in which a process ran.
    pub fn ran_ms(&self) -> u64 {
        self.ran_before_ms + self.since_ms(self.clock.now_ms())
    }

    /// The same, and those between two processes that are believed.
    pub fn passed_ms(&self) -> u64 {
        self.passed_before_ms + self.since_ms(self.clock.now_ms())
    }

    /// How far it had come when this process stamped something; now for the stamps of others, which say nothing.
    pub fn ran_at(&self, at_ms: u64) -> u64 {
        let now_ms = self.clock.now_ms();
        let is_ours = (self.opened_ms..=now_ms).contains(&at_ms);
        self.ran_before_ms + self.since_ms(if is_ours { at_ms } else { now_ms })
    }

    /// What is to be saved.
    pub fn save(&self) -> Saved {
        Saved { ran_ms: self.ran_ms(), passed_ms: self.passed_ms(), clock_ms: self.clock.now_ms() }
    }

    fn since_ms(&self, at_ms: u64) -> u64 {
        at_ms.saturating_sub(self.opened_ms)
    }
}

/// Notes are thinned out to a 32nd of their age: what is stale after an hour is so two minutes late at most.
const STEP: u64 = 32;
/// More notes than this are thinned out; some 500 are left of a month's.
const NOTES_MAX: usize = 1024;

/// Which events had come when: up to which number, at which time passed.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(VecDeque<(u64, u64)>);

impl Arrivals {
    /// Goes on from notes of earlier. A journal that has lost its end gives numbers again: what was noted of them is of no use.
    pub fn go_on(notes: impl IntoIterator<Item = (u64, u64)>, next_sequence: u64) -> Self {
        Self(notes.into_iter().filter(|(_, sequence)| *sequence <= next_sequence).collect())
    }

    /// Notes that everything below a number has come by now.
    pub fn note(&mut self, passed_ms: u64, next_sequence: u64) {
        if self.0.back().is_some_and(|(_, known)| *known >= next_sequence) {
            return;
        }
        self.0.push_back((passed_ms, next_sequence));
        if self.0.len() > NOTES_MAX {
            let mut kept: Option<u64> = None;
            self.0.retain(|(at_ms, sequence)| {
                let step = passed_ms.saturating_sub(*at_ms) / STEP;
                let is_kept = *sequence == next_sequence || kept.is_none_or(|kept| at_ms.saturating_sub(kept) >= step);
                kept = if is_kept { Some(*at_ms) } else { kept };
                is_kept
            });
        }
    }

    /// The number below which everything had come by a time.
    pub fn before(&self, passed_ms: u64) -> u64 {
        let after = self.0.partition_point(|(at_ms, _)| *at_ms <= passed_ms);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(0, |(_, sequence)| *sequence)
    }

    /// All notes, oldest first.
    pub fn notes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const NOW_MS: u64 = 1_764_000_000_000;

    fn at(now_ms: u64) -> (Clock, &'static AtomicU64) {
        let hand: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(now_ms)));
        (Clock::by_hand(hand), hand)
    }

    /// A process saved `saved_at`, another begins at `begins_at` and runs for a second: what has run, what has passed, the move.
    #[track_caller]
    fn check(saved_at: u64, begins_at: u64, expected: (u64, u64, i64)) {
        let (clock, hand) = at(begins_at);
        let lived = Lived::go_on(clock, Some(Saved { ran_ms: 100, passed_ms: 500, clock_ms: saved_at }));
        hand.store(begins_at + 1000, Ordering::Relaxed);
        assert_eq!((lived.ran_ms(), lived.passed_ms(), lived.moved_by_ms), expected);
        assert_eq!(lived.ran_at(begins_at + 400), 500, "a stamp of this process");
        assert_eq!(lived.ran_at(saved_at.wrapping_sub(7)), 1100, "a stamp of the other");
    }

    #[test]
    fn time_in_which_nothing_ran_is_believed_where_it_is_plausible_and_ages_nothing_that_could_be_lost() {
        check(NOW_MS, NOW_MS, (1100, 1500, 0));
        check(NOW_MS, NOW_MS + 3_600_000, (1100, 1500 + 3_600_000, 0));
        check(NOW_MS, NOW_MS + 4 * DAY_MS, (1100, 1500 + 4 * DAY_MS, 0));
        check(NOW_MS, NOW_MS + 5 * DAY_MS, (1100, 1500, 5 * DAY_MS as i64));
        check(NOW_MS, NOW_MS - 30_000, (1100, 1500, 0));
        check(NOW_MS, NOW_MS - 3_600_000, (1100, 1500, -3_600_000));
        // From 1970 and back, from 2100 and back.
        check(1000, NOW_MS, (1100, 1500, (NOW_MS - 1000) as i64));
        check(NOW_MS, 1000, (1100, 1500, 1000 - NOW_MS as i64));
        check(4_102_444_800_000, NOW_MS, (1100, 1500, NOW_MS as i64 - 4_102_444_800_000));
    }

    #[test]
    fn arrivals_are_known_nearly_to_the_second_and_in_little_room() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.before(u64::MAX), 0);
        let end_ms = 3 * DAY_MS;
        // An event a second for three days; the notes are taken as often.
        for at_ms in (1000..=end_ms).step_by(1000) {
            arrivals.note(at_ms, at_ms / 1000);
        }
        assert!(arrivals.notes().count() <= NOTES_MAX);
        for age_ms in [1000, 60_000, 3_600_000, DAY_MS, 2 * DAY_MS] {
            let expected = (end_ms - age_ms) / 1000;
            let found = arrivals.before(end_ms - age_ms);
            assert!(found <= expected, "nothing is judged older than it is: {age_ms}");
            assert!(expected - found <= age_ms / 1000 / 8 + 1, "{expected} {found} {age_ms}");
        }
        let reopened = Arrivals::go_on(arrivals.notes(), 100);
        assert!(reopened.before(u64::MAX) <= 100);
    }
}
