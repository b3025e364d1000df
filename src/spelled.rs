//! Finds secrets in a text, however the text spells them: as they are, percent-encoded (also twice), as a form has them (`+` for a
//! blank), escaped in a JSON string (also in a string within a string), or with the entities of HTML.
//!
//! What echoes a request spells it in its own way: PHP writes `\/`, Go `\u003c`, a web framework `&quot;`. [`Finder`] finds any other text in
//! the same spellings, and [`is_part`] tells an address from one that ends or begins with it.

use std::ops::Range;

/// What stands for something that is not shown.
pub(crate) const MASK: &str = "…";
/// Read at once where what is long is looked through: large enough that what is read twice does not count.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Read twice then, at the end of one piece and at the beginning of the next: more than the longest text takes in its longest spelling.
pub(crate) const OVERLAP_BYTES: usize = 64 << 10;
/// More signs of one escape than strings lie in one another.
const BACKSLASHES_MAX: usize = 16;

/// Signs that escapes begin with.
const ESCAPES: &[u8] = b"%\\&+";
/// Bytes of the longest escape that is looked for in front of a text: `\u003c` in a string within strings.
const ESCAPE_BYTES_MAX: usize = 24;
/// Signs that join the words of a local part, of those that RFC 5321 lets stand in one unquoted. The others also separate: in URLs (`#%&/=?`), in
/// templates (`{}`) and in lists (`|`).
const JOINING: [char; 10] = ['.', '-', '_', '+', '\'', '!', '$', '*', '^', '~'];
/// Those of them that also stand around something.
const QUOTING: [char; 3] = ['\'', '*', '~'];

/// In which letters a secret is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letters {
    Same,
    /// In large and small ones.
    Any,
}

/// A text's beginning of so many bytes, without the secrets. One that goes on behind the beginning is found too.
pub(crate) fn without<S: AsRef<str>>(secrets: &[S], text: &[u8], bytes_max: usize, letters: Letters) -> Vec<u8> {
    let begins = begins(secrets);
    let mut kept = Vec::new();
    let mut at = 0;
    // Where what is masked ends: another secret may begin in it and reach further.
    let mut masked_to = 0;
    while at < text.len().min(bytes_max).max(masked_to) {
        let longest = || secrets.iter().filter_map(|secret| length_of(secret.as_ref(), &text[at..], letters)).max();
        if let Some(length) = begins[usize::from(text[at])].then(longest).flatten() {
            if at >= masked_to {
                kept.extend_from_slice(MASK.as_bytes());
            }
            masked_to = masked_to.max(at + length);
        } else if at >= masked_to {
            kept.push(text[at]);
        }
        at += 1;
    }
    kept
}

/// Finds texts in others, ready for many of those.
pub(crate) struct Finder {
    texts: Vec<String>,
    letters: Letters,
    begins: [bool; 256],
}

impl Finder {
    pub(crate) fn new(texts: Vec<String>, letters: Letters) -> Self {
        Self { begins: begins(&texts), texts, letters }
    }

    /// Where one of the texts stands, in order; what overlaps is one place.
    pub(crate) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for (at, first) in text.iter().enumerate() {
            if !self.begins[usize::from(*first)] {
                continue;
            }
            let rest = &text[at..];
            let lengths = self.texts.iter().filter(|text| may_go_on(text, rest, self.letters));
            let Some(length) = lengths.filter_map(|text| length_of(text, rest, self.letters)).max() else { continue };
            match found.last_mut().filter(|last| at < last.end) {
                Some(last) => last.end = last.end.max(at + length),
                None => found.push(at..at + length),
            }
        }
        found
    }
}

/// Whether the second byte of a text allows that another stands here: what begins with no sign of an escape is read as it is, and most of
/// what begins alike ends here, before anything is allocated for it.
fn may_go_on(sought: &str, text: &[u8], letters: Letters) -> bool {
    let (Some(second), Some(next)) = (sought.as_bytes().get(1), text.get(1)) else { return true };
    let is_same = match letters {
        Letters::Same => second == next,
        Letters::Any => second.eq_ignore_ascii_case(next),
    };
    is_same || ESCAPES.contains(next) || ESCAPES.contains(&text[0])
}

