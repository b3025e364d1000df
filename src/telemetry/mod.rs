//! What the relay says about itself: logs and metrics. Neither ever holds a secret, and no log line at info or above holds the
//! address of a person.

pub mod log;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::destination::Outcome;

/// Whether a stream is a terminal on which somebody wants colours: <https://no-color.org>.
pub(crate) fn has_colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why work on another thread came to nothing. A process that ends leaves undone what was not begun, and that is no panic.
pub(crate) fn in_vain(what: &str, error: &tokio::task::JoinError) -> String {
    if error.is_panic() { format!("{what} panicked") } else { format!("the relay ended before {what} did its work") }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    source: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RuleLabel {
    rule: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabel {
    destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    destination: String,
    outcome: String,
}

/// All metrics. A clone counts into the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    rules: Family<RuleLabel, Counter>,
    unmatched: Counter,
    deliveries: Family<OutcomeLabels, Counter>,
    attempts: Family<OutcomeLabels, Counter>,
    backlog: Family<DestinationLabel, Gauge>,
    postponed: Family<DestinationLabel, Gauge>,
    oldest: Family<DestinationLabel, Gauge>,
    dead_letters: Family<DestinationLabel, Gauge>,
    paused: Family<DestinationLabel, Gauge>,
    sync: Histogram,
    backlog_bytes: Family<DestinationLabel, Gauge>,
    backlog_bytes_max: Family<DestinationLabel, Gauge>,
    backlog_age_max: Family<DestinationLabel, Gauge>,
    breaker_open: Family<DestinationLabel, Gauge>,
    store: StoreGauges,
    dead_expired: Gauge,
    store_ready: Gauge,
    damage: Gauge,
    reload_successful: Gauge,
    reload_succeeded_at: Gauge,
}

/// How much the store has, beside how much it may have.
#[derive(Clone, Default)]
struct StoreGauges {
    bytes: Gauge,
    bytes_max: Gauge,
    history_bytes: Gauge,
    history_bytes_max: Gauge,
    history_events: Gauge,
    history_age: Gauge,
    dead_bytes: Gauge,
    dead_bytes_max: Gauge,
    free_bytes: Gauge,
    free_bytes_min: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vero_relay");
        let sync = Histogram::new([0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]);
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            rules: Family::default(),
            unmatched: Counter::default(),
            deliveries: Family::default(),
            attempts: Family::default(),
            backlog: Family::default(),
            postponed: Family::default(),
            oldest: Family::default(),
            dead_letters: Family::default(),
            paused: Family::default(),
            sync,
            backlog_bytes: Family::default(),
            backlog_bytes_max: Family::default(),
            backlog_age_max: Family::default(),
            breaker_open: Family::default(),
            store: StoreGauges::default(),
            dead_expired: Gauge::default(),
            store_ready: Gauge::default(),
            damage: Gauge::default(),
            reload_successful: Gauge::default(),
            reload_succeeded_at: Gauge::default(),
        };
        metrics.reloaded(true);
        registry.register("requests", "Requests to the hooks, by source and answer", metrics.requests.clone());
        registry.register("rule_matches", "Events that a rule matched", metrics.rules.clone());
        registry.register("unmatched_events", "Events that no rule sends anywhere", metrics.unmatched.clone());
        registry.register("deliveries", "Deliveries that ended, by outcome", metrics.deliveries.clone());
        registry.register("attempts", "Attempts, by what they came to", metrics.attempts.clone());
        registry.register("backlog", "Deliveries that are not settled", metrics.backlog.clone());
        registry.register("postponed", "Deliveries that wait for another attempt", metrics.postponed.clone());
        registry.register("oldest_seconds", "Age of the oldest delivery that is not settled", metrics.oldest.clone());
        registry.register("dead_letters", "Dead letters in the journal", metrics.dead_letters.clone());
        registry.register("paused", "1 while a destination is paused", metrics.paused.clone());
        registry.register("sync_seconds", "How long syncing the journal took", metrics.sync.clone());
        registry.register("breaker_open", "1 while a destination's breaker is open", metrics.breaker_open.clone());
        registry.register(
            "backlog_bytes",
            "Bytes of journal that a destination's backlog keeps from being trimmed",
            metrics.backlog_bytes.clone(),
        );
        registry.register(
            "backlog_bytes_max",
            "Above this the oldest of the backlog become dead letters; 0 for no limit",
            metrics.backlog_bytes_max.clone(),
        );
        registry.register(
            "backlog_age_max_seconds",
            "Deliveries not attempted by then become dead letters; 0 for no limit",
            metrics.backlog_age_max.clone(),
        );
        let store = &metrics.store;
        registry.register("store_bytes", "Bytes of the journal and its index", store.bytes.clone());
        registry.register(
            "store_bytes_max",
            "At this the store takes nothing in; 0 for no limit",
            store.bytes_max.clone(),
        );
        registry.register("history_bytes", "Bytes of the journal", store.history_bytes.clone());
        registry.register("history_bytes_max", "Above this the oldest history goes", store.history_bytes_max.clone());
        registry.register("history_events", "Events in the history", store.history_events.clone());
        registry.register("history_age_seconds", "Age of the oldest event in the history", store.history_age.clone());
        registry.register(
            "dead_letter_bytes",
            "Bytes of bodies that are kept beyond the history",
            store.dead_bytes.clone(),
        );
        registry.register(
            "dead_letter_bytes_max",
            "Above this the oldest dead letters are dropped",
            store.dead_bytes_max.clone(),
        );
        registry.register("free_bytes", "Free bytes on the file system", store.free_bytes.clone());
        registry.register("free_bytes_min", "Below this the store takes nothing in", store.free_bytes_min.clone());
        registry.register(
            "dead_letters_expired",
            "Dead letters dropped since the start because their time was over or they were too many",
            metrics.dead_expired.clone(),
        );
        registry.register("store_ready", "1 while events can be taken in", metrics.store_ready.clone());
        registry.register(
            "config_last_reload_successful",
            "1 while the config in force is the one that was asked for last",
            metrics.reload_successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When a config was taken last",
            metrics.reload_succeeded_at.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines that could not be written, or had no room to wait",
            log::lines_lost(),
        );
        registry.register("store_damaged_ranges", "Damaged stretches found at start", metrics.damage.clone());
        Self { registry: Arc::new(registry), ..metrics }
    }
}

