//! A new config while the relay runs: all of it, or nothing.
//!
//! The file is read and proved, what is new is bound, and only then is one generation swapped for the next. Whatever fails before
//! leaves the old one in force, untouched, and is told: in the log, in the metrics, in the status. No destination is asked for
//! anything, so one that is down holds nothing up. What waits is bound to names, and goes by their new sections from the next attempt
//! on; what is under way ends by the old ones.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::changes::{go_by_sections, in_words, names_of};
use super::door::{Listener, listen, local};
use super::patience::NotDone;
use super::{Generation, Relay, StartError};
use crate::config::load::FILE_BYTES_MAX;
use crate::config::values::Process;
use crate::config::{Config, ConfigError, FileDigest, digest_of, regular};
use crate::listener::server::ServerOptions;
use crate::store::{NamesFull, StoreError};
use crate::telemetry::in_full;

/// How often a watched file is looked at. A change is taken when it has stood still from one look to the next.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Reading the config and what it names takes a second at most; whoever waits longer waits for a file system that is away.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A file that was written so short a time ago may be written again without another stamp.
const STAMP_SETTLES: Duration = Duration::from_secs(3);

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The number of the generation now in force.
    pub generation: u32,
    /// What is different, as sentences.
    pub changes: Vec<String>,
    /// The config's warnings, a line each.
    pub warnings: Vec<String>,
}

/// Why the old config is still in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The config is not good.
    #[error("the config is not good, and the one before stays in force")]
    Config(#[source] ConfigError),
    /// The store has no room for its names.
    #[error("the config has too many names, and the one before stays in force")]
    Names(#[from] NamesFull),
    /// The store did not number its names.
    #[error("the store did not take the config's names, and the one before stays in force")]
    Interning(#[source] StoreError),
    /// It changes what only a start can set.
    #[error("{} cannot be changed while the relay runs, and the config before stays in force: restart it to apply the change", quoted(.0))]
    NeedsRestart(Vec<&'static str>),
    /// An address could not be listened on.
    #[error("a new address cannot be listened on, and the config before stays in force")]
    Listen(#[from] StartError),
    /// A new address and the old one are one port, of all addresses and of one of them.
    #[error(
        "`listen` cannot go from {old} to {new} while the relay runs, since both take one port, and the config before stays in force: restart it to apply the change"
    )]
    OnePort {
        /// Where it listens.
        old: SocketAddr,
        /// Where it would listen.
        new: SocketAddr,
    },
    /// Reading it panicked.
    #[error("reading the config panicked, which is a bug: see the log. The config before stays in force")]
    Panicked,
    /// Reading it did not end.
    #[error("reading the config did not end within {}s, and the config before stays in force: look at the file system that it, or a `${{file:…}}` in it, is on", READ_TIMEOUT.as_secs())]
    Late,
    /// Earlier ones have not ended yet.
    #[error(
        "reading the config has not ended for several reloads before, and the config before stays in force: look at the file system that it, or a `${{file:…}}` in it, is on"
    )]
    Stuck,
}

impl From<NotDone> for ReloadError {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::Panicked => ReloadError::Panicked,
            NotDone::Late => ReloadError::Late,
            NotDone::TooMany => ReloadError::Stuck,
        }
    }
}

impl ReloadError {
    fn of_names(error: StoreError) -> Self {
        match error {
            StoreError::NamesFull(full) => Self::Names(full),
            error => Self::Interning(error),
        }
    }

    /// All of it, as people read it: a bad config's problems with their lines.
    pub fn in_full(&self) -> String {
        match self {
            ReloadError::Config(error @ ConfigError::Problems(_)) => {
                format!("the config is not good, and the one before stays in force\n{error}").trim_end().to_owned()
            }
            error => in_full(error),
        }
    }
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
}

/// How the last reload went.
#[derive(Clone, Debug, Default)]
pub struct LastReload {
    /// When, unix milliseconds by the wall clock.
    pub at_ms: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Relay {
    /// Reads the config file again and goes on with it, or says why not. Who stops waiting must let it end by itself.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let _one_after_the_other = self.reloading.lock().await;
        let reloading = AssertUnwindSafe(self.reload_alone()).catch_unwind();
        let outcome = reloading.await.unwrap_or(Err(ReloadError::Panicked));
        let error = outcome.as_ref().err().map(ReloadError::in_full);
        match &outcome {
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
            Err(error) => tracing::error!(error = in_full(error), "the config was not reloaded"),
        }
        self.metrics.reloaded(error.is_none());
        *self.last_reload.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(LastReload { at_ms: crate::time::wall_ms(), error });
        outcome
    }

