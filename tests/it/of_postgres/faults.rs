//! The way to a server, where the server is hurt: what is known then, and what is not.

use std::time::Duration;

use vero_relay::store::postgres::{Link, Snapshot, Step, ToSql, Trouble};

use super::link::address;
use super::{Place, Server, Setup, Stop, contract_server, schema};
use crate::harness::eventually;

#[track_caller]
fn away<T: std::fmt::Debug>(result: Result<T, Trouble>, says: &str) {
    let trouble = result.expect_err("the server is away");
    assert!(matches!(&trouble, Trouble::Away(text) if text.contains(says)), "{says}: {trouble:?}");
}

/// Waits until a backend, known by the purpose of its link, waits for something, and gives its process.
async fn waiting(server: &Server, purpose: &str, on: &str) -> String {
    let asked = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'vero-relay {purpose}' AND wait_event = '{on}' AND state = 'active'"
    );
    let mut pid = String::new();
    eventually(&format!("{purpose} to wait for {on}"), async || {
        pid = server.query(&asked).await.pop().and_then(|mut row| row.pop()).unwrap_or_default();
        !pid.is_empty()
    })
    .await;
    pid
}

#[tokio::test]
async fn a_connection_that_is_ended_amid_a_statement_leaves_its_outcome_open() {
    let server = contract_server();
    let link = Link::open(&address(&server.url(), "gone"), "ended").await.expect("it opens");
    let (answer, _) = tokio::join!(link.rows("SELECT pg_sleep(600)", &[]), async {
        let pid = waiting(server, "ended", "PgSleep").await;
        server.query(&format!("SELECT pg_terminate_backend({pid})")).await;
    });
    away(answer, "terminating connection due to administrator command (57P01)");
    eventually("the link to notice", async || !link.is_open()).await;
    away(link.rows("SELECT 1", &[]).await, "the connection has ended");
}

#[tokio::test]
async fn a_connection_that_is_ended_at_rest_says_why() {
    let server = contract_server();
    let link = Link::open(&address(&server.url(), "gone"), "resting").await.expect("it opens");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vero-relay resting'";
    server.query(end).await;
    eventually("the link to notice", async || !link.is_open()).await;
    away(link.rows("SELECT 1", &[]).await, "administrator command (57P01)");
    away(link.script("SELECT 1").await, "administrator command (57P01)");
}

