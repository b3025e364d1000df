//! `outcomes:` and `retry_hint:`: what an answer means by what it says, where its status does not tell. Pure.

use std::borrow::Cow;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::json;

use crate::destination::answer::{self, Meaning};
use crate::destination::client::{ANSWER_BYTES_MAX, Answer};
use crate::destination::retry_after;
use crate::event::{Json, Value};
use crate::rules::operators::{Argument, Holds, OPERATORS, Operator, OperatorKind, Setting, equals_any};
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Key, Of, Section, by_hand, key, text};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{self, Node, NodeId, Scalar, Style};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const OUTCOMES: Key<()> = key("outcomes", by_hand(Of::List(keys)))
    .about_made(|| format!("What an answer means by what it says: the first that fits counts, then `answers`, then the [table](#what-an-answer-means). The first {} KiB of an answer are looked at.", ANSWER_BYTES_MAX >> 10))
    .example("[{ status: 2xx, match: { ok: false }, outcome: reject }]");
pub(super) const RETRY_HINT: Key<String> = key("retry_hint", text())
    .seen(Sight::All)
    .about("Where in an answer's JSON stands how many seconds to wait: keys, with dots between. `Retry-After` and its like win.")
    .example("parameters.retry_after");

const STATUS: Key<()> = key("status", by_hand(Of::Own("status", statuses)))
    .seen(Sight::All)
    .about("A status like 400, or `4xx` for all of them.")
    .example("400")
    .otherwise("any status");
const MATCH: Key<()> =
    key("match", by_hand(Of::Own("map of keys to values or operators", || json!({ "type": "object", "minProperties": 1 }))))
        .seen(Sight::All)
        .about("What the answer's JSON says, all of it: keys, with dots between, and behind each a value, a list of values, or [operators](#match-maps). An answer that is no JSON does not fit.")
        .example("{ error.code: chat_not_found }");
const TEXT: Key<()> =
    key("text", by_hand(Of::Own("value or operators", || json!({ "type": ["string", "object", "array"] }))))
        .seen(Sight::All)
        .about("What the answer says as a text.")
        .example("{ contains: \"HTTP error 429\" }");
const OUTCOME: Key<String> = key("outcome", by_word()).about("What it means then. `skip`: there is nothing to do for this event, and none of it is a failure; it is neither delivered nor a dead letter, and pauses nothing.").example("pause").required();

/// `2xx` is any of a hundred.
fn statuses() -> serde_json::Value {
    let text = json!({ "type": "string", "pattern": "^[1-5]([0-9][0-9]|xx)$|\\$\\{" });
    json!({ "anyOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, text] })
}

const fn by_word() -> crate::yaml::keys::Shape<String> {
    crate::yaml::keys::word(&answer::WORDS)
}

fn keys() -> Section {
    Section::of(&[STATUS.info, MATCH.info, TEXT.info, OUTCOME.info])
        .besides(json!({ "anyOf": [{ "required": ["status"] }, { "required": ["match"] }, { "required": ["text"] }] }))
}

/// What a section says of answers.
#[derive(Default)]
pub(super) struct Said {
    outcomes: Vec<Fit>,
    retry_hint: Option<String>,
}

/// An answer of which something is said.
struct Fit {
    status: Option<Status>,
    /// Keys of its JSON, each with what holds of the value there.
    json: Vec<(String, Test)>,
    text: Option<Test>,
    meaning: Meaning,
}

/// All of them hold, of each one of some.
type Test = Vec<Vec<Box<dyn Operator>>>;

#[derive(Clone, Copy)]
enum Status {
    One(u16),
    /// The first digit of all of them.
    All(u16),
}

impl Said {
    pub fn read(reader: &Reader, entries: &mut Entries<'_, '_>) -> Self {
        let node = entries.node(&OUTCOMES.info);
        let hint_node = entries.node(&RETRY_HINT.info);
        let retry_hint = hint_node.and_then(|node| reader.text(node)).map(str::to_owned);
        if let (Some(node), Some(path)) = (hint_node, &retry_hint) {
            check_path(reader, node.id, path);
        }
        let items = match node.map(|node| (node, &node.value)) {
            Some((_, raw::Value::List(items))) => items.as_slice(),
            Some((node, _)) => {
                let help = format!("write outcomes: {}", OUTCOMES.info.example);
                reader.error_with(node.id, format!("`outcomes` is a list, and this is {}", node.kind()), help);
                &[]
            }
            None => &[],
        };
        Self { outcomes: items.iter().filter_map(|item| read_one(reader, item)).collect(), retry_hint }
    }

    /// What an answer means, where that is said of it.
    pub fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        if self.outcomes.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&answer.body);
        let json = Json::read(&text);
        self.outcomes.iter().find(|fit| fit.fits(answer.status, &json, &text)).map(|fit| fit.meaning)
    }

    /// How long an answer asks to wait in its body.
    pub fn after(&self, answer: &Answer) -> Option<Duration> {
        let path = self.retry_hint.as_deref()?;
        let json = Json::read(&String::from_utf8_lossy(&answer.body));
        match find(&json, path)? {
            Json::Number(text) | Json::String(text) => retry_after::seconds(text),
            _ => None,
        }
    }
}

