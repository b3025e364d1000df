//! `/api/relays`: who shares the queue, who does what, and how the database stands.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, Request, Resource, get, in_json, nothing_here, refused};
use crate::relay::Relay;
use crate::store::{Engine, Overview};

pub(super) const RESOURCE: Resource = Resource {
    name: "relays",
    endpoints: &[get("", &[], "who shares the queue, and who does what").without_events()],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => all(request.relay).await,
        _ => nothing_here(),
    }
}

pub(super) async fn all(relay: &Arc<Relay>) -> Outcome {
    let name = relay.generation().config.relay_name.clone();
    let Engine::Postgres(postgres) = &relay.engine else {
        return Ok(json!({ "name": name, "shared": false, "relays": [], "duties": [], "database": null }));
    };
    let Overview { relays, duties, server } = postgres.overview().await.map_err(refused)?;
    let names = relay.store.names();
    let duty = |duty: crate::store::DutyShown| {
        json!({
            "duty": duty.duty,
            "destination": duty.destination.map(|id| names.name(id).to_string()),
            "relay": duty.relay,
            "epoch": duty.epoch,
        })
    };
    let one = |relay: crate::store::RelayShown| {
        json!({
            "name": relay.name,
            "version": relay.version,
            "this": relay.is_this,
            "stopping": relay.is_stopping,
            "heartbeat": relay.heartbeat,
        })
    };
    Ok(json!({
        "name": name,
        "shared": true,
        "relays": relays.into_iter().map(one).collect::<Vec<Value>>(),
        "duties": duties.into_iter().map(duty).collect::<Vec<Value>>(),
        "database": {
            "address": server.address,
            "schema": server.schema,
            "version": server.version,
            "synchronous_commit": server.synchronous_commit,
            "synchronous_standby_names": server.synchronous_standby_names,
            "standbys": server.standbys,
            "synchronous_standbys": server.synchronous_standbys,
            "lag_bytes": server.lag_bytes,
            "oldest_snapshot_s": server.oldest_snapshot_s,
        },
    }))
}
