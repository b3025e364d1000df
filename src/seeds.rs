//! How far the tests with dice look, by two variables.
//!
//! `VERO_RELAY_TEST_SEEDS=2000` runs so many seeds where a plain `cargo test` runs [`SEEDS`]; `make test-long` does that.
//! `VERO_RELAY_TEST_SEED=17` runs that one alone, and is what a failure prints.

use std::ops::Range;

/// Seeds in the normal tests: a few seconds.
const SEEDS: u64 = 100;
/// Seeds in the long ones.
const SEEDS_LONG: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn count() -> u64 {
    number("VERO_RELAY_TEST_SEEDS").unwrap_or(SEEDS)
}

/// The seeds to run.
pub fn seeds() -> Range<u64> {
    number("VERO_RELAY_TEST_SEED").map_or(0..count(), |seed| seed..seed + 1)
}

/// What repeats a run.
pub fn repeated_by(seed: u64) -> String {
    format!("VERO_RELAY_TEST_SEED={seed}")
}

/// How many of something that costs time: all in the long tests, a part in the normal ones.
pub fn part_of(all: u64) -> u64 {
    (all * count() / SEEDS_LONG).clamp(all.min(1000), all)
}
