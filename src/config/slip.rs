//! What a slip in the YAML was meant to be, told where it was made and not where YAML noticed it. [`found`]: of a finding in the text.

mod found;

use self::found::{begins_as_template, entry, of_finding};
use super::signs::quote_unseen;
use crate::rules::operators::OPERATORS;
use crate::yaml::load::{Place, SyntaxError};
use crate::yaml::problem::Diagnosis;
use crate::yaml::reader::Reader;
use crate::yaml::scan::{Finding, Slip, scan};
use crate::yaml::secrecy::{lies_below_secret, lies_beside_secret, line_at, may_show_secret};
use crate::yaml::whole;

/// YAML may notice a slip some lines behind it.
const LINES_BEHIND: usize = 4;

/// What is told of limits, which are no slips.
const LIMITS: [(&str, &str); 3] = [
    ("aliases repeat", "write out what is repeated, or leave some of it out"),
    ("more than one document", "take the `---` out, with what does not belong to this config"),
    ("deep", "nothing in a config lies so deep: look for brackets that are not closed"),
];

/// Finds what was probably meant.
pub(super) fn diagnose(text: &str, error: &SyntaxError) -> Diagnosis {
    let told = Diagnosis { message: error.message.clone(), help: None, place: error.place };
    let second = error.message.contains("more than one document").then(|| second_document(text));
    match (LIMITS.iter().find(|(part, _)| error.message.contains(part)), second) {
        // Without such a line something else made YAML see two documents.
        (_, Some(None)) => {}
        (Some((_, help)), place) => {
            let place = place.flatten().or(told.place);
            return Diagnosis { help: Some((*help).to_owned()), place, ..told };
        }
        (None, _) => {}
    }
    if error.message.contains("'-' indicator") {
        let help = "each item of a list begins with `- `".to_owned();
        return Diagnosis { message: "an item of this list begins without `-`".to_owned(), help: Some(help), ..told };
    }
    let at = error.place.map_or(usize::MAX, |place| place.line);
    let found = scan(text);
    let is_before = |found: &&Finding| found.place.line <= at;
    let is_slip = |found: &&Finding| !matches!(found.slip, Slip::Cut { .. } | Slip::Block(_) | Slip::Swallowed(_));
    let certain = found.iter().filter(is_before).find(|found| found.slip.is_certain());
    let near = || {
        let uncertain = found.iter().filter(is_before).filter(is_slip);
        uncertain
            .filter(|found| at == usize::MAX || found.place.line + LINES_BEHIND > at)
            .find(|found| !found.slip.is_certain())
    };
    let chosen = match (certain, near()) {
        // The earlier of two: what follows may come of it.
        (Some(certain), Some(near))
            if near.place.offset < certain.place.offset && near.place.line + LINES_BEHIND > at =>
        {
            Some(near)
        }
        (certain, near) => certain.or(near),
    };
    match chosen {
        Some(found) => of_finding(text, found, error),
        None => Diagnosis { help: by_message(text, error), ..told },
    }
}

/// Where the second of several documents begins.
fn second_document(text: &str) -> Option<Place> {
    let mut offset = 0;
    let mut has_begun = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_mark = line.trim_end() == "---" || line.starts_with("--- ") || line.trim_end() == "...";
        if is_mark && has_begun {
            return Some(Place { line: number + 1, column: 1, offset });
        }
        has_begun |= is_mark || !(line.trim().is_empty() || line.starts_with('#') || line.starts_with('%'));
        offset += line.len();
    }
    None
}

/// The rest, by what YAML says.
fn by_message(text: &str, error: &SyntaxError) -> Option<String> {
    let place = error.place?;
    let lines: Vec<_> = text.lines().collect();
    let start = |line: &str| line.as_ptr().addr() - text.as_ptr().addr();
    let nearby = || lines.iter().enumerate().filter(|(i, _)| (i + 1).abs_diff(place.line) <= 1).map(|(_, line)| *line);
    let above = || lines[..place.line.min(lines.len())].iter().enumerate().rev();
    let unknown_anchor = error.message.contains("unknown anchor").then(|| {
        let line = line_at(text, place.offset);
        let name: String =
            line.get(line.find('*')? + 1..)?.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
        (!may_show_secret(text, place.offset) && entry(line).0 == "<<")
            .then(|| format!("there is no `&{name}` above it"))
    });
    unknown_anchor
        .flatten()
        .or_else(|| nearby().find_map(|line| unquoted(line, || may_show_secret(text, start(line)))))
        .or_else(|| match &error.message {
            message if message.contains("could not find expected ':'") => {
                let is_bare = |line: &&&str| {
                    !line.trim().is_empty() && !line.contains(':') && !line.trim().starts_with(['-', '#'])
                };
                above().find(|(_, line)| is_bare(line)).map(|(i, _)| format!("line {} has no `:` after its key", i + 1))
            }
            message if message.contains("mapping values are not allowed") => {
                Some("indent a key like the one above it; quote a value that holds `: `".to_owned())
            }
            message if message.contains("expected ',' or") => Some(
                "separate values by `,`, close what is open, and quote a value that holds one of { } [ ] , # : "
                    .trim_end()
                    .to_owned(),
            ),
            message
                if message.contains("did not find expected key")
                    && line_at(text, place.offset).trim_start().starts_with("- ") =>
            {
                Some(
                    "a `-` begins an item of a list, and keys stand here: take it out, or indent it below its key"
                        .to_owned(),
                )
            }
            message if message.contains("did not find expected") => Some(
                "indent keys of one map alike, and items of one list alike; quote a value that holds a sign".to_owned(),
            ),
            message if message.contains("a key here is") => Some("quote what begins with `{` or `[`".to_owned()),
            message if message.starts_with("a key has a tag") => {
                Some("take the `!` out of the key, or quote it".to_owned())
            }
            _ => Some("quote the value".to_owned()),
        })
}

