//! `/api/dead-letters`: what was given up, and what to do with it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::endpoint::joined;
use super::parameters::{NAMED_MAX, PAGE, some_of};
use super::{
    Asked, Outcome, Query, Range, Refusal, Request, Resource, ask, blocking, destination, get, in_json, name,
    nothing_here, post, refused,
};
use crate::event::EventId;
use crate::relay::Relay;
use crate::relay::replay::Conditions;
use crate::store::{
    AskedPrint, Command, Cursor, DEAD_EVENTS_MAX, DeadLetter, DeadQuery, DeadReason, NameId, NameKind, Page,
    StoredEvent, What, Which,
};
use crate::time::rfc3339;

/// Dead letters looked at in one step of a filter.
const STEP: usize = 1000;
/// Dead letters whose events are looked at for one command: it is done once or not at all, so it cannot go piece by piece. As many as are
/// counted by their reasons.
const LOOKED_AT_MAX: usize = 100_000;
/// Bytes of these events, and one step more: as many as a search for outcomes reads.
const LOOKED_AT_BYTES_MAX: usize = 256 << 20;
// The store takes as many by their ids.
const _: () = assert!(LOOKED_AT_MAX <= DEAD_EVENTS_MAX);

pub(super) const RESOURCE: Resource = Resource {
    name: "dead-letters",
    endpoints: &[
        get("", &LISTED, "what was given up, newest event first").walking(),
        post("/search", &LISTED, "the same, asked for in the body: so no log of addresses has what was looked for")
            .walking(),
        get("/reasons", &["destination"], "why they were given up, the most frequent reason first").searching(),
        post("/replay", &REPLAYED, "deliver it again").needing(&["destination"]),
        post("/drop", &DROPPED, "keep it no longer").needing(&["destination"]),
    ],
    tell: |act| {
        if let [done] = act.steps
            && *done != "search"
        {
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

/// What says which are meant: see [`Filter`].
const FILTERS: [&str; 7] = ["type", "campaign", "email", "since", "until", "reason", "reason_is"];
const LISTED: [&str; 10] = joined(&[&["destination"], &FILTERS, &PAGE]);
/// Those of a destination that are meant, by their events too.
const MEANT: [&str; 10] = joined(&[&["destination", "event", "events"], &FILTERS]);
const REPLAYED: [&str; 13] = joined(&[&MEANT, &["to", "id", "dry_run"]]);
const DROPPED: [&str; 12] = joined(&[&MEANT, &["id", "dry_run"]]);

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, visitor, is_read, steps, query, body } = request;
    match (is_read, steps) {
        (true, []) => list(relay, query).await,
        (false, ["search"]) => list(relay, &body.as_query(&LISTED)?).await,
        (true, ["reasons"]) => reasons(relay, query).await,
        (false, [done @ ("replay" | "drop")]) => act(relay, done, body, &visitor.has_gone).await,
        _ => nothing_here(),
    }
}

async fn list(relay: &Arc<Relay>, query: &Query) -> Outcome {
    let filter = Filter::read(query)?;
    let limit = query.limit()?;
    let after = query.after()?;
    page(relay, &some_or_all(relay, query)?, filter, limit, after).await
}

/// The destination that is named, or all.
fn some_or_all(relay: &Relay, query: &Query) -> Result<Vec<NameId>, Refusal> {
    match query.get("destination") {
        Some(name) => Ok(vec![destination(relay, name)?]),
        None => Ok(relay.store.names().of_kind(NameKind::Destination).into_iter().map(|(id, _)| id).collect()),
    }
}

async fn reasons(relay: &Relay, query: &Query) -> Outcome {
    let found = relay.store.dead_reasons(some_or_all(relay, query)?).await.map_err(refused)?;
    let at = |at_ms: u64| (at_ms > 0).then(|| rfc3339(at_ms));
    let reason = |DeadReason { reason, status, deliveries, first_ms, last_ms }: DeadReason| {
        let (first_at, last_at) = (at(first_ms), at(last_ms));
        json!({ "reason": reason, "status": status, "deliveries": deliveries, "first_at": first_at, "last_at": last_at })
    };
    Ok(json!({
        "reasons": found.reasons.into_iter().map(reason).collect::<Vec<_>>(),
        "looked_at": found.looked_at,
        "not_listed": found.not_listed,
        "not_looked_at": found.not_looked_at,
    }))
}

/// Which dead letters are looked for.
struct Filter {
    query: DeadQuery,
    /// What is asked of their events, all of which must hold.
    conditions: Vec<Conditions>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Refusal> {
        let Range { since_ms, until_ms } = query.range()?;
        let text = |key: &str| query.get(key).map(str::to_owned);
        let (reason, reason_is) = (text("reason"), text("reason_is"));
        if let Some(key) = ["reason", "reason_is"].into_iter().find(|key| query.get(key) == Some("")) {
            return Err(Refusal::wrong(format!("`{key}` is empty: write a part of the reason, or leave it out")));
        }
        let types = query.get("type").map(|list| some_of("type", list)).transpose()?;
        let types = types.map(|types| json!({ "type": types }).to_string());
        let types = types.map(|types| Conditions::parse(Some(&types)));
        let [person, campaign] = ["email", "campaign"].map(|key| query.get(key));
        let about = (person.is_some() || campaign.is_some()).then(|| Conditions::of(person, campaign));
        let conditions = types.into_iter().chain(about).collect::<Result<_, _>>();
        let conditions = conditions.map_err(|error| Refusal::wrong(error.to_string()))?;
        Ok(Self { query: DeadQuery { since_ms, until_ms, reason, reason_is, events: None }, conditions })
    }

    fn is_meant(&self, relay: &Relay, letter: &DeadLetter) -> bool {
        let holds = |event: &StoredEvent| self.conditions.iter().all(|asked| asked.holds(&*relay.store, event));
        self.conditions.is_empty() || letter.event.as_ref().is_ok_and(|event| holds(event))
    }
}

/// What has been looked at for one command.
#[derive(Debug, Default)]
struct Looked {
    letters: usize,
    bytes: usize,
}

impl Looked {
    /// Adds a step, unless that is too much for one command.
    fn add(&mut self, letters: usize, bytes: usize) -> Result<(), Refusal> {
        self.letters += letters;
        self.bytes += bytes;
        if self.letters <= LOOKED_AT_MAX && self.bytes <= LOOKED_AT_BYTES_MAX {
            return Ok(());
        }
        let mib = LOOKED_AT_BYTES_MAX >> 20;
        Err(Refusal::wrong(format!(
            "to find these, more than {LOOKED_AT_MAX} dead letters or {mib} MiB of events would be looked at: narrow them by `since` and `until`, or by `reason`"
        )))
    }
}

/// What a filter comes to for the store. Where the events must be looked at first, it names them; where whoever asks has gone by then, nothing
/// has been done.
async fn as_query(
    relay: &Arc<Relay>,
    of: NameId,
    filter: Filter,
    has_gone: &CancellationToken,
) -> Result<DeadQuery, Refusal> {
    if filter.conditions.is_empty() {
        return Ok(filter.query);
    }
    let filter = Arc::new(filter);
    let mut events = Vec::new();
    let mut looked = Looked::default();
    let mut after = None;
    loop {
        if has_gone.is_cancelled() {
            return Err(Refusal::has_gone());
        }
        let page = relay.store.dead_letters(vec![of], &filter.query, after.as_ref(), STEP).await.map_err(refused)?;
        let (items, meant) = (page.items, filter.clone());
        let bytes = items.iter().filter_map(|letter| letter.event.as_ref().ok()).map(|event| event.body.len()).sum();
        looked.add(items.len(), bytes)?;
        let among = move |relay: &Relay| {
            let meant = items.iter().filter(|letter| meant.is_meant(relay, letter));
            Ok(meant.filter_map(|letter| Some(letter.event.as_ref().ok()?.id)).collect::<Vec<_>>())
        };
        events.extend(blocking(relay, among).await?);
        after = page.next;
        if after.is_none() {
            // Also where there is none: then it is known that it was asked for.
            return Ok(DeadQuery { events: Some(events), ..DeadQuery::default() });
        }
    }
}

/// One page over some destinations, newest event first.
async fn page(relay: &Arc<Relay>, of: &[NameId], filter: Filter, limit: usize, after: Option<Cursor>) -> Outcome {
    // Before it is read: what is given up meanwhile may be on the page or not.
    let as_of = rfc3339(relay.clock.now_ms());
    let read = relay.store.dead_letters(of.to_vec(), &filter.query, after.as_ref(), limit).await.map_err(refused)?;
    let Page { items, next, .. } = read;
    let letters = move |relay: &Relay| {
        let meant = items.iter().filter(|letter| filter.is_meant(relay, letter));
        Ok(meant.map(|letter| shown(relay, letter)).collect::<Vec<_>>())
    };
    let letters = blocking(relay, letters).await?;
    Ok(json!({ "dead_letters": letters, "as_of": as_of, "next": next.map(|next| next.to_string()) }))
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
        "status": letter.status,
        "answer": (!letter.answer.is_empty()).then_some(&letter.answer),
    })
}

