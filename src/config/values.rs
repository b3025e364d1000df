//! Single values: what stands behind `${…}`, and durations, sizes and rates.

use std::path::Path;
use std::time::Duration;

use super::advice::shapes::variable_name;
use super::regular;
use super::resolved::{Resolved, stands_for};
use crate::event::vero;
use crate::fault::Fault;

/// Where interpolation finds its values. A trait of one process's surroundings, so that tests have their own.
pub trait Surroundings {
    /// An environment variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;
    /// A file's text.
    fn file(&self, path: &Path) -> std::io::Result<String>;
    /// What this machine calls itself; `None` where that means nothing.
    fn host_name(&self) -> Option<String> {
        None
    }
    /// What the `${…}` of another config stood for, if those of this one can stand for nothing else.
    fn resolved(&self) -> Option<&Resolved> {
        None
    }
}

/// The process's environment and the file system.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        let bytes = regular::read(path, FILE_VALUE_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
    }

    fn host_name(&self) -> Option<String> {
        rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
    }
}

/// What stands behind `${file:…}` is a secret or a line of text, and not the wrong file.
const FILE_VALUE_BYTES_MAX: usize = 64 << 10;

/// Why a `${…}` has no value.
#[derive(Debug, thiserror::Error)]
pub enum InterpolationError {
    /// Not set, or set to nothing.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// Never closed.
    #[error("`${{` is never closed: write ${{NAME}}, or $${{ for the characters themselves")]
    Unclosed,
    /// Nothing that can stand there.
    #[error(
        "`${{{0}}}` is not understood: write ${{NAME}}, ${{NAME:-default}}, ${{file:PATH}} or ${{credential:NAME}}"
    )]
    Unknown(String),
    /// A file that could not be read.
    #[error("the file {path} could not be read ({why})")]
    File {
        /// Which.
        path: String,
        /// Why not.
        why: String,
    },
    /// In a config that is tried: the one in force does not have it, so it is not looked up. Whether there is such a thing is not said.
    #[error(
        "the config in force does not use ${{{0}}}, so what-if does not look it up: reload with it, or give it a default"
    )]
    NotInForce(String),
    /// In a config that is tried: the one in force has it elsewhere.
    #[error(
        "${{{0}}} does not stand in this place in the config in force, so what-if cannot tell what it would do here: reload with it, or write another value"
    )]
    NewPlace(String),
}

impl InterpolationError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            // They say it themselves.
            Self::NotInForce(_) | Self::NewPlace(_) => return None,
            Self::Unset(name) if matches!(name.as_str(), "date" | "hour") => {
                format!("in a path it is written {{{name}}}")
            }
            Self::Unset(name) if name.starts_with(|c: char| c.is_ascii_lowercase()) && vero::meant(name).is_some() => {
                format!("a value of the event is written {{{{ {name} }}}}; a variable has a default by ${{{name}:-…}}")
            }
            Self::Unset(name) => format!("export {name}, or write ${{{name}:-…}} with a default"),
            Self::Unclosed => "close it with `}`".to_owned(),
            Self::Unknown(inner) if variable_name(&format!("${{{inner}}}}}")).is_some() => {
                format!("write ${{{}}}", variable_name(&format!("${{{inner}}}}}")).unwrap_or_default())
            }
            Self::Unknown(inner) => match inner.trim_start_matches('{').trim() {
                inner if inner.trim_end_matches('}').contains('.') && !inner.contains(':') => {
                    "write \"${NAME}\" for a variable; a value of the event is written {{ campaign.name }}".to_owned()
                }
                inner => match inner.split([':', '-', '?', ' ', '}']).next().unwrap_or_default() {
                    "" => "write ${NAME}".to_owned(),
                    name => format!("write ${{{name}}}, or ${{{name}:-…}} with a default"),
                },
            },
            Self::File { .. } => "the path is relative to this file; its owner must be able to read it".to_owned(),
        })
    }
}

/// A text with its values in place.
#[derive(Debug)]
pub struct Interpolated {
    /// The text.
    pub text: String,
    /// What came out of variables, files and credentials, each by what asked for it. A default is not among them: it stands in the
    /// config.
    pub taken: Vec<(String, String)>,
    /// Something in the text stands for a value that may not go there.
    pub has_placeholder: bool,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// What a path is relative to.
    pub directory: &'a Path,
    /// The keys that lead to it.
    pub place: &'a str,
}

