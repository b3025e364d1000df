//! Where destinations lead: back to this relay, or for some events nowhere; and messages of which nothing is left to send.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::itself::{Leads, Own, leads};
use super::templates::reads_only_what_samples_have;
use crate::deliver::DestinationConfig;
use crate::destination::{Delivery, Language, Misfit, Unsent, kind_named};
use crate::event::{EventId, RelayFields, vero};
use crate::fault::Fault;
use crate::rules::RuleSet;
use crate::store::{NameId, StoredEvent};
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;

/// What is looked at.
pub(in crate::config) struct Looked<'c> {
    pub reader: &'c Reader,
    pub node: Option<&'c Node>,
    pub destinations: &'c [DestinationConfig],
    pub rules: &'c RuleSet,
}

/// The sections of the destinations, by name.
pub(super) fn sections<'c>(looked: &Looked<'c>) -> HashMap<&'c str, &'c Node> {
    let entries = looked.node.map(Node::entries).unwrap_or_default();
    // Of a name that stands twice the first is meant.
    entries.iter().rev().map(|(key, node)| (key.text.as_str(), node)).collect()
}

/// The place of a destination's URL.
fn place(sections: &HashMap<&str, &Node>, destination: &DestinationConfig) -> Option<NodeId> {
    let section = sections.get(destination.name.as_str())?;
    let kind = section.get(destination.kind)?;
    Some(kind.get("url").map_or(kind.id, |url| url.id))
}

/// A destination that is the relay itself is refused.
pub(in crate::config) fn refuse_itself(looked: &Looked<'_>, own: &Own<'_>) {
    // Or a guess at `listen` would tell the host and port of a URL that nobody is shown.
    if looked.reader.is_strangers() {
        return;
    }
    let sections = sections(looked);
    for destination in looked.destinations {
        let Some((url, path)) = destination.destination.url() else { continue };
        let Some(at) = place(&sections, destination) else { continue };
        let name = &destination.name;
        match leads(own, url, path) {
            Leads::Away => {}
            Leads::ToListen => {
                let message = format!(
                    "the destination `{name}` is this relay itself: each event would come in again, without end"
                );
                let help = format!(
                    "name another program's address; to try things out, post to a bin: http://{}/bin/NAME",
                    own.admin_listen
                );
                looked.reader.secret_fault(at, Fault::with_help(message, help));
            }
            Leads::ToAdmin => {
                let message = format!(
                    "the destination `{name}` is this relay's own admin listener: events would act as the operator"
                );
                let help = format!("only a bin can be a destination there: http://{}/bin/NAME", own.admin_listen);
                looked.reader.secret_fault(at, Fault::with_help(message, help));
            }
            Leads::ToOwnName => looked.reader.secret_warning(
                at,
                format!(
                    "the destination `{name}` is at this machine's own name and at a port of this relay: events may come in again"
                ),
                "name the address of another program".to_owned(),
            ),
            Leads::ToPublicUrl => looked.reader.secret_warning(
                at,
                format!(
                    "the destination `{name}` is at `public_url`, which leads to this relay: events would come in again"
                ),
                "name the address of another program".to_owned(),
            ),
        }
    }
}

