//! What a finding in the text was meant to be: a message, and a help that may quote the line, unless a secret may stand on it.

use super::super::advice::shapes::yaml;
use super::super::expression;
use super::super::schema::find;
use super::super::signs::{of_sign, quote_unseen};
use crate::event::vero;
use crate::rules::operators::OPERATORS;
use crate::yaml::load::{Place, SyntaxError};
use crate::yaml::problem::Diagnosis;
use crate::yaml::scan::{Finding, Slip};
use crate::yaml::secrecy::{line_at, may_show_secret, shown_key};
use crate::yaml::{whole, words};

pub(super) fn of_finding(text: &str, found: &Finding, error: &SyntaxError) -> Diagnosis {
    let Place { line: number, offset, .. } = found.place;
    let line = line_at(text, offset);
    let is_secret = may_show_secret(text, offset);
    let (key, value) = entry(line);
    // What stands on a line that may hold a secret is not repeated.
    let form = |form: String, instead: &str| if is_secret { instead.to_owned() } else { format!("write {form}") };
    let behind = &text[offset..];
    let behind = behind.lines().next().unwrap_or_default().trim_end();
    let keyed = |value: &str| if key.is_empty() { value.to_owned() } else { format!("{key}: {value}") };
    let (message, help) = match &found.slip {
        Slip::Open(sign, has_comment) => {
            let (inner, comment) = behind.split_once(" #").unwrap_or((behind, ""));
            let closed = close(inner.trim_end());
            let help = match has_comment {
                // `[ops, #alerts]`: a word behind the sign stood in the list.
                true if comment.starts_with(|c: char| c.is_alphanumeric()) && inner.starts_with('[') && !is_secret => {
                    let rest = comment.split(" #").next().unwrap_or_default().trim_end();
                    let rest = close(&format!("{inner} #{rest}"));
                    format!("` #` begins a comment: write {}", keyed_before(line, behind, &signless(key, &rest)))
                }
                true if !comment.is_empty() && !is_secret => {
                    format!("` #` begins a comment: close it before, {}", keyed_before(line, behind, &closed))
                }
                true => "` #` begins a comment: close what is open before it".to_owned(),
                false => form(keyed_before(line, behind, &closed), &format!("close it with `{}`", closing(*sign))),
            };
            (format!("`{sign}` of line {number} is not closed"), help)
        }
        Slip::OpenQuote(quote) => {
            let before = line.find(behind).map(|at| line[..at].trim_start()).unwrap_or_default();
            let before = before.trim_start_matches("- ");
            let help = form(
                format!("{before}{}", whole::closed_quote(before, behind, *quote)),
                &format!("close it with `{quote}`"),
            );
            (format!("the quote `{quote}` of line {number} is not closed"), help)
        }
        Slip::InnerQuote(_) if !whole::holds_tags(value) && alternatives(behind).is_some() => {
            let parts = alternatives(value).unwrap_or_default().join(", ");
            (
                format!("a second text follows the first in line {number}"),
                form(keyed(&format!("[{parts}]")), "write a list: [\"…\", \"…\"]"),
            )
        }
        Slip::InnerQuote(sign) => {
            let start = line.find(value).unwrap_or_default();
            let begins = text[..offset].rfind('\n').map_or(0, |at| at + 1);
            let requoted = (offset - begins).checked_sub(start).and_then(|at| whole::requoted(value, at));
            let help = match (requoted.filter(|_| !is_secret), sign) {
                (Some(requoted), _) => format!("put the whole text into quotes: {}", keyed(&requoted)),
                (None, '"') => "write `\\\"` for each `\"` within \"…\", or put the text into '…'".to_owned(),
                (None, _) => "write `''` for each `'` within '…'".to_owned(),
            };
            let around = if *sign == '"' { "\"…\"" } else { "'…'" };
            (format!("a `{sign}` within {around} ends the text, in line {number}"), help)
        }
        Slip::Escape(c) => {
            let quoted = quoted_at(line, text, offset);
            let own = text[..offset]
                .rfind('"')
                .and_then(|at| own_key(line, line_at(text, at).get(at - line_start(text, at)..)?));
            let help = match quoted.filter(|_| !is_secret) {
                Some(inner) if matches!(own, Some("path" | "ca" | "data_dir")) => {
                    format!("write `/` between directories: \"{}\"", inner.replace("\\\\", "/").replace('\\', "/"))
                }
                Some(inner) => format!("put a text with backslashes into '…': '{}'", inner.replace('\'', "''")),
                None => "put a text with backslashes into '…'".to_owned(),
            };
            (format!("`\\{c}` is no escape within \"…\""), help)
        }
        Slip::Sign(_) | Slip::Behind(_) | Slip::Bracketed
            if whole::holds_tags(value) && !key.is_empty() && begins_as_template(value) =>
        {
            (
                format!("a template without quotes is a map or a list to YAML, in line {number}"),
                form(keyed(&whole::quote(whole::uncommented(value))), "quote the whole value"),
            )
        }
        Slip::Sign(sign) => of_sign(*sign, behind, line, is_secret, found),
        Slip::NoBlank => {
            let (key, value) = entry(behind);
            let instead = match shown_key(key, line, is_secret) {
                Some(key) => format!("write a space after `{key}:`"),
                None => "write a space after the colon, or quote the whole value".to_owned(),
            };
            let help = form(format!("{key}: {value}"), &instead);
            (format!("line {number} has no space after the colon"), help)
        }
        Slip::OddBlank(odd) => {
            let name = words::odd_character(*odd).unwrap_or("an odd character");
            let begins = behind.starts_with(*odd);
            let has = if begins { "begins with" } else { "has, behind its colon," };
            (format!("line {number} {has} U+{:04X}, {name}", u32::from(*odd)), "type ordinary spaces there".to_owned())
        }
        Slip::NoColon => {
            let end = behind.find([' ', '=', '[', '{', '：']).unwrap_or(behind.len());
            let key = &behind[..end];
            let value = behind[end..].trim_start_matches([' ', '=', '：']);
            let keyed = if value.is_empty() { format!("{key}:") } else { format!("{key}: {value}") };
            // The word may be the next line of a secret, and no key.
            let is_key = shown_key(key, "-", is_secret).is_some();
            let instead = if is_key { format!("write {key}:") } else { "write a colon behind the key".to_owned() };
            (format!("line {number} has no `:` after its key"), form(keyed, &instead))
        }
        Slip::Odd(odd) => {
            let name = words::odd_character(*odd).unwrap_or("a bullet");
            let plain = if name.contains("quote") { "plain quotes: \"…\"" } else { "a plain `-`" };
            (format!("line {number} has U+{:04X}, {name}", u32::from(*odd)), format!("write {plain}"))
        }
        Slip::Mixed(open, close) => {
            (format!("`{open}` is closed by `{close}` in line {number}"), format!("write `{}`", closing(*open)))
        }
        Slip::Behind(sign) => {
            let is_sign = behind.chars().all(|c| c.is_ascii_punctuation());
            let before = value.strip_suffix(behind).unwrap_or_default().trim_end();
            let joined = joined(before, behind).filter(|_| !is_secret && !key.is_empty());
            let is_comment = ["//", "/*", "--", "; "].iter().any(|sign| behind.starts_with(sign));
            let help = match whole::second_key(behind) {
                Some(key) if shown_key(key, "-", is_secret).is_none() => {
                    "begin a line of its own with each key".to_owned()
                }
                Some(key) => format!("begin a line of its own with `{key}:`"),
                None if joined.is_some() => format!("write {}", keyed(&joined.unwrap_or_default())),
                None if is_comment => "a comment begins with `#`, and a space before it".to_owned(),
                None if is_sign => format!("take `{sign}` out, or quote the whole value"),
                None if key.is_empty() => "quote the whole value".to_owned(),
                None => form(keyed(&whole::quote(whole::uncommented(value))), "quote the whole value"),
            };
            (format!("something stands behind a closing bracket in line {number}"), help)
        }
        Slip::Tab => {
            (format!("line {number} is indented by a tab"), "indent by spaces: YAML takes no tabs there".to_owned())
        }
        Slip::Colon => {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let map = if key == "match" { expression::match_map(value) } else { None };
            let takes_map = map.is_some() || takes_map(key);
            let help = match is_secret {
                true if takes_map => format!("write what belongs to `{key}` on lines of its own, below it"),
                false if takes_map => format!("write {key}: {}", map.unwrap_or_else(|| format!("{{ {value} }}"))),
                true => quote_unseen(key, line),
                false => format!("quote the value: {key}: {}", whole::quote(value)),
            };
            (error.message.clone(), help)
        }
        Slip::Indentation(own, other) => {
            // A dash stands two before its key.
            let other = if behind.starts_with("- ") { other.saturating_sub(2) } else { *other };
            let help = format!(
                "indent a key like the one above it, here by {other} {}",
                if other == 1 { "space" } else { "spaces" }
            );
            (format!("line {number} is indented by {own}, and that is no level of the lines above"), help)
        }
        Slip::Bracketed => {
            let value = bracketed(behind);
            let own = own_key(line, behind).unwrap_or(key);
            let quoted = if own == "regex" { format!("'{}'", value.replace('\'', "''")) } else { whole::quote(value) };
            let own = if own.is_empty() { quoted } else { format!("{own}: {quoted}") };
            let message = match whole::holds_tags(value) {
                true => format!("a template without quotes is a map or a list to YAML, in line {number}"),
                false => format!("a plain value holds a bracket in line {number}"),
            };
            (message, form(own, "quote the value that holds it"))
        }
        Slip::NoComma => of_comma(number, line, behind, &form),
        Slip::NoBlankDash => {
            let help = form(format!("- {}", behind.trim_start_matches('-')), "write a space after the `-`");
            (format!("line {number} has no space after its `-`"), help)
        }
        Slip::Comment => {
            let sign: String = behind.chars().take_while(char::is_ascii_punctuation).collect();
            (format!("line {number} begins with `{sign}`, which is no comment to YAML"), "write `#` there".to_owned())
        }
        Slip::Section => {
            let name = behind.trim().trim_matches(['[', ']']);
            (format!("line {number} is a section of another language, and a list to YAML"), format!("write {name}:"))
        }
        Slip::Unindented => {
            let help = "indent each line of a text below `|` or `>` alike, and deeper than its key".to_owned();
            (format!("line {number} is not indented as far as the text that it belongs to"), help)
        }
        Slip::Cut { .. } | Slip::Block(_) | Slip::Swallowed(_) => (error.message.clone(), String::new()),
    };
    Diagnosis { message, help: Some(help).filter(|help| !help.is_empty()), place: Some(found.place) }
}

