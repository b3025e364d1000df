//! Whether a destination may be tried just now. Pure: the time comes in as a value.
//!
//! Closed, it lets everything through. After [`RETRIES_IN_A_ROW`] attempts in a row that are to be tried again, of whatever cause,
//! it opens: one probe at a time, each with another delivery, further and further apart. A probe that is delivered or rejected
//! closes it, and then one, two, four … attempts at once are let through, so that what has just got up is not knocked over.

use std::time::Duration;

use crate::time::Instant;

/// So many failures in a row are no accident of single events.
pub const RETRIES_IN_A_ROW: u32 = 5;
/// Between opening and the first probe, and the base of all later waits.
pub const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_FACTOR: u32 = 4;
/// Probes are no further apart, while there is something due to probe with.
const PROBE_LAST: Duration = Duration::from_secs(60);

/// How long after a probe that came to nothing the next one is, where the one before that was so long ago.
pub fn after_probe(wait: Duration) -> Duration {
    (wait * PROBE_FACTOR).min(PROBE_LAST)
}

/// What an attempt said about the destination, whatever it said about the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered: delivered or rejected.
    Works,
    Fails,
    /// Nothing: the attempt was not made, or paused the destination.
    Nothing,
}

/// How many attempts may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// So many at once, those in flight included.
    AtOnce(usize),
    /// One, to see whether it works.
    Probe,
    Not(Instant),
    /// None before the probe in flight has ended.
    AfterProbe,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Opened,
    Closed,
}

/// One destination's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    concurrency: usize,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Closed { failures: u32, ramp: Option<Ramp> },
    Open { wait: Duration, probe_at: Instant, is_probing: bool },
}

#[derive(Clone, Copy, Debug)]
struct Ramp {
    at_once: usize,
    worked: usize,
}

impl Ramp {
    const START: Ramp = Ramp { at_once: 1, worked: 0 };
}

impl Breaker {
    /// A closed breaker for so many attempts at once.
    pub fn closed(concurrency: usize) -> Self {
        Self { concurrency, state: State::Closed { failures: 0, ramp: None } }
    }

    /// One that was open when the last process ended: a probe is due at once.
    pub fn open(concurrency: usize, now: Instant) -> Self {
        Self { concurrency, state: State::Open { wait: PROBE_FIRST, probe_at: now, is_probing: false } }
    }

