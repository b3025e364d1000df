//! What is counted of the relay itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::book::{Book, labels};
use super::series::Series;
use crate::telemetry::log;

labels! {
    VersionLabel { version }
    ListenerLabel { listener }
    TaskLabel { task }
}

#[derive(Clone)]
pub(super) struct Process {
    reload_successful: Gauge,
    reload_succeeded_at: Gauge,
    connections: Series<ListenerLabel, Gauge>,
    task_restarts: Series<TaskLabel, Counter>,
}

impl Process {
    pub(super) fn declare(book: &mut Book) -> Self {
        book.about("The relay itself");
        let build_info = book.gauges("build_info", "1", "Always 1; its label is the version of vero-relay");
        build_info.get(VersionLabel { version: env!("CARGO_PKG_VERSION").to_owned() }).set(1);
        let reload_successful = book.gauge(
            "config_last_reload_successful",
            "0 or 1",
            "0 while the last reload has failed and the config before it is still in force",
        );
        let reload_succeeded_at = book.gauge(
            "config_last_reload_success_timestamp_seconds",
            "unix seconds",
            "When a config was last read and put in force",
        );
        let connections = book.gauges("connections_open", "connections", "Open connections, by listener: hooks, admin");
        book.one(
            "log_lines_lost",
            "lines",
            "Log lines that could not be written, or had no room to wait",
            log::lines_lost(),
        );
        let task_restarts = book.counters(
            "task_restarts",
            "restarts",
            "Tasks that panicked and were started again, which is a bug in vero-relay",
        );
        Self { reload_successful, reload_succeeded_at, connections, task_restarts }
    }
}

impl Metrics {
    /// The open connections of one listener.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.process.connections.get(ListenerLabel { listener: listener.to_owned() })
    }

    /// Counts a task that had to be started again.
    pub fn task_restarted(&self, task: &'static str) {
        self.process.task_restarts.get(TaskLabel { task: task.to_owned() }).inc();
    }

    /// A config was put in force: by a reload, or by a start.
    pub fn reload_succeeded(&self) {
        self.process.reload_successful.set(1);
        self.process.reload_succeeded_at.set((crate::time::wall_ms() / 1000) as i64);
    }

    /// A config was not put in force, and the one before is.
    pub fn reload_failed(&self) {
        self.process.reload_successful.set(0);
    }
}