impl Fit {
    fn fits(&self, status: u16, json: &Json, text: &str) -> bool {
        let is_its = self.status.is_none_or(|known| match known {
            Status::One(known) => known == status,
            Status::All(digit) => status / 100 == digit,
        });
        let has = |(path, test): &(String, Test)| {
            let found: Vec<_> = find(json, path).map(|json| (0, value(json))).into_iter().collect();
            holds(test, &found)
        };
        let says = |test: &Test| holds(test, &[(0, Value::String(text.into()))]);
        is_its
            && (self.json.is_empty() || matches!(json, Json::Object(_)) && self.json.iter().all(has))
            && self.text.as_ref().is_none_or(says)
    }
}

fn holds(test: &Test, found: &[(u32, Value<'_>)]) -> bool {
    test.iter().all(|any| any.iter().any(|operator| operator.holds(found)))
}

fn find<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    path.split('.').try_fold(json, |json, key| json.member(key))
}

fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(text) => Value::Number(text),
        Json::String(text) => Value::String(Cow::Borrowed(text)),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(_) => Value::Object,
    }
}

fn read_one(reader: &Reader, node: &Node) -> Option<Fit> {
    let errors_before = reader.errors();
    let mut entries = reader.map(node, "an outcome")?;
    let status_node = entries.node(&STATUS.info);
    let status = status_node.and_then(|node| read_status(reader, node));
    let fields = entries.node(&MATCH.info);
    let text = entries.node(&TEXT.info);
    let outcome = entries.node(&OUTCOME.info);
    entries.finish();
    if status_node.is_none() && fields.is_none() && text.is_none() {
        let help = "write a status, or answers: { 404: reject }".to_owned();
        reader.error_with(node.id, "this would be the outcome of every answer", help);
    }
    let mut json = Vec::new();
    for (key, value) in
        fields.and_then(|node| reader.map(node, "`match` of an outcome")).map(|mut map| map.rest()).unwrap_or_default()
    {
        check_path(reader, key.id, &key.text);
        json.extend(read_test(reader, value).map(|test| (key.text.clone(), test)));
    }
    if let Some(node) = fields.filter(|node| node.entries().is_empty()) {
        says_nothing(reader, node);
    }
    let text = text.and_then(|node| read_test(reader, node));
    let word = outcome.and_then(|node| Some((node, reader.text(node)?)));
    let meaning = word.and_then(|(node, word)| answer::read_meaning(reader, node, word));
    let fit = Fit { status, json, text, meaning: meaning? };
    (reader.errors() == errors_before).then_some(fit)
}

fn read_status(reader: &Reader, node: &Node) -> Option<Status> {
    let text = reader.text(node)?;
    let digits = text.strip_suffix("xx");
    let status = match digits {
        Some(digit) => digit.parse().ok().filter(|digit| (1..=5).contains(digit)).map(Status::All),
        None => text.parse().ok().filter(|status| (100..600).contains(status)).map(Status::One),
    };
    if status.is_none() {
        reader.error_with(node.id, format!("`{text}` is no status"), "write a status like 400, or 4xx".to_owned());
    }
    status
}

/// Tells of what is no path in an answer.
fn check_path(reader: &Reader, at: NodeId, path: &str) {
    if path.split('.').any(str::is_empty) {
        let help = "write keys with dots between, like error.code".to_owned();
        reader.error_with(at, format!("`{path}` is no path in an answer"), help);
    }
}

/// Tells of a map that is empty, and would fit every answer.
fn says_nothing(reader: &Reader, node: &Node) {
    let help = "write what it says, like { contains: \"too many\" }, or take it out".to_owned();
    reader.error_with(node.id, "every answer would fit this: it says nothing of one", help);
}

