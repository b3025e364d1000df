//! `rules:` → [`RuleSet`]. `once`: `once_per` of a rule.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use serde_json::json;

use super::advice::fields::Place;
use super::advice::templates::Sent;
use super::combinator::combinator;
use super::names::Names;
use super::{advice, expression, meant};
use crate::destination::timezone;
use crate::event::{FieldId, FieldPath, FieldSetBuilder, RelayField};
use crate::rules::operators::{
    Argument, Edge, Holds, OPERATORS, OperatorKind, PATTERN_BYTES_MIN, PATTERNS_BYTES_MAX, Setting, equals_any,
    pattern_bytes, takes_moments,
};
use crate::rules::{Condition, Label, Rule, RuleSet, are_apart};
use crate::units::shown_size;
use crate::yaml::keys::{Defaulted, Info, Key, Of, Section, boolean, by_hand, form, key, text};
use crate::yaml::problem::{Severity, did_you_mean};
use crate::yaml::raw::{Node, NodeId, Scalar, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::words;

mod once;

/// What a destination gets, as a field for those who test it.
pub(super) const CONTENT_FIELD: &str = "content";
/// The store keeps names up to a kilobyte; people read far shorter ones.
pub(super) const NAME_BYTES_MAX: usize = 200;

const NAME: Key<String> = key("name", form("^(.|\\n){1,200}$", "text"))
    .seen(Sight::All).about("What the rule is called in `explain`, logs and pages; no two alike. At most 200 bytes, since the store keeps it.")
    .example("trouble with receipts")
    .otherwise("`rule 1`, `rule 2` …");
const MATCH: Key<()> = key("match", by_hand(Of::Own("match map", || json!({ "$ref": "#/$defs/match" }))))
    .seen(Sight::All)
    .about("Conditions that must all hold, see [Match maps](#match-maps).")
    .example("{ type: [bounced, complained], campaign.type: transactional }")
    .otherwise("every event");
const TO: Key<()> = key("to", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The destinations. `[]` is allowed only with `stop: true`: it silences what the rule matches.")
    .example("[alerts, archive]")
    .required();
const STOP: Defaulted<bool> =
    key("stop", boolean()).about("When this rule matches, no later one is tried.").example("true").default(false);
const TIMEZONE: Key<String> = key("timezone", text())
    .seen(Sight::All)
    .about("Where dates and times in `match` are meant that do not say: see [Times](#times). A name of the system's database of time zones.")
    .example("Europe/Berlin")
    .otherwise("UTC");
const KEYS: [Info; 6] = [NAME.info, MATCH.info, TO.info, STOP.info, TIMEZONE.info, once::ONCE_PER.info];

/// Stands among operators, and belongs to those beside it.
pub(super) const IGNORE_CASE: Key<bool> = key("ignore_case", boolean())
    .about("Capital and small letters are alike to the operators beside it.")
    .example("true");

/// The keys of a rule.
pub(super) fn keys() -> Section {
    // `to: []` is allowed only with `stop: true`.
    Section::of(&KEYS).besides(json!({
        "if": { "required": ["to"], "properties": { "to": { "type": "array", "maxItems": 0 } } },
        "then": { "required": ["stop"], "properties": { "stop": { "not": { "enum": [false, "false"] } } } },
    }))
}

/// Reads all rules, and what they may send where. `destinations` are the names that `to:` may use; each that is used is marked.
/// With `dedupe` they also tell one event from another.
pub(super) fn read(reader: &Reader, node: &Node, destinations: &mut Names, dedupe: bool) -> Option<(RuleSet, Sent)> {
    let mut fields = FieldSetBuilder::default();
    if dedupe {
        fields.add_identity();
    }
    let mut names: HashSet<String> = HashSet::new();
    let mut rules = Vec::new();
    let Value::List(items) = &node.value else {
        let help = "each rule begins with `-`: - { name: everything, to: [archive] }".to_owned();
        reader.error_with(node.id, format!("`rules` should be a list, and it is {}", node.kind()), help);
        return None;
    };
    let mut is_complete = true;
    let errors_before = reader.errors();
    let mut parts_until = 0;
    for (at, item) in items.iter().enumerate() {
        if at < parts_until {
            continue;
        }
        if let Some(last) = split_rule(&items[at..]) {
            let message = "a `-` begins a rule of its own here, and the rule above it has no `to`";
            reader.error_with(
                items[at + 1].id,
                message,
                "take the `-` away, and indent the line as the one above it".to_owned(),
            );
            (parts_until, is_complete) = (at + last + 1, false);
            continue;
        }
        match read_rule(reader, item, at, destinations, &mut fields) {
            Some((rule, name_at)) => {
                if !names.insert(rule.name.clone()) {
                    let help = "give one of them another name: logs and metrics tell rules by their names".to_owned();
                    reader.error_with(name_at, format!("there are two rules named `{}`", rule.name), help);
                }
                rules.push(rule);
            }
            None => is_complete = false,
        }
    }
    // After an error it cannot be said what was meant.
    if reader.errors() == errors_before && !reader.would_tell(node) {
        advice::rules::advise(reader, node, items, &rules, &mut fields);
    }
    let type_field = FieldPath::parse("type").map(|path| fields.add(&path)).ok();
    let sent = Sent::of(&rules, &fields, type_field);
    is_complete.then(|| (RuleSet::new(fields.build(), rules), sent))
}

/// `- name: a`, `- match: …`, `- to: b`: one rule in several items. The place of the one that has the `to`.
fn split_rule(items: &[Node]) -> Option<usize> {
    let mut seen: Vec<&str> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let keys: Vec<_> = item.entries().iter().map(|(key, _)| key.text.as_str()).collect();
        let are_of_a_rule = keys.iter().all(|name| KEYS.iter().any(|key| key.name == *name));
        if keys.is_empty() || !are_of_a_rule || keys.iter().any(|key| seen.contains(key)) {
            return None;
        }
        if keys.contains(&TO.info.name) {
            return (at > 0).then_some(at);
        }
        seen.extend(keys);
    }
    None
}

fn read_rule(
    reader: &Reader,
    node: &Node,
    at: usize,
    destinations: &mut Names,
    fields: &mut FieldSetBuilder,
) -> Option<(Rule, NodeId)> {
    let mut entries = reader.map(node, "a rule")?;
    let name = entries.node(&NAME.info);
    let matches = entries.node(&MATCH.info);
    let to = entries.node(&TO.info);
    let stop = entries.node(&STOP.info).map_or(Some(STOP.default), |node| reader.boolean(node));
    let zone = entries.node(&TIMEZONE.info);
    let once = entries.node(&once::ONCE_PER.info);
    entries.finish();
    let once = match once {
        // Where it is wrong, that has been told, and the rule is none.
        Some(node) => once::read(reader, node, fields).map(Some),
        None => Some(None),
    };
    let zone = read_zone(reader, zone, matches);
    if let Some(nothing) = node.get(MATCH.info.name).filter(|node| node.is_null()) {
        let help = "write its conditions below it; or take `match` out, if every event is wanted".to_owned();
        reader.warning(nothing.id, "`match` has nothing behind it, so this rule takes every event", help);
    }
    let condition = match matches {
        Some(node) => {
            advice::fields::advise(reader, node, Place::Match);
            zone.and_then(|zone| read_match(reader, node, fields, &zone))
        }
        None => Some(Condition::All(Vec::new())),
    };
    let (name, name_at) = match name {
        Some(node) => (reader.text(node)?.to_owned(), node.id),
        None => (format!("rule {}", at + 1), node.id),
    };
    if name_at == node.id && once.as_ref().is_some_and(Option::is_some) {
        let help = "write name: …, and keep it when rules come or go above it".to_owned();
        reader.error_with(node.id, "a rule with `once_per` needs a `name`: by it is known what it let through", help);
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let help = "write a short name, or leave `name` out".to_owned();
        reader.error_with(name_at, format!("a rule's name has from 1 to {NAME_BYTES_MAX} bytes"), help);
    }
    let to = to?;
    let stop = stop?;
    let targets = read_to(reader, to, destinations);
    if targets.is_empty() && reader.list(to).is_empty() && !stop {
        reader.error_with(
            to.id,
            "this rule sends nowhere",
            "name a destination, or add `stop: true` to silence what it matches".to_owned(),
        );
        return None;
    }
    Some((Rule { name, condition: condition?, to: targets, stop, once: once? }, name_at))
}

/// The time zone of a rule; `None` where there is no such.
fn read_zone(reader: &Reader, node: Option<&Node>, matches: Option<&Node>) -> Option<TimeZone> {
    let Some(node) = node else { return Some(TimeZone::UTC) };
    let name = reader.text(node)?;
    let zone = timezone::find(name).map_err(|fault| reader.fault(node.id, fault)).ok()?;
    if !matches.is_some_and(names_a_moment) {
        let help = "take it out: `after` and `before` go by it, and nothing else".to_owned();
        reader.warning(node.id, "nothing in this rule goes by a time zone", help);
    }
    Some(zone)
}

/// Whether a match compares with a moment somewhere.
fn names_a_moment(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().any(|(key, below)| takes_moments(&key.text) || names_a_moment(below)),
        Value::List(items) => items.iter().any(names_a_moment),
        Value::Scalar(_) => false,
    }
}

