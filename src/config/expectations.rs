//! `tests:` → [`ConfigTest`]s: what the config is expected to do with an event. Read here, run by `check` alone.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::json;

use super::names::Names;
use super::rules::{self, NAME_BYTES_MAX};
use super::sources::Source;
use super::{DestinationConfig, meant};
use crate::deliver::sorting::Sorting;
use crate::destination::{KINDS, kind_named};
use crate::event::{FieldSetBuilder, Json, Refused, RelayFields, Written};
use crate::rules::RuleSet;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Key, Of, Section, by_hand, form, key, text};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{self, Node, NodeId, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

#[derive(Debug)]
pub struct ConfigTest {
    pub name: String,
    pub event: TestEvent,
    /// The source that it comes in by.
    pub source: String,
    /// When it comes in, unix milliseconds; `None`: when the test is run.
    pub received_ms: Option<u64>,
    /// The destinations that it is to go to and no others, by their places; `None`: whichever.
    pub to: Option<Vec<usize>>,
    /// Those at which it is to be urgent, and at no others; `None`: wherever.
    pub urgent: Option<Vec<usize>>,
    /// Those at which it is to join a digest, unless it is one of the first, and at no others; `None`: wherever.
    pub gathered: Option<Vec<usize>>,
    /// What is expected of what destinations get.
    pub content: Vec<ExpectedContent>,
}

/// What is expected of what a destination gets.
#[derive(Debug)]
pub struct ExpectedContent {
    /// Its place.
    pub destination: usize,
    /// It is what it gets of several such events together.
    pub is_of_digest: bool,
    /// The part of its content that is looked at; `None`: all of it.
    pub part: Option<&'static str>,
    /// Rules of one rule on [`CONTENT_FIELD`](ConfigTest::CONTENT_FIELD).
    pub condition: RuleSet,
}

impl ConfigTest {
    /// The field that conditions on a content are about.
    pub const CONTENT_FIELD: &str = rules::CONTENT_FIELD;
}

/// Where a test's event is.
#[derive(Debug)]
pub enum TestEvent {
    /// Here: it has been read, and it is an event.
    Body(Vec<u8>),
    /// In a file, which is read when the test is run: a file that is gone must not keep a relay from starting.
    File {
        path: PathBuf,
        /// The same, fit to be shown.
        shown: String,
    },
}

const NAME: Key<String> = key("name", form("^(.|\\n)+$", "text"))
    .seen(Sight::All)
    .about("What it claims; it is told when it fails. No two alike.")
    .example("a hard bounce of a receipt wakes somebody")
    .required();
const EVENT: Key<()> = key("event", by_hand(Of::Own("map", || json!({ "type": "object" }))))
    .about("The event's body.")
    .example("{ type: bounced, bounce_type: hard }");
const FILE: Key<String> = key("file", text())
    .seen(Sight::All)
    .about("A file with the event's body, relative to this one.")
    .example("samples/bounced.json");
const SOURCE: Key<String> =
    key("source", text()).seen(Sight::All).about("By which source it comes in.").example("vero").otherwise("the first");
const RECEIVED_AT: Key<String> = key("received_at", text())
    .seen(Sight::All)
    .about("When it comes in, with `Z` or what it is ahead of UTC: rules may ask for its age.")
    .example("\"2026-01-31T09:00:00Z\"")
    .otherwise("now");
const EXPECT: Key<()> = key("expect", by_hand(Of::Map(expect_keys)))
    .about("What must come of it.")
    .example("{ to: [alerts, archive] }")
    .required();
const TO: Key<()> = key("to", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The destinations, exactly; `[]` is none.")
    .example("[alerts, archive]");
const URGENT: Key<()> = key("urgent", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The destinations at which it is urgent, exactly; `[]` is none.")
    .example("[alerts]");
const GATHERED: Key<()> = key("gathered", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The destinations whose `digest` it joins, exactly, unless it is one of the `first`; `[]` is none: it goes out by itself.")
    .example("[chat]");
const DIGEST: Key<()> = key("digest", by_hand(Of::Own("map of names to operators", content_schema)))
    .about("What a destination would get of three such events as one message, as `content` is written.")
    .example("{ chat: { contains: \"3 × bounced\" } }");
const CONTENT: Key<()> = key("content", by_hand(Of::Own("map of names to operators", content_schema)))
    .about("What a destination would get (the body of the request, the message's JSON, the line, an email's text and HTML together), under the operators of a match map. Of an email also by its parts: `to`, `subject`, `text` and `html`, each with what is expected of it.")
    .example("{ alerts: { contains: Receipt }, mail: { subject: { starts_with: Bounced } } }");

/// The keys of a test.
pub(super) fn keys() -> Section {
    Section::of(&[NAME.info, EVENT.info, FILE.info, SOURCE.info, RECEIVED_AT.info, EXPECT.info])
        .one_of(&[EVENT.info.name, FILE.info.name])
}

fn expect_keys() -> Section {
    Section::of(&[TO.info, CONTENT.info, URGENT.info, GATHERED.info, DIGEST.info])
}

fn content_schema() -> serde_json::Value {
    let test = json!({ "$ref": "#/$defs/test", "not": { "type": "null" } });
    let parts = KINDS.iter().flat_map(|kind| kind.tested_parts).map(|part| ((*part).to_owned(), test.clone()));
    let parts: serde_json::Map<_, _> = parts.collect();
    let parts = json!({ "type": "object", "properties": parts, "additionalProperties": false, "minProperties": 1 });
    json!({ "type": "object", "additionalProperties": { "anyOf": [test, parts] }, "minProperties": 1 })
}

/// What tests can speak of.
pub(super) struct Known<'k> {
    pub reader: &'k Reader,
    /// The names of the destinations, in order.
    pub destinations: &'k Names,
    /// Their sections, in the same order.
    pub nodes: Option<&'k Node>,
    /// What these come to, in the same order, if they are good.
    pub built: Option<&'k [DestinationConfig]>,
    /// The sources, if they are good.
    pub sources: Option<&'k [Source]>,
}

impl Known<'_> {
    /// The parts that the content of a destination has.
    fn parts_of(&self, destination: usize) -> &'static [&'static str] {
        let section = self.nodes.and_then(|nodes| nodes.entries().get(destination));
        let mut keys = section.map(|(_, node)| node.entries()).unwrap_or_default().iter();
        keys.find_map(|(key, _)| kind_named(&key.text)).map_or(&[], |kind| kind.tested_parts)
    }
}

pub(super) fn read(known: &Known<'_>, node: &Node) -> Option<Vec<ConfigTest>> {
    let Value::List(items) = &node.value else {
        let help =
            "each test begins with `-`: - { name: …, event: { type: bounced }, expect: { to: [alerts] } }".to_owned();
        known.reader.error_with(node.id, format!("`tests` should be a list, and it is {}", node.kind()), help);
        return None;
    };
    let mut names: HashSet<&str> = HashSet::new();
    for name in items.iter().filter_map(|item| item.get(NAME.info.name)) {
        let Some(text) = name.scalar().map(|scalar| scalar.text.as_str()) else { continue };
        if !names.insert(text) {
            let help = "give one of them another name".to_owned();
            known.reader.error_with(name.id, format!("there are two tests named `{text}`"), help);
        }
    }
    let tests: Vec<_> = items.iter().map(|item| read_test(known, item)).collect();
    tests.into_iter().collect()
}

fn read_test(known: &Known<'_>, node: &Node) -> Option<ConfigTest> {
    let reader = known.reader;
    let mut entries = reader.map(node, "a test")?;
    let name = entries.node(&NAME.info);
    let event = entries.node(&EVENT.info);
    let file = entries.node(&FILE.info);
    let source = entries.node(&SOURCE.info);
    let received_at = entries.node(&RECEIVED_AT.info);
    let expect = entries.node(&EXPECT.info);
    let at = entries.at();
    if event.is_some() == file.is_some() && (event.is_some() || !entries.has_unknown()) {
        let message = "a test has either `event` or `file`";
        reader.error_with(event.map_or(at, |event| event.id), message, EVENT_HELP.to_owned());
    }
    entries.finish();
    let name = name.and_then(|node| read_name(reader, node));
    let source = read_source(known, source);
    let received_ms = received_at.map_or(Some(None), |node| read_moment(reader, node).map(Some));
    let event = match (event, file) {
        (Some(node), None) => read_event(reader, node),
        (None, Some(node)) => reader.text(node).map(|path| {
            let path = reader.directory.join(path);
            let is_put_together = node.scalar().is_some_and(|scalar| scalar.is_interpolated);
            let shown = if is_put_together { "the file of the test".to_owned() } else { path.display().to_string() };
            TestEvent::File { path, shown }
        }),
        _ => None,
    };
    let expected = expect.and_then(|node| reader.map(node, "`expect`"));
    let expected = expected.and_then(|entries| read_expect(known, entries.never_empty()));
    let Expected { to, urgent, gathered, content } = expected?;
    let (name, event, source, received_ms) = (name?, event?, source?, received_ms?);
    Some(ConfigTest { name, event, source, received_ms, to, urgent, gathered, content })
}

const EVENT_HELP: &str = "write event: { type: bounced, … }, or file: with the path of one, relative to this config";

fn read_name(reader: &Reader, node: &Node) -> Option<String> {
    let name = reader.text(node)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let help = "write what it shows, like: a hard bounce is told".to_owned();
        reader.error_with(node.id, format!("a test's name has from 1 to {NAME_BYTES_MAX} bytes"), help);
        return None;
    }
    Some(name.to_owned())
}

