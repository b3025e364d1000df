//! What stands behind `${…}`: variables, files and credentials.

use std::path::Path;

use super::hints::Hints;
use super::regular;
use super::resolved::{Resolved, is_passed_on, placeholder, takes_placeholders};
use super::words::variable_name;

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
    #[error("`${{` is never closed: write ${{NAME}}, or $${{ for the characters themselves")]
    Unclosed(String),
    /// Nothing that can stand there.
    #[error(
        "`${{{}}}` is not understood: write ${{NAME}}, ${{NAME:-default}}, ${{file:PATH}} or ${{credential:NAME}}",
        shown(.0)
    )]
    Unknown(String),
    /// A file that could not be read.
    #[error("the file {path} could not be read ({why})")]
    File { path: String, why: String },
    /// In a config that is tried: the one in force does not have it, so it is not looked up. Whether there is such a thing is not said.
    #[error(
        "the config in force does not use ${{{0}}}, so what-if does not look it up: reload with it, or give it a default"
    )]
    NotInForce(String),
    /// In a config that is tried: the one in force has it elsewhere.
    #[error(
        "${{{0}}} does not stand in this place in the config in force, so what-if cannot tell what it would do here: try it with `vero-relay explain` on the machine, reload with it, or write another value"
    )]
    NewPlace(String),
}

/// Whether something can be a part of a variable's name, or of what people write in its place.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.{} ".contains(c)
}

/// The inside of a `${…}` that is not understood: up to the sign behind a name, as a default may stand there, and be a secret.
fn shown(inner: &str) -> String {
    let is_path = ["file:", "credential:"].iter().any(|kind| inner.starts_with(kind));
    match inner.find(|c| !is_of_name(c)).filter(|_| !is_path) {
        Some(end) => format!("{}…", &inner[..end + inner[end..].chars().next().map_or(0, char::len_utf8)]),
        None => inner.to_owned(),
    }
}

impl InterpolationError {
    /// Whether a value may stand where it is told of, which is nobody's to read.
    pub fn holds_a_value(&self) -> bool {
        match self {
            Self::Unclosed(rest) => !rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            Self::Unknown(inner) => shown(inner) != *inner,
            Self::Unset(_) | Self::File { .. } | Self::NotInForce(_) | Self::NewPlace(_) => false,
        }
    }

    /// What to do about it.
    pub fn help(&self, hints: &dyn Hints) -> Option<String> {
        Some(match self {
            // They say it themselves.
            Self::NotInForce(_) | Self::NewPlace(_) => return None,
            Self::Unset(name) => hints
                .unset_variable(name)
                .unwrap_or_else(|| format!("export {name}, or write ${{{name}:-…}} with a default")),
            Self::Unclosed(_) => "close it with `}`".to_owned(),
            Self::Unknown(inner) if variable_name(&format!("${{{inner}}}}}")).is_some() => {
                format!("write ${{{}}}", variable_name(&format!("${{{inner}}}}}")).unwrap_or_default())
            }
            Self::Unknown(inner) => match inner.trim_start_matches('{').trim() {
                inner if inner.trim_end_matches('}').contains('.') && !inner.contains(':') => {
                    "write \"${NAME}\" for a variable; a value of the event is written {{ campaign.name }}".to_owned()
                }
                inner => match inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
                {
                    "" => "write ${NAME}".to_owned(),
                    name => format!("write ${{{name}}}, or ${{{name}:-…}} with a default"),
                },
            },
            Self::File { .. } => "the path is relative to this file; its owner must be able to read it".to_owned(),
        })
    }
}

/// What a reference of a config that is tried stands for. Whether there is anything behind it is not looked at.
fn stands_for(
    of: &Resolved,
    reference: &str,
    place: &str,
    is_same: bool,
    is_first: bool,
) -> Result<String, InterpolationError> {
    match of.value(reference) {
        Some(value) if is_same => Ok(value.to_owned()),
        Some(_) if takes_placeholders(place) => Ok(placeholder(place, is_first, reference)),
        Some(_) => Err(InterpolationError::NewPlace(reference.to_owned())),
        None => Err(InterpolationError::NotInForce(reference.to_owned())),
    }
}

/// A text with its values in place.
#[derive(Debug)]
pub struct Interpolated {
    pub text: String,
    /// What came out of variables, files and credentials, each by what asked for it. A default is not among them: it stands in the
    /// config.
    pub taken: Vec<(String, String)>,
    /// Something in the text stands for a value that may not go there.
    pub has_placeholder: bool,
    /// A default stands in it.
    pub has_default: bool,
}

/// What of a text with `${…}` is written out there: all that is no reference, and defaults.
pub(super) fn written_out(raw: &str) -> impl Iterator<Item = &str> {
    raw.split("${").enumerate().flat_map(|(at, part)| {
        let (inner, behind) = if at == 0 { ("", part) } else { part.split_once('}').unwrap_or(("", part)) };
        [inner.split_once(":-").map_or("", |(_, default)| default), behind]
    })
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
    let is_known = |resolved: &Resolved| !is_passed_on(at.place) && resolved.filled(at.place, text).is_some();
    let is_same = surroundings.resolved().is_some_and(is_known);
    let mut done = Interpolated {
        text: String::with_capacity(text.len()),
        taken: Vec::new(),
        has_placeholder: false,
        has_default: false,
    };
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
        let end = from.find('}').ok_or_else(|| InterpolationError::Unclosed(from[2..].to_owned()))?;
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
            None => {
                done.has_default = true;
                done.text.push_str(asked.default.unwrap_or_default());
            }
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

#[cfg(test)]
mod tests {
    use super::super::raw::Node;
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
    fn a_reference_becomes_its_value_or_says_why_not() {
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

    /// Knows nothing.
    struct NoHints;

    impl Hints for NoHints {
        fn unknown_key(&self, _: &str, _: &Node, _: &str, _: &[&'static str]) -> Option<String> {
            None
        }

        fn missing_key(&self, _: &str, _: &str, _: &[&'static str]) -> Option<String> {
            None
        }

        fn not_a_map(&self, _: &str, _: &Node) -> Option<String> {
            None
        }

        fn unset_variable(&self, _: &str) -> Option<String> {
            None
        }

        fn places(&self, _: &str) -> Vec<Vec<&'static str>> {
            Vec::new()
        }

        fn holds_secrets(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn what_is_told_of_a_wrong_reference_holds_no_default() {
        for (text, told, holds) in [
            ("${X:?S3cret}", "`${X:…}` is not", true),
            ("${X-S3cret}", "`${X-…}` is not", true),
            ("${X:=S3cret}", "`${X:…}` is not", true),
            ("${X=S3cret}", "`${X=…}` is not", true),
            ("${X#S3cret}", "`${X#…}` is not", true),
            ("${Ü:-S3cret}", "`${Ü…}` is not", true),
            ("${VERO TOKEN}", "`${VERO TOKEN}` is not", false),
            ("${campaign.name}", "`${campaign.name}` is not", false),
            ("${credential:a/b}", "`${credential:a/b}` is not", false),
            ("${X:-S3cret", "is never closed", true),
            ("${X S3cret", "is never closed", true),
            ("${TOKEN", "is never closed", false),
        ] {
            let error = interpolate(text, at(), &Fixed).expect_err("it is wrong");
            let help = error.help(&NoHints).unwrap_or_default();
            assert!(error.to_string().contains(told), "{text}: {error}");
            assert_eq!(error.holds_a_value(), holds, "{text}");
            assert!(!format!("{error} {help}").contains("S3cret"), "{text}: {error} {help}");
        }
    }
}
