//! Two destinations that may write to one file: whoever comes second finds it locked.

use std::path::Path;

/// What each place in a path can be, as a regular expression.
const PLACES: [(&str, &str); 4] = [
    ("{date}", "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    ("{hour}", "[0-9]{2}"),
    ("{type}", "[A-Za-z0-9_.-]+"),
    ("{source}", "[A-Za-z0-9_.-]+"),
];

/// Whether one path has no places in it and is one of those that the other can name. Two with places are not compared.
pub(in crate::config) fn may_be_one(one: &Path, other: &Path) -> bool {
    let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
    let names = |pattern: &str, path: &str| {
        let has_places = |text: &str| PLACES.iter().any(|(place, _)| text.contains(place));
        let filled = PLACES
            .iter()
            .fold(regex::escape(pattern), |text, (place, value)| text.replace(&regex::escape(place), value));
        has_places(pattern)
            && !has_places(path)
            && regex::Regex::new(&format!("^{filled}$")).is_ok_and(|regex| regex.is_match(path))
    };
    names(&one, &other) || names(&other, &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        assert_eq!(may_be_one(Path::new(one), Path::new(other)), expected, "{one} and {other}");
        assert_eq!(may_be_one(Path::new(other), Path::new(one)), expected, "{other} and {one}");
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
