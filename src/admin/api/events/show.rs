//! One event, with everything that is known of it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::config::{lying_on_disk, running};
use super::super::{Outcome, Query, Refusal, blocking, name, refused, shown_state};
use super::filter::shown_with;
use crate::event::EventId;
use crate::relay::Relay;
use crate::store::{AttemptNote, Counts, DeliveryState, DeliveryView, EventView, HeldBy, Kept, StoreError};
use crate::time::rfc3339;

/// The bytes of an event.
pub(super) async fn body(relay: &Relay, id: &str) -> Result<Bytes, Refusal> {
    Ok(view(relay, id).await?.event.event().map_err(refused)?.body.clone())
}

async fn view(relay: &Relay, id: &str) -> Result<EventView, Refusal> {
    let Ok(id) = id.parse::<EventId>() else { return Err(Refusal::missing("this is not an event's id")) };
    let read = relay.store.event(id).await.inspect_err(|error| {
        if let StoreError::Damaged(why) = error {
            relay.unreadable.add(id, why.clone());
        }
    });
    read.map_err(refused)
}

/// Why an event goes where it goes.
pub(super) async fn explain(relay: &Arc<Relay>, id: &str, query: &Query) -> Outcome {
    let by = if query.flag("on_disk")? { lying_on_disk(relay).await? } else { running(relay) };
    let event = view(relay, id).await?.event.event().map_err(refused)?;
    blocking(relay, move |relay| super::super::explain::of_kept(relay, &by, &event)).await
}

/// Everything that is known of an event.
pub(super) async fn show(relay: &Relay, id: &str) -> Outcome {
    let EventView { event, deliveries } = view(relay, id).await?;
    let counts = relay.store.counts().await.map_err(refused)?;
    let shown = |DeliveryView { planned, state, attempts }| {
        let mut shown = shown_state(relay, planned.destination, &as_noted(&state, &attempts));
        shown["destination"] = json!(name(relay, planned.destination));
        shown["rule"] = json!(name(relay, planned.rule));
        shown["attempted"] = shown_notes(attempts);
        shown["waits_for"] = json!(waits_for(relay, &counts.of(planned.destination), &state));
        shown
    };
    let deliveries = deliveries.into_iter().map(shown);
    Ok(match event {
        Kept::Event(event) => {
            let mut told = shown_with(relay, &event, deliveries);
            told["body"] = json!(String::from_utf8_lossy(&event.body));
            told
        }
        Kept::Erased(event) => json!({
            "id": event.id.to_string(),
            "received_at": rfc3339(event.received_ms),
            "source": name(relay, event.source),
            "rules": event.rules.iter().map(|rule| name(relay, *rule)).collect::<Vec<_>>(),
            "deliveries": deliveries.collect::<Vec<_>>(),
            "erased": true,
        }),
    })
}

/// What a delivery waits for, if it waits.
fn waits_for(relay: &Relay, counts: &Counts, state: &DeliveryState) -> Option<&'static str> {
    let is_waiting = matches!(state, DeliveryState::Waiting | DeliveryState::Scheduled { .. });
    let is_gathered = matches!(state, DeliveryState::Held { by: HeldBy::Window { .. } });
    if matches!(state, DeliveryState::Held { by: HeldBy::Order { .. } }) {
        return Some("order");
    }
    if !is_waiting && !is_gathered {
        return None;
    }
    let now_ms = relay.clock.now_ms();
    let status = relay.generation().statuses.get(&counts.destination).cloned();
    let is_quiet = status.as_ref().is_some_and(|status| status.sorted().quiet_until_ms().is_some());
    let status = status.map(|status| status.shown());
    let is_held = status.and_then(|shown| shown.held_until_ms).is_some_and(|until_ms| until_ms > now_ms);
    Some(match state {
        _ if counts.state.paused.is_some() => "pause",
        _ if counts.state.open_since_ms.is_some() => "breaker",
        _ if is_quiet => "quiet",
        _ if is_gathered => "digest",
        DeliveryState::Scheduled { due_ms, .. } if *due_ms > now_ms => "due",
        _ if is_held => "retry_after",
        _ => "due",
    })
}

/// The journal does not say why a delivery was skipped; the note of the attempt does.
fn as_noted(state: &DeliveryState, notes: &[AttemptNote]) -> DeliveryState {
    let newest = notes.iter().filter(|note| note.outcome == "skipped").max_by_key(|note| note.at_ms);
    match (state, newest) {
        (DeliveryState::Skipped { at_ms, reason }, Some(note)) if reason.is_empty() => {
            DeliveryState::Skipped { at_ms: *at_ms, reason: note.reason.clone() }
        }
        (state, _) => state.clone(),
    }
}

/// The attempts that are kept: the newest that failed, the one that then succeeded, and one that reached some of a delivery's recipients and not
/// the others. `outcome` says which is which.
fn shown_notes(notes: Vec<AttemptNote>) -> Value {
    let notes = notes.into_iter().map(|note| {
        json!({
            "at": rfc3339(note.at_ms),
            "took_ms": note.took_ms,
            "outcome": note.outcome,
            "status": (note.status > 0).then_some(note.status),
            "reason": note.reason,
            "answer": note.answer,
        })
    });
    notes.collect()
}
