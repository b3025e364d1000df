//! How many connections are open, over all accept loops of a listener: a reload opens another loop and no more room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// The open connections of a listener, and how many there may be.
#[derive(Debug)]
pub struct Slots {
    open: AtomicUsize,
    max: AtomicUsize,
    freed: Notify,
    /// Those that are accepted, for the metrics.
    accepted: Gauge,
}

/// Room for one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    is_accepted: bool,
}

impl Slots {
    /// Room for so many connections.
    pub fn new(max: usize, accepted: Gauge) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max: AtomicUsize::new(max), freed: Notify::new(), accepted })
    }

    /// Allows so many from now on. Those that are open stay, and count.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::SeqCst);
        self.freed.notify_one();
    }

    /// Waits for room.
    pub async fn take(self: &Arc<Self>) -> Slot {
        loop {
            let is_free = |open: usize| (open < self.max.load(Ordering::SeqCst)).then_some(open + 1);
            if self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_free).is_ok() {
                return Slot { slots: self.clone(), is_accepted: false };
            }
            // One that is freed between the look and the wait is remembered by the `Notify`.
            self.freed.notified().await;
        }
    }
}

impl Slot {
    /// There is a connection in it now.
    pub fn accepted(&mut self) {
        self.is_accepted = true;
        self.slots.accepted.inc();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_accepted {
            self.slots.accepted.dec();
        }
        self.slots.open.fetch_sub(1, Ordering::SeqCst);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn connections_of_a_loop_that_has_ended_count_among_those_of_the_next() {
        let slots = Slots::new(2, Gauge::default());
        let take = || slots.take().now_or_never();
        let first = take();
        let second = take();
        assert!(first.is_some() && second.is_some() && take().is_none());
        slots.set_max(3);
        let third = take();
        assert!(third.is_some() && take().is_none());
        slots.set_max(1);
        drop((first, second));
        assert!(take().is_none(), "one is open");
        drop(third);
        assert!(take().is_some());
    }
}
