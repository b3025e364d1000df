//! What is asked and shown while a verb is at work: a question before something is done, and how far it has come.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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

/// How far something has come, on a terminal only: in a pipe nothing is shown. It is gone when this is dropped.
pub(super) struct Progress(ProgressBar);

/// A bar has so many steps: more than a terminal shows.
const STEPS: u64 = 1000;
/// A sign that something goes on turns this often.
const TURNS_EVERY: Duration = Duration::from_millis(100);

impl Progress {
    /// Of what says how far it has come.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(STEPS);
        bar.set_style(style("[{bar:30}] {percent:>3} % {msg} ({elapsed}, about {eta} left)").progress_chars("##."));
        Self(bar)
    }

    /// Of what does not.
    pub(super) fn of_unknown_length(what: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {msg} ({elapsed})"));
        bar.set_message(plain(what));
        bar.enable_steady_tick(TURNS_EVERY);
        Self(bar)
    }

    /// Shows a share from 0 to 1 and what it is of.
    pub(super) fn show(&self, share: f64, what: &str) {
        self.0.set_message(plain(what));
        self.0.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of this file")
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_of_progress_has_a_template_that_can_be_read() {
        Progress::new().show(2.0, "1 event");
        drop(Progress::of_unknown_length("counting"));
    }
}
