//! What follows from a config that is not the one before: renamed, removed and changed destinations; and the limits on what waits.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Generation, Relay};
use crate::config::{Config, DestinationConfig};
use crate::deliver::{Limited, Limiter};
use crate::store::{Change, Command, NameId, NameKind, Named, Store, TakenFrom, TakenOver, What};

/// The names of a config, as the store numbers them: sources, then rules, then destinations.
pub(super) fn names_of(config: &Config) -> Vec<Named> {
    let named = |kind, name: &str| Named { kind, name: name.to_owned(), renamed_from: None };
    let sources = config.sources.iter().map(|source| named(NameKind::Source, &source.name));
    let rules = config.rules.rules().iter().map(|rule| named(NameKind::Rule, &rule.name));
    let destinations = config.destinations.iter().map(|config| Named {
        renamed_from: config.renamed_from.clone(),
        ..named(NameKind::Destination, &config.name)
    });
    sources.chain(rules).chain(destinations).collect()
}

/// What was taken over, in a sentence.
pub(super) fn in_words(taken: &TakenFrom) -> String {
    let TakenFrom { name, from, moved } = taken;
    let Some(TakenOver { waiting, scheduled, dead, paused, in_flight }) = moved else {
        return format!("`{name}` was `{from}` and keeps its queue");
    };
    let counts = [(waiting, "waiting"), (scheduled, "scheduled"), (dead, "dead letters")];
    let mut parts: Vec<String> =
        counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if *paused {
        parts.push("its pause".to_owned());
    }
    let in_flight = match in_flight {
        0 => String::new(),
        count => format!("; {count} in flight under the old name follow when their attempts have failed"),
    };
    format!("`{name}` takes over from `{from}`: {}{in_flight}", parts.join(", "))
}

/// Says what each destination's section of the config is now: what waits for one whose section has changed is due then.
pub(super) fn go_by_sections(generation: &Generation, store: &dyn Store) {
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        store.queue(*id).change(Change::Section { digest: config.fingerprint.clone() });
    }
}

/// Has moved what has come to wait for an old name since: from a request that an older config had let in, or handed back by the old
/// name's worker when it ended.
async fn take_over_late(relay: &Relay) {
    let (generation, names) = (relay.generation().clone(), relay.store.names());
    let kind = NameKind::Destination;
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        let Some(from) = &config.renamed_from else { continue };
        // A name that is in the config keeps what it has.
        let is_free = |old: &NameId| !generation.destination_ids.contains(old);
        let old = names.find(kind, from).filter(is_free).or_else(|| names.former(kind, from).filter(is_free));
        let Some(old) = old else { continue };
        match relay.store.ask(Command::once(old, What::TakeOver { to: *id })).await {
            Ok(done) if done.deliveries > 0 => {
                let (name, from) = (config.name.clone(), names.name(old).to_string());
                tracing::info!("config: {}", in_words(&TakenFrom { name, from, moved: done.taken_over }));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "what waits for an old name is moved later"),
        }
    }
}

/// How often limits on what waits are looked at.
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