/// A value that must be quoted, and the quoted form.
fn unquoted(line: &str, is_secret: impl Fn() -> bool) -> Option<String> {
    if let Some(item) = line.trim().strip_prefix("- ").filter(|item| begins_as_template(item)) {
        return (!is_secret()).then(|| format!("quote the value: - {}", whole::quote(whole::uncommented(item))));
    }
    let (key, value) = line.split_once(": ")?;
    let key = key.trim().trim_start_matches("- ");
    let value = value.trim();
    let is_bare = !value.starts_with(['"', '\'', '|', '>']);
    let is_quoted_at =
        |at: usize| value[..at].matches('"').count() % 2 == 1 || value[..at].matches('\'').count() % 2 == 1;
    let has_bare = |tag: &str| value.find(tag).is_some_and(|at| !is_quoted_at(at));
    if is_bare && has_bare("${") {
        return Some("quote every value that holds `${`: url: \"${NAME}\"".to_owned());
    }
    let is_flow = value.starts_with(['{', '[']) && !value.starts_with("{{") && value.ends_with(['}', ']']);
    if is_bare && is_flow {
        return has_bare("{{").then(|| "quote every value that holds `{{`".to_owned());
    }
    let has_sign = has_bare("{{") || value.starts_with(['*', '&', '%', '@', '`', ':', '{', '[']);
    (is_bare && has_sign).then(|| match is_secret() {
        true => quote_unseen(key, line),
        false => format!("quote the value: {key}: \"{}\"", value.replace('"', "'")),
    })
}

/// Keys behind which any text may stand.
const TEXTS: [&str; 5] = ["text", "name", "path", "url", "content"];

/// Tells of texts that YAML read and that lost a part, or all of it.
pub(super) fn advise(reader: &Reader, text: &str) {
    for Finding { slip, place, keys, is_item } in scan(text) {
        let key = keys.last().map(String::as_str).unwrap_or_default();
        let is_in_match = keys.iter().any(|key| matches!(key.as_str(), "match" | "content"));
        match slip {
            Slip::Cut { text, rest } if holds_text(key, &keys, is_in_match) => {
                if keys.iter().any(|key| matches!(key.as_str(), "headers" | "auth" | "tokens" | "signing_secrets")) {
                    let message = "YAML takes what begins with ` #` for a comment: the text ends before it";
                    let help = "quote it if it belongs to the text; before a comment put two spaces".to_owned();
                    reader.warning_at(place, message, help);
                    continue;
                }
                if key == "url" {
                    let message = "YAML takes what begins with ` #` for a comment: the URL ends before it";
                    reader.warning_at(place, message, "quote the URL, or put two spaces before a comment".to_owned());
                    continue;
                }
                let message = format!("YAML takes `{rest}` for a comment: the text is `{text}`");
                let quoted = whole::quote(&format!("{text} {rest}"));
                let item = if keys.is_empty() { quoted } else { format!("{key}: {quoted}") };
                let help = format!("quote it if it belongs to the text: {item}; before a comment put two spaces");
                reader.warning_at(place, message, help);
            }
            // A secret that is left out is left out by intent, and its line is not repeated.
            Slip::Swallowed(rest)
                if !lies_below_secret(line_at(text, place.offset), &keys)
                    && !lies_beside_secret(text, place.offset) =>
            {
                // No destination has such a name.
                let is_name = keys.last().is_some_and(|key| key == "to");
                let quoted = if is_name { rest.trim_start_matches('#').to_owned() } else { whole::quote(&rest) };
                let item = if is_item { format!("- {quoted}") } else { format!("{key}: {quoted}") };
                let verb = if is_name { "write, if it is the value" } else { "quote it if it is the value" };
                let help = format!("{verb}: {item}; a comment has a space behind its `#`");
                reader.warning_at(place, format!("YAML takes `{rest}` for a comment: there is no value"), help);
            }
            Slip::Block(head) if is_in_match => {
                let number = head.trim_start_matches(['>', '|', '+']);
                let operator = if head.starts_with('>') { "gt" } else { "equals" };
                let help = format!("write {key}: {{ {operator}: {number} }}");
                reader.warning_at(
                    place,
                    format!("`{head}` begins a block of text in YAML, and the block is empty"),
                    help,
                );
            }
            _ => {}
        }
    }
}

fn holds_text(key: &str, keys: &[String], is_in_match: bool) -> bool {
    let is_operator = OPERATORS.iter().any(|operator| operator.name == key && !matches!(key, "exists"));
    let is_leaf = keys.iter().any(|above| matches!(above.as_str(), "json" | "blocks"));
    let is_value = is_in_match && !matches!(key, "type" | "bounce_type" | "bounce_code" | "match") && !keys.is_empty();
    TEXTS.contains(&key) || is_operator || is_leaf || is_value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::problem::Report;

    #[test]
    fn how_to_quote_a_secret_is_told_without_it() {
        for (line, help) in [
            ("token: @abcdef", "quote the value of `token`"),
            ("password: %abcdef", "quote the value of `password`"),
            ("vero: { token: @abcdef", "quote the value of `token`"),
            ("text: @abcdef", "quote the value: text: \"@abcdef\""),
        ] {
            let text = format!("sources:\n  {line}\n");
            let error = crate::yaml::load::parse(&text).expect_err(line);
            let diagnosis = diagnose(&text, &error);
            let report = Report::syntax("x".into(), text, diagnosis);
            assert_eq!(report.json()[0]["help"], help, "{line}");
            assert_eq!(report.to_string().contains("abcdef"), line.starts_with("text"), "{report}");
        }
    }
}
