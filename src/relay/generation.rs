//! One config in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::auth::Authenticator;
use crate::config::Config;
use crate::deliver::Status;
use crate::event::RelayFields;
use crate::rules::{Routing, Rule};
use crate::store::{NameId, Store, StoredEvent};
use crate::telemetry::{Metrics, SourceMetrics};
use crate::time::wall_ms;

/// One config in force, with everything that is derived from it. A request or an attempt takes one and keeps it.
pub struct Generation {
    /// Counts up with every start and reload.
    pub number: u32,
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    pub config: Config,
    /// Who may come in.
    pub authenticator: Authenticator,
    /// The sources' numbers in the store, in the config's order.
    pub source_ids: Vec<NameId>,
    pub rule_ids: Vec<NameId>,
    pub destination_ids: Vec<NameId>,
    /// Counters of accepted events, by source.
    pub accepted: Vec<SourceMetrics>,
    /// What each destination's worker shows, by its number. A destination that stays keeps its own.
    pub statuses: HashMap<NameId, Arc<Status>>,
    rule_counts: HashMap<NameId, RuleCount>,
}

impl Generation {
    /// Makes the generation of a config that follows `before`; its names have these numbers, in the order sources, rules,
    /// destinations.
    pub fn new(config: Config, before: Option<&Generation>, ids: Vec<NameId>, metrics: &Metrics) -> Self {
        let mut ids = ids.into_iter();
        let source_ids: Vec<_> = ids.by_ref().take(config.sources.len()).collect();
        let rule_ids: Vec<_> = ids.by_ref().take(config.rules.rules().len()).collect();
        let destination_ids: Vec<_> = ids.collect();
        let rule_counts = rule_ids.iter().copied().zip(rule_counts(&config, before, metrics)).collect();
        let accepted = config.sources.iter().map(|source| metrics.source(&source.name)).collect();
        let status = |id: &NameId| before.and_then(|before| before.statuses.get(id)).cloned().unwrap_or_default();
        Self {
            number: before.map_or(1, |before| before.number + 1),
            authenticator: Authenticator::new(&config.sources),
            statuses: destination_ids.iter().map(|id| (*id, status(id))).collect(),
            source_ids,
            rule_ids,
            destination_ids,
            accepted,
            rule_counts,
            since_ms: wall_ms(),
            config,
        }
    }

    /// Lets the store go by it from now on.
    pub fn announce(&self, store: &dyn Store) {
        store.announce(self.number, &[&*self.source_ids, &*self.rule_ids, &*self.destination_ids].concat());
    }

    /// Forgets what the metrics show of names that are in this config no more.
    pub fn forget_others(&self, metrics: &Metrics) {
        let sources = self.config.sources.iter().map(|source| source.name.as_str()).collect();
        let rules = self.config.rules.rules().iter().map(|rule| &*rule.name).collect();
        let destinations = self.config.destinations.iter().map(|destination| destination.name.as_str()).collect();
        metrics.keep(&sources, &rules, &destinations);
    }

    /// Where an event of the history goes by these rules: by one that matches once only if it let the event through when it came.
    pub fn route(&self, source: &str, event: &StoredEvent) -> Vec<NameId> {
        let relay = RelayFields { source, received_ms: event.received_ms };
        let rules = &self.config.rules;
        let took = |at: usize| event.rules.contains(&self.rule_ids[at]);
        let routing = rules.read(&event.body, relay).map(|read| rules.route_once(&read, &mut |at, _, _| took(at)));
        let to = |routing: Routing<'_>| routing.deliveries.iter().map(|(at, _)| self.destination_ids[*at]).collect();
        routing.map(to).unwrap_or_default()
    }

    /// What is counted of one rule.
    pub fn rule_count(&self, rule: NameId) -> Option<&RuleCount> {
        self.rule_counts.get(&rule)
    }
}

/// What is counted of a rule since the relay was started, or since the rule says what it says.
#[derive(Clone, Debug)]
pub struct RuleCount {
    /// Goes on through all configs, as counters do.
    matches: Counter,
    last_matched_ms: Arc<AtomicU64>,
    /// How far the counters of its matches and of all events had come when it became what it is, and when that was, unix milliseconds.
    matches_before: u64,
    pub events_before: u64,
    pub since_ms: u64,
}

impl RuleCount {
    /// Counts an event that it matches.
    pub fn matched(&self, received_ms: u64) {
        self.matches.inc();
        self.last_matched_ms.store(received_ms, Ordering::Relaxed);
    }

    /// How many events it has matched.
    pub fn matches(&self) -> u64 {
        self.matches.get() - self.matches_before
    }

    /// When the last of them came in, unix milliseconds.
    pub fn last_matched_ms(&self) -> Option<u64> {
        Some(self.last_matched_ms.load(Ordering::Relaxed)).filter(|at_ms| *at_ms > 0)
    }
}

/// The counts of a config's rules, in their order. Those of a rule that says the same as before go on.
fn rule_counts(config: &Config, before: Option<&Generation>, metrics: &Metrics) -> Vec<RuleCount> {
    let places = before.map(|before| before.config.rules.rules().iter().enumerate());
    let places: HashMap<&str, usize> = places.into_iter().flatten().map(|(at, rule)| (&*rule.name, at)).collect();
    let events_before = metrics.accepted();
    let now_ms = wall_ms();
    let count = |(at, rule): (usize, &Rule)| {
        let known = before.zip(places.get(rule.name.as_str())).and_then(|(before, known)| {
            let is_same = config.outline.has_rule(at, &before.config.outline, *known);
            before.rule_counts.get(&before.rule_ids[*known]).filter(|_| is_same).cloned()
        });
        known.unwrap_or_else(|| {
            let matches = metrics.rule_counter(&rule.name);
            let matches_before = matches.get();
            RuleCount { matches, last_matched_ms: Arc::default(), matches_before, events_before, since_ms: now_ms }
        })
    };
    config.rules.rules().iter().enumerate().map(count).collect()
}
