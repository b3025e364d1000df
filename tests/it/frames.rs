//! What the API's document has against a frame of the stream: each that any test gets goes through [`frame_holds`].

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::judge::Judge;

/// What the document says of each frame of the stream.
static FRAMES: LazyLock<Mutex<BTreeMap<String, Judge>>> = LazyLock::new(|| {
    let document = vero_relay::admin::openapi();
    let frames = document["paths"]["/api/stream"]["get"]["x-frames"].as_object().expect("frames");
    let judge = |(kind, schema): (&String, &Value)| {
        let shapes = &document["components"]["schemas"];
        (kind.clone(), Judge::of(json!({ "components": { "schemas": shapes }, "allOf": [schema] })))
    };
    Mutex::new(frames.iter().map(judge).collect())
});

/// Holds a frame of the stream to what the document says.
#[track_caller]
pub fn frame_holds(kind: &str, data: &Value) {
    let frames = FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let judge = frames.get(kind).unwrap_or_else(|| panic!("the OpenAPI document has no frame `{kind}`"));
    if let Err(why) = judge.judge(data) {
        panic!("src/admin/api/openapi/api.yaml tells something else of the frame `{kind}`: {why}\n{data}");
    }
}
