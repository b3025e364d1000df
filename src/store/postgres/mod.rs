//! The queue in PostgreSQL, where several relays share it. It is being built: what there is so far is the way to a server,
//! who does what among the relays, and a look at what lies there. No config names one yet.
//!
//! # Cast
//!
//! * `address`, [`Address`]: which servers, as whom, and into which schema; read from a URL by `parameters`. `encryption`: whose
//!   certificates are taken.
//! * `link`, [`Link`]: one connection, for one purpose. `transaction`: several statements as one.
//! * `session`: what the link stands on: the client, and the task that reads. `opening` makes one: it tries one host after another, and
//!   looks whether the session is as it must be.
//! * `trouble`, [`Trouble`]: why there is no answer, and what follows from that.
//! * `again`, [`Again`]: how long to wait before a server is tried again.
//! * `cluster`: who does what among the relays. Pure: a heartbeat's view goes in, moves come out.
//! * `asks`, [`Asks`]: how what only reads asks the database. `spans`, [`Span`]: which segments may hold which events.
//! * `rows`: what a row says. `reading`: events by their numbers.
//! * `look`, [`Looker`]: lists, and what became of events, by what lies in the database alone.
//!
//! # What holds for each connection
//!
//! A statement is prepared once and kept by its text; nothing else is kept in a connection, and nothing relies on its being the same as
//! before. Nothing is ever cancelled: a commit that waits for its standby and is cancelled *succeeds*, with a warning. So who waits too
//! long closes the connection, and does not know what became of the statement.

mod address;
mod again;
mod asks;
pub mod cluster;
mod encryption;
mod link;
mod look;
mod opening;
mod parameters;
mod reading;
mod rows;
mod session;
mod spans;
mod transaction;
mod trouble;

pub use tokio_postgres::Row;
pub use tokio_postgres::types::ToSql;

pub use self::address::{Address, AddressOptions};
pub use self::again::Again;
pub use self::asks::Asks;
pub use self::encryption::Tls;
pub use self::link::Link;
pub use self::look::{Looker, spans};
pub use self::parameters::AddressError;
pub use self::reading::{Found, find, read_some};
pub use self::rows::{EVENT, EventRow, stored};
pub use self::session::Warning;
pub use self::spans::{CARRIED, Span};
pub use self::transaction::{Snapshot, Step, Transaction};
pub use self::trouble::Trouble;