fn read_to(reader: &Reader, node: &Node, destinations: &mut Names) -> Vec<usize> {
    let mut targets = Vec::new();
    let mut seen = HashSet::new();
    for item in reader.list(node) {
        if item.scalar().is_none() && !names_below(item).is_empty() {
            let message = format!("this should be a text, and it is {}", item.kind());
            let names: Vec<_> = reader.list(node).into_iter().flat_map(names_below).collect();
            reader.error_with(item.id, message, format!("write to: [{}]", names.join(", ")));
            continue;
        }
        let Some(name) = reader.text(item) else { continue };
        let Some(at) = find_destination(reader, item.id, name, destinations) else { continue };
        destinations.mark(at);
        if seen.insert(at) {
            targets.push(at);
        } else {
            reader.warning(item.id, format!("`{name}` is named twice in one rule"), None);
        }
    }
    targets
}

/// The names in `{ alerts }`, `{ alerts: true }` and `[alerts]`.
pub(super) fn names_below(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, _)| key.text.as_str()).collect(),
        Value::List(items) => items.iter().flat_map(names_below).collect(),
        Value::Scalar(scalar) => vec![scalar.text.as_str()],
    }
}

/// Names that are listed where none is near.
const LISTED_MAX: usize = 20;

/// The place of a destination among the known ones; that there is none is told.
pub(super) fn find_destination(reader: &Reader, at: NodeId, name: &str, known: &Names) -> Option<usize> {
    let found = known.find(name);
    if found.is_none() && reader.is_full() {
        reader.error(at, "there is no such destination");
    } else if found.is_none() {
        let all = || match known.listed(LISTED_MAX) {
            None => "there are no destinations".to_owned(),
            Some(names) => format!("the destinations are {names}"),
        };
        let near = || did_you_mean(name.trim(), known.iter());
        let may_look = reader.may_look(Severity::Error);
        let look =
            || meant::destinations(name, known).or_else(|| words::oddity(name)).or_else(near).unwrap_or_else(all);
        let help = may_look.then(look);
        reader.error_with(at, format!("there is no destination named `{name}`"), help);
    }
    found
}

