//! `make torture`: every fault at full size, and the ledger. See `it/torture/mod.rs`. `make test-busy`: the ordinary tests under load.

#[path = "it/torture/busy.rs"]
mod busy;
#[path = "it/harness.rs"]
#[expect(dead_code, reason = "shared with the ordinary tests, which use more of it")]
mod harness;
#[path = "it/judge.rs"]
mod judge;
#[path = "it/postgres/mod.rs"]
#[expect(dead_code, reason = "shared with the ordinary tests, which use more of it")]
mod postgres;
#[path = "it/torture/mod.rs"]
#[expect(dead_code, reason = "the short cuts are run by the ordinary tests")]
mod torture;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "busy") {
        return if busy::run() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be heard");
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be heard");
        // Whoever ends it early gets back what it has mounted and started: dropping a fault undoes both.
        let is_kept = tokio::select! {
            is_kept = torture::ledger::run_all(torture::FAULTS) => is_kept,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        };
        if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}
