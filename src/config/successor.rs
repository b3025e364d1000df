//! What a config stands on that is to take the place of another and was brought by somebody else.

use std::path::Path;

use super::root::OVERRIDE;
use crate::yaml::resolved::Resolved;
use crate::yaml::values::Surroundings;

/// The surroundings of a config that is to follow another, and came from somebody else.
pub(super) struct Successor<'c> {
    pub of: &'c Resolved,
    /// What overrides `listen`: a fact of the process and not of a config.
    pub overridden: Option<String>,
}

impl Surroundings for Successor<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.overridden.clone().filter(|_| name == OVERRIDE)
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    fn resolved(&self) -> Option<&Resolved> {
        Some(self.of)
    }
}
