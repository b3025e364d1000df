//! The body stays the bytes that came.

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn hard_bodies_are_forwarded_byte_for_byte() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let deep = format!(r#"{{"type":"t","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let deep_objects = format!(r#"{{"type":"t","x":{}1{}}}"#, r#"{"k":"#.repeat(200), "}".repeat(200));
    let long = format!(r#"{{"type":"t","x":"{}"}}"#, "y".repeat(900_000));
    let bodies = [
        r#"{"type":"t","n":9007199254740993,"m":123456789012345678901234567890}"#,
        r#"{"type":"t","a":1,"a":2,"b":{"c":1,"c":2}}"#,
        r#"{"type":"t","n":1e400,"m":-1E-400,"z":12500.50,"o":-0}"#,
        r#"{"type":"t","lone":"\ud800","key \udc00":1}"#,
        r#"{"type":"t","rails":"\u003cb\u003e \u0026 \u2028"}"#,
        r#"{"type":"t","emoji":"😀👩‍👩‍👧","escaped":"\ud83d\ude00"}"#,
        " {\r\n\t\"type\" : \"t\" ,\n \"z\" : [ ] , \"a\" : { } }\n\n",
        r#"{"type":"t","":"empty key","a.b":1,"a/b":2,"\u0000":3}"#,
        deep.as_str(),
        deep_objects.as_str(),
        long.as_str(),
    ];
    for body in bodies {
        let id = relay.accept(body).await;
        relay.until(&id, "delivered").await;
        let arrived =
            fake.seen().into_iter().find(|message| message.header("webhook-id") == Some(&id)).expect("arrived");
        assert!(arrived.body == body.as_bytes(), "{}", &body[..body.len().min(200)]);
    }
}
