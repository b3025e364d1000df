//! `limits:`: every limit has a name, a unit, a default and a reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::shown_size;
use crate::yaml::keys::{Defaulted, Section, duration, key, size, whole};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// What one relay takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body. Vero's have 500 to 700; a long `changes` has a few thousand.
    pub body_max: usize,
    /// For one body to arrive whole: a sender that drips must not hold a connection for ever.
    pub body_timeout: Duration,
    /// For a request's head to arrive and for a connection to stay idle, which is one knob in hyper; and for a byte of an answer to be
    /// taken.
    pub header_timeout: Duration,
    /// Open connections; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Bytes of all bodies that are being received or wait for the sync: what a burst may cost in memory.
    pub intake_max: usize,
    /// How long the end may take: containers are killed at 10 s.
    pub shutdown_grace: Duration,
}

const TIMES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);

const BODY_MAX: Defaulted<u64> = key("body_max", size(1 << 10..=16 << 20))
    .about("Bytes of one body, unpacked if it came by gzip or deflate; beyond it the answer is 413, for chunked bodies too. Vero's have 500 to 700, a long `changes` a few thousand.")
    .example("2MiB")
    .default(1 << 20);
const BODY_TIMEOUT: Defaulted<Duration> = key("body_timeout", duration(TIMES))
    .about("For one body to arrive whole; then 408. A sender that drips must not hold a connection for ever.")
    .example("10s")
    .default(Duration::from_secs(15));
const HEADER_TIMEOUT: Defaulted<Duration> = key("header_timeout", duration(TIMES))
    .about("For a request's head to arrive, for a connection to stay idle, and for an answer to go on: a connection whose other side takes no byte for so long is closed.")
    .example("20s")
    .default(Duration::from_secs(30));
const CONNECTIONS_MAX: Defaulted<u64> = key("connections_max", whole(1..=100_000))
    .about("Open connections, also over reloads; more wait in the kernel's queue. Each costs a file descriptor, and 32 descriptors are kept for the rest of the relay (an eighth, where there are few).")
    .example("500")
    .default(10_000);
const INTAKE_MAX: Defaulted<u64> = key("intake_max", size(1 << 20..=1 << 30))
    .about("Bytes of all bodies that are being received or wait for the sync: what a burst may cost in memory. Without room within 2 s the answer is 503. Not less than `body_max`.")
    .example("32MiB")
    .default(24 << 20);
const SHUTDOWN_GRACE: Defaulted<Duration> = key("shutdown_grace", duration(TIMES))
    .about("How long attempts in flight may take after SIGTERM: containers are killed at 10 s.")
    .example("5s")
    .default(Duration::from_secs(8));

/// The keys of `limits:`.
pub(super) fn keys() -> Section {
    Section::of(&[
        BODY_MAX.info,
        BODY_TIMEOUT.info,
        HEADER_TIMEOUT.info,
        CONNECTIONS_MAX.info,
        INTAKE_MAX.info,
        SHUTDOWN_GRACE.info,
    ])
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: BODY_MAX.default as usize,
            body_timeout: BODY_TIMEOUT.default,
            header_timeout: HEADER_TIMEOUT.default,
            connections_max: CONNECTIONS_MAX.default as usize,
            intake_max: INTAKE_MAX.default as usize,
            shutdown_grace: SHUTDOWN_GRACE.default,
        }
    }
}

impl Limits {
    pub(super) fn read(reader: &Reader, node: Option<&Node>) -> Self {
        let Some(mut entries) = node.and_then(|node| reader.map(node, "`limits`")) else { return Self::default() };
        let limits = Self {
            body_max: entries.value(&BODY_MAX) as usize,
            intake_max: entries.value(&INTAKE_MAX) as usize,
            connections_max: entries.value(&CONNECTIONS_MAX) as usize,
            body_timeout: entries.value(&BODY_TIMEOUT),
            header_timeout: entries.value(&HEADER_TIMEOUT),
            shutdown_grace: entries.value(&SHUTDOWN_GRACE),
        };
        if limits.intake_max < limits.body_max {
            let help = format!("write intake_max: {}, or more", shown_size(limits.body_max as u64));
            let message = "`intake_max` is less than `body_max`, so the largest body could never come in";
            reader.error_with(entries.at(), message, help);
        }
        entries.finish();
        limits
    }
}
