//! A queue that fails as it is told to, and is the real one otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::EventId;
use crate::store::{
    Answer, Change, Claimed, DeliveryId, Digest, DigestId, GroupKey, Lane, Lanes, OpenWindows, Queue, QueueWatch, Room,
    Settled, StoreError, StoredEvent, Unplaced, WindowHead,
};

/// What reading the members of a digest comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Works,
    Fails,
    Panics,
}

#[derive(Debug, Default)]
pub(super) struct QueueFaults {
    /// Of the next readings of members, in order.
    pub(super) readings: Mutex<VecDeque<Reading>>,
    /// A digest, and what reading its members comes to each time.
    pub(super) broken: Mutex<Option<(DigestId, Reading)>>,
    /// How many were asked for.
    pub(super) asked: Mutex<usize>,
    /// The event that a digest is claimed with is damaged.
    pub(super) first_is_damaged: AtomicBool,
}

pub(super) struct Faulty {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) faults: Arc<QueueFaults>,
}

impl Queue for Faulty {
    fn claim(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
        let claim = self.queue.claim(room);
        if !self.faults.first_is_damaged.load(Ordering::Relaxed) {
            return claim;
        }
        let damaged = |claimed: Claimed| {
            let is_digest = claimed.claim.digest.is_some();
            let event = if is_digest { Err(StoreError::Damaged("its checksum".to_owned())) } else { claimed.event };
            Claimed { event, ..claimed }
        };
        claim.map(move |claimed| claimed.into_iter().map(damaged).collect()).boxed()
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        self.queue.ready()
    }

    fn settle(&self, settled: Vec<Settled>) {
        self.queue.settle(settled);
    }

    fn change(&self, change: Change) {
        self.queue.change(change);
    }

    fn state(&self) -> QueueWatch {
        self.queue.state()
    }

    fn recall(&self, key: &str) -> Option<String> {
        self.queue.recall(key)
    }

    fn remember(&self, key: &str, text: Option<String>) -> Answer<'static, ()> {
        self.queue.remember(key, text)
    }
}

impl Lanes for Faulty {
    fn sort(&self, sorts: bool) {
        self.queue.sort(sorts);
    }

    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>> {
        self.queue.unplaced(room)
    }

    fn look_at_attempted(&self) {
        self.queue.look_at_attempted();
    }

    fn to_place(&self) -> BoxFuture<'static, ()> {
        self.queue.to_place()
    }

    fn place(&self, heads: Vec<WindowHead>, placed: Vec<(DeliveryId, Lane)>) {
        self.queue.place(heads, placed);
    }

    fn displace(&self) {
        self.queue.displace();
    }

    fn has_urgent(&self) -> bool {
        self.queue.has_urgent()
    }

    fn wake(&self) {
        self.queue.wake();
    }

    fn windows(&self) -> OpenWindows {
        self.queue.windows()
    }

    fn have_windows_come(&self) -> bool {
        self.queue.have_windows_come()
    }

    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>> {
        self.queue.end(windows)
    }

    fn offer(&self, id: DigestId) {
        self.queue.offer(id);
    }

    fn hasten(&self, id: DigestId) {
        self.queue.hasten(id);
    }

    fn dissolve(&self, id: DigestId) {
        self.queue.dissolve(id);
    }

    fn digests(&self) -> Vec<Digest> {
        self.queue.digests()
    }

    fn members(&self, of: DigestId, after: Option<EventId>, room: Room) -> Answer<'static, Vec<Arc<StoredEvent>>> {
        *self.faults.asked.lock().expect("nobody panicked with it") += 1;
        let broken = *self.faults.broken.lock().expect("nobody panicked with it");
        let broken = broken.filter(|(id, _)| *id == of).map(|(_, reading)| reading);
        let next = || self.faults.readings.lock().expect("nobody panicked with it").pop_front();
        match broken.or_else(next) {
            Some(Reading::Fails) => {
                std::future::ready(Err(StoreError::Unavailable("a disk that does not answer".to_owned()))).boxed()
            }
            Some(Reading::Panics) => panic!("reading the members of a digest panics"),
            Some(Reading::Works) | None => self.queue.members(of, after, room),
        }
    }
}
