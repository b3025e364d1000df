//! A value that begins with a sign that means something to YAML: the form in which it was meant.
//!
//! In a match the form is the one that [`shapes`] has for the same text in quotes, so that whoever follows it is told nothing more.

use super::advice::shapes::{self, yaml};
use crate::event::vero;
use crate::rules::operators::OPERATORS;
use crate::yaml::scan::Finding;
use crate::yaml::secrecy::shown_key;
use crate::yaml::whole;
use crate::yaml::words::variable_name;

/// A longer line is not written out again.
const SHOWN_BYTES_MAX: usize = 160;

/// Signs that no plain value begins with.
const SIGNS: [char; 12] = ['@', '&', '*', '#', '!', '%', '`', '-', '>', '|', '?', '→'];

/// A value that begins with a sign: a comparison, or a text that must be quoted.
pub(super) fn of_sign(sign: char, behind: &str, line: &str, is_secret: bool, found: &Finding) -> (String, String) {
    let before = line.find(behind).map(|at| &line[..at]).unwrap_or_default().trim_end();
    let is_within = before.contains(['{', '[']);
    let message = match sign {
        '!' => "a value that begins with `!` is a tag to YAML".to_owned(),
        '>' | '|' if !is_within => {
            format!("`{sign}` begins a block of text in YAML, and nothing stands behind it on its line")
        }
        '*' => "a value that begins with `*` is an alias to YAML".to_owned(),
        '&' => "a value that begins with `&` is an anchor to YAML".to_owned(),
        '`' => "a plain value cannot begin with a backtick".to_owned(),
        '-' => "a `-` begins an item of a list, on a line of its own".to_owned(),
        _ => format!("a plain value cannot begin with `{sign}`"),
    };
    let value = match is_within {
        true => behind.split([',', ']', '}']).next().unwrap_or_default().trim(),
        false => whole::uncommented(behind).trim(),
    };
    let place = Placed::of(found, before, line.starts_with(behind));
    if sign == '!'
        && !before.ends_with(':')
        && let Some((key, value)) = tagged_key(behind)
    {
        let help = Some(&place).filter(|_| !is_secret).and_then(|place| place.negated(key, value, is_within));
        let help = help.unwrap_or_else(|| "take the `!` out of the key, or quote the key".to_owned());
        return ("a key that begins with `!` is a tag to YAML".to_owned(), help);
    }
    if let Some(name) = reference(value) {
        return (message, keyed(place.key, &format!("\"${{{name}}}\""), "write"));
    }
    if is_secret {
        return (message, quote_unseen(place.key, line));
    }
    if value.starts_with("!include") {
        return (message, "one file holds the whole config: write out what it would take in".to_owned());
    }
    let list = list_around(before, behind).filter(|_| line.len() <= SHOWN_BYTES_MAX);
    if let Some(items) = list {
        return (message, place.list(sign, &items));
    }
    (message, place.single(sign, value))
}

/// How to quote a value that may be a secret.
pub(super) fn quote_unseen(key: &str, line: &str) -> String {
    match shown_key(key, line, true) {
        Some(key) => format!("quote the value of `{key}`"),
        None => "quote the whole value".to_owned(),
    }
}

/// `!=: value` and `!field: value`: the key and what stands behind it. YAML's own tags (`!!str`, `!<…>`) are none.
fn tagged_key(behind: &str) -> Option<(&str, &str)> {
    let (key, value) =
        behind.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with([' ', '\t']))?;
    let is_key = !key.starts_with("!!") && !key.contains([',', '[', ']', '{', '}', '<', '#', '"']);
    is_key.then_some((key, whole::uncommented(value).trim().trim_end_matches(',')))
}

/// A plain word or number, or a list of some; `…` for anything that cannot be written again without a look at its quotes.
fn shown_plainly(value: &str, is_within: bool) -> &str {
    let is_plain = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ' ');
        !text.trim().is_empty() && text.chars().all(is_plain)
    };
    if let Some((items, rest)) = value.strip_prefix('[').and_then(|list| list.split_once(']')) {
        let is_alone = if is_within { !rest.contains('"') } else { rest.is_empty() };
        return if is_alone && items.split(',').all(is_plain) { &value[..items.len() + 2] } else { "…" };
    }
    let value = if is_within { value.split([',', '}', ']']).next().unwrap_or_default().trim() } else { value };
    if is_plain(value) { value } else { "…" }
}

/// `key: form`, or the form alone where there is no key.
fn keyed(key: &str, form: &str, verb: &str) -> String {
    if key.is_empty() { format!("{verb} {form}") } else { format!("{verb} {key}: {form}") }
}

