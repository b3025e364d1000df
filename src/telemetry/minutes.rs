//! What came in and what became of it, minute by minute, for charts: the differences of counters that are there anyway, so what is
//! counted costs nothing more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// So many whole minutes are kept, beside the running one.
pub const MINUTES_MAX: usize = 179;

/// How far the counters have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub intake: Intake,
    /// Of each destination that there is.
    pub destinations: HashMap<Arc<str>, Deliveries>,
}

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Events that were accepted.
    pub accepted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Events that no rule sends anywhere.
    pub unrouted: u64,
}

/// What became of deliveries to one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    pub dead: u64,
}

impl Intake {
    fn since(self, earlier: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(earlier.accepted),
            refused: self.refused.saturating_sub(earlier.refused),
            unrouted: self.unrouted.saturating_sub(earlier.unrouted),
        }
    }
}

impl Deliveries {
    fn since(self, earlier: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_sub(earlier.delivered),
            failed: self.failed.saturating_sub(earlier.failed),
            dead: self.dead.saturating_sub(earlier.dead),
        }
    }
}

/// The last minutes, each list with the running minute last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minutes {
    pub intake: Vec<Intake>,
    pub destinations: HashMap<Arc<str>, Vec<Deliveries>>,
}

/// Keeps the last minutes. Whoever holds it [notes](Recorder::note) the counters at the beginning of each.
#[derive(Debug)]
pub struct Recorder(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The running minute, and how far the counters had come when it began.
    minute: u64,
    begun_with: Totals,
    /// Whole minutes, oldest first.
    intake: VecDeque<Intake>,
    destinations: HashMap<Arc<str>, VecDeque<Deliveries>>,
}

impl Recorder {
    /// Begins in a minute, counted from the unix epoch.
    pub fn new(minute: u64, totals: Totals) -> Self {
        Self(Mutex::new(State { minute, begun_with: totals, intake: VecDeque::new(), destinations: HashMap::new() }))
    }

    /// Says how far the counters have come in a minute. Where it is another than the last time, what was counted in between belongs to the
    /// one before. A clock that is set back makes a minute longer.
    pub fn note(&self, minute: u64, totals: Totals) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let passed = minute.saturating_sub(state.minute).min(MINUTES_MAX as u64 + 1) as usize;
        if passed == 0 {
            return;
        }
        let intake = totals.intake.since(state.begun_with.intake);
        push(&mut state.intake, intake, passed);
        let known = state.intake.len();
        state.destinations.retain(|name, _| totals.destinations.contains_key(name));
        for (name, deliveries) in &totals.destinations {
            let begun_with = state.begun_with.destinations.get(name).copied().unwrap_or_default();
            let minutes = state.destinations.entry(name.clone()).or_default();
            push(minutes, deliveries.since(begun_with), passed);
            // One that came later had nothing before.
            while minutes.len() < known {
                minutes.push_front(Deliveries::default());
            }
        }
        (state.minute, state.begun_with) = (minute, totals);
    }

    /// The last so many minutes.
    pub fn last(&self, minute: u64, totals: Totals, most: usize) -> Minutes {
        self.note(minute, totals.clone());
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = most.saturating_sub(1);
        let running = totals.intake.since(state.begun_with.intake);
        let destinations = totals.destinations.iter().map(|(name, deliveries)| {
            let begun_with = state.begun_with.destinations.get(name).copied().unwrap_or_default();
            let none = VecDeque::new();
            let minutes = state.destinations.get(name).unwrap_or(&none);
            let mut minutes = padded(minutes, whole);
            minutes.push(deliveries.since(begun_with));
            (name.clone(), minutes)
        });
        let mut intake = padded(&state.intake, whole);
        intake.push(running);
        Minutes { intake, destinations: destinations.collect() }
    }
}

/// Adds a minute, and behind it those in which nothing was looked at.
fn push<T: Copy + Default>(minutes: &mut VecDeque<T>, one: T, passed: usize) {
    minutes.push_back(one);
    minutes.extend(std::iter::repeat_n(T::default(), passed - 1));
    while minutes.len() > MINUTES_MAX {
        minutes.pop_front();
    }
}

