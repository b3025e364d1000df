//! Going in order: of each key the head may be claimed, and what is behind waits for it.
//!
//! A line is a head and what is behind it. The head is ready, scheduled or in flight; what is behind lies in its set, is in no other lane, and
//! is never scheduled: where it was, it goes out anew. It is in flight only where it was before it was known that anything is ahead of it.

use super::*;
use crate::store::{IN_ORDER_AHEAD, Lane, OrderKey};

/// Where so many fewer could go out than [`IN_ORDER_AHEAD`], more are looked at: some at a time, and not one for each that goes.
const LOOKED_AGAIN_BELOW: usize = IN_ORDER_AHEAD - IN_ORDER_AHEAD / 4;

/// What goes in order.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    lines: BTreeMap<OrderKey, Line>,
    /// The head of each line.
    heads: BTreeMap<u64, OrderKey>,
    /// All that is behind some head.
    behind: Bitmap,
    /// What of it is in flight.
    behind_in_flight: BTreeSet<u64>,
    /// Heads that were behind others before. Of what is scheduled or in flight a part is in it as well.
    followed: BTreeSet<u64>,
    /// All that was looked at and is not settled.
    looked: Bitmap,
    /// All that waits below this was looked at.
    cursor: u64,
    /// What is scheduled and may be claimed, by when it is due.
    due: BTreeSet<(u64, u64)>,
    /// So much could go out that no more was looked at.
    has_stopped: bool,
    news: News,
}

#[derive(Debug)]
struct Line {
    head: u64,
    behind: Members,
}

/// What has changed since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Something may be claimed that was behind another.
    pub has_more: bool,
    /// Something is to be looked at that was not.
    pub is_to_look: bool,
}

impl InOrder {
    pub(super) fn may_place(&mut self, sequence: u64) {
        self.cursor = self.cursor.min(sequence);
    }

    /// Something is in flight no more, which may not have been looked at while it was.
    pub(super) fn came_back(&mut self, sequence: u64) {
        self.news.is_to_look |= !self.looked.contains(sequence);
    }

    pub(super) fn note_scheduled(&mut self, due_ms: u64, sequence: u64) {
        if self.looked.contains(sequence) {
            self.due.insert((due_ms, sequence));
        } else {
            self.may_place(sequence);
            self.news.is_to_look = true;
        }
    }

    pub(super) fn note_unscheduled(&mut self, due_ms: u64, sequence: u64) {
        self.due.remove(&(due_ms, sequence));
    }

    /// What is due first of what may be claimed then.
    pub(super) fn first_due(&self) -> Option<(u64, u64)> {
        self.due.first().copied()
    }

    pub(super) fn count_due(&self) -> usize {
        self.due.len()
    }

    /// Who goes next behind a head: who is in flight already, else the first.
    fn next_of(&self, line: &Line) -> Option<u64> {
        let in_flight = self.behind_in_flight.iter().copied().find(|sequence| line.behind.contains(*sequence));
        in_flight.or_else(|| line.behind.first())
    }

    /// The key of a line that something is behind in.
    fn key_behind(&self, sequence: u64) -> Option<OrderKey> {
        if !self.behind.contains(sequence) {
            return None;
        }
        self.lines.iter().find(|(_, line)| line.behind.contains(sequence)).map(|(key, _)| *key)
    }
}

impl Lanes {
    /// Something in order is settled for good, or elsewhere.
    pub(super) fn leave_order(&mut self, sequence: u64) {
        let Some(order) = &mut self.order else { return };
        order.looked.remove(sequence);
        order.followed.remove(&sequence);
        if let Some(key) = order.heads.remove(&sequence) {
            return self.lead(key);
        }
        if let Some(key) = order.key_behind(sequence) {
            order.behind.remove(sequence);
            order.behind_in_flight.remove(&sequence);
            order.lines.get_mut(&key).map(|line| line.behind.remove(sequence));
        }
    }

    /// The same of many.
    pub(super) fn leave_order_all(&mut self, sequences: &Bitmap) {
        let Some(order) = &mut self.order else { return };
        order.looked.remove_all(sequences);
        order.followed.retain(|sequence| !sequences.contains(*sequence));
        if !order.behind.is_apart_from(sequences) {
            order.behind.remove_all(sequences);
            order.lines.values_mut().for_each(|line| line.behind.remove_all(sequences));
        }
        let gone: Vec<(u64, OrderKey)> = order
            .heads
            .iter()
            .filter(|(head, _)| sequences.contains(**head))
            .map(|(head, key)| (*head, *key))
            .collect();
        for (head, key) in gone {
            self.order.as_mut().map(|order| order.heads.remove(&head));
            self.lead(key);
        }
    }

