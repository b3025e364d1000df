//! The API's reference: that docs/api.md and the OpenAPI document are those of this version.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::harness::{Message, TestRelay};
use super::judge::holds;
use super::schema::is_committed;

#[test]
fn the_reference_is_that_of_this_version() {
    is_committed("docs/api.md", &vero_relay::admin::api_reference());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_gives_the_document_and_it_is_openapi() {
    let relay = TestRelay::start("destinations: {}\nrules: []").await;
    let answer = relay.admin("/api/openapi.json").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let document = answer.json();
    assert_eq!(document, vero_relay::admin::openapi());
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for methods in document["paths"].as_object().expect("paths").values() {
        for told in methods.as_object().expect("methods").values() {
            assert!(told["summary"].is_string() && told["responses"]["200"]["content"].is_object(), "{told}");
            *known.entry(told["tags"][0].as_str().expect("a tag")).or_default() += 1;
        }
    }
    assert!(known.len() > 10, "{known:?}");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md").exists());
}

#[test]
#[should_panic(expected = "tells something else of GET /api/destinations")]
fn a_key_that_is_not_told_of_is_found() {
    let body = json!({ "destinations": [], "surprise": 1 }).to_string().into_bytes();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    holds("GET", "/api/destinations", &Message { first_line: "HTTP/1.1 200 OK".to_owned(), headers, body, at: None });
}
