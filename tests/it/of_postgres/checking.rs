//! `store check`: what somebody has spoiled by hand is named, and what is right is not.

use std::time::Duration;

use serde_json::Value;
use vero_relay::store::postgres::{Answered, Checked, check};

use super::link::address;
use super::{Place, Server, Setup, contract_server, schema};
use crate::cli::{err, out, vero_relay};
use crate::harness::{Fake, HEAD, QUICK, SENT, TestRelay};

const LONG: Duration = Duration::from_secs(600);

/// A config of a relay in a schema, whose one destination is a fake.
fn config(server: &Server, schema: &str, fake: &Fake) -> String {
    format!(
        "{HEAD}store: {{ postgres: {{ url: \"{}\", schema: {schema} }} }}\nrules: [ {{ name: all, to: crm }} ]\n\
         destinations: {{ crm: {{ http: {{ url: \"{}/hook\" }}, {QUICK} }} }}\n",
        server.url(),
        fake.url()
    )
}

/// A relay with three events that wait, and their ids.
async fn with_three(server: &Server, schema: &str) -> (TestRelay, Vec<String>) {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_with(&config(server, schema, &fake)).await;
    assert_eq!(relay.act("/api/destinations/crm/pause").await.status(), 200);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(relay.accept(SENT).await);
    }
    (relay, ids)
}

/// What is wrong, but for what is so of the server of these tests.
fn wrong(Checked { answers, is_whole }: &Checked) -> Vec<&Answered> {
    assert!(is_whole);
    answers.iter().filter(|answered| answered.wrong > 0 && answered.question != "commits are durable").collect()
}

/// Spoils something of three events that wait, and looks what is named of it: by which question, of which of the three, and why.
async fn spoiled(sql: &str, question: &str, of: &[usize], why: &str) {
    let schema = schema();
    let (relay, ids) = with_three(contract_server(), &schema).await;
    relay.running.stop().await;
    let address = address(&contract_server().url(), &schema);
    let before = check(&address, LONG).await.expect("it is asked");
    assert_eq!(wrong(&before), Vec::<&Answered>::new());
    contract_server().query(&format!("SET search_path = {schema}; {}", sql.replace("{id}", &ids[1]))).await;
    let checked = check(&address, LONG).await.expect("it is asked");
    let found = wrong(&checked);
    assert_eq!(found.iter().map(|answered| answered.question).collect::<Vec<_>>(), [question], "{found:?}");
    assert_eq!(found[0].wrong, of.len().max(1) as u64);
    let named: Vec<_> = found[0].named.iter().filter_map(|wrong| wrong.event.clone()).collect();
    assert_eq!(named, of.iter().map(|at| ids[*at].clone()).collect::<Vec<_>>());
    for wrong in &found[0].named {
        assert!(wrong.why.contains(why), "{wrong}");
        assert!(of.is_empty() || wrong.destination.as_deref() == Some("crm"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_deleted_is_named() {
    let sql = "DELETE FROM delivery_1 WHERE n = (SELECT n FROM event_1 WHERE id = '{id}')";
    spoiled(sql, "each destination of each event has its delivery", &[1], "its row is missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_below_a_floor_that_is_too_high_is_named() {
    let sql = "UPDATE destination SET floor = (SELECT n FROM event_1 WHERE id = '{id}') + 1";
    spoiled(sql, "nothing waits below a floor", &[0, 1], "below the floor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_times_do_not_fit_its_state_is_named() {
    let sql = "UPDATE delivery_1 SET state = 'delivered' WHERE n = (SELECT n FROM event_1 WHERE id = '{id}')";
    spoiled(sql, "times fit states", &[1], "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_lease_and_numbers_that_would_be_given_twice_are_told() {
    let sql = "DELETE FROM lease WHERE duty LIKE 'stream/%'";
    spoiled(sql, "each event is of a stream that is followed", &[], "has no lease").await;
    let sql = "SELECT setval('event_number', 1)";
    spoiled(sql, "numbers lie where they are looked for", &[], "given twice").await;
    let sql = "CREATE INDEX ON delivery_1 (dest) WHERE state = 'waiting'";
    spoiled(sql, "no index of deliveries names what each outcome changes", &[], "drop it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_twenty_that_are_wrong_are_counted_and_twenty_named() {
    let schema = schema();
    let (relay, _) = with_three(contract_server(), &schema).await;
    for _ in 0..27 {
        relay.accept(SENT).await;
    }
    relay.running.stop().await;
    contract_server().query(&format!("DELETE FROM {schema}.event_1")).await;
    let checked = check(&address(&contract_server().url(), &schema), LONG).await.expect("it is asked");
    let [found] = wrong(&checked)[..] else { panic!("{checked:?}") };
    assert_eq!((found.question, found.wrong, found.named.len()), ("each delivery has its event", 30, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_is_silent_about_what_is_right_and_exits_1_where_something_is_not() {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    server.address("vero_relay");
    let (relay, ids) = with_three(&server, "vero_relay").await;
    let directory = relay.directory.path();
    let asked = |more: &[&str]| vero_relay(directory, &[&["store", "check"], more].concat());
    let good = asked(&[]);
    assert_eq!(good.status.code(), Some(0), "{}{}", out(&good), err(&good));
    assert!(out(&good).ends_with("everything holds together\n") && !out(&good).contains("problem"), "{}", out(&good));
    assert!(out(&good).contains("3 events"), "{}", out(&good));
    server.query("DELETE FROM vero_relay.delivery_1 WHERE n = (SELECT max(n) FROM vero_relay.event_1)").await;
    let bad = asked(&[]);
    assert_eq!((bad.status.code(), err(&bad).contains("1 problem")), (Some(1), true), "{}", err(&bad));
    assert!(out(&bad).contains(&format!("problem: {} → crm: its row is missing", ids[2])), "{}", out(&bad));
    let json = asked(&["--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["questions"][0]["problems"], &json["is_whole"]), (&1.into(), &true.into()), "{json}");
    assert_eq!(json["questions"][0]["named"][0]["event"], ids[2].as_str(), "{json}");
    let short = asked(&["--within", "0s"]);
    assert!(short.status.code() == Some(1) && err(&short).contains("--within"), "{}", err(&short));
    let verified = vero_relay(directory, &["store", "verify"]);
    assert!(verified.status.code() == Some(2) && err(&verified).contains("store check"), "{}", err(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_journal_the_command_verifies_every_byte() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&crate::harness::to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let in_use = vero_relay(relay.directory.path(), &["store", "check"]);
    assert_eq!(in_use.status.code(), Some(75), "{}", err(&in_use));
    let TestRelay { running, directory, .. } = relay;
    running.stop().await;
    let good = vero_relay(directory.path(), &["store", "check"]);
    assert_eq!(good.status.code(), Some(0), "{}", err(&good));
    assert!(out(&good).contains("1 event") && out(&good).contains("holds together"), "{}", out(&good));
}