/// Whether the address that stands in a range of a text is a part of a longer word, and so of another address: `ann@example.com` of
/// `joann@example.com`, of `bob+ann@example.com`, and of `ann@example.com.au`. In doubt it is none: where an escape may end in front of it, between
/// two quotes, and behind a sign that also separates.
pub(crate) fn is_part(text: &[u8], range: &Range<usize>) -> bool {
    let (before, behind) = (&text[..range.start], &text[range.end..]);
    // Who writes a blank as `+` writes an `@` as `%40`.
    let plus_is_blank = !text[range.clone()].contains(&b'@');
    goes_on_before(before, behind, plus_is_blank)
        || goes_on(behind.utf8_chunks().next().map_or("", |chunk| chunk.valid()).chars())
}

/// Whether a domain goes on with these characters: with a letter, or with one behind a sign that joins words.
fn goes_on(mut characters: impl Iterator<Item = char>) -> bool {
    match characters.next() {
        Some('.' | '-' | '_') => characters.next().is_some_and(char::is_alphanumeric),
        Some(next) => next.is_alphanumeric(),
        None => false,
    }
}

/// Whether a word that an address ends stands in front of it: every reading of what is there has to be one.
fn goes_on_before(before: &[u8], behind: &[u8], plus_is_blank: bool) -> bool {
    let closes = |sign: char| {
        let mut is_closed = false;
        readings(behind, &mut |read, _| is_closed |= read == sign.encode_utf8(&mut [0; 4]).as_bytes());
        is_closed
    };
    let joins = |sign: char| JOINING.contains(&sign) && !(QUOTING.contains(&sign) && closes(sign));
    // Backwards, to the first letter.
    let ends_a_word = |read: &str, rest: &[u8]| {
        let rest = rest.utf8_chunks().last().map_or("", |chunk| chunk.valid());
        let as_read = read.chars().rev().map(|sign| (sign, false));
        let mut last = None;
        for (sign, is_blank) in as_read.chain(rest.chars().rev().map(|sign| (sign, plus_is_blank && sign == '+'))) {
            if sign.is_alphanumeric() {
                return true;
            }
            if is_blank || !joins(sign) || last == Some(sign) {
                return false;
            }
            last = Some(sign);
        }
        false
    };
    let (mut is_escape, mut is_word) = (false, true);
    for length in 2..=ESCAPE_BYTES_MAX.min(before.len()) {
        let (rest, escape) = before.split_at(before.len() - length);
        readings(escape, &mut |read, taken| {
            // An escaped `+` is one, and no blank.
            let is_plus = read == b" " && escape.to_ascii_lowercase().ends_with(b"2b");
            if taken == length && !is_plus {
                is_escape = true;
                is_word &= std::str::from_utf8(read).is_ok_and(|read| ends_a_word(read, rest));
            }
        });
    }
    if is_escape { is_word } else { ends_a_word("", before) }
}

/// By the first byte of a text, whether a secret may stand there.
fn begins<S: AsRef<str>>(secrets: &[S]) -> [bool; 256] {
    let mut begins = [false; 256];
    if secrets.is_empty() {
        return begins;
    }
    ESCAPES.iter().for_each(|sign| begins[usize::from(*sign)] = true);
    for first in secrets.iter().filter_map(|secret| secret.as_ref().bytes().next()) {
        begins[usize::from(first)] = true;
        begins[usize::from(first.to_ascii_lowercase())] = true;
        begins[usize::from(first.to_ascii_uppercase())] = true;
    }
    begins
}

