//! One value picked out of a body.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{self, Visitor};
use serde_json::value::RawValue;

use crate::units::shown_span;

/// How deep arrays may nest inside a captured value before what lies below counts as missing.
const DEPTH_MAX: usize = 128;

/// A JSON value with just enough in it to test: numbers keep their text, objects only exist.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`, and whatever lies too deep to be read.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(&'a str),
    String(Cow<'a, str>),
    /// An array; a condition on it holds if some element satisfies it.
    Array(Vec<Value<'a>>),
    /// An object, which can only exist.
    Object,
    /// A time span, of which only the relay's own field is one: the age of an event.
    Span(Duration),
}

impl<'a> Value<'a> {
    /// Reads the text of one well-formed JSON value.
    pub(crate) fn from_raw(raw: &'a str) -> Self {
        Self::from_raw_within(raw.trim_ascii(), DEPTH_MAX)
    }

    fn from_raw_within(raw: &'a str, depth: usize) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Value::String(decode_string(raw)),
            Some(b'{') => Value::Object,
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'[') if depth > 0 => match serde_json::from_str::<Vec<&RawValue>>(raw) {
                Ok(items) => {
                    Value::Array(items.into_iter().map(|item| Self::from_raw_within(item.get(), depth - 1)).collect())
                }
                Err(_) => Value::Null,
            },
            Some(b'-' | b'0'..=b'9') => Value::Number(raw),
            _ => Value::Null,
        }
    }

    /// The text that textual operators compare: a string's or a number's.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            Value::Number(text) => Some(text),
            _ => None,
        }
    }

    /// As texts, of an array each of its values.
    pub(super) fn tell(&self, told: &mut Vec<String>) {
        match self {
            Value::Null => {}
            Value::Bool(value) => told.push(value.to_string()),
            Value::Number(text) => told.push((*text).to_owned()),
            Value::String(text) => told.push(text.clone().into_owned()),
            Value::Array(items) => items.iter().for_each(|item| item.tell(told)),
            Value::Object => told.push("{…}".to_owned()),
            Value::Span(span) => told.push(shown_span(*span)),
        }
    }

    /// What sort of value it is, as people call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "list",
            Value::Object => "object",
            Value::Span(_) => "time span",
        }
    }
}

/// Decodes a JSON string with its quotes. An escaped lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD.
pub(crate) fn decode_string(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    // serde_json reads a string as bytes without asking for paired surrogates; as a `str` it would refuse them.
    let decoded = serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes);
    Cow::Owned(decoded.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Value<'_>) {
        assert_eq!(Value::from_raw(raw), expected);
    }

    #[test]
    fn values_keep_their_text() {
        check("1.0", Value::Number("1.0"));
        check("9007199254740993", Value::Number("9007199254740993"));
        check("1e400", Value::Number("1e400"));
        check(r#""a\u003cb""#, Value::String("a<b".into()));
        check(r#""\ud83d\ude00""#, Value::String("😀".into()));
        check("true", Value::Bool(true));
        check("null", Value::Null);
        check(r#"{"a":1}"#, Value::Object);
        check(r#"[1,"a",null]"#, Value::Array(vec![Value::Number("1"), Value::String("a".into()), Value::Null]));
    }

    #[test]
    fn an_escaped_lone_surrogate_is_read_and_not_refused() {
        assert!(
            matches!(Value::from_raw(r#""x\ud800y""#), Value::String(text) if text.starts_with('x') && text.ends_with('y'))
        );
    }

    #[test]
    fn arrays_below_the_depth_limit_count_as_missing() {
        fn depth(value: &Value<'_>) -> usize {
            match value {
                Value::Array(items) => 1 + items.first().map_or(0, depth),
                _ => 0,
            }
        }
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(depth(&Value::from_raw(&nested(DEPTH_MAX))), DEPTH_MAX);
        assert_eq!(depth(&Value::from_raw(&nested(5000))), DEPTH_MAX);
    }
}
