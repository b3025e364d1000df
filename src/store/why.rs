//! Why a delivery was given up or waits for another attempt, and what the other side answered, as the one text in which both are kept.
//!
//! Journals hold one text for each; earlier builds wrote the answer into it behind a colon. So the parts stand behind a sign that no reason
//! holds, and a text without it is a reason alone.

use std::borrow::Cow;
use std::fmt;

/// Stands between the parts: the unit separator of ASCII.
const MARK: char = '\u{1f}';
/// Bytes of the whole text: it is kept with every dead letter, and of scheduled deliveries in memory.
const BYTES_MAX: usize = 320;

/// A reason and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why<'t> {
    /// Without a word of the other side, so that there are few of them.
    pub reason: Cow<'t, str>,
    /// The answer's status, where one came.
    pub status: Option<u16>,
    /// The answer's beginning; empty where there was none.
    pub answer: Cow<'t, str>,
}

impl<'t> Why<'t> {
    /// Reads what [`text`](Self::text) gave, or what an earlier build wrote.
    pub fn of(text: &'t str) -> Self {
        let alone = Self { reason: text.into(), ..Self::default() };
        let mut parts = text.splitn(3, MARK);
        let (Some(reason), Some(status), Some(answer)) = (parts.next(), parts.next(), parts.next()) else {
            return alone;
        };
        match (status, status.parse()) {
            ("", _) => Self { reason: reason.into(), status: None, answer: answer.into() },
            (_, Ok(status)) => Self { reason: reason.into(), status: Some(status), answer: answer.into() },
            // It was there before this sign had a meaning.
            (_, Err(_)) => alone,
        }
    }

    /// The text that is kept. A long one loses the end of its answer.
    pub fn text(&self) -> String {
        let mut text = self.reason.replace(MARK, " ");
        if self.status.is_some() || !self.answer.is_empty() {
            let status = self.status.map(|status| status.to_string()).unwrap_or_default();
            text.extend([MARK.to_string(), status, MARK.to_string()]);
            text.push_str(&self.answer);
        }
        text.truncate(text.floor_char_boundary(BYTES_MAX));
        text
    }
}

/// In one line, for people.
impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.answer.is_empty() { Ok(()) } else { write!(f, ": {}", self.answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<'t>(reason: &'t str, status: Option<u16>, answer: &'t str) -> Why<'t> {
        Why { reason: reason.into(), status, answer: answer.into() }
    }

    #[track_caller]
    fn check(written: &Why<'_>, shown: &str) {
        let text = written.text();
        assert_eq!(Why::of(&text), *written);
        assert_eq!(Why::of(&text).to_string(), shown);
    }

    #[test]
    fn what_is_written_is_read_again() {
        check(&why("could not connect", None, ""), "could not connect");
        check(&why("422 Unprocessable Entity", Some(422), "{\"a\":1}"), "422 Unprocessable Entity: {\"a\":1}");
        check(&why("503 Service Unavailable", Some(503), ""), "503 Service Unavailable");
        check(&why("an answer that is none", None, "x\u{1f}y\u{1f}z"), "an answer that is none: x\u{1f}y\u{1f}z");
        check(&why("", None, ""), "");
    }

    #[test]
    fn what_earlier_builds_wrote_is_a_reason_alone() {
        for text in ["422 Unprocessable Entity: no", "a\u{1f}b", "a\u{1f}b\u{1f}c", "a\u{1f}99999999\u{1f}c"] {
            assert_eq!(Why::of(text), why(text, None, ""), "{text:?}");
        }
    }

    #[test]
    fn a_reason_cannot_pass_for_an_answer_and_a_long_answer_is_cut() {
        assert_eq!(Why::of(&why("a\u{1f}7\u{1f}b", None, "").text()), why("a 7 b", None, ""));
        let long = "ä".repeat(BYTES_MAX);
        let text = why("422", Some(422), &long).text();
        assert!(text.len() <= BYTES_MAX && text.len() > BYTES_MAX - 2, "{}", text.len());
        let Why { reason, status, answer } = Why::of(&text);
        assert_eq!((&*reason, status), ("422", Some(422)));
        assert!(answer.len() > 300 && long.starts_with(&*answer));
    }
}
