//! `/api/replays`: the history again.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Asked, Effort, Outcome, Refusal, Request, Resource, get, in_json, nothing_here, parse_id, post, refused};
use crate::relay::Relay;
use crate::relay::replay::{Begun, ReplayError, ReplaySpec};
use crate::store::{ReplayProgress, StoreError};
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "replays",
    endpoints: &[
        get("", &[], "replays of the history, the newest first"),
        get("/ID", &[], "one of them"),
        post("", &["since", "until?", "match?", "to?", "id?", "dry_run?"], "deliver a range of the history again"),
    ],
    reads: Effort::Search,
    tell: |act| {
        tracing::info!(since = act.said("since"), until = act.said("until"), id = act.id, "by the operator: replay");
    },
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, body, .. } = request;
    match (is_read, steps) {
        (true, []) => list(relay).await,
        (true, [id]) => show(relay, id).await,
        (false, []) => begin(relay, body).await,
        _ => nothing_here(),
    }
}

async fn list(relay: &Relay) -> Outcome {
    let replays = relay.store.replays().await.map_err(refused)?;
    Ok(json!({ "replays": replays.iter().take(super::LIMIT).map(shown).collect::<Vec<_>>() }))
}

async fn show(relay: &Relay, id: &str) -> Outcome {
    let id = parse_id(id)?;
    let known = relay.store.replays().await.map_err(refused)?.into_iter().find(|known| known.id == id);
    let mut shown = known.as_ref().map(shown).ok_or_else(|| Refusal::missing("there is no such replay"))?;
    shown["failed"] = json!(relay.replayer.failure(id));
    Ok(shown)
}

fn shown(progress: &ReplayProgress) -> Value {
    json!({
        "id": uuid::Uuid::from_u128(progress.id).to_string(),
        "asked": ReplaySpec::from_json(&progress.spec).map(|spec| spec.json()),
        "events_left": progress.left,
        "deliveries": progress.selected,
        "at": rfc3339(progress.at_ms),
        "done": progress.is_done,
    })
}

async fn begin(relay: &Arc<Relay>, asked: &Asked) -> Outcome {
    let range = asked.range()?;
    let Some(since_ms) = range.since_ms else {
        return Err(Refusal::wrong("`since` says where the replay begins: a time, or how long ago, like 2h"));
    };
    let spec = ReplaySpec {
        since_ms,
        until_ms: range.until_ms,
        matching: asked.text("match")?.map(str::to_owned),
        to: asked.texts("to")?,
    };
    let id = asked.id()?;
    if asked.flag("dry_run")? {
        let counted = relay.replayer.count(&spec).await.map_err(refusal)?;
        let by_destination =
            counted.by_destination.into_iter().map(|(name, count)| json!({ "destination": name, "deliveries": count }));
        return Ok(json!({
            "dry_run": true,
            "events": counted.events,
            "deliveries": counted.deliveries,
            "by_destination": by_destination.collect::<Vec<_>>(),
            "warnings": counted.warnings,
        }));
    }
    let Begun { progress, is_new, warnings } = relay.replayer.begin(id, &spec).await.map_err(refusal)?;
    if is_new {
        relay.background.spawn(relay.replayer.clone().work(progress.clone()));
    }
    let mut shown = shown(&progress);
    shown["repeated"] = json!(!is_new);
    shown["warnings"] = json!(warnings);
    Ok(shown)
}

fn refusal(error: ReplayError) -> Refusal {
    match &error {
        ReplayError::Match(_) | ReplayError::TooLong | ReplayError::Store(StoreError::Conflict(_)) => {
            Refusal::wrong(error.to_string())
        }
        ReplayError::Destination(_) => Refusal::missing(error.to_string()),
        ReplayError::Panicked => Refusal::failed(&error),
        ReplayError::Store(_) | ReplayError::Stopped => Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
