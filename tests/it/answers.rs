//! What an answer means when it is not said the usual way: odd heads, odd statuses, other servers' yes and no.

use crate::harness::*;
use crate::slack_server::SlackServer;

/// Whether a delivery arrives at once by an answer of these bytes.
async fn counts(relay: &TestRelay, fake: &Fake, answer: &str) {
    fake.then([Act::Raw(answer.as_bytes().to_vec())]);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1, "{}", &answer[..answer.len().min(200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_line_counts_whatever_the_headers_look_like() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let end = "content-length: 2\r\n\r\nok";
    for odd in [
        "x-a: b\r\n  folded\r\n",
        "x-a: b\r\n\tfolded\r\n",
        "x-a : b\r\n",
        "x-a\t: b\r\n",
        "no colon here\r\n",
        "nocolon\r\n",
        "x-a: \u{1}b\r\n",
        "x-a: \u{7f}\r\n",
        "x-\u{e9}: b\r\n",
        ": no name\r\n",
        "x(a): b\r\n",
        "x-a:\r\n",
    ] {
        counts(&relay, &fake, &format!("HTTP/1.1 200 OK\r\n{odd}{end}")).await;
    }
    // With the length that is at the end.
    let many = |count: usize| -> String { (1..count).map(|i| format!("x-{i}: {i}\r\n")).collect() };
    for count in [110, 256, 900, 1024] {
        counts(&relay, &fake, &format!("HTTP/1.1 200 OK\r\n{}{end}", many(count))).await;
    }
    fake.then([Act::Raw(format!("HTTP/1.1 200 OK\r\n{}{end}", many(1025)).into_bytes())]);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "one header more is no answer");
    let large = format!("x-large: {}\r\n", "x".repeat(100_000));
    counts(&relay, &fake, &format!("HTTP/1.1 200 OK\r\n{large}{end}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_hand_written_servers_are_understood() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nok",
        "HTTP/1.0 204\r\n\r\n",
        "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\ncut",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
    ] {
        counts(&relay, &fake, answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_http_has_no_place_for_is_tried_again() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for status in ["101 Switching Protocols", "000 Nothing", "099 X", "600 X", "999 Request denied", "20 X", "abc X"] {
        fake.then([Act::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_retry_after_holds_the_destination() {
    let moment = |text: &serde_json::Value| {
        let at: jiff::Timestamp = text.as_str().expect("a time").parse().expect("RFC 3339");
        at.as_millisecond()
    };
    let day = "Tue, 01 Dec 2026 00:00:00 GMT";
    for (name, value, after_s) in [
        ("retry-after", "77", 77),
        ("retry-after", "76.5", 77),
        ("retry-after", "90s", 90),
        ("retry-after", "1m30s", 90),
        ("retry-after", "PT2M", 120),
        ("retry-after", "\"75\"", 75),
        ("retry-after", "Tue, 01 Dec 2026 00:02:00 GMT", 120),
        ("retry-after", "2026-12-01T00:02:00Z", 120),
        ("retry-after-ms", "80000", 80),
        ("ratelimit-reset", "60", 60),
        ("x-ratelimit-reset-after", "61", 61),
        ("x-ratelimit-reset", "1796083320", 120),
        ("x-rate-limit-reset", "1796083320000", 120),
        ("x-retry-after", "62", 62),
        ("x-ratelimit-retry-after", "63", 63),
        ("x-ratelimit-reset-requests", "1m4s", 64),
    ] {
        let fake = Fake::start([Act::with(429, &[(name, value), ("date", day)], "")]).await;
        let relay = TestRelay::start(&to_crm(&fake, "")).await;
        let before = jiff::Timestamp::now().as_millisecond();
        let id = relay.accept(SENT).await;
        relay.until(&id, "scheduled").await;
        let held_until = async || relay.destination("crm").await["held_until"].clone();
        eventually("the hold", async || !held_until().await.is_null()).await;
        let until = moment(&held_until().await);
        let after = jiff::Timestamp::now().as_millisecond();
        // The answer came between the two.
        let (least, most) = (before + after_s * 1000 - 1, after + after_s * 1000 + 1);
        assert!((least..=most).contains(&until), "{name}: {value}: {until} in {least}..={most}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chat_servers_yes_is_posted_once_and_its_no_is_seen() {
    let fake = SlackServer::hurried([]).await;
    let config = format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack: {{ url: \"{}/T/B/x\" }}\n    rate: 1000/s\n    {QUICK}\n",
        fake.url()
    );
    let relay = TestRelay::start(&config).await;
    let yes = ["", "OK", "\"ok\"", "1", r#"{"success":true}"#, r#"{"ok":true}"#, r#"{"result":"success"}"#];
    for body in yes {
        for status in [200, 201, 204] {
            let body = if status == 204 { "" } else { body };
            fake.then([Act::with(status, &[], body)]);
            let id = relay.accept(SENT).await;
            assert_eq!(relay.until(&id, "delivered").await["attempts"], 1, "{status} {body}");
        }
    }
    let no = [r#"{"ok":false}"#, r#"{"success":false}"#, "<!doctype html><h1>Log in</h1>", "rollup_error"];
    for body in no {
        fake.then([Act::with(200, &[], body)]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "{body}");
    }
    fake.then([Act::with(200, &[], r#"{"ok":false,"error":"no_text"}"#)]);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "dead").await["attempts"], 1);
    fake.then([Act::with(200, &[], r#"{"ok":false,"error":"channel_not_found"}"#)]);
    relay.accept(SENT).await;
    eventually("the pause", async || !relay.destination("chat").await["paused"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_back_to_its_relay_is_refused_and_not_tried_again() {
    // The relay's own address, as `check` cannot see it: by a port that another program forwards.
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "").replace("/hook\"", "/{{ type }}\"");
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let sent = fake.seen().pop().expect("seen");
    let via = sent.header("x-vero-relay-via").expect("the relay names itself").to_owned();
    let headers = [("x-vero-relay-via", via.as_str()), ("content-type", "application/json")];
    let back = request(relay.running.address, "POST", "/hooks/vero/secret", &headers, &sent.body).await;
    assert_eq!(back.status(), 508);
    assert_eq!(fake.seen().len(), 1, "it became no event");
    let admin = request(relay.running.admin_address, "POST", "/api/reload", &headers, b"").await;
    assert_eq!(admin.status(), 508, "an event is no operator");

    fake.then([Act::with(508, &[("x-vero-relay-loop", "1")], "")]);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "dead").await["attempts"], 1, "nothing would change by trying again");
    fake.then([Act::status(508)]);
    let id = relay.accept(SENT).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "another server's 508 is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_back_without_the_header_of_the_way_is_known_by_its_id() {
    let end = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&end, "")).await;
    let id = relay.accept(SENT).await;
    end.wait_for(1).await;
    let post = async |id: &str| {
        let headers = [("webhook-id", id)];
        request(relay.running.address, "POST", "/hooks/vero/secret", &headers, SENT.as_bytes()).await.status()
    };
    assert_eq!(post(&id).await, 508);
    let others = id.replace(|c: char| c.is_ascii_digit(), "1");
    assert_eq!(post(&others).await, 200, "an id of another relay, or of nobody");
    // Where the way is named it tells all, and the journal is not searched.
    let headers = [("webhook-id", id.as_str()), ("x-vero-relay-via", "0123456789abcdef")];
    let chained = request(relay.running.address, "POST", "/hooks/vero/secret", &headers, SENT.as_bytes()).await;
    assert_eq!(chained.status(), 200, "it came by another relay");
    let headers = [("webhook-id", id.as_str()), ("x-vero-relay-via", "-")];
    let unnamed = request(relay.running.address, "POST", "/hooks/vero/secret", &headers, SENT.as_bytes()).await;
    assert_eq!(unnamed.status(), 508, "a header that names no relay tells nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_relays_is_cut_and_a_chain_is_not() {
    let end = Fake::start([]).await;
    let first = TestRelay::start(&to_crm(&end, "")).await;
    // A second relay that sends all to the first and to the end.
    let to_first = format!(
        "rules: [ {{ to: [back, end] }} ]\ndestinations:\n  back: {{ http: {{ url: \"http://{}/hooks/vero/secret\" }}, {QUICK} }}\n  \
         end: {{ http: {{ url: \"{}/end\" }}, {QUICK} }}\n",
        first.running.address,
        end.url()
    );
    let second = TestRelay::start(&to_first).await;
    // A chain: second → first → end.
    let id = second.accept(SENT).await;
    second.until(&id, "delivered").await;
    end.wait_for(2).await;
    // The ring: what the first sent comes to the second, which sends it back.
    let sent = end.seen().into_iter().find(|message| message.first_line.contains("/hook ")).expect("the first's");
    let via = sent.header("x-vero-relay-via").expect("a way").to_owned();
    let only_first = via.split(", ").last().expect("a name").to_owned();
    let headers = [("x-vero-relay-via", only_first.as_str()), ("content-type", "application/json")];
    let body = br#"{"type":"round"}"#;
    let taken = request(second.running.address, "POST", "/hooks/vero/secret", &headers, body).await;
    assert_eq!(taken.status(), 200, "a chain is allowed");
    eventually("the dead letter", async || second.destination("back").await["dead_letters"] == 1).await;
}
