//! Lanes as the journal has them: what is to be placed is read where it lies, what was placed wakes the worker.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::bitmap::Bitmap;
use super::claims::{JournalQueue, to_go_out};
use super::commands::SELECTED_REMEMBERED;
use super::format::{
    BulkAct, DeliveryKey, DigestAct, DigestRecord, OUTCOMES_MAX, OutcomeRecord, OutcomeState, WindowsRecord,
};
use super::inbox::{Done, Message};
use super::queue::{Closed, Ended, Placed, Queue};
use super::segments::Window;
use super::words::{ReadError, state_by, state_of};
use super::{Journal, lock};
use crate::event::EventId;
use crate::store::{
    Answer, AppendError, DeliveryId, Digest, DigestId, GroupKey, Lane, Lanes, NameId, OpenWindows, Room, StoreError,
    StoredEvent, Unplaced, WindowHead,
};

/// Deliveries looked for at once, whatever room there is: the queue is locked meanwhile.
const UNPLACED_MAX: usize = 4096;

impl Lanes for JournalQueue {
    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>> {
        let found = self.here(|queue| queue.look_at_some(room.deliveries.min(UNPLACED_MAX)));
        let (numbers, is_attempted) = found.unwrap_or_default();
        if numbers.is_empty() {
            return Box::pin(std::future::poll_fn(|_| Poll::Ready(Vec::new())));
        }
        let (journal, destination, id) = (self.journal.clone(), self.destination.clone(), self.id);
        let as_unplaced = move |(sequence, event): (u64, Result<Arc<StoredEvent>, ReadError>), journal: &Journal| {
            let unknown = || EventId::mint(0, journal.number as u16, sequence);
            let delivery =
                DeliveryId { event: event.as_ref().map_or_else(|_| unknown(), |event| event.id), destination: id };
            Unplaced { delivery, event: event.map_err(StoreError::from), is_attempted }
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
        // None would say that all has its lane. Who asks is started again, and asks again.
        Box::pin(async move { read.await.expect("reading what waits panicked, which is a bug: see the log") })
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
        let passed_ms = self.journal.lived.passed_ms();
        self.here(|queue| {
            let windows = queue.sort(sorts, passed_ms);
            if !windows.is_empty() {
                self.tell_digest(DigestAct::Ended { windows }, None);
            }
            self.destination.wake(queue);
        });
    }

    fn sort_in_order(&self) {
        let passed_ms = self.journal.lived.passed_ms();
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
                // If the writer is gone the process is ending.
                let _ = self.journal.sender.send(Message::Windows(windows));
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
        let now_ms = self.journal.clock.now_ms();
        self.here(|queue| queue.has_urgent(now_ms)).unwrap_or(false)
    }

    fn wake(&self) {
        self.destination.wakeup.notify_one();
    }

    fn windows(&self) -> OpenWindows {
        let now_ms = self.journal.clock.now_ms();
        self.here(|queue| queue.windows(now_ms)).unwrap_or_default()
    }

    fn have_windows_come(&self) -> bool {
        self.here(|queue| queue.have_windows_come()).unwrap_or(false)
    }

    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>> {
        let now_ms = self.journal.clock.now_ms();
        let passed_ms = self.journal.lived.passed_ms();
        let (done, durable) = oneshot::channel();
        let ended = self.here(|queue| {
            let id = self.journal.mint_digest(now_ms);
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
        let now_ms = self.journal.clock.now_ms();
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
                        Err(ReadError::Erased(_) | ReadError::Redacted) => {}
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

    /// Has written down what happened to a digest, or to windows. To be called with the queue locked.
    fn tell_digest(&self, what: DigestAct, done: Option<Done>) {
        let record = DigestRecord { destination: self.id, at_ms: self.journal.clock.now_ms(), what };
        self.journal.send(Message::Digests(record.split(), done));
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

    /// Has written down what became of a digest, and remembers it of some of its members. To be called with the queue locked.
    pub fn digest_settled(
        &self,
        (destination, id): (NameId, DigestId),
        (attempts, at_ms): (u16, u64),
        state: OutcomeState,
        members: Bitmap,
    ) {
        let key = |sequence| DeliveryKey { sequence, destination };
        let what = match state {
            OutcomeState::Dead { .. } if members.len() <= OUTCOMES_MAX as u64 => {
                // Each with its attempts, which a selection does not say.
                let of_member = |sequence| OutcomeRecord { key: key(sequence), attempts, at_ms, state: state.clone() };
                let dead: Vec<OutcomeRecord> = members.iter_from(0).map(of_member).collect();
                let mut outcomes = lock(&self.outcomes);
                dead.iter().for_each(|outcome| outcomes.push(outcome.key, state_of(outcome)));
                drop(outcomes);
                return self.send(Message::Outcomes(dead));
            }
            OutcomeState::Dead { reason } => {
                // As of anything that is given up many at once.
                let record = self.record(destination, BulkAct::DeadLetter, None, &reason, members);
                return self.send(Message::Selections(record.split().into_iter().map(|part| vec![part]).collect()));
            }
            OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } => {
                DigestAct::Scheduled { id, attempts, first_attempt_ms, due_ms, reason }
            }
            OutcomeState::Skipped => DigestAct::Skipped { id, attempts, members },
            OutcomeState::Delivered | OutcomeState::Dropped | OutcomeState::Moved(_) => {
                DigestAct::Delivered { id, attempts, members }
            }
        };
        let record = DigestRecord { destination, at_ms, what };
        if let (Some(members), Some(state)) = (record.ended(), state_by(&record)) {
            let mut outcomes = lock(&self.outcomes);
            for sequence in members.iter_from(0).take(SELECTED_REMEMBERED) {
                outcomes.push(key(sequence), state.clone());
            }
        }
        self.send(Message::Digests(record.split(), None));
    }

    /// Writes again what must not go with the oldest range of the history, which ends there: heads of windows, and digests whose members'
    /// own records have gone before. All else that a digest is about lies in what stays. Returns whether there was anything.
    pub fn write_lanes_again(&self, range_end: u64) -> bool {
        let mut has_any = false;
        for id in self.destination_ids() {
            let destination = self.destination(id);
            // Locked, so that nothing newer comes before it.
            let queue = lock(&destination.queue);
            let heads: Vec<WindowHead> = queue.heads().collect();
            let digests = queue.all_digests().filter(|(_, digest)| digest.members.next(0) < Some(range_end));
            let records: Vec<Vec<DigestRecord>> = digests.map(|(digest, _)| queue.records_of(digest)).collect();
            has_any |= !heads.is_empty() || !records.is_empty();
            if !heads.is_empty() {
                self.send(Message::Windows(WindowsRecord { destination: id, heads }));
            }
            records.into_iter().for_each(|records| self.send(Message::Digests(records, None)));
        }
        has_any
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
            let read = read.and_then(to_go_out);
            bytes += read.as_ref().map_or(0, |event| event.body.len());
            if bytes > body_bytes && !events.is_empty() {
                break;
            }
            events.push((sequence, read));
        }
        events
    }
}
