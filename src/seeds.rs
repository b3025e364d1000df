//! How far the tests with dice look, by two variables.
//!
//! `VERO_RELAY_TEST_SEEDS=2000` runs so many seeds where a plain `cargo test` runs [`SEEDS`]; `make test-long` does that.
//! `VERO_RELAY_TEST_SEED=17` runs that one alone, and is what a failure prints.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Runs each seed, on several threads: most runs wait for threads of their own. Gives back what each came to.
pub fn each<T: Send>(seeds: Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(seeds.start);
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push(run(seed));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

/// What repeats a run.
pub fn repeated_by(seed: u64) -> String {
    format!("VERO_RELAY_TEST_SEED={seed}")
}

/// Cases of a property: all in the long tests, one in eight in the normal ones.
pub fn cases(all: u32) -> u32 {
    if count() >= SEEDS_LONG { all } else { all.div_ceil(8) }
}

/// How many of something that costs time: all in the long tests, a part in the normal ones.
pub fn part_of(all: u64) -> u64 {
    (all * count() / SEEDS_LONG).clamp(all.min(1000), all)
}
