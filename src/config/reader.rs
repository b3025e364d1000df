//! Typed reading of nodes. Every wrong value becomes a problem and reading goes on, so that all problems are told at once.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::advice::exposure::names_a_secret;
use super::problem::{Problem, Severity, did_you_mean, nearest};
use super::raw::{Key, Node, NodeId, Scalar, Style, Value};
use super::values::{self, Interpolated, Surroundings, interpolate, shown_duration, shown_size};
use crate::fault::Fault;

/// YAML 1.1's merge key. With it serde_yaml would lose all places.
pub const MERGE: &str = "<<";

/// Collects problems, and knows where relative paths start.
pub struct Reader {
    problems: RefCell<Vec<Problem>>,
    /// What stood behind each `${…}`: it is taken out of every message.
    interpolated: RefCell<Vec<String>>,
    /// What variables, files and credentials held.
    taken: RefCell<Vec<String>>,
    /// What stands in the file and must not be shown with its line.
    unshown: RefCell<Vec<String>>,
    /// Secrets that stand in the file as they are, and how many characters each has.
    plain: RefCell<Vec<(NodeId, usize)>>,
    /// In a section where any value may be a secret, a line is shown only if the value on it is known to be none.
    hides_values: Cell<bool>,
    /// The directory of the config file: what is read is relative to it.
    pub directory: PathBuf,
}

