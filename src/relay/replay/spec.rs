//! What a replay is asked to do, and how that is written down.

use serde_json::{Map, Value, json};

use crate::event::EventId;
use crate::store::{EventQuery, Order};
use crate::time::rfc3339;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySpec {
    /// These events, and no range of time.
    pub named: Option<Named>,
    /// Events that arrived at or after this, unix milliseconds.
    pub since_ms: u64,
    /// And before this. Without it, what arrived until the replay began: the history ends there.
    pub until_ms: Option<u64>,
    /// Only what a match map, as in a rule, holds for.
    pub matching: Option<String>,
    /// Only what no rule sent anywhere.
    pub is_unrouted: bool,
    /// To these destinations; empty: to where each event goes.
    pub to: Vec<String>,
    pub by: By,
    pub only: Only,
    /// The words by which the range of time was asked for: said again, an age names another moment. Earlier builds did not write it down.
    pub range_words: Option<[Option<String>; 2]>,
}

/// Which rules say where an event goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Those of when it arrived: where it went then.
    #[default]
    Then,
    /// Those in force while it is looked at.
    Now,
}

/// To which of its destinations an event goes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    #[default]
    All,
    /// Those that lack it: it was never to go there, or was given up there.
    Missing,
}

/// Events that are named one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which. Empty once it is done: nobody needs them any more, and a thousand replays are remembered.
    pub ids: Vec<EventId>,
    pub count: usize,
    /// Tells whether others are the same.
    digest: String,
}

impl Named {
    /// Some events, each once, oldest first.
    pub fn new(mut ids: Vec<EventId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_bytes()).collect();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { count: ids.len(), ids, digest }
    }
}

impl ReplaySpec {
    /// The events that it may be about.
    pub(super) fn history(&self) -> EventQuery {
        let Self { since_ms, until_ms, .. } = *self;
        EventQuery { since_ms, until_ms: until_ms.unwrap_or(u64::MAX), last: None, order: Order::OldestFirst }
    }

    /// Whether it was asked for by the same words.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let digest = |spec: &Self| spec.named.as_ref().map(|named| named.digest.clone());
        let is_range_alike =
            self.range_words.as_ref().zip(other.range_words.as_ref()).is_none_or(|(one, other)| one == other);
        is_range_alike
            && self.matching == other.matching
            && self.is_unrouted == other.is_unrouted
            && self.to == other.to
            && (self.by, self.only) == (other.by, other.only)
            && digest(self) == digest(other)
    }

    /// The same as it is remembered once it is done.
    pub(super) fn done(mut self) -> Self {
        if let Some(named) = &mut self.named {
            named.ids = Vec::new();
        }
        self
    }

    /// As it is shown.
    pub fn shown(&self) -> Value {
        let Self { named, since_ms, until_ms, matching, is_unrouted, to, by, only, range_words: _ } = self;
        let mut shown = match named {
            Some(named) => json!({ "events": named.count, "to": to }),
            None => {
                let (since, until) = (rfc3339(*since_ms), until_ms.map(rfc3339));
                json!({ "since": since, "until": until, "match": matching, "to": to })
            }
        };
        let mut add = |key: &str, value: Value| shown.as_object_mut().map(|map| map.insert(key.to_owned(), value));
        if *is_unrouted {
            add("unrouted", json!(true));
        }
        if *by == By::Now {
            add("by", json!("now"));
        }
        if *only == Only::Missing {
            add("only", json!("missing"));
        }
        shown
    }

    /// As it is written down. What earlier builds would take for another is hidden from them: they say that they cannot read it.
    pub fn json(&self) -> Value {
        let Self { named, since_ms, until_ms, matching, is_unrouted, to, by, only, range_words } = self;
        let plain =
            json!({ "since_ms": since_ms, "until_ms": until_ms, "match": matching, "to": to, "words": range_words });
        if named.is_none() && !is_unrouted && (*by, *only) == (By::Then, Only::All) {
            return plain;
        }
        let named = named.as_ref().map(|Named { ids, count, digest }| {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            json!({ "ids": ids, "count": count, "digest": digest })
        });
        json!({
            "range": plain,
            "events": named,
            "unrouted": is_unrouted,
            "now": *by == By::Now,
            "missing": *only == Only::Missing,
        })
    }

    /// Reads back what [`json`](Self::json) gave. Earlier builds wrote the largest number for no end.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let Some(range) = value.get("range") else { return Self::plain(&value) };
        let named = match value["events"].as_object() {
            None => None,
            Some(named) => Some(read_named(named)?),
        };
        Some(Self {
            named,
            is_unrouted: value["unrouted"].as_bool()?,
            by: if value["now"].as_bool()? { By::Now } else { By::Then },
            only: if value["missing"].as_bool()? { Only::Missing } else { Only::All },
            ..Self::plain(range)?
        })
    }

    fn plain(value: &Value) -> Option<Self> {
        let until_ms = match &value["until_ms"] {
            Value::Null => None,
            number => Some(number.as_u64()?).filter(|until_ms| *until_ms < u64::MAX),
        };
        let to = value["to"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        let matching = value["match"].as_str().map(str::to_owned);
        let word = |at: usize| value["words"][at].as_str().map(str::to_owned);
        let range_words = value["words"].is_array().then(|| [word(0), word(1)]);
        Some(Self { since_ms: value["since_ms"].as_u64()?, until_ms, matching, to, range_words, ..Self::default() })
    }
}

