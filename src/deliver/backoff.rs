//! How long to wait before the next attempt. Nothing else in the program names the `backoff` crate.
//!
//! Only its interval arithmetic is used, as a pure function of the attempt's number: the crate's own retry loops keep their state in
//! memory, and ours lives in the journal.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::store::DeliveryKey;

/// How far a wait is spread to either side, so that what failed together does not come back together.
pub const JITTER: f64 = 0.2;

/// The wait after `attempts` attempts (1 or more): `initial` times `factor` to the number of earlier ones, at most `max`,
/// give or take [`JITTER`] as `spread` says: 0 is the shortest, 1 the longest. Never more than `max`.
pub fn wait(attempts: u16, initial: Duration, factor: u32, max: Duration, spread: f64) -> Duration {
    let exponent = i32::from(attempts.saturating_sub(1).min(1_000));
    let grown = initial.as_secs_f64() * f64::from(factor).powi(exponent);
    let base = Duration::try_from_secs_f64(grown).unwrap_or(max).min(max);
    let mut interval = ExponentialBackoff {
        current_interval: base,
        initial_interval: base,
        multiplier: 1.0,
        // Spread below: the crate draws from the thread's dice, so a run could not be repeated, and does it after its cap.
        randomization_factor: 0.0,
        max_interval: base,
        // Never: when to give up is decided elsewhere.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let usual = interval.next_backoff().unwrap_or(base);
    usual.mul_f64(1.0 - JITTER + 2.0 * JITTER * spread.clamp(0.0, 1.0)).min(max)
}

/// Where in its jitter a delivery's wait lies, from 0 to 1: another for each delivery and attempt, and always the same for one.
pub fn spread(key: DeliveryKey, attempts: u16) -> f64 {
    let delivery = key.sequence ^ (u64::from(key.destination.0) << 44) ^ (u64::from(attempts) << 28);
    mixed(delivery.wrapping_add(MIXED_STEP)) as f64 / u64::MAX as f64
}

/// What SplitMix64 goes on by (<https://prng.di.unimi.it/splitmix64.c>).
pub(super) const MIXED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Its finaliser, which turns neighbours into strangers.
pub(super) fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NameId;

    #[test]
    fn waits_grow_by_the_factor_to_the_cap_and_stay_within_the_jitter() {
        let (initial, max) = (Duration::from_secs(2), Duration::from_secs(3600));
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
    fn what_failed_together_is_spread_over_the_whole_jitter() {
        let at = |sequence, attempts| spread(DeliveryKey { sequence, destination: NameId(3) }, attempts);
        let mut tenths = [0; 10];
        for sequence in 0..1000 {
            tenths[((at(sequence, 1) * 10.0) as usize).min(9)] += 1;
            assert_eq!(at(sequence, 1), at(sequence, 1));
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
        assert_ne!(at(1, 1), at(1, 2));
    }
}
