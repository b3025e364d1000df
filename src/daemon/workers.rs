//! The workers: one for each destination that the config names, through all reloads.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep::{Kept, keep};
use crate::deliver::{Bodies, Pace, Section, Worker, WorkerParts};
use crate::relay::{Generation, Relay};
use crate::store::{NameId, Store};
use crate::telemetry::Metrics;
use crate::time::Clock;

/// All workers, and what they share.
pub(super) struct Workers {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Metrics,
    tasks: TaskTracker,
    /// No new attempt by anybody once this is cancelled.
    stop: CancellationToken,
    bodies: Arc<Bodies>,
    /// The paces that several destinations keep together, by what they have in common.
    shared_paces: HashMap<String, Arc<Pace>>,
    hands: HashMap<NameId, Hand>,
}

/// One worker, seen by who looks after it.
struct Hand {
    section: watch::Sender<Arc<Section>>,
    stop: CancellationToken,
}

impl Workers {
    /// None yet.
    pub(super) fn new(relay: &Relay, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            store: relay.store.clone(),
            clock: relay.clock,
            metrics: relay.metrics.clone(),
            tasks,
            stop,
            bodies: Arc::default(),
            shared_paces: HashMap::new(),
            hands: HashMap::new(),
        }
    }

    /// Lets each worker go on with its section of a generation, starts those that are missing, and stops those whose destination is
    /// gone: their attempts under way are finished and settled.
    pub(super) fn follow(&mut self, generation: &Generation) {
        let shared_paces = self.shared_paces_of(generation);
        let shared_before = std::mem::replace(&mut self.shared_paces, shared_paces);
        for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
            let pace = config.destination.pace_key().and_then(|key| self.shared_paces.get(&key).cloned());
            let pace = pace.unwrap_or_else(|| self.own_pace(*id, &shared_before));
            if config.destination.pace_key().is_none() {
                pace.set_interval(config.policy.interval);
            }
            let metrics = self.metrics.destination(&config.name);
            let section = Arc::new(Section { config: config.clone(), pace, metrics });
            match self.hands.get(id) {
                Some(hand) => drop(hand.section.send_replace(section)),
                None => self.start(*id, section, generation),
            }
        }
        let gone: Vec<_> = self.hands.keys().filter(|id| !generation.destination_ids.contains(id)).copied().collect();
        gone.into_iter().filter_map(|id| self.hands.remove(&id)).for_each(|hand| hand.stop.cancel());
    }

    /// Those that share a URL share a pace, and the slowest sets it. One that was there before keeps its turns and holds.
    fn shared_paces_of(&self, generation: &Generation) -> HashMap<String, Arc<Pace>> {
        let mut intervals: HashMap<String, _> = HashMap::new();
        for config in &generation.config.destinations {
            if let Some(key) = config.destination.pace_key() {
                let interval = intervals.entry(key).or_default();
                *interval = config.policy.interval.max(*interval);
            }
        }
        let shared = |(key, interval)| {
            let pace = self.shared_paces.get(&key).cloned().unwrap_or_else(|| Arc::new(Pace::new(interval)));
            pace.set_interval(interval);
            (key, pace)
        };
        intervals.into_iter().map(shared).collect()
    }

    /// A destination's own pace: the one it has, unless it shared that with others.
    fn own_pace(&self, id: NameId, shared_before: &HashMap<String, Arc<Pace>>) -> Arc<Pace> {
        let known = self.hands.get(&id).map(|hand| hand.section.borrow().pace.clone());
        let is_shared = |pace: &Arc<Pace>| shared_before.values().any(|shared| Arc::ptr_eq(shared, pace));
        known.filter(|pace| !is_shared(pace)).unwrap_or_else(|| Arc::new(Pace::new(None)))
    }

    fn start(&mut self, id: NameId, section: Arc<Section>, generation: &Generation) {
        let of = section.config.name.clone();
        let (section, stop) = (watch::Sender::new(section), self.stop.child_token());
        let parts = WorkerParts {
            queue: self.store.queue(id),
            store: self.store.clone(),
            section: section.subscribe(),
            bodies: self.bodies.clone(),
            clock: self.clock,
            status: generation.statuses.get(&id).cloned().unwrap_or_default(),
            stop: stop.clone(),
        };
        let kept = Kept { task: "worker", of, metrics: self.metrics.clone(), stop: stop.clone() };
        self.tasks.spawn(keep(kept, move || Worker::new(parts.clone()).run()));
        self.hands.insert(id, Hand { section, stop });
    }
}
