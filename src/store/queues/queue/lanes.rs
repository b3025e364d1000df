//! Lanes over what waits: who is urgent, who is ready, who lies in which window or digest.
//!
//! [`age`]: since when what waits has waited. [`order`]: one after the other. [`place`]: giving and taking them. [`sorted`]: claiming by them. [`windows`]: what is collected, and what becomes of it.
//!
//! They lie over `unsettled` and `redeliveries`: what has a lane is in one of the two, but for what is urgent and scheduled. Whatever
//! leaves its set, by whichever way, leaves its lane. No record says a lane again: heads of windows and digests are said.

mod age;
mod order;
mod place;
mod sorted;
mod windows;

use std::collections::BTreeSet;

pub use self::age::Oldest;
use self::order::InOrder;
pub use self::order::News;
pub use self::place::Placed;
#[cfg(test)]
use self::sorted::URGENT_SCHEDULED_MAX;
pub use self::windows::{Closed, Ended};
use super::super::members::Members;
use super::*;
use crate::store::{DigestId, GroupKey, WindowHead};

/// The lanes of one destination.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Its section sorts: nothing is claimed but what has a lane.
    sorts: bool,
    /// What its section does was said since the start.
    is_told: bool,
    /// The last claim was for what is urgent.
    urgent_only: bool,
    /// Heads were said that its sorter does not know of.
    have_come: bool,
    /// All that waits in a set and has a lane.
    placed: Bitmap,
    /// What is scheduled is in it as well: its retries are urgent.
    urgent: Bitmap,
    ready: Bitmap,
    /// What lies in open windows.
    gathered: Bitmap,
    /// The members of digests.
    closed: Bitmap,
    /// Everything urgent, or ready, below these has been handed out.
    urgent_cursor: u64,
    ready_cursor: u64,
    /// What is urgent and scheduled, by when it is due.
    urgent_due: BTreeSet<(u64, u64)>,
    /// What was claimed last of what is urgent was a retry.
    was_urgent_retry: bool,
    windows: BTreeMap<GroupKey, Window>,
    digests: BTreeMap<DigestId, Closed>,
    /// What arrived since sorting began has this number or a greater one.
    arrivals_from: u64,
    /// All that waits below these has a lane or is in hand: of what arrived since, and of what was there before.
    arrivals_cursor: u64,
    backlog_cursor: u64,
    is_turn_of_backlog: bool,
    /// What was scheduled or in flight, and of which it is not known yet whether it is urgent.
    unjudged: Bitmap,
    is_turn_of_unjudged: bool,
    /// What of that is scheduled, and is not urgent, is to be displaced.
    displaces: bool,
    /// Of a section that goes in order: what is behind what.
    order: Option<Box<InOrder>>,
}

/// An open window.
#[derive(Debug)]
struct Window {
    head: WindowHead,
    members: Members,
}

impl Lanes {
    /// Whether nothing of it is needed any more.
    fn is_idle(&self) -> bool {
        !self.sorts && self.windows.is_empty() && self.digests.is_empty()
    }

    /// Something waits that has no lane.
    fn may_place(&mut self, sequence: u64) {
        if let Some(order) = &mut self.order {
            return order.may_place(sequence);
        }
        let cursor = if sequence >= self.arrivals_from { &mut self.arrivals_cursor } else { &mut self.backlog_cursor };
        *cursor = sequence.min(*cursor);
    }

    /// The same of many, from this number on.
    pub(super) fn may_place_from(&mut self, first: u64) {
        if let Some(order) = &mut self.order {
            return order.may_place(first);
        }
        self.backlog_cursor = self.backlog_cursor.min(first);
        self.arrivals_cursor = self.arrivals_cursor.min(first.max(self.arrivals_from));
    }

    /// Something is not handed out any more.
    fn came_back(&mut self, sequence: u64) {
        self.urgent_cursor = self.urgent_cursor.min(sequence);
        self.ready_cursor = self.ready_cursor.min(sequence);
        if let Some(order) = &mut self.order {
            order.came_back(sequence);
        }
        self.may_place(sequence);
    }

    /// A delivery has left its set. What is scheduled stays urgent.
    fn take_out(&mut self, sequence: u64, is_scheduled: bool) {
        if !is_scheduled {
            self.urgent.remove(sequence);
            self.leave_order(sequence);
        }
        if !self.placed.remove(sequence) || self.ready.remove(sequence) {
            return;
        }
        if self.gathered.remove(sequence) {
            self.windows.values_mut().any(|window| window.members.remove(sequence));
        } else if self.closed.remove(sequence)
            && let Some((id, digest)) = self.digests.iter_mut().find(|(_, digest)| digest.members.contains(sequence))
        {
            digest.members.remove(sequence);
            if digest.members.is_empty() {
                let id = *id;
                self.digests.remove(&id);
            }
        }
    }

