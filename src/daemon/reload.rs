//! A new config while the relay runs: all of it, or nothing.
//!
//! The file is read and proved, with the certificates that it names, what is new is bound, and only then is one generation swapped for the next. Whatever fails before
//! leaves the old one in force, untouched, and is told: in the log, in the metrics, in the status. No destination is asked for
//! anything, so one that is down holds nothing up. What waits is bound to names, and goes by their new sections from the next attempt
//! on; what is in flight ends by the old ones.
//!
//! [`Owner`] alone changes what is in force, so nothing here is locked: whoever wants a change sends a message.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::hooks::Hooks;
use super::keep::{Kept, keep};
use super::names::{in_words, names_of};
use super::patience::{NotDone, Patience};
use super::workers::Workers;
use crate::config::{Config, ConfigError};
use crate::errors::with_causes;
use crate::listener::bind::{ListenError, Listener, listen, local};
use crate::listener::server::ServerOptions;
use crate::listener::tls::Tls;
use crate::relay::{
    CONFIG_READ_TIMEOUT, Generation, OnDisk, Other, OwnerRequest, OwnerRequests, Relay, ReloadError, Reloaded,
    needs_restart,
};
use crate::yaml::problem::Report;
use crate::yaml::values::Process;

/// Owns what changes with the config: the workers, the listener that webhooks come in by, and the certificates of both listeners.
pub(super) struct Owner {
    pub relay: Arc<Relay>,
    pub workers: Workers,
    pub hooks: Hooks,
    /// How the operator's listener encrypts.
    pub admin_tls: Arc<Tls>,
    pub patience: Arc<Patience>,
    pub requests: OwnerRequests,
    /// The file as it was seen last, while it is not the config in force.
    pub seen: Option<Arc<Other>>,
}

impl Owner {
    /// Does what is asked for until it is stopped, also after a panic. Then it closes the listener.
    pub(super) async fn work(self, stop: CancellationToken) {
        let metrics = self.relay.metrics.clone();
        let kept = Kept { task: "reloads", of: String::new(), metrics, stop: stop.clone() };
        // Nobody else ever holds the lock: it hands the owner to whoever goes on after a panic.
        let owner = Arc::new(Mutex::new(self));
        let next = || {
            let owner = owner.clone();
            let stop = stop.clone();
            async move { owner.lock().await.run(&stop).await }
        };
        keep(kept, next).await;
        owner.lock().await.hooks.close();
    }

