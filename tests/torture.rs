//! `make torture`: every fault at full size, and the ledger. See `it/torture/mod.rs`.

#[path = "it/harness.rs"]
#[expect(dead_code, reason = "shared with the ordinary tests, which use more of it")]
mod harness;
#[path = "it/torture/mod.rs"]
#[expect(dead_code, reason = "the short cuts are run by the ordinary tests")]
mod torture;

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(torture::ledger::run_all(torture::FAULTS)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
