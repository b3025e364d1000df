//! An event as templates see it: Vero's odd keys under their usual names, numbers that keep their text, hyphens behind underscores. And a
//! digest: `digest.count` and its like, and the values of its only group where the events have them.

use std::sync::{Arc, LazyLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::digest::{Digest, Group};
use super::notice::Notice;
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
    /// What a delivery tells of: its event, or its digest.
    pub fn new(delivery: &Delivery) -> Self {
        match &delivery.digest {
            Some(digest) => Self::of_digest(digest),
            None => Self::of_event(delivery),
        }
    }

    /// Parses a delivery's body for rendering; of a digest, that of its first event, by which its address is made.
    pub fn of_event(delivery: &Delivery) -> Self {
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

    /// Digests of them, with what they are. Each template of a digest is tried on all of these.
    pub(crate) fn digest_samples() -> &'static [(&'static str, View)] {
        static SAMPLES: LazyLock<Vec<(&'static str, View)>> =
            LazyLock::new(|| Digest::samples().iter().map(|(name, delivery)| (*name, View::new(delivery))).collect());
        &SAMPLES
    }

    fn of_digest(digest: &Digest) -> Self {
        let views: Vec<View> = digest.events.iter().map(View::of_event).collect();
        let events = Json::Array(views.iter().map(|view| view.json.clone()).collect());
        let relay = [
            ("received_at", crate::time::rfc3339(digest.until_ms)),
            ("occurred_at", crate::time::rfc3339(digest.until_ms)),
            ("id", digest.id.clone()),
        ];
        let relay = relay.into_iter().map(|(key, text)| (key.to_owned(), Json::String(text)));
        let mut relay: Vec<_> = relay.collect();
        let mut own = Vec::new();
        if let [only] = digest.groups.as_slice() {
            for (path, value) in only.values.iter().filter(|(_, value)| !value.is_empty()) {
                match path.strip_prefix("relay.") {
                    Some(field) => insert(&mut relay, field, value),
                    None => insert(&mut own, path, value),
                }
            }
        }
        own.retain(|(key, _)| key != DIGEST);
        own.push((DIGEST.to_owned(), told(digest, events)));
        let [json, relay] = [own, relay].map(Json::Object);
        let mut root = Members::of(&json);
        // In a loop an event has all that it has elsewhere.
        if let Some((_, value)) = root.members.iter_mut().find(|(key, _)| key == DIGEST) {
            let mut members = Members::of(json.member(DIGEST).unwrap_or(&Json::Null));
            if let Some((_, events)) = members.members.iter_mut().find(|(key, _)| key == "events") {
                *events = views.iter().map(|view| Value::from_dyn_object(view.root.clone())).collect();
            }
            *value = Value::from_object(members);
        }
        root.hidden.push(("relay".to_owned(), Value::from_object(Members::of(&relay))));
        Self { json, relay, occurred_ms: digest.until_ms, root: Arc::new(root) }
    }

    /// What an operator is told: `notice.title`, `notice.text` and what else it has as JSON.
    pub(super) fn of_notice(notice: &Notice) -> Self {
        Self::build(&notice.for_templates().to_string(), notice.at_ms, ["", &notice.id, ""])
    }

    /// An example of that, on which its templates are tried.
    pub(crate) fn notice_sample() -> &'static View {
        static SAMPLE: LazyLock<View> = LazyLock::new(|| View::of_notice(&super::notice::sample()));
        &SAMPLE
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
        let occurred_s = ("occurred_s".to_owned(), Json::Number((occurred_ms / 1000).to_string()));
        let relay = Json::Object(relay.chain([occurred_s]).collect());
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

/// The key that a digest stands under.
pub const DIGEST: &str = "digest";
/// What stands below it.
pub const DIGEST_FIELDS: [&str; 7] = ["count", "since", "until", "groups", "events", "left_out", "page"];
/// What templates read below `relay` of an event.
pub const RELAY_FIELDS: [&str; 6] = ["source", "received_at", "occurred_at", "occurred_s", "id", "rule"];
/// The same of a digest.
pub const DIGEST_RELAY_FIELDS: [&str; 3] = ["id", "received_at", "occurred_at"];
/// What stands in each of its groups, beside the values that it was gathered by.
pub const GROUP_FIELDS: [&str; 6] = ["name", "count", "since", "until", "parts", "other_parts"];

/// What is told of a digest.
fn told(digest: &Digest, events: Json) -> Json {
    let moment = |ms: u64| Json::String(crate::time::rfc3339(ms));
    let number = |number: u64| Json::Number(number.to_string());
    let object = |members: Vec<(&str, Json)>| members.into_iter().map(|(key, json)| (key.to_owned(), json)).collect();
    let part = |(value, count): &(String, u64)| {
        Json::Object(object(vec![("value", Json::String(value.clone())), ("count", number(*count))]))
    };
    let group = |group: &Group| {
        let mut values = Vec::new();
        group.values.iter().for_each(|(path, value)| insert(&mut values, path, value));
        values.retain(|(key, _)| !GROUP_FIELDS.contains(&key.as_str()));
        values.extend(object(vec![
            ("name", Json::String(group.name())),
            ("count", number(group.count)),
            ("since", moment(group.since)),
            ("until", moment(group.until)),
            ("parts", Json::Array(group.parts.iter().map(part).collect())),
            ("other_parts", number(group.other_parts)),
        ]));
        Json::Object(values)
    };
    Json::Object(object(vec![
        ("count", number(digest.count)),
        ("since", moment(digest.since_ms)),
        ("until", moment(digest.until_ms)),
        ("groups", Json::Array(digest.groups.iter().map(group).collect())),
        ("events", events),
        ("left_out", number(digest.left_out)),
        ("page", digest.page.clone().map_or(Json::Null, Json::String)),
    ]))
}

/// Puts a text where a path leads. What stands in its way stays, and it is left out.
fn insert(members: &mut Vec<(String, Json)>, path: &str, value: &str) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let at = members.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        let empty = if rest.is_some() { Json::Object(Vec::new()) } else { Json::String(value.to_owned()) };
        members.push((key.to_owned(), empty));
        members.len() - 1
    });
    if let (Some(rest), Json::Object(below)) = (rest, &mut members[at].1) {
        insert(below, rest, value);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The rows of the reference: names of fields, and the type of what stands there.
    fn documented() -> Vec<(&'static str, &'static str)> {
        let reference = include_str!("../config/schema/reference.md");
        let table = reference.split("| In a digest |").nth(1).expect("the table of a digest's fields");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').map(str::trim).skip(1).take(2).collect::<Vec<_>>());
        let rows = cells
            .flat_map(|cells| cells[0].split(", ").map(|name| (name.trim_matches('`'), cells[1])).collect::<Vec<_>>());
        rows.collect()
    }

    #[test]
    fn the_reference_has_each_field_of_a_digest_with_its_type_and_no_other() {
        let of = |name: &'static str, fields: &[&str]| -> Vec<String> {
            fields.iter().map(|field| format!("{name}.{field}")).collect()
        };
        let fields =
            [of("digest", &DIGEST_FIELDS), of("group", &GROUP_FIELDS), of("relay", &DIGEST_RELAY_FIELDS)].concat();
        let documented = documented();
        let names: BTreeSet<String> = documented.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, fields.into_iter().collect());
        let (_, view) = &View::digest_samples()[0];
        let Some(Json::Array(groups)) = view.find("digest.groups") else { panic!("a digest has groups") };
        for (name, documented) in documented {
            let found = match name.strip_prefix("group.") {
                Some(field) => groups[0].member(field).cloned(),
                None => view.find(name),
            };
            let kind = match found {
                Some(Json::Number(_)) => "number",
                Some(Json::String(_)) => "text",
                Some(Json::Array(_)) => "list",
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(kind, documented, "{name}");
        }
    }
}
