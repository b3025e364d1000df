//! What goes out for several events.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use serde_json::{Value, json};

use super::super::super::client::{Answer, Client};
use super::super::super::digest::tests::bounces;
use super::super::super::sample::{built, sample};
use super::*;
use crate::destination::{Destination, Outcomes, Preview};
use crate::store::StoredEvent;

const URL: &str = "url: \"http://127.0.0.1:1/x\"";

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A destination with this section, whose requests all get one status.
fn http(section: &str, status: u16) -> (Arc<dyn Destination>, Seen) {
    let seen = Seen::default();
    let keeps = seen.clone();
    let client = Client::scripted(move |call| {
        keeps.lock().expect("the lock").push((call.headers.clone(), call.body.clone()));
        Some(Answer { status, headers: HeaderMap::new(), body: Bytes::new() })
    });
    let section = format!("{{ {URL}, {section} }}");
    (built("http", &section, "", &client).unwrap_or_else(|told| panic!("{section}: {told:?}")), seen)
}

/// The deliveries of these bodies, each of an event of its own.
fn deliveries(bodies: &[&str]) -> Vec<Delivery> {
    let numbered = |(at, body): (usize, &&str)| {
        let delivery = sample(body.to_string(), 1000 + at as u64);
        let event = StoredEvent { id: EventId::mint(0, 0, at as u64), ..(*delivery.event).clone() };
        Delivery { event: Arc::new(event), ..delivery }
    };
    bodies.iter().enumerate().map(numbered).collect()
}

async fn attempt(section: &str, status: u16, bodies: &[&str]) -> (Outcomes, Vec<(HeaderMap, Bytes)>) {
    let (http, seen) = http(section, status);
    let outcomes = http.attempt(&deliveries(bodies)).await;
    let seen = seen.lock().expect("the lock").clone();
    (outcomes, seen)
}

#[track_caller]
fn refused(section: &str, digest: &str, expected: &str) {
    let told = built("http", section, digest, &Client::direct()).err().unwrap_or_default();
    assert!(told.iter().any(|(message, _)| message.contains(expected)), "{section}: {told:?}");
}

