//! `/api/reload`: the config file, read again.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::{Asked, Outcome, Refusal};
use crate::relay::{Relay, ReloadError};

pub(super) async fn reload(relay: &Arc<Relay>, body: &[u8]) -> Outcome {
    Asked::read(body, &[])?;
    // Who asked may hang up; what was begun is finished.
    let relay = relay.clone();
    let reloading = tokio::spawn(async move { relay.reload().await });
    match reloading.await {
        Ok(Ok(reloaded)) => Ok(json!({
            "generation": reloaded.generation,
            "changes": reloaded.changes,
            "warnings": reloaded.warnings,
        })),
        // The error shows the problems itself, so its causes would say it twice.
        Ok(Err(error)) => Err(Refusal(status_of(&error), error.in_full())),
        Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "reloading panicked; see the log".to_owned())),
    }
}

/// 422 says that the config itself is not good; whatever else keeps the old one in force has another status.
fn status_of(error: &ReloadError) -> StatusCode {
    match error {
        ReloadError::Config(_) | ReloadError::Names(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::NeedsRestart(_) | ReloadError::OnePort { .. } | ReloadError::Listen(_) => StatusCode::CONFLICT,
        ReloadError::Late | ReloadError::Stuck | ReloadError::Interning(_) => StatusCode::SERVICE_UNAVAILABLE,
        ReloadError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
