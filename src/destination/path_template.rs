//! The path of a file, with places for what an event says: `archive/{date}/{type}.ndjson`, and for who writes it. Pure.
//!
//! What an event puts in becomes one harmless part of a name: it can neither climb out of a directory nor begin a new one.

use std::path::{Component, Path, PathBuf};

use jiff::tz::TimeZone;

use super::Delivery;
use crate::event::Json;
use crate::yaml::problem::did_you_mean;

/// A value in a path is cut to this: a file's name may have 255 bytes.
pub const VALUE_BYTES_MAX: usize = 64;

/// A path with places in it.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    parts: Vec<Part>,
    /// Kept apart from the text: a directory's name need not be UTF-8, and a `{` in it means itself.
    base: PathBuf,
    pattern: PathBuf,
}

/// A piece of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Date,
    Hour,
    Type,
    Source,
}

/// What an event says in a path, by name: `{date}`.
pub const PLACES: [(&str, Part); 4] =
    [("date", Part::Date), ("hour", Part::Hour), ("type", Part::Type), ("source", Part::Source)];

/// The place of what the relay is called, which is the same for all events.
pub const RELAY: &str = "{relay}";

/// The names of all places, for who wrote another.
const KNOWN: [&str; 5] = ["date", "hour", "type", "source", "relay"];

/// What a path can hold, in words.
const HELD: &str = "a path can hold {date}, {hour}, {type}, {source} and {relay}";

/// What is wrong with a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadPath {
    pub message: String,
    pub help: Option<String>,
}

/// A place by the name that others have for it.
fn same_place(word: &str) -> Option<&'static str> {
    Some(match word {
        "day" | "today" | "yyyy-mm-dd" | "y-m-d" | "ymd" | "yyyymmdd" | "year" | "month" | "dt" | "time" => "date",
        "hh" | "h" => "hour",
        "event_type" | "event" | "event.type" | "kind" => "type",
        "relay.source" | "project" => "source",
        "hostname" | "host" | "node" | "instance" | "relay.name" | "pod" => "relay",
        _ => return None,
    })
}

impl PathTemplate {
    /// Reads a path as written in a config, for the relay of a name. One that does not begin with `/` is relative to `data_dir`.
    pub fn parse(text: &str, data_dir: &Path, relay: &str) -> Result<Self, BadPath> {
        let text = text.replace(RELAY, relay);
        let text = text.as_str();
        if text.is_empty() || text.ends_with('/') || text.contains('\0') {
            let help = match text.strip_suffix('/') {
                Some(directory) if !directory.is_empty() => {
                    format!("write the name of a file: {directory}/{{date}}.ndjson")
                }
                _ => "write the name of a file: archive/{date}.ndjson".to_owned(),
            };
            return Err(BadPath { message: "this is not the path of a file".to_owned(), help: Some(help) });
        }
        if Path::new(text).components().any(|part| part == Component::ParentDir) {
            let help = "write it relative to data_dir, or whole from `/`".to_owned();
            return Err(BadPath { message: "a path cannot climb by `..`".to_owned(), help: Some(help) });
        }
        if text.starts_with("file:/") {
            let help = "write the path alone: /var/log/events.ndjson".to_owned();
            return Err(BadPath { message: "this is a URL, and a path stands here".to_owned(), help: Some(help) });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            parts.push(Part::Text(rest[..at].to_owned()));
            let Some((name, after)) = rest[at + 1..].split_once('}') else {
                let name: String = rest[at + 1..].chars().take_while(char::is_ascii_alphabetic).collect();
                let help = match KNOWN.iter().find(|known| **known == name) {
                    Some(known) => format!("write {{{known}}}"),
                    None => HELD.to_owned(),
                };
                return Err(BadPath { message: "a `{` in the path is never closed".to_owned(), help: Some(help) });
            };
            let Some((_, part)) = PLACES.iter().find(|(known, _)| *known == name) else {
                let word = name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_lowercase();
                let near = KNOWN.iter().find(|known| **known == word).map(|known| format!("write {{{known}}}"));
                let help = near.or_else(|| did_you_mean(name, KNOWN));
                let help = help.or_else(|| same_place(&word).map(|ours| format!("write {{{ours}}}")));
                let help = help.unwrap_or_else(|| HELD.to_owned());
                return Err(BadPath { message: format!("`{{{name}}}` is not known in a path"), help: Some(help) });
            };
            parts.push(part.clone());
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self {
            parts,
            base: data_dir.to_owned(), // Without `./` and `//`, so that one file has one name.
            pattern: data_dir.join(text).components().collect(),
        })
    }

