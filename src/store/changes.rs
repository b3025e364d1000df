//! What changes from now on, for who shows it as it happens. Nothing depends on it: what is told may be less than what has happened, and
//! then says so.
//!
//! Where nobody watches, it costs a look at a number for each group of events and of outcomes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::event::EventId;

use super::{Claim, DeliveryId, DeliveryState, Settled, Settlement, StoredEvent};

/// Events that are kept until who watches takes them: a quarter of a second at full load has more, and nobody reads so many.
pub const ARRIVED_MAX: usize = 1000;
/// Bytes of their bodies. Most of them lie in memory anyway, for their deliveries.
pub const ARRIVED_BYTES_MAX: usize = 2 << 20;
/// Outcomes that are kept so.
pub const SETTLED_MAX: usize = 4096;

/// What has changed since it was taken the last time.
#[derive(Debug, Default)]
pub struct Changes {
    /// Events that arrived, in their order, as far as there is room for them.
    pub arrived: Vec<Arc<StoredEvent>>,
    /// Bytes of their bodies.
    pub arrived_bytes: usize,
    /// Those that came when there was no more room.
    pub others: Option<Others>,
    /// What became of deliveries, in order. The event of one that could not be read has an id of its own.
    pub settled: Vec<(DeliveryId, DeliveryState)>,
    /// Outcomes that came when there was no more room.
    pub settled_besides: u64,
    /// Events were erased: whoever has something of any of them lets go of it.
    pub was_erased: bool,
    /// The newest of the events of which values were taken away: whoever has one of it or of those before lets go of it.
    pub redacted_up_to: Option<EventId>,
    /// Something was done to deliveries by a command: any of them may stand elsewhere.
    pub was_commanded: bool,
}

/// Events of which nothing is kept but how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    pub events: u64,
    /// When the first and the last arrived, unix milliseconds.
    pub from_ms: u64,
    pub until_ms: u64,
}

impl Others {
    /// The first of them.
    pub fn one(received_ms: u64) -> Self {
        Self { events: 1, from_ms: received_ms, until_ms: received_ms }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            from_ms: self.from_ms.min(other.from_ms),
            until_ms: self.until_ms.max(other.until_ms),
        }
    }
}

impl Changes {
    fn arrive(&mut self, event: &Arc<StoredEvent>) {
        let bytes = event.body.len();
        let has_room = self.others.is_none()
            && self.arrived.len() < ARRIVED_MAX
            && self.arrived_bytes.saturating_add(bytes) <= ARRIVED_BYTES_MAX;
        if has_room {
            self.arrived_bytes += bytes;
            self.arrived.push(event.clone());
        } else {
            let one = Others::one(event.received_ms);
            self.others = Some(self.others.map_or(one, |others| others.and(one)));
        }
    }

    fn let_go_of(&mut self, is_one: impl Fn(EventId) -> bool) {
        self.arrived.retain(|event| !is_one(event.id));
        self.arrived_bytes = self.arrived.iter().map(|event| event.body.len()).sum();
    }

    fn settle(&mut self, settled: &[(DeliveryId, DeliveryState)]) {
        let room = SETTLED_MAX - self.settled.len();
        let kept = settled.len().min(room);
        self.settled.extend_from_slice(&settled[..kept]);
        self.settled_besides += (settled.len() - kept) as u64;
    }
}

/// Who watches a store.
#[derive(Debug, Default)]
pub struct Watchers {
    count: Arc<AtomicUsize>,
    all: Mutex<Vec<Weak<Mutex<Changes>>>>,
}

impl Watchers {
    /// Another one, from now on.
    pub fn begin(&self) -> Watch {
        let changes = Arc::default();
        let mut all = lock(&self.all);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&changes));
        self.count.fetch_add(1, Ordering::Relaxed);
        Watch { changes, count: self.count.clone() }
    }

    /// Whether anybody watches.
    pub fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Events have arrived, and stand in their queues.
    pub fn arrived(&self, events: &[Arc<StoredEvent>]) {
        self.tell(|changes| events.iter().for_each(|event| changes.arrive(event)));
    }

    /// What became of deliveries.
    pub fn settled(&self, settled: &[(DeliveryId, DeliveryState)]) {
        self.tell(|changes| changes.settle(settled));
    }

    /// Events were erased: what was told of them before, and not taken yet, goes.
    pub fn erased(&self, is_one: impl Fn(EventId) -> bool) {
        self.tell(|changes| {
            changes.let_go_of(&is_one);
            changes.was_erased = true;
        });
    }

    /// Values of events were taken away, the newest of which is given: what was told of them before, and not taken yet, goes.
    pub fn redacted(&self, newest: EventId, is_one: impl Fn(EventId) -> bool) {
        self.tell(|changes| {
            changes.let_go_of(&is_one);
            let known = changes.redacted_up_to.replace(newest);
            changes.redacted_up_to = known.into_iter().chain([newest]).max_by_key(|id| id.sequence());
        });
    }

    /// A command was done.
    pub fn commanded(&self) {
        if self.are_there() {
            self.tell(|changes| changes.was_commanded = true);
        }
    }

    fn tell(&self, change: impl Fn(&mut Changes)) {
        lock(&self.all).iter().filter_map(Weak::upgrade).for_each(|changes| change(&mut lock(&changes)));
    }
}

/// Sees what changes, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    changes: Arc<Mutex<Changes>>,
    count: Arc<AtomicUsize>,
}

