//! What makes a line stay one line. Names in a config, events and answers are written by strangers: a line break forges lines, an
//! escape sequence speaks to the terminal, a direction mark shows a text as another one.

use std::borrow::Cow;

use crate::unseen::{as_json, written};

/// A text in which what nobody sees is written as in Rust: `\n`, `\u{1b}`.
pub fn text(text: &str) -> Cow<'_, str> {
    written(text, |c, out| match c {
        '\n' | '\r' | '\t' => out.extend(c.escape_default()),
        c => out.extend(c.escape_unicode()),
    })
}

/// A JSON text in which it is written as JSON can write it, which means the same. Between its values there is none.
pub fn json(text: &str) -> Cow<'_, str> {
    written(text, as_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, as_text: &str, as_json: &str) {
        assert_eq!(text(given), as_text);
        assert_eq!(json(given), as_json);
    }

    #[test]
    fn what_nobody_sees_is_written_out_and_the_rest_stays() {
        check(
            "Grüße, 東京 👩\u{200d}🚀 \"x\" \\",
            "Grüße, 東京 👩\u{200d}🚀 \"x\" \\",
            "Grüße, 東京 👩\u{200d}🚀 \"x\" \\",
        );
        check("a\nb\rc\td", "a\\nb\\rc\\td", "a\\u000ab\\u000dc\\u0009d");
        check("\u{1b}[2J\u{9b}\u{7f}\0", "\\u{1b}[2J\\u{9b}\\u{7f}\\u{0}", "\\u001b[2J\\u009b\\u007f\\u0000");
        check("\u{202e}\u{2066}\u{200f}\u{61c}", "\\u{202e}\\u{2066}\\u{200f}\\u{61c}", "\\u202e\\u2066\\u200f\\u061c");
        check("\u{2028}\u{85}\u{feff}", "\\u{2028}\\u{85}\\u{feff}", "\\u2028\\u0085\\ufeff");
        check("\u{e0041}", "\\u{e0041}", "\\udb40\\udc41");
    }
}
