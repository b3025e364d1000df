//! What is kept in memory of one destination.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::queue::{News, Queue};
use crate::store::QueueState;

/// What is kept in memory of one destination. `R`: by what its backend reads the events of one that lags.
pub struct Destination<R> {
    pub queue: Mutex<Queue>,
    /// Notified when there may be something new to claim.
    pub wakeup: Arc<Notify>,
    /// Notified when something is scheduled, which may be due sooner than what was before.
    pub scheduled: Notify,
    pub state: watch::Sender<QueueState>,
    /// By what its worker reads.
    pub reader: R,
    pub sorting: Sorting<R>,
    /// The event that waited longest when somebody asked last, and when it arrived.
    pub oldest: Mutex<Option<(u64, u64)>>,
}

/// What who gives lanes works with, beside the worker.
pub struct Sorting<R> {
    /// Notified when there may be something to place.
    pub wakeup: Arc<Notify>,
    pub reader: R,
}

impl<R: Default> Destination<R> {
    pub fn new(queue: Queue) -> Arc<Self> {
        let state = watch::Sender::new(QueueState { state: queue.state().clone(), ramp_ups: 0 });
        let wakeup = Arc::default();
        let scheduled = Notify::new();
        let oldest = Mutex::default();
        let sorting = Sorting { wakeup: Arc::default(), reader: R::default() };
        let (queue, reader) = (Mutex::new(queue), R::default());
        Arc::new(Self { queue, wakeup, scheduled, state, reader, sorting, oldest })
    }
}

impl<R> Destination<R> {
    /// Who has to look at what has just come for it.
    pub fn looks_first(&self, queue: &Queue) -> &Arc<Notify> {
        if queue.sorts() { &self.sorting.wakeup } else { &self.wakeup }
    }

    /// Tells that something waits, or may go out, that did not before.
    pub fn wake(&self, queue: &Queue) {
        if queue.count_unplaced() > 0 {
            self.sorting.wakeup.notify_one();
        }
        self.wakeup.notify_one();
    }

    /// Tells what has changed where it goes in order: who was behind another may go, or there is room to look further.
    pub fn tell_of_order(&self, queue: &mut Queue) {
        let Some(News { has_more, is_to_look }) = queue.news_of_order() else { return };
        if has_more {
            self.wakeup.notify_one();
        }
        if is_to_look {
            self.sorting.wakeup.notify_one();
        }
    }

    /// Shows how its queue stands now.
    pub fn show(&self, queue: &Queue) {
        self.state.send_if_modified(|shown| {
            let has_changed = shown.state != *queue.state();
            if has_changed {
                shown.state = queue.state().clone();
            }
            has_changed
        });
    }

    /// Tells its worker to let out what waits gently.
    pub fn ramp_up(&self) {
        self.state.send_modify(|state| state.ramp_ups += 1);
    }
}
