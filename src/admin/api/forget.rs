//! `/api/forget`: what there is of a person.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Outcome, Refusal, Request, Resource, get, in_json, new_id, nothing_here, parse_id, post};
use crate::relay::Relay;
use crate::relay::forget::{Address, Phase, Run};
use crate::relay::search::FoundIn;
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "forget",
    endpoints: &[
        get("/ID", &[], "how far a search for a person is, and what it found"),
        post("", &["email", "search"], "search every file below data_dir for a person's address")
            .needing(&["email", "search"])
            .searching(),
        post("/stop", &[], "end it"),
    ],
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
    let address = Address::parse(asked.text("email")?.unwrap_or_default()).map_err(Refusal::wrong)?;
    if !asked.flag("search")? {
        return Err(Refusal::wrong("`search` should be true: nothing else can be done yet"));
    }
    match relay.forgetter.begin_search(new_id()?, address) {
        Ok((run, work)) => {
            relay.background.spawn_blocking(work);
            Ok(shown(&run))
        }
        Err(run) => {
            let share = (run.progress().share * 100.0) as u64;
            let id = uuid::Uuid::from_u128(run.id);
            Err(Refusal::conflict(format!("another one goes on: {id}, {share} % of it are done; wait, or stop it")))
        }
    }
}

fn show(relay: &Relay, id: &str) -> Outcome {
    let id = parse_id(id)?;
    let run = relay.forgetter.last().filter(|run| run.id == id);
    run.map(|run| shown(&run)).ok_or_else(|| {
        Refusal::missing("there is no such run: it ended more than an hour ago, another followed, or the relay was started anew; run it again")
    })
}

fn stop(relay: &Relay) -> Outcome {
    let run = relay.forgetter.stop();
    run.map(|run| shown(&run)).ok_or_else(|| Refusal::missing("there is nothing to stop"))
}

fn shown(run: &Run) -> Value {
    let progress = run.progress();
    let searched = &progress.searched;
    let is_done = progress.phase == Phase::Done;
    let unread = searched.unread.iter();
    let unread = unread.map(|unread| json!({ "name": unread.name, "why": unread.why, "kind": kind(unread.is_own) }));
    json!({
        "id": uuid::Uuid::from_u128(run.id).to_string(),
        "dry_run": true,
        "at": rfc3339(run.at_ms),
        "phase": if is_done { "done" } else { "searching" },
        "share": progress.share,
        "failed": progress.failed,
        "files": searched.files,
        "bytes": searched.bytes,
        "found": searched.found.iter().map(shown_place).collect::<Vec<_>>(),
        "found_more": searched.found_more,
        "unread": unread.collect::<Vec<_>>(),
        "clean": is_done && progress.failed.is_none() && searched.is_clean(),
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