/// What a scrape says of one destination.
pub struct DestinationGauges<'a> {
    /// Its name.
    pub name: &'a str,
    /// What waits for it.
    pub counts: &'a crate::store::Counts,
    /// What may wait for it.
    pub backlog: crate::deliver::BacklogLimits,
    /// The time, unix milliseconds.
    pub now_ms: u64,
}

impl Metrics {
    /// Counts a request. `source` is empty for one that did not prove itself.
    pub fn request(&self, source: &str, code: u16) {
        self.requests.get_or_create(&RequestLabels { source: source.to_owned(), code }).inc();
    }

    /// The counter for one way of answering, to be kept where requests are many.
    pub fn request_counter(&self, source: &str, code: u16) -> Counter {
        self.requests.get_or_create(&RequestLabels { source: source.to_owned(), code }).clone()
    }

    /// The counter for one rule's matches.
    pub fn rule_counter(&self, rule: &str) -> Counter {
        self.rules.get_or_create(&RuleLabel { rule: rule.to_owned() }).clone()
    }

    /// Counts an event that goes nowhere.
    pub fn unmatched(&self) {
        self.unmatched.inc();
    }

    /// The counters of one destination.
    pub fn destination(&self, name: &str) -> DestinationMetrics {
        let labels = |outcome: &str| OutcomeLabels { destination: name.to_owned(), outcome: outcome.to_owned() };
        let attempt = |outcome: &str| self.attempts.get_or_create(&labels(outcome)).clone();
        let delivery = |outcome: &str| self.deliveries.get_or_create(&labels(outcome)).clone();
        DestinationMetrics {
            attempts: ["delivered", "retry", "reject", "pause"].map(|outcome| (outcome, attempt(outcome))),
            delivered: delivery("delivered"),
            dead: delivery("dead"),
            skipped: delivery("skipped"),
        }
    }

