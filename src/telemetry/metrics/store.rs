//! How much the store has, beside how much it may have.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Metrics;
use super::book::Book;
use crate::store::{Health, Usage};

#[derive(Clone)]
pub(super) struct Store {
    ready: Gauge,
    sync: Histogram,
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
    dead_expired: Counter,
    damaged_ranges: Gauge,
}

fn sync_histogram() -> Histogram {
    Histogram::new([0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
}

impl Store {
    pub(super) fn declare(book: &mut Book) -> Self {
        book.about("The store");
        Self {
            ready: book.gauge("store_ready", "0 or 1", "1 while events can be accepted"),
            sync: book.seconds("journal_fsync_duration_seconds", "How long a sync of the journal took", sync_histogram),
            bytes: book.gauge("store_bytes", "bytes", "Bytes of the journal and its index"),
            bytes_max: book.gauge(
                "store_bytes_max",
                "bytes",
                "store.max_size: at this size no events are accepted; 0 for no limit",
            ),
            free_bytes: book.gauge("store_filesystem_free_bytes", "bytes", "Free bytes on the file system of data_dir"),
            free_bytes_min: book.gauge(
                "store_filesystem_free_bytes_min",
                "bytes",
                "store.free_space_min: with less free space no events are accepted",
            ),
            history_bytes: book.gauge("history_bytes", "bytes", "Bytes of the journal"),
            history_bytes_max: book.gauge(
                "history_bytes_max",
                "bytes",
                "Above this size the oldest history is removed",
            ),
            history_events: book.gauge("history_events", "events", "Events in the history"),
            history_age: book.gauge("history_age_seconds", "seconds", "Age of the oldest event in the history"),
            dead_bytes: book.gauge(
                "dead_letter_bytes",
                "bytes",
                "Bytes of dead letters that are kept longer than the history",
            ),
            dead_bytes_max: book.gauge(
                "dead_letter_bytes_max",
                "bytes",
                "Above this size the oldest dead letters are dropped",
            ),
            dead_expired: book.counter(
                "dead_letters_expired",
                "deliveries",
                "Dead letters that were dropped because they were too old or too many",
            ),
            damaged_ranges: book.gauge(
                "store_damaged_ranges",
                "ranges",
                "Damaged ranges of the journal that were found at the start",
            ),
        }
    }
}

impl Metrics {
    pub fn synced(&self, took: Duration) {
        self.store.sync.observe(took.as_secs_f64());
    }

    /// Sets whether the store can do its work.
    pub fn set_store_health(&self, health: &Health) {
        self.store.ready.set(i64::from(*health == Health::Good));
    }

    /// Sets how much the store has.
    pub fn set_store_usage(&self, usage: &Usage, now_ms: u64) {
        let age = usage.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms) / 1000);
        let store = &self.store;
        for (gauge, number) in [
            (&store.bytes, usage.bytes),
            (&store.bytes_max, usage.bytes_max.unwrap_or(0)),
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
        store.dead_expired.inner().store(usage.dead_expired, std::sync::atomic::Ordering::Relaxed);
    }

    /// Says how many damaged ranges were found.
    pub fn set_damage(&self, ranges: usize) {
        self.store.damaged_ranges.set(ranges as i64);
    }

    /// How many damaged ranges were found at the start.
    pub fn damage(&self) -> u64 {
        u64::try_from(self.store.damaged_ranges.get()).unwrap_or(0)
    }
}
