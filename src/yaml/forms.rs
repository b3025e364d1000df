//! What is told of a single value of another form: the form that was meant. No help repeats a value that may be a secret.

use super::raw::{Node, Style, Value};
use super::words::{self, variable_name};
use crate::fault::Fault;

/// How `true` or `false` is written.
pub(crate) fn boolean(node: &Node) -> Option<String> {
    let text = node.scalar().map(|scalar| scalar.text.to_lowercase())?;
    let is_true = matches!(text.as_str(), "yes" | "on" | "y" | "1" | "true" | "always" | "enabled");
    let is_false = matches!(text.as_str(), "no" | "off" | "n" | "0" | "false" | "never" | "disabled");
    (is_true || is_false).then(|| format!("write {is_true}"))
}

/// How a text is written, where something else stands.
pub(crate) fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            // `{{ x }}` without quotes is a map in a map to YAML, and `{x}` a map with a key and no value.
            [(_, value), ..] if value.is_null() => Some("quote the value: YAML reads `{…}` as a map".to_owned()),
            [(key, _)] => Some(format!("quote the value if it is one text with a colon in it: \"{}: …\"", key.text)),
            _ => Some("one text stands here, without keys below it".to_owned()),
        },
        Value::List(items) if items.len() == 1 => Some("write it without `[…]` or `-`".to_owned()),
        Value::List(_) => Some("one text stands here, and no list; several lines go below a `|`".to_owned()),
        Value::Scalar(scalar) if scalar.style == Style::Null => {
            Some("write a text behind the key; a `#` with a space before it begins a comment".to_owned())
        }
        Value::Scalar(_) => None,
    }
}

/// What is told of a map or a list where a duration, a size or a rate stands: `{ per_second: 5 }` and `[5, s]` as one text.
pub(crate) fn measure<T>(node: &Node, read: fn(&str) -> Result<T, Fault>) -> Option<String> {
    let (mut words, mut pairs): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut see = |text: &str| words.extend(text.split(['_', ' ', '-']).map(str::to_lowercase));
    match &node.value {
        Value::List(items) => items.iter().filter_map(Node::scalar).for_each(|scalar| see(&scalar.text)),
        Value::Map(entries) => {
            for (key, scalar) in entries.iter().filter_map(|(key, node)| Some((key, node.scalar()?))) {
                see(&scalar.text);
                see(&key.text);
                pairs.push(format!("{}{}", scalar.text, key.text));
            }
        }
        Value::Scalar(_) => {}
    }
    let number = words.iter().find(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.map(String::as_str).unwrap_or_default();
    let is_unit = |word: &&String| !word.starts_with(|c: char| c.is_ascii_digit()) && !word.is_empty();
    let units = words.iter().filter(is_unit).flat_map(|unit| [format!("{number}/{unit}"), format!("{number}{unit}")]);
    let said = |text: String| match read(&text) {
        Ok(_) => Some(format!("write {text}")),
        Err(fault) => fault.help.filter(|help| help.starts_with("did you mean")),
    };
    let alone = (words.len() == 1).then(|| words.concat());
    let found = alone.into_iter().chain([pairs.join(" ")]).chain(units).find_map(said);
    found.or_else(|| read("").err()?.help)
}

/// A whole number in words, with a unit or with signs between its digits.
pub(crate) fn number(node: &Node, least: u64, most: u64) -> String {
    let text = node.scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '_' | ',' | '\'' | ' ' | '"'));
    match digits.parse::<u64>() {
        Ok(number) if is_plain && (least..=most).contains(&number) => format!("write {number}"),
        Ok(number) if is_plain && number > most => format!("write {most}, or less"),
        Ok(number) if is_plain && number < least => format!("write {least}, or more"),
        _ => format!("write a number like {}", 10.clamp(least, most)),
    }
}

/// How a URL is written.
pub(crate) fn url(text: &str) -> Option<String> {
    if let Some(name) = variable_name(text) {
        return Some(format!("write \"${{{name}}}\""));
    }
    let begins = text.split(['/', '?']).next().unwrap_or_default();
    let scheme = text.split(':').next().unwrap_or_default().to_lowercase();
    Some(match text {
        _ if words::oddity(text).is_some() => {
            "it holds a character that only looks like another: type it anew".to_owned()
        }
        text if text.starts_with('<') && text.ends_with('>') => "take the `<` and the `>` around it away".to_owned(),
        text if text.trim() != text && !text.trim().contains(char::is_whitespace) => {
            "take the spaces around it away".to_owned()
        }
        text if text.contains(char::is_whitespace) && !text.contains("{{") => {
            let words = || text.split_whitespace();
            let host = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
            let first = words().next().unwrap_or_default();
            match () {
                () if words().filter(|word| word.contains("://")).count() > 1 => {
                    "one URL stands here: for several, write a destination for each, and all of them in `to:`"
                        .to_owned()
                }
                () if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                    "write the method beside it: { url: …, method: … }".to_owned()
                }
                () if !first.contains("://") || host.contains(char::is_whitespace) => {
                    "take the space out: a host has none".to_owned()
                }
                () => "write %20 for a space".to_owned(),
            }
        }
        text if text.contains('@') && text.contains("://") => {
            "write auth: { basic: { username: relay, password: \"${CRM_PASSWORD}\" } }".to_owned()
        }
        text if text.contains("://") && begins.contains("{{") => "write the host itself, or \"${CRM_URL}\"".to_owned(),
        text if text.starts_with("{{") => {
            "write \"${CRM_URL}\": a value of the event may follow behind the host".to_owned()
        }
        text if text.contains("{{") && text.contains("://") => {
            "write the host itself: https://crm.example.com/users/{{ user.id }}".to_owned()
        }
        text if text.starts_with('$') => "write \"${NAME}\"".to_owned(),
        text if mended_scheme(text).is_some() => mended_scheme(text).unwrap_or_default(),
        _ if words::nearest(&scheme, ["http", "https"]).is_some() => "write https:// before the host".to_owned(),
        text if text.starts_with("//") || !text.contains("://") => "write https:// before the host".to_owned(),
        _ => "write https://…, or \"${CRM_URL}\"".to_owned(),
    })
}

/// `htp://`, `http//`, `http:/`: a scheme that is nearly one.
fn mended_scheme(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
    let (scheme, rest) = text.split_at(end);
    let signs = &rest[..rest.len() - rest.trim_start_matches([':', '/', ';', '\\']).len()];
    let near = words::nearest(&scheme.to_lowercase(), ["https", "http"])?;
    (signs.contains(['/', '\\']) && scheme.len() >= 3).then(|| format!("write {near}:// in place of {scheme}{signs}"))
}

/// Whether a text is a reference to a variable, as other programs have it, and so no secret.
pub(crate) fn is_reference(text: &str) -> bool {
    variable_name(text).is_some()
}
