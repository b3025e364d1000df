//! Names and values that Vero does not use: they match nothing, and below a `not` everything.

use super::shapes;
use crate::config::combinator::combinator;
use crate::event::{FieldPath, Segment, vero};
use crate::rules::operators::{OPERATORS, takes_moments};
use crate::yaml::problem::{Severity, did_you_mean, nearest};
use crate::yaml::raw::{Key, Node, NodeId, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::words::{self, meant_type};

/// Where a match map stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Place {
    /// In a rule.
    Match,
    /// In a destination.
    Urgent,
    /// By itself.
    Alone,
}

/// What is known where a match map stands.
#[derive(Clone)]
struct Around {
    place: Place,
    /// The types that the rule selects by name; `None` where it does not.
    types: Option<Vec<String>>,
    /// It lies below a `none:`.
    is_denied: bool,
}

/// Tells of names and values in a match map that Vero does not use.
pub(in crate::config) fn advise(reader: &Reader, matches: &Node, place: Place) {
    walk(reader, matches, &Around { place, types: None, is_denied: false });
}

fn walk(reader: &Reader, matches: &Node, around: &Around) {
    let own = matches.get("type").and_then(selected).map(|own| match &around.types {
        Some(outer) => own.into_iter().filter(|name| outer.contains(name)).collect(),
        None => own,
    });
    let around = Around { types: own.or_else(|| around.types.clone()), ..*around };
    for (key, node) in matches.entries() {
        match key.text.as_str() {
            "any" | "all" => reader.list(node).into_iter().for_each(|node| walk(reader, node, &around)),
            "none" => {
                let denied = Around { is_denied: true, ..around.clone() };
                reader.list(node).into_iter().for_each(|node| walk(reader, node, &denied));
            }
            _ => advise_of_field(reader, key, node, &around),
        }
    }
}

/// The types that a test on `type` names, if it takes no others.
fn selected(node: &Node) -> Option<Vec<String>> {
    let node = match &node.value {
        Value::Map(entries) if entries.len() == 1 => node.get("equals")?,
        Value::Map(_) => return None,
        _ => node,
    };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().map(|item| item.scalar().map(|scalar| scalar.text.clone())).collect()
}

fn advise_of_field(reader: &Reader, key: &Key, node: &Node, around: &Around) {
    let mut told = std::collections::HashSet::new();
    if !is_operator(&key.text) {
        shapes::advise(reader, &key.text, node, &mut told);
        advise_of_moments(reader, &key.text, node);
    }
    let Ok(path @ FieldPath::Body(_)) = FieldPath::parse(&key.text) else { return };
    let FieldPath::Body(segments) = &path else { return };
    if matches!(segments.first(), Some(Segment::Token(_))) {
        return;
    }
    let path = path.to_string();
    // It has been told of as an error.
    if (key.text.contains([':', '=']) && node.is_null()) || is_operator(&path) || combinator(&key.text, node).is_some()
    {
        return;
    }
    if !vero::sends(&path) {
        match belongs_elsewhere(reader, around.place, &path, node) {
            Some(help) => reader.warning(key.id, not_sent(&path), help),
            None => tell_of_unsent(reader, key.id, &path),
        }
        return;
    }
    if path == "type" {
        return for_each_text(reader, node, false, &mut |item, text, ignores_case| {
            if !told.contains(&item.id) {
                advise_of_type(reader, item, text, ignores_case);
            }
        });
    }
    for (_, known, is_all) in vero::VALUES.iter().filter(|(field, ..)| *field == path) {
        for_each_text(reader, node, false, &mut |item, text, ignores_case| {
            let is_known =
                known.iter().any(|value| *value == text || (ignores_case && value.eq_ignore_ascii_case(text)));
            let near = did_you_mean(text, known.iter().copied());
            if !is_known && !told.contains(&item.id) && (*is_all || near.is_some()) {
                let help = near.unwrap_or_else(|| format!("Vero writes {}", known.join(" or ")));
                reader.warning(item.id, format!("Vero's documentation shows no `{path}` that is `{text}`"), help);
            }
        });
    }
    advise_of_missing(reader, key, node, &path, around);
}

/// Tells of a field that stands by itself and that Vero does not send.
pub(in crate::config) fn advise_of_path(reader: &Reader, at: NodeId, path: &FieldPath) {
    let FieldPath::Body(segments) = path else { return };
    let path = path.to_string();
    if !matches!(segments.first(), Some(Segment::Token(_))) && !vero::sends(&path) {
        tell_of_unsent(reader, at, &path);
    }
}

fn not_sent(path: &str) -> String {
    format!("Vero sends no field `{path}` today")
}

/// What to do about a key of the config that stands among fields.
fn belongs_elsewhere(reader: &Reader, place: Place, key: &str, node: &Node) -> Option<String> {
    let holds_address = |node: &Node| node.scalar().is_some_and(|scalar| scalar.text.contains('@'));
    let is_recipient = match &node.value {
        Value::List(items) => items.iter().any(holds_address),
        Value::Map(_) => true,
        Value::Scalar(_) => holds_address(node),
    };
    let is_of_a_rule = key == "stop" || (key == "to" && !is_recipient);
    match place {
        Place::Match if is_of_a_rule => Some(format!("`{key}` stands in the rule, beside `match`")),
        Place::Urgent if is_of_a_rule => {
            Some(format!("rules say what comes here, and have `{key}`; `urgent` says what of that does not wait"))
        }
        Place::Urgent if vero::meant(key).is_none() => {
            let places = reader.places_of(key);
            let parent = places.iter().find_map(|above| match above.as_slice() {
                ["destinations"] => Some(None),
                ["destinations", parent @ ("digest" | "quiet")] => Some(Some(*parent)),
                _ => None,
            })?;
            Some(match parent {
                Some(parent) => format!("`{key}` stands in `{parent}`, beside `urgent`"),
                None => format!("`{key}` stands in the destination, beside `urgent`"),
            })
        }
        _ => None,
    }
}

