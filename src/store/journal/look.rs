//! Reading for people: one event and what became of it, pages of dead letters, stretches of the history, counts.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::retention::resolve;
use super::segments::{Window, events_in, read_body};
use super::shared::Shared;
use super::{LAG_READ_BYTES, lock};
use crate::event::EventId;
use crate::store::{
    AttemptNote, Counts, DeadLetter, DeadQuery, DeliveryKey, DeliveryState, EventView, NameId, Page, ReadError,
    SearchLimit, StoredEvent, Usage,
};

/// Dead letters looked at for one page: a filter that finds little must not hold the index up.
const LOOKED_AT_MAX: usize = 10_000;
/// So many of them are asked for together: many may stand in one row of the index.
const LOOKED_AT_ONCE: usize = 250;

impl Shared {
    pub fn event_by_number(&self, sequence: u64) -> Result<Arc<StoredEvent>, ReadError> {
        if let Some(event) = lock(&self.recent).get(sequence) {
            return Ok(event);
        }
        self.read_anywhere(sequence, &mut Window::new(LAG_READ_BYTES)).map(Arc::new)
    }

    pub fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        let sequence = id.sequence();
        let event = self.event_by_number(sequence)?;
        if event.id != id {
            return Err(ReadError::Missing);
        }
        self.index.flush();
        let states = self.states(std::slice::from_ref(&event), &mut SearchLimit::whole())?;
        Ok(EventView { states: states.into_iter().next().unwrap_or_default(), event })
    }

    /// Where a delivery stands as far as memory knows: [`DeliveryState::Settled`] for what ended a while ago, and none for a dead letter
    /// of which only the index knows more.
    pub fn state_in_memory(&self, key: &DeliveryKey) -> Option<DeliveryState> {
        let destination = self.destination(key.destination);
        let queue = lock(&destination.queue);
        if let Some(state) = queue.state(key.sequence) {
            return Some(state);
        }
        let is_dead = queue.is_dead(key.sequence);
        drop(queue);
        if let Some(recent) = lock(&self.outcomes).get(key)
            && matches!(recent, DeliveryState::Dead { .. }) == is_dead
        {
            return Some(recent);
        }
        if !is_dead {
            return Some(DeliveryState::Settled);
        }
        let (attempts, at_ms, reason) = self.just_died(key)?;
        Some(DeliveryState::Dead { attempts, at_ms, reason })
    }

    /// What is known of some of a destination's dead letters, by what the index says and what memory still has.
    pub fn letters(
        &self,
        destination: NameId,
        sequences: &BTreeSet<u64>,
    ) -> Result<HashMap<u64, DeadLetter>, ReadError> {
        let mut letters = self.index.read().dead_letters(destination, sequences.iter().copied()).map_err(unreadable)?;
        for sequence in sequences {
            let (sequence, key) = (*sequence, DeliveryKey { sequence: *sequence, destination });
            if let Some((attempts, at_ms, reason)) = self.just_died(&key) {
                letters.insert(sequence, DeadLetter { sequence, destination, attempts, at_ms, reason });
            }
        }
        Ok(letters)
    }

    pub fn dead_letters(
        &self,
        id: NameId,
        query: &DeadQuery,
        mut before: u64,
        max: usize,
    ) -> Result<Page<DeadLetter>, ReadError> {
        self.index.flush();
        let (destination, mut items, mut looked_at) = (self.destination(id), Vec::new(), 0);
        while looked_at < LOOKED_AT_MAX {
            let sequences: BTreeSet<u64> = {
                let queue = lock(&destination.queue);
                let older = |before: u64| queue.dead().previous(before);
                std::iter::successors(older(before), |before| older(*before)).take(LOOKED_AT_ONCE).collect()
            };
            if sequences.is_empty() {
                return Ok(Page { items, before: None });
            }
            looked_at += sequences.len();
            let mut letters = self.letters(id, &sequences)?;
            for sequence in sequences.into_iter().rev() {
                if items.len() == max {
                    return Ok(Page { items, before: Some(before) });
                }
                before = sequence;
                let letter = letters.remove(&sequence).unwrap_or_else(|| unexplained(sequence, id));
                if query.holds(&letter) {
                    items.push(letter);
                }
            }
        }
        Ok(Page { items, before: Some(before) })
    }

    pub fn attempts(&self, key: &DeliveryKey) -> Result<Vec<AttemptNote>, ReadError> {
        self.index.flush();
        self.index.read().notes(key).map_err(unreadable)
    }

    pub fn history(&self) -> Range<u64> {
        let end = self.next_sequence.load(Ordering::Acquire);
        self.segments.history_start().min(end)..end
    }

    pub fn first_since(&self, at_ms: u64) -> Result<u64, ReadError> {
        let history = self.history();
        let list = self.segments.outline();
        // Segments are stamped by the wall clock, as arrivals are. Where it was set back a later segment may look older; what is
        // looked for lies no earlier than in the last one before the first that looks younger.
        let younger = list.iter().position(|info| info.created_ms > at_ms);
        let at = younger.unwrap_or(list.len()).saturating_sub(1);
        let from = list.get(at).map_or(history.start, |info| info.first_sequence);
        let Some(mut scan) = self.segments.scan_from(from) else { return Ok(history.end) };
        let mut window = Window::new(LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            let heads = window.heads(&group.file, group.offset, &group.head)?;
            let found = events_in(heads).find(|(head, _, is_carried)| !is_carried && head.id.received_ms() >= at_ms);
            if let Some((head, ..)) = found {
                return Ok(head.id.sequence().max(history.start));
            }
        }
        Ok(history.end)
    }

    pub fn scan(&self, stretch: Range<u64>, visit: &mut dyn FnMut(StoredEvent) -> bool) -> Result<(), ReadError> {
        // What is written but not synced yet is nobody's business.
        let end = stretch.end.min(self.history().end);
        let from = stretch.start.max(self.segments.history_start());
        let Some(mut scan) = self.segments.scan_from(from) else { return Ok(()) };
        let mut window = Window::new(4 * LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            if group.head.events > 0 && group.head.first_sequence >= end {
                return Ok(());
            }
            let heads: Vec<_> = events_in(window.heads(&group.file, group.offset, &group.head)?).collect();
            for (head, body_offset, is_carried) in heads {
                let sequence = head.id.sequence();
                if is_carried || sequence < from || sequence >= end {
                    continue;
                }
                match read_body(&group, head, body_offset, &window) {
                    Ok(event) => {
                        if !visit(event) {
                            return Ok(());
                        }
                    }
                    // It was told when the journal was opened, or is by who needs it.
                    Err(ReadError::Damaged(why)) => {
                        tracing::warn!(sequence, why, "an event of the history is passed over")
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    pub fn counts(&self, id: NameId) -> Counts {
        let destination = self.destination(id);
        let queue = lock(&destination.queue);
        let (pinning, limited) = (queue.oldest_pinning(), queue.oldest_never_held());
        let mut counts = Counts {
            backlog: queue.backlog(),
            postponed: queue.postponed() as u64,
            again: queue.again(),
            under_way: queue.under_way() as u64,
            held: queue.held_in_all(),
            backlog_bytes: 0,
            limited_bytes: 0,
            dead: queue.dead().len(),
            standing: queue.standing().clone(),
        };
        drop(queue);
        let bytes_from = |sequence| self.segments.bytes_from(sequence);
        counts.backlog_bytes = pinning.map_or(0, bytes_from);
        counts.limited_bytes = limited.map_or(0, bytes_from);
        counts
    }

    pub fn oldest_ms(&self, id: NameId) -> Option<u64> {
        let sequence = lock(&self.destination(id).queue).oldest()?;
        let recent = lock(&self.recent).get(sequence).map(|event| event.received_ms);
        let from_disk = || self.read_anywhere(sequence, &mut Window::new(4 << 10)).ok();
        recent.or_else(|| from_disk().map(|event| event.received_ms))
    }

    pub fn usage(&self) -> Usage {
        let retention = *lock(&self.retention);
        let space = self.disk.space();
        let resolved = resolve(&retention, space.map(|space| space.total));
        let (journal_bytes, index_bytes) = (self.segments.bytes(), self.index.bytes());
        let history = self.history();
        let oldest = (!history.is_empty()).then(|| self.segments.read(history.start, &mut Window::new(4 << 10)).ok());
        Usage {
            bytes: journal_bytes + index_bytes,
            bytes_max: retention.bytes_max.unwrap_or(0),
            journal_bytes,
            history_bytes_max: resolved.history_bytes,
            index_bytes,
            dead_bytes: self.index.read().carried_bytes().ok(),
            dead_bytes_max: resolved.dead_bytes,
            free_bytes: space.map(|space| space.free),
            free_bytes_min: resolved.free_bytes_min,
            oldest_ms: oldest.flatten().map(|event| event.received_ms),
            events: history.end - history.start,
            dead_expired: self.dead_expired.load(Ordering::Relaxed),
            segments: self.segments.outline().len() as u64,
        }
    }
}

/// The index cannot be read, which is not the same as knowing nothing.
pub fn unreadable(error: rusqlite::Error) -> ReadError {
    ReadError::Io(std::io::Error::other(format!("the index: {error}")))
}

/// A dead letter of which nobody knows more.
fn unexplained(sequence: u64, destination: NameId) -> DeadLetter {
    let reason = "the reason is not known any more: the index was lost".to_owned();
    DeadLetter { sequence, destination, attempts: 0, at_ms: 0, reason }
}

/// What it is as a state.
pub fn unexplained_death() -> DeliveryState {
    died(unexplained(0, NameId::NONE))
}

/// A dead letter as a state.
pub fn died(DeadLetter { attempts, at_ms, reason, .. }: DeadLetter) -> DeliveryState {
    DeliveryState::Dead { attempts, at_ms, reason }
}
