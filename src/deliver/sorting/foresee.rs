//! What would become of an event: whether it goes out at once, and if not, with what. For who asks before it comes.

use super::{Gathering, Group, Quiet, ShownWindow, Sorted, Sorting, Standing, Verdict};

/// How an event would go out, or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// At once, before all that waits.
    Urgent,
    /// By itself, when its turn comes.
    Single,
    /// By itself: it is one of the first of its group.
    First {
        /// Which of them; `None` where nobody knows what came before it.
        nth: Option<u32>,
        first: u32,
        group: Group,
    },
    /// Together with others.
    Digest {
        /// When that goes out, unix milliseconds; `None` where nobody knows when its window was opened.
        at_ms: Option<u64>,
        /// How many wait with it; 0 also where nobody knows.
        with: u64,
        /// It is the end of quiet hours that it waits for.
        is_quiet: bool,
        group: Group,
    },
}

impl Sorting {
    /// How an event would go out, of which this is the verdict. `sorted` is what waits now, where somebody knows; the time is that of the
    /// clock on the wall, unix milliseconds.
    pub fn foresee(&self, verdict: Verdict, sorted: Option<&Sorted>, wall_ms: u64) -> Foreseen {
        let (Verdict::Of(group), Some(gathering)) = (&verdict, &self.gathering) else {
            return if verdict == Verdict::Urgent { Foreseen::Urgent } else { Foreseen::Single };
        };
        let window = sorted.and_then(|sorted| sorted.window(&group.key));
        let quiet_until_ms = self.quiet.as_ref().and_then(|quiet| match quiet.at(wall_ms) {
            Standing::Quiet { until_ms } => Some(until_ms),
            Standing::Awake { .. } => None,
        });
        foresee(gathering, group.clone(), Known { window, is_known: sorted.is_some(), quiet_until_ms }, wall_ms)
    }

    /// When a digest goes out whose window is over then, by the clock on the wall: not in quiet hours.
    pub fn goes_out_ms(&self, over_ms: u64) -> u64 {
        let at = |quiet: &Quiet| match quiet.at(over_ms) {
            Standing::Quiet { until_ms } => until_ms,
            Standing::Awake { .. } => over_ms,
        };
        self.quiet.as_ref().map_or(over_ms, at)
    }
}

/// What is known of the time in which an event comes.
struct Known {
    window: Option<ShownWindow>,
    /// Whether that there is no window says anything.
    is_known: bool,
    quiet_until_ms: Option<u64>,
}

fn foresee(gathering: &Gathering, group: Group, known: Known, now_ms: u64) -> Foreseen {
    let Known { window, is_known, quiet_until_ms } = known;
    let with = window.as_ref().map_or(0, |window| window.count);
    let ends_ms = window.as_ref().map(|window| window.ends_ms.max(now_ms));
    if quiet_until_ms.is_some() {
        return Foreseen::Digest { at_ms: ends_ms.max(quiet_until_ms), with, is_quiet: true, group };
    }
    if gathering.every.is_none() && window.is_none() {
        return Foreseen::Single;
    }
    let passed = window.map_or(0, |window| window.passed);
    if passed < gathering.first {
        return Foreseen::First { nth: is_known.then_some(passed + 1), first: gathering.first, group };
    }
    Foreseen::Digest { at_ms: ends_ms, with, is_quiet: false, group }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::windows::Arrival;
    use super::*;
    use crate::event::{EventId, FieldSetBuilder};
    use crate::store::GroupKey;

    const HOUR_MS: u64 = 60 * 60_000;

    fn sorting(every: Option<u64>, first: u32) -> Sorting {
        let every = every.map(|minutes| Duration::from_secs(minutes * 60));
        let gathering = Gathering { every, by: Vec::new(), breakdown: None, first, examples: 10 };
        // From eight in the evening to six on the first day of 1970, in UTC.
        let quiet = Quiet { from: 20 * 60, to: 6 * 60, zone: jiff::tz::TimeZone::UTC, days: [true; 7] };
        Sorting::new(FieldSetBuilder::default().build(), None, Some(gathering), Some(quiet))
    }

    fn group() -> Group {
        Group { key: GroupKey([7; 16]), values: Vec::new(), part: None }
    }

    fn sorted(sorting: &Sorting, events: u64, now_ms: u64) -> Sorted {
        let sorted = Sorted::default();
        let gathering = sorting.gathering.as_ref().expect("it gathers");
        for number in 0..events {
            let event = EventId::mint(now_ms, 0, number);
            let arrival = Arrival { event, received_ms: now_ms, group: &group(), address: 0 };
            sorted.windows(|windows| windows.place(gathering, arrival, now_ms, false));
        }
        sorted
    }

    #[track_caller]
    fn check(sorting: &Sorting, sorted: Option<&Sorted>, hour: u64, expected: &str) {
        let told = match sorting.foresee(Verdict::Of(group()), sorted, hour * HOUR_MS) {
            Foreseen::Urgent => "urgent".to_owned(),
            Foreseen::Single => "single".to_owned(),
            Foreseen::First { nth, first, .. } => format!("{nth:?} of the first {first}"),
            Foreseen::Digest { at_ms, with, is_quiet, .. } => {
                format!("with {with} at {:?}, quiet: {is_quiet}", at_ms.map(|at_ms| at_ms as f64 / HOUR_MS as f64))
            }
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_foreseen_is_what_the_windows_do() {
        let quarter = sorting(Some(15), 2);
        check(&quarter, None, 12, "None of the first 2");
        check(&quarter, Some(&sorted(&quarter, 0, 12 * HOUR_MS)), 12, "Some(1) of the first 2");
        check(&quarter, Some(&sorted(&quarter, 1, 12 * HOUR_MS)), 12, "Some(2) of the first 2");
        check(&quarter, Some(&sorted(&quarter, 2, 12 * HOUR_MS)), 12, "with 0 at Some(12.25), quiet: false");
        check(&quarter, Some(&sorted(&quarter, 5, 12 * HOUR_MS)), 12, "with 3 at Some(12.25), quiet: false");
        check(&sorting(Some(15), 0), None, 12, "with 0 at None, quiet: false");
        check(&quarter, None, 21, "with 0 at Some(30.0), quiet: true");
        check(&quarter, Some(&sorted(&quarter, 3, 21 * HOUR_MS)), 21, "with 1 at Some(30.0), quiet: true");
        check(&sorting(None, 0), None, 12, "single");
        check(&sorting(None, 0), None, 22, "with 0 at Some(30.0), quiet: true");
        assert_eq!(quarter.foresee(Verdict::Urgent, None, 22 * HOUR_MS), Foreseen::Urgent);
        assert_eq!(quarter.foresee(Verdict::Single, None, 0), Foreseen::Single);
    }

    #[test]
    fn a_digest_that_would_be_due_in_quiet_hours_goes_out_after_them() {
        let quarter = sorting(Some(15), 2);
        assert_eq!(quarter.goes_out_ms(19 * HOUR_MS), 19 * HOUR_MS);
        assert_eq!(quarter.goes_out_ms(20 * HOUR_MS), 30 * HOUR_MS);
        assert_eq!(quarter.goes_out_ms(30 * HOUR_MS), 30 * HOUR_MS);
    }
}
