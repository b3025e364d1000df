//! `/api/destinations`: how each stands, and the operator's hands on it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Asked, Outcome, Refusal, Request, Resource, ask, destination, get, in_json, name, nothing_here, post, refused,
};
use crate::deliver::sorting::{EXAMPLES, ShownWindow};
use crate::deliver::{DestinationConfig, Parts, Status, together};
use crate::destination::{self, Delivery, Group};
use crate::explain::{as_json, shown_fields};
use crate::relay::{Generation, Relay};
use crate::store::{AllCounts, Command, Counts, NameId, What};
use crate::time::rfc3339;
use crate::units::shown_rate;

/// Characters of the reason of a pause: a sentence, for who comes next. However many bytes they have, the journal keeps them whole.
const REASON_CHARACTERS_MAX: usize = 250;
/// The reason, where none is given.
const NO_REASON: &str = "paused by the operator";

pub(super) const RESOURCE: Resource = Resource {
    name: "destinations",
    endpoints: &[
        get("", &[], "every destination: backlog, age of the oldest, dead letters, breaker, paused").without_events(),
        get("/NAME", &[], "one of them").without_events(),
        get("/NAME/digest", &[], "what waits to go out together: its groups, and the message as it would go out now"),
        post("/NAME/pause", &["reason", "id"], "hold its queue; the reason is shown to who looks"),
        post("/NAME/resume", &["id"], "let it go on"),
        post("/NAME/retry", &["id"], "make what waits due now"),
        post(
            "/NAME/digest-now",
            &["id"],
            "what waits to go out together goes out as soon as it can, and not when its windows are over; the newest 64 ids are remembered until a restart",
        ),
    ],
    answer: |request| in_json(answer(request)),
    tell: |act| {
        if let [name, done] = act.steps {
            let reason = act.said("reason");
            tracing::info!(destination = %name, reason, deliveries = act.deliveries, "by the operator: {done}");
        }
    },
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, body, .. } = request;
    match (is_read, steps) {
        (true, []) => list(relay).await,
        (true, [name]) => show(relay, name).await,
        (true, [name, "digest"]) => show_digest(relay, name).await,
        (false, [name, "pause"]) => pause(relay, name, body).await,
        (false, [name, "resume"]) => resume(relay, name, body).await,
        (false, [name, "retry"]) => retry(relay, name, body).await,
        (false, [name, "digest-now"]) => digest_now(relay, name, body),
        _ => nothing_here(),
    }
}

async fn list(relay: &Relay) -> Outcome {
    let counts = relay.store.counts().await.map_err(refused)?;
    Ok(json!({ "destinations": all(relay, &counts) }))
}

async fn show(relay: &Relay, of: &str) -> Outcome {
    let id = destination(relay, of)?;
    let counts = relay.store.counts().await.map_err(refused)?;
    let found = all(relay, &counts).into_iter().find(|shown| shown["name"].as_str() == name(relay, id).as_deref());
    found.ok_or_else(|| {
        Refusal::missing(format!(
            "the config has no destination `{of}` any more, and nothing of it waits or was given up"
        ))
    })
}

/// What waits to go out together. Values of events are in it, which is why it is no part of how a destination stands.
async fn show_digest(relay: &Relay, of: &str) -> Outcome {
    let id = destination(relay, of)?;
    let generation = relay.generation();
    let (config, status) = gathering(&generation, id, of)?;
    let (_, groups) = status.sorted().waiting(GROUPS_TOLD);
    let counts = relay.store.counts().await.map_err(refused)?.of(id);
    let mut shown = digest(relay, &generation, config, counts);
    shown["groups"] = groups.iter().map(shown_group).collect();
    shown["message"] = next_message(relay, config, id, status).await;
    Ok(shown)
}

/// What people call a group.
fn name_of(window: &ShownWindow) -> String {
    let ShownWindow { values, count, since_ms, .. } = window.clone();
    Group { values, count, since: since_ms, until: since_ms, parts: Vec::new(), other_parts: 0 }.name()
}

/// A destination that puts together what it gets, and what is known of it.
fn gathering<'g>(
    generation: &'g Generation,
    id: NameId,
    of: &str,
) -> Result<(&'g DestinationConfig, &'g Arc<Status>), Refusal> {
    let place = generation.destination_ids.iter().position(|known| *known == id);
    let config = place.map(|at| &generation.config.destinations[at]);
    let gathers = |(config, status): &(&DestinationConfig, &Arc<Status>)| {
        let is_asked_to = config.sorting.as_ref().is_some_and(|sorting| sorting.gathering.is_some());
        // What was gathered before `digest` was taken out goes out together.
        is_asked_to || status.sorted().waiting(1).0 > 0
    };
    config.zip(generation.statuses.get(&id)).filter(gathers).ok_or_else(|| {
        Refusal::missing(format!("`{of}` puts nothing together: the config gives it no `digest` and no `quiet`"))
    })
}

