//! `/api/openapi.json`: the API as an OpenAPI document.
//!
//! Paths, and which keys each takes, come from the resources' [`Endpoint`]s, which requests are held to. What the keys mean and what is
//! answered stands in `api.yaml`, in the [`notation`] that its head explains; the tests hold each answer that they get to it. docs/api.md is
//! made of the same, by [`mod@reference`].

mod notation;
mod reference;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::notation::{Field, Type};
use super::{Endpoint, Outcome, RESOURCES, Request, Resource, get, in_json, nothing_here};
use crate::yaml::load;
use crate::yaml::raw::{Key, Node};

pub(in crate::admin) use self::reference::reference;

pub(super) const RESOURCE: Resource = Resource {
    name: "openapi.json",
    endpoints: &[get("", &[], "all of this as an OpenAPI document").without_events()],
    answer: |request| in_json(std::future::ready(answer(&request))),
    ..Resource::USUAL
};

fn answer(request: &Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (true, []) => Ok(document()),
        _ => nothing_here(),
    }
}

/// What `api.yaml` says.
struct Told {
    /// What a key means wherever it is taken.
    keys: Vec<Field>,
    answers: Vec<Answered>,
    /// The frames of the stream, by their kinds.
    frames: Vec<Field>,
    shapes: Vec<(String, Shape)>,
}

/// What an endpoint answers.
struct Answered {
    /// `GET /api/status`.
    endpoint: String,
    answer: Type,
    /// Keys that mean something else here.
    keys: Vec<Field>,
}

/// What a name stands for.
enum Shape {
    Object(Vec<Field>),
    Other(Type),
}

static TOLD: LazyLock<Told> = LazyLock::new(|| {
    let file = load::parse(include_str!("api.yaml")).expect("it lies beside this file, and a test reads it");
    let below = |key: &str| file.get(key).map(Node::entries).unwrap_or_default();
    let answered = |(endpoint, node): &(Key, Node)| {
        let (answer, keys) = match node.scalar() {
            Some(scalar) => (scalar.text.as_str(), Vec::new()),
            None => {
                let answer = node.get("answer").and_then(Node::scalar).map_or("", |scalar| &scalar.text);
                (answer, Field::all(node).filter(|field| field.name != "answer").collect())
            }
        };
        Answered { endpoint: endpoint.text.clone(), answer: Type::read(answer), keys }
    };
    let shape = |(name, node): &(Key, Node)| {
        let shape = match node.scalar() {
            Some(scalar) => Shape::Other(Type::read(&scalar.text)),
            None => Shape::Object(Field::all(node).collect()),
        };
        (name.text.clone(), shape)
    };
    Told {
        keys: file.get("keys").into_iter().flat_map(Field::all).collect(),
        answers: below("answers").iter().map(answered).collect(),
        frames: file.get("frames").into_iter().flat_map(Field::all).collect(),
        shapes: below("shapes").iter().map(shape).collect(),
    }
});

impl Told {
    fn answered(&self, endpoint: &str) -> Option<&Answered> {
        self.answers.iter().find(|answered| answered.endpoint == endpoint)
    }

    /// What a key means, at an endpoint.
    fn key(&self, endpoint: &str, name: &str) -> Option<&Field> {
        let own = self.answered(endpoint).into_iter().flat_map(|answered| &answered.keys);
        own.chain(&self.keys).find(|field| field.name == name)
    }

    /// What an endpoint takes.
    fn taken(&self, named: &str, endpoint: &Endpoint) -> Vec<Field> {
        let field = |key: &&str| {
            let field = self.key(named, key).cloned().unwrap_or_else(|| Field::unknown(key));
            Field { may_be_missing: endpoint.may_lack(key), ..field }
        };
        endpoint.takes.iter().map(field).collect()
    }
}

/// Every endpoint, with the name under which `api.yaml` has it.
fn endpoints() -> impl Iterator<Item = (String, &'static Resource, &'static Endpoint)> {
    let of = |resource: &'static Resource| {
        resource.endpoints.iter().map(move |endpoint| (endpoint.named(resource.name), resource, endpoint))
    };
    RESOURCES.iter().copied().flat_map(of)
}

