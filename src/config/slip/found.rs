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
    let (message, help) = Found::of(text, found).told(error);
    Diagnosis { message, help: Some(help).filter(|help| !help.is_empty()), place: Some(found.place) }
}

/// A finding, and what stands around it.
struct Found<'t> {
    text: &'t str,
    finding: &'t Finding,
    number: usize,
    line: &'t str,
    /// The line may hold a secret: what stands on it is not repeated.
    is_secret: bool,
    key: &'t str,
    value: &'t str,
    /// The line from the finding on.
    behind: &'t str,
}

impl<'t> Found<'t> {
    fn of(text: &'t str, finding: &'t Finding) -> Self {
        let Place { line: number, offset, .. } = finding.place;
        let line = line_at(text, offset);
        let (key, value) = entry(line);
        let behind = text[offset..].lines().next().unwrap_or_default().trim_end();
        Self { text, finding, number, line, is_secret: may_show_secret(text, offset), key, value, behind }
    }

    /// The form to write, or what to say instead where a secret may be in it.
    fn form(&self, form: impl std::fmt::Display, instead: &str) -> String {
        if self.is_secret { instead.to_owned() } else { format!("write {form}") }
    }

    /// A value with the line's key before it.
    fn keyed(&self, value: &str) -> String {
        if self.key.is_empty() { value.to_owned() } else { format!("{}: {value}", self.key) }
    }

    fn quoted_value(&self) -> String {
        self.keyed(&whole::quote(whole::uncommented(self.value)))
    }

    /// The message and the help.
    fn told(&self, error: &SyntaxError) -> (String, String) {
        let Self { number, behind, .. } = *self;
        match &self.finding.slip {
            Slip::Open(sign, has_comment) => {
                let help = if *has_comment { self.closed_before_comment() } else { self.closed(*sign) };
                (format!("`{sign}` of line {number} is not closed"), help)
            }
            Slip::OpenQuote(quote) => self.open_quote(*quote),
            Slip::InnerQuote(_) if !whole::holds_tags(self.value) && alternatives(behind).is_some() => {
                let parts = alternatives(self.value).unwrap_or_default().join(", ");
                (
                    format!("a second text follows the first in line {number}"),
                    self.form(self.keyed(&format!("[{parts}]")), "write a list: [\"…\", \"…\"]"),
                )
            }
            Slip::InnerQuote(sign) => self.inner_quote(*sign),
            Slip::Escape(c) => (format!("`\\{c}` is no escape within \"…\""), self.unescaped()),
            Slip::Sign(_) | Slip::Behind(_) | Slip::Bracketed
                if whole::holds_tags(self.value) && !self.key.is_empty() && begins_as_template(self.value) =>
            {
                let message = format!("a template without quotes is a map or a list to YAML, in line {number}");
                (message, self.form(self.quoted_value(), "quote the whole value"))
            }
            Slip::Sign(sign) => of_sign(*sign, behind, self.line, self.is_secret, self.finding),
            Slip::NoBlank => self.no_blank(),
            Slip::OddBlank(odd) => {
                let name = words::odd_character(*odd).unwrap_or("an odd character");
                let has = if behind.starts_with(*odd) { "begins with" } else { "has, behind its colon," };
                let message = format!("line {number} {has} U+{:04X}, {name}", u32::from(*odd));
                (message, "type ordinary spaces there".to_owned())
            }
            Slip::NoColon => self.no_colon(),
            Slip::Odd(odd) => {
                let name = words::odd_character(*odd).unwrap_or("a bullet");
                let plain = if name.contains("quote") { "plain quotes: \"…\"" } else { "a plain `-`" };
                (format!("line {number} has U+{:04X}, {name}", u32::from(*odd)), format!("write {plain}"))
            }
            Slip::Mixed(open, close) => {
                (format!("`{open}` is closed by `{close}` in line {number}"), format!("write `{}`", closing(*open)))
            }
            Slip::Behind(sign) => {
                (format!("something stands behind a closing bracket in line {number}"), self.behind_bracket(*sign))
            }
            Slip::Tab => {
                (format!("line {number} is indented by a tab"), "indent by spaces: YAML takes no tabs there".to_owned())
            }
            Slip::Colon => (error.message.clone(), self.second_colon()),
            Slip::Indentation(own, other) => self.indentation(*own, *other),
            Slip::Bracketed => self.bracketed(),
            Slip::NoComma => self.no_comma(),
            Slip::NoBlankDash => {
                let help = self.form(format!("- {}", behind.trim_start_matches('-')), "write a space after the `-`");
                (format!("line {number} has no space after its `-`"), help)
            }
            Slip::Comment => {
                let sign: String = behind.chars().take_while(char::is_ascii_punctuation).collect();
                let message = format!("line {number} begins with `{sign}`, which is no comment to YAML");
                (message, "write `#` there".to_owned())
            }
            Slip::Section => {
                let name = behind.trim().trim_matches(['[', ']']);
                let message = format!("line {number} is a section of another language, and a list to YAML");
                (message, format!("write {name}:"))
            }
            Slip::Unindented => {
                let help = "indent each line of a text below `|` or `>` alike, and deeper than its key".to_owned();
                (format!("line {number} is not indented as far as the text that it belongs to"), help)
            }
            Slip::Cut { .. } | Slip::Block(_) | Slip::Swallowed(_) => (error.message.clone(), String::new()),
        }
    }