fn shown_group(window: &ShownWindow) -> Value {
    json!({
        "fields": shown_fields(&window.values),
        "name": name_of(window),
        "count": window.count,
        "passed": window.passed,
        "first_at": rfc3339(window.since_ms),
        "ends_at": rfc3339(window.ends_ms),
    })
}

/// How each destination stands.
pub(super) fn all(relay: &Relay, counts: &AllCounts) -> Vec<Value> {
    let generation = relay.generation();
    let totals = relay.metrics.totals(generation.config.destinations.iter().map(|config| config.name.as_str()));
    let configured = generation.config.destinations.iter().zip(&generation.destination_ids);
    let mut all: Vec<Value> = configured
        .map(|(config, id)| {
            let mut shown = shown(relay, counts.of(*id), &config.name);
            shown["kind"] = json!(config.kind);
            shown["address"] = json!(config.destination.address());
            shown["rate"] = json!(config.policy.interval.map(shown_rate));
            shown["concurrency"] = json!(config.policy.concurrency);
            let so_far = totals.destinations.get(config.name.as_str()).copied().unwrap_or_default();
            shown["delivered"] = json!(so_far.delivered);
            shown["failed"] = json!(so_far.failed);
            shown["backlog_max_age_s"] = json!(config.backlog.max_age.map(|age| age.as_secs()));
            shown["backlog_max_bytes"] = json!(config.backlog.max_size);
            shown["digest"] = digest(relay, &generation, config, counts.of(*id));
            shown["order"] = order(config, &counts.of(*id));
            shown
        })
        .collect();
    // A name that is gone keeps its queue for a while, and its dead letters.
    let names = relay.store.names();
    for counts in &counts.destinations {
        if generation.destination_ids.contains(&counts.destination) {
            continue;
        }
        if counts.backlog > 0 || counts.dead > 0 {
            let mut shown = shown(relay, counts.clone(), &names.name(counts.destination));
            let removed_at = counts.state.removed_since_ms;
            let grace_ms = generation.config.removed_grace.as_millis() as u64;
            shown["removed"] = json!({
                "since": removed_at.map(rfc3339),
                "dead_letters_from": removed_at.map(|since_ms| rfc3339(since_ms + grace_ms)),
            });
            all.push(shown);
        }
    }
    all
}

fn shown(relay: &Relay, counts: Counts, name: &str) -> Value {
    let id = counts.destination;
    let oldest_ms = counts.oldest_ms;
    let now_ms = relay.clock.now_ms();
    let generation = relay.generation();
    let worker = generation.statuses.get(&id).map(|status| status.shown()).unwrap_or_default();
    let found = counts.state;
    let breaker = match (found.open_since_ms, worker.ramp) {
        (Some(_), _) => "open",
        (None, Some(_)) => "ramping",
        (None, None) => "closed",
    };
    let state = if found.paused.is_some() {
        "paused"
    } else if !generation.destination_ids.contains(&id) {
        "removed"
    } else if found.open_since_ms.is_some() {
        "failing"
    } else {
        "up"
    };
    let mut shown = json!({
        "name": name,
        "state": state,
        "backlog": counts.backlog,
        "scheduled": counts.scheduled,
        "replaying": counts.redeliveries,
        "in_flight": counts.in_flight,
        "held": counts.held,
        "oldest_at": oldest_ms.map(rfc3339),
        "oldest_age_s": oldest_ms.map(|oldest_ms| now_ms.saturating_sub(oldest_ms) / 1000),
        "backlog_bytes": counts.backlog_bytes,
        "dead_letters": counts.dead,
        "breaker": { "state": breaker, "open_since": found.open_since_ms.map(rfc3339), "at_once": worker.ramp },
        "next_probe_at": found.open_since_ms.and(worker.next_probe_ms).map(rfc3339),
        "held_until": worker.held_until_ms.filter(|until_ms| *until_ms > now_ms).map(rfc3339),
        "last_error": worker.last_error.map(|(reason, at_ms)| json!({ "reason": reason, "at": rfc3339(at_ms) })),
        "last_delivered_at": worker.last_delivered_ms.map(rfc3339),
        "paused": found.paused.map(|pause| json!({ "since": rfc3339(pause.since_ms), "reason": pause.reason })),
    });
    if let Some(as_of_ms) = counts.as_of_ms {
        // What has nothing to say yet was taken by its relay a moment ago.
        shown["as_of"] = json!((as_of_ms > 0).then(|| rfc3339(as_of_ms)));
    }
    shown
}

