//! The names of destinations, sources and rules, and their numbers, as everybody sees them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{NameId, NameKind, StoredEvent, TakenOver};

/// A kind, and a name of it.
pub type Name = (NameKind, Arc<str>);

/// All names that something refers to, or did until a moment ago, with their numbers. A number is given once and never used again; a name
/// may go from one number to another.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub(in crate::store) by_id: HashMap<NameId, Name>,
    pub(in crate::store) by_name: HashMap<Name, NameId>,
    /// What numbers were called before, each with the last that was called so.
    pub(in crate::store) former: HashMap<Name, NameId>,
}

impl Names {
    /// The number of a name.
    pub fn find(&self, kind: NameKind, name: &str) -> Option<NameId> {
        self.by_name.get(&(kind, name.into())).copied()
    }

    /// The number that had a name before it got another, unless the name has come to another since.
    pub fn former(&self, kind: NameKind, name: &str) -> Option<NameId> {
        self.former.get(&(kind, name.into())).copied()
    }

    /// The name of a number, and of what.
    pub fn of(&self, id: NameId) -> Option<&Name> {
        self.by_id.get(&id)
    }

    /// The name of a number; nothing where it has none any more.
    pub fn name(&self, id: NameId) -> Arc<str> {
        self.of(id).map_or_else(|| "".into(), |(_, name)| name.clone())
    }

    /// Whether the rule of some name took an event when it came.
    pub fn took(&self, rule: &str, event: &StoredEvent) -> bool {
        event.rules.iter().any(|id| *self.name(*id) == *rule)
    }

    /// Whether a number is found by its name.
    pub fn is_reachable(&self, id: NameId) -> bool {
        self.by_id.get(&id).is_some_and(|name| self.by_name.get(name) == Some(&id))
    }

    /// All names of a kind that are found, in the order of their numbers.
    pub fn of_kind(&self, kind: NameKind) -> Vec<(NameId, Arc<str>)> {
        let of_kind = self.by_name.iter().filter(|((of, _), _)| *of == kind);
        let mut found: Vec<_> = of_kind.map(|((_, name), id)| (*id, name.clone())).collect();
        found.sort_by_key(|(id, _)| *id);
        found
    }
}

/// A name of a config, to be numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub kind: NameKind,
    pub name: String,
    /// What it was called before: of a destination.
    pub renamed_from: Option<String>,
}

/// What has come of the names of a config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interned {
    /// Their numbers, in their order.
    pub ids: Vec<NameId>,
    /// What was taken over from old names.
    pub taken_over: Vec<TakenFrom>,
}

/// A destination has what another, or it under another name, had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenFrom {
    pub name: String,
    pub from: String,
    /// What was moved; none where the queue itself goes by the new name.
    pub moved: Option<TakenOver>,
}
