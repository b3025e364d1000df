//! The keys as a JSON Schema, draft 2020-12.
//!
//! It is for the editor, and takes what the reader takes: a key with nothing behind it counts as missing, unless it is one of several of
//! which one must be there. What a schema cannot see (a name that is not defined, a template that does not compile) is left to `check`.

use serde_json::{Map, Value, json};

use super::super::root;
use super::super::rules::IGNORE_CASE;
use crate::event::vero;
use crate::rules::operators::{Holds, OPERATORS, Takes};
use crate::units::{self, duration_pattern};
use crate::yaml::keys::{Absent, INTERPOLATED, Info, Of, Section};
use crate::yaml::load;
use crate::yaml::raw::{self, Node, Style};

pub fn schema() -> Value {
    let mut schema = map(&root::keys());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("vero-relay's config");
    schema["description"] = json!("Sources, rules and destinations of one relay. The reference: docs/config.md.");
    schema["patternProperties"] = json!({ "^x-": { "description": "Free for YAML anchors." } });
    schema["$defs"] = json!({ "match": match_map(), "test": test() });
    schema
}

fn map(section: &Section) -> Value {
    // The reader takes a key with nothing behind it as missing. Where one of several must be there, a schema cannot see that it is.
    // Two that are not there together are refused also where one of them is nothing.
    let besides: Vec<_> = section.besides.iter().filter(|one| one.get("not").is_none()).collect();
    let besides = json!(besides).to_string();
    let may_be_nothing = |key: &Info| !key.is_required() && !besides.contains(&format!("\"{}\"", key.name));
    let one = |key: &Info| {
        let property = property(key);
        (key.name.to_owned(), if may_be_nothing(key) { or_nothing(property) } else { property })
    };
    let properties: Map<_, _> = section.keys.iter().map(one).collect();
    let required = section.keys.iter().filter(|key| matches!(key.absent, Absent::Refused));
    let required: Vec<_> = required.map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !section.besides.is_empty() {
        schema["allOf"] = json!(section.besides);
    }
    schema
}

fn property(key: &Info) -> Value {
    let mut schema = value(&key.of);
    let mut description = key.about.text();
    if let Some([least, most]) = key.of.range() {
        description.push_str(&format!(" From {least} to {most}."));
    }
    match &key.absent {
        Absent::Told(told) => description.push_str(&format!(" Default: {}.", told.text())),
        _ => {
            if let Some(value) = key.default_value() {
                schema["default"] = value;
            }
        }
    }
    schema["description"] = json!(description);
    schema["examples"] = json!([example(key)]);
    schema
}

/// What a schema takes, or nothing. What is said of it stays beside a choice, where editors look.
fn or_nothing(mut schema: Value) -> Value {
    let nothing = json!({ "type": "null" });
    let Value::Object(parts) = &mut schema else { return schema };
    if let Some(reference) = parts.remove("$ref") {
        parts.insert("anyOf".to_owned(), json!([{ "$ref": reference }, nothing]));
    } else if let Some(types) = parts.get_mut("type") {
        match types {
            Value::Array(types) => types.push(json!("null")),
            one => *one = json!([one, "null"]),
        }
    } else if let Some(Value::Array(choices)) = parts.get_mut("anyOf") {
        choices.push(nothing);
    }
    schema
}

fn example(key: &Info) -> Value {
    let read =
        load::parse(key.example).unwrap_or_else(|error| panic!("the example of {}: {}", key.name, error.message));
    value_of(&read)
}

fn value(of: &Of) -> Value {
    match of {
        Of::Text => text(),
        Of::Secret => secret(),
        Of::Form(pattern, _) => form(pattern),
        Of::Word(words) => word(words),
        Of::Boolean => json!({ "type": ["boolean", "string"], "pattern": or_interpolated("^(true|false)$") }),
        Of::Whole(least, most) => {
            let pattern = or_interpolated("^[0-9]+$");
            json!({ "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": pattern })
        }
        Of::Duration(..) => form(&units::duration_pattern()),
        Of::Size(..) => form(&units::size_pattern()),
        Of::Rate => form(r"^\s*[0-9]+\s*/\s*[smh]\s*$"),
        Of::Texts => one_or_more(text()),
        Of::Secrets => one_or_more(secret()),
        Of::SecretsByName => json!({ "type": "object", "additionalProperties": secret() }),
        Of::Map(section) => map(&section()),
        Of::SecretOrMap(section) => json!({ "anyOf": [secret(), map(&section())] }),
        Of::Fixed(section) => map(section),
        Of::Named(section) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$", "not": { "enum": [".", ".."] } },
            "additionalProperties": map(&section()),
        }),
        Of::List(section) => json!({ "type": "array", "items": map(&section()) }),
        Of::Own(_, schema) => schema(),
    }
}

fn or_interpolated(pattern: &str) -> String {
    format!("{pattern}|{INTERPOLATED}")
}

/// To the reader an unquoted number is a text, and so is `true`.
fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn secret() -> Value {
    json!({ "type": ["string", "number", "boolean"], "minLength": 1 })
}

fn form(pattern: &str) -> Value {
    // YAML takes a form that digits have for a number when it is not quoted.
    let may_be_number = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match("1"));
    let types = if may_be_number { json!(["string", "number", "boolean"]) } else { json!("string") };
    json!({ "type": types, "pattern": or_interpolated(pattern) })
}

fn word(words: &[&str]) -> Value {
    json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": INTERPOLATED }] })
}