/// The last so many, with nothing for those before the first.
fn padded<T: Copy + Default>(minutes: &VecDeque<T>, most: usize) -> Vec<T> {
    let missing = most.saturating_sub(minutes.len());
    let skipped = minutes.len().saturating_sub(most);
    std::iter::repeat_n(T::default(), missing).chain(minutes.iter().skip(skipped).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(accepted: u64, destinations: &[(&str, u64)]) -> Totals {
        let deliveries = |delivered: u64| Deliveries { delivered, failed: delivered * 2, dead: 0 };
        Totals {
            intake: Intake { accepted, refused: 0, unrouted: 0 },
            destinations: destinations.iter().map(|(name, count)| ((*name).into(), deliveries(*count))).collect(),
        }
    }

    #[track_caller]
    fn check(minutes: &Minutes, accepted: &[u64], crm: &[u64]) {
        assert_eq!(minutes.intake.iter().map(|intake| intake.accepted).collect::<Vec<_>>(), accepted);
        let delivered = minutes.destinations["crm"].iter().map(|one| (one.delivered, one.failed));
        assert_eq!(delivered.collect::<Vec<_>>(), crm.iter().map(|count| (*count, count * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn each_minute_has_what_was_counted_in_it_and_the_running_one_is_last() {
        let recorder = Recorder::new(100, totals(5, &[("crm", 3)]));
        check(&recorder.last(100, totals(7, &[("crm", 4)]), 3), &[0, 0, 2], &[0, 0, 1]);
        recorder.note(101, totals(9, &[("crm", 4)]));
        recorder.note(101, totals(10, &[("crm", 6)]));
        check(&recorder.last(101, totals(10, &[("crm", 7)]), 3), &[0, 4, 1], &[0, 1, 3]);
        check(&recorder.last(104, totals(11, &[("crm", 7)]), 5), &[4, 2, 0, 0, 0], &[1, 3, 0, 0, 0]);
        check(&recorder.last(104, totals(12, &[("crm", 7)]), 1), &[1], &[0]);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing_and_one_set_far_ahead_costs_nothing() {
        let recorder = Recorder::new(100, totals(0, &[("crm", 0)]));
        check(&recorder.last(50, totals(3, &[("crm", 1)]), 2), &[0, 3], &[0, 1]);
        let minutes = recorder.last(u64::MAX, totals(4, &[("crm", 1)]), MINUTES_MAX + 1);
        assert_eq!((minutes.intake.len(), minutes.intake.iter().map(|one| one.accepted).sum::<u64>()), (180, 0));
    }

    #[test]
    fn so_many_minutes_are_kept_and_no_more() {
        let recorder = Recorder::new(0, totals(0, &[("crm", 0)]));
        for minute in 1..=MINUTES_MAX as u64 + 5 {
            recorder.note(minute, totals(minute, &[("crm", minute)]));
        }
        let minutes = recorder.last(MINUTES_MAX as u64 + 5, totals(MINUTES_MAX as u64 + 5, &[("crm", 0)]), 1000);
        assert_eq!(minutes.intake.len(), 1000, "what was before is nothing");
        assert_eq!(minutes.intake.iter().filter(|one| one.accepted == 1).count(), MINUTES_MAX);
    }

    #[test]
    fn a_destination_that_comes_later_had_nothing_before_and_one_that_goes_is_forgotten() {
        let recorder = Recorder::new(0, totals(0, &[("crm", 0)]));
        recorder.note(1, totals(0, &[("crm", 1)]));
        recorder.note(2, totals(0, &[("crm", 1), ("late", 4)]));
        let minutes = recorder.last(2, totals(0, &[("crm", 1), ("late", 5)]), 3);
        let late: Vec<_> = minutes.destinations["late"].iter().map(|one| one.delivered).collect();
        assert_eq!(late, [0, 4, 1]);
        recorder.note(3, totals(0, &[("late", 5)]));
        assert!(!recorder.last(3, totals(0, &[("late", 5)]), 3).destinations.contains_key("crm"));
        // Its counters begin anew.
        check(&recorder.last(4, totals(0, &[("late", 5), ("crm", 2)]), 3), &[0, 0, 0], &[0, 2, 0]);
    }
}
