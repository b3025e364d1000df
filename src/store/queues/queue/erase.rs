//! What becomes of the deliveries of events that are erased.

use super::*;
use crate::store::Standing;
use crate::store::queues::texts::Change;

impl Queue {
    /// Counts where the deliveries of some events stand.
    pub fn standing(&self, sequences: &Bitmap, standing: &mut Standing) {
        for sequence in sequences.iter_from(0) {
            let place = match self.delivery_state(sequence) {
                Some(DeliveryState::InFlight) => &mut standing.in_flight,
                Some(DeliveryState::Held { by: HeldBy::Source }) => &mut standing.held,
                Some(DeliveryState::Held { by: HeldBy::Window { .. } }) => &mut standing.gathered,
                Some(DeliveryState::Scheduled { .. }) => &mut standing.scheduled,
                Some(_) => &mut standing.waiting,
                None if self.is_dead(sequence) => &mut standing.dead,
                None => continue,
            };
            *place += 1;
        }
    }

    /// Ends the deliveries of some events, as far as they wait: they are dropped. Returns which. A digest that has lost a member
    /// is not claimed before it is put together anew. What is in flight is left alone until it [comes back](Self::drop_come_back), and dead
    /// letters are.
    pub fn drop_waiting(&mut self, sequences: &Bitmap) -> Vec<u64> {
        self.take_back_returned();
        let (in_hand, others): (Vec<u64>, _) = sequences.iter_from(0).partition(|sequence| self.is_in_hand(*sequence));
        let ended: Vec<u64> = others.into_iter().filter(|sequence| self.is_pending(*sequence)).collect();
        for sequence in in_hand {
            self.erased_in_hand.insert(sequence);
        }
        let digests = self.lanes.as_ref().map(|lanes| lanes.digest_sizes()).unwrap_or_default();
        for sequence in &ended {
            self.apply(*sequence, 0, &OutcomeState::Dropped);
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.withhold_changed(&digests);
        }
        if !ended.is_empty() {
            self.drop_idle_lanes();
        }
        ended
    }

    /// The same of what was in flight then and is to be tried again. To be asked before each claim: what was put together of a digest has the
    /// erased event still.
    pub fn drop_come_back(&mut self) -> Vec<u64> {
        if self.erased_in_hand.is_empty() {
            return Vec::new();
        }
        let sequences = std::mem::take(&mut self.erased_in_hand);
        self.drop_waiting(&sequences)
    }

    /// How many of them are in flight.
    pub fn in_flight_of(&self, sequences: &Bitmap) -> u64 {
        let mut standing = Standing::default();
        self.standing(sequences, &mut standing);
        standing.in_flight
    }

    /// Changes the texts that lie here: of what is scheduled, of digests, of a pause. Returns how many were changed.
    pub fn mask_texts(&mut self, change: Change<'_>) -> u64 {
        let mut texts = 0;
        let mut look = |of: Option<u64>, text: &str| {
            let changed = change(of, text);
            texts += u64::from(changed.is_some());
            changed
        };
        for ((_, sequence), entry) in &mut self.scheduled {
            if let Some(changed) = look(Some(*sequence), &entry.reason) {
                entry.reason = changed.into();
            }
        }
        for (sequence, origin) in &mut self.claimed {
            if let Origin::Retry { entry, .. } = origin
                && let Some(changed) = look(Some(*sequence), &entry.reason)
            {
                entry.reason = changed.into();
            }
        }
        for digest in self.lanes.iter_mut().flat_map(|lanes| lanes.closed_digests()) {
            if let Some(changed) = look(None, &digest.reason) {
                digest.reason = changed.into();
            }
        }
        if let Some(pause) = &mut self.state.paused
            && let Some(changed) = look(None, &pause.reason)
        {
            pause.reason = changed;
        }
        texts
    }
}
