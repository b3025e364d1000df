//! How much waits for whom, and how much room everything takes.

use std::sync::atomic::Ordering;

use crate::store::journal::running::LagWindow;
use crate::store::journal::segments::Window;
use crate::store::journal::sizes::resolve;
use crate::store::journal::{Journal, JournalStore, lock, reading};
use crate::store::queues::{Bitmap, Destination};
use crate::store::{AllCounts, Counts, NameId, NameKind, Usage};

impl Journal {
    /// What waits, wherever. May read the disk for the age of the oldest.
    pub fn all_counts(&self) -> AllCounts {
        let names = reading(&self.names).shown();
        let destinations = names.of_kind(NameKind::Destination).into_iter().map(|(id, _)| self.counts(id)).collect();
        let sources = self.sources.borrow().clone();
        let holds = sources.iter().filter(|(_, state)| state.held_since_ms.is_some());
        AllCounts { destinations, held: holds.map(|(id, _)| (*id, self.held(*id))).collect() }
    }

    /// How many events of a source are held.
    pub fn held(&self, source: NameId) -> u64 {
        let mut all = Bitmap::default();
        for id in self.destination_ids() {
            if let Some(held) = lock(&self.destination(id).queue).held(source) {
                all.insert_all(held);
            }
        }
        all.len()
    }

    /// What waits for a destination.
    pub fn counts(&self, id: NameId) -> Counts {
        let destination = self.destination(id);
        let queue = lock(&destination.queue);
        let pinning = queue.oldest_pinning();
        let limited = queue.oldest_never_held();
        let oldest = queue.oldest();
        let counts = queue.counts(id);
        drop(queue);
        let bytes_from = |sequence| self.segments.bytes_from(sequence);
        let now_ms = self.clock.now_ms();
        let let_go = oldest.let_go_ms.map(|then_ms| self.lived.passed_ms().saturating_sub(then_ms));
        let since_ms = [
            oldest.event.and_then(|sequence| self.arrived_ms(&destination, sequence)),
            oldest.closed_ms,
            let_go.map(|ago_ms| now_ms.saturating_sub(ago_ms)),
        ];
        Counts {
            backlog_bytes: pinning.map_or(0, bytes_from),
            limited_bytes: limited.map_or(0, bytes_from),
            oldest_ms: since_ms.into_iter().flatten().min(),
            oldest_unplaced_ms: oldest.unplaced.and_then(|sequence| self.read_arrival(sequence)),
            first_unplaced_ms: oldest.first_unplaced.and_then(|sequence| self.read_arrival(sequence)),
            ..counts
        }
    }

    /// When an event arrived that waits for a destination. The oldest is asked for again and again, and stays so for long where that lags.
    pub(super) fn arrived_ms(&self, destination: &Destination<LagWindow>, sequence: u64) -> Option<u64> {
        let mut known = lock(&destination.oldest);
        if let Some((_, at_ms)) = known.filter(|(number, _)| *number == sequence) {
            return Some(at_ms);
        }
        let at_ms = self.read_arrival(sequence)?;
        *known = Some((sequence, at_ms));
        Some(at_ms)
    }

    fn read_arrival(&self, sequence: u64) -> Option<u64> {
        let recent = lock(&self.recent).get(sequence).map(|event| event.received_ms);
        let from_disk = || self.read_anywhere(sequence, &mut Window::new(4 << 10)).ok();
        recent.or_else(|| from_disk().map(|event| event.received_ms))
    }
}

impl JournalStore {
    /// How much it has and may have. Reads the disk.
    pub fn usage(&self) -> Usage {
        let journal = &*self.journal;
        let retention = lock(&journal.retention).clone();
        let space = journal.disk.space();
        let resolved = resolve(&retention, space.map(|space| space.total));
        let journal_bytes = journal.segments.bytes();
        let index_bytes = journal.index.bytes();
        let history = journal.history();
        let oldest =
            (!history.is_empty()).then(|| journal.segments.read(history.start, &mut Window::new(4 << 10)).ok());
        Usage {
            bytes: journal_bytes + index_bytes,
            bytes_max: retention.bytes_max,
            journal_bytes,
            history_bytes_max: resolved.history_bytes,
            index_bytes,
            dead_bytes: journal.index.read().relocated_bytes().ok(),
            dead_bytes_max: resolved.dead_bytes,
            free_bytes: space.map(|space| space.free),
            free_bytes_min: resolved.free_bytes_min,
            oldest_ms: oldest.flatten().map(|event| event.received_ms),
            events: history.end - history.start,
            dead_expired: journal.dead_expired.load(Ordering::Relaxed),
            segments: journal.segments.outline().len() as u64,
        }
    }
}
