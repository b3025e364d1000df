//! `/api/forget`: what there is of a person, and its end.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Outcome, Refusal, Request, Resource, get, in_json, new_id, nothing_here, parse_id, post};
use crate::relay::Relay;
use crate::relay::forget::{Act, Got, Person, Phase, Progress, Run, Unreached};
use crate::relay::search::FoundIn;
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "forget",
    endpoints: &[
        get("/ID", &[], "how far a run is, and what it found"),
        post(
            "",
            &["email", "user_id", "mentions", "search", "dry_run"],
            "erase what there is of a person, and prove it; or count it; or search every file for an address",
        ),
        post("/stop", &[], "end the run, after what it is at"),
    ],
    tell: |act| match act.steps {
        [] => tracing::info!(id = act.id, "by the operator: forget a person"),
        _ => tracing::info!(id = act.id, "by the operator: stop forgetting a person"),
    },
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, body, .. } = request;
    match (is_read, steps) {
        (true, [id]) => show(relay, id),
        (false, []) => begin(relay, body),
        (false, ["stop"]) => stop(relay),
        _ => nothing_here(),
    }
}

fn begin(relay: &Arc<Relay>, asked: &Asked) -> Outcome {
    let person = Person::parse(asked.text("email")?, asked.text("user_id")?, asked.flag("mentions")?);
    let person = person.map_err(Refusal::wrong)?;
    let act = match (asked.flag("search")?, asked.flag("dry_run")?) {
        (true, _) if person.user_id.is_some() || person.with_mentions => {
            return Err(Refusal::wrong("`search` looks for an address alone: leave out `user_id` and `mentions`"));
        }
        (true, _) => Act::Search,
        (false, true) => Act::Look,
        (false, false) => Act::Erase,
    };
    let unreached = Unreached::of(&person, &relay.generation().config, &relay.store.names());
    match relay.forgetter.begin(relay, new_id()?, act, person, unreached) {
        Ok((run, work)) => {
            relay.background.spawn(work);
            Ok(shown(&run))
        }
        Err(run) => {
            let share = (run.progress().share * 100.0) as u64;
            let (id, phase) = (uuid::Uuid::from_u128(run.id), phase(run.progress().phase));
            Err(Refusal::conflict(format!(
                "another run goes on: {id} is {phase}, {share} % of that is done; wait, or stop it"
            )))
        }
    }
}

fn show(relay: &Relay, id: &str) -> Outcome {
    let id = parse_id(id)?;
    let run = relay.forgetter.last().filter(|run| run.id == id);
    run.map(|run| shown(&run)).ok_or_else(|| {
        Refusal::missing("there is no such run: it ended more than an hour ago, another followed, or the relay was started anew. What was erased is erased: run it again")
    })
}

fn stop(relay: &Relay) -> Outcome {
    let run = relay.forgetter.stop();
    run.map(|run| shown(&run)).ok_or_else(|| Refusal::missing("there is nothing to stop"))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "looking",
        Phase::Erasing => "erasing",
        Phase::Searching => "searching",
        Phase::Done => "done",
    }
}

fn shown(run: &Run) -> Value {
    let progress = run.progress();
    let (is_clean, is_proved) = (progress.is_clean(), progress.is_proved());
    let Progress { standing, searched, .. } = &progress;
    let unread = searched.unread.iter();
    let unread = unread.map(|unread| json!({ "name": unread.name, "why": unread.why, "kind": kind(unread.is_own) }));
    let got = progress.got.iter();
    let got = got.map(|Got { destination, deliveries, unfound }| {
        json!({ "destination": destination, "deliveries": deliveries, "unfound": unfound })
    });
    json!({
        "id": uuid::Uuid::from_u128(run.id).to_string(),
        "dry_run": run.act != Act::Erase,
        "at": rfc3339(run.at_ms),
        "phase": phase(progress.phase),
        "share": progress.share,
        "waits_for": progress.waits_for,
        "failed": progress.failed,
        "about": {
            "events": progress.events,
            "waiting": standing.waiting,
            "scheduled": standing.scheduled,
            "dead": standing.dead,
            "in_flight": standing.in_flight,
            "gathered": standing.gathered,
            "held": standing.held,
            "by_user_id": progress.by_user_id,
            "mentions": progress.meant_mentions,
            "got": got.collect::<Vec<_>>(),
        },
        "mentions": progress.mentions,
        "mentioned_in": progress.mentioned_in.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unreadable": progress.unreadable,
        "other_addresses": progress.other_addresses,
        "redacted": progress.redacted,
        "erased": progress.erased,
        "ended": progress.ended,
        "texts": progress.texts,
        "damaged": progress.damaged,
        "in_flight": progress.in_flight,
        "removed": progress.removed,
        "left_behind": progress.left_behind,
        "searched": progress.is_searched,
        "files": searched.files,
        "bytes": searched.bytes,
        "found": searched.found.iter().map(shown_place).collect::<Vec<_>>(),
        "found_more": searched.found_more,
        "unread": unread.collect::<Vec<_>>(),
        "clean": is_clean,
        "proved": is_proved,
        "not_reached": run.unreached.0,
    })
}

fn shown_place(found: &FoundIn) -> Value {
    json!({
        "name": found.name,
        "table": found.table,
        "kind": kind(found.is_own),
        "hits": found.hits,
        "parts": found.parts,
        "first_at": found.first_at,
    })
}

fn kind(is_own: bool) -> &'static str {
    if is_own { "own" } else { "other" }
}