/// In a list of destinations, no name has a sign before it; elsewhere an item with one is quoted.
fn signless(key: &str, list: &str) -> String {
    let Some(inner) = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return list.to_owned() };
    let item = |item: &str| match item.trim() {
        item if key == "to" => item.trim_start_matches('#').to_owned(),
        item if item.starts_with('#') => whole::quote(item),
        item => item.to_owned(),
    };
    format!("[{}]", inner.split(',').map(item).collect::<Vec<_>>().join(", "))
}

/// Whether a map stands behind a key.
fn takes_map(key: &str) -> bool {
    find::homes(key).first().is_some_and(|home| home.example.starts_with('{'))
}

/// `{ a } and { b }`: the map that was meant.
fn joined(before: &str, behind: &str) -> Option<String> {
    let inner = |map: &str| {
        let inner = map.trim().strip_prefix('{')?.strip_suffix('}')?.trim().to_owned();
        (!inner.contains(['{', '}'])).then_some(inner)
    };
    let (word, second) = ["and ", "&& ", "AND ", ", ", "& ", "or ", "|| ", "OR "]
        .iter()
        .find_map(|word| Some((*word, behind.strip_prefix(*word)?)))?;
    let first = inner(before)?;
    let second = inner(whole::uncommented(second))?;
    Some(match word {
        "or " | "|| " | "OR " => format!("{{ any: [{{ {first} }}, {{ {second} }}] }}"),
        _ => format!("{{ {first}, {second} }}"),
    })
}

