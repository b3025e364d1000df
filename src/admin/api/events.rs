//! `/api/events`: the history by filter, and one event with everything that is known of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, Query, Refusal, blocking, destination, name, shown_state, state_name};
use crate::deliver::replay::{Matcher, ReplayError};
use crate::event::EventId;
use crate::relay::Relay;
use crate::store::{AttemptNote, DeliveryKey, DeliveryState, NameId, ReadError, SearchLimit, States, StoredEvent};
use crate::time::rfc3339;

/// Events looked at for one page: a filter that finds little gives an emptier page and where to go on.
const LOOKED_AT_MAX: u64 = 50_000;
/// Events read backwards in one step.
const STEP: u64 = 512;
/// Events whose outcomes are looked for in one walk through the journal behind them, and the bytes of their bodies.
const AT_ONCE: (usize, usize) = (4096, 8 << 20);
/// Bytes of the journal that such a walk reads at most, and beyond which a page ends: half a second from a disk of 500 MB/s.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
const PARAMETERS: [&str; 10] =
    ["type", "source", "destination", "state", "since", "until", "match", "email", "limit", "before"];
const STATES: [&str; 10] =
    ["held", "waiting", "in_flight", "scheduled", "delivered", "skipped", "dead", "dropped", "moved", "unknown"];

/// What is looked for.
struct Filter {
    matcher: Matcher,
    person: Option<Matcher>,
    /// What in the filter probably does not do what was meant.
    warnings: Vec<String>,
    source: Option<NameId>,
    destination: Option<NameId>,
    state: Option<String>,
    since_ms: u64,
    until_ms: u64,
}

impl Filter {
    fn read(relay: &Relay, query: &Query) -> Result<Self, Refusal> {
        query.only(&PARAMETERS)?;
        let wrong = |error: ReplayError| Refusal::wrong(error.to_string());
        let by_type = query.get("type").map(|event_type| json!({ "type": event_type }).to_string());
        let matching = match (query.get("match"), by_type) {
            (Some(_), Some(_)) => return Err(Refusal::wrong("`type` can stand in `match`: give one of them")),
            (Some(text), None) => Some(text.to_owned()),
            (None, by_type) => by_type,
        };
        let state = query.get("state").map(str::to_owned);
        if let Some(state) = state.as_ref().filter(|state| !STATES.contains(&state.as_str())) {
            return Err(Refusal::wrong(format!("`{state}` is not a state: {}", STATES.join(", "))));
        }
        let source = query.get("source").map(|wanted| {
            let known = relay.store.names(crate::store::NameKind::Source);
            let found = known.into_iter().find(|(_, name)| **name == *wanted).map(|(id, _)| id);
            found.ok_or_else(|| Refusal::missing(format!("there is no source `{wanted}`")))
        });
        let (matcher, warnings) = Matcher::parse_with_warnings(matching.as_deref()).map_err(wrong)?;
        Ok(Self {
            matcher,
            warnings,
            person: query.get("email").map(Matcher::of_person).transpose().map_err(wrong)?,
            source: source.transpose()?,
            destination: query.get("destination").map(|name| destination(relay, name)).transpose()?,
            state,
            since_ms: query.moment("since")?.unwrap_or(0),
            until_ms: query.moment("until")?.unwrap_or(u64::MAX),
        })
    }

    /// Whether an event is meant, whatever became of it.
    fn holds(&self, relay: &Relay, event: &StoredEvent) -> bool {
        (self.since_ms..self.until_ms).contains(&event.received_ms)
            && self.source.is_none_or(|source| source == event.source)
            && self.destination.is_none_or(|id| event.deliveries.iter().any(|delivery| delivery.destination == id))
            && self.matcher.holds(&*relay.store, event)
            && self.person.as_ref().is_none_or(|person| person.holds(&*relay.store, event))
    }

    /// The event as a list shows it, if its deliveries stand as is meant.
    fn shown(&self, relay: &Relay, event: &StoredEvent, states: &States) -> Option<Value> {
        let is_meant = |(delivery, state): &(_, DeliveryState)| {
            let delivery: &crate::store::PlannedDelivery = delivery;
            self.destination.is_none_or(|id| id == delivery.destination)
                && self.state.as_deref().is_none_or(|wanted| wanted == state_name(state))
        };
        if self.state.is_some() && !states.iter().any(is_meant) {
            return None;
        }
        let deliveries = states.iter().map(
            |(delivery, state)| json!({ "destination": name(relay, delivery.destination), "state": state_name(state) }),
        );
        let known = crate::event::summary(&event.body);
        Some(json!({
            "id": event.id.to_string(),
            "received_at": rfc3339(event.received_ms),
            "source": name(relay, event.source),
            "type": known.event_type,
            "campaign": known.campaign,
            "who": known.who,
            "rules": event.rules.iter().map(|rule| name(relay, *rule)).collect::<Vec<_>>(),
            "deliveries": deliveries.collect::<Vec<_>>(),
        }))
    }

