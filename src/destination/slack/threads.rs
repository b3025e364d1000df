//! Threads: messages that belong together stand below the first of them. They do where an event has the same values in some fields, and goes
//! to the same channel.
//!
//! What is known of a thread is where it began and when. It takes what comes within a day of that: an answer in a thread is seen by those who
//! follow it, and not in the channel, so that each day begins one that all see.

use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::super::Delivery;
use super::super::digest::{seen, shown};
use super::super::memory::Memo;
use crate::event::configured::read_shared_path;
use crate::event::{FieldId, FieldPath, FieldSet, FieldSetBuilder, RelayFields};
use crate::yaml::keys::{Key, Of, by_hand, key};
use crate::yaml::raw::{Node, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub const THREAD_BY: Key<()> = key("thread_by", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("With a `token`: fields, at most 8, written as in a match. Messages of events that have the same values there go into one thread, which the first of them begins; a new one begins after 24 hours. What has a value in none of them stands by itself, and so does what is urgent. Attempts are made one after the other.")
    .example("[campaign.id]")
    .otherwise("each message stands by itself");

/// How long a thread takes what belongs to it, from its first message on.
pub const LIVES: Duration = Duration::from_secs(24 * 60 * 60);
/// More fields would make a thread of each event.
const BY_MAX: usize = 8;
/// Bytes of a hash by which threads are told apart.
const KEY_BYTES: usize = 16;
/// Slack's times are a dozen digits and a point. What is longer is none.
const TS_BYTES_MAX: usize = 64;

/// Slack's words for a thread that takes no more, since what it began with is gone or locked:
/// <https://docs.slack.dev/reference/methods/chat.postMessage#errors>, and the words of methods that read threads.
const GONE: [&str; 5] = [
    "thread_not_found",
    "message_not_found",
    "invalid_thread_ts",
    "cannot_reply_to_message",
    "restricted_action_thread_locked",
];

/// Which messages belong together.
#[derive(Debug)]
pub struct Threads {
    fields: FieldSet,
    by: Vec<(String, FieldId)>,
    /// Also those that have a value in none of the fields.
    takes_all: bool,
}

/// One that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// What Slack knows its first message by.
    pub ts: String,
    /// When, unix milliseconds.
    pub began_ms: u64,
}

/// Reads `thread_by`; `None` where something is wrong with it, which has been told.
pub fn read(reader: &Reader, node: &Node) -> Option<Threads> {
    let mut fields = FieldSetBuilder::default();
    let items = reader.list(node);
    let help = || "write fields whose values belong together, like thread_by: [campaign.id]".to_owned();
    if items.is_empty() || items.len() > BY_MAX {
        reader.error_with(node.id, format!("`thread_by` are 1 to {BY_MAX} fields"), help());
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| read_field(reader, item, &mut fields)).collect();
    let by = read.into_iter().collect::<Option<_>>()?;
    Some(Threads { fields: fields.build(), by, takes_all: false })
}

/// The groups of a `digest:`; `None` where something is wrong with it, which is told elsewhere.
pub fn of_digest(digest: &Node) -> Option<Threads> {
    let mut fields = FieldSetBuilder::default();
    let paths: Vec<String> = match digest.get("by").map(|by| &by.value) {
        None => vec!["type".to_owned()],
        Some(Value::List(items)) => {
            items.iter().map(|item| Some(item.scalar()?.text.clone())).collect::<Option<_>>()?
        }
        Some(Value::Scalar(scalar)) => vec![scalar.text.clone()],
        Some(_) => return None,
    };
    let field = |path: String| FieldPath::parse(&path).ok().map(|parsed| (path, fields.add(&parsed)));
    let by = paths.into_iter().map(field).collect::<Option<_>>()?;
    Some(Threads { fields: fields.build(), by, takes_all: true })
}

fn read_field(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<(String, FieldId)> {
    let path = read_shared_path(reader, node, "campaign.id", "messages do not belong together")?;
    Some((path.to_string(), fields.add(&path)))
}

impl Threads {
    /// What tells the thread of a delivery from others: a hash of its values and its channel. `None` where it has no value, or cannot be
    /// read. All of a digest belong where its first does.
    pub fn key(&self, delivery: &Delivery, channel: &str) -> Option<String> {
        let values = self.values(delivery)?;
        let mut hash = Context::new(&SHA256);
        for part in values.iter().flat_map(|(path, value)| [*path, value.as_str()]).chain([channel]) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let hash = hash.finish();
        Some(hash.as_ref().iter().take(KEY_BYTES).map(|byte| format!("{byte:02x}")).collect())
    }

    /// What people call it: `campaign.id 42`.
    pub fn name(&self, delivery: &Delivery) -> Option<String> {
        let values = self.values(delivery)?;
        let named = values.iter().map(|(path, value)| format!("{path} {}", shown(value))).collect::<Vec<_>>();
        Some(if named.is_empty() { "all events".to_owned() } else { named.join(", ") })
    }

    /// Its values as they are seen, where it has any: what looks the same belongs together, as in a digest. What was put together before the
    /// config said so may belong to several threads, and has none.
    pub fn values(&self, delivery: &Delivery) -> Option<Vec<(&str, String)>> {
        if delivery.digest.as_deref().is_some_and(|digest| digest.address.is_none()) {
            return None;
        }
        let relay = RelayFields { source: &delivery.source, received_ms: delivery.event.received_ms };
        let event = self.fields.read(&delivery.event.body, relay).ok()?;
        let value = |id| seen(event.fields.told(&self.fields, id).unwrap_or_default());
        let values: Vec<_> = self.by.iter().map(|(path, id)| (path.as_str(), value(*id))).collect();
        (self.takes_all || values.iter().any(|(_, value)| !value.is_empty())).then_some(values)
    }
}

impl Thread {
    /// What was left behind, if it is one that takes more.
    pub fn known(memo: &Memo, now_ms: u64) -> Option<Self> {
        let (ts, began_ms) = memo.as_deref()?.split_once(' ')?;
        let began_ms = began_ms.parse().ok()?;
        let is_young = now_ms.saturating_sub(began_ms) < LIVES.as_millis() as u64;
        (is_young && is_ts(ts)).then(|| Self { ts: ts.to_owned(), began_ms })
    }

    /// The same to be left behind.
    pub fn memo(&self) -> Memo {
        Some(format!("{} {}", self.ts, self.began_ms))
    }
}

fn is_ts(text: &str) -> bool {
    (1..=TS_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether Slack says that a thread takes no more.
pub fn is_gone(answer: &[u8]) -> bool {
    says(answer, &GONE)
}

/// Whether Slack says no, by one of some words.
pub fn says(answer: &[u8], words: &[&str]) -> bool {
    let said: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    said.is_some_and(|said| said["ok"] == false && said["error"].as_str().is_some_and(|word| words.contains(&word)))
}

/// Which thread goes on after an answer that says that a message was posted: the one that was asked for, or the one that the message begins.
///
/// Where what a thread began with is deleted, Slack posts into the channel and says so by nothing but the lack of `thread_ts` in the `message` of
/// its answer: <https://github.com/slack-go/slack/issues/1571>.
pub fn after(asked: Option<Thread>, answer: &[u8], now_ms: u64) -> Option<Thread> {
    let said: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let message = &said["message"];
    let stands_below = !message.is_object() || message["thread_ts"].is_string();
    let begun = || said["ts"].as_str().filter(|ts| is_ts(ts)).map(|ts| Thread { ts: ts.to_owned(), began_ms: now_ms });
    asked.filter(|_| stands_below).or_else(begun)
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::sample;
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn threads(by: &[&str]) -> Threads {
        let mut fields = FieldSetBuilder::default();
        let by = by.iter().map(|path| ((*path).to_owned(), fields.add(&FieldPath::parse(path).expect("a path"))));
        let by = by.collect();
        Threads { fields: fields.build(), by, takes_all: false }
    }

    fn event(body: &str) -> Delivery {
        sample(body.to_owned(), 1_700_000_000_000)
    }

    #[test]
    fn messages_with_the_same_values_in_one_channel_belong_together_and_no_others() {
        let by = threads(&["campaign.id", "type"]);
        let key = |body: &str, channel: &str| by.key(&event(body), channel);
        let one = key(r#"{"type":"bounced","campaign":{"id":7,"name":"A"}}"#, "#email");
        assert!(one.as_ref().is_some_and(|key| key.len() == 2 * KEY_BYTES));
        assert_eq!(one, key(r#"{"campaign":{"name":"B","id":7},"type":"bounced"}"#, "#email"));
        for (body, channel) in [
            (r#"{"type":"bounced","campaign":{"id":8}}"#, "#email"),
            (r#"{"type":"opened","campaign":{"id":7}}"#, "#email"),
            (r#"{"type":"bounced"}"#, "#email"),
            (r#"{"type":"bounced","campaign":{"id":""}}"#, "#email"),
            (r#"{"type":"bounced","campaign":{"id":7}}"#, "#shop"),
        ] {
            assert_ne!(one, key(body, channel), "{body} {channel}");
        }
        assert_ne!(
            one,
            threads(&["type", "campaign.id"]).key(&event(r#"{"type":"bounced","campaign":{"id":7}}"#), "#email")
        );
    }

    #[test]
    fn what_looks_the_same_belongs_together_and_a_value_that_shows_nothing_is_none() {
        let by = threads(&["campaign.name", "type"]);
        let key = |name: &str| by.key(&event(&format!(r#"{{"type":"t","campaign":{{"name":"{name}"}}}}"#)), "#email");
        let plain = key("Spring newsletter");
        for name in ["Spring  newsletter", "Spring\\nnewsletter", " Spring newsletter\u{200b}"] {
            assert_eq!(plain, key(name), "{name:?}");
        }
        assert_ne!(plain, key("Springnewsletter"));
        let missing = by.key(&event(r#"{"type":"t"}"#), "#email");
        for name in ["", " ", "\u{200b}", "(none)"] {
            assert_eq!(missing, key(name), "{name:?}");
        }
        let by = threads(&["campaign.name"]);
        for body in [r#"{"type":"t"}"#, r#"{"type":"t","campaign":{"name":" "}}"#] {
            assert_eq!(by.key(&event(body), "#email"), None, "{body}");
        }
    }

    #[test]
    fn what_has_a_value_in_none_of_the_fields_stands_by_itself() {
        let by = threads(&["campaign.id", "campaign.name"]);
        assert_eq!(by.key(&event(r#"{"type":"user_created"}"#), "#email"), None);
        assert_eq!(by.name(&event(r#"{"type":"user_created"}"#)), None);
        let half = event(r#"{"type":"sent","campaign":{"name":"Spring\nnewsletter"}}"#);
        assert!(by.key(&half, "#email").is_some());
        assert_eq!(by.name(&half).as_deref(), Some("campaign.id (none), campaign.name Spring newsletter"));
    }

    #[test]
    fn a_thread_takes_what_comes_within_a_day_of_its_first_message() {
        let thread = Thread { ts: "1700000000.000100".to_owned(), began_ms: 1_700_000_000_000 };
        let at = |now_ms| Thread::known(&thread.memo(), now_ms);
        assert_eq!(at(thread.began_ms + DAY_MS - 1), Some(thread.clone()));
        assert_eq!(at(thread.began_ms + DAY_MS), None);
        assert_eq!(at(thread.began_ms - 1), Some(thread.clone()), "a clock was set back");
        for memo in ["", " 1", "1.2", "1.2 x", "<!channel> 1700000000000", "1.2 1700000000000 3"] {
            assert_eq!(Thread::known(&Some(memo.to_owned()), 1_700_000_000_000), None, "{memo}");
        }
        assert_eq!(Thread::known(&None, 0), None);
    }

    #[test]
    fn an_answer_says_which_thread_goes_on() {
        let asked = Thread { ts: "1.1".to_owned(), began_ms: 1 };
        #[track_caller]
        fn check(asked: Option<&Thread>, answer: &str, expected: Option<(&str, u64)>) {
            let goes_on = after(asked.cloned(), answer.as_bytes(), 9);
            assert_eq!(goes_on.as_ref().map(|thread| (thread.ts.as_str(), thread.began_ms)), expected, "{answer}");
        }
        check(None, r#"{"ok":true,"ts":"2.2","message":{"text":"x"}}"#, Some(("2.2", 9)));
        check(None, r#"{"ok":true}"#, None);
        check(None, r#"{"ok":true,"ts":"no time"}"#, None);
        check(Some(&asked), r#"{"ok":true,"ts":"2.2","message":{"thread_ts":"1.1"}}"#, Some(("1.1", 1)));
        check(Some(&asked), r#"{"ok":true,"ts":"2.2","message":{"text":"x"}}"#, Some(("2.2", 9)));
        check(Some(&asked), r#"{"ok":true,"ts":"2.2"}"#, Some(("1.1", 1)));
    }

    #[test]
    fn a_thread_is_gone_by_some_words_and_no_others() {
        for word in GONE {
            assert!(is_gone(format!(r#"{{"ok":false,"error":"{word}"}}"#).as_bytes()), "{word}");
            assert!(!is_gone(format!(r#"{{"ok":true,"error":"{word}"}}"#).as_bytes()), "{word}");
        }
        for body in [r#"{"ok":false,"error":"channel_not_found"}"#, r#"{"ok":false}"#, "thread_not_found", ""] {
            assert!(!is_gone(body.as_bytes()), "{body}");
        }
    }
}
