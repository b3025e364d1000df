//! A real PostgreSQL for the tests. `make test` installs it; where there is none, a test that needs it fails and says what to do.
//!
//! * `programs`: where its programs are, and as whom they run: they refuse to run as root.
//! * `run`: all that one run of the tests has of it: a directory, a cluster to copy, and a shell that ends what is left over when the
//!   process of the tests has ended, however it did.
//! * `server`, [`Server`]: one server. Contracts share the [`contract_server`], each in a [`schema`] of its own; faults start theirs,
//!   `standby`s too, and hurt them.

mod programs;
pub mod run;
mod server;
mod standby;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use self::server::{Place, Server, Setup, Stop};

/// The server that all tests share that do not hurt it. It does not wait for a disk.
pub fn contract_server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let setup = Setup { settings: &[("max_connections", "400")], ..Setup::default() };
    SHARED.get_or_init(|| server::on_a_thread(|| Server::start(setup)))
}

/// A schema on the shared server that is nobody else's.
pub fn schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    contract_server().address(&name);
    name
}

/// What a server answers to some statements, the last one's rows, for a test that is not asynchronous.
pub fn asked(server: &Server, sql: &str) -> Vec<Vec<String>> {
    server::on_a_thread(|| server.query(sql))
}
