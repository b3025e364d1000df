//! `/api/sources`: keep the events of one, or refuse them.

use serde_json::{Value, json};

use super::{Asked, Outcome, Refusal, Request, Resource, ask, in_json, nothing_here, post};
use crate::relay::{Relay, SourceAct};
use crate::store::{AllCounts, Command, NameId};
use crate::time::rfc3339;
use crate::yaml::problem::did_you_mean;

pub(super) const RESOURCE: Resource = Resource {
    name: "sources",
    endpoints: &[
        post(
            "/NAME/pause",
            &["refuse", "id"],
            "keep its events: nothing is delivered; with refuse: answer them with 503",
        ),
        post("/NAME/resume", &["id"], "accept its events, and deliver what was kept"),
    ],
    answer: |request| in_json(answer(request)),
    tell: |act| {
        if let [name, done] = act.steps {
            tracing::info!(source = %name, "by the operator: {done}");
        }
    },
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (false, [name, "pause"]) => pause(request.relay, name, request.body).await,
        (false, [name, "resume"]) => act(request.relay, name, SourceAct::Resume, request.body).await,
        _ => nothing_here(),
    }
}

async fn pause(relay: &Relay, name: &str, asked: &Asked) -> Outcome {
    let pause = if asked.flag("refuse")? { SourceAct::Refuse } else { SourceAct::Hold };
    act(relay, name, pause, asked).await
}

async fn act(relay: &Relay, name: &str, act: SourceAct, asked: &Asked) -> Outcome {
    let Some((id, what)) = relay.command_for_source(name, act) else {
        let generation = relay.generation();
        let help = did_you_mean(name, generation.config.sources.iter().map(|source| source.name.as_str()));
        let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
        return Err(Refusal::missing(format!("there is no source `{name}`{help}")));
    };
    let done = ask(relay, Command::new(asked.id()?, id, what)).await?;
    let state = relay.source_state(id);
    let since = state.since_ms().map(rfc3339);
    Ok(json!({
        "source": name,
        "state": state.name(),
        "since": since,
        "paused": since.is_some(),
        "changed": done.has_changed(),
        "repeated": done.was_done_before,
    }))
}

/// How each source stands.
pub(super) fn all(relay: &Relay, counts: &AllCounts) -> Value {
    let generation = relay.generation();
    let shown = |(name, id): (&str, NameId)| {
        let state = relay.source_state(id);
        json!({
            "name": name,
            "state": state.name(),
            "paused": state.since_ms().is_some(),
            "since": state.since_ms().map(rfc3339),
            "held": counts.held(id),
        })
    };
    let named = generation.config.sources.iter().map(|source| source.name.as_str());
    let gone = relay.paused_sources_gone();
    let gone = gone.iter().map(|(id, name)| (&**name, *id));
    named.zip(generation.source_ids.iter().copied()).chain(gone).map(shown).collect()
}
