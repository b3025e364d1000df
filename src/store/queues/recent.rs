//! The newest outcomes, for those who ask what became of an event a moment ago.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::bitmap::Bitmap;
use super::outcomes::DeliveryKey;
use super::texts::Change;
use crate::store::{DeliveryState, NameId};

/// Recent outcomes kept.
const OUTCOMES_MAX: usize = 8 << 10;

/// The newest outcomes that ended a delivery.
#[derive(Debug, Default)]
pub struct RecentOutcomes {
    states: HashMap<DeliveryKey, DeliveryState>,
    order: VecDeque<DeliveryKey>,
}

impl RecentOutcomes {
    /// Adds an outcome.
    pub fn push(&mut self, key: DeliveryKey, state: DeliveryState) {
        if self.states.insert(key, state).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > OUTCOMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.states.remove(&oldest);
        }
    }

    /// Forgets what became of some deliveries of a destination.
    pub fn forget(&mut self, destination: NameId, sequences: &Bitmap) {
        self.states.retain(|key, _| key.destination != destination || !sequences.contains(key.sequence));
        self.order.retain(|key| self.states.contains_key(key));
    }

    /// Changes the reasons. Returns how many were changed.
    pub fn mask_texts(&mut self, change: Change<'_>) -> u64 {
        let mut texts = 0;
        for (key, state) in &mut self.states {
            if let DeliveryState::Dead { reason, .. }
            | DeliveryState::Skipped { reason, .. }
            | DeliveryState::Scheduled { reason, .. } = state
                && let Some(changed) = change(Some(key.sequence), reason)
            {
                *reason = changed;
                texts += 1;
            }
        }
        texts
    }

    /// All outcomes of some events.
    pub fn of<'o>(&'o self, sequences: &'o BTreeSet<u64>) -> impl Iterator<Item = (DeliveryKey, DeliveryState)> + 'o {
        let of_these = self.states.iter().filter(|(key, _)| sequences.contains(&key.sequence));
        of_these.map(|(key, state)| (*key, state.clone()))
    }

    /// Finds an outcome.
    pub fn get(&self, key: &DeliveryKey) -> Option<DeliveryState> {
        self.states.get(key).cloned()
    }
}
