//! Where metrics are declared: one call registers a metric, describes it for docs/metrics.md, and lets it forget names that went.

use std::collections::HashSet;
use std::fmt::Debug;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

use super::series::Series;

/// What every name begins with.
pub const PREFIX: &str = "vero_relay";

/// What a metric says, in words.
#[derive(Clone, Debug)]
pub struct Described {
    /// The part of the page that it is in.
    pub about: &'static str,
    /// Its name, without the prefix and without what its type adds.
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts in.
    pub unit: &'static str,
    /// What it says, without a full stop.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for restarts.
    Counter,
    Gauge,
    /// How often values of what size came.
    Histogram,
}

impl Kind {
    fn of<M: TypedMetric>() -> Self {
        match M::TYPE {
            MetricType::Counter => Self::Counter,
            MetricType::Histogram => Self::Histogram,
            _ => Self::Gauge,
        }
    }
}

impl Described {
    /// The name as `/metrics` shows it. A histogram's is continued by `_bucket`, `_sum` and `_count`.
    pub fn exposed(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{PREFIX}_{}{suffix}", self.name)
    }
}

/// The names that a config holds.
pub struct KeptNames<'a> {
    pub sources: &'a HashSet<&'a str>,
    pub rules: &'a HashSet<&'a str>,
    pub destinations: &'a HashSet<&'a str>,
}

impl KeptNames<'_> {
    /// Whether what is shown with a label stays. A label that names nothing of a config does.
    pub fn hold(&self, label: &str, value: &str) -> bool {
        match label {
            // Requests that proved no source are counted under no name.
            "source" => value.is_empty() || self.sources.contains(value),
            "rule" => self.rules.contains(value),
            "destination" => self.destinations.contains(value),
            _ => true,
        }
    }
}

/// A set of labels. Made by [`labels!`].
pub trait Labels: EncodeLabelSet + Clone + Debug + Ord + Send + Sync + 'static {
    const NAMES: &'static [&'static str];

    /// Whether what is shown with them stays when these names do.
    fn are_kept(&self, names: &KeptNames<'_>) -> bool;
}

/// Label sets, each a name or two.
macro_rules! labels {
    ($($name:ident { $($label:ident),+ })+) => {$(
        #[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, prometheus_client::encoding::EncodeLabelSet)]
        pub(super) struct $name { $(pub $label: String),+ }

        impl $crate::telemetry::metrics::book::Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($label)),+];

            fn are_kept(&self, names: &$crate::telemetry::metrics::book::KeptNames<'_>) -> bool {
                $(names.hold(stringify!($label), &self.$label))&&+
            }
        }
    )+};
}
pub(super) use labels;

trait Keep: Send + Sync {
    fn keep(&self, names: &KeptNames<'_>);
}

impl<L: Labels, M: Clone + Send + Sync> Keep for Series<L, M> {
    fn keep(&self, names: &KeptNames<'_>) {
        self.retain(|labels| labels.are_kept(names));
    }
}

/// All metrics that were declared.
pub struct Book {
    registry: Registry,
    about: &'static str,
    described: Vec<Described>,
    series: Vec<Box<dyn Keep>>,
}

impl Default for Book {
    fn default() -> Self {
        let registry = Registry::with_prefix(PREFIX);
        Self { registry, about: "", described: Vec::new(), series: Vec::new() }
    }
}

impl Book {
    /// What the metrics that follow are about.
    pub fn about(&mut self, about: &'static str) {
        self.about = about;
    }

    pub fn counter(&mut self, name: &'static str, unit: &'static str, help: &'static str) -> Counter {
        self.one(name, unit, help, Counter::default())
    }

    /// Declares a counter for each set of labels.
    pub fn counters<L: Labels>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
    ) -> Series<L, Counter> {
        self.each(name, unit, help, Counter::default)
    }

    pub fn gauge(&mut self, name: &'static str, unit: &'static str, help: &'static str) -> Gauge {
        self.one(name, unit, help, Gauge::default())
    }

    /// Declares a gauge for each set of labels.
    pub fn gauges<L: Labels>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
    ) -> Series<L, Gauge> {
        self.each(name, unit, help, Gauge::default)
    }

    /// Declares a histogram of seconds.
    pub fn seconds(&mut self, name: &'static str, help: &'static str, made: fn() -> Histogram) -> Histogram {
        self.one(name, "seconds", help, made())
    }

    /// Declares what is counted elsewhere, or made in another way.
    pub fn one<M: Metric + TypedMetric + Clone>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        self.describe::<M>(name, &[], unit, help);
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// Declares one for each set of labels, made in some way.
    pub fn each<L: Labels, M: Metric + TypedMetric + Clone>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        made: fn() -> M,
    ) -> Series<L, M> {
        self.describe::<M>(name, L::NAMES, unit, help);
        let series = Series::new(made);
        self.registry.register(name, help, series.clone());
        self.series.push(Box::new(series.clone()));
        series
    }

    fn describe<M: TypedMetric>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
    ) {
        let described = Described { about: self.about, name, kind: Kind::of::<M>(), labels, unit, help };
        self.described.push(described);
    }

    /// All of them in words, in the order in which they were declared.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Forgets what is shown of names that the config does not hold any more.
    pub fn keep(&self, names: &KeptNames<'_>) {
        self.series.iter().for_each(|series| series.keep(names));
    }

    /// Everything in Prometheus' text format (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