/// A map of conditions that must all hold.
fn read_match(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder, zone: &TimeZone) -> Option<Condition> {
    let mut entries = reader.map(node, "`match`")?;
    let mut conditions = Vec::new();
    let mut is_complete = true;
    for (key, value) in entries.rest() {
        let condition = match key.text.as_str() {
            "any" => read_matches(reader, "any", value, fields, zone).map(Condition::Any),
            "all" => read_matches(reader, "all", value, fields, zone).map(Condition::All),
            "none" => read_matches(reader, "none", value, fields, zone).map(Condition::None),
            text => match combinator(text, value) {
                Some(ours) => {
                    let help = format!("`{text}` is written `{ours}:`");
                    reader.error_with(key.id, format!("there is no `{text}`"), help);
                    None
                }
                None => read_field_path(reader, key.id, text, value).and_then(|path| {
                    let field = fields.add(&path);
                    let holds = if path == AGE { Holds::Span } else { Holds::Anything };
                    read_test(reader, value, &Field { id: field, path: text, holds, zone, parts: &[] })
                }),
            },
        };
        match condition {
            Some(condition) => conditions.push(condition),
            None => is_complete = false,
        }
    }
    is_complete.then_some(Condition::All(conditions))
}

/// Reads a match map that stands by itself, as a set of one rule.
pub(super) fn read_single(reader: &Reader, node: &Node) -> Option<RuleSet> {
    if !matches!(&node.value, Value::Map(entries) if !entries.is_empty()) {
        let help = reader.form_of_map("`match`", node);
        reader.error_with(node.id, "a match map looks like {type: bounced, campaign.name: {glob: \"Cart*\"}}", help);
        return None;
    }
    let mut fields = FieldSetBuilder::default();
    let condition = read_condition(reader, node, &mut fields, Place::Alone)?;
    let rule = Rule { name: "match".to_owned(), condition, to: Vec::new(), stop: false, once: None };
    Some(RuleSet::new(fields.build(), vec![rule]))
}

