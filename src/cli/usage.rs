//! What was typed, as the program reads it, and what is said where it cannot be read.
//!
//! An error of the command line repeats words that were typed, and they may come from anywhere: a script, a file's name. It is made anew
//! of words in which nothing is unseen, so its own colours stay, and nothing else of a terminal's signs comes with them.

use std::ffi::OsString;

use clap::Parser;

use super::output::{print, print_error};
use super::terminal::{Colours, plain};
use super::{Cli, Failure};

impl Cli {
    /// Reads what was typed. What there is to say of it is said: help, or what is wrong with it.
    pub fn read() -> Result<Self, Failure> {
        let words: Vec<_> = std::env::args_os().collect();
        Self::try_parse_from(&words).map_err(|error| {
            let is_help = !error.use_stderr();
            let colours = if is_help { Colours::of(&std::io::stdout()) } else { Colours::of(&std::io::stderr()) };
            let are_coloured = colours.are_on;
            let text = in_words(&words, &error, are_coloured);
            if is_help {
                print(&text)
            } else {
                print_error(&text)
            }
            // It is told.
            Failure::new(u8::try_from(error.exit_code()).unwrap_or(super::USAGE), "")
        })
    }
}

/// What clap says of some words, with nothing in it that nobody sees but its own colours.
fn in_words(words: &[OsString], error: &clap::Error, are_coloured: bool) -> String {
    let seen = Cli::try_parse_from(words.iter().map(|word| plain(&word.to_string_lossy()).to_string()));
    match seen {
        Err(error) if are_coloured => error.render().ansi().to_string(),
        Err(error) => error.render().to_string(),
        // What is unseen was all that is wrong with it, so it is in the error, and colours cannot be told from it.
        Ok(_) => error.render().to_string().lines().map(|line| format!("{}\n", plain(line))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        check_words(&words, expected);
    }

    #[track_caller]
    fn check_words(words: &[OsString], expected: &str) {
        let words: Vec<_> = std::iter::once(OsString::from("vero-relay")).chain(words.iter().cloned()).collect();
        let error = Cli::try_parse_from(&words).expect_err("it is wrong");
        let bare = in_words(&words, &error, false);
        assert!(bare.contains(expected) && !bare.contains('\x1b'), "{bare:?}");
        let coloured = in_words(&words, &error, true);
        assert!(coloured.starts_with("\x1b[1m\x1b[31merror:\x1b[0m "), "{coloured:?}");
        assert!(!coloured.contains("\x1b[7m") && !coloured.contains('\u{202e}'), "{coloured:?}");
        assert_eq!(coloured.lines().count(), bare.lines().count(), "no line is forged");
    }

    #[test]
    fn an_error_of_the_command_line_repeats_nothing_that_nobody_sees_and_keeps_its_colours() {
        check(&["non\x1b[7msense\u{202e}"], "unrecognized subcommand 'non [7msense '");
        check(&["events", "--limit", "a\x1b[7m\nerror: b\u{200b}"], "invalid value 'a [7m error: b ' for '--limit");
        // Words of its own that repeat it: how it could be meant.
        check(&["status", "--jso\x1b[7mn\u{202e}"], "unexpected argument '--jso [7mn '");
        check(&["explain", "sent", "a", "b\x1b[7m"], "unexpected argument 'b [7m'");
        check(&["nonsense"], "unrecognized subcommand 'nonsense'");
        let no_text = OsString::from_vec(b"\xff\x1b[7m\nerror: b".to_vec());
        check_words(&[no_text], "unrecognized subcommand '\u{fffd} [7m error: b'");
    }
}
