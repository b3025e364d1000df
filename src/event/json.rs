//! A whole body as a tree, for templates; and its text without white space, for lines.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

use super::value::decode_string;

/// How deep a template can look into a body; what lies below reads as null.
const DEPTH_MAX: usize = 128;

/// JSON that loses nothing a reader could notice: numbers keep their text, keys their order. Of duplicate keys the last counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A string, decoded.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in order of its keys' first appearance.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads well-formed JSON text. Text that is not well-formed reads as null: bodies are checked when they arrive.
    pub fn read(text: &str) -> Self {
        Self::read_within(text.trim_ascii(), DEPTH_MAX)
    }

    fn read_within(raw: &str, depth: usize) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Json::String(decode_string(raw).into_owned()),
            Some(b't') => Json::Bool(true),
            Some(b'f') => Json::Bool(false),
            Some(b'-' | b'0'..=b'9') => Json::Number(raw.to_owned()),
            Some(b'[') if depth > 0 => {
                let items = serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default();
                Json::Array(items.iter().map(|item| Self::read_within(item.get(), depth - 1)).collect())
            }
            Some(b'{') if depth > 0 => {
                let members = serde_json::Deserializer::from_str(raw).deserialize_map(Members).unwrap_or_default();
                let read = |(key, value): (String, &RawValue)| (key, Self::read_within(value.get(), depth - 1));
                Json::Object(members.into_iter().map(read).collect())
            }
            _ => Json::Null,
        }
    }

    /// An event's type: `type`, or `action` where `type` is no string with something in it. Empty for what is no event.
    pub fn event_type(&self) -> &str {
        let text = ["type", "action"].into_iter().find_map(|key| match self.member(key) {
            Some(Json::String(text)) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        });
        text.unwrap_or_default()
    }

    /// The member of an object, `None` for anything else.
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(known, _)| known == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &RawValue)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some(key) = map.next_key_seed(KeyText)? {
            let value = map.next_value::<&RawValue>()?;
            match places.get(&key) {
                Some(at) => {
                    let (_, slot): &mut (String, &RawValue) = &mut members[*at];
                    *slot = value;
                }
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
        }
        Ok(members)
    }
}

/// A key, read as bytes so that an escaped lone surrogate does not fail.
struct KeyText;

impl<'de> de::DeserializeSeed<'de> for KeyText {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            // A raw value is written as it stands: a number keeps every digit.
            Json::Number(text) => RawValue::from_string(text.clone()).map_err(S::Error::custom)?.serialize(serializer),
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Json::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Removes white space outside strings, and touches nothing else. The result has no line break.
pub fn minify(body: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(body.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        if in_string {
            line.push(*byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            in_string = *byte == b'"';
            line.push(*byte);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn round_trip(text: &str, expected: &str) {
        assert_eq!(serde_json::to_string(&Json::read(text)).expect("serialises"), expected);
    }

    #[test]
    fn a_tree_keeps_digits_and_order() {
        round_trip(r#"{"z":12500.50,"a":[1e400,9007199254740993]}"#, r#"{"z":12500.50,"a":[1e400,9007199254740993]}"#);
        round_trip(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
        round_trip(r#""\u003cb\u003e""#, r#""<b>""#);
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        round_trip(&deep, &format!("{}null{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX)));
    }

    #[test]
    fn white_space_goes_only_outside_strings() {
        let text = b"{ \"a b\" :\t[ 1 ,\r\n \" \\\" \\\\\" , 2.50 ] }\n";
        assert_eq!(minify(text), b"{\"a b\":[1,\" \\\" \\\\\",2.50]}");
    }

    proptest! {
        #[test]
        fn a_minified_pretty_print_is_the_compact_one(keys in prop::collection::hash_map("\\PC{0,8}", "\\PC{0,8}", 0..6)) {
            let pretty = serde_json::to_string_pretty(&keys).expect("serialises");
            let compact = serde_json::to_string(&keys).expect("serialises");
            prop_assert_eq!(minify(pretty.as_bytes()), compact.as_bytes());
        }
    }
}
