//! A condition that somebody wrote as an expression, `type == 'bounced' and campaign.id > 5`: the match map that says the same.

use super::advice::shapes::{compared_with_time, yaml};
use crate::event::vero;
use crate::yaml::words::meant_type;

/// Signs and words between a field and its value, and the operator each means: `""` is equality. A longer one stands before its beginning.
const BETWEEN: [(&str, &str); 30] = [
    ("!==", "not"),
    ("===", ""),
    ("!=", "not"),
    ("<>", "not"),
    ("==", ""),
    ("=~", "regex"),
    ("~=", "regex"),
    ("=>", ""),
    ("->", ""),
    (">=", "gte"),
    ("<=", "lte"),
    (":=", ""),
    (">", "gt"),
    ("<", "lt"),
    ("=", ""),
    (" is not in ", "not"),
    (" not in ", "not"),
    (" is not ", "not"),
    (" in ", ""),
    (" is ", ""),
    (" equals ", ""),
    (" contains ", "contains"),
    (" starts with ", "starts_with"),
    (" starts_with ", "starts_with"),
    (" ends with ", "ends_with"),
    (" ends_with ", "ends_with"),
    (" matches ", "regex"),
    (" like ", "glob"),
    (" LIKE ", "glob"),
    (": ", ""),
];

/// Longer texts are no conditions.
const BYTES_MAX: usize = 300;

/// The match map that an expression means, if each of its parts is a comparison of a field.
pub(super) fn match_map(text: &str) -> Option<String> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let text = bare(text.trim());
    let either = split(text, &[" or ", " OR ", " || "]);
    if either.len() > 1 {
        let maps: Vec<_> = either.into_iter().map(all).collect::<Option<_>>()?;
        return Some(match same_field(&maps) {
            Some((field, values)) => format!("{{ {field}: [{}] }}", values.join(", ")),
            None => {
                let maps: Vec<_> = maps.iter().map(|map| shown(map)).collect();
                format!("{{ any: [{}] }}", maps.join(", "))
            }
        });
    }
    all(text).map(|map| shown(&map))
}

/// Comparisons that must all hold: the field and its form.
type Comparisons<'t> = Vec<(&'t str, String)>;

fn shown(map: &Comparisons<'_>) -> String {
    let entries: Vec<_> = map.iter().map(|(field, form)| format!("{field}: {form}")).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// `type == a or type == b`: one field, and its values.
fn same_field<'t>(maps: &[Comparisons<'t>]) -> Option<(&'t str, Vec<String>)> {
    let (first, _) = maps.first()?.first()?;
    let value = |map: &Comparisons<'t>| match map.as_slice() {
        [(field, form)] if field == first && !form.starts_with(['{', '[']) => Some(form.clone()),
        _ => None,
    };
    Some((first, maps.iter().map(value).collect::<Option<_>>()?))
}

fn all(text: &str) -> Option<Comparisons<'_>> {
    let parts = split(bare(text.trim()), &[" and ", " AND ", " && ", " & ", "; ", ", "]);
    let comparisons: Comparisons<'_> = parts.into_iter().map(comparison).collect::<Option<_>>()?;
    let is_twice = |at: usize| comparisons[..at].iter().any(|(field, _)| *field == comparisons[at].0);
    (!(0..comparisons.len()).any(is_twice)).then_some(comparisons)
}

/// A text without the brackets around the whole of it.
fn bare(text: &str) -> &str {
    let inner = [("(", ")"), ("[", "]"), ("{", "}")]
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
        .filter(|inner| !inner.contains(['(', ')', '{', '}']));
    inner.map_or(text, str::trim)
}

