//! What an answer means, and what follows from it: every row of the tables, retries, Retry-After, giving up, pausing.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::*;
use crate::slack_server::SlackServer;

#[tokio::test(flavor = "multi_thread")]
async fn each_status_of_a_real_server_means_what_the_http_table_says() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let delivered = [200, 201, 202, 204, 299];
    let retried = [301, 302, 307, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504, 599];
    let rejected = [400, 402, 406, 409, 413, 415, 422, 451];
    for status in delivered {
        fake.then([Act::with(status, &[], "")]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 1, "{status}");
    }
    for status in retried {
        fake.then([Act::status(status), Act::ok()]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "{status}");
    }
    for status in rejected {
        fake.then([Act::status(status)]);
        let id = relay.accept(SENT).await;
        let dead = relay.until(&id, "dead").await;
        assert_eq!(dead["attempts"], 1, "{status}");
        let reason = dead["reason"].as_str().expect("a reason");
        assert!(reason.starts_with(&status.to_string()) && !reason.contains("said"), "{reason}");
        assert_eq!((dead["status"].as_u64(), dead["answer"].as_str()), (Some(status.into()), Some("said")));
    }
    assert_eq!(relay.destination("crm").await["dead_letters"], rejected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_any_sort_is_tried_again() {
    let fake = Fake::start([
        Act::Close,
        Act::Hang,
        Act::Raw(b"garbage, not HTTP\r\n\r\n".to_vec()),
        Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
    ])
    .await;
    let relay = TestRelay::start(&to_crm(&fake, "    timeout: 300ms\n")).await;
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_nobody_listens_at_is_tried_until_somebody_does() {
    let fake = Fake::start([]).await;
    let refused = to_crm(&fake, "").replace(&fake.address.to_string(), &closed_port().to_string());
    let relay = TestRelay::start(&refused).await;
    let id = relay.accept(SENT).await;
    let scheduled = relay.until(&id, "scheduled").await;
    assert!(scheduled["reason"].as_str().is_some_and(|reason| reason.starts_with("could not connect")), "{scheduled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = Fake::start([]).await;
    let fake = Fake::start([Act::with(307, &[("location", &elsewhere.url())], "")]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    assert_eq!((fake.seen().len(), elsewhere.seen().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_counts_also_when_the_answers_body_never_ends() {
    let endless = [b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec(), vec![b'x'; 200_000]].concat();
    let fake = Fake::start([Act::Raw(endless)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_the_config_override_the_table() {
    let fake = Fake::start([Act::status(404), Act::status(409), Act::status(400), Act::ok()]).await;
    let relay = TestRelay::start(&to_crm(&fake, "    answers: { 404: reject, 409: delivered, 400: retry }\n")).await;
    let ids = [relay.accept(SENT).await];
    relay.until(&ids[0], "dead").await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_pauses_the_destination_keeps_its_queue_and_the_event_goes_first_on_resume() {
    let fake = Fake::start([Act::status(410)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "    concurrency: 1\n")).await;
    let first = relay.accept(r#"{"type":"first"}"#).await;
    eventually("the pause", async || !relay.destination("crm").await["paused"].is_null()).await;
    let second = relay.accept(r#"{"type":"second"}"#).await;
    let crm = relay.destination("crm").await;
    assert_eq!((crm["backlog"].as_u64(), crm["dead_letters"].as_u64()), (Some(2), Some(0)));
    assert!(crm["paused"]["reason"].as_str().is_some_and(|reason| reason.contains("410 Gone")), "{crm}");
    assert_eq!(relay.act("/api/destinations/crm/resume").await.status(), 200);
    assert_eq!(relay.until(&first, "delivered").await["attempts"], 1, "the pausing attempt is not counted");
    relay.until(&second, "delivered").await;
    let types: Vec<_> = fake.seen().iter().map(|message| message.json()["type"].clone()).collect();
    assert_eq!(types, [json!("first"), json!("first"), json!("second")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pause_holds_deliveries_and_resume_lets_them_go() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    assert_eq!(relay.act("/api/destinations/crm/pause").await.status(), 200);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.deliveries(&id).await[0]["state"], "waiting");
    relay.act("/api/destinations/crm/resume").await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rejects_in_a_row_pause_the_destination_and_a_success_starts_the_count_anew() {
    let rejects = |count: usize| std::iter::repeat_with(|| Act::status(400)).take(count);
    let fake = Fake::start(rejects(19).chain([Act::ok()]).chain(rejects(20))).await;
    let relay = TestRelay::start(&to_crm(&fake, "    concurrency: 1\n")).await;
    for _ in 0..20 {
        relay.accept(SENT).await;
    }
    fake.wait_for(20).await;
    eventually("all to be settled", async || relay.destination("crm").await["backlog"] == 0).await;
    assert!(relay.destination("crm").await["paused"].is_null(), "nineteen and a success");
    for _ in 0..21 {
        relay.accept(SENT).await;
    }
    eventually("the pause", async || !relay.destination("crm").await["paused"].is_null()).await;
    assert_eq!(relay.destination("crm").await["backlog"], 1, "the one after the twentieth waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_a_floor_for_its_delivery_and_holds_the_destination() {
    let fake = Fake::start([Act::with(429, &[("retry-after", "600")], "")]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let first = relay.accept(r#"{"type":"first"}"#).await;
    let told = relay.until(&first, "scheduled").await;
    assert_at_least_600_s_later(&told["next_attempt_at"], &relay, &first).await;
    let second = relay.accept(r#"{"type":"second"}"#).await;
    eventually("the second event to wait too", async || {
        relay.deliveries(&second).await[0]["waits_for"] == "retry_after"
    })
    .await;
    assert_eq!(fake.seen().len(), 1);
    assert_eq!(relay.act("/api/destinations/crm/retry").await.status(), 200);
    relay.until(&first, "delivered").await;
    relay.until(&second, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_on_another_status_holds_only_its_delivery() {
    let fake = Fake::start([Act::with(500, &[("retry-after", "600")], "")]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let first = relay.accept(r#"{"type":"first"}"#).await;
    relay.until(&first, "scheduled").await;
    let second = relay.accept(r#"{"type":"second"}"#).await;
    relay.until(&second, "delivered").await;
    let told = relay.deliveries(&first).await[0].clone();
    assert_eq!(told["state"], "scheduled");
    assert_at_least_600_s_later(&told["next_attempt_at"], &relay, &first).await;
}

/// By the relay's own stamps: an attempt is due so long after its event came.
async fn assert_at_least_600_s_later(due: &Value, relay: &TestRelay, event: &str) {
    let event = relay.admin(&format!("/api/events/{event}")).await.json();
    let [received, due] = [&event["received_at"], due].map(|at| {
        let at = at.as_str().unwrap_or_else(|| panic!("no time: {at} of {event}"));
        at.parse::<jiff::Timestamp>().expect("a time")
    });
    assert!(due.duration_since(received).as_secs() >= 600, "{received}, {due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_given_up_by_age_or_by_attempts_and_says_so() {
    let fails = || std::iter::repeat_with(|| Act::status(503)).take(1000);
    let fake = Fake::start(fails()).await;
    let by_attempts = to_crm(&fake, "").replace("max: 50ms", "max: 50ms, max_attempts: 3");
    let relay = TestRelay::start(&by_attempts).await;
    let id = relay.accept(SENT).await;
    let dead = relay.until(&id, "dead").await;
    assert_eq!((dead["attempts"].as_u64(), fake.seen().len()), (Some(3), 3));
    assert!(
        dead["reason"].as_str().is_some_and(|reason| reason.starts_with("given up after 3 attempts: 503")),
        "{dead}"
    );
    let by_age =
        to_crm(&fake, "").replace(QUICK, "retry: { initial: 100ms, factor: 1, max: 100ms, give_up_after: 150ms }");
    let relay = TestRelay::start(&by_age).await;
    let id = relay.accept(SENT).await;
    let dead = relay.until(&id, "dead").await;
    assert!(dead["reason"].as_str().is_some_and(|reason| reason.starts_with("given up after 0 s: 503")), "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_carries_the_same_id_and_a_signature_that_verifies() {
    let fake = Fake::start([Act::status(503), Act::Close]).await;
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let config = to_crm(&fake, "").replace("/hook\" }", &format!("/hook\", signing_secrets: [{key}] }}"));
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 3);
    for message in seen {
        assert_eq!(message.header("webhook-id"), Some(id.as_str()));
        assert_eq!(message.header("content-type"), Some("application/json"));
        assert!(message.header("user-agent").is_some_and(|agent| agent.starts_with("vero-relay/")));
        assert!(message.header("x-vero-relay-received-at").is_some_and(|at| at.ends_with('Z')));
        let timestamp = message.header("webhook-timestamp").expect("a timestamp");
        let secret = base64::engine::general_purpose::STANDARD.decode(&key[6..]).expect("base64");
        let signed = format!("{id}.{timestamp}.{SENT}");
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let expected = format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(tag));
        assert_eq!(message.header("webhook-signature"), Some(expected.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_keeps_types_and_digits() {
    let fake = Fake::start([]).await;
    let http = format!(
        "rules: [ {{ to: crm }} ]\ndestinations:\n  crm:\n    http:\n      url: \"{}/users/{{{{ user.id }}}}?type={{{{ type }}}}\"\n      \
         auth: {{ bearer: s3cret }}\n      headers: {{ X-Team: growth }}\n      method: PUT\n      json:\n        id: \"{{{{ user.id }}}}\"\n        \
         total: \"{{{{ event.data.total }}}}\"\n        missing: \"{{{{ nothing.here }}}}\"\n        text: \"{{{{ type }}}} for {{{{ user.email }}}}\"\n        \
         fixed: 1.50\n        list: [\"{{{{ campaign }}}}\", true, null]\n",
        fake.url()
    );
    let relay = TestRelay::start(&http).await;
    let body = r#"{"type":"sent","user":{"id":"a/b ü","email":"<x>"},"event":{"data":{"total":12345678901234567890.10}},"campaign":{"n":1e400}}"#;
    let id = relay.accept(body).await;
    relay.until(&id, "delivered").await;
    let seen = fake.seen();
    assert_eq!(seen[0].first_line, "PUT /users/a%2Fb%20%C3%BC?type=sent HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), Some("Bearer s3cret"));
    assert_eq!(seen[0].header("x-team"), Some("growth"));
    let expected = r#"{"id":"a/b ü","total":12345678901234567890.10,"missing":null,"text":"sent for <x>","fixed":1.50,"list":[{"n":1e400},true,null]}"#;
    assert_eq!(seen[0].text(), expected);

    let omitting = http.replace("      json:", "      omit_missing: true\n      json:");
    let relay = TestRelay::start(&omitting).await;
    let id = relay.accept(r#"{"type":"sent","user":{"id":7}}"#).await;
    relay.until(&id, "delivered").await;
    let body = fake.seen().pop().expect("seen").json();
    assert_eq!(body.get("missing"), None);
    assert_eq!(body["id"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_climb_in_a_url_is_a_dead_letter_and_no_request() {
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "").replace("/hook\"", "/users/{{ user.id }}/x\"");
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(r#"{"type":"sent","user":{"id":".."}}"#).await;
    let dead = relay.until(&id, "dead").await;
    assert!(dead["reason"].as_str().is_some_and(|reason| reason.contains("step up or down")), "{dead}");
    assert_eq!(fake.seen().len(), 0);
}

fn to_slack(fake: &Fake, more: &str) -> String {
    format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack: {{ url: \"{}/T/B/x\"{more} }}\n    rate: 1000/s\n    {QUICK}\n",
        fake.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_markup_in_an_event_is_harmless_and_in_a_template_it_works() {
    let fake = SlackServer::hurried([]).await;
    let text = ", text: \"<https://example.com/{{ user.id }}|see> {{ campaign.name }}\"";
    let relay = TestRelay::start(&to_slack(&fake, text)).await;
    let id =
        relay.accept(r#"{"type":"sent","user":{"id":7},"campaign":{"name":"<!channel> *R&D* \u003c@U1\u003e"}}"#).await;
    relay.until(&id, "delivered").await;
    let message = fake.seen()[0].json();
    assert_eq!(message["text"], "<https://example.com/7|see> &lt;!channel&gt; *R&amp;D* &lt;@U1&gt;");
    assert_eq!(message["unfurl_links"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_blocks_are_rendered_within_their_limits() {
    let fake = SlackServer::hurried([]).await;
    let blocks = ", blocks: [ { type: header, text: { type: plain_text, text: \"{{ campaign.name }}\" } }, \
                  { type: section, text: { type: mrkdwn, text: \"*{{ type }}* {{ campaign.name }}\" } } ]";
    let relay = TestRelay::start(&to_slack(&fake, blocks)).await;
    let id = relay.accept(&format!(r#"{{"type":"sent","campaign":{{"name":"{}"}}}}"#, "x".repeat(9000))).await;
    relay.until(&id, "delivered").await;
    let blocks = fake.seen()[0].json()["blocks"].clone();
    let length = |at: usize| blocks[at]["text"]["text"].as_str().map(|text| text.chars().count());
    assert_eq!(length(0), Some(150));
    assert!(length(1).is_some_and(|length| length <= 3000 && length > 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_words_decide_before_its_status() {
    let fake = SlackServer::hurried([
        Act::with(400, &[], "invalid_payload"),
        Act::with(200, &[], r#"{"ok":false,"error":"something_new"}"#),
        Act::with(200, &[], "ok"),
        Act::with(404, &[], "channel_is_archived"),
    ])
    .await;
    let relay = TestRelay::start(&to_slack(&fake, "")).await;
    let id = relay.accept(SENT).await;
    let dead = relay.until(&id, "dead").await;
    assert_eq!(dead["reason"], "400 invalid_payload");
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "a 200 that says no is tried again");
    relay.accept(SENT).await;
    eventually("the pause", async || !relay.destination("chat").await["paused"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_with_one_webhook_share_one_rate_limit() {
    let (fake, other) = (SlackServer::start([]).await, Fake::start([]).await);
    let slack = |name: &str| format!("  {name}: {{ slack: {{ url: \"{}/T/B/x\" }}, rate: 1/h }}\n", fake.url());
    let http = format!("  crm: {{ http: {{ url: \"{}\" }} }}\n", other.url());
    let destinations = [slack("one"), slack("two"), http].concat();
    let relay = TestRelay::start(&format!("rules: [ {{ to: [one, two, crm] }} ]\ndestinations:\n{destinations}")).await;
    // While many go elsewhere, one turn of the hour is taken: a limit for each would give two.
    for number in 1..=20 {
        relay.accept(SENT).await;
        other.wait_for(number).await;
    }
    fake.wait_for(1).await;
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_type_cannot_leave_its_directory() {
    let config = "rules: [ { to: f } ]\ndestinations: { f: { file: { path: \"out/{source}/{type}.ndjson\" } } }\n";
    let relay = TestRelay::start(config).await;
    let mut types = Vec::new();
    for event_type in ["../../etc/passwd", "..", "/abs", "a\\u0000b", ".ssh"] {
        let id = relay.accept(&format!(r#"{{"type":"{event_type}"}}"#)).await;
        relay.until(&id, "delivered").await;
        types.push(event_type);
    }
    let out = relay.directory.path().join("data/out/vero");
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .expect("there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names.len(), types.len(), "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".ndjson") && !name.starts_with('.')), "{names:?}");
    let top = std::fs::read_dir(relay.directory.path()).expect("there");
    let mut top: Vec<_> = top.map(|entry| entry.expect("an entry").file_name()).collect();
    top.sort();
    assert_eq!(top, ["config.yaml", "data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_file_are_whole_and_each_event_is_there_once() {
    let config = "rules: [ { to: f } ]\ndestinations: { f: { file: { path: \"out.ndjson\" } } }\n";
    let relay = TestRelay::start(config).await;
    let mut ids = Vec::new();
    for i in 0..50 {
        ids.push(relay.accept(&format!(r#"{{ "type": "sent", "n": {i}.50 }}"#)).await);
    }
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    let text = std::fs::read_to_string(relay.directory.path().join("data/out.ndjson")).expect("there");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let written: Vec<_> = lines.iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(written, ids);
    assert!(
        text.lines().nth(7).is_some_and(|line| line.ends_with(r#""source":"vero","event":{"type":"sent","n":7.50}}"#)),
        "{text}"
    );
}