    /// A line has no head any more: the next of it is, or it is forgotten.
    fn lead(&mut self, key: OrderKey) {
        let Some(order) = &mut self.order else { return };
        let Some(next) = order.lines.get(&key).and_then(|line| order.next_of(line)) else {
            order.lines.remove(&key);
            return;
        };
        if let Some(line) = order.lines.get_mut(&key) {
            line.behind.remove(next);
            line.head = next;
        }
        order.heads.insert(next, key);
        order.behind.remove(next);
        let is_in_flight = order.behind_in_flight.remove(&next);
        order.news.has_more |= !is_in_flight;
        if self.placed.contains(next) {
            self.ready.insert(next);
            self.ready_cursor = self.ready_cursor.min(next);
            order.followed.insert(next);
        }
    }

    /// When the next thing that goes in order is due.
    pub(super) fn next_in_order(&self) -> Option<Option<u64>> {
        self.order.as_ref().map(|order| order.first_due().map(|(due_ms, _)| due_ms))
    }
}

impl Queue {
    /// The section goes in order from now on, and nothing has a lane but the members of digests. What lay in windows is as old as this moment:
    /// so many milliseconds the store has lived through. Returns the keys of windows that are forgotten.
    pub fn sort_in_order(&mut self, passed_ms: u64) -> Vec<GroupKey> {
        // With whatever waits in front of what has no place yet, nothing may be handed out again first.
        self.take_back_returned();
        self.is_told = true;
        let lanes = self.lanes();
        lanes.is_told = true;
        let gathered = std::mem::take(&mut lanes.gathered);
        let windows: Vec<GroupKey> = std::mem::take(&mut lanes.windows).into_keys().collect();
        lanes.begin(true, 0);
        lanes.order = Some(Box::default());
        self.is_as_old_as(passed_ms, &gathered);
        windows
    }

