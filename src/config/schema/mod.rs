//! What a config can say, as a JSON Schema for editors and as a reference for people: `docs/config.schema.json`, `docs/config.md`.
//!
//! # Cast
//!
//! * [`Section`], [`Key`], [`Of`]: the keys, each with its type, limits, default, reason and example. `keys` and `destinations` have them.
//! * `json`: the keys → a JSON Schema (draft 2020-12).
//! * `markdown`: the keys → tables, put into what `reference.md` tells by hand.
//! * `find`: where a key stands, for messages.
//!
//! The reader reads nodes by hand, so nothing could be derived from its types: a second set of types made for a derive would be a second
//! description as well, and could say neither `15m` nor `${…}`. Instead the tests ask the reader itself. They put an unknown key
//! into every map and a value beyond all limits behind every key, and compare what the reader then says it takes with what stands here.

mod destinations;
pub(in crate::config) mod find;
mod json;
mod keys;
mod markdown;

use std::time::Duration;

use serde_json::Value;

pub use self::json::{schema, value_of};
pub use self::markdown::reference;
use crate::units::{shown_duration, shown_size};

/// A map whose keys are known.
pub struct Section {
    /// Its keys, in the order in which people should meet them.
    pub keys: Vec<Key>,
    /// What must hold besides, each a JSON Schema.
    pub besides: Vec<Value>,
}

/// One key.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What stands behind it.
    pub of: Of,
    /// What it is for, and why it has its limits.
    pub about: String,
    /// What holds when it is not there.
    pub absent: Absent,
    /// A value, as YAML on one line.
    pub example: &'static str,
}

/// What holds when a key is not there.
pub enum Absent {
    /// Nothing does.
    Nothing,
    /// It must be there.
    Refused,
    /// It must be there or among the defaults of its kind.
    RefusedWithoutDefault,
    /// A value.
    Means(Value),
    /// What one value cannot say.
    Told(String),
}

/// What stands behind a key.
pub enum Of {
    /// Any text.
    Text,
    /// A text that is never shown and never empty.
    Secret,
    /// A text of a form: a regular expression, and what people call it.
    Form(&'static str, &'static str),
    /// One word of some.
    Word(&'static [&'static str]),
    /// True or false.
    Boolean,
    /// A whole number within limits.
    Whole(u64, u64),
    /// A duration within limits.
    Duration(Duration, Duration),
    /// A size in bytes within limits.
    Size(u64, u64),
    /// So many in a time.
    Rate,
    /// One text or a list of them.
    Texts,
    /// One secret or a list of them.
    Secrets,
    /// A map of names to secrets.
    Headers,
    /// A map with these keys.
    Map(Section),
    /// A map of names to maps with these keys.
    Named(Section),
    /// A list of maps with these keys.
    List(Section),
    /// A match map.
    Match,
    /// A map of names to what stands behind a field in a match map.
    Conditions,
    /// What an HTTP answer means.
    Answers,
    /// Any map.
    Event,
    /// Any YAML, its texts being templates.
    Structure,
    /// A list of such.
    Blocks,
}

impl Section {
    fn new(keys: Vec<Key>) -> Self {
        Self { keys, besides: Vec::new() }
    }

    fn besides(mut self, schema: Value) -> Self {
        self.besides.push(schema);
        self
    }

    /// Exactly one of some keys is there.
    fn one_of(self, names: &[&str]) -> Self {
        let choices: Vec<_> = names.iter().map(|name| serde_json::json!({ "required": [name] })).collect();
        self.besides(serde_json::json!({ "oneOf": choices }))
    }

    /// Two keys are not there together.
    fn never(self, one: &str, other: &str) -> Self {
        self.besides(serde_json::json!({ "not": { "required": [one, other] } }))
    }
}

/// A key that may be missing.
fn key(name: &'static str, of: Of, example: &'static str, about: impl Into<String>) -> Key {
    Key { name, of, about: about.into(), absent: Absent::Nothing, example }
}

impl Key {
    fn required(self) -> Self {
        Self { absent: Absent::Refused, ..self }
    }

    fn required_or_default(self) -> Self {
        Self { absent: Absent::RefusedWithoutDefault, ..self }
    }

    fn or(self, value: impl Into<Value>) -> Self {
        Self { absent: Absent::Means(value.into()), ..self }
    }

    fn or_duration(self, duration: Duration) -> Self {
        self.or(shown_duration(duration))
    }

    fn or_size(self, bytes: u64) -> Self {
        self.or(shown_size(bytes))
    }

    fn otherwise(self, told: impl Into<String>) -> Self {
        Self { absent: Absent::Told(told.into()), ..self }
    }
}

impl Of {
    /// What people call it.
    fn called(&self) -> String {
        match self {
            Of::Text => "text".to_owned(),
            Of::Secret => "secret".to_owned(),
            Of::Form(_, called) => (*called).to_owned(),
            Of::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Of::Boolean => "true or false".to_owned(),
            Of::Whole(..) => "whole number".to_owned(),
            Of::Duration(..) => "duration".to_owned(),
            Of::Size(..) => "size".to_owned(),
            Of::Rate => "rate".to_owned(),
            Of::Texts => "text or list of texts".to_owned(),
            Of::Secrets => "secret or list of secrets".to_owned(),
            Of::Headers => "map of names to secrets".to_owned(),
            Of::Map(_) | Of::Event => "map".to_owned(),
            Of::Named(_) => "map of names to maps".to_owned(),
            Of::List(_) => "list of maps".to_owned(),
            Of::Match => "match map".to_owned(),
            Of::Conditions => "map of names to operators".to_owned(),
            Of::Answers => "map of statuses to meanings".to_owned(),
            Of::Structure => "any YAML".to_owned(),
            Of::Blocks => "list".to_owned(),
        }
    }

    /// Its limits, as the reader tells them.
    fn range(&self) -> Option<[String; 2]> {
        match self {
            Of::Whole(least, most) => Some([least.to_string(), most.to_string()]),
            Of::Duration(least, most) => Some([*least, *most].map(shown_duration)),
            Of::Size(least, most) => Some([*least, *most].map(shown_size)),
            _ => None,
        }
    }
}
