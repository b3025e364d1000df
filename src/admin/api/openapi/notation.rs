//! The notation of `api.yaml`: `key: TYPE, meaning`.

use serde_json::{Value, json};

use crate::yaml::raw::Node;

/// A key of an object, or of what an endpoint takes.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: String,
    pub may_be_missing: bool,
    pub kind: Type,
    pub about: String,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Text,
    Whole,
    Number,
    Flag,
    Time,
    Uuid,
    Any,
    /// Not JSON at all: bytes, or the frames of an event stream.
    Bytes,
    Frames,
    OneOf(Vec<String>),
    List(Box<Type>),
    /// By name.
    Map(Box<Type>),
    OrNull(Box<Type>),
    Either(Vec<Type>),
    Shape(String),
}

impl Field {
    /// Those that a map lists.
    pub(super) fn all(node: &Node) -> impl Iterator<Item = Self> + '_ {
        node.entries().iter().map(|(key, value)| {
            let text = value.scalar().map_or("", |scalar| &scalar.text);
            let (kind, about) = text.split_once(", ").unwrap_or((text, ""));
            Self {
                name: key.text.trim_end_matches('?').to_owned(),
                may_be_missing: key.text.ends_with('?'),
                kind: Type::read(kind),
                about: about.to_owned(),
            }
        })
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self { name: name.to_owned(), may_be_missing: true, kind: Type::Any, about: String::new() }
    }
}

impl Type {
    pub(super) fn read(text: &str) -> Self {
        if let Some(words) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
            return Self::OneOf(words.split('|').map(str::to_owned).collect());
        }
        if text.contains(" | ") {
            return Self::Either(text.split(" | ").map(Self::read).collect());
        }
        if let Some(inner) = text.strip_suffix('?') {
            return Self::OrNull(Box::new(Self::read(inner)));
        }
        if let Some(inner) = text.strip_suffix("[]") {
            return Self::List(Box::new(Self::read(inner)));
        }
        if let Some(inner) = text.strip_suffix("{}") {
            return Self::Map(Box::new(Self::read(inner)));
        }
        match text {
            "text" => Self::Text,
            "whole" => Self::Whole,
            "number" => Self::Number,
            "flag" => Self::Flag,
            "time" => Self::Time,
            "uuid" => Self::Uuid,
            "any" => Self::Any,
            "bytes" => Self::Bytes,
            "frames" => Self::Frames,
            shape => Self::Shape(shape.to_owned()),
        }
    }

    /// As JSON Schema.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Text | Self::Frames => json!({ "type": "string" }),
            Self::Whole => json!({ "type": "integer", "minimum": 0 }),
            Self::Number => json!({ "type": "number" }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::Uuid => json!({ "type": "string", "format": "uuid" }),
            Self::Any => json!({}),
            Self::Bytes => json!({ "type": "string", "format": "binary" }),
            Self::OneOf(words) => json!({ "type": "string", "enum": words }),
            Self::List(inner) => json!({ "type": "array", "items": inner.schema() }),
            Self::Map(inner) => json!({ "type": "object", "additionalProperties": inner.schema() }),
            Self::OrNull(inner) => json!({ "anyOf": [inner.schema(), { "type": "null" }] }),
            Self::Either(types) => json!({ "anyOf": types.iter().map(Self::schema).collect::<Vec<_>>() }),
            Self::Shape(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }

    /// As the content of an answer.
    pub(super) fn content(&self) -> Value {
        let kind = match self {
            Self::Bytes => "application/octet-stream",
            Self::Frames => "text/event-stream",
            _ => "application/json",
        };
        json!({ kind: { "schema": self.schema() } })
    }

    /// In words, as the reference has it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Whole => "whole number".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Uuid => "UUID".to_owned(),
            Self::Any => "JSON".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Frames => "an event stream of [frames](operations.md#what-happens-as-it-happens)".to_owned(),
            Self::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::List(inner) => format!("list of {}", inner.words()),
            Self::Map(inner) => format!("map of {}", inner.words()),
            Self::OrNull(inner) => format!("{}, or null", inner.words()),
            Self::Either(types) => types.iter().map(Self::words).collect::<Vec<_>>().join(" or "),
            Self::Shape(name) => format!("[{name}](#{})", name.to_lowercase()),
        }
    }

    /// The shapes that it names.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Shape(name) => vec![name],
            Self::List(inner) | Self::Map(inner) | Self::OrNull(inner) => inner.names(),
            Self::Either(types) => types.iter().flat_map(Self::names).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_from_the_outside_in() {
        let list = |inner| Type::List(Box::new(inner));
        let or_null = |inner| Type::OrNull(Box::new(inner));
        for (text, read) in [
            ("text", Type::Text),
            ("text?[]", list(or_null(Type::Text))),
            ("Event[]?", or_null(list(Type::Shape("Event".to_owned())))),
            ("whole[]{}", Type::Map(Box::new(list(Type::Whole)))),
            ("(due|breaker)?", or_null(Type::OneOf(vec!["due".to_owned(), "breaker".to_owned()]))),
            ("Replay | whole", Type::Either(vec![Type::Shape("Replay".to_owned()), Type::Whole])),
        ] {
            assert_eq!(Type::read(text), read, "{text}");
        }
    }
}
