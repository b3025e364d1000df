//! What came longer ago than an age, by the time that the store has lived through.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Journal, lock};
use crate::store::NameId;
use crate::store::queues::Bitmap;

impl Journal {
    /// Notes what has come by now.
    pub fn note_arrivals(&self) {
        lock(&self.arrivals).note(self.lived.passed_ms(), self.next_sequence.load(Ordering::Acquire));
    }

    /// The number below which everything had come longer ago than this.
    pub fn older_than(&self, age: Duration) -> u64 {
        self.note_arrivals();
        let before_ms = self.lived.passed_ms().checked_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        before_ms.map_or(0, |before_ms| lock(&self.arrivals).before(before_ms))
    }

    /// What waits for a destination, was never attempted, and came longer ago than this.
    pub fn stale(&self, id: NameId, age: Duration) -> Bitmap {
        let end = self.older_than(age);
        let let_go_by_ms = self.lived.passed_ms().checked_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let Some(let_go_by_ms) = let_go_by_ms.filter(|_| end > 0) else { return Bitmap::default() };
        lock(&self.destination(id).queue).unattempted_below(end, let_go_by_ms)
    }
}
