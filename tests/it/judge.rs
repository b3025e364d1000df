//! What a JSON Schema has against a value, and what the API's document has against an answer: each answer below `/api/` that any test gets goes
//! through [`holds`].

use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use super::harness::Message;

/// Says what a JSON Schema has against a value.
pub struct Judge {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Judge {
    pub fn of(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("urn:vero-relay", schema).expect("a document");
        let index = compiler.compile("urn:vero-relay", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    pub fn judge(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| format!("{error:#}"))
    }
}

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
    let operations = OPERATIONS.lock().unwrap_or_else(PoisonError::into_inner);
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
