//! `/api/reload`: the config file, read again.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::{Asked, Outcome, Refusal};
use crate::relay::Relay;

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
        Ok(Err(error)) => Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.in_full())),
        Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "reloading panicked; see the log".to_owned())),
    }
}
