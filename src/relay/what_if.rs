//! What a config that is not in force yet would do with events that came in: which deliveries would appear, vanish or change.
//!
//! # Cast
//!
//! * [`Comparison`]: two configs side by side, and what was found so far. [`Comparison::consider`] adds one event.
//! * [`Group`]: what is alike: one [`Change`], one rule, one destination; how many deliveries, and a few of them to look at.
//!
//! Both configs route the event as if it came in now; what became of it then does not matter, but that each holds back by `once_per` what comes too soon after
//! another one that it looked at. Nothing is sent or written. Whoever asks
//! brings the second config, so it may be made to tell: nothing is shown that a `${…}` of it stands for, neither in content nor in a
//! rule's name; where a delivery would go is compared and never shown; and nothing is compared at all where a `${…}` stands in another place
//! than in the config in force, since "alike or not" tells a value bit by bit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Config;
use crate::deliver::DestinationConfig;
use crate::deliver::sorting::{self, Rehearsal, Verdict};
use crate::destination::{Delivery, Unsent};
use crate::event::{EventId, Print, Refused, RelayFields, Summary, summary};
use crate::rules::Routing;
use crate::store::StoredEvent;

/// Deliveries of a group, and events, that are shown: one may be a freak, three show what they have in common.
const EXAMPLES_MAX: usize = 3;
/// What is told apart. Whoever changes more than that reads the totals.
const GROUPS_MAX: usize = 1000;
/// Characters of content that are shown: about a line, from a little before the first difference on.
const EXCERPT_CHARACTERS: usize = 96;
const BEFORE_THE_DIFFERENCE: usize = 24;

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// It is made, and was not.
    Appears,
    /// It was made, and is not.
    Vanishes,
    /// Something else is sent.
    Changes,
    /// The same is sent by another way: to another URL, file, mail server or recipient, with another method, header, key
    /// or sender, or into another thread or message that counts.
    Moves,
    /// The same is sent, at another time or in another form: with others where it went by itself, before all that waits, or the other way
    /// round.
    Waits,
}

impl Change {
    pub const ALL: [Change; 5] = [Change::Appears, Change::Vanishes, Change::Changes, Change::Moves, Change::Waits];

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Change::Appears => "appears",
            Change::Vanishes => "vanishes",
            Change::Changes => "changes",
            Change::Moves => "moves",
            Change::Waits => "waits",
        }
    }
}

/// Deliveries that are alike.
#[derive(Debug, Default)]
pub struct Group {
    pub deliveries: u64,
    /// The first of them.
    pub examples: Vec<Example>,
    /// What a `${…}` stands for would go to a place where the config in force does not have it. Then the contents are not compared: to
    /// say whether they are alike would tell, asked often enough, what the value is.
    pub is_not_compared: bool,
}

/// An event to look at.
#[derive(Debug)]
pub struct Example {
    pub id: EventId,
    /// Its type and its campaign.
    pub summary: Summary,
    /// What is sent now, and what would be, about where they first differ; `None` where that may not be shown.
    pub excerpts: Option<[String; 2]>,
}

/// One of the two configs, with what is needed for each event.
struct Side<'c> {
    config: &'c Config,
    /// The rules' names, as a delivery has them.
    rules: Vec<Arc<str>>,
    /// When the last event with a key went through, of rules that match once: unix milliseconds.
    passed: HashMap<Print, u64>,
}

impl<'c> Side<'c> {
    fn new(config: &'c Config) -> Self {
        Self {
            config,
            rules: config.rules.rules().iter().map(|rule| rule.name.as_str().into()).collect(),
            passed: HashMap::new(),
        }
    }

    /// Where an event goes after those before it, or why it is none.
    fn route<'e>(&mut self, body: &'e [u8], relay: RelayFields<'e>) -> Result<Routing<'e>, Refused> {
        let event = self.config.rules.read(body, relay)?;
        let passed = &mut self.passed;
        Ok(self.config.rules.route_once(&event, &mut |_, key, every| {
            let at_ms = relay.received_ms;
            let is_held = passed.get(&key).is_some_and(|last| u128::from(last.abs_diff(at_ms)) < every.as_millis());
            if !is_held {
                passed.insert(key, at_ms);
            }
            !is_held
        }))
    }
}

/// Where a delivery is in both configs: its destination and its rule in each.
type Pair = [(usize, usize); 2];

/// What is told apart: the change, and rule and destination by their places in the config that makes the delivery.
type Key = (Change, usize, usize);

