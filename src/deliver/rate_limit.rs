//! How fast: a turn for each attempt, no two closer than an interval; and holds, when the other side asks for quiet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::time::Instant;

/// One rate limit, shared by all destinations that must keep it together.
#[derive(Debug)]
pub struct RateLimit {
    state: Mutex<State>,
    /// The next turn comes sooner than was said.
    sooner: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    interval: Option<Duration>,
    /// When the last turn was taken. The next is counted from it by the interval of then, which may be another.
    last: Option<Instant>,
    /// That was a notice's.
    was_notice: bool,
    /// The next one is [left](RateLimit::leave_next) to others.
    leaves_next: bool,
    held_until: Option<Instant>,
    /// Somebody has something urgent and will take the next turn: nobody who has not takes one before then.
    wanted_until: Option<Instant>,
    /// Somebody has a notice and will take the next turn: nobody else takes one before then, unless it is left.
    awaited_until: Option<Instant>,
    /// The next turn is [kept](KeptTurn) until then at most.
    kept_until: Option<Instant>,
}

/// For what a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Usual,
    /// It comes before all that is not urgent, whichever destination that is for.
    Urgent,
    /// An operator is told of trouble: a message a minute at most, which comes before all else, but leaves the turn
    /// [after it](RateLimit::leave_next).
    Notice,
}

/// A turn that is kept for a notice until this is dropped: nobody else takes one before then, unless it is left. A limit has one of these at a
/// time.
#[derive(Debug)]
pub struct KeptTurn {
    limit: Arc<RateLimit>,
}

/// For how long a turn is kept for who wants it: who sleeps until it comes wakes up in less.
const KEPT_FOR: Duration = Duration::from_millis(50);

impl RateLimit {
    /// A limit with at least `interval` between two attempts.
    pub fn new(interval: Option<Duration>) -> Self {
        Self { state: Mutex::new(State { interval, ..State::default() }), sooner: watch::Sender::new(()) }
    }

    /// Takes a turn, or says when the next may be taken.
    pub fn take(&self, now: Instant, turn: Turn) -> Result<(), Instant> {
        let mut state = self.lock();
        if let Some(later) = state.closed_until(now, turn) {
            return Err(later);
        }
        match turn {
            Turn::Usual => {}
            Turn::Urgent => state.wanted_until = None,
            Turn::Notice => state.awaited_until = None,
        }
        // Now, and not the turn's own time: a pause must not be made up for by a burst.
        state.last = Some(now);
        (state.was_notice, state.leaves_next) = (turn == Turn::Notice, false);
        Ok(())
    }

    /// When the next turn may be taken, if not now. Takes nothing.
    pub fn closed_until(&self, now: Instant, turn: Turn) -> Option<Instant> {
        self.lock().closed_until(now, turn)
    }

    /// Keeps the turn that comes then for something urgent. If nobody takes it, it is anybody's soon.
    pub fn want(&self, at: Instant) {
        let mut state = self.lock();
        state.wanted_until = state.wanted_until.max(Some(at + KEPT_FOR));
    }

    /// Keeps the turn that comes then for a notice, unless that is left. If nobody takes it, it is anybody's soon.
    pub fn await_for_notice(&self, at: Instant) {
        let mut state = self.lock();
        state.awaited_until = state.awaited_until.max(Some(at + KEPT_FOR));
    }

    /// Somebody has been told, or cannot be. Where that took the last turn, the next one is another's before it is a notice's, so that many
    /// notices, or one that is refused, leave some to deliveries.
    pub fn leave_next(&self) {
        let mut state = self.lock();
        state.leaves_next = state.was_notice;
        let is_kept = state.kept_until.is_some();
        drop(state);
        if is_kept {
            self.sooner.send_replace(());
        }
    }

    /// Sees when the next turn comes sooner than was said until now: who sleeps until then asks again.
    pub fn sooner(&self) -> watch::Receiver<()> {
        self.sooner.subscribe()
    }

    /// Until when the other side wants nothing at all, if it has said so.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.lock().held_until.filter(|until| now < *until)
    }

    /// Whether turns are counted at all.
    pub fn is_limited(&self) -> bool {
        self.interval().is_some()
    }

    /// How far apart turns are.
    pub fn interval(&self) -> Option<Duration> {
        self.lock().interval
    }

    /// Another interval, also for the turn that is waited for. Who waits must be woken.
    pub fn set_interval(&self, interval: Option<Duration>) {
        self.lock().interval = interval;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a hold: an operator wants to see now. A turn that is kept stays so.
    pub fn release(&self) {
        let mut state = self.lock();
        (state.held_until, state.wanted_until, state.awaited_until) = (None, None, None);
        drop(state);
        self.sooner.send_replace(());
    }

    fn give_back(&self, now: Instant) {
        let mut state = self.lock();
        state.kept_until = None;
        // Who has something urgent wanted the turn after the kept one, and wants the next one now.
        let next = state.closed_until(now, Turn::Urgent).unwrap_or(now);
        state.wanted_until = state.wanted_until.map(|until| until.min(next + KEPT_FOR));
        drop(state);
        self.sooner.send_replace(());
    }

    /// Gives no turn before `until`.
    pub fn hold(&self, until: Instant) {
        let mut state = self.lock();
        state.held_until = state.held_until.max(Some(until));
    }
}

