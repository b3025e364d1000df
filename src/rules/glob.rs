//! Globs over text, as regular expressions.
//!
//! `*` is any run of characters, `?` is one, `[abc]`, `[a-z]` and `[!abc]` are one of a set, `{cart,order}` is one of some globs, and
//! `\` takes the next character as it is. A glob must cover the whole text. Characters are Unicode's, and `/` is one like any other:
//! globs for file paths treat both differently, which is why none of them is used here.

use crate::fault::Fault;

/// A longer glob is none that somebody has written, and compiling it takes seconds and hundreds of megabytes.
pub(super) const GLOB_BYTES_MAX: usize = 4 << 10;

/// Translates a glob, or says what is wrong with it.
pub(crate) fn to_regex(glob: &str) -> Result<String, Fault> {
    if glob.len() > GLOB_BYTES_MAX {
        let help = "write a list of globs: { glob: [\"Spring*\", \"Cart*\"] }".to_owned();
        return Err(Fault::with_help(
            format!("this glob has {} bytes, and {GLOB_BYTES_MAX} are the most", glob.len()),
            help,
        ));
    }
    let mut regex = String::with_capacity(glob.len() + 16);
    regex.push_str("^(?s:");
    let unclosed = |what: &str, at: usize| Fault::within(what, Some(at..glob.len()));
    let mut chars = glob.char_indices().peekable();
    let mut braces = Vec::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => {
                let ends = || unclosed("the glob ends in `\\`: write `\\\\` for the character itself", at);
                let (_, next) = chars.next().ok_or_else(ends)?;
                push_literal(&mut regex, next);
            }
            '{' => {
                braces.push(at);
                regex.push_str("(?:");
            }
            ',' if !braces.is_empty() => regex.push('|'),
            '}' if !braces.is_empty() => {
                braces.pop();
                regex.push(')');
            }
            '[' => {
                regex.push('[');
                if chars.next_if(|(_, c)| matches!(c, '!' | '^')).is_some() {
                    regex.push('^');
                }
                let mut is_first = true;
                loop {
                    let open = || unclosed("`[` is never closed: write `\\[` for the character itself", at);
                    let (_, c) = chars.next().ok_or_else(open)?;
                    match c {
                        ']' if !is_first => break,
                        '-' if !is_first && chars.peek().is_some_and(|(_, next)| *next != ']') => regex.push('-'),
                        '\\' => push_literal(&mut regex, chars.next().map_or('\\', |(_, c)| c)),
                        c => push_literal(&mut regex, c),
                    }
                    is_first = false;
                }
                regex.push(']');
            }
            c => push_literal(&mut regex, c),
        }
    }
    if let Some(at) = braces.pop() {
        return Err(unclosed("`{` is never closed: write `\\{` for the character itself", at));
    }
    regex.push_str(")$");
    Ok(regex)
}

fn push_literal(regex: &mut String, c: char) {
    let mut buffer = [0; 4];
    regex.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(glob: &str, text: &str, expected: bool) {
        let regex = regex::Regex::new(&to_regex(glob).expect("a good glob")).expect("a good regex");
        assert_eq!(regex.is_match(text), expected, "{glob} on {text}");
    }

    #[test]
    fn a_glob_has_so_many_bytes_and_no_more() {
        assert!(to_regex(&"a".repeat(GLOB_BYTES_MAX)).is_ok());
        assert!(to_regex(&"a".repeat(GLOB_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn globs_cover_the_whole_text() {
        check("Cart*", "Cart Abandonment", true);
        check("Cart*", "My Cart", false);
        check("*cart*", "my cart is", true);
        check("caf?", "café", true);
        check("a?c", "a\nc", true);
        check("a*c", "a/b/c", true);
        check("[ab]x", "ax", true);
        check("[!ab]x", "ax", false);
        check("[a-c]x", "bx", true);
        check("[a-]x", "-x", true);
        check("[]]", "]", true);
        check("{cart,order}*", "order 7", true);
        check("{cart,order}", "cart,order", false);
        check("a,b", "a,b", true);
        check("\\*", "*", true);
        check("\\*", "x", false);
        check("a.b", "axb", false);
        check("(x)", "(x)", true);
        check("", "", true);
        check("x\n", "x\n", true);
        check("x", "x\n", false);
        check("}", "}", true);
    }

    #[test]
    fn what_is_not_closed_is_told() {
        for bad in ["[a", "{a,b", "a\\"] {
            assert!(to_regex(bad).is_err(), "{bad}");
        }
    }

    /// `*`, `?` and literals, said by recursion.
    fn naive(glob: &[char], text: &[char]) -> bool {
        match (glob, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([c, rest @ ..], [d, text @ ..]) if c == d => naive(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_a_naive_search_matches(glob in "[abä*?.]{0,8}", text in "[abä.\n]{0,8}") {
            let regex = regex::Regex::new(&to_regex(&glob).expect("good")).expect("good");
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(regex.is_match(&text), naive(&chars(&glob), &chars(&text)));
        }

        #[test]
        fn every_glob_is_a_regex_or_an_error(glob in "\\PC{0,12}") {
            if let Ok(regex) = to_regex(&glob) {
                // A range that runs backwards is the one thing that only the regex compiler notices.
                if let Err(error) = regex::Regex::new(&regex) {
                    prop_assert!(error.to_string().contains("range"), "{} gave {}", glob, error);
                }
            }
        }
    }
}
