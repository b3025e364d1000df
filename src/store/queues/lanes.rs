//! Lanes over what a backend keeps: what is to be placed is read where it lies, what was placed wakes the worker.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::backing::{Backing, By, Done, Read, Told};
use super::claims::OwnQueue;
use super::outcomes::{DigestAct, DigestRecord, WindowsRecord};
use super::queue::{Closed, Ended, Placed, Queue};
use crate::event::EventId;
use crate::store::locks::lock;
use crate::store::{
    Answer, AppendError, DeliveryId, Digest, DigestId, GroupKey, Lane, Lanes, OpenWindows, Room, StoreError,
    StoredEvent, Unplaced, WindowHead,
};

/// Deliveries looked for at once, whatever room there is: the queue is locked meanwhile.
const UNPLACED_MAX: usize = 4096;

impl<B: Backing> Lanes for OwnQueue<B> {
    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>> {
        let found = self.here(|queue| queue.look_at_some(room.deliveries.min(UNPLACED_MAX)));
        let (numbers, is_attempted) = found.unwrap_or_default();
        if numbers.is_empty() {
            return Box::pin(std::future::poll_fn(|_| Poll::Ready(Vec::new())));
        }
        let (store, id) = (self.backing.number, self.id);
        let as_unplaced = move |(sequence, event): Read| {
            let unknown = || EventId::mint(0, store as u16, sequence);
            let event_id = event.as_ref().map_or_else(|_| unknown(), |event| event.id);
            Unplaced { delivery: DeliveryId { event: event_id, destination: id }, event, is_attempted }
        };
        let mut unplaced = Vec::new();
        self.backing.recent_of(numbers.iter().copied(), room.body_bytes, |event| {
            unplaced.push(as_unplaced((event.id.sequence(), Ok(event))));
        });
        if !unplaced.is_empty() {
            return Box::pin(std::future::ready(unplaced));
        }
        let read = self.backing.read(&self.destination, By::Sorter, numbers, room.body_bytes);
        // None would say that all has its lane. Who asks is started again, and asks again.
        Box::pin(async move {
            let read = read.await.expect("reading what waits panicked, which is a bug: see the log");
            read.into_iter().map(as_unplaced).collect()
        })
    }

    fn look_at_attempted(&self) {
        if self.here(Queue::look_at_attempted) == Some(true) {
            self.destination.sorting.wakeup.notify_one();
        }
    }

