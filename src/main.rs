//! The program: reads the command line, does what it says, and turns a failure into a sentence and an exit code.

use std::process::ExitCode;

use vero_relay::cli::{Cli, print_error};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whatever a library makes, at whatever time, is its owner's alone. A file that others may read is changed afterwards.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match Cli::read().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                print_error(&format!("{}\n", failure.message));
            }
            ExitCode::from(failure.code)
        }
    }
}
