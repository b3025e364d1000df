//! How much of a value may be seen by anybody who may look at a config, as its key says, and the value with the rest hidden.
//!
//! The names within `${…}` may always be; a default behind `:-` never.

use std::sync::LazyLock;

use regex::Regex;

use super::redraw::HIDDEN;
use crate::secret::names_a_secret;
use crate::tags::{self, Part, Tag};

/// How much of a value may be seen; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Nothing but the names of variables: it may be a secret.
    Names,
    /// Scheme and host of a URL: its path may be a password, and so may its query and a user's part.
    Url,
    /// The expressions of a template, without the texts in them: a body has keys of the other side.
    Expressions,
    /// What people read, but for words that may be a secret.
    Prose,
    /// All of it: it can be no secret.
    All,
}

/// Stands for a `${…}` while the text around it is looked at: a sign that no text has.
const REFERENCE: char = '\u{e000}';

/// In prose, a word of this length may be a secret if it is not made of letters alone.
const WORD_CHARS_MAX: usize = 11;

/// A URL: its scheme, its user's part, its host, and the rest.
static URL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/?#\\]*@)?([^/?#\\@]*)(.*)$").expect("a pattern"));

impl Sight {
    /// What may be seen of a text.
    pub fn of(self, text: &str) -> String {
        let (text, references) = without_references(text);
        let shown = match self {
            Self::Names => hidden(&text),
            Self::Url => url(&text),
            Self::Expressions => template(&text, hidden),
            Self::Prose => template(&text, prose),
            Self::All => text,
        };
        // None is lost: whatever hides a text keeps them.
        let mut references = references.into_iter();
        shown
            .chars()
            .map(|c| if c == REFERENCE { references.next().unwrap_or_default() } else { c.to_string() })
            .collect()
    }
}

/// A text with a sign in the place of each `${…}`, and how each is shown.
fn without_references(text: &str) -> (String, Vec<String>) {
    let mut out = String::new();
    let mut references = Vec::new();
    let text = text.replace(REFERENCE, HIDDEN);
    let mut rest = text.as_str();
    while let Some(start) = rest.find("${") {
        let is_escaped = rest[..start].ends_with('$');
        let reference = rest[start + 2..].split_once('}').map(|(inner, _)| inner);
        let Some(inner) = reference.filter(|inner| !is_escaped && is_reference(inner)) else {
            out.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        out.push_str(&rest[..start]);
        out.push(REFERENCE);
        references.push(match inner.split_once(":-") {
            Some((name, _)) => format!("${{{name}:-{HIDDEN}}}"),
            None => format!("${{{inner}}}"),
        });
        rest = &rest[start + 2 + inner.len() + 1..];
    }
    out.push_str(rest);
    (out, references)
}

/// Whether it is a name, with or without a default, or that of a file.
fn is_reference(inner: &str) -> bool {
    let is_path = |path: &str| !path.contains(['\n', '$', '{']);
    if let Some(path) = inner.strip_prefix("file:").or_else(|| inner.strip_prefix("credential:")) {
        return is_path(path);
    }
    let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Nothing of a text but its `${…}` and its line breaks.
fn hidden(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            REFERENCE | '\n' => out.push(c),
            c if c.is_whitespace() => {}
            _ if out.ends_with('…') => {}
            _ => out.push_str(HIDDEN),
        }
    }
    out
}

fn url(text: &str) -> String {
    let Some(parts) = URL.captures(text) else { return hidden(text) };
    let [scheme, user, host, rest] = [1, 2, 3, 4].map(|part| parts.get(part).map_or("", |part| part.as_str()));
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c) || c == REFERENCE;
    let host = if host.chars().all(is_host) { host.to_owned() } else { hidden(host) };
    let user = if user.is_empty() { String::new() } else { hidden(user.trim_end_matches('@')) + "@" };
    let rest = rest.strip_prefix('/').map_or_else(|| hidden(rest), |rest| format!("/{}", hidden(rest)));
    format!("{scheme}{user}{host}{rest}")
}

