//! `/api/destinations`: how each stands, and the operator's hands on it. `/api/sources`: hold one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Asked, Outcome, Refusal, blocking, destination};
use crate::config::problem::did_you_mean;
use crate::relay::{Relay, SourceAct};
use crate::store::{AppendError, NameId, NameKind};
use crate::time::rfc3339;

pub(super) fn list(relay: &Relay) -> Value {
    let generation = relay.generation();
    let configured = generation.config.destinations.iter().zip(&generation.destination_ids);
    let mut all: Vec<Value> = configured
        .map(|(config, id)| {
            let mut shown = shown(relay, *id, &config.name);
            shown["kind"] = json!(config.kind);
            shown["address"] = json!(config.destination.address());
            shown["backlog_max_age_s"] = json!(config.backlog.max_age.map(|age| age.as_secs()));
            shown["backlog_max_bytes"] = json!(config.backlog.max_size);
            shown
        })
        .collect();
    // A name that is gone keeps its queue for a while, and its dead letters.
    for (id, name) in relay.store.names(NameKind::Destination) {
        if generation.destination_ids.contains(&id) {
            continue;
        }
        let counts = relay.store.counts(id);
        if counts.backlog > 0 || counts.dead > 0 {
            let mut shown = shown(relay, id, &name);
            let removed_at = counts.standing.removed_since_ms;
            let grace_ms = generation.config.removed_grace.as_millis() as u64;
            shown["removed"] = json!({
                "since": removed_at.map(rfc3339),
                "dead_letters_from": removed_at.map(|since_ms| rfc3339(since_ms + grace_ms)),
            });
            all.push(shown);
        }
    }
    json!({ "destinations": all })
}

fn shown(relay: &Relay, id: NameId, name: &str) -> Value {
    let (counts, oldest_ms) = (relay.store.counts(id), relay.store.oldest_ms(id));
    let now_ms = relay.clock.now_ms();
    let generation = relay.generation();
    let worker = generation.statuses.get(&id).map(|status| status.shown()).unwrap_or_default();
    let standing = counts.standing;
    let breaker = match (standing.open_since_ms, worker.ramp) {
        (Some(_), _) => "open",
        (None, Some(_)) => "ramping",
        (None, None) => "closed",
    };
    let state = if standing.paused.is_some() {
        "paused"
    } else if !generation.destination_ids.contains(&id) {
        "removed"
    } else if standing.open_since_ms.is_some() {
        "failing"
    } else {
        "up"
    };
    json!({
        "name": name,
        "state": state,
        "backlog": counts.backlog,
        "scheduled": counts.postponed,
        "replaying": counts.again,
        "in_flight": counts.under_way,
        "held": counts.held,
        "oldest_at": oldest_ms.map(rfc3339),
        "oldest_age_s": oldest_ms.map(|oldest_ms| now_ms.saturating_sub(oldest_ms) / 1000),
        "backlog_bytes": counts.backlog_bytes,
        "dead_letters": counts.dead,
        "breaker": { "state": breaker, "open_since": standing.open_since_ms.map(rfc3339), "at_once": worker.ramp },
        "held_until": worker.held_until_ms.filter(|until_ms| *until_ms > now_ms).map(rfc3339),
        "last_error": worker.last_error.map(|(reason, at_ms)| json!({ "reason": reason, "at": rfc3339(at_ms) })),
        "last_delivered_at": worker.last_delivered_ms.map(rfc3339),
        "paused": standing.paused.map(|pause| json!({ "since": rfc3339(pause.since_ms), "reason": pause.reason })),
    })
}

pub(super) async fn act(relay: &Arc<Relay>, name: &str, act: &str, body: &[u8]) -> Outcome {
    Asked::read(body, &[])?;
    let (name, act) = (name.to_owned(), act.to_owned());
    let done = blocking(relay, move |relay| act_now(relay, &name, &act)).await?;
    durable(relay).await?;
    Ok(done)
}

/// How long an answer waits until what was done is on the disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// Waits until what was done would outlive the end of the process and of the machine.
async fn durable(relay: &Relay) -> Result<(), Refusal> {
    let closed = || AppendError::Closed;
    match tokio::time::timeout(DURABLE_WITHIN, relay.store.durable()).await {
        Ok(answered) => answered.unwrap_or_else(|_| Err(closed())).map(drop).map_err(|error| Refusal::failed(&error)),
        Err(_) => Err(Refusal::unavailable(
            "it is in effect, but it is not on the disk yet and a restart would undo it: the disk is full or slow",
        )),
    }
}

fn act_now(relay: &Relay, name: &str, act: &str) -> Outcome {
    let id = destination(relay, name)?;
    match act {
        "pause" => relay.store.pause(id, "paused by the operator"),
        "resume" => drop(relay.resume(id)),
        "retry" => {
            let waiting = relay.store.counts(id).postponed;
            relay.retry_now(id);
            return Ok(json!({ "destination": name, "due_now": waiting }));
        }
        _ => return Err(unknown_act(act)),
    }
    Ok(json!({ "destination": name, "paused": relay.store.standing(id).paused.is_some() }))
}

pub(super) async fn act_on_source(relay: &Arc<Relay>, name: &str, act: &str, body: &[u8]) -> Outcome {
    let act = match act {
        "pause" if Asked::read(body, &["refuse"])?.flag("refuse")? => SourceAct::Refuse,
        "pause" => SourceAct::Hold,
        "resume" => {
            Asked::read(body, &[])?;
            SourceAct::Resume
        }
        _ => return Err(unknown_act(act)),
    };
    let name = name.to_owned();
    let done = blocking(relay, move |relay| act_on_source_now(relay, &name, act)).await?;
    durable(relay).await?;
    Ok(done)
}

fn act_on_source_now(relay: &Relay, name: &str, act: SourceAct) -> Outcome {
    let generation = relay.generation();
    let sources = &generation.config.sources;
    let is_gone = || relay.paused_sources_gone().iter().any(|(_, known)| **known == *name);
    let is_known = sources.iter().any(|source| source.name == name) || (act == SourceAct::Resume && is_gone());
    if !is_known {
        let help = did_you_mean(name, sources.iter().map(|source| source.name.as_str()));
        let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
        return Err(Refusal::missing(format!("there is no source `{name}`{help}")));
    }
    match relay.act_on_source(name, act) {
        Ok(Some(state)) => {
            let since = state.since_ms().map(rfc3339);
            Ok(json!({ "source": name, "state": state.name(), "since": since, "paused": since.is_some() }))
        }
        Ok(None) => Err(Refusal::missing(format!("there is no source `{name}` any more"))),
        Err(error) => Err(Refusal(http::StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

/// How each source stands.
pub(super) fn sources(relay: &Relay) -> Value {
    let generation = relay.generation();
    let shown = |(name, id): (&str, NameId)| {
        let state = relay.source_state(id);
        json!({
            "name": name,
            "state": state.name(),
            "paused": state.since_ms().is_some(),
            "since": state.since_ms().map(rfc3339),
            "held": relay.store.held(id).len(),
        })
    };
    let named = generation.config.sources.iter().map(|source| source.name.as_str());
    let gone = relay.paused_sources_gone();
    let gone = gone.iter().map(|(id, name)| (&**name, *id));
    named.zip(generation.source_ids.iter().copied()).chain(gone).map(shown).collect()
}

fn unknown_act(act: &str) -> Refusal {
    Refusal::missing(format!("`{act}` is nothing that can be done here: pause, resume or, for a destination, retry"))
}