impl KeptTurn {
    /// Keeps the next turn of a limit, until then at most.
    pub fn of(limit: &Arc<RateLimit>, until: Instant) -> Self {
        let kept = Self { limit: limit.clone() };
        kept.renew(until);
        kept
    }

    pub fn is_of(&self, limit: &Arc<RateLimit>) -> bool {
        Arc::ptr_eq(&self.limit, limit)
    }

    /// It is kept until then at most.
    pub fn renew(&self, until: Instant) {
        self.limit.lock().kept_until = Some(until);
    }
}

impl Drop for KeptTurn {
    fn drop(&mut self) {
        self.limit.give_back(Instant::now());
    }
}

impl State {
    fn closed_until(&self, now: Instant, turn: Turn) -> Option<Instant> {
        let next = self.last.zip(self.interval).map(|(last, interval)| last + interval);
        let wanted = self.wanted_until.filter(|_| turn == Turn::Usual);
        let kept = match (turn, self.leaves_next) {
            (Turn::Notice, true) => next.map(|next| next + KEPT_FOR),
            (Turn::Notice, false) | (Turn::Usual | Turn::Urgent, true) => None,
            (Turn::Usual | Turn::Urgent, false) => self.kept_until.max(self.awaited_until),
        };
        self.held_until.max(next).max(wanted).max(kept).filter(|later| now < *later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_keep_their_distance_and_a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = RateLimit::new(Some(Duration::from_millis(100)));
        assert_eq!(limit.take(at(0), Turn::Usual), Ok(()));
        assert_eq!(limit.take(at(50), Turn::Usual), Err(at(100)));
        assert_eq!(limit.take(at(100), Turn::Usual), Ok(()));
        assert_eq!(limit.take(at(1_000), Turn::Usual), Ok(()));
        assert_eq!(limit.take(at(1_001), Turn::Usual), Err(at(1_100)));
    }

    #[test]
    fn a_hold_ends_by_itself_and_never_gets_shorter() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let limit = RateLimit::new(None);
        limit.hold(at(10));
        limit.hold(at(5));
        assert_eq!(limit.take(at(9), Turn::Usual), Err(at(10)));
        assert_eq!(limit.take(at(10), Turn::Usual), Ok(()));
        assert_eq!(limit.closed_until(at(10), Turn::Usual), None);
        limit.hold(at(20));
        limit.release();
        assert_eq!(limit.take(at(11), Turn::Usual), Ok(()));
    }

