//! `limits:`: every limit has a name, a unit, a default and a reason.

use std::time::Duration;

use crate::units::shown_size;
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: 1 << 20,
            body_timeout: Duration::from_secs(15),
            header_timeout: Duration::from_secs(30),
            connections_max: 10_000,
            intake_max: 24 << 20,
            shutdown_grace: Duration::from_secs(8),
        }
    }
}

impl Limits {
    pub(super) fn read(reader: &Reader, node: Option<&Node>) -> Self {
        let mut limits = Self::default();
        let Some(mut entries) = node.and_then(|node| reader.map(node, "`limits`")) else { return limits };
        let least = Duration::from_millis(100);
        let most = Duration::from_secs(60 * 60);
        if let Some(bytes) = entries.optional("body_max").and_then(|node| reader.size(node, 1 << 10..=16 << 20)) {
            limits.body_max = bytes as usize;
        }
        if let Some(bytes) = entries.optional("intake_max").and_then(|node| reader.size(node, 1 << 20..=1 << 30)) {
            limits.intake_max = bytes as usize;
        }
        if let Some(count) = entries.optional("connections_max").and_then(|node| reader.number(node, 1..=100_000)) {
            limits.connections_max = count as usize;
        }
        let mut duration = |key: &'static str, value: &mut Duration| {
            if let Some(read) = entries.optional(key).and_then(|node| reader.duration(node, least, most)) {
                *value = read;
            }
        };
        duration("body_timeout", &mut limits.body_timeout);
        duration("header_timeout", &mut limits.header_timeout);
        duration("shutdown_grace", &mut limits.shutdown_grace);
        if limits.intake_max < limits.body_max {
            let help = format!("write intake_max: {}, or more", shown_size(limits.body_max as u64));
            let message = "`intake_max` is less than `body_max`, so the largest body could never come in";
            reader.error_with(entries.at(), message, help);
        }
        entries.finish();
        limits
    }
}