/// `%NAME%`, `!env NAME` and `!secret name`: what stands for a value from outside, as other programs have it.
fn reference(value: &str) -> Option<String> {
    if let Some(name) = variable_name(value) {
        return Some(name.to_owned());
    }
    let (tag, name) = value.strip_prefix('!')?.split_once(' ')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_tag = matches!(tag.to_lowercase().as_str(), "env" | "env_var" | "secret" | "var" | "getenv");
    (is_tag && is_name).then(|| name.to_uppercase())
}

/// The items of the list that a value stands in, if it stands in one on its line.
fn list_around<'l>(before: &'l str, behind: &'l str) -> Option<Vec<&'l str>> {
    let open = before.rfind('[').filter(|_| before.matches('[').count() > before.matches(']').count())?;
    if before[open..].contains('{') {
        return None;
    }
    let rest = behind.split([']', '}']).next().unwrap_or_default();
    let items = before[open + 1..].split(',').map(str::trim).filter(|item| !item.is_empty());
    Some(items.chain(rest.split(',').map(str::trim).filter(|item| !item.is_empty())).collect())
}

/// Where a value stands.
struct Placed<'f> {
    key: &'f str,
    /// In a match: the field, and the operators below it.
    field: Option<(&'f str, Vec<&'f str>)>,
    is_in_match: bool,
}

impl<'f> Placed<'f> {
    fn of(found: &'f Finding, before: &'f str, begins_the_line: bool) -> Self {
        let own: Vec<&str> = flow_keys(before);
        let mut above: Vec<&str> = found.keys.iter().map(String::as_str).collect();
        // The line's own key is among both.
        if own.first().is_some_and(|first| above.last() == Some(first)) {
            above.pop();
        }
        above.extend(own);
        let key = if begins_the_line && !found.is_item { "" } else { above.last().copied().unwrap_or_default() };
        let start = above.iter().rposition(|key| matches!(*key, "match" | "any" | "all" | "none"));
        let below = start.map(|start| &above[start + 1..]).or_else(|| {
            // Without a match above it, a field is known by its dot.
            let at = above.iter().position(|key| key.contains('.') && vero::sends(key))?;
            Some(&above[at..])
        });
        let field = below.and_then(|below| below.split_first()).map(|(field, rest)| (*field, rest.to_vec()));
        Self { key, field: field.filter(|(field, _)| !field.is_empty()), is_in_match: start.is_some() }
    }

    /// What is meant by a key that begins with `!`, if this is a place where something can be negated.
    fn negated(&self, key: &str, value: &str, is_within: bool) -> Option<String> {
        let name = key.trim_start_matches(['!', '=', ' ']).trim();
        let value = shown_plainly(value, is_within);
        // The key itself may be among them.
        let above = self.field.iter().flat_map(|(field, below)| std::iter::once(field).chain(below));
        let is_below_a_field = above.into_iter().any(|key| !key.starts_with('!'));
        match name {
            _ if !self.is_in_match => None,
            "" if is_below_a_field => Some(format!("write not: {value}")),
            _ if is_below_a_field => {
                let is_operator = OPERATORS.iter().any(|known| known.name == name);
                is_operator.then(|| format!("write not: {{ {name}: {value} }}"))
            }
            "any" => Some("write none: in place of !any:".to_owned()),
            _ => vero::sends(name).then(|| format!("write {name}: {{ not: {value} }}")),
        }
    }

    fn quoted(&self, value: &str) -> String {
        keyed(self.key, &whole::quote(value), "quote the value:")
    }

    fn single(&self, sign: char, value: &str) -> String {
        if self.key == "to" {
            return format!("write to: {}", value.trim_start_matches(SIGNS).trim());
        }
        let Some((field, operators)) = &self.field else { return self.quoted(value) };
        if let Some((name, rest)) = value.strip_prefix('!').and_then(|value| value.split_once(' '))
            && (name == "not" || OPERATORS.iter().any(|known| known.name == name))
        {
            let rest = rest.trim().trim_matches(['"', '\'']);
            let is_word = matches!(rest, "true" | "false") || rest.parse::<f64>().is_ok();
            let rest = if is_word { rest.to_owned() } else { yaml(rest) };
            return format!("write {}", keyed(self.key, &format!("{{ {name}: {rest} }}"), "").trim());
        }
        let bare = value.trim_start_matches('-').trim();
        let operator = operators.last().copied();
        let is_negated = operators.contains(&"not");
        let wrapped = |form: String| if is_negated { format!("{{ not: {form} }}") } else { form };
        match operator {
            _ if sign == '-' => format!("write {}: {}", self.key, yaml(bare)),
            None | Some("not") if value == "*" => {
                format!("for every value, write {field}: {}", wrapped("{ exists: true }".to_owned()))
            }
            None | Some("not") => match shapes::form(field, None, value).or_else(|| compared(value)) {
                // What negates below a `not` need not do it twice.
                Some(form) if is_negated && form.starts_with("{ not:") => {
                    format!(
                        "write {}",
                        keyed(self.key, form.trim_start_matches("{ not:").trim_end_matches('}').trim(), "").trim()
                    )
                }
                Some(form) if !is_negated && self.key.is_empty() => format!("write {field}: {form}"),
                Some(form) => format!("write {field}: {}", wrapped(form)),
                None => self.quoted(value),
            },
            Some(operator) if OPERATORS.iter().any(|known| known.name == operator) => match compared(value) {
                // `{ gt: > 5 }`: the sign is said twice.
                Some(_) if matches!(operator, "gt" | "gte" | "lt" | "lte") => {
                    let number = value.trim_start_matches(['>', '<', '=', ' ']);
                    format!("write {operator}: {number}")
                }
                _ => self.quoted(value),
            },
            Some(_) => self.quoted(value),
        }
    }