    /// Tells how the last reload went; a start counts as one.
    pub fn reloaded(&self, is_good: bool) {
        self.reload_successful.set(i64::from(is_good));
        if is_good {
            self.reload_succeeded_at.set((crate::time::wall_ms() / 1000) as i64);
        }
    }

    /// Counts a sync.
    pub fn synced(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
    }

    /// Sets what is only known when somebody looks.
    pub fn set_destination(&self, gauges: &DestinationGauges<'_>) {
        let label = DestinationLabel { destination: gauges.name.to_owned() };
        let counts = gauges.counts;
        let oldest = counts.oldest_ms.map_or(0, |oldest_ms| gauges.now_ms.saturating_sub(oldest_ms) / 1000);
        self.backlog.get_or_create(&label).set(counts.backlog as i64);
        self.postponed.get_or_create(&label).set(counts.postponed as i64);
        self.oldest.get_or_create(&label).set(oldest as i64);
        self.dead_letters.get_or_create(&label).set(counts.dead as i64);
        self.paused.get_or_create(&label).set(i64::from(counts.standing.paused.is_some()));
        self.breaker_open.get_or_create(&label).set(i64::from(counts.standing.open_since_ms.is_some()));
        self.backlog_bytes.get_or_create(&label).set(counts.backlog_bytes as i64);
        self.backlog_bytes_max.get_or_create(&label).set(gauges.backlog.max_size.unwrap_or(0) as i64);
        let age_max = gauges.backlog.max_age.map_or(0, |age| age.as_secs());
        self.backlog_age_max.get_or_create(&label).set(age_max as i64);
    }

    /// Sets what is known of the store.
    pub fn set_store(&self, usage: &crate::store::Usage, is_ready: bool, now_ms: u64) {
        let age = usage.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms) / 1000);
        let store = &self.store;
        for (gauge, number) in [
            (&store.bytes, usage.bytes),
            (&store.bytes_max, usage.bytes_max),
            (&store.history_bytes, usage.journal_bytes),
            (&store.history_bytes_max, usage.history_bytes_max),
            (&store.history_events, usage.events),
            (&store.history_age, age),
            (&store.dead_bytes, usage.dead_bytes),
            (&store.dead_bytes_max, usage.dead_bytes_max),
            (&store.free_bytes, usage.free_bytes.unwrap_or(0)),
            (&store.free_bytes_min, usage.free_bytes_min),
            (&self.dead_expired, usage.dead_expired),
        ] {
            gauge.set(number as i64);
        }
        self.store_ready.set(i64::from(is_ready));
    }

    /// Says how many damaged stretches were found.
    pub fn set_damage(&self, ranges: usize) {
        self.damage.set(ranges as i64);
    }

    /// Everything in Prometheus' text format (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// The counters of one destination, looked up once.
#[derive(Clone)]
pub struct DestinationMetrics {
    attempts: [(&'static str, Counter); 4],
    delivered: Counter,
    dead: Counter,
    skipped: Counter,
}

impl DestinationMetrics {
    /// Counts an attempt; one that was skipped is none.
    pub fn attempt(&self, outcome: &Outcome) {
        if let Some((_, counter)) = self.attempts.iter().find(|(name, _)| *name == outcome.name()) {
            counter.inc();
        }
    }

    /// Counts a delivery that arrived.
    pub fn delivered(&self) {
        self.delivered.inc();
    }

    /// Counts one for which there was nothing to send.
    pub fn skipped(&self) {
        self.skipped.inc();
    }

    /// Counts one that was given up.
    pub fn dead(&self) {
        self.dead.inc();
    }
}
