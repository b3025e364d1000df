//! Which lines of a config may hold a secret, told by their keys: in a file that is not YAML, or where a value stands in the wrong
//! place, nothing else tells. Such a line is not shown, and no help repeats a part of it.

use crate::secret::names_a_secret;

/// The whole line that an offset is on.
pub(crate) fn line_at(text: &str, offset: usize) -> &str {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// Where a line of a file that is not YAML has one of these, in any letters, it probably holds a secret.
const SECRET_PARTS: [&str; 10] =
    ["token", "url", "bearer", "secret", "password", "value", "auth", "key", "cookie", "signature"];
/// What stands below one of these may be a secret, whatever its own key is.
const SECRET_SECTIONS: [&str; 2] = ["headers", "proxy"];
/// Keys of a config that may hold a secret: these are no part of one.
const KNOWN_KEYS: [&str; 14] = [
    "auth",
    "basic",
    "bearer",
    "header",
    "headers",
    "name",
    "password",
    "proxy",
    "signing_secrets",
    "token",
    "tokens",
    "url",
    "username",
    "value",
];
/// Words that stand before a secret and are none.
const SCHEMES: [&str; 4] = ["basic", "bearer", "digest", "token"];
/// Shorter words are no secrets.
const WORD_BYTES_MIN: usize = 4;

/// Whether a line or a key has a word that a secret probably stands behind.
pub(crate) fn names_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    SECRET_PARTS.iter().any(|part| line.contains(part))
}

/// Whether a secret may stand in a line, or below its keys.
pub(crate) fn lies_below_secret(line: &str, keys: &[String]) -> bool {
    names_secret(line) || keys.iter().any(|key| is_section(key))
}

/// Whether showing the line at this place may show a secret: a key of it, or one above it, says so, and its value is more than names
/// of variables.
pub(crate) fn may_show_secret(text: &str, offset: usize) -> bool {
    let line = line_at(text, offset);
    may_hold_secret(line)
        || ((names_secret(line) || keys(line).any(is_section) || has_secret_above(text, offset)) && !is_harmless(line))
}

/// The key that a help may name: on a line with a secret, what looks like a key may be the secret's beginning.
pub(crate) fn shown_key<'k>(key: &'k str, line: &str, is_secret: bool) -> Option<&'k str> {
    let is_item = line.trim_start().starts_with('-');
    let is_known = KNOWN_KEYS.contains(&key.trim_matches(['"', '\'']));
    let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (is_known || !is_secret || (!is_item && is_word)).then_some(key).filter(|key| !key.is_empty())
}

fn is_section(key: &str) -> bool {
    names_secret(key) || SECRET_SECTIONS.iter().any(|section| key.eq_ignore_ascii_case(section))
}

/// Whether one of the keys above a line says that a secret may stand below it. Above is what is indented less, and what has opened a
/// bracket and not closed it; a slip in the indentation may have put the line beside its key.
fn has_secret_above(text: &str, offset: usize) -> bool {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = line_at(text, offset);
    // A list may be indented like its key.
    let mut level = indentation(line) + usize::from(line.trim_start().starts_with('-'));
    let mut open = 0;
    let mut below = level;
    // A line without a key may be the next one of the text above it; nothing goes on at the very beginning of a line.
    let mut goes_on = !line.contains(':') && indentation(line) > 0;
    for above in text[..start].lines().rev() {
        let trimmed = above.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if goes_on && trimmed.contains(':') {
            (goes_on, level) = (false, level.max(indentation(above) + 1));
        }
        open += trimmed.matches(['{', '[']).count() as i64 - trimmed.matches(['}', ']']).count() as i64;
        let own = indentation(above);
        let has_nothing_below = own >= level && below <= own && trimmed.ends_with(':');
        let is_above = own < level || open > 0;
        if (is_above || (has_nothing_below && own == level)) && keys(trimmed).any(is_section) {
            return true;
        }
        if is_above {
            level = level.min(own + usize::from(trimmed.starts_with('-')));
            open = open.min(0);
        }
        below = own;
    }
    false
}