#[tokio::test]
async fn a_statement_that_is_cancelled_may_be_said_again() {
    let server = contract_server();
    let link = Link::open(&address(&server.url(), "gone"), "cancelled").await.expect("it opens");
    let (answer, _) = tokio::join!(link.rows("SELECT pg_sleep(600)", &[]), async {
        let pid = waiting(server, "cancelled", "PgSleep").await;
        server.query(&format!("SELECT pg_cancel_backend({pid})")).await;
    });
    assert!(matches!(answer, Err(Trouble::Again(_))), "{answer:?}");
    link.rows("SELECT 1", &[]).await.expect("it stays open");
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_until_the_deadline_and_no_longer() {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let still = format!("{}?connect_timeout=1", server.url());
    let link = Link::open(&address(&still, "gone"), "test").await.expect("it opens");
    let link = link.with_deadline(Duration::from_millis(200));
    server.suspend();
    away(link.rows("SELECT 1", &[]).await, "has not answered within 200ms");
    assert!(!link.is_open());
    away(Link::open(&address(&still, "gone"), "test").await, "does not answer");
    // One that stands still is passed over like one that is gone.
    let other = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let both =
        format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?connect_timeout=1", server.port, other.port);
    let link = Link::open(&address(&both, "gone"), "test").await.expect("it opens");
    assert_eq!(link.whom(), format!("PostgreSQL at 127.0.0.1:{}", other.port));
    server.resume();
    Link::open(&address(&server.url(), "gone"), "test").await.expect("it opens");
}

#[tokio::test]
async fn of_two_hosts_the_one_that_takes_writes_is_used_whichever_it_is_now() {
    let primary = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let standby = primary.standby("second").await;
    let both = format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", standby.port, primary.port);
    let open = async || Link::open(&address(&both, "gone"), "test").await;
    let whom = |server: &Server| format!("PostgreSQL at 127.0.0.1:{}", server.port);
    assert_eq!(open().await.expect("it opens").whom(), whom(&primary));
    primary.kill().await;
    let trouble = open().await.map(drop).expect_err("nobody takes writes");
    assert!(matches!(&trouble, Trouble::Away(text) if text.contains("is a standby")), "{trouble:?}");
    assert!(
        trouble.to_string().contains(&format!("{} was not reached: Connection refused", whom(&primary))),
        "{trouble}"
    );
    standby.promote().await;
    assert_eq!(open().await.expect("it opens").whom(), whom(&standby));
}

#[tokio::test]
async fn a_server_that_was_restarted_is_reached_anew_and_one_that_is_starting_is_away() {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let link = Link::open(&address(&server.url(), "gone"), "test").await.expect("it opens");
    server.stop(Stop::Fast).await;
    eventually("the link to notice", async || !link.is_open()).await;
    away(link.rows("SELECT 1", &[]).await, "the connection has ended");
    away(Link::open(&address(&server.url(), "gone"), "test").await, "was not reached");
    server.go_on().await;
    Link::open(&address(&server.url(), "gone"), "test").await.expect("it opens");
}

#[tokio::test]
async fn a_database_that_is_read_only_is_told_from_a_standby() {
    let server =
        Server::start(Setup { settings: &[("default_transaction_read_only", "on")], ..Setup::default() }).await;
    away(Link::open(&address(&server.url(), "gone"), "test").await, "default_transaction_read_only is on");
}

#[tokio::test]
async fn connections_that_are_used_up_are_no_lasting_trouble() {
    let settings = [("max_connections", "3"), ("superuser_reserved_connections", "1"), ("max_wal_senders", "0")];
    let server = Server::start(Setup { settings: &settings, ..Setup::default() }).await;
    server.query("CREATE ROLE relay LOGIN").await;
    let address = address(&server.url_as("relay"), "gone");
    let mut links = Vec::new();
    // The connection that made the role may still be ending.
    eventually("two to be open", async || {
        links.extend(Link::open(&address, "test").await);
        links.len() == 2
    })
    .await;
    away(Link::open(&address, "test").await, "max_connections");
    drop(links.pop());
    eventually("there to be room again", async || Link::open(&address, "test").await.is_ok()).await;
    links[0].rows("SELECT 1", &[]).await.expect("rows");
}

/// A server whose commits wait for a standby that never comes.
async fn without_its_standby() -> Server {
    let server = Server::start(Setup::default()).await;
    server
        .query("CREATE SCHEMA vero_relay; CREATE TABLE vero_relay.t (n int8); CREATE TABLE vero_relay.meta AS SELECT 1")
        .await;
    server.wait_for("nobody").await;
    server
}

#[tokio::test]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_succeeds_with_a_warning_that_is_never_late() {
    let server = without_its_standby().await;
    let link = Link::open(&address(&server.url(), "vero_relay"), "append").await.expect("it opens");
    for n in 0..20_i64 {
        let values: [&(dyn ToSql + Sync); 1] = [&n];
        let (answer, _) = tokio::join!(link.rows_said("INSERT INTO t VALUES ($1) RETURNING n", &values), async {
            let pid = waiting(&server, "append", "SyncRep").await;
            server.query(&format!("SELECT pg_cancel_backend({pid})")).await;
        });
        let (rows, warnings) = answer.expect("success, of all things");
        assert_eq!(rows.len(), 1);
        assert!(
            warnings.iter().any(|warning| warning.message.contains("synchronous replication")),
            "{n}: {warnings:?}"
        );
    }
    // Of a transaction it comes with the commit.
    let steps = [Step { sql: "INSERT INTO t VALUES ($1)", values: &[&99_i64] }];
    let (done, _) = tokio::join!(link.transaction(Snapshot::Each, &steps, |_| true), async {
        let pid = waiting(&server, "append", "SyncRep").await;
        server.query(&format!("SELECT pg_cancel_backend({pid})")).await;
    });
    let done = done.expect("success");
    assert!(done.is_committed);
    assert_eq!(done.warnings.len(), 1, "{:?}", done.warnings);
    let said = link.rows_said("SELECT 1", &[]).await.expect("rows").1;
    assert_eq!(said, [], "a warning belongs to the call that it came with");
}

