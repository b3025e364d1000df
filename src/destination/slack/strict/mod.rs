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

use serde_json::{Value, json};

pub use self::ledger::Watched;

/// One message a second, and short bursts: <https://docs.slack.dev/apis/web-api/rate-limits#overview>.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long such a burst may be is not documented; two is the least that is one.
const BURST: u32 = 2;

/// 50 edits a minute, and sporadic bursts: <https://docs.slack.dev/reference/methods/chat.update> is of tier 3. They are counted by app and workspace,
/// whatever the channel: <https://docs.slack.dev/apis/web-api/rate-limits#overview>.
const EDITS_APART: Duration = Duration::from_millis(1200);

/// A request, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'r> {
    pub method: &'r str,
    /// Without a query.
    pub path: &'r str,
    pub content_type: Option<&'r str>,
    pub authorization: Option<&'r str>,
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
    /// The path of the webhook, or the channel.
    pub to: String,
    /// What it is known by in its channel.
    pub ts: String,
    /// The message that it stands below, if it does.
    pub thread: Option<String>,
    /// What it says; of one that was edited, what it says now.
    pub message: Value,
    /// How often it was edited.
    pub edits: u64,
    is_deleted: bool,
}

/// What an app of the workspace proves itself by, and the channels that it is in.
#[derive(Debug)]
struct App {
    token: String,
    channels: Vec<String>,
    /// Channels that are there, and that it is not in.
    others: Vec<String>,
    archived: Vec<String>,
}

impl App {
    /// The id of a channel that it is in: by that alone a message is edited.
    fn id_of(&self, channel: &str) -> Option<String> {
        self.channels.iter().position(|known| known == channel).map(|at| format!("C{at:09}"))
    }

    fn channel_of(&self, id: &str) -> Option<&str> {
        self.channels.iter().find(|channel| self.id_of(channel).as_deref() == Some(id)).map(String::as_str)
    }
}

/// A workspace in which every path is an incoming webhook with a channel of its own, but for those of the API.
#[derive(Debug, Default)]
pub struct Strict {
    is_hurried: bool,
    app: Option<App>,
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

