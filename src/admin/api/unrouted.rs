//! `/api/unrouted`: events that went nowhere, by what they are and how near they came to a rule of the config in force.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::endpoint::joined;
use super::history::{self, Part, SEARCHED_BYTES_MAX};
use super::parameters::some_of;
use super::{Outcome, Query, Refusal, Request, Resource, blocking, cut, get, in_json, nothing_here, refused};
use crate::config::Config;
use crate::event::{EventId, RelayFields, summary};
use crate::explain::Explanation;
use crate::relay::Relay;
use crate::rules::RuleTrace;
use crate::store::{SearchLimit, StoredEvent};
use crate::time::rfc3339;

/// Groups of one answer, the largest.
const GROUPS_MAX: usize = 50;
/// Types of the others that are named, those of the largest first, and the bytes of one: so that they can be asked for.
const TYPES_MAX: usize = 200;
const TYPE_BYTES_MAX: usize = 200;
/// Events are explained by what they have in common: so many kinds of them in one answer.
const SHAPES_MAX: usize = 2000;
/// Of events that have all in common but their values, so many are looked at for one of which it can be said what was probably meant.
const LOOKS_MAX: usize = 50;
/// Events of a group that are named.
const EXAMPLES_MAX: usize = 3;
/// Values of a field that are shown, and characters of each.
const VALUES_MAX: usize = 3;
const VALUE_CHARACTERS_MAX: usize = 100;

/// Events that no rule sent anywhere, of which it is asked together whether a replay has sent them somewhere since: one walk through the journal.
const ASKED_AT_ONCE: usize = 4096;

/// Which part of the history, and what is told of it.
const PARAMETERS: [&str; 5] = joined(&[&history::PARAMETERS, &["type", "ids"]]);

pub(super) const RESOURCE: Resource = Resource {
    name: "unrouted",
    endpoints: &[get(
        "",
        &PARAMETERS,
        "events that went nowhere, by a rule or by a replay, by type and by the rule that they missed least; those that would go somewhere now apart",
    )
    .walking()],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, visitor, is_read, steps, query, .. } = request;
    match (is_read, steps) {
        (true, []) => look(relay, query, &visitor.has_gone).await,
        _ => nothing_here(),
    }
}

async fn look(relay: &Arc<Relay>, query: &Query, has_gone: &CancellationToken) -> Outcome {
    let part = Part::read(query)?;
    let names_ids = query.flag("ids")?;
    let types = query.get("type").map(|list| some_of("type", list)).transpose()?;
    let (waits, has_gone) = (Handle::current(), has_gone.clone());
    let look = move |relay: &Relay| {
        let generation = relay.generation().clone();
        let search = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let found = Found { names_ids, ..Found::new(&generation.config) };
        let mut unrouted = Unrouted { relay, waits: &waits, types, unasked: Vec::new(), search, found };
        let piece = part.walk(relay, &waits, &has_gone, |event| unrouted.look(event))?;
        unrouted.ask()?;
        let mut told = unrouted.found.json();
        told["generation"] = json!(generation.number);
        piece.tell(&mut told);
        Ok(told)
    };
    blocking(relay, look).await
}

/// Tells the events that have no delivery at all from those that a replay has sent somewhere since.
struct Unrouted<'r> {
    relay: &'r Relay,
    waits: &'r Handle,
    /// Only events of these.
    types: Option<Vec<String>>,
    /// No rule sent them anywhere.
    unasked: Vec<Arc<StoredEvent>>,
    search: SearchLimit,
    found: Found<'r>,
}

impl Unrouted<'_> {
    fn look(&mut self, event: &Arc<StoredEvent>) -> Result<ControlFlow<()>, Refusal> {
        if event.deliveries.is_empty() && self.is_meant(event) {
            self.unasked.push(event.clone());
        }
        if self.unasked.len() >= ASKED_AT_ONCE {
            self.ask()?;
        }
        Ok(if self.search.bytes_left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn is_meant(&self, event: &StoredEvent) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&summary(&event.body).event_type))
    }

    fn ask(&mut self) -> Result<(), Refusal> {
        let events = std::mem::take(&mut self.unasked);
        let (states, left) =
            self.waits.block_on(self.relay.store.states(events.clone(), self.search)).map_err(refused)?;
        self.search = left;
        let names = self.relay.store.names();
        for (event, _) in events.iter().zip(&states).filter(|(_, states)| states.is_empty()) {
            let took = |rule: &str| names.took(rule, event);
            self.found.add(event, &names.name(event.source), &took);
        }
        Ok(())
    }
}