/// The key right before a value.
fn own_key<'l>(line: &'l str, behind: &str) -> Option<&'l str> {
    let before = line[..line.find(behind)?].trim_end().strip_suffix(':')?;
    let own = before.rsplit(['{', ',', ' ']).next()?;
    (!own.is_empty()).then_some(own)
}

/// A value with brackets in it, as far as it was probably meant.
fn bracketed(behind: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in behind.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 0 => return behind[..at].trim_end(),
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => return behind[..at].trim_end(),
            _ => {}
        }
    }
    whole::uncommented(behind)
}

/// Two keys in one entry of a map: with the comma between them, or with the text that holds the colon in quotes.
fn of_comma(number: usize, line: &str, behind: &str, form: &dyn Fn(String, &str) -> String) -> (String, String) {
    let before = line.find(behind).map(|at| &line[..at]).unwrap_or_default();
    let word = behind.split(':').next().unwrap_or_default();
    let is_key = vero::sends(word)
        || OPERATORS.iter().any(|operator| operator.name == word)
        || matches!(word, "not" | "any" | "all" | "none")
        || !find::homes(word).is_empty();
    let start = before.trim_start().trim_start_matches("- ").trim_end();
    match () {
        () if start.is_empty() => {
            (format!("there is no comma before line {number}"), "put a `,` at the end of the line above".to_owned())
        }
        () if is_key && !start.ends_with([':', '{', ',']) => {
            let start = start.trim_end_matches([';', '|', '&', ' ']).trim_end_matches(" and");
            let help = form(format!("{start}, {behind}"), "write a `,` between the two");
            (format!("there is no comma before `{word}` in line {number}"), help)
        }
        () => {
            let from = before.rfind([':', '{', ',']).map_or(0, |at| at + 1);
            let text = format!("{}{}", before[from..].trim_start(), bracketed(behind));
            let own = own_key(line, &line[from..]).filter(|own| !own.is_empty());
            let own = own.or_else(|| before[..from].trim_end_matches(':').rsplit(['{', ',', ' ']).next());
            let help = form(
                format!("{}: {}", own.unwrap_or_default(), whole::quote(&text)),
                "quote the text that holds a `: `",
            );
            (format!("a text without quotes holds a `: ` in line {number}"), help)
        }
    }
}

