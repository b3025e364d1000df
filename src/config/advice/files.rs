//! Two destinations that may write to one file: whoever comes second finds it locked.

use std::collections::HashMap;
use std::path::Path;

use regex::Regex;

/// What each place in a path can be, as a regular expression.
const PLACES: [(&str, &str); 4] = [
    ("{date}", "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    ("{hour}", "[0-9]{2}"),
    ("{type}", "[A-Za-z0-9_.-]+"),
    ("{source}", "[A-Za-z0-9_.-]+"),
];

/// Pairs of a path with places and one without that are compared. Beyond, reading a config would take seconds for a warning.
const PAIRS_MAX: usize = 100_000;
/// Paths with places that are compared. Each is a regular expression, and thousands of destinations do not differ in their slips.
const OPEN_MAX: usize = 1000;

/// What two paths have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Overlap {
    Same,
    /// One has no places in it and is one of those that the other can name. Two with places are not compared.
    Perhaps,
}

/// The paths of all destinations so far.
#[derive(Default)]
pub(in crate::config) struct Files {
    /// The destination that has a path.
    known: HashMap<String, String>,
    /// Paths without places, in order, with their destinations.
    plain: Vec<(String, String)>,
    /// Paths with places, and what each can name.
    open: Vec<(Regex, String)>,
    pairs: usize,
}

impl Files {
    /// Adds a destination's path; tells of the first before that it overlaps with.
    pub fn add(&mut self, name: &str, pattern: &Path) -> Option<(String, Overlap)> {
        let path = pattern.to_string_lossy().into_owned();
        if let Some(other) = self.known.get(&path) {
            return Some((other.clone(), Overlap::Same));
        }
        self.known.insert(path.clone(), name.to_owned());
        let has_places = PLACES.iter().any(|(place, _)| path.contains(place));
        self.pairs += if has_places { self.plain.len() } else { self.open.len() };
        let is_compared = self.pairs <= PAIRS_MAX && self.open.len() < OPEN_MAX;
        let found = if has_places && !is_compared {
            None
        } else if has_places {
            let regex = Regex::new(&can_name(&path)).ok()?;
            let found = self.plain.iter().find(|(plain, _)| regex.is_match(plain));
            let found = found.map(|(_, other)| other.clone());
            self.open.push((regex, name.to_owned()));
            found
        } else {
            let found = self.open.iter().filter(|_| is_compared).find(|(regex, _)| regex.is_match(&path));
            let found = found.map(|(_, other)| other.clone());
            self.plain.push((path, name.to_owned()));
            found
        };
        found.map(|other| (other, Overlap::Perhaps))
    }
}

/// A path with places, as a regular expression.
fn can_name(pattern: &str) -> String {
    let filled =
        PLACES.iter().fold(regex::escape(pattern), |text, (place, value)| text.replace(&regex::escape(place), value));
    format!("^{filled}$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        for (first, second) in [(one, other), (other, one)] {
            let mut files = Files::default();
            assert_eq!(files.add("first", Path::new(first)), None);
            let expected = expected.then(|| ("first".to_owned(), Overlap::Perhaps));
            assert_eq!(files.add("second", Path::new(second)), expected, "{first} and {second}");
        }
    }

    #[test]
    fn a_path_is_one_of_those_that_another_can_name() {
        check("/d/{type}.ndjson", "/d/bounced.ndjson", true);
        check("/d/{type}.ndjson", "/d/sub/bounced.ndjson", false);
        check("/d/{type}.ndjson", "/d/bouncedXndjson", false);
        check("/d/{date}.ndjson", "/d/2026-01-31.ndjson", true);
        check("/d/{date}.ndjson", "/d/latest.ndjson", false);
        check("/d/{type}.ndjson", "/d/{source}.ndjson", false);
    }
}
