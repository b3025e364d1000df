//! What is told of a key that there is not, of one that is missing, and of what stands where a map belongs: the form that was meant.
//!
//! The forms are the schema's examples, so none of them can be one that the reader refuses. None repeats a value that may be a secret.

use super::advice::shapes::yaml;
use super::expression;
use super::presets::FIELDS;
use super::schema::find;
use super::sources::SOURCE_SECRET_KEYS;
use crate::destination::{KINDS, kind_named};
use crate::event::vero;
use crate::secret::names_a_secret;
use crate::yaml::hints::Hints;
use crate::yaml::raw::{Node, Value};
use crate::yaml::words::{self, meant};

/// What this program's configs are made of, for the reader that knows nothing of them.
pub(super) struct Known;

impl Hints for Known {
    fn unknown_key(&self, key: &str, node: &Node, what: &str, known: &[&'static str]) -> Option<String> {
        Some(self::key(key, node, what, known))
    }

    fn missing_key(&self, what: &str, key: &str, known: &[&'static str]) -> Option<String> {
        missing(what, key, known)
    }

    fn not_a_map(&self, what: &str, node: &Node) -> Option<String> {
        map(what, node)
    }

    fn unset_variable(&self, name: &str) -> Option<String> {
        if matches!(name, "date" | "hour") {
            return Some(format!("in a path it is written {{{name}}}"));
        }
        (name.starts_with(|c: char| c.is_ascii_lowercase()) && vero::meant(name).is_some()).then(|| {
            format!("a value of the event is written {{{{ {name} }}}}; a variable has a default by ${{{name}:-…}}")
        })
    }

    fn places(&self, key: &str) -> Vec<Vec<&'static str>> {
        find::homes(key).into_iter().filter(|home| home.key == key).map(|home| home.above).collect()
    }

    fn holds_secrets(&self, key: &str) -> bool {
        key == FIELDS.info.name
            || KINDS.iter().any(|kind| kind.name == key || kind.secret_keys.contains(&key))
            || SOURCE_SECRET_KEYS.contains(&key)
            || names_a_secret(key)
    }
}

/// What to do about a key that nobody took: the right word, the right place, or what there is.
fn key(text: &str, node: &Node, what: &str, known: &[&'static str]) -> String {
    let list = || match known {
        [] => format!("{what} has no keys"),
        _ => format!("{what} can have {}", known.join(", ")),
    };
    without_blank(text, node)
        .or_else(|| words::oddity(text))
        .or_else(|| {
            known.iter().find(|known| **known == text).map(|known| format!("`{known}` is given twice: leave one out"))
        })
        .or_else(|| own_spelling(text, known))
        .or_else(|| of_another_program(text, node, what))
        .or_else(|| of_several(text, known))
        .or_else(|| elsewhere(text, known))
        .or_else(|| meant(text, known.iter().copied()).map(|near| format!("did you mean `{near}`?")))
        .or_else(|| far_away(text, known))
        .unwrap_or_else(list)
}

/// Our own word in another style, or nearly so.
fn own_spelling(text: &str, known: &[&'static str]) -> Option<String> {
    if let Some(same) = known.iter().find(|known| words::letters(known) == words::letters(text)) {
        return Some(format!("did you mean `{same}`?"));
    }
    let near = words::nearest(text, known.iter().copied())?;
    (near.len() > 3 && find::homes(text).is_empty()).then(|| format!("did you mean `{near}`?"))
}

/// `{type:bounced}` is a key with nothing behind it.
fn without_blank(text: &str, node: &Node) -> Option<String> {
    let (key, value) = text.split_once(':')?;
    (node.is_null() && !value.is_empty() && !value.starts_with(':') && !value.contains("//"))
        .then(|| format!("write a space after the colon: {key}: {value}"))
}

/// Whole constructs that other programs have.
fn of_another_program(text: &str, node: &Node, what: &str) -> Option<String> {
    let said = node.scalar().map(|scalar| scalar.text.as_str());
    let kind = KINDS.iter().find(|kind| said == Some(kind.name));
    match (text, kind) {
        ("type" | "kind" | "driver" | "backend", Some(kind)) if what.starts_with("the destination") => {
            let name = what.split('`').nth(1).unwrap_or("name");
            let example = find::example(&["destinations", kind.name])?;
            Some(format!("the kind is a key: {name}: {{ {}: {example} }}", kind.name))
        }
        (text, _) if what == "`notify`" && kind_named(text).is_some() => {
            Some(format!("`notify` names destinations, and `{text}` stands below the name of one: to: [ops]"))
        }
        ("continue", _) if what == "a rule" => {
            Some("all rules are tried; `stop: true` ends it after this one".to_owned())
        }
        ("batch", _) if what.starts_with("the destination") => {
            let kind = KINDS.iter().find(|kind| (kind.keys)().keys.iter().any(|key| key.name == text))?.name;
            let example = find::example(&["destinations", kind, text])?;
            Some(format!(
                "`{text}` stands in `{kind}`: {kind}: {{ {text}: {example} }}; what goes out as one message is `digest`"
            ))
        }
        ("enabled" | "disabled" | "active", _) if what.starts_with("the destination") => {
            Some("a destination is held by `vero-relay pause NAME`, or left out of every `to`".to_owned())
        }
        ("event" | "events" | "type" | "types" | "event_type", _) if what == "a rule" => {
            Some("conditions stand below `match`: match: { type: bounced }".to_owned())
        }
        (text, _) if what == "a rule" && vero::sends(text) => {
            Some(format!("conditions stand below `match`: match: {{ {text}: … }}"))
        }
        _ => None,
    }
}

/// A key that stands at another place: above this one, below one of its neighbours, or at the top.
fn elsewhere(text: &str, known: &[&'static str]) -> Option<String> {
    let here = find::place_of(known);
    let homes = find::homes(text);
    let is_near = |home: &&find::Home| {
        let above = home.above.as_slice();
        let is_below = above.last().is_some_and(|parent| known.contains(parent));
        let is_above = here.as_ref().is_some_and(|here| here.len() > above.len() && here.starts_with(above));
        // Beside `http`, not in it: what every destination can have.
        let is_common = here.as_ref().is_some_and(|here| {
            here.first() == Some(&"destinations")
                && here.last().is_some_and(|last| KINDS.iter().any(|kind| kind.name == *last))
                && above.first() == Some(&"destinations")
                && above.last().is_some_and(|last| !KINDS.iter().any(|kind| kind.name == *last))
                && above.len() == 2
        });
        is_common || is_below || is_above || above.is_empty()
    };
    Some(standing(homes.iter().find(is_near)?, here.as_deref()))
}

/// A key at the top of the file that stands at several places, none of which is more likely than the others.
fn of_several(text: &str, known: &[&'static str]) -> Option<String> {
    let is_at_the_top = find::place_of(known).is_some_and(|here| here.is_empty());
    let homes = if is_at_the_top { find::homes(text) } else { Vec::new() };
    let mut places: Vec<String> = Vec::new();
    for home in &homes {
        let place = match home.above.as_slice() {
            [] => return None,
            ["sources"] => "below the name of a source".to_owned(),
            ["rules"] => "in a rule".to_owned(),
            ["tests"] => "in a test".to_owned(),
            ["destinations"] => "in a destination".to_owned(),
            [.., parent] => format!("in `{parent}`"),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let (last, others) = places.split_last()?;
    (!others.is_empty()).then(|| format!("`{text}` stands {} or {last}", others.join(", ")))
}

/// A key that stands at one place, whatever that has to do with this one.
fn far_away(text: &str, known: &[&'static str]) -> Option<String> {
    let here = find::place_of(known)?;
    let homes = find::homes(text);
    let (first, others) = homes.split_first()?;
    let is_outermost = others.iter().all(|other| other.above.len() > first.above.len());
    is_outermost.then(|| standing(first, Some(&here)))
}

/// Where a key stands, seen from another place.
fn standing(home: &find::Home, here: Option<&[&str]>) -> String {
    let find::Home { key: text, example, above } = home;
    match (above.as_slice(), here) {
        ([], _) => format!("`{text}` stands at the top of the file: {text}: {example}"),
        (["sources"], _) => {
            format!("`{text}` stands below the name of a source: sources: {{ vero: {{ {text}: {example} }} }}")
        }
        (["rules"], _) => format!("`{text}` stands in a rule: rules: [{{ {text}: {example} }}]"),
        (["tests"], _) => format!("`{text}` stands in a test: tests: [{{ {text}: {example} }}]"),
        (["destinations"], Some([.., kind])) if KINDS.iter().any(|known| known.name == *kind) => {
            format!("`{text}` stands beside `{kind}`, not in it")
        }
        (["destinations"], _) if KINDS.iter().any(|kind| kind.name == *text) => {
            format!("`{text}` stands below the name of a destination: destinations: {{ crm: {{ {text}: {example} }} }}")
        }
        (["destinations", parent], Some(["destinations", kind])) => {
            format!("`{text}` stands in `{parent}`, beside `{kind}`: {parent}: {{ {text}: {example} }}")
        }
        (["destinations"], _) => format!("`{text}` stands in a destination, beside its kind"),
        ([.., parent], _) => format!("`{text}` stands in `{parent}`: {parent}: {{ {text}: {example} }}"),
    }
}

/// The name in a phrase like "`retry`" or "`http` of the destination `crm`".
fn name_of(what: &str) -> Option<&str> {
    what.strip_prefix('`')?.split('`').next()
}

/// How a key that is missing is written.
fn missing(what: &str, key: &str, known: &[&'static str]) -> Option<String> {
    let above: Vec<&str> = match (find::place_of(known), name_of(what)) {
        (Some(above), _) => above,
        (None, Some(name)) => vec![name],
        (None, None) => Vec::new(),
    };
    let of_its_own = find::homes(key);
    if let Some(choice) = find::told_without(&above, key) {
        let example = find::example(&[above.last().copied()?, key])?;
        return Some(format!("write {choice}, like {key}: {example}"));
    }
    let home = of_its_own.iter().find(|home| home.above.ends_with(&above)).or(of_its_own.first())?;
    Some(format!("write {key}: {}", home.example))
}

/// How a map is written, where something else stands.
pub(super) fn map(what: &str, node: &Node) -> Option<String> {
    let text = node.scalar().filter(|scalar| !scalar.is_interpolated).map(|scalar| scalar.text.trim());
    let named = what.split('`').nth(1).unwrap_or("name");
    if let Some((key, value)) = text.and_then(|text| text.split_once(':'))
        && !value.starts_with([' ', '/'])
        && !may_be_secret(what)
    {
        return Some(format!("write a space after the colon: {key}: {value}"));
    }
    if let (Value::List(items), true) = (&node.value, what != "`match`")
        && let [one] = items.as_slice()
        && matches!(one.value, Value::Map(_))
        && !matches!(name_of(what), Some("sources" | "destinations"))
    {
        return Some("write it without the `-`".to_owned());
    }
    if let (Some(text), Some(key @ ("history" | "dead_letters" | "backlog"))) = (text, name_of(what)) {
        let age = crate::units::duration(text).is_ok().then_some("max_age");
        let size = crate::units::size(text).is_ok().then_some("max_size");
        if let Some(own) = age.or(size) {
            return Some(format!("write {key}: {{ {own}: {text} }}"));
        }
    }
    match (what, name_of(what)) {
        ("`retry`", _) if text.is_some_and(|text| text.parse::<u16>().is_ok()) => {
            Some(format!("write retry: {{ max_attempts: {} }}", text.unwrap_or_default()))
        }
        ("`retry`", _) if text.is_some_and(|text| attempts(text).is_some()) => {
            Some(format!("write retry: {{ max_attempts: {} }}", text.and_then(attempts).unwrap_or_default()))
        }
        ("`match`", _) => Some(match_map(node, text)),
        ("`admin`", _) if text.is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()) => {
            Some(format!("write admin: {{ listen: \"{}\" }}", text.unwrap_or_default()))
        }
        ("`store`", _) if text.is_some_and(|text| crate::units::duration(text).is_ok()) => {
            Some(format!("write store: {{ history: {{ max_age: {} }} }}", text.unwrap_or_default()))
        }
        ("`notify.backlog`", _) if text.is_some_and(|text| text.parse::<u64>().is_ok()) => {
            Some(format!("write backlog: {{ deliveries: {} }}", text.unwrap_or_default()))
        }
        ("`notify.backlog`", _) if text.is_some_and(|text| crate::units::duration(text).is_ok()) => {
            Some(format!("write backlog: {{ age: {} }}", text.unwrap_or_default()))
        }
        ("a rule", _) => Some("a rule is a map: - { name: everything, to: [archive] }".to_owned()),
        ("a test", _) => find::homes("tests").first().map(|home| format!("a test is a map: tests: {}", home.example)),
        ("the config", _) => Some("a config begins with keys: sources:, rules: and destinations:".to_owned()),
        ("`auth`", _) => {
            let is_basic = text.is_some_and(|text| text.to_lowercase().starts_with("basic"));
            let example = if is_basic {
                ["basic", "{ username: relay, password: \"${CRM_PASSWORD}\" }"]
            } else {
                ["bearer", "\"${CRM_TOKEN}\""]
            };
            Some(format!("write auth: {{ {}: {} }}", example[0], example[1]))
        }
        ("`expect`", _) => Some("write expect: { to: [archive] }".to_owned()),
        (_, Some("sources" | "destinations" | "headers" | "answers" | "content"))
            if matches!(node.value, Value::List(_)) =>
        {
            let key = name_of(what)?;
            let example = find::homes(key).first()?.example;
            Some(format!("a map of names, without the `-`: {key}: {example}"))
        }
        (_, Some(name)) if kind_named(name).is_some() => {
            kind_named(name).map(|kind| format!("write {name}: {}", kind.form))
        }
        (what, None) if what.starts_with("the source") => {
            Some(format!("write {named}: {{ token: \"${{VERO_TOKEN}}\" }}"))
        }
        (what, None) if what.starts_with("the destination") => {
            let kind = KINDS.into_iter().max_by_key(|kind| (kind.likeness)(text.unwrap_or_default()))?;
            Some(format!("a destination has a kind: {named}: {{ {}: {} }}", kind.name, kind.form))
        }
        ("a map of operators", _) => None,
        (_, Some(key)) => find::homes(key).first().map(|home| format!("write {key}: {}", home.example)),
        _ => None,
    }
}

/// `5 times`, `5x`, `never`: how many attempts.
fn attempts(text: &str) -> Option<u16> {
    let text = text.to_lowercase();
    if matches!(text.as_str(), "false" | "no" | "off" | "never" | "none" | "disabled") {
        return Some(1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let is_count = matches!(text[end..].trim(), "" | "x" | "times" | "attempts" | "tries" | "retries");
    text[..end].parse().ok().filter(|count| is_count && *count > 0)
}

/// Whether what stands in place of a map may be a secret.
fn may_be_secret(what: &str) -> bool {
    !matches!(what, "`match`" | "a rule" | "a test" | "`expect`" | "`retry`" | "`store`" | "`limits`")
}

/// `match: bounced`, `match: [bounced, failed]` and `match: [{ … }, { … }]`.
fn match_map(node: &Node, text: Option<&str>) -> String {
    let example = "write match: { type: bounced }".to_owned();
    match &node.value {
        Value::List(items) if items.iter().all(|item| item.scalar().is_some()) && !items.is_empty() => {
            let types: Vec<_> = items.iter().filter_map(Node::scalar).map(|scalar| scalar.text.as_str()).collect();
            let types: Option<Vec<_>> = types.into_iter().map(words::meant_type).collect();
            types.map_or(example, |types| format!("write match: {{ type: [{}] }}", types.join(", ")))
        }
        Value::List(_) => {
            "one of several: match: { any: [{ type: bounced }, { type: failed }] }; all at once: the keys of one map"
                .to_owned()
        }
        _ if text.and_then(expression::match_map).is_some() => {
            format!("write match: {}", text.and_then(expression::match_map).unwrap_or_default())
        }
        _ if text.is_some_and(|text| text.contains('=')) => {
            let (key, value) = text.and_then(|text| text.split_once('=')).unwrap_or_default();
            let value = value.trim_start_matches('=').trim();
            format!("write match: {{ {}: {} }}", key.trim_end_matches(['=', '!', ' ']), yaml(value))
        }
        _ => match text.and_then(words::meant_type) {
            Some(name) => format!("write match: {{ type: {name} }}"),
            None if text.is_some_and(|text| matches!(text, "*" | "all" | "any" | "everything" | "true")) => {
                "a rule without `match` takes every event".to_owned()
            }
            None => example,
        },
    }
}
