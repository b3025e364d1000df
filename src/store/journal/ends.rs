//! How deliveries ended: what memory has forgotten stands in the journal, behind the event.
//!
//! An outcome is written after its event, so one walk over record heads, from the oldest event in question on, finds those of many
//! events. It ends as soon as everything is found, but for segments in which somebody acted on such deliveries since (redelivered,
//! dropped, moved): what was said last holds. A segment that speaks of none of them is passed over without reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::format::{Record, records};
use super::segments::{Scan, SegmentInfo, Window};
use super::words::{Ends, Place, ReadError, died, unexplained_death, unreadable};
use super::{Journal, LAG_READ_BYTES};
use crate::store::queues::{DeliveryKey, OutcomeState, state_after, state_by, state_of, states_of};
use crate::store::{DeliveryState, NameId, SearchLimit, States, StoredEvent};

/// What is known of some deliveries.
pub struct Known {
    pub ends: Ends,
    /// Dead letters of which nobody knows more, because the index was lost.
    pub unexplained: Vec<DeliveryKey>,
}

impl Journal {
    /// Where all deliveries of some events stand.
    pub fn states(&self, events: &[Arc<StoredEvent>], limit: &mut SearchLimit) -> Result<Vec<States>, ReadError> {
        let Known { mut ends, unexplained } = self.known(events, limit)?;
        ends.extend(unexplained.into_iter().map(|key| (key, unexplained_death())));
        Ok(events.iter().map(|event| states_of(event, &ends)).collect())
    }

    /// What is known of where all deliveries of some events stand.
    pub fn known(&self, events: &[Arc<StoredEvent>], limit: &mut SearchLimit) -> Result<Known, ReadError> {
        let ids: BTreeSet<NameId> = self.destination_ids().into_iter().collect();
        let mut known = Ends::new();
        let mut open = BTreeSet::new();
        let mut dead: BTreeMap<NameId, BTreeSet<u64>> = BTreeMap::new();
        for event in events {
            let sequence = event.id.sequence();
            let planned: BTreeSet<NameId> = event.deliveries.iter().map(|delivery| delivery.destination).collect();
            for destination in planned.union(&ids) {
                let key = DeliveryKey { sequence, destination: *destination };
                match self.state_in_memory(&key) {
                    Some(DeliveryState::Settled) if planned.contains(destination) => drop(open.insert(key)),
                    Some(DeliveryState::Settled) => {}
                    Some(state) => drop(known.insert(key, state)),
                    None => drop(dead.entry(*destination).or_default().insert(sequence)),
                }
            }
        }
        let mut unexplained = Vec::new();
        for (destination, sequences) in dead {
            // All at once: many of them may stand in one row.
            let mut letters = self.letters(destination, &sequences)?;
            for sequence in sequences {
                let key = DeliveryKey { sequence, destination };
                match letters.remove(&sequence) {
                    Some(letter) => drop(known.insert(key, died(letter))),
                    None => unexplained.push(key),
                }
            }
        }
        let wanted: BTreeSet<u64> = events.iter().map(|event| event.id.sequence()).collect();
        let mut ends = self.ends(wanted, open, limit)?;
        // Memory is never behind the journal.
        ends.extend(known);
        Ok(Known { ends, unexplained })
    }

    /// How deliveries of the `wanted` events ended, and in any case the `open` ones if that stands in the journal.
    pub fn ends(
        &self,
        wanted: BTreeSet<u64>,
        open: BTreeSet<DeliveryKey>,
        limit: &mut SearchLimit,
    ) -> Result<Ends, ReadError> {
        let mut search = Search { journal: self, wanted, open, ends: Ends::new() };
        let late = search.find_late()?;
        if let Some(mut scan) = self.scan_for(&search.wanted)? {
            let mut window = Window::new(LAG_READ_BYTES);
            while limit.bytes_left > 0 {
                scan.skip_segments(|info| !search.is_spoken_of(info));
                let Some(group) = scan.next_group(&mut window)? else { break };
                limit.bytes_left = limit.bytes_left.saturating_sub(group.head.length());
                records(window.heads(&group.file, group.offset, &group.head)?).for_each(|record| search.note(&record));
            }
        }
        limit.unfound += search.open.len() as u64;
        // Of these the walk may have met what was said before they arrived, and no more.
        search.ends.extend(late);
        Ok(search.ends)
    }