async fn act(relay: &Arc<Relay>, act: &str, asked: &Asked, has_gone: &CancellationToken) -> Outcome {
    let Some(from_name) = asked.text("destination")? else {
        return Err(Refusal::wrong("name a `destination`: whose dead letters?"));
    };
    let from = destination(relay, from_name)?;
    let is_drop = act == "drop";
    let to = match asked.text("to")? {
        Some(name) => in_config(relay, name)?,
        None if is_drop => from,
        None => in_config(relay, from_name)?,
    };
    let filters = asked.as_query(&FILTERS)?;
    let mut filter = Filter::read(&filters)?;
    filter.query.events = events(asked)?;
    let print = print_of(&filters, filter.query.events.as_deref());
    let id = asked.id()?;
    let is_dry = asked.flag("dry_run")?;
    let which = Which::Dead(as_query(relay, from, filter, has_gone).await?);
    let (deliveries, is_repeated) = if is_dry {
        (relay.store.how_many(from, which).await.map_err(refused)?, false)
    } else {
        let what = if is_drop { What::Drop(which) } else { What::Move { which, to } };
        let done = ask(relay, Command::new(id, from, what).asked_as(print)).await?;
        (done.deliveries, done.was_done_before)
    };
    let dead = relay.store.counts().await.map_err(refused)?.of(from).dead;
    let left = if is_dry { dead.saturating_sub(deliveries) } else { dead };
    let id = uuid::Uuid::from_u128(id).to_string();
    Ok(json!({ "id": id, "deliveries": deliveries, "left": left, "dry_run": is_dry, "repeated": is_repeated }))
}

