//! `/api/samples`: an event of each type, to try the rules with.

use serde_json::Value;

use super::{Outcome, Request, Resource, get, in_json, nothing_here};
use crate::event::vero;

pub(super) const RESOURCE: Resource = Resource {
    name: "samples",
    endpoints: &[get("", &[], "an event of each type, as Vero sends them").without_events()],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => {
            let samples = vero::SAMPLES.iter().map(|(name, body)| ((*name).to_owned(), Value::from(*body)));
            Ok(Value::Object(samples.collect()))
        }
        _ => nothing_here(),
    }
}
