//! Giving lanes, and taking them.

use super::*;
use crate::store::{Lane, WINDOWS_MAX};

/// What placing comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The heads that hold from now on.
    pub heads: Vec<WindowHead>,
    /// There is something to claim that was not before.
    pub has_more: bool,
}

impl Lanes {
    /// Nothing has a lane but the members of digests; what comes from a number on is new. Heads stay.
    pub(super) fn begin(&mut self, sorts: bool, arrivals_from: u64) {
        self.sorts = sorts;
        (self.urgent_only, self.have_come, self.displaces) = (false, false, false);
        self.placed = self.closed.clone();
        for set in [&mut self.urgent, &mut self.ready, &mut self.gathered, &mut self.unjudged] {
            *set = Bitmap::default();
        }
        self.urgent_due.clear();
        self.order = None;
        self.windows.values_mut().for_each(|window| window.members = Members::default());
        (self.urgent_cursor, self.ready_cursor) = (0, 0);
        self.look_again(arrivals_from);
    }

    /// All that has no lane is looked for again; what comes from a number on is new.
    fn look_again(&mut self, arrivals_from: u64) {
        self.arrivals_from = arrivals_from;
        (self.backlog_cursor, self.arrivals_cursor) = (0, arrivals_from);
    }

    /// What is scheduled or in flight is urgent, unless it has another lane. Returns whether it was not known: it may have been handed back,
    /// and who works goes on by that alone where all else waits.
    fn is_urgent_after_all(&mut self, sequence: u64, due_ms: Option<u64>, waits: bool) -> bool {
        if self.placed.contains(sequence) {
            return false;
        }
        self.urgent.insert(sequence);
        if waits {
            self.placed.insert(sequence);
        }
        self.urgent_due.extend(due_ms.map(|due_ms| (due_ms, sequence)));
        true
    }

    fn is_known(&self, key: GroupKey) -> bool {
        self.windows.contains_key(&key)
    }
}

impl Queue {
    /// The section sorts from now on, and nothing has a lane but the members of digests; or it does not, and what lay in windows is as old as
    /// this moment: so many milliseconds the store has lived through. Returns the keys of windows that are forgotten.
    pub fn sort(&mut self, sorts: bool, passed_ms: u64) -> Vec<GroupKey> {
        self.is_told = true;
        if !sorts && self.lanes.is_none() {
            return Vec::new();
        }
        let next = self.greatest().map_or(0, |greatest| greatest + 1);
        let lanes = self.lanes();
        lanes.is_told = true;
        if sorts {
            lanes.begin(true, next);
            return Vec::new();
        }
        let was_sorting = lanes.sorts;
        let gathered = std::mem::take(&mut lanes.gathered);
        let windows: Vec<GroupKey> = std::mem::take(&mut lanes.windows).into_keys().collect();
        lanes.begin(false, 0);
        if was_sorting {
            self.is_as_old_as(passed_ms, &gathered);
        } else if !windows.is_empty() {
            // What lay in them before the start was not placed again, and any of it may have been.
            let all = self.unsettled.clone();
            self.is_as_old_as(passed_ms, &all);
        }
        (self.cursor, self.redelivery_cursor) = (0, 0);
        self.drop_idle_lanes();
        windows
    }

    /// The greatest number that anything is said of.
    fn greatest(&self) -> Option<u64> {
        let sets = [&self.unsettled, &self.redeliveries].map(|set| set.previous(u64::MAX));
        let others = [self.due.keys().next_back().copied(), self.claimed.keys().next_back().copied()];
        sets.into_iter().chain(others).flatten().max()
    }

    /// Of what is scheduled or in flight it is to be said whether it is urgent. Returns whether there is any.
    pub fn look_at_attempted(&mut self) -> bool {
        let attempted: Bitmap = self.due.keys().chain(self.claimed.keys()).copied().collect();
        let Some(lanes) = self.lanes.as_mut().filter(|lanes| lanes.sorts) else { return false };
        lanes.unjudged = attempted;
        !lanes.unjudged.is_empty()
    }

