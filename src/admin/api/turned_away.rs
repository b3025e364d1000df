//! `/api/refused`: the last requests that were turned away.

use serde_json::json;

use super::{Outcome, Request, Resource, get, in_json, nothing_here};
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "refused",
    endpoints: &[get(
        "",
        &[],
        "the last requests that were turned away, and why; and how many since the start, by reason",
    )],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => {
            let refused = &request.relay.refused;
            let (since_ms, counts) = refused.counts();
            Ok(json!({ "since": rfc3339(since_ms), "counts": counts, "refused": refused.list() }))
        }
        _ => nothing_here(),
    }
}
