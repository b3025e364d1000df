//! What waits and may not wait for ever, and what waits for an old name: looked after while the relay runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::names::in_words;
use crate::deliver::{DestinationConfig, Limited, Limiter};
use crate::relay::{Generation, Relay};
use crate::store::{Command, NameId, NameKind, TakenFrom, What};

/// Has moved what has come to wait for an old name since: from a request that an older config had let in, or handed back by the old
/// name's worker when it ended.
async fn take_over_late(relay: &Relay) {
    let generation = relay.generation().clone();
    let names = relay.store.names();
    let kind = NameKind::Destination;
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        let Some(from) = &config.renamed_from else { continue };
        // A name that is in the config keeps what it has.
        let is_free = |old: &NameId| !generation.destination_ids.contains(old);
        let old = names.find(kind, from).filter(is_free).or_else(|| names.former(kind, from).filter(is_free));
        let Some(old) = old else { continue };
        match relay.store.ask(Command::once(old, What::TakeOver { to: *id })).await {
            Ok(done) if done.deliveries > 0 => {
                let name = config.name.clone();
                let from = names.name(old).to_string();
                tracing::info!("config: {}", in_words(&TakenFrom { name, from, moved: done.taken_over }));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "what waits for an old name is moved later"),
        }
    }
}

/// Limits on what waits are looked at this often: the shortest age, and the shortest grace, that a config can say.
const LIMITS_EVERY: Duration = Duration::from_secs(1);

/// Looks after what may not wait for ever, until it is stopped.
pub(super) async fn keep_limits(relay: Arc<Relay>, stop: CancellationToken) {
    let mut limiter = Limiter::new(relay.store.clone(), relay.clock);
    loop {
        let look = async {
            take_over_late(&relay).await;
            set_limits(&mut limiter, &relay.generation());
            limiter.look().await;
            tokio::time::sleep(LIMITS_EVERY).await;
        };
        tokio::select! {
            // A look that hangs does not hold up the end.
            () = stop.cancelled() => return,
            () = look => {}
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