fn one_or_more(mut one: Value) -> Value {
    let items = one.clone();
    one["type"] = json!(["string", "number", "boolean", "array"]);
    one["items"] = items;
    one
}

/// A match map: Vero's fields are offered, others are taken.
fn match_map() -> Value {
    let several = |about: &str| {
        let item = json!({ "$ref": "#/$defs/match", "minProperties": 1 });
        json!({ "type": "array", "minItems": 1, "items": item, "description": about })
    };
    let mut properties: Map<String, Value> = [
        ("any", "At least one of these match maps holds."),
        ("all", "All of these match maps hold."),
        ("none", "None of these match maps holds."),
    ]
    .map(|(name, about)| (name.to_owned(), several(about)))
    .into_iter()
    .collect();
    let test = json!({ "$ref": "#/$defs/test" });
    let fields = vero::FIELDS.iter().chain(&["relay.source", "relay.received_at", "relay.occurred_at"]);
    properties.extend(fields.map(|field| ((*field).to_owned(), test.clone())));
    properties.insert("relay.age".to_owned(), span());
    let offered =
        std::iter::once(("type", &vero::TYPES[..])).chain(vero::VALUES.map(|(field, values, _)| (field, values)));
    for (field, values) in offered {
        properties.insert(field.to_owned(), json!({ "anyOf": [{ "enum": values }, test] }));
    }
    let misplaced: Vec<_> = OPERATORS.iter().map(|operator| operator.name).chain(["not", "ignore_case"]).collect();
    let path = json!({ "pattern": r"^(/.*|[^./][^.]*(\.[^.]+)*)$" });
    let of_the_relay = json!({ "not": { "pattern": r"^relay\.", "not": { "pattern": "^relay\\.(source|received_at|occurred_at|age)$" } } });
    json!({
        "type": "object",
        "description": "Conditions by field, which must all hold.",
        "properties": properties,
        "propertyNames": { "allOf": [path, of_the_relay, { "not": { "enum": misplaced } }] },
        "additionalProperties": test,
    })
}

/// What stands behind a field: a value, a list of values, or operators.
fn test() -> Value {
    let argument = |takes: Takes| match takes {
        Takes::Boolean => json!({ "type": "boolean" }),
        Takes::Value => one_or_more_of(&["string", "number", "boolean", "null"], None),
        Takes::Number => {
            let number = or_interpolated(r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$");
            one_or_more_of(&["string", "number"], Some(&number))
        }
        Takes::Moment => one_or_more_of(
            &["string"],
            Some(&or_interpolated(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}.*)?$")),
        ),
        Takes::Text => one_or_more_of(&["string", "number"], None),
    };
    let mut operators: Map<String, Value> = Map::new();
    for operator in OPERATORS {
        let mut schema = argument(operator.takes);
        schema["description"] = json!(operator.about);
        operators.insert(operator.name.to_owned(), schema);
    }
    let not = json!({ "$ref": "#/$defs/test", "description": "The exact opposite of a value, a list or operators: it holds for a missing field." });
    operators.insert("not".to_owned(), not);
    let mut ignore_case = value(&IGNORE_CASE.info.of);
    ignore_case["description"] = json!(IGNORE_CASE.info.about.text());
    operators.insert(IGNORE_CASE.info.name.to_owned(), ignore_case);
    let with_case = OPERATORS.iter().filter(|operator| operator.has_case);
    let with_case = with_case.map(|operator| operator.name).chain(["not"]);
    let beside: Vec<_> = with_case.map(|name| json!({ "required": [name] })).collect();
    let mut test = one_or_more_of(&["string", "number", "boolean", "null"], None);
    test["type"] = json!(["string", "number", "boolean", "null", "array", "object"]);
    test["properties"] = json!(operators);
    test["additionalProperties"] = json!(false);
    test["minProperties"] = json!(1);
    test["dependentSchemas"] = json!({ "ignore_case": { "anyOf": beside } });
    test
}

/// What stands behind a field that holds a time span.
fn span() -> Value {
    let of_spans = OPERATORS.iter().filter(|operator| operator.of.contains(&Holds::Span));
    let mut operators: Map<String, Value> = of_spans
        .map(|operator| {
            let mut schema = one_or_more_of(&["string"], Some(&or_interpolated(&duration_pattern())));
            schema["description"] = json!(operator.about);
            (operator.name.to_owned(), schema)
        })
        .collect();
    operators.insert("not".to_owned(), json!({ "$ref": "#/$defs/match/properties/relay.age" }));
    json!({ "type": "object", "properties": operators, "additionalProperties": false, "minProperties": 1 })
}

fn one_or_more_of(types: &[&str], pattern: Option<&str>) -> Value {
    let mut one = json!({ "type": types });
    if let Some(pattern) = pattern {
        one["pattern"] = json!(pattern);
    }
    let items = one.clone();
    one["type"] = types.iter().copied().chain(["array"]).collect();
    one["items"] = items;
    one["minItems"] = json!(1);
    one
}

/// What YAML says, as JSON. Numbers that JSON cannot hold become texts; of a key that is given twice the last stays.
pub fn value_of(node: &Node) -> Value {
    match &node.value {
        raw::Value::List(items) => items.iter().map(value_of).collect(),
        raw::Value::Map(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), value_of(node))).collect())
        }
        raw::Value::Scalar(scalar) => match scalar.style {
            Style::Null => Value::Null,
            Style::Bool(value) => json!(value),
            Style::Number => serde_json::from_str(&scalar.text).unwrap_or_else(|_| json!(scalar.text)),
            Style::String | Style::Unresolved => json!(scalar.text),
        },
    }
}
