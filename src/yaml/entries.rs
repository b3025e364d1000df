//! The entries of a map, taken one by one by their keys.

use std::collections::HashSet;

use super::keys::{Defaulted, Info, Key};
use super::problem::{Severity, nearest};
use super::raw::{self, Node, NodeId, Value};
use super::reader::{MERGE, Reader};
use super::words::meant;

/// The keys at the top on which others depend.
const TOP: [&str; 3] = ["sources", "rules", "destinations"];
/// Unknown keys among which the one that is meant is looked for.
const MISSPELT_MAX: usize = 100;

/// The entries of a map, taken one by one; what nobody took is an unknown key.
pub struct Entries<'r, 'n> {
    reader: &'r Reader,
    at: NodeId,
    what: String,
    entries: Vec<(&'n raw::Key, &'n Node)>,
    /// Those for which there are defaults as well.
    overriding: HashSet<&'n str>,
    /// A key with nothing behind it is refused, whatever it is.
    are_never_empty: bool,
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
}

impl Reader {
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
                self.error_with(node.id, message, self.hints.not_a_map(what, node));
                return None;
            }
        };
        Some(Entries::new(self, node.id, what.to_owned(), entries))
    }
}

impl Reader {
    /// Tells of keys of a map that nobody takes and that are never empty, where nothing stands behind them.
    pub fn refuse_nothing(&self, node: &Node, keys: &[Info]) {
        for (key, node) in node.entries().iter().filter(|(_, node)| node.is_null()) {
            let Some(info) = keys.iter().find(|info| info.name == key.text && info.is_never_empty) else { continue };
            self.refuse_as_nothing(node, info);
        }
    }

    fn refuse_as_nothing(&self, node: &Node, info: &Info) {
        let help = format!("write {}: {}; or take `{}` out", info.name, info.example, info.name);
        self.error_with(node.id, format!("there is nothing behind `{}`", info.name), help);
    }
}

