//! Bins through the admin listener: what is kept, what is shown, and what it may cost.

use serde_json::Value;

use crate::harness::*;

const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";
/// Showing a bin is a small multiple of the 4 MiB that all bins keep.
const ANSWER_BYTES_MAX: usize = 8 << 20;

async fn put(relay: &TestRelay, path: &str, body: &[u8]) -> u16 {
    request(relay.running.admin_address, "POST", path, &[], body).await.status()
}

async fn shown(relay: &TestRelay, name: &str) -> Value {
    let answer = relay.admin(&format!("/bin/{name}")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.body.len() <= ANSWER_BYTES_MAX, "{}", answer.body.len());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_body_looks_like_its_bin_can_be_shown() {
    let relay = TestRelay::start(NOWHERE).await;
    let mib = 1 << 20;
    let nested = [b"[".repeat(mib / 2), b"]".repeat(mib / 2)].concat();
    let wide = format!("[{}0]", "0,".repeat(mib / 2 - 2)).into_bytes();
    let keys = format!("{{{}}}", "\"a\":[[[[]]]],".repeat(mib / 13 - 1) + "\"b\":1").into_bytes();
    let bodies =
        [nested, wide, keys, vec![0; mib], vec![b'"'; mib], vec![b'\\'; mib], vec![0xff; mib], vec![0xf0; mib]];
    for (nth, body) in bodies.iter().enumerate() {
        let path = format!("/bin/large{nth}");
        for _ in 0..5 {
            assert_eq!(put(&relay, &path, body).await, 200);
        }
        let bin = shown(&relay, &format!("large{nth}")).await;
        assert_eq!(bin["received"], 5);
        let left_out = bin["entries"][0]["left_out"].as_str().unwrap_or_default();
        assert!(left_out.ends_with(&format!("of {} bytes are not shown", body.len())), "{left_out}");
    }
    assert_eq!(put(&relay, "/bin/a", &vec![b'x'; mib + 1]).await, 413);
    assert_eq!(put(&relay, "/bin/a", &vec![b'x'; mib]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_small_entries_are_kept_and_shown_whole() {
    let relay = TestRelay::start(NOWHERE).await;
    for nth in 0..101 {
        assert_eq!(put(&relay, "/bin/small", format!("{{\"nth\":{nth}}}").as_bytes()).await, 200);
    }
    let bin = shown(&relay, "small").await;
    let entries = bin["entries"].as_array().expect("a list");
    let numbers: Vec<_> = entries.iter().filter_map(|entry| entry["json"]["nth"].as_u64()).collect();
    assert_eq!(numbers, (1..=100).rev().collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.get("left_out").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_other_names_do_not_close_the_bins() {
    let relay = TestRelay::start(NOWHERE).await;
    for nth in 0..16 {
        assert_eq!(put(&relay, &format!("/bin/other{nth}"), b"x").await, 200);
    }
    assert_eq!(put(&relay, "/bin/mine", b"x").await, 200);
    assert_eq!(shown(&relay, "mine").await["received"], 1);
    assert_eq!(relay.admin("/bin/other0").await.status(), 404, "the oldest gave way");
    let bins = relay.admin("/bin").await.json();
    assert_eq!(bins["bins"].as_object().map(serde_json::Map::len), Some(16));
    let longer = format!("/bin/{}", "x".repeat(65));
    for path in ["/bin/no%20name", "/bin/a:b", &longer] {
        let refused = request(relay.running.admin_address, "POST", path, &[], b"x").await;
        assert_eq!(refused.status(), 400, "{path}");
        assert!(refused.text().contains("a bin's name is letters, digits"), "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_bin_shows_no_credential_of_its_destination() {
    let config = |admin: &str| {
        format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources: {{ vero: {{ token: secret }} }}\n\
             rules: [ {{ name: all, to: [one, two] }} ]\n\
             destinations:\n  one: {{ http: {{ url: \"http://user:canary-1@{admin}/bin/one?key=canary-2\", \
             headers: {{ x-api-key: canary-3 }} }} }}\n  \
             two: {{ http: {{ url: \"http://{admin}/bin/two\", signing_secrets: [whsec_Y2FuYXJ5LXNpZ25pbmctc2VjcmV0LW9mLTMyLWI=], \
             auth: {{ header: {{ name: X-Auth, value: canary-4 }} }} }} }}\n"
        )
    };
    let config = config(&closed_port().to_string()).replace("user:canary-1@", "");
    let relay = TestRelay::start_with(&config).await;
    relay.accept(SENT).await;
    for name in ["one", "two"] {
        eventually("the delivery", async || relay.admin(&format!("/bin/{name}")).await.status() == 200).await;
        let bin = shown(&relay, name).await;
        assert!(!bin.to_string().contains("canary"), "{bin}");
        let headers = &bin["entries"][0]["headers"];
        assert!(headers["webhook-id"].as_str().is_some_and(|id| id.len() > 10), "{headers}");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(bin["entries"][0]["json"]["type"], "sent");
    }
    let (one, two) = (shown(&relay, "one").await, shown(&relay, "two").await);
    assert_eq!(one["entries"][0]["path"], "/bin/one?key=…");
    assert_eq!(
        (&one["entries"][0]["headers"]["x-api-key"], &two["entries"][0]["headers"]["x-auth"]),
        (&"…".into(), &"…".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bin_takes_any_method_but_those_that_look() {
    let relay = TestRelay::start(NOWHERE).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        let answer = request(relay.running.admin_address, method, "/bin/any/users/1", &[], b"{}").await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "{method}");
        assert_eq!(shown(&relay, "any").await["entries"][0]["method"], method);
    }
    assert_eq!(shown(&relay, "any").await["received"], 6);
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(request(relay.running.admin_address, "PUT", "/bin/any", &foreign, b"{}").await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_led_from_a_bin_to_the_page_below_any_path() {
    let relay = TestRelay::start(NOWHERE).await;
    assert_eq!(put(&relay, "/bin/slack", b"{}").await, 200);
    let html = [("accept", "text/html,*/*;q=0.8")];
    for (path, location) in [
        ("/bin", "./#/bins"),
        ("/bin/", "../#/bins"),
        ("/bin/slack", "../#/bins/slack"),
        ("/bin/slack/", "../../#/bins/slack"),
    ] {
        let answer = request(relay.running.admin_address, "GET", path, &html, b"").await;
        assert_eq!((answer.status(), answer.header("location")), (303, Some(location)), "{path}");
    }
    assert_eq!(request(relay.running.admin_address, "GET", "/bin/a%20b", &html, b"").await.status(), 400);
    assert_eq!(shown(&relay, "slack").await["received"], 1);
}
