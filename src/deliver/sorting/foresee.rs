//! What would become of an event: whether it goes out at once, and if not, with what. For who asks before it comes.

use super::windows::Ahead;
use super::{Group, OTHERS, Ordered, Sorted, Sorting, Verdict};
use crate::store::GroupKey;

/// How an event would go out, or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// At once, before all that waits.
    Urgent,
    /// By itself, when its turn comes.
    Single,
    /// By itself, after the earlier ones with the same values.
    InOrder(Ordered),
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
        /// What they have in common: nothing where it is what all groups make for which there is no window left.
        group: Group,
    },
}

impl Sorting {
    /// Whether anything is urgent.
    pub fn has_urgent(&self) -> bool {
        self.urgent.is_some()
    }

    /// Whether events go out together also where it is not quiet.
    pub fn gathers_by_day(&self) -> bool {
        self.gathering.as_ref().is_some_and(|gathering| gathering.every.is_some())
    }

    /// How an event would go out, of which this is the verdict, and the address. `sorted` is what waits now, where somebody knows; the time is that
    /// of the clock on the wall, unix milliseconds.
    pub fn foresee(&self, (verdict, address): (Verdict, u64), sorted: Option<&Sorted>, wall_ms: u64) -> Foreseen {
        if let Verdict::InOrder(ordered) = verdict {
            return Foreseen::InOrder(ordered);
        }
        let (Verdict::Of(group), Some(gathering)) = (&verdict, &self.gathering) else {
            return if verdict == Verdict::Urgent { Foreseen::Urgent } else { Foreseen::Single };
        };
        let is_quiet = self.goes_out_ms(wall_ms) != wall_ms;
        let first = gathering.first;
        let Some(sorted) = sorted else {
            return match gathering.every {
                _ if is_quiet => self.joins(group.clone(), Some(wall_ms), 0),
                None => Foreseen::Single,
                Some(_) if first > 0 => Foreseen::First { nth: None, first, group: group.clone() },
                Some(_) => self.joins(group.clone(), None, 0),
            };
        };
        let of = |window: GroupKey| if window == OTHERS { Group::of_all() } else { group.clone() };
        match sorted.windows(|windows| windows.ahead(gathering, (group.key, address), wall_ms, is_quiet)) {
            Ahead::Alone => Foreseen::Single,
            Ahead::First { nth, window } => Foreseen::First { nth: Some(nth), first, group: of(window) },
            Ahead::Waits { window, with, ends_ms } => self.joins(of(window), Some(ends_ms.max(wall_ms)), with),
        }
    }

    /// It waits with so many others for a window that is over then.
    fn joins(&self, group: Group, over_ms: Option<u64>, with: u64) -> Foreseen {
        let at_ms = over_ms.map(|over_ms| self.goes_out_ms(over_ms));
        Foreseen::Digest { at_ms, with, is_quiet: at_ms != over_ms, group }
    }

    /// When a digest goes out whose window is over then, by the clock on the wall: not in quiet hours.
    pub fn goes_out_ms(&self, over_ms: u64) -> u64 {
        self.quiet.as_ref().and_then(|quiet| quiet.until_ms(over_ms)).unwrap_or(over_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::windows::{Arrival, FIRST_OF_ALL};
    use super::super::{Gathering, Quiet};
    use super::*;
    use crate::event::{EventId, FieldSetBuilder};

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
        let told = match sorting.foresee((Verdict::Of(group()), 0), sorted, hour * HOUR_MS) {
            Foreseen::Urgent => "urgent".to_owned(),
            Foreseen::Single => "single".to_owned(),
            Foreseen::InOrder(_) => "in order".to_owned(),
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
        check(
            &sorting(Some(15), 0),
            Some(&sorted(&quarter, 0, 12 * HOUR_MS)),
            12,
            "with 0 at Some(12.25), quiet: false",
        );
        assert_eq!(quarter.foresee((Verdict::Urgent, 0), None, 22 * HOUR_MS), Foreseen::Urgent);
        assert_eq!(quarter.foresee((Verdict::Single, 0), None, 0), Foreseen::Single);
    }

    #[test]
    fn what_waits_into_the_night_goes_out_after_it() {
        let hourly = sorting(Some(90), 0);
        check(&hourly, Some(&sorted(&hourly, 2, 19 * HOUR_MS)), 19, "with 2 at Some(30.0), quiet: true");
        check(&hourly, Some(&sorted(&hourly, 2, 18 * HOUR_MS)), 18, "with 2 at Some(19.5), quiet: false");
    }

    #[test]
    fn of_more_groups_than_go_by_themselves_the_next_is_told_to_wait() {
        let quarter = sorting(Some(15), 2);
        let sorted = Sorted::default();
        let gathering = quarter.gathering.as_ref().expect("it gathers");
        for number in 0..FIRST_OF_ALL as u8 {
            let group = Group { key: GroupKey([100 + number; 16]), values: Vec::new(), part: None };
            let event = EventId::mint(12 * HOUR_MS, 0, u64::from(number));
            let arrival = Arrival { event, received_ms: 12 * HOUR_MS, group: &group, address: 0 };
            sorted.windows(|windows| windows.place(gathering, arrival, 12 * HOUR_MS, false));
        }
        check(&quarter, Some(&sorted), 12, "with 0 at Some(12.25), quiet: false");
    }

    #[test]
    fn a_digest_that_would_be_due_in_quiet_hours_goes_out_after_them() {
        let quarter = sorting(Some(15), 2);
        assert_eq!(quarter.goes_out_ms(19 * HOUR_MS), 19 * HOUR_MS);
        assert_eq!(quarter.goes_out_ms(20 * HOUR_MS), 30 * HOUR_MS);
        assert_eq!(quarter.goes_out_ms(30 * HOUR_MS), 30 * HOUR_MS);
    }
}