    /// Whether of each key one goes after the other.
    pub fn is_in_order(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| lanes.order.is_some())
    }

    /// Whether it is in order, or may be found to be once its worker says what its section does.
    pub fn may_be_in_order(&self) -> bool {
        !self.is_told || self.is_in_order()
    }

    /// Whether something may be claimed that has waited behind another.
    pub(in super::super) fn has_followed(&self) -> bool {
        let Some(Lanes { order: Some(order), ready, .. }) = self.lanes.as_deref() else { return false };
        order.followed.iter().any(|sequence| ready.contains(*sequence) && !self.claimed.contains_key(sequence))
    }

    /// How many keys something is known to wait of, and how many deliveries wait behind others.
    pub fn in_order(&self) -> (u64, u64) {
        let order = self.lanes.as_ref().and_then(|lanes| lanes.order.as_ref());
        order.map_or((0, 0), |order| (order.lines.len() as u64, order.behind.len()))
    }

    /// Whether one waits behind another of its key.
    pub fn is_behind(&self, sequence: u64) -> bool {
        let order = self.lanes.as_ref().and_then(|lanes| lanes.order.as_ref());
        order.is_some_and(|order| order.behind.contains(sequence))
    }

    /// The delivery that one waits for, as far as that is known. Looks through the keys that something waits of.
    pub fn earlier_than(&self, sequence: u64) -> Option<u64> {
        let order = self.lanes.as_ref()?.order.as_ref()?;
        let key = order.key_behind(sequence)?;
        order.lines.get(&key).map(|line| line.head)
    }

    /// What has changed since this was asked last; `None` where nothing goes in order.
    pub fn news_of_order(&mut self) -> Option<News> {
        let lanes = self.lanes.as_mut()?;
        let ready = lanes.ready.len() as usize;
        let order = lanes.order.as_mut()?;
        let mut news = std::mem::take(&mut order.news);
        news.is_to_look |= order.has_stopped && ready < LOOKED_AGAIN_BELOW;
        Some(news)
    }

    /// Some that were not looked at: what is in flight, so that nothing goes beside it, and then the rest in the order of their numbers, wherever
    /// they are; none where enough could go out.
    pub(super) fn look_in_order(&mut self, max: usize) -> Vec<u64> {
        let Self { lanes: Some(lanes), unsettled, redeliveries, due, claimed, .. } = self else { return Vec::new() };
        let Lanes { order: Some(order), ready, closed, .. } = &mut **lanes else { return Vec::new() };
        order.has_stopped = ready.len() >= IN_ORDER_AHEAD as u64;
        if order.has_stopped {
            return Vec::new();
        }
        let is_new = |sequence: &u64| !order.looked.contains(*sequence);
        let in_flight: Vec<u64> = claimed.keys().copied().filter(is_new).take(max).collect();
        if !in_flight.is_empty() {
            return in_flight;
        }
        let cursor = order.cursor;
        let others = [&order.looked, &*closed];
        let mut found: Vec<u64> = unsettled.iter_outside_from(cursor, &others).take(max).collect();
        found.extend(redeliveries.iter_outside_from(cursor, &others).take(max));
        found.extend(due.range(cursor..).map(|(sequence, _)| *sequence).filter(is_new).take(max));
        found.sort_unstable();
        found.dedup();
        found.truncate(max);
        order.cursor = found.first().copied().unwrap_or(u64::MAX);
        found
    }

    /// Gives deliveries their places in their lines. Returns whether something may be claimed that might not before.
    pub(super) fn place_in_order(&mut self, placed: impl IntoIterator<Item = (u64, Lane)>) -> bool {
        for (sequence, lane) in placed {
            let is_in_flight = self.claimed.contains_key(&sequence);
            let waits = self.unsettled.contains(sequence) || self.redeliveries.contains(sequence);
            let Some(Lanes { order: Some(order), placed, closed, .. }) = self.lanes.as_deref_mut() else {
                return false;
            };
            let is_there = waits || is_in_flight || self.due.contains_key(&sequence);
            if !is_there || closed.contains(sequence) || !order.looked.insert(sequence) {
                continue;
            }
            if waits {
                placed.insert(sequence);
            }
            let Lane::InOrder(key) = lane else {
                self.let_out(sequence);
                continue;
            };
            let Some(line) = order.lines.get(&key) else {
                order.lines.insert(key, Line { head: sequence, behind: Members::default() });
                order.heads.insert(sequence, key);
                self.let_out(sequence);
                continue;
            };
            let head = line.head;
            if !self.claimed.contains_key(&head) && (is_in_flight || sequence < head) {
                self.fall_behind(head, key);
                self.lanes().be_head(sequence, key);
                self.let_out(sequence);
            } else {
                self.fall_behind(sequence, key);
            }
        }
        let order = self.lanes.as_mut().and_then(|lanes| lanes.order.as_mut());
        order.is_some_and(|order| std::mem::take(&mut order.news.has_more))
    }

    /// Something that was looked at may be claimed, now or when it is due.
    fn let_out(&mut self, sequence: u64) {
        let due_ms = self.due.get(&sequence).copied();
        let lanes = self.lanes();
        if lanes.placed.contains(sequence) {
            lanes.ready.insert(sequence);
            lanes.ready_cursor = lanes.ready_cursor.min(sequence);
        }
        if let Some(order) = &mut lanes.order {
            order.due.extend(due_ms.map(|due_ms| (due_ms, sequence)));
            order.news.has_more = true;
        }
    }

    /// Something is behind a head. Where it was scheduled it goes out anew.
    fn fall_behind(&mut self, sequence: u64, key: OrderKey) {
        let is_in_flight = self.claimed.contains_key(&sequence);
        let lanes = self.lanes();
        lanes.ready.remove(sequence);
        if let Some(order) = &mut lanes.order {
            order.heads.remove(&sequence);
            order.behind.insert(sequence);
            order.lines.get_mut(&key).map(|line| line.behind.insert(sequence));
            if is_in_flight {
                order.behind_in_flight.insert(sequence);
            }
        }
        self.go_out_anew(sequence);
    }

    /// What is scheduled is not any more, and goes out without the attempts that were made.
    fn go_out_anew(&mut self, sequence: u64) {
        if self.take_scheduled(sequence).is_some() {
            self.redeliveries.insert(sequence);
            self.lanes().placed.insert(sequence);
        }
    }

    /// Something in order is in flight no more and not settled: another may go before it now.
    pub(in super::super) fn keep_order(&mut self, sequence: u64) {
        let Some(order) = self.lanes.as_mut().and_then(|lanes| lanes.order.as_mut()) else { return };
        if order.behind_in_flight.remove(&sequence) {
            return self.go_out_anew(sequence);
        }
        let Some(key) = order.heads.get(&sequence).copied() else { return };
        let next = order.lines.get(&key).and_then(|line| order.next_of(line));
        if next.is_some_and(|next| next < sequence || order.behind_in_flight.contains(&next)) {
            self.fall_behind(sequence, key);
            self.lanes().lead(key);
        }
    }
}

impl Lanes {
    fn be_head(&mut self, sequence: u64, key: OrderKey) {
        let Some(order) = &mut self.order else { return };
        order.heads.insert(sequence, key);
        if let Some(line) = order.lines.get_mut(&key) {
            line.head = sequence;
        }
    }
}

#[cfg(test)]
mod tests;
