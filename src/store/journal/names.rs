//! The names of destinations, sources and rules, and their numbers.
//!
//! A number is given once and never used again. A name may go from one number to another: a destination that is renamed keeps its
//! number, with its queue and all its history. What it was called before is remembered, so that a renaming that is taken back finds it.
//!
//! Every segment's header repeats all names, so they have to fit into one ([`NAMES_BYTES_MAX`]). Those that nothing refers to any more
//! go: no event on the disk, no queue, and neither of the last two configs (a request may have come in by the one before).

use std::ops::Deref;
use std::sync::Arc;

use super::format::HEADER_MAX;
use crate::store::{NameId, NameKind, Names as Shown, NamesFull};

/// Bytes that names may take in a header, each counted with how its destination may stand. The rest is for the reasons of pauses.
pub const NAMES_BYTES_MAX: usize = HEADER_MAX / 4 * 3;
/// Kind, number and length; and the numbers of a pause, an open breaker, a removal and a hold.
const NAME_BYTES: usize = 7 + 14 + 13 + 13 + 13;
/// Former names that are remembered.
const FORMER_MAX: usize = 1024;

/// All names, and what it takes to keep them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// As everybody sees them. Who looks has it as it was then.
    shown: Arc<Shown>,
    pub next: u32,
    bytes: usize,
    /// The names of the config in force, and of the one before; none before the first.
    pub in_force: Option<[Vec<NameId>; 2]>,
}

impl Deref for Names {
    type Target = Shown;

    fn deref(&self) -> &Shown {
        &self.shown
    }
}

impl Names {
    /// As everybody sees them.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// Gives a number a name, which it may have had before or not. Nobody goes back to a name that somebody else has.
    pub fn insert(&mut self, kind: NameKind, id: NameId, name: Arc<str>) {
        let new = (kind, name);
        let Shown { by_id, by_name, former } = Arc::make_mut(&mut self.shown);
        self.bytes += NAME_BYTES + new.1.len();
        if let Some(old) = by_id.insert(id, new.clone()) {
            self.bytes -= NAME_BYTES + old.1.len();
            if by_name.get(&old) == Some(&id) {
                by_name.remove(&old);
            }
            if old != new && former.len() < FORMER_MAX {
                self.bytes += NAME_BYTES + old.1.len();
                former.insert(old, id);
            }
        }
        if former.remove(&new).is_some() {
            self.bytes -= NAME_BYTES + new.1.len();
        }
        by_name.insert(new, id);
        self.next = self.next.max(id.0 + 1);
    }

    /// Those of the config in force.
    pub fn those_in_force(&self) -> Vec<NameId> {
        self.in_force.as_ref().map(|[current, _]| current.clone()).unwrap_or_default()
    }

    /// The number for a name that has none yet.
    pub fn next(&self) -> NameId {
        NameId(self.next)
    }

    /// Everything, as a header lists it: what numbers were called before comes first, so that who reads it in order ends with what
    /// they are called now.
    pub fn all(&self) -> Vec<(NameKind, NameId, String)> {
        let mut former: Vec<_> = self.former.iter().map(|((kind, name), id)| (*kind, *id, name.to_string())).collect();
        let mut all: Vec<_> = self.by_id.iter().map(|(id, (kind, name))| (*kind, *id, name.to_string())).collect();
        former.sort_by_key(|(_, id, _)| *id);
        all.sort_by_key(|(_, id, _)| *id);
        former.append(&mut all);
        former
    }

    /// Forgets a number and all its names.
    pub fn remove(&mut self, id: NameId) {
        let Shown { by_id, by_name, former } = Arc::make_mut(&mut self.shown);
        let Some(name) = by_id.remove(&id) else { return };
        self.bytes -= NAME_BYTES + name.1.len();
        if by_name.get(&name) == Some(&id) {
            by_name.remove(&name);
        }
        let bytes = &mut self.bytes;
        former.retain(|(_, name), of| {
            *bytes -= if *of == id { NAME_BYTES + name.len() } else { 0 };
            *of != id
        });
    }

    /// Keeps only what a header lists: it lists everything that there was.
    pub fn keep(&mut self, listed: &[(NameKind, NameId, String)]) {
        let listed: std::collections::HashSet<NameId> = listed.iter().map(|(_, id, _)| *id).collect();
        let gone: Vec<_> = self.by_id.keys().filter(|id| !listed.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    /// Whether these fit beside those that there are.
    pub fn have_room(&self, names: &[(NameKind, &str)]) -> Result<(), NamesFull> {
        let is_new = |(kind, name): &&(NameKind, &str)| self.find(*kind, name).is_none();
        let more: usize = names.iter().filter(is_new).map(|(_, name)| NAME_BYTES + name.len()).sum();
        let bytes = self.bytes + more;
        if bytes <= NAMES_BYTES_MAX { Ok(()) } else { Err(NamesFull { bytes, bytes_max: NAMES_BYTES_MAX }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: NameKind = NameKind::Destination;

    fn names(given: &[(u32, &str)]) -> Names {
        let mut names = Names::default();
        given.iter().for_each(|(id, name)| names.insert(KIND, NameId(*id), (*name).into()));
        names
    }

    #[track_caller]
    fn check(given: &[(u32, &str)], current: &[(&str, Option<u32>)], former: &[(&str, Option<u32>)]) {
        let names = names(given);
        let mut read = Names::default();
        names.all().into_iter().for_each(|(kind, id, name)| read.insert(kind, id, name.into()));
        for names in [names, read] {
            for (name, id) in current {
                assert_eq!(names.find(KIND, name), id.map(NameId), "{name}");
            }
            for (name, id) in former {
                assert_eq!(names.former(KIND, name), id.map(NameId), "{name}, before");
            }
        }
    }

    #[test]
    fn what_a_number_was_called_before_is_remembered_until_somebody_else_is_called_so() {
        check(&[(1, "a")], &[("a", Some(1)), ("b", None)], &[("a", None)]);
        check(&[(1, "a"), (1, "b")], &[("a", None), ("b", Some(1))], &[("a", Some(1)), ("b", None)]);
        check(&[(1, "a"), (1, "b"), (1, "a")], &[("a", Some(1)), ("b", None)], &[("a", None), ("b", Some(1))]);
        check(&[(1, "a"), (1, "b"), (2, "a")], &[("a", Some(2)), ("b", Some(1))], &[("a", None)]);
        check(&[(1, "a"), (1, "b"), (1, "c")], &[("c", Some(1))], &[("a", Some(1)), ("b", Some(1))]);
    }

    #[test]
    fn what_names_take_is_counted_and_given_back() {
        let mut names = names(&[(1, "a"), (2, "bb"), (1, "ccc"), (1, "a"), (3, "x")]);
        [1, 2, 3].into_iter().for_each(|id| names.remove(NameId(id)));
        assert_eq!((names.bytes, names.by_id.len(), names.by_name.len(), names.former.len()), (0, 0, 0, 0));
        assert_eq!(names.next(), NameId(4), "numbers are not given again");
    }
}
