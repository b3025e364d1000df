//! An event as templates see it: Vero's odd keys under their usual names, numbers that keep their text, hyphens behind underscores.

use std::sync::{Arc, LazyLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::{Delivery, number};
use crate::event::{Json, vero};

/// How a formatter asks for the most characters one value may put in.
pub(super) const VALUE_CHARACTERS_MAX: &str = "\u{0}value characters";

/// An event as templates see it.
pub struct View {
    json: Json,
    relay: Json,
    occurred_ms: u64,
    root: Arc<Members>,
}

impl View {
    /// Parses a delivery's body for rendering.
    pub fn new(delivery: &Delivery) -> Self {
        // Bodies were checked when they arrived, and their CRC when they were read back.
        let body = std::str::from_utf8(&delivery.event.body).unwrap_or("{}");
        let id = delivery.event.id.to_string();
        Self::build(body, delivery.event.received_ms, [&delivery.source, &id, &delivery.rule])
    }

    /// Vero's samples, in their order, as if they had come in. Each template of a config is tried on all of them.
    pub(crate) fn samples() -> &'static [View] {
        static SAMPLES: LazyLock<Vec<View>> =
            LazyLock::new(|| vero::SAMPLES.iter().map(|(_, body)| View::of_sample(body)).collect());
        &SAMPLES
    }

    fn of_sample(body: &str) -> Self {
        Self::build(body, 1_435_016_238_000, ["vero", "01a2091f-1b49-768a-8000-000000000000", "everything"])
    }

    fn build(body: &str, received_ms: u64, [source, id, rule]: [&str; 3]) -> Self {
        let json = Json::read(body);
        let event_type = json.event_type();
        let occurred_ms = crate::event::occurred_ms(body, event_type).unwrap_or(received_ms);
        let relay = [
            ("source", source.to_owned()),
            ("received_at", crate::time::rfc3339(received_ms)),
            ("occurred_at", crate::time::rfc3339(occurred_ms)),
            ("id", id.to_owned()),
            ("rule", rule.to_owned()),
        ];
        let relay = relay.into_iter().map(|(key, text)| (key.to_owned(), Json::String(text)));
        let relay = Json::Object(relay.collect());
        let mut root = Members::of(&json);
        root.hidden.push(("type".to_owned(), Value::from(event_type)));
        root.hidden.push(("relay".to_owned(), Value::from_object(Members::of(&relay))));
        root.add_aliases(&json);
        Self { json, relay, occurred_ms, root: Arc::new(root) }
    }

    /// When it happened, unix milliseconds.
    pub(super) fn occurred_ms(&self) -> u64 {
        self.occurred_ms
    }

    /// The event as a template's outermost object. `value_characters_max` is found by the formatter, which cuts each value to it.
    pub(super) fn root(&self, value_characters_max: Option<usize>) -> Value {
        Value::from_object(Root { members: self.root.clone(), value_characters_max })
    }

    /// The value at a dotted path, with its JSON type; `None` when it is missing. Finds what templates find.
    pub fn find(&self, path: &str) -> Option<Json> {
        if let Some(name) = path.strip_prefix("relay.") {
            return self.relay.member(name).cloned();
        }
        if path == "type" {
            return Some(Json::String(self.json.event_type().to_owned()));
        }
        let is_there = |json: &&Json| **json != Json::Null;
        let direct = walk(&self.json, path).filter(is_there);
        let aliased = || {
            let alias = vero::alias(path)?;
            let is_blocked = alias.unless.is_some_and(|unless| walk(&self.json, unless).filter(is_there).is_some());
            if is_blocked { None } else { walk(&self.json, alias.other).filter(is_there) }
        };
        direct.or_else(aliased).cloned()
    }
}

fn walk<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    path.split('.').try_fold(json, |at, key| {
        let Json::Object(members) = at else { return None };
        at.member(key).or_else(|| members.iter().find(|(known, _)| is_same_name(known, key)).map(|(_, value)| value))
    })
}

