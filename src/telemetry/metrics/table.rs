//! Every metric there is: its name, type, labels, unit and meaning. What is not here cannot be registered, and docs/metrics.md is
//! made from it.

/// One metric.
#[derive(Debug)]
pub struct Described {
    /// Its name, without the prefix and without what its type adds.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts in.
    pub unit: &'static str,
    /// What it says, without a full stop.
    pub help: &'static str,
}

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How often values of what size came.
    Histogram,
}

/// What every name begins with.
pub const PREFIX: &str = "vero_relay";

impl Described {
    /// The name as `/metrics` shows it. A histogram's is continued by `_bucket`, `_sum` and `_count`.
    pub fn exposed(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{PREFIX}_{}{suffix}", self.name)
    }
}

/// A metric by its name.
pub fn find(name: &str) -> Option<&'static Described> {
    all().find(|described| described.name == name)
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Described> {
    TABLE.iter().flat_map(|(_, described)| described.iter())
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Counter, labels, unit, help }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Gauge, labels, unit, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Histogram, labels, unit, help }
}

/// The metrics, by what they are about.
pub const TABLE: &[(&str, &[Described])] = &[
    ("Events that come in", INTAKE),
    ("Deliveries", DELIVERIES),
    ("What waits for a destination", BACKLOG),
    ("The store", STORE),
    ("The relay itself", RELAY),
];

const INTAKE: &[Described] = &[
    counter(
        "requests",
        &["source", "code"],
        "requests",
        "Requests to the hooks, by source and status code; the source is empty where the request did not prove one",
    ),
    counter("requests_refused", &["reason"], "requests", "Requests to the hooks that were refused, by reason"),
    gauge(
        "source_last_accepted_timestamp_seconds",
        &["source"],
        "unix seconds",
        "When an event was last accepted from a source; not shown before the first since the start",
    ),
    gauge(
        "source_paused",
        &["source"],
        "0 or 1",
        "1 while a source is paused: its events are kept and not delivered, or answered with 503",
    ),
    gauge(
        "source_refusing",
        &["source"],
        "0 or 1",
        "1 while a source is paused by `--refuse`: its events are answered with 503 and not kept",
    ),
    gauge("source_held_events", &["source"], "events", "Events of a source that are kept until it is resumed"),
    counter("rule_matches", &["rule"], "events", "Events that a rule matched"),
    counter("unmatched_events", &[], "events", "Events that no rule sends anywhere"),
];

const DELIVERIES: &[Described] = &[
    counter(
        "attempts",
        &["destination", "outcome"],
        "attempts",
        "Attempts that ended, by outcome: delivered, retry, reject, pause",
    ),
    histogram("attempt_duration_seconds", &["destination"], "seconds", "How long an attempt took"),
    counter(
        "deliveries",
        &["destination", "outcome"],
        "deliveries",
        "Deliveries that ended, by outcome: delivered, dead_letter, or skipped because the message was empty",
    ),
    gauge(
        "destination_last_delivered_timestamp_seconds",
        &["destination"],
        "unix seconds",
        "When a delivery to a destination last arrived; not shown before the first since the start",
    ),
    gauge("destination_paused", &["destination"], "0 or 1", "1 while a destination is paused"),
    gauge(
        "destination_breaker_open",
        &["destination"],
        "0 or 1",
        "1 while a destination fails again and again, and gets one attempt at a time",
    ),
];

const BACKLOG: &[Described] = &[
    gauge("backlog", &["destination"], "deliveries", "Deliveries that have not ended yet"),
    gauge(
        "backlog_oldest_age_seconds",
        &["destination"],
        "seconds",
        "Age of the oldest event whose delivery has not ended; 0 when there is none",
    ),
    gauge(
        "deliveries_scheduled",
        &["destination"],
        "deliveries",
        "Deliveries that wait for the time of their next attempt",
    ),
    gauge("backlog_bytes", &["destination"], "bytes", "Bytes of the journal that a backlog keeps from being removed"),
    gauge(
        "backlog_bytes_max",
        &["destination"],
        "bytes",
        "backlog.max_size: above it the oldest deliveries become dead letters; 0 for no limit",
    ),
    gauge(
        "backlog_age_max_seconds",
        &["destination"],
        "seconds",
        "backlog.max_age: deliveries older than that before their first attempt become dead letters; 0 for no limit",
    ),
    gauge("dead_letters", &["destination"], "deliveries", "Dead letters that are kept"),
];

const STORE: &[Described] = &[
    gauge("store_ready", &[], "0 or 1", "1 while events can be accepted"),
    histogram("journal_fsync_duration_seconds", &[], "seconds", "How long a sync of the journal took"),
    gauge("store_bytes", &[], "bytes", "Bytes of the journal and its index"),
    gauge("store_bytes_max", &[], "bytes", "store.max_size: at this size no events are accepted; 0 for no limit"),
    gauge("store_filesystem_free_bytes", &[], "bytes", "Free bytes on the file system of data_dir"),
    gauge(
        "store_filesystem_free_bytes_min",
        &[],
        "bytes",
        "store.free_space_min: with less free space no events are accepted",
    ),
    gauge("history_bytes", &[], "bytes", "Bytes of the journal"),
    gauge("history_bytes_max", &[], "bytes", "Above this size the oldest history is removed"),
    gauge("history_events", &[], "events", "Events in the history"),
    gauge("history_age_seconds", &[], "seconds", "Age of the oldest event in the history"),
    gauge("dead_letter_bytes", &[], "bytes", "Bytes of dead letters that are kept longer than the history"),
    gauge("dead_letter_bytes_max", &[], "bytes", "Above this size the oldest dead letters are dropped"),
    counter(
        "dead_letters_expired",
        &[],
        "deliveries",
        "Dead letters that were dropped because they were too old or too many",
    ),
    gauge("store_damaged_ranges", &[], "ranges", "Damaged ranges of the journal that were found at the start"),
];

const RELAY: &[Described] = &[
    gauge("build_info", &["version"], "1", "Always 1; its label is the version of vero-relay"),
    gauge(
        "config_last_reload_successful",
        &[],
        "0 or 1",
        "0 while the last reload has failed and the config before it is still in force",
    ),
    gauge(
        "config_last_reload_success_timestamp_seconds",
        &[],
        "unix seconds",
        "When a config was last read and put in force",
    ),
    gauge("connections_open", &["listener"], "connections", "Open connections, by listener: hooks, admin"),
    counter("log_lines_lost", &[], "lines", "Log lines that could not be written, or had no room to wait"),
    counter(
        "task_restarts",
        &["task"],
        "restarts",
        "Tasks that panicked and were started again, which is a bug in vero-relay",
    ),
];