/// What events have in common: their type, where they would go now, and if nowhere the rule that they missed least, by which fields.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    event_type: String,
    now: Vec<String>,
    missed: Option<(usize, Vec<String>)>,
    /// The rule that held them back.
    held: Option<usize>,
}

/// Events that are alike.
struct Group {
    event_type: String,
    now: Vec<String>,
    /// The rule with `once_per` that held them back, and why.
    held: Option<(String, String)>,
    nearest: Value,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    examples: Vec<String>,
    /// All of them, where it is asked which they are and they would go somewhere now.
    ids: Vec<EventId>,
}

/// Events whose conditions all come out alike.
struct Shape {
    /// `None` for events that are none by now.
    group: Option<usize>,
    looks: usize,
}

/// What was found so far.
struct Found<'c> {
    config: &'c Config,
    names_ids: bool,
    events: u64,
    /// Of these, those that cannot be judged: values of them were taken away.
    redacted: u64,
    shapes: HashMap<u64, Shape>,
    /// Events that were explained.
    explained: usize,
    kinds: HashMap<Kind, usize>,
    groups: Vec<Group>,
    not_grouped: u64,
}

impl<'c> Found<'c> {
    fn new(config: &'c Config) -> Self {
        let (shapes, kinds) = (HashMap::new(), HashMap::new());
        Self {
            config,
            names_ids: false,
            events: 0,
            redacted: 0,
            shapes,
            explained: 0,
            kinds,
            groups: Vec::new(),
            not_grouped: 0,
        }
    }

    fn add(&mut self, event: &Arc<StoredEvent>, source: &Arc<str>, took: &dyn Fn(&str) -> bool) {
        self.events += 1;
        if event.is_redacted {
            self.redacted += 1;
            return;
        }
        let relay = RelayFields { source, received_ms: event.received_ms };
        let Ok(shape) = self.config.rules.shape(&event.body, relay) else {
            // It was accepted by an older relay, which knew better or worse.
            self.not_grouped += 1;
            return;
        };
        let is_full = self.explained >= SHAPES_MAX;
        let group = match self.shapes.entry(shape) {
            Entry::Occupied(known) => {
                let Shape { group, looks } = known.into_mut();
                let vague = group.map(|at| &mut self.groups[at]).filter(|group| is_vague(&group.nearest));
                if let (Some(vague), false, true) = (vague, is_full, *looks < LOOKS_MAX) {
                    *looks += 1;
                    self.explained += 1;
                    vague.look_again(self.config, event, source, took);
                }
                *group
            }
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(new) => {
                self.explained += 1;
                let explained = Explanation::of_kept(self.config, event, source, took).ok();
                let group = explained.map(|explained| group(&mut self.kinds, &mut self.groups, &explained, event));
                new.insert(Shape { group, looks: 1 }).group
            }
        };
        let Some(group) = group.map(|at| &mut self.groups[at]) else {
            self.not_grouped += 1;
            return;
        };
        group.count += 1;
        group.first_ms = group.first_ms.min(event.received_ms);
        group.last_ms = group.last_ms.max(event.received_ms);
        if group.examples.len() < EXAMPLES_MAX {
            let id = event.id.to_string();
            // It may stand there already, as the first.
            if !group.examples.contains(&id) {
                group.examples.push(id);
            }
        }
        if self.names_ids && !group.now.is_empty() {
            group.ids.push(event.id);
        }
    }

