//! docs/api.md, made of the endpoints and of what `api.yaml` says.

use std::fmt::Write;

use super::notation::{Field, Type};
use super::{Shape, TOLD, endpoints};

/// The whole API as a page of Markdown.
pub(in crate::admin) fn reference() -> String {
    let mut page = include_str!("reference.md").to_owned();
    let mut before = "";
    for (named, resource, endpoint) in endpoints() {
        if resource.name != before {
            // Writing to a string cannot fail.
            let _ = write!(page, "\n## {}\n", resource.name);
            before = resource.name;
        }
        let answer = TOLD.answered(&named).map_or_else(String::new, |answered| in_words(&answered.answer));
        let enough = if endpoint.tells_of_no_event { " A `read_token` is enough." } else { "" };
        let _ = write!(page, "\n### `{named}`\n\n{}.\n\nAnswers {answer}.{enough}\n", capital(endpoint.about));
        let keys = TOLD.taken(&named, endpoint);
        if !keys.is_empty() {
            let what = if endpoint.is_read { "Parameter" } else { "Key" };
            let _ = write!(page, "\n{}", table(what, &keys));
        }
        if TOLD.answered(&named).is_some_and(|answered| answered.answer == Type::Frames) {
            let _ = write!(page, "\n{}", table("Frame", &TOLD.frames));
        }
    }
    page.push_str("\n## What is answered\n");
    for (name, shape) in &TOLD.shapes {
        let _ = write!(page, "\n### {name}\n\n");
        match shape {
            Shape::Object(fields) => page.push_str(&table("Key", fields)),
            Shape::Other(other) => {
                let _ = writeln!(page, "One of {}.", other.words());
            }
        }
    }
    page
}

fn in_words(answer: &Type) -> String {
    match answer {
        Type::Any => "a JSON object".to_owned(),
        other => other.words(),
    }
}

fn table(what: &str, fields: &[Field]) -> String {
    let mut table = format!("| {what} | What it is | Meaning |\n|---|---|---|\n");
    for Field { name, may_be_missing, kind, about } in fields {
        let missing = if *may_be_missing { "?" } else { "" };
        let _ = writeln!(table, "| `{name}`{missing} | {} | {} |", kind.words(), capital(about));
    }
    table
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
