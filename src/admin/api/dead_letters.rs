//! `/api/dead-letters`: what was given up, and what to do with it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Asked, Effort, Outcome, Query, Range, Refusal, Request, Resource, ask, destination, get, in_json, name,
    nothing_here, post, refused,
};
use crate::event::EventId;
use crate::relay::Relay;
use crate::relay::replay::Conditions;
use crate::store::{Command, Cursor, DeadLetter, DeadQuery, EVENTS_MAX, NameId, NameKind, What, Which};
use crate::time::rfc3339;

/// Dead letters looked at in one step of a filter.
const STEP: usize = 1000;

pub(super) const RESOURCE: Resource = Resource {
    name: "dead-letters",
    endpoints: &[
        get(
            "",
            &["destination", "since", "until", "reason", "email", "limit", "after"],
            "what was given up, newest event first",
        ),
        post(
            "/replay",
            &["destination", "event?", "since?", "until?", "reason?", "email?", "to?", "id?", "dry_run?"],
            "deliver it again",
        ),
        post(
            "/drop",
            &["destination", "event?", "since?", "until?", "reason?", "email?", "id?", "dry_run?"],
            "keep it no longer",
        ),
    ],
    reads: Effort::Search,
    tell: |act| {
        if let [done] = act.steps {
            let destination = act.said("destination");
            let to = act.said("to");
            tracing::info!(
                destination,
                to,
                deliveries = act.deliveries,
                id = act.id,
                "by the operator: {done} dead letters"
            );
        }
    },
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, query, body, .. } = request;
    match (is_read, steps) {
        (true, []) => list(relay, query).await,
        (false, [done @ ("replay" | "drop")]) => act(relay, done, body).await,
        _ => nothing_here(),
    }
}

async fn list(relay: &Arc<Relay>, query: &Query) -> Outcome {
    let Range { since_ms, until_ms } = query.range()?;
    let filter = Filter {
        query: DeadQuery { since_ms, until_ms, reason: query.get("reason").map(str::to_owned), events: None },
        person: person(query.get("email"))?,
    };
    let limit = query.limit()?;
    let after = query.after()?;
    let of = match query.get("destination") {
        Some(name) => vec![destination(relay, name)?],
        None => relay.store.names().of_kind(NameKind::Destination).into_iter().map(|(id, _)| id).collect(),
    };
    page(relay, &of, filter, limit, after).await
}

/// Which dead letters are looked for.
struct Filter {
    query: DeadQuery,
    /// Only those of one person.
    person: Option<Conditions>,
}

impl Filter {
    fn is_meant(&self, relay: &Relay, letter: &DeadLetter) -> bool {
        let is_of = |person: &Conditions| letter.event.as_ref().is_ok_and(|event| person.holds(&*relay.store, event));
        self.person.as_ref().is_none_or(is_of)
    }
}

/// The events of all dead letters of a destination that are meant.
async fn all(relay: &Arc<Relay>, of: NameId, filter: Filter) -> Result<Vec<EventId>, Refusal> {
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let page = relay.store.dead_letters(vec![of], &filter.query, after.as_ref(), STEP).await.map_err(refused)?;
        let meant = page.items.iter().filter(|letter| filter.is_meant(relay, letter));
        events.extend(meant.filter_map(|letter| Some(letter.event.as_ref().ok()?.id)));
        after = page.next;
        if after.is_none() {
            return Ok(events);
        }
    }
}

fn person(email: Option<&str>) -> Result<Option<Conditions>, Refusal> {
    email.map(Conditions::of_person).transpose().map_err(|error| Refusal::wrong(error.to_string()))
}

/// One page over some destinations, newest event first.
async fn page(relay: &Relay, of: &[NameId], filter: Filter, limit: usize, after: Option<Cursor>) -> Outcome {
    let read = relay.store.dead_letters(of.to_vec(), &filter.query, after.as_ref(), limit).await.map_err(refused)?;
    let meant = read.items.iter().filter(|letter| filter.is_meant(relay, letter));
    let letters: Vec<_> = meant.map(|letter| shown(relay, letter)).collect();
    Ok(json!({ "dead_letters": letters, "next": read.next.map(|next| next.to_string()) }))
}

