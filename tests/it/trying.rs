//! What is tried before it happens: an event by the config that runs and by the file on the disk, that file itself, and an event that is
//! sent in earnest.

use serde_json::{Value, json};

use crate::harness::*;

const TWO: &str = "
rules:
  - { name: trouble, match: { type: bounced }, to: alerts }
  - { name: all, to: archive }
destinations:
  alerts: { file: { path: alerts } }
  archive: { file: { path: archive } }
";

const BOUNCED: &str = r#"{"type":"bounced","user":{"email":"ann@example.com"}}"#;

fn write(relay: &TestRelay, rest: &str) {
    std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
}

async fn ask(relay: &TestRelay, path: &str, asked: Value) -> Message {
    let headers = [("x-vero-relay-write", "1")];
    request(relay.running.admin_address, "POST", path, &headers, asked.to_string().as_bytes()).await
}

async fn on_disk(relay: &TestRelay) -> Value {
    let answer = relay.admin("/api/config/on-disk").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn destinations(explained: &Value) -> Vec<&str> {
    let deliveries = explained["deliveries"].as_array().unwrap_or_else(|| panic!("{explained}"));
    deliveries.iter().filter_map(|delivery| delivery["destination"].as_str()).collect()
}

// ---- sent in earnest

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_sent_goes_where_one_goes_that_came_in() {
    let relay = TestRelay::start(TWO).await;
    let sent = ask(&relay, "/api/send", json!({ "event": BOUNCED })).await;
    assert_eq!(sent.status(), 200, "{}", sent.text());
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    relay.until(&id, "delivered").await;
    let event = relay.admin(&format!("/api/events/{id}")).await.json();
    assert_eq!((&event["source"], &event["rules"]), (&json!("vero"), &json!(["trouble", "all"])));
    assert_eq!(relay.admin(&format!("/api/events/{id}/body")).await.text(), BOUNCED);
    let metrics = relay.admin("/metrics").await.text();
    for counted in [
        r#"vero_relay_requests_total{source="vero",code="200"} 1"#,
        r#"vero_relay_rule_matches_total{rule="trouble"} 1"#,
    ] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    // The same answer as at the address itself.
    let came = relay.post(BOUNCED).await;
    assert_eq!((came.status(), came.json().as_object().map(|one| one.len())), (200, Some(1)));
    assert_eq!(sent.header("content-type"), came.header("content-type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_would_be_refused_is_refused_with_the_sentence_that_its_sender_hears() {
    let limits = format!("{TWO}limits: {{ body_max: 1KiB, intake_max: 1MiB }}\n");
    let relay = TestRelay::start(&limits).await;
    let long = format!("{{\"type\":\"sent\",\"a\":\"{}\"}}", "a".repeat(2000));
    for body in ["{\"type\":", "[]", "{}", "", &long] {
        let came = relay.post(body).await;
        let sent = ask(&relay, "/api/send", json!({ "event": body })).await;
        assert_eq!((sent.status(), sent.text()), (came.status(), came.text()), "{body}");
        assert!(sent.status() >= 400, "{body}");
    }
    let exactly = format!("{{\"type\":\"sent\",\"a\":\"{}\"}}", "a".repeat(1024 - 22));
    assert_eq!(ask(&relay, "/api/send", json!({ "event": exactly })).await.status(), 200, "{}", exactly.len());
    for (asked, status) in [
        (json!({}), 400),
        (json!({ "event": 7 }), 400),
        (json!({ "event": BOUNCED, "source": "nobody" }), 404),
        (json!({ "event": BOUNCED, "source": "vero" }), 200),
    ] {
        let answer = ask(&relay, "/api/send", asked.clone()).await;
        assert_eq!(answer.status(), status, "{asked}: {}", answer.text());
    }
    relay.act("/api/sources/vero/pause").await;
    assert_eq!(ask(&relay, "/api/send", json!({ "event": BOUNCED })).await.status(), 200, "it is kept");
    ask(&relay, "/api/sources/vero/pause", json!({ "refuse": true })).await;
    let refused = ask(&relay, "/api/send", json!({ "event": BOUNCED })).await;
    assert_eq!((refused.status(), refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
}

// ---- by the file on the disk

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_explained_by_the_file_on_the_disk_as_by_the_config_that_runs() {
    let relay = TestRelay::start(TWO).await;
    let id = relay.accept(BOUNCED).await;
    write(&relay, &TWO.replace("type: bounced", "type: clicked"));
    for (on_disk, expected) in
        [(json!(null), &["alerts", "archive"][..]), (json!(false), &["alerts", "archive"]), (json!(true), &["archive"])]
    {
        let explained = ask(&relay, "/api/explain", json!({ "event": BOUNCED, "on_disk": on_disk })).await;
        assert_eq!(destinations(&explained.json()), expected, "{on_disk}");
    }
    for (query, expected) in
        [("", &["alerts", "archive"][..]), ("?on_disk=false", &["alerts", "archive"]), ("?on_disk=true", &["archive"])]
    {
        let explained = relay.admin(&format!("/api/events/{id}/explain{query}")).await.json();
        assert_eq!(destinations(&explained), expected, "{query}");
        assert_eq!(explained["then"]["destinations"], json!(["alerts", "archive"]));
        assert_eq!(
            (&explained["then"]["generation"], &explained["then"]["trace"][0]["matches"]),
            (&json!(1), &json!(true))
        );
    }
    let wrong = ask(&relay, "/api/explain", json!({ "event": BOUNCED, "on_disk": "old" })).await;
    assert_eq!(wrong.status(), 400, "{}", wrong.text());
    assert_eq!(ask(&relay, "/api/explain", json!({ "event": "{", "on_disk": true })).await.status(), 422);

    write(&relay, &TWO.replace("to: archive", "to: archiv"));
    for answer in [
        ask(&relay, "/api/explain", json!({ "event": BOUNCED, "on_disk": true })).await,
        relay.admin(&format!("/api/events/{id}/explain?on_disk=true")).await,
    ] {
        assert_eq!(answer.status(), 409, "{}", answer.text());
        assert!(answer.text().contains("archiv") && answer.text().contains("did you mean"), "{}", answer.text());
    }
    assert_eq!(ask(&relay, "/api/explain", json!({ "event": BOUNCED })).await.status(), 200, "the other goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_event_went_where_it_went_is_told_by_the_rules_of_then() {
    let relay = TestRelay::start(TWO).await;
    let id = relay.accept(BOUNCED).await;
    write(&relay, &TWO.replace("type: bounced", "type: clicked"));
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    let path = format!("/api/events/{id}/explain");
    let told = relay.admin(&path).await.json();
    assert_eq!((&told["rules"][0]["matches"], &told["then"]["generation"]), (&json!(false), &json!(1)), "{told}");
    let trace = &told["then"]["trace"];
    assert_eq!((&trace[0]["rule"], &trace[0]["matches"]), (&json!("trouble"), &json!(true)), "{told}");
    assert_eq!(trace[0]["conditions"][0]["expected"], "\"bounced\"", "{told}");
    let newer = relay.accept(BOUNCED).await;
    let of_newer = relay.admin(&format!("/api/events/{newer}/explain")).await.json();
    assert_eq!((&of_newer["then"]["generation"], &of_newer["then"]["trace"][0]["matches"]), (&json!(2), &json!(false)));
    // Another start knows nothing of the configs before it.
    let relay = relay.restart(|config| config).await;
    let told = relay.admin(&path).await.json();
    assert_eq!((&told["then"]["generation"], &told["then"]["trace"]), (&json!(null), &json!(null)), "{told}");
    assert_eq!(told["then"]["destinations"], json!(["alerts", "archive"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_would_say_of_the_file_is_told_and_nothing_is_done() {
    let relay = TestRelay::start(TWO).await;
    write(&relay, TWO);
    let same = on_disk(&relay).await;
    assert_eq!((&same["same"], &same["problems"], &same["changes"]), (&json!(true), &json!(null), &json!([])));

    let tests = "
tests:
  - { name: a bounce is told, event: { type: bounced }, expect: { to: [archive] } }
  - { name: a click is not, event: { type: clicked }, expect: { to: [archive] } }
";
    write(&relay, &format!("{}{tests}", TWO.replace("path: alerts", "path: alarms")));
    let changed = on_disk(&relay).await;
    assert_eq!((&changed["same"], &changed["problems"]), (&json!(false), &json!(null)));
    assert_eq!(changed["changes"], json!(["destination `alerts`: `file.path` has changed"]));
    assert_eq!(changed["tests"]["passed"], 1);
    let failed = changed["tests"]["failed"][0].as_str().expect("one failed");
    assert!(failed.contains("a bounce is told") && failed.contains("expected to go to  archive\n"), "{failed}");
    assert!(changed["changed_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{changed}");
    assert_eq!(relay.admin("/api/status").await.json()["config"]["generation"], 1, "nothing is done");
    assert_eq!(relay.admin("/api/status").await.json()["config"]["last_reload"], json!(null));

    write(&relay, &TWO.replace("to: alerts", "to: alert"));
    let wrong = on_disk(&relay).await;
    let problems = wrong["problems"].as_str().expect("problems");
    assert!(problems.contains("alert") && problems.contains("config.yaml:"), "{problems}");
    assert_eq!(relay.act("/api/reload").await.status(), 422);

    write(&relay, &TWO.replace("archive }\ndest", "archive }\nlimits: { intake_max: 32MiB }\ndest"));
    let late = on_disk(&relay).await;
    assert_eq!((&late["needs_restart"], &late["problems"]), (&json!(["limits.intake_max"]), &json!(null)));
    assert_eq!(relay.act("/api/reload").await.status(), 409);

    std::fs::remove_file(relay.directory.path().join("config.yaml")).expect("removed");
    let gone = on_disk(&relay).await;
    assert!(gone["problems"].as_str().is_some_and(|why| why.contains("could not be read")), "{gone}");

    write(&relay, &TWO.replace("path: alerts", "path: alarms"));
    assert_eq!(on_disk(&relay).await["same"], false);
    assert_eq!(relay.act("/api/reload").await.status(), 200);
    let in_force = on_disk(&relay).await;
    assert_eq!((&in_force["same"], &in_force["generation"]), (&json!(true), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_a_value_that_has_changed_makes_another_config_of_the_same_text() {
    let directory = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let secret = directory.path().join("path");
    std::fs::write(&secret, "alerts").expect("written");
    let rest = TWO.replace("path: alerts", "path: \"${file:path}\"");
    let relay = TestRelay::start_at(directory.clone(), &rest).await;
    write(&relay, &rest);
    assert_eq!(on_disk(&relay).await["same"], true);
    std::fs::write(&secret, "alarms").expect("written");
    let changed = on_disk(&relay).await;
    assert_eq!((&changed["same"], &changed["problems"]), (&json!(false), &json!(null)));
    let told = format!("the file {} has changed", secret.display());
    assert_eq!(changed["changes"], json!(["destination `alerts`: `file.path` has changed", told]));
    let reloaded = relay.act("/api/reload").await;
    assert_eq!(reloaded.json()["changes"], changed["changes"], "a reload says the same: {}", reloaded.text());
    assert_eq!(on_disk(&relay).await["same"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_named_file_of_a_changed_config_holds_is_seen_at_the_next_look() {
    let directory = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("path"), "alerts").expect("written");
    std::fs::write(at("event.json"), BOUNCED).expect("written");
    let relay = TestRelay::start_at(directory.clone(), TWO).await;
    let tests = "tests:\n  - { name: a bounce, file: event.json, expect: { to: [alerts, archive] } }\n";
    write(&relay, &format!("{}{tests}", TWO.replace("path: alerts", "path: \"${file:path}\"")));
    let digest = async || {
        let told = ask(&relay, "/api/what-if", json!({ "on_disk": true })).await;
        told.json()["digest"].as_str().unwrap_or_else(|| panic!("{}", told.text())).to_owned()
    };
    let before = digest().await;
    let changed = on_disk(&relay).await;
    assert_eq!((&changed["changes"], &changed["tests"]["passed"]), (&json!([]), &json!(1)), "{changed}");
    std::fs::write(at("path"), "alarms").expect("written");
    let changed = on_disk(&relay).await;
    assert_eq!(changed["changes"], json!(["destination `alerts`: `file.path` has changed"]), "{changed}");
    assert_ne!(digest().await, before, "by which pieces of one answer are told from another's");
    std::fs::write(at("event.json"), SENT).expect("written");
    let failed = on_disk(&relay).await;
    assert_eq!(failed["tests"]["passed"], 0, "{failed}");
    std::fs::remove_file(at("path")).expect("removed");
    let wrong = on_disk(&relay).await;
    assert!(wrong["problems"].as_str().is_some_and(|why| why.contains("path")), "{wrong}");
    std::fs::write(at("path"), "alerts").expect("written");
    assert_eq!(on_disk(&relay).await["problems"], json!(null), "what was wrong is looked at anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_on_the_disk_would_do_is_told_without_bringing_it() {
    let relay = TestRelay::start(TWO).await;
    relay.accept(BOUNCED).await;
    relay.accept(SENT).await;
    write(&relay, &TWO.replace("type: bounced", "type: sent"));
    let next = relay.admin("/api/what-if").await.json()["next"].clone();
    let told = ask(&relay, "/api/what-if", json!({ "on_disk": true, "after": next })).await.json();
    assert_eq!((&told["appears"], &told["vanishes"], &told["stays"]), (&json!(1), &json!(1), &json!(2)), "{told}");
    let digest = told["digest"].as_str().expect("a digest").to_owned();
    write(&relay, TWO);
    let same = ask(&relay, "/api/what-if", json!({ "on_disk": true, "after": next })).await.json();
    assert_eq!((&same["appears"], &same["stays"]), (&json!(0), &json!(3)), "{same}");
    assert_ne!(same["digest"], digest, "who adds the pieces up sees that they are of two files");
    write(&relay, "nonsense");
    for (asked, status) in [
        (json!({ "on_disk": true }), 409),
        (json!({ "on_disk": true, "config": "a" }), 400),
        (json!({ "on_disk": 1 }), 400),
        (json!({}), 400),
    ] {
        let answer = ask(&relay, "/api/what-if", asked.clone()).await;
        assert_eq!(answer.status(), status, "{asked}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_at_the_file_at_one_time_all_have_their_answer() {
    let relay = TestRelay::start(TWO).await;
    write(&relay, &TWO.replace("to: alerts", "to: alert"));
    let looks = (0..4).map(|_| on_disk(&relay));
    for look in futures_util::future::join_all(looks).await {
        assert!(look["problems"].is_string(), "{look}");
    }
}
