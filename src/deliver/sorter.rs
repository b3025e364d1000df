//! One destination's sorter: it gives each delivery its lane, ends windows whose digest can go out, and has digests ready for the worker.
//!
//! It claims nothing and attempts nothing, so whatever becomes of it nothing is lost: a worker whose sorter hangs has less to do. It looks at
//! a delivery once. A digest is put together from what the sorter knows of its windows; after a restart it is read again.
//!
//! [`prepare`]: a closed digest is put together. [`mod@together`]: what that is.

mod prepare;
mod together;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use self::prepare::{Ended, Preparing};
pub use self::together::{Parts, together};
use super::section::Section;
use super::sorting::windows::{Arrival, GROUPS_MAX};
use super::sorting::{Fold, Sorting, Standing, Verdict, Windows, address_of};
use super::worker::{WorkerParts, delivery};
use crate::destination::Delivery;
use crate::event::RelayFields;
use crate::store::{
    self, DIGESTS_MAX, DeliveryId, DigestId, GroupKey, Lane, NameId, QueueState, Room, StoreError, StoredEvent,
    Unplaced, WindowHead,
};
use crate::time::{Instant, sleep_until};

/// Deliveries that are given a lane in one go: what else is ready comes in between.
pub(super) const PLACED_AT_ONCE: Room = Room { deliveries: 256, body_bytes: 512 << 10, urgent_only: false };
/// How soon a sorter looks again whether a digest that could not go out can.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So often in a row putting a digest together may panic.
const PANICS_MAX: u32 = 3;
/// The clock on the wall may be set: how long quiet hours last is looked at so often, at least.
const LOOK_AT_WALL: Duration = Duration::from_secs(60);

/// One destination's sorter.
pub struct Sorter {
    parts: WorkerParts,
    state: tokio::sync::watch::Receiver<QueueState>,
    section: Arc<Section>,
    /// Digests that are being put together: one, mostly.
    preparing: JoinSet<Result<(), StoreError>>,
    /// None is put together before then.
    rests_until: Option<Instant>,
    /// How often that has panicked, one time after the other.
    panics: u32,
    is_quiet: bool,
    destination: NameId,
}

impl Sorter {
    /// A sorter that has not begun. Its queue goes by lanes from here on, if the section sorts.
    pub fn new(mut parts: WorkerParts, destination: NameId) -> Self {
        let section = parts.section.borrow_and_update().clone();
        let state = parts.queue.state();
        let mut sorter = Self {
            state,
            section,
            preparing: JoinSet::new(),
            rests_until: None,
            panics: 0,
            is_quiet: false,
            destination,
            parts,
        };
        sorter.begin();
        sorter
    }

