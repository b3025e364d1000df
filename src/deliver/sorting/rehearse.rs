//! How many messages some events would have become.

use super::windows::{Arrival, GROUPS_MAX};
use super::{Sorting, Verdict, Windows};
use crate::event::EventId;

/// Events in the order in which they came, through one destination's windows, by the times at which they came. What is over goes out at once
/// but in quiet hours: so many messages are it at best, where the other side takes each.
#[derive(Debug, Default)]
pub struct Rehearsal {
    windows: Windows,
    messages: u64,
}

impl Rehearsal {
    /// One event more. `address` tells where it goes, where that depends on the event.
    pub fn consider(
        &mut self,
        sorting: &Sorting,
        (event, received_ms): (EventId, u64),
        verdict: &Verdict,
        address: u64,
    ) {
        let is_quiet = sorting.quiet.as_ref().is_some_and(|quiet| quiet.until_ms(received_ms).is_some());
        if !is_quiet {
            self.end(received_ms);
        }
        let (Verdict::Of(group), Some(gathering)) = (verdict, &sorting.gathering) else {
            self.messages += 1;
            return;
        };
        let arrival = Arrival { event, received_ms, group, address };
        if self.windows.place(gathering, arrival, received_ms, is_quiet) == crate::store::Lane::Ready {
            self.messages += 1;
        }
    }

    /// An event that goes out as it comes.
    pub fn pass(&mut self) {
        self.messages += 1;
    }

    fn end(&mut self, now_ms: u64) {
        loop {
            let over = self.windows.over(now_ms, GROUPS_MAX);
            if over.is_empty() {
                return;
            }
            self.messages += u64::from(!self.windows.end(&over).is_empty());
        }
    }

    /// How many messages it came to, once what waits has gone out.
    pub fn messages(mut self) -> u64 {
        self.end(u64::MAX);
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Gathering, Group, Quiet};
    use super::*;
    use crate::event::FieldSetBuilder;
    use crate::store::GroupKey;

    const MINUTE_MS: u64 = 60_000;

    #[track_caller]
    fn check(quiet: Option<Quiet>, first: u32, arrivals: &[(u64, u8)], expected: u64) {
        let every = Some(Duration::from_secs(15 * 60));
        let gathering = Gathering { every, by: Vec::new(), breakdown: None, first, examples: 5 };
        let sorting = Sorting::new(FieldSetBuilder::default().build(), None, Some(gathering), quiet);
        let mut rehearsal = Rehearsal::default();
        for (number, (minute, group)) in (0..).zip(arrivals) {
            let group = Group { key: GroupKey([*group; 16]), values: Vec::new(), part: None };
            let received_ms = minute * MINUTE_MS;
            let event = (EventId::mint(received_ms, 0, number), received_ms);
            rehearsal.consider(&sorting, event, &Verdict::Of(group), 0);
        }
        assert_eq!(rehearsal.messages(), expected, "{arrivals:?}");
    }

    #[test]
    fn a_flood_is_the_first_few_and_a_message_for_each_window() {
        check(None, 1, &[], 0);
        check(None, 1, &[(0, 1)], 1);
        check(None, 1, &[(0, 1), (1, 1), (2, 1)], 2);
        check(None, 1, &[(0, 1), (1, 1), (16, 1), (17, 1)], 4);
        check(None, 0, &[(0, 1), (1, 2), (16, 1)], 2);
        let flood: Vec<(u64, u8)> = (0..600).map(|at| (at / 10, 1)).collect();
        check(None, 3, &flood, 4 * (3 + 1));
    }

    #[test]
    fn a_night_is_one_message() {
        let night = Quiet { from: 0, to: 60, zone: jiff::tz::TimeZone::UTC, days: [true; 7] };
        let all: Vec<(u64, u8)> = (0..58).map(|at| (at, (at % 3) as u8)).chain([(70, 9)]).collect();
        check(Some(night), 1, &all, 1 + 1);
    }
}
