//! `/api/dead-letters`: what was given up, and what to do with it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Outcome, Query, Refusal, blocking, destination, name};
use crate::deliver::replay::Matcher;
use crate::relay::Relay;
use crate::store::{
    AppendError, DeadLetter, DeadQuery, NameId, NameKind, NumberSet, Page, ReplayProgress, Selecting, Selection,
};
use crate::time::rfc3339;

/// Dead letters looked at in one step of a filter.
const STEP: usize = 1000;

pub(super) async fn list(relay: &Arc<Relay>, query: &Query) -> Outcome {
    query.only(&["destination", "since", "until", "reason", "email", "limit", "before"])?;
    let filter = Filter {
        query: DeadQuery {
            since_ms: query.moment("since")?,
            until_ms: query.moment("until")?,
            reason: query.get("reason").map(str::to_owned),
        },
        person: person(query.get("email"))?,
    };
    let (limit, before) = (query.limit()?, query.before()?);
    let of = match query.get("destination") {
        Some(name) => vec![destination(relay, name)?],
        None => relay.store.names(NameKind::Destination).into_iter().map(|(id, _)| id).collect(),
    };
    blocking(relay, move |relay| page(relay, &of, &filter, limit, before)).await
}

/// Which dead letters are looked for.
struct Filter {
    query: DeadQuery,
    /// Only those of one person.
    person: Option<Matcher>,
}

impl Filter {
    /// One page of a destination's, and where the next begins.
    fn page(&self, relay: &Relay, id: NameId, before: u64, max: usize) -> Result<Page<DeadLetter>, Refusal> {
        let read = relay.store.dead_letters(id, &self.query, before, max);
        let mut page = read.map_err(|error| Refusal::failed(&error))?;
        if let Some(person) = &self.person {
            page.items.retain(|letter| {
                relay.store.event_by_number(letter.sequence).is_ok_and(|event| person.holds(&*relay.store, &event))
            });
        }
        Ok(page)
    }

    fn is_all(&self) -> bool {
        self.query == DeadQuery::default() && self.person.is_none()
    }
}

fn person(email: Option<&str>) -> Result<Option<Matcher>, Refusal> {
    email.map(Matcher::of_person).transpose().map_err(|error| Refusal::wrong(error.to_string()))
}

/// One page over some destinations, newest event first.
fn page(relay: &Relay, of: &[NameId], filter: &Filter, limit: usize, before: u64) -> Outcome {
    let pages = of.iter().map(|id| filter.page(relay, *id, before, limit)).collect::<Result<Vec<_>, _>>()?;
    // Below the highest place where some destination's page ends nothing is known of that destination.
    let mut next = pages.iter().filter_map(|page| page.before).max();
    let mut letters: Vec<DeadLetter> = pages.into_iter().flat_map(|page| page.items).collect();
    letters.retain(|letter| next.is_none_or(|next| letter.sequence >= next));
    letters.sort_by_key(|letter| (std::cmp::Reverse(letter.sequence), letter.destination));
    if letters.len() > limit {
        // Whole events only, since `before` names an event: a page that one event fills is longer than was asked for.
        let last = letters[limit - 1].sequence;
        letters.retain(|letter| letter.sequence >= last);
        next = Some(last);
    }
    let shown: Vec<_> = letters.iter().map(|letter| shown(relay, letter)).collect();
    Ok(json!({ "dead_letters": shown, "before": next }))
}

