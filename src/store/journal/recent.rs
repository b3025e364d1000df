//! What has just happened, in memory: the newest events with their bodies, and the newest outcomes.
//!
//! While destinations keep up, every first attempt finds its event here and the disk is only written.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::StoredEvent;
use crate::store::queues::Bitmap;

/// Bodies of recent events kept in memory, with the lists of their rules and destinations, in bytes.
pub const BODIES_MAX: usize = 8 << 20;
/// Recent events kept, however small: a third of a second at full load, and some 7 MiB with bodies of 600 B.
const EVENTS_MAX: usize = 8 << 10;

/// The newest events, without a gap.
#[derive(Debug, Default)]
pub struct RecentEvents {
    /// Nothing in the place of one that was erased.
    events: VecDeque<Option<Arc<StoredEvent>>>,
    /// The number of the first.
    first: u64,
    bytes: usize,
}

impl RecentEvents {
    /// Adds the event that follows the last one.
    pub fn push(&mut self, event: Arc<StoredEvent>) {
        let sequence = event.id.sequence();
        if self.first + self.events.len() as u64 != sequence {
            self.events.clear();
            self.bytes = 0;
        }
        if self.events.is_empty() {
            self.first = sequence;
        }
        self.bytes += bytes_of(&event);
        self.events.push_back(Some(event));
        while self.bytes > BODIES_MAX || self.events.len() > EVENTS_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.first += 1;
            self.bytes -= oldest.map_or(0, |oldest| bytes_of(&oldest));
        }
    }

    /// Finds an event by its number.
    pub fn get(&self, sequence: u64) -> Option<Arc<StoredEvent>> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.events.get(at).cloned().flatten()
    }

    /// Lets go of events that are erased.
    pub fn forget(&mut self, sequences: &Bitmap) {
        for (sequence, event) in (self.first..).zip(&mut self.events) {
            if sequences.contains(sequence) {
                self.bytes -= event.take().map_or(0, |event| bytes_of(&event));
            }
        }
    }
}

/// What an event takes beside its own size. An event may match ten thousand rules, and has a number for each.
fn bytes_of(event: &StoredEvent) -> usize {
    event.body.len() + std::mem::size_of_val(&*event.rules) + std::mem::size_of_val(&*event.deliveries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::NameId;

    fn event(sequence: u64, body_bytes: usize) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::mint(0, 0, sequence),
            received_ms: 0,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: vec![0; body_bytes].into(),
            is_redacted: false,
        })
    }

    #[test]
    fn bodies_stay_within_their_bytes() {
        let mut recent = RecentEvents::default();
        (0..100).for_each(|sequence| recent.push(event(sequence, BODIES_MAX / 10)));
        assert!(recent.get(99).is_some() && recent.get(90).is_some());
        assert!(recent.get(89).is_none() && recent.get(100).is_none());
        assert!(recent.bytes <= BODIES_MAX);
    }

    #[test]
    fn what_is_forgotten_is_not_there_and_the_others_are_found_by_their_numbers() {
        let mut recent = RecentEvents::default();
        (5..9).for_each(|sequence| recent.push(event(sequence, 10)));
        recent.forget(&[1, 6, 7, 100].into_iter().collect());
        let there: Vec<u64> = (0..20).filter(|sequence| recent.get(*sequence).is_some()).collect();
        assert_eq!(there, [5, 8]);
        recent.push(event(9, 10));
        assert!(recent.get(9).is_some());
        assert_eq!(recent.bytes, 30);
    }

    #[test]
    fn a_gap_in_the_numbers_starts_afresh() {
        let mut recent = RecentEvents::default();
        recent.push(event(1, 1));
        recent.push(event(5, 1));
        assert!(recent.get(1).is_none());
        assert_eq!(recent.get(5).map(|event| event.id.sequence()), Some(5));
    }
}