    /// Sorts until it is stopped.
    pub async fn run(mut self) {
        let stop = self.parts.stop.clone();
        let mut to_place = self.parts.queue.to_place();
        let mut has_more = true;
        while !stop.is_cancelled() {
            if self.parts.section.has_changed().unwrap_or(false) {
                self.follow();
                has_more = true;
            }
            self.look_at_wall();
            if has_more {
                has_more = self.place_some().await;
            }
            let again = self.end_some();
            self.prepare_next();
            if has_more {
                tokio::task::yield_now().await;
                continue;
            }
            let status = self.parts.status.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = self.parts.section.changed() => self.parts.section.mark_changed(),
                () = &mut to_place => {
                    to_place = self.parts.queue.to_place();
                    has_more = true;
                }
                Ok(()) = self.state.changed() => {}
                Some(prepared) = self.preparing.join_next() => self.prepared(prepared),
                () = status.sorted().told() => {
                    let changed = status.sorted().windows(Windows::take_changed);
                    self.parts.queue.place(changed, Vec::new());
                }
                () = sleep_until(self.rests_until.map_or(again, |rests| Some(again.map_or(rests, |again| again.min(rests))))) => {
                    self.rests_until = self.rests_until.filter(|until| *until > Instant::now());
                }
            }
        }
    }

    fn sorting(&self) -> Option<Arc<Sorting>> {
        self.section.config.sorting.clone()
    }

    /// Begins with the section that there is: all that waits is to be given its lane.
    fn begin(&mut self) {
        let queue = &self.parts.queue;
        // What one before this one has placed is placed anew.
        queue.sort(self.section.config.sorting.is_some());
        let known = queue.windows().open.into_iter().map(|(head, _)| head);
        self.parts.status.sorted().windows(|windows| *windows = Windows::known(known));
        // Where it is quiet, retries are to be looked at as well: what is urgent among them is not known any more.
        self.is_quiet = false;
        self.look_at_wall();
        self.parts.queue.wake();
    }

    /// Goes by another section. What waited by the one before is given its lane anew; where the new one does not sort, what is gathered
    /// goes out together, once and for all.
    fn follow(&mut self) {
        let section = self.parts.section.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.section, section);
        let is_same = |of: fn(&Section) -> &String| of(&before) == of(&self.section);
        if is_same(|section| &section.config.said) && is_same(|section| &section.config.fingerprint) {
            return;
        }
        let sorting = self.sorting();
        let gathering = sorting.as_ref().and_then(|sorting| sorting.gathering.as_ref());
        let every = gathering.and_then(|gathering| gathering.every);
        if gathering.is_none() && self.section.config.destination.digests() {
            self.end_all();
        }
        self.begin();
        if sorting.is_none() {
            self.parts.status.sorted().windows(|windows| *windows = Windows::default());
            return;
        }
        let changed = self.parts.status.sorted().windows(|windows| {
            windows.shorten(every);
            windows.take_changed()
        });
        self.parts.queue.place(changed, Vec::new());
    }

    /// What is gathered goes out, for each place as one message, since nothing is gathered any more.
    fn end_all(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.parts.status.sorted().windows(|windows| windows.shorten(None));
        while self.parts.queue.digests().len() < DIGESTS_MAX {
            let all = self.parts.status.sorted().windows(|windows| windows.over(now_ms, usize::MAX));
            if all.is_empty() {
                return;
            }
            self.end(&all);
        }
    }

    /// Looks whether it is quiet. Where it begins to be, what is ready waits as well; where it ends, the worker goes on.
    fn look_at_wall(&mut self) {
        let quiet = self.section.config.sorting.as_ref().and_then(|sorting| sorting.quiet.as_ref());
        let until_ms = match quiet.map(|quiet| quiet.at(self.parts.clock.arrival_ms())) {
            Some(Standing::Quiet { until_ms }) => Some(until_ms),
            Some(Standing::Awake { .. }) | None => None,
        };
        self.parts.status.sorted().show_quiet(until_ms);
        let was_quiet = std::mem::replace(&mut self.is_quiet, until_ms.is_some());
        match (was_quiet, self.is_quiet) {
            (false, true) => self.parts.queue.displace(),
            (true, false) => self.parts.queue.wake(),
            _ => {}
        }
    }

    /// When quiet hours begin or end, as far as that can be foreseen.
    fn wall_changes(&self) -> Option<Instant> {
        let sorting = self.section.config.sorting.as_ref()?;
        let now_ms = self.parts.clock.arrival_ms();
        let (Standing::Quiet { until_ms } | Standing::Awake { until_ms }) = sorting.quiet.as_ref()?.at(now_ms);
        let wait = Duration::from_millis(until_ms.saturating_sub(now_ms));
        Some(Instant::now() + wait.min(LOOK_AT_WALL))
    }

    /// Gives some deliveries their lanes. Returns whether there may be more.
    async fn place_some(&mut self) -> bool {
        let Some(sorting) = self.sorting() else { return false };
        let unplaced = self.parts.queue.unplaced(PLACED_AT_ONCE).await;
        if unplaced.is_empty() {
            return false;
        }
        let names = self.parts.store.names();
        let now_ms = self.parts.clock.now_ms();
        let placed = self.parts.status.sorted().windows(|windows| {
            let mut lane = |Unplaced { delivery: id, event }: Unplaced| {
                // Who attempts it finds out what is wrong with it.
                let lane = event.ok().map_or(Lane::Ready, |event| {
                    let look = || self.lane(&sorting, windows, &delivery(&names, &event, Some(id.destination)), now_ms);
                    std::panic::catch_unwind(AssertUnwindSafe(look)).unwrap_or(Lane::Ready)
                });
                (id, lane)
            };
            let placed: Vec<(DeliveryId, Lane)> = unplaced.into_iter().map(&mut lane).collect();
            (windows.take_changed(), placed)
        });
        self.parts.queue.place(placed.0, placed.1);
        true
    }

    fn lane(&self, sorting: &Sorting, windows: &mut Windows, delivery: &Delivery, now_ms: u64) -> Lane {
        let address = address_of(&*self.section.config.destination, delivery);
        let StoredEvent { id, received_ms, ref body, .. } = *delivery.event;
        let relay = RelayFields { source: &delivery.source, received_ms };
        match (sorting.verdict(body, relay, address), &sorting.gathering) {
            (Ok(Verdict::Urgent), _) => Lane::Urgent,
            (Ok(Verdict::Of(group)), Some(gathering)) => {
                let arrival = Arrival { event: id, received_ms, group: &group, address };
                windows.place(gathering, arrival, now_ms, self.is_quiet)
            }
            _ => Lane::Ready,
        }
    }

    fn over(&self) -> Option<Vec<GroupKey>> {
        let now_ms = self.parts.clock.now_ms();
        let over = self.parts.status.sorted().windows(|windows| windows.over(now_ms, GROUPS_MAX));
        (!over.is_empty()).then_some(over)
    }

    /// Ends windows that are over, if their digest can go out now. Returns when to look again.
    fn end_some(&mut self) -> Option<Instant> {
        let wall = self.wall_changes();
        while let Some(over) = self.over() {
            if let Err(later) = self.may_end(&over) {
                return [wall, Some(later)].into_iter().flatten().min();
            }
            self.end(&over);
        }
        let next = self.parts.status.sorted().windows(|windows| windows.next_end_ms());
        let next = next.map(|ends_ms| Instant::now() + self.parts.clock.until(ends_ms));
        [wall, next].into_iter().flatten().min()
    }

    /// Whether what waits in some windows could go out at once, or when to ask again. Until then they go on collecting.
    fn may_end(&mut self, over: &[GroupKey]) -> Result<(), Instant> {
        let now = Instant::now();
        let QueueState { state, .. } = self.state.borrow_and_update().clone();
        let windows = self.parts.queue.windows();
        let digests = self.parts.queue.digests();
        // With so many digests nothing is ended, not even a window in which nothing waits.
        if !windows.are_whole || digests.len() >= DIGESTS_MAX {
            return Err(now + LOOK_AGAIN);
        }
        let waits = |(head, count): &(WindowHead, u64)| *count > 0 && over.contains(&head.key);
        if !windows.open.iter().any(waits) {
            return Ok(());
        }
        if self.is_quiet {
            return Err(now + LOOK_AT_WALL);
        }
        let is_one_waiting = digests.iter().any(|digest| digest.due_ms.is_none());
        // What else there is can be the probe of whether it works again.
        let has_probe = state.open_since_ms.is_some() && windows.others > 0;
        if state.paused.is_some() || is_one_waiting || has_probe {
            return Err(now + LOOK_AGAIN);
        }
        self.section.rate_limit.held_until(now).map_or(Ok(()), Err)
    }

    /// Ends windows: what waits in them is a digest from here on.
    fn end(&mut self, over: &[GroupKey]) {
        let queue = &self.parts.queue;
        let before: Vec<DigestId> = queue.digests().iter().map(|digest| digest.id).collect();
        let ended = queue.end(over.to_vec());
        let folds = self.parts.status.sorted().windows(|windows| windows.end(over));
        let closed = queue.digests().into_iter().find(|digest| !before.contains(&digest.id));
        if let Some(digest) = closed {
            self.prepare(digest, folds, Some(ended));
        }
    }

    /// One has been put together, or that has failed: then it is tried again a little later. One that panics again and again cannot be one
    /// message, and goes out as what it is made of.
    fn prepared(&mut self, prepared: Result<Result<(), StoreError>, JoinError>) {
        let has_panicked = prepared.is_err();
        if matches!(prepared, Ok(Ok(()))) {
            (self.rests_until, self.panics) = (None, 0);
            return;
        }
        if let Ok(Err(error)) = prepared {
            let destination = self.section.config.name.as_str();
            tracing::warn!(destination, %error, "the events of a digest cannot be read; it is tried again");
        }
        self.rests_until = Some(Instant::now() + LOOK_AGAIN);
        self.panics += u32::from(has_panicked);
        if self.panics >= PANICS_MAX {
            self.panics = 0;
            let sorted = self.parts.status.sorted();
            let lacking = self.parts.queue.digests().into_iter().filter(|digest| sorted.digest(digest.id).is_none());
            lacking.for_each(|digest| self.parts.queue.dissolve(digest.id));
        }
    }

    /// Has the next digest put together that is not, one at a time.
    fn prepare_next(&mut self) {
        while let Some(prepared) = self.preparing.try_join_next() {
            self.prepared(prepared);
        }
        let digests = self.parts.queue.digests();
        if !self.section.config.destination.digests() {
            digests.iter().for_each(|digest| self.parts.queue.dissolve(digest.id));
        } else if self.preparing.is_empty() && self.rests_until.is_none_or(|until| until <= Instant::now()) {
            // One may have been offered by a sorter whose digests are gone.
            let sorted = self.parts.status.sorted();
            let is_lacking = |digest: &&store::Digest| !digest.is_offered || sorted.digest(digest.id).is_none();
            if let Some(digest) = digests.iter().find(is_lacking).cloned() {
                self.prepare(digest, Vec::new(), None);
            }
        }
        self.parts.status.sorted().forget_all_but(|id| digests.iter().any(|digest| digest.id == id));
    }

    /// Beside the rest: what is urgent is given its lane meanwhile.
    fn prepare(&mut self, digest: store::Digest, folds: Vec<Fold>, ended: Option<Ended>) {
        let preparing = Preparing {
            queue: self.parts.queue.clone(),
            store: self.parts.store.clone(),
            status: self.parts.status.clone(),
            section: self.section.clone(),
            destination: self.destination,
        };
        self.preparing.spawn(preparing.prepare(digest, folds, ended));
    }
}
