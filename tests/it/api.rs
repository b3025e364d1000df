//! The API's reference: that docs/api.md and the OpenAPI document are those of this version, and that answers are as they say.
//!
//! Each answer below `/api/` that any test gets goes through [`holds`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use super::harness::{Message, TestRelay};
use super::schema::{Judge, is_committed};

/// What the document says of one method at one path.
struct Operation {
    method: String,
    /// With `{name}` for a step that may be anything.
    path: String,
    answer: Judge,
}

static OPERATIONS: LazyLock<Mutex<Vec<Operation>>> = LazyLock::new(|| {
    let document = vero_relay::admin::openapi();
    let shapes = &document["components"]["schemas"];
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").clone();
        let path = path.clone();
        methods.into_iter().filter_map(move |(method, told)| {
            let schema = told["responses"]["200"]["content"]["application/json"]["schema"].clone();
            let schema = schema.is_object().then_some(schema)?;
            Some((method.to_uppercase(), path.clone(), schema))
        })
    };
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(of).map(|(method, path, schema)| {
        let whole = json!({ "components": { "schemas": shapes }, "allOf": [schema] });
        Operation { method, path, answer: Judge::of(whole) }
    });
    Mutex::new(operations.collect())
});

/// Holds an answer of the API to what the document says.
#[track_caller]
pub fn holds(method: &str, path: &str, answer: &Message) {
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let is_json = answer.header("content-type") == Some("application/json");
    if !path.starts_with("/api/") || answer.status() != 200 || !is_json || method == "HEAD" {
        return;
    }
    let operations = OPERATIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let is_at = |operation: &&Operation| {
        let steps = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let [known, asked] = [&operation.path, path].map(steps);
        let is_same = |(known, asked): (&String, &String)| known.starts_with('{') || known == asked;
        operation.method == method && known.len() == asked.len() && known.iter().zip(&asked).all(is_same)
    };
    // A word in a path is not taken for an id.
    let found = operations.iter().filter(is_at).min_by_key(|operation| operation.path.contains('{'));
    let found = found.unwrap_or_else(|| panic!("the OpenAPI document has no {method} {path}"));
    if let Err(why) = found.answer.judge(&answer.json()) {
        panic!(
            "src/admin/api/openapi/api.yaml tells something else of {method} {}: {why}\n{}",
            found.path,
            answer.text()
        );
    }
}

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
