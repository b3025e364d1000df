//! What is counted of those who are told of trouble.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::book::{Book, labels};
use super::series::Series;

labels! {
    NotificationLabels { destination, outcome }
    KindLabel { kind }
}

#[derive(Clone)]
pub(super) struct Notify {
    notifications: Series<NotificationLabels, Counter>,
    problems: Series<KindLabel, Gauge>,
}

impl Notify {
    pub(super) fn declare(book: &mut Book) -> Self {
        book.about("Being told");
        Self {
            notifications: book.counters(
                "notifications",
                "attempts",
                "Attempts to tell somebody of trouble, by outcome: delivered, failed",
            ),
            problems: book.gauges(
                "problems",
                "problems",
                "What is wrong now, by kind; only where the config has notify",
            ),
        }
    }
}

impl Metrics {
    /// Counts an attempt to tell somebody by way of a destination.
    pub fn notification(&self, destination: &str, is_heard: bool) {
        let outcome = if is_heard { "delivered" } else { "failed" }.to_owned();
        self.notify.notifications.get(NotificationLabels { destination: destination.to_owned(), outcome }).inc();
    }

    /// Says how much is wrong of one kind: one of a few.
    pub fn set_problems(&self, kind: &'static str, count: u64) {
        self.notify.problems.get(KindLabel { kind: kind.to_owned() }).set(count as i64);
    }
}
