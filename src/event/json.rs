//! A whole body as a tree, for templates; and its text without white space, for lines.

use std::collections::HashMap;

use serde::de::IgnoredAny;
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
    String(String),
    Array(Vec<Json>),
    /// An object, in order of its keys' first appearance.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads well-formed JSON text. Text that is not well-formed reads as null: bodies are checked when they arrive.
    pub fn read(text: &str) -> Self {
        // Afterwards nothing can be wrong, and each byte is looked at once, however deep it lies.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Reading { text, at: 0 }.value(DEPTH_MAX),
            Err(_) => Json::Null,
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

/// How far well-formed text has been read.
struct Reading<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reading<'t> {
    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Goes over a `,` or a `:`, and says whether there is more before the closing bracket, which is gone over too.
    fn goes_on(&mut self, closing: u8) -> bool {
        let next = self.next();
        if next.is_some_and(|byte| byte == b',' || byte == closing) {
            self.at += 1;
        }
        next.is_some_and(|byte| byte != closing)
    }

    fn value(&mut self, depth: usize) -> Json {
        match self.next() {
            Some(b'"') => Json::String(self.string()),
            Some(b't') => self.word(Json::Bool(true)),
            Some(b'f') => self.word(Json::Bool(false)),
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.text[self.at..];
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let number = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
                self.at += number.len();
                Json::Number(number.to_owned())
            }
            Some(b'[') if depth > 0 => self.array(depth),
            Some(b'{') if depth > 0 => self.object(depth),
            Some(b'[' | b'{') => {
                self.skip();
                Json::Null
            }
            _ => self.word(Json::Null),
        }
    }

    fn array(&mut self, depth: usize) -> Json {
        self.at += 1;
        let mut items = Vec::new();
        while self.goes_on(b']') {
            items.push(self.value(depth - 1));
        }
        items.shrink_to_fit();
        Json::Array(items)
    }

    fn object(&mut self, depth: usize) -> Json {
        self.at += 1;
        let (mut members, mut places): (Vec<(String, Json)>, HashMap<String, usize>) = Default::default();
        while self.goes_on(b'}') {
            self.next();
            let key = self.string();
            self.next();
            self.at += 1;
            let value = self.value(depth - 1);
            let known = match members.len() <= FEW_MEMBERS {
                true => members.iter().position(|(known, _)| *known == key),
                false => places.get(&key).copied(),
            };
            match known {
                Some(at) => members[at].1 = value,
                None => {
                    members.push((key, value));
                    if members.len() > FEW_MEMBERS {
                        let fresh = places.len()..members.len();
                        places.extend(fresh.map(|at| (members[at].0.clone(), at)));
                    }
                }
            }
        }
        members.shrink_to_fit();
        Json::Object(members)
    }

    /// A string, from its quote on.
    fn string(&mut self) -> String {
        let bytes = self.text.as_bytes();
        let start = self.at;
        self.at += 1;
        while bytes.get(self.at).is_some_and(|byte| *byte != b'"') {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(bytes.len());
        decode_string(&self.text[start..self.at]).into_owned()
    }

    /// `null`, `true` or `false`.
    fn word(&mut self, value: Json) -> Json {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count().max(1);
        value
    }

    /// An array or an object that lies too deep.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.next() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// Members that are looked through for a duplicate key; beyond, they are looked up.
const FEW_MEMBERS: usize = 16;

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
    let mut in_string = false;
    let mut escaped = false;
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
        let after = format!("[{}{{\"]\":[\"\\\"}}\"]}}{},2]", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let cut = format!("[{}null{},2]", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
        round_trip(&after, &cut);
        round_trip("[1,2", "null");
        round_trip(" { \"a\" : [ ] , \"b\" : { } , \"c\" : -1.5E+3 } ", r#"{"a":[],"b":{},"c":-1.5E+3}"#);
    }

    #[test]
    fn white_space_goes_only_outside_strings() {
        let text = b"{ \"a b\" :\t[ 1 ,\r\n \" \\\" \\\\\" , 2.50 ] }\n";
        assert_eq!(minify(text), b"{\"a b\":[1,\" \\\" \\\\\",2.50]}");
    }

    #[test]
    fn of_duplicate_keys_the_last_counts_among_few_and_among_many() {
        for count in [3, FEW_MEMBERS, FEW_MEMBERS + 1, 100] {
            let members = |value: usize| (0..count).map(move |key| format!("\"k{key}\":{value}"));
            let twice: Vec<_> = members(1).chain(members(2)).collect();
            let once: Vec<_> = members(2).collect();
            round_trip(&format!("{{{}}}", twice.join(",")), &format!("{{{}}}", once.join(",")));
        }
    }

    proptest! {
        #[test]
        fn a_tree_says_what_serde_json_says(keys in prop::collection::vec(("\\PC{0,4}", -9i64..9, "\\PC{0,4}"), 0..40)) {
            let members = keys.iter().map(|(key, number, text)| (key.clone(), serde_json::json!([number, text, null, true])));
            let value = serde_json::Value::Object(members.collect());
            let read = serde_json::to_string(&Json::read(&serde_json::to_string_pretty(&value).expect("text")));
            let again: serde_json::Value = serde_json::from_str(&read.expect("serialises")).expect("JSON");
            prop_assert_eq!(again, value);
        }

        #[test]
        fn a_minified_pretty_print_is_the_compact_one(keys in prop::collection::hash_map("\\PC{0,8}", "\\PC{0,8}", 0..6)) {
            let pretty = serde_json::to_string_pretty(&keys).expect("serialises");
            let compact = serde_json::to_string(&keys).expect("serialises");
            prop_assert_eq!(minify(pretty.as_bytes()), compact.as_bytes());
        }
    }
}
