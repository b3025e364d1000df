//! What was meant by a word or a value in a match that is not ours, as the form to write in its place.

use super::advice::shapes::{RELAY_TIMES, compared_with_time, yaml};
use super::names::Names;
use crate::destination::KINDS;
use crate::event::vero;
use crate::rules::operators::OPERATORS;
use crate::yaml::raw::{Key, Node, Style, Value};
use crate::yaml::words;

/// `to: alerts, archive`: a list without its brackets.
pub(super) fn destinations(text: &str, known: &Names) -> Option<String> {
    let parts = words::listed(text)?;
    let near: Option<Vec<_>> = parts.iter().map(|part| words::nearest(part, known.iter())).collect();
    near.map(|near| format!("write a list: [{}]", near.join(", ")))
}

/// What was meant by an operator that there is not: a field below another, a list, or one of ours.
pub(super) fn operator(field: &str, name: &str, value: &Node, around: &Node) -> Option<String> {
    if let Some(number) = with_thousands(around).filter(|_| value.is_null()) {
        return Some(format!("write the number without commas: {field}: {number}"));
    }
    let names = OPERATORS.iter().map(|operator| operator.name).chain(["not", "ignore_case"]);
    let value_shown = shown(value);
    if let Some((operator, behind)) = name.split_once(':').filter(|_| value.is_null()) {
        return Some(format!("write a space after the colon: {{ {operator}: {behind} }}"));
    }
    let path = format!("{field}.{name}");
    let known = vero::FIELDS.contains(&path.as_str());
    let near = words::meant(name, names);
    if value.is_null() && near.is_none() && !known {
        return Some(format!("put a list into brackets: {field}: [{name}, …]"));
    }
    let is_nested =
        known || (matches!(value.value, Value::Map(_)) || near.is_none()) && vero::sends(&path) && name != "in";
    if is_nested {
        let (path, value) = below(path, value);
        return Some(format!("write the path as one key: {path}: {}", shown(value)));
    }
    if let Some(field) = words::nearest(&path, vero::FIELDS)
        .filter(|found| near.is_none() && found.starts_with(field) && *found != field)
    {
        return Some(format!("write the path as one key: {field}: {value_shown}"));
    }
    let spelt: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    Some(match spelt.as_str() {
        "in" | "oneof" | "anyof" | "any" | "isin" | "isoneof" | "or" | "values" => {
            format!("a list is any of them: {field}: {}", listed_form(value))
        }
        "notin" | "nin" | "noneof" | "none" => format!("write {field}: {{ not: {} }}", listed_form(value)),
        "missing" | "absent" | "isnull" | "null" | "isempty" | "empty" | "notexists" | "isblank" | "undefined" => {
            format!("write {field}: {{ exists: false }}")
        }
        "notnull" | "isnotnull" | "notempty" | "isnotempty" => format!("write {field}: {{ exists: true }}"),
        "between" | "range" | "within" => match &value.value {
            Value::List(items) if items.len() == 2 => {
                format!("write {field}: {{ gte: {}, lte: {} }}", shown(&items[0]), shown(&items[1]))
            }
            _ => format!("write {field}: {{ gte: …, lte: … }}"),
        },
        "notcontains" | "doesnotcontain" | "excludes" => {
            format!("write {field}: {{ not: {{ contains: {value_shown} }} }}")
        }
        "notmatches" | "notregex" => format!("write {field}: {{ not: {{ regex: {value_shown} }} }}"),
        "notlike" | "notglob" => format!("write {field}: {{ not: {{ glob: {value_shown} }} }}"),
        "iequals" | "equalsignorecase" => format!("write {field}: {{ equals: {value_shown}, ignore_case: true }}"),
        "icontains" | "containsignorecase" => {
            format!("write {field}: {{ contains: {value_shown}, ignore_case: true }}")
        }
        _ => {
            let near = near?;
            if near == "equals" && matches!(value.value, Value::Map(_)) {
                return None;
            }
            match near {
                "ignore_case" => format!("did you mean `ignore_case`? {field}: {}", renamed(around, name, near)),
                near if matches!(value.value, Value::Map(_)) => format!("did you mean `{near}`?"),
                near => format!("did you mean `{near}`? {field}: {{ {near}: {value_shown} }}"),
            }
        }
    })
}

/// `{bounced, failed}`: values where operators stand, as a value or a list.
pub(super) fn values(entries: &[(&Key, &Node)]) -> Option<String> {
    let names = || OPERATORS.iter().map(|operator| operator.name).chain(["not", "ignore_case"]);
    let is_value = |(key, node): &(&Key, &Node)| {
        node.is_null() && !key.text.contains([':', '=', '<', '>']) && !names().any(|name| name == key.text)
    };
    let is_slip = entries.len() == 1 && words::meant(&entries[0].0.text, names()).is_some();
    if entries.is_empty() || is_slip || !entries.iter().all(is_value) {
        return None;
    }
    let values: Vec<_> = entries.iter().map(|(key, _)| yaml(&key.text)).collect();
    Some(if values.len() == 1 { values.concat() } else { format!("[{}]", values.join(", ")) })
}

/// A number in another notation, as JSON writes it: `0x1f`, `0o17`, `+5`, `.5`.
pub(super) fn number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.trim_start_matches('+')), |rest| ("-", rest));
    let of_base = |prefix: &str, base| i64::from_str_radix(&digits.strip_prefix(prefix)?.replace('_', ""), base).ok();
    if let Some(number) = of_base("0x", 16).or_else(|| of_base("0o", 8)).or_else(|| of_base("0b", 2)) {
        return Some(format!("{sign}{number}"));
    }
    let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(format!("{sign}{number}"))
}