/// Puts values in the place of `${VAR}`, `${VAR:-default}`, `${file:path}` and `${credential:NAME}`; `$${` stands for `${`.
///
/// Set but empty counts as unset. `None`: there was nothing to put in.
pub fn interpolate(
    text: &str,
    at: At<'_>,
    surroundings: &dyn Surroundings,
) -> Result<Option<Interpolated>, InterpolationError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let is_same = surroundings.resolved().is_some_and(|resolved| resolved.has(at.place, text));
    let mut done = Interpolated { text: String::with_capacity(text.len()), taken: Vec::new(), has_placeholder: false };
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            done.text.push_str(before);
            done.text.push_str("${");
            rest = &from[2..];
            continue;
        }
        done.text.push_str(before);
        let end = from.find('}').ok_or(InterpolationError::Unclosed)?;
        let asked = Asked::parse(&from[2..end])?;
        let value = match surroundings.resolved() {
            Some(resolved) if resolved.value(asked.reference).is_none() && asked.default.is_some() => None,
            Some(resolved) => {
                done.has_placeholder |= !is_same;
                Some(stands_for(resolved, asked.reference, at.place, is_same, done.text.is_empty())?)
            }
            None => asked.resolve(at.directory, surroundings)?,
        };
        match value {
            Some(value) => {
                done.text.push_str(&value);
                done.taken.push((asked.reference.to_owned(), value));
            }
            None => done.text.push_str(asked.default.unwrap_or_default()),
        }
        rest = &from[end + 1..];
    }
    done.text.push_str(rest);
    Ok(Some(done))
}

/// The inside of a `${…}`.
struct Asked<'t> {
    /// A variable's name, or `file:` or `credential:` and what follows.
    reference: &'t str,
    default: Option<&'t str>,
}

impl<'t> Asked<'t> {
    fn parse(inner: &'t str) -> Result<Self, InterpolationError> {
        let unknown = || InterpolationError::Unknown(inner.to_owned());
        if inner.starts_with("file:") {
            return Ok(Self { reference: inner, default: None });
        }
        if let Some(name) = inner.strip_prefix("credential:") {
            let is_plain = !name.is_empty() && !name.contains('/') && name != "..";
            return if is_plain { Ok(Self { reference: inner, default: None }) } else { Err(unknown()) };
        }
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name { Ok(Self { reference: name, default }) } else { Err(unknown()) }
    }

    /// What it stands for; `None`: its default.
    fn resolve(&self, directory: &Path, surroundings: &dyn Surroundings) -> Result<Option<String>, InterpolationError> {
        let read = |path: &Path| {
            let read = surroundings.file(path);
            let text = read.map_err(|error| InterpolationError::File {
                path: path.display().to_string(),
                why: error.to_string(),
            })?;
            let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned());
            Ok(Some(line.unwrap_or(text)))
        };
        if let Some(path) = self.reference.strip_prefix("file:") {
            return read(&directory.join(path));
        }
        if let Some(name) = self.reference.strip_prefix("credential:") {
            let unset = || InterpolationError::Unset("CREDENTIALS_DIRECTORY".to_owned());
            let directory = surroundings.variable("CREDENTIALS_DIRECTORY").ok_or_else(unset)?;
            return read(&Path::new(&directory).join(name));
        }
        match surroundings.variable(self.reference).filter(|value| !value.is_empty()) {
            None if self.default.is_none() => Err(InterpolationError::Unset(self.reference.to_owned())),
            found => Ok(found),
        }
    }
}