    async fn reload_alone(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let before = self.generation().clone();
        let (path, client) = (before.config.path.clone(), before.config.client.clone());
        let read = self.patience.wait(READ_TIMEOUT, move || Config::load_again(&path, &Process, client));
        let (mut config, report) = read.await?.map_err(ReloadError::Config)?;
        let fixed = needs_restart(&before.config, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        // Nobody waits for who reads.
        let mut changing = self.changing.lock().await;
        let options = server_options(&config);
        let moved = match config.listen == before.config.listen {
            true => changing.door.listener().filter(|_| changing.door.options() != Some(&options)),
            false => Some(Listener::own(listen_anew(self.address(), &config).await?)),
        };
        // Once there is room for its names, nothing fails.
        let interned = self.store.intern(names_of(&config)).await.map_err(ReloadError::of_names)?;
        keep_what_is_the_same(&before.config, &mut config);
        let mut changes = before.config.outline.changes_to(&config.outline);
        changes.extend(interned.taken_over.iter().map(in_words));
        let generation = Arc::new(Generation::new(config, Some(&before), interned.ids, &self.metrics));
        generation.announce(&*self.store);
        if let Some(listener) = moved {
            *self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                local(&listener.listener, generation.config.listen);
            changing.door.open(self, listener, options);
        }
        self.generation.store(generation.clone());
        changing.workers.follow(&generation);
        // By these: what is due now goes out by its new section.
        go_by_sections(&generation, &*self.store);
        generation.forget_others(&self.metrics);
        self.store.retain(generation.config.retention);
        let warnings = report.lines().collect();
        Ok(Reloaded { generation: generation.number, changes, warnings })
    }
}

/// Listens on a config's address while the relay listens on another.
async fn listen_anew(old: SocketAddr, config: &Config) -> Result<TcpListener, ReloadError> {
    let new = config.listen;
    let is_one_port = old.port() == new.port() && (old.ip().is_unspecified() || new.ip().is_unspecified());
    match listen(new, &config.said.listen).await {
        Err(StartError::Listen { source, .. }) if is_one_port && source.kind() == ErrorKind::AddrInUse => {
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
        descriptors_kept: super::door::DESCRIPTORS_KEPT,
    }
}

/// The keys that are different and that only a start can set.
fn needs_restart(before: &Config, config: &Config) -> Vec<&'static str> {
    let keys = [
        ("data_dir", before.data_dir != config.data_dir),
        ("admin.listen", before.admin_listen != config.admin_listen),
        ("limits.intake_max", before.limits.intake_max != config.limits.intake_max),
    ];
    keys.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key).collect()
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

/// Reloads when the file has changed, while the config says `watch: true`. Whoever replaces the file by renaming, or swaps a link
/// on the way to it, is seen as well: what counts is what stands under the path.
pub(super) async fn watch(relay: Arc<Relay>, stop: CancellationToken) {
    let (mut seen, mut looked_at) = (None, None);
    let mut tried = relay.generation().config.digest;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        let generation = relay.generation().clone();
        if !generation.config.watch {
            continue;
        }
        let path = generation.config.path.clone();
        let known = looked_at;
        let look = relay.patience.wait(READ_TIMEOUT, move || look(&path, known.as_ref()));
        let looked = tokio::select! {
            looked = look => looked,
            // One that hangs does not hold up the end.
            () = stop.cancelled() => return,
        };
        // While an editor writes it anew there may be none for a moment.
        let Ok(Ok((stamp, found))) = looked else { continue };
        let Some(digest) = found.or(seen) else { continue };
        looked_at = Some(stamp);
        let has_settled = seen.replace(digest) == Some(digest);
        if digest == generation.config.digest {
            tried = digest;
        } else if has_settled && digest != tried {
            tried = digest;
            // It is told where every reload is told. What was begun is finished, and holds up the end no longer than it must.
            let reloading = tokio::spawn({
                let relay = relay.clone();
                async move { relay.reload().await }
            });
            tokio::select! {
                _ = reloading => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// By what it is seen that a file is as it was: device, number, length, and when it and its entry were changed.
type Stamp = [i128; 7];

/// Looks at the file; reads it only if it may have changed, and no further than a config may go.
fn look(path: &Path, known: Option<&Stamp>) -> std::io::Result<(Stamp, Option<FileDigest>)> {
    let metadata = std::fs::metadata(path)?;
    let numbers = [metadata.dev(), metadata.ino(), metadata.len()].map(i128::from);
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()].map(i128::from);
    let stamp = [numbers[0], numbers[1], numbers[2], times[0], times[1], times[2], times[3]];
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let is_settled = age.is_some_and(|age| age > STAMP_SETTLES);
    if is_settled && known == Some(&stamp) {
        return Ok((stamp, None));
    }
    Ok((stamp, Some(digest_of(&regular::read_beyond(path, FILE_BYTES_MAX)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_file_is_read_when_it_has_changed_and_no_further_than_a_config_may_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, "a: 1").expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("open");
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(long_ago).expect("stamped");
        let (stamp, found) = look(&path, None).expect("read");
        assert_eq!(found, Some(digest_of(b"a: 1")));
        assert_eq!(look(&path, Some(&stamp)).expect("looked at"), (stamp, None), "nothing has changed");
        // A sparse file of terabytes takes no longer than any other.
        file.set_len(1 << 42).expect("longer");
        file.set_modified(long_ago).expect("stamped");
        let (longer, found) = look(&path, Some(&stamp)).expect("read");
        assert!(longer != stamp && found.is_some(), "as far as the limit");
        std::fs::write(&path, "a: 2").expect("written");
        let (fresh, found) = look(&path, Some(&longer)).expect("read");
        assert_eq!(found, Some(digest_of(b"a: 2")));
        assert_eq!(
            look(&path, Some(&fresh)).expect("read").1,
            found,
            "it was written just now: its stamp says nothing"
        );
    }
}
