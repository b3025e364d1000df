//! The program: reads the command line, does what it says, and turns a failure into a sentence and an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use vero_relay::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a shell gives a program that SIGPIPE has ended (128 + 13).
const PIPE_CLOSED: i32 = 141;

fn main() -> ExitCode {
    // Whatever a library makes, at whatever time, is its owner's alone. A file that others may read is changed afterwards.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    end_quietly_when_nobody_reads();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                // Where it cannot be written, the exit code alone says it.
                let _ = writeln!(std::io::stderr(), "{}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Who reads what is printed may have seen enough (`| head`). `println!` panics then, and that is no bug: the program ends.
fn end_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(PIPE_CLOSED);
        }
        usual(panic);
    }));
}
