//! `/api/store` and `/api/status`: how much there is, how much there may be, and a copy of it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Outcome, Refusal, blocking, destinations, refused};
use crate::relay::Relay;
use crate::store::{BackupError, Health};
use crate::time::rfc3339;

pub(super) fn usage(relay: &Relay) -> Value {
    let usage = relay.journal.usage();
    json!({
        "bytes": usage.bytes,
        "bytes_max": (usage.bytes_max > 0).then_some(usage.bytes_max),
        "journal_bytes": usage.journal_bytes,
        "history_bytes_max": usage.history_bytes_max,
        "index_bytes": usage.index_bytes,
        "dead_letter_bytes": usage.dead_bytes,
        "dead_letter_bytes_max": usage.dead_bytes_max,
        "dead_letters_expired": usage.dead_expired,
        "free_bytes": usage.free_bytes,
        "free_bytes_min": usage.free_bytes_min,
        "events": usage.events,
        "oldest_at": usage.oldest_ms.map(rfc3339),
        "segments": usage.segments,
        "damaged_ranges": relay.metrics.damage(),
    })
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

pub(super) async fn status(relay: &Arc<Relay>) -> Outcome {
    let counts = relay.store.counts().await.map_err(refused)?;
    let usage = blocking(relay, |relay| Ok(usage(relay))).await?;
    let (ready, trouble) = match relay.health() {
        Health::Good => (true, None),
        Health::Full(why) | Health::Poisoned(why) => (false, Some(why)),
    };
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": config(relay),
        "uptime_s": relay.started.elapsed().as_secs(),
        "ready": ready,
        "trouble": trouble,
        "sources": destinations::sources(relay, &counts),
        "destinations": destinations::all(relay, &counts),
        "store": usage,
    }))
}

pub(super) async fn trim(relay: &Arc<Relay>) -> Outcome {
    blocking(relay, |relay| {
        relay.journal.trim();
        Ok(usage(relay))
    })
    .await
}

pub(super) async fn backup(relay: &Arc<Relay>, body: &[u8]) -> Outcome {
    let asked = Asked::read(body, &["directory"])?;
    let directory = asked.text("directory")?.map(PathBuf::from);
    let Some(directory) = directory.filter(|directory| directory.is_absolute()) else {
        return Err(Refusal::wrong("`directory` says where the copy goes: an absolute path on the relay's machine"));
    };
    blocking(relay, move |relay| match relay.journal.backup(&directory) {
        Ok(()) => Ok(json!({ "directory": directory.display().to_string(), "bytes": relay.journal.usage().bytes })),
        Err(error @ (BackupError::NotEmpty(_) | BackupError::Inside(_) | BackupError::Unclear(_))) => {
            Err(Refusal::wrong(error.to_string()))
        }
        Err(error) => Err(Refusal::failed(&error)),
    })
    .await
}
