//! One config in force.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::auth::Authenticator;
use crate::config::Config;
use crate::deliver::Status;
use crate::store::{NameId, Store};
use crate::telemetry::{Metrics, SourceMetrics};

/// One config in force, with everything that is derived from it. A request or an attempt takes one and keeps it.
pub struct Generation {
    /// Counts up with every start and reload.
    pub number: u32,
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
    rule_counters: HashMap<NameId, Counter>,
}

impl Generation {
    /// Makes the generation of a config that follows `before`; its names have these numbers, in the order sources, rules,
    /// destinations.
    pub fn new(config: Config, before: Option<&Generation>, ids: Vec<NameId>, metrics: &Metrics) -> Self {
        let mut ids = ids.into_iter();
        let source_ids: Vec<_> = ids.by_ref().take(config.sources.len()).collect();
        let rule_ids: Vec<_> = ids.by_ref().take(config.rules.rules().len()).collect();
        let destination_ids: Vec<_> = ids.collect();
        let rules = config.rules.rules().iter();
        let rule_counters = rule_ids.iter().copied().zip(rules.map(|rule| metrics.rule_counter(&rule.name))).collect();
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
            rule_counters,
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

    /// The counter of one rule's matches.
    pub fn rule_counter(&self, rule: NameId) -> Option<&Counter> {
        self.rule_counters.get(&rule)
    }
}
