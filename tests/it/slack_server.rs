//! A strict Slack on a socket: what is posted to a webhook is judged by `destination::slack::strict`, whatever the script then answers.
//!
//! Beside webhooks it is a [`Fake`] like any. A test fails at its end where something was refused that it did not ask for.

use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;
use vero_relay::destination::slack::strict::ledger::Handle;
use vero_relay::destination::slack::strict::{Asked, Reply, Strict, Watched};

use crate::harness::{Act, Fake, Message};

/// How the paths of Slack begin, in the tests.
pub const WEBHOOKS: [&str; 5] = ["/T/", "/slack", "/services/", "/api/chat.postMessage", "/api/chat.update"];

/// A server that stands for Slack, and for what else a test has beside it.
pub struct SlackServer {
    fake: Fake,
    watched: Watched,
}

impl SlackServer {
    /// Enforces everything that Slack documents.
    pub async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_as(Strict::new(), script).await
    }

    /// All but how fast messages may come, for who posts faster than a channel takes them.
    pub async fn hurried(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_as(Strict::hurried(), script).await
    }

    /// The same, at an address where nobody listened before.
    pub async fn hurried_at(address: &str, script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at(address, Strict::hurried(), script).await
    }

    /// One with an app, and with what only it has.
    pub async fn with_app(token: &str, channels: &[&str]) -> Self {
        Self::start_as(Strict::new().with_app(token, channels), []).await
    }

    /// The same, and messages may come as fast as they want.
    pub async fn hurried_with_app(token: &str, channels: &[&str]) -> Self {
        Self::start_as(Strict::hurried().with_app(token, channels), []).await
    }

    /// What some messages are known by, by their places among all that were taken; they must be in these channels.
    pub fn posted<const N: usize>(&self, channels: [&str; N], places: [usize; N]) -> [String; N] {
        let strict = self.watched.lock();
        assert_eq!(places.map(|at| strict.posts()[at].to.clone()), channels.map(str::to_owned));
        places.map(|at| strict.posts()[at].ts.clone())
    }

    async fn start_as(strict: Strict, script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at("127.0.0.1:0", strict, script).await
    }

    async fn start_at(address: &str, strict: Strict, script: impl IntoIterator<Item = Act>) -> Self {
        let watched = Watched::new(strict);
        let (handle, begin) = (watched.handle(), Instant::now());
        let judge = move |message: &Message| answered(&handle, begin, message);
        Self { fake: Fake::judged(address, script, Arc::new(judge)).await, watched }
    }

    /// Refusals by this word are what the test is about.
    pub fn ask_for(&self, word: &'static str) {
        self.watched.lock().ask_for(word);
    }

    /// The config of the test has a mention in a text.
    pub fn allow_mention(&self, mention: &str) {
        self.watched.lock().allow_mention(mention);
    }
}

impl Deref for SlackServer {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

/// What Slack says to a request, if it is one to Slack.
pub fn answered(handle: &Handle, begin: Instant, message: &Message) -> Option<Act> {
    let mut words = message.first_line.split(' ');
    let (method, path) = (words.next()?, words.next()?.split('?').next()?);
    if !WEBHOOKS.iter().any(|start| path.starts_with(start)) {
        return None;
    }
    let [content_type, authorization] = ["content-type", "authorization"].map(|name| message.header(name));
    let asked = Asked { method, path, content_type, authorization, body: &message.body };
    let Reply { status, headers, body } = handle.answer(begin.elapsed(), asked);
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Some(Act::Answer { status, headers, body })
}