    fn list(&self, sign: char, items: &[&str]) -> String {
        let plain = |items: &[&str]| {
            let items: Vec<_> = items.iter().map(|item| yaml(item.trim_matches(['"', '\'']))).collect();
            items.join(", ")
        };
        if self.key == "to" {
            let items: Vec<_> = items.iter().map(|item| item.trim_start_matches(SIGNS).trim()).collect();
            return format!("write to: [{}]", plain(&items));
        }
        let negated: Vec<&str> = items.iter().filter_map(|item| item.strip_prefix('!')).map(str::trim).collect();
        let others: Vec<&str> = items.iter().filter(|item| !item.starts_with('!')).copied().collect();
        match &self.field {
            Some((field, _)) if sign == '!' && others.is_empty() => {
                format!("write {field}: {{ not: [{}] }}", plain(&negated))
            }
            Some((field, _)) if sign == '!' => {
                let others = if others.len() == 1 { plain(&others) } else { format!("[{}]", plain(&others)) };
                format!("write {field}: {others}; for all but some, {field}: {{ not: [{}] }}", plain(&negated))
            }
            Some((field, operators)) if operators.is_empty() && sign == '*' => {
                format!("write {field}: {{ glob: {} }}", quoted_list(items))
            }
            Some((field, operators)) if operators.is_empty() && sign == '@' && field.ends_with("email") => {
                format!("write {field}: {{ ends_with: {} }}", quoted_list(items))
            }
            _ => keyed(self.key, &quoted_list(items), "quote the values:"),
        }
    }
}

/// A list whose items are in quotes where they begin with a sign.
fn quoted_list(items: &[&str]) -> String {
    let is_bare = |item: &str| !item.starts_with(['"', '\'']);
    let has_sign = |item: &str| item.starts_with(SIGNS) || item.contains(['*', '?']);
    let items: Vec<_> = items
        .iter()
        .map(|item| if is_bare(item) && has_sign(item) { whole::quote(item) } else { (*item).to_owned() })
        .collect();
    format!("[{}]", items.join(", "))
}

/// The keys that lead to the end of a line's beginning, through its braces: `match: { a: { b:` has three.
fn flow_keys(before: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = vec![""];
    let mut start = 0;
    for (at, c) in before.char_indices() {
        match c {
            '{' | '[' => keys.push(""),
            '}' | ']' => drop(keys.pop()),
            ',' => keys.iter_mut().next_back().into_iter().for_each(|key| *key = ""),
            ':' => {
                let key = before[start..at].trim().trim_start_matches("- ").trim_matches(['"', '\'', ' ']);
                keys.iter_mut().next_back().into_iter().for_each(|own| *own = key);
            }
            _ => continue,
        }
        start = at + c.len_utf8();
    }
    keys.retain(|key| !key.is_empty());
    keys
}

/// `!= Spring`, `> 5`: the operator that a sign stands for.
fn compared(value: &str) -> Option<String> {
    const SIGNS: [(&str, &str); 6] =
        [("!=", "not"), (">=", "gte"), ("<=", "lte"), (">", "gt"), ("<", "lt"), ("!", "not")];
    let (operator, rest) = SIGNS.iter().find_map(|(sign, operator)| Some((*operator, value.strip_prefix(sign)?)))?;
    let rest = rest.trim_start_matches(':').trim().trim_matches(['"', '\'']);
    let is_number = rest.parse::<f64>().is_ok();
    (!rest.is_empty() && (operator == "not" || is_number)).then(|| {
        let rest = if operator == "not" { yaml(rest) } else { rest.to_owned() };
        format!("{{ {operator}: {rest} }}")
    })
}