/// What goes one after the other; nothing where the section asks for no order.
fn order(config: &DestinationConfig, counts: &Counts) -> Value {
    let is_in_order = config.sorting.as_ref().is_some_and(|sorting| sorting.is_in_order());
    if is_in_order { json!({ "keys": counts.order_keys, "behind": counts.behind }) } else { Value::Null }
}

/// Groups that are told of one destination.
const GROUPS_TOLD: usize = 20;

/// What waits to go out together; nothing where the section does not sort.
fn digest(relay: &Relay, generation: &Generation, config: &DestinationConfig, counts: Counts) -> Value {
    let (Some(sorting), Some(status)) = (&config.sorting, generation.statuses.get(&counts.destination)) else {
        return Value::Null;
    };
    let sorted = status.sorted();
    let (windows, first) = sorted.waiting(1);
    let now_ms = relay.clock.arrival_ms();
    // What is over waits for who resumes it, and nobody knows when that is.
    let is_known = |ends_ms: &u64| counts.state.paused.is_none() || *ends_ms > now_ms;
    let ends_ms = first.first().map(|first| first.ends_ms).filter(is_known);
    json!({
        "at": ends_ms.map(|ends_ms| rfc3339(sorting.goes_out_ms(ends_ms.max(now_ms)))),
        "events": counts.gathered,
        "windows": windows,
        "quiet_until": sorted.quiet_until_ms().map(rfc3339),
    })
}

/// The next digest as it would go out now.
async fn next_message(relay: &Relay, config: &DestinationConfig, id: NameId, status: &Status) -> Value {
    let Some(sorting) = &config.sorting else { return Value::Null };
    let Some((at_ms, folds)) = status.sorted().next(sorting, relay.clock.arrival_ms()) else { return Value::Null };
    let examples = sorting.gathering.as_ref().map_or(EXAMPLES, |gathering| gathering.examples);
    let page = relay.page().map(|page| page.of_destination(&config.name));
    let count = folds.iter().map(|fold| fold.count).sum();
    // What lies in windows is gathered by the section that there is.
    let parts = Parts { id: String::new(), folds, examples, at_ms, count, page, address: Some(0) };
    let digest = together(&*relay.store, id, parts).await;
    // It is a look ahead: where nothing can be read just now there is none.
    let Ok(digest) = digest else { return Value::Null };
    let Some(first) = digest.events.first().cloned() else { return Value::Null };
    let delivery = Delivery { digest: (digest.count > 1).then(|| Arc::new(digest)), ..first };
    destination::preview(&*config.destination, &delivery, false).map_or(Value::Null, |preview| as_json(&preview))
}

async fn pause(relay: &Relay, name: &str, asked: &Asked) -> Outcome {
    let reason = asked.text("reason")?.map(str::trim).filter(|reason| !reason.is_empty()).unwrap_or(NO_REASON);
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        let why = format!("`reason` has at most {REASON_CHARACTERS_MAX} characters: it is shown on one line");
        return Err(Refusal::wrong(why));
    }
    let pause = What::Pause { reason: reason.to_owned() };
    let done = ask(relay, Command::new(asked.id()?, destination(relay, name)?, pause)).await?;
    let repeated = done.was_done_before;
    Ok(json!({ "destination": name, "paused": true, "changed": done.has_changed(), "repeated": repeated }))
}

async fn resume(relay: &Relay, name: &str, asked: &Asked) -> Outcome {
    let done = ask(relay, Command::new(asked.id()?, destination(relay, name)?, What::Resume)).await?;
    let repeated = done.was_done_before;
    Ok(json!({ "destination": name, "paused": false, "changed": done.has_changed(), "repeated": repeated }))
}

fn digest_now(relay: &Relay, name: &str, asked: &Asked) -> Outcome {
    let command = asked.id()?;
    let id = destination(relay, name)?;
    let generation = relay.generation();
    let (_, status) = gathering(&generation, id, name)?;
    let deliveries = status.sorted().end_now(command);
    let quiet_until = status.sorted().quiet_until_ms().map(rfc3339);
    Ok(json!({
        "destination": name,
        "deliveries": deliveries.unwrap_or(0),
        "quiet_until": quiet_until,
        "repeated": deliveries.is_none(),
    }))
}

async fn retry(relay: &Relay, name: &str, asked: &Asked) -> Outcome {
    let id = destination(relay, name)?;
    let scheduled = relay.store.counts().await.map_err(refused)?.of(id).scheduled;
    let done = ask(relay, Command::new(asked.id()?, id, What::RetryNow)).await?;
    Ok(json!({ "destination": name, "due_now": scheduled, "repeated": done.was_done_before }))
}