fn read_named(named: &Map<String, Value>) -> Option<Named> {
    let ids = named.get("ids")?.as_array()?.iter().map(|id| id.as_str()?.parse().ok()).collect::<Option<_>>()?;
    let count = named.get("count")?.as_u64()? as usize;
    Some(Named { ids, count, digest: named.get("digest")?.as_str()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Named {
        Named::new([3, 1, 3].map(|sequence| EventId::mint(5, 7, sequence)).to_vec())
    }

    #[test]
    fn a_description_reads_back_as_written() {
        let plain = |until_ms| ReplaySpec {
            since_ms: 1,
            until_ms,
            matching: Some("{type: sent}".into()),
            to: vec!["crm".into()],
            ..ReplaySpec::default()
        };
        for spec in [
            plain(None),
            plain(Some(2)),
            ReplaySpec { range_words: Some([Some("2h".into()), None]), ..plain(Some(2)) },
            ReplaySpec { is_unrouted: true, ..plain(None) },
            ReplaySpec { by: By::Now, ..plain(None) },
            ReplaySpec { only: Only::Missing, ..plain(None) },
            ReplaySpec { named: Some(named()), ..ReplaySpec::default() },
            ReplaySpec { named: Some(named()), by: By::Now, only: Only::Missing, ..ReplaySpec::default() }.done(),
        ] {
            assert_eq!(ReplaySpec::from_json(&spec.json().to_string()), Some(spec));
        }
        assert_eq!(ReplaySpec::from_json("{}"), None);
    }

    #[test]
    fn events_that_are_named_are_the_same_in_any_order_and_known_when_they_are_done() {
        assert_eq!((named().count, &named().ids[..]), (2, &[1, 3].map(|nth| EventId::mint(5, 7, nth))[..]));
        let of = |named| ReplaySpec { named: Some(named), ..ReplaySpec::default() };
        let asked = of(named());
        assert!(asked.is_same(&of(named()).done()));
        assert!(!asked.is_same(&of(Named::new(vec![EventId::mint(5, 7, 3)]))));
        assert!(!asked.is_same(&ReplaySpec::default()));
        for other in [
            ReplaySpec { by: By::Now, ..asked.clone() },
            ReplaySpec { only: Only::Missing, ..asked.clone() },
            ReplaySpec { is_unrouted: true, ..asked.clone() },
        ] {
            assert!(!asked.is_same(&other), "{other:?}");
        }
    }

    #[test]
    fn a_range_is_the_same_by_its_words_and_where_they_were_not_written_down() {
        let of = |since_ms, words: Option<[Option<&str>; 2]>| ReplaySpec {
            since_ms,
            range_words: words.map(|words| words.map(|word| word.map(str::to_owned))),
            ..ReplaySpec::default()
        };
        let asked = of(1, Some([Some("2h"), None]));
        assert!(asked.is_same(&of(2, Some([Some("2h"), None]))), "the age has moved on");
        assert!(asked.is_same(&of(2, None)) && of(2, None).is_same(&asked));
        for other in [[Some("3h"), None], [Some("2h"), Some("1h")], [None, Some("2h")]] {
            assert!(!asked.is_same(&of(1, Some(other))), "{other:?}");
        }
    }

    #[test]
    fn what_an_earlier_build_would_do_otherwise_it_cannot_read() {
        let spec = ReplaySpec { by: By::Now, ..ReplaySpec::default() };
        assert_eq!(spec.json().get("since_ms"), None);
    }

    #[test]
    fn the_largest_number_that_earlier_builds_wrote_is_no_end() {
        let written = r#"{"match":null,"since_ms":1,"to":[],"until_ms":18446744073709551615}"#;
        let expected = ReplaySpec { since_ms: 1, ..ReplaySpec::default() };
        assert_eq!(ReplaySpec::from_json(written), Some(expected));
        assert_eq!(ReplaySpec::from_json(&written.replace("18446744073709551615", "-1")), None);
    }
}
