//! A new config while the relay runs, as those see it who ask for one. Who does it is asked by a message: `daemon/reload.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{OnDisk, Relay};
use crate::config::ConfigError;
use crate::errors::with_causes;
use crate::listener::bind::ListenError;
use crate::store::{NamesFull, StoreError};

/// Reading the config and what it names takes a second at most; whoever waits longer waits for a file system that is away.
pub const CONFIG_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that wait for their turn; whoever comes then waits before it.
const WAITING_MAX: usize = 16;

/// Only so long somebody waits to look at the config file while somebody else does.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// A request to the owner of what is in force. Each is told what has come of it; who asked may have gone.
pub enum OwnerRequest {
    /// To read the config file again, and put it in force.
    Reload(oneshot::Sender<Result<Reloaded, ReloadError>>),
    /// To read it, and leave all as it is.
    Look(oneshot::Sender<Result<OnDisk, ReloadError>>),
}

/// Where requests come from.
pub type OwnerRequests = mpsc::Receiver<OwnerRequest>;

/// A way for requests.
pub(super) fn requests() -> (mpsc::Sender<OwnerRequest>, OwnerRequests) {
    mpsc::channel(WAITING_MAX)
}

impl Relay {
    /// Has the config file read again and put in force, or says why not. What was begun is finished although nobody waits for it any more.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.ask_owner(OwnerRequest::Reload).await
    }

    /// Looks at the config file as it lies on the disk. Nothing is done, and nothing of it is told in the log.
    pub async fn on_disk(&self) -> Result<OnDisk, ReloadError> {
        // Nobody ever closes it.
        let Ok(Ok(_turn)) = tokio::time::timeout(LOOK_WITHIN, self.looks.acquire()).await else {
            return Err(ReloadError::Busy);
        };
        self.ask_owner(OwnerRequest::Look).await
    }

    async fn ask_owner<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, ReloadError>>) -> OwnerRequest,
    ) -> Result<T, ReloadError> {
        let (answer, answered) = oneshot::channel();
        if self.owner.send(request(answer)).await.is_err() {
            return Err(ReloadError::Stopping);
        }
        let unanswered = |_| Err(if self.is_stopping() { ReloadError::Stopping } else { ReloadError::Panicked });
        answered.await.unwrap_or_else(unanswered)
    }
}

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
    Listen(#[from] ListenError),
    /// A new address and the old one are one port, of all addresses and of one of them.
    #[error(
        "`listen` cannot go from {old} to {new} while the relay runs, since both take one port, and the config before stays in force: restart it to apply the change"
    )]
    OnePort {
        old: SocketAddr,
        /// Where it would listen.
        new: SocketAddr,
    },
    /// Somebody else looks at the file, and that takes long.
    #[error("somebody else looks at the config file, and that is not done yet: try again")]
    Busy,
    /// The relay ends, and goes on by what it has.
    #[error("the relay is stopping, and the config before stays in force")]
    Stopping,
    #[error("reading the config panicked, which is a bug: see the log. The config before stays in force")]
    Panicked,
    /// The system gave no thread to read it.
    #[error(
        "the system gave no thread to read the config, and the config before stays in force: raise the limit of threads (TasksMax= of the systemd unit, ulimit -u of the shell)"
    )]
    NoThread,
    /// Reading it did not end.
    #[error("reading the config did not end within {}s, and the config before stays in force: look at the file system that it, or a `${{file:…}}` in it, is on", CONFIG_READ_TIMEOUT.as_secs())]
    Late,
    /// Earlier ones have not ended yet.
    #[error(
        "reading the config has not ended for several reloads before, and the config before stays in force: look at the file system that it, or a `${{file:…}}` in it, is on"
    )]
    Stuck,
}

impl ReloadError {
    /// Of what the store says to the names of a config.
    pub(crate) fn of_names(error: StoreError) -> Self {
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
            error => with_causes(error),
        }
    }
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
}

/// How the last reload went.
#[derive(Clone, Debug, Default)]
pub struct LastReload {
    /// Which one it was since the start, from 1 on.
    pub number: u64,
    /// When, unix milliseconds by the wall clock.
    pub at_ms: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}
