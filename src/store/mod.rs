//! The durable queue: what must not be lost, and what has become of it.
//!
//! # Cast
//!
//! * [`Store`]: the trait that everything else talks to. [`journal::JournalStore`] is the one backend today; a shared one on an
//!   existing engine would be a second implementation and not a second program. `tests/it/contract.rs` holds any backend to it.
//! * [`NewEvent`] → [`Store::append`]: an event with the list of its destinations; answered once both are durable.
//! * [`Claim`]: one delivery handed to a worker. It holds a position and not a body, so a backlog costs no memory.
//! * [`Settlement`]: what became of a claim. It is durable within a second, not on return: after a crash a delivery may happen
//!   again, and none is forgotten.
//! * [`Command`]: what an operator, a limit or a replay does to many deliveries at once, or to a whole destination or source.
//! * [`Standing`]: how a destination stands: paused, its breaker open, removed from the config.
//! * [`NameId`]: a destination, source or rule, numbered for good when the store first hears its name.
//!
//! # Not promised
//!
//! Exactly once; order, within a destination or between two; that a settlement is durable when `settle` returns.

mod command;
pub mod journal;
pub mod lock;
mod looking;
mod names;
mod queue;
mod words;

use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

pub use self::command::*;
pub use self::looking::*;
pub use self::names::*;
pub use self::queue::*;
pub use self::words::*;
use crate::event::EventId;

/// What may wait for the disk, or for more than that.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The durable queue behind the relay. See the [module](self) for who is who.
///
/// No call blocks on another destination. All may be called from any thread; those that touch the disk say so.
pub trait Store: Looking + Send + Sync + 'static {
    /// The names that something refers to, or did until a moment ago, with their numbers.
    fn names(&self) -> Arc<Names>;

    /// Numbers the names of a config, once a config; a number is durable no later than the first event that uses it. A destination takes
    /// over what its old name has, by getting its number or by having everything moved: what waits and what is scheduled, dead letters,
    /// a pause. Fails where there is no room for the names, and then nothing is changed.
    fn intern(&self, named: Vec<Named>) -> Answer<'_, Interned>;

    /// Says which names the config in force uses, and which generation it is. A destination that it does not name is removed; names that
    /// neither it nor the config before uses go, when no event and no queue refers to them any more. Events of an older generation may be
    /// refused from then on.
    fn announce(&self, generation: u32, ids: &[NameId]);

    /// Takes an event in. The receiver resolves once the event and its deliveries are durable, or cannot be made so.
    /// Dropping the receiver cancels nothing.
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>>;

    /// The deliveries of a destination.
    fn queue(&self, destination: NameId) -> Arc<dyn Queue>;

    /// How a destination, or a source, stands.
    fn standing(&self, destination: NameId) -> Standing;

    /// How many events of a source are held.
    fn held(&self, source: NameId) -> u64;

    /// Does what a command says, once for each id. Resolves when it is done and durable; it is in effect sooner. What was begun is
    /// finished although nobody waits for it any more.
    fn ask(&self, command: Command) -> Answer<'_, Done>;

    /// Begins a replay that is not known, or writes down how far one has come, which is never back. Resolves with what is known, once
    /// that is durable. Without waiting, what was asked for before is before it.
    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress>;

    /// All replays that are known, newest first.
    fn replays(&self) -> Vec<ReplayProgress>;

    /// What waits for a destination, by what is in memory.
    fn counts(&self, destination: NameId) -> Counts;

    /// When the oldest event arrived that waits for a destination, unix milliseconds. May read the disk.
    fn oldest_ms(&self, destination: NameId) -> Option<u64>;

    /// What is kept from now on.
    fn set_retention(&self, retention: Retention);

    /// Trims what need not be kept now, rather than in a while. Blocks until it is done.
    fn trim(&self);

    /// How much the store has and may have.
    fn usage(&self) -> Usage;

    /// Writes a consistent copy of everything into an empty directory, while the store goes on. Blocks on the disk.
    fn backup(&self, directory: &std::path::Path) -> Result<(), BackupError>;

    /// What has become of the store's files, if they are not what it left there: removed, replaced, written to by another. Reads
    /// the disk.
    fn trouble(&self) -> Option<String>;

    /// Refuses everything from now on, for a reason: the process is expected to end.
    fn fail(&self, why: &str);

    /// Whether the store can do its work, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// The sources that are paused: their events are to be refused.
    fn paused_sources(&self) -> watch::Receiver<PausedSources>;

    /// Writes down where everything stands, so that closing, and the next start, have little to do. Blocks on the disk.
    fn checkpoint(&self);

    /// Makes everything settled so far durable and closes: later appends are refused. Blocks on the disk.
    fn close(&self);
}

/// Why no copy could be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It would lie among the store's own files.
    #[error("{0} is inside the data directory, and a copy there would go with it: name a directory elsewhere")]
    Inside(String),
    /// Where it leads is not known before some of it is made.
    #[error("{0} goes through `..` below a directory that is not there: write the path without it")]
    Unclear(String),
    /// The directory holds something.
    #[error("{0} is not empty: name a new directory")]
    NotEmpty(String),
    /// Reading or writing failed.
    #[error("the copy could not be written to {path}")]
    Io {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The index could not be copied.
    #[error("the index could not be copied: {0}")]
    Index(String),
}