/// Whether a line stands beside a key of secrets that has nothing below it: it was to stand below.
pub(crate) fn lies_beside_secret(text: &str, offset: usize) -> bool {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let level = indentation(line_at(text, offset));
    let mut below = level;
    for above in text[..start].lines().rev() {
        let trimmed = above.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let own = indentation(above);
        if own < level {
            return false;
        }
        if own == level && below <= own && trimmed.ends_with(':') && keys(trimmed).any(is_section) {
            return true;
        }
        below = own;
    }
    false
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The words of a line that a colon follows.
fn keys(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(':').map(|(at, _)| key_before(line, at))
}

/// The key that ends before a colon.
fn key_before(line: &str, colon: usize) -> &str {
    let before = line[..colon].trim_end().trim_end_matches(['"', '\'']);
    let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    before.rsplit(|c: char| !is_part(c)).next().unwrap_or_default()
}

/// A line that names a secret but holds none: its value is a variable, or it is no value at all.
fn is_harmless(line: &str) -> bool {
    let mut values = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("${") {
        values.push_str(before);
        let Some((name, behind)) = behind.split_once('}') else {
            rest = behind.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            continue;
        };
        if let Some((_, default)) = name.split_once(":-") {
            values.push_str(default);
        }
        rest = behind;
    }
    let has_variable = rest.len() != line.len();
    values.push_str(rest);
    let words =
        values.split([' ', ',', '{', '}', '[', ']', '"', '\'', '\t']).filter(|word| word.len() >= WORD_BYTES_MIN);
    let is_known = |word: &str| {
        let bare = word.trim_end_matches(':');
        let before = values[..word.as_ptr().addr() - values.as_ptr().addr()].trim_end();
        // Anywhere else, what ends with a colon may be the beginning of a secret with a colon in it.
        let is_key_place = before.is_empty() || before.ends_with(['{', ',']) || KNOWN_KEYS.contains(&bare);
        (word.ends_with(':') && is_key_place)
            || SCHEMES.iter().any(|scheme| bare.eq_ignore_ascii_case(scheme))
            || (word.starts_with("http") && !word.contains('?') && !word.contains('@'))
    };
    has_variable && words.take_while(|word| !word.starts_with('#')).all(is_known)
}

/// Whether a secret is written out on a line, wherever in the file it is: indented wrongly it is in no section that is known to hold
/// one, and in a file that is not YAML there are no sections.
pub(crate) fn may_hold_secret(line: &str) -> bool {
    let is_written_out = |after: &str| {
        let value = after.trim_start_matches([' ', '"', '\'', '[']);
        let scheme =
            value.split_once(' ').filter(|(word, _)| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)));
        let value = scheme.map_or(value, |(_, value)| value.trim_start());
        // What a variable's name says may be read; a default, or anything behind the `}`, is written out.
        let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let unclosed = |rest: &'_ str| Some(rest.trim_end_matches(['"', '\''])).filter(is_name).map(|_| "");
        let named = value.strip_prefix("${").and_then(|rest| match rest.split_once('}') {
            Some((name, behind)) => (!name.contains(":-")).then_some(behind),
            None => unclosed(rest),
        });
        let value = named.map_or(value, |behind| behind.trim_start_matches(['"', '\'', ' ', ']', '}', ',']));
        !value.is_empty() && value != "#" && !value.starts_with("# ") && !value.starts_with('{')
    };
    let is_secret = |key: &str| names_a_secret(key) || key.eq_ignore_ascii_case("bearer");
    line.contains("hooks.slack.com/")
        || line.match_indices(':').any(|(at, _)| is_secret(key_before(line, at)) && is_written_out(&line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_writes_a_secret_out_is_known_and_one_that_names_a_variable_is_harmless() {
        for (line, expected) in [
            ("    token: abc", true),
            ("  vero: { \"token\": \"abc\" }", true),
            ("    tokens: [abc, def]", true),
            ("url: https://hooks.slack.com/services/T/B/x", true),
            ("    password: 'abc", true),
            ("    token: \"${TOKEN}\"", false),
            ("    token: ${TOKEN}abc", true),
            ("    token: \"${TOKEN:-abc}\"", true),
            ("  vero: { token: \"${TOKEN}\" } # from Vero", false),
            ("    token: \"${TOKEN\"", false),
            ("    token: \"${TOKEN:-abc\"", true),
            ("    token:", false),
            ("    name: token", false),
            ("    token: #abc", true),
            ("    token: # from Vero", false),
            ("      Authorization: Bearer ${TOKEN}", false),
            ("      Authorization: Basic abc", true),
            ("      X-Api-Key: \"abc", true),
            ("      \"x-api-key\": abc", true),
            ("      Cookie: \"${NAME}\"", false),
            ("    auth: { header: { name: x, value: \"${KEY}\" } }", false),
        ] {
            assert_eq!(may_hold_secret(line), expected, "{line}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: bool) {
        let offset = text.find('@').expect("a place");
        assert_eq!(may_show_secret(&text.replace('@', ""), offset), expected, "{text}");
    }

    #[test]
    fn a_line_below_a_key_of_secrets_may_hold_one() {
        check("headers:\n  X-Team: \"@abcd", true);
        check("headers:\n\n  # a note\n  X-Team: \"@abcd", true);
        check("headers: { A: b,\nX-Team: \"@abcd", true);
        check("headers:\nX-Team: \"@abcd", true);
        check("\theaders:\n\t\tX-Team: @abcd", true);
        check("tokens:\n- @abcd: e", true);
        check(" token: a\n @abcd", true);
        check("token: a\n@abcd", false);
        check(" token: a\n b\n @abcd", true);
        check("type: a\n@abcd", false);
        check("tokens:\n  - abcd\n  - @abcd: e", true);
        check("Authorization: \"Basic @abcd", true);
        check("Authorization: \"Bearer @${TOKEN}", false);
        check("Authorization: \"Bearer @${TOKEN}abcd", true);
        check("Authorization: \"Bearer @${TOKEN:-abcd}", true);
        check("headers: { X-Team: \"@abcd", true);
        check(" headers:\n  X-Team: a\n @abcd", true);
        check("headers: { A: b }\ntext: \"@abcd", false);
        check("headers:\n  A: b\ntext: \"@abcd", false);
        check("match:\n  user.email: @abcd", false);
    }
}