fn tell_of_unsent(reader: &Reader, at: NodeId, path: &str) {
    let hyphened = path.replace('_', "-");
    // Two letters are near to any other two: `if` is no `id`.
    let nearest = || nearest(path, vero::FIELDS).filter(|_| path.len() > 2);
    // One letter that is wrong is that, whatever the end of the path means elsewhere: `campain.id`.
    let slipped = || words::slipped(path, vero::FIELDS).filter(|_| path.contains('.'));
    let near = || slipped().or_else(|| vero::meant(path)).or_else(nearest).map(str::to_owned);
    let meant = || if vero::sends(&hyphened) { Some(hyphened) } else { near() };
    let look = || words::oddity(path).or_else(|| meant().map(|field| format!("did you mean `{field}`?")));
    let help = if reader.may_look(Severity::Warning) { look() } else { None };
    reader.warning(at, not_sent(path), help);
}

/// A field that Vero does not send with the types that the rule selects.
fn advise_of_missing(reader: &Reader, key: &Key, node: &Node, path: &str, around: &Around) {
    let Some(types) = &around.types else { return };
    let is_lacking = |name: &&String| vero::TYPES.contains(&name.as_str()) && !vero::shows(name, path);
    let lacking: Vec<_> = types.iter().filter(is_lacking).map(|name| format!("`{name}`")).collect();
    if lacking.is_empty() || asks_for_absence(node) {
        return;
    }
    let help = match (around.is_denied, node.get("not").is_some()) {
        _ if matches!(path, "email" | "id") => &format!("write user.{path}: Vero has it below `user`"),
        (true, _) => "so this leaves no such event out",
        (false, true) => "so the `not` holds for every such event",
        (false, false) if lacking.len() == types.len() => "so this never holds",
        (false, false) => "so this never holds for such an event",
    };
    reader.warning(
        key.id,
        format!("Vero's documentation shows no `{path}` with {}", lacking.join(" and ")),
        help.to_owned(),
    );
}

/// Tells of moments that a field is compared with which never holds one.
fn advise_of_moments(reader: &Reader, field: &str, node: &Node) {
    let is_free = ["event.data", "changes", "user"]
        .iter()
        .any(|start| field == *start || field.starts_with(&format!("{start}.")));
    let is_known =
        field == "relay.source" || (vero::FIELDS.contains(&field) && (!is_free || field.starts_with("user.")));
    if !is_known || field.ends_with("_at") {
        return;
    }
    for (key, below) in node.entries() {
        match key.text.as_str() {
            "not" => advise_of_moments(reader, field, below),
            name if takes_moments(name) => {
                let help = "times are relay.received_at, relay.occurred_at, and what ends with _at".to_owned();
                reader.warning(key.id, format!("`{field}` is never a time"), help);
            }
            _ => {}
        }
    }
}

fn is_operator(text: &str) -> bool {
    matches!(text, "not" | "ignore_case") || OPERATORS.iter().any(|operator| operator.name == text)
}

fn asks_for_absence(node: &Node) -> bool {
    let says = |node: Option<&Node>, text: &str| node.and_then(Node::scalar).is_some_and(|scalar| scalar.text == text);
    let exists_not = says(node.get("exists"), "false");
    let not_exists = says(node.get("not").and_then(|not| not.get("exists")), "true");
    let takes_null = match &node.value {
        Value::List(items) => items.iter().any(Node::is_null),
        _ => node.is_null() || node.get("equals").is_some_and(Node::is_null),
    };
    exists_not || not_exists || takes_null
}

/// Each text that a field is compared with as a whole, and whether case counts.
fn for_each_text(reader: &Reader, node: &Node, ignores_case: bool, tell: &mut dyn FnMut(&Node, &str, bool)) {
    if let Value::Map(entries) = &node.value {
        let ignores_case =
            ignores_case || node.get("ignore_case").and_then(Node::scalar).is_some_and(|case| case.text == "true");
        for (key, below) in entries {
            if matches!(key.text.as_str(), "not" | "equals") {
                for_each_text(reader, below, ignores_case, tell);
            }
        }
        return;
    }
    for item in reader.list(node) {
        if let Some(scalar) = item.scalar().filter(|scalar| scalar.style == Style::String) {
            tell(item, &scalar.text, ignores_case);
        }
    }
}

fn advise_of_type(reader: &Reader, item: &Node, text: &str, ignores_case: bool) {
    let is_known = |name: &str| name == text || (ignores_case && name.eq_ignore_ascii_case(text));
    if !vero::TYPES.iter().any(|name| is_known(name)) {
        let found = if reader.may_look(Severity::Warning) { meant_type(text) } else { None };
        let near = found.map(|near| match text.to_lowercase() {
            lower if lower.contains("hard") => "write type: bounced, and bounce_type: hard beside it".to_owned(),
            lower if lower.contains("soft") => "write type: bounced, and bounce_type: soft beside it".to_owned(),
            _ => format!("did you mean `{near}`?"),
        });
        let help = near.unwrap_or_else(|| format!("Vero has {}", vero::TYPES.join(", ")));
        reader.warning(item.id, format!("Vero has no event type `{text}` today"), help);
    }
}
