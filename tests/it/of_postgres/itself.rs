//! The tests of what the other tests stand on.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::run::{living_below, run};
use super::{Place, Server, Setup, Stop, contract_server, schema};
use crate::harness::eventually;

#[tokio::test]
async fn no_process_and_no_file_of_it_belongs_to_root() {
    let server = contract_server();
    let user = std::fs::metadata(&server.directory).expect("there").uid();
    match run().account {
        Some((account, _)) => assert_eq!(user, account),
        None => assert_eq!(user, rustix::process::geteuid().as_raw()),
    }
    assert_ne!(user, 0);
    let processes = server.processes();
    assert!(processes.len() > 3, "the server and its children were found: {processes:?}");
    for id in processes {
        // One that is asked for may have ended.
        let Ok(of) = std::fs::metadata(format!("/proc/{id}")) else { continue };
        assert_eq!(of.uid(), user, "{id}");
    }
}

#[tokio::test]
async fn each_schema_is_nobody_elses() {
    let (one, other) = (schema(), schema());
    assert_ne!(one, other);
    contract_server().query(&format!("CREATE TABLE {one}.t (); CREATE TABLE {other}.t ()")).await;
}

#[tokio::test]
async fn two_servers_stand_side_by_side_and_know_nothing_of_each_other() {
    let setup = Setup { place: Place::Loopback, settings: &[("max_connections", "7")], ..Setup::default() };
    let (one, other) = (Server::start(setup).await, Server::start(Setup::default()).await);
    assert_ne!(one.port, other.port);
    one.query("CREATE TABLE t ()").await;
    other.query("CREATE TABLE t ()").await;
    assert_eq!(one.value("SHOW max_connections").await, "7");
    let fsync = (one.value("SHOW fsync").await, other.value("SHOW fsync").await);
    assert_eq!(fsync, ("on".to_owned(), "off".to_owned()));
    let (directory, before) = (other.directory.clone(), other.processes());
    assert!(!before.is_empty());
    drop(other);
    assert!(!directory.exists() && living_below(&directory).is_empty(), "it goes with its test");
    assert_eq!(one.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn what_was_committed_is_there_again_however_it_was_stopped() {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    server.query("CREATE TABLE t (n int)").await;
    for n in 0..4 {
        server.query(&format!("INSERT INTO t VALUES ({n})")).await;
        match n {
            0 => server.restart(Stop::Fast).await,
            1 => server.restart(Stop::Immediate).await,
            _ => {
                server.kill().await;
                assert!(server.processes().is_empty());
                assert!(server.try_query("SELECT 1").await.is_err(), "nobody is there");
                server.go_on().await;
            }
        }
        assert_eq!(server.value("SELECT count(*) FROM t").await, (n + 1).to_string());
    }
}

#[tokio::test]
async fn a_promoted_standby_has_what_was_acknowledged() {
    let primary = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    primary.query("CREATE TABLE t (n int)").await;
    let standby = primary.standby("second").await;
    primary.wait_for("second").await;
    eventually("it to be waited for", async || {
        primary.value("SELECT sync_state FROM pg_stat_replication").await == "sync"
    })
    .await;
    for n in 0..20 {
        primary.query(&format!("INSERT INTO t VALUES ({n})")).await;
    }
    primary.kill().await;
    let refused = standby.try_query("INSERT INTO t VALUES (99)").await.expect_err("it takes no writes yet");
    assert_eq!(refused.code().map(|code| code.code()), Some("25006"));
    standby.promote().await;
    assert_eq!(standby.value("SELECT count(*) FROM t").await, "20");
    standby.query("INSERT INTO t VALUES (99)").await;
}

#[tokio::test]
async fn what_it_uses_of_the_processor_is_counted_also_of_what_has_ended() {
    let server = Server::start(Setup::default()).await;
    let before = server.cpu_seconds();
    server.query("SELECT count(*) FROM generate_series(1, 1500000) n WHERE sqrt(n) > 3").await;
    eventually("the time to be counted", async || server.cpu_seconds() > before).await;
}

#[tokio::test]
#[should_panic(expected = "division by zero")]
async fn a_question_that_fails_shows_what_the_server_wrote() {
    contract_server().query("SELECT 1 / 0").await;
}

/// Where the process of the test below writes where it is.
const DIRECTORY: &str = "VERO_RELAY_TEST_POSTGRES";

/// Runs servers until it is killed, for the tests that start it.
#[tokio::test]
async fn the_process_that_leaves_servers_behind() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    contract_server();
    let own = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let suspended = Server::start(Setup::default()).await;
    suspended.suspend();
    let told = Path::new(&directory).join("told");
    std::fs::write(&told, run().directory.to_str().expect("a plain path")).expect("written");
    std::fs::rename(told, Path::new(&directory).join("ready")).expect("renamed");
    let mut end = [0];
    let _ = std::io::stdin().read(&mut end);
    std::mem::forget((own, suspended));
    std::process::exit(0);
}

/// Starts that process, and waits until its servers run.
async fn started(at: &Path) -> (Child, PathBuf) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["of_postgres::itself::the_process_that_leaves_servers_behind", "--exact", "--nocapture"])
        .env(DIRECTORY, at);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    eventually("its servers to run", async || at.join("ready").exists()).await;
    let directory = PathBuf::from(std::fs::read_to_string(at.join("ready")).expect("read"));
    assert!(living_below(&directory).len() > 10, "three servers with their children");
    (child, directory)
}

#[tokio::test]
async fn nothing_is_left_of_tests_that_were_killed() {
    let at = tempfile::tempdir().expect("a directory");
    let (mut child, directory) = started(at.path()).await;
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    eventually("nothing to be left", async || !directory.exists() && living_below(&directory).is_empty()).await;
}

#[tokio::test]
async fn nothing_is_left_of_tests_that_have_ended() {
    let at = tempfile::tempdir().expect("a directory");
    let (mut child, directory) = started(at.path()).await;
    drop(child.stdin.take());
    assert!(child.wait().expect("it is ours").success());
    eventually("nothing to be left", async || !directory.exists() && living_below(&directory).is_empty()).await;
}