    /// What is open, closed.
    fn closed(&self, sign: char) -> String {
        let inner = self.behind.split(" #").next().unwrap_or_default();
        let closed = keyed_before(self.line, self.behind, &close(inner.trim_end()));
        self.form(closed, &format!("close it with `{}`", closing(sign)))
    }

    /// What is open, closed before the comment that YAML saw.
    fn closed_before_comment(&self) -> String {
        let (inner, comment) = self.behind.split_once(" #").unwrap_or((self.behind, ""));
        if comment.is_empty() || self.is_secret {
            return "` #` begins a comment: close what is open before it".to_owned();
        }
        // `[ops, #alerts]`: a word behind the sign stood in the list.
        if comment.starts_with(|c: char| c.is_alphanumeric()) && inner.starts_with('[') {
            let rest = comment.split(" #").next().unwrap_or_default().trim_end();
            let list = signless(self.key, &close(&format!("{inner} #{rest}")));
            return format!("` #` begins a comment: write {}", keyed_before(self.line, self.behind, &list));
        }
        let closed = keyed_before(self.line, self.behind, &close(inner.trim_end()));
        format!("` #` begins a comment: close it before, {closed}")
    }

    fn open_quote(&self, quote: char) -> (String, String) {
        let before = self.line.find(self.behind).map(|at| self.line[..at].trim_start()).unwrap_or_default();
        let before = before.trim_start_matches("- ");
        let closed = format!("{before}{}", whole::closed_quote(before, self.behind, quote));
        let help = self.form(closed, &format!("close it with `{quote}`"));
        (format!("the quote `{quote}` of line {} is not closed", self.number), help)
    }

    fn inner_quote(&self, sign: char) -> (String, String) {
        let offset = self.finding.place.offset;
        let start = self.line.find(self.value).unwrap_or_default();
        let within = (offset - line_start(self.text, offset)).checked_sub(start);
        let requoted = within.and_then(|at| whole::requoted(self.value, at));
        let help = match (requoted.filter(|_| !self.is_secret), sign) {
            (Some(requoted), _) => format!("put the whole text into quotes: {}", self.keyed(&requoted)),
            (None, '"') => "write `\\\"` for each `\"` within \"…\", or put the text into '…'".to_owned(),
            (None, _) => "write `''` for each `'` within '…'".to_owned(),
        };
        let around = if sign == '"' { "\"…\"" } else { "'…'" };
        (format!("a `{sign}` within {around} ends the text, in line {}", self.number), help)
    }

    /// A text with backslashes, as it can stand.
    fn unescaped(&self) -> String {
        let offset = self.finding.place.offset;
        let own = self.text[..offset].rfind('"').and_then(|at| {
            let from = line_at(self.text, at).get(at - line_start(self.text, at)..)?;
            own_key(self.line, from)
        });
        match quoted_at(self.line, self.text, offset).filter(|_| !self.is_secret) {
            Some(inner) if matches!(own, Some("path" | "ca" | "data_dir")) => {
                format!("write `/` between directories: \"{}\"", inner.replace("\\\\", "/").replace('\\', "/"))
            }
            Some(inner) => format!("put a text with backslashes into '…': '{}'", inner.replace('\'', "''")),
            None => "put a text with backslashes into '…'".to_owned(),
        }
    }

    fn no_blank(&self) -> (String, String) {
        let (key, value) = entry(self.behind);
        let instead = match shown_key(key, self.line, self.is_secret) {
            Some(key) => format!("write a space after `{key}:`"),
            None => "write a space after the colon, or quote the whole value".to_owned(),
        };
        let help = self.form(format!("{key}: {value}"), &instead);
        (format!("line {} has no space after the colon", self.number), help)
    }

