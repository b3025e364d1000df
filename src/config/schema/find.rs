//! Where a key stands, for messages: the schema asked backwards.

use super::super::root;
use crate::yaml::keys::{Absent, Info, Section};
use crate::yaml::words::letters;

/// Where a key may stand.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Home {
    /// The keys that lead there from the top; a name that the user chooses is left out.
    pub above: Vec<&'static str>,
    /// The key as it is written.
    pub key: &'static str,
    /// A value, as YAML on one line.
    pub example: &'static str,
}

/// The places of a key in the whole config, in whatever style it is written; the outermost first.
pub(in crate::config) fn homes(key: &str) -> Vec<Home> {
    let mut found = Vec::new();
    let wanted = letters(key);
    walk(&root::keys(), &mut Vec::new(), &mut |section, above| {
        let own = section.keys.iter().find(|known| letters(known.name) == wanted);
        found.extend(own.map(|known| Home { above: above.to_vec(), key: known.name, example: known.example }));
    });
    found.retain(|home| !repeats_others(&home.above));
    found.sort_by_key(|home| home.above.len());
    found
}

/// The keys that lead to the map that has exactly these keys.
pub(in crate::config) fn place_of(names: &[&str]) -> Option<Vec<&'static str>> {
    let mut found = None;
    walk(&root::keys(), &mut Vec::new(), &mut |section, above| {
        let is_it = section.keys.len() == names.len() && section.keys.iter().all(|key| names.contains(&key.name));
        if is_it && found.is_none() && !repeats_others(above) {
            found = Some(above.to_vec());
        }
    });
    found
}

/// What is said to hold where a key is missing that must be there, in the map to which these keys lead: one of several will do.
pub(in crate::config) fn told_without(above: &[&str], key: &str) -> Option<String> {
    let mut found = None;
    walk(&root::keys(), &mut Vec::new(), &mut |section, place| {
        let is_it = place.ends_with(above) && !repeats_others(place);
        let own = section.keys.iter().find(|known| known.name == key && is_it);
        if let Some(Info { absent: Absent::Told(words), .. }) = own {
            found = Some(words.text());
        }
    });
    found
}

/// An example of what stands behind the last of some keys, each below the one before.
pub(in crate::config) fn example(above: &[&str]) -> Option<&'static str> {
    let (key, above) = above.split_last()?;
    homes(key).into_iter().find(|home| home.above.ends_with(above)).map(|home| home.example)
}

/// Whether the keys that stand there are those of other sections.
fn repeats_others(above: &[&str]) -> bool {
    matches!(above, ["defaults" | "presets", ..])
}

fn walk(section: &Section, above: &mut Vec<&'static str>, see: &mut dyn FnMut(&Section, &[&'static str])) {
    see(section, above);
    for key in &section.keys {
        let Some(below) = key.of.section() else { continue };
        above.push(key.name);
        walk(&below, above, see);
        above.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: &[&[&str]]) {
        let found: Vec<_> = homes(key).into_iter().map(|home| home.above).collect();
        assert_eq!(found, expected, "{key}");
    }

    #[test]
    fn a_key_is_found_wherever_it_may_stand() {
        check("url", &[&["admin"], &["destinations", "http"], &["destinations", "slack"], &["store", "postgres"]]);
        check("max_attempts", &[&["destinations", "retry"]]);
        check("rate", &[&["destinations"]]);
        check("stop", &[&["rules"]]);
        check("webserver", &[]);
        assert!(example(&["retry", "factor"]).is_some());
        assert_eq!(place_of(&["name", "match", "to", "stop", "timezone", "once_per"]), Some(vec!["rules"]));
    }
}