    fn to_place(&self) -> BoxFuture<'static, ()> {
        let wakeup = self.destination.sorting.wakeup.clone();
        Box::pin(async move { wakeup.notified().await })
    }

    fn sort(&self, sorts: bool) {
        let passed_ms = self.backing.passed_ms();
        self.here(|queue| {
            let windows = queue.sort(sorts, passed_ms);
            if !windows.is_empty() {
                self.tell_digest(DigestAct::Ended { windows }, None);
            }
            self.destination.wake(queue);
        });
    }

    fn sort_in_order(&self) {
        let passed_ms = self.backing.passed_ms();
        self.here(|queue| {
            let windows = queue.sort_in_order(passed_ms);
            if !windows.is_empty() {
                self.tell_digest(DigestAct::Ended { windows }, None);
            }
            // What is scheduled is to be looked at as well.
            self.destination.sorting.wakeup.notify_one();
            self.destination.wake(queue);
        });
    }

    fn place(&self, heads: Vec<WindowHead>, placed: Vec<(DeliveryId, Lane)>) {
        let numbers = placed.into_iter().map(|(delivery, lane)| (delivery.event.sequence(), lane));
        let has_more = self.here(|queue| {
            let Placed { heads, has_more } = queue.place(heads, numbers);
            if !heads.is_empty() {
                let windows = WindowsRecord { destination: self.id, heads };
                self.backing.tell(Told::Windows(windows));
            }
            has_more
        });
        if has_more == Some(true) {
            self.destination.wakeup.notify_one();
        }
    }

    fn displace(&self) {
        if self.here(|queue| queue.displace()) == Some(true) {
            self.destination.sorting.wakeup.notify_one();
        }
    }

    fn has_urgent(&self) -> bool {
        let now_ms = self.backing.clock.now_ms();
        self.here(|queue| queue.has_urgent(now_ms)).unwrap_or(false)
    }

    fn wake(&self) {
        self.destination.wakeup.notify_one();
    }

    fn windows(&self) -> OpenWindows {
        let now_ms = self.backing.clock.now_ms();
        self.here(|queue| queue.windows(now_ms)).unwrap_or_default()
    }

    fn have_windows_come(&self) -> bool {
        self.here(|queue| queue.have_windows_come()).unwrap_or(false)
    }

    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>> {
        let now_ms = self.backing.clock.now_ms();
        let passed_ms = self.backing.passed_ms();
        let (done, durable) = oneshot::channel();
        let ended = self.here(|queue| {
            let id = self.backing.mint_digest(now_ms);
            let Ended { windows, members } = queue.end(&windows, id, now_ms, passed_ms)?;
            if !members.is_empty() {
                self.tell_digest(DigestAct::Closed { id, windows, members }, Some(done));
                return Some(id);
            }
            if !windows.is_empty() {
                self.tell_digest(DigestAct::Ended { windows }, None);
            }
            None
        });
        let Some(id) = ended.flatten() else { return Box::pin(std::future::ready(Ok(None))) };
        Box::pin(async move {
            durable.await.unwrap_or(Err(AppendError::Closed))?;
            Ok(Some(id))
        })
    }

    fn offer(&self, id: DigestId) {
        match self.here(|queue| queue.offer(id)) {
            Some(true) => self.destination.wakeup.notify_one(),
            // It may have to be put together once more.
            _ => self.destination.sorting.wakeup.notify_one(),
        }
    }

    fn withhold(&self, id: DigestId) {
        self.here(|queue| queue.withhold(id));
    }

    fn hasten(&self, id: DigestId) {
        let now_ms = self.backing.clock.now_ms();
        if self.here(|queue| queue.hasten(id, now_ms)) == Some(true) {
            self.destination.wakeup.notify_one();
        }
    }

    fn dissolve(&self, id: DigestId) {
        self.here(|queue| {
            if queue.dissolve(id) {
                self.tell_digest(DigestAct::Dissolved { id }, None);
                self.destination.wake(queue);
            }
        });
    }

    fn digests(&self) -> Vec<Digest> {
        let shown = |(id, digest): (DigestId, &Closed)| Digest {
            id,
            name: id.name(self.backing.number),
            closed_ms: digest.closed_ms,
            members: digest.members.len(),
            is_offered: digest.is_offered(),
            due_ms: (digest.attempts > 0 && !digest.is_in_hand()).then_some(digest.due_ms),
        };
        self.here(|queue| queue.all_digests().map(shown).collect()).unwrap_or_default()
    }

    fn members(&self, of: DigestId, after: Option<EventId>, room: Room) -> Answer<'static, Vec<Arc<StoredEvent>>> {
        let members = self.here(|queue| queue.digest(of).map(|digest| digest.members.clone()));
        let Some(members) = members.flatten() else { return Box::pin(std::future::ready(Ok(Vec::new()))) };
        let (backing, destination) = (self.backing.clone(), self.destination.clone());
        Box::pin(async move {
            let mut from = after.map_or(0, |after| after.sequence() + 1);
            loop {
                let numbers: Vec<u64> = members.iter_from(from).take(room.deliveries.clamp(1, UNPLACED_MAX)).collect();
                if numbers.is_empty() {
                    return Ok(Vec::new());
                }
                let panicked = || StoreError::Unavailable("it panicked, which is a bug: see the log".to_owned());
                let read = backing.read(&destination, By::Sorter, numbers, room.body_bytes).await;
                let read = read.ok_or_else(panicked)?;
                let Some((last, _)) = read.last() else { return Ok(Vec::new()) };
                from = last + 1;
                let mut events = Vec::with_capacity(read.len());
                for (sequence, event) in read {
                    match event {
                        Ok(event) => events.push(event),
                        // It may be read another time.
                        Err(error @ StoreError::Unavailable(_)) => return Err(error),
                        Err(StoreError::Erased | StoreError::Redacted) => {}
                        Err(error) => {
                            tracing::warn!(sequence, %error, "an event cannot be read and is left out of its digest")
                        }
                    }
                }
                if !events.is_empty() {
                    return Ok(events);
                }
            }
        })
    }
}

impl<B: Backing> OwnQueue<B> {
    /// Does something to the queue, unless its lease is lost.
    fn here<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut queue = lock(&self.destination.queue);
        (!self.lost.is_cancelled()).then(|| act(&mut queue))
    }

    /// Has written down what happened to a digest, or to windows. To be called with the queue locked.
    fn tell_digest(&self, what: DigestAct, done: Option<Done>) {
        let record = DigestRecord { destination: self.id, at_ms: self.backing.clock.now_ms(), what };
        self.backing.tell(Told::Digests(vec![record], done));
    }
}