/// The API as an OpenAPI 3.1 document.
pub(in crate::admin) fn document() -> Value {
    let mut paths = Map::new();
    for (named, resource, endpoint) in endpoints() {
        let path = endpoint.path_with(resource.name, |step| format!("{{{}}}", step.to_lowercase()));
        let method = if endpoint.is_read { "get" } else { "post" };
        let at = paths.entry(path).or_insert_with(|| json!({}));
        at[method] = operation(&named, resource, endpoint);
    }
    let shape = |(name, shape): &(String, Shape)| {
        let schema = match shape {
            Shape::Object(fields) => object(fields.iter()),
            Shape::Other(other) => other.schema(),
        };
        (name.clone(), schema)
    };
    let mut shapes: Map<_, _> = TOLD.shapes.iter().map(shape).collect();
    shapes.insert(
        "Error".to_owned(),
        json!({
            "type": "object", "required": ["error"], "additionalProperties": false,
            "properties": { "error": { "type": "string", "description": "what is wrong, and what to do" } },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vero-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the admin listener of a relay is asked and told. Times are RFC 3339 in UTC; keys may be added to answers.",
        },
        "paths": paths,
        "components": { "schemas": shapes },
    })
}

fn operation(named: &str, resource: &Resource, endpoint: &Endpoint) -> Value {
    let mut parameters: Vec<Value> = endpoint
        .places()
        .map(|place| {
            json!({
                "name": place.to_lowercase(), "in": "path", "required": true, "schema": { "type": "string" },
            })
        })
        .collect();
    let taken = TOLD.taken(named, endpoint);
    if endpoint.is_read {
        parameters.extend(taken.iter().map(|field| {
            json!({
                "name": field.name, "in": "query", "description": field.about, "schema": field.kind.schema(),
            })
        }));
    } else {
        parameters.push(json!({
            "name": crate::admin::WRITE_HEADER, "in": "header", "required": true, "schema": { "type": "string" },
            "description": "any value: no other site's page can send it",
        }));
    }
    let answer = TOLD.answered(named).map(|answered| answered.answer.content()).unwrap_or_default();
    let mut told = json!({
        "summary": endpoint.about,
        "tags": [resource.name],
        "parameters": parameters,
        "responses": {
            "200": { "description": "it is answered", "content": answer },
            "default": {
                "description": "it is not, and why",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
            },
        },
    });
    // OpenAPI has no word for the frames of an event stream.
    if TOLD.answered(named).is_some_and(|answered| answered.answer == Type::Frames) {
        told["x-frames"] = object(TOLD.frames.iter())["properties"].take();
    }
    if !endpoint.is_read && !taken.is_empty() {
        told["requestBody"] = json!({
            "required": taken.iter().any(|field| !field.may_be_missing),
            "content": { "application/json": { "schema": object(taken.iter()) } },
        });
    }
    told
}

/// An object that has these keys and no others.
fn object<'f>(fields: impl Iterator<Item = &'f Field> + Clone) -> Value {
    let required: Vec<_> = fields.clone().filter(|field| !field.may_be_missing).map(|field| &field.name).collect();
    let properties: Map<_, _> = fields
        .map(|field| {
            let mut schema = field.kind.schema();
            schema["description"] = json!(field.about);
            (field.name.clone(), schema)
        })
        .collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_endpoint_and_every_key_is_told_of_and_nothing_else() {
        let there: HashSet<String> = endpoints().map(|(named, ..)| named).collect();
        let told: HashSet<String> = TOLD.answers.iter().map(|answered| answered.endpoint.clone()).collect();
        assert_eq!(
            there.difference(&told).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "api.yaml does not tell what these answer"
        );
        assert_eq!(
            told.difference(&there).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "api.yaml tells of what is not there"
        );
        let mut used = HashSet::new();
        for (named, _, endpoint) in endpoints() {
            for key in endpoint.takes {
                assert!(TOLD.key(&named, key).is_some(), "api.yaml does not tell what `{key}` of {named} means");
                used.insert(*key);
            }
            let own = &TOLD.answered(&named).expect("it is there").keys;
            let unknown = own.iter().find(|field| !endpoint.takes.contains(&field.name.as_str()));
            assert!(unknown.is_none(), "{named} takes no {unknown:?}");
        }
        let unused = TOLD.keys.iter().find(|field| !used.contains(field.name.as_str()));
        assert!(unused.is_none(), "no endpoint takes {unused:?}");
    }

    #[test]
    fn every_name_of_a_shape_is_a_shape_and_every_shape_is_used() {
        let known: HashSet<&str> = TOLD.shapes.iter().map(|(name, _)| name.as_str()).collect();
        let fields = |shape: &'static Shape| match shape {
            Shape::Object(fields) => fields.iter().map(|field| &field.kind).collect(),
            Shape::Other(other) => vec![other],
        };
        let types = TOLD.shapes.iter().flat_map(|(_, shape)| fields(shape));
        let types = types.chain(TOLD.answers.iter().map(|answered| &answered.answer));
        let types = types.chain(TOLD.frames.iter().map(|frame| &frame.kind));
        let named: HashSet<&str> = types.flat_map(Type::names).collect();
        assert_eq!(named.symmetric_difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}
