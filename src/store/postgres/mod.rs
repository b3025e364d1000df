//! The store on PostgreSQL: one queue that several relays share. It keeps the contract of any [`Store`](super::Store), and the contract tests'
//! `cluster` says what several relays keep besides. docs/cluster.md tells it to people, ARCHITECTURE.md how it differs from the journal.
//!
//! # Cast
//!
//! In and out: [`PostgresStore`] (`store`) is the handle, with `looking` what people see, and `shown` what
//! an owner says for who looks from elsewhere. `opening_store` opens it and starts its tasks;
//! `running`: what these and the callers share. `backing`: what the queues in memory need. What waits is in memory, in the [queues](super::queues) that any backend has.
//!
//! * `append`: the task that takes events in, some at a time (`group`), with `numbers` of a sequence; `tide`: how far each stream has come; `publish`: how they come to the queues of this process.
//! * `follow`: the task that reads what other relays take in; `following`: how far it has come. `recent`: the newest events in memory.
//! * `floors`: where each destination's queue begins to be read when it is taken over. `flush`: the task that writes down what has changed in queues, which waits in the `outbox`; `statements`: as SQL. `unwritten`:
//!   what becomes of a destination where that fails.
//! * `heart`: the task that beats and sees who there is; `cluster`: who does what among the relays, pure. `ownership`: the right to a
//!   destination; `house`: what one does for all, of which `segments`: how they come and go, and `carrying`: what outlives its own; `expiring`: dead letters that are kept no longer; `beginning`: the task that reads its queue when that is taken, by `load`.
//! * `commands`: what is asked of a destination or source; `choosing`: which deliveries it means; `moving`: what
//!   goes from one destination to another, by the `handover` between two relays; `wire`: as the database has it. `holds`, `sources`: how sources stand, and what they had held. `replays`.
//! * `names`, `intern`: the numbers of names. `erasing`: forgetting a person.
//! * `look`, [`Looker`]: lists, and what became of events, by what lies in the database alone. `reading`: events by their numbers. `rows`: what
//!   a row says. `spans`, [`Span`]: which segments may hold which events. `reader`, `asks`, [`Asks`]: the connections for that.
//! * `schema`, [`Schema`]: the tables (`schema.sql`, `segment.sql`), and what changes them from one version to the next. `checking`, [`check()`]: whether
//!   what they hold is right. `transfer`, [`Quiet`], [`Import`]: what it has is written for a store elsewhere, and taken in from one. `usage`: how much
//!   there is. `overview`: who does what, for people. `random`: numbers that nobody guesses.
//!
//! The way to a server:
//!
//! * `address`, [`Address`]: which servers, as whom, and into which schema; read from a URL by `parameters`. `encryption`: whose
//!   certificates are taken.
//! * `link`, [`Link`]: one connection, for one purpose. `transaction`: several statements as one.
//! * `session`: what the link stands on: the client, and the task that reads. `opening` makes one: it tries one host after another, and
//!   looks whether the session is as it must be.
//! * `trouble`, [`Trouble`]: why there is no answer, and what follows from that.
//! * `again`, [`Again`]: how long to wait before a server is tried again.
//!
//! # What holds for each connection
//!
//! A statement is prepared once and kept by its text; nothing else is kept in a connection, and nothing relies on its being the same as
//! before. Nothing is ever cancelled: a commit that waits for its standby and is cancelled *succeeds*, with a warning. So who waits too
//! long closes the connection, and does not know what became of the statement.

mod address;
mod again;
mod append;
mod asks;
mod backing;
mod beginning;
mod carrying;
mod checking;
mod choosing;
pub mod cluster;
mod commands;
mod encryption;
mod erasing;
mod expiring;
mod floors;
mod flush;
mod follow;
mod following;
mod group;
mod handover;
mod heart;
mod holds;
mod house;
mod intern;
mod link;
mod load;
mod look;
mod looking;
mod moving;
mod names;
mod numbers;
mod opening;
mod opening_store;
mod outbox;
mod overview;
mod ownership;
mod parameters;
mod publish;
mod random;
mod reader;
mod reading;
mod recent;
mod replays;
mod rows;
mod running;
mod schema;
mod segments;
mod session;
mod shown;
mod sources;
mod spans;
mod statements;
mod store;
mod tide;
mod transaction;
mod transfer;
mod trouble;
mod unwritten;
mod usage;
mod wire;

pub use tokio_postgres::Row;
pub use tokio_postgres::types::ToSql;

pub use self::address::{Address, AddressOptions};
pub use self::again::Again;
pub use self::asks::Asks;
pub use self::checking::{Answered, Checked, NAMED_MAX, Wrong, check};
pub use self::encryption::Tls;
pub use self::link::Link;
pub use self::look::{Looker, spans};
pub use self::opening_store::Options;
pub use self::overview::{DutyShown, Overview, RelayShown, ServerShown};
pub use self::parameters::AddressError;
pub use self::reading::{Found, find, read_some};
pub use self::rows::{EVENT, EventRow, stored};
pub use self::schema::{Migration, Schema};
pub use self::session::Warning;
pub use self::spans::{CARRIED, Span};
pub use self::store::PostgresStore;
pub use self::transaction::{Snapshot, Step, Transaction};
pub use self::transfer::{Import, Quiet};
pub use self::trouble::Trouble;
