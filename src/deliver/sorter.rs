//! One destination's sorter: it gives each delivery its lane, ends windows whose digest can go out, and has digests ready for the worker.
//!
//! It claims nothing and attempts nothing, so whatever becomes of it nothing is lost: a worker whose sorter hangs has less to do. It looks at
//! a delivery once. A digest is put together from what the sorter knows of its windows; after a restart it is read again.
//!
//! [`place`]: lanes are given. [`end`]: windows are ended. [`lacking`]: which digest is put together next; `prepare`: that
//! it is; [`mod@together`]: what that is.

mod end;
mod lacking;
mod place;
mod prepare;
#[cfg(test)]
mod tests;
mod together;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::lacking::{Made, Tries};
pub use self::together::{Parts, together};
use super::section::Section;
use super::sorting::{Gathering, Leftover, Sorting, Windows};
use super::worker::WorkerParts;
use crate::store::{DigestId, NameId, QueueWatch, WindowHead};
use crate::time::{Instant, sleep_until};

/// How soon a sorter looks again whether a digest that could not go out can.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The clock on the wall may be set: how long quiet hours last is looked at so often, at least.
const LOOK_AT_WALL: Duration = Duration::from_secs(60);

/// One destination's sorter.
pub struct Sorter {
    parts: WorkerParts,
    state: QueueWatch,
    section: Arc<Section>,
    /// The section gathers nothing, and something was gathered before: until that has gone out it is sorted by this.
    leftover: Option<Leftover>,
    /// What was there when it began has its lane.
    is_backlog_placed: bool,
    /// Digests that are being put together: one, mostly.
    preparing: JoinSet<Made>,
    /// How often that has failed, of those with which it has.
    tries: HashMap<DigestId, Tries>,
    /// Where digests go, as far as that is known: of those that are not settled.
    addresses: HashMap<DigestId, u64>,
    /// When a digest was made due as a probe last, in this outage, and how long after that the next is.
    hastened: Option<(Instant, Duration)>,
    /// The other side was down when it began: which digests were the probe before that is not known.
    began_down: bool,
    is_quiet: bool,
    destination: NameId,
}

impl Sorter {
    /// A sorter that has not begun. Its queue goes by lanes from here on, if the section sorts.
    pub fn new(mut parts: WorkerParts, destination: NameId) -> Self {
        let section = parts.section.borrow_and_update().clone();
        let state = parts.queue.state();
        let began_down = state.now().state.open_since_ms.is_some();
        let mut sorter = Self {
            state,
            section,
            leftover: None,
            is_backlog_placed: false,
            preparing: JoinSet::new(),
            tries: HashMap::new(),
            addresses: HashMap::new(),
            hastened: None,
            began_down,
            is_quiet: false,
            destination,
            parts,
        };
        sorter.begin(None);
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
            // Before it is asked when there is a turn.
            let mut sooner = self.section.rate_limit.sooner();
            // What is tried again when the other side is well says then whether its groups go out with others.
            let again = [self.hasten_probe(), self.end_some(), self.prepare_next()].into_iter().flatten().min();
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
                    self.take_in_windows();
                    has_more = true;
                }
                () = self.state.changed() => {}
                Ok(()) = sooner.changed() => {}
                Some(Ok(made)) = self.preparing.join_next() => self.made(made),
                () = status.sorted().told() => self.say_changed(),
                () = sleep_until(again) => {}
            }
        }
    }

    fn sorting(&self) -> Option<&Sorting> {
        self.section.config.sorting.as_deref()
    }

    fn gathering(&self) -> Option<&Gathering> {
        self.sorting()?.gathering.as_ref()
    }

    /// Begins with the section that there is: all that waits is to be given its lane. `before` is what the section said before, where that
    /// is known.
    fn begin(&mut self, before: Option<Arc<Sorting>>) {
        let queue = &self.parts.queue;
        let heads: Vec<WindowHead> = queue.windows().open.into_iter().map(|(head, _)| head).collect();
        let can_gather = self.section.config.can_gather();
        let has_leftover = self.gathering().is_none() && can_gather && !heads.is_empty();
        self.leftover = has_leftover.then(|| Leftover::of(before));
        let sorts = self.sorting().is_some() || has_leftover;
        // What one before this one has placed is placed anew.
        let heads = match self.sorting().is_some_and(Sorting::is_in_order) {
            true => {
                queue.sort_in_order();
                Vec::new()
            }
            false => {
                queue.sort(sorts);
                heads
            }
        };
        if self.sorting().is_some_and(Sorting::has_urgent) {
            queue.look_at_attempted();
        }
        self.is_backlog_placed = false;
        let every = self.gathering().and_then(|gathering| gathering.every);
        let known = if sorts { Windows::known(heads, every) } else { Windows::default() };
        self.parts.status.sorted().windows(|windows| *windows = known);
        self.withhold_others();
        self.say_changed();
        // Where it is quiet, what of retries is not urgent waits as well.
        self.is_quiet = false;
        self.look_at_wall();
        self.parts.queue.wake();
    }

    /// Goes by another section. What waited by the one before is given its lane anew; where the new one does not gather, what was gathered
    /// goes out together, once and for all.
    fn follow(&mut self) {
        let section = self.parts.section.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.section, section);
        let is_same = |of: fn(&Section) -> &String| of(&before) == of(&self.section);
        if is_same(|section| &section.config.said) && is_same(|section| &section.config.fingerprint) {
            return;
        }
        self.begin(before.config.sorting.clone());
    }

    /// What has come over from another destination is ended here.
    fn take_in_windows(&mut self) {
        if !self.parts.queue.have_windows_come() {
            return;
        }
        if self.gathering().is_none() {
            return self.begin(None);
        }
        let heads = self.parts.queue.windows().open.into_iter().map(|(head, _)| head);
        self.parts.status.sorted().windows(|windows| windows.take_in(heads));
        self.say_changed();
    }

    /// What was put together by another section is put together again. What else is ready waits for none of it meanwhile.
    fn withhold_others(&self) {
        let lacking = self.lacking(self.parts.queue.digests());
        lacking.into_iter().for_each(|digest| self.parts.queue.withhold(digest.id));
    }

    /// Has the store know what has changed of windows.
    fn say_changed(&self) {
        let changed = self.parts.status.sorted().windows(Windows::take_changed);
        if !changed.is_empty() {
            self.parts.queue.place(changed, Vec::new());
        }
    }

    /// Looks whether it is quiet. Where it begins to be, what is ready waits as well; where it ends, the worker goes on.
    fn look_at_wall(&mut self) {
        let quiet = self.sorting().and_then(|sorting| sorting.quiet.as_ref());
        let until_ms = quiet.and_then(|quiet| quiet.until_ms(self.parts.clock.arrival_ms()));
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
        let quiet = self.sorting()?.quiet.as_ref()?;
        let now_ms = self.parts.clock.arrival_ms();
        let wait = Duration::from_millis(quiet.changes_ms(now_ms).saturating_sub(now_ms));
        Some(Instant::now() + wait.min(LOOK_AT_WALL))
    }
}
