//! Files to which nothing is added any more: how they are named, which of those that a destination has written are, and when one is to be. Pure.
//!
//! A file that is closed gets the moment of that into its name, before its extension: `events.20261128T021500Z.ndjson`. One whose path holds
//! `{date}` is closed under its own name once that is over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use super::super::path_template::{Part, PathTemplate};
use crate::time::timestamp;

/// What stands behind the name of a file that was packed.
pub const PACKED: &str = ".gz";
/// A delivery may come late: it was tried again, or replayed. So long after its hour a file is left open to them.
pub const LATE: Duration = Duration::from_secs(10 * 60);

/// The files that a destination may have written, by their names.
#[derive(Debug)]
pub struct Names {
    /// The directory below which they lie, whatever an event says.
    root: PathBuf,
    /// From there on, a name each: directories, and the file.
    levels: Vec<Level>,
    /// Of each file, with its dot; empty where the path ends with something else.
    extension: String,
}

/// One name on the way to a file.
#[derive(Debug)]
struct Level {
    form: Regex,
    /// What the groups of the form stand for.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Date,
    Hour,
    /// A type or a source: files that differ in one belong apart.
    Value,
    /// When it was closed.
    Moment,
    Packed,
}

/// What the names on the way to a file have said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    date: Option<Date>,
    hour: Option<i8>,
    values: Vec<String>,
    /// The moment of its closing that it has in its name, and which it was of those in one second.
    pub moment: Option<(String, u64)>,
    pub is_packed: bool,
}

impl Named {
    /// What a file has in common with those that came before it and after.
    pub fn series(&self) -> &[String] {
        &self.values
    }

    /// Whether nothing is added to it any more, but for what comes late.
    pub fn is_closed(&self, now_ms: u64, timezone: &TimeZone) -> bool {
        self.moment.is_some() || self.is_packed || self.end(timezone).is_some_and(|end| end + LATE <= timestamp(now_ms))
    }

    /// When the date and the hour in its name are over.
    fn end(&self, timezone: &TimeZone) -> Option<Timestamp> {
        let date = self.date?;
        let begin = date.to_datetime(Time::new(self.hour.unwrap_or(0), 0, 0, 0).ok()?);
        let end = if self.hour.is_some() {
            begin.checked_add(SignedDuration::from_hours(1)).ok()?
        } else {
            date.tomorrow().ok()?.to_datetime(Time::midnight())
        };
        timezone.to_ambiguous_timestamp(end).later().ok()
    }
}

impl Names {
    /// Those of a path.
    pub fn of(path: &PathTemplate) -> Self {
        let (base, mut names) = path.names();
        let mut root = base.to_owned();
        let is_fixed = |name: &Vec<Part>| name.iter().all(|part| matches!(part, Part::Text(_)));
        let fixed = names.iter().take_while(|name| is_fixed(name)).count().min(names.len().saturating_sub(1));
        for name in names.drain(..fixed) {
            root.push(name.iter().map(text_of).collect::<String>());
        }
        let extension = match names.last_mut().and_then(|name| name.last_mut()) {
            Some(Part::Text(text)) => match text.rfind('.').filter(|at| *at > 0 || names_more(path)) {
                Some(at) => text.split_off(at),
                None => String::new(),
            },
            _ => String::new(),
        };
        let last = names.len().saturating_sub(1);
        let levels = names.iter().enumerate().map(|(at, name)| Level::of(name, (at == last).then_some(&extension)));
        Self { root, levels: levels.collect(), extension }
    }

    /// The directory below which they lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many names lead from there to a file.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// What the name at some depth says beside those above it; `None` where no file of the destination lies there.
    pub fn read(&self, depth: usize, above: &Named, name: &str) -> Option<Named> {
        let Level { form, groups } = self.levels.get(depth)?;
        let captures = form.captures(name)?;
        let mut named = above.clone();
        for (group, found) in groups.iter().zip(captures.iter().skip(1)) {
            let Some(text) = found.map(|found| found.as_str()) else { continue };
            match group {
                Group::Date => named.date = Some(text.parse().ok()?),
                Group::Hour => named.hour = Some(text.parse().ok().filter(|hour| (0..24).contains(hour))?),
                Group::Value => named.values.push(text.to_owned()),
                Group::Moment => {
                    let (moment, count) = text.split_once('-').unwrap_or((text, "0"));
                    named.moment = Some((moment.to_owned(), count.parse().ok()?));
                }
                Group::Packed => named.is_packed = true,
            }
        }
        // Without a moment or a date nothing here is packed.
        let is_ours = !named.is_packed || named.moment.is_some() || named.date.is_some();
        is_ours.then_some(named)
    }

    /// What a file is called that is not of this destination, and had its path: nobody looks after it.
    pub fn aside(path: &Path, at_ms: u64, count: u32) -> PathBuf {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let moment = timestamp(at_ms).strftime("%Y%m%dT%H%M%SZ").to_string();
        path.with_file_name(format!("{name}.{moment}-{count}.other"))
    }