/// The expressions of a template, and of what stands between them and in the texts within them what `show` says.
fn template(text: &str, show: fn(&str) -> String) -> String {
    let parts = tags::parts(text);
    let is_raw = |part: &Part| matches!(part, Part::Tag(tag) if tag.is_block && tag.word(text) == Some("raw"));
    if parts.iter().any(is_raw) {
        // Between `raw` and `endraw` nothing is an expression.
        return show(text);
    }
    let shown = |part: &Part| match part {
        Part::Text(at) => show(&text[at.clone()]),
        Part::Comment(at) => {
            let within = text[at.clone()].trim_start_matches("{#").trim_end_matches("#}");
            format!("{{#{}#}}", hidden(within))
        }
        Part::Tag(tag) => expression(text, tag, show),
    };
    parts.iter().map(shown).collect()
}

/// A tag without the texts in it. Of one that never ends it is not known what is a text.
fn expression(text: &str, tag: &Tag, show: fn(&str) -> String) -> String {
    let mut at = tag.begin - tags::OPEN_BYTES;
    let Some(end) = tag.end else { return hidden(&text[at..]) };
    let mut out = String::new();
    for token in &tag.tokens {
        let literal = &text[token.at.clone()];
        let Some(quote) = literal.get(..1).filter(|quote| matches!(*quote, "\"" | "'")) else { continue };
        let inner = literal[1..].strip_suffix(quote).unwrap_or(&literal[1..]);
        out.push_str(&text[at..token.at.start]);
        out.push_str(&format!("{quote}{}{quote}", show(inner)));
        at = token.at.end;
    }
    out.push_str(&text[at..end]);
    out
}

/// What people read, but for its URLs and for words that may be a secret: long ones that no language has, and those behind a word like `key`.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut is_named = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        let blank = &piece[word.len()..];
        let shown = match word.find("://") {
            Some(at) => {
                let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                let start = word[..at]
                    .rfind(|c| !is_scheme(c))
                    .map_or(0, |before| before + word[before..].chars().next().map_or(1, char::len_utf8));
                prose_word(&word[..start], is_named) + &url(&word[start..])
            }
            None => prose_word(word, is_named),
        };
        out.push_str(&shown);
        out.push_str(blank);
        is_named = names_a_secret(word) && word.ends_with([':', '=']);
    }
    out
}