/// A moment, unix milliseconds.
fn read_moment(reader: &Reader, node: &Node) -> Option<u64> {
    let text = reader.text(node)?;
    let at = match Written::parse(text) {
        Some(Written::At(at)) => u64::try_from(at.as_millisecond()).ok(),
        _ => None,
    };
    if at.is_none() {
        let help = format!("write it like {}", RECEIVED_AT.info.example);
        reader.error_with(node.id, format!("`{text}` is no moment at which an event can come in"), help);
    }
    at
}

/// The source that is named, or the first.
fn read_source(known: &Known<'_>, node: Option<&Node>) -> Option<String> {
    let sources = known.sources?;
    let Some(node) = node else { return sources.first().map(|source| source.name.clone()) };
    let name = known.reader.text(node)?;
    let names = || sources.iter().map(|source| source.name.as_str());
    if !names().any(|known| known == name) {
        let all = || format!("the sources are {}", names().collect::<Vec<_>>().join(", "));
        let help = did_you_mean(name, names()).unwrap_or_else(all);
        known.reader.error_with(node.id, format!("there is no source named `{name}`"), help);
        return None;
    }
    Some(name.to_owned())
}

/// A map as the JSON that Vero would send: numbers keep their digits.
fn read_event(reader: &Reader, node: &Node) -> Option<TestEvent> {
    if !matches!(node.value, Value::Map(_)) {
        reader.error_with(node.id, format!("an event is a map, and this is {}", node.kind()), EVENT_HELP.to_owned());
        return None;
    }
    let body = serde_json::to_vec(&json(reader, node)?).ok()?;
    let relay = RelayFields { source: "", received_ms: 0 };
    if let Err(refused) = FieldSetBuilder::default().build().read(&body, relay) {
        let message = match refused {
            Refused::NoType { .. } => "this event has no `type`, and an event without one is refused".to_owned(),
            refused => format!("this event would be refused: {refused}"),
        };
        reader.error_with(node.id, message, "write event: { type: bounced, user: { id: 1 } }".to_owned());
        return None;
    }
    Some(TestEvent::Body(body))
}