    /// A walk that meets everything said of some events.
    fn scan_for(&self, wanted: &BTreeSet<u64>) -> Result<Option<Scan<'_>>, ReadError> {
        let Some(first) = wanted.first() else { return Ok(None) };
        let start = self.segments.history_start();
        let mut oldest: Option<Place> = None;
        let database = self.index.read();
        for sequence in wanted.range(..start) {
            let place = database.place(*sequence);
            let place = place.map_err(unreadable)?;
            let is_older =
                |known: &Place, place: &Place| (known.segment, known.offset) <= (place.segment, place.offset);
            oldest = match (oldest, place) {
                (Some(known), Some(place)) if !is_older(&known, &place) => Some(place),
                (known, place) => known.or(place),
            };
        }
        drop(database);
        let relocated = oldest.and_then(|place| self.segments.scan_at(place));
        // What is in the history may lie before what was relocated into it.
        let in_history = wanted.range(start..).next().and_then(|sequence| self.segments.scan_from(*sequence));
        Ok(match (relocated, in_history) {
            (Some(relocated), Some(in_history)) => {
                Some(if relocated.begins_before(&in_history) { relocated } else { in_history })
            }
            (relocated, in_history) => relocated.or(in_history).or_else(|| self.segments.scan_from(*first)),
        })
    }
}

struct Search<'s> {
    journal: &'s Journal,
    wanted: BTreeSet<u64>,
    /// What is over, and it is not known how.
    open: BTreeSet<DeliveryKey>,
    ends: Ends,
}

impl Search<'_> {
    /// What arrived after an attempt that failed may have done so long after its event: the index knows when, where nobody acted on it
    /// since.
    fn find_late(&mut self) -> Result<Ends, ReadError> {
        let mut late = Ends::new();
        let start = self.journal.segments.history_start();
        let segments = self.journal.segments.outline();
        let is_acted_on = |sequence: u64| {
            let covers = |(low, high): (u64, u64)| (low..=high).contains(&sequence);
            segments.iter().any(|info| info.acts.is_some_and(covers))
        };
        let sequences: BTreeSet<u64> = self.open.iter().map(|key| key.sequence).collect();
        let database = self.journal.index.read();
        for sequence in sequences.into_iter().filter(|sequence| *sequence >= start && !is_acted_on(*sequence)) {
            for (destination, attempts, at_ms) in database.late(sequence).map_err(unreadable)? {
                let key = DeliveryKey { sequence, destination };
                if self.open.remove(&key) {
                    late.insert(key, DeliveryState::Delivered { attempts, at_ms });
                }
            }
        }
        Ok(late)
    }

    fn is_spoken_of(&self, info: &SegmentInfo) -> bool {
        let key = |sequence, destination| DeliveryKey { sequence, destination };
        let is_open = |(low, high)| self.open.range(key(low, NameId(0))..=key(high, NameId::NONE)).next().is_some();
        let is_wanted = |(low, high)| self.wanted.range(low..=high).next().is_some();
        info.outcomes.is_some_and(is_open) || info.acts.is_some_and(is_wanted)
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::Outcomes(outcomes) => {
                for outcome in outcomes.iter().filter(|outcome| self.wanted.contains(&outcome.key.sequence)) {
                    if matches!(outcome.state, OutcomeState::Scheduled { .. }) {
                        self.ends.remove(&outcome.key);
                        continue;
                    }
                    self.open.remove(&outcome.key);
                    self.ends.insert(outcome.key, state_of(outcome));
                }
            }
            Record::Selection(selection) => {
                let state = state_after(selection.act, selection.at_ms, &selection.reason);
                for sequence in self.wanted.iter().filter(|sequence| selection.sequences.contains(**sequence)) {
                    let key = DeliveryKey { sequence: *sequence, destination: selection.destination };
                    match &state {
                        Some(state) => {
                            self.open.remove(&key);
                            self.ends.insert(key, state.clone());
                        }
                        None => {
                            self.ends.remove(&key);
                            if self.journal.state_in_memory(&key) == Some(DeliveryState::Settled) {
                                self.open.insert(key);
                            }
                        }
                    }
                }
            }
            Record::Digest(digest) => {
                let (Some(members), Some(state)) = (digest.ended(), state_by(digest)) else { return };
                for sequence in self.wanted.iter().filter(|sequence| members.contains(**sequence)) {
                    let key = DeliveryKey { sequence: *sequence, destination: digest.destination };
                    self.open.remove(&key);
                    self.ends.insert(key, state.clone());
                }
            }
            _ => {}
        }
    }
}