const ODD: [&str; 3] = [r#"{"type":"sent", "n":1e400,"n":2}"#, "{\n \"type\" : \"sent\\n\"\n}", r#"{"type":"opened"}"#];

/// The body and the content type of one request for the three odd events.
#[track_caller]
fn check(section: &str, expected: &str, content_type: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (outcomes, seen) = runtime.block_on(attempt(section, 200, &ODD));
    assert!(outcomes.len() == 3 && outcomes.iter().all(Outcome::is_delivered), "{outcomes:?}");
    let [(headers, body)] = &seen[..] else { panic!("{} requests", seen.len()) };
    assert_eq!(String::from_utf8_lossy(body), expected);
    assert_eq!(headers["content-type"], content_type);
    assert_eq!(headers["content-length"], body.len().to_string());
}

#[test]
fn events_go_together_as_they_came_or_as_the_config_makes_them() {
    let all = ODD.join(",");
    let json = "application/json";
    let lines = "application/x-ndjson";
    check("batch: {}", &format!("[{all}]"), json);
    check("batch: { wrap: 'my \"events\"' }", &format!("{{\"my \\\"events\\\"\":[{all}]}}"), json);
    let each = "{\"type\":\"sent\",\"n\":1e400,\"n\":2}\n{\"type\":\"sent\\n\"}\n{\"type\":\"opened\"}\n";
    check("batch: { format: ndjson }", each, lines);
    check("batch: {}, pick: [type]", "[{\"type\":\"sent\"},{\n \"type\" : \"sent\\n\"\n},{\"type\":\"opened\"}]", json);
    check("batch: {}, json: { t: \"{{ type }}\" }", r#"[{"t":"sent"},{"t":"sent\n"},{"t":"opened"}]"#, json);
    let text = "text: \"{{ type | trim }}\\n\"";
    check(&format!("batch: {{ format: ndjson }}, {text}"), "sent\nsent\nopened\n", "text/plain; charset=utf-8");
    let own = "headers: { Content-Type: application/jsonl }";
    check(&format!("batch: {{ format: ndjson }}, {own}"), each, "application/jsonl");
}

#[test]
fn an_envelope_says_which_event_it_is_as_a_line_of_a_file_does() {
    let (http, _) = http("batch: { envelope: true, wrap: all }", 200);
    let delivery = sample(r#"{"type": "sent"}"#, 1000);
    let content: Value = serde_json::from_slice(&http.content(&delivery).expect("it is made")).expect("JSON");
    let id = delivery.event.id.to_string();
    let received_at = "1970-01-01T00:00:01.000Z";
    let event = json!({ "id": id, "received_at": received_at, "source": "vero", "event": { "type": "sent" } });
    assert_eq!(content, json!({ "all": [event] }));
}

#[tokio::test]
async fn what_cannot_be_made_of_an_event_is_its_own_trouble() {
    let text = "batch: { format: ndjson }, text: \"{{ a.b | round if a else '' }}{{ c }}\"";
    let bodies = [r#"{"a":{"b":"x"}}"#, "{}", r#"{"c":"1\n2"}"#, r#"{"c":"ok"}"#];
    let (outcomes, seen) = attempt(text, 500, &bodies).await;
    let names: Vec<_> = outcomes.iter().map(Outcome::name).collect();
    assert_eq!(names, ["reject", "skipped", "reject", "retry"], "{outcomes:?}");
    assert!(outcomes[..3].iter().all(|outcome| outcome.reason().is_some_and(|reason| reason.is_local)));
    assert_eq!(seen[0].1, "ok\n");
    let deep = format!(r#"{{"type":"sent","a":{}{{"b":1}}{}}}"#, "[".repeat(200), "]".repeat(200));
    let (outcomes, seen) = attempt("batch: {}, drop: [a.b]", 200, &[&deep]).await;
    assert!(matches!(&outcomes[..], [Outcome::Reject { reason }] if reason.is_local), "{outcomes:?}");
    assert!(seen.is_empty(), "there is nothing to send");
}

#[tokio::test]
async fn what_has_no_room_goes_with_the_next_and_what_is_larger_goes_alone() {
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(BYTES_MAX));
    let half = format!(r#"{{"x":"{}"}}"#, "x".repeat(BYTES_MAX / 2));
    let (outcomes, seen) = attempt("batch: {}", 200, &["{}", &half, &large, &half, "{}"]).await;
    let left_out = |outcome: &Outcome| matches!(outcome, Outcome::Apart { at_most: 1, was_sent: false, .. });
    assert!(left_out(&outcomes[2]) && left_out(&outcomes[3]), "{:?}", outcomes.iter().map(Outcome::name));
    assert!([0, 1, 4].iter().all(|at| outcomes[*at].is_delivered()));
    assert_eq!((seen.len(), seen[0].1.len()), (1, half.len() + 2 * 2 + 4));
    let third = format!(r#"{{"x":"{}"}}"#, "x".repeat(BYTES_MAX / 3));
    let (outcomes, _) = attempt("batch: {}", 200, &[&large, "{}", &third, &large, "{}", &third, &third]).await;
    let at_most = |outcome: &Outcome| match outcome {
        Outcome::Apart { at_most, .. } => *at_most,
        outcome => usize::from(!outcome.is_delivered()),
    };
    let at_most: Vec<usize> = outcomes.iter().map(at_most).collect();
    assert_eq!(at_most, [0, 4, 4, 1, 4, 4, 4], "the large ones alone, and the others together");
}

#[tokio::test]
async fn a_request_that_is_full_to_the_byte_has_as_many_bytes_as_it_may() {
    // Of two events: brackets and a comma, those in an object, two line breaks.
    for (section, around) in [("batch: {}", 3), ("batch: { wrap: data }", 12), ("batch: { format: ndjson }", 2)] {
        let of = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8));
        let rest = BYTES_MAX - around - 1000;
        let (outcomes, seen) = attempt(section, 200, &[&of(1000), &of(rest)]).await;
        assert!(outcomes.iter().all(Outcome::is_delivered), "{section}: {outcomes:?}");
        assert_eq!((seen.len(), seen[0].1.len()), (1, BYTES_MAX), "{section}");
        let (outcomes, seen) = attempt(section, 200, &[&of(1000), &of(rest + 1)]).await;
        assert!(matches!(outcomes[1], Outcome::Apart { .. }), "{section}: {outcomes:?}");
        assert!(seen[0].1.len() < BYTES_MAX / 2, "{section}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_says_nothing_of_what_is_known_of_an_event_by_itself() {
    let client = Client::scripted(|_| None);
    let section = format!("{{ {URL}, batch: {{ format: ndjson }}, text: \"{{{{ c }}}}\" }}");
    let silent = built("http", &section, "", &client).unwrap_or_else(|told| panic!("{told:?}"));
    let all = deliveries(&["{}", r#"{"c":"1\n2"}"#, r#"{"c":"\n\nok\n"}"#]);
    let outcomes = silent.attempt_within(&all, std::time::Duration::from_secs(1)).await;
    let names: Vec<_> = outcomes.iter().map(Outcome::name).collect();
    assert_eq!(names, ["skipped", "reject", "retry"], "{outcomes:?}");
    assert_eq!(outcomes[2].reason().map(|reason| reason.text.as_str()), Some("no answer within 1s"));
}

#[tokio::test]
async fn an_answer_is_about_all_and_a_refusal_of_several_about_none() {
    for (status, several, one) in [(503, "retry", "retry"), (410, "pause", "pause"), (204, "delivered", "delivered")] {
        let (outcomes, _) = attempt("batch: {}", status, &["{}", "{}"]).await;
        assert!(outcomes.iter().all(|outcome| outcome.name() == several), "{outcomes:?}");
        assert_eq!(attempt("batch: {}", status, &["{}"]).await.0[0].name(), one);
    }
    let (outcomes, _) = attempt("batch: {}", 422, &["{}", "{}", "{}"]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Apart { at_most: 2, .. })), "{outcomes:?}");
    let (outcomes, _) = attempt("batch: {}", 422, &["{}"]).await;
    assert!(matches!(outcomes[0], Outcome::Reject { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn the_same_events_have_one_id_which_is_signed_and_one_event_has_its_own() {
    let sign = "sign: { header: X-S, secret: a-secret-of-twenty-signs, over: \"{id}.{body}\" }";
    let (http, seen) = http(&format!("batch: {{}}, {sign}"), 503);
    let mut all = deliveries(&["{}", "{}", "{}"]);
    http.attempt(&all).await;
    all.reverse();
    http.attempt(&all).await;
    http.attempt(&all[1..]).await;
    http.attempt(&all[2..]).await;
    let seen = seen.lock().expect("the lock");
    let text = |at: usize, name: &str| seen[at].0[name].to_str().expect("a text").to_owned();
    let ids: Vec<_> = (0..4).map(|at| text(at, "webhook-id")).collect();
    assert_eq!(ids[0], ids[1], "in another order");
    assert!(ids[0] != ids[2] && uuid::Uuid::try_parse(&ids[2]).expect("a UUID").get_version_num() == 8);
    assert_eq!(ids[3], all[2].event.id.to_string());
    assert_eq!(text(0, "x-vero-relay-received-at"), "1970-01-01T00:00:01.002Z", "the last of them");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-secret-of-twenty-signs");
    let tag = ring::hmac::sign(&key, format!("{}.[{{}},{{}}]", ids[2]).as_bytes());
    assert_eq!(text(2, "x-s"), tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn one_event_is_shown_as_a_batch_of_one() {
    let (http, _) = http("batch: { wrap: events }, pick: [type]", 200);
    let preview: Preview = http.preview(&sample(ODD[0], 0)).unwrap_or_else(|unsent| panic!("{unsent}"));
    assert_eq!(
        (preview.title.as_str(), preview.exact_content()),
        ("POST http://127.0.0.1:1/x", r#"{"events":[{"type":"sent"}]}"#)
    );
    assert_eq!((http.batch_max(), http.batching().expect("it has one").max), (100, 100));
    assert!(!http.digests() && http.address_of(&bounces(5, 2)).is_none());
}

#[test]
fn what_does_not_go_together_is_refused() {
    let of = |rest: &str| format!("{{ {URL}, {rest} }}");
    refused(&of("batch: { format: ndjson, wrap: x }"), "", "`wrap` puts an array into an object, and these are lines");
    refused(&of("batch: { wrap: \"\" }"), "", "`wrap` is empty");
    refused(&of("batch: { wrap: \"{{ type }}\" }"), "", "`wrap` is one key for all events of a request");
    refused(&of("batch: { format: jsonl }"), "", "`jsonl` is no format of a batch");
    refused(&of("batch: {}, text: x"), "", "a text has no place in a JSON array");
    refused(&of("batch: { envelope: true }, json: {}"), "", "`json` makes one anew");
    refused(&of("batch: { max: 0 }"), "", "this should be a whole number from 1 to 1000");
    refused(&of("batch: { every: 61s }"), "", "this should be from 0");
    refused(&of("batch: 100"), "", "map");
    let templated = "{ url: \"http://127.0.0.1:1/{{ type }}\", batch: {} }";
    refused(templated, "", "events that go together go to one URL");
}
