//! The metrics. Each is declared in one place, in the file of what it is about: [`intake`], [`destinations`], [`store`], [`notify`], [`process`]; the
//! methods that count it stand below. [`book`] is what they are declared in; [`series`] holds those that have labels;
//! [`mod@reference`] is docs/metrics.md.
//!
//! No declaration holds a metric's whole name: `vero_relay_attempts_total` is [`PREFIX`], the `"attempts"` that it is declared by, and the `_total` of
//! counters. To find one, look for the middle in quotes.
//!
//! What is many times a second is looked up once, by a generation or a worker, and counted by it; what is only known when somebody
//! looks is set for each scrape.

mod book;
mod destinations;
mod intake;
mod notify;
mod process;
mod reference;
mod series;
mod store;

use std::collections::HashSet;
use std::sync::Arc;

use self::book::{Book, KeptNames};
pub use self::book::{Described, Kind, PREFIX};
pub use self::destinations::{DestinationGauges, DestinationMetrics};
pub use self::intake::{SourceGauges, SourceMetrics};
pub use self::reference::reference;
use super::minutes::Totals;

/// All metrics. A clone counts into the same.
#[derive(Clone)]
pub struct Metrics {
    book: Arc<Book>,
    intake: intake::Intake,
    destinations: destinations::Destinations,
    store: store::Store,
    notify: notify::Notify,
    process: process::Process,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut book = Book::default();
        // In the order of the page about them.
        let intake = intake::Intake::declare(&mut book);
        let destinations = destinations::Destinations::declare(&mut book);
        let store = store::Store::declare(&mut book);
        let notify = notify::Notify::declare(&mut book);
        let process = process::Process::declare(&mut book);
        let metrics = Self { book: Arc::new(book), intake, destinations, store, notify, process };
        metrics.reload_succeeded();
        metrics
    }
}

impl Metrics {
    /// Forgets what is shown of names that the config does not hold any more.
    pub fn keep(&self, sources: &HashSet<&str>, rules: &HashSet<&str>, destinations: &HashSet<&str>) {
        self.book.keep(&KeptNames { sources, rules, destinations });
    }

    /// How far the counters have come of which there is a chart.
    pub fn totals<'n>(&self, destinations: impl IntoIterator<Item = &'n str>) -> Totals {
        let destinations = destinations.into_iter().map(|name| (name.into(), self.destination(name).so_far()));
        Totals { intake: self.taken_in(), destinations: destinations.collect() }
    }

    /// All of them in words.
    pub fn described(&self) -> &[Described] {
        self.book.described()
    }

    /// Everything in Prometheus' text format (OpenMetrics).
    pub fn encode(&self) -> String {
        self.book.encode()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::destination::Outcome;

    #[test]
    fn the_page_describes_every_metric_as_it_is_shown() {
        let metrics = Metrics::default();
        let text = metrics.encode();
        let shown: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        for described in metrics.described() {
            let kind = format!("{:?}", described.kind).to_lowercase();
            let name = format!("{}_{}", PREFIX, described.name);
            assert!(shown.contains(&(name.as_str(), kind.as_str())), "{name} is a {kind}");
            assert!(text.contains(&format!("# HELP {name} {}.\n", described.help)), "{name}");
            assert!(!described.name.ends_with("_total"), "{name}");
        }
        assert_eq!(shown.len(), metrics.described().len(), "{shown:?}");
    }

    #[test]
    fn a_unit_stands_in_the_name() {
        let metrics = Metrics::default();
        for described in metrics.described() {
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
            metrics.notification(name, true);
            let destination = metrics.destination(name);
            destination.attempt(&Outcome::Delivered, Duration::from_millis(20));
            destination.delivered(1, 1_500);
            let counts = crate::store::Counts::default();
            metrics.set_destination(&DestinationGauges {
                name,
                counts: &counts,
                backlog_age_max: None,
                backlog_bytes_max: None,
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
