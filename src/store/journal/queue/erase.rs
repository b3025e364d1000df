//! What becomes of the deliveries of events that are erased.

use super::*;
use crate::store::Standing;

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

    /// Ends the deliveries of some events, as far as they wait: they are dropped. Returns which. What is in flight is left alone, and so are dead
    /// letters.
    pub fn drop_waiting(&mut self, sequences: &Bitmap) -> Vec<u64> {
        self.take_back_returned();
        let waits = |sequence: &u64| self.is_pending(*sequence) && !self.is_in_hand(*sequence);
        let ended: Vec<u64> = sequences.iter_from(0).filter(waits).collect();
        for sequence in &ended {
            self.apply(*sequence, 0, &OutcomeState::Dropped);
        }
        if !ended.is_empty() {
            self.drop_idle_lanes();
        }
        ended
    }

    /// How many of them are in flight.
    pub fn in_flight_of(&self, sequences: &Bitmap) -> u64 {
        let mut standing = Standing::default();
        self.standing(sequences, &mut standing);
        standing.in_flight
    }
}