/// Units of time, and how many milliseconds each is.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size, and how many bytes each is.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// What people write for a unit, and the unit; lower-cased.
const TIME_WORDS: [(&str, &str); 25] = [
    ("", "s"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millis", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("ms", "ms"),
    ("s", "s"),
    ("m", "m"),
    ("h", "h"),
    ("d", "d"),
];
const SIZE_WORDS: [(&str, &str); 16] = [
    ("", "B"),
    ("b", "B"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kib", "KiB"),
    ("kb", "kB"),
    ("ki", "KiB"),
    ("m", "MiB"),
    ("mi", "MiB"),
    ("mib", "MiB"),
    ("mb", "MB"),
    ("g", "GiB"),
    ("gi", "GiB"),
    ("gib", "GiB"),
    ("gb", "GB"),
];

/// Reads `500ms`, `2s`, `15m`, `72h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let wanted = "a number and a unit, like 500ms, 2s, 15m, 72h or 7d";
    let measured = measured(text, &TIME_UNITS).map(Duration::from_millis);
    measured.ok_or_else(|| not_a(text, "duration", meant(text, &TIME_WORDS, &TIME_UNITS), wanted))
}

/// Reads `600B`, `64KiB`, `1MiB` or `10GiB`.
pub fn size(text: &str) -> Result<u64, Fault> {
    let wanted = "a number and a unit, like 600B, 64KiB, 1MiB or 10GiB";
    measured(text, &SIZE_UNITS).ok_or_else(|| not_a(text, "size", meant(text, &SIZE_WORDS, &SIZE_UNITS), wanted))
}

/// Reads a rate like `5/s`, `100/m` or `1/h`, as the time between two.
pub fn rate(text: &str) -> Result<Duration, Fault> {
    let wanted = "a number per second, minute or hour, like 5/s, 100/m or 10/h";
    let read = || {
        let (count, unit) = text.split_once('/')?;
        let (_, unit_ms) = TIME_UNITS[1..4].iter().find(|(name, _)| *name == unit.trim())?;
        let count: u32 = count.trim().parse().ok()?;
        (1..=RATE_MAX).contains(&count).then(|| Duration::from_millis(*unit_ms) / count)
    };
    read().ok_or_else(|| not_a(text, "rate", meant_rate(text), wanted))
}

/// More than this in one unit of time is no limit.
const RATE_MAX: u32 = 100_000;

fn not_a(text: &str, what: &str, meant: Option<String>, wanted: &str) -> Fault {
    let help = meant.map_or_else(|| format!("write {wanted}"), |meant| format!("did you mean `{meant}`?"));
    Fault::with_help(format!("`{text}` is not a {what}"), help)
}

fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (text[..digits].parse::<u64>().ok()?, text[digits..].trim());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The right way to write `5`, `15 minutes`, `1.5h` or `1mb`.
fn meant(text: &str, words: &[(&str, &str)], units: &[(&str, u64)]) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'', '~', '+']).to_lowercase().replace(',', ".");
    if let Some(sum) = summed(&text, words, units) {
        return Some(sum);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, word) = (&text[..end], text[end..].trim());
    let (_, unit) = words.iter().find(|(known, _)| *known == word)?;
    let (_, factor) = units.iter().find(|(name, _)| name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.is_empty() {
        return whole.parse::<u64>().ok().map(|whole| format!("{whole}{unit}"));
    }
    // 1.5h is 90m: a smaller unit in which the number is whole.
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = format!("{whole}{fraction}").parse::<u64>().ok()?.checked_mul(*factor)?;
    let is_binary = unit.contains('i');
    let mut smaller: Vec<_> =
        units.iter().filter(|(name, _)| *name == "B" || name.contains('i') == is_binary).collect();
    smaller.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
    let (name, factor) =
        smaller.into_iter().find(|(_, factor)| scaled.is_multiple_of(scale.checked_mul(*factor).unwrap_or(0)))?;
    Some(format!("{}{name}", scaled / scale / factor))
}

/// `1d12h`, `1h 30m`: several of them, as one in the smallest unit that is named.
fn summed(text: &str, words: &[(&str, &str)], units: &[(&str, u64)]) -> Option<String> {
    let (mut rest, mut total, mut parts, mut least) = (text.trim(), 0_u64, 0, u64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let behind = rest[end..].trim_start();
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let word = behind[..end].trim().trim_end_matches("and").trim();
        let known = words.iter().find(|(known, _)| *known == word && !known.is_empty()).map_or(word, |(_, unit)| unit);
        let (_, factor) = units.iter().find(|(name, _)| *name == known)?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        (rest, parts, least) = (behind[end..].trim_start(), parts + 1, least.min(*factor));
    }
    let (name, factor) = units.iter().find(|(_, factor)| *factor == least)?;
    (parts > 1).then(|| format!("{}{name}", total / factor))
}

fn meant_rate(text: &str) -> Option<String> {
    let text = text.to_lowercase().replace(" per ", "/").replace("per ", "/");
    let text = match text.trim().strip_suffix("rps").or(text.trim().strip_suffix("qps")) {
        Some(count) => format!("{}/s", count.trim()),
        None => match text.trim().strip_suffix("rpm") {
            Some(count) => format!("{}/m", count.trim()),
            None => text,
        },
    };
    let (count, word) = text.split_once('/').unwrap_or((&text, ""));
    let (_, unit) = TIME_WORDS.iter().find(|(known, _)| *known == word.trim())?;
    let count = count.trim().parse::<u32>().ok().filter(|count| (1..=RATE_MAX).contains(count))?;
    matches!(*unit, "s" | "m" | "h").then(|| format!("{count}/{unit}"))
}

/// A duration in its largest whole unit.
pub fn shown_duration(duration: Duration) -> String {
    shown(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS)
}

/// A size in its largest whole binary unit.
pub fn shown_size(bytes: u64) -> String {
    shown(bytes, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)])
}

