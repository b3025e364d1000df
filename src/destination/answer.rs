//! What an HTTP answer means. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Reason};
use crate::yaml::keys::INTERPOLATED;
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// `answers:`, what a config makes of a status in place of the table below.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    overrides: BTreeMap<u16, Meaning>,
}

/// What an answer means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Delivered,
    Retry,
    Reject,
    Pause,
    Skip,
}

/// The words for them.
pub(super) const WORDS: [&str; 5] = ["delivered", "retry", "reject", "pause", "skip"];

const MEANINGS: [(&str, Meaning); 5] = [
    (WORDS[0], Meaning::Delivered),
    (WORDS[1], Meaning::Retry),
    (WORDS[2], Meaning::Reject),
    (WORDS[3], Meaning::Pause),
    (WORDS[4], Meaning::Skip),
];

/// Reads one of the words.
pub(super) fn read_meaning(reader: &Reader, node: &Node, text: &str) -> Option<Meaning> {
    let meaning = MEANINGS.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning);
    if meaning.is_none() {
        let help = did_you_mean(text, WORDS);
        let help = help.unwrap_or_else(|| "an answer means delivered, retry, reject, pause or skip".to_owned());
        reader.error_with(node.id, format!("`{text}` is not what an answer can mean"), help);
    }
    meaning
}

impl Answers {
    /// What `answers:` takes, as a JSON Schema.
    pub fn schema() -> Value {
        json!({
            "type": "object",
            "propertyNames": { "pattern": "^[2-5][0-9][0-9]$" },
            "additionalProperties": { "anyOf": [
                { "enum": MEANINGS.map(|(name, _)| name) },
                { "type": "string", "pattern": INTERPOLATED },
            ] },
        })
    }

    /// Reads `answers: {404: reject}`.
    pub fn read(reader: &Reader, node: Option<&Node>) -> Self {
        let mut overrides = BTreeMap::new();
        let entries = node.and_then(|node| reader.map(node, "`answers`"));
        for (key, value) in entries.map(|mut entries| entries.rest()).unwrap_or_default() {
            let status = key.text.parse::<u16>().ok().filter(|status| (200..600).contains(status));
            if status.is_none() {
                let help = match key.text.to_lowercase().ends_with("xx") || key.text.contains('-') {
                    true => "write each status by itself: { 404: reject, 409: delivered }".to_owned(),
                    false => "write a status like 404".to_owned(),
                };
                reader.error_with(key.id, format!("`{}` is not an HTTP status from 200 to 599", key.text), help);
            }
            let Some(text) = reader.text(value) else { continue };
            let meaning = read_meaning(reader, value, text);
            if let (Some(status), Some(meaning)) = (status, meaning) {
                overrides.insert(status, meaning);
            }
        }
        Self { overrides }
    }

    /// What a status means. Only where it is no delivery, the rest of the answer is asked for: the beginning of its body, and how
    /// long the other side asks to wait (`Retry-After`).
    pub fn outcome(&self, status: u16, rest: impl FnOnce() -> (String, Option<Duration>)) -> Outcome {
        self.outcome_by(None, status, rest)
    }

    /// The same where the answer itself says what it means.
    pub(super) fn outcome_by(
        &self,
        said: Option<Meaning>,
        status: u16,
        rest: impl FnOnce() -> (String, Option<Duration>),
    ) -> Outcome {
        let of_answers = self.overrides.get(&status).copied();
        let usual = usual(status);
        let meaning = said.or(of_answers).unwrap_or(usual);
        if meaning == Meaning::Delivered {
            return Outcome::Delivered;
        }
        let (excerpt, after) = rest();
        // Who reads "200 OK" of a dead letter needs to know who said that it is one.
        let by = if said.is_some() { "outcomes" } else { "answers" };
        let taken = MEANINGS.iter().find(|(_, known)| *known == meaning && meaning != usual);
        let taken = taken.map(|(word, _)| format!(", a {word} by `{by}`")).unwrap_or_default();
        let reason = reason(status, &taken, &excerpt);
        match meaning {
            Meaning::Delivered => Outcome::Delivered,
            Meaning::Retry => Outcome::Retry { reason, after, holds_all: matches!(status, 429 | 503) },
            Meaning::Reject => Outcome::Reject { reason },
            Meaning::Pause => Outcome::Pause { reason },
            Meaning::Skip => Outcome::Skipped { reason },
        }
    }

    /// Whether a config says what this status means.
    pub fn names(&self, status: u16) -> bool {
        self.overrides.contains_key(&status)
    }
}

/// The table of the documentation.
fn usual(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Delivered,
        410 => Meaning::Pause,
        401 | 403 | 404 | 405 | 408 | 425 | 429 => Meaning::Retry,
        400..=499 => Meaning::Reject,
        // Also what HTTP has no such place for: an interim status as the last word, or one beyond 599, says nothing of the event.
        _ => Meaning::Retry,
    }
}

fn reason(status: u16, taken: &str, excerpt: &str) -> Reason {
    let name = ::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let brief = format!("{status} {}", name.unwrap_or("")).trim_end().to_owned() + taken;
    let excerpt = excerpt.trim();
    let mut reason = Reason::new(if excerpt.is_empty() { brief.clone() } else { format!("{brief}: {excerpt}") });
    reason.brief = brief;
    reason.status = Some(status);
    reason.answer = excerpt.to_owned();
    // Most often the URL or a credential in the config is wrong, and the event must not be lost for it.
    reason.is_config_slip = matches!(status, 300..=399 | 401 | 403 | 404 | 405);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_means_what_the_table_says() {
        let rows: [(&[u16], &str); 4] = [
            (&[200, 201, 202, 204, 299], "delivered"),
            (
                &[
                    0, 99, 100, 101, 103, 199, 300, 301, 302, 307, 308, 399, 401, 403, 404, 405, 408, 425, 429, 500,
                    502, 503, 504, 508, 599, 600, 999, 65535,
                ],
                "retry",
            ),
            (&[400, 402, 406, 407, 409, 411, 413, 415, 418, 422, 451, 499], "reject"),
            (&[410], "pause"),
        ];
        for (statuses, expected) in rows {
            for status in statuses {
                assert_eq!(Answers::default().outcome(*status, || (String::new(), None)).name(), expected, "{status}");
            }
        }
    }

    #[test]
    fn slips_are_marked_and_only_429_and_503_hold_everything() {
        for status in 300..600 {
            let outcome = Answers::default().outcome(status, || (String::new(), Some(Duration::from_secs(9))));
            let is_slip = outcome.reason().is_some_and(|reason| reason.is_config_slip);
            assert_eq!(is_slip, matches!(status, 300..=399 | 401 | 403 | 404 | 405), "{status}");
            if let Outcome::Retry { after, holds_all, .. } = outcome {
                assert_eq!((after, holds_all), (Some(Duration::from_secs(9)), matches!(status, 429 | 503)), "{status}");
            }
        }
    }
}
