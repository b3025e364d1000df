//! `/api/config`: the config in force as it may be shown, and the file as it lies on the disk.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::reload::not_read;
use super::{Outcome, Refusal, Request, Resource, blocking, get, in_json, nothing_here};
use crate::config::Config;
use crate::relay::{Candidate, Generation, OnDisk, Relay};
use crate::time::rfc3339;

pub(super) const RESOURCE: Resource = Resource {
    name: "config",
    endpoints: &[
        get("", &[], "the config in force, line by line, without its comments and its secrets").searching(),
        get("/on-disk", &[], "what check and a reload would say of the file as it lies on the disk; nothing is done")
            .searching(),
    ],
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, is_read, steps, .. } = request;
    match (is_read, steps) {
        (true, []) => blocking(relay, |relay| Ok(in_force(&relay.generation()))).await,
        (true, ["on-disk"]) => on_disk(relay).await,
        _ => nothing_here(),
    }
}

fn in_force(generation: &Generation) -> Value {
    let config = &generation.config;
    json!({
        "file": config.path.display().to_string(),
        "generation": generation.number,
        "in_force_since": rfc3339(generation.since_ms),
        "text": config.shown().text,
        "warnings": config.warnings,
    })
}

async fn on_disk(relay: &Relay) -> Outcome {
    let mut told = json!({
        "same": false,
        "generation": relay.generation().number,
        "changed_at": null,
        "problems": null,
        "warnings": [],
        "changes": [],
        "needs_restart": [],
        "tests": { "passed": 0, "failed": [] },
    });
    let other = match relay.on_disk().await.map_err(|error| not_read(&error))? {
        OnDisk::Same => {
            told["same"] = json!(true);
            return Ok(told);
        }
        OnDisk::Other(other) => other,
    };
    told["changed_at"] = json!(other.changed_ms.map(rfc3339));
    match &other.proved {
        Err(problems) => told["problems"] = json!(problems),
        Ok(candidate) => {
            let Candidate { config, changes, needs_restart, tests_passed, tests_failed, .. } = &**candidate;
            told["warnings"] = json!(config.warnings);
            told["changes"] = json!(changes);
            told["needs_restart"] = json!(needs_restart);
            told["tests"] = json!({ "passed": tests_passed, "failed": tests_failed });
        }
    }
    Ok(told)
}

/// A config that something is asked of.
pub(super) enum Meant {
    Running(Arc<Generation>),
    OnDisk(Arc<Candidate>),
}

impl Meant {
    pub(super) fn config(&self) -> &Config {
        match self {
            Self::Running(generation) => &generation.config,
            Self::OnDisk(candidate) => &candidate.config,
        }
    }
}

/// The config in force.
pub(super) fn running(relay: &Relay) -> Meant {
    Meant::Running(relay.generation().clone())
}

/// The file as it lies on the disk. One that is not good is refused with what is wrong.
pub(super) async fn lying_on_disk(relay: &Relay) -> Result<Meant, Refusal> {
    match relay.on_disk().await.map_err(|error| not_read(&error))? {
        OnDisk::Same => Ok(running(relay)),
        OnDisk::Other(other) => match &other.proved {
            Ok(candidate) => Ok(Meant::OnDisk(candidate.clone())),
            Err(problems) => Err(Refusal(StatusCode::CONFLICT, problems.clone())),
        },
    }
}
