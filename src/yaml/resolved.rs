//! What the `${…}` of a config stood for when it was read, and where each stands.
//!
//! A config that somebody else brings, to be tried against the one in force, is read by this alone: neither the environment nor a file is
//! looked at for it. A `${…}` gets its value only in the place where the config in force has it, in the same words. In any other place it
//! would tell what it stands for, by an error, a match or a comparison, so there a placeholder stands for it. What a preset passes on stands
//! where the preset puts it: a placeholder goes there, and where the config in force has the same words in the same place, its text is taken.

use std::collections::{BTreeMap, HashMap};

/// Between the keys of a place.
const STEP: char = '\u{0}';
/// What stands for signs of a key that mean something in a place, and begins with this.
const ESCAPE: char = '\u{1}';
const ESCAPED_STEP: &str = "\u{1}0";
const ESCAPED_ESCAPE: &str = "\u{1}1";
/// What stands for a value that must not go where it is asked for.
const PLACEHOLDER: &str = "what-if-placeholder";
/// The same where only a URL can stand: <https://www.rfc-editor.org/rfc/rfc2606> keeps the name from being anybody's.
const PLACEHOLDER_URL: &str = "https://what-if-placeholder.invalid";
/// The same for a key that signs: 32 bytes that nobody has.
const PLACEHOLDER_KEY: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What the `${…}` of a config stand for.
#[derive(Clone, Default)]
pub struct Resolved {
    values: HashMap<String, String>,
    /// Each scalar that holds one, by the keys that lead to it.
    places: BTreeMap<String, Filled>,
}

/// A scalar that holds values.
#[derive(Clone)]
pub(crate) struct Filled {
    /// As it stands in the file.
    pub raw: String,
    /// With its values in place.
    pub whole: String,
    /// What was put in.
    pub values: Vec<String>,
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl Resolved {
    /// Notes a scalar that holds values.
    pub(crate) fn note(&mut self, place: &str, filled: Filled) {
        self.places.insert(place.to_owned(), filled);
    }

    /// Notes what references stand for.
    pub(crate) fn note_values(&mut self, taken: impl Iterator<Item = (String, String)>) {
        self.values.extend(taken);
    }

    /// The same scalar in the same place, with what it holds here.
    pub(crate) fn filled(&self, place: &str, raw: &str) -> Option<&Filled> {
        self.places.get(place).filter(|known| known.raw == raw)
    }

    /// What a reference stands for.
    pub(crate) fn value(&self, reference: &str) -> Option<&str> {
        self.values.get(reference).map(String::as_str)
    }

    /// All that came from outside.
    pub(crate) fn values(&self) -> impl Iterator<Item = String> {
        self.values.values().cloned()
    }

    /// The scalars below some keys that hold values, each with what leads to it from there.
    pub fn below(&self, keys: &[&str]) -> Vec<(&str, &str)> {
        let mut prefix = String::new();
        keys.iter().for_each(|key| step(&mut prefix, key));
        let below = self.places.range(prefix.clone()..).map_while(|(place, filled)| {
            let rest = place.strip_prefix(&prefix)?;
            Some((rest, filled.raw.as_str()))
        });
        below.filter(|(rest, _)| rest.is_empty() || rest.starts_with(STEP)).collect()
    }
}

/// Goes one key further. A key may hold any sign, so what stands between keys is written otherwise in one: no two lists of keys are one place.
pub(crate) fn step(place: &mut String, key: &str) {
    place.push(STEP);
    for sign in key.chars() {
        match sign {
            STEP => place.push_str(ESCAPED_STEP),
            ESCAPE => place.push_str(ESCAPED_ESCAPE),
            sign => place.push(sign),
        }
    }
}

/// Whether what stands here goes to another place: into the section that a preset comes to.
pub(crate) fn is_passed_on(place: &str) -> bool {
    let mut keys = place.split(STEP).skip(1);
    match keys.next() {
        Some("presets") => true,
        Some("destinations") => keys.nth(1) == Some("fields"),
        _ => false,
    }
}

/// Whether a placeholder may stand here: where it decides neither what matches nor what the relay itself does.
pub(crate) fn takes_placeholders(place: &str) -> bool {
    let section = place.split(STEP).nth(1).unwrap_or_default();
    matches!(section, "sources" | "destinations" | "presets" | "defaults" | "tests") || section.starts_with("x-")
}

/// What stands in the place of a value, by nothing but the place and the name of what was asked for.
pub(crate) fn placeholder(place: &str, is_first: bool, reference: &str) -> String {
    let mut keys = place.rsplit(STEP).filter(|key| key.parse::<usize>().is_err());
    match keys.next() {
        Some("url") if is_first => PLACEHOLDER_URL.to_owned(),
        Some("signing_secrets") => PLACEHOLDER_KEY.to_owned(),
        _ => {
            let name: String = reference.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
            format!("{PLACEHOLDER}-{name}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_keys_are_one_place() {
        let lists: [&[&str]; 9] = [
            &["a", "b"],
            &["a\0b"],
            &["a\u{1}0b"],
            &["a\u{1}1b"],
            &["a\u{1}b"],
            &["a", "", "b"],
            &["a\0", "b"],
            &["a", "\0b"],
            &["a\0\0b"],
        ];
        let place = |keys: &&[&str]| {
            let mut place = String::new();
            keys.iter().for_each(|key| step(&mut place, key));
            place
        };
        let places: std::collections::BTreeSet<_> = lists.iter().map(place).collect();
        assert_eq!(places.len(), lists.len());
        assert!(is_passed_on(&place(&["destinations", "a", "fields", "b"].as_slice())));
        assert!(is_passed_on(&place(&["destinations", "a\0http\0json", "fields", "b"].as_slice())));
        assert!(!is_passed_on(&place(&["destinations", "a", "http", "json", "fields", "b"].as_slice())));
    }
}
