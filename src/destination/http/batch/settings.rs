//! The keys of `batch:` → [`Batch`].

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Body, JSON, TEXT, Target};
use super::{BYTES_MAX, Batch, Form};
use crate::destination::Batching;
use crate::destination::template::is_template;
use crate::secret::{Secret, names_a_secret};
use crate::yaml::keys::{Defaulted, Key, Of, Section, boolean, by_hand, duration, key, text, whole, word};
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// No partner that is known takes more at once, and all of them are tried again where one of them is refused.
const MAX: RangeInclusive<u64> = 1..=1000;
/// What may wait for longer is a digest.
const EVERY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const FORMATS: [&str; 2] = ["array", NDJSON];
const NDJSON: &str = "ndjson";

pub(in super::super) const BATCH: Key<()> = key("batch", by_hand(Of::Map(keys)))
    .about("One request for many events. Its URL is the same for all. What is refused is tried again by halves, until what is bad stands alone. Not beside `digest`, `urgent` or `quiet`.")
    .example("{ max: 100, every: 1s }")
    .otherwise("a request for each event");
const BATCH_MAX: Defaulted<u64> = key("max", whole(*MAX.start()..=*MAX.end()))
    .about_made(|| format!("So many events at most. A request has {BYTES_MAX} bytes at most as well, but for an event that is larger by itself: it goes alone."))
    .example("500")
    .default(100);
const BATCH_EVERY: Defaulted<Duration> = key("every", duration(EVERY))
    .about("For so long the first waits for others, where fewer than `max` are there; what was tried before, or stood behind another of its `order_by`, waits for none. `0s`: what is there goes.")
    .example("5s")
    .default(Duration::from_secs(1));
const FORMAT: Key<String> = key("format", word(&FORMATS))
    .about("A JSON array, or each event on a line of its own (`application/x-ndjson`, unless `headers` say otherwise).")
    .example(NDJSON)
    .default(FORMATS[0]);
const WRAP: Key<String> = key("wrap", text())
    .seen(Sight::All)
    .about("The array stands in an object, under this key.")
    .example("events")
    .otherwise("the array alone");
const BESIDE: Key<()> = key("beside", by_hand(Of::SecretsByName))
    .about("With `wrap`: what stands in the object beside the array, texts that are the same for each request.")
    .example("{ writeKey: \"${SEGMENT_WRITE_KEY}\" }");
const ENVELOPE: Defaulted<bool> = key("envelope", boolean())
    .about("Each event is `{\"id\", \"received_at\", \"source\", \"event\": {…}}`, as in a file, so that the receiver can tell which it has. Not beside `json` or `text`, which can hold `{{ relay.id }}`.")
    .example("true")
    .default(false);

fn keys() -> Section {
    let keys = [BATCH_MAX.info, BATCH_EVERY.info, FORMAT.info, WRAP.info, BESIDE.info, ENVELOPE.info];
    Section::of(&keys).besides(json!({ "dependentRequired": { BESIDE.info.name: [WRAP.info.name] } }))
}