fn shown(relay: &Relay, letter: &DeadLetter) -> Value {
    let event = relay.store.event_by_number(letter.sequence);
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

pub(super) async fn act(relay: &Arc<Relay>, act: &str, body: &[u8]) -> Outcome {
    let keys = ["destination", "event", "since", "until", "reason", "email", "to", "id", "dry_run"];
    let asked = Asked::read(body, &keys)?;
    let Some(from_name) = asked.text("destination")? else {
        return Err(Refusal::wrong("name a `destination`: whose dead letters?"));
    };
    let from = destination(relay, from_name)?;
    let to = match asked.text("to")? {
        Some(_) if act == "drop" => return Err(Refusal::wrong("what is dropped goes nowhere: leave `to` out")),
        Some(name) => in_config(relay, name)?,
        None if act == "drop" => from,
        None => in_config(relay, from_name)?,
    };
    let event = match asked.text("event")? {
        Some(text) => Some(text.parse::<crate::event::EventId>().map_err(|error| Refusal::wrong(error.to_string()))?),
        None => None,
    };
    let filter = Filter {
        query: DeadQuery {
            since_ms: asked.moment("since")?,
            until_ms: asked.moment("until")?,
            reason: asked.text("reason")?.map(str::to_owned),
        },
        person: person(asked.text("email")?)?,
    };
    let (id, is_dry) = (asked.id()?, asked.flag("dry_run")?);
    let shown_id = uuid::Uuid::from_u128(id).to_string();
    // One command at a time: what is a dead letter for one must still be one when it acts.
    let _turn = relay.replayer.turn().await;
    let spec = json!({ act: from_name, "to": name(relay, to) }).to_string();
    if let Some(known) = relay.store.replays().into_iter().find(|known| known.id == id) {
        if known.spec != spec {
            return Err(Refusal::wrong(format!("`{shown_id}` is the id of another command: {}", known.spec)));
        }
        return Ok(json!({ "id": shown_id, "deliveries": known.selected, "repeated": true }));
    }
    let sequences = blocking(relay, move |relay| chosen(relay, from, event, &filter)).await?;
    let count = sequences.len();
    if is_dry || count == 0 {
        return Ok(json!({ "id": shown_id, "deliveries": count, "dry_run": is_dry }));
    }
    let reason = format!("{act} by the operator");
    let is_drop = act == "drop";
    let answers = blocking(relay, move |relay| {
        let selection = |destination, act| {
            let (reason, sequences) = (reason.clone(), sequences.clone());
            relay.store.select(Selection { destination, act, reason, replay: id, sequences })
        };
        Ok(match (is_drop, to == from) {
            (true, _) => vec![selection(from, Selecting::Drop)],
            (false, true) => vec![selection(from, Selecting::Again)],
            // To another destination: first they are there, then they are dead letters no longer.
            (false, false) => vec![selection(to, Selecting::Again), selection(from, Selecting::Move(to))],
        })
    })
    .await?;
    let mut done = Vec::new();
    for answer in answers {
        done.push(wait(answer).await?);
    }
    let done = done.first().copied().unwrap_or(0);
    // So that the same command again is known.
    let (cursor, until, at_ms) = (0, 0, crate::time::wall_ms());
    let progress = ReplayProgress { id, spec, cursor, until, selected: done, at_ms, is_done: true };
    wait(relay.store.set_replay(progress)).await?;
    Ok(json!({ "id": shown_id, "deliveries": done, "dry_run": false }))
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

async fn wait(answer: tokio::sync::oneshot::Receiver<Result<u64, AppendError>>) -> Result<u64, Refusal> {
    let answered = answer.await.unwrap_or(Err(AppendError::Closed));
    answered.map_err(|error| Refusal(http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

/// The dead letters that are meant.
fn chosen(
    relay: &Relay,
    from: NameId,
    event: Option<crate::event::EventId>,
    filter: &Filter,
) -> Result<NumberSet, Refusal> {
    let all = relay.store.dead(from);
    if let Some(event) = event {
        let is_it = all.contains(event.sequence())
            && relay.store.event_by_number(event.sequence()).is_ok_and(|known| known.id == event);
        return Ok(is_it.then(|| event.sequence()).into_iter().collect());
    }
    if filter.is_all() {
        return Ok(all);
    }
    let (mut chosen, mut before) = (NumberSet::default(), u64::MAX);
    loop {
        let page = filter.page(relay, from, before, STEP)?;
        chosen.insert_all(&page.items.iter().map(|letter| letter.sequence).collect());
        match page.before {
            Some(next) => before = next,
            None => return Ok(chosen),
        }
    }
}
