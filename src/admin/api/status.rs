//! `/api/status`: everything on one page.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, Request, Resource, destinations, get, in_json, nothing_here, problems, refused, sources, store};
use crate::relay::Relay;
use crate::store::Health;
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "status",
    endpoints: &[get("", &[], "everything on one page").without_events()],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => status(request.relay).await,
        _ => nothing_here(),
    }
}

async fn status(relay: &Arc<Relay>) -> Outcome {
    let counts = relay.store.counts().await.map_err(refused)?;
    let usage = store::usage(relay).await?;
    let (ready, trouble) = match relay.health() {
        Health::Good => (true, None),
        Health::Full(why) | Health::Away(why) | Health::Poisoned(why) => (false, Some(why)),
    };
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": config(relay),
        "uptime_s": relay.started.elapsed().as_secs(),
        "ready": ready,
        "trouble": trouble,
        "problems": problems::all(relay),
        "sources": sources::all(relay, &counts),
        "destinations": destinations::all(relay, &counts),
        "store": usage,
    }))
}

/// Which config is in force, and how the last reload went.
fn config(relay: &Relay) -> Value {
    let generation = relay.generation();
    let last = relay.last_reload().map(|last| json!({ "at": rfc3339(last.at_ms), "error": last.error }));
    json!({
        "file": generation.config.path.display().to_string(),
        "generation": generation.number,
        "watch": generation.config.watch,
        "last_reload": last,
    })
}