    /// Deliveries have left their sets for good.
    pub(super) fn take_all_out(&mut self, sequences: &Bitmap) {
        for set in [&mut self.placed, &mut self.urgent, &mut self.ready, &mut self.closed] {
            set.remove_all(sequences);
        }
        self.leave_order_all(sequences);
        if !self.gathered.is_apart_from(sequences) {
            self.gathered.remove_all(sequences);
            self.windows.values_mut().for_each(|window| window.members.remove_all(sequences));
        }
        self.digests.retain(|_, digest| {
            digest.members.remove_all(sequences);
            !digest.members.is_empty()
        });
    }

    /// Whether it is a member of a digest in somebody's hands.
    pub(super) fn is_in_hand(&self, sequence: u64) -> bool {
        self.closed.contains(sequence) && self.in_hand().any(|members| members.contains(sequence))
    }

    /// The members of digests in somebody's hands.
    pub(super) fn in_hand(&self) -> impl Iterator<Item = &Bitmap> {
        self.digests.values().filter(|digest| digest.is_in_hand).map(|digest| &digest.members)
    }

    /// What does not grow old: it lies in a window, or may have to.
    pub(super) fn is_ageless(&self, sequence: u64) -> bool {
        let is_sorted = self.sorts || !self.is_told;
        is_sorted && self.order.is_none() && (!self.placed.contains(sequence) || self.gathered.contains(sequence))
    }

    /// All digests.
    pub(super) fn closed_digests(&mut self) -> impl Iterator<Item = &mut Closed> {
        self.digests.values_mut()
    }

    /// How many members each digest has.
    pub(super) fn digest_sizes(&self) -> Vec<(DigestId, u64)> {
        self.digests.iter().map(|(id, digest)| (*id, digest.members.len())).collect()
    }

    /// Those of these digests that have fewer members by now are not claimed before they are put together anew.
    pub(super) fn withhold_changed(&mut self, before: &[(DigestId, u64)]) {
        for (id, members) in before {
            if let Some(digest) = self.digests.get_mut(id).filter(|digest| digest.members.len() < *members) {
                (digest.is_offered, digest.has_lost) = (false, true);
            }
        }
    }

    pub(super) fn gathered(&self) -> &Bitmap {
        &self.gathered
    }
}

impl Queue {
    /// Whether nothing is claimed but what has a lane.
    pub fn sorts(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| lanes.sorts)
    }

    /// Something waits that may have no lane.
    pub(super) fn may_place(&mut self, sequence: u64) {
        if let Some(lanes) = &mut self.lanes {
            lanes.may_place(sequence);
        }
    }

    /// A delivery has left its set, and leaves its lane; but what is scheduled stays urgent.
    pub(super) fn take_out_of_lane(&mut self, sequence: u64, is_scheduled: bool) {
        if let Some(lanes) = &mut self.lanes {
            lanes.take_out(sequence, is_scheduled);
        }
    }

    /// Something is not handed out any more.
    pub(super) fn came_back(&mut self, sequence: u64) {
        self.cursor = self.cursor.min(sequence);
        self.redelivery_cursor = self.redelivery_cursor.min(sequence);
        if let Some(lanes) = &mut self.lanes {
            lanes.came_back(sequence);
        }
    }

    /// The members of each digest that is in somebody's hands.
    pub(super) fn digests_in_hand(&self) -> Vec<&Bitmap> {
        self.lanes.iter().flat_map(|lanes| lanes.in_hand()).collect()
    }

    /// Lanes, which there are from now on.
    fn lanes(&mut self) -> &mut Lanes {
        self.lanes.get_or_insert_default()
    }

    /// Where nothing is sorted and there is nothing to remember, there are none.
    pub(super) fn drop_idle_lanes(&mut self) {
        self.lanes.take_if(|lanes| lanes.is_idle());
    }

    /// Nothing is handed out any more: what is in hand has come back, and whoever had it sorts no more.
    #[cfg(test)]
    pub(super) fn forget_lanes(&mut self) {
        let Some(lanes) = &mut self.lanes else { return };
        lanes.begin(false, 0);
        lanes.is_told = false;
        for digest in lanes.digests.values_mut() {
            (digest.is_in_hand, digest.is_offered) = (false, false);
        }
        (self.cursor, self.redelivery_cursor) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
