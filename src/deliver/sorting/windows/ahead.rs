//! What would become of an event that came now, by the windows as they are. Looks, and changes nothing.

use super::{FIRST_OF_ALL, Gathering, Open, Windows, every_ms};
use crate::store::GroupKey;

/// What would become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It goes out by itself: nothing gathers it.
    Alone,
    /// It goes out by itself, as this one of the first of a window.
    First { nth: u32, window: GroupKey },
    /// It waits in a window, which is not its group's where one takes all others.
    Waits {
        window: GroupKey,
        /// How many wait there already.
        with: u64,
        /// When the window is over, unix milliseconds.
        ends_ms: u64,
    },
}

impl Windows {
    /// What [`place`](Windows::place) would do with an event of a group that goes to an address.
    pub fn ahead(&self, gathering: &Gathering, (key, address): (GroupKey, u64), now_ms: u64, is_quiet: bool) -> Ahead {
        let Some(window) = self.window_of(gathering, (key, address), is_quiet) else { return Ahead::Alone };
        let open = self.open.get(&window);
        let passed = open.map_or(0, |open| open.head.passed);
        let latest = self.passed.iter().filter(|passed_ms| **passed_ms + every_ms(gathering) > now_ms);
        if !is_quiet && passed < gathering.first && latest.count() < FIRST_OF_ALL {
            return Ahead::First { nth: passed + 1, window };
        }
        let ends_ms = |open: &Open| open.head.ends_ms;
        let ends_ms = open.map_or_else(|| self.end_of_one(gathering, now_ms, is_quiet), ends_ms);
        Ahead::Waits { window, with: open.map_or(0, |open| open.fold.count), ends_ms }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::super::{Arrival, Group, OTHERS};
    use super::*;
    use crate::event::EventId;
    use crate::store::{Lane, WINDOWS_MAX};

    fn group(name: u64) -> Group {
        let key = GroupKey([name.to_be_bytes(), [1; 8]].concat().try_into().expect("16 bytes"));
        Group { key, values: Vec::new(), part: None }
    }

    /// An event of a group: the group, its address, the milliseconds since the one before, and whether it is quiet.
    type Step = (u64, u64, u64, bool);

    fn holds(gathering: &Gathering, windows: &mut Windows, steps: &[Step]) -> Result<(), TestCaseError> {
        let mut now_ms = 0;
        for (sequence, (name, address, after_ms, is_quiet)) in (0..).zip(steps) {
            now_ms += after_ms;
            let group = group(*name);
            let ahead = windows.ahead(gathering, (group.key, *address), now_ms, *is_quiet);
            let event = EventId::mint(now_ms, 0, sequence);
            let arrival = Arrival { event, received_ms: now_ms, group: &group, address: *address };
            let lane = windows.place(gathering, arrival, now_ms, *is_quiet);
            match ahead {
                Ahead::Alone => prop_assert_eq!(lane, Lane::Ready),
                Ahead::First { nth, window } => {
                    prop_assert_eq!(lane, Lane::Ready);
                    prop_assert_eq!(windows.get(&window).map(|(head, _)| head.passed), Some(nth));
                }
                Ahead::Waits { window, with, ends_ms } => {
                    prop_assert_eq!(lane, Lane::Window(window));
                    let known = windows.get(&window).map(|(head, fold)| (head.ends_ms, fold.count));
                    prop_assert_eq!(known, Some((ends_ms, with + 1)));
                }
            }
            if sequence % 7 == 0 {
                windows.end(&windows.over(now_ms, 3));
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_foreseen_of_an_event_is_what_becomes_of_it() {
        let steps = prop::collection::vec((0..40_u64, 0..2_u64, 0..4_000_u64, prop::bool::weighted(0.1)), 1..120);
        let gatherings = (prop::option::weighted(0.8, 1..60_u64), 0..5_u32);
        let mut runner = TestRunner::new(ProptestConfig {
            cases: crate::seeds::cases(200),
            failure_persistence: None,
            ..Default::default()
        });
        let held = runner.run(&(steps, gatherings), |(steps, (every, first))| {
            let every = every.map(Duration::from_secs);
            let gathering = Gathering { every, by: Vec::new(), breakdown: None, first, examples: 4 };
            holds(&gathering, &mut Windows::default(), &steps)
        });
        held.unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn beyond_the_last_window_it_joins_all_others_or_goes_alone() {
        let every = Some(Duration::from_secs(900));
        let gathering = Gathering { every, by: Vec::new(), breakdown: None, first: 0, examples: 4 };
        let steps: Vec<Step> = (0..WINDOWS_MAX as u64 + 3).map(|name| (name, 0, 0, false)).collect();
        let mut windows = Windows::default();
        holds(&gathering, &mut windows, &steps).unwrap_or_else(|error| panic!("{error}"));
        let of = |name, address| windows.ahead(&gathering, (group(name).key, address), 0, false);
        assert_eq!(of(1 << 40, 0), Ahead::Waits { window: OTHERS, with: 4, ends_ms: 900_000 });
        assert_eq!(of(1 << 40, 7), Ahead::Alone, "no message goes to two places");
        assert_eq!(of(5, 0), Ahead::Waits { window: group(5).key, with: 1, ends_ms: 900_000 });
    }

    #[test]
    fn once_so_many_have_gone_by_themselves_the_next_waits() {
        let every = Some(Duration::from_secs(900));
        let gathering = Gathering { every, by: Vec::new(), breakdown: None, first: 1, examples: 4 };
        let mut windows = Windows::default();
        let steps: Vec<Step> = (0..FIRST_OF_ALL as u64).map(|name| (name, 0, 0, false)).collect();
        let fresh = |windows: &Windows, now_ms| windows.ahead(&gathering, (group(99).key, 0), now_ms, false);
        holds(&gathering, &mut windows, &steps[1..]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(fresh(&windows, 0), Ahead::First { nth: 1, window: group(99).key });
        holds(&gathering, &mut windows, &steps[..1]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(fresh(&windows, 0), Ahead::Waits { window: group(99).key, with: 0, ends_ms: 900_000 });
        assert_eq!(fresh(&windows, 900_000), Ahead::First { nth: 1, window: group(99).key });
    }
}
