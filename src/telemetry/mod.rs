//! What the relay says about itself: the log and the metrics. Neither ever holds a secret, and no log line at info or above holds the
//! address of a person.
//!
//! # Cast
//!
//! * [`log`]: lines on standard error, which can neither stop nor end anything.
//! * [`trouble`]: what is told once, and then now and then.
//! * [`metrics`]: what is counted. [`minutes`]: the same by the minute.

pub mod log;
pub mod metrics;
pub mod minutes;
pub mod trouble;

pub use self::metrics::{DestinationGauges, DestinationMetrics, Metrics, SourceGauges, SourceMetrics};

/// Whether a stream is a terminal on which somebody wants colours: <https://no-color.org>.
pub(crate) fn has_colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
