//! The durable queue: what must not be lost, and what has become of it.
//!
//! # Cast
//!
//! * [`Store`]: all of it, for who starts and reloads, and for operators. [`journal::JournalStore`] is one relay's own, on its disk;
//!   [`postgres::PostgresStore`] is one that several relays share. `tests/it/contract/` holds any backend to it.
//!   `engine`, [`Engine`]: which of the two it is, for what only one of them has.
//! * [`Intake`]: the way in. [`NewEvent`] → [`Intake::append`]: an event with the list of its destinations; answered once both are durable.
//! * `lease`, [`Lease`]: the right to do a [`Duty`] alone, such as delivering to a destination; with it come the queues.
//! * `lanes`, [`Lanes`]: in which order they go out, and which go out together, where that is sorted.
//!   `passes_on`: for tests, a queue that changes something of another.
//! * `queue`, [`Queue`]: one destination's deliveries, for its worker. [`Claimed`]: one of them, with its event. [`Settlement`]: what
//!   became of it. That is durable within a second, not on return: after a crash a delivery may happen again, and none is forgotten.
//! * `looking`, [`Looking`]: events, states and dead letters, page by page, by [`Cursor`]s of `cursor`; `lists`: what one says where events
//!   are known by numbers. `reasons`: dead letters counted by theirs. `changes`, [`Watch`]: what changes from now on.
//! * `command`, [`Command`]: what an operator, a limit or a replay does to many deliveries at once, or to a whole destination or source.
//! * `erasing`, [`Erasing`]: a walk over all that is kept of a person, which tells what there is and erases it. [`ErasedEvent`]: what is left.
//! * `names`, [`NameId`]: a destination, source or rule, numbered for good when the store first hears its name.
//! * `words`: the values that go in and come out. [`NameState`]: how a destination stands: paused, its breaker open, removed from the
//!   config. `why`, [`Why`]: a reason with its answer. `errors`, [`AppendError`] and [`StoreError`]: why something was not done.
//! * [`queues`]: what waits, in memory, for any backend that has it elsewhere. `locks`: how that is locked.
//! * `journal`, `postgres`: the two backends. [`transfer`]: what one writes for the other to go on with. [`mod@lock`]: one process to a data directory.
//!
//! # Not promised
//!
//! Exactly once; order, within a destination or between two; that a settlement is durable when [`Queue::settle`] returns.

mod changes;
mod command;
mod cursor;
mod engine;
mod erasing;
mod errors;
pub mod journal;
mod lanes;
mod lease;
mod lists;
pub mod lock;
mod locks;
mod looking;
mod names;
#[cfg(any(test, feature = "test-support"))]
mod passes_on;
pub mod postgres;
mod queue;
pub mod queues;
mod reasons;
pub mod transfer;
mod why;
mod words;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

pub use self::changes::{ARRIVED_BYTES_MAX, ARRIVED_MAX, Changes, Others, SETTLED_MAX, Watch};
pub use self::command::*;
pub use self::cursor::*;
pub use self::engine::Engine;
pub use self::erasing::*;
pub use self::errors::*;
pub use self::lanes::*;
pub use self::lease::*;
pub use self::looking::*;
pub use self::names::*;
#[cfg(any(test, feature = "test-support"))]
pub use self::passes_on::PassesOn;
pub use self::postgres::{DutyShown, Overview, RelayShown};
pub use self::queue::*;
pub use self::why::*;
pub use self::words::*;
use crate::event::EventId;

/// What may wait for the disk, or for more than that.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The way in.
pub trait Intake: Send + Sync {
    /// Takes an event in. The receiver resolves once the event and its deliveries are durable, or cannot be made so.
    /// Dropping the receiver cancels nothing.
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>>;

    /// Whether the store can do its work, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// How sources stand that do not simply go on, now and from now on. What comes in after a change was seen is behind it.
    fn sources(&self) -> watch::Receiver<Sources>;
}

/// The durable queue behind the relay. See the [module](self) for who is who.
///
/// What is in memory is said at once and cannot fail; what may wait is async. No call blocks its thread, and none waits for another
/// destination.
pub trait Store: Intake + Looking + 'static {
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

    /// Resolves when a duty is this process's alone; the journal's at once, and for as long as it is open. Dropping the future says that it
    /// is not wanted any more. Within the process it is for the caller to do a duty once at a time.
    fn lease(&self, duty: Duty) -> BoxFuture<'static, Lease>;

    /// Does what a command says, once for each id, also where several ask at the same moment. Resolves when it is done and durable; it is
    /// in effect sooner, and one without an id resolves then: it is durable no later than what is asked for after it. What was begun is
    /// finished although nobody waits for it any more. Refused where its id is another command's or a replay's, and with nothing done where
    /// the store is closed or has failed.
    fn ask(&self, command: Command) -> Answer<'_, Done>;

    /// All replays that are known, newest first.
    fn replays(&self) -> Answer<'_, Vec<ReplayProgress>>;

    /// Begins a replay that is not known, or writes down how far one has come, which is never back. Resolves with what is known, once
    /// that is durable. Without waiting, what was asked for before is before it.
    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress>;

    /// What was written down under a key; nothing where nothing was, or where it was lost.
    fn memo(&self, key: &str) -> Answer<'_, Option<String>>;

    /// Writes something down under a key, in the place of what stood there: at most [`MEMO_BYTES_MAX`] bytes under one of [`MEMOS_MAX`] keys,
    /// and nothing that is of a person. It is known at once, and resolves when the end of the process would not undo it. Where it cannot be
    /// written now that is an error, and it is written later. It may be lost with what is kept beside the journal, and not by making that anew.
    fn keep_memo(&self, key: &str, text: String) -> Answer<'_, ()>;

    /// A walk over all that is kept of somebody, that only looks or erases it. Afterwards an erased event is known by its id, is on no list, goes out
    /// to nobody, also by no replay, and its deliveries are dropped, but for attempts that are in flight; all others are as they were.
    fn erase(&self, whom: Whom, depth: Depth) -> Box<dyn Erasing>;

    /// Says what is kept from now on.
    fn retain(&self, retention: Retention);

    /// Makes everything settled so far durable and closes: later appends are refused.
    fn close(&self) -> BoxFuture<'_, ()>;
}
