//! Slack as an app, against a strict Slack: where messages go, and that the token is told nowhere.

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