fn json(reader: &Reader, node: &Node) -> Option<Json> {
    match &node.value {
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| json(reader, item)).collect();
            items.into_iter().collect::<Option<_>>().map(Json::Array)
        }
        Value::Map(_) => {
            let members: Vec<_> = reader.map(node, "the event")?.rest();
            let members: Vec<_> =
                members.into_iter().map(|(key, value)| Some((key.text.clone(), json(reader, value)?))).collect();
            members.into_iter().collect::<Option<_>>().map(Json::Object)
        }
        Value::Scalar(scalar) => match scalar.style {
            Style::Unresolved => None,
            Style::Null => Some(Json::Null),
            Style::Bool(value) => Some(Json::Bool(value)),
            Style::String => Some(Json::String(scalar.text.clone())),
            Style::Number if rules::is_plain_number(&scalar.text) => Some(Json::Number(scalar.text.clone())),
            Style::Number => {
                let help = format!("quote it: \"{}\"", scalar.text);
                reader.error_with(node.id, format!("JSON cannot hold the number {}", scalar.text), help);
                None
            }
        },
    }
}

/// What a test expects.
struct Expected {
    to: Option<Vec<usize>>,
    urgent: Option<Vec<usize>>,
    gathered: Option<Vec<usize>>,
    content: Vec<ExpectedContent>,
}

