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

/// A body of letters that packs to about three quarters.
fn hardly_packed(bytes: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut seed = 1u64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        LETTERS[(seed >> 58) as usize]
    };
    let head = br#"{"type":"t","x":""#;
    let letters: Vec<u8> = (0..bytes - head.len() - 2).map(|_| letter()).collect();
    [&head[..], &letters, b"\"}"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_within_body_max_has_room_also_where_intake_max_is_no_larger() {
    let relay = TestRelay::start(&NOWHERE.replace("64KiB", "2MiB, intake_max: 2MiB")).await;
    let body = hardly_packed(2 << 20);
    for pack in [gzipped, deflated] {
        let packed = pack(&body);
        assert!(packed.len() > 5 << 18, "packed and unpacked are more than intake_max: {}", packed.len());
        let coding = if packed[0] == 0x1f { "gzip" } else { "deflate" };
        // Twice: the room of the first is given back whole.
        for _ in 0..2 {
            let answer = post(&relay, coding, &packed).await;
            assert_eq!(answer.status(), 200, "{coding}: {}", answer.text());
        }
    }
    // A body that is packed to more than it is gives back what it does not need.
    let longer = [gzipped(SENT.as_bytes()), vec![0; 1 << 20]].concat();
    assert_eq!(post(&relay, "gzip", &longer).await.status(), 200);
    assert_eq!(post(&relay, "gzip", &gzipped(&body)).await.status(), 200);
}