impl Reader {
    /// A reader for a file in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            problems: RefCell::default(),
            interpolated: RefCell::default(),
            taken: RefCell::default(),
            unshown: RefCell::default(),
            plain: RefCell::default(),
            hides_values: Cell::new(false),
            directory,
        }
    }

    /// How many errors have been found so far.
    pub fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// All problems so far, and the texts of the file that must not be shown with them.
    pub fn into_problems(self) -> (Vec<Problem>, Vec<String>) {
        (self.problems.into_inner(), self.unshown.into_inner())
    }

    /// Adds an error.
    pub fn error(&self, at: NodeId, message: impl Into<String>) {
        self.fault(at, Fault::with_help(message, None));
    }

    /// Adds an error, with what to do about it.
    pub fn error_with(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.fault(at, Fault::with_help(message, help));
    }

    /// Adds an error in a text, at its place there.
    pub fn fault(&self, at: NodeId, fault: Fault) {
        self.push(at, Severity::Error, fault, false);
    }

    /// Adds an error about a value that is a secret: its line will not be shown.
    pub fn secret_error(&self, at: NodeId, message: impl Into<String>) {
        self.push(at, Severity::Error, Fault::with_help(message, None), true);
    }

    /// Adds an error in a text that is a secret.
    pub fn secret_fault(&self, at: NodeId, fault: Fault) {
        self.push(at, Severity::Error, fault, true);
    }

    /// Adds a warning.
    pub fn warning(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.push(at, Severity::Warning, Fault::with_help(message, help), false);
    }

    /// Adds a warning about a value that is a secret: its line will not be shown.
    pub fn secret_warning(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.push(at, Severity::Warning, Fault::with_help(message, help), true);
    }

    /// Notes a secret. If it stands in the file as it is, its line is never shown, and [`take_plain`](Self::take_plain) has it.
    pub fn note_secret(&self, node: &Node) {
        self.hide(node);
        let plain = node.scalar().filter(|scalar| !scalar.is_interpolated && scalar.style != Style::Unresolved);
        self.plain.borrow_mut().extend(plain.map(|scalar| (node.id, scalar.text.chars().count())));
    }

    /// The secrets that were read since the last time and stand in the file as they are, with the characters that each has.
    pub fn take_plain(&self) -> Vec<(NodeId, usize)> {
        self.plain.take()
    }

    /// Whatever line one of the texts below a node stands on is not shown.
    fn hide(&self, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_interpolated => {}
            // The name of a variable that is not set is no secret, and what its owner needs to see.
            Value::Scalar(scalar) if scalar.style == Style::Unresolved && scalar.text.starts_with("${") => {}
            Value::Scalar(scalar) => self.unshown.borrow_mut().push(scalar.text.clone()),
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| self.hide(node)),
        }
    }

    /// From now on, the line of a wrong or unknown value is not shown, or is again.
    pub fn hide_values(&self, hides: bool) {
        self.hides_values.set(hides);
    }

    fn push(&self, at: NodeId, severity: Severity, fault: Fault, is_secret: bool) {
        let Fault { message, help, within } = fault;
        let redact = |text: String| {
            let interpolated = self.interpolated.borrow();
            let mut values: Vec<&String> = interpolated.iter().filter(|value| !value.is_empty()).collect();
            // The longest first: a value that is a part of another would leave the rest of it to be read.
            values.sort_by_key(|value| std::cmp::Reverse(value.len()));
            values.into_iter().fold(text, |text, value| text.replace(value.as_str(), "…"))
        };
        let (message, help) = (redact(message), help.map(redact));
        self.problems.borrow_mut().push(Problem { at: Some(at), severity, message, help, within, is_secret });
    }

    /// Puts values in the place of every `${…}` below a node. Keys are left alone.
    pub fn interpolate(&self, root: &mut Node, surroundings: &dyn Surroundings) {
        let directory: &Path = &self.directory;
        root.for_each_scalar(&mut |id, scalar| match interpolate(&scalar.text, directory, surroundings) {
            Ok(None) => {}
            Ok(Some(Interpolated { text, taken })) => {
                self.taken.borrow_mut().extend(taken);
                self.interpolated.borrow_mut().push(text.clone());
                *scalar = Scalar { text, style: Style::String, is_interpolated: true };
            }
            Err(error) => {
                self.error(id, error.to_string());
                scalar.style = Style::Unresolved;
            }
        });
    }

    /// What was put in from variables, files and credentials: wherever it goes, it is not shown.
    pub fn taken(&self) -> Vec<String> {
        self.taken.borrow().clone()
    }

    /// The entries of a map.
    pub fn map<'n>(&self, node: &'n Node, what: &str) -> Option<Entries<'_, 'n>> {
        let entries = match &node.value {
            // A merge key is told of with the whole file.
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| (key, node)).filter(|(key, _)| key.text != MERGE).collect()
            }
            _ if node.is_null() => Vec::new(),
            _ => {
                let message = format!("{what} should be a map, and this is {}", node.kind());
                if self.hides_values.get() {
                    self.hide(node);
                }
                self.error(node.id, message);
                return None;
            }
        };
        Some(Entries::new(self, node.id, what.to_owned(), entries))
    }

    /// The items of a list; a single value counts as a list of one.
    pub fn list<'n>(&self, node: &'n Node) -> Vec<&'n Node> {
        match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        }
    }

    /// A text: any scalar but nothing.
    pub fn text<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match node.scalar() {
            Some(Scalar { style: Style::Unresolved, .. }) => None,
            Some(scalar) if scalar.style != Style::Null => Some(&scalar.text),
            _ => {
                let help = looks_like_braces(node).then(|| "quote the value: YAML reads `{…}` as a map".to_owned());
                self.error_with(node.id, format!("this should be a text, and it is {}", node.kind()), help);
                None
            }
        }
    }

    /// A text with something in it that must never be shown.
    pub fn secret(&self, node: &Node) -> Option<Secret> {
        self.hide(node);
        match node.scalar() {
            Some(Scalar { style: Style::Unresolved, .. }) => None,
            Some(scalar) if !scalar.text.is_empty() => Some(Secret(scalar.text.clone())),
            Some(_) => {
                self.secret_error(node.id, "a secret cannot be empty");
                None
            }
            None => {
                self.secret_error(node.id, format!("this should be a text, and it is {}", node.kind()));
                None
            }
        }
    }

    /// A secret that gives access: in the file as it is, it is warned of.
    pub fn credential(&self, node: &Node) -> Option<Secret> {
        self.note_secret(node);
        self.secret(node)
    }

    /// A map of `username` and `password`, as the `username:password` of basic authentication.
    pub fn basic(&self, node: &Node) -> Option<Secret> {
        let mut entries = self.map(node, "`basic`")?;
        let (username, password) = (entries.required("username"), entries.required("password"));
        entries.finish();
        let (username, password) = (self.text(username?)?, self.credential(password?)?);
        Some(Secret(format!("{username}:{}", password.expose())))
    }

    /// `true` or `false`.
    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match node.scalar().map(|scalar| (scalar.style, scalar.text.as_str())) {
            Some((Style::Unresolved, _)) => None,
            Some((_, "true")) => Some(true),
            Some((_, "false")) => Some(false),
            _ => {
                self.error(node.id, format!("this should be true or false, and it is {}", node.kind()));
                None
            }
        }
    }

    /// A whole number within limits.
    pub fn number(&self, node: &Node, within: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = node.scalar().and_then(|scalar| scalar.text.parse().ok());
        if node.scalar().is_some_and(|scalar| scalar.style == Style::Unresolved) {
            return None;
        }
        let good = number.filter(|number| within.contains(number));
        if good.is_none() {
            let (least, most) = (within.start(), within.end());
            self.error(node.id, format!("this should be a whole number from {least} to {most}"));
        }
        good
    }

    /// A duration like `15m`, within limits.
    pub fn duration(&self, node: &Node, least: Duration, most: Duration) -> Option<Duration> {
        let duration = self.measured(node, values::duration)?;
        if duration < least || duration > most {
            let (least, most) = (shown_duration(least), shown_duration(most));
            self.error(node.id, format!("this should be from {least} to {most}"));
            return None;
        }
        Some(duration)
    }

    /// A size like `1MiB`, within limits.
    pub fn size(&self, node: &Node, within: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let size = self.measured(node, values::size)?;
        if !within.contains(&size) {
            let (least, most) = (shown_size(*within.start()), shown_size(*within.end()));
            self.error(node.id, format!("this should be from {least} to {most}"));
            return None;
        }
        Some(size)
    }

    /// A rate like `5/s`, as the time between two.
    pub fn rate(&self, node: &Node) -> Option<Duration> {
        self.measured(node, values::rate)
    }

    fn measured<T>(&self, node: &Node, read: fn(&str) -> Result<T, Fault>) -> Option<T> {
        let text = self.text(node)?;
        read(text).map_err(|fault| self.fault(node.id, fault)).ok()
    }
}