    /// The same with an app, which is in some channels, and not in `#other`; `#archived` is what its name says.
    pub fn with_app(self, token: &str, channels: &[&str]) -> Self {
        let [others, archived] = ["#other", "#archived"].map(|name| vec![name.to_owned()]);
        let channels = channels.iter().map(|name| (*name).to_owned()).collect();
        Self { app: Some(App { token: token.to_owned(), channels, others, archived }), ..self }
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
    pub(in crate::destination::slack) fn forget(&mut self) {
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
        let is_edit = asked.path.ends_with(UPDATE);
        let is_api = is_edit || asked.path.ends_with(POST_MESSAGE);
        let judged = match is_api {
            true if is_edit => self.judge_edit(now, asked),
            true => self.judge_call(now, asked),
            false => self.judge_webhook(now, asked),
        };
        match judged {
            Ok(message) if is_edit => self.edited(message),
            Ok(message) if is_api => self.posted(now, message),
            Ok(message) => {
                self.post(now, asked.path.to_owned(), None, message);
                reply(200, "ok")
            }
            Err((channel, refusal)) => {
                let said = self.said(now, &channel, &refusal, is_api);
                if self.asked_for.contains(&refusal.word) {
                    self.asked += 1;
                } else {
                    self.refusals.push(refusal);
                }
                said
            }
        }
    }

    fn judge_webhook(&mut self, now: Duration, asked: Asked<'_>) -> Result<Value, (String, Refusal)> {
        let of = |refusal| (asked.path.to_owned(), refusal);
        if asked.method != "POST" {
            let about = format!("a message comes by POST, and not by {}", asked.method);
            return Err(of(Refusal::new("invalid_payload", about)));
        }
        let message = message::read(asked.content_type, asked.body, &self.mentions).map_err(of)?;
        self.take_turn(now, asked.path, INTERVAL).map_err(of)?;
        Ok(message)
    }

    fn authorized(&self, asked: Asked<'_>) -> Result<&App, Refusal> {
        let refuse = |word, about: &str| Err(Refusal::new(word, about));
        let Some(app) = &self.app else { return refuse("invalid_auth", "this workspace has no app") };
        match asked.authorization.map(|value| value.strip_prefix("Bearer ").unwrap_or_default()) {
            None => refuse("not_authed", "there is no token"),
            Some(token) if token != app.token => refuse("invalid_auth", "the token is another"),
            Some(_) => Ok(app),
        }
    }

    /// <https://docs.slack.dev/reference/methods/chat.update>: by the id of the channel, a message that is there, and not more than so many.
    fn judge_edit(&mut self, now: Duration, asked: Asked<'_>) -> Result<Value, (String, Refusal)> {
        let of_edits = |refusal| (UPDATE.to_owned(), refusal);
        let refuse = |word, about: String| Err(of_edits(Refusal::new(word, about)));
        if asked.method != "POST" {
            return refuse("invalid_post_type", "JSON comes by POST".to_owned());
        }
        let app = self.authorized(asked).map_err(of_edits)?;
        let message = message::read_edit(asked.content_type, asked.body, &self.mentions).map_err(of_edits)?;
        let (id, ts) = (message["channel"].as_str().unwrap_or_default(), message["ts"].as_str().unwrap_or_default());
        let Some(channel) = app.channel_of(id) else {
            return refuse("channel_not_found", format!("`{id}` is the id of no channel"));
        };
        let is_it = |post: &&Post| post.to == channel && post.ts == ts && !post.is_deleted;
        if !self.posts.iter().any(|post| is_it(&post)) {
            return refuse("message_not_found", format!("nothing in {channel} was posted at {ts}"));
        }
        if self.asked_for.contains(&EDIT_WINDOW_CLOSED) {
            return refuse(EDIT_WINDOW_CLOSED, "the workspace lets nobody edit any more".to_owned());
        }
        self.take_turn(now, UPDATE, EDITS_APART)
            .map_err(|refusal| of_edits(Refusal { word: RATELIMITED, ..refusal }))?;
        Ok(message)
    }

    fn edited(&mut self, message: Value) -> Reply {
        let (id, ts) = (message["channel"].as_str().unwrap_or_default(), message["ts"].as_str().unwrap_or_default());
        let channel = self.app.as_ref().and_then(|app| app.channel_of(id)).unwrap_or_default().to_owned();
        if let Some(post) = self.posts.iter_mut().find(|post| post.to == channel && post.ts == ts) {
            post.edits += 1;
            // What is not said stays as it was.
            for key in ["text", "blocks", "attachments"] {
                if !message[key].is_null() {
                    post.message[key] = message[key].clone();
                }
            }
        }
        as_json(200, &json!({ "ok": true, "channel": id, "ts": ts, "text": message["text"] }))
    }

    /// <https://docs.slack.dev/reference/methods/chat.postMessage>
    fn judge_call(&mut self, now: Duration, asked: Asked<'_>) -> Result<Value, (String, Refusal)> {
        let nowhere = |refusal| (String::new(), refusal);
        let refuse = |word, about: &str| Err(nowhere(Refusal::new(word, about)));
        if asked.method != "POST" {
            return refuse("invalid_post_type", "JSON comes by POST");
        }
        let app = self.authorized(asked).map_err(nowhere)?;
        let message = message::read(asked.content_type, asked.body, &self.mentions).map_err(nowhere)?;
        let channel = message["channel"].as_str().unwrap_or_default();
        let channel = app.channel_of(channel).unwrap_or(channel).to_owned();
        let is_in = |channels: &[String]| channels.contains(&channel);
        let refusal = match () {
            () if is_in(&app.channels) => None,
            () if is_in(&app.archived) => Some("is_archived"),
            () if is_in(&app.others) => Some("not_in_channel"),
            () => Some("channel_not_found"),
        };
        if let Some(word) = refusal {
            return Err((channel.clone(), Refusal::new(word, format!("to `{channel}`"))));
        }
        if let Some(ts) = message["thread_ts"].as_str()
            && let Some(refusal) = self.judge_thread(&channel, ts)
        {
            return Err((channel, refusal));
        }
        self.take_turn(now, &channel, INTERVAL)
            .map_err(|refusal| (channel, Refusal { word: RATELIMITED, ..refusal }))?;
        Ok(message)
    }

    /// What a message goes below must be one of this channel, and the first of its thread: <https://docs.slack.dev/messaging#threading>.
    fn judge_thread(&self, channel: &str, ts: &str) -> Option<Refusal> {
        let Some(first) = self.posts.iter().find(|post| post.to == channel && post.ts == ts) else {
            return Some(Refusal::new(THREAD_NOT_FOUND, format!("nothing in {channel} was posted at {ts}")));
        };
        if first.thread.is_some() {
            let about = format!("{ts} stands below another message itself, by which its thread is known");
            return Some(Refusal::new("strict_thread_ts", about));
        }
        let is_refused = first.is_deleted && self.asked_for.contains(&THREAD_NOT_FOUND);
        is_refused.then(|| Refusal::new(THREAD_NOT_FOUND, format!("{ts} was deleted")))
    }

    fn posted(&mut self, now: Duration, message: Value) -> Reply {
        let to = message["channel"].as_str().unwrap_or_default();
        let app = self.app.as_ref();
        let to = app.and_then(|app| app.channel_of(to)).unwrap_or(to).to_owned();
        let id = app.and_then(|app| app.id_of(&to)).unwrap_or_default();
        // Below what was deleted nothing goes: it is posted into the channel, and the answer says so by what it lacks, as is told in
        // https://github.com/slack-go/slack/issues/1571.
        let is_there = |ts: &&str| self.posts.iter().any(|post| post.to == to && post.ts == *ts && !post.is_deleted);
        let thread = message["thread_ts"].as_str().filter(is_there).map(str::to_owned);
        let mut shown = json!({ "type": "message", "text": message["text"], "blocks": message["blocks"] });
        if let Some(thread) = &thread {
            shown["thread_ts"] = json!(thread);
        }
        let ts = self.post(now, to.clone(), thread, message);
        shown["ts"] = json!(ts);
        as_json(200, &json!({ "ok": true, "channel": id, "ts": ts, "message": shown }))
    }

    fn post(&mut self, now: Duration, to: String, thread: Option<String>, message: Value) -> String {
        let ts = format!("{}.{:06}", 1_700_000_000 + now.as_secs(), self.posts.len());
        self.posts.push(Post { at: now, to, ts: ts.clone(), thread, message, edits: 0, is_deleted: false });
        ts
    }

    /// Somebody deletes a message: nothing can be posted below it any more. Where a test has asked for `thread_not_found`, that is what is said of it.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn delete(&mut self, ts: &str) {
        let post = self.posts.iter_mut().find(|post| post.ts == ts).expect("a message of its own");
        post.is_deleted = true;
    }