/// A map with one of its keys under another name.
fn renamed(map: &Node, from: &str, to: &str) -> String {
    let name = |text: &str| if text == from { to.to_owned() } else { text.to_owned() };
    let entries = map.entries().iter().map(|(key, node)| format!("{}: {}", name(&key.text), shown(node)));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// `{ gt: 1,000 }`: to YAML a second key. The map with the number as it was meant.
fn with_thousands(map: &Node) -> Option<String> {
    let [(operator, first), rest @ ..] = map.entries() else { return None };
    let is_group = |(key, node): &(Key, Node)| {
        node.is_null() && key.text.len() == 3 && key.text.bytes().all(|b| b.is_ascii_digit())
    };
    let number = first.scalar().filter(|scalar| scalar.style == Style::Number)?;
    let groups: String = rest.iter().map(|(key, _)| key.text.as_str()).collect();
    (!rest.is_empty() && rest.iter().all(is_group)).then(|| format!("{{ {}: {}{groups} }}", operator.text, number.text))
}

/// `any: [bounced, failed]`: types where match maps stand.
pub(super) fn types(name: &str, items: &[Node]) -> Option<String> {
    let meant = |item: &Node| {
        item.scalar().and_then(|scalar| words::meant_type(&scalar.text).filter(|_| !scalar.is_interpolated))
    };
    let types: Vec<&str> = items.iter().map(meant).collect::<Option<_>>()?;
    let maps: Vec<_> = types.iter().map(|kind| format!("{{ type: {kind} }}")).collect();
    let maps = format!("{name}: [{}]", maps.join(", "));
    Some(if name == "any" { format!("type: [{}], or {maps}", types.join(", ")) } else { maps })
}

/// A path through maps of one key each, down to what an operator or a value is.
fn below(mut path: String, mut value: &Node) -> (String, &Node) {
    while let [(key, node)] = value.entries() {
        if key.text == "not" || OPERATORS.iter().any(|operator| operator.name == key.text) {
            break;
        }
        path = format!("{path}.{}", key.text);
        value = node;
    }
    (path, value)
}

/// A value as it may be written on one line.
pub(super) fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.is_interpolated => "…".to_owned(),
        Value::Scalar(scalar) if scalar.style == Style::String => yaml(&scalar.text),
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{}: {}", key.text, shown(node))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A value as a list.
fn listed_form(node: &Node) -> String {
    match &node.value {
        Value::List(_) => shown(node),
        Value::Scalar(scalar) => match words::listed(&scalar.text) {
            Some(parts) => format!("[{}]", parts.join(", ")),
            None => format!("[{}]", shown(node)),
        },
        Value::Map(_) => "[…]".to_owned(),
    }
}

/// What may stand in a map of operators, or in its place the parts of a content.
pub(super) fn operators(parts: &[&str]) -> String {
    let names: Vec<_> = OPERATORS.iter().map(|operator| operator.name).collect();
    let operators = format!("the operators are {} and not", names.join(", "));
    if parts.is_empty() { operators } else { format!("the parts are {}; {operators}", parts.join(", ")) }
}

/// The part of a content that was meant by a word that is none, if no operator was.
pub(super) fn part(name: &str, parts: &[&'static str]) -> Option<&'static str> {
    let operators = OPERATORS.iter().map(|operator| operator.name).chain(["not", "ignore_case"]);
    words::meant(name, parts.iter().copied().chain(operators)).filter(|near| parts.contains(near))
}

/// Whether some destination has a key of this name: beside parts it is taken for one.
pub(super) fn is_key_of_a_kind(name: &str) -> bool {
    KINDS.iter().any(|kind| (kind.keys)().keys.iter().any(|key| key.name == name))
}

/// What to write where an operator does not take its argument.
pub(super) fn argument(field: &str, operator: &str, node: &Node) -> Option<String> {
    let text = node.scalar().filter(|scalar| !scalar.is_interpolated).map(|scalar| scalar.text.as_str())?;
    match operator {
        "exists" => Some(match text.to_lowercase().as_str() {
            "yes" | "on" | "1" | "true" => "write { exists: true }".to_owned(),
            "no" | "off" | "0" | "false" => "write { exists: false }".to_owned(),
            _ => "write { exists: true }, or { exists: false } for a field that is missing".to_owned(),
        }),
        "gt" | "gte" | "lt" | "lte" if field.starts_with("relay.") && field.ends_with("_at") => {
            Some(RELAY_TIMES.to_owned())
        }
        "gt" | "gte" | "lt" | "lte" => Some(match compared_with_time(operator, text) {
            Some(form) => format!("times are compared by `after` and `before`: write {field}: {form}"),
            None if crate::units::duration(text).is_ok() => {
                format!("time spans are compared with the age of an event: relay.age: {{ {operator}: {text} }}")
            }
            None => {
                let number = text.trim().trim_start_matches(['>', '<', '=', '~', '+']).trim();
                let number = number.replace([',', '_', ' ', '\''], "");
                match number.parse::<f64>() {
                    Ok(_) if !number.is_empty() => format!("write {{ {operator}: {number} }}"),
                    _ if field.ends_with("_at") => format!("write {field}: {{ after: 2026-01-31 }}"),
                    _ => format!("write a number: {{ {operator}: 500 }}"),
                }
            }
        }),
        "regex" if text.starts_with(['*', '?']) => Some(format!("for a glob: {field}: {{ glob: {} }}", yaml(text))),
        "regex" => Some("write `\\` before a sign that stands for itself: \\( \\[ \\{ \\. \\* \\+ \\?".to_owned()),
        "glob" => Some(format!(
            "write `\\` before a sign that stands for itself; a regular expression is {field}: {{ regex: … }}"
        )),
        _ => Some("write a text or a number".to_owned()),
    }
}