    /// Some that have no lane, or some of those that are scheduled or in flight, in turn; and which of the two they are.
    pub fn look_at_some(&mut self, max: usize) -> (Vec<u64>, bool) {
        if self.is_in_order() {
            return (self.look_in_order(max), false);
        }
        let Some(lanes) = &mut self.lanes else { return Default::default() };
        lanes.is_turn_of_unjudged = !lanes.is_turn_of_unjudged;
        let of_unjudged = lanes.is_turn_of_unjudged;
        for are_attempted in [of_unjudged, !of_unjudged] {
            let found = if are_attempted { self.unjudged(max) } else { self.unplaced(max) };
            if !found.is_empty() {
                return (found, are_attempted);
            }
        }
        Default::default()
    }

    /// Some of those that are scheduled or in flight, in order.
    pub fn unjudged(&mut self, max: usize) -> Vec<u64> {
        let Self { lanes: Some(lanes), due, claimed, .. } = self else { return Vec::new() };
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for sequence in lanes.unjudged.iter_from(0) {
            if found.len() >= max {
                break;
            }
            let is_attempted = due.contains_key(&sequence) || claimed.contains_key(&sequence);
            if is_attempted { &mut found } else { &mut gone }.push(sequence);
        }
        for sequence in gone {
            lanes.unjudged.remove(sequence);
        }
        found
    }

