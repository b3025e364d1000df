//! How long to wait before the next attempt. Nothing else in the program names the `backoff` crate.
//!
//! Only its interval arithmetic is used, as a pure function of the attempt's number: the crate's own retry loops keep their state in
//! memory, and ours lives in the journal.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// How far a wait is spread to either side, so that what failed together does not come back together.
pub const JITTER: f64 = 0.2;

/// The wait after `attempts` attempts (1 or more): `initial` times `factor` to the number of earlier ones, at most `max`,
/// give or take [`JITTER`]. Never more than `max`.
pub fn wait(attempts: u16, initial: Duration, factor: u32, max: Duration) -> Duration {
    let exponent = i32::from(attempts.saturating_sub(1).min(1_000));
    let grown = initial.as_secs_f64() * f64::from(factor).powi(exponent);
    let base = Duration::try_from_secs_f64(grown).unwrap_or(max).min(max);
    let mut interval = ExponentialBackoff {
        current_interval: base,
        initial_interval: base,
        multiplier: 1.0,
        randomization_factor: JITTER,
        max_interval: base,
        // Never: when to give up is decided elsewhere.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    // The crate spreads after its cap, and ours is a promise: never further apart than `max`.
    interval.next_backoff().unwrap_or(base).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_the_factor_to_the_cap_and_stay_within_the_jitter() {
        let (initial, max) = (Duration::from_secs(2), Duration::from_secs(3600));
        for (attempts, expected) in
            [(1, 2), (2, 8), (3, 32), (4, 128), (5, 512), (6, 2048), (7, 3600), (8, 3600), (u16::MAX, 3600)]
        {
            for _ in 0..50 {
                let wait = wait(attempts, initial, 4, max).as_secs_f64();
                let expected = f64::from(expected);
                assert!((expected * 0.799..=(expected * 1.201).min(3600.0)).contains(&wait), "{attempts}: {wait}");
            }
        }
    }

    #[test]
    fn waits_differ() {
        let waits: std::collections::BTreeSet<_> =
            (0..20).map(|_| wait(3, Duration::from_secs(2), 4, Duration::from_secs(3600))).collect();
        assert!(waits.len() > 10);
    }
}
