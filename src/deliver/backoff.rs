//! How long to wait before the next attempt. Nothing else in the program names the `backoff` crate.
//!
//! The crate grows the interval; its own retry loops are not used, because they keep their state in memory, and ours lives in the
//! journal: where a delivery stands is asked anew from the number of its attempts.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::store::DeliveryId;

/// How far a wait is spread to either side, so that what failed together does not come back together.
pub const JITTER: f64 = 0.2;

/// The wait after `attempts` attempts (1 or more): `initial` times `factor` to the number of earlier ones, at most `max`,
/// give or take [`JITTER`] as `spread` says: 0 is the shortest, 1 the longest. Never more than `max`.
pub fn wait(attempts: u16, initial: Duration, factor: u32, max: Duration, spread: f64) -> Duration {
    let mut interval = ExponentialBackoff {
        current_interval: initial.min(max),
        initial_interval: initial.min(max),
        multiplier: f64::from(factor),
        // Spread below: the crate draws from the thread's dice, so a run could not be repeated, and does it after its cap.
        randomization_factor: 0.0,
        max_interval: max,
        // Never: when to give up is decided elsewhere.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    for _ in 1..attempts {
        let before = interval.current_interval;
        interval.next_backoff();
        if interval.current_interval == before {
            break;
        }
    }
    let usual = interval.current_interval;
    usual.mul_f64(1.0 - JITTER + 2.0 * JITTER * spread.clamp(0.0, 1.0)).min(max)
}

/// Where in its jitter a delivery's wait lies, from 0 to 1: another for each delivery and attempt, and always the same for one.
pub fn spread(delivery: DeliveryId, attempts: u16) -> f64 {
    let id = u128::from_be_bytes(delivery.event.to_bytes());
    let event = (id >> 64) as u64 ^ id as u64;
    let number = event ^ (u64::from(delivery.destination.0) << 44) ^ (u64::from(attempts) << 28);
    mixed(number.wrapping_add(MIXED_STEP)) as f64 / u64::MAX as f64
}

/// What SplitMix64 goes on by (<https://prng.di.unimi.it/splitmix64.c>).
pub(crate) const MIXED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Its finaliser, which turns neighbours into strangers.
pub(crate) fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::NameId;

    #[test]
    fn waits_grow_by_the_factor_to_the_cap_and_stay_within_the_jitter() {
        let initial = Duration::from_secs(2);
        let max = Duration::from_secs(3600);
        for (attempts, expected) in
            [(1, 2), (2, 8), (3, 32), (4, 128), (5, 512), (6, 2048), (7, 3600), (8, 3600), (u16::MAX, 3600)]
        {
            for step in 0..=50 {
                let wait = wait(attempts, initial, 4, max, f64::from(step) / 50.0).as_secs_f64();
                let expected = f64::from(expected);
                assert!((expected * 0.799..=(expected * 1.201).min(3600.0)).contains(&wait), "{attempts}: {wait}");
            }
        }
    }

    #[test]
    fn without_jitter_each_wait_is_the_one_before_times_the_factor_and_none_is_above_the_cap() {
        let seconds = Duration::from_secs;
        for (initial, factor, max) in [
            (Duration::from_millis(1), 10, seconds(30 * 24 * 3600)),
            (seconds(1), 1, seconds(1)),
            (seconds(7), 1, seconds(3600)),
            (seconds(3600), 100, seconds(3600)),
            (seconds(10), 2, seconds(3)),
            (Duration::from_millis(1500), 3, seconds(100)),
        ] {
            let mut expected = initial.min(max);
            for attempts in 1..=300 {
                assert_eq!(
                    wait(attempts, initial, factor, max, 0.5),
                    expected,
                    "{initial:?} {factor} {max:?}, {attempts}"
                );
                expected = (expected * factor).min(max);
            }
            assert_eq!(wait(u16::MAX, initial, factor, max, 0.5), expected);
        }
    }

    #[test]
    fn what_failed_together_is_spread_over_the_whole_jitter() {
        let at = |sequence, attempts| {
            spread(DeliveryId { event: EventId::mint(7, 1, sequence), destination: NameId(3) }, attempts)
        };
        let mut tenths = [0; 10];
        for sequence in 0..1000 {
            tenths[((at(sequence, 1) * 10.0) as usize).min(9)] += 1;
            assert_eq!(at(sequence, 1), at(sequence, 1));
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
        assert_ne!(at(1, 1), at(1, 2));
    }
}