/// Reads a match map that stands by itself, for fields that others read as well.
pub(super) fn read_condition(
    reader: &Reader,
    node: &Node,
    fields: &mut FieldSetBuilder,
    place: Place,
) -> Option<Condition> {
    advice::fields::advise(reader, node, place);
    read_match(reader, node, fields, &TimeZone::UTC)
}

/// Reads what a test expects of a content, as a set of one rule: operators as they stand below a field of a rule. `parts` might stand in
/// their place.
pub(super) fn read_content(reader: &Reader, node: &Node, parts: &[&'static str]) -> Option<RuleSet> {
    if node.is_null() {
        let help = "write { contains: Receipt }, or another operator";
        let or_parts = if parts.is_empty() { String::new() } else { format!("; or parts: {}", parts.join(", ")) };
        reader.error_with(node.id, "this should say what is expected", format!("{help}{or_parts}"));
        return None;
    }
    let mut fields = FieldSetBuilder::default();
    let path = FieldPath::parse(CONTENT_FIELD).expect("a word is a path");
    let (holds, zone) = (Holds::Anything, &TimeZone::UTC);
    let field = Field { id: fields.add(&path), path: CONTENT_FIELD, holds, zone, parts };
    let condition = read_test(reader, node, &field)?;
    let rule = Rule { name: CONTENT_FIELD.to_owned(), condition, to: Vec::new(), stop: false, once: None };
    Some(RuleSet::new(fields.build(), vec![rule]))
}

fn read_matches(
    reader: &Reader,
    name: &str,
    node: &Node,
    fields: &mut FieldSetBuilder,
    zone: &TimeZone,
) -> Option<Vec<Condition>> {
    let Value::List(items) = &node.value else {
        let help = match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                let maps: Vec<_> = entries.iter().map(|(key, _)| format!("{{ {}: … }}", key.text)).collect();
                format!("each match map begins with `-`, or stands in a list: [{}]", maps.join(", "))
            }
            _ => "write a list of match maps: [{ type: bounced }, { type: failed }]".to_owned(),
        };
        let message = format!("this should be a list of match maps, and it is {}", node.kind());
        reader.error_with(node.id, message, help);
        return None;
    };
    if items.is_empty() {
        let help = "write match maps into it, or take the key out".to_owned();
        reader.error_with(node.id, "this list of match maps is empty", help);
        return None;
    }
    if let Some(types) = meant::types(name, items).filter(|_| items.iter().all(|item| item.scalar().is_some())) {
        let message = "this is a list of match maps, and it holds types of events";
        reader.error_with(node.id, message, format!("write {types}"));
        return None;
    }
    let read = |item: &Node| {
        if item.is_null() || matches!(&item.value, Value::Map(entries) if entries.is_empty()) {
            let help = "write a condition, like { type: bounced }, or take it out of the list".to_owned();
            reader.error_with(item.id, "this match map is empty, so it would hold for every event", help);
            return None;
        }
        read_match(reader, item, fields, zone)
    };
    let conditions: Vec<_> = items.iter().map(read).collect();
    conditions.into_iter().collect()
}

