//! How many connections are open, over all accept loops of a listener: a reload opens another loop and no more room.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The open connections of a listener, and how many there may be.
#[derive(Debug)]
pub struct Slots {
    open: AtomicUsize,
    max: AtomicUsize,
    freed: Notify,
    /// Those that are accepted, for the metrics.
    accepted: Gauge,
    /// Those by which nobody has come who is known, in the order in which they were accepted: what tells each to give way.
    strangers: Mutex<BTreeMap<u64, CancellationToken>>,
    /// The number of the next one that is accepted.
    next: AtomicU64,
}

/// Room for one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// Of its connection.
    number: Option<u64>,
}

/// What a handler may say of the connection by which it is asked.
#[derive(Clone, Debug)]
pub struct Seat {
    slots: Arc<Slots>,
    number: u64,
    gives_way: CancellationToken,
}

impl Seat {
    /// Somebody who is known has come by it: it gives way to nobody from now on.
    pub fn keep(&self) {
        self.slots.strangers().remove(&self.number);
    }

    /// Waits until it must give way to another connection.
    pub(super) async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }
}

impl Slots {
    /// Room for so many connections.
    pub fn new(max: usize, accepted: Gauge) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            freed: Notify::new(),
            accepted,
            strangers: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    fn strangers(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the oldest connection end by which nobody has come who is known; its room is free a moment later. Without any, nothing ends.
    pub(super) fn make_room(&self) {
        if let Some((_, oldest)) = self.strangers().pop_first() {
            oldest.cancel();
        }
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
                return Slot { slots: self.clone(), number: None };
            }
            // One that is freed between the look and the wait is remembered by the `Notify`.
            self.freed.notified().await;
        }
    }
}

impl Slot {
    /// There is a connection in it now.
    pub fn accepted(&mut self) -> Seat {
        let number = self.slots.next.fetch_add(1, Ordering::Relaxed);
        self.number = Some(number);
        self.slots.accepted.inc();
        let gives_way = CancellationToken::new();
        self.slots.strangers().insert(number, gives_way.clone());
        Seat { slots: self.slots.clone(), number, gives_way }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.slots.strangers().remove(&number);
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

    #[test]
    fn the_oldest_stranger_gives_way_and_nobody_who_is_known() {
        let slots = Slots::new(4, Gauge::default());
        let mut held: Vec<_> = (0..4).map(|_| slots.take().now_or_never().expect("room")).collect();
        let seats: Vec<_> = held.iter_mut().map(Slot::accepted).collect();
        let have_gone = || seats.iter().map(|seat| seat.gives_way.is_cancelled()).collect::<Vec<_>>();
        seats[0].keep();
        drop(held.remove(1));
        slots.make_room();
        assert_eq!(have_gone(), [false, false, true, false], "the second has ended by itself");
        slots.make_room();
        slots.make_room();
        assert_eq!(have_gone(), [false, false, true, true]);
    }
}
