//! Errors as people read them, where they leave the program.

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why work on another thread came to nothing. A process that ends leaves undone what was not begun, and that is no panic.
pub(crate) fn join_error(what: &str, error: &tokio::task::JoinError) -> String {
    if error.is_panic() { format!("{what} panicked") } else { format!("the relay ended before {what} did its work") }
}