    /// A bucket that runs out by one in each interval.
    fn take_turn(&mut self, now: Duration, channel: &str, interval: Duration) -> Result<(), Refusal> {
        if self.is_hurried {
            return Ok(());
        }
        let next = self.next.get(channel).copied().unwrap_or_default().max(now);
        if next > now + interval * (BURST - 1) {
            return Err(Refusal::new(RATE_LIMITED, format!("more than one in {interval:?} to {channel}")));
        }
        self.next.insert(channel.to_owned(), next + interval);
        Ok(())
    }

    fn said(&self, now: Duration, channel: &str, refusal: &Refusal, is_api: bool) -> Reply {
        let is_too_fast = [RATE_LIMITED, RATELIMITED].contains(&refusal.word);
        let mut said = match is_api {
            true if is_too_fast => as_json(429, &json!({ "ok": false, "error": refusal.word })),
            // https://docs.slack.dev/apis/web-api/#slack-web-api__evaluating-responses
            true => as_json(200, &json!({ "ok": false, "error": refusal.word })),
            false => reply(status(refusal.word), refusal.word),
        };
        if is_too_fast {
            let next = self.next.get(channel).copied().unwrap_or_default();
            let wait = next.saturating_sub(now + INTERVAL * (BURST - 1));
            said.headers.push(("retry-after", wait.as_secs_f64().ceil().max(1.0).to_string()));
        }
        said
    }
}

