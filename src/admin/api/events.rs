//! `/api/events`: the history by filter, and one event with everything that is known of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Effort, Outcome, Query, Refusal, Request, Resource, blocking, destination, get, name, nothing_here, refused,
    shown_state, state_name,
};
use crate::event::EventId;
use crate::relay::Relay;
use crate::relay::replay::{Conditions, ReplayError};
use crate::store::{
    AttemptNote, Cursor, DeliveryState, DeliveryView, EventQuery, EventView, NameId, Order, SearchLimit, States,
    StoreError, StoredEvent,
};
use crate::time::rfc3339;

/// Events looked at for one page: a filter that finds little gives an emptier page and where to go on.
const LOOKED_AT_MAX: usize = 50_000;
/// Events that are read, and whose outcomes are looked for in one walk through the journal behind them.
const AT_ONCE: usize = 4096;
/// Bytes of the journal that such a walk reads at most, and beyond which a page ends: half a second from a disk of 500 MB/s.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
const STATES: [&str; 10] =
    ["held", "waiting", "in_flight", "scheduled", "delivered", "skipped", "dead", "dropped", "moved", "unknown"];

pub(super) const RESOURCE: Resource = Resource {
    name: "events",
    endpoints: &[
        get(
            "",
            &["type", "match", "email", "source", "destination", "state", "since", "until", "limit", "after"],
            "the history, newest first",
        ),
        get("/ID", &[], "one event, what became of its deliveries, and the attempts that failed"),
    ],
    reads: Effort::Search,
    answer: |request| Box::pin(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, query, .. } = request;
    match (is_read, steps) {
        (true, []) => list(relay, query).await,
        (true, [id]) => show(relay, id).await,
        _ => nothing_here(),
    }
}

/// What is looked for.
struct Filter {
    conditions: Conditions,
    person: Option<Conditions>,
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
        let wrong = |error: ReplayError| Refusal::wrong(error.to_string());
        let matching = match (query.get("match"), query.get("type").map(match_of_types).transpose()?) {
            (Some(_), Some(_)) => return Err(Refusal::wrong("`type` can stand in `match`: give one of them")),
            (Some(text), None) => Some(text.to_owned()),
            (None, by_type) => by_type,
        };
        let state = query.get("state").map(str::to_owned);
        if let Some(state) = state.as_ref().filter(|state| !STATES.contains(&state.as_str())) {
            return Err(Refusal::wrong(format!("`{state}` is not a state: {}", STATES.join(", "))));
        }
        let range = query.range()?;
        let source = query.get("source").map(|wanted| {
            let found = relay.store.names().find(crate::store::NameKind::Source, wanted);
            found.ok_or_else(|| Refusal::missing(format!("there is no source `{wanted}`")))
        });
        let (conditions, warnings) = Conditions::parse_with_warnings(matching.as_deref()).map_err(wrong)?;
        Ok(Self {
            conditions,
            warnings,
            person: query.get("email").map(Conditions::of_person).transpose().map_err(wrong)?,
            source: source.transpose()?,
            destination: query.get("destination").map(|name| destination(relay, name)).transpose()?,
            state,
            since_ms: range.since_ms.unwrap_or(0),
            until_ms: range.until_ms.unwrap_or(u64::MAX),
        })
    }

    /// Whether an event is meant, whatever became of it.
    fn holds(&self, relay: &Relay, event: &StoredEvent) -> bool {
        (self.since_ms..self.until_ms).contains(&event.received_ms)
            && self.source.is_none_or(|source| source == event.source)
            && self.destination.is_none_or(|id| event.deliveries.iter().any(|delivery| delivery.destination == id))
            && self.conditions.holds(&*relay.store, event)
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

    /// Where of some events those are that may be meant, at most so many.
    fn among(&self, relay: &Relay, events: &[Arc<StoredEvent>], most: usize) -> Vec<usize> {
        let is_meant = |at: &usize| self.holds(relay, &events[*at]);
        (0..events.len()).filter(is_meant).take(most).collect()
    }
}

/// The `match` of a list of types, with commas between them.
fn match_of_types(list: &str) -> Result<String, Refusal> {
    let types: Vec<_> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if types.is_empty() {
        return Err(Refusal::wrong("`type` names no type: write one, or several like bounced,failed"));
    }
    Ok(json!({ "type": types }).to_string())
}

