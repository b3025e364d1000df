//! Events that come twice, to a source with `dedupe`: the second is answered with the first one's id, and goes nowhere. And those of which a rule with
//! `once_per` lets one through.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use vero_relay::store::journal::model::{Faults, ModelDisk};

use crate::harness::*;
use crate::torture::rig::{Rig, Up};

const CLICK: &str = r#"{"type":"clicked","message_id":"m1","clicked_at":1435016399,"user":{"id":7}}"#;
/// The same click, written otherwise.
const CLICK_AGAIN: &str = r#"{ "user": {"id": "7"}, "clicked_at": 1435016399, "message_id": "m1", "type": "clicked" }"#;

fn deduped(rest: &str) -> String {
    format!("{}{rest}", HEAD.replace("token: secret", "token: secret, dedupe: 10m"))
}

async fn metric(relay: &TestRelay, name: &str) -> String {
    let metrics = relay.admin("/metrics").await.text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_again_is_answered_with_the_first_id_and_goes_nowhere() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_with(&deduped(&to_crm(&fake, ""))).await;
    let answer = relay.post(CLICK).await;
    assert_eq!(answer.header("x-vero-relay-duplicate"), None);
    let first = answer.json()["id"].as_str().expect("an id").to_owned();
    for again in [CLICK, CLICK_AGAIN] {
        let answer = relay.post(again).await;
        assert_eq!((answer.status(), answer.header("x-vero-relay-duplicate")), (200, Some("1")));
        assert_eq!(answer.json()["id"], first.as_str());
    }
    let other = relay.accept(&CLICK.replace("m1", "m2")).await;
    assert_ne!(other, first);
    relay.until(&other, "delivered").await;
    relay.until(&first, "delivered").await;
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(metric(&relay, "vero_relay_duplicate_events_total{source=\"vero\"}").await, "2");
    assert_eq!(metric(&relay, "vero_relay_requests_total{source=\"vero\",code=\"200\"}").await, "2", "accepted ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dedupe_the_same_event_is_another() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    assert_ne!(relay.accept(CLICK).await, relay.accept(CLICK).await);
    fake.wait_for(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_the_same_time_are_one_event() {
    let relay = TestRelay::start_with(&deduped("rules: [ { to: [], stop: true } ]\n")).await;
    let ids: HashSet<String> = join_all((0..64).map(|_| relay.accept(CLICK))).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(metric(&relay, "vero_relay_duplicate_events_total").await, "63");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_sends_goes_out_also_where_it_came_before() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_with(&deduped(&to_crm(&fake, ""))).await;
    let first = relay.accept(CLICK).await;
    let body = serde_json::json!({ "event": CLICK }).to_string();
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let answer = request(relay.running.admin_address, "POST", "/api/send", &headers, body.as_bytes()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let second = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_ne!(second, first);
    fake.wait_for(2).await;
    assert_eq!(relay.accept(CLICK).await, first, "whose key it is stays as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_before_a_start_is_known_after_it_and_one_who_came_before_dedupe_as_well() {
    let nowhere = "rules: [ { to: [], stop: true } ]\n";
    let relay = TestRelay::start(nowhere).await;
    let first = relay.accept(CLICK).await;
    let second = relay.accept(CLICK).await;
    assert_ne!(first, second);
    let relay = relay.restart(|config| config.replace("token: secret", "token: secret, dedupe: 1h")).await;
    assert_eq!(relay.accept(CLICK_AGAIN).await, first, "the first of both");
    let bodies = r#"{"type":"user_updated","user":{"id":1}}"#;
    let updated = relay.accept(bodies).await;
    let relay = relay.restart(|config| config).await;
    assert_eq!([relay.accept(bodies).await, relay.accept(CLICK).await], [updated, first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_turns_it_on_knows_what_came_before() {
    let nowhere = "rules: [ { to: [], stop: true } ]\n";
    let relay = TestRelay::start(nowhere).await;
    let first = relay.accept(CLICK).await;
    std::fs::write(relay.directory.path().join("config.yaml"), deduped(nowhere)).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    assert_eq!(relay.accept(CLICK).await, first);
    std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{nowhere}")).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    assert_ne!(relay.accept(CLICK).await, first, "it is off");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_did_not_come() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let relay = TestRelay::start_on_with(&disk, deduped("rules: [ { to: [], stop: true } ]\n")).await;
    let refused = join_all((0..8).map(|_| relay.post(CLICK))).await;
    assert!(refused.iter().all(|answer| answer.status() == 503), "each tries by itself");
    disk.set_faults(Faults::default());
    let first = relay.accept(CLICK).await;
    assert_eq!(relay.accept(CLICK).await, first);
}

/// A rule that lets one of each `user.id` through, and one that takes the rest.
const ONCE: &str = "rules:\n  - { name: first, match: { type: clicked }, once_per: { fields: [user.id], every: 1h }, to: [], stop: true }\n  - { name: rest, to: [], stop: true }\n";

fn click_of(user: &str) -> String {
    format!(r#"{{"type":"clicked","user":{{"id":{user}}}}}"#)
}

/// The rules that took an event, by its own page.
async fn rules_of(relay: &TestRelay, id: &str) -> Vec<String> {
    let event = relay.admin(&format!("/api/events/{id}")).await.json();
    event["rules"].as_array().expect("rules").iter().map(|rule| rule.as_str().expect("a name").to_owned()).collect()
}

async fn took(relay: &TestRelay, user: &str) -> String {
    let id = relay.accept(&click_of(user)).await;
    rules_of(relay, &id).await.join(" ")
}

async fn reload(relay: &TestRelay, config: String) {
    std::fs::write(relay.directory.path().join("config.yaml"), config).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_lets_one_of_each_through_and_the_page_says_why_another_was_held_back() {
    let relay = TestRelay::start(ONCE).await;
    assert_eq!([took(&relay, "1").await, took(&relay, "1").await, took(&relay, "2").await], ["first", "rest", "first"]);
    let held = relay.accept(&click_of("2")).await;
    let why = "one with the same user.id went through within 1h";
    let said = |explained: &Value, at: usize| explained["rules"][at]["because"].as_str().unwrap_or_default().to_owned();
    let explained = relay.admin(&format!("/api/events/{held}/explain")).await.json();
    assert_eq!(
        (explained["rules"][0]["matches"].as_bool(), said(&explained, 0)),
        (Some(false), format!("{why}, or there was no such rule yet"))
    );
    assert_eq!(explained["then"]["trace"][0]["because"], why, "by the rules of when it came");
    assert_eq!(explained["then"]["rules"], serde_json::json!(["rest"]));
    let asked = serde_json::json!({ "event": click_of("2") }).to_string();
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let address = relay.running.admin_address;
    let explained = request(address, "POST", "/api/explain", &headers, asked.as_bytes()).await.json();
    assert_eq!(
        (explained["rules"][0]["matches"].as_bool(), &explained["rules"][0]["unless"]),
        (Some(true), &serde_json::json!(why))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_is_told_as_such_and_is_not_routed_again() {
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "");
    let rule =
        "rules:\n  - { name: first, match: { type: clicked }, once_per: { fields: [user.id], every: 1h }, to: crm }\n";
    let rest = config.split_once("destinations:").expect("destinations").1;
    let relay = TestRelay::start(&format!("{rule}destinations:{rest}")).await;
    let through = relay.accept(&click_of("1")).await;
    relay.until(&through, "delivered").await;
    relay.accept(&click_of("1")).await;
    let unrouted = relay.admin("/api/unrouted").await.json();
    let group = &unrouted["groups"][0];
    assert_eq!(
        (&group["held_by"], &group["now"], &group["nearest"]),
        (&serde_json::json!("first"), &serde_json::json!([]), &Value::Null)
    );
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let asked = serde_json::json!({ "since": "1h", "by": "now", "dry_run": true }).to_string();
    let counted = request(relay.running.admin_address, "POST", "/api/replays", &headers, asked.as_bytes()).await;
    assert_eq!((counted.status(), &counted.json()["deliveries"]), (200, &serde_json::json!(1)), "{}", counted.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_the_same_time_one_goes_through() {
    let relay = TestRelay::start(ONCE).await;
    let ids = join_all((0..64).map(|at| {
        let (relay, user) = (&relay, (at % 4).to_string());
        async move { relay.accept(&click_of(&user)).await }
    }));
    let taken = join_all(ids.await.iter().map(|id| rules_of(&relay, id)).collect::<Vec<_>>()).await;
    assert_eq!(taken.iter().filter(|rules| **rules == ["first"]).count(), 4);
    assert_eq!(taken.iter().filter(|rules| **rules == ["rest"]).count(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_through_before_a_start_or_a_reload_is_known_after_it() {
    let plain = ONCE.replace("once_per: { fields: [user.id], every: 1h }, ", "");
    let relay = TestRelay::start(&plain).await;
    assert_eq!([took(&relay, "1").await, took(&relay, "1").await], ["first", "first"]);
    reload(&relay, format!("{HEAD}{ONCE}")).await;
    assert_eq!([took(&relay, "1").await, took(&relay, "2").await], ["rest", "first"]);
    let relay = relay.restart(|_| format!("{HEAD}{ONCE}")).await;
    assert_eq!([took(&relay, "1").await, took(&relay, "2").await, took(&relay, "3").await], ["rest", "rest", "first"]);
    let renamed = ONCE.replace("name: first", "name: other");
    reload(&relay, format!("{HEAD}{renamed}")).await;
    assert_eq!(
        [took(&relay, "3").await, took(&relay, "3").await],
        ["other", "rest"],
        "a rule of another name begins anew"
    );
    let by_source = ONCE.replace("[user.id]", "[user.id, relay.source]");
    reload(&relay, format!("{HEAD}{by_source}")).await;
    assert_eq!([took(&relay, "3").await, took(&relay, "9").await], ["rest", "first"], "other fields are read back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_went_not_through() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let relay = TestRelay::start_on_with(&disk, format!("{HEAD}{ONCE}")).await;
    let refused = join_all((0..8).map(|_| async { relay.post(&click_of("1")).await })).await;
    assert!(refused.iter().all(|answer| answer.status() == 503), "each tries by itself");
    disk.set_faults(Faults::default());
    assert_eq!([took(&relay, "1").await, took(&relay, "1").await], ["first", "rest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_is_found_before_any_rule_sees_it_and_a_second_event_is_another() {
    let relay =
        TestRelay::start_with(&format!("{}{ONCE}", HEAD.replace("token: secret", "token: secret, dedupe: 10m"))).await;
    let first = relay.accept(CLICK).await;
    assert_eq!(relay.accept(CLICK_AGAIN).await, first);
    let second = relay.accept(&CLICK.replace("m1", "m2")).await;
    assert_eq!([rules_of(&relay, &first).await, rules_of(&relay, &second).await], [["first"], ["rest"]]);
}

/// Posts a body and gives the id; `None` where the relay has gone meanwhile.
async fn tried(up: &Up, body: String) -> Option<(String, String)> {
    let bytes = format!(
        "POST /hooks/vero/secret HTTP/1.1\r\nhost: relay\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(up.hooks).await.ok()?;
    // Where the relay ends meanwhile, the answer is missing.
    stream.write_all(bytes.as_bytes()).await.ok()?;
    let answer = read_message(&mut stream, &mut Vec::new()).await?;
    (answer.status() == 200).then(|| (body, answer.json()["id"].as_str().expect("an id").to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_each_event_is_stored_once_and_what_was_answered_is_there() {
    const ROUNDS: usize = 6;
    const KINDS: usize = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::new(directory.path(), &directory.path().join("data"), "rules: [ { to: [], stop: true } ]\n");
    rig.change("token: secret", "token: secret, dedupe: 1h");
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..ROUNDS {
        let up = Arc::new(rig.start().await);
        // Each several times, in an order of its own; in each round the next ones are new.
        let bodies = (0..KINDS * 4).map(|at| {
            let kind = (at * 7 + round) % KINDS + round * KINDS / 4;
            format!(r#"{{"type":"clicked","message_id":"m{kind}","clicked_at":5,"user":{{"id":{kind}}}}}"#)
        });
        let posts: Vec<_> = bodies
            .map(|body| {
                let up = up.clone();
                tokio::spawn(async move { tried(&up, body).await })
            })
            .collect();
        // In the midst of it: as soon as some were answered.
        let mut posts = posts.into_iter();
        let mut answered = join_all(posts.by_ref().take(KINDS * round / ROUNDS + 1)).await;
        let pid = rustix::process::Pid::from_raw(up.pid() as i32).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is our child");
        answered.extend(join_all(posts).await);
        for (body, id) in answered.into_iter().filter_map(|answer| answer.expect("no panic")) {
            let known = ids.entry(body.clone()).or_insert_with(|| id.clone());
            assert_eq!(*known, id, "{body} in round {round}");
        }
        Arc::into_inner(up).expect("all have ended").kill();
    }
    assert!(ids.len() > KINDS / 4, "{}", ids.len());
    let up = rig.start().await;
    let mut stored: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = request(up.admin, "GET", &format!("/api/events?limit=100{after}"), &[], b"").await.json();
        for event in page["events"].as_array().expect("events") {
            let id = event["id"].as_str().expect("an id").to_owned();
            let body = request(up.admin, "GET", &format!("/api/events/{id}/body"), &[], b"").await.text();
            stored.entry(body).or_default().push(id);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    for (body, events) in &stored {
        assert_eq!(events.len(), 1, "{body} is stored once");
    }
    for (body, id) in &ids {
        assert_eq!(stored.get(body), Some(&vec![id.clone()]), "{body} was answered");
    }
}