/// Tells which dead letters were asked for: those that are found, and the moments that ages name, are others when it is said again.
fn print_of(filters: &Query, events: Option<&[EventId]>) -> AskedPrint {
    let mut named: Vec<_> = events.unwrap_or_default().iter().map(|event| event.to_bytes()).collect();
    named.sort_unstable();
    named.dedup();
    let said = filters.0.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    let marked = events.map(|_| b"events".as_slice());
    let parts: Vec<&[u8]> = said.chain(marked).chain(named.iter().map(<[u8; 16]>::as_slice)).collect();
    AskedPrint::of(parts)
}

/// The events that are named, if any are.
fn events(asked: &Asked) -> Result<Option<Vec<EventId>>, Refusal> {
    let named = asked.is_given("events").then(|| asked.events("events", NAMED_MAX)).transpose()?;
    let Some(text) = asked.text("event")? else { return Ok(named) };
    if named.is_some() {
        return Err(Refusal::wrong("`event` can stand in `events`: give one of them"));
    }
    let event = text.parse::<EventId>().map_err(|error| Refusal::wrong(error.to_string()))?;
    Ok(Some(vec![event]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_looks_at_so_many_dead_letters_and_says_how_to_name_fewer() {
        for (letters, bytes, is_enough) in [
            (LOOKED_AT_MAX, 0, true),
            (LOOKED_AT_MAX + 1, 0, false),
            (0, LOOKED_AT_BYTES_MAX, true),
            (0, LOOKED_AT_BYTES_MAX + 1, false),
        ] {
            let mut looked = Looked::default();
            let half = (letters / 2, bytes / 2);
            assert!(looked.add(half.0, half.1).is_ok());
            match looked.add(letters - half.0, bytes - half.1) {
                Ok(()) => assert!(is_enough, "{looked:?}"),
                Err(Refusal(_, told)) => assert!(!is_enough && told.contains("narrow them by `since`"), "{told}"),
            }
        }
    }
}
