//! What is asked and shown while a verb is at work: a question before something is done, and how far it has come.

use std::io::{IsTerminal, Write};

use super::output::print_error;
use super::terminal::plain;
use super::{FAILED, Failure, USAGE};

/// Asks before something is done. Where nobody can be asked, it must have been said.
pub(super) fn confirm(question: &str, is_sure: bool) -> Result<(), Failure> {
    if is_sure {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, format!("{question}\nTo do it, say --yes")));
    }
    if says_yes(question) { Ok(()) } else { Err(Failure::new(FAILED, "nothing was done")) }
}

/// Asks on the terminal.
pub(super) fn says_yes(question: &str) -> bool {
    print_error(&format!("{question} [y/N] "));
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    line.trim().eq_ignore_ascii_case("y")
}

/// One line that is written over and over, on a terminal only.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    /// Shows a share from 0 to 1 and what it is of.
    pub(super) fn show(&self, share: f64, what: &str) {
        if !self.is_shown {
            return;
        }
        let filled = (share.clamp(0.0, 1.0) * 30.0) as usize;
        let done = "#".repeat(filled);
        let left = ".".repeat(30 - filled);
        // A progress that cannot be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\r\x1b[2K[{done}{left}] {:>3.0} % {}", share * 100.0, plain(what));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
