//! Bodies that come with a Content-Encoding.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::harness::*;

const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\nlimits: { body_max: 64KiB }\n";

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("written");
    encoder.finish().expect("finished")
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("written");
    encoder.finish().expect("finished")
}

async fn post(relay: &TestRelay, coding: &str, body: &[u8]) -> Message {
    request(relay.running.address, "POST", "/hooks/vero/secret", &[("content-encoding", coding)], body).await
}

fn event_of(bytes: usize) -> Vec<u8> {
    let head = r#"{"type":"t","x":""#;
    format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_stored_and_forwarded_as_plain_bytes() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let members = [gzipped(&SENT.as_bytes()[..9]), gzipped(&SENT.as_bytes()[9..])].concat();
    let bodies = [
        ("gzip", gzipped(SENT.as_bytes())),
        ("X-GZIP", gzipped(SENT.as_bytes())),
        ("deflate", deflated(SENT.as_bytes())),
        ("identity", SENT.as_bytes().to_vec()),
        ("gzip", members),
    ];
    for (nth, (coding, body)) in bodies.iter().enumerate() {
        let answer = post(&relay, coding, body).await;
        assert_eq!(answer.status(), 200, "{coding}: {}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(relay.admin(&format!("/api/events/{id}")).await.json()["body"], SENT);
        let delivered = &fake.wait_for(nth + 1).await[nth];
        assert_eq!((delivered.text(), delivered.header("content-encoding")), (SENT.to_owned(), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn body_max_counts_what_a_body_is_unpacked_to() {
    let relay = TestRelay::start(NOWHERE).await;
    for pack in [gzipped, deflated] {
        let coding = if pack(b"")[0] == 0x1f { "gzip" } else { "deflate" };
        assert_eq!(post(&relay, coding, &pack(&event_of(65_536))).await.status(), 200, "{coding}");
        let larger = post(&relay, coding, &pack(&event_of(65_537))).await;
        assert_eq!(larger.status(), 413, "{coding}");
        assert!(larger.text().contains("unpacked"), "{}", larger.text());
        let bomb = pack(&vec![b' '; 32 << 20]);
        assert!(bomb.len() < 65_536);
        assert_eq!(post(&relay, coding, &bomb).await.status(), 413, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_unpacked_is_400_and_an_unknown_coding_415_with_a_sentence() {
    let relay = TestRelay::start(NOWHERE).await;
    let good = gzipped(SENT.as_bytes());
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for (body, part) in [
        (&good[..good.len() - 1], "ends too early"),
        (&good[..12], "ends too early"),
        (&good[..3], "ends too early"),
        (SENT.as_bytes(), "not what its Content-Encoding says"),
        (&wrong_sum, "not what its Content-Encoding says"),
        (&[&good[..], b"garbage behind"].concat(), "not what its Content-Encoding says"),
        (&deflated(SENT.as_bytes()), "not what its Content-Encoding says"),
    ] {
        let answer = post(&relay, "gzip", body).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert!(answer.text().contains(part), "{} should hold {part}", answer.text());
    }
    assert_eq!(post(&relay, "gzip", b"").await.status(), 400);
    for coding in ["br", "zstd", "gzip, gzip", "identity, gzip", "nonsense"] {
        let answer = post(&relay, coding, &good).await;
        assert_eq!((answer.status(), answer.header("accept-encoding")), (415, Some("gzip, deflate, identity")));
        assert!(answer.text().contains("send one of gzip, deflate, identity"), "{}", answer.text());
    }
    let stranger = [("content-encoding", "br")];
    let answer = request(relay.running.address, "POST", "/hooks/vero/wrong", &stranger, b"").await;
    assert_eq!(answer.status(), 404, "a stranger learns nothing");
    assert_eq!(relay.admin("/api/refused").await.json()["refused"][1]["status"], 415);
}
