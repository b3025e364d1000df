//! What is counted of deliveries, and what a scrape says of each destination.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Metrics;
use super::book::{Book, labels};
use super::series::{Moment, Series};
use crate::destination::Outcome;
use crate::telemetry::minutes;

labels! {
    DestinationLabel { destination }
    OutcomeLabels { destination, outcome }
}

#[derive(Clone)]
pub(super) struct Destinations {
    attempts: Series<OutcomeLabels, Counter>,
    took: Series<DestinationLabel, Histogram>,
    deliveries: Series<OutcomeLabels, Counter>,
    last_delivered: Series<DestinationLabel, Moment>,
    paused: Series<DestinationLabel, Gauge>,
    breaker_open: Series<DestinationLabel, Gauge>,
    backlog: Series<DestinationLabel, Gauge>,
    oldest: Series<DestinationLabel, Gauge>,
    scheduled: Series<DestinationLabel, Gauge>,
    gathered: Series<DestinationLabel, Gauge>,
    bytes: Series<DestinationLabel, Gauge>,
    bytes_max: Series<DestinationLabel, Gauge>,
    age_max: Series<DestinationLabel, Gauge>,
    dead_letters: Series<DestinationLabel, Gauge>,
}

/// Few, since there are as many for each destination: from a neighbour's answer to the default timeout, and beyond.
fn attempt_histogram() -> Histogram {
    Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0])
}

impl Destinations {
    pub(super) fn declare(book: &mut Book) -> Self {
        book.about("Deliveries");
        let attempts = book.counters(
            "attempts",
            "attempts",
            "Attempts that ended, by outcome: delivered, retry, reject, pause; a request with several events is one",
        );
        let took = book.each(
            "attempt_duration_seconds",
            "seconds",
            "How long an attempt took",
            attempt_histogram as fn() -> _,
        );
        let deliveries = book.counters(
            "deliveries",
            "deliveries",
            "Deliveries that ended, by outcome: delivered, dead_letter, or skipped because there was nothing to do",
        );
        let last_delivered = book.each(
            "destination_last_delivered_timestamp_seconds",
            "unix seconds",
            "When a delivery to a destination last arrived; not shown before the first since the start",
            Moment::default as fn() -> _,
        );
        let paused = book.gauges("destination_paused", "0 or 1", "1 while a destination is paused");
        let breaker_open = book.gauges(
            "destination_breaker_open",
            "0 or 1",
            "1 while a destination fails again and again, and gets one attempt at a time",
        );
        book.about("What waits for a destination");
        Self {
            attempts,
            took,
            deliveries,
            last_delivered,
            paused,
            breaker_open,
            backlog: book.gauges("backlog", "deliveries", "Deliveries that have not ended yet"),
            oldest: book.gauges(
                "backlog_oldest_age_seconds",
                "seconds",
                "For how long the oldest of the backlog has waited: not the time in a window, nor before a source was resumed, nor before a replay; 0 when nothing waits",
            ),
            scheduled: book.gauges(
                "deliveries_scheduled",
                "deliveries",
                "Deliveries that wait for the time of their next attempt",
            ),
            gathered: book.gauges(
                "deliveries_gathered",
                "deliveries",
                "Deliveries that wait to go out together; they are no part of the backlog",
            ),
            bytes: book.gauges(
                "backlog_bytes",
                "bytes",
                "Bytes of the journal that a backlog keeps from being removed",
            ),
            bytes_max: book.gauges(
                "backlog_bytes_max",
                "bytes",
                "backlog.max_size: above it the oldest deliveries become dead letters; 0 for no limit",
            ),
            age_max: book.gauges(
                "backlog_age_max_seconds",
                "seconds",
                "backlog.max_age: deliveries older than that before their first attempt become dead letters; 0 for no limit",
            ),
            dead_letters: book.gauges("dead_letters", "deliveries", "Dead letters that are kept"),
        }
    }
}

impl Metrics {
    /// The counters of one destination.
    pub fn destination(&self, name: &str) -> DestinationMetrics {
        let all = &self.destinations;
        let labels = |outcome: &str| OutcomeLabels { destination: name.to_owned(), outcome: outcome.to_owned() };
        let label = || DestinationLabel { destination: name.to_owned() };
        DestinationMetrics {
            attempts: ["delivered", "retry", "reject", "pause"].map(|name| (name, all.attempts.get(labels(name)))),
            took: all.took.get(label()),
            delivered: all.deliveries.get(labels("delivered")),
            last_delivered: all.last_delivered.get(label()),
            dead: all.deliveries.get(labels("dead_letter")),
            skipped: all.deliveries.get(labels("skipped")),
        }
    }

    /// Sets what is only known when somebody looks.
    pub fn set_destination(&self, gauges: &DestinationGauges<'_>) {
        let counts = gauges.counts;
        let oldest = counts.oldest_ms.map_or(0, |oldest_ms| gauges.now_ms.saturating_sub(oldest_ms) / 1000);
        let age_max = gauges.backlog_age_max.map_or(0, |age| age.as_secs());
        let all = &self.destinations;
        for (series, number) in [
            (&all.backlog, counts.backlog),
            (&all.oldest, oldest),
            (&all.scheduled, counts.scheduled),
            (&all.gathered, counts.gathered),
            (&all.bytes, counts.backlog_bytes),
            (&all.bytes_max, gauges.backlog_bytes_max.unwrap_or(0)),
            (&all.age_max, age_max),
            (&all.dead_letters, counts.dead),
            (&all.paused, u64::from(counts.state.paused.is_some())),
            (&all.breaker_open, u64::from(counts.state.open_since_ms.is_some())),
        ] {
            series.get(DestinationLabel { destination: gauges.name.to_owned() }).set(number as i64);
        }
    }
}

/// What a scrape says of one destination.
pub struct DestinationGauges<'a> {
    pub name: &'a str,
    /// What waits for it.
    pub counts: &'a crate::store::Counts,
    /// How long a delivery may wait for its first attempt.
    pub backlog_age_max: Option<Duration>,
    /// Bytes of the journal that its backlog may keep.
    pub backlog_bytes_max: Option<u64>,
    /// The time, unix milliseconds.
    pub now_ms: u64,
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
    /// How far the counters have come.
    pub(super) fn so_far(&self) -> minutes::Deliveries {
        let attempts = |wanted: &[&str]| {
            let meant = self.attempts.iter().filter(|(name, _)| wanted.contains(name));
            meant.map(|(_, counter)| counter.get()).sum()
        };
        minutes::Deliveries {
            delivered: self.delivered.get(),
            failed: attempts(&["retry", "reject", "pause"]),
            dead: self.dead.get(),
        }
    }

    /// Counts an attempt; one that was skipped is none.
    pub fn attempt(&self, outcome: &Outcome, took: Duration) {
        if let Some((_, counter)) = self.attempts.iter().find(|(name, _)| *name == outcome.name()) {
            counter.inc();
            self.took.observe(took.as_secs_f64());
        }
    }

    /// Counts deliveries that arrived: several, where they were one digest.
    pub fn delivered(&self, deliveries: u64, at_ms: u64) {
        self.delivered.inc_by(deliveries);
        self.last_delivered.set(at_ms);
    }

    /// Counts those that were given up.
    pub fn dead(&self, deliveries: u64) {
        self.dead.inc_by(deliveries);
    }

    /// Counts those of which nothing was left to send.
    pub fn skipped(&self, deliveries: u64) {
        self.skipped.inc_by(deliveries);
    }
}
