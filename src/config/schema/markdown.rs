//! The keys as tables, put into the reference that is written by hand.
//!
//! In `reference.md` a line `<!-- keys: PATH -->` stands for the table of a section. A section that has no line of its own is written out
//! in the table of the one above it, so no key can be left out.

use serde_json::Value;

use crate::destination::template::library::{Entry, FILTERS, FUNCTIONS, TESTS};

use super::super::presets::built_in;
use super::super::root;
use crate::destination::KINDS;
use crate::rules::operators::OPERATORS;
use crate::yaml::keys::{Absent, Info, Of, Section};

const BY_HAND: &str = include_str!("reference.md");
/// The path of the whole config.
const ROOT: &str = "the config";
/// Stands for a row for each operator.
const OPERATOR_ROWS: &str = "<!-- operators -->";
/// Stands for a row for each preset.
const PRESET_ROWS: &str = "<!-- presets -->";
/// Stands, also within a line, for the names of all kinds.
const KIND_NAMES: &str = "<!-- kinds -->";
/// Its sections repeat those of the kinds, where they are told.
const DEFAULTS: &str = "defaults";

/// The reference, `docs/config.md`.
pub fn reference() -> String {
    let root = root::keys();
    let places: Vec<_> = BY_HAND.lines().filter_map(place).collect();
    let mut out = String::from(
        "<!-- Made by `vero-relay schema --markdown`; its text is src/config/schema/reference.md. -->\n\n",
    );
    for line in BY_HAND.lines() {
        if let Some(entries) = table(line) {
            entries_of(entries, &mut out);
            continue;
        }
        if line == PRESET_ROWS {
            presets(&mut out);
            continue;
        }
        if line == OPERATOR_ROWS {
            operators(&mut out);
            continue;
        }
        let Some(path) = place(line) else {
            out.push_str(&line.replace(KIND_NAMES, &kinds()));
            out.push('\n');
            continue;
        };
        let section =
            find(root.clone(), ROOT, path).unwrap_or_else(|| panic!("reference.md: there is no section {path}"));
        out.push_str("| Key | Type | Default | What it is |\n|---|---|---|---|\n");
        rows(&section, path, "", &places, &mut out);
    }
    out
}

fn kinds() -> String {
    let names = KINDS.map(|kind| format!("`{}`", kind.name));
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// What a line `<!-- templates: filters -->` stands for.
fn table(line: &str) -> Option<&'static [Entry]> {
    match line.strip_prefix("<!-- templates: ")?.strip_suffix(" -->")? {
        "filters" => Some(&FILTERS),
        "tests" => Some(&TESTS),
        "functions" => Some(&FUNCTIONS),
        other => panic!("reference.md: templates have no {other}"),
    }
}

fn entries_of(entries: &[Entry], out: &mut String) {
    out.push_str("| Name | For example | What it does |\n|---|---|---|\n");
    for entry in entries {
        let [example, about] = [entry.example, entry.about].map(|text| text.replace('|', "\\|"));
        out.push_str(&format!("| `{}` | `{example}` | {about} |\n", entry.name));
    }
}

fn operators(out: &mut String) {
    for operator in OPERATORS {
        let [example, about] = [operator.example, operator.about].map(|text| text.replace('|', "\\|"));
        out.push_str(&format!("| `{}` | {about}<br>`{example}` |\n", operator.name));
    }
}

fn presets(out: &mut String) {
    for preset in built_in() {
        let mark = |(name, is_required): (String, bool)| format!("`{name}`{}", if is_required { "\\*" } else { "" });
        let fields: Vec<_> = preset.fields().into_iter().map(mark).collect();
        let pages: Vec<_> = preset.documentation().iter().map(|address| format!("<{address}>")).collect();
        let cells =
            [format!("`{}`", preset.name), preset.about(), fields.join(", "), pages.join("<br>"), preset.checked()];
        out.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
}

fn place(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- keys: ")?.strip_suffix(" -->")
}

/// The section that a key leads to, and what stands for it in a path.
fn below(key: &Info) -> Option<(String, Section)> {
    let step = match key.of {
        Of::Named(_) => format!("{}.NAME", key.name),
        Of::List(_) => format!("{}[]", key.name),
        _ => key.name.to_owned(),
    };
    Some((step, key.of.section()?))
}

fn join(path: &str, step: &str) -> String {
    if path == ROOT { step.to_owned() } else { format!("{path}.{step}") }
}

fn find(section: Section, path: &str, wanted: &str) -> Option<Section> {
    if path == wanted {
        return Some(section);
    }
    section.keys.iter().filter_map(below).find_map(|(step, section)| find(section, &join(path, &step), wanted))
}

fn rows(section: &Section, path: &str, prefix: &str, places: &[&str], out: &mut String) {
    for key in &section.keys {
        out.push_str(&row(prefix, key));
        let Some((step, section)) = below(key).filter(|_| path != DEFAULTS) else { continue };
        let path = join(path, &step);
        if !places.contains(&path.as_str()) {
            rows(&section, &path, &format!("{prefix}{step}."), places, out);
        }
    }
}

fn row(prefix: &str, key: &Info) -> String {
    let mut of = key.of.called();
    if let Some([least, most]) = key.of.range() {
        of.push_str(&format!(", {least} to {most}"));
    }
    let absent = match &key.absent {
        Absent::Nothing => "–".to_owned(),
        Absent::Refused => "**required**".to_owned(),
        Absent::RefusedWithoutDefault => "**required**, here or in `defaults`".to_owned(),
        Absent::Told(told) => told.text(),
        _ => match key.default_value().unwrap_or_default() {
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        },
    };
    let cells = [
        format!("`{prefix}{}`", key.name),
        of,
        absent,
        format!("{}<br>`{}: {}`", key.about.text(), key.name, key.example),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}