/// The parts between some words, outside of quotes and brackets.
fn split<'t>(text: &'t str, by: &[&str]) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_i32;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => continue,
            ('"' | '\'', None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth -= 1,
            _ => {}
        }
        if depth == 0
            && at >= start
            && quote.is_none()
            && let Some(word) = by.iter().find(|word| text[at..].starts_with(**word))
        {
            parts.push(text[start..at].trim());
            start = at + word.len();
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn comparison(text: &str) -> Option<(&str, String)> {
    let text = bare(text);
    let at = |sign: &str| text.find(sign);
    // The first of all, and of those that begin there the longest.
    let (start, sign, operator) = BETWEEN
        .iter()
        .filter_map(|(sign, operator)| Some((at(sign)?, *sign, *operator)))
        .min_by_key(|(start, sign, _)| (*start, std::cmp::Reverse(sign.len())))?;
    let field = text[..start].trim();
    let value = text[start + sign.len()..].trim();
    let is_name = !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !is_name || !(vero::sends(field) || field.contains('.')) || value.is_empty() {
        return None;
    }
    let is_list = value.starts_with(['[', '(', '{']) || split(value, &[","]).len() > 1;
    if is_list {
        let inner = value.trim_start_matches(['[', '(', '{']).trim_end_matches([']', ')', '}']);
        let items: Vec<_> = split(inner, &[","]).into_iter().filter_map(|item| plain(field, item)).collect();
        let list = format!("[{}]", items.join(", "));
        return match operator {
            "" => Some((field, list)),
            operator => Some((field, format!("{{ {operator}: {list} }}"))),
        };
    }
    let form = match operator {
        "" => plain(field, value)?,
        "gt" | "gte" | "lt" | "lte" => {
            let text = unquoted(value);
            compared_with_time(operator, text)
                .or_else(|| text.parse::<f64>().ok().map(|_| format!("{{ {operator}: {text} }}")))?
        }
        "regex" => format!("{{ regex: '{}' }}", unquoted(value).trim_matches('/').replace('\'', "''")),
        "glob" => format!("{{ glob: \"{}\" }}", unquoted(value).replace('%', "*")),
        operator => format!("{{ {operator}: {} }}", plain(field, value)?),
    };
    Some((field, form))
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

/// A value as YAML has it; a type of event by its right name.
fn plain(field: &str, text: &str) -> Option<String> {
    let value = unquoted(text);
    if value.is_empty() {
        return None;
    }
    let is_word = matches!(value, "true" | "false") && value == text.trim();
    Some(match meant_type(value).filter(|_| field == "type") {
        Some(name) => name.to_owned(),
        None if is_word => value.to_owned(),
        None => yaml(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(match_map(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn an_expression_becomes_the_map_that_says_the_same() {
        for (text, map) in [
            ("type = bounced", "{ type: bounced }"),
            ("type => bounced", "{ type: bounced }"),
            ("(type: bounced)", "{ type: bounced }"),
            ("type != 'sent'", "{ type: { not: sent } }"),
            ("type in [bounced, failed]", "{ type: [bounced, failed] }"),
            ("type in (bounce, fail)", "{ type: [bounced, failed] }"),
            ("type not in ['sent']", "{ type: { not: [sent] } }"),
            ("type == 'bounced' and campaign.id > 5", "{ type: bounced, campaign.id: { gt: 5 } }"),
            ("type == bounced && bounce_type == hard", "{ type: bounced, bounce_type: hard }"),
            ("type: bounced, bounce_type: hard", "{ type: bounced, bounce_type: hard }"),
            ("type == bounced or type == failed", "{ type: [bounced, failed] }"),
            (
                "type is opened || campaign.name contains 'Spring and more'",
                "{ any: [{ type: opened }, { campaign.name: { contains: Spring and more } }] }",
            ),
            ("campaign.name like 'Spring%'", "{ campaign.name: { glob: \"Spring*\" } }"),
            ("campaign.name =~ /^S/", "{ campaign.name: { regex: '^S' } }"),
            ("bounced_at >= 2026-01-01", "{ bounced_at: { after: 2026-01-01 } }"),
        ] {
            check(text, Some(map));
        }
    }

    #[test]
    fn what_is_no_comparison_of_a_field_becomes_nothing() {
        for text in [
            "bounced",
            "type",
            "type =",
            "= bounced",
            "a sentence is a text",
            "campaign.id > many",
            "type == a and type == b",
            "",
        ] {
            check(text, None);
        }
    }
}
