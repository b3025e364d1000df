//! What came in while its source is held.

use super::*;

/// So many times something was let go are told apart.
const LET_GO_MAX: usize = 64;

impl Queue {
    /// The same for an event whose source is held.
    pub fn hold(&mut self, source: NameId, sequence: u64) {
        self.held.entry(source).or_default().insert(sequence);
    }

    /// What came in by a source while it is held may be delivered now, and is as old as this moment: so many milliseconds the store
    /// has lived through. Returns how much that is.
    pub fn let_go(&mut self, source: NameId, passed_ms: u64) -> u64 {
        let Some(held) = self.held.remove(&source) else { return 0 };
        self.goes_on(&held, passed_ms);
        held.len()
    }

    /// The same of some of it.
    pub fn let_go_some(&mut self, source: NameId, sequences: &Bitmap, passed_ms: u64) {
        let Some(held) = self.held.get_mut(&source) else { return };
        let going: Bitmap = sequences.iter_from(0).filter(|sequence| held.remove(*sequence)).collect();
        self.held.retain(|_, held| !held.is_empty());
        self.goes_on(&going, passed_ms);
    }

    fn goes_on(&mut self, held: &Bitmap, passed_ms: u64) {
        let Some(first) = held.next(0) else { return };
        self.cursor = self.cursor.min(first);
        self.unsettled.insert_all(held);
        if let Some(lanes) = &mut self.lanes {
            lanes.may_place_from(first);
        }
        self.forget_let_go();
        self.let_go.entry(passed_ms).or_default().insert_all(held);
    }

    /// The sources of which something is held.
    pub fn holders(&self) -> impl Iterator<Item = NameId> + '_ {
        self.held.keys().copied()
    }

    /// Forgets when something was let go of which nothing waits any more, and which of the oldest was let go first where there are too
    /// many: it is younger then.
    pub fn forget_let_go(&mut self) {
        if self.let_go.is_empty() {
            return;
        }
        let attempted: Bitmap = self.due.keys().chain(self.claimed.keys()).copied().collect();
        let waiting = [&self.unsettled, &self.redeliveries, &attempted];
        self.let_go.retain(|_, set| waiting.iter().any(|waiting| !set.is_apart_from(waiting)));
        while self.let_go.len() >= LET_GO_MAX
            && let Some((_, oldest)) = self.let_go.pop_first()
            && let Some(mut next) = self.let_go.first_entry()
        {
            next.get_mut().insert_all(&oldest);
        }
    }

    /// What came in by a source while it is held.
    pub fn held(&self, source: NameId) -> Option<&Bitmap> {
        self.held.get(&source)
    }

    /// How much is held, whatever the source.
    pub fn held_in_all(&self) -> u64 {
        self.held.values().map(Bitmap::len).sum()
    }

    /// All that is held.
    pub fn all_held(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.values().flat_map(|held| held.iter_from(0))
    }

    pub(super) fn is_held(&self, sequence: u64) -> bool {
        self.held.values().any(|held| held.contains(sequence))
    }

    pub(super) fn remove_held(&mut self, sequence: u64) {
        for held in self.held.values_mut() {
            held.remove(sequence);
        }
    }
}
