//! The one way to standard output and standard error: no text from outside steers a terminal, and a failed write is told.
//!
//! What a destination answered, what an event holds and what a config is called may hold control characters. Verbs put such values
//! on one line by [`plain`](super::terminal::plain); here is the last look, which no verb can forget. Here, too, lines that are wider than the
//! terminal are broken between words: in a pipe they stay whole, and so does what somebody may copy (JSON, bodies). Who reads may have seen enough
//! (`| head`): then the program ends quietly. A disk that is full is no such reader.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde_json::Value;

use unicode_width::UnicodeWidthStr;

use super::FAILED;
use super::terminal::{Colours, width, width_of};
use crate::unseen::{as_json, written};

/// What a shell gives a program that SIGPIPE has ended (128 + 13).
const PIPE_CLOSED: i32 = 141;

/// So many columns further in than its beginning stands what goes on of a line.
const FURTHER_IN: usize = 2;

macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::output::print(&format!("{}\n", format_args!($($arg)*))) };
}

/// Prints a line on standard error.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::cli::output::print_error(&format!("{}\n", format_args!($($arg)*))) };
}

pub(super) use {say, tell};

/// Prints a text as it is, but for what would steer the terminal, and for lines that are wider than it. Ends the process where standard output
/// cannot be written.
pub(super) fn print(text: &str) {
    written_out(&folded(&harmless(text, &io::stdout()), width()));
}

/// The same with lines as long as they are: for what is copied.
pub(super) fn print_whole(text: &str) {
    written_out(&harmless(text, &io::stdout()));
}

fn written_out(text: &str) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
    let text = harmless(text, &stderr);
    let _ = stderr.write_all(folded(&text, width_of(&stderr)).as_bytes());
}

/// Prints JSON for scripts. Signs that nobody sees are escaped, which in JSON changes nothing.
pub(super) fn json(value: &Value) {
    print_whole(&escaped(&format!("{value:#}\n")));
}

/// The same on one line.
pub(super) fn json_line(value: &Value) {
    print_whole(&escaped(&format!("{value}\n")));
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

/// A text whose lines are broken between words where they are wider than the terminal. What goes on stands further in than its beginning. A word
/// alone may be wider, so that a path or an id is copied whole, and so may a line that is shown of a file, with marks below it.
fn folded(text: &str, terminal: Option<usize>) -> Cow<'_, str> {
    let Some(terminal) = terminal else { return Cow::Borrowed(text) };
    let is_shown_of_a_file = |line: &str| {
        let bare = without_colours(line);
        bare.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with(['|', '…'])
    };
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if columns_of(line) <= terminal || is_shown_of_a_file(line) {
            out.push_str(line);
            continue;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        let further = " ".repeat((indent + FURTHER_IN).min(terminal / 2));
        out.push_str(&line[..indent]);
        let mut taken = indent;
        let mut begins_line = true;
        for word in line[indent..].split(' ') {
            let own = columns_of(word);
            if !begins_line && taken + 1 + own > terminal {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(&further);
                taken = further.len();
                begins_line = true;
            } else if !begins_line {
                out.push(' ');
                taken += 1;
            }
            // Of several blanks where a line is broken none goes on.
            if !begins_line || !word.is_empty() {
                out.push_str(word);
                taken += own;
                begins_line = false;
            }
        }
    }
    Cow::Owned(out)
}

/// How many columns a text takes; colours take none.
fn columns_of(text: &str) -> usize {
    without_colours(text.trim_end_matches('\n')).width()
}

fn without_colours(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, colour)) = next_colour(rest) {
        bare.push_str(&rest[..before]);
        rest = &rest[before + colour..];
    }
    bare + rest
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

    #[track_caller]
    fn check_folded(terminal: usize, text: &str, expected: &str) {
        let told = folded(text, Some(terminal)).into_owned();
        assert_eq!(told, expected);
        assert_eq!(folded(text, None), text, "in a pipe");
    }

    #[test]
    fn a_line_that_is_wider_than_the_terminal_is_broken_between_words() {
        check_folded(20, "exactly twenty signs\nshort\n", "exactly twenty signs\nshort\n");
        check_folded(19, "exactly twenty signs\nshort\n", "exactly twenty\n  signs\nshort\n");
        check_folded(12, "    in by four and on\n", "    in by\n      four\n      and on\n");
        // Further in than half of the terminal there would be no room.
        check_folded(8, "      a b c d\n", "      a\n    b c\n    d\n");
        check_folded(10, "see /a/long/path/of/a/file there", "see\n  /a/long/path/of/a/file\n  there");
        check_folded(10, "/a/long/path/of/a/file", "/a/long/path/of/a/file");
        check_folded(8, "漢字漢字 漢字", "漢字漢字\n  漢字");
        check_folded(10, "a   b       c", "a   b\n  c");
        check_folded(10, "Do it all? [y/N] ", "Do it all?\n  [y/N] ");
        let coloured = "\x1b[1m\x1b[94m8\x1b[0m \x1b[1m\x1b[94m|\x1b[0m   - { name: to crm, to: [crm] }\n";
        check_folded(20, coloured, coloured);
    }

    #[test]
    fn a_colour_takes_no_column_and_a_line_of_a_file_stays_with_its_marks() {
        check_folded(6, "\x1b[31mred\x1b[0m it\n", "\x1b[31mred\x1b[0m it\n");
        check_folded(5, "\x1b[31mred\x1b[0m it\n", "\x1b[31mred\x1b[0m\n  it\n");
        let shown = "12 |   - to: [a, b]\n   |         ^ here it is\n";
        check_folded(10, shown, shown);
    }

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