/// Two configs side by side, and what was found so far.
pub struct Comparison<'c> {
    now: Side<'c>,
    then: Side<'c>,
    /// For each destination of the second config the one of the first that it is, perhaps under its old name.
    counterparts: Vec<Option<usize>>,
    /// For each destination of the second config whether each `${…}` of it stands where the first has it.
    are_compared: Vec<bool>,
    /// Sources that the second config does not have any more.
    pub sources_gone: Vec<String>,
    groups: HashMap<Key, Group>,
    /// What one of the two puts together, by its place in the second config: as it is now, and as it would be.
    rehearsals: BTreeMap<usize, [Rehearsal; 2]>,
    pub events: u64,
    /// Deliveries that are as they are.
    pub stays: u64,
    /// Deliveries by their change, in the order of [`Change::ALL`].
    pub totals: [u64; 5],
    /// Events that go somewhere, and would go nowhere.
    pub no_longer_accepted: u64,
    /// The first of them.
    pub no_longer_accepted_examples: Vec<Example>,
    /// Deliveries whose groups were too many.
    pub not_grouped: u64,
}

impl<'c> Comparison<'c> {
    /// Puts the config in force and one that may follow it side by side.
    pub fn new(now: &'c Config, then: &'c Config) -> Self {
        let sources: HashSet<&str> = then.sources.iter().map(|source| source.name.as_str()).collect();
        let is_gone = |name: &String| !sources.contains(name.as_str());
        let places: HashMap<&str, usize> =
            now.destinations.iter().enumerate().map(|(at, known)| (known.name.as_str(), at)).collect();
        let counterparts: Vec<_> =
            then.destinations.iter().map(|destination| counterpart(destination, &places)).collect();
        let is_compared = |(destination, same): (&DestinationConfig, &Option<usize>)| {
            same.is_none_or(|same| {
                let known = &now.destinations[same];
                let put_in = |config: &'c Config, of: &DestinationConfig| {
                    let own = config.resolved.below(&["destinations", &of.name]);
                    (own, config.resolved.below(&["defaults", of.kind]))
                };
                let now = put_in(now, known);
                // By another name it is another place, where a placeholder stands.
                let is_in_place = known.name == destination.name || now.0.is_empty();
                is_in_place && now == put_in(then, destination)
            })
        };
        let sorts = |(at, same): (usize, &Option<usize>)| {
            let now = same.and_then(|same| now.destinations[same].sorting.as_ref());
            (same.is_some() && (now.is_some() || then.destinations[at].sorting.is_some()))
                .then(|| (at, Default::default()))
        };
        let rehearsals = counterparts.iter().enumerate().filter_map(sorts).collect();
        Self {
            are_compared: then.destinations.iter().zip(&counterparts).map(is_compared).collect(),
            counterparts,
            sources_gone: now.sources.iter().map(|source| source.name.clone()).filter(is_gone).collect(),
            now: Side::new(now),
            then: Side::new(then),
            groups: HashMap::new(),
            rehearsals,
            events: 0,
            stays: 0,
            totals: [0; 5],
            no_longer_accepted: 0,
            no_longer_accepted_examples: Vec::new(),
            not_grouped: 0,
        }
    }

    /// Looks at an event, which came in by `source`.
    pub fn consider(&mut self, event: Arc<StoredEvent>, source: &Arc<str>) {
        let relay = RelayFields { source, received_ms: event.received_ms };
        let (Ok(before), Ok(mut after)) = (self.now.route(&event.body, relay), self.then.route(&event.body, relay))
        else {
            // It was accepted by an older relay, which knew better or worse.
            return;
        };
        self.events += 1;
        if self.sources_gone.iter().any(|gone| **gone == **source) {
            // It would not even come in.
            after.deliveries.clear();
        }
        self.rehearse(&event, source, [&before, &after]);
        for (destination, rule) in &after.deliveries {
            let same = self.counterparts[*destination];
            let known = before.deliveries.iter().find(|(known, _)| Some(*known) == same);
            match known {
                None => self.add((Change::Appears, *rule, *destination), || Example::of(&event, None)),
                Some(known) => self.compare(&event, source, [*known, (*destination, *rule)]),
            }
        }
        self.find_vanished(&event, &before, &after);
    }

    /// Counts the messages that both would come to, where either puts deliveries together.
    fn rehearse(&mut self, event: &Arc<StoredEvent>, source: &Arc<str>, [before, after]: [&Routing<'_>; 2]) {
        for (at, [now, then]) in &mut self.rehearsals {
            let same = self.counterparts[*at];
            let sides = [(&self.now, same, before, now), (&self.then, Some(*at), after, then)];
            for (side, at, routing, rehearsal) in sides {
                let delivery = routing.deliveries.iter().find(|(destination, _)| Some(*destination) == at);
                let Some((destination, rule)) = delivery else { continue };
                let config = &side.config.destinations[*destination];
                let delivery = delivery_of(event, source, &side.rules[*rule]);
                match (verdict(config, &delivery), &config.sorting) {
                    (Some((verdict, address)), Some(sorting)) => {
                        rehearsal.consider(sorting, (event.id, event.received_ms), &verdict, address);
                    }
                    _ => rehearsal.pass(),
                }
            }
        }
    }

    /// Of each destination at which either config puts deliveries together, the messages that these events come to: by the one in force, and by
    /// the other.
    pub fn messages(&mut self) -> Vec<(&'c str, [u64; 2])> {
        let then = self.then.config;
        let all = std::mem::take(&mut self.rehearsals).into_iter();
        all.map(|(at, of)| (then.destinations[at].name.as_str(), of.map(Rehearsal::messages))).collect()
    }

    fn find_vanished(&mut self, event: &Arc<StoredEvent>, before: &Routing<'_>, after: &Routing<'_>) {
        for (destination, rule) in &before.deliveries {
            let is_it = |(then, _): &(usize, usize)| self.counterparts[*then] == Some(*destination);
            if !after.deliveries.iter().any(is_it) {
                self.add((Change::Vanishes, *rule, *destination), || Example::of(event, None));
            }
        }
        if !before.deliveries.is_empty() && after.deliveries.is_empty() {
            self.no_longer_accepted += 1;
            if self.no_longer_accepted_examples.len() < EXAMPLES_MAX {
                self.no_longer_accepted_examples.push(Example::of(event, None));
            }
        }
    }

    /// Compares what both configs would send. That is dear, so it is done only where they may differ: a template can name the rule.
    fn compare(&mut self, event: &Arc<StoredEvent>, source: &Arc<str>, [before, after]: Pair) {
        let now = &self.now.config.destinations[before.0];
        let then = &self.then.config.destinations[after.0];
        let now_rule = &self.now.rules[before.1];
        let then_rule = &self.then.rules[after.1];
        if !self.are_compared[after.0] {
            self.add((Change::Changes, after.1, after.0), || Example::of(event, None));
            return;
        }
        // What came over the wire reads no file.
        let is_same_section = now.said == then.said;
        if is_same_section && now_rule == then_rule {
            self.stays += 1;
            return;
        }
        let was = delivery_of(event, source, now_rule);
        let would_be = delivery_of(event, source, then_rule);
        let [old, new] = [now.destination.content(&was), then.destination.content(&would_be)];
        let key = |change| (change, after.1, after.0);
        if old != new {
            let is_shown = now.shows_content && then.shows_content && self.then.config.has_text(then_rule);
            self.add(key(Change::Changes), || Example::of(event, is_shown.then(|| excerpts(&old, &new))));
        } else if !is_same_section
            && (now.destination.way(&was) != then.destination.way(&would_be)
                || place(now, &was) != place(then, &would_be))
        {
            self.add(key(Change::Moves), || Example::of(event, None));
        } else {
            let manners = [manner(now, &was), manner(then, &would_be)];
            if manners[0] == manners[1] {
                self.stays += 1;
            } else {
                self.add(key(Change::Waits), || Example::of(event, Some(manners.map(str::to_owned))));
            }
        }
    }

    fn add(&mut self, key: Key, example: impl FnOnce() -> Example) {
        self.totals[key.0 as usize] += 1;
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            self.not_grouped += 1;
            return;
        }
        let group = self.groups.entry(key).or_default();
        group.is_not_compared = key.0 == Change::Changes && !self.are_compared[key.2];
        group.deliveries += 1;
        if group.examples.len() < EXAMPLES_MAX {
            group.examples.push(example());
        }
    }

    /// What was found: the change, the names of rule and destination, and the deliveries that are alike in that.
    pub fn groups(&self) -> impl Iterator<Item = (Change, String, &str, &Group)> {
        self.groups.iter().map(|((change, rule, destination), group)| {
            let side = if *change == Change::Vanishes { &self.now } else { &self.then };
            let name = &*side.rules[*rule];
            // The name of a rule in force is no secret: metrics have it.
            let is_shown = *change == Change::Vanishes || self.then.config.has_text(name);
            let name = if is_shown { name.to_owned() } else { format!("#{}", rule + 1) };
            (*change, name, side.config.destinations[*destination].name.as_str(), group)
        })
    }
}

