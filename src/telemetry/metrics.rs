//! The metrics: what is counted where. [`table`] says what each means; [`series`] holds those that have labels.
//!
//! What is many times a second is looked up once, by a generation or a worker, and counted by it; what is only known when somebody
//! looks is set for each scrape.

mod reference;
mod series;
pub mod table;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use self::reference::reference;
use self::series::{Moment, Series};
use crate::destination::Outcome;

/// Label sets, each a name or two.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
        struct $name { $($label: String),+ }
    )+};
}

labels! {
    SourceLabel { source }
    RequestLabels { source, code }
    ReasonLabel { reason }
    RuleLabel { rule }
    DestinationLabel { destination }
    OutcomeLabels { destination, outcome }
    VersionLabel { version }
    ListenerLabel { listener }
    TaskLabel { task }
}

/// All metrics. A clone counts into the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Series<RequestLabels, Counter>,
    refused: Series<ReasonLabel, Counter>,
    sources: Sources,
    rules: Series<RuleLabel, Counter>,
    unmatched: Counter,
    deliveries: Series<OutcomeLabels, Counter>,
    attempts: Series<OutcomeLabels, Counter>,
    attempt_duration: Series<DestinationLabel, Histogram>,
    last_delivered: Series<DestinationLabel, Moment>,
    waiting: Waiting,
    sync: Histogram,
    store: StoreGauges,
    dead_expired: Counter,
    reload_successful: Gauge,
    reload_succeeded_at: Gauge,
    connections: Series<ListenerLabel, Gauge>,
    task_restarts: Series<TaskLabel, Counter>,
}

/// What is known of each source.
#[derive(Clone)]
struct Sources {
    last_accepted: Series<SourceLabel, Moment>,
    paused: Series<SourceLabel, Gauge>,
    refusing: Series<SourceLabel, Gauge>,
    held: Series<SourceLabel, Gauge>,
}

/// What a scrape says of each destination, and what may be.
#[derive(Clone)]
struct Waiting {
    backlog: Series<DestinationLabel, Gauge>,
    oldest: Series<DestinationLabel, Gauge>,
    scheduled: Series<DestinationLabel, Gauge>,
    bytes: Series<DestinationLabel, Gauge>,
    bytes_max: Series<DestinationLabel, Gauge>,
    age_max: Series<DestinationLabel, Gauge>,
    dead_letters: Series<DestinationLabel, Gauge>,
    paused: Series<DestinationLabel, Gauge>,
    breaker_open: Series<DestinationLabel, Gauge>,
}

/// How much the store has, beside how much it may have.
#[derive(Clone, Default)]
struct StoreGauges {
    ready: Gauge,
    bytes: Gauge,
    bytes_max: Gauge,
    free_bytes: Gauge,
    free_bytes_min: Gauge,
    history_bytes: Gauge,
    history_bytes_max: Gauge,
    history_events: Gauge,
    history_age: Gauge,
    dead_bytes: Gauge,
    dead_bytes_max: Gauge,
    damaged_ranges: Gauge,
}

fn sync_histogram() -> Histogram {
    Histogram::new([0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
}

/// Few, since there are as many for each destination: from a neighbour's answer to the default timeout, and beyond.
fn attempt_histogram() -> Histogram {
    Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0])
}

/// The registry, which takes nothing that the table does not describe.
struct Book(Registry);

impl Book {
    fn add(&mut self, name: &str, metric: impl Metric) {
        let described = table::find(name).expect("a test registers every metric");
        self.0.register(described.name, described.help, metric);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            requests: Series::new(Counter::default),
            refused: Series::new(Counter::default),
            sources: Sources {
                last_accepted: Series::new(Moment::default),
                paused: Series::new(Gauge::default),
                refusing: Series::new(Gauge::default),
                held: Series::new(Gauge::default),
            },
            rules: Series::new(Counter::default),
            unmatched: Counter::default(),
            deliveries: Series::new(Counter::default),
            attempts: Series::new(Counter::default),
            attempt_duration: Series::new(attempt_histogram),
            last_delivered: Series::new(Moment::default),
            waiting: Waiting::default(),
            sync: sync_histogram(),
            store: StoreGauges::default(),
            dead_expired: Counter::default(),
            reload_successful: Gauge::default(),
            reload_succeeded_at: Gauge::default(),
            connections: Series::new(Gauge::default),
            task_restarts: Series::new(Counter::default),
        };
        metrics.reloaded(true);
        let mut book = Book(Registry::with_prefix(table::PREFIX));
        metrics.register(&mut book);
        Self { registry: Arc::new(book.0), ..metrics }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        let [backlog, oldest, scheduled, bytes, bytes_max, age_max, dead_letters, paused, breaker_open] =
            [(); 9].map(|()| Series::new(Gauge::default));
        Self { backlog, oldest, scheduled, bytes, bytes_max, age_max, dead_letters, paused, breaker_open }
    }
}

