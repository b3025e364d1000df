//! What is counted of events that come in.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::book::{Book, labels};
use super::series::{Moment, Series};
use crate::telemetry::minutes;

labels! {
    SourceLabel { source }
    RequestLabels { source, code }
    ReasonLabel { reason }
    RuleLabel { rule }
}

/// The status of an event that was accepted.
const ACCEPTED: &str = "200";

#[derive(Clone)]
pub(super) struct Intake {
    requests: Series<RequestLabels, Counter>,
    refused: Series<ReasonLabel, Counter>,
    last_accepted: Series<SourceLabel, Moment>,
    paused: Series<SourceLabel, Gauge>,
    refusing: Series<SourceLabel, Gauge>,
    held: Series<SourceLabel, Gauge>,
    rules: Series<RuleLabel, Counter>,
    unmatched: Counter,
    duplicates: Series<SourceLabel, Counter>,
    keys_forgotten: Counter,
}

impl Intake {
    pub(super) fn declare(book: &mut Book) -> Self {
        book.about("Events that come in");
        Self {
            requests: book.counters(
                "requests",
                "requests",
                "Requests to the hooks, by source and status code; the source is empty where the request did not prove one",
            ),
            refused: book.counters("requests_refused", "requests", "Requests to the hooks that were refused, by reason"),
            last_accepted: book.each(
                "source_last_accepted_timestamp_seconds",
                "unix seconds",
                "When an event was last accepted from a source; not shown before the first since the start",
                Moment::default,
            ),
            paused: book.gauges(
                "source_paused",
                "0 or 1",
                "1 while a source is paused: its events are kept and not delivered, or answered with 503",
            ),
            refusing: book.gauges(
                "source_refusing",
                "0 or 1",
                "1 while a source is paused by `--refuse`: its events are answered with 503 and not kept",
            ),
            held: book.gauges("source_held_events", "events", "Events of a source that are kept until it is resumed"),
            rules: book.counters("rule_matches", "events", "Events that a rule matched"),
            duplicates: book.counters(
                "duplicate_events",
                "events",
                "Events that a source with `dedupe` sent again, which were answered with the id of the first",
            ),
            keys_forgotten: book.counter(
                "dedupe_keys_forgotten",
                "keys",
                "Keys of events that `dedupe` and `once_per` forgot before their time, for want of room",
            ),
            unmatched: book.counter("unmatched_events", "events", "Events that no rule sends anywhere"),
        }
    }
}

impl Metrics {
    /// Counts a request. `source` is empty for one that did not prove itself.
    pub fn request(&self, source: &str, code: u16) {
        self.intake.requests.get(RequestLabels { source: source.to_owned(), code: code.to_string() }).inc();
    }

    /// The counter of refused requests for one reason: one of a few.
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.intake.refused.get(ReasonLabel { reason: reason.to_owned() })
    }

    /// The counters of one source, to be kept where events are many.
    pub fn source(&self, name: &str) -> SourceMetrics {
        SourceMetrics {
            accepted: self.intake.requests.get(RequestLabels { source: name.to_owned(), code: ACCEPTED.to_owned() }),
            last_accepted: self.intake.last_accepted.get(SourceLabel { source: name.to_owned() }),
        }
    }

    /// Says whether a source is paused, in which way, and how many of its events are held.
    pub fn set_source(&self, gauges: &SourceGauges<'_>) {
        for (series, value) in [
            (&self.intake.paused, i64::from(gauges.is_paused)),
            (&self.intake.refusing, i64::from(gauges.is_refusing)),
            (&self.intake.held, gauges.held as i64),
        ] {
            series.get(SourceLabel { source: gauges.name.to_owned() }).set(value);
        }
    }

    /// Counts an event that a source sent again.
    pub fn duplicate(&self, source: &str) {
        self.intake.duplicates.get(SourceLabel { source: source.to_owned() }).inc();
    }

    /// The counter of keys that were forgotten for want of room.
    pub fn keys_forgotten(&self) -> Counter {
        self.intake.keys_forgotten.clone()
    }

    /// The counter for one rule's matches.
    pub fn rule_counter(&self, rule: &str) -> Counter {
        self.intake.rules.get(RuleLabel { rule: rule.to_owned() })
    }

    /// How far the counters of what comes in have come.
    pub(super) fn taken_in(&self) -> minutes::Intake {
        let accepted = |so_far, labels: &RequestLabels, counter: &Counter| {
            so_far + if labels.code == ACCEPTED { counter.get() } else { 0 }
        };
        minutes::Intake {
            accepted: self.intake.requests.fold(0, accepted),
            refused: self.intake.refused.fold(0, |so_far, _, counter| so_far + counter.get()),
            unrouted: self.intake.unmatched.get(),
        }
    }

    /// How many events were accepted.
    pub fn accepted(&self) -> u64 {
        self.taken_in().accepted
    }

    /// Counts an event that goes nowhere.
    pub fn unmatched(&self) {
        self.intake.unmatched.inc();
    }
}

/// What a scrape says of one source.
pub struct SourceGauges<'a> {
    pub name: &'a str,
    /// Whether its events are kept, or answered with 503.
    pub is_paused: bool,
    /// Whether they are answered with 503.
    pub is_refusing: bool,
    /// How many are kept.
    pub held: u64,
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

    /// How many were accepted since the start.
    pub fn count(&self) -> u64 {
        self.accepted.get()
    }
}
