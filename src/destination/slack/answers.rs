//! What Slack's answers mean: as a webhook's, which are a word or a page, or as its API's, whose errors come with status 200.

use std::sync::atomic::Ordering;

use super::super::chat::{Said, said, word_of};
use super::super::client::Answer;
use super::super::{Outcome, Reason};
use super::{Slack, app, shown};

/// Slack's words for too much at once.
const RATE_LIMITED: [&str; 2] = ["ratelimited", "rate_limited"];

impl Slack {
    /// What the body says counts first, then the status.
    pub(super) fn outcome(&self, answer: &Answer) -> Outcome {
        let status = answer.status;
        let text = answer.excerpt(&self.masks);
        let text = text.trim();
        let by_table = || self.answers.outcome(status, || (text.to_owned(), answer.retry_after()));
        if self.answers.names(status) {
            return by_table();
        }
        let reason = |brief: String| Reason {
            status: Some(status),
            answer: text.to_owned(),
            brief,
            ..Reason::new(format!("{status} {}", if text.is_empty() { "without a word" } else { text }))
        };
        let later =
            |reason| Outcome::Retry { reason, after: answer.retry_after(), holds_all: matches!(status, 429 | 503) };
        let is_success = (200..300).contains(&status);
        let said = said(answer.header("content-type"), &answer.body);
        let said = match (&self.app, said) {
            // Slack's own API says yes in one way.
            (Some(_), Said::Ok | Said::NotNo) => {
                if app::is_posted(&answer.body) {
                    Said::Ok
                } else {
                    Said::No
                }
            }
            (Some(app), Said::Closed(word)) if app.is_of_one(&word) => Said::Never(word),
            (_, said) => said,
        };
        match said {
            Said::Later(word) if self.app.is_some() && RATE_LIMITED.contains(&word.as_str()) => Outcome::Retry {
                reason: reason(format!("{status} {word}")),
                after: answer.retry_after().or(Some(app::RATE_LIMITED_FOR)),
                holds_all: true,
            },
            Said::Never(word) | Said::Closed(word) if self.app.as_ref().is_some_and(|app| app.is_of_one(&word)) => {
                Outcome::Reject { reason: reason(format!("{status} {}", app::explained(&word))) }
            }
            Said::Closed(word) if self.app.is_some() => {
                Outcome::Pause { reason: reason(format!("{status} {}", app::explained(&word))) }
            }
            Said::Never(word) => Outcome::Reject { reason: reason(format!("{status} {word}")) },
            Said::Closed(word) => Outcome::Pause { reason: reason(format!("{status} {word}")) },
            Said::Later(word) => later(reason(format!("{status} {word}"))),
            Said::Page if is_success => {
                let brief = format!(
                    "{status} with an HTML page in place of a chat server's answer: is it a login page or a proxy?"
                );
                later(Reason { text: brief.clone(), is_config_slip: true, ..reason(brief) })
            }
            Said::No if is_success => later(reason(match word_of(&answer.body) {
                Some(word) => format!("{status} {word}"),
                None => format!("{status}, and the body says that it failed"),
            })),
            Said::Ok if is_success => Outcome::Delivered,
            Said::NotNo if is_success => {
                self.tell_of_another_yes(status);
                Outcome::Delivered
            }
            _ => by_table(),
        }
    }

    /// Tells once what is taken for a yes.
    fn tell_of_another_yes(&self, status: u16) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let address = shown(&self.url);
            tracing::info!(address, status, "it answers 2xx without Slack's `ok`, which counts as delivered");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::super::chat::{PAUSES, REJECTS, RETRIES};
    use super::super::Message;
    use super::super::tests::slack;
    use super::*;

    #[test]
    fn a_word_of_slack_that_is_in_no_table_is_told_and_whatever_else_is_said_is_not() {
        let brief = |body: &str| {
            let answer =
                Answer { status: 200, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
            slack(Message::None).outcome(&answer).reason().expect("a reason").brief.clone()
        };
        let no = |word: &str| format!(r#"{{"ok":false,"error":"{word}"}}"#);
        assert_eq!(brief(&no("channel_type_not_supported")), "200 channel_type_not_supported");
        assert_eq!(brief(&no(&"x".repeat(50))), format!("200 {}", "x".repeat(50)));
        for word in ["", "maria@example.com", "no such channel", "X", &"x".repeat(51)] {
            assert_eq!(brief(&no(word)), "200, and the body says that it failed", "{word}");
        }
    }

    #[test]
    fn each_answer_of_slack_means_what_its_table_says() {
        let slack = slack(Message::None);
        let check = |status: u16, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
            assert_eq!(slack.outcome(&answer).name(), expected, "{status} {body}");
        };
        for (status, body) in [(200, "ok"), (200, "ok\n"), (200, ""), (200, "fine"), (201, "ok"), (204, "")] {
            check(status, body, "delivered");
        }
        for word in REJECTS {
            [200, 400, 500].into_iter().for_each(|status| check(status, word, "reject"));
        }
        for word in PAUSES {
            [200, 403, 404].into_iter().for_each(|status| check(status, word, "pause"));
        }
        for word in RETRIES {
            [200, 400, 500].into_iter().for_each(|status| check(status, word, "retry"));
        }
        check(200, "<html>", "retry");
        check(200, r#"{"ok":false}"#, "retry");
        check(400, r#"{"ok":false}"#, "reject");
        check(429, "", "retry");
        check(503, "ok", "retry");
        check(410, "", "pause");
        check(404, "", "retry");
        check(418, "", "reject");
        check(101, "", "retry");
    }
}