impl Metrics {
    fn register(&self, book: &mut Book) {
        let version = Series::new(Gauge::default as fn() -> Gauge);
        version.get(VersionLabel { version: env!("CARGO_PKG_VERSION").to_owned() }).set(1);
        let Sources { last_accepted, paused, refusing, held } = self.sources.clone();
        book.add("build_info", version);
        book.add("requests", self.requests.clone());
        book.add("requests_refused", self.refused.clone());
        book.add("source_last_accepted_timestamp_seconds", last_accepted);
        book.add("source_paused", paused);
        book.add("source_refusing", refusing);
        book.add("source_held_events", held);
        book.add("rule_matches", self.rules.clone());
        book.add("unmatched_events", self.unmatched.clone());
        book.add("attempts", self.attempts.clone());
        book.add("attempt_duration_seconds", self.attempt_duration.clone());
        book.add("deliveries", self.deliveries.clone());
        book.add("destination_last_delivered_timestamp_seconds", self.last_delivered.clone());
        book.add("config_last_reload_successful", self.reload_successful.clone());
        book.add("config_last_reload_success_timestamp_seconds", self.reload_succeeded_at.clone());
        book.add("connections_open", self.connections.clone());
        book.add("log_lines_lost", super::log::lines_lost());
        book.add("task_restarts", self.task_restarts.clone());
        let Waiting { backlog, oldest, scheduled, bytes, bytes_max, age_max, dead_letters, paused, breaker_open } =
            self.waiting.clone();
        for (name, series) in [
            ("destination_paused", paused),
            ("destination_breaker_open", breaker_open),
            ("backlog", backlog),
            ("backlog_oldest_age_seconds", oldest),
            ("deliveries_scheduled", scheduled),
            ("backlog_bytes", bytes),
            ("backlog_bytes_max", bytes_max),
            ("backlog_age_max_seconds", age_max),
            ("dead_letters", dead_letters),
        ] {
            book.add(name, series);
        }
        book.add("journal_fsync_duration_seconds", self.sync.clone());
        book.add("dead_letters_expired", self.dead_expired.clone());
        for (name, gauge) in self.store.by_name() {
            book.add(name, gauge.clone());
        }
    }

    /// Forgets what is shown of names that the config does not hold any more.
    pub fn keep(&self, sources: &HashSet<&str>, rules: &HashSet<&str>, destinations: &HashSet<&str>) {
        // Requests that proved no source are counted under no name.
        self.requests.retain(|labels| labels.source.is_empty() || sources.contains(labels.source.as_str()));
        self.sources.last_accepted.retain(|label| sources.contains(label.source.as_str()));
        for gauge in [&self.sources.paused, &self.sources.refusing, &self.sources.held] {
            gauge.retain(|label| sources.contains(label.source.as_str()));
        }
        self.rules.retain(|label| rules.contains(label.rule.as_str()));
        for outcomes in [&self.deliveries, &self.attempts] {
            outcomes.retain(|labels| destinations.contains(labels.destination.as_str()));
        }
        let is_kept = |label: &DestinationLabel| destinations.contains(label.destination.as_str());
        self.attempt_duration.retain(is_kept);
        self.last_delivered.retain(is_kept);
        let Waiting { backlog, oldest, scheduled, bytes, bytes_max, age_max, dead_letters, paused, breaker_open } =
            &self.waiting;
        for series in [backlog, oldest, scheduled, bytes, bytes_max, age_max, dead_letters, paused, breaker_open] {
            series.retain(is_kept);
        }
    }

    /// Counts a request. `source` is empty for one that did not prove itself.
    pub fn request(&self, source: &str, code: u16) {
        self.requests.get(RequestLabels { source: source.to_owned(), code: code.to_string() }).inc();
    }