    /// The largest groups; the events of the others are counted, and their types named.
    fn json(mut self) -> Value {
        let names_ids = self.names_ids;
        self.groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.last_ms)));
        let others: u64 = self.groups.iter().skip(GROUPS_MAX).map(|group| group.count).sum();
        let mut types: Vec<String> = Vec::new();
        for group in self.groups.iter().skip(GROUPS_MAX) {
            // An empty one cannot be asked for.
            let can_be_asked_for = (1..=TYPE_BYTES_MAX).contains(&group.event_type.len());
            if can_be_asked_for && types.len() < TYPES_MAX && !types.contains(&group.event_type) {
                types.push(group.event_type.clone());
            }
        }
        let groups = self.groups.into_iter().take(GROUPS_MAX).map(|group| {
            let mut told = json!({
                "type": group.event_type,
                "now": group.now,
                "held_by": group.held.as_ref().map(|(rule, _)| rule),
                "held_because": group.held.as_ref().map(|(_, why)| why),
                "nearest": group.nearest,
                "count": group.count,
                "first_at": rfc3339(group.first_ms),
                "last_at": rfc3339(group.last_ms),
                "examples": group.examples,
            });
            if names_ids {
                told["ids"] = group.ids.iter().map(ToString::to_string).collect();
            }
            told
        });
        json!({
            "events": self.events,
            "redacted": self.redacted,
            "groups": groups.collect::<Vec<_>>(),
            "not_grouped": self.not_grouped + others,
            "further_types": types,
        })
    }
}

/// The group of an event that was explained; a new one where there is none.
fn group(
    kinds: &mut HashMap<Kind, usize>,
    groups: &mut Vec<Group>,
    explained: &Explanation<'_>,
    event: &StoredEvent,
) -> usize {
    let event_type = summary(&event.body).event_type;
    let now: Vec<_> =
        explained.deliveries.iter().map(|delivery| explained.destination(delivery).name.clone()).collect();
    let holds = |trace: &&RuleTrace| trace.verdict == Some(false) && trace.unless.is_some();
    let held = explained.rules.iter().filter(|_| now.is_empty()).find(holds);
    let nearest = if now.is_empty() && held.is_none() { explained.nearest.first() } else { None };
    let missed = nearest.map(|miss| (miss.rule, miss.failed.iter().map(|missed| missed.field.clone()).collect()));
    let kind = Kind { event_type: event_type.clone(), now: now.clone(), missed, held: held.map(|trace| trace.rule) };
    *kinds.entry(kind).or_insert_with(|| {
        let nearest = nearest.map(|miss| shortened(explained.shown_miss(miss))).unwrap_or_default();
        let received_ms = event.received_ms;
        let (first_ms, last_ms) = (received_ms, received_ms);
        let (examples, ids) = (Vec::new(), Vec::new());
        let told = |trace: &RuleTrace| Some((explained.rule(trace.rule).name.clone(), trace.unless.clone()?));
        let held = held.and_then(told);
        groups.push(Group { event_type, now, held, nearest, count: 0, first_ms, last_ms, examples, ids });
        groups.len() - 1
    })
}

impl Group {
    /// Takes another event's near miss for the group's, where it says what was probably meant; that event is the first example then.
    fn look_again(
        &mut self,
        config: &Config,
        event: &Arc<StoredEvent>,
        source: &Arc<str>,
        took: &dyn Fn(&str) -> bool,
    ) {
        let Ok(explained) = Explanation::of_kept(config, event, source, took) else { return };
        let told = explained.nearest.first().map(|miss| shortened(explained.shown_miss(miss)));
        // Where letters decide, it may be another rule's.
        if let Some(told) = told.filter(|told| !is_vague(told) && told["rule"] == self.nearest["rule"]) {
            self.nearest = told;
            self.examples.insert(0, event.id.to_string());
            self.examples.truncate(EXAMPLES_MAX);
        }
    }
}

/// Whether a near miss does not say what was probably meant.
fn is_vague(miss: &Value) -> bool {
    miss["failed"].as_array().is_some_and(|failed| failed.iter().all(|missed| missed["meant"].is_null()))
}