fn delivery_of(event: &Arc<StoredEvent>, source: &Arc<str>, rule: &Arc<str>) -> Delivery {
    Delivery { event: event.clone(), source: source.clone(), rule: rule.clone(), digest: None }
}

/// What an event is to a destination that sorts, and where it goes.
fn verdict(config: &DestinationConfig, delivery: &Delivery) -> Option<(Verdict, u64)> {
    let sorting = config.sorting.as_ref()?;
    let address = sorting::address_of(&*config.destination, delivery);
    let relay = RelayFields { source: &delivery.source, received_ms: delivery.event.received_ms };
    Some((sorting.verdict(&delivery.event.body, relay, address).ok()?, address))
}

/// Which others it stands with, and how: to be compared, and never shown. What is urgent stands by itself.
fn place(config: &DestinationConfig, delivery: &Delivery) -> Option<(&'static str, String)> {
    let memory = config.destination.memory()?;
    let is_urgent = matches!(verdict(config, delivery), Some((Verdict::Urgent, _)));
    let place = if is_urgent { None } else { memory.place(delivery) };
    place.map(|place| (place.kind, place.name))
}

/// How a delivery goes out, in words that hold nothing of it.
fn manner(config: &DestinationConfig, delivery: &Delivery) -> &'static str {
    let gathers = || config.sorting.as_ref().and_then(|sorting| sorting.gathering.as_ref());
    match verdict(config, delivery) {
        Some((Verdict::Urgent, _)) => "before all that waits",
        Some((Verdict::Of(_), _)) if gathers().is_some_and(|gathering| gathering.every.is_some()) => {
            "with others of its group"
        }
        Some((Verdict::Of(_), _)) => "by itself, and with others after quiet hours",
        Some((Verdict::InOrder(_), _)) => "by itself, after the earlier ones of its order key",
        Some((Verdict::Single, _)) | None => "by itself, as it comes",
    }
}

