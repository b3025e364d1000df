//! Shapes of comparisons that are spoken: an operator's word before its value, flags behind a pattern, a domain, bars for a list.

use super::{Meant, Text, meant, quoted, single_quoted, yaml};
use crate::event::vero;

/// An operator's words before a value.
const WORDS: [(&str, &str); 19] = [
    ("greater than or equal to", "gte"),
    ("less than or equal to", "lte"),
    ("greater than", "gt"),
    ("more than", "gt"),
    ("less than", "lt"),
    ("at least", "gte"),
    ("at most", "lte"),
    ("gte", "gte"),
    ("lte", "lte"),
    ("gt", "gt"),
    ("lt", "lt"),
    ("contains", "contains"),
    ("starts with", "starts_with"),
    ("starts_with", "starts_with"),
    ("ends with", "ends_with"),
    ("ends_with", "ends_with"),
    ("is not", "not"),
    ("not", "not"),
    ("is", ""),
];

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && text.parse::<f64>().is_ok()
}

/// A text without the quotes around it, if it has some.
fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].iter().find_map(|sign| text.strip_prefix(*sign)?.strip_suffix(*sign))
}

/// `gt 5`, `contains Spring`, `LIKE 'Spring%'`, `exists`.
pub(super) fn spoken(of: &Text<'_>) -> Option<Meant> {
    let text = of.text.trim();
    let why = format!("`{text}` is compared as one text");
    match text {
        "exists" | "is not null" | "not null" => return meant(why, "{ exists: true }"),
        "not exists" | "does not exist" | "is null" => return meant(why, "{ exists: false }"),
        _ => {}
    }
    if let Some(rest) = ["LIKE ", "like "].iter().find_map(|word| text.strip_prefix(word)) {
        let inner = unquoted(rest.trim()).or_else(|| rest.contains('%').then(|| rest.trim()))?;
        return meant(why, format!("{{ glob: {} }}", quoted(&inner.replace('%', "*"))));
    }
    let (rest, operator) = WORDS.iter().find_map(|(word, operator)| {
        let rest = text.strip_prefix(word)?.strip_prefix(' ')?.trim();
        Some((rest, *operator)).filter(|(rest, _)| !rest.is_empty())
    })?;
    let inner = unquoted(rest);
    let value = inner.unwrap_or(rest);
    let form = match operator {
        "gt" | "gte" | "lt" | "lte" if is_number(value) => format!("{{ {operator}: {value} }}"),
        "contains" | "starts_with" | "ends_with" => format!("{{ {operator}: {} }}", yaml(value)),
        "not" if inner.is_some() || is_number(value) => format!("{{ not: {} }}", yaml(value)),
        "" if inner.is_some() || is_number(value) => yaml(value),
        _ => return None,
    };
    meant(why, form)
}

/// `@getvero.com` behind a field that holds an address.
pub(super) fn domain(of: &Text<'_>) -> Option<Meant> {
    let rest = of.text.trim().strip_prefix('@')?;
    let is_domain = rest.contains('.') && rest.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'));
    let holds_address = of.field.ends_with("email") && (vero::FIELDS.contains(&of.field) || of.field.contains('.'));
    (is_domain && holds_address).then(|| Meant {
        why: format!("no address is `{}` as a whole", of.text),
        form: format!("{{ ends_with: {} }}", quoted(of.text.trim())),
    })
}

/// `^Spring$/i`: a flag behind a pattern.
pub(super) fn flags(of: &Text<'_>) -> Option<Meant> {
    let inner = of.text.strip_suffix("/i")?;
    (inner.starts_with('^') || inner.ends_with('$')).then(|| Meant {
        why: "`/i` is a part of the pattern".to_owned(),
        form: format!("{{ regex: {}, ignore_case: true }}", single_quoted(inner)),
    })
}

/// `Spring|Summer` where a text is looked for.
pub(super) fn bars(of: &Text<'_>) -> Option<Meant> {
    let parts: Vec<_> = of.text.split('|').collect();
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if parts.len() < 2 || !parts.iter().all(is_word) {
        return None;
    }
    let parts: Vec<_> = parts.iter().map(|part| yaml(part)).collect();
    meant(format!("`{}` is looked for as one text", of.text), format!("[{}]", parts.join(", ")))
}

/// `Spring*, Cart?`: several globs in one text.
pub(super) fn several_globs(text: &str) -> Option<String> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let is_glob = |part: &&&str| part.len() > 1 && part.contains(['*', '?']);
    let are_globs = parts.len() > 1 && parts.iter().filter(is_glob).count() > 1 && !text.contains(['{', '[', '\\']);
    let parts: Vec<_> = parts.into_iter().map(quoted).collect();
    (are_globs && text.contains('*')).then(|| format!("[{}]", parts.join(", ")))
}
