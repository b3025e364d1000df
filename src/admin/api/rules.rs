//! `/api/rules`: how many events each rule of the config in force has matched, since the start or in the history.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::history::{self, Part};
use super::{Outcome, Query, Request, Resource, blocking, get, in_json, nothing_here};
use crate::relay::{Generation, Relay};
use crate::store::NameId;
use crate::time::{rfc3339, wall_ms};

pub(super) const RESOURCE: Resource = Resource {
    name: "rules",
    endpoints: &[get(
        "",
        &history::PARAMETERS,
        "how many events each rule has matched since the start, or among the last ones of the history",
    )
    .without_events()
    .walking_when_asked()],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

/// What is known of the matches of one rule.
#[derive(Clone, Copy, Default)]
struct Matches {
    events: u64,
    matched: u64,
    last_ms: Option<u64>,
    since_ms: Option<u64>,
}

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, visitor, is_read, steps, query, .. } = request;
    match (is_read, steps) {
        (true, []) if query.0.is_empty() => blocking(relay, |relay| Ok(since_start(relay))).await,
        (true, []) => in_history(relay, query, &visitor.has_gone).await,
        _ => nothing_here(),
    }
}

/// What was counted since the start; of a rule that has changed, since then.
fn since_start(relay: &Relay) -> Value {
    let generation = relay.generation();
    let events = relay.metrics.accepted();
    let started_ms = wall_ms().saturating_sub(u64::try_from(relay.started.elapsed().as_millis()).unwrap_or(0));
    let of = |id: &NameId| {
        let count = generation.rule_count(*id);
        count.map_or_else(Matches::default, |count| Matches {
            // An event is counted for its rules a moment before it is accepted.
            events: events.saturating_sub(count.events_before).max(count.matches()),
            matched: count.matches(),
            last_ms: count.last_matched_ms(),
            since_ms: Some(count.since_ms),
        })
    };
    let rules = shown(&generation, of);
    json!({ "since": rfc3339(started_ms), "generation": generation.number, "events": events, "rules": rules })
}

/// What a piece of the history says.
async fn in_history(relay: &Arc<Relay>, query: &Query, has_gone: &CancellationToken) -> Outcome {
    let part = Part::read(query)?;
    let (waits, has_gone) = (Handle::current(), has_gone.clone());
    let count = move |relay: &Relay| {
        let mut found: HashMap<NameId, Matches> = HashMap::new();
        let piece = part.walk(relay, &waits, &has_gone, |event| {
            for rule in &event.rules {
                let matches = found.entry(*rule).or_default();
                matches.matched += 1;
                matches.last_ms = matches.last_ms.max(Some(event.received_ms));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let generation = relay.generation();
        let of = |id: &NameId| Matches { events: piece.looked_at(), ..found.get(id).copied().unwrap_or_default() };
        let rules = shown(&generation, of);
        let mut told = json!({ "generation": generation.number, "events": piece.looked_at(), "rules": rules });
        piece.tell(&mut told);
        Ok(told)
    };
    blocking(relay, count).await
}

/// The rules in force, in their order.
fn shown(generation: &Generation, of: impl Fn(&NameId) -> Matches) -> Vec<Value> {
    let Generation { config, rule_ids, .. } = generation;
    let lines = &config.shown().rule_lines;
    let rule = |(at, id): (usize, &NameId)| {
        let rule = &config.rules.rules()[at];
        let Matches { events, matched, last_ms, since_ms } = of(id);
        let to: Vec<_> = rule.to.iter().map(|destination| &config.destinations[*destination].name).collect();
        json!({
            "rule": rule.name,
            "line": lines.get(at),
            "events": events,
            "matched": matched,
            "last_matched_at": last_ms.map(rfc3339),
            "since": since_ms.map(rfc3339),
            "to": to,
            "stop": rule.stop,
        })
    };
    rule_ids.iter().enumerate().map(rule).collect()
}
