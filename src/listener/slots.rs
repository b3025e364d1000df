//! How many connections are open, over all accept loops of a listener: a reload opens another loop and no more room.
//!
//! Where a listener's connections give way and all places are taken, one that waits gets the place of another. A stranger's is one whose last
//! request brought nobody who is known, or that has brought none. While strangers have more than half of the places the oldest of them gives
//! way, whatever it does; else the one of those who are known that has had nothing to do for longest, and where all have, a stranger again.
//! So no stranger takes a place from who is known but what is idle, and who has just come has the time of many others to say who he is. Only a request whose head has come whole counts as something to do, until its answer is in the hands of the socket: as ever on a
//! connection that stays open, what is being sent while it is closed gets no answer, and was not begun.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// Those that have not been told to give way, in the order in which they were accepted.
    places: Mutex<BTreeMap<u64, Arc<Place>>>,
    /// The number of the next one that is accepted, or has nothing to do.
    next: AtomicU64,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Place {
    /// Who has come by it last is known.
    is_known: AtomicBool,
    /// Requests whose answer is not in the hands of the socket: one at most, and a stream as long as it is open.
    in_hand: AtomicUsize,
    /// Counts on: the smallest has had nothing to do for longest.
    idle_since: AtomicU64,
    /// It ends now.
    gives_way: CancellationToken,
    /// It ends when what it has in hand is done.
    finishes: CancellationToken,
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
    place: Arc<Place>,
}

/// The other end of a connection, and its place here.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub seat: Seat,
}

impl Seat {
    /// Somebody has come by it: while that is somebody known, it gives way only where it has nothing to do, and after those of strangers.
    pub fn set_known(&self, is_known: bool) {
        self.place.is_known.store(is_known, Ordering::SeqCst);
    }

    /// Waits until it must give way to another connection at once.
    pub(super) async fn gives_way(&self) {
        self.place.gives_way.cancelled().await;
    }

    /// Cancelled when it must give way as soon as it has nothing to do.
    pub(super) fn finishes(&self) -> CancellationToken {
        self.place.finishes.clone()
    }

    /// A request has come by it, and is in hand until this is dropped.
    pub(super) fn in_hand(&self) -> InHand {
        self.place.in_hand.fetch_add(1, Ordering::SeqCst);
        InHand(self.clone())
    }
}

/// A request whose answer is not in the hands of the socket.
#[derive(Debug)]
pub(super) struct InHand(Seat);

impl Drop for InHand {
    fn drop(&mut self) {
        let Seat { slots, place } = &self.0;
        place.idle_since.store(slots.next.fetch_add(1, Ordering::Relaxed), Ordering::SeqCst);
        place.in_hand.fetch_sub(1, Ordering::SeqCst);
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
            places: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a connection end, whose room is free a moment later. Where all of those who are known have something in hand, nothing ends.
    pub(super) fn make_room(&self) -> bool {
        let mut places = self.places();
        let (known, strangers): (Vec<_>, Vec<_>) = places
            .iter()
            .map(|(number, place)| (*number, place))
            .partition(|(_, place)| place.is_known.load(Ordering::SeqCst));
        let idle = known.iter().filter(|(_, place)| place.in_hand.load(Ordering::SeqCst) == 0);
        let idlest = idle.min_by_key(|(_, place)| place.idle_since.load(Ordering::SeqCst));
        let oldest = strangers.first();
        let are_many = strangers.len() > self.max.load(Ordering::SeqCst) / 2;
        let number = match (oldest, idlest) {
            (Some((number, place)), idlest) if are_many || idlest.is_none() => {
                place.gives_way.cancel();
                *number
            }
            (_, Some((number, place))) => {
                // One more request may have come by it in this moment: it is answered first.
                place.finishes.cancel();
                *number
            }
            _ => return false,
        };
        places.remove(&number);
        true
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
        let place = Arc::new(Place { idle_since: AtomicU64::new(number), ..Place::default() });
        self.slots.places().insert(number, place.clone());
        Seat { slots: self.slots.clone(), place }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.slots.places().remove(&number);
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
    fn the_oldest_stranger_gives_way_and_then_who_has_had_nothing_to_do_for_longest() {
        let slots = Slots::new(6, Gauge::default());
        let mut held: Vec<_> = (0..6).map(|_| slots.take().now_or_never().expect("room")).collect();
        let seats: Vec<_> = held.iter_mut().map(Slot::accepted).collect();
        let have_gone = || {
            let states = seats.iter().map(|Seat { place, .. }| {
                match (place.gives_way.is_cancelled(), place.finishes.is_cancelled()) {
                    (false, false) => '.',
                    (true, false) => 'x',
                    (false, true) => 'f',
                    (true, true) => panic!("told twice"),
                }
            });
            states.collect::<String>()
        };
        for known in [0, 3, 4, 5] {
            seats[known].set_known(true);
        }
        let stranger_busy = seats[2].in_hand();
        let mut busy: Vec<_> = [0, 3, 4, 5].iter().map(|known| seats[*known].in_hand()).collect();
        drop(held.remove(1));
        // Of those who are known, all have something in hand.
        assert!(slots.make_room());
        assert_eq!(have_gone(), "..x...", "the second has ended by itself");
        assert!(!slots.make_room(), "all others have something in hand");
        assert_eq!(have_gone(), "..x...");
        // The last one has nothing to do any more, and then the first.
        drop(busy.pop());
        drop(busy.remove(0));
        assert!(slots.make_room());
        assert_eq!(have_gone(), "..x..f");
        let again = seats[0].in_hand();
        assert!(!slots.make_room(), "it has something to do again");
        drop(again);
        assert!(slots.make_room() && !slots.make_room());
        assert_eq!(have_gone(), "f.x..f");
        drop((stranger_busy, busy));
    }

    #[test]
    fn who_was_busy_last_stays_longest_of_those_who_are_known_still() {
        let slots = Slots::new(4, Gauge::default());
        let mut held: Vec<_> = (0..4).map(|_| slots.take().now_or_never().expect("room")).collect();
        let seats: Vec<_> = held.iter_mut().map(Slot::accepted).collect();
        seats.iter().for_each(|seat| seat.set_known(true));
        let requests = [2, 0, 3].map(|busy| seats[busy].in_hand());
        requests.into_iter().for_each(drop);
        // It was never asked by, so it has had nothing to do since it was accepted.
        let finishes = |at: usize| seats[at].place.finishes.is_cancelled();
        assert!(slots.make_room() && finishes(1));
        assert!(slots.make_room() && finishes(2));
        seats[3].set_known(false);
        assert!(slots.make_room() && finishes(0));
        assert!(slots.make_room() && seats[3].place.gives_way.is_cancelled() && !finishes(3));
    }

    #[test]
    fn strangers_keep_half_of_the_places_and_no_more() {
        let slots = Slots::new(4, Gauge::default());
        let mut held: Vec<_> = (0..4).map(|_| slots.take().now_or_never().expect("room")).collect();
        let seats: Vec<_> = held.iter_mut().map(Slot::accepted).collect();
        seats[1].set_known(true);
        assert!(slots.make_room() && seats[0].place.gives_way.is_cancelled(), "three are more than half of four");
        assert!(
            slots.make_room() && seats[1].place.finishes.is_cancelled(),
            "who has just come has the time to say who he is"
        );
        assert!(slots.make_room() && seats[2].place.gives_way.is_cancelled(), "there is nobody else");
    }
}