/// `{{ x }}` without quotes is a map in a map to YAML, and `{x}` a map with a key and no value.
fn looks_like_braces(node: &Node) -> bool {
    node.entries().first().is_some_and(|(_, value)| value.is_null())
}

/// A text that is never shown: no `Display`, no `Serialize`, and `Debug` prints no more than that it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text itself, to use it where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a secret may stand on the line of a key of a source or a destination.
fn holds_secrets(key: &str) -> bool {
    let kinds = crate::destination::KINDS.map(|kind| kind.name);
    kinds.contains(&key)
        || matches!(key, "url" | "bearer" | "basic" | "header" | "headers" | "value")
        || names_a_secret(key)
}

/// The entries of a map, taken one by one; what nobody took is an unknown key.
pub struct Entries<'r, 'n> {
    reader: &'r Reader,
    at: NodeId,
    what: String,
    entries: Vec<(&'n Key, &'n Node)>,
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
}

impl<'r, 'n> Entries<'r, 'n> {
    fn new(reader: &'r Reader, at: NodeId, what: String, entries: Vec<(&'n Key, &'n Node)>) -> Self {
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in &entries {
            if seen.contains(&key.text.as_str()) {
                reader.error(key.id, format!("`{}` is given twice in {what}", key.text));
            }
            seen.push(&key.text);
        }
        Self { reader, at, what, entries, known: Vec::new(), missing: Vec::new() }
    }

    /// Adds the entries of another map for keys that this one does not have. What is left of them is not an unknown key here.
    pub fn with_defaults(mut self, defaults: &'n Node) -> Self {
        for (key, node) in defaults.entries() {
            if !self.entries.iter().any(|(known, _)| known.text == key.text) {
                self.entries.push((key, node));
            }
        }
        self
    }

    /// Where the map is.
    pub fn at(&self) -> NodeId {
        self.at
    }

    /// Takes an entry that may be missing. Given as nothing, it counts as missing.
    pub fn optional(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let at = self.entries.iter().position(|(known, _)| known.text == key)?;
        let (_, node) = self.entries.remove(at);
        self.entries.retain(|(known, _)| known.text != key);
        (!node.is_null()).then_some(node)
    }

    /// Takes an entry that must be there. [`finish`](Self::finish) tells if it is not.
    pub fn required(&mut self, key: &'static str) -> Option<&'n Node> {
        let found = self.optional(key);
        if found.is_none() {
            self.missing.push(key);
        }
        found
    }

    /// Whether there are entries that nobody has taken.
    pub fn has_unknown(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Takes an entry that is nobody's business here.
    pub fn ignore(&mut self, key: &str) {
        self.entries.retain(|(known, _)| known.text != key);
    }

    /// Takes whatever nobody has taken yet.
    pub fn rest(&mut self) -> Vec<(&'n Key, &'n Node)> {
        std::mem::take(&mut self.entries)
    }

    /// Tells of keys that nobody took, and of keys that are missing, unless one of the former is most likely meant.
    pub fn finish(self) {
        for missing in &self.missing {
            let is_misspelt =
                self.entries.iter().any(|(key, _)| nearest(&key.text, self.known.iter().copied()) == Some(missing));
            if !is_misspelt {
                self.reader.error(self.at, format!("{} needs `{missing}`", self.what));
            }
        }
        for (key, node) in &self.entries {
            let known = self.known.iter().copied();
            let may_be_secret = nearest(&key.text, known.clone()).is_none_or(holds_secrets);
            if self.reader.hides_values.get() && may_be_secret {
                self.reader.hide(node);
            }
            let help = did_you_mean(&key.text, known.clone())
                .unwrap_or_else(|| format!("{} can have {}", self.what, known.collect::<Vec<_>>().join(", ")));
            let message = format!("unknown key `{}` in {}", key.text, self.what);
            self.reader.error_with(key.id, message, help);
        }
    }
}