    /// The counter of refused requests for one reason: one of a few.
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.refused.get(ReasonLabel { reason: reason.to_owned() })
    }

    /// The counters of one source, to be kept where events are many.
    pub fn source(&self, name: &str) -> SourceMetrics {
        SourceMetrics {
            accepted: self.requests.get(RequestLabels { source: name.to_owned(), code: "200".to_owned() }),
            last_accepted: self.sources.last_accepted.get(SourceLabel { source: name.to_owned() }),
        }
    }

    /// Says whether a source is paused, in which way, and how many of its events are held.
    pub fn set_source(&self, gauges: &SourceGauges<'_>) {
        for (series, value) in [
            (&self.sources.paused, i64::from(gauges.is_paused)),
            (&self.sources.refusing, i64::from(gauges.is_refusing)),
            (&self.sources.held, gauges.held as i64),
        ] {
            series.get(SourceLabel { source: gauges.name.to_owned() }).set(value);
        }
    }

    /// The counter for one rule's matches.
    pub fn rule_counter(&self, rule: &str) -> Counter {
        self.rules.get(RuleLabel { rule: rule.to_owned() })
    }

    /// Counts an event that goes nowhere.
    pub fn unmatched(&self) {
        self.unmatched.inc();
    }

    /// The counters of one destination.
    pub fn destination(&self, name: &str) -> DestinationMetrics {
        let labels = |outcome: &str| OutcomeLabels { destination: name.to_owned(), outcome: outcome.to_owned() };
        let label = || DestinationLabel { destination: name.to_owned() };
        DestinationMetrics {
            attempts: ["delivered", "retry", "reject", "pause"].map(|name| (name, self.attempts.get(labels(name)))),
            took: self.attempt_duration.get(label()),
            delivered: self.deliveries.get(labels("delivered")),
            last_delivered: self.last_delivered.get(label()),
            dead: self.deliveries.get(labels("dead_letter")),
            skipped: self.deliveries.get(labels("skipped")),
        }
    }

    /// The open connections of one listener.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get(ListenerLabel { listener: listener.to_owned() })
    }

    /// Counts a task that had to be started again.
    pub fn task_restarted(&self, task: &'static str) {
        self.task_restarts.get(TaskLabel { task: task.to_owned() }).inc();
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
        let counts = gauges.counts;
        let oldest = counts.oldest_ms.map_or(0, |oldest_ms| gauges.now_ms.saturating_sub(oldest_ms) / 1000);
        let age_max = gauges.backlog.max_age.map_or(0, |age| age.as_secs());
        let waiting = &self.waiting;
        for (series, number) in [
            (&waiting.backlog, counts.backlog),
            (&waiting.oldest, oldest),
            (&waiting.scheduled, counts.postponed),
            (&waiting.bytes, counts.backlog_bytes),
            (&waiting.bytes_max, gauges.backlog.max_size.unwrap_or(0)),
            (&waiting.age_max, age_max),
            (&waiting.dead_letters, counts.dead),
            (&waiting.paused, u64::from(counts.standing.paused.is_some())),
            (&waiting.breaker_open, u64::from(counts.standing.open_since_ms.is_some())),
        ] {
            series.get(DestinationLabel { destination: gauges.name.to_owned() }).set(number as i64);
        }
    }

    /// Sets what is known of the store.
    pub fn set_store(&self, usage: &crate::store::Usage, is_ready: bool, now_ms: u64) {
        let age = usage.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms) / 1000);
        let store = &self.store;
        for (gauge, number) in [
            (&store.ready, u64::from(is_ready)),
            (&store.bytes, usage.bytes),
            (&store.bytes_max, usage.bytes_max),
            (&store.free_bytes_min, usage.free_bytes_min),
            (&store.history_bytes, usage.journal_bytes),
            (&store.history_bytes_max, usage.history_bytes_max),
            (&store.history_events, usage.events),
            (&store.history_age, age),
            (&store.dead_bytes_max, usage.dead_bytes_max),
        ] {
            gauge.set(number as i64);
        }
        // What cannot be read now is what it was.
        for (gauge, number) in [(&store.free_bytes, usage.free_bytes), (&store.dead_bytes, usage.dead_bytes)] {
            if let Some(number) = number {
                gauge.set(number as i64);
            }
        }
        // The store counts it, from its start on.
        self.dead_expired.inner().store(usage.dead_expired, std::sync::atomic::Ordering::Relaxed);
    }

    /// Says how many damaged ranges were found.
    pub fn set_damage(&self, ranges: usize) {
        self.store.damaged_ranges.set(ranges as i64);
    }

    /// How many damaged ranges were found at the start.
    pub fn damage(&self) -> u64 {
        u64::try_from(self.store.damaged_ranges.get()).unwrap_or(0)
    }

    /// Everything in Prometheus' text format (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl StoreGauges {
    fn by_name(&self) -> [(&'static str, &Gauge); 12] {
        [
            ("store_ready", &self.ready),
            ("store_bytes", &self.bytes),
            ("store_bytes_max", &self.bytes_max),
            ("store_filesystem_free_bytes", &self.free_bytes),
            ("store_filesystem_free_bytes_min", &self.free_bytes_min),
            ("history_bytes", &self.history_bytes),
            ("history_bytes_max", &self.history_bytes_max),
            ("history_events", &self.history_events),
            ("history_age_seconds", &self.history_age),
            ("dead_letter_bytes", &self.dead_bytes),
            ("dead_letter_bytes_max", &self.dead_bytes_max),
            ("store_damaged_ranges", &self.damaged_ranges),
        ]
    }
}

