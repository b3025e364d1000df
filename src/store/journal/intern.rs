//! The names of a config: their numbers, and what new names of destinations take over from old ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inbox::Message;
use super::index::Update;
use super::{Journal, lock, reading, writing};
use crate::store::queues::{Act, Backing, Bitmap, Urgency};
use crate::store::{Interned, NameId, NameKind, Named, NamesFull, TakenFrom, TakenOver};

impl Journal {
    /// Numbers the names of a config, and moves what their old names have. Once there is room for them, nothing fails. Reads the index.
    pub fn intern(&self, named: &[Named]) -> Result<Interned, NamesFull> {
        let pairs: Vec<(NameKind, &str)> = named.iter().map(|named| (named.kind, &*named.name)).collect();
        self.begin_with_names(&pairs);
        self.forget_names();
        let names = reading(&self.names);
        names.have_room(&pairs)?;
        // Requests that the config in force has let in go to these.
        let in_force = names.those_in_force();
        drop(names);
        let is_destination = |named: &&Named| named.kind == NameKind::Destination;
        let taken_over = named.iter().filter(is_destination);
        let taken_over = taken_over.filter_map(|destination| self.take_over_old_name(named, destination, &in_force));
        let taken_over = taken_over.collect();
        Ok(Interned { ids: pairs.into_iter().map(|(kind, name)| self.name(kind, name)).collect(), taken_over })
    }

    /// Numbers a name, or finds its number. The number is durable no later than the first event that uses it.
    pub fn name(&self, kind: NameKind, name: &str) -> NameId {
        let mut names = writing(&self.names);
        if let Some(id) = names.find(kind, name) {
            return id;
        }
        let (id, name): (_, Arc<str>) = (names.next(), name.into());
        names.insert(kind, id, name.clone());
        // Sent under the lock, so that nobody can use the number before the writer has heard of it. If the writer is gone,
        // every append is refused anyway.
        let _ = self.sender.send(Message::Name(kind, id, name));
        id
    }

    /// A destination takes over what its old name has: by giving its number the new name, or, where something may be on its way to the
    /// new name's own queue, by moving everything to that.
    fn take_over_old_name(&self, all: &[Named], destination: &Named, in_force: &[NameId]) -> Option<TakenFrom> {
        let name = destination.name.clone();
        let from = self.old_number(all, destination)?;
        let names = reading(&self.names);
        let old = names.name(from).to_string();
        let own = names.find(NameKind::Destination, &name);
        drop(names);
        if own.is_some() && lock(&self.destination(from).queue).is_blank() {
            return None;
        }
        if own.is_none_or(|own| !in_force.contains(&own)) && self.rename(from, &name) {
            self.control(from, Act::Restore, Urgency::Now);
            tracing::info!(destination = %name, from = %old, "it was renamed, and keeps its queue");
            return Some(TakenFrom { name, from: old, moved: None });
        }
        let own = own.unwrap_or_else(|| self.name(NameKind::Destination, &name));
        let moved = self.take_over(from, own);
        (moved != TakenOver { in_flight: moved.in_flight, ..TakenOver::default() }).then_some(TakenFrom {
            name,
            from: old,
            moved: Some(moved),
        })
    }

    /// The number of the queue that a destination takes over, if there is one: of the name that it is renamed from, or, where a renaming
    /// is taken back, of the name that its own queue has now. A name that is in the config keeps what it has.
    fn old_number(&self, all: &[Named], destination: &Named) -> Option<NameId> {
        let kind = NameKind::Destination;
        let names = reading(&self.names).shown();
        let is_named = |name: &str| all.iter().any(|other| other.kind == kind && other.name == name);
        let is_free = |id: &NameId| names.of(*id).is_some_and(|(_, name)| !is_named(name));
        let named = destination.renamed_from.as_ref().and_then(|old| {
            let of_name = names.find(kind, old).filter(is_free);
            of_name.or_else(|| names.former(kind, old).filter(is_free))
        });
        let taken_back = || {
            let before = names.former(kind, &destination.name).filter(is_free)?;
            // What was taken out of the config earlier stays out.
            let is_removed = lock(&self.destination(before).queue).state().removed_since_ms.is_some();
            (!is_removed).then_some(before)
        };
        named.or_else(taken_back)
    }

    /// Goes by the names of a config from now on. What has a queue and is not among them is removed, and what is again is not.
    pub fn announce(&self, generation: u32, ids: &[NameId]) {
        self.use_names(generation, ids);
        let names = reading(&self.names).shown();
        for (id, _) in names.of_kind(NameKind::Destination) {
            let act = if ids.contains(&id) { Act::Restore } else { Act::Remove };
            self.control(id, act, Urgency::Now);
        }
    }

    /// Goes by the names of a new config from now on, and forgets those that nothing refers to any more.
    pub fn use_names(&self, generation: u32, ids: &[NameId]) {
        let mut names = writing(&self.names);
        let before = names.in_force.take().map(|[current, _]| current).unwrap_or_default();
        names.in_force = Some([ids.to_vec(), before]);
        drop(names);
        self.generation.store(generation, Ordering::Release);
        self.forget_names();
    }

    /// Before the first config is in force, those of its names that are known are in use.
    pub fn begin_with_names(&self, used: &[(NameKind, &str)]) {
        let mut names = writing(&self.names);
        if names.in_force.is_none() {
            let known = used.iter().filter_map(|(kind, name)| names.find(*kind, name)).collect();
            names.in_force = Some([known, Vec::new()]);
        }
    }

    /// Forgets the names that nothing refers to any more. What is left behind is small: their rows in the index go too.
    pub fn forget_names(&self) {
        // Nothing is chosen from the history meanwhile, and nothing of it goes.
        let _selecting = lock(&self.selecting);
        if lock(&self.replays).iter().any(|replay| !replay.is_done) {
            // It may name destinations that have nothing yet.
            return;
        }
        let mut names = writing(&self.names);
        let Some(in_force) = &names.in_force else { return };
        // What is being written refers to its names and no segment says so yet: they go another time.
        if self.writing.load(Ordering::Acquire).saturating_add(1) < self.generation.load(Ordering::Acquire) {
            return;
        }
        let mut kept: Bitmap = in_force.iter().flatten().map(|id| u64::from(id.0)).collect();
        self.segments.add_names_to(&mut kept);
        // The newest stays, so that its number is not given again.
        let newest = names.next.saturating_sub(1);
        let is_free = |id: &&NameId| id.0 != newest && !kept.contains(u64::from(id.0));
        let free: Vec<NameId> = names.by_id.keys().filter(is_free).copied().collect();
        let mut destinations = writing(&self.destinations);
        let mut gone = Vec::new();
        for id in free {
            let is_blank = destinations.get(&id).is_none_or(|destination| lock(&destination.queue).is_blank());
            if is_blank {
                destinations.remove(&id);
                names.remove(id);
                gone.push(id);
            }
        }
        drop((names, destinations));
        if !gone.is_empty() {
            tracing::debug!(names = gone.len(), "names that nothing refers to any more are forgotten");
            lock(&self.facts).retain(|id, _| !gone.contains(id));
            lock(&self.remembered).forget(&gone);
            self.index.update(vec![Update::NamesGone(gone)]);
        }
    }
}
