//! What a replay is asked to do, and how that is written down.

use serde_json::{Value, json};

use crate::store::{EventQuery, Order};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySpec {
    /// Events that arrived at or after this, unix milliseconds.
    pub since_ms: u64,
    pub until_ms: u64,
    /// Only what a match map, as in a rule, holds for.
    pub matching: Option<String>,
    /// To these destinations; empty: to those that each event went to.
    pub to: Vec<String>,
}

impl ReplaySpec {
    /// The events that it may be about.
    pub(super) fn history(&self) -> EventQuery {
        let Self { since_ms, until_ms, .. } = *self;
        EventQuery { since_ms, until_ms, last: None, order: Order::OldestFirst }
    }

    /// As it is written down.
    pub fn to_json(&self) -> String {
        let Self { since_ms, until_ms, matching, to } = self;
        json!({ "since_ms": since_ms, "until_ms": until_ms, "match": matching, "to": to }).to_string()
    }

    /// Reads back what [`to_json`](Self::to_json) gave.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let to = value["to"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Self {
            since_ms: value["since_ms"].as_u64()?,
            until_ms: value["until_ms"].as_u64()?,
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
        let spec = ReplaySpec {
            since_ms: 1,
            until_ms: u64::MAX,
            matching: Some("{type: sent}".into()),
            to: vec!["crm".into()],
        };
        assert_eq!(ReplaySpec::from_json(&spec.to_json()), Some(spec));
        assert_eq!(ReplaySpec::from_json("{}"), None);
    }
}
