//! What follows from a config that is not the one before: renamed, removed and changed destinations; and the limits on what waits.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Generation, Relay};
use crate::config::{Config, DestinationConfig};
use crate::deliver::{Limited, Limiter};
use crate::store::{NameId, NameKind, Selecting, Selection, Store};

/// What waits for a destination's old name waits for its new one.
pub(super) fn take_over_renamed(config: &Config, store: &dyn Store) {
    for destination in &config.destinations {
        let Some(old) = &destination.renamed_from else { continue };
        let is_in_use = config.destinations.iter().any(|other| other.name == *old);
        let known = store.names(NameKind::Destination).into_iter().find(|(_, name)| **name == **old);
        let Some((id, _)) = known.filter(|_| !is_in_use) else { continue };
        let name = &destination.name;
        if store.rename(id, name) {
            store.set_removed(id, false);
            tracing::info!(destination = %name, from = %old, "it was renamed, and keeps its queue");
            continue;
        }
        // The new name has a queue of its own already, which takes the old one's deliveries up. First they are there, then they are
        // no longer here: a crash in between delivers twice, and loses nothing.
        let sequences = store.waiting(id);
        if !sequences.is_empty() {
            let to = store.name(NameKind::Destination, name);
            let count = sequences.len();
            let selection = |destination, act| Selection {
                destination,
                act,
                reason: format!("{old} was renamed to {name}"),
                replay: 0,
                sequences: sequences.clone(),
            };
            drop(store.select(selection(to, Selecting::Again)));
            drop(store.select(selection(id, Selecting::Yield(to))));
            tracing::info!(destination = %name, from = %old, deliveries = count, "it was renamed, and takes up what waited");
        }
    }
}

/// What waits for a destination whose section of the config has changed is due now: most likely the change is to help it.
pub(super) fn go_on_after_a_change(relay: &Relay) {
    let generation = relay.generation();
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        let before = relay.store.fact(*id);
        if before.as_ref() == Some(&config.fingerprint) {
            continue;
        }
        relay.store.set_fact(*id, &config.fingerprint);
        if before.is_some() && relay.store.counts(*id).backlog > 0 {
            tracing::info!(destination = %config.name, "its section of the config has changed: what waits for it is due now");
            relay.retry_now(*id);
        }
    }
}

/// The same for what has come to wait for the old name since: from a request that an older config had let in, or handed back by the
/// old name's worker when it ended.
async fn take_over_late(relay: &Relay) {
    let _nobody_else = relay.changing.lock().await;
    take_over_renamed(&relay.generation().config, &*relay.store);
}

/// How often limits on what waits are looked at.
const LIMITS_EVERY: Duration = Duration::from_secs(1);

/// Looks after what may not wait for ever, until it is stopped.
pub(super) async fn keep_limits(relay: Arc<Relay>, stop: CancellationToken) {
    let mut limiter = Limiter::new(relay.store.clone(), relay.clock);
    loop {
        take_over_late(&relay).await;
        set_limits(&mut limiter, &relay.generation());
        let looked = tokio::task::spawn_blocking(move || {
            limiter.look();
            limiter
        });
        limiter = match looked.await {
            Ok(limiter) => limiter,
            // The process is ending.
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LIMITS_EVERY) => {}
        }
    }
}

fn set_limits(limiter: &mut Limiter, generation: &Generation) {
    let destinations = generation.config.destinations.iter().zip(&generation.destination_ids);
    let limited = |(config, id): (&DestinationConfig, &NameId)| Limited {
        id: *id,
        name: config.name.clone(),
        limits: config.backlog,
    };
    limiter.set(destinations.map(limited).collect(), generation.config.removed_grace);
}