    fn no_colon(&self) -> (String, String) {
        let end = self.behind.find([' ', '=', '[', '{', '：']).unwrap_or(self.behind.len());
        let key = &self.behind[..end];
        let value = self.behind[end..].trim_start_matches([' ', '=', '：']);
        let keyed = if value.is_empty() { format!("{key}:") } else { format!("{key}: {value}") };
        // The word may be the next line of a secret, and no key.
        let is_key = shown_key(key, "-", self.is_secret).is_some();
        let instead = if is_key { format!("write {key}:") } else { "write a colon behind the key".to_owned() };
        (format!("line {} has no `:` after its key", self.number), self.form(keyed, &instead))
    }

    /// What to do with something behind a closing bracket.
    fn behind_bracket(&self, sign: char) -> String {
        let behind = self.behind;
        if let Some(key) = whole::second_key(behind) {
            return match shown_key(key, "-", self.is_secret) {
                None => "begin a line of its own with each key".to_owned(),
                Some(_) => format!("begin a line of its own with `{key}:`"),
            };
        }
        let before = self.value.strip_suffix(behind).unwrap_or_default().trim_end();
        if let Some(joined) = joined(before, behind).filter(|_| !self.is_secret && !self.key.is_empty()) {
            return format!("write {}", self.keyed(&joined));
        }
        if ["//", "/*", "--", "; "].iter().any(|sign| behind.starts_with(sign)) {
            return "a comment begins with `#`, and a space before it".to_owned();
        }
        if behind.chars().all(|c| c.is_ascii_punctuation()) {
            return format!("take `{sign}` out, or quote the whole value");
        }
        if self.key.is_empty() {
            return "quote the whole value".to_owned();
        }
        self.form(self.quoted_value(), "quote the whole value")
    }

    /// How to write a text, or a map, with a second colon.
    fn second_colon(&self) -> String {
        let value = self.value.split(" #").next().unwrap_or_default().trim();
        let map = if self.key == "match" { expression::match_map(value) } else { None };
        let takes_map = map.is_some() || takes_map(self.key);
        let key = self.key;
        match self.is_secret {
            true if takes_map => format!("write what belongs to `{key}` on lines of its own, below it"),
            false if takes_map => format!("write {key}: {}", map.unwrap_or_else(|| format!("{{ {value} }}"))),
            true => quote_unseen(key, self.line),
            false => format!("quote the value: {key}: {}", whole::quote(value)),
        }
    }

    fn indentation(&self, own: usize, other: usize) -> (String, String) {
        // A dash stands two before its key.
        let other = if self.behind.starts_with("- ") { other.saturating_sub(2) } else { other };
        let spaces = if other == 1 { "space" } else { "spaces" };
        let help = format!("indent a key like the one above it, here by {other} {spaces}");
        (format!("line {} is indented by {own}, and that is no level of the lines above", self.number), help)
    }

    fn bracketed(&self) -> (String, String) {
        let value = bracketed(self.behind);
        let own = own_key(self.line, self.behind).unwrap_or(self.key);
        let quoted = if own == "regex" { format!("'{}'", value.replace('\'', "''")) } else { whole::quote(value) };
        let own = if own.is_empty() { quoted } else { format!("{own}: {quoted}") };
        let message = match whole::holds_tags(value) {
            true => format!("a template without quotes is a map or a list to YAML, in line {}", self.number),
            false => format!("a plain value holds a bracket in line {}", self.number),
        };
        (message, self.form(own, "quote the value that holds it"))
    }

    /// Two keys in one entry of a map: with the comma between them, or with the text that holds the colon in quotes.
    fn no_comma(&self) -> (String, String) {
        let Self { number, line, behind, .. } = *self;
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
                let help = self.form(format!("{start}, {behind}"), "write a `,` between the two");
                (format!("there is no comma before `{word}` in line {number}"), help)
            }
            () => {
                let from = before.rfind([':', '{', ',']).map_or(0, |at| at + 1);
                let text = format!("{}{}", before[from..].trim_start(), bracketed(behind));
                let own = own_key(line, &line[from..]).filter(|own| !own.is_empty());
                let own = own.or_else(|| before[..from].trim_end_matches(':').rsplit(['{', ',', ' ']).next());
                let help = self.form(
                    format!("{}: {}", own.unwrap_or_default(), whole::quote(&text)),
                    "quote the text that holds a `: `",
                );
                (format!("a text without quotes holds a `: ` in line {number}"), help)
            }
        }
    }
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
