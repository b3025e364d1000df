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
//! * [`Selecting`]: what an operator, or a limit, does to deliveries that are settled or wait: again, buried, dropped.
//! * [`Standing`]: how a destination stands: paused, its breaker open, removed from the config.
//! * [`NameId`]: a destination, source or rule, numbered for good when the store first hears its name.
//!
//! # Not promised
//!
//! Exactly once; order, within a destination or between two; that a settlement is durable when `settle` returns.

pub mod journal;
pub mod lock;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

pub use self::words::*;
use crate::event::EventId;

/// The durable queue behind the relay. See the [module](self) for who is who.
///
/// No call blocks on another destination. All may be called from any thread; those that touch the disk say so.
pub trait Store: Send + Sync + 'static {
    /// Numbers a name, or finds its number. The number is durable no later than the first event that uses it.
    fn name(&self, kind: NameKind, name: &str) -> NameId;

    /// The name behind a number.
    fn name_of(&self, id: NameId) -> Option<Arc<str>>;

    /// The names of one kind that something refers to, or did until a moment ago, with their numbers.
    fn names(&self, kind: NameKind) -> Vec<(NameId, Arc<str>)>;

    /// The number of a name, if it has one.
    fn find(&self, kind: NameKind, name: &str) -> Option<NameId>;

    /// The number that had a name before it was renamed, unless the name has come to another since.
    fn former(&self, kind: NameKind, name: &str) -> Option<NameId>;

    /// Whether there is room for names beside those that are known.
    fn room_for_names(&self, names: &[(NameKind, &str)]) -> Result<(), NamesFull>;

    /// Says which names the config in force uses, and which generation it is. Those that neither it nor the one before uses go, when
    /// no event and no queue refers to them any more. Events of an older generation are refused from then on.
    fn use_names(&self, generation: u32, ids: &[NameId]);

    /// Takes an event in. The receiver resolves once the event and its deliveries are durable, or cannot be made so.
    /// Dropping the receiver cancels nothing.
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>>;

    /// Hands out at most `max` deliveries of one destination that are due: released ones first, then due retries and first
    /// attempts in turn. Empty while the destination is paused.
    fn claim(&self, destination: NameId, max: usize) -> Vec<Claim>;

    /// The event of a claim, if it is still in memory.
    fn recent(&self, sequence: u64) -> Option<Arc<StoredEvent>>;

    /// The event of a claim. Reads the disk when it is not in memory any more.
    fn read(&self, claim: &Claim) -> Result<Arc<StoredEvent>, ReadError>;

    /// Says what became of claims. Takes effect at once, is written within 100 ms and durable within a second.
    fn settle(&self, settlements: Vec<(Claim, Settlement)>);

    /// Takes notes of attempts that failed, for who wants to know later. They may be lost; nothing depends on them.
    fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>);

    /// When the destination next has a retry due, unix milliseconds. `None`: nothing is postponed.
    fn next_due(&self, destination: NameId) -> Option<u64>;

    /// Is notified whenever the destination may have something new to claim: an event, or the end of a pause. Not for a claim that
    /// was handed back.
    fn wakeup(&self, destination: NameId) -> Arc<Notify>;

    /// How a destination, or a source, stands.
    fn standing(&self, destination: NameId) -> Standing;

    /// Holds a destination's queue until [`resume`](Self::resume), across restarts. A second call changes nothing. A source can be
    /// paused as well; that its events are refused then is the caller's business.
    fn pause(&self, destination: NameId, reason: &str);

    /// Holds a source until [`resume`](Self::resume), across restarts: what is appended from then on is durable and no claim. Ends a
    /// pause of the source. Is in force for what is appended later.
    fn hold(&self, source: NameId);

    /// The events of a source that are held.
    fn held(&self, source: NameId) -> NumberSet;

    /// Waits until everything that was said so far is durable; where there is no room on the disk, until it waits for room, which
    /// [`durable`](Self::durable) tells from it. Blocks on the disk.
    fn sync(&self) -> Result<(), AppendError>;

    /// Lets a paused destination go on. Its postponed deliveries are due now, and the time it was paused does not count.
    /// Returns whether it was paused.
    fn resume(&self, destination: NameId) -> bool;

    /// Resolves once everything that was asked for so far is durable: pauses, their ends, and whatever else takes effect at once. Where
    /// there is no room on the disk it waits.
    fn durable(&self) -> oneshot::Receiver<Result<u64, AppendError>>;

    /// Makes a destination's postponed deliveries due now.
    fn retry_now(&self, destination: NameId);

    /// Says that a destination's breaker has opened, so that time does not count, or has closed.
    fn set_open(&self, destination: NameId, is_open: bool);

    /// Says that the config does not name a destination any more, or that it does again.
    fn set_removed(&self, destination: NameId, is_removed: bool);

    /// Gives a name to a number that had another, with everything that its queue is. Only where the new name has no number yet, or
    /// one whose queue is blank, which is called something else from then on; returns whether it was done.
    fn rename(&self, id: NameId, name: &str) -> bool;

    /// Moves everything that one destination's queue is to another's: what waits and what is scheduled, dead letters, a pause. What is
    /// in flight ends where it began. A crash in between may deliver twice, and loses nothing. Reads the index.
    fn take_over(&self, from: NameId, to: NameId) -> TakenOver;

    /// Whether nothing waits for a destination, nothing of it is dead, and it is neither paused nor down.
    fn is_blank(&self, id: NameId) -> bool;

    /// Does something to some deliveries of one destination, named by their events' numbers. Takes effect at once; the receiver
    /// resolves with how many it was done to, once it is durable. What is under way is left alone, and what is already as asked.
    fn select(&self, selection: Selection) -> oneshot::Receiver<Result<u64, AppendError>>;

    /// What waits for a destination and is not under way.
    fn waiting(&self, destination: NameId) -> NumberSet;

    /// What waits for a destination and keeps the journal from being trimmed: first attempts and deliveries to go out again, but none
    /// that a source had held.
    fn pinning(&self, destination: NameId) -> NumberSet;

    /// What waits for a destination, was never attempted, and came longer ago than this, by the time that the store has lived through.
    /// What its source had held came when that was resumed.
    fn stale(&self, destination: NameId, age: Duration) -> NumberSet;

    /// One page of a destination's dead letters whose events are older than `before`, newest event first. Looks at a bounded number
    /// of them, so a page may hold fewer than `max` and not be the last. Reads the index.
    fn dead_letters(
        &self,
        destination: NameId,
        query: &DeadQuery,
        before: u64,
        max: usize,
    ) -> Result<Page<DeadLetter>, ReadError>;

    /// All dead letters of a destination.
    fn dead(&self, destination: NameId) -> NumberSet;

    /// What is known of the attempts at a delivery, oldest first. Reads the index.
    fn attempts(&self, key: DeliveryKey) -> Result<Vec<AttemptNote>, ReadError>;

    /// The numbers of the events that the history holds.
    fn history(&self) -> std::ops::Range<u64>;

    /// The number below which everything arrived longer ago than this, by the time that the store has lived through and not by what
    /// clocks said.
    fn older_than(&self, age: Duration) -> u64;

    /// The number of the first event in the history that arrived at or after a time; the end of the history if none did.
    fn first_since(&self, at_ms: u64) -> Result<u64, ReadError>;

    /// Reads events of a stretch of the history in order and shows each to `visit` until it says that it is enough.
    fn scan(&self, stretch: std::ops::Range<u64>, visit: &mut dyn FnMut(StoredEvent) -> bool) -> Result<(), ReadError>;

    /// Writes down how far a replay has come.
    fn set_replay(&self, progress: ReplayProgress) -> oneshot::Receiver<Result<u64, AppendError>>;

    /// All replays that are known, newest first.
    fn replays(&self) -> Vec<ReplayProgress>;

    /// One event and where its deliveries stand. Reads the disk.
    fn event(&self, id: EventId) -> Result<EventView, ReadError>;

    /// Where all deliveries of some events stand, also to where only a replay sent them, and how those that are over ended. Searches
    /// the journal behind the events, in one pass for all of them.
    fn states(&self, events: &[Arc<StoredEvent>], search: &mut SearchLimit) -> Result<Vec<States>, ReadError>;

    /// The event behind a number, wherever it lies. Reads the disk.
    fn event_by_number(&self, sequence: u64) -> Result<Arc<StoredEvent>, ReadError>;

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

    /// Remembers something small about a destination, like what its section of the config was. It may be forgotten; `None` then.
    /// Returns at once.
    fn set_fact(&self, destination: NameId, fact: &str);

    /// What was remembered, by what is in memory.
    fn fact(&self, destination: NameId) -> Option<String>;

    /// Writes a consistent copy of everything into an empty directory, while the store goes on. Blocks on the disk.
    fn backup(&self, directory: &std::path::Path) -> Result<(), BackupError>;

    /// What has become of the store's files, if they are not what it left there: removed, replaced, written to by another. Reads
    /// the disk.
    fn trouble(&self) -> Option<String>;

    /// Refuses everything from now on, for a reason: the process is expected to end.
    fn fail(&self, why: &str);

    /// What an acknowledgement is worth.
    fn durability(&self) -> Durability;

    /// Whether the store can do its work, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// Writes down where everything stands, so that closing, and the next start, have little to do. Blocks on the disk.
    fn checkpoint(&self);

    /// Makes everything settled so far durable and closes: later appends are refused. Blocks on the disk.
    fn close(&self);
}

/// A set of events' numbers, one bit each.
pub type NumberSet = journal::Bitmap;

/// What is done to which deliveries.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of which destination.
    pub destination: NameId,
    /// What is done.
    pub act: Selecting,
    /// Why.
    pub reason: String,
    /// The replay that it is part of; 0 for none.
    pub replay: u128,
    /// Which events.
    pub sequences: NumberSet,
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
