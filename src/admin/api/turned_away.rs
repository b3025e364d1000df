//! `/api/refused`: the last requests that were turned away.

use serde_json::json;

use super::{Outcome, Request, Resource, get, in_json, nothing_here};

pub(super) const RESOURCE: Resource = Resource {
    name: "refused",
    endpoints: &[get("", &[], "the last requests that were turned away, and why")],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => Ok(json!({ "refused": request.relay.refused.list() })),
        _ => nothing_here(),
    }
}
