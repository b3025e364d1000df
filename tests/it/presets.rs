//! Destinations by presets, against servers that answer as the vendors do.

use serde_json::json;

use crate::harness::*;

/// What no output may hold.
const CANARY: &str = "canary-of-a-secret";

/// One destination `chat` for everything, by a preset.
fn to_chat(preset: &str, fields: &str) -> String {
    format!(
        "rules: [ {{ name: all, to: chat }} ]\ndestinations:\n  chat:\n    preset: {preset}\n    fields: {fields}\n    rate: 100/s\n    {QUICK}\n"
    )
}

fn event(n: u64) -> String {
    json!({ "type": "bounced", "user": { "id": n }, "campaign": { "id": 7, "name": "<b> *x* @all" } }).to_string()
}

fn answer(status: u16, body: &serde_json::Value) -> Act {
    Act::with(status, &[("content-type", "application/json")], &body.to_string())
}

/// That nothing which the relay tells holds the secret.
async fn is_silent(relay: &TestRelay, ids: &[String]) {
    let mut told = vec![relay.admin("/api/destinations").await.text(), relay.admin("/api/config").await.text()];
    for id in ids {
        told.push(format!("{:?}", relay.deliveries(id).await));
    }
    assert!(told.iter().all(|told| !told.contains(CANARY)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_says_how_long_to_wait_and_pauses_where_the_chat_is_gone() {
    let later = json!({ "ok": false, "error_code": 429, "parameters": { "retry_after": 1 } });
    let gone =
        json!({ "ok": false, "error_code": 400, "description": format!("Bad Request: chat not found 1:{CANARY}") });
    let fine = json!({ "ok": true, "result": {} });
    let fake = Fake::start([answer(429, &later), answer(200, &fine), answer(400, &gone)]).await;
    let fields = format!("{{ api: \"{}\", token: \"1:{CANARY}\", chat_id: -100 }}", fake.url());
    let relay = TestRelay::start(&to_chat("telegram", &fields)).await;
    let first = relay.accept(&event(1)).await;
    let delivered = relay.until(&first, "delivered").await;
    let request = &fake.wait_for(2).await[1];
    assert_eq!(request.first_line, format!("POST /bot1:{CANARY}/sendMessage HTTP/1.1"));
    let body = request.json();
    assert_eq!((&body["chat_id"], &body["parse_mode"]), (&json!(-100), &json!("HTML")));
    assert!(body["text"].as_str().is_some_and(|text| text.contains("&lt;b&gt; *x* ＠all")), "{body}");
    assert_eq!(delivered["attempted"][0]["status"], 429, "{delivered}");
    let second = relay.accept(&event(2)).await;
    eventually("the destination to be paused", async || relay.destination("chat").await["state"] == "paused").await;
    is_silent(&relay, &[first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rocket_chat_that_refuses_under_200_has_not_got_it() {
    let no = json!({ "success": false, "error": "invalid message" });
    let fake = Fake::start([answer(200, &no), answer(200, &json!({ "success": true }))]).await;
    let fields = format!("{{ url: \"{}/hooks/1/{CANARY}\" }}", fake.url());
    let relay = TestRelay::start(&to_chat("rocket_chat", &fields)).await;
    let ids = [relay.accept(&event(1)).await, relay.accept(&event(2)).await];
    let dead = relay.until(&ids[0], "dead").await;
    assert_eq!((&dead["attempts"], &dead["status"]), (&json!(1), &json!(200)), "{dead}");
    relay.until(&ids[1], "delivered").await;
    let body = fake.seen()[0].json();
    assert!(body["text"].as_str().is_some_and(|text| text.contains(r"\<b\> \*x\* ＠all")), "{body}");
    is_silent(&relay, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_teams_that_is_too_busy_says_so_in_words() {
    let busy = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
    let fake = Fake::start([Act::with(200, &[], busy), Act::with(200, &[], "1")]).await;
    let fields = format!("{{ url: \"{}/workflows/{CANARY}\" }}", fake.url());
    let relay = TestRelay::start(&to_chat("teams", &fields)).await;
    let id = relay.accept(&event(1)).await;
    relay.until(&id, "delivered").await;
    assert_eq!(fake.seen().len(), 2);
    is_silent(&relay, &[id]).await;
}
