//! The keys of destinations: those of each kind, with those that all share, as the places have them where they stand.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::policy::{ANSWERS, COMMON};
use super::presets::{FIELDS, PRESET};
use super::sorting::{self, DIGEST, ORDER_BY, QUIET, URGENT};
use crate::destination::{KINDS, Kind};
use crate::yaml::keys::{Absent, Info, Key, Of, Section, Words, key, text};
use crate::yaml::sight::Sight;

/// A name that a destination had before.
pub(super) const RENAMED_FROM: Key<String> = key("renamed_from", text())
    .seen(Sight::All)
    .about("A name that it had before: it takes over that queue. The old name must be gone from the file.")
    .example("old-crm");

/// One destination: its kind, and what every kind may set.
pub(super) fn destination_keys() -> Section {
    let kinds: Vec<_> = KINDS.iter().map(|kind| kind.key()).collect();
    let names = KINDS.map(|kind| kind.name);
    let own = [PRESET.info, FIELDS.info];
    let section = Section::of(&kinds).and(&own).and(&COMMON).and(&[RENAMED_FROM.info]).besides(one_kind(&names));
    let section = section.besides(json!({ "dependentRequired": { FIELDS.info.name: [PRESET.info.name] } }));
    let without_answers = KINDS.iter().filter(|kind| !kind.has_answers);
    let section = without_answers.fold(section, |section, kind| section.never(ANSWERS.info.name, kind.name));
    let single = KINDS.iter().filter(|kind| kind.digest.is_none());
    let of_many = [DIGEST.info, QUIET.info];
    let section = single
        .flat_map(|kind| of_many.map(|key| (key, kind)))
        .fold(section, |section, (key, kind)| section.never(key.name, kind.name));
    let unordered = KINDS.iter().filter(|kind| kind.unordered.is_some()).map(|kind| kind.name);
    let others = unordered.chain([DIGEST, URGENT, QUIET].map(|key| key.info.name));
    others.fold(section, |section, other| section.never(ORDER_BY.info.name, other))
}

/// A destination has a kind, or a preset and perhaps a kind.
fn one_kind(names: &[&str]) -> Value {
    let choices: Vec<_> = names.iter().map(|name| json!({ "required": [name] })).collect();
    let none = json!({ "not": { "anyOf": choices } });
    let with_preset: Vec<_> = choices.iter().cloned().chain([none]).collect();
    json!({ "if": { "required": [PRESET.info.name] }, "then": { "oneOf": with_preset }, "else": { "oneOf": choices } })
}

/// What may stand in the defaults of each kind, in the order of [`KINDS`].
static DEFAULTS: LazyLock<Vec<Defaults>> = LazyLock::new(|| {
    let of =
        |kind: &&Kind| Defaults { keys: defaults_of(kind), about: format!("For every `{}` destination.", kind.name) };
    KINDS.iter().map(of).collect()
});

/// The defaults of one kind.
struct Defaults {
    keys: Section,
    about: String,
}

/// `defaults:`, by kind.
pub(super) fn defaults_keys() -> Section {
    let key = |(kind, defaults): (&&Kind, &'static Defaults)| Info {
        of: Of::Fixed(&defaults.keys),
        about: Words::Plain(&defaults.about),
        example: kind.defaults_example,
        ..kind.key()
    };
    let keys: Vec<_> = KINDS.iter().zip(DEFAULTS.iter()).map(key).collect();
    Section::of(&keys)
}

/// What may stand in the defaults of a kind: its own keys and the common ones together, none of them needed.
pub(super) fn defaults_of(kind: &Kind) -> Section {
    let own = (kind.keys)();
    let common = COMMON.into_iter().filter(|key| kind.has_answers || key.name != ANSWERS.info.name);
    let is_needed = |key: &Info| matches!(key.absent, Absent::RefusedWithoutDefault);
    let free = |key: Info| if is_needed(&key) { Info { absent: Absent::Nothing, ..key } } else { key };
    let section = Section { keys: common.chain(own.keys).map(free).collect(), besides: own.besides, alone: Vec::new() };
    section.besides(not_nothing())
}

/// What may not stand there as nothing, where nothing is taken out by that.
fn not_nothing() -> Value {
    let not_null = json!({ "not": { "type": "null" } });
    let keys: serde_json::Map<_, _> = sorting::KEYS.iter().map(|key| (key.name.to_owned(), not_null.clone())).collect();
    json!({ "properties": keys })
}

/// What a destination needs for itself if its kind has no defaults, as JSON Schemas of the whole file.
pub(super) fn without_defaults() -> Vec<Value> {
    let condition = |kind: &&Kind| {
        let section = (kind.keys)();
        let needed = section.keys.iter().filter(|key| matches!(key.absent, Absent::RefusedWithoutDefault));
        let needed: Vec<_> = needed.map(|key| key.name).collect();
        let besides = if section.alone.is_empty() { vec![json!(true)] } else { section.alone };
        let own = json!({ "required": needed, "allOf": besides });
        let kind = kind.name;
        let destination = json!({
            "properties": { kind: own },
            "if": { "required": [kind] },
            "then": not_nothing(),
        });
        // A preset has what is needed.
        let destination = json!({ "if": { "required": [PRESET.info.name] }, "else": destination });
        json!({
            "if": { "not": { "required": ["defaults"], "properties": { "defaults": { "required": [kind] } } } },
            "then": { "properties": { "destinations": { "additionalProperties": destination } } },
        })
    };
    KINDS.iter().map(condition).collect()
}