fn read_field_path(reader: &Reader, at: NodeId, text: &str, value: &Node) -> Option<FieldPath> {
    if let Some((field, behind)) = text.split_once(':').filter(|(_, behind)| value.is_null() && !behind.is_empty()) {
        let help = format!("write a space after the colon: {field}: {behind}");
        reader.error_with(at, format!("`{text}` is a key with nothing behind it"), help);
        return None;
    }
    if let Some(map) = expression::match_map(text).filter(|_| value.is_null()) {
        let form = map.trim_start_matches("{ ").trim_end_matches(" }");
        reader.error_with(at, format!("`{text}` is a key with nothing behind it"), format!("write {form}"));
        return None;
    }
    if text == "not" {
        let help = "`none:` takes a list of match maps; `not` goes below a field: type: { not: sent }".to_owned();
        reader.error_with(at, "`not` stands below a field, not in its place", help);
        return None;
    }
    if text == IGNORE_CASE.info.name || OPERATORS.iter().any(|operator| operator.name == text) {
        let help = format!("write campaign.name: {{ {text}: … }}; a field that is really called so is /{text}");
        reader.error_with(at, format!("`{text}` stands below a field, not in its place"), help);
        return None;
    }
    match FieldPath::parse(text) {
        Ok(FieldPath::Relay(RelayField::Id | RelayField::Rule)) => {
            reader.error_with(
                at,
                format!("`{text}` is not known yet when rules are matched"),
                format!("templates can use it; {OF_THE_RELAY}"),
            );
            None
        }
        Ok(path) => Some(path),
        Err(error) => {
            let near = text.strip_prefix("relay.").and_then(|name| {
                did_you_mean(name, ["source", "received_at", "occurred_at", "age"])
                    .map(|help| help.replace('`', "").replace("mean ", "mean relay."))
            });
            let steps: Vec<_> = text.split('.').filter(|step| !step.is_empty()).collect();
            let help = near.unwrap_or_else(|| match steps.as_slice() {
                [] => "write a field like campaign.name".to_owned(),
                _ if text.starts_with("relay.") => OF_THE_RELAY.to_owned(),
                steps => format!("write {}", steps.join(".")),
            });
            reader.error_with(at, error.to_string(), help);
            None
        }
    }
}

/// What rules can ask of the relay's own.
const OF_THE_RELAY: &str = "rules can use relay.source, relay.received_at, relay.occurred_at and relay.age";
/// The one field that holds a time span.
const AGE: FieldPath = FieldPath::Relay(RelayField::Age);

struct Field<'a> {
    id: FieldId,
    path: &'a str,
    holds: Holds,
    /// Where dates and times are meant that do not say.
    zone: &'a TimeZone,
    /// What could stand here in the place of operators.
    parts: &'a [&'static str],
}

/// What stands behind a field: a value, a list of values, or a map of operators.
fn read_test(reader: &Reader, node: &Node, field: &Field<'_>) -> Option<Condition> {
    match &node.value {
        Value::Map(_) => read_operators(reader, node, field),
        _ => read_equals(reader, node, field, false, "equals"),
    }
}

fn read_operators(reader: &Reader, node: &Node, field: &Field<'_>) -> Option<Condition> {
    let mut entries = reader.map(node, "a map of operators")?;
    let ignore_case = entries.node(&IGNORE_CASE.info);
    let wants_no_case = ignore_case.map_or(Some(false), |node| reader.boolean(node))?;
    let mut conditions = Vec::new();
    let mut is_complete = true;
    let mut has_case = false;
    let rest = entries.rest();
    if rest.is_empty() {
        reader.error_with(node.id, "there is no operator here", meant::operators(field.parts));
        return None;
    }
    if let Some(values) = meant::values(&rest) {
        let help = format!("write {}: {values}", field.path);
        reader.error_with(node.id, "operators stand in a map, and this one holds values", help);
        return None;
    }
    for (key, value) in rest {
        let condition = match key.text.as_str() {
            "not" => {
                // Passed on, so that `{not: {glob: x}, ignore_case: true}` means what it says.
                has_case = true;
                read_not(reader, value, field, wants_no_case)
            }
            "equals" => {
                has_case = true;
                read_equals(reader, value, field, wants_no_case, "equals")
            }
            name => match OPERATORS.iter().find(|operator| operator.name == name) {
                Some(operator) if !operator.of.contains(&field.holds) => {
                    tell_of_span(reader, key.id, field);
                    None
                }
                Some(operator) => {
                    has_case |= operator.has_case;
                    read_operator(reader, value, field, operator, wants_no_case)
                }
                None if field.holds == Holds::Span => {
                    reader.error_with(key.id, format!("there is no operator `{name}`"), of_spans(field));
                    None
                }
                None => {
                    let what = if field.parts.is_empty() { "no operator" } else { "neither a part nor an operator" };
                    let help = reader.may_look(Severity::Error).then(|| match meant::part(name, field.parts) {
                        Some(part) => format!("did you mean `{part}`?"),
                        None if !field.parts.is_empty() && meant::is_key_of_a_kind(name) => {
                            meant::operators(field.parts)
                        }
                        None => meant::operator(field.path, name, value, node)
                            .unwrap_or_else(|| meant::operators(field.parts)),
                    });
                    reader.error_with(key.id, format!("there is {what} `{name}`"), help);
                    None
                }
            },
        };
        match condition {
            Some(condition) => conditions.push(condition),
            None => is_complete = false,
        }
    }
    if let (Some(node), false, true) = (ignore_case, has_case, is_complete) {
        let help = "take it out: case counts only where texts are compared".to_owned();
        reader.error_with(node.id, "`ignore_case` means nothing to the operators beside it", help);
        return None;
    }
    if let Some([after, before]) = moments_apart(&conditions) {
        let message = format!("no time is {after} and {before}: nothing could match");
        reader.error_with(node.id, message, "`after` takes the earlier of two times".to_owned());
        return None;
    }
    is_complete.then(|| if conditions.len() == 1 { conditions.remove(0) } else { Condition::All(conditions) })
}

