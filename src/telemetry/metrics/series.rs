//! Metrics by label, which can be told that a name is gone; and times, which are shown once there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// One metric for each set of labels, in the order of the labels. A clone is the same.
pub struct Series<L, M> {
    all: Arc<RwLock<BTreeMap<L, M>>>,
    make: fn() -> M,
}

impl<L: Ord, M: Clone> Series<L, M> {
    /// None yet. Each begins as `make` makes it.
    pub fn new(make: fn() -> M) -> Self {
        Self { all: Arc::default(), make }
    }

    /// The one with these labels, made if there is none.
    pub fn get(&self, labels: L) -> M {
        if let Some(known) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(&labels) {
            return known.clone();
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(labels).or_insert_with(self.make).clone()
    }

    /// What comes of all of them, one after the other.
    pub fn fold<T>(&self, first: T, mut add: impl FnMut(T, &L, &M) -> T) -> T {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold(first, |so_far, (labels, metric)| add(so_far, labels, metric))
    }

    /// Keeps those whose labels are wanted. Who holds another counts on, unseen.
    pub fn retain(&self, wanted: impl Fn(&L) -> bool) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).retain(|labels, _| wanted(labels));
    }
}

impl<L, M> Clone for Series<L, M> {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), make: self.make }
    }
}

impl<L, M> fmt::Debug for Series<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}

impl<L: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Series<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut shown = all.iter().filter(|(_, metric)| !metric.is_empty());
        shown.try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// When something happened last, by the wall clock. Not shown before it has happened since the start: an age of decades would be an
/// alarm.
#[derive(Clone, Debug, Default)]
pub struct Moment(Arc<AtomicU64>);

impl Moment {
    /// It happened, unix milliseconds.
    pub fn set(&self, at_ms: u64) {
        self.0.store(at_ms, Ordering::Relaxed);
    }
}

impl EncodeMetric for Moment {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&(self.0.load(Ordering::Relaxed) as f64 / 1000.0))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl TypedMetric for Moment {
    const TYPE: MetricType = MetricType::Gauge;
}