fn read_expect(known: &Known<'_>, mut entries: Entries<'_, '_>) -> Option<Expected> {
    let reader = known.reader;
    let keys = expect_keys().keys;
    let has_told = keys.iter().any(|info| entries.nothing(info).is_some());
    let names = [TO, URGENT, GATHERED].map(|key| entries.node(&key.info));
    let contents = [CONTENT, DIGEST].map(|key| (key.info.name, entries.node(&key.info)));
    let is_empty = |node: &Node| matches!(&node.value, Value::Map(entries) if entries.is_empty());
    for (of, node) in contents.iter().filter_map(|(of, node)| Some((*of, node.filter(|node| is_empty(node))?))) {
        let help = format!("write {of}: {{ chat: {{ contains: … }} }}, with the name of a destination");
        reader.error_with(node.id, format!("an empty `{of}` expects nothing"), help);
    }
    let is_silent = names.iter().chain(contents.iter().map(|(_, node)| node)).all(Option::is_none);
    if is_silent && !has_told && !entries.has_unknown() {
        let help = "`to: [archive]` is the exact set of destinations, and `to: []` is none".to_owned();
        reader.error_with(
            entries.at(),
            "a test without `to`, `content`, `urgent`, `gathered` or `digest` expects nothing",
            help,
        );
    }
    entries.finish();
    let read = |node: Option<&Node>| match node {
        Some(node) => read_names(known, node).map(Some),
        None => Some(None),
    };
    let [to, urgent, gathered] = names.map(read);
    let (to, urgent, gathered) = (to?, urgent?, gathered?);
    let expected = Expected { to, urgent, gathered, content: Vec::new() };
    for (key, node, places) in [(&URGENT, names[1], &expected.urgent), (&GATHERED, names[2], &expected.gathered)] {
        for (item, at) in node.map(|node| reader.list(node)).into_iter().flatten().zip(places.iter().flatten()) {
            check_order(known, &expected, key.info.name, (item.id, *at));
        }
    }
    let mut content = Vec::new();
    for (of, node) in contents {
        let entries = node.and_then(|node| reader.map(node, &format!("`{of}`")));
        for (key, node) in entries.map(|mut entries| entries.rest()).unwrap_or_default() {
            let Some(at) = rules::find_destination(reader, key.id, &key.text, known.destinations) else { continue };
            let is_of_digest = of == DIGEST.info.name;
            if is_of_digest {
                check_order(known, &expected, of, (key.id, at));
            } else if expected.to.as_ref().is_some_and(|to| !to.contains(&at)) {
                let message = format!("{of} is expected for `{}`, which is not in this test's `to`", key.text);
                reader.error_with(key.id, message, format!("add `{}` to `to`, or take it out here", key.text));
            }
            content.extend(read_content(known, (at, is_of_digest), node));
        }
    }
    Some(Expected { content, ..expected })
}

