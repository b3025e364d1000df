//! Texts without the addresses of people.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands for an address.
const MASK: &str = "…@…";

/// Whatever stands round an `@`, however JSON or a URL spells it. Where a text is JSON itself, an escape ends it, so that the rest is JSON still.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let part = r#"(?:[^\s"'<>(),;:\\]|\\u[0-9a-fA-F]{4})*"#;
    Regex::new(&format!(r"(?<escape>\\[^u])|{part}(?:@|%40|\\u0040){part}")).expect("a pattern that was tested")
});

/// A text without addresses.
pub(super) fn without_addresses(text: &str) -> Cow<'_, str> {
    if !["@", "%40", "\\u0040"].iter().any(|at| text.contains(at)) {
        return Cow::Borrowed(text);
    }
    ADDRESS.replace_all(text, |found: &Captures<'_>| {
        found.name("escape").map_or(MASK, |escape| escape.as_str()).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_however_json_spells_it_and_what_is_json_stays_so() {
        for (text, expected) in [
            ("ann@example.com", "…@…"),
            ("no address", "no address"),
            (r#"{"who":"ann@example.com","n":"x"}"#, r#"{"who":"…@…","n":"x"}"#),
            (r#"{"a":"x\nann@example.com\n"}"#, r#"{"a":"x\n…@…\n"}"#),
            (r#"{"a":"\"ann@example.com\""}"#, r#"{"a":"\"…@…\""}"#),
            (r#"{"a":"ann\u0040example.com"}"#, r#"{"a":"…@…"}"#),
            (r#"{"a":"\u00e4nn@example.com\\"}"#, r#"{"a":"…@…\\"}"#),
            ("ann%40example.com&x=1", "…@…"),
        ] {
            assert_eq!(without_addresses(text), expected, "{text}");
        }
    }
}
