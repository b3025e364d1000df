//! Every answer of the listener for webhooks, and how it treats senders that are slow, large or strange.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use vero_relay::store::journal::model::{Faults, ModelDisk};

use crate::harness::*;

const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";

async fn nowhere() -> TestRelay {
    TestRelay::start(NOWHERE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_accepted_and_can_be_found_by_its_id() {
    let relay = nowhere().await;
    let body = r#"{ "type": "sent", "n": 1.50 }"#;
    let id = relay.accept(body).await;
    let view = relay.admin(&format!("/api/events/{id}")).await.json();
    assert_eq!(view["body"], body);
    assert_eq!((view["source"].as_str(), view["rules"][0].as_str()), (Some("vero"), Some("silence")));
    assert_eq!(relay.admin("/api/events/01a2091f-1b49-768a-8000-00000000ffff").await.status(), 404);
    assert_eq!(relay.admin("/api/events/nonsense").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_and_events_that_no_rule_matches_are_accepted() {
    let relay = TestRelay::start(
        "rules: [ { name: some, match: { type: sent }, to: a } ]\ndestinations: { a: { file: { path: a } } }\n",
    )
    .await;
    for body in [r#"{"type":"snoozed"}"#, r#"{"action":"user_updated","id":"1"}"#, "{\"type\":\"\\u0073ent\"}\n"] {
        relay.accept(body).await;
    }
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("vero_relay_unmatched_events_total 2"), "{metrics}");
    assert!(metrics.contains(r#"vero_relay_requests_total{source="vero",code="200"} 3"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_one_of_veros_samples_is_accepted() {
    let relay = nowhere().await;
    for (name, body) in vero_relay::event::vero::SAMPLES {
        assert_eq!(relay.post(body).await.status(), 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_gets_400_and_a_sentence_that_says_where() {
    let relay = nowhere().await;
    for (body, part) in [
        (&b"{\"type\":\"a\xff\"}"[..], "not UTF-8 from byte 10"),
        (b"", "the body is empty; an event is one JSON object"),
        (b" \r\n", "the body is empty"),
        (b"{type: 'sent'}", "key must be a string at byte 1"),
        (b"{\"type\":\"a\"", "not JSON"),
        (b"[1]", "array (at byte 0)"),
        (b"\"sent\"", "string"),
        (b"{\"a\":1}", "neither a `type` nor an `action`"),
        (b"{\"type\":7}", "neither a `type` nor an `action`"),
        (b"{\"type\":\"\"}", "neither a `type` nor an `action`"),
    ] {
        let answer = request(relay.running.address, "POST", "/hooks/vero/secret", &[], body).await;
        assert_eq!(answer.status(), 400, "{}", String::from_utf8_lossy(body));
        let sentence = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(sentence.contains(part), "{sentence} should hold {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_decide_and_not_the_content_type() {
    let relay = nowhere().await;
    for kind in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let headers = [("content-type", kind)];
        let answer = request(relay.running.address, "POST", "/hooks/vero/secret", &headers, SENT.as_bytes()).await;
        assert_eq!(answer.status(), 200, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_address_or_authentication_is_one_and_the_same_404() {
    let relay = nowhere().await;
    let mut answers = Vec::new();
    for (method, path) in [
        ("POST", "/hooks/vero/wrong"),
        ("POST", "/hooks/vero/secre"),
        ("POST", "/hooks/vero/"),
        ("POST", "/hooks/vero"),
        ("POST", "/hooks/other/secret"),
        ("POST", "/hooks/"),
        ("POST", "/hooks"),
        ("POST", "/"),
        ("POST", "/hook/vero/secret"),
        ("GET", "/hooks/vero/wrong"),
        ("DELETE", "/nothing"),
        ("GET", "/api/destinations"),
        ("GET", "/metrics"),
    ] {
        let answer = request(relay.running.address, method, path, &[], b"not even JSON").await;
        let headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
        answers.push((answer.first_line, headers, answer.body));
    }
    assert!(answers[0].0.contains("404"));
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_but_post_on_a_hook_is_405_with_allow() {
    let relay = nowhere().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = request(relay.running.address, method, "/hooks/vero/secret", &[], b"").await;
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("POST")), "{method}");
        assert!(answer.text().contains("takes POSTs from Vero"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_token_does_not_matter() {
    let relay = nowhere().await;
    for path in
        ["/hooks/vero/secret/", "/hooks/vero/secret/bounced", "/hooks/vero/secret/a/b", "/hooks/vero/secret?x=1"]
    {
        let answer = request(relay.running.address, "POST", path, &[], SENT.as_bytes()).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_authentication_and_a_header_prove_a_source_too() {
    let config = "listen: 127.0.0.1:0\nadmin: { listen: \"127.0.0.1:0\" }\ndata_dir: data\nsources:\n  b: { auth: { basic: { username: u, password: p } } }\n  \
                  h: { auth: { header: { name: X-Key, value: k } } }\nrules: [ { to: [], stop: true } ]\n";
    let relay = TestRelay::start_with(config).await;
    let post = async |path: &str, header: (&str, &str)| {
        request(relay.running.address, "POST", path, &[header], SENT.as_bytes()).await.status()
    };
    assert_eq!(post("/hooks/b", ("authorization", "Basic dTpw")).await, 200);
    assert_eq!(post("/hooks/b/bounced", ("authorization", "Basic dTpw")).await, 200);
    assert_eq!(post("/hooks/b", ("authorization", "Basic dTpx")).await, 404);
    assert_eq!(post("/hooks/h", ("x-key", "k")).await, 200);
    assert_eq!(post("/hooks/h", ("x-key", "l")).await, 404);
    assert_eq!(post("/hooks/h", ("authorization", "Basic dTpw")).await, 404);
}

fn event_of(bytes: usize) -> String {
    let head = r#"{"type":"t","x":""#;
    format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
}

fn chunked(body: &str, path: &str) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.as_bytes().chunks(700) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_at_the_limit_is_accepted_and_one_byte_more_is_413_by_length_and_by_chunks() {
    let relay = TestRelay::start(&format!("{NOWHERE}limits: {{ body_max: 4KiB }}\n")).await;
    let (fits, too_large) = (event_of(4096), event_of(4097));
    assert_eq!(relay.post(&fits).await.status(), 200);
    assert_eq!(relay.post(&too_large).await.status(), 413);
    let path = "/hooks/vero/secret";
    let address = relay.running.address;
    assert_eq!(send_raw(address, &chunked(&fits, path)).await.map(|answer| answer.status()), Some(200));
    assert_eq!(send_raw(address, &chunked(&too_large, path)).await.map(|answer| answer.status()), Some(413));
    // By its announced length alone, before a byte of it has come.
    let announced = b"POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(send_raw(address, announced).await.map(|answer| answer.status()), Some(413));
    // A stranger learns nothing from a large body.
    let stranger = b"POST /hooks/vero/wrong HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(send_raw(address, stranger).await.map(|answer| answer.status()), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_408_and_a_head_that_does_not_is_closed() {
    let limits = "limits: { body_timeout: 300ms, header_timeout: 300ms }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let half = b"POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"type\":";
    assert_eq!(send_raw(relay.running.address, half).await.map(|answer| answer.status()), Some(408));
    let answer = send_raw(relay.running.address, b"POST /hooks/vero/secret HTTP/1.1\r\nhos").await;
    assert!(answer.is_none_or(|answer| answer.status() == 408), "closed, with or without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_cap_connections_wait_and_are_served_when_one_ends() {
    let relay = TestRelay::start(&format!("{NOWHERE}limits: {{ connections_max: 2 }}\n")).await;
    let held = [TcpStream::connect(relay.running.address).await, TcpStream::connect(relay.running.address).await];
    let address = relay.running.address;
    let mut third =
        tokio::spawn(
            async move { request(address, "POST", "/hooks/vero/secret", &[], SENT.as_bytes()).await.status() },
        );
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut third).await.is_err(), "the cap holds");
    drop(held);
    assert_eq!(third.await.expect("answered"), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_and_garbage_do_not_disturb_the_others() {
    let relay = nowhere().await;
    let connect =
        send_raw(relay.running.address, b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n").await;
    assert_eq!(connect.map(|answer| answer.status()), Some(405));
    let admin =
        send_raw(relay.running.admin_address, b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n").await;
    assert_eq!(admin.map(|answer| answer.status()), Some(405));
    for address in [relay.running.address, relay.running.admin_address] {
        let no_path = send_raw(address, b"GET example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(no_path.map(|answer| answer.status()), Some(400));
    }
    for garbage in [&b"\x16\x03\x01 tls?\r\n\r\n"[..], b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"] {
        let answer = send_raw(relay.running.address, garbage).await;
        assert!(answer.is_none_or(|answer| answer.status() >= 400));
    }
    let two_lengths =
        b"POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}";
    assert_eq!(send_raw(relay.running.address, two_lengths).await.map(|answer| answer.status()), Some(400));
    assert_eq!(relay.post(SENT).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_with_retry_after_and_passes_by_itself() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let relay = TestRelay::start_on(&disk, NOWHERE).await;
    let refused = relay.post(SENT).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("2")), "{}", refused.text());
    assert_eq!(request(relay.running.address, "GET", "/readyz", &[], b"").await.status(), 503);
    assert_eq!(request(relay.running.address, "GET", "/healthz", &[], b"").await.status(), 200);
    disk.set_faults(Faults::default());
    assert_eq!(relay.post(SENT).await.status(), 200);
    assert_eq!(request(relay.running.address, "GET", "/readyz", &[], b"").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_acknowledges_nothing_and_tells_the_process_to_end() {
    let disk = ModelDisk::default();
    let relay = TestRelay::start_on(&disk, NOWHERE).await;
    assert_eq!(relay.post(SENT).await.status(), 200);
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert_eq!(relay.post(SENT).await.status(), 503);
    let why = tokio::time::timeout(PATIENCE, relay.running.failed()).await.expect("told");
    assert!(why.contains("fails every sync"), "{why}");
    disk.set_faults(Faults::default());
    assert_eq!(relay.post(SENT).await.status(), 503, "a failed sync is never tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_their_bytes_and_a_sender_without_room_is_told_to_come_back() {
    let relay = TestRelay::start(&format!("{NOWHERE}limits: {{ intake_max: 1MiB, body_max: 1MiB }}\n")).await;
    let large = event_of(300_000);
    let mut hog = None;
    eventually("a large body to find no room", async || {
        // Anew each time: on a busy machine the hog itself may be the one that found no room.
        let mut stream = TcpStream::connect(relay.running.address).await.expect("connected");
        let head = "POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        let _ = stream.write_all(&vec![b' '; 900_000]).await;
        hog = Some(stream);
        relay.post(&large).await.status() == 503
    })
    .await;
    assert_eq!(relay.post(SENT).await.status(), 200, "small ones still find room");
    drop(hog);
    eventually("the bytes to be given back", async || relay.post(&large).await.status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_are_kept_without_their_token() {
    let relay = nowhere().await;
    relay.post("{nonsense").await;
    request(relay.running.address, "POST", "/hooks/vero/a-wrong-token", &[], b"").await;
    let kept = relay.admin("/api/refused").await;
    let text = kept.text();
    assert!(!text.contains("secret") && !text.contains("a-wrong-token"), "{text}");
    let refused = kept.json()["refused"].clone();
    assert_eq!((refused[0]["status"].as_u64(), refused[1]["status"].as_u64()), (Some(404), Some(400)));
    assert_eq!(refused[1]["body"], "{nonsense");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_answers_to_this_machines_names_only_and_writes_need_a_header() {
    let relay = nowhere().await;
    let admin = relay.running.admin_address;
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        request(admin, method, path, headers, b"x").await.status()
    };
    assert_eq!(ask("GET", "/api/destinations", &[]).await, 200);
    assert_eq!(ask("GET", "/api/destinations", &[("host", &format!("localhost:{}", admin.port()))]).await, 200);
    assert_eq!(ask("GET", "/api/destinations", &[("host", "evil.example")]).await, 421);
    assert_eq!(ask("GET", "/metrics", &[("host", &format!("evil.example:{}", admin.port()))]).await, 421);
    assert_eq!(ask("POST", "/api/destinations/x/pause", &[]).await, 403);
    let written = [("x-vero-relay-write", "1")];
    assert_eq!(ask("POST", "/api/destinations/x/pause", &written).await, 400, "the body is no JSON");
    assert_eq!(request(admin, "POST", "/api/destinations/x/pause", &written, b"").await.status(), 404);
    assert_eq!(ask("POST", "/bin/a", &[]).await, 200, "destinations post to bins");
    assert_eq!(ask("PUT", "/bin/a", &[]).await, 200, "by any method");
    assert_eq!(ask("PUT", "/bin/a", &[("origin", "http://evil.example")]).await, 403, "but no other site's page");
    assert_eq!(ask("PUT", "/api/destinations/x/pause", &[]).await, 403);
    let bin = request(admin, "GET", "/bin/a", &[], b"").await.json();
    let entries = bin["entries"].as_array().expect("entries");
    let methods: Vec<_> = entries.iter().map(|entry| entry["method"].as_str().expect("a method")).collect();
    assert_eq!(methods, ["PUT", "POST"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_are_answered_in_turn() {
    let relay = nowhere().await;
    let mut stream = TcpStream::connect(relay.running.address).await.expect("connected");
    let one = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{SENT}", SENT.len());
    stream.write_all(one.repeat(5).as_bytes()).await.expect("sent");
    let mut buffer = Vec::new();
    for _ in 0..5 {
        let answer = read_message(&mut stream, &mut buffer).await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
}