impl<'r, 'n> Entries<'r, 'n> {
    fn new(reader: &'r Reader, at: NodeId, what: String, entries: Vec<(&'n raw::Key, &'n Node)>) -> Self {
        let mut seen = HashSet::with_capacity(entries.len());
        for (key, _) in &entries {
            if !seen.insert(key.text.as_str()) {
                let help = "leave one of them out, or put both values into one".to_owned();
                reader.error_with(key.id, format!("`{}` is given twice in {what}", key.text), help);
            }
        }
        Self {
            reader,
            at,
            what,
            entries,
            overriding: HashSet::new(),
            are_never_empty: false,
            known: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// None of its keys may have nothing behind it, as if each were [`never_empty`](super::keys::Key::never_empty).
    pub fn never_empty(mut self) -> Self {
        self.are_never_empty = true;
        self
    }

    /// Adds the entries of another map for keys that this one does not have. What is left of them is not an unknown key here.
    pub fn with_defaults(mut self, defaults: &'n Node) -> Self {
        let known: HashSet<&str> = self.entries.iter().map(|(known, _)| known.text.as_str()).collect();
        let is_known = |(key, _): &&(raw::Key, Node)| known.contains(key.text.as_str());
        let (known, more): (Vec<_>, Vec<_>) = defaults.entries().iter().partition(is_known);
        self.overriding.extend(known.into_iter().map(|(key, _)| key.text.as_str()));
        self.entries.extend(more.into_iter().map(|(key, node)| (key, node)));
        self
    }

    /// Where the map is.
    pub fn at(&self) -> NodeId {
        self.at
    }

    /// Takes what stands behind a key; `None` where there is nothing. Of a key that must be there [`finish`](Self::finish) tells.
    pub fn node(&mut self, info: &Info) -> Option<&'n Node> {
        self.known.push(info.name);
        let found =
            self.entries.iter().position(|(known, _)| known.text == info.name).map(|at| self.entries.remove(at));
        if found.is_some() {
            self.entries.retain(|(known, _)| known.text != info.name);
        }
        // Of a key that must be there it is told that it is missing.
        let is_never_empty = info.is_never_empty || (self.are_never_empty && !info.is_required());
        if let Some((_, node)) = found.filter(|(_, node)| node.is_null() && is_never_empty)
            && !self.overriding.contains(info.name)
        {
            self.reader.refuse_as_nothing(node, info);
        }
        // Given as nothing, it counts as missing.
        let found = found.map(|(_, node)| node).filter(|node| !node.is_null());
        if found.is_none() && info.is_required() {
            self.missing.push(info.name);
        }
        found
    }

    /// Where a key that nobody has taken stands with nothing behind it.
    pub fn nothing(&self, info: &Info) -> Option<NodeId> {
        let found = self.entries.iter().find(|(key, node)| key.text == info.name && node.is_null());
        found.map(|(_, node)| node.id)
    }

    /// Whether something stands behind a key that nobody has taken.
    pub fn has(&self, info: &Info) -> bool {
        self.entries.iter().any(|(key, node)| key.text == info.name && !node.is_null())
    }

    /// Reads what stands behind a key. `None`: it is missing, or it is wrong, and that has been told.
    pub fn read<T>(&mut self, key: &Key<T>) -> Option<T> {
        let node = self.node(&key.info)?;
        key.read(self.reader, node)
    }

    /// Reads what stands behind a key, or takes its default: also where it is wrong, which has been told.
    pub fn value<T: Copy>(&mut self, key: &Defaulted<T>) -> T {
        self.node(&key.info).and_then(|node| key.read(self.reader, node)).unwrap_or(key.default)
    }

    /// The entries of the map behind a key.
    pub fn map(&mut self, info: &Info) -> Option<Entries<'r, 'n>> {
        let node = self.node(info)?;
        self.reader.map(node, &format!("`{}`", info.name))
    }

    /// An entry that nobody has taken and that most likely means a key: read in its place, it spares the errors that would follow.
    /// [`finish`](Self::finish) tells of it all the same.
    pub fn meant(&self, wanted: &Info) -> Option<&'n Node> {
        let known: Vec<_> = TOP.to_vec();
        let found = self.entries.iter().find(|(key, _)| meant(&key.text, known.iter().copied()) == Some(wanted.name));
        found.map(|(_, node)| *node).filter(|node| !node.is_null())
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
    pub fn rest(&mut self) -> Vec<(&'n raw::Key, &'n Node)> {
        std::mem::take(&mut self.entries)
    }

    /// Tells of keys that nobody took, and of keys that are missing, unless one of the former is most likely meant.
    pub fn finish(self) {
        let known = self.known.iter().copied();
        for missing in &self.missing {
            let mut unknown = self.entries.iter().take(MISSPELT_MAX);
            if !unknown.any(|(key, _)| meant(&key.text, known.clone()) == Some(*missing)) {
                let may_look = self.reader.may_look(Severity::Error);
                let help = may_look.then(|| self.reader.hints.missing_key(&self.what, missing, &self.known)).flatten();
                self.reader.error_with(self.at, format!("{} needs `{missing}`", self.what), help);
            }
        }
        for (key, node) in &self.entries {
            if self.reader.is_full() {
                self.reader.hide(node);
                self.reader.error(key.id, "unknown key");
                continue;
            }
            let hides = self.reader.hides_values.get();
            let holds_secrets = |key: &str| self.reader.hints.holds_secrets(key);
            let may_be_secret = hides && nearest(&key.text, known.clone()).is_none_or(holds_secrets);
            if self.reader.hides_values.get() && may_be_secret {
                self.reader.hide(node);
            }
            let may_look = self.reader.may_look(Severity::Error);
            let help =
                may_look.then(|| self.reader.hints.unknown_key(&key.text, node, &self.what, &self.known)).flatten();
            let message = format!("unknown key `{}` in {}", key.text, self.what);
            match self.what.as_str() {
                // What depends on it is told behind it, wherever it stands.
                "the config" => self.reader.first_error(key.id, message, help),
                _ => self.reader.error_with(key.id, message, help),
            }
        }
    }
}
