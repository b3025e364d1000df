//! Texts, and whole answers, without the addresses of people. An answer stays the text that it was in all else: numbers keep their digits and
//! keys their order, also where one stands there twice.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use regex::Regex;

use crate::listener::Answer;

/// What stands for an address.
const MASK: &str = "…@…";

/// An `@`, however JSON, a URL or HTML spells it, also where one of them stands in another.
const AT: &str = r"(?:@|＠|%(?:25)*40|\\+u0040|&#(?:0*64|[xX]0*40);|&commat;)";

/// Whatever stands round an `@`. Where a text is JSON itself, an escape ends it, so that the rest is JSON still. What is quoted before an `@`
/// belongs to it; no two quotes of JSON have neither a comma nor a colon between a value and the next.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let name = r#"(?:[^\s"<>(),;:\\]|\\+u[0-9a-fA-F]{4}|\\+/)*"#;
    // Behind it a `&` begins something else: the next parameter, or `&gt;`.
    let host = r#"(?:[^\s"'<>(),;:\\&]|\\+u[0-9a-fA-F]{4})*"#;
    let quoted = r#"\\*"[^"\\,:{}\[\]\r\n]+\\*""#;
    let escape = r"\\+[^u@%&\\]";
    Regex::new(&format!("{quoted}{AT}{host}|{escape}|{name}{AT}{host}")).expect("a pattern that was tested")
});

static ANY_AT: LazyLock<Regex> = LazyLock::new(|| Regex::new(AT).expect("a pattern that was tested"));

/// A text without addresses.
pub(crate) fn without_addresses(text: &str) -> Cow<'_, str> {
    if !ANY_AT.is_match(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for found in ADDRESS.find_iter(text) {
        out.push_str(&text[end..found.start()]);
        let said = found.as_str();
        let is_escape = said.starts_with('\\') && said.trim_start_matches('\\').chars().count() == 1;
        out.push_str(if is_escape { said } else { MASK });
        end = found.end();
    }
    out.push_str(&text[end..]);
    Cow::Owned(out)
}

/// An answer without addresses: JSON, keys too, or an event as it came. Nothing else has any.
pub(super) fn answer_without_addresses(answer: Answer) -> Answer {
    let kind = answer.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind == "application/json" || kind == "application/octet-stream") {
        return answer;
    }
    let text = String::from_utf8_lossy(answer.body());
    let Cow::Owned(shown) = without_addresses(&text) else { return answer };
    let (mut parts, _) = answer.into_parts();
    // It is made anew.
    parts.headers.remove(CONTENT_LENGTH);
    Answer::from_parts(parts, Bytes::from(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(without_addresses(text), expected, "{text}");
        let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert_eq!(is_json(text), is_json(expected), "{text}");
    }

    #[test]
    fn an_address_is_known_however_it_is_spelled() {
        check("ann@example.com", "…@…");
        check("no address", "no address");
        check("no such user ann+x@example.com, <bob@example.com>: a%40b.c", "no such user …@…, <…@…>: …@…");
        check("ann%40example.com&x=1", "…@…&x=1");
        check("&lt;ann@example.com&gt;: no", "&lt;…@…&gt;: no");
        check("sean.o'brien@example.com, 'ann@example.com'", "…@…, …@…'");
        check("ann＠example.com", "…@…");
        check("x ann%2540example.com", "x …@…");
        check("ann%252540example.com", "…@…");
        check("40% 2540 4%0", "40% 2540 4%0");
        check("ann&#64;example.com ann&#x40;example.com ann&commat;example.com", "…@… …@… …@…");
        check("a &#65; b; &com", "a &#65; b; &com");
        check("to \"ann smith\"@example.com now", "to …@… now");
        check("\"ann smith\" at noon", "\"ann smith\" at noon");
        // Once is enough.
        check("…@…", "…@…");
    }

    #[test]
    fn what_is_json_stays_so() {
        check(r#"{"who":"ann@example.com","n":"x"}"#, r#"{"who":"…@…","n":"x"}"#);
        check(r#"{"ann@example.com":1.50,"b":[1e400,"x"],"b":2}"#, r#"{"…@…":1.50,"b":[1e400,"x"],"b":2}"#);
        check(r#"{"a":"ann\/x@example.com","b":"c\/d"}"#, r#"{"a":"…@…","b":"c\/d"}"#);
        check(r#"{"a":"x\nann@example.com\n"}"#, r#"{"a":"x\n…@…\n"}"#);
        check(r#"{"a":"\"ann@example.com\""}"#, r#"{"a":"\"…@…\""}"#);
        check(r#"{"a":"\"ann smith\"@example.com"}"#, r#"{"a":"…@…"}"#);
        check(r#"{"a":"ann\u0040example.com"}"#, r#"{"a":"…@…"}"#);
        check(r#"{"a":"\u00e4nn@example.com\\"}"#, r#"{"a":"…@…\\"}"#);
        check(
            r#"{"a":"x","@type":"y","b": "@z","c":["x", "@a"]}"#,
            r#"{"a":"x","…@…":"y","b": "…@…","c":["x", "…@…"]}"#,
        );
        check(r#"{"a":"\\@b","c":"\\users\\ann"}"#, r#"{"a":"\\…@…","c":"\\users\\ann"}"#);
    }

    #[test]
    fn what_is_json_in_json_stays_so() {
        for inner in [
            r#"{"w":"ann\u0040example.com"}"#,
            r#"{"w":"\u00e4nn@example.com\n"}"#,
            r#"{"w":"\"ann smith\"@example.com"}"#,
            r#"{"w":"x\nann@example.com\t","v":"\\ann@example.com"}"#,
            r#"{"w":"x","@type":1,"ann@example.com":2}"#,
        ] {
            let mut text = inner.to_owned();
            for depth in 0..4 {
                let masked = without_addresses(&text).into_owned();
                assert!(!masked.contains("nn@") && !masked.contains("example"), "{masked}");
                let read = (0..depth).fold(masked, |text, _| serde_json::from_str(&text).expect("a JSON text"));
                serde_json::from_str::<serde_json::Value>(&read).unwrap_or_else(|error| panic!("{read}: {error}"));
                text = serde_json::to_string(&text).expect("it can be written");
            }
        }
    }
}