    /// The path of a file that is closed at some moment; `count` tells it from others that were closed in the same second.
    pub fn closed(&self, path: &Path, at_ms: u64, count: u32) -> PathBuf {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(&self.extension).unwrap_or(&name);
        let moment = timestamp(at_ms).strftime("%Y%m%dT%H%M%SZ").to_string();
        let count = if count == 0 { String::new() } else { format!("-{count}") };
        path.with_file_name(format!("{stem}.{moment}{count}{}", self.extension))
    }
}

/// Whether something stands before the last piece of the path's last name: then its dot begins an extension, also where it is the piece's first.
fn names_more(path: &PathTemplate) -> bool {
    path.names().1.last().is_some_and(|name| name.len() > 1)
}

fn text_of(part: &Part) -> &str {
    match part {
        Part::Text(text) => text,
        Part::Date | Part::Hour | Part::Type | Part::Source => "",
    }
}

impl Level {
    /// The form of one name. The last has an extension, and the moment of its closing before that.
    fn of(name: &[Part], extension: Option<&String>) -> Self {
        let mut form = "^".to_owned();
        let mut groups = Vec::new();
        for part in name {
            // What a value may be, as short as can be: the moment behind it is none of it.
            let (group, text) = match part {
                Part::Text(text) => {
                    form.push_str(&regex::escape(text));
                    continue;
                }
                Part::Date => (Group::Date, r"(\d{4}-\d\d-\d\d)"),
                Part::Hour => (Group::Hour, r"(\d\d)"),
                Part::Type | Part::Source => (Group::Value, r"([A-Za-z0-9_.-]+?)"),
            };
            groups.push(group);
            form.push_str(text);
        }
        if let Some(extension) = extension {
            groups.extend([Group::Moment, Group::Packed]);
            let (extension, packed) = (regex::escape(extension), regex::escape(PACKED));
            form.push_str(&format!(r"(?:\.(\d{{8}}T\d{{6}}Z(?:-\d+)?))?{extension}({packed})?"));
        }
        form.push('$');
        Self { form: Regex::new(&form).expect("what a path holds is escaped"), groups }
    }
}

/// When a file is closed, and another begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// No line makes it longer than so many bytes, but for the first.
    pub bytes_max: Option<u64>,
    /// It holds what was written within one such time, counted from midnight, and from Monday on.
    pub every: Option<Duration>,
}

impl Rotation {
    /// Whether anything closes a file.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether what was written at two moments belongs into two files.
    pub fn parts(&self, before_ms: u64, now_ms: u64, timezone: &TimeZone) -> bool {
        self.every.is_some_and(|every| period(before_ms, every, timezone) != period(now_ms, every, timezone))
    }

    /// How many of some lines still go into a file of so many bytes: one at least where it is empty.
    pub fn fitting(&self, bytes: u64, is_empty: bool, lines: &[Vec<u8>]) -> usize {
        let Some(most) = self.bytes_max else { return lines.len() };
        let mut total = bytes;
        let fitting = lines.iter().take_while(|line| {
            total += line.len() as u64;
            total <= most
        });
        fitting.count().max(usize::from(is_empty && !lines.is_empty()))
    }
}

/// The 5th of January 1970 was a Monday.
const MONDAY: i64 = 4 * 24 * 60 * 60;

