//! What the relay does not send, because there is nothing to send or because it cannot be made, says nothing of the destination.

use crate::harness::*;
use crate::slack_server::SlackServer;

const HARD: &str = r#"{"type":"bounced","bounce_type":"hard","user":{"id":7,"email":"mia@example.com"}}"#;
/// A part of why `n - 1` fails where `n` is a text.
const NO_NUMBER: &str = "unsupported types string and number";
/// More than the rejects in a row that pause a destination.
const MANY: usize = 25;

fn to_chat(fake: &Fake, text: &str) -> String {
    format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack: {{ url: \"{}/T/B/x\", text: \"{text}\" }}\n    rate: 1000/s\n    {QUICK}\n",
        fake.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_message_is_skipped_and_counted_and_pauses_nothing() {
    let fake = SlackServer::hurried([]).await;
    let text = "{% if bounce_type == 'hard' %}Hard bounce: {{ user.email }}{% endif %}";
    let relay = TestRelay::start(&to_chat(&fake, text)).await;
    for _ in 0..MANY {
        let id = relay.accept(r#"{"type":"bounced","bounce_type":"soft"}"#).await;
        let skipped = relay.until(&id, "skipped").await;
        assert_eq!(skipped["reason"], "the message is empty");
    }
    let id = relay.accept(HARD).await;
    relay.until(&id, "delivered").await;
    assert_eq!(fake.seen().len(), 1, "only the one that says something was posted");
    let chat = relay.destination("chat").await;
    assert_eq!((chat["backlog"].as_u64(), chat["dead_letters"].as_u64()), (Some(0), Some(0)), "{chat}");
    assert!(chat["paused"].is_null(), "{chat}");
    let metrics = relay.admin("/metrics").await.text();
    let counted = format!(r#"_deliveries_total{{destination="chat",outcome="skipped"}} {MANY}"#);
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_is_told_apart_after_a_restart() {
    let fake = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&to_chat(&fake, "{{ nothing }}")).await;
    let id = relay.accept(HARD).await;
    relay.until(&id, "skipped").await;
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.until(&id, "skipped").await["reason"], "the message is empty");
}

/// Each of some events becomes a dead letter at once, and then one that can be sent is delivered.
async fn fails_and_goes_on(config: &str, events: &[&str], reason: &str, good: &str) {
    assert!(!reason.is_empty(), "each text holds nothing");
    let relay = TestRelay::start(config).await;
    for i in 0..MANY {
        let id = relay.accept(events[i % events.len()]).await;
        let dead = relay.until(&id, "dead").await;
        assert!(dead["reason"].as_str().is_some_and(|told| told.contains(reason)), "{dead}");
    }
    let id = relay.accept(good).await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_that_fail_pause_nothing() {
    let fake = SlackServer::hurried([]).await;
    let fails = r#"{"type":"sent","n":"x"}"#;
    fails_and_goes_on(
        &to_chat(&fake, "{% if n is defined %}{{ n - 1 }}{% endif %} of it"),
        &[fails],
        NO_NUMBER,
        r#"{"type":"sent","n":1}"#,
    )
    .await;
    let json = to_crm(&fake, "")
        .replace("/hook\" }", "/hook\", json: { n: \"{% if n is defined %}{{ n - 1 }}{% endif %} of it\" } }");
    fails_and_goes_on(&json, &[fails], NO_NUMBER, r#"{"type":"sent","n":1}"#).await;
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_have_no_place_in_a_url_pause_nothing() {
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "").replace("/hook\"", "/users/{{ user.id }}/x\"");
    let climbing = [r#"{"type":"sent","user":{"id":".."}}"#, r#"{"type":"sent","user":{"id":"."}}"#];
    fails_and_goes_on(&config, &climbing, "step up or down", HARD).await;
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_neither_opens_nor_closes_the_breaker() {
    let fake = Fake::start(std::iter::repeat_with(|| Act::status(503)).take(1000)).await;
    let config = to_crm(&fake, "").replace("/hook\"", "/users/{{ user.id }}/x\"");
    let relay = TestRelay::start(&config.replace("max: 50ms", "max: 50ms, max_attempts: 5")).await;
    for _ in 0..MANY {
        let id = relay.accept(r#"{"type":"sent","user":{"id":".."}}"#).await;
        relay.until(&id, "dead").await;
    }
    assert_eq!(relay.destination("crm").await["breaker"]["state"], "closed", "nobody failed");
    let id = relay.accept(HARD).await;
    relay.until(&id, "dead").await;
    eventually("the open breaker", async || relay.destination("crm").await["breaker"]["state"] == "open").await;
    for _ in 0..3 {
        let id = relay.accept(r#"{"type":"sent","user":{"id":".."}}"#).await;
        relay.until(&id, "dead").await;
    }
    assert!(relay.destination("crm").await["breaker"]["state"] == "open", "nobody answered");
}