impl Watch {
    /// What has changed since it was taken the last time.
    pub fn take(&self) -> Changes {
        std::mem::take(&mut lock(&self.changes))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is told of claims that were settled; nothing of those that were handed back, nor of digests, which are many deliveries.
pub fn told_of(settled: &[Settled], at_ms: u64) -> Vec<(DeliveryId, DeliveryState)> {
    let told = settled.iter().filter(|settled| settled.claim.digest.is_none()).filter_map(
        |Settled { claim: Claim { delivery, .. }, settlement, .. }| {
            let state = match settlement.clone() {
                Settlement::Returned => return None,
                Settlement::Delivered { attempts } => DeliveryState::Delivered { attempts, at_ms },
                Settlement::Skipped { reason, .. } => DeliveryState::Skipped { at_ms, reason },
                Settlement::Dead { attempts, reason } => DeliveryState::Dead { attempts, at_ms, reason },
                Settlement::Scheduled { attempts, due_ms, reason, .. } => {
                    DeliveryState::Scheduled { attempts, due_ms, reason }
                }
            };
            Some((*delivery, state))
        },
    );
    told.collect()
}

/// Every change under these locks is whole when it is made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::NameId;

    fn event(received_ms: u64, body_bytes: usize) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::mint(received_ms, 0, received_ms),
            received_ms,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: vec![0; body_bytes].into(),
            is_redacted: false,
        })
    }

    #[test]
    fn who_watches_sees_what_comes_from_then_on_and_each_thing_once() {
        let watchers = Watchers::default();
        assert!(!watchers.are_there());
        watchers.arrived(&[event(1, 0)]);
        let watch = watchers.begin();
        assert!(watchers.are_there());
        watchers.arrived(&[event(2, 0), event(3, 0)]);
        let other = watchers.begin();
        watchers.commanded();
        let arrived = |changes: &Changes| changes.arrived.iter().map(|event| event.received_ms).collect::<Vec<_>>();
        let seen = watch.take();
        assert_eq!((arrived(&seen), seen.was_commanded), (vec![2, 3], true));
        let seen = watch.take();
        assert_eq!((arrived(&seen), seen.was_commanded), (vec![], false));
        assert_eq!(arrived(&other.take()), [0; 0]);
        drop(watch);
        assert!(watchers.are_there());
        drop(other);
        assert!(!watchers.are_there());
    }

    #[test]
    fn what_is_erased_or_redacted_before_it_is_taken_is_told_to_nobody() {
        let watchers = Watchers::default();
        let watch = watchers.begin();
        let events: Vec<_> = (1..=4).map(|at| event(at, 10)).collect();
        watchers.arrived(&events);
        watchers.erased(|id| id == events[0].id);
        watchers.redacted(events[2].id, |id| id == events[2].id);
        watchers.redacted(events[1].id, |id| id == events[1].id);
        let seen = watch.take();
        assert_eq!((seen.arrived.len(), seen.arrived_bytes, seen.was_erased), (1, 10, true));
        assert_eq!((seen.arrived[0].id, seen.redacted_up_to), (events[3].id, Some(events[2].id)));
        let seen = watch.take();
        assert_eq!((seen.was_erased, seen.redacted_up_to), (false, None));
    }

    #[test]
    fn so_many_events_are_kept_and_the_rest_is_counted() {
        let watchers = Watchers::default();
        let watch = watchers.begin();
        let events: Vec<_> = (0..ARRIVED_MAX as u64).map(|at| event(at, 1)).collect();
        watchers.arrived(&events);
        let seen = watch.take();
        assert_eq!((seen.arrived.len(), seen.others), (ARRIVED_MAX, None));
        watchers.arrived(&events);
        watchers.arrived(&[event(7000, 1), event(8000, 1)]);
        let seen = watch.take();
        let others = Others { events: 2, from_ms: 7000, until_ms: 8000 };
        assert_eq!((seen.arrived.len(), seen.others), (ARRIVED_MAX, Some(others)));
        assert_eq!(watch.take().others, None);
    }

    #[test]
    fn bodies_are_kept_as_far_as_there_is_room_and_behind_the_first_that_finds_none_no_other() {
        let watchers = Watchers::default();
        let watch = watchers.begin();
        watchers.arrived(&[event(1, ARRIVED_BYTES_MAX)]);
        assert_eq!(watch.take().arrived.len(), 1);
        watchers.arrived(&[event(1, ARRIVED_BYTES_MAX - 1), event(2, 2), event(3, 1)]);
        let seen = watch.take();
        assert_eq!((seen.arrived.len(), seen.others.map(|others| others.events)), (1, Some(2)));
    }

    #[test]
    fn so_many_outcomes_are_kept_and_the_rest_is_counted() {
        let watchers = Watchers::default();
        let watch = watchers.begin();
        let delivery = DeliveryId { event: EventId::mint(0, 0, 1), destination: NameId(1) };
        let settled = vec![(delivery, DeliveryState::Waiting); SETTLED_MAX];
        watchers.settled(&settled);
        let seen = watch.take();
        assert_eq!((seen.settled.len(), seen.settled_besides), (SETTLED_MAX, 0));
        watchers.settled(&settled[1..]);
        watchers.settled(&settled[..3]);
        let seen = watch.take();
        assert_eq!((seen.settled.len(), seen.settled_besides), (SETTLED_MAX, 2));
    }
}