/// The destination of the config in force that one of another config is.
fn counterpart(destination: &DestinationConfig, places: &HashMap<&str, usize>) -> Option<usize> {
    let named = |name: &String| places.get(name.as_str()).copied();
    named(&destination.name).or_else(|| destination.renamed_from.as_ref().and_then(named))
}

impl Example {
    fn of(event: &StoredEvent, excerpts: Option<[String; 2]>) -> Self {
        Self { id: event.id, summary: summary(&event.body), excerpts }
    }
}

/// Two contents about where they first differ.
fn excerpts(old: &Result<Vec<u8>, Unsent>, new: &Result<Vec<u8>, Unsent>) -> [String; 2] {
    let text = |content: &Result<Vec<u8>, Unsent>| match content {
        Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Err(unsent @ Unsent::Skipped(_)) => unsent.to_string(),
        Err(Unsent::Failed { why, .. }) => format!("cannot be sent: {why}"),
    };
    let both = [text(old), text(new)];
    let alike = both[0].chars().zip(both[1].chars()).take_while(|(old, new)| old == new).count();
    let start = alike.saturating_sub(BEFORE_THE_DIFFERENCE);
    both.map(|text| {
        let mut excerpt = if start > 0 { "…".to_owned() } else { String::new() };
        excerpt.extend(text.chars().skip(start).take(EXCERPT_CHARACTERS));
        if text.chars().nth(start + EXCERPT_CHARACTERS).is_some() {
            excerpt.push('…');
        }
        excerpt
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: [&str; 2]) {
        let content = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(excerpts(&content(old), &content(new)), expected);
    }

    #[test]
    fn excerpts_begin_a_little_before_the_first_difference() {
        check("a short one", "a short two", ["a short one", "a short two"]);
        check("", "x", ["", "x"]);
        let same = "ä".repeat(30);
        let long = "z".repeat(100);
        let alike = "ä".repeat(BEFORE_THE_DIFFERENCE);
        check(
            &format!("{same}1"),
            &format!("{same}2{long}"),
            [&format!("…{alike}1"), &format!("…{alike}2{}…", &long[..71])],
        );
        let refused = excerpts(&Ok(b"{}".to_vec()), &Err(Unsent::failed("too much")));
        assert_eq!(refused[1], "cannot be sent: too much");
        let skipped = excerpts(&Ok(b"{}".to_vec()), &Err(Unsent::Skipped("it is empty".to_owned())));
        assert_eq!(skipped[1], "skipped: it is empty");
    }
}