    /// Some that have no lane: of what arrived since sorting began and of what was there before, in turn, each in order.
    pub fn unplaced(&mut self, max: usize) -> Vec<u64> {
        for _ in 0..2 {
            let Some(lanes) = self.lanes.as_mut().filter(|lanes| lanes.sorts) else { break };
            lanes.is_turn_of_backlog = !lanes.is_turn_of_backlog;
            let of_backlog = lanes.is_turn_of_backlog;
            let found = self.find_unplaced(of_backlog, max);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn find_unplaced(&mut self, of_backlog: bool, max: usize) -> Vec<u64> {
        let Self { lanes: Some(lanes), unsettled, redeliveries, claimed, .. } = self else { return Vec::new() };
        let Lanes { placed, arrivals_from, backlog_cursor, arrivals_cursor, .. } = &mut **lanes;
        let (cursor, end) = if of_backlog { (backlog_cursor, *arrivals_from) } else { (arrivals_cursor, u64::MAX) };
        let placed = [&*placed];
        let some = |set: &Bitmap| -> Vec<u64> {
            let outside = set.iter_outside_from(*cursor, &placed).take_while(|sequence| *sequence < end);
            outside.filter(|sequence| !claimed.contains_key(sequence)).take(max).collect()
        };
        let mut found = some(unsettled);
        found.extend(some(redeliveries));
        found.sort_unstable();
        found.truncate(max);
        *cursor = found.first().copied().unwrap_or(end);
        found
    }

    /// How many have no lane, where they are sorted.
    pub fn count_unplaced(&self) -> u64 {
        let Some(lanes) = self.lanes.as_ref().filter(|lanes| lanes.sorts) else { return 0 };
        let is_without = |(sequence, origin): &(&u64, &Origin)| {
            matches!(origin, Origin::Fresh) && !lanes.placed.contains(**sequence)
        };
        let in_hand = self.claimed.iter().filter(is_without).count() as u64;
        self.unsettled.len() + self.redeliveries.len() - lanes.placed.len() - in_hand
    }

    /// Whether what was there when sorting began has its lanes.
    pub fn is_backlog_placed(&mut self) -> bool {
        self.sorts() && !self.is_in_order() && self.find_unplaced(true, 1).is_empty()
    }

    /// Opens windows, or says their heads anew, and gives lanes. What has a lane, is in hand or does not wait is left alone, but for what
    /// [`unjudged`](Self::unjudged) gave.
    pub fn place(&mut self, heads: Vec<WindowHead>, placed: impl IntoIterator<Item = (u64, Lane)>) -> Placed {
        let (mut done, mut displaced) = (Placed::default(), Vec::new());
        if self.is_in_order() {
            done.has_more = self.place_in_order(placed);
            return done;
        }
        let Self { lanes: Some(lanes), unsettled, redeliveries, claimed, due, .. } = self else { return done };
        if !lanes.sorts {
            return done;
        }
        for head in heads {
            if lanes.is_known(head.key) || lanes.windows.len() < WINDOWS_MAX {
                lanes.set_head(head);
                done.heads.push(head);
            }
        }
        for (sequence, lane) in placed {
            let waits = unsettled.contains(sequence) || redeliveries.contains(sequence);
            let due_ms = due.get(&sequence).copied();
            let is_attempted = due_ms.is_some() || claimed.contains_key(&sequence);
            if lanes.unjudged.remove(sequence) && is_attempted {
                if lane == Lane::Urgent {
                    done.has_more |= lanes.is_urgent_after_all(sequence, due_ms, waits);
                } else if lanes.displaces && due_ms.is_some() && !lanes.urgent.contains(sequence) {
                    displaced.push(sequence);
                }
                continue;
            }
            if !waits || claimed.contains_key(&sequence) || !lanes.placed.insert(sequence) {
                continue;
            }
            let window = match lane {
                Lane::Window(key) => lanes.windows.get_mut(&key),
                Lane::Urgent | Lane::Ready | Lane::InOrder(_) => None,
            };
            if let Some(window) = window {
                window.members.insert(sequence);
                lanes.gathered.insert(sequence);
                continue;
            }
            done.has_more = true;
            if lane == Lane::Urgent {
                lanes.urgent.insert(sequence);
                lanes.urgent_cursor = lanes.urgent_cursor.min(sequence);
            } else {
                lanes.ready.insert(sequence);
                lanes.ready_cursor = lanes.ready_cursor.min(sequence);
            }
        }
        displaced.into_iter().for_each(|sequence| self.displace_one(sequence));
        done
    }

    /// What is ready has no lane any more, and neither has what is scheduled, which goes out anew. What is urgent stays, and so does what is
    /// [`unjudged`](Self::unjudged) until it is known that it is not. Returns whether there is anything to place.
    pub fn displace(&mut self) -> bool {
        if !self.sorts() {
            return false;
        }
        let next = self.greatest().map_or(0, |greatest| greatest + 1);
        self.take_back_ordinary();
        let scheduled: Vec<u64> = self.due.keys().copied().collect();
        let lanes = self.lanes();
        lanes.displaces = !lanes.unjudged.is_empty();
        let is_ordinary = |sequence: &u64| !lanes.urgent.contains(*sequence) && !lanes.unjudged.contains(*sequence);
        let ordinary: Vec<u64> = scheduled.into_iter().filter(is_ordinary).collect();
        ordinary.into_iter().for_each(|sequence| self.displace_one(sequence));
        let lanes = self.lanes();
        let ready = std::mem::take(&mut lanes.ready);
        lanes.placed.remove_all(&ready);
        lanes.look_again(next);
        self.count_unplaced() > 0
    }

    fn displace_one(&mut self, sequence: u64) {
        self.take_scheduled(sequence);
        self.redeliveries.insert(sequence);
        self.may_place(sequence);
    }

    /// What was handed back and is neither urgent nor a digest waits where it was.
    fn take_back_ordinary(&mut self) {
        let returned = std::mem::take(&mut self.returned);
        let urgent = &self.lanes().urgent;
        let is_kept = |claim: &Claim| claim.digest.is_some() || urgent.contains(claim.key.sequence);
        let (kept, ordinary) = returned.into_iter().partition(is_kept);
        self.returned = ordinary;
        self.take_back_returned();
        self.returned = kept;
    }

    /// These, as far as they wait, are as old as this moment, whatever was said before.
    pub fn is_as_old_as(&mut self, passed_ms: u64, sequences: &Bitmap) {
        let [mut waiting, mut again] = [sequences.clone(), sequences.clone()];
        waiting.keep_within(&self.unsettled);
        again.keep_within(&self.redeliveries);
        waiting.insert_all(&again);
        if !waiting.is_empty() {
            self.let_go.values_mut().for_each(|set| set.remove_all(&waiting));
            self.forget_let_go();
            self.let_go.entry(passed_ms).or_default().insert_all(&waiting);
        }
    }
}
