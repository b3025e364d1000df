//! Dead letters, page by page, and what is known of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::store::journal::words::{Letter, ReadError, unexplained, unreadable};
use crate::store::journal::{Journal, lock};
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::queues::DeliveryKey;
use crate::store::reasons::CountedReasons;
use crate::store::{Cursor, DeadLetter, DeadQuery, DeadReasons, NameId, Page, StoreError, Why};

/// Dead letters looked at for one page: a filter that finds little must not hold the index up.
const LOOKED_AT_MAX: usize = 10_000;
/// So many of them are asked for together: many may stand in one row of the index.
const LOOKED_AT_ONCE: usize = 250;

/// Dead letters that are counted by their reasons: half a second where each has a row of its own in the index.
pub(super) const COUNTED_MAX: u64 = 100_000;

impl Journal {
    /// What is known of some of a destination's dead letters, by what the index says and what memory still has.
    pub fn letters(&self, destination: NameId, sequences: &BTreeSet<u64>) -> Result<HashMap<u64, Letter>, ReadError> {
        let mut letters = self.index.read().dead_letters(destination, sequences.iter().copied()).map_err(unreadable)?;
        for sequence in sequences {
            let (sequence, key) = (*sequence, DeliveryKey { sequence: *sequence, destination });
            if let Some((attempts, at_ms, reason)) = self.just_died(&key) {
                letters.insert(sequence, Letter { sequence, destination, attempts, at_ms, reason });
            }
        }
        Ok(letters)
    }

    /// One page of the dead letters of some destinations, newest event first. Looks at a bounded number of them.
    pub fn dead_letters(
        &self,
        of: &[NameId],
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<DeadLetter>, StoreError> {
        self.index.flush();
        let after = after.map(|cursor| numbers_of(cursor, List::DeadLetters, self.number)).transpose()?;
        let mut at = after.map_or((u64::MAX, NameId::NONE), |[number, id]| (number, NameId(id as u32)));
        let of_these = query.events.as_ref().map(|events| self.numbers(events).collect::<BTreeSet<u64>>());
        let mut found = Vec::new();
        let mut looked_at = 0;
        while looked_at < LOOKED_AT_MAX {
            let keys = self.dead_below(of, at);
            if keys.is_empty() {
                break;
            }
            looked_at += keys.len();
            let is_meant = |key: &DeliveryKey| of_these.as_ref().is_none_or(|numbers| numbers.contains(&key.sequence));
            let letters = self.letters_of(&keys.iter().copied().filter(is_meant).collect::<Vec<_>>())?;
            for key in keys {
                if found.len() == max {
                    break;
                }
                at = (key.sequence, key.destination);
                if !is_meant(&key) {
                    continue;
                }
                let letter = letters.get(&key).cloned().unwrap_or_else(|| unexplained(key.sequence, key.destination));
                if query.holds(letter.at_ms, &letter.reason) {
                    found.push(letter);
                }
            }
            if found.len() == max {
                break;
            }
        }
        let event = |sequence| self.event_by_number(sequence).map_err(StoreError::from);
        let items = found.into_iter().map(|Letter { sequence, destination, attempts, at_ms, reason }| {
            let Why { reason, status, answer } = Why::of(&reason);
            let event = event(sequence);
            let (reason, answer) = (reason.into_owned(), answer.into_owned());
            DeadLetter { event, destination, attempts, at_ms, reason, status, answer }
        });
        let items = items.collect();
        let left = of.iter().map(|id| lock(&self.destination(*id).queue).dead().len()).sum();
        let is_over = self.dead_below(of, at).is_empty();
        let next = (!is_over).then(|| cursor(List::DeadLetters, self.number, [at.0, at.1.0.into()]));
        Ok(Page { items, next, left })
    }

    /// Why the dead letters of some destinations were given up: of the newest so many.
    pub fn dead_reasons(&self, of: &[NameId], most: u64) -> Result<DeadReasons, StoreError> {
        self.index.flush();
        let mut counted = CountedReasons::default();
        let mut at = (u64::MAX, NameId::NONE);
        while counted.looked_at() < most {
            let mut keys = self.dead_below(of, at);
            keys.truncate((most - counted.looked_at()) as usize);
            let Some(last) = keys.last() else { break };
            at = (last.sequence, last.destination);
            let mut letters = self.letters_of(&keys)?;
            for key in keys {
                let letter = letters.remove(&key).unwrap_or_else(|| unexplained(key.sequence, key.destination));
                counted.add(&letter.reason, 1, (letter.at_ms, letter.at_ms));
            }
        }
        let all: u64 = of.iter().map(|id| lock(&self.destination(*id).queue).dead().len()).sum();
        Ok(counted.told(all))
    }

    /// Some dead letters of some destinations behind one of them, newest event first and then by destination.
    pub(super) fn dead_below(&self, of: &[NameId], (number, id): (u64, NameId)) -> Vec<DeliveryKey> {
        let mut keys = Vec::new();
        let mut horizon = 0;
        for destination in of {
            let below = if *destination > id { number.saturating_add(1) } else { number };
            let known = self.destination(*destination);
            let queue = lock(&known.queue);
            let older = |below: u64| queue.dead().previous(below);
            let some: Vec<u64> =
                std::iter::successors(older(below), |below| older(*below)).take(LOOKED_AT_ONCE).collect();
            if let Some(last) = some.last().filter(|_| some.len() == LOOKED_AT_ONCE) {
                // What is below it is not known of this destination.
                horizon = horizon.max(*last);
            }
            keys.extend(some.into_iter().map(|sequence| DeliveryKey { sequence, destination: *destination }));
        }
        keys.retain(|key| key.sequence >= horizon);
        keys.sort_by_key(|key| (std::cmp::Reverse(key.sequence), key.destination));
        keys
    }

    /// What is known of some dead letters of several destinations.
    pub(super) fn letters_of(&self, keys: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, Letter>, ReadError> {
        let mut by_destination: BTreeMap<NameId, BTreeSet<u64>> = BTreeMap::new();
        for key in keys {
            by_destination.entry(key.destination).or_default().insert(key.sequence);
        }
        let mut all = HashMap::new();
        for (destination, sequences) in by_destination {
            let letters = self.letters(destination, &sequences)?;
            all.extend(letters.into_iter().map(|(sequence, letter)| (DeliveryKey { sequence, destination }, letter)));
        }
        Ok(all)
    }
}