/// Reads it, beside where the requests go and what an event is by itself. `None` where something is wrong, which has been told.
pub(in super::super) fn read(
    reader: &Reader,
    node: &Node,
    target: Option<&Target>,
    body: Option<&Body>,
) -> Option<Batch> {
    let mut entries = reader.map(node, "`batch`")?;
    let errors = reader.errors();
    let max = entries.value(&BATCH_MAX) as usize;
    let every = entries.value(&BATCH_EVERY);
    let format = entries.node(&FORMAT.info);
    let form = format.map_or(Some(FORMATS[0]), |node| read_format(reader, node));
    let wrap_node = entries.node(&WRAP.info);
    let wrap = wrap_node.and_then(|node| reader.text(node));
    let beside_node = entries.node(&BESIDE.info);
    let beside = read_beside(reader, beside_node);
    let envelope = entries.node(&ENVELOPE.info);
    let has_envelope = envelope.and_then(|node| reader.boolean(node)).unwrap_or(ENVELOPE.default);
    entries.finish();
    let is_lines = form? == NDJSON;
    if let (Some(node), true) = (wrap_node, is_lines) {
        let help = "take it out, or write format: array".to_owned();
        reader.error_with(node.id, "`wrap` puts an array into an object, and these are lines", help);
    }
    if let (Some(node), Some("")) = (wrap_node, wrap) {
        reader.error_with(node.id, "`wrap` is empty", "write wrap: events, or take it out".to_owned());
    }
    if let (Some(node), None) = (beside_node, wrap_node) {
        let help = "write wrap: events too, or take it out".to_owned();
        reader.error_with(
            node.id,
            "`beside` stands in an object with the array, and without `wrap` there is none",
            help,
        );
    }
    if let Some((at, _, _)) = beside.iter().find(|(_, name, _)| Some(name.as_str()) == wrap) {
        let help = "give one of them another name".to_owned();
        reader.error_with(*at, "this is the key of the array, by `wrap`", help);
    }
    if let Some(node) = wrap_node.filter(|_| wrap.is_some_and(is_template)) {
        let help = "write a key as it is, like wrap: events".to_owned();
        reader.error_with(node.id, "`wrap` is one key for all events of a request, and this is made of an event", help);
    }
    if let Some(Target::Templated(_)) = target {
        let help = "write a URL without templates, or take `batch` out".to_owned();
        reader.error_with(node.id, "events that go together go to one URL, and this one is made of an event", help);
    }
    let other = match body {
        Some(Body::Json(_)) => Some(JSON.info.name),
        Some(Body::Text(_)) => Some(TEXT.info.name),
        _ => None,
    };
    if let (Some(node), true, Some(other)) = (envelope, has_envelope, other) {
        let help = format!("take it out, and write {{{{ relay.id }}}} into `{other}`");
        reader.error_with(node.id, format!("`envelope` holds an event as it came, and `{other}` makes one anew"), help);
    }
    let is_text = matches!(body, Some(Body::Text(_)));
    if is_text && !is_lines {
        let help = "write format: ndjson, for a line for each; or `json` in its place".to_owned();
        let at = format.unwrap_or(node).id;
        reader.error_with(at, "a text has no place in a JSON array", help);
    }
    let form = match wrap {
        _ if is_lines => Form::Lines,
        Some(key) => {
            let text = |text: &str| Value::from(text).to_string();
            let beside: String =
                beside.iter().map(|(_, name, value)| format!("{}:{},", text(name), text(value.expose()))).collect();
            Form::Array { head: format!("{{{beside}{}:[", text(key)), tail: "]}" }
        }
        None => Form::Array { head: "[".to_owned(), tail: "]" },
    };
    let batching = Batching { max, every, bytes_max: BYTES_MAX };
    (reader.errors() == errors).then_some(Batch { batching, form, has_envelope, is_text })
}

/// Where each stands, its name and its value.
fn read_beside(reader: &Reader, node: Option<&Node>) -> Vec<(NodeId, String, Secret)> {
    let mut entries = node.and_then(|node| reader.map(node, "`beside`"));
    let mut read = Vec::new();
    for (key, value) in entries.as_mut().map(|entries| entries.rest()).unwrap_or_default() {
        if names_a_secret(&key.text) {
            reader.note_secret(value);
        }
        let Some(secret) = reader.secret(value) else { continue };
        if is_template(secret.expose()) {
            let help = "write what is of an event into `json`".to_owned();
            reader.secret_error_with(value.id, "what stands beside the array is the same for each request", help);
            continue;
        }
        read.push((key.id, key.text.clone(), secret));
    }
    read
}

fn read_format(reader: &Reader, node: &Node) -> Option<&'static str> {
    let text = reader.text(node)?;
    let found = FORMATS.into_iter().find(|known| *known == text);
    if found.is_none() {
        let help = match text.to_lowercase().as_str() {
            "jsonl" | "json-lines" | "lines" | "nd-json" => "write format: ndjson",
            _ => "write array or ndjson",
        };
        reader.error_with(node.id, format!("`{text}` is no format of a batch"), help.to_owned());
    }
    found
}