/// Tells of a name at which what is expected can never be.
fn check_order(known: &Known<'_>, expected: &Expected, key: &str, (node, at): (NodeId, usize)) {
    let reader = known.reader;
    let name = known.destinations.name(at);
    let has = |places: &Option<Vec<usize>>| places.as_ref().is_some_and(|places| places.contains(&at));
    let is_of_urgent = key == URGENT.info.name;
    if expected.to.is_some() && !has(&expected.to) {
        let message = format!("`{key}` names `{name}`, which is not in this test's `to`");
        reader.error_with(node, message, format!("add `{name}` to `to`, or take it out here"));
        return;
    }
    if !is_of_urgent && has(&expected.urgent) {
        let help = "take it out of one of them".to_owned();
        reader.error_with(node, format!("what is urgent at `{name}` is in no digest"), help);
        return;
    }
    let Some(built) = known.built.and_then(|built| built.get(at)) else { return };
    let sorting = built.sorting.as_deref();
    let (can_be, lacks) = match key {
        _ if is_of_urgent => {
            (sorting.is_some_and(Sorting::has_urgent), "nothing is urgent at `NAME`: it has no `urgent`")
        }
        _ if key == GATHERED.info.name => (
            sorting.is_some_and(Sorting::gathers_by_day),
            "each event goes out by itself to `NAME`: it has no `digest`",
        ),
        _ => (
            sorting.is_some_and(|sorting| sorting.gathering.is_some()),
            "each event goes out by itself to `NAME`: it has neither `digest` nor `quiet`",
        ),
    };
    if !can_be {
        let form = if is_of_urgent { "urgent: { type: complained }" } else { "digest: { every: 15m }" };
        let help = format!("take it out here, or write in the destination {form}");
        reader.error_with(node, lacks.replace("NAME", name), help);
    }
}

/// What is expected of the content of one destination: of all of it, or of its parts.
fn read_content(known: &Known<'_>, (destination, is_of_digest): (usize, bool), node: &Node) -> Vec<ExpectedContent> {
    let reader = known.reader;
    let names = known.parts_of(destination);
    let expected = |part: Option<&'static str>, node: &Node| {
        let parts = if part.is_none() { names } else { &[] };
        let condition = rules::read_content(reader, node, parts)?;
        Some(ExpectedContent { destination, is_of_digest, part, condition })
    };
    let find = |key: &str| names.iter().copied().find(|name| *name == key);
    if !node.entries().iter().any(|(key, _)| find(&key.text).is_some()) {
        return expected(None, node).into_iter().collect();
    }
    let parts = reader.map(node, "the parts of a content").map(|mut entries| entries.rest()).unwrap_or_default();
    let read = |(key, node): (&raw::Key, &Node)| match find(&key.text) {
        Some(part) => expected(Some(part), node),
        None => {
            let all = || format!("the parts are {}; operators stand below one of them", names.join(", "));
            let help = meant::part(&key.text, names).map_or_else(all, |near| format!("did you mean `{near}`?"));
            reader.error_with(key.id, format!("`{}` is no part of this content", key.text), help);
            None
        }
    };
    parts.into_iter().filter_map(read).collect()
}

/// The places of the destinations in a list of names.
fn read_names(known: &Known<'_>, node: &Node) -> Option<Vec<usize>> {
    let reader = known.reader;
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    let mut is_complete = true;
    for item in reader.list(node) {
        let name = reader.text(item);
        match name.and_then(|name| rules::find_destination(reader, item.id, name, known.destinations)) {
            Some(at) if !seen.insert(at) => {
                let message = format!("`{}` is named twice in one test", known.destinations.name(at));
                reader.error_with(item.id, message, "name it once".to_owned());
            }
            Some(at) => places.push(at),
            None => is_complete = false,
        }
    }
    is_complete.then_some(places)
}