async fn list(relay: &Arc<Relay>, query: &Query) -> Outcome {
    let filter = Filter::read(relay, query)?;
    let limit = query.limit()?;
    let after = query.after()?;
    page(relay, Arc::new(filter), limit, after).await
}

/// One page. A filter may hold for few events, so it asks for several pages of the history, up to a limit on what is looked at.
async fn page(relay: &Arc<Relay>, filter: Arc<Filter>, limit: usize, mut after: Option<Cursor>) -> Outcome {
    let since_ms = filter.since_ms;
    let until_ms = filter.until_ms;
    let history = EventQuery { since_ms, until_ms, last: None, order: Order::NewestFirst };
    let mut shown = Vec::new();
    let mut looked_at = 0;
    let mut searched_bytes = 0;
    let mut unfound = 0;
    let mut next;
    loop {
        // Without a state to look for, each that is found is shown.
        let most = if filter.state.is_some() { AT_ONCE } else { limit - shown.len() };
        let size = if looked_at == 0 && filter.state.is_none() { limit } else { AT_ONCE };
        let read = relay.store.events(&history, after.as_ref(), size.min(AT_ONCE)).await.map_err(refused)?;
        let events = Arc::new(read.items);
        let matching = filter.clone();
        looked_at += events.len();
        let among = events.clone();
        let found = blocking(relay, move |relay| Ok(matching.among(relay, &among, most))).await?;
        let limit_of_search = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let asked = found.iter().map(|at| events[*at].clone()).collect();
        let (states, search) = relay.store.states(asked, limit_of_search).await.map_err(refused)?;
        searched_bytes += SEARCHED_BYTES_MAX - search.bytes_left;
        unfound += if search.bytes_left == 0 { search.unfound } else { 0 };
        let mut last = None;
        for (at, states) in found.into_iter().zip(&states) {
            shown.extend(filter.shown(relay, &events[at], states));
            if shown.len() == limit {
                last = Some(at);
                break;
            }
        }
        next = read.next;
        if let Some(count) = last.map(|at| at + 1).filter(|count| *count < events.len()) {
            // It ends amid what was read: the next page begins where one of so many would.
            next = relay.store.events(&history, after.as_ref(), count).await.map_err(refused)?.next;
        }
        let is_enough = shown.len() == limit || looked_at >= LOOKED_AT_MAX || searched_bytes >= SEARCHED_BYTES_MAX;
        if next.is_none() || is_enough {
            break;
        }
        after = next;
    }
    let mut warnings = filter.warnings.clone();
    if unfound > 0 {
        let mib = SEARCHED_BYTES_MAX >> 20;
        warnings.push(format!(
            "{} ended more than {mib} MiB further on in the journal: they are shown as `unknown`; ask for one event by its id",
            crate::units::numbered(unfound, "delivery")
        ));
    }
    Ok(json!({ "events": shown, "next": next.map(|next| next.to_string()), "warnings": warnings }))
}

async fn show(relay: &Arc<Relay>, id: &str) -> Outcome {
    let Ok(id) = id.parse::<EventId>() else { return Err(Refusal::missing("this is not an event's id")) };
    let read = relay.store.event(id).await.inspect_err(|error| {
        if let StoreError::Damaged(why) = error {
            relay.unreadable.add(id, why.clone());
        }
    });
    let EventView { event, deliveries } = read.map_err(refused)?;
    let deliveries = deliveries.into_iter().map(|DeliveryView { planned, state, attempts }| {
        let mut shown = shown_state(relay, &as_noted(&state, &attempts));
        shown["destination"] = json!(name(relay, planned.destination));
        shown["rule"] = json!(name(relay, planned.rule));
        shown["failed_attempts"] = shown_notes(attempts);
        shown
    });
    Ok(json!({
        "id": id.to_string(),
        "received_at": rfc3339(event.received_ms),
        "source": name(relay, event.source),
        "rules": event.rules.iter().map(|rule| name(relay, *rule)).collect::<Vec<_>>(),
        "deliveries": deliveries.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(&event.body),
    }))
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

/// The newest attempts that failed, the one that then succeeded, and one that reached some of a delivery's recipients and not the others:
/// `outcome` says which is which.
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
