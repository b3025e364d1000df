//! A Slack that refuses whatever Slack documents that it would: for tests, and for trying by hand. Pure: what it says follows from what came
//! before, and from the time that it is told.
//!
//! It has copies of the limits of its own, each with the address of Slack's documentation, and shares none with what it judges: a slip
//! there is found here. Where it is stricter than Slack, its word begins with `strict_`.
//!
//! # Cast
//!
//! * [`Strict`]: takes requests, refuses some, and remembers what it took.
//! * `message`: what a message must be. `blocks`: the shapes of blocks. `markup`: what may stand in a text.
//! * [`ledger`], [`Watched`]: who owns a strict Slack fails where it refused what nobody asked it to.

mod blocks;
pub mod ledger;
mod markup;
mod message;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

pub use self::ledger::Watched;

/// One message a second, and short bursts: <https://docs.slack.dev/apis/web-api/rate-limits#overview>.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long such a burst may be is not documented; two is the least that is one.
const BURST: u32 = 2;

/// A request, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'r> {
    pub method: &'r str,
    /// Without a query.
    pub path: &'r str,
    pub content_type: Option<&'r str>,
    pub body: &'r [u8],
}

/// What is said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Slack's word for it, or one that begins with `strict_`.
    pub word: &'static str,
    /// What is wrong, for people.
    pub about: String,
}

impl Refusal {
    fn new(word: &'static str, about: impl Into<String>) -> Self {
        Self { word, about: about.into() }
    }
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Post {
    pub at: Duration,
    /// The path of the webhook.
    pub to: String,
    pub message: Value,
}

/// A workspace in which every path is an incoming webhook with a channel of its own.
#[derive(Debug, Default)]
pub struct Strict {
    is_hurried: bool,
    /// Mentions that the texts of messages may hold.
    mentions: Vec<String>,
    /// The words of refusals that a test wants.
    asked_for: Vec<&'static str>,
    /// For each channel when it was posted to, as if it had been once a second.
    next: HashMap<String, Duration>,
    requests: u64,
    posts: Vec<Post>,
    refusals: Vec<Refusal>,
    asked: u64,
}

impl Strict {
    /// One that enforces everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same without its rates, for tests that are not about them.
    pub fn hurried() -> Self {
        Self { is_hurried: true, ..Self::default() }
    }

    /// Allows a mention, like `<!here>`, which would wake people: a template may hold one, and a value may not.
    pub fn allow_mention(&mut self, mention: &str) {
        self.mentions.push(mention.to_owned());
    }

    /// Refusals by this word are what a test is about.
    pub fn ask_for(&mut self, word: &'static str) {
        self.asked_for.push(word);
    }

    /// Forgets what was refused: the test has looked at it.
    #[cfg(test)]
    fn forget(&mut self) {
        self.refusals.clear();
    }

    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The messages that were taken.
    pub fn posts(&self) -> &[Post] {
        &self.posts
    }

    /// What was refused and nobody had asked for.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// How much was refused as it had been asked for.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Answers a request that comes at a time, counted from any moment that is always the same.
    pub fn answer(&mut self, now: Duration, asked: Asked<'_>) -> Reply {
        self.requests += 1;
        match self.judge(now, asked) {
            Ok(message) => {
                self.posts.push(Post { at: now, to: asked.path.to_owned(), message });
                reply(200, "ok")
            }
            Err(refusal) => {
                let said = self.said(now, asked.path, &refusal);
                if self.asked_for.contains(&refusal.word) {
                    self.asked += 1;
                } else {
                    self.refusals.push(refusal);
                }
                said
            }
        }
    }

    fn judge(&mut self, now: Duration, asked: Asked<'_>) -> Result<Value, Refusal> {
        if asked.method != "POST" {
            return Err(Refusal::new(
                "invalid_payload",
                format!("a message comes by POST, and not by {}", asked.method),
            ));
        }
        let message = message::read(asked.content_type, asked.body, &self.mentions)?;
        self.take_turn(now, asked.path)?;
        Ok(message)
    }

    /// A bucket that runs out by one a second.
    fn take_turn(&mut self, now: Duration, channel: &str) -> Result<(), Refusal> {
        if self.is_hurried {
            return Ok(());
        }
        let next = self.next.get(channel).copied().unwrap_or_default().max(now);
        if next > now + INTERVAL * (BURST - 1) {
            return Err(Refusal::new(RATE_LIMITED, format!("more than one message a second to {channel}")));
        }
        self.next.insert(channel.to_owned(), next + INTERVAL);
        Ok(())
    }

    fn said(&self, now: Duration, channel: &str, refusal: &Refusal) -> Reply {
        let mut said = reply(status(refusal.word), refusal.word);
        if refusal.word == RATE_LIMITED {
            let next = self.next.get(channel).copied().unwrap_or_default();
            let wait = next.saturating_sub(now + INTERVAL * (BURST - 1));
            said.headers.push(("retry-after", wait.as_secs_f64().ceil().max(1.0).to_string()));
        }
        said
    }
}

/// The word under 429: <https://docs.slack.dev/apis/web-api/rate-limits#handling>.
const RATE_LIMITED: &str = "rate_limited";

fn reply(status: u16, word: &str) -> Reply {
    let headers = vec![("content-type", "text/html".to_owned())];
    Reply { status, headers, body: word.to_owned() }
}

/// The status under which a webhook says a word:
/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors>.
fn status(word: &str) -> u16 {
    match word {
        RATE_LIMITED => 429,
        "action_prohibited" | "invalid_token" => 403,
        "channel_not_found" | "no_service" => 404,
        "channel_is_archived" => 410,
        "rollup_error" => 500,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn post(strict: &mut Strict, at_ms: u64, body: &str) -> Reply {
        let asked =
            Asked { method: "POST", path: "/T/B/x", content_type: Some("application/json"), body: body.as_bytes() };
        strict.answer(Duration::from_millis(at_ms), asked)
    }

    #[test]
    fn a_message_a_second_and_a_burst_of_two_are_taken_and_no_more() {
        let mut strict = Strict::new();
        strict.ask_for(RATE_LIMITED);
        let mut at = |ms: u64| {
            let said = post(&mut strict, ms, r#"{"text":"x"}"#);
            let after = said.headers.iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value.clone());
            (said.status, after.unwrap_or_default())
        };
        let (taken, told) = ((200, String::new()), (429, "1".to_owned()));
        assert_eq!([at(0), at(0), at(0)], [taken.clone(), taken.clone(), told.clone()]);
        assert_eq!([at(999), at(1000), at(1999), at(2000)], [told.clone(), taken.clone(), told, taken]);
        assert_eq!((strict.requests(), strict.posts().len(), strict.asked()), (7, 4, 3));
        assert!(strict.refusals().is_empty(), "they were asked for");
        let mut hurried = Strict::hurried();
        assert!((0..9).all(|_| post(&mut hurried, 0, r#"{"text":"x"}"#).status == 200));
    }

    #[test]
    fn what_nobody_asked_for_is_remembered() {
        let mut strict = Strict::new();
        strict.ask_for("no_text");
        assert_eq!(post(&mut strict, 0, "{}").body, "no_text");
        assert_eq!(post(&mut strict, 0, r#"{"text":"a < b"}"#).body, "strict_unescaped");
        let words: Vec<_> = strict.refusals().iter().map(|refusal| refusal.word).collect();
        assert_eq!((words.as_slice(), strict.asked()), (["strict_unescaped"].as_slice(), 1));
    }
}