/// How many bytes a secret takes at the beginning of a text, if it stands there.
fn length_of(secret: &str, text: &[u8], letters: Letters) -> Option<usize> {
    if secret.is_empty() {
        return None;
    }
    let secret = secret.as_bytes();
    // What is read so far, and where: a sign may stand for itself or begin an escape.
    let mut reached = vec![(0, 0)];
    let mut next = 0;
    let mut longest = None;
    while let Some((matched, at)) = reached.get(next).copied() {
        next += 1;
        if matched == secret.len() {
            longest = longest.max(Some(at));
            continue;
        }
        readings(&text[at..], &mut |read, taken| {
            let end = matched + read.len();
            let is_same = secret.get(matched..end).is_some_and(|part| match letters {
                Letters::Same => part == read,
                Letters::Any => part.eq_ignore_ascii_case(read),
            });
            if is_same && !reached.contains(&(end, at + taken)) {
                reached.push((end, at + taken));
            }
        });
    }
    longest
}

/// What a text's beginning may mean: each reading, and the bytes that it takes.
fn readings(text: &[u8], tell: &mut dyn FnMut(&[u8], usize)) {
    let Some(first) = text.first() else { return };
    tell(&[*first], 1);
    let (byte, taken) = unit(text);
    match byte {
        b'+' => tell(b" ", taken),
        b'\\' => escaped(text, tell),
        b'&' => entity(text, taken, tell),
        _ if taken > 1 => tell(&[byte], taken),
        _ => {}
    }
    if taken > 1 && matches!(byte, b'+' | b'\\' | b'&') {
        tell(&[byte], taken);
    }
}

/// The byte that a text begins with, percent-decoded as often as it is encoded, and the bytes that it takes.
fn unit(text: &[u8]) -> (u8, usize) {
    let Some(mut rest) = text.strip_prefix(b"%") else { return (text.first().copied().unwrap_or(0), 1) };
    let mut taken = 1;
    loop {
        let Some(byte) = rest.get(..2).and_then(|digits| number(digits, 16)).and_then(|byte| u8::try_from(byte).ok())
        else {
            return (b'%', 1);
        };
        taken += 2;
        // The sign of an escape may be escaped itself.
        if byte != b'%' || rest.get(2..4).and_then(|digits| number(digits, 16)).is_none() {
            return (byte, taken);
        }
        rest = &rest[2..];
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let is_number = digits.iter().all(|digit| char::from(*digit).is_digit(radix));
    is_number.then(|| std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, radix).ok()))?
}

/// An escape of JSON; of a string within a string it has more backslashes.
fn escaped(text: &[u8], tell: &mut dyn FnMut(&[u8], usize)) {
    let mut at = 0;
    let mut count = 0;
    while count < BACKSLASHES_MAX && at < text.len() {
        let (byte, taken) = unit(&text[at..]);
        if byte != b'\\' {
            break;
        }
        (at, count) = (at + taken, count + 1);
        if count > 1 {
            tell(b"\\", at);
        }
    }
    let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { return };
    let (byte, taken) = unit(rest);
    let control = match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => return by_number(rest, at, tell),
        byte if byte.is_ascii_punctuation() => byte,
        _ => return,
    };
    tell(&[control], at + taken);
}

/// `\u00e9`, and two of them for what lies beyond.
fn by_number(rest: &[u8], before: usize, tell: &mut dyn FnMut(&[u8], usize)) {
    let code = |at: usize| rest.get(at + 1..at + 5).and_then(|digits| number(digits, 16));
    let Some(first) = code(0) else { return };
    let mut tell_char = |code: u32, taken: usize| {
        if let Some(c) = char::from_u32(code) {
            tell(c.encode_utf8(&mut [0; 4]).as_bytes(), before + taken);
        }
    };
    if !(0xd800..0xdc00).contains(&first) {
        return tell_char(first, 5);
    }
    let signs = rest[5..].iter().take_while(|byte| **byte == b'\\').count();
    if rest.get(5 + signs) == Some(&b'u')
        && let Some(second) = code(5 + signs).filter(|second| (0xdc00..0xe000).contains(second))
    {
        tell_char(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 10 + signs);
    }
}

