//! Two destinations that may write to one file: whoever comes second finds it locked.

use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What each place in a path can be: signs one after the other, of which the last may come again.
const PLACES: [(&str, &[Sign], bool); 4] = [
    ("{date}", &[D, D, D, D, Sign::One('-'), D, D, Sign::One('-'), D, D], false),
    ("{hour}", &[D, D], false),
    ("{type}", &[Sign::OfAName], true),
    ("{source}", &[Sign::OfAName], true),
];
const D: Sign = Sign::Digit;

/// Pairs of paths that are compared. Beyond, reading a config would take seconds for a warning.
const PAIRS_MAX: usize = 100_000;

/// What two paths have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Overlap {
    Same,
    /// One can be named as the other can.
    Perhaps,
}

/// The paths of all destinations so far.
#[derive(Default)]
pub(in crate::config) struct Files {
    /// The destination that has a path.
    known: HashMap<String, String>,
    /// Paths with places, and those without, with their destinations.
    open: Vec<(Vec<Step>, String)>,
    plain: Vec<(Vec<Step>, String)>,
    pairs: usize,
}

/// A sign of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    One(char),
    Digit,
    /// What stands in a type or a source once it is harmless.
    OfAName,
}

/// A sign, and whether it may come again.
type Step = (Sign, bool);

impl Files {
    /// Adds a destination's path; tells of the first before that it overlaps with.
    pub fn add(&mut self, name: &str, pattern: &Path) -> Option<(String, Overlap)> {
        let path = pattern.to_string_lossy().into_owned();
        if let Some(other) = self.known.get(&path) {
            return Some((other.clone(), Overlap::Same));
        }
        let has_places = PLACES.iter().any(|(place, ..)| path.contains(place));
        let steps = steps(&path);
        self.known.insert(path, name.to_owned());
        self.pairs += self.open.len() + if has_places { self.plain.len() } else { 0 };
        let among = |others: &[(Vec<Step>, String)]| {
            let found = others.iter().find(|(other, _)| can_be_one(&steps, other));
            found.map(|(_, other)| (other.clone(), Overlap::Perhaps))
        };
        let found = (self.pairs <= PAIRS_MAX)
            .then(|| among(&self.open).or_else(|| if has_places { among(&self.plain) } else { None }))
            .flatten();
        let kind = if has_places { &mut self.open } else { &mut self.plain };
        kind.push((steps, name.to_owned()));
        found
    }
}

/// The signs of all that a path can be.
fn steps(mut path: &str) -> Vec<Step> {
    let mut steps = Vec::with_capacity(path.len());
    while let Some(sign) = path.chars().next() {
        match PLACES.iter().find(|(place, ..)| path.starts_with(place)) {
            Some((place, signs, repeats)) => {
                let last = signs.len() - 1;
                steps.extend(signs.iter().enumerate().map(|(at, sign)| (*sign, *repeats && at == last)));
                path = &path[place.len()..];
            }
            None => {
                steps.push((Sign::One(sign), false));
                path = &path[sign.len_utf8()..];
            }
        }
    }
    steps
}

/// Whether there is a text that both are. Goes through the pairs of places in them that one text can have led to.
fn can_be_one(one: &[Step], other: &[Step]) -> bool {
    let (mut seen, mut open) = (HashSet::from([(0, 0)]), vec![(0, 0)]);
    while let Some((at, other_at)) = open.pop() {
        let (Some((sign, repeats)), Some((other_sign, other_repeats))) = (one.get(at), other.get(other_at)) else {
            if at == one.len() && other_at == other.len() {
                return true;
            }
            continue;
        };
        if !sign.meets(*other_sign) {
            continue;
        }
        let nexts = [
            (at + 1, other_at + 1),
            (at + usize::from(!repeats), other_at + 1),
            (at + 1, other_at + usize::from(!other_repeats)),
        ];
        open.extend(nexts.into_iter().filter(|next| seen.insert(*next)));
    }
    false
}

impl Sign {
    /// Whether some sign is both.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Sign::One(one), Sign::One(other)) => one == other,
            (Sign::One(one), Sign::Digit) | (Sign::Digit, Sign::One(one)) => one.is_ascii_digit(),
            (Sign::One(one), Sign::OfAName) | (Sign::OfAName, Sign::One(one)) => {
                one.is_ascii_alphanumeric() || "_.-".contains(one)
            }
            _ => true,
        }
    }
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
    }

    #[test]
    fn two_paths_with_places_can_be_one() {
        check("/d/{type}.ndjson", "/d/{source}.ndjson", true);
        check("/d/{type}.ndjson", "/d/{type}-full.ndjson", true);
        check("/d/{type}.ndjson", "/d/{date}.ndjson", true);
        check("/d/{type}/a.ndjson", "/d/x/{source}.ndjson", true);
        check("/d/a{type}", "/d/{type}b", true);
        check("/d/{type}{type}", "/d/{hour}", true);
        check("/d/{type}{type}{type}", "/d/{hour}", false);
        check("/d/{type}.ndjson", "/d/{type}.csv", false);
        check("/d/{type}.ndjson", "/d/{source}/x.ndjson", false);
        check("/d/{date}-{hour}", "/d/{date}", false);
        check("/d/{date}.x", "/d/{hour}.x", false);
        check("/d/a-{type}", "/d/b-{type}", false);
    }

    #[test]
    fn however_many_signs_may_come_again_it_is_soon_known() {
        let many = |sign: &str| format!("/{}{sign}", "{type}".repeat(600));
        check(&many("x"), &many("y"), false);
    }
}
