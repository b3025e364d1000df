//! `/api/store`: how much there is, how much there may be, and a copy of it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::{Asked, Outcome, Refusal, Request, Resource, blocking, get, in_json, nothing_here, post, refused};
use crate::errors::with_causes;
use crate::relay::Relay;
use crate::store::BackupError;
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "store",
    endpoints: &[
        get("", &[], "how much it has, and how much it may have").without_events(),
        post("/trim", &[], "let go what need not be kept"),
        post("/backup", &["directory"], "write a consistent copy there").needing(&["directory"]),
    ],
    answer: |request| in_json(answer(request)),
    tell: |act| {
        if let [done] = act.steps {
            tracing::info!(directory = act.said("directory"), "by the operator: {done} the store");
        }
    },
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, body, .. } = request;
    match (is_read, steps) {
        (true, []) => usage(relay).await,
        (false, ["trim"]) => trim(relay).await,
        (false, ["backup"]) => backup(relay, body).await,
        _ => nothing_here(),
    }
}

pub(super) async fn usage(relay: &Relay) -> Outcome {
    let usage = relay.engine.usage().await.map_err(refused)?;
    Ok(json!({
        "bytes": usage.bytes,
        "bytes_max": usage.bytes_max,
        "journal_bytes": usage.journal_bytes,
        "history_bytes_max": usage.history_bytes_max,
        "index_bytes": usage.index_bytes,
        "dead_letter_bytes": usage.dead_bytes,
        "dead_letter_bytes_max": usage.dead_bytes_max,
        "dead_letters_expired": usage.dead_expired,
        "free_bytes": usage.free_bytes,
        "free_bytes_min": usage.free_bytes_min,
        "events": usage.events,
        "oldest_at": usage.oldest_ms.map(rfc3339),
        "segments": usage.segments,
        "damaged_ranges": relay.metrics.damage(),
    }))
}

async fn trim(relay: &Arc<Relay>) -> Outcome {
    relay.engine.trim().await.map_err(refused)?;
    usage(relay).await
}

async fn backup(relay: &Arc<Relay>, asked: &Asked) -> Outcome {
    let directory = asked.text("directory")?.map(PathBuf::from);
    let Some(directory) = directory.filter(|directory| directory.is_absolute()) else {
        return Err(Refusal::wrong("`directory` says where the copy goes: an absolute path on the relay's machine"));
    };
    let Some(journal) = relay.engine.journal().cloned() else {
        return Err(Refusal::wrong(
            "the store is a database, which has copies of its own: pg_dump, or what its server is backed up by",
        ));
    };
    blocking(relay, move |_| match journal.backup(&directory) {
        Ok(()) => Ok(json!({ "directory": directory.display().to_string(), "bytes": journal.usage().bytes })),
        Err(error @ (BackupError::Io { .. } | BackupError::Index(_))) => Err(Refusal::failed(&error)),
        Err(error) => Err(Refusal::wrong(with_causes(&error))),
    })
    .await
}