    /// The whole path, its places still open: for people, and to tell whether two destinations write to one file.
    pub fn pattern(&self) -> &Path {
        &self.pattern
    }

    /// Whether an event decides where it goes.
    pub fn has_places(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether each day has files of its own.
    pub fn has_date(&self) -> bool {
        self.parts.contains(&Part::Date)
    }

    /// The names that it is made of, from the first directory on, each of its pieces; and what they lie below.
    pub fn names(&self) -> (&Path, Vec<Vec<Part>>) {
        let mut names = vec![Vec::new()];
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    for (at, piece) in text.split('/').enumerate() {
                        if at > 0 {
                            names.push(Vec::new());
                        }
                        if let (Some(name), false) = (names.last_mut(), piece.is_empty()) {
                            name.push(Part::Text(piece.to_owned()));
                        }
                    }
                }
                place => names.last_mut().expect("there is one at first").push(place.clone()),
            }
        }
        let is_whole = matches!(self.parts.first(), Some(Part::Text(text)) if text.starts_with('/'));
        names.retain(|name| !name.is_empty() && *name != [Part::Text(".".to_owned())]);
        (if is_whole { Path::new("/") } else { &self.base }, names)
    }

    /// The path for a delivery. `{date}` and `{hour}` are those of its arrival in `timezone`.
    pub fn path(&self, delivery: &Delivery, timezone: &TimeZone) -> PathBuf {
        let arrival = crate::time::timestamp(delivery.event.received_ms).to_zoned(timezone.clone());
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Date => path.push_str(&arrival.strftime("%Y-%m-%d").to_string()),
                Part::Hour => path.push_str(&arrival.strftime("%H").to_string()),
                Part::Type => {
                    let body = std::str::from_utf8(&delivery.event.body).unwrap_or("{}");
                    path.push_str(&safe(Json::read(body).event_type()));
                }
                Part::Source => path.push_str(&safe(&delivery.source)),
            }
        }
        // A value never begins with `/`, so this stays below the base unless the path was written whole.
        self.base.join(path)
    }
}

/// A value as one harmless part of a file's name: letters, digits, `-`, `_` and `.` stay, and no name begins with a dot. None looks as if a
/// file of that name were closed, or packed (`file/closed.rs`).
fn safe(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut name: String = value.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    name.truncate(VALUE_BYTES_MAX);
    if has_moment(&name) || name.to_ascii_lowercase().ends_with(".gz") {
        name = name.replace('.', "_");
    }
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '_');
    }
    name
}

/// Whether a part of a name reads like the moment of its closing.
fn has_moment(name: &str) -> bool {
    let is_digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_moment = |part: &str| {
        let part = part.split_once('-').map_or(part, |(moment, _)| moment);
        let (date, time) = part.split_once('T').unwrap_or_default();
        is_digits(date, 8) && time.strip_suffix('Z').is_some_and(|time| is_digits(time, 6))
    };
    name.split('.').skip(1).any(is_moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_are_harmless_names() {
        for (value, expected) in [
            ("bounced", "bounced"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("..", "_.."),
            ("", "_"),
            ("a/b\0c\nd", "a_b_c_d"),
            ("naïve", "na_ve"),
            (".hidden", "_.hidden"),
            ("a.b", "a.b"),
            ("a.20260101T000000Z", "a_20260101T000000Z"),
            ("a.20260101T000000Z-12", "a_20260101T000000Z-12"),
            ("a.20260101T000000", "a.20260101T000000"),
            ("a.gz", "a_gz"),
            ("a.gz.b", "a.gz.b"),
        ] {
            assert_eq!(safe(value), expected);
        }
        assert_eq!(safe(&"x".repeat(500)).len(), VALUE_BYTES_MAX);
    }
}