/// What a scrape says of one source.
pub struct SourceGauges<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its events are kept, or answered with 503.
    pub is_paused: bool,
    /// Whether they are answered with 503.
    pub is_refusing: bool,
    /// How many are kept.
    pub held: u64,
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

/// The counters of one source, looked up once.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    accepted: Counter,
    last_accepted: Moment,
}

impl SourceMetrics {
    /// Counts an event that was accepted.
    pub fn accepted(&self, at_ms: u64) {
        self.accepted.inc();
        self.last_accepted.set(at_ms);
    }
}

/// The counters of one destination, looked up once.
#[derive(Clone)]
pub struct DestinationMetrics {
    attempts: [(&'static str, Counter); 4],
    took: Histogram,
    delivered: Counter,
    last_delivered: Moment,
    dead: Counter,
    skipped: Counter,
}

impl DestinationMetrics {
    /// Counts an attempt; one that was skipped is none.
    pub fn attempt(&self, outcome: &Outcome, took: Duration) {
        if let Some((_, counter)) = self.attempts.iter().find(|(name, _)| *name == outcome.name()) {
            counter.inc();
            self.took.observe(took.as_secs_f64());
        }
    }

    /// Counts a delivery that arrived.
    pub fn delivered(&self, at_ms: u64) {
        self.delivered.inc();
        self.last_delivered.set(at_ms);
    }

    /// Counts one that was given up.
    pub fn dead(&self) {
        self.dead.inc();
    }

    /// Counts one of which nothing was left to send.
    pub fn skipped(&self) {
        self.skipped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_describes_every_metric_and_nothing_else() {
        let text = Metrics::default().encode();
        let shown: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        for described in table::all() {
            let kind = format!("{:?}", described.kind).to_lowercase();
            let name = format!("{}_{}", table::PREFIX, described.name);
            assert!(shown.contains(&(name.as_str(), kind.as_str())), "{name} is a {kind}");
            assert!(text.contains(&format!("# HELP {name} {}.\n", described.help)), "{name}");
            assert!(!described.name.ends_with("_total"), "{name}");
        }
        assert_eq!(shown.len(), table::all().count(), "{shown:?}");
    }

    #[test]
    fn a_unit_stands_in_the_name() {
        for described in table::all() {
            let suffixes: &[&str] = match described.unit {
                "seconds" => &["_seconds"],
                "unix seconds" => &["_timestamp_seconds"],
                "bytes" => &["_bytes", "_bytes_max", "_bytes_min"],
                _ => continue,
            };
            assert!(suffixes.iter().any(|suffix| described.name.ends_with(suffix)), "{}", described.name);
        }
    }

    #[test]
    fn what_a_name_counted_goes_with_the_name() {
        let metrics = Metrics::default();
        for name in ["stays", "goes"] {
            metrics.source(name).accepted(1_500);
            metrics.set_source(&SourceGauges { name, is_paused: true, is_refusing: true, held: 1 });
            metrics.request(name, 413);
            metrics.rule_counter(name).inc();
            let destination = metrics.destination(name);
            destination.attempt(&Outcome::Delivered, Duration::from_millis(20));
            destination.delivered(1_500);
            let counts = crate::store::Counts::default();
            metrics.set_destination(&DestinationGauges {
                name,
                counts: &counts,
                backlog: Default::default(),
                now_ms: 0,
            });
        }
        let of = |name: &str| metrics.encode().lines().filter(|line| line.contains(&format!("\"{name}\""))).count();
        let all = of("stays");
        assert_eq!((all > 20, of("goes")), (true, all));
        let names = HashSet::from(["stays"]);
        metrics.keep(&names, &names, &names);
        assert_eq!((of("stays"), of("goes")), (all, 0));
    }

    #[test]
    fn a_moment_is_shown_once_there_is_one() {
        let metrics = Metrics::default();
        let source = metrics.source("vero");
        let name = "vero_relay_source_last_accepted_timestamp_seconds{";
        assert!(!metrics.encode().contains(name));
        source.accepted(1_700_000_000_500);
        assert!(metrics.encode().contains(&format!("{name}source=\"vero\"}} 1700000000.5\n")), "{}", metrics.encode());
    }
}
