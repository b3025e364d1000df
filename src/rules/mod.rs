//! Which destinations an event goes to, and why. Pure: no clock, no disk, no network.
//!
//! # Cast
//!
//! * [`RuleSet`]: all rules of one config, compiled once. [`RuleSet::route`] says where an event goes; [`RuleSet::explain`] says why, in `explain`.
//! * `condition`, [`Condition`]: what a rule asks, as a tree. One function evaluates it, for routing and for explaining alike, so the two
//!   cannot disagree.
//! * [`operators`], [`operators::Operator`]: one way to test a field; one file each under `operators/`. `glob`: globs
//!   as regular expressions.
//! * `foresee`, [`Outline`]: what can be said before any event has come, for warnings.
//! * `once`, [`Once`]: by what a rule that matches once tells events apart. Whether one went through says whoever routes: [`RuleSet::route_once`].
//! * `nearest`, [`NearMiss`]: which rules an event nearly matched, and by what they missed it.
//! * `shape`: what two events have in common to all rules.
//! * `index`: finds the rules that may match, so that ten thousand rules cost little more than ten.
//!
//! # Exactly
//!
//! All rules are tried in order; an event goes once to each destination that any of them names; after a matching rule with `stop`
//! no later one is tried. On an array a condition holds if some element satisfies it. A missing field, or null, satisfies nothing
//! but `exists: false` and `x: null`. `not` is the exact opposite of what it wraps. An object satisfies only `exists`. An event that `once_per` holds back
//! is not matched by that rule: later ones are tried, also where it has `stop`.

mod condition;
mod explain;
mod foresee;
pub(crate) mod glob;
mod index;
mod nearest;
mod once;
pub mod operators;
mod shape;

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use smallvec::SmallVec;

pub use self::condition::{Condition, Label};
pub use self::explain::{Got, RuleTrace, TraceNode, TraceStep};
pub use self::foresee::{Outline, Verdict, are_apart};
use self::index::Index;
pub use self::nearest::{Meant, Missed, NearMiss, nearest};
pub use self::once::Once;
use crate::event::{Event, FieldSet, Print, Refused, RelayFields};

#[derive(Debug)]
pub struct Rule {
    pub name: String,
    /// What it asks of an event.
    pub condition: Condition,
    /// The destinations it names, as numbers that the caller gave them.
    pub to: Vec<usize>,
    /// When it matches, no later rule is tried.
    pub stop: bool,
    /// It matches no event while one with the same values has gone through; `None`: it matches all for which its condition holds.
    pub once: Option<Once>,
}

/// Whether a rule that matches once lets an event through: its place, the event's key, and for how long it holds back what has the same.
pub type LetsThrough<'l> = dyn FnMut(usize, Print, Duration) -> bool + 'l;

/// All rules of one config.
#[derive(Debug)]
pub struct RuleSet {
    fields: FieldSet,
    rules: Vec<Rule>,
    index: Index,
    has_once: bool,
}

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing<'a> {
    pub event_type: Cow<'a, str>,
    /// The rules that matched, by their place in the config.
    pub rules: SmallVec<[usize; 4]>,
    /// Each destination once, with the first rule that named it.
    pub deliveries: SmallVec<[(usize, usize); 4]>,
}

impl RuleSet {
    /// Puts rules together. Their conditions were built with the builder of `fields`.
    pub fn new(fields: FieldSet, rules: Vec<Rule>) -> Self {
        let index = Index::build(&rules);
        let has_once = rules.iter().any(|rule| rule.once.is_some());
        Self { fields, rules, index, has_once }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Picks out what the rules ask of an event, or says why the body is none.
    pub fn read<'a>(&self, body: &'a [u8], relay: RelayFields<'a>) -> Result<Event<'a>, Refused> {
        self.fields.read(body, relay)
    }

    /// Says where an event goes, or why the body is none. A rule that matches once lets it through.
    pub fn route<'a>(&self, body: &'a [u8], relay: RelayFields<'a>) -> Result<Routing<'a>, Refused> {
        Ok(self.route_event(&self.read(body, relay)?))
    }

    /// Says where an event goes that was [read](Self::read) by these rules, where nothing went through before it.
    pub fn route_event<'a>(&self, event: &Event<'a>) -> Routing<'a> {
        self.route_once(event, &mut |_, _, _| true)
    }

    /// The same, where each rule that matches once and whose condition holds asks whether it lets the event through. They ask in order, each once.
    pub fn route_once<'a>(&self, event: &Event<'a>, lets_through: &mut LetsThrough<'_>) -> Routing<'a> {
        let mut candidates = Vec::new();
        self.index.candidates(&self.fields, &event.fields, &mut candidates);
        self.decide(event, candidates.into_iter().map(|rule| rule as usize), lets_through)
    }

    /// The same without the index: every rule is evaluated. For tests of the index.
    #[cfg(any(test, feature = "test-support"))]
    pub fn route_plainly<'a>(&self, body: &'a [u8], relay: RelayFields<'a>) -> Result<Routing<'a>, Refused> {
        let event = self.fields.read(body, relay)?;
        Ok(self.decide(&event, 0..self.rules.len(), &mut |_, _, _| true))
    }

    /// Whether any rule matches once.
    pub fn has_once(&self) -> bool {
        self.has_once
    }

    /// The key of an event to a rule that matches once, and for how long it holds back what has the same.
    pub fn key(&self, rule: usize, event: &Event<'_>) -> Option<(Print, Duration)> {
        let rule = &self.rules[rule];
        rule.once.as_ref().map(|once| (once.key(&rule.name, &self.fields, event), once.every))
    }

    fn decide<'a>(
        &self,
        event: &Event<'a>,
        candidates: impl Iterator<Item = usize>,
        lets_through: &mut LetsThrough<'_>,
    ) -> Routing<'a> {
        let event_type = event.event_type.clone();
        let mut routing = Routing { event_type, rules: SmallVec::new(), deliveries: SmallVec::new() };
        let mut seen = Seen::default();
        for at in candidates {
            let rule = &self.rules[at];
            if !rule.condition.holds(&self.fields, &event.fields) {
                continue;
            }
            if let Some(once) = &rule.once
                && !lets_through(at, once.key(&rule.name, &self.fields, event), once.every)
            {
                continue;
            }
            routing.rules.push(at);
            for destination in &rule.to {
                if seen.insert(*destination, &routing.deliveries) {
                    routing.deliveries.push((*destination, at));
                }
            }
            if rule.stop {
                break;
            }
        }
        routing
    }
}

/// The destinations that are among the deliveries. Few are looked through faster than looked up, and a config may name thousands.
#[derive(Default)]
struct Seen(HashSet<usize>);

impl Seen {
    const FEW: usize = 16;

    /// Whether a destination is not among the deliveries yet. It is expected to become the next of them.
    fn insert(&mut self, destination: usize, deliveries: &[(usize, usize)]) -> bool {
        if deliveries.len() < Self::FEW {
            return deliveries.iter().all(|(known, _)| *known != destination);
        }
        if self.0.is_empty() {
            self.0 = deliveries.iter().map(|(known, _)| *known).collect();
        }
        self.0.insert(destination)
    }
}

#[cfg(test)]
mod tests;
