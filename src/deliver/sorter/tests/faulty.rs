//! A queue that fails as it is told to, and is the real one otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::EventId;
use crate::store::{Answer, Claimed, DigestId, PassesOn, Queue, Room, StoreError, StoredEvent};

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

impl PassesOn for Faulty {
    fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    fn claim_changed(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
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

    fn members_changed(
        &self,
        of: DigestId,
        after: Option<EventId>,
        room: Room,
    ) -> Answer<'static, Vec<Arc<StoredEvent>>> {
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
