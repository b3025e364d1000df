//! The list of refused requests: each is there, and none shows what could be a token.

use crate::harness::*;

const CONFIG: &str = "\
listen: 127.0.0.1:0
admin: { listen: \"127.0.0.1:0\" }
data_dir: data
sources:
  vero: { tokens: [canary-one, canary-two] }
  old: { auth: { basic: { username: user, password: canary-three } } }
rules: [ { name: silence, to: [], stop: true } ]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_any_wrong_path_is_listed_and_counted_like_a_wrong_token() {
    let relay = TestRelay::start_with(CONFIG).await;
    let slips = [
        ("/hooks/vero/canary-wrong", "/hooks/vero/…"),
        ("//hooks/vero/canary-one", "//hooks/vero/…"),
        ("/hooks//vero/canary-one", "/hooks//vero/…"),
        ("/prefix/hooks/vero/canary-one", "/…/hooks/vero/…"),
        ("/hooks/vero/canary%252done", "/hooks/vero/…"),
        ("/hooks/vero%2Fcanary-one", "/hooks/…"),
        ("/hooks/vero/CANARY-ONE", "/hooks/vero/…"),
        ("/hooks/canary-one/vero", "/hooks/…/vero"),
        ("/canary-one", "/…"),
        ("/hooks/vero?token=canary-one", "/hooks/vero"),
        ("/hooks", "/hooks"),
        ("/", "/"),
        ("/favicon.ico", "/…"),
        ("/api/status", "/…/…"),
    ];
    for (path, _) in slips {
        let answer = request(relay.running.address, "POST", path, &[], b"canary-one").await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    let odd = request(relay.running.address, "CANARY-ONE", "/hooks/vero/canary-one", &[], b"").await;
    assert_eq!(odd.status(), 405);
    let listed = relay.admin("/api/refused").await;
    assert!(!listed.text().to_lowercase().contains("canary"), "{}", listed.text());
    let refused = listed.json()["refused"].clone();
    assert_eq!((&refused[0]["method"], &refused[0]["source"]), (&"…".into(), &"vero".into()));
    let shown: Vec<_> =
        refused.as_array().expect("a list").iter().skip(1).rev().map(|one| one["path"].clone()).collect();
    assert_eq!(shown, slips.map(|(_, shown)| shown));
    let metrics = relay.admin("/metrics").await.text();
    let counted = format!(r#"vero_relay_requests_total{{source="",code="404"}} {}"#, slips.len());
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_shows_no_configured_secret() {
    let relay = TestRelay::start_with(CONFIG).await;
    for body in [
        "canary-one",
        "\"CANARY-TWO\"",
        "[\"http://relay/hooks/vero/canary%2Done\"]",
        "canary%252dtwo",
        "{\"url\":\"\\u0063anary-one\"}",
        "canary-threecanary-one",
    ] {
        let answer = request(relay.running.address, "POST", "/hooks/vero/canary-one", &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 400, "{body}");
    }
    let listed = relay.admin("/api/refused").await.text().to_lowercase();
    assert!(!listed.contains("anary") && listed.contains("relay/hooks/vero/…"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_shows_no_secret_with_signs_that_are_escaped() {
    let config =
        CONFIG.replace("  old:", "  key: { auth: { header: { name: x-key, value: 'hunter/2\"x\\y+z w' } } }\n  old:");
    let relay = TestRelay::start_with(&config).await;
    for body in [
        r#"["hunter\/2\"x\\y+z w" "#,
        r#"["hunter/2\"x\\y\u002bz w" "#,
        r#"["{\"k\":\"hunter\\\/2\\\"x\\\\y+z w\"}" "#,
        "key=hunter%2F2%22x%5Cy%2Bz+w",
        "key=hunter%252F2%2522x%255Cy%252Bz%2520w",
        "hunter/2&quot;x\\y+z w",
    ] {
        let answer = request(relay.running.address, "POST", "/hooks/vero/canary-one", &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 400, "{body}");
        let listed = relay.admin("/api/refused").await.json()["refused"][0]["body"].clone();
        let listed = listed.as_str().expect("a text");
        assert!(listed.contains('…') && !listed.contains("hunter") && !listed.contains('w'), "{body}: {listed}");
    }
    let body = "Basic dXNlcjpjYW5hcnktdGhyZWU=";
    request(relay.running.address, "POST", "/hooks/vero/canary-one", &[], body.as_bytes()).await;
    let listed = relay.admin("/api/refused").await.json()["refused"][0]["body"].clone();
    assert_eq!(listed, "Basic …=", "the pair as a request has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_percent_encoded_is_the_token() {
    let relay = TestRelay::start_with(CONFIG).await;
    for path in ["/hooks/vero/canary%2Done", "/hooks/v%65ro/%63anary-one", "/%68ooks/vero/canary-tw%6f/bounced"] {
        let answer = request(relay.running.address, "POST", path, &[], SENT.as_bytes()).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let basic = [("authorization", "Basic dXNlcjpjYW5hcnktdGhyZWU=")];
    assert_eq!(request(relay.running.address, "POST", "/hooks/o%6cd", &basic, SENT.as_bytes()).await.status(), 200);
}
