//! A value that begins with a sign that means something to YAML: the form in which it was meant.

use super::advice::shapes::yaml;
use super::scan::Finding;
use super::whole;
use crate::rules::operators::OPERATORS;

/// A longer line is not written out again.
const SHOWN_BYTES_MAX: usize = 160;

/// A value that begins with a sign: a comparison, or a text that must be quoted.
pub(super) fn of_sign(sign: char, behind: &str, line: &str, is_secret: bool, found: &Finding) -> (String, String) {
    let message = match sign {
        '!' => "a value that begins with `!` is a tag to YAML".to_owned(),
        '>' | '|' => format!("`{sign}` begins a block of text in YAML, and nothing stands behind it on its line"),
        '*' => "a value that begins with `*` is an alias to YAML".to_owned(),
        '&' => "a value that begins with `&` is an anchor to YAML".to_owned(),
        '`' => "a plain value cannot begin with a backtick".to_owned(),
        _ => format!("a plain value cannot begin with `{sign}`"),
    };
    let key = found.keys.last().map(String::as_str).unwrap_or_default();
    // In `{ … }` the sign's own key stands right before it.
    let before = line.find(behind).map(|at| &line[..at]).unwrap_or_default().trim_end();
    let own = before.strip_suffix(':').map(|before| before.rsplit(['{', ',', ' ']).next().unwrap_or_default());
    let key = own.filter(|own| !own.is_empty()).unwrap_or(key);
    let value = match before.contains(['{', '[']) {
        true => behind.split([',', ']', '}']).next().unwrap_or_default().trim(),
        false => behind.split(" #").next().unwrap_or_default().trim(),
    };
    if is_secret {
        return (message, format!("quote the value of `{key}`"));
    }
    let signs = [("!=", "not"), (">=", "gte"), ("<=", "lte"), (">", "gt"), ("<", "lt"), ("!", "not")];
    let compared = signs.iter().find_map(|(sign, operator)| Some((*operator, value.strip_prefix(sign)?.trim())));
    let is_number = |rest: &str| rest.trim_matches('"').parse::<f64>().is_ok();
    let rest = &behind[value.len().min(behind.len())..];
    let in_list = before.rfind('[').filter(|_| before.matches('[').count() > before.matches(']').count());
    if let Some(open) = in_list.filter(|open| !before[*open..].contains('{') && line.len() <= SHOWN_BYTES_MAX) {
        let start = before[..open].trim_start().trim_start_matches("- ");
        let items = format!("{}{}", &before[open..], line[before.len()..].trim_end());
        let help = match sign {
            '!' => format!("write {start}{{ not: {} }}", items.replace('!', "")),
            _ => format!("quote the value: {start}{}{}{rest}", &before[open..], whole::quote(value)),
        };
        return (message, help);
    }
    if sign == '@' && key.ends_with("email") && is_field(key, &found.keys) {
        return (message, format!("write {key}: {{ ends_with: {} }}", whole::quote(value)));
    }
    let help = match compared {
        Some((operator, rest))
            if !rest.is_empty() && (operator == "not" || is_number(rest)) && is_field(key, &found.keys) =>
        {
            let rest = rest.trim_matches(['"', '\'']);
            let rest = if operator == "not" { yaml(rest) } else { rest.to_owned() };
            match OPERATORS.iter().any(|operator| operator.name == key) || key == "not" {
                true => format!("write {key}: {rest}"),
                false => format!("write {key}: {{ {operator}: {rest} }}"),
            }
        }
        _ if key.is_empty() => format!("quote the value: {}", whole::quote(value)),
        _ => format!("quote the value: {key}: {}", whole::quote(value)),
    };
    (message, help)
}

/// Whether a key is probably a field of a match.
fn is_field(key: &str, above: &[String]) -> bool {
    above.iter().any(|above| matches!(above.as_str(), "match" | "any" | "all" | "none")) || key.contains('.')
}
