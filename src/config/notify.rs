//! `notify:`: who is told of trouble, and from when on.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::DestinationConfig;
use super::names::Names;
use super::rules::find_destination;
use super::sources::EXPECT_EVERY;
use crate::notify::{Bounds, Terms};
use crate::units::duration_pattern;
use crate::yaml::keys::{Defaulted, INTERPOLATED, Key, Of, Section, by_hand, duration, key, whole};
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Who is told of trouble, and from when on.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Names of destinations: the first that can be told is.
    pub to: Vec<String>,
    pub terms: Terms,
    pub bounds: Bounds,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A problem that is told more often than that is noise, and one less often than once a week is forgotten.
const REPEATS: RangeInclusive<Duration> = Duration::from_secs(10 * 60)..=Duration::from_secs(7 * 24 * 60 * 60);
const REPEAT_DEFAULT: Duration = Duration::from_secs(6 * 60 * 60);
const NEVER: &str = "never";
/// Names beyond that would be asked one after the other for minutes.
const NAMES_MAX: usize = 10;

const TO: Key<()> = key("to", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The destinations by which somebody is told, of the kinds that somebody reads: the first that can be told is. One that fails or is paused is passed over, and nobody is told of a destination by way of it, nor of another that leads to the same place. Where nobody can be told, the log says it as an error.")
    .example("[ops, mail]")
    .required();
const AFTER: Defaulted<Duration> = key("after", duration(SECOND..=DAY))
    .about("How long attempts fail, or a destination is paused by somebody, before that is told. What the relay has paused itself, and all the rest, is told at once.")
    .example("10m")
    .default(Duration::from_secs(10 * 60));
const REPEAT: Key<()> = key("repeat", by_hand(Of::Own("duration or `never`", repeat_schema)))
    .seen(Sight::All)
    .about("How often a problem is told that lasts, from 10m to 7d; `never`: once.")
    .example("6h")
    .otherwise("6h");
const BACKLOG: Key<()> = key("backlog", by_hand(Of::Map(backlog_keys)))
    .about("From where on what waits for a destination is told of.")
    .example("{ age: 1h, deliveries: 10000 }");
const AGE: Key<Duration> = key("age", duration(MINUTE..=Duration::from_secs(30 * 24 * 60 * 60)))
    .about("The age of the oldest delivery that waits.")
    .example("1h")
    .otherwise("it is not told of");
const DELIVERIES: Key<u64> = key("deliveries", whole(1..=1_000_000_000))
    .about("How many deliveries wait.")
    .example("10000")
    .otherwise("it is not told of");

/// The keys of `notify:`.
pub(super) fn keys() -> Section {
    Section::of(&[TO.info, AFTER.info, REPEAT.info, BACKLOG.info])
}

fn backlog_keys() -> Section {
    Section::of(&[AGE.info, DELIVERIES.info])
}

fn repeat_schema() -> Value {
    let duration = json!({ "type": "string", "pattern": duration_pattern() });
    json!({ "anyOf": [{ "const": NEVER }, duration, { "type": "string", "pattern": INTERPOLATED }] })
}

/// Where it names a destination.
pub(super) struct Named {
    /// The destination's place.
    at: usize,
    node: NodeId,
}

/// Reads all of it but what its destinations say. They count as used.
pub(super) fn read(reader: &Reader, node: &Node, names: &mut Names) -> Option<(Notify, Vec<Named>)> {
    let mut entries = reader.map(node, "`notify`")?.never_empty();
    let to = entries.node(&TO.info);
    let after = entries.value(&AFTER);
    let repeat = entries.node(&REPEAT.info).map_or(Some(Some(REPEAT_DEFAULT)), |node| read_repeat(reader, node));
    let mut bounds = Bounds::default();
    let backlog_node = entries.node(&BACKLOG.info);
    if let Some(backlog) = backlog_node.and_then(|node| reader.map(node, "`notify.backlog`")) {
        let mut backlog = backlog.never_empty();
        let node = backlog_node.unwrap_or(node);
        if node.entries().is_empty() {
            let help = format!("write backlog: {}, or one of the two", BACKLOG.info.example);
            reader.error_with(node.id, "`notify.backlog` has no bound", help);
        }
        bounds = Bounds { age: backlog.read(&AGE), deliveries: backlog.read(&DELIVERIES) };
        backlog.finish();
    }
    entries.finish();
    let to = read_to(reader, to?, names);
    let (to, terms) = (to?, Terms { after, repeat: repeat? });
    let notify = Notify { to: to.iter().map(|named| names.name(named.at).to_owned()).collect(), terms, bounds };
    Some((notify, to))
}

fn read_repeat(reader: &Reader, node: &Node) -> Option<Option<Duration>> {
    if node.scalar().is_some_and(|scalar| scalar.text == NEVER) {
        return Some(None);
    }
    let never = ["false", "no", "off", "none", "once", "0", "0s"];
    if node.scalar().is_some_and(|scalar| never.contains(&scalar.text.to_lowercase().as_str())) {
        let help = "to be told once, write repeat: never".to_owned();
        reader.error_with(node.id, "this should be a duration, or `never`", help);
        return None;
    }
    reader.duration(node, *REPEATS.start(), *REPEATS.end()).map(Some)
}

fn read_to(reader: &Reader, node: &Node, names: &mut Names) -> Option<Vec<Named>> {
    let nodes = reader.list(node);
    if nodes.is_empty() || nodes.len() > NAMES_MAX {
        let message = format!("`to` names from 1 to {NAMES_MAX} destinations, and this is {}", nodes.len());
        reader.error_with(node.id, message, "write to: [ops, mail], or take `notify` out".to_owned());
        return None;
    }
    let mut read: Vec<Named> = Vec::with_capacity(nodes.len());
    let mut is_complete = true;
    for node in nodes {
        let Some(at) = reader.text(node).and_then(|name| find_destination(reader, node.id, name, names)) else {
            is_complete = false;
            continue;
        };
        names.mark(at);
        if read.iter().any(|known| known.at == at) {
            let message = format!("`{}` is named twice here", names.name(at));
            reader.error_with(node.id, message, "each is asked once: take one of them out".to_owned());
            is_complete = false;
        }
        read.push(Named { at, node: node.id });
    }
    if let ([one], true) = (read.as_slice(), is_complete) {
        let message = format!("nobody is told when `{}` itself fails", names.name(one.at));
        let help = "name a second destination, which leads elsewhere; the log says it in any case".to_owned();
        reader.warning(one.node, message, help);
    }
    is_complete.then_some(read)
}

/// Tells of destinations by which nobody can be told, and of two that lead to one place. `nodes` are the destinations' sections.
pub(super) fn check(reader: &Reader, named: &[Named], destinations: &[DestinationConfig], nodes: Option<&Node>) {
    let mut places: Vec<(String, &str)> = Vec::new();
    for Named { at, node } in named {
        let Some(config) = destinations.get(*at) else { continue };
        let name = config.name.as_str();
        if let Err(why) = config.destination.teller() {
            let message = format!("`{name}` can tell nobody of trouble: {why}");
            let help = "name a destination that somebody reads, with an address that is the same for every event";
            reader.error_with(*node, message, help.to_owned());
            continue;
        }
        let section = nodes.and_then(|nodes| nodes.get(name));
        // Where it would say what a `${…}` stands for, nothing is compared.
        if section.is_none_or(|section| reader.would_tell(section)) {
            continue;
        }
        let place = config.destination.leads_to();
        if let Some((_, other)) = places.iter().find(|(known, _)| *known == place) {
            let message =
                format!("`{name}` leads to where `{other}` does: when that cannot be told, this cannot either");
            reader.warning(*node, message, "name one that leads elsewhere".to_owned());
        }
        places.push((place, name));
    }
}

/// Tells of sources whose silence nobody is told of.
pub(super) fn advise_of_silence(reader: &Reader, sources: Option<&Node>) {
    for (key, source) in sources.map(Node::entries).unwrap_or_default() {
        if let Some(expected) = source.get(EXPECT_EVERY.info.name).filter(|expected| !expected.is_null()) {
            let message = format!("nobody is told when `{}` is silent: there is no `notify`", key.text);
            reader.warning(expected.id, message, "write notify: { to: [NAME] } with a destination's name".to_owned());
        }
    }
}
