//! What goes out together, what is urgent, and quiet hours: through a whole relay, to a Slack that enforces its documents.

use serde_json::{Value, json};

use crate::harness::*;
use crate::operator::ask;
use crate::slack_server::SlackServer;

/// A chat whose windows are over when somebody says so.
fn chat(slack: &Fake, more: &str) -> String {
    format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack:\n      url: \"{}/T/B/x\"\n    rate: 1000/s\n    {QUICK}\n{more}",
        slack.url()
    )
}

/// A destination with messages of its own, and these keys.
fn crm(fake: &Fake, retry: &str, digest: &str) -> String {
    format!(
        "rules: [ {{ to: crm }} ]\ndestinations:\n  crm:\n    http: {{ url: \"{}/hook\", json: {{ one: \"{{{{ type }}}}\" }} }}\n    {retry}\n    digest: {digest}\n",
        fake.url()
    )
}

const DIGEST: &str =
    "    digest: { every: 1h, by: [type, campaign.name], first: 1 }\n    urgent: { type: complained }\n";

fn bounced(number: u64) -> String {
    format!(
        r#"{{"type":"bounced","bounce_type":"hard","user":{{"email":"u{number}@example.com"}},"campaign":{{"name":"Spring"}}}}"#
    )
}

async fn held(relay: &TestRelay, events: u64) {
    eventually("they wait together", async || relay.destination("chat").await["digest"]["events"] == json!(events))
        .await;
}

