//! What the relay says about itself: the log and the metrics. Neither ever holds a secret, and no log line at info or above holds the
//! address of a person.
//!
//! * [`log`]: lines on standard error, which can neither stop nor end anything.
//! * [`trouble`]: what is told once, and then now and then.
//! * [`metrics`]: what is counted.

pub mod log;
pub mod metrics;
pub mod trouble;

pub use self::metrics::{DestinationGauges, DestinationMetrics, Metrics, SourceGauges, SourceMetrics};

/// Whether a stream is a terminal on which somebody wants colours: <https://no-color.org>.
pub(crate) fn has_colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why work on another thread came to nothing. A process that ends leaves undone what was not begun, and that is no panic.
pub(crate) fn in_vain(what: &str, error: &tokio::task::JoinError) -> String {
    if error.is_panic() { format!("{what} panicked") } else { format!("the relay ended before {what} did its work") }
}
