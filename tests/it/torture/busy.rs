//! `make test-busy`: the ordinary tests, again and again, on a machine that has more to do than it can.
//!
//! One thread a core computes, one keeps the disk syncing, one fills and frees memory. A test that passes here asserts what came before
//! what, and not how long it took.

use std::io::{Seek, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// All of them must pass.
const ROUNDS: usize = 5;
const WRITTEN: usize = 1 << 20;
const FILLED: usize = 256 << 20;

/// Runs the tests so often under load. Returns whether they passed each time.
pub fn run() -> bool {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for seed in 0..cores {
            let ends = &ends;
            scope.spawn(move || compute(seed as u64, ends));
        }
        scope.spawn(|| sync(&ends));
        scope.spawn(|| fill(&ends));
        let passed = (1..=ROUNDS).filter(|round| {
            let mut tests = Command::new(env!("CARGO"));
            let tests = tests.args(["test", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
            // What cargo has set for this program would have packages built anew that look at it.
            let is_of_this = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
            for (name, _) in std::env::vars().filter(|(name, _)| is_of_this(name)) {
                tests.env_remove(name);
            }
            let is_good = tests.status().is_ok_and(|status| status.success());
            println!("busy: round {round} of {ROUNDS} {}", if is_good { "passed" } else { "FAILED" });
            is_good
        });
        let passed = passed.count();
        ends.store(true, Ordering::Relaxed);
        println!("busy: {passed} of {ROUNDS} passed");
        passed == ROUNDS
    })
}

fn compute(mut state: u64, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        for _ in 0..1 << 16 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        std::hint::black_box(state);
    }
}

fn sync(ends: &AtomicBool) {
    let mut file = tempfile::tempfile().expect("a file");
    let block = vec![0x5a; WRITTEN];
    while !ends.load(Ordering::Relaxed) {
        file.rewind().and_then(|()| file.write_all(&block)).and_then(|()| file.sync_data()).expect("a disk with room");
    }
}

fn fill(ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        std::hint::black_box(vec![0x5a_u8; FILLED]);
    }
}
