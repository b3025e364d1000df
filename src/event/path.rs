//! Field paths, as people write them in rules, templates and filters.

use std::fmt;

/// The most segments a path may have. A captured value then never lies deeper than this, whatever a body nests.
pub const SEGMENTS_MAX: usize = 32;

/// Where a field is: in the body, or among the relay's own.
///
/// `campaign.name` goes from key to key and crosses arrays of objects. `/a.b/0/c` is a JSON Pointer (RFC 6901), for keys
/// that hold a dot and for indices. `relay.source` and its like are the relay's own and never read the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldPath {
    /// A place in the body.
    Body(Vec<Segment>),
    /// One of the relay's own fields.
    Relay(RelayField),
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of an object; where an array stands instead, every object in it is tried.
    Key(String),
    /// A JSON Pointer token: a key of an object or an index into an array.
    Token(String),
}

impl Segment {
    /// The text of the step.
    pub fn text(&self) -> &str {
        match self {
            Segment::Key(text) | Segment::Token(text) => text,
        }
    }
}

/// The relay's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayField {
    /// The name of the source that the event came in by.
    Source,
    /// When the relay received it (RFC 3339, UTC).
    ReceivedAt,
    /// When it happened: Vero's `<type>_at`, else the arrival (RFC 3339, UTC).
    OccurredAt,
    /// How long before its arrival it happened. In rules only.
    Age,
    /// The event's id. Known only after matching, so templates have it and rules do not.
    Id,
    /// The rule that chose the destination. In templates only.
    Rule,
}

/// The names under `relay.`, in the order the documentation lists them.
pub const RELAY_FIELDS: [(&str, RelayField); 6] = [
    ("source", RelayField::Source),
    ("received_at", RelayField::ReceivedAt),
    ("occurred_at", RelayField::OccurredAt),
    ("age", RelayField::Age),
    ("id", RelayField::Id),
    ("rule", RelayField::Rule),
];

/// What is wrong with a path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    #[error("a field path cannot be empty")]
    Empty,
    /// `a..b`, `.a` or `a.`.
    #[error("`{0}` has an empty step: a path is names joined by single dots, like campaign.name")]
    EmptyStep(String),
    /// Longer than [`SEGMENTS_MAX`].
    #[error("`{0}` has more than {SEGMENTS_MAX} steps")]
    TooLong(String),
    /// `relay.` and a name the relay does not have.
    #[error(
        "the relay has no field `{0}`: it has relay.source, relay.received_at, relay.occurred_at, relay.age and relay.id"
    )]
    UnknownRelayField(String),
    /// A `~` that is neither `~0` nor `~1` in a pointer.
    #[error("`{0}`: in a JSON Pointer `~` is written ~0 and `/` is written ~1")]
    BadPointer(String),
}

impl FieldPath {
    /// Reads a path as written in a config.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let segments = if let Some(pointer) = text.strip_prefix('/') {
            pointer.split('/').map(|token| unescape_token(token, text)).collect::<Result<Vec<_>, _>>()?
        } else {
            if let Some(name) = text.strip_prefix("relay.") {
                let known = RELAY_FIELDS.iter().find(|(known, _)| *known == name);
                return known
                    .map(|(_, field)| FieldPath::Relay(*field))
                    .ok_or_else(|| PathError::UnknownRelayField(text.to_owned()));
            }
            if text.split('.').any(str::is_empty) {
                return Err(PathError::EmptyStep(text.to_owned()));
            }
            text.split('.').map(|key| Segment::Key(key.to_owned())).collect()
        };
        if segments.len() > SEGMENTS_MAX {
            return Err(PathError::TooLong(text.to_owned()));
        }
        Ok(FieldPath::Body(segments))
    }
}

fn unescape_token(token: &str, whole: &str) -> Result<Segment, PathError> {
    let rest = token.replace("~0", "").replace("~1", "");
    if rest.contains('~') {
        return Err(PathError::BadPointer(whole.to_owned()));
    }
    Ok(Segment::Token(token.replace("~1", "/").replace("~0", "~")))
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldPath::Relay(field) => {
                let name = RELAY_FIELDS.iter().find(|(_, known)| known == field).map_or("?", |(name, _)| name);
                write!(f, "relay.{name}")
            }
            FieldPath::Body(segments) => {
                for (i, segment) in segments.iter().enumerate() {
                    match segment {
                        Segment::Key(key) if i == 0 => f.write_str(key)?,
                        Segment::Key(key) => write!(f, ".{key}")?,
                        Segment::Token(token) => write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        match (FieldPath::parse(text), expected) {
            (Ok(FieldPath::Body(segments)), Ok(expected)) => {
                assert_eq!(segments.iter().map(Segment::text).collect::<Vec<_>>(), expected);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_path_or_a_pointer_is_read_into_its_steps() {
        check("type", Ok(&["type"]));
        check("campaign.trigger-event", Ok(&["campaign", "trigger-event"]));
        check("/a.b/0/c", Ok(&["a.b", "0", "c"]));
        check("/a~1b/~0", Ok(&["a/b", "~"]));
        check("/", Ok(&[""]));
        check("", Err("empty"));
        check("a..b", Err("empty step"));
        check("a.", Err("empty step"));
        check("/~2", Err("~0"));
        check("relay.nothing", Err("no field"));
        check(&["a"; SEGMENTS_MAX].join("."), Ok(&["a"; SEGMENTS_MAX]));
        check(&["a"; SEGMENTS_MAX + 1].join("."), Err("more than 32"));
    }

    #[test]
    fn the_relays_own_fields_are_apart_from_the_bodys() {
        assert_eq!(FieldPath::parse("relay.source"), Ok(FieldPath::Relay(RelayField::Source)));
        assert!(matches!(FieldPath::parse("/relay/source"), Ok(FieldPath::Body(_))));
    }

    #[test]
    fn a_path_prints_as_it_is_written() {
        for text in ["campaign.name", "/a.b/0/c", "/a~1b/~0", "relay.occurred_at"] {
            assert_eq!(FieldPath::parse(text).expect("a good path").to_string(), text);
        }
    }
}
