//! The config loader: any text, in surroundings where every file is a secret, and every variable that is not named `…URL`.

use std::path::Path;

use vero_relay::config::{Config, ConfigError};
use vero_relay::yaml::problem::Report;
use vero_relay::yaml::values::Surroundings;

/// What stands behind every `${…}`, and a part of it that stands behind `${PART}`.
const SECRET: &str = "h1dden-behind-a-variable";
const PART: &str = "h1dden-";
/// What no report may show.
const NEVER_SHOWN: &str = "behind-a-variable";
/// What is written out where a secret belongs, in the seeds.
const WRITTEN: &str = "wr1tten-in-the-file";

struct Secrets;

impl Surroundings for Secrets {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "VERO_RELAY_LISTEN" => None,
            "PART" => Some(PART.to_owned()),
            _ => (!name.ends_with("URL")).then(|| SECRET.to_owned()),
        }
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        if path.ends_with("missing") { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(format!("{SECRET}\n")) }
    }
}

/// Returns whether the text is a good config.
pub fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match Config::parse(Path::new("fuzz.yaml"), text.to_owned(), &Secrets) {
        Ok((_, report)) => {
            assert!(!report.has_errors(), "a config with errors is none");
            check(text, &report);
            true
        }
        Err(ConfigError::Problems(report)) => {
            assert!(report.has_errors(), "refused without an error");
            check(text, &report);
            false
        }
        Err(error) => panic!("a text is refused for what stands in it, and not: {error}"),
    }
}

fn check(text: &str, report: &Report) {
    for line in report.lines() {
        let place = line.strip_prefix("fuzz.yaml:").expect("a problem begins with its file");
        let mut numbers = place.splitn(3, ':');
        let mut number = || numbers.next().and_then(|number| number.trim().parse::<usize>().ok());
        match (number(), number()) {
            (Some(line_number), Some(column)) => is_inside(text, line_number, column, &line),
            _ => assert!(is_syntax(&line), "a problem without a place: {line}"),
        }
        assert!(!line.contains(NEVER_SHOWN), "a line of the log shows what stands behind a variable: {line}");
    }
    for is_coloured in [false, true] {
        let shown = report.render(is_coloured);
        assert!(!shown.contains(NEVER_SHOWN), "the report shows what stands behind a variable: {shown}");
        assert!(!shown.lines().any(shows_secret), "the report shows a secret: {shown}");
    }
    assert_eq!(report.is_empty(), report.lines().next().is_none());
}

fn is_syntax(line: &str) -> bool {
    line.contains("cannot be read as YAML")
}

/// Whether a secret is written out as the value of a key that can hold nothing else.
fn holds_secret(line: &str) -> bool {
    ["token: ", "bearer: ", "password: "].iter().any(|key| line.trim_start().starts_with(key))
        && line.ends_with(WRITTEN)
}

/// The same on a line of a report, which has its number before it.
fn shows_secret(line: &str) -> bool {
    line.split_once("| ").is_some_and(|(_, line)| holds_secret(line))
}

/// A place is within the text, or right behind it.
fn is_inside(text: &str, line: usize, column: usize, told: &str) {
    // What YAML 1.1 takes for a line's end: <https://yaml.org/spec/1.1/#id871136>.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).collect();
    assert!((1..=lines.len() + 1).contains(&line) && column >= 1, "a place outside the text: {told}");
    let length = lines.get(line - 1).map_or(0, |line| line.chars().count());
    assert!(column <= length + 1, "a column behind the line's end: {told}");
}