/// How the addresses of the methods that it knows end.
const POST_MESSAGE: &str = "/api/chat.postMessage";
const UPDATE: &str = "/api/chat.update";
/// What is said of every edit where a test has asked for it.
const EDIT_WINDOW_CLOSED: &str = "edit_window_closed";
/// What the API says where a webhook says [`RATE_LIMITED`].
const RATELIMITED: &str = "ratelimited";

/// What is said of a message that should go below one that is not there:
/// <https://docs.slack.dev/reference/methods/conversations.replies#errors> has the word.
const THREAD_NOT_FOUND: &str = "thread_not_found";

/// With every sign beyond ASCII as `\u…`, as Slack writes it.
fn as_json(status: u16, said: &Value) -> Reply {
    let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
    let mut body = String::new();
    for sign in said.to_string().chars() {
        match sign.is_ascii() {
            true => body.push(sign),
            false => sign.encode_utf16(&mut [0; 2]).iter().for_each(|unit| body.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    Reply { status, headers, body }
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
        let asked = Asked {
            method: "POST",
            path: "/T/B/x",
            content_type: Some("application/json"),
            authorization: None,
            body: body.as_bytes(),
        };
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

    #[test]
    fn a_call_of_an_app_is_answered_under_200_whatever_is_wrong() {
        let mut strict = Strict::new().with_app("xoxb-1", &["#email"]);
        let mut call = |authorization: Option<&str>, channel: &str| {
            let body = json!({ "channel": channel, "text": "x" }).to_string();
            let content_type = Some("application/json; charset=utf-8");
            let path = "/api/chat.postMessage";
            let asked = Asked { method: "POST", path, content_type, authorization, body: body.as_bytes() };
            let said = strict.answer(Duration::ZERO, asked);
            let body: Value = serde_json::from_str(&said.body).expect("JSON");
            (said.status, body["error"].as_str().unwrap_or("none").to_owned(), body["ok"] == true)
        };
        let mut row = |authorization, channel, status, error: &str| {
            let expected = (status, error.to_owned(), error == "none");
            assert_eq!(call(authorization, channel), expected, "{authorization:?} {channel}");
        };
        row(None, "#email", 200, "not_authed");
        row(Some("Bearer xoxb-2"), "#email", 200, "invalid_auth");
        row(Some("xoxb-1"), "#email", 200, "invalid_auth");
        row(Some("Bearer xoxb-1"), "#nowhere", 200, "channel_not_found");
        row(Some("Bearer xoxb-1"), "#other", 200, "not_in_channel");
        row(Some("Bearer xoxb-1"), "#archived", 200, "is_archived");
        row(Some("Bearer xoxb-1"), "#email", 200, "none");
        row(Some("Bearer xoxb-1"), "#email", 200, "none");
        row(Some("Bearer xoxb-1"), "#email", 429, "ratelimited");
        assert_eq!((strict.posts().len(), strict.posts()[0].to.as_str()), (2, "#email"));
    }

    #[test]
    fn a_message_goes_below_the_first_of_a_thread_in_its_channel_and_below_nothing_else() {
        let mut strict = Strict::hurried().with_app("xoxb-1", &["#email", "#shop"]);
        let post = |strict: &mut Strict, channel: &str, thread: Option<&str>| {
            let mut body = json!({ "channel": channel, "text": "ж" });
            thread.into_iter().for_each(|thread| body["thread_ts"] = json!(thread));
            let body = body.to_string();
            let (path, authorization) = ("/api/chat.postMessage", Some("Bearer xoxb-1"));
            let content_type = Some("application/json; charset=utf-8");
            let asked = Asked { method: "POST", path, content_type, authorization, body: body.as_bytes() };
            let said = strict.answer(Duration::ZERO, asked).body;
            assert!(said.is_ascii() && (said.contains("\\u0436") || said.contains("error")), "{said}");
            let said: Value = serde_json::from_str(&said).expect("JSON");
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            [of(&said["ts"]), of(&said["message"]["thread_ts"]), of(&said["error"])]
        };
        let [first, ..] = post(&mut strict, "#email", None);
        let [answer, thread, _] = post(&mut strict, "#email", Some(&first));
        assert_eq!(thread, first);
        for word in ["thread_not_found", "strict_thread_ts"] {
            strict.ask_for(word);
        }
        assert_eq!(post(&mut strict, "#shop", Some(&first))[2], "thread_not_found");
        assert_eq!(post(&mut strict, "#email", Some("1700000000.999999"))[2], "thread_not_found");
        assert_eq!(post(&mut strict, "#email", Some(&answer))[2], "strict_thread_ts");
        strict.delete(&first);
        assert_eq!(post(&mut strict, "#email", Some(&first))[2], "thread_not_found");
        let mut strict = Strict::hurried().with_app("xoxb-1", &["#email"]);
        let [first, ..] = post(&mut strict, "#email", None);
        strict.delete(&first);
        let [_, thread, error] = post(&mut strict, "#email", Some(&first));
        assert_eq!((thread.as_str(), error.as_str(), strict.posts()[1].thread.as_ref()), ("", "", None));
    }

    #[test]
    fn a_message_is_edited_by_the_id_of_its_channel_fifty_times_a_minute() {
        let mut strict = Strict::new().with_app("xoxb-1", &["#email", "#shop"]);
        let call = |strict: &mut Strict, at_ms: u64, method: &str, body: Value| -> Value {
            let body = body.to_string();
            let path = format!("/api/{method}");
            let content_type = Some("application/json; charset=utf-8");
            let authorization = Some("Bearer xoxb-1");
            let asked = Asked { method: "POST", path: &path, content_type, authorization, body: body.as_bytes() };
            serde_json::from_str(&strict.answer(Duration::from_millis(at_ms), asked).body).expect("JSON")
        };
        let blocks = json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "x" } }]);
        let posted =
            call(&mut strict, 0, "chat.postMessage", json!({ "channel": "#email", "text": "1", "blocks": blocks }));
        let (channel, ts) = (&posted["channel"], &posted["ts"]);
        let edited = call(&mut strict, 0, "chat.update", json!({ "channel": channel, "ts": ts, "text": "2" }));
        assert_eq!((&edited["ok"], &edited["ts"]), (&json!(true), ts));
        assert_eq!((&strict.posts()[0].message["text"], &strict.posts()[0].message["blocks"]), (&json!("2"), &blocks));
        call(&mut strict, 0, "chat.update", json!({ "channel": channel, "ts": ts, "text": "3", "blocks": [] }));
        assert_eq!((&strict.posts()[0].message["blocks"], strict.posts()[0].edits), (&json!([]), 2));
        let other = call(&mut strict, 0, "chat.postMessage", json!({ "channel": "#shop", "text": "1" }));
        let mut row = |at_ms: u64, body: Value, error: &'static str| {
            strict.ask_for(error);
            assert_eq!(call(&mut strict, at_ms, "chat.update", body.clone())["error"], error, "{body}");
        };
        row(0, json!({ "channel": channel, "ts": ts, "text": "4" }), "ratelimited");
        row(1000, json!({ "channel": channel, "ts": ts, "text": "4" }), "ratelimited");
        row(1000, json!({ "channel": other["channel"], "ts": other["ts"], "text": "4" }), "ratelimited");
        row(0, json!({ "channel": "#email", "ts": ts, "text": "4" }), "channel_not_found");
        row(0, json!({ "channel": channel, "ts": "1.2", "text": "4" }), "message_not_found");
        row(0, json!({ "channel": channel, "text": "4" }), "invalid_arguments");
        row(0, json!({ "channel": channel, "ts": ts, "blocks": [] }), "no_text");
        row(0, json!({ "channel": channel, "ts": ts, "text": "4", "username": "x" }), "strict_unknown_key");
        row(9000, json!({ "channel": channel, "ts": ts, "text": "4" }), "edit_window_closed");
        strict.delete(posted["ts"].as_str().expect("a time"));
        assert_eq!(
            call(&mut strict, 9000, "chat.update", json!({ "channel": channel, "ts": ts, "text": "4" }))["error"],
            "message_not_found"
        );
        let mut strict = Strict::new().with_app("xoxb-1", &["#email"]);
        call(&mut strict, 0, "chat.postMessage", json!({ "channel": "#email", "text": "1" }));
        for number in 0..52 {
            let edit = json!({ "channel": channel, "ts": ts, "text": number.to_string() });
            assert_eq!(call(&mut strict, number * 1200, "chat.update", edit)["ok"], true, "{number}");
        }
    }
}
