//! The names of destinations, sources and rules, as the database numbers them.

use std::sync::Arc;

use crate::store::{NameId, NameKind, Names as Shown};

/// All names that this process has heard of.
#[derive(Debug, Default)]
pub struct Names {
    shown: Arc<Shown>,
    /// What has changed later than this is not known.
    pub changed: i64,
    /// The names of the config in force, once there is one.
    pub in_force: Option<Vec<NameId>>,
}

impl Names {
    /// As everybody sees them. Who looks has it as it was then.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// A number is called this from now on.
    pub fn insert(&mut self, kind: NameKind, id: NameId, name: Arc<str>) {
        let new = (kind, name);
        let Shown { by_id, by_name, former } = Arc::make_mut(&mut self.shown);
        former.remove(&new);
        if let Some(old) = by_id.insert(id, new.clone())
            && by_name.get(&old) == Some(&id)
        {
            by_name.remove(&old);
        }
        by_name.insert(new, id);
    }

    /// What a number was called before.
    pub fn insert_former(&mut self, kind: NameKind, name: Arc<str>, id: NameId) {
        Arc::make_mut(&mut self.shown).former.insert((kind, name), id);
    }
}

/// A kind as the database has it.
pub fn kind_text(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Destination => "destination",
        NameKind::Source => "source",
        NameKind::Rule => "rule",
    }
}

/// A kind from what the database has.
pub fn kind_of(text: &str) -> Option<NameKind> {
    match text {
        "destination" => Some(NameKind::Destination),
        "source" => Some(NameKind::Source),
        "rule" => Some(NameKind::Rule),
        _ => None,
    }
}

/// Names that have changed since, and those that are former ones since. In one statement, so that whoever has seen a change has seen all before it.
pub const NAMES: &str = "SELECT id, kind, name, changed, false AS is_former FROM name WHERE changed > $1
    UNION ALL SELECT id, kind, name, changed, true FROM former_name WHERE changed > $1 ORDER BY changed";
