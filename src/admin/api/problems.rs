//! `/api/problems`: what is wrong now, since when, and whom that was told to.

use serde_json::{Value, json};

use super::{Outcome, Request, Resource, get, in_json, nothing_here};
use crate::relay::{KnownProblem, Relay};
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "problems",
    endpoints: &[get("", &[], "what is wrong now, since when, and whom that was told to").without_events()],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => {
            let generation = request.relay.generation();
            let to = generation.config.notify.as_ref().map(|notify| &notify.to);
            Ok(json!({ "to": to, "problems": all(request.relay) }))
        }
        _ => nothing_here(),
    }
}

/// All that are known, the worst first.
pub(super) fn all(relay: &Relay) -> Vec<Value> {
    relay.problems.list().iter().map(shown).collect()
}

fn shown(problem: &KnownProblem) -> Value {
    let KnownProblem { kind, about, text, since_ms, gone_ms, told, page } = problem;
    json!({
        "kind": kind.name(),
        "about": about,
        "text": text,
        "since": rfc3339(*since_ms),
        "gone_since": gone_ms.map(rfc3339),
        "told": told.as_ref().map(|(at_ms, to)| json!({ "to": to, "at": rfc3339(*at_ms) })),
        "page": page,
    })
}
