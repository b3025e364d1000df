//! `/api/reload`: the config file, read again.

use http::StatusCode;
use serde_json::json;

use super::{Outcome, Refusal, Request, Resource, in_json, nothing_here, post};
use crate::relay::{Relay, ReloadError};

pub(super) const RESOURCE: Resource = Resource {
    name: "reload",
    endpoints: &[post("", &[], "read the config file again: what changed, or what is wrong with it")],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, .. } = request;
    match (is_read, steps) {
        (false, []) => reload(relay).await,
        _ => nothing_here(),
    }
}

async fn reload(relay: &Relay) -> Outcome {
    match relay.reload().await {
        Ok(reloaded) => Ok(json!({
            "generation": reloaded.generation,
            "changes": reloaded.changes,
            "warnings": reloaded.warnings,
        })),
        // The error shows the problems itself, so its causes would say it twice.
        Err(error) => Err(not_read(&error)),
    }
}

/// Why the config file was not read, or not put in force.
pub(super) fn not_read(error: &ReloadError) -> Refusal {
    Refusal(status_of(error), error.in_full())
}

/// 422 says that the config itself is not good; whatever else keeps the old one in force has another status.
fn status_of(error: &ReloadError) -> StatusCode {
    match error {
        ReloadError::Config(_) | ReloadError::Names(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::NeedsRestart(_) | ReloadError::OnePort { .. } | ReloadError::Listen(_) => StatusCode::CONFLICT,
        ReloadError::Late
        | ReloadError::Stuck
        | ReloadError::Busy
        | ReloadError::NoThread
        | ReloadError::Interning(_)
        | ReloadError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        ReloadError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