fn texts(slack: &Fake) -> Vec<String> {
    slack.seen().iter().map(|post| post.json()["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_goes_by_itself_the_rest_together_and_what_is_urgent_before_them() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    let first = relay.accept(&bounced(0)).await;
    relay.until(&first, "delivered").await;
    let mut others = Vec::new();
    for number in 1..6 {
        others.push(relay.accept(&bounced(number)).await);
    }
    held(&relay, 5).await;
    let waiting = relay.until(&others[4], "held").await;
    assert_eq!(waiting["held"]["by"], "digest", "{waiting}");
    let urgent = relay.accept(r#"{"type":"complained","user":{"email":"buyer@example.com"}}"#).await;
    relay.until(&urgent, "delivered").await;
    assert_eq!(slack.seen().len(), 2);

    let shown = relay.admin("/api/destinations/chat/digest").await.json();
    assert_eq!((&shown["events"], &shown["windows"]), (&json!(5), &json!(1)), "{shown}");
    assert_eq!(shown["groups"][0]["name"], "bounced · Spring");
    assert!(shown["message"]["body"].as_str().is_some_and(|body| body.contains("u1@example.com")), "{shown}");

    let done = relay.act("/api/destinations/chat/digest-now").await.json();
    assert_eq!((&done["deliveries"], &done["repeated"]), (&json!(5), &json!(false)), "{done}");
    for id in &others {
        relay.until(id, "delivered").await;
    }
    let texts = texts(&slack);
    assert_eq!(texts.len(), 3, "{texts:#?}");
    assert!(texts[2].starts_with("*5 × bounced · Spring*"), "{}", texts[2]);
    held(&relay, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_let_go_on_again_and_again_while_windows_end_it_answers() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, &DIGEST.replace("first: 1", "first: 0"))).await;
    for round in 1..=60 {
        relay.act("/api/destinations/chat/pause").await;
        for number in 0..3 {
            relay.accept(&bounced(number)).await;
        }
        held(&relay, 3).await;
        relay.act("/api/destinations/chat/digest-now").await;
        relay.act("/api/destinations/chat/resume").await;
        eventually("the digest", async || slack.seen().len() == round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_to_go_out_now_by_an_id_is_not_asked_for_again() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, &DIGEST.replace("first: 1", "first: 0"))).await;
    let end = async |id: u8| {
        let asked = json!({ "id": uuid::Uuid::from_bytes([id; 16]).to_string() });
        let done = ask(&relay, "/api/destinations/chat/digest-now", asked).await.json();
        (done["deliveries"].as_u64(), done["repeated"].as_bool())
    };
    let first = relay.accept(&bounced(0)).await;
    held(&relay, 1).await;
    assert_eq!(end(1).await, (Some(1), Some(false)));
    relay.until(&first, "delivered").await;
    relay.accept(&bounced(1)).await;
    held(&relay, 1).await;
    assert_eq!(end(1).await, (Some(0), Some(true)));
    held(&relay, 1).await;
    assert_eq!(end(2).await, (Some(1), Some(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_quiet_hours_says_when_they_end() {
    let slack = SlackServer::hurried([]).await;
    let hour = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let [from, to] = [22, 2].map(|hours| format!("{:02}:00", (hour + hours) % 24));
    let quiet = format!("    quiet: {{ from: \"{from}\", to: \"{to}\", timezone: UTC }}\n");
    let relay = TestRelay::start(&chat(&slack, &quiet)).await;
    let id = relay.accept(&bounced(0)).await;
    let waiting = relay.until(&id, "held").await;
    let until = waiting["held"]["until"].as_str().expect("a time");
    assert!(until.contains(&format!("T{to}:00")), "{waiting}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_alone_goes_out_as_the_usual_message() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, &DIGEST.replace("first: 1", "first: 0"))).await;
    let id = relay.accept(&bounced(0)).await;
    held(&relay, 1).await;
    relay.act("/api/destinations/chat/digest-now").await;
    relay.until(&id, "delivered").await;
    let plain = TestRelay::start(&chat(&slack, "")).await;
    let other = plain.accept(&bounced(0)).await;
    plain.until(&other, "delivered").await;
    let texts = texts(&slack);
    assert_eq!(texts[0], texts[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_puts_nothing_together_has_no_digest_though_something_is_urgent_there() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, "    urgent: { type: complained }\n")).await;
    let looked = relay.admin("/api/destinations/chat/digest").await;
    let acted = relay.act("/api/destinations/chat/digest-now").await;
    for answer in [looked, acted] {
        assert_eq!(answer.status(), 404);
        assert!(answer.text().contains("puts nothing together"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_fails_is_tried_again_as_one_under_one_id() {
    let fake = Fake::start([Act::status(503), Act::status(503)]).await;
    let config = crm(&fake, QUICK, "{ every: 1h, first: 0 }");
    let relay = TestRelay::start(&config).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(relay.accept(&bounced(number)).await);
    }
    eventually("they wait", async || relay.destination("crm").await["digest"]["events"] == 3).await;
    relay.act("/api/destinations/crm/digest-now").await;
    for id in &ids {
        let delivered = relay.until(id, "delivered").await;
        assert_eq!(delivered["attempts"], 3, "{delivered}");
    }
    let seen = fake.wait_for(3).await;
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|message| message.header("webhook-id") == seen[0].header("webhook-id")));
    assert!(seen.iter().all(|message| message.text() == seen[0].text()), "the same each time");
    assert!(!ids.iter().any(|id| seen[0].header("webhook-id") == Some(id)), "it is no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_several_groups_are_in_the_order_in_which_they_came() {
    let fake = Fake::start([]).await;
    let config = crm(
        &fake,
        QUICK,
        "{ every: 1h, first: 0, text: \"{% for event in digest.events %}{{ event.user.id }}{% endfor %}\" }",
    );
    let relay = TestRelay::start(&config).await;
    let types = ["sent", "bounced", "bounced", "sent", "opened", "bounced"];
    for (number, event_type) in types.iter().enumerate() {
        relay.accept(&format!(r#"{{"type":"{event_type}","user":{{"id":{number}}}}}"#)).await;
    }
    eventually("they wait", async || relay.destination("crm").await["digest"]["events"] == 6).await;
    relay.act("/api/destinations/crm/digest-now").await;
    let seen = fake.wait_for(1).await;
    assert_eq!(seen[0].text(), "012345");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_given_up_makes_a_dead_letter_of_each_and_they_can_be_replayed() {
    let fake = Fake::start([Act::status(400)]).await;
    let config = crm(&fake, QUICK, "{ every: 1h, first: 0 }");
    let relay = TestRelay::start(&config).await;
    let ids = [relay.accept(&bounced(0)).await, relay.accept(&bounced(1)).await];
    eventually("they wait", async || relay.destination("crm").await["digest"]["events"] == 2).await;
    relay.act("/api/destinations/crm/digest-now").await;
    for id in &ids {
        relay.until(id, "dead").await;
    }
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains(r#"deliveries_total{destination="crm",outcome="dead_letter"} 2"#), "{metrics}");
    let all = json!({ "destination": "crm" }).to_string();
    let headers = [("content-type", "application/json"), ("x-vero-relay-write", "1")];
    let path = "/api/dead-letters/replay";
    let done = request(relay.running.admin_address, "POST", path, &headers, all.as_bytes()).await.json();
    assert_eq!(done["deliveries"], 2, "{done}");
    eventually("they wait again", async || relay.destination("crm").await["digest"]["events"] == 2).await;
    relay.act("/api/destinations/crm/digest-now").await;
    for id in &ids {
        relay.until(id, "delivered").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_amid_a_pause_goes_out_when_that_ends_and_nobody_says_a_time() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    let first = relay.accept(&bounced(0)).await;
    relay.until(&first, "delivered").await;
    let mut last = String::new();
    for number in 1..4 {
        last = relay.accept(&bounced(number)).await;
    }
    held(&relay, 3).await;
    relay.act("/api/destinations/chat/pause").await;
    assert!(relay.destination("chat").await["digest"]["at"].is_string(), "its window is not over");
    relay.act("/api/destinations/chat/digest-now").await;
    eventually("its window is over", async || relay.destination("chat").await["digest"]["at"].is_null()).await;
    let shown = relay.admin("/api/destinations/chat/digest").await.json();
    assert_eq!((&shown["at"], &shown["events"]), (&Value::Null, &json!(3)), "{shown}");
    relay.act("/api/destinations/chat/resume").await;
    relay.until(&last, "delivered").await;
    assert_eq!(slack.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_waits_and_when_it_goes_out() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    let first = relay.accept(&bounced(0)).await;
    relay.until(&first, "delivered").await;
    for number in 1..4 {
        relay.accept(&bounced(number)).await;
    }
    held(&relay, 3).await;
    let before = relay.destination("chat").await["digest"].clone();
    let relay = relay.restart(|config| config).await;
    held(&relay, 3).await;
    assert_eq!(relay.destination("chat").await["digest"], before);
    let late = relay.accept(&bounced(4)).await;
    held(&relay, 4).await;
    assert_eq!(slack.seen().len(), 1, "its window had its first one already");
    relay.act("/api/destinations/chat/digest-now").await;
    relay.until(&late, "delivered").await;
    assert_eq!(slack.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_digest_is_taken_out_what_waits_goes_out_once_more_together() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    for number in 0..5 {
        relay.accept(&bounced(number)).await;
    }
    held(&relay, 4).await;
    let file = relay.directory.path().join("config.yaml");
    let config = std::fs::read_to_string(&file).expect("the config");
    std::fs::write(&file, config.replace(DIGEST, "")).expect("written");
    relay.act("/api/reload").await;
    eventually("all went out", async || slack.seen().len() == 2).await;
    let id = relay.accept(&bounced(9)).await;
    relay.until(&id, "delivered").await;
    assert_eq!(slack.seen().len(), 3, "by itself from here on");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_quiet_hours_nothing_goes_out_but_what_is_urgent() {
    let slack = SlackServer::hurried([]).await;
    // Whatever the time is: quiet for all of today and tomorrow.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let days = [today, today.tomorrow().expect("a day")].map(|day| match day.weekday() {
        jiff::civil::Weekday::Monday => "mon",
        jiff::civil::Weekday::Tuesday => "tue",
        jiff::civil::Weekday::Wednesday => "wed",
        jiff::civil::Weekday::Thursday => "thu",
        jiff::civil::Weekday::Friday => "fri",
        jiff::civil::Weekday::Saturday => "sat",
        jiff::civil::Weekday::Sunday => "sun",
    });
    let quiet = format!(
        "    urgent: {{ type: complained }}\n    quiet: {{ from: \"00:00\", to: \"24:00\", timezone: UTC, days: [{}, {}] }}\n",
        days[0], days[1]
    );
    let relay = TestRelay::start(&chat(&slack, &quiet)).await;
    for number in 0..3 {
        relay.accept(&bounced(number)).await;
    }
    held(&relay, 3).await;
    let urgent = relay.accept(r#"{"type":"complained","user":{"email":"buyer@example.com"}}"#).await;
    relay.until(&urgent, "delivered").await;
    assert_eq!(slack.seen().len(), 1);
    let shown = relay.destination("chat").await;
    assert!(shown["digest"]["quiet_until"].is_string(), "{shown}");
    // The morning comes with another file.
    let file = relay.directory.path().join("config.yaml");
    let config = std::fs::read_to_string(&file).expect("the config");
    let awake = config.replace(&format!("days: [{}, {}]", days[0], days[1]), &format!("days: [{}]", other_than(days)));
    std::fs::write(&file, awake).expect("written");
    relay.act("/api/reload").await;
    eventually("the rest went out together", async || slack.seen().len() == 2).await;
    held(&relay, 0).await;
}

fn other_than(days: [&str; 2]) -> &'static str {
    ["mon", "tue", "wed", "thu"].into_iter().find(|day| !days.contains(day)).expect("one of four")
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_how_an_event_would_go_out() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    let explain = async |event: String| {
        let body = json!({ "event": event }).to_string();
        let headers = [("content-type", "application/json"), ("x-vero-relay-write", "1")];
        let told = request(relay.running.admin_address, "POST", "/api/explain", &headers, body.as_bytes()).await.json();
        told["deliveries"][0].clone()
    };
    let told = explain(bounced(0)).await;
    assert_eq!(told["goes"]["how"], "first");
    assert_eq!((&told["goes"]["nth"], &told["goes"]["first"]), (&json!(1), &json!(1)), "{told}");
    assert!(told["digest"].is_object(), "{told}");
    let first = relay.accept(&bounced(0)).await;
    relay.until(&first, "delivered").await;
    relay.accept(&bounced(1)).await;
    held(&relay, 1).await;
    let told = explain(bounced(2)).await;
    assert_eq!((&told["goes"]["how"], &told["goes"]["with"]), (&json!("digest"), &json!(1)), "{told}");
    assert!(told["goes"]["at"].is_string());
    let urgent = explain(r#"{"type":"complained"}"#.to_owned()).await;
    assert_eq!((&urgent["goes"]["how"], &urgent["digest"]), (&json!("urgent"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_leaves_and_comes_back_sends_the_digest_that_it_had() {
    let fake = Fake::start([Act::status(503)]).await;
    let config = crm(&fake, "retry: { initial: 1h, max: 1h }", "{ every: 1h, first: 0 }");
    let relay = TestRelay::start(&config).await;
    let ids = [relay.accept(&bounced(0)).await, relay.accept(&bounced(1)).await, relay.accept(&bounced(2)).await];
    eventually("they wait", async || relay.destination("crm").await["digest"]["events"] == 3).await;
    relay.act("/api/destinations/crm/digest-now").await;
    fake.wait_for(1).await;
    eventually("it is to be tried again", async || relay.destination("crm").await["in_flight"] == 0).await;
    let file = relay.directory.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).expect("the config");
    let head = text.split("rules:").next().expect("a head");
    std::fs::write(&file, format!("{head}rules: [ {{ to: [], stop: true }} ]\n")).expect("written");
    relay.act("/api/reload").await;
    eventually("it has left", async || relay.destination("crm").await["state"] == "removed").await;
    std::fs::write(&file, &text).expect("written");
    relay.act("/api/reload").await;
    relay.act("/api/destinations/crm/retry").await;
    for id in &ids {
        assert_eq!(relay.until(id, "delivered").await["attempts"], 2);
    }
    let seen = fake.wait_for(2).await;
    assert_eq!((seen.len(), seen[0].header("webhook-id")), (2, seen[1].header("webhook-id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_nothing_here_leaves_what_waits_alone() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    for number in 0..4 {
        relay.accept(&bounced(number)).await;
    }
    held(&relay, 3).await;
    let before = relay.destination("chat").await["digest"].clone();
    let file = relay.directory.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).expect("the config");
    std::fs::write(&file, format!("{text}removed_grace: 48h\n")).expect("written");
    relay.act("/api/reload").await;
    assert_eq!(relay.destination("chat").await["digest"], before);
    relay.act("/api/destinations/chat/digest-now").await;
    held(&relay, 0).await;
    eventually("two messages", async || slack.seen().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_fails_and_whose_destination_is_a_file_by_now_is_written_line_by_line() {
    let fake = Fake::start(std::iter::repeat_n(Act::status(500), 50)).await;
    let config = crm(&fake, QUICK, "{ every: 1h, first: 0 }");
    let relay = TestRelay::start(&config).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(relay.accept(&bounced(number)).await);
    }
    eventually("they wait", async || relay.destination("crm").await["digest"]["events"] == 5).await;
    relay.act("/api/destinations/crm/digest-now").await;
    fake.wait_for(2).await;
    let file = relay.directory.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).expect("the config");
    let head = text.split("rules:").next().expect("a head");
    let lines =
        format!("{head}rules: [ {{ to: crm }} ]\ndestinations:\n  crm: {{ file: {{ path: crm.ndjson }}, {QUICK} }}\n");
    std::fs::write(&file, lines).expect("written");
    relay.act("/api/reload").await;
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    let written = std::fs::read_to_string(relay.directory.path().join("data/crm.ndjson")).expect("written");
    assert_eq!(written.lines().count(), 5, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_what_is_urgent_is_left_what_was_gathered_goes_out_together() {
    let slack = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&chat(&slack, DIGEST)).await;
    for number in 0..5 {
        relay.accept(&bounced(number)).await;
    }
    held(&relay, 4).await;
    let file = relay.directory.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).expect("the config");
    let digest = DIGEST.lines().next().expect("its line");
    std::fs::write(&file, text.replace(digest, "")).expect("written");
    relay.act("/api/reload").await;
    eventually("all went out", async || relay.destination("chat").await["backlog"] == 0 && slack.seen().len() >= 2)
        .await;
    assert_eq!(slack.seen().len(), 2, "{:?}", texts(&slack));
}