    /// Another number of attempts at once, from now on.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.concurrency = concurrency;
    }

    /// How many attempts may be in flight at once while it finds its feet again.
    pub fn ramp(&self) -> Option<usize> {
        match self.state {
            State::Closed { ramp: Some(ramp), .. } => Some(ramp.at_once),
            _ => None,
        }
    }

    /// While it is open: when the next probe may be made; `None` while one is in flight.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { probe_at, is_probing: false, .. } => Some(probe_at),
            State::Open { .. } | State::Closed { .. } => None,
        }
    }

    /// What may be begun.
    pub fn allowed(&self, now: Instant) -> Allowed {
        match self.state {
            State::Closed { ramp, .. } => {
                let at_once = ramp.map_or(self.concurrency, |ramp| ramp.at_once);
                Allowed::AtOnce(at_once.min(self.concurrency))
            }
            State::Open { is_probing: true, .. } => Allowed::AfterProbe,
            State::Open { probe_at, .. } if now < probe_at => Allowed::Not(probe_at),
            State::Open { .. } => Allowed::Probe,
        }
    }

    /// A probe has begun.
    pub fn probe(&mut self) {
        if let State::Open { is_probing, .. } = &mut self.state {
            *is_probing = true;
        }
    }

    /// An operator wants what waits to go out now: a probe is due, or what is closed begins gently.
    pub fn ramp_up(&mut self, now: Instant) {
        match &mut self.state {
            State::Open { wait, probe_at, .. } => (*wait, *probe_at) = (PROBE_FIRST, now),
            State::Closed { ramp, .. } => *ramp = Some(Ramp::START),
        }
    }

    /// An attempt has ended.
    pub fn observe(&mut self, sign: Sign, is_probe: bool, now: Instant) -> Option<Change> {
        match (&mut self.state, sign) {
            (State::Open { .. }, Sign::Works) => {
                self.state = State::Closed { failures: 0, ramp: Some(Ramp::START) };
                return Some(Change::Closed);
            }
            (State::Open { wait, probe_at, is_probing }, _) if is_probe => {
                *is_probing = false;
                if sign == Sign::Fails {
                    *wait = after_probe(*wait);
                    *probe_at = now + *wait;
                }
            }
            (State::Closed { failures, ramp }, Sign::Works) => {
                *failures = 0;
                if let Some(steps) = ramp {
                    steps.worked += 1;
                    if steps.worked >= steps.at_once {
                        *steps = Ramp { at_once: steps.at_once * 2, worked: 0 };
                    }
                    if steps.at_once >= self.concurrency {
                        *ramp = None;
                    }
                }
            }
            (State::Closed { failures, ramp }, Sign::Fails) => {
                *failures += 1;
                if ramp.is_some() {
                    *ramp = Some(Ramp::START);
                }
                if *failures >= RETRIES_IN_A_ROW {
                    let probe_at = now + PROBE_FIRST;
                    self.state = State::Open { wait: PROBE_FIRST, probe_at, is_probing: false };
                    return Some(Change::Opened);
                }
            }
            // What was in flight when it opened says nothing new.
            (State::Open { .. }, _) | (State::Closed { .. }, Sign::Nothing) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script: `x` fails, `o` works, `-` says nothing, as attempts that are no probes; `X`, `O`, `_` as probes.
    /// Gives what is allowed at the end, with waits in seconds from the start.
    #[track_caller]
    fn check(script: &str, at_s: u64, expected: &str) {
        let start = Instant::now();
        let mut breaker = Breaker::closed(8);
        for step in script.chars() {
            let sign = match step.to_ascii_lowercase() {
                'x' => Sign::Fails,
                'o' => Sign::Works,
                _ => Sign::Nothing,
            };
            let is_probe = step.is_ascii_uppercase() || step == '_';
            if is_probe {
                breaker.probe();
                assert_eq!(breaker.allowed(start + Duration::from_secs(10_000)), Allowed::AfterProbe);
            }
            breaker.observe(sign, is_probe, start);
        }
        let shown = match breaker.allowed(start + Duration::from_secs(at_s)) {
            Allowed::AtOnce(count) => format!("{count} at once"),
            Allowed::Probe => "a probe".to_owned(),
            Allowed::Not(until) => format!("not before {} s", (until - start).as_secs()),
            Allowed::AfterProbe => "after the probe".to_owned(),
        };
        assert_eq!(shown, expected, "{script}");
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_between_does_not() {
        check("", 0, "8 at once");
        check("xxxx", 0, "8 at once");
        check("xxxxox", 0, "8 at once");
        check("xx-xx", 0, "8 at once");
        check("xxxxx", 0, "not before 2 s");
        check("xxxxx", 2, "a probe");
    }

    #[test]
    fn probes_come_further_and_further_apart_up_to_a_minute() {
        check("xxxxxX", 0, "not before 8 s");
        check("xxxxxXX", 0, "not before 32 s");
        check("xxxxxXXX", 0, "not before 60 s");
        check("xxxxxXXXXXX", 0, "not before 60 s");
        check("xxxxxX_", 8, "a probe");
    }

    #[test]
    fn what_was_in_flight_when_it_opened_moves_no_probe() {
        check("xxxxxxxxxxx", 0, "not before 2 s");
        check("xxxxxXxxx", 0, "not before 8 s");
    }

    #[test]
    fn a_probe_that_works_closes_it_and_the_rest_follows_in_steps() {
        check("xxxxxO", 0, "1 at once");
        check("xxxxxOo", 0, "2 at once");
        check("xxxxxOoo", 0, "2 at once");
        check("xxxxxOooo", 0, "4 at once");
        check("xxxxxOooooooo", 0, "8 at once");
        check("xxxxxOooox", 0, "1 at once");
        check("xxxxxo", 0, "1 at once");
    }

    #[test]
    fn failures_while_it_finds_its_feet_open_it_again() {
        check("xxxxxOxxxxx", 0, "not before 2 s");
    }

    #[test]
    fn who_is_told_to_go_on_probes_at_once_or_begins_with_few() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(8);
        breaker.ramp_up(now);
        assert_eq!(breaker.allowed(now), Allowed::AtOnce(1));
        for _ in 0..RETRIES_IN_A_ROW {
            breaker.observe(Sign::Fails, false, now);
        }
        assert_eq!(breaker.allowed(now), Allowed::Not(now + PROBE_FIRST));
        breaker.ramp_up(now);
        assert_eq!(breaker.allowed(now), Allowed::Probe);
    }

    #[test]
    fn one_that_was_open_before_a_restart_probes_first() {
        let now = Instant::now();
        let mut breaker = Breaker::open(8, now);
        assert_eq!(breaker.allowed(now), Allowed::Probe);
        breaker.probe();
        assert_eq!(breaker.observe(Sign::Works, true, now), Some(Change::Closed));
    }

    #[test]
    fn while_it_finds_its_feet_no_more_are_let_through_than_a_lowered_concurrency() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(16);
        breaker.ramp_up(now);
        for _ in 0..7 {
            breaker.observe(Sign::Works, false, now);
        }
        assert_eq!(breaker.allowed(now), Allowed::AtOnce(8));
        breaker.set_concurrency(2);
        assert_eq!(breaker.allowed(now), Allowed::AtOnce(2));
    }
}