/// What is said of a time span that is compared by its text.
fn tell_of_span(reader: &Reader, at: NodeId, field: &Field<'_>) {
    let message = format!("`{}` is a time span, which is longer or shorter than another", field.path);
    reader.error_with(at, message, of_spans(field));
}

/// How a time span is compared.
fn of_spans(field: &Field<'_>) -> String {
    let names = OPERATORS.iter().filter(|operator| operator.of.contains(&Holds::Span)).map(|operator| operator.name);
    let names = names.collect::<Vec<_>>().join(", ");
    format!("write {0}: {{ lt: 1h }} or {0}: {{ gte: 2d }}; the operators are {names} and not", field.path)
}

/// Two tests of which one wants no moment but later ones than the other, as they are written.
fn moments_apart(conditions: &[Condition]) -> Option<[String; 2]> {
    let moments = || {
        conditions.iter().filter_map(|condition| match condition {
            Condition::Test { operator, label, .. } => {
                let is_moment = matches!(operator.bound()?.edge, Edge::Moment(_));
                is_moment.then_some((operator.as_ref(), label))
            }
            _ => None,
        })
    };
    let apart = |(lower, of_lower): (_, &Label)| {
        let (_, of_upper) = moments().find(|(upper, _)| are_apart(lower, *upper))?;
        Some([of_lower, of_upper].map(|label| label.expected.trim_matches(['{', '}', ' ']).to_owned()))
    };
    moments().find_map(apart)
}

fn read_not(reader: &Reader, node: &Node, field: &Field<'_>, ignore_case: bool) -> Option<Condition> {
    let inner = match &node.value {
        Value::Map(_) if ignore_case => {
            reader.error_with(
                node.id,
                "`ignore_case` stands beside the `not` and not in it",
                "put it into the inner map, beside the operator that it is for".to_owned(),
            );
            None
        }
        Value::Map(entries) if entries.iter().any(|(key, _)| field.parts.contains(&key.text.as_str())) => {
            let (key, _) = entries.iter().find(|(key, _)| field.parts.contains(&key.text.as_str()))?;
            let help = format!("a part stands before the `not`: {{ {}: {{ not: … }} }}", key.text);
            reader.error_with(key.id, format!("there is no operator `{}`", key.text), help);
            None
        }
        Value::Map(_) => read_operators(reader, node, &Field { parts: &[], ..*field }),
        _ => read_equals(reader, node, field, ignore_case, "equals"),
    };
    inner.map(|inner| Condition::Not(Box::new(inner)))
}

fn read_equals(reader: &Reader, node: &Node, field: &Field<'_>, ignore_case: bool, name: &str) -> Option<Condition> {
    if field.holds == Holds::Span {
        tell_of_span(reader, node.id, field);
        return None;
    }
    let items = reader.list(node);
    if items.is_empty() {
        let help = "write a value into it; for a missing field, { exists: false }".to_owned();
        reader.error_with(node.id, "this list is empty, so nothing could match", help);
        return None;
    }
    let arguments: Vec<_> = items.iter().map(|item| argument(reader, item)).collect();
    let arguments = arguments.into_iter().collect::<Option<Vec<_>>>()?;
    let label = label(field, name, &items, ignore_case);
    Some(Condition::Test { field: field.id, operator: equals_any(&arguments, ignore_case), label })
}

