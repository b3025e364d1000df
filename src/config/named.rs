//! The files that a config names and that were read while it was proved: where one of them holds something else, the same text is another
//! config.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{FileDigest, digest_of};
use crate::yaml::resolved::Resolved;
use crate::yaml::values::Surroundings;

/// What each of them held, by a digest: behind `${file:…}` stands a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFiles(BTreeMap<PathBuf, FileDigest>);

impl NamedFiles {
    /// The first that holds something else now, or cannot be read any more. Reads them, each within its limit.
    pub fn changed(&self, surroundings: &dyn Surroundings) -> Option<&Path> {
        let is_the_same = |path: &Path, digest: &FileDigest| {
            surroundings.file(path).is_ok_and(|text| digest_of(text.as_bytes()) == *digest)
        };
        self.0.iter().find(|(path, digest)| !is_the_same(path, digest)).map(|(path, _)| path.as_path())
    }

    /// Adds what they hold, wherever they lie, to a text that is compared; of none it is nothing.
    pub(super) fn write(&self, text: &mut String) {
        self.0.values().flatten().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    }

    /// A digest of what they hold, behind that of the config's own text.
    pub(super) fn digest_behind(&self, text: FileDigest) -> FileDigest {
        let all: Vec<u8> = std::iter::once(&text).chain(self.0.values()).flatten().copied().collect();
        digest_of(&all)
    }

    /// What is different in those of a newer config, as sentences.
    pub(super) fn changes_to(&self, newer: &NamedFiles) -> Vec<String> {
        let has_changed = |path: &PathBuf, digest: &FileDigest| newer.0.get(path).is_some_and(|newer| newer != digest);
        let changed = self.0.iter().filter(|(path, digest)| has_changed(path, digest));
        changed.map(|(path, _)| format!("the file {} has changed", path.display())).collect()
    }
}

/// The surroundings of a config, and which of their files it has read.
pub(super) struct Noted<'s> {
    of: &'s dyn Surroundings,
    files: RefCell<NamedFiles>,
}

impl<'s> Noted<'s> {
    pub(super) fn new(of: &'s dyn Surroundings) -> Self {
        Self { of, files: RefCell::default() }
    }

    pub(super) fn into_files(self) -> NamedFiles {
        self.files.into_inner()
    }
}

impl Surroundings for Noted<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.of.variable(name)
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        let text = self.of.file(path)?;
        self.files.borrow_mut().0.insert(path.to_owned(), digest_of(text.as_bytes()));
        Ok(text)
    }

    fn host_name(&self) -> Option<String> {
        self.of.host_name()
    }

    fn resolved(&self) -> Option<&Resolved> {
        self.of.resolved()
    }
}
