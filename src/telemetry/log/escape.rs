//! What makes a line stay one line. Names in a config, events and answers are written by strangers: a line break forges lines, an
//! escape sequence speaks to the terminal, a direction mark shows a text as another one.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character does something in place of being shown: C0 and C1 controls, line and paragraph separators, marks that turn the
/// direction, and what has no width. The two joiners stay: scripts and emoji need them.
pub fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text whose active characters are written as in Rust: `\n`, `\u{1b}`.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c, out| match c {
        '\n' | '\r' | '\t' => out.extend(c.escape_default()),
        c => out.extend(c.escape_unicode()),
    })
}

/// A JSON text whose active characters are written as JSON can write them, which means the same. Between its values there are none.
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(text, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_active(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
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
    fn what_is_active_is_written_out_and_the_rest_stays() {
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
