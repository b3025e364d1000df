//! Single values: what stands behind `${…}`, and durations, sizes and rates.

use std::path::Path;
use std::time::Duration;

/// Where interpolation finds its values. A trait of one process's surroundings, so that tests have their own.
pub trait Surroundings {
    /// An environment variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;
    /// A file's text.
    fn file(&self, path: &Path) -> std::io::Result<String>;
}

/// The process's environment and the file system.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

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
}

/// Puts values in the place of `${VAR}`, `${VAR:-default}`, `${file:path}` and `${credential:NAME}`; `$${` stands for `${`.
///
/// Set but empty counts as unset. Paths are relative to `directory`. `None`: there was nothing to put in.
pub fn interpolate(
    text: &str,
    directory: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Option<String>, InterpolationError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let end = from.find('}').ok_or(InterpolationError::Unclosed)?;
        out.push_str(&resolve(&from[2..end], directory, surroundings)?);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn resolve(inner: &str, directory: &Path, surroundings: &dyn Surroundings) -> Result<String, InterpolationError> {
    let read = |path: &Path| {
        let read = surroundings
            .file(path)
            .map_err(|error| InterpolationError::File { path: path.display().to_string(), why: error.to_string() });
        read.map(|text| text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t).to_owned()).unwrap_or(text))
    };
    if let Some(path) = inner.strip_prefix("file:") {
        return read(&directory.join(path));
    }
    if let Some(name) = inner.strip_prefix("credential:") {
        let unset = || InterpolationError::Unset("CREDENTIALS_DIRECTORY".to_owned());
        let directory = surroundings.variable("CREDENTIALS_DIRECTORY").ok_or_else(unset)?;
        let is_plain = !name.is_empty() && !name.contains('/') && name != "..";
        return if is_plain {
            read(&Path::new(&directory).join(name))
        } else {
            Err(InterpolationError::Unknown(inner.to_owned()))
        };
    }
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(InterpolationError::Unknown(inner.to_owned()));
    }
    let set = surroundings.variable(name).filter(|value| !value.is_empty());
    set.or_else(|| default.map(str::to_owned)).ok_or_else(|| InterpolationError::Unset(name.to_owned()))
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

/// Reads `500ms`, `2s`, `15m`, `72h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is not a duration: write a number and a unit, like 500ms, 2s, 15m, 72h or 7d");
    measured(text, &TIME_UNITS).map(Duration::from_millis).ok_or_else(wanted)
}

/// Reads `600B`, `64KiB`, `1MiB` or `10GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let wanted = || format!("`{text}` is not a size: write a number and a unit, like 600B, 64KiB, 1MiB or 10GiB");
    measured(text, &SIZE_UNITS).ok_or_else(wanted)
}

/// Reads a rate like `5/s`, `100/m` or `1/h`, as the time between two.
pub fn rate(text: &str) -> Result<Duration, String> {
    let wanted =
        || format!("`{text}` is not a rate: write a number per second, minute or hour, like 5/s, 100/m or 10/h");
    let (count, unit) = text.split_once('/').ok_or_else(wanted)?;
    let (_, unit_ms) = TIME_UNITS[1..4].iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wanted)?;
    let count: u32 = count.trim().parse().map_err(|_| wanted())?;
    if count == 0 || count > 100_000 {
        return Err(wanted());
    }
    Ok(Duration::from_millis(*unit_ms) / count)
}

fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (text[..digits].parse::<u64>().ok()?, text[digits..].trim());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

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
        match (interpolate(text, Path::new("/etc/relay"), &Fixed), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got.as_deref(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
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
}