    #[test]
    fn a_shorter_interval_holds_for_the_turn_that_is_waited_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = RateLimit::new(Some(Duration::from_secs(3600)));
        assert_eq!(limit.take(at(0), Turn::Usual), Ok(()));
        limit.set_interval(Some(Duration::from_millis(100)));
        assert_eq!(limit.take(at(50), Turn::Usual), Err(at(100)));
        assert_eq!(limit.take(at(100), Turn::Usual), Ok(()));
        limit.set_interval(None);
        assert_eq!(limit.take(at(101), Turn::Usual), Ok(()));
        limit.set_interval(Some(Duration::from_millis(100)));
        assert_eq!(limit.take(at(102), Turn::Usual), Err(at(201)));
    }

    #[test]
    fn a_turn_that_is_wanted_for_something_urgent_is_nobody_elses_but_not_for_long() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = RateLimit::new(Some(Duration::from_millis(1_000)));
        assert_eq!(limit.take(at(0), Turn::Usual), Ok(()));
        assert_eq!(limit.closed_until(at(10), Turn::Urgent), Some(at(1_000)));
        limit.want(at(1_000));
        assert_eq!(limit.take(at(1_000), Turn::Usual), Err(at(1_050)));
        assert_eq!(limit.take(at(1_001), Turn::Urgent), Ok(()));
        assert_eq!(limit.take(at(2_001), Turn::Usual), Ok(()), "it has been taken");
        limit.want(at(3_001));
        assert_eq!(limit.take(at(3_051), Turn::Usual), Ok(()), "nobody came");
        limit.hold(at(9_000));
        limit.want(at(3_051));
        assert_eq!(limit.take(at(5_000), Turn::Urgent), Err(at(9_000)), "what the other side asks for holds for all");
    }

    #[test]
    fn a_turn_that_is_kept_for_a_notice_is_not_taken_by_what_is_urgent() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = Arc::new(RateLimit::new(Some(Duration::from_millis(1_000))));
        assert_eq!(limit.take(at(0), Turn::Urgent), Ok(()));
        limit.await_for_notice(at(1_000));
        limit.want(at(1_000));
        assert_eq!(limit.take(at(1_049), Turn::Urgent), Err(at(1_050)));
        assert_eq!(limit.take(at(1_049), Turn::Usual), Err(at(1_050)));
        assert_eq!(limit.take(at(1_049), Turn::Notice), Ok(()));
        assert_eq!(limit.take(at(2_049), Turn::Urgent), Ok(()), "it has been taken");
        limit.await_for_notice(at(3_049));
        assert_eq!(limit.take(at(3_098), Turn::Urgent), Err(at(3_099)));
        assert_eq!(limit.take(at(3_099), Turn::Urgent), Ok(()), "nobody came");
    }

    #[test]
    fn after_a_notice_the_next_turn_is_a_notices_only_where_nobody_else_wants_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = RateLimit::new(Some(Duration::from_millis(1_000)));
        limit.leave_next();
        assert_eq!(limit.take(at(0), Turn::Notice), Ok(()), "none was taken");
        assert_eq!(limit.take(at(1_000), Turn::Notice), Ok(()), "another attempt at the same one");
        limit.leave_next();
        assert_eq!(limit.take(at(1_999), Turn::Notice), Err(at(2_050)));
        limit.await_for_notice(at(2_050));
        assert_eq!(limit.take(at(2_000), Turn::Usual), Ok(()));
        assert_eq!(limit.take(at(2_050), Turn::Notice), Err(at(3_000)), "that one is its own");
        limit.await_for_notice(at(3_000));
        assert_eq!(limit.take(at(3_000), Turn::Urgent), Err(at(3_050)));
        assert_eq!(limit.take(at(3_000), Turn::Notice), Ok(()));
        limit.leave_next();
        assert_eq!(limit.take(at(4_050), Turn::Notice), Ok(()), "nobody came");
        let unlimited = RateLimit::new(None);
        for _ in 0..2 {
            assert_eq!(unlimited.take(at(0), Turn::Notice), Ok(()));
            unlimited.leave_next();
        }
    }

    #[test]
    fn a_turn_is_kept_until_it_is_given_back_also_where_a_notice_took_one_meanwhile() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let limit = Arc::new(RateLimit::new(Some(Duration::from_millis(1_000))));
        assert_eq!(limit.take(at(0), Turn::Usual), Ok(()));
        let kept = KeptTurn::of(&limit, at(60_000));
        for turn in [Turn::Usual, Turn::Urgent] {
            assert_eq!(limit.take(at(1_000), turn), Err(at(60_000)));
        }
        assert_eq!(limit.take(at(1_000), Turn::Notice), Ok(()), "a test of somebody");
        assert_eq!(limit.take(at(2_000), Turn::Usual), Err(at(60_000)), "and who keeps it has not had it");
        let sooner = limit.sooner();
        limit.leave_next();
        assert!(sooner.has_changed().expect("it is there"), "who sleeps asks again");
        assert_eq!(limit.take(at(2_000), Turn::Usual), Ok(()), "no two notices follow each other");
        assert_eq!(limit.take(at(3_000), Turn::Usual), Err(at(60_000)));
        limit.release();
        assert_eq!(limit.take(at(3_000), Turn::Usual), Err(at(60_000)), "also where a reload has let all go");
        kept.renew(at(50_000));
        assert_eq!(limit.take(at(3_000), Turn::Usual), Err(at(50_000)));
        let sooner = limit.sooner();
        drop(kept);
        assert!(sooner.has_changed().expect("it is there"), "who sleeps asks again");
        assert_eq!(limit.take(at(3_000), Turn::Usual), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_back_is_first_that_of_what_is_urgent_and_then_anybodys() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for passed_ms in [500, 1_500] {
            let limit = Arc::new(RateLimit::new(Some(Duration::from_millis(1_000))));
            let taken = Instant::now();
            assert_eq!(limit.take(taken, Turn::Usual), Ok(()));
            let kept = KeptTurn::of(&limit, at(60_000));
            limit.want(at(60_000));
            tokio::time::advance(Duration::from_millis(passed_ms)).await;
            drop(kept);
            let next = Instant::now().max(taken + Duration::from_millis(1_000));
            assert_eq!(limit.closed_until(Instant::now(), Turn::Usual), Some(next + KEPT_FOR));
            assert_eq!(limit.take(next, Turn::Urgent), Ok(()));
        }
    }

    #[test]
    fn who_shares_a_hold_asks_again_when_it_is_ended() {
        let limit = RateLimit::new(None);
        limit.hold(Instant::now() + Duration::from_secs(60));
        let sooner = limit.sooner();
        limit.release();
        assert!(sooner.has_changed().expect("it is there"));
    }
}