/// In templates a hyphen is a minus, so an underscore stands for either.
fn is_same_name(known: &str, wanted: &str) -> bool {
    known.len() == wanted.len() && known.bytes().zip(wanted.bytes()).all(|(k, w)| k == w || (k == b'-' && w == b'_'))
}

/// The members of an object, for minijinja. Hidden ones are found but not listed.
#[derive(Debug)]
struct Members {
    members: Vec<(String, Value)>,
    hidden: Vec<(String, Value)>,
}

impl Members {
    fn of(json: &Json) -> Self {
        Self::within(json, None)
    }

    fn within(json: &Json, is_exact: Option<bool>) -> Self {
        let value_of = |(key, value): &(String, Json)| (key.clone(), to_value_within(value, is_exact));
        let members = match json {
            Json::Object(members) => members.iter().map(value_of).collect(),
            _ => Vec::new(),
        };
        Self { members, hidden: Vec::new() }
    }

    /// Puts Vero's odd keys where their usual names are looked for.
    fn add_aliases(&mut self, json: &Json) {
        let is_there = |json: &&Json| **json != Json::Null;
        for alias in &vero::ALIASES {
            let is_blocked = alias.unless.is_some_and(|unless| walk(json, unless).filter(is_there).is_some());
            let is_direct = walk(json, alias.path).filter(is_there).is_some();
            let Some(value) = walk(json, alias.other).filter(is_there) else { continue };
            if is_blocked || is_direct {
                continue;
            }
            let value = to_value(value);
            match alias.path.split_once('.') {
                None => self.hidden.push((alias.path.to_owned(), value)),
                Some((parent, key)) => self.add_to_child(json.member(parent), parent, key, value),
            }
        }
    }

    fn add_to_child(&mut self, child: Option<&Json>, parent: &str, key: &str, value: Value) {
        let hidden = (key.to_owned(), value);
        if let Some((_, known)) = self.hidden.iter_mut().find(|(name, _)| name == parent)
            && let Some(members) = known.downcast_object_ref::<Members>()
        {
            let mut members = Members { members: members.members.clone(), hidden: members.hidden.clone() };
            members.hidden.push(hidden);
            *known = Value::from_object(members);
            return;
        }
        let mut members = child.map_or(Members { members: Vec::new(), hidden: Vec::new() }, Members::of);
        members.hidden.push(hidden);
        self.hidden.push((parent.to_owned(), Value::from_object(members)));
    }

    fn get(&self, key: &str) -> Option<Value> {
        let find = |list: &[(String, Value)], key: &str| {
            list.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
        };
        let alike = || self.members.iter().find(|(known, _)| is_same_name(known, key)).map(|(_, value)| value.clone());
        find(&self.hidden, key).or_else(|| find(&self.members, key)).or_else(alike)
    }
}

impl Object for Members {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.members.iter().map(|(key, _)| Value::from(key.as_str())).collect())
    }
}

/// The outermost object: the event's members, and the cap for the formatter.
#[derive(Debug)]
struct Root {
    members: Arc<Members>,
    value_characters_max: Option<usize>,
}

impl Object for Root {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            VALUE_CHARACTERS_MAX => self.value_characters_max.map(Value::from),
            key => self.members.get(key),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.members.enumerate()
    }
}

/// Numbers keep their digits; those of one list are all of one sort, so that they compare.
fn to_value(json: &Json) -> Value {
    to_value_within(json, None)
}

/// `is_exact` says for a list, and all that is in it, whether its numbers need [`number::Digits`].
fn to_value_within(json: &Json, is_exact: Option<bool>) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let is_exact = is_exact.unwrap_or_else(|| number::has_digits(json));
            Value::from(items.iter().map(|item| to_value_within(item, Some(is_exact))).collect::<Vec<_>>())
        }
        Json::Object(_) => Value::from_object(Members::within(json, is_exact)),
        Json::Number(text) if is_exact == Some(true) => number::of_json_among_digits(text),
        Json::Number(text) => number::of_json(text),
    }
}
