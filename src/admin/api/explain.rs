//! `/api/explain`: an event before it happens: what the rules say, and what each destination would get.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::config::{Meant, lying_on_disk, running};
use super::{Asked, Outcome, Refusal, Request, Resource, blocking, in_json, nothing_here, post};
use crate::config::Config;
use crate::deliver::Status;
use crate::explain::{Explanation, shown_rules};
use crate::relay::Relay;
use crate::store::StoredEvent;

pub(super) const RESOURCE: Resource = Resource {
    name: "explain",
    endpoints: &[post(
        "",
        &["event", "source", "on_disk"],
        "what would become of an event, and why, by the config in force or the file as it lies on the disk; nothing is sent",
    )
    .needing(&["event"])
    .searching()],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, body, .. } = request;
    if is_read || !steps.is_empty() {
        return nothing_here();
    }
    let body = body.clone();
    let by = if body.flag("on_disk")? { lying_on_disk(relay).await? } else { running(relay) };
    blocking(relay, move |relay| explain(relay, &by, &body)).await
}

fn explain(relay: &Relay, by: &Meant, asked: &Asked) -> Outcome {
    let event = asked.text("event")?.ok_or_else(|| Refusal::wrong("`event` is missing: the text of an event"))?;
    let source = source(by.config(), asked.text("source")?)?;
    let explained = Explanation::of(by.config(), event.as_bytes(), source);
    // What a sender would hear.
    explained
        .map(|explanation| explanation.among(|at| waiting(relay, by.config(), at)).json())
        .map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why.to_string()))
}

/// What is known of a destination at work, by its place in a config.
fn waiting(relay: &Relay, config: &Config, at: usize) -> Option<Arc<Status>> {
    let generation = relay.generation();
    let name = &config.destinations[at].name;
    let place = generation.config.destinations.iter().position(|running| running.name == *name)?;
    generation.statuses.get(&generation.destination_ids[place]).cloned()
}

/// The source that an event is to have come in by.
fn source<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c str, Refusal> {
    let found = match name {
        Some(name) => config.sources.iter().find(|source| source.name == name),
        None => config.sources.first(),
    };
    found.map(|source| source.name.as_str()).ok_or_else(|| Refusal::missing("there is no such source in the config"))
}

/// Why an event that is kept goes where it goes by a config now, and what was so when it came.
pub(super) fn of_kept(relay: &Relay, by: &Meant, event: &StoredEvent) -> Outcome {
    let names = relay.store.names();
    let source = names.name(event.source);
    let took = |rule: &str| names.took(rule, event);
    let explained = Explanation::of_kept(by.config(), event, &source, &took);
    let explained = explained.map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why.to_string()))?;
    let mut told = explained.among(|at| waiting(relay, by.config(), at)).json();
    if event.is_redacted {
        told["redacted"] = json!(true);
    }
    let rules: Vec<Value> = event.rules.iter().map(|rule| Value::from(&*names.name(*rule))).collect();
    let destinations = event.deliveries.iter().map(|delivery| Value::from(&*names.name(delivery.destination)));
    let mut then = json!({ "generation": null, "rules": rules, "destinations": destinations.collect::<Vec<_>>() });
    // By what is left of an event it might be another config.
    let routed_by = (!event.is_redacted).then(|| relay.routed_by(event, &source)).flatten();
    if let Some((past, traces)) = routed_by {
        then["generation"] = json!(past.number);
        then["trace"] = json!(shown_rules(&past.rules, &traces));
    }
    told["then"] = then;
    Ok(told)
}
