//! How long to wait before a server is tried again, so that a hundred connections do not come back in one moment. Pure.

use std::time::Duration;

/// Before the second try: a server that has only dropped the connection is there again at once.
const FIRST: Duration = Duration::from_millis(20);
/// The longest wait: a failover is over within seconds, and senders wait for it.
const MAX: Duration = Duration::from_secs(1);

/// Counts the tries since a server was last reached.
#[derive(Clone, Debug, Default)]
pub struct Again {
    tries: u32,
}

impl Again {
    /// The wait before the next try: twice as long each time, from 20 ms to 1 s, and somewhere between half of that and all of it, as
    /// `dice` says (any number, drawn anew each time).
    pub fn wait(&mut self, dice: u64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(MAX);
        self.tries = self.tries.saturating_add(1);
        let half = whole / 2;
        half + half.mul_f64(dice as f64 / u64::MAX as f64)
    }

    /// The server was reached: the next wait is a short one.
    pub fn reached(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dice: u64, expected_ms: &[u64]) {
        let mut again = Again::default();
        for _ in 0..2 {
            let waits: Vec<u64> = expected_ms.iter().map(|_| again.wait(dice).as_millis() as u64).collect();
            assert_eq!(waits, expected_ms);
            again.reached();
        }
    }

    #[test]
    fn each_wait_is_twice_the_last_one_up_to_a_second_and_short_again_once_it_was_reached() {
        check(u64::MAX, &[20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    }

    #[test]
    fn no_wait_is_shorter_than_half_of_the_longest() {
        check(0, &[10, 20, 40, 80, 160, 320, 500, 500]);
        check(u64::MAX / 2, &[15, 30, 60, 120, 240, 480, 750, 750]);
    }

    #[test]
    fn a_server_that_is_away_for_years_is_tried_each_second() {
        let mut again = Again { tries: u32::MAX };
        assert_eq!(again.wait(u64::MAX), MAX);
        assert_eq!(again.wait(u64::MAX), MAX);
    }
}