    /// Does one thing after the other. A config that is not read by the end is let go; one that was read is put in force.
    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => request,
                else => break,
            };
            let before = self.relay.generation().clone();
            let answer = match request {
                OwnerRequest::Reload(answer) => {
                    self.seen = None;
                    answer
                }
                OwnerRequest::Look(answer) => {
                    tokio::select! {
                        // Who asked may have gone.
                        seen = self.look(before) => drop(answer.send(seen)),
                        () = stop.cancelled() => break,
                    }
                    continue;
                }
            };
            let read = tokio::select! {
                read = self.read(&before.config) => read,
                // A file that is never read does not hold up the end.
                () = stop.cancelled() => break,
            };
            let outcome = match read {
                // Not stopped on the way: the store keeps new names, and what they take over, whatever becomes of the rest.
                Ok(read) => {
                    let followed = AssertUnwindSafe(self.follow(&before, read)).catch_unwind().await;
                    followed.unwrap_or(Err(ReloadError::Panicked))
                }
                Err(error) => Err(error),
            };
            self.tell(&outcome);
            // Who asked may have gone.
            let _ = answer.send(outcome);
        }
    }

    /// Tells what has come of a reload: in the log, the metrics and the status.
    fn tell(&self, outcome: &Result<Reloaded, ReloadError>) {
        match outcome {
            Ok(reloaded) => {
                tracing::info!(
                    generation = reloaded.generation,
                    changes = reloaded.changes.len(),
                    "the config was reloaded"
                );
                reloaded.changes.iter().for_each(|change| tracing::info!("config: {change}"));
                reloaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Err(ReloadError::Config(ConfigError::Problems(report))) => {
                tracing::error!("the config is not good, and the one before stays in force");
                report.lines().for_each(|line| tracing::error!("{line}"));
            }
            Err(error) => tracing::error!(error = with_causes(error), "the config was not reloaded"),
        }
        let error = outcome.as_ref().err().map(ReloadError::in_full);
        match error {
            None => self.relay.metrics.reload_succeeded(),
            Some(_) => self.relay.metrics.reload_failed(),
        }
        self.relay.note_reload(error);
    }

    /// Looks at the file, as a reload would read it.
    async fn look(&mut self, before: Arc<Generation>) -> Result<OnDisk, ReloadError> {
        let known = self.seen.take();
        let look = move || OnDisk::look(&before, known);
        let found = self.patience.wait(CONFIG_READ_TIMEOUT, look).await.map_err(unread)?;
        if let OnDisk::Other(other) = &found {
            self.seen = Some(other.clone());
        }
        Ok(found)
    }

    /// Reads and proves the file. A panic of that is told as one.
    async fn read(&self, before: &Config) -> Result<(Config, Report), ReloadError> {
        let path = before.path.clone();
        let client = before.client.clone();
        let load = move || Config::load_again(&path, &Process, client);
        let read = self.patience.wait(CONFIG_READ_TIMEOUT, load).await.map_err(unread)?;
        read.map_err(ReloadError::Config)
    }

    /// Puts a config in force, or leaves everything as it is.
    async fn follow(
        &mut self,
        before: &Generation,
        (mut config, report): (Config, Report),
    ) -> Result<Reloaded, ReloadError> {
        let fixed = needs_restart(&before.config, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        let options = server_options(&config);
        let moved = if config.listen == before.config.listen {
            self.hooks.listener().filter(|_| self.hooks.options() != Some(&options))
        } else {
            Some(Listener::own(listen_anew(self.relay.address(), &config).await?))
        };
        // Once there is room for its names, nothing fails, and nothing waits but for the history, where `dedupe` asks for it.
        let interned = self.relay.store.intern(names_of(&config)).await.map_err(ReloadError::of_names)?;
        keep_what_is_the_same(&before.config, &mut config);
        let mut changes = before.config.changes_to(&config);
        changes.extend(interned.taken_over.iter().map(in_words));
        let generation = Generation::new(config, Some(before), interned.ids, &self.relay.metrics);
        let read = self.relay.doubles.read_back(&*self.relay.store, Some(&before.config), &generation).await;
        generation.announce(&*self.relay.store);
        self.hooks.encrypt(generation.config.tls.clone());
        self.admin_tls.set(generation.config.admin.tls.clone());
        if let Some(listener) = moved {
            self.relay.set_address(local(&listener.listener, generation.config.listen));
            self.hooks.open(&self.relay, listener, options);
        }
        let generation = self.relay.put_in_force(generation);
        self.relay.doubles.catch_up(&*self.relay.store, &generation, read).await;
        self.workers.follow(&generation);
        generation.forget_others(&self.relay.metrics);
        self.relay.store.retain(generation.config.retention.clone());
        Ok(Reloaded { generation: generation.number, changes, warnings: report.lines().collect() })
    }
}

/// Why there is no config, where it was not read to the end.
fn unread(why: NotDone) -> ReloadError {
    match why {
        NotDone::Panicked => ReloadError::Panicked,
        NotDone::Late => ReloadError::Late,
        NotDone::TooMany => ReloadError::Stuck,
        NotDone::NoThread => ReloadError::NoThread,
    }
}

/// Listens on a config's address while the relay listens on another.
async fn listen_anew(old: SocketAddr, config: &Config) -> Result<TcpListener, ReloadError> {
    let new = config.listen;
    let is_one_port = old.port() == new.port() && (old.ip().is_unspecified() || new.ip().is_unspecified());
    match listen(new, &config.said.listen).await {
        Err(ListenError { source, .. }) if is_one_port && source.kind() == ErrorKind::AddrInUse => {
            Err(ReloadError::OnePort { old, new })
        }
        listener => Ok(listener?),
    }
}

/// What a listener allows by a config.
pub(super) fn server_options(config: &Config) -> ServerOptions {
    ServerOptions {
        header_timeout: config.limits.header_timeout,
        body_timeout: config.limits.body_timeout,
        connections_max: config.limits.connections_max,
        shutdown_grace: config.limits.shutdown_grace,
        has_half_closed: true,
        // Not every sender says again what was cut off.
        connections_give_way: false,
        descriptors_kept: super::hooks::DESCRIPTORS_KEPT,
    }
}

/// A destination whose section is as it was goes on with its connections and its open files.
fn keep_what_is_the_same(before: &Config, config: &mut Config) {
    let known: HashMap<&str, _> = before.destinations.iter().map(|known| (known.name.as_str(), known)).collect();
    for destination in &mut config.destinations {
        let same = known.get(destination.name.as_str());
        if let Some(known) = same.filter(|known| known.fingerprint == destination.fingerprint) {
            destination.destination = known.destination.clone();
        }
    }
}
