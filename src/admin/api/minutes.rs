//! `/api/minutes`: what came in and what became of it in the last minutes, for charts.

use serde_json::{Value, json};

use super::parameters::whole;
use super::{Outcome, Query, Refusal, Request, Resource, get, in_json, nothing_here};
use crate::relay::Relay;
use crate::telemetry::minutes::{Deliveries, Intake, MINUTES_MAX};
use crate::time::rfc3339;

/// Minutes that are told unless it is said: an hour.
const LAST: usize = 60;
/// And at most.
const LAST_MAX: usize = MINUTES_MAX + 1;

pub(super) const RESOURCE: Resource = Resource {
    name: "minutes",
    endpoints: &[get(
        "",
        &["last"],
        "what was accepted, and what became of it, by the minute; the running one is last",
    )
    .without_events()],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => list(request.relay, request.query),
        _ => nothing_here(),
    }
}

fn list(relay: &Relay, query: &Query) -> Outcome {
    let wrong = || Refusal::wrong(format!("`last` should be how many minutes, from 1 to {LAST_MAX}"));
    let read = |text: &str| whole(text).map(|last| last as usize).filter(|last| (1..=LAST_MAX).contains(last));
    let last = query.get("last").map(read);
    let last = last.map_or(Ok(LAST), |last| last.ok_or_else(wrong))?;
    let (until_ms, minutes) = relay.last_minutes(last);
    let intake = |of: fn(&Intake) -> u64| minutes.intake.iter().map(of).collect::<Vec<_>>();
    let destinations = minutes.destinations.iter().map(|(name, minutes)| {
        let of = |of: fn(&Deliveries) -> u64| minutes.iter().map(of).collect::<Vec<_>>();
        let shown =
            json!({ "delivered": of(|one| one.delivered), "failed": of(|one| one.failed), "dead": of(|one| one.dead) });
        (name.to_string(), shown)
    });
    Ok(json!({
        "until": rfc3339(until_ms),
        "minutes": last,
        "accepted": intake(|one| one.accepted),
        "refused": intake(|one| one.refused),
        "unrouted": intake(|one| one.unrouted),
        "destinations": destinations.collect::<serde_json::Map<String, Value>>(),
    }))
}
