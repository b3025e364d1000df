//! The one way to standard output and standard error: no text from outside steers a terminal, and a failed write is told.
//!
//! What a destination answered, what an event holds and what a config is called may hold control characters. Verbs put such values
//! on one line by [`plain`](super::terminal::plain); here is the last look, which no verb can forget. Who reads may have seen enough
//! (`| head`): then the program ends quietly. A disk that is full is no such reader.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde_json::Value;

use super::FAILED;
use super::terminal::Colours;
use crate::unseen::{as_json, written};

/// What a shell gives a program that SIGPIPE has ended (128 + 13).
const PIPE_CLOSED: i32 = 141;

macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::output::print(&format!("{}\n", format_args!($($arg)*))) };
}

/// Prints a line on standard error.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::cli::output::print_error(&format!("{}\n", format_args!($($arg)*))) };
}

pub(super) use {say, tell};

/// Prints a text as it is, but for what would steer the terminal. Ends the process where standard output cannot be written.
pub(super) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(harmless(text, &stdout).as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(PIPE_CLOSED),
        Err(error) => {
            print_error(&format!("standard output could not be written: {error}\n"));
            std::process::exit(i32::from(FAILED));
        }
    }
}

/// The same for standard error, where a failure can be told to nobody.
pub fn print_error(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(harmless(text, &stderr).as_bytes());
}

/// Prints JSON for scripts. Signs that nobody sees are escaped, which in JSON changes nothing.
pub(super) fn json(value: &Value) {
    print(&escaped(&format!("{value:#}\n")));
}

/// The same on one line.
pub(super) fn json_line(value: &Value) {
    print(&escaped(&format!("{value}\n")));
}

fn escaped(json: &str) -> Cow<'_, str> {
    written(json, |c, out| if c == '\n' { out.push(c) } else { as_json(c, out) })
}

/// A text without what nobody sees and what would steer a terminal. Where it has colours, ours are left.
fn harmless(text: &str, stream: &impl IsTerminal) -> String {
    without_steering(text, Colours::of(stream).are_on)
}

fn without_steering(text: &str, keeps_colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, colour)) = next_colour(rest).filter(|_| keeps_colours) {
        out.push_str(&blanked(&rest[..before]));
        out.push_str(&rest[before..before + colour]);
        rest = &rest[before + colour..];
    }
    out + &blanked(rest)
}

fn blanked(text: &str) -> Cow<'_, str> {
    written(text, |c, out| out.push(if matches!(c, '\n' | '\t') { c } else { ' ' }))
}

/// Where the next colour of a text begins, and its length.
fn next_colour(text: &str) -> Option<(usize, usize)> {
    text.match_indices('\x1b').find_map(|(at, _)| Some((at, colour_at(&text[at..])?)))
}

/// The length of the colour that a text begins with: ESC, `[`, digits and `;`, `m` (ECMA-48, SGR).
fn colour_at(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_steers_a_terminal() {
        let hostile = "a\x1b[31mred\x1b]0;title\x07\u{9b}1m\u{202e}b\r\nnext\ttab";
        assert_eq!(without_steering(hostile, false), "a [31mred ]0;title  1m b \nnext\ttab");
        assert_eq!(without_steering(hostile, true), "a\x1b[31mred ]0;title  1m b \nnext\ttab");
        assert_eq!(without_steering("\x1b[2J\x1b[1;31mx\x1b[0m\x1b[", true), " [2J\x1b[1;31mx\x1b[0m [");
        assert_eq!(without_steering("\x1b[31ma\u{200b}b\x1b[0m\u{3164}é", true), "\x1b[31ma b\x1b[0m é");
        assert_eq!(escaped("{\n\"a\u{e0041}\u{200b}\": \"é\"}\n"), "{\n\"a\\udb40\\udc41\\u200b\": \"é\"}\n");
    }
}
