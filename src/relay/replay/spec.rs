//! What a replay is asked to do, and how that is written down.

use serde_json::{Value, json};

use crate::store::{EventQuery, Order};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySpec {
    /// Events that arrived at or after this, unix milliseconds.
    pub since_ms: u64,
    /// And before this. Without it, what arrived until the replay began: the history ends there.
    pub until_ms: Option<u64>,
    /// Only what a match map, as in a rule, holds for.
    pub matching: Option<String>,
    /// To these destinations; empty: to those that each event went to.
    pub to: Vec<String>,
}

impl ReplaySpec {
    /// The events that it may be about.
    pub(super) fn history(&self) -> EventQuery {
        let Self { since_ms, until_ms, .. } = *self;
        EventQuery { since_ms, until_ms: until_ms.unwrap_or(u64::MAX), last: None, order: Order::OldestFirst }
    }

    /// As it is shown, and written down.
    pub fn json(&self) -> Value {
        let Self { since_ms, until_ms, matching, to } = self;
        json!({ "since_ms": since_ms, "until_ms": until_ms, "match": matching, "to": to })
    }

    /// Reads back what [`json`](Self::json) gave. Earlier builds wrote the largest number for no end.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let until_ms = match &value["until_ms"] {
            Value::Null => None,
            number => Some(number.as_u64()?).filter(|until_ms| *until_ms < u64::MAX),
        };
        let to = value["to"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Self {
            since_ms: value["since_ms"].as_u64()?,
            until_ms,
            matching: value["match"].as_str().map(str::to_owned),
            to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_as_written() {
        for until_ms in [None, Some(2)] {
            let spec =
                ReplaySpec { since_ms: 1, until_ms, matching: Some("{type: sent}".into()), to: vec!["crm".into()] };
            assert_eq!(ReplaySpec::from_json(&spec.json().to_string()), Some(spec));
        }
        assert_eq!(ReplaySpec::from_json("{}"), None);
    }

    #[test]
    fn the_largest_number_that_earlier_builds_wrote_is_no_end() {
        let written = r#"{"match":null,"since_ms":1,"to":[],"until_ms":18446744073709551615}"#;
        let expected = ReplaySpec { since_ms: 1, until_ms: None, matching: None, to: Vec::new() };
        assert_eq!(ReplaySpec::from_json(written), Some(expected));
        assert_eq!(ReplaySpec::from_json(&written.replace("18446744073709551615", "-1")), None);
    }
}