/// `"a" or "b"`, `"a", "b"`: several texts in quotes.
fn alternatives(text: &str) -> Option<Vec<String>> {
    let text = text.trim_start_matches(['"', '\'']);
    let signs = ["\" or \"", "\", \"", "\" | \"", "\" || \"", "' or '", "', '"];
    let sign = signs.iter().find(|sign| {
        text.contains(**sign) || format!("\"{text}").contains(**sign) || format!("'{text}").contains(**sign)
    })?;
    let parts = text.split(sign).map(|part| yaml(part.trim_matches(['"', '\'', ' '])));
    Some(parts.filter(|part| part != "\"\"").collect())
}

/// Where the line of an offset begins.
fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

fn closing(sign: char) -> char {
    if sign == '[' { ']' } else { '}' }
}

/// What is open in a text, closed.
fn close(text: &str) -> String {
    let mut open = Vec::new();
    let mut quote = None;
    for c in text.chars() {
        match (c, quote) {
            (c, Some(opened)) if c == opened => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            ('[' | '{', None) => open.push(c),
            (']' | '}', None) => drop(open.pop()),
            _ => {}
        }
    }
    let space = if open.last() == Some(&'{') { " " } else { "" };
    let end: String = open.into_iter().rev().map(closing).collect();
    format!("{}{space}{end}", text.trim_end_matches(','))
}

/// The line up to what is open, and that closed.
fn keyed_before(line: &str, behind: &str, closed: &str) -> String {
    let start = line.find(behind).unwrap_or_default();
    format!("{}{closed}", line[..start].trim_start().trim_start_matches("- "))
}

/// What stands in double quotes around a place.
fn quoted_at<'t>(line: &'t str, text: &str, offset: usize) -> Option<&'t str> {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let at = offset - start;
    let open = line.get(..at)?.rfind('"')?;
    let end = line[at..].find('"').map_or(line.len(), |end| at + end);
    line.get(open + 1..end)
}

/// `{{ type }} …`, `{% if … %}`, `[{{ type }}] …`: what somebody writes as a text.
pub(super) fn begins_as_template(value: &str) -> bool {
    whole::holds_tags(value.trim_start_matches('[').get(..2).unwrap_or_default())
}

/// The key and the value of a line, without a comment and without the dash.
pub(super) fn entry(line: &str) -> (&str, &str) {
    let line = line.trim().trim_start_matches("- ").trim_start();
    match line.split_once(':') {
        Some((key, value)) => (key.trim(), value.trim()),
        None => ("", line),
    }
}
