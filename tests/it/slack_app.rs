//! Slack as an app, against a strict Slack: where messages go, and that the token is told nowhere.

use std::process::{Command, Stdio};

use crate::harness::*;
use crate::slack_server::SlackServer;

const TOKEN: &str = "xoxb-canary-of-an-app";

fn to_app(server: &SlackServer, channel: &str) -> String {
    format!(
        "rules: [ {{ name: all, to: chat }} ]\ndestinations:\n  chat:\n    slack: {{ token: {TOKEN}, {channel}, api: \"{}/api/\" }}\n    {QUICK}\n",
        server.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_posts_into_its_channel_and_its_token_is_told_nowhere() {
    let server = SlackServer::with_app(TOKEN, &["#email"]).await;
    let echo = format!(r#"{{"ok":false,"error":"fatal_error","got":"Bearer {TOKEN}"}}"#);
    let refusal = format!(r#"{{"ok":false,"error":"msg_too_long","got":"{TOKEN}"}}"#);
    server.then([Act::with(200, &[], &echo)]);
    let relay = TestRelay::start(&to_app(&server, "channel: \"#email\"")).await;
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "a no under 200 is tried again");
    server.then([Act::with(200, &[], &refusal)]);
    let dead = relay.accept(SENT).await;
    assert_eq!(relay.until(&dead, "dead").await["reason"], "200 msg_too_long");
    let sent = server.seen().pop().expect("posted");
    assert_eq!(sent.json()["channel"], "#email");
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let mut looked_at = 0;
    for path in [
        "/api/status",
        "/api/destinations",
        "/api/dead-letters",
        "/api/config",
        "/api/rules",
        &format!("/api/events/{id}"),
        &format!("/api/events/{dead}"),
        "/metrics",
    ] {
        let said = relay.admin(path).await;
        assert_eq!(said.status(), 200, "{path}");
        assert!(!said.text().contains("canary"), "{path}: {}", said.text());
        looked_at += usize::from(said.text().contains("chat"));
    }
    assert!(looked_at >= 6, "they tell of the destination: {looked_at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_one_event_chooses_wrongly_stops_no_other() {
    let server = SlackServer::with_app(TOKEN, &["#email"]).await;
    let channel = "channel: \"#{{ type }}\", channels: [\"#email\", \"#other\"]";
    let relay = TestRelay::start(&to_app(&server, channel)).await;
    let nowhere = relay.accept(r#"{"type":"general"}"#).await;
    let reason = relay.until(&nowhere, "dead").await["reason"].clone();
    assert_eq!(reason, "the channel comes to `#general`, which is none of `channels`");
    server.ask_for("not_in_channel");
    let other = relay.accept(r#"{"type":"other"}"#).await;
    let reason = relay.until(&other, "dead").await["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("invite the app")), "{reason}");
    let id = relay.accept(r#"{"type":"email"}"#).await;
    relay.until(&id, "delivered").await;
    assert!(relay.destination("chat").await["paused"].is_null());
}

/// Whose log nobody wants.
fn silent(command: &mut Command) {
    command.stderr(Stdio::null());
}

/// The threads that the messages stood in, by the body of the request; empty for one in the channel.
fn threads(server: &SlackServer) -> Vec<String> {
    server.seen().iter().map(|sent| sent.json()["thread_ts"].as_str().unwrap_or_default().to_owned()).collect()
}

fn of_campaign(id: u64, number: u64) -> String {
    format!(r#"{{"type":"bounced","user":{{"email":"u{number}@example.com"}},"campaign":{{"id":{id}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_goes_on_after_a_restart_and_for_what_is_replayed() {
    let server = SlackServer::hurried_with_app(TOKEN, &["#email"]).await;
    let config = to_app(&server, "channel: \"#email\", thread_by: [campaign.id]");
    let relay = TestRelay::start(&format!("{config}    rate: 1000/s\n")).await;
    for (campaign, number) in [(1, 0), (2, 0), (1, 1)] {
        let id = relay.accept(&of_campaign(campaign, number)).await;
        relay.until(&id, "delivered").await;
    }
    let before = threads(&server);
    let [first, other] = server.posted(["#email"; 2], [0, 1]);
    assert_eq!(before, ["", "", first.as_str()]);
    let relay = relay.restart(|config| config).await;
    let ids = [relay.accept(&of_campaign(2, 1)).await, relay.accept(&of_campaign(1, 2)).await];
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    assert_eq!(threads(&server)[3..], [other, first.clone()]);
    let asked = serde_json::json!({ "events": [ids[1]] }).to_string();
    let headers = [("x-vero-relay-write", "1")];
    let begun = request(relay.running.admin_address, "POST", "/api/replays", &headers, asked.as_bytes()).await;
    assert_eq!(begun.status(), 200, "{}", begun.text());
    server.wait_for(6).await;
    assert_eq!(threads(&server)[5], first);
    // By other fields other messages belong together.
    let relay = relay.restart(|config| config.replace("[campaign.id]", "[type]")).await;
    for number in 3..5 {
        let id = relay.accept(&of_campaign(1, number)).await;
        relay.until(&id, "delivered").await;
    }
    let [begun] = server.posted(["#email"], [6]);
    assert_eq!(threads(&server)[6..], [String::new(), begun]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_before_it_has_an_answer_begins_no_thread_beside_one_that_goes_on() {
    let server = SlackServer::hurried_with_app(TOKEN, &["#email"]).await;
    let config = to_app(&server, "channel: \"#email\", thread_by: [campaign.id]");
    let directory = tempfile::tempdir().expect("a directory");
    let hooks = closed_port();
    let head = HEAD.replacen("listen: 127.0.0.1:0", &format!("listen: \"{hooks}\""), 1);
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{head}{config}    rate: 1000/s\n")).expect("written");
    let run = || Daemon::start(&path, silent);
    let up = async || eventually("it to be up", async || tokio::net::TcpStream::connect(hooks).await.is_ok()).await;
    let send = async |number: u64| {
        let sent = request(hooks, "POST", "/hooks/vero/secret", &[], of_campaign(1, number).as_bytes()).await;
        assert_eq!(sent.status(), 200, "{}", sent.text());
    };
    // Slack has each of these, and its answer never comes.
    for number in 0..2 {
        server.then([Act::Hang]);
        let daemon = run();
        up().await;
        if number == 0 {
            send(0).await;
        }
        server.wait_for(number + 1).await;
        drop(daemon);
    }
    let daemon = run();
    up().await;
    server.wait_for(3).await;
    let [_, _, first] = server.posted(["#email"; 3], [0, 1, 2]);
    // Killed once more, with a thread that is known.
    send(1).await;
    server.wait_for(4).await;
    server.then([Act::Hang]);
    send(2).await;
    server.wait_for(5).await;
    drop(daemon);
    let _daemon = run();
    up().await;
    send(3).await;
    let texts = |at: std::ops::Range<usize>| -> String { server.seen()[at].iter().map(Message::text).collect() };
    eventually("all of them", async || {
        let seen = server.seen().len();
        seen >= 7 && [2, 3].iter().all(|number| texts(5..seen).contains(&format!("u{number}@example.com")))
    })
    .await;
    let threads = threads(&server);
    assert_eq!(threads[..3], ["", "", ""], "the same message, of which nobody heard that it was posted");
    assert!(threads[3..].iter().all(|thread| *thread == first), "{threads:?}, of which {first} goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_goes_into_the_thread_of_its_events_and_none_into_two() {
    let server = SlackServer::hurried_with_app(TOKEN, &["#email"]).await;
    let config = to_app(&server, "channel: \"#email\", thread_by: [campaign.id]");
    let config = format!("{config}    rate: 1000/s\n    digest: {{ every: 1h, by: [type], first: 1 }}\n");
    let relay = TestRelay::start(&config).await;
    let mut ids = Vec::new();
    for (campaign, number) in [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (2, 3)] {
        ids.push(relay.accept(&of_campaign(campaign, number)).await);
    }
    eventually("they wait together", async || relay.destination("chat").await["digest"]["events"] == 5).await;
    server.wait_for(2).await;
    let [one, two] = server.posted(["#email"; 2], [0, 1]);
    let explained = relay.admin(&format!("/api/events/{}/explain", ids[2])).await.json();
    assert_eq!(explained["deliveries"][0]["sends"]["thread"], "campaign.id 1", "{explained}");
    relay.act("/api/destinations/chat/digest-now").await;
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    let seen = server.seen();
    let told: std::collections::BTreeMap<_, _> = seen[2..]
        .iter()
        .map(|sent| sent.json())
        .map(|sent| {
            (
                sent["thread_ts"].as_str().unwrap_or_default().to_owned(),
                sent["text"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    assert_eq!((seen.len(), told.len()), (4, 2), "{told:?}");
    assert!(told[&one].starts_with("*2 × bounced*") && told[&two].starts_with("*3 × bounced*"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_repeats_a_long_message_is_read_to_its_end() {
    let server = SlackServer::with_app(TOKEN, &["#email"]).await;
    let text = "\u{436}".repeat(4000);
    let relay = TestRelay::start(&to_app(&server, &format!("channel: \"#email\", text: \"{text}\""))).await;
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_counts_says_the_right_number_whenever_the_relay_is_killed() {
    let server = SlackServer::hurried_with_app(TOKEN, &["#email"]).await;
    let config = to_app(&server, "channel: \"#email\", thread_by: [campaign.id], update: true");
    let directory = tempfile::tempdir().expect("a directory");
    let hooks = closed_port();
    let head = HEAD.replacen("listen: 127.0.0.1:0", &format!("listen: \"{hooks}\""), 1);
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{head}{config}")).expect("written");
    let says = |number: u64| {
        let sent = server.seen().pop().map(|sent| sent.json()["text"].as_str().unwrap_or_default().to_owned());
        let text = sent.unwrap_or_default();
        text.starts_with(&format!("*{number} × ")) || (number == 1 && text.contains("u1@example.com"))
    };
    for number in 1..=5 {
        let daemon = Daemon::start(&path, silent);
        eventually("it to be up", async || tokio::net::TcpStream::connect(hooks).await.is_ok()).await;
        let sent = request(hooks, "POST", "/hooks/vero/secret", &[], of_campaign(1, number).as_bytes()).await;
        assert_eq!(sent.status(), 200, "{}", sent.text());
        // Killed as soon as Slack has it: what is known of that by then is left to chance.
        eventually(&format!("{number} to be told"), async || says(number)).await;
        drop(daemon);
    }
    let edits = server.seen().iter().filter(|sent| sent.first_line.contains("chat.update")).count();
    assert!(edits >= 4, "{edits}");
}