    /// Events of a range of the history that may be meant, newest first, and the number below which they were not looked for.
    fn gather(
        &self,
        relay: &Relay,
        range: std::ops::Range<u64>,
        most: usize,
    ) -> Result<(Vec<Arc<StoredEvent>>, u64), ReadError> {
        let (mut found, mut bytes, mut end) = (Vec::new(), 0, range.end);
        while end > range.start {
            let start = end.saturating_sub(STEP.min(most as u64 * 4)).max(range.start);
            let mut step = Vec::new();
            relay.store.scan(start..end, &mut |event| {
                step.push(event);
                true
            })?;
            for event in step.into_iter().rev().filter(|event| self.holds(relay, event)) {
                bytes += event.body.len();
                let sequence = event.id.sequence();
                found.push(Arc::new(event));
                if found.len() == most || bytes >= AT_ONCE.1 {
                    return Ok((found, sequence));
                }
            }
            end = start;
        }
        Ok((found, end))
    }
}

pub(super) async fn list(relay: &Arc<Relay>, query: &Query) -> Outcome {
    let (filter, limit, before) = (Filter::read(relay, query)?, query.limit()?, query.before()?);
    blocking(relay, move |relay| page(relay, &filter, limit, before).map_err(|error| Refusal::failed(&error))).await
}

fn page(relay: &Relay, filter: &Filter, limit: usize, before: u64) -> Result<Value, ReadError> {
    let history = relay.store.history();
    let oldest = if filter.since_ms > 0 { relay.store.first_since(filter.since_ms)? } else { history.start };
    let mut end = before.min(history.end);
    if filter.until_ms < u64::MAX {
        end = end.min(relay.store.first_since(filter.until_ms)?);
    }
    let (mut events, mut looked_at, mut searched_bytes, mut unfound) = (Vec::new(), 0, 0, 0);
    while end > oldest && events.len() < limit && looked_at < LOOKED_AT_MAX && searched_bytes < SEARCHED_BYTES_MAX {
        let from = end.saturating_sub(LOOKED_AT_MAX - looked_at).max(oldest);
        // Without a state to look for, each that is found is shown.
        let most = if filter.state.is_some() { AT_ONCE.0 } else { (limit - events.len()).min(AT_ONCE.0) };
        let (found, start) = filter.gather(relay, from..end, most)?;
        let mut search = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let states = relay.store.states(&found, &mut search)?;
        searched_bytes += SEARCHED_BYTES_MAX - search.bytes_left;
        unfound += if search.bytes_left == 0 { search.unfound } else { 0 };
        looked_at += end - start;
        end = start;
        for (event, states) in found.iter().zip(&states) {
            if let Some(shown) = filter.shown(relay, event, states) {
                events.push(shown);
                if events.len() == limit {
                    end = event.id.sequence();
                    break;
                }
            }
        }
    }
    let before = (end > oldest).then_some(end);
    let mut warnings = filter.warnings.clone();
    if unfound > 0 {
        let mib = SEARCHED_BYTES_MAX >> 20;
        warnings.push(format!(
            "{unfound} deliveries ended more than {mib} MiB further on in the journal: they are shown as `unknown`; ask for one event by its id"
        ));
    }
    Ok(json!({ "events": events, "before": before, "warnings": warnings }))
}

pub(super) async fn show(relay: &Arc<Relay>, id: &str) -> Outcome {
    let Ok(id) = id.parse::<EventId>() else { return Err(Refusal::missing("this is not an event's id")) };
    blocking(relay, move |relay| {
        let view = match relay.store.event(id) {
            Ok(view) => view,
            Err(error @ ReadError::Missing) => return Err(Refusal::missing(error.to_string())),
            Err(error) => return Err(Refusal::failed(&error)),
        };
        let event = &view.event;
        let deliveries = view.states.iter().map(|(planned, state)| {
            let key = DeliveryKey { sequence: id.sequence(), destination: planned.destination };
            let notes = relay.store.attempts(key).map_err(|error| Refusal::failed(&error))?;
            let mut shown = shown_state(relay, &as_noted(state, &notes));
            shown["destination"] = json!(name(relay, planned.destination));
            shown["rule"] = json!(name(relay, planned.rule));
            shown["failed_attempts"] = shown_notes(notes);
            Ok(shown)
        });
        Ok(json!({
            "id": id.to_string(),
            "received_at": rfc3339(event.received_ms),
            "source": name(relay, event.source),
            "rules": event.rules.iter().map(|rule| name(relay, *rule)).collect::<Vec<_>>(),
            "deliveries": deliveries.collect::<Result<Vec<_>, _>>()?,
            "body": String::from_utf8_lossy(&event.body),
        }))
    })
    .await
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

/// The newest attempts that failed, and the one that then succeeded.
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