fn shown(relay: &Relay, letter: &DeadLetter) -> Value {
    let event = &letter.event;
    let known = event.as_ref().ok().map(|event| crate::event::summary(&event.body));
    json!({
        "event": event.as_ref().ok().map(|event| event.id.to_string()),
        "received_at": event.as_ref().ok().map(|event| rfc3339(event.received_ms)),
        "type": known.as_ref().map(|known| &known.event_type),
        "campaign": known.as_ref().map(|known| &known.campaign),
        "who": known.as_ref().map(|known| &known.who),
        "destination": name(relay, letter.destination),
        "attempts": letter.attempts,
        "at": (letter.at_ms > 0).then(|| rfc3339(letter.at_ms)),
        "reason": letter.reason,
    })
}

async fn act(relay: &Arc<Relay>, act: &str, asked: &Asked) -> Outcome {
    let Some(from_name) = asked.text("destination")? else {
        return Err(Refusal::wrong("name a `destination`: whose dead letters?"));
    };
    let from = destination(relay, from_name)?;
    let to = match asked.text("to")? {
        Some(name) => in_config(relay, name)?,
        None if act == "drop" => from,
        None => in_config(relay, from_name)?,
    };
    let event = match asked.text("event")? {
        Some(text) => Some(text.parse::<EventId>().map_err(|error| Refusal::wrong(error.to_string()))?),
        None => None,
    };
    let Range { since_ms, until_ms } = asked.range()?;
    let query = DeadQuery {
        since_ms,
        until_ms,
        reason: asked.text("reason")?.map(str::to_owned),
        events: event.map(|event| vec![event]),
    };
    let filter = Filter { query, person: person(asked.text("email")?)? };
    let id = asked.id()?;
    let is_dry = asked.flag("dry_run")?;
    let is_drop = act == "drop";
    let mut deliveries = 0;
    let mut is_repeated = false;
    for (number, query) in queries(relay, from, filter).await?.into_iter().enumerate() {
        let which = Which::Dead(query);
        if is_dry {
            deliveries += relay.store.how_many(from, which).await.map_err(refused)?;
            continue;
        }
        let what = if is_drop { What::Drop(which) } else { What::Move { which, to } };
        let done = ask(relay, Command::new(derived(id, number), from, what)).await?;
        deliveries += done.deliveries;
        is_repeated |= done.was_done_before;
    }
    let id = uuid::Uuid::from_u128(id).to_string();
    Ok(json!({ "id": id, "deliveries": deliveries, "dry_run": is_dry, "repeated": is_repeated }))
}

/// What a filter comes to for the store: one query, unless the events must be looked at first, and there are many.
async fn queries(relay: &Arc<Relay>, of: NameId, filter: Filter) -> Result<Vec<DeadQuery>, Refusal> {
    if filter.person.is_none() || filter.query.events.is_some() {
        return Ok(vec![filter.query]);
    }
    let events = all(relay, of, filter).await?;
    let query = |events: &[EventId]| DeadQuery { events: Some(events.to_vec()), ..DeadQuery::default() };
    // Also where there is none: then it is known that it was asked for.
    let first = events.len().min(EVENTS_MAX);
    Ok(std::iter::once(&events[..first]).chain(events[first..].chunks(EVENTS_MAX)).map(query).collect())
}

/// The id of a part of a command, the first of which has the command's own.
fn derived(id: u128, number: usize) -> u128 {
    if number == 0 {
        return id;
    }
    Command::id_of_part(id, &(number as u128).to_be_bytes())
}

/// A destination that can be delivered to: one that left the config attempts nothing.
fn in_config(relay: &Relay, name: &str) -> Result<NameId, Refusal> {
    let id = destination(relay, name)?;
    if relay.generation().destination_ids.contains(&id) {
        return Ok(id);
    }
    let help = "put it back, or send them elsewhere by --to";
    Err(Refusal::missing(format!("the config has no destination `{name}` any more: {help}")))
}
