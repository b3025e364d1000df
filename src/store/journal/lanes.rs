//! Lanes as the journal has them: what is to be placed is read where it lies, what was placed wakes the worker.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;

use super::claims::JournalQueue;
use super::queue::{Closed, Queue};
use super::segments::Window;
use super::words::ReadError;
use super::{Journal, lock};
use crate::event::EventId;
use crate::store::{
    Answer, DeliveryId, Digest, DigestId, GroupKey, Lane, Lanes, Room, StoreError, StoredEvent, Unplaced, WindowHead,
    Windows,
};

/// Deliveries looked for at once, whatever room there is: the queue is locked meanwhile.
const UNPLACED_MAX: usize = 4096;

impl Lanes for JournalQueue {
    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>> {
        let numbers = self.here(|queue| queue.unplaced(room.deliveries.min(UNPLACED_MAX))).unwrap_or_default();
        if numbers.is_empty() {
            return Box::pin(std::future::poll_fn(|_| Poll::Ready(Vec::new())));
        }
        let (journal, destination, id) = (self.journal.clone(), self.destination.clone(), self.id);
        let as_unplaced = move |(sequence, event): (u64, Result<Arc<StoredEvent>, ReadError>), journal: &Journal| {
            let unknown = || EventId::mint(0, journal.number as u16, sequence);
            let delivery =
                DeliveryId { event: event.as_ref().map_or_else(|_| unknown(), |event| event.id), destination: id };
            Unplaced { delivery, event: event.map_err(StoreError::from) }
        };
        let recent = journal.recent_of(&numbers, room.body_bytes);
        if !recent.is_empty() {
            let unplaced = recent.into_iter().map(|event| as_unplaced((event.id.sequence(), Ok(event)), &journal));
            let unplaced: Vec<Unplaced> = unplaced.collect();
            return Box::pin(std::future::ready(unplaced));
        }
        let blocking = journal.blocking;
        let read = blocking.begin(move || {
            let read = journal.read_some(&numbers, room.body_bytes, &mut lock(&destination.sorting.window));
            read.into_iter().map(|read| as_unplaced(read, &journal)).collect()
        });
        Box::pin(async move { read.await.unwrap_or_default() })
    }

    fn to_place(&self) -> BoxFuture<'static, ()> {
        let wakeup = self.destination.sorting.wakeup.clone();
        Box::pin(async move { wakeup.notified().await })
    }

    fn sort(&self, sorts: bool) {
        let passed_ms = self.journal.lived.passed_ms();
        self.here(|queue| {
            queue.sort(sorts, passed_ms);
            self.destination.wake(queue);
        });
    }

    fn place(&self, heads: Vec<WindowHead>, placed: Vec<(DeliveryId, Lane)>) {
        let numbers = placed.into_iter().map(|(delivery, lane)| (delivery.event.sequence(), lane));
        let has_more = self.here(|queue| queue.place(heads, numbers).has_more);
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
        let now_ms = self.journal.clock.now_ms();
        self.here(|queue| queue.has_urgent(now_ms)).unwrap_or(false)
    }

    fn wake(&self) {
        self.destination.wakeup.notify_one();
    }

    fn windows(&self) -> Windows {
        self.here(|queue| queue.windows()).unwrap_or_default()
    }

    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>> {
        let now_ms = self.journal.clock.now_ms();
        let passed_ms = self.journal.lived.passed_ms();
        let ended = self.here(|queue| {
            let id = self.journal.mint_digest(now_ms);
            let ended = queue.end(&windows, id, now_ms, passed_ms)?;
            (!ended.members.is_empty()).then_some(id)
        });
        Box::pin(std::future::ready(Ok(ended.flatten())))
    }

    fn offer(&self, id: DigestId) {
        if self.here(|queue| queue.offer(id)) == Some(true) {
            self.destination.wakeup.notify_one();
        }
    }

    fn dissolve(&self, id: DigestId) {
        self.here(|queue| {
            if queue.dissolve(id) {
                self.destination.wake(queue);
            }
        });
    }

    fn digests(&self) -> Vec<Digest> {
        let shown = |(id, digest): (DigestId, &Closed)| Digest {
            id,
            name: id.name(self.journal.number),
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
        let (journal, destination) = (self.journal.clone(), self.destination.clone());
        let blocking = journal.blocking;
        let read = blocking.begin(move || {
            let mut from = after.map_or(0, |after| after.sequence() + 1);
            loop {
                let numbers: Vec<u64> = members.iter_from(from).take(room.deliveries.clamp(1, UNPLACED_MAX)).collect();
                let read = journal.read_some(&numbers, room.body_bytes, &mut lock(&destination.sorting.window));
                let Some((last, _)) = read.last() else { return Ok(Vec::new()) };
                from = last + 1;
                let mut events = Vec::with_capacity(read.len());
                for (sequence, event) in read {
                    match event {
                        Ok(event) => events.push(event),
                        // It may be read another time.
                        Err(error @ ReadError::Io(_)) => return Err(error.into()),
                        Err(error) => {
                            tracing::warn!(sequence, %error, "an event cannot be read and is left out of its digest")
                        }
                    }
                }
                if !events.is_empty() {
                    return Ok(events);
                }
            }
        });
        Box::pin(async move {
            let panicked = || StoreError::Unavailable("it panicked, which is a bug: see the log".to_owned());
            read.await.unwrap_or_else(|| Err(panicked()))
        })
    }
}

impl JournalQueue {
    /// Does something to the queue, unless its lease is lost.
    fn here<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut queue = lock(&self.destination.queue);
        (!self.lost.is_cancelled()).then(|| act(&mut queue))
    }
}

impl Journal {
    /// The first of some events, as far as they lie in memory without a gap: within so many bytes of bodies, and at least one.
    fn recent_of(&self, numbers: &[u64], body_bytes: usize) -> Vec<Arc<StoredEvent>> {
        let recent = lock(&self.recent);
        let mut bytes = 0;
        let mut events: Vec<Arc<StoredEvent>> = Vec::new();
        for event in numbers.iter().map_while(|sequence| recent.get(*sequence)) {
            bytes += event.body.len();
            if bytes > body_bytes && !events.is_empty() {
                break;
            }
            events.push(event);
        }
        events
    }

    /// The first of some events, wherever they lie: within so many bytes of bodies, and at least one.
    fn read_some(
        &self,
        numbers: &[u64],
        body_bytes: usize,
        window: &mut Window,
    ) -> Vec<(u64, Result<Arc<StoredEvent>, ReadError>)> {
        let mut bytes = 0;
        let mut events = Vec::new();
        for sequence in numbers.iter().copied() {
            let recent = lock(&self.recent).get(sequence);
            let read = recent.map_or_else(|| self.read_anywhere(sequence, window).map(Arc::new), Ok);
            bytes += read.as_ref().map_or(0, |event| event.body.len());
            if bytes > body_bytes && !events.is_empty() {
                break;
            }
            events.push((sequence, read));
        }
        events
    }
}