/// `&lt;`, `&#60;`, `&#x3c;`, and each of them escaped again.
fn entity(text: &[u8], sign: usize, tell: &mut dyn FnMut(&[u8], usize)) {
    const NAMES: [(&[u8], &[u8]); 5] =
        [(b"amp;", b"&"), (b"lt;", b"<"), (b"gt;", b">"), (b"quot;", b"\""), (b"apos;", b"'")];
    const NUMBER_BYTES_MAX: usize = 8;
    let mut at = sign;
    loop {
        let rest = &text[at..];
        for (name, meant) in NAMES.iter().filter(|(name, _)| rest.starts_with(name)) {
            tell(meant, at + name.len());
        }
        if let Some(digits) = rest.strip_prefix(b"#")
            && let Some(end) = digits.iter().take(NUMBER_BYTES_MAX).position(|byte| *byte == b';')
        {
            let digits = &digits[..end];
            let code = match digits.strip_prefix(b"x").or(digits.strip_prefix(b"X")) {
                Some(digits) => number(digits, 16),
                None => number(digits, 10),
            };
            if let Some(c) = code.and_then(char::from_u32) {
                tell(c.encode_utf8(&mut [0; 4]).as_bytes(), at + end + 2);
            }
        }
        if !rest.starts_with(b"amp;") {
            return;
        }
        at += b"amp;".len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secret: &str, text: &str, expected: &str) {
        let kept = without(&[secret], text.as_bytes(), usize::MAX, Letters::Same);
        assert_eq!(String::from_utf8_lossy(&kept), expected, "`{secret}` in {text}");
    }

    #[test]
    fn a_secret_is_found_as_it_is() {
        check("ab/cd", "x ab/cd y ab/cd", "x … y …");
        check("ab/cd", "ab/cd/ab/c", "…/ab/c");
        check("ab/cd", "AB/CD", "AB/CD");
        check("a\\b", "a\\b", "…");
        check("a%2Fb", "a%2Fb", "…");
        check("a+b", "a+b", "…");
        check("a&amp;b", "a&amp;b", "…");
        check("", "ab", "ab");
        check("é", "é", "…");
    }

    #[test]
    fn a_secret_is_found_in_a_json_string_and_in_one_within_it() {
        check("ab/cd", r#""ab\/cd""#, r#""…""#);
        check("ab/cd", r"ab\\/cd", "…");
        check("ab/cd", r"ab\\\/cd", "…");
        check("ab/cd", r"ab\u002fcd", "…");
        check("ab/cd", r"ab\\u002Fcd", "…");
        check("a\"b", r#"a\"b"#, "…");
        check("a\"b", r#"a\\\"b"#, "…");
        check("a\\b", r"a\\b", "…");
        check("a\\b", r"a\\\\b", "…");
        check("a\\b", r"a\u005cb", "…");
        check("a\\/b", r"a\\\/b", "…");
        check("a\tb\nc", r"a\tb\nc", "…");
        check("é😀", r"\u00e9\ud83d\ude00", "…");
        check("é😀", r"\\u00e9\\ud83d\\ude00", "…");
        check("a<b>&c", r"a\u003cb\u003e\u0026c", "…");
    }

    #[test]
    fn a_secret_is_found_in_a_form_in_a_url_and_in_a_page() {
        check("p@ss word", "p%40ss+word", "…");
        check("p@ss word", "p%40ss%20word", "…");
        check("p@ss word", "p%2540ss%252520word", "…");
        check("a+b", "a%2Bb", "…");
        check("a+b", "a%252bb", "…");
        check("ab/cd", "ab%5C%2Fcd", "…");
        check("a%b", "a%25b", "…");
        check("é", "%C3%A9", "…");
        check("a<b>\"c'&", "a&lt;b&gt;&quot;c&#39;&amp;", "…");
        check("a<b\"", "a&#60;b&#x22;", "…");
        check("a<b", "a&amp;lt;b", "…");
        check("a<b", "a%26lt;b", "…");
    }

    #[test]
    fn secrets_that_overlap_leave_no_rest() {
        let kept = |text: &str| {
            let secrets = ["abcdef", "defghi", "abc"];
            String::from_utf8(without(&secrets, text.as_bytes(), usize::MAX, Letters::Any)).expect("text")
        };
        assert_eq!(kept("abcdefghi"), "…");
        assert_eq!(kept("xABCDEFx"), "x…x");
        assert_eq!(kept("abcabc"), "……");
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        for text in
            ["100% of 25% are %zz", "%", "\\", "&", "&#;", "&#x;", "\\u", "\\u00", "\\ud83d", "a\\", "%2", "&amp"]
        {
            check("secret", text, text);
            check("\u{1}", text, text);
        }
    }

    #[test]
    fn an_address_is_found_where_it_stands_in_any_spelling() {
        let check = |text: &str, expected: &[&str]| {
            let finder = Finder::new(vec!["ann@example.com".to_owned()], Letters::Any);
            let found = finder.find(text.as_bytes());
            let found: Vec<_> = found.into_iter().map(|range| &text[range]).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("to Ann@Example.COM, ann@example.com", &["Ann@Example.COM", "ann@example.com"]);
        for spelled in [
            "ann%40example.com",
            "ann%2540example.com",
            r"ann\u0040example.com",
            r"\u0061nn\\u0040example\u002ecom",
            "ann&#64;example.com",
            "ann&amp;#x40;example.com",
            "%61%6E%6e%40example%2Ecom",
        ] {
            check(&format!("x {spelled} y"), &[spelled]);
        }
        for other in
            ["ann@example.co", "an@example.com", "ann example.com", "ann%41example.com", "ann@@example.com", "a", ""]
        {
            check(other, &[]);
        }
        let both = Finder::new(vec!["abcd".to_owned(), "cdef".to_owned()], Letters::Same);
        assert_eq!(both.find(b"abcdef cdef"), [0..6, 7..11]);
    }

    #[test]
    fn a_part_of_another_address_is_told_from_the_address() {
        let check = |text: &str, expected: bool| {
            let finder = Finder::new(vec!["ann@example.com".to_owned()], Letters::Any);
            let found = finder.find(text.as_bytes());
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(is_part(text.as_bytes(), &found[0]), expected, "{text}");
        };
        for whole in [
            "ann@example.com",
            "<ann@example.com>",
            "write to ann@example.com.",
            "ann@example.com...",
            "\u{201c}ann@example.com\u{201d}",
            "email=ann%40example.com&x=1",
            "%2Cann%40example.com%2C",
            r"a line\nann@example.com\nanother",
            r"\u003cann@example.com\u003e",
            r"\\u003Cann@example.com",
            "x+ann%40example.com",
            "mail=ann@example.com",
            "https://x.example/to/ann@example.com",
            "https://x.example/page#ann@example.com",
            "a=1&ann@example.com",
            "bob|ann@example.com",
            "{ann@example.com}",
            "u'ann@example.com'",
            "the*ann@example.com*",
            "'ann@example.com",
            "e=%27ann%40example.com%27",
            "e=b%27ann%40example.com%27",
            "e=%2Bann%40example.com",
            "wait...ann@example.com",
            "bob--ann@example.com",
            "-ann@example.com",
            "+ann@example.com",
        ] {
            check(whole, false);
        }
        for part in [
            "joann@example.com",
            "jo.ann@example.com",
            "mary-ann@example.com",
            "bob+ann@example.com",
            "bob%2Bann%40example.com",
            "bob%252bann%40example.com",
            "bob+ann+ann@example.com",
            "o'ann@example.com",
            "o%27ann%40example.com",
            "o&#39;ann@example.com",
            "bob!ann@example.com",
            "bob$ann@example.com",
            "bob+-ann@example.com",
            "\u{e9}ann@example.com",
            "ann@example.community",
            "ann@example.com.au",
            "joann%40example.com",
        ] {
            check(part, true);
        }
    }
}
