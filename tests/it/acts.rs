//! What the page and the verbs do with destinations, dead letters and the history: each act once, each number true.

use serde_json::{Value, json};

use crate::harness::*;

async fn ask(relay: &TestRelay, path: &str, asked: Value) -> Message {
    let headers = [("x-vero-relay-write", "1")];
    request(relay.running.admin_address, "POST", path, &headers, asked.to_string().as_bytes()).await
}

async fn told(relay: &TestRelay, path: &str, asked: Value) -> Value {
    let answer = ask(relay, path, asked).await;
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

async fn refused(relay: &TestRelay, path: &str, asked: Value, part: &str) {
    let answer = ask(relay, path, asked).await;
    assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.text());
    assert!(answer.text().contains(part), "{path}: {}", answer.text());
}

/// An id of a command.
fn command(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_pause_is_shown_also_after_a_restart() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let why = "their API moves on Friday";
    told(&relay, "/api/destinations/crm/pause", json!({ "reason": why })).await;
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], why);
    let status = relay.admin("/api/status").await.json();
    assert_eq!(status["destinations"][0]["paused"]["reason"], why);
    told(&relay, "/api/destinations/crm/resume", json!({})).await;
    told(&relay, "/api/destinations/crm/pause", json!({ "reason": " " })).await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], "paused by the operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_pause_has_at_most_three_hundred_bytes() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    refused(&relay, "/api/destinations/crm/pause", json!({ "reason": "x".repeat(301) }), "at most 300 bytes").await;
    assert_eq!(relay.destination("crm").await["state"], "up");
    told(&relay, "/api/destinations/crm/pause", json!({ "reason": "x".repeat(300) })).await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], "x".repeat(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_a_resume_and_a_retry_that_are_said_twice_by_one_id_are_done_once() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for what in ["destinations/crm", "sources/vero"] {
        let number = what.len() as u128;
        let pause = json!({ "id": command(number) });
        assert_eq!(told(&relay, &format!("/api/{what}/pause"), pause.clone()).await["repeated"], false);
        let resume = json!({ "id": command(number + 100) });
        assert_eq!(told(&relay, &format!("/api/{what}/resume"), resume).await["changed"], true);
        // A click whose answer was lost comes again, after somebody else has let it go on.
        assert_eq!(told(&relay, &format!("/api/{what}/pause"), pause).await["repeated"], true);
    }
    assert_eq!(relay.destination("crm").await["state"], "up");
    let retry = json!({ "id": command(900) });
    let path = "/api/destinations/crm/retry";
    assert_eq!(told(&relay, path, retry.clone()).await["repeated"], false);
    assert_eq!(told(&relay, path, retry).await["repeated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_destination_says_how_fast_it_goes_and_how_much_has_arrived() {
    let fake = Fake::start([Act::status(400)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "    rate: 100/m\n    concurrency: 3\n")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "dead").await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let crm = relay.admin("/api/destinations/crm").await.json();
    assert_eq!((&crm["rate"], &crm["concurrency"]), (&json!("100/m"), &json!(3)));
    assert_eq!((&crm["delivered"], &crm["failed"], &crm["dead_letters"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&crm["next_probe_at"], &crm["state"]), (&Value::Null, &json!("up")));
    let missing = relay.admin("/api/destinations/cmr").await;
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("did you mean `crm`"), "{}", missing.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_says_when_it_is_tried_next() {
    let fake = Fake::start(std::iter::repeat_with(|| Act::status(503)).take(1000)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..6 {
        relay.accept(SENT).await;
    }
    eventually("a probe to be due", async || relay.destination("crm").await["next_probe_at"].is_string()).await;
    fake.recovers();
    told(&relay, "/api/destinations/crm/retry", json!({})).await;
    eventually("it to be up", async || relay.destination("crm").await["state"] == "up").await;
    assert_eq!(relay.destination("crm").await["next_probe_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_turned_away_is_counted_by_reason_also_beyond_what_is_kept() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let none = relay.admin("/api/refused").await.json();
    assert_eq!((&none["counts"], none["since"].is_string()), (&json!({}), true));
    for _ in 0..101 {
        assert_eq!(relay.post("{").await.status(), 400);
    }
    request(relay.running.address, "POST", "/hooks/vero/wrong", &[], b"{}").await;
    let told = relay.admin("/api/refused").await.json();
    assert_eq!(told["counts"], json!({ "bad_event": 101, "wrong_address": 1 }));
    assert_eq!(told["refused"].as_array().map(Vec::len), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_comes_on_one_line_for_a_program_and_on_many_for_a_person() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let lines = async |path: &str, accept: &str| {
        let answer = request(relay.running.admin_address, "GET", path, &[("accept", accept)], b"").await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().lines().count()
    };
    request(relay.running.admin_address, "POST", "/bin/x?pretty=kept", &[], b"{}").await;
    for path in ["/api/status", "/bin/x", "/bin"] {
        assert_eq!(lines(path, "application/json").await, 1, "{path}");
        assert!(lines(path, "*/*").await > 1, "{path}");
        assert!(lines(&format!("{path}?pretty"), "application/json").await > 1, "{path}");
        assert_eq!(lines(&format!("{path}?pretty=false"), "*/*").await, 1, "{path}");
    }
    assert_eq!(relay.admin("/api/status?pretty=maybe").await.status(), 400);
    assert!(relay.admin("/bin/x").await.text().contains("/bin/x?pretty=…"), "what is posted is kept as it came");
}
