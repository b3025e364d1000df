//! What the log says now and then while trouble lasts: destinations that fail, requests that are refused, a store without room.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::pauses::Pauses;
use crate::deliver::LOOK_EVERY;
use crate::relay::Relay;
use crate::store::Health;
use crate::telemetry::trouble::{News, TOLD_EVERY, Trouble};
use crate::time::Instant;

/// Tells what is due, until it is stopped.
pub(super) async fn remind(relay: Arc<Relay>, stop: CancellationToken) {
    let mut health = relay.watch_health();
    let mut full = Trouble::lasting(TOLD_EVERY);
    let mut pauses = Pauses::default();
    // A full disk may change what it says all the time: the rest is looked at all the same.
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = health.borrow_and_update().clone();
        tell_of_room(&mut full, &now);
        tokio::select! {
            // A store that says nothing does not hold up the end.
            () = stop.cancelled() => return,
            () = pauses.look(&relay) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // Whoever could change it is gone: the process is ending.
            changed = health.changed() => if changed.is_err() { return stop.cancelled().await },
            _ = looks.tick() => tell_the_rest(&relay),
        }
    }
}

fn tell_the_rest(relay: &Relay) {
    let generation = relay.generation();
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        if let Some(status) = generation.statuses.get(id) {
            status.troubles().look(&config.name);
        }
    }
    relay.refused.look();
    relay.unreadable.look();
}

fn tell_of_room(full: &mut Trouble, health: &Health) {
    let now = Instant::now();
    match health {
        Health::Full(why) => {
            let news = if full.has_begun() { full.look(now) } else { full.happens(now) };
            match news {
                Some(News { is_first: true, .. }) => {
                    tracing::error!(why, "the store has no room: events are refused with 503, deliveries go on");
                }
                Some(News { lasted, .. }) => {
                    tracing::error!(why, for_s = lasted.as_secs(), "the store still has no room: events are refused");
                }
                None => {}
            }
        }
        Health::Good => {
            if let Some(ended) = full.ends(now) {
                tracing::info!(after_s = ended.lasted.as_secs(), "the store accepts events again");
            }
        }
        // Told where it happens.
        Health::Away(_) | Health::Poisoned(_) => {}
    }
}