/// A near miss whose values are short: an event may have long ones, and many.
fn shortened(mut miss: Value) -> Value {
    let failed = miss["failed"].as_array_mut().into_iter().flatten();
    for got in failed.filter_map(|failed| failed["got"].as_array_mut()) {
        got.truncate(VALUES_MAX);
        for value in got.iter_mut().map(|got| &mut got["value"]) {
            *value = json!(cut(value.as_str().unwrap_or_default(), VALUE_CHARACTERS_MAX));
        }
    }
    miss
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::NameId;
    use crate::yaml::values::Process;

    fn config(rules: &str) -> Config {
        let yaml = format!(
            "data_dir: /var/lib/vero-relay\nsources: {{ vero: {{ token: \"a-token-that-is-long-enough\" }} }}\n\
             rules: {rules}\ndestinations: {{ a: {{ http: {{ url: \"https://example.com/\" }} }} }}\n"
        );
        Config::parse(Path::new("config.yaml"), yaml, &Process).expect("a config").0
    }

    fn event(number: usize, body: String) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::mint(1, 0, number as u64),
            received_ms: 1,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: body.into(),
            is_redacted: false,
        })
    }

    #[test]
    fn a_group_tells_what_was_probably_meant_where_one_of_the_first_events_shows_it() {
        let config = config("[ { name: news, match: { type: sent, campaign.name: Newsleter }, to: a } ]");
        let sent = |number: usize, name: &str| {
            event(number, format!("{{\"type\":\"sent\",\"campaign\":{{\"name\":\"{name}\"}}}}"))
        };
        for (others, meant) in [(0, true), (LOOKS_MAX - 1, true), (LOOKS_MAX, false)] {
            let mut found = Found::new(&config);
            let mut names = vec!["Receipts"; others];
            names.push("Newsletter");
            names
                .iter()
                .enumerate()
                .for_each(|(number, name)| found.add(&sent(number, name), &"vero".into(), &|_| false));
            let told = found.json();
            let value = &told["groups"][0]["nearest"]["failed"][0]["meant"]["value"];
            assert_eq!(value == "Newsletter", meant, "behind {others} others: {told}");
            assert_eq!(told["groups"][0]["count"], others + 1);
            // The first example is the one that the sentence speaks of.
            let examples = told["groups"][0]["examples"].as_array().expect("examples");
            let spoken_of = EventId::mint(1, 0, if meant { others as u64 } else { 0 }).to_string();
            assert_eq!((examples[0] == spoken_of, examples.len()), (true, EXAMPLES_MAX.min(others + 1)), "{told}");
        }
    }

    #[test]
    fn so_many_kinds_of_events_are_explained_and_the_others_are_counted() {
        let config = config("[ { match: { type: sent }, to: a } ]");
        let mut found = Found::new(&config);
        let source: Arc<str> = "vero".into();
        let mut add = |number: usize| {
            found.add(&event(number, format!("{{\"type\":\"type-{number}\"}}")), &source, &|_| false);
            (found.events, found.not_grouped)
        };
        for number in 0..SHAPES_MAX {
            add(number);
        }
        assert_eq!(add(0), (SHAPES_MAX as u64 + 1, 0), "what is known is counted on");
        assert_eq!(add(SHAPES_MAX), (SHAPES_MAX as u64 + 2, 1), "one kind more is not explained");
        assert_eq!(add(1), (SHAPES_MAX as u64 + 3, 1));
        let told = found.json();
        assert_eq!(told["groups"].as_array().map(Vec::len), Some(GROUPS_MAX));
        assert_eq!(told["not_grouped"], json!(SHAPES_MAX - GROUPS_MAX + 1));
        assert_eq!(told["further_types"].as_array().map(Vec::len), Some(TYPES_MAX));
    }

    #[test]
    fn a_type_of_a_further_group_is_named_unless_it_is_long_or_empty() {
        let config = config("[ { match: { type: sent }, to: a } ]");
        for (bytes, expected) in [(0, 0), (1, 1), (TYPE_BYTES_MAX, 1), (TYPE_BYTES_MAX + 1, 0)] {
            let mut found = Found::new(&config);
            let mut add = |event_type: &str| {
                let event = event(0, format!("{{\"type\":\"{event_type}\"}}"));
                found.add(&event, &"vero".into(), &|_| false);
            };
            (0..GROUPS_MAX).for_each(|number| (0..2).for_each(|_| add(&format!("type-{number}"))));
            add(&"x".repeat(bytes));
            let told = found.json();
            assert_eq!(told["further_types"].as_array().map(Vec::len), Some(expected), "{bytes} bytes");
            assert_eq!(told["not_grouped"], 1);
        }
    }
}