/// `units` in rising order.
fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = whole.unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    fn at() -> At<'static> {
        At { directory: Path::new("/etc/relay"), place: "" }
    }

    impl Surroundings for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("value".to_owned()),
                "EMPTY" => Some(String::new()),
                "CREDENTIALS_DIRECTORY" => Some("/run/creds".to_owned()),
                _ => None,
            }
        }

        fn file(&self, path: &Path) -> std::io::Result<String> {
            match path.to_str() {
                Some("/etc/relay/secret.txt" | "/run/creds/token") => Ok("s3cret\n".to_owned()),
                _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Option<&str>, &str>) {
        match (interpolate(text, at(), &Fixed), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got.map(|got| got.text).as_deref(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_file_behind_a_value_is_a_regular_one_and_not_larger_than_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        for (bytes, is_taken) in [(FILE_VALUE_BYTES_MAX, true), (FILE_VALUE_BYTES_MAX + 1, false)] {
            std::fs::write(&path, "x".repeat(bytes)).expect("written");
            assert_eq!(Process.file(&path).is_ok(), is_taken, "{bytes}");
        }
        for not_a_file in ["/dev/zero", "/dev/null", "/"] {
            assert!(Process.file(Path::new(not_a_file)).is_err(), "{not_a_file}");
        }
    }

    #[test]
    fn interpolation() {
        check("plain", Ok(None));
        check("${SET}", Ok(Some("value")));
        check("a${SET}b${SET}", Ok(Some("avaluebvalue")));
        check("${UNSET:-def}", Ok(Some("def")));
        check("${EMPTY:-def}", Ok(Some("def")));
        check("${SET:-def}", Ok(Some("value")));
        check("${UNSET:-}", Ok(Some("")));
        check("$${SET} ${SET}", Ok(Some("${SET} value")));
        check("${file:secret.txt}", Ok(Some("s3cret")));
        check("${credential:token}", Ok(Some("s3cret")));
        check("${UNSET}", Err("UNSET is not set"));
        check("${EMPTY}", Err("EMPTY is not set"));
        check("${SET", Err("never closed"));
        check("${a b}", Err("not understood"));
        check("${}", Err("not understood"));
        check("${file:nothing}", Err("nothing could not be read"));
        check("${credential:../x}", Err("not understood"));
    }

    #[test]
    fn what_came_from_outside_is_told_apart_from_what_stands_in_the_config() {
        let taken = |text: &str| -> Vec<String> {
            let taken = interpolate(text, at(), &Fixed).expect("good").expect("some").taken;
            taken.into_iter().map(|(reference, value)| format!("{reference}={value}")).collect()
        };
        let found = taken("a${SET}b${file:secret.txt}c${UNSET:-default}$${x}");
        assert_eq!(found, ["SET=value", "file:secret.txt=s3cret"]);
        assert!(taken("${UNSET:-default}").is_empty());
    }

    #[test]
    fn measures() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("72h"), Ok(Duration::from_secs(72 * 3600)));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("10 GiB"), Ok(10 << 30));
        assert_eq!(rate("5/s"), Ok(Duration::from_millis(200)));
        assert_eq!(rate("60/m"), Ok(Duration::from_secs(1)));
        for bad in ["", "5", "s", "5 parsecs", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["5", "MiB", "1mib"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["5", "0/s", "5/d", "x/s", "100001/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_told() {
        let help = |fault: Fault| fault.help.expect("help");
        for (text, meant) in
            [("5", "5s"), ("15 minutes", "15m"), ("1.5h", "90m"), ("0.25s", "250ms"), ("10 SEC", "10s")]
        {
            assert_eq!(help(duration(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for (text, meant) in [("5", "5B"), ("1mb", "1MB"), ("64K", "64KiB"), ("1.5GiB", "1536MiB"), ("2.5kB", "2500B")]
        {
            assert_eq!(help(size(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for (text, meant) in [("1d12h", "36h"), ("1h 30m", "90m"), ("1 hour and 5 minutes", "65m")] {
            assert_eq!(help(duration(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for (text, meant) in [
            ("5", "5/s"),
            ("10 rps", "10/s"),
            ("5/second", "5/s"),
            ("60rpm", "60/m"),
            ("5 per second", "5/s"),
            ("100/min", "100/m"),
        ] {
            assert_eq!(help(rate(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        assert!(help(duration("5 parsecs").expect_err("no unit")).starts_with("write a number"));
        assert!(help(rate("5/d").expect_err("no unit")).starts_with("write a number"));
    }

    #[test]
    fn measures_are_shown_as_they_are_written() {
        assert_eq!(shown_duration(Duration::from_secs(90)), "90s");
        assert_eq!(shown_duration(Duration::from_secs(3600)), "1h");
        assert_eq!(shown_duration(Duration::from_millis(100)), "100ms");
        assert_eq!(shown_size(8 << 20), "8MiB");
        assert_eq!(shown_size(0), "0B");
    }
}
