//! What a worker shows of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sorting::Sorted;
use super::troubles::Troubles;

/// One destination's worker, seen from outside.
#[derive(Debug, Default)]
pub struct Status {
    shown: Mutex<Shown>,
    troubles: Mutex<Troubles>,
    sorted: Sorted,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Attempts at once while it finds its feet again.
    pub ramp: Option<usize>,
    /// The last trouble, and when, unix milliseconds. It holds nothing that the other side said.
    pub last_error: Option<(String, u64)>,
    /// When the last delivery arrived, unix milliseconds.
    pub last_delivered_ms: Option<u64>,
    /// While the breaker is open: when the next probe may be made, unix milliseconds; `None` while one is in flight.
    pub next_probe_ms: Option<u64>,
    /// It was paused by what the other side said, and by no person, and nobody has let it go on since.
    pub has_paused: bool,
    /// Held as the other side asked (`Retry-After`), until then, unix milliseconds.
    pub held_until_ms: Option<u64>,
}

impl Status {
    /// How it goes now.
    pub fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What waits to go out with others, and what is ready to.
    pub fn sorted(&self) -> &Sorted {
        &self.sorted
    }

    /// What the log has said of it.
    pub(crate) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
