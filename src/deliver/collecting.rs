//! How long a worker waits until there are enough for one request. Pure. Nothing is claimed while it waits: what is collected stays in the queue,
//! where it can be paused, dropped and moved like anything else.

use crate::destination::Batching;
use crate::store::Claimable;
use crate::time::Instant;

/// What is known of those that wait.
#[derive(Debug, Default)]
pub struct Collecting {
    /// Since when there has been one.
    since: Option<Instant>,
    /// What is there is to be looked at again then.
    until: Option<Instant>,
}

impl Collecting {
    /// Until when others are waited for, if they are. Where nothing is there, nobody waits.
    pub fn waits_until(&mut self, claimable: Claimable, batching: &Batching, now: Instant) -> Option<Instant> {
        let Claimable { deliveries, have_waited } = claimable;
        let until = *self.since.get_or_insert(now) + batching.every;
        let is_enough = deliveries == 0 || deliveries >= batching.max as u64 || have_waited;
        self.until = (!is_enough && now < until).then_some(until);
        if deliveries == 0 {
            self.since = None;
        }
        self.until
    }

    /// Some have been claimed: the others begin to wait.
    pub fn begin(&mut self) {
        *self = Self::default();
    }

    /// When what is there is to be looked at again, if others are waited for.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether others have been waited for long enough.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Rows of when it is looked, in milliseconds, what is there then, and until when is waited for others.
    #[track_caller]
    fn check(every_ms: u64, rows: &[(u64, u64, Option<u64>)]) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let batching = Batching { max: 10, every: Duration::from_millis(every_ms), bytes_max: 1 };
        let mut collecting = Collecting::default();
        for (ms, deliveries, expected) in rows {
            let claimable = Claimable { deliveries: *deliveries, have_waited: false };
            let until = collecting.waits_until(claimable, &batching, at(*ms));
            assert_eq!(until, expected.map(at), "{deliveries} at {ms} ms");
        }
    }

    #[test]
    fn the_first_waits_for_others_until_there_are_enough_or_its_time_is_over() {
        check(1000, &[(0, 1, Some(1000)), (500, 9, Some(1000)), (600, 10, None)]);
        check(1000, &[(0, 1, Some(1000)), (999, 2, Some(1000)), (1000, 2, None)]);
        check(0, &[(0, 1, None), (1, 9, None)]);
        check(1000, &[(0, 0, None), (700, 1, Some(1700))]);
        check(1000, &[(0, 3, Some(1000)), (500, 0, None), (700, 1, Some(1700))]);
    }

    #[test]
    fn by_another_section_the_first_has_waited_for_as_long_as_before() {
        let now = Instant::now();
        let of = |every| Batching { max: 10, every: Duration::from_secs(every), bytes_max: 1 };
        let one = Claimable { deliveries: 1, have_waited: false };
        let mut collecting = Collecting::default();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(collecting.waits_until(one, &of(9), now), Some(at(9)));
        assert_eq!(collecting.waits_until(one, &of(9), at(5)), Some(at(9)));
        assert_eq!(collecting.waits_until(one, &of(7), at(6)), Some(at(7)));
        assert_eq!(collecting.waits_until(one, &of(3), at(6)), None);
    }

    #[test]
    fn what_has_waited_already_waits_for_nobody_and_the_rest_begins_anew() {
        let now = Instant::now();
        let batching = Batching { max: 10, every: Duration::from_secs(1), bytes_max: 1 };
        let mut collecting = Collecting::default();
        let one = Claimable { deliveries: 1, have_waited: false };
        assert!(collecting.waits_until(one, &batching, now).is_some());
        let later = now + Duration::from_millis(900);
        assert_eq!(collecting.waits_until(Claimable { have_waited: true, ..one }, &batching, later), None);
        collecting.begin();
        assert_eq!(collecting.waits_until(one, &batching, later), Some(later + Duration::from_secs(1)));
        assert!(!collecting.is_over(later));
    }
}