/// A URL whose path has no value for one of Vero's samples that a rule sends there.
pub(in crate::config) fn advise_of_empty_values(looked: &Looked<'_>) {
    let sections = sections(looked);
    let mut told = HashSet::new();
    for (sample, body) in vero::SAMPLES {
        let relay = RelayFields { source: "", received_ms: 0 };
        let Ok(routing) = looked.rules.route(body.as_bytes(), relay) else { continue };
        for (place_of, _) in &routing.deliveries {
            let Some(destination) = looked.destinations.get(*place_of).filter(|_| !told.contains(place_of)) else {
                continue;
            };
            if destination.destination.url().is_none() {
                continue;
            }
            let Err(Unsent::Failed { misfit: Some(misfit), .. }) = destination.destination.way(&delivery(body)) else {
                continue;
            };
            let Misfit::Path { field, is_nothing } = &misfit else { continue };
            let Some(at) = place(&sections, destination) else { continue };
            told.insert(*place_of);
            let message = format!("an event `{sample}` cannot be delivered to `{}`: {misfit}", destination.name);
            let field = field.as_deref().unwrap_or("user.id");
            let help = match is_nothing {
                true => format!(
                    "give it a default, like `{{{{ {field} | default(\"none\") }}}}`, or let a rule send only events that have it"
                ),
                false => {
                    format!("name one value, like `{{{{ {field}.id }}}}`, or let a rule send only events that have one")
                }
            };
            looked.reader.secret_warning(at, message, help);
        }
    }
}

/// A message of blocks that comes out empty for every sample that the rules send there.
pub(in crate::config) fn advise_of_empty_messages(looked: &Looked<'_>, defaults: Option<&Node>) {
    // What comes out of values that a stranger may not know is not told.
    if looked.reader.is_strangers() {
        return;
    }
    let find = |at: usize| {
        let destination = looked.destinations.get(at)?;
        let kind = kind_named(destination.kind)?;
        let own = looked.node?.get(&destination.name)?.get(kind.name)?;
        let usual = defaults.and_then(|defaults| defaults.get(kind.name));
        let part = |key: &str| own.get(key).or_else(|| usual?.get(key)).filter(|node| !node.is_null());
        let blocks = kind.templates.iter().find(|templated| templated.language == Language::Blocks)?;
        let blocks = part(blocks.key)?;
        let is_certain =
            kind.templates.iter().filter_map(|templated| part(templated.key)).all(reads_only_what_samples_have);
        is_certain.then_some(Message { destination, blocks, types: Vec::new() })
    };
    // `None`: something of it is left for a sample, or nothing can be said of it.
    let mut messages: BTreeMap<usize, Option<Message<'_>>> = BTreeMap::new();
    for (sample, body) in vero::SAMPLES {
        let relay = RelayFields { source: "", received_ms: 0 };
        let Ok(routing) = looked.rules.route(body.as_bytes(), relay) else { continue };
        for (at, _) in &routing.deliveries {
            if messages.len() >= MESSAGES_MAX && !messages.contains_key(at) {
                continue;
            }
            let known = messages.entry(*at).or_insert_with(|| find(*at));
            let Some(message) = known else { continue };
            if !matches!(message.destination.destination.content(&delivery(body)), Err(Unsent::Skipped(_))) {
                *known = None;
                continue;
            }
            let is_its =
                |name: &&&str| sample.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            let name = vero::TYPES.iter().find(is_its).filter(|name| !message.types.contains(*name));
            message.types.extend(name);
        }
    }
    for message in messages.into_values().flatten() {
        let types: Vec<_> = message.types.iter().map(|name| format!("`{name}`")).collect();
        let types = types.join(", ");
        let why = format!("this message is empty for every sample of {types}, and an empty message is not sent");
        let help = "a block without text is left out: write a text that is never empty, or add `text` beside `blocks`";
        looked.reader.warning(message.blocks.id, why, help.to_owned());
    }
}

/// More messages do not differ in their slips.
const MESSAGES_MAX: usize = 1000;

/// A message of blocks.
struct Message<'c> {
    destination: &'c DestinationConfig,
    blocks: &'c Node,
    /// The types whose samples leave nothing of it.
    types: Vec<&'static str>,
}

pub(super) fn delivery(body: &str) -> Delivery {
    let event = StoredEvent {
        id: EventId::mint(0, 0, 0),
        received_ms: 0,
        source: NameId(0),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: body.as_bytes().to_vec().into(),
        is_redacted: false,
    };
    Delivery { event: std::sync::Arc::new(event), source: "".into(), rule: "".into(), digest: None }
}