/// Which of all times of one length a moment lies in, by the clocks of a zone.
fn period(ms: u64, every: Duration, timezone: &TimeZone) -> i64 {
    let moment = timestamp(ms);
    let local = moment.as_second() + i64::from(timezone.to_offset(moment).seconds());
    (local - MONDAY).div_euclid(every.as_secs().max(1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Names {
        Names::of(&PathTemplate::parse(path, Path::new("/data"), "relay").expect("a good path"))
    }

    #[track_caller]
    fn named(path: &str, file: &str) -> Option<Named> {
        let names = names(path);
        let below = Path::new(file).strip_prefix(names.root()).ok()?;
        let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        assert_eq!(parts.len(), names.depth(), "{file}");
        parts.iter().enumerate().try_fold(Named::default(), |above, (depth, name)| names.read(depth, &above, name))
    }

    #[test]
    fn a_closed_file_has_its_moment_before_its_extension_and_is_known_again() {
        let at_ms = 1_795_832_100_000;
        for (path, file, expected) in [
            ("archive/x.ndjson", "/data/archive/x.ndjson", "/data/archive/x.20261128T021500Z.ndjson"),
            ("/var/log/x", "/var/log/x", "/var/log/x.20261128T021500Z"),
            ("a.b/{type}.log.ndjson", "/data/a.b/sent.log.ndjson", "/data/a.b/sent.log.20261128T021500Z.ndjson"),
            ("{date}/{type}", "/data/2026-11-28/a.b", "/data/2026-11-28/a.b.20261128T021500Z"),
            (".x", "/data/.x", "/data/.x.20261128T021500Z"),
        ] {
            let names = names(path);
            let closed = names.closed(Path::new(file), at_ms, 0);
            assert_eq!(closed, Path::new(expected));
            let open = named(path, file).expect("its own");
            let known = named(path, expected).expect("its own");
            assert!(known.moment.is_some() && open.moment.is_none(), "{path}");
            assert_eq!(known.series(), open.series(), "{path}");
            let again = names.closed(Path::new(file), at_ms, 3);
            assert!(named(path, &format!("{}.gz", again.display())).expect("its own").is_packed, "{path}");
        }
    }

    #[test]
    fn no_other_file_is_taken_for_one_of_the_destination() {
        for (path, file) in [
            ("archive/x.ndjson", "/data/archive/y.ndjson"),
            ("archive/x.ndjson", "/data/archive/x.ndjson.bak"),
            ("archive/x.ndjson", "/data/archive/x.2026.ndjson"),
            ("archive/{date}.ndjson", "/data/archive/notes.ndjson"),
            ("archive/{date}.ndjson", "/data/archive/2026-13-28.ndjson"),
            ("archive/{date}-{hour}.ndjson", "/data/archive/2026-11-28-25.ndjson"),
            ("archive/{date}/{type}.csv", "/data/archive/tmp/sent.csv"),
            ("x+y.ndjson", "/data/xxy.ndjson"),
            ("archive/x.ndjson", "/data/archive/x.ndjson.gz"),
            ("{type}.log", "/data/dpkg.log.gz"),
            ("archive/x.csv", "/data/archive/x.csv.20261128T021500Z-0.other"),
        ] {
            assert_eq!(named(path, file), None, "{path} {file}");
        }
    }

    #[test]
    fn a_dated_file_is_closed_some_minutes_after_its_day_or_hour() {
        let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
        let hours = jiff::tz::offset(1).to_time_zone();
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment").as_millisecond() as u64;
        let check = |file: &str, timezone: &TimeZone, now: &str, expected: bool| {
            let named = named("{date}/{hour}.ndjson", file).expect("its own");
            assert_eq!(named.is_closed(at(now), timezone), expected, "{file} {now}");
        };
        check("/data/2026-11-28/02.ndjson", &TimeZone::UTC, "2026-11-28T03:09:59Z", false);
        check("/data/2026-11-28/02.ndjson", &TimeZone::UTC, "2026-11-28T03:10:00Z", true);
        check("/data/2026-11-28/02.ndjson", &hours, "2026-11-28T02:10:00Z", true);
        check("/data/2026-11-28/23.ndjson", &hours, "2026-11-28T23:09:59Z", false);
        // The hour that the clocks pass over.
        check("/data/2026-03-29/02.ndjson", &berlin, "2026-03-29T06:00:00Z", true);
        let day = named("{date}.ndjson", "/data/2026-11-28.ndjson").expect("its own");
        assert!(!day.is_closed(at("2026-11-29T00:09:00Z"), &TimeZone::UTC));
        assert!(day.is_closed(at("2026-11-29T00:10:00Z"), &TimeZone::UTC));
        let plain = named("x.ndjson", "/data/x.ndjson").expect("its own");
        assert!(!plain.is_closed(u64::MAX, &TimeZone::UTC), "nothing says when it is over");
        let hour_alone = named("{hour}.ndjson", "/data/02.ndjson").expect("its own");
        assert!(!hour_alone.is_closed(u64::MAX, &TimeZone::UTC), "it is written to again tomorrow");
    }

    #[test]
    fn times_are_counted_from_midnight_and_weeks_from_monday() {
        let zone = jiff::tz::offset(2).to_time_zone();
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment").as_millisecond() as u64;
        let rotation = |hours: u64| Rotation { bytes_max: None, every: Some(Duration::from_secs(hours * 3600)) };
        for (hours, before, now, expected) in [
            (24, "2026-11-28T21:59:59Z", "2026-11-28T22:00:00Z", true),
            (24, "2026-11-28T22:00:00Z", "2026-11-29T21:59:59Z", false),
            (1, "2026-11-28T21:59:59Z", "2026-11-28T22:00:00Z", true),
            (6, "2026-11-28T22:00:00Z", "2026-11-29T03:59:59Z", false),
            (168, "2026-11-29T21:59:59Z", "2026-11-29T22:00:00Z", true),
            (168, "2026-11-22T22:00:00Z", "2026-11-29T21:59:59Z", false),
        ] {
            assert_eq!(rotation(hours).parts(at(before), at(now), &zone), expected, "{hours} {before} {now}");
        }
        assert!(!Rotation::default().parts(0, u64::MAX, &zone));
    }

    #[test]
    fn no_line_makes_a_file_longer_than_it_may_be_but_the_first() {
        let rotation = Rotation { bytes_max: Some(10), every: None };
        let lines = [vec![0; 4], vec![0; 4], vec![0; 4]];
        assert_eq!(rotation.fitting(0, true, &lines), 2);
        assert_eq!(rotation.fitting(2, false, &lines), 2);
        assert_eq!(rotation.fitting(3, false, &lines), 1);
        assert_eq!(rotation.fitting(7, false, &lines), 0);
        assert_eq!(rotation.fitting(7, true, &lines), 1, "a header alone is not closed");
        assert_eq!(rotation.fitting(0, true, &[vec![0; 99], vec![0]]), 1);
        assert_eq!(Rotation::default().fitting(u64::MAX - 99, false, &lines), 3);
    }
}
