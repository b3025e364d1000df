//! What destinations have to do beside their attempts, each on a thread that may block: closed files are packed and removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::errors::join_error;
use crate::relay::Relay;

/// How often it is looked: what is closed waits so long to be packed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Has it done until it is stopped. One destination that hangs holds up none of the others, and is left alone until it has ended.
pub(super) async fn look_after(relay: Arc<Relay>, stop: CancellationToken) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running: FuturesUnordered<BoxFuture<'static, (String, Result<(), String>)>> = FuturesUnordered::new();
    let mut busy: HashSet<String> = HashSet::new();
    let mut told = Told::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((name, done)) = running.next() => {
                busy.remove(&name);
                told.tell(&name, done);
            }
            _ = looks.tick() => {
                let generation = relay.generation();
                for config in &generation.config.destinations {
                    let name = config.name.clone();
                    let Some(work) = config.destination.upkeep().filter(|_| busy.insert(name.clone())) else { continue };
                    let stop = stop.clone();
                    let working = tokio::task::spawn_blocking(move || work(&stop));
                    running.push(Box::pin(async move {
                        let done = working.await;
                        (name, done.unwrap_or_else(|error| Err(join_error("what looks after its files", &error))))
                    }));
                }
            }
        }
    }
}

/// What the log has said of each destination: what goes on is said once.
#[derive(Default)]
struct Told(HashMap<String, String>);

impl Told {
    fn tell(&mut self, destination: &str, done: Result<(), String>) {
        match done {
            Ok(()) => drop(self.0.remove(destination)),
            Err(why) if self.0.get(destination) == Some(&why) => {}
            Err(why) => {
                tracing::warn!(destination, why, "closed files are not all looked after; it is tried again");
                self.0.insert(destination.to_owned(), why);
            }
        }
    }
}
