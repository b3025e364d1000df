//! `/api/replays`: the history again.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::parameters::NAMED_MAX;
use super::{Asked, Outcome, Refusal, Request, Resource, get, in_json, nothing_here, parse_id, post, refused};
use crate::relay::Relay;
use crate::relay::replay::{Begun, By, Counted, CountedOf, Named, Only, ReplayError, ReplaySpec};
use crate::store::{ReplayProgress, StoreError};
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "replays",
    endpoints: &[
        get("", &[], "replays of the history, the newest first"),
        get("/ID", &[], "one of them"),
        post(
            "",
            &["since", "until", "match", "events", "unrouted", "to", "by", "only", "id", "dry_run", "after"],
            "deliver a range of the history again, or some events; by: now has the rules in force say where they go",
        ),
    ],
    tell: |act| {
        let [since, until, by, only] = ["since", "until", "by", "only"].map(|key| act.said(key));
        tracing::info!(since, until, by, only, id = act.id, "by the operator: replay");
    },
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, visitor, is_read, steps, body, .. } = request;
    match (is_read, steps) {
        (true, []) => list(relay).await,
        (true, [id]) => show(relay, id).await,
        (false, []) => begin(relay, body, &visitor.has_gone).await,
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
    let spec = ReplaySpec::from_json(&progress.spec);
    // The store counts those of a range.
    let named = spec.as_ref().and_then(|spec| spec.named.as_ref()).filter(|_| !progress.is_done);
    json!({
        "id": uuid::Uuid::from_u128(progress.id).to_string(),
        "asked": spec.as_ref().map(ReplaySpec::shown),
        "events_left": named.map_or(progress.left, |named| named.count as u64),
        "deliveries": progress.selected,
        "at": rfc3339(progress.at_ms),
        "done": progress.is_done,
    })
}

/// What is asked for. Slips are told: what one word means beside another, and what would do nothing.
fn spec(asked: &Asked) -> Result<ReplaySpec, Refusal> {
    let range = asked.range()?;
    let named = asked.is_given("events").then(|| asked.events("events", NAMED_MAX)).transpose()?;
    if named.is_some() {
        if let Some(key) = ["since", "until", "match", "unrouted"].into_iter().find(|key| asked.is_given(key)) {
            return Err(Refusal::wrong(format!("`events` names them, so leave out `{key}`")));
        }
    } else if range.since_ms.is_none() {
        return Err(Refusal::wrong("`since` says where the replay begins: a time, or how long ago, like 2h"));
    }
    let one_of = |key: &str, known: &[&str]| match asked.text(key)? {
        Some(word) if !known.contains(&word) => {
            Err(Refusal::wrong(format!("`{key}` is `{word}`, and should be {}", known.join(" or "))))
        }
        word => Ok(word),
    };
    let by = if one_of("by", &["then", "now"])? == Some("now") { By::Now } else { By::Then };
    let only = if one_of("only", &["missing"])?.is_some() { Only::Missing } else { Only::All };
    let to = asked.texts("to")?;
    let is_unrouted = asked.flag("unrouted")?;
    if by == By::Now && !to.is_empty() {
        return Err(Refusal::wrong(
            "`to` says where they go, and with `by: now` the rules in force do: give one of them",
        ));
    }
    if is_unrouted && by == By::Then && to.is_empty() {
        return Err(Refusal::wrong(
            "`unrouted` events went nowhere, and would again: say `by: now` for the rules in force, or `to`",
        ));
    }
    Ok(ReplaySpec {
        named: named.map(Named::new),
        since_ms: range.since_ms.unwrap_or(0),
        until_ms: range.until_ms,
        matching: asked.text("match")?.map(str::to_owned),
        is_unrouted,
        to,
        by,
        only,
        range_words: Some([asked.text("since")?, asked.text("until")?].map(|word| word.map(str::to_owned))),
    })
}

async fn begin(relay: &Arc<Relay>, asked: &Asked, has_gone: &CancellationToken) -> Outcome {
    let spec = spec(asked)?;
    let id = asked.id()?;
    let after = asked.text("after")?;
    if asked.flag("dry_run")? {
        let counted = relay.replayer.count(&spec, after, has_gone).await.map_err(refusal)?;
        return Ok(shown_count(counted));
    }
    if after.is_some() {
        return Err(Refusal::wrong("`after` goes on with a dry run, and a replay goes on by itself: leave it out"));
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

/// What a replay would do with one piece of what it is about.
fn shown_count(counted: Counted) -> Value {
    let by_destination = counted.by_destination.into_iter().map(|CountedOf { destination, deliveries, already_delivered }| {
        json!({ "destination": destination, "deliveries": deliveries, "already_delivered": already_delivered })
    });
    json!({
        "dry_run": true,
        "events": counted.events,
        "deliveries": counted.deliveries,
        "by_destination": by_destination.collect::<Vec<_>>(),
        "warnings": counted.warnings,
        "redacted": counted.redacted,
        "looked_at": counted.looked_at,
        "up_to": counted.up_to_ms.map(rfc3339),
        "next": counted.next,
        "events_left": counted.left,
    })
}

fn refusal(error: ReplayError) -> Refusal {
    match &error {
        ReplayError::Match(_) | ReplayError::TooLong | ReplayError::Store(StoreError::Conflict(_)) => {
            Refusal::wrong(error.to_string())
        }
        ReplayError::Store(StoreError::IdTaken { .. }) => Refusal::conflict(error.to_string()),
        ReplayError::Destination(_) => Refusal::missing(error.to_string()),
        ReplayError::Panicked => Refusal::failed(&error),
        ReplayError::Store(_) | ReplayError::Stopped | ReplayError::HasGone => {
            Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    }
}