/// One operator; a list of arguments is any of them.
fn read_operator(
    reader: &Reader,
    node: &Node,
    field: &Field<'_>,
    operator: &OperatorKind,
    ignore_case: bool,
) -> Option<Condition> {
    let items = reader.list(node);
    if items.is_empty() {
        let help = "write a value into it; for a missing field, { exists: false }".to_owned();
        reader.error_with(node.id, "this list is empty, so nothing could match", help);
        return None;
    }
    let ignore_case = ignore_case && operator.has_case;
    let test = |item: &&Node| {
        let argument = argument(reader, item)?;
        let label = label(field, operator.name, std::slice::from_ref(item), ignore_case);
        if reader.pattern_bytes() >= PATTERNS_BYTES_MAX {
            reader.error_with(
                item.id,
                format!("the patterns of this config take more than {}", shown_size(PATTERNS_BYTES_MAX as u64)),
                format!(
                    "use fewer: each `regex` and `glob` counts at least {}, and more with `\\w`, `\\d` or `.`; values, `starts_with`, \
                     `ends_with` and `contains` count nothing",
                    shown_size(PATTERN_BYTES_MIN as u64)
                ),
            );
            return None;
        }
        let built = (operator.build)(&argument, &Setting { ignore_case, holds: field.holds, zone: field.zone });
        reader.count_pattern(pattern_bytes(&built));
        match built {
            Ok(operator) => Some(Condition::Test { field: field.id, operator, label }),
            Err(fault) => {
                let help = fault.help.clone().or_else(|| meant::argument(field.path, operator.name, item));
                reader.fault(item.id, crate::fault::Fault { help, ..fault });
                None
            }
        }
    };
    let tests: Vec<_> = items.iter().map(test).collect();
    let mut tests = tests.into_iter().collect::<Option<Vec<_>>>()?;
    Some(if tests.len() == 1 { tests.remove(0) } else { Condition::Any(tests) })
}

/// A single value as an operator's argument. A number must be one that JSON could hold, since Vero's are compared by their text.
fn argument(reader: &Reader, node: &Node) -> Option<Argument> {
    let Some(Scalar { text, style, .. }) = node.scalar() else {
        let help = match &node.value {
            Value::Map(entries) => match entries.first() {
                Some((key, value)) => {
                    format!("an operator takes the list: {{ {}: [{}, …] }}", key.text, meant::shown(value))
                }
                None => "write a value".to_owned(),
            },
            _ => "write its values into the outer list".to_owned(),
        };
        reader.error_with(node.id, format!("this should be a single value, and it is {}", node.kind()), help);
        return None;
    };
    match style {
        Style::Unresolved => None,
        Style::Null => Some(Argument::Null),
        Style::Bool(value) => Some(Argument::Bool(*value)),
        Style::String => Some(Argument::Text(text.clone())),
        Style::Number if is_plain_number(text) => Some(Argument::Number(text.clone())),
        Style::Number => {
            let message = format!("the number {text} is written as JSON never writes it, so it could not match");
            let number = meant::number(text).map(|number| format!("write {number}; ")).unwrap_or_default();
            reader.error_with(node.id, message, format!("{number}for this text, quote it: \"{text}\""));
            None
        }
    }
}

pub(super) fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A condition as it is written.
fn label(field: &Field<'_>, operator: &str, arguments: &[&Node], ignore_case: bool) -> Label {
    let shown = |node: &&Node| match node.scalar() {
        // What came from the environment is not shown.
        Some(scalar) if scalar.is_interpolated => "…".to_owned(),
        Some(scalar) if scalar.style == Style::Null => "null".to_owned(),
        Some(scalar) if scalar.style == Style::String => serde_json::Value::from(scalar.text.as_str()).to_string(),
        Some(scalar) => scalar.text.clone(),
        None => String::new(),
    };
    let values: Vec<_> = arguments.iter().map(shown).collect();
    let values = if values.len() == 1 { values.concat() } else { format!("[{}]", values.join(", ")) };
    let case = if ignore_case { ", ignore_case: true" } else { "" };
    let expected = match (operator, ignore_case) {
        ("equals", false) => values,
        _ => format!("{{ {operator}: {values}{case} }}"),
    };
    Label { field: field.path.to_owned(), expected }
}
