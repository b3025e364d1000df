//! What follows from a config that is not the one before: renamed, removed and changed destinations; and the limits on what waits.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::patience::joined;
use super::{Generation, Relay};
use crate::config::{Config, DestinationConfig};
use crate::deliver::{Limited, Limiter};
use crate::store::{Change, NameId, NameKind, Store, TakenOver};

/// When what is renamed is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When<'a> {
    /// A config comes into force, and nothing goes by it yet. These numbers are of the one before: requests that it let in go there.
    Changing { before: &'a [NameId] },
    /// It is in force, and its workers have their queues.
    InForce,
}

/// What a destination's old name has, its new one takes over: what waits and what is scheduled, dead letters, a pause, an open breaker.
/// Returns what was taken over, in sentences.
pub(super) fn take_over_renamed(config: &Config, store: &dyn Store, when: When<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for destination in &config.destinations {
        let name = &destination.name;
        let Some(from) = old_number(config, store, destination, when) else {
            continue;
        };
        let old = store.name_of(from).unwrap_or_else(|| "".into());
        let own = store.find(NameKind::Destination, name);
        let is_worth_it = own.is_none() || !store.is_blank(from);
        // A queue that something is on its way to, or whose worker is at work, stays where it is.
        let may_change = matches!(when, When::Changing { before } if own.is_none_or(|own| !before.contains(&own)));
        if is_worth_it && may_change && store.rename(from, name) {
            store.set_removed(from, false);
            tracing::info!(destination = %name, from = %old, "it was renamed, and keeps its queue");
            told.push(format!("`{name}` was `{old}` and keeps its queue"));
        } else if is_worth_it {
            let own = own.unwrap_or_else(|| store.name(NameKind::Destination, name));
            told.extend(in_words(name, &old, store.take_over(from, own)));
        }
    }
    told.iter().filter(|_| when == When::InForce).for_each(|told| tracing::info!("config: {told}"));
    told
}

/// The number of the queue that a destination takes over, if there is one: of the name that it is renamed from, or, where a renaming
/// is taken back, of the name that its own queue has now. A name that is in the config keeps what it has.
fn old_number(config: &Config, store: &dyn Store, destination: &DestinationConfig, when: When<'_>) -> Option<NameId> {
    let kind = NameKind::Destination;
    let is_free = |id: &NameId| {
        store.name_of(*id).is_some_and(|name| !config.destinations.iter().any(|other| *other.name == *name))
    };
    let named = destination.renamed_from.as_ref().and_then(|old| {
        let of_name = store.find(kind, old).filter(is_free);
        of_name.or_else(|| store.former(kind, old).filter(is_free))
    });
    let taken_back = || {
        let before = store.former(kind, &destination.name).filter(is_free)?;
        // What was taken out of the config earlier stays out.
        (when != When::InForce && store.standing(before).removed_since_ms.is_none()).then_some(before)
    };
    named.or_else(taken_back)
}

/// What was taken over, unless it was nothing.
fn in_words(name: &str, old: &str, taken: TakenOver) -> Option<String> {
    let TakenOver { waiting, scheduled, dead, paused, in_flight } = taken;
    let counts = [(waiting, "waiting"), (scheduled, "scheduled"), (dead, "dead letters")];
    let mut parts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if paused {
        parts.push("its pause".to_owned());
    }
    let in_flight = match in_flight {
        0 => String::new(),
        count => format!("; {count} in flight under the old name follow when their attempts have failed"),
    };
    (!parts.is_empty()).then(|| format!("`{name}` takes over from `{old}`: {}{in_flight}", parts.join(", ")))
}

/// Says what each destination's section of the config is now: what waits for one whose section has changed is due then.
pub(super) fn go_by_sections(generation: &Generation, store: &dyn Store) {
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        store.queue(*id).change(Change::Section { digest: config.fingerprint.clone() });
    }
}

/// The same for what has come to wait for the old name since: from a request that an older config had let in, or handed back by the
/// old name's worker when it ended.
async fn take_over_late(relay: Arc<Relay>) {
    if relay.generation().config.destinations.iter().all(|destination| destination.renamed_from.is_none()) {
        return;
    }
    // It reads the index, and waits for who writes to it.
    let late = move || {
        let _nobody_else = relay.changing.blocking_lock();
        take_over_renamed(&relay.generation().config, &*relay.store, When::InForce);
    };
    joined(tokio::task::spawn_blocking(late)).await;
}

/// How often limits on what waits are looked at.
const LIMITS_EVERY: Duration = Duration::from_secs(1);

/// Looks after what may not wait for ever, until it is stopped.
pub(super) async fn keep_limits(relay: Arc<Relay>, stop: CancellationToken) {
    let mut limiter = Limiter::new(relay.store.clone(), relay.clock);
    loop {
        let look = async {
            take_over_late(relay.clone()).await;
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
