//! The embedded backend: an append-only journal that is the queue and the truth, and an index beside it over what went wrong.
//!
//! # Limits
//!
//! Each stands once, where it is kept, with its reason. Nothing grows without one.
//!
//! | Of | At most | Why |
//! |---|---|---|
//! | a segment | 4 to 64 MiB, a sixteenth of the history ([`segment_bytes`]) | history goes by whole segments |
//! | its header | 16 MiB ([`HEADER_MAX`](format::HEADER_MAX)), three quarters of it names ([`NAMES_BYTES_MAX`](names::NAMES_BYTES_MAX)) | it repeats all names, so that a segment is read alone |
//! | a group | 4 MiB of bodies ([`GROUP_BYTES_MAX`]) and of record heads ([`GROUP_HEADS_MAX`](format::GROUP_HEADS_MAX)) | the first of its events waits for the sync of all; who reads one reads the heads |
//! | an event | a body of 256 MiB ([`BODY_MAX`](format::BODY_MAX)), a head of 2 MiB ([`RECORD_MAX`](format::RECORD_MAX)) | what is larger could not be read again |
//! | outcomes in a record | 1024 ([`OUTCOMES_MAX`](format::OUTCOMES_MAX)) | a megabyte with the longest reasons |
//! | a bulk act's record | 128 chunks of 65 536 events ([`CHUNKS_MAX`](format::CHUNKS_MAX)) | a megabyte |
//! | a reason, a name | 1024 bytes ([`TEXT_MAX`](super::queues::TEXT_MAX)) | they are kept for each delivery |
//! | scheduled retries of a destination | 10 000 ([`SCHEDULED_MAX`](super::queues::SCHEDULED_MAX)) | they alone cost memory; beyond, no first attempts |
//! | windows, unsettled digests of a destination | 1024, 64 ([`WINDOWS_MAX`](super::WINDOWS_MAX), [`DIGESTS_MAX`](super::DIGESTS_MAX)) | each is looked at by what acts on many deliveries |
//! | what a destination remembers between attempts | 10 000 texts of 1 KiB ([`REMEMBERED_MAX`](super::REMEMBERED_MAX)) | they lie in memory |
//! | events in memory | 8 MiB of bodies ([`RECENT_BODIES_MAX`]) | a destination that keeps up never reads the disk |
//! | an outcome not yet written, not yet synced | 100 ms, 1 s ([`OUTCOMES_WRITTEN_WITHIN`], [`OUTCOMES_SYNCED_WITHIN`]) | what a crash may make happen twice |
//! | updates that the index has not written | 65 536 (`UPDATES_MAX` in `index/worker.rs`) | then it is made again at the next start |
//! | commands, replays remembered | 1000 ([`COMMANDS_MAX`](super::COMMANDS_MAX), [`REPLAYS_MAX`](index::REPLAYS_MAX)) | the same one again is done once |
//! | events, segments ever | 2^62, 2^40 ([`NUMBER_MAX`](format::NUMBER_MAX), [`SEGMENT_MAX`](format::SEGMENT_MAX)) | what says more is damage |
//! | bytes of all | as the config says ([`sizes`]) | then nothing is accepted, and the rest goes on |
//!
//! # Cast
//!
//! In and out: [`store`] is the handle, and with [`intake`] and [`look`] what the traits say of it; [`files`] what only an embedded store has.
//! [`backing`]: what the [queues in memory](super::queues) need of it.
//!
//! * [`open`]: opening, and the threads that go on. [`mod@recover`]: what holds together, where everything stands. [`state`]: what that is.
//! * [`running`]: what all threads and callers share. [`words`]: values they give each other.
//! * [`writer`]: one thread that owns the journal's end: groups, syncs, new segments, letting old ones go. [`inbox`]: what it is told.
//!   [`publish`]: how that takes effect.
//! * [`mod@format`]: the bytes, and nothing that touches a disk. [`segments`]: from an event's number to its bytes. [`segment_name`].
//! * [`recent`]: the newest events in memory, so that a destination that keeps up never reads the disk. [`ends`]: how deliveries ended.
//! * [`erase`]: erasing what is kept of a person, segment after segment. [`redact`]: taking values away from events that are old enough.
//! * [`commands`]: what is done to many deliveries at once.
//! * [`names`]: the numbers of names. [`intern`]: a config's. [`rename`]: a queue under another name.
//! * [`index`]: SQLite, on a thread of its own.
//! * [`upkeep`]: what is done now and then, on another: checkpoints; [`upkeep_inbox`]: how that is asked for. [`mod@retention`]: what is kept no longer. [`arrivals`]: what is how old.
//!   [`sizes`], [`room`]: how much there may be, and whether there is more.
//! * [`backup`], [`verify`]: copies, and their proof. [`transfer`]: what is written for another store, and taken in from one.
//! * [`disk`]: the real disk; in tests `model`, one that fails and forgets on demand, and `by_hand`, what tests do by number. [`blocking`]:
//!   where one waits for the disk.
//!
//! # Reopening
//!
//! Nothing is ever appended to an old segment. What lies past its last durable mark may be on the platter or only in a cache that
//! lied, so it is written again into a new segment and synced before anything is accepted; the new segment's header says where the old
//! one ends. A segment gets its name only when it is complete, so a crash while reopening starts over.

mod arrivals;
mod backing;
mod backup;
mod blocking;
#[cfg(test)]
pub(crate) mod by_hand;
mod commands;
pub mod disk;
mod ends;
mod erase;
mod files;
pub mod format;
mod inbox;
mod index;
mod intake;
mod intern;
mod look;
#[cfg(any(test, feature = "test-support"))]
pub mod model;
mod names;
mod open;
mod publish;
mod recent;
mod recover;
mod redact;
mod rename;
mod retention;
mod room;
mod running;
mod segment_name;
mod segments;
mod sizes;
mod state;
mod store;
mod transfer;
mod upkeep;
mod upkeep_inbox;
pub mod verify;
mod words;
mod writer;

use std::thread::JoinHandle;

pub use self::blocking::Blocking;
pub use self::format::GROUP_BYTES_MAX;
pub use self::index::Location;
pub use self::open::{Options, segment_bytes};
pub use self::recent::BODIES_MAX as RECENT_BODIES_MAX;
pub use self::recover::{OpenError, Opened};
pub use self::transfer::Written;
pub use self::words::Damage;
pub use self::writer::{OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN, OnSync};

#[cfg(test)]
pub(crate) use self::erase::Walk;
#[cfg(test)]
pub(crate) use self::index::Untold;
#[cfg(test)]
pub(crate) use self::redact::Redactor;
use self::running::Journal;
pub use self::store::JournalStore;
pub(crate) use self::writer::Writer;
use crate::store::locks::{lock, reading, writing};

/// How much of the disk a destination that lags reads at once.
const LAG_READ_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