#[tokio::test]
async fn what_is_wanted_for_sure_waits_once_more_for_the_standby_where_its_wait_was_cancelled() {
    let server = without_its_standby().await;
    let link = Link::open(&address(&server.url(), "vero_relay"), "sure").await.expect("it opens");
    let insert = "INSERT INTO t VALUES (1) RETURNING n";
    let cancel = async || {
        let pid = waiting(&server, "sure", "SyncRep").await;
        server.query(&format!("SELECT pg_cancel_backend({pid})")).await;
        // Until the next one waits, it is the same.
        pid
    };
    let (answer, _) = tokio::join!(link.rows_for_sure(insert, &[]), async {
        for _ in 0..4 {
            cancel().await;
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vero-relay sure' AND wait_event = 'SyncRep'
                AND query LIKE '%KEY SHARE%'";
            eventually("its wait to end", async || !link.is_open() || server.value(waits).await != "2").await;
        }
    });
    away(answer, "a commit was answered with a warning");
    let (answer, _) = tokio::join!(link.rows_for_sure(insert, &[]), async {
        cancel().await;
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vero-relay sure' AND wait_event = 'SyncRep'
            AND query LIKE '%KEY SHARE%'";
        eventually("it to wait once more", async || server.value(asked).await == "1").await;
        server.change("synchronous_standby_names", "").await;
    });
    assert_eq!(answer.expect("it is there").len(), 1, "and was done once");
    assert_eq!(server.value("SELECT count(*) FROM vero_relay.t").await, "2");
}

#[tokio::test]
async fn a_commit_that_waits_for_the_standby_is_given_up_by_the_deadline_and_never_cancelled() {
    let server = without_its_standby().await;
    let link = Link::open(&address(&server.url(), "vero_relay"), "append").await.expect("it opens");
    let link = link.with_deadline(Duration::from_millis(300));
    away(link.rows("INSERT INTO t VALUES (1)", &[]).await, "is not known");
    // Nobody else sees it: it still waits, as a commit that was cancelled would not.
    assert_eq!(server.value("SELECT count(*) FROM vero_relay.t").await, "0");
    assert!(!server.log().contains("canceling statement"), "{}", server.log());
    // Its wait goes on until it is told to end, or the standby is there: the row is then seen.
    server.change("synchronous_standby_names", "").await;
    eventually("the commit to be seen", async || server.value("SELECT count(*) FROM vero_relay.t").await == "1").await;
}

#[tokio::test]
async fn a_transaction_of_which_the_connection_breaks_is_not_known_to_be_one() {
    let server = contract_server();
    let schema = schema();
    server.query(&format!("CREATE TABLE {schema}.t (n int8)")).await;
    let link = Link::open(&address(&server.url(), &schema), "broken").await.expect("it opens");
    let steps =
        [Step { sql: "INSERT INTO t VALUES (1)", values: &[] }, Step { sql: "SELECT pg_sleep(600)", values: &[] }];
    let (done, _) = tokio::join!(link.transaction(Snapshot::Each, &steps, |_| true), async {
        let pid = waiting(server, "broken", "PgSleep").await;
        server.query(&format!("SELECT pg_terminate_backend({pid})")).await;
    });
    away(done, "57P01");
    assert_eq!(server.value(&format!("SELECT count(*) FROM {schema}.t")).await, "0");
}
