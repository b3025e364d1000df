//! A second server that follows the first.

use super::run::run;
use super::server::{Place, Server, Setup};
use crate::harness::eventually;

impl Server {
    /// Starts a standby of this server, which must listen on loopback, by a name. It follows, but nobody waits for it: that is
    /// [`wait_for`](Server::wait_for).
    pub async fn standby(&self, name: &str) -> Server {
        let directory = run().next_directory();
        let (to, port) = (directory.to_str().expect("a plain path"), self.port.to_string());
        let from =
            ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-D", to, "-X", "stream", "-c", "fast", "--no-sync"];
        // On a thread, since it waits for the server, and the tests for it.
        let from = from.map(str::to_owned);
        let copied =
            tokio::task::spawn_blocking(move || run().done("pg_basebackup", &from.each_ref().map(String::as_str)));
        copied.await.expect("copied");
        let primary = format!("host=127.0.0.1 port={port} user=postgres application_name={name}");
        let setup = Setup {
            place: Place::Loopback,
            settings: &[("primary_conninfo", &primary.replace('\'', "''")), ("wal_receiver_status_interval", "1")],
            // What was changed on the first while it ran stays with the first.
            files: &[("standby.signal", b""), ("postgresql.auto.conf", b"")],
            ..Setup::default()
        };
        let standby = Server::start_on(directory, setup).await;
        eventually("the standby to follow", async || {
            let asked = format!(
                "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming'"
            );
            self.value(&asked).await == "1"
        })
        .await;
        standby
    }

    /// From now on a commit waits for a standby, which need not be there.
    pub async fn wait_for(&self, name: &str) {
        self.change("synchronous_standby_names", name).await;
    }

    /// Makes a standby take writes.
    pub async fn promote(&self) {
        assert_eq!(self.value("SELECT pg_promote()").await, "t");
    }
}