fn prose_word(word: &str, is_named: bool) -> String {
    let is_letters = word.trim_matches(|c: char| c.is_ascii_punctuation()).chars().all(char::is_alphabetic);
    let has_value = names_a_secret(word) && word.contains(['=', ':']) && !word.ends_with(['=', ':']);
    let is_long = word.chars().count() > WORD_CHARS_MAX && !is_letters;
    if is_named || has_value || is_long { hidden(word) } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(sight: Sight, text: &str, expected: &str) {
        assert_eq!(sight.of(text), expected, "{sight:?} of {text}");
    }

    #[test]
    fn names_of_variables_may_be_seen_and_their_defaults_never() {
        for sight in [Sight::Names, Sight::All] {
            check(sight, "${TOKEN}", "${TOKEN}");
            check(sight, "${TOKEN:-hunter2}", "${TOKEN:-…}");
            check(sight, "${file:secrets/token}", "${file:secrets/token}");
            check(sight, "${credential:token}", "${credential:token}");
        }
        check(Sight::Names, "hunter2", "…");
        check(Sight::Names, "a ${X} b", "…${X}…");
        check(Sight::Names, "$${hunter2}", "…");
        check(Sight::Names, "${hunter2", "…");
        check(Sight::Names, "${hunter 2}", "…");
        check(Sight::Names, "", "");
        check(Sight::Names, "one\ntwo", "…\n…");
        check(Sight::All, "a ${X:-1}\u{e000} b", "a ${X:-…}… b");
    }

    #[test]
    fn of_a_url_scheme_and_host_may_be_seen() {
        for (text, expected) in [
            ("https://crm.example.com", "https://crm.example.com"),
            ("https://crm.example.com/", "https://crm.example.com/"),
            ("https://crm.example.com:8443/hooks/abc?key=def#g", "https://crm.example.com:8443/…"),
            ("https://user:pass@crm.example.com/x", "https://…@crm.example.com/…"),
            ("https://a@b:c@crm.example.com", "https://…@crm.example.com"),
            ("https://crm.example.com?key=abc", "https://crm.example.com…"),
            ("https://crm.example.com\\@abc", "https://crm.example.com…"),
            ("https://${HOST}/x/${PATH}?k=${KEY:-abc}", "https://${HOST}/…${PATH}…${KEY:-…}"),
            ("https://se cret/", "https://…/"),
            ("${URL:-http://127.0.0.1/x}", "${URL:-…}"),
            ("${URL}/hooks/abc", "${URL}…"),
            ("hooks.slack.com/services/abc", "…"),
        ] {
            check(Sight::Url, text, expected);
        }
    }

    #[test]
    fn of_a_body_the_expressions_may_be_seen_without_the_texts_in_them() {
        for (text, expected) in [
            ("{{ user.email }}", "{{ user.email }}"),
            ("{{ user.id | hmac_sha256(\"abc\") }}", "{{ user.id | hmac_sha256(\"…\") }}"),
            ("{{ 'abc' ~ type }} def", "{{ '…' ~ type }}…"),
            ("{% if type == 'x' %}abc{% endif %}", "{% if type == '…' %}…{% endif %}"),
            ("{# abc #}", "{#…#}"),
            ("{% raw %}{{ abc }}{% endraw %}", "…"),
            (r#"{{ x | hmac_sha256("ab\"SECRET") }}"#, "{{ x | hmac_sha256(\"…\") }}"),
            (r"{{ 'ab\'SECRET' ~ type }}", "{{ '…' ~ type }}"),
            (r#"{{ "ab\\" ~ type ~ "cd" }}"#, "{{ \"…\" ~ type ~ \"…\" }}"),
            (r#"{{ "a}}b" ~ type ~ '%}{{' }}"#, "{{ \"…\" ~ type ~ '…' }}"),
            (r#"{%- if x == "\"" -%}abc{%- endif +%}"#, "{%- if x == \"…\" -%}…{%- endif +%}"),
            ("{{ raw_name }}", "{{ raw_name }}"),
            ("{{ 'abc }}", "…"),
            ("{# abc", "{#…#}"),
            ("{{ abc", "…"),
            ("abc", "…"),
        ] {
            check(Sight::Expressions, text, expected);
        }
    }

    #[test]
    fn what_people_read_may_be_seen_but_for_what_may_be_a_secret() {
        for (text, expected) in [
            (":email: *{{ type }}* to {{ user.email }}", ":email: *{{ type }}* to {{ user.email }}"),
            ("Transaktionsbestätigungen, all of them", "Transaktionsbestätigungen, all of them"),
            ("see <https://app.example.com/x?t=abc|here>", "see <https://app.example.com/…"),
            ("a xoxb-12345678901 b", "a … b"),
            ("the key: abc is", "the key: … is"),
            ("token=abc", "…"),
            ("{{ at | date(\"%d.%m.%Y\") }}", "{{ at | date(\"%d.%m.%Y\") }}"),
            ("{{ x | hmac_sha256(\"abcdefghijkl1\") }}", "{{ x | hmac_sha256(\"…\") }}"),
            (r#"{{ x | hmac_sha256("ab\"cdefghijkl1") }}"#, "{{ x | hmac_sha256(\"…\") }}"),
        ] {
            check(Sight::Prose, text, expected);
        }
    }

    proptest! {
        /// Whatever quotes and backslashes stand in a text of an expression, and however it is closed: what the engine takes for the text
        /// is not shown.
        #[test]
        fn no_text_of_an_expression_is_seen_whatever_its_quotes(
            texts in prop::collection::vec("(S|[\"'\\\\]|[{}%#]| ){0,12}", 1..4),
            quotes in prop::collection::vec(prop::bool::ANY, 4),
        ) {
            let literals = texts.iter().zip(&quotes).map(|(text, is_double)| {
                let quote = if *is_double { '"' } else { '\'' };
                let escaped = text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
                format!("{quote}{escaped}{quote}")
            });
            let template = format!("{{{{ {} ~ x }}}} SS", literals.collect::<Vec<_>>().join(" ~ "));
            // That this is a template, and these its texts, the engine says.
            let engine = minijinja::Environment::new();
            let rendered = engine.render_str(&template, ()).expect("a template");
            prop_assert_eq!(rendered, texts.concat() + " SS");
            let shown = Sight::Expressions.of(&template);
            prop_assert!(!shown.contains('S'), "{} of {}", shown, template);
            prop_assert!(shown.contains(" ~ x }}"), "{} of {}", shown, template);
        }
    }
}