/// A value, a list of values, or a map of operators.
fn read_test(reader: &Reader, node: &Node) -> Option<Test> {
    let raw::Value::Map(entries) = &node.value else {
        let values: Vec<_> = reader.list(node).into_iter().map(|node| argument(reader, node)).collect::<Option<_>>()?;
        return Some(vec![vec![equals_any(&values, false)]]);
    };
    if entries.is_empty() {
        says_nothing(reader, node);
        return None;
    }
    let built = entries.iter().map(|(key, node)| {
        if key.text == "equals" {
            return read_test(reader, node)?.into_iter().next();
        }
        let is_known = |operator: &&OperatorKind| operator.name == key.text && operator.of.contains(&Holds::Anything);
        let Some(operator) = OPERATORS.into_iter().find(is_known) else {
            let of_any = OPERATORS.into_iter().filter(|operator| operator.of.contains(&Holds::Anything));
            let names: Vec<_> = of_any.map(|operator| operator.name).collect();
            let help = did_you_mean(&key.text, names.iter().copied())
                .unwrap_or_else(|| format!("write a value, or an operator: {}", names.join(", ")));
            reader.error_with(key.id, format!("an answer is not looked at by `{}`", key.text), help);
            return None;
        };
        let one = |node: &Node| {
            let setting = Setting { ignore_case: false, holds: Holds::Anything, zone: &TimeZone::UTC };
            (operator.build)(&argument(reader, node)?, &setting).map_err(|fault| reader.fault(node.id, fault)).ok()
        };
        reader.list(node).into_iter().map(one).collect()
    });
    built.collect::<Option<Test>>().filter(|test| !test.is_empty())
}

fn argument(reader: &Reader, node: &Node) -> Option<Argument> {
    let Some(Scalar { text, style, .. }) = node.scalar() else {
        reader.error_with(
            node.id,
            format!("this should be a value, and it is {}", node.kind()),
            "write one value".to_owned(),
        );
        return None;
    };
    match style {
        Style::Null => Some(Argument::Null),
        Style::Bool(is) => Some(Argument::Bool(*is)),
        Style::Number => Some(Argument::Number(text.clone())),
        Style::String => Some(Argument::Text(text.clone())),
        Style::Unresolved => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::destination::sample::built;
    use crate::destination::{Client, Outcome, client, sample};

    /// What becomes of a delivery by a section's `outcomes`, of each answer.
    #[track_caller]
    fn check(outcomes: &str, rows: &[(u16, &str, &str)]) {
        for (status, body, expected) in rows {
            let (status, body) = (*status, Bytes::from((*body).to_owned()));
            let said = body.clone();
            let answer = move |_: &client::Call| Some(Answer { status, headers: HeaderMap::new(), body: said.clone() });
            let section = format!(
                "{{ url: \"http://127.0.0.1:1/x\", outcomes: {outcomes}, retry_hint: parameters.retry_after }}"
            );
            let http = built("http", &section, "", &Client::scripted(answer)).unwrap_or_else(|told| panic!("{told:?}"));
            let delivery = sample::sample(r#"{"type":"sent"}"#, 0);
            let outcomes = futures_util::FutureExt::now_or_never(http.attempt(std::slice::from_ref(&delivery)));
            let outcome = outcomes.expect("it is scripted").remove(0);
            let after = match &outcome {
                Outcome::Retry { after: Some(after), .. } => format!(" {}", after.as_secs()),
                _ => String::new(),
            };
            assert_eq!(format!("{}{after}", outcome.name()), *expected, "{status} {body:?}");
        }
    }

    #[test]
    fn the_first_that_fits_counts_and_then_the_table() {
        check(
            "[{ match: { parameters.migrate_to_chat_id: { exists: true } }, outcome: pause }, { status: 400, match: { description: { contains: \"chat not found\" } }, outcome: pause }, { status: 2xx, match: { ok: false }, outcome: retry }]",
            &[
                (200, r#"{"ok":true}"#, "delivered"),
                (200, r#"{"ok":false}"#, "retry"),
                (200, r#"{"ok":"false"}"#, "delivered"),
                (200, "not JSON", "delivered"),
                (400, r#"{"ok":false,"description":"Bad Request: chat not found"}"#, "pause"),
                (400, r#"{"ok":false,"description":"Bad Request: can't parse entities"}"#, "reject"),
                (403, r#"{"description":"chat not found"}"#, "retry"),
                (400, r#"{"parameters":{"migrate_to_chat_id":-100}}"#, "pause"),
                (429, r#"{"parameters":{"retry_after":7.2}}"#, "retry 8"),
                (429, r#"{"parameters":{"retry_after":"soon"}}"#, "retry"),
                (503, "", "retry"),
            ],
        );
        check(
            "[{ status: 2xx, text: { contains: \"HTTP error 429\" }, outcome: retry }, { status: 2xx, text: { contains: failed }, outcome: reject }]",
            &[
                (200, "1", "delivered"),
                (200, "Webhook message delivery failed with error: HTTP error 429", "retry"),
                (200, "Webhook message delivery failed", "reject"),
                (404, "failed", "retry"),
            ],
        );
        check(
            "[{ status: 2xx, match: { status: success }, outcome: delivered }, { status: 2xx, match: { status: { exists: true } }, outcome: reject }, { status: 422, outcome: delivered }]",
            &[
                (202, r#"{"status":"success"}"#, "delivered"),
                (202, r#"{"status":"invalid key"}"#, "reject"),
                (202, "{}", "delivered"),
                (422, "", "delivered"),
            ],
        );
    }
}
