//! Events of which fields are dropped, masked or hashed on their way, and requests that are signed in the receiver's form.

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_and_hashed_leaves_the_relay_by_no_way() {
    let fake = Fake::start([]).await;
    let config =
        to_crm(&fake, "").replace("to: crm", "to: [crm, archive]").replace("/hook\"", "/hook\", drop: [user.email]");
    let archive = "  archive:\n    file: { path: x.ndjson, pick: [type, user], mask: [user.id], hash: [user.email] }\n";
    let relay = TestRelay::start(&format!("{config}{archive}")).await;
    let id = relay
        .accept(r#"{"type":"sent","user":{"id":9007199254740993,"email":" Ann@Example.com"},"sender_ip":"1.2.3.4"}"#)
        .await;
    relay.until(&id, "delivered").await;
    assert_eq!(
        fake.wait_for(1).await[0].text(),
        r#"{"type":"sent","user":{"id":9007199254740993},"sender_ip":"1.2.3.4"}"#
    );
    let path = relay.directory.path().join("data/x.ndjson");
    eventually("a line", async || std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
    let line = std::fs::read_to_string(&path).expect("a line");
    // By `printf ann@example.com | sha256sum`.
    let hash = "71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476";
    assert!(
        line.ends_with(&format!(
            "\"event\":{{\"type\":\"sent\",\"user\":{{\"id\":\"***\",\"email\":\"{hash}\"}}}}}}\n"
        )),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_signed_anew_over_what_it_sends() {
    let fake = Fake::start([Act::status(503)]).await;
    let sign = "{ header: X-Signature, secret: Jefe, over: \"v0:{timestamp}:{id}:{body}\", prefix: \"v0=\" }";
    let config = to_crm(&fake, "").replace("/hook\"", &format!("/hook\", sign: {sign}"));
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"Jefe");
    let seen = fake.wait_for(2).await;
    for request in &seen {
        let header = |name: &str| request.header(name).expect("it is there").to_owned();
        let over = format!("v0:{}:{id}:{}", header("webhook-timestamp"), request.text());
        let tag = ring::hmac::sign(&key, over.as_bytes());
        let expected: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(header("x-signature"), format!("v0={expected}"));
    }
    let shown = relay.admin(&format!("/api/events/{id}")).await.text();
    assert!(!shown.contains("v0="), "{shown}");
}
