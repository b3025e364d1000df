//! Reading for people: one event and what became of it, pages of dead letters, stretches of the history, counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bitmap::Bitmap;
use super::cursor::{List, cursor, numbers_of};
use super::index::Letter;
use super::retention::resolve;
use super::segments::{Window, events_in, read_body};
use super::shared::{Destination, Shared};
use super::{JournalStore, LAG_READ_BYTES, lock, reading};
use crate::event::EventId;
use crate::store::{
    AllCounts, Answer, Counts, Cursor, DeadLetter, DeadQuery, DeliveryKey, DeliveryState, DeliveryView, EventQuery,
    EventView, Looking, NameId, NameKind, Order, Page, PlannedDelivery, ReadError, SearchLimit, States, StoreError,
    StoredEvent, Usage, Which,
};

/// Dead letters looked at for one page: a filter that finds little must not hold the index up.
const LOOKED_AT_MAX: usize = 10_000;
/// So many of them are asked for together: many may stand in one row of the index.
const LOOKED_AT_ONCE: usize = 250;
/// Bytes of bodies on one page of events, and one more.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Events looked at for one page: those of another time must not hold it up.
const PAGE_LOOKED_AT_MAX: u64 = 16_384;
/// Events read backwards in one step.
const STEP: u64 = 512;

impl Looking for JournalStore {
    fn event(&self, id: EventId) -> Answer<'_, EventView> {
        self.aside(move |shared| Ok(shared.event(id)?))
    }

    fn events(&self, query: &EventQuery, after: Option<&Cursor>, max: usize) -> Answer<'_, Page<Arc<StoredEvent>>> {
        let (query, after) = (*query, after.cloned());
        self.aside(move |shared| shared.events(&query, after.as_ref(), max))
    }

    fn states(&self, events: Vec<Arc<StoredEvent>>, mut limit: SearchLimit) -> Answer<'_, (Vec<States>, SearchLimit)> {
        self.aside(move |shared| {
            let states = shared.states(&events, &mut limit)?;
            Ok((states, limit))
        })
    }

    fn dead_letters(
        &self,
        of: Vec<NameId>,
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Answer<'_, Page<DeadLetter>> {
        let (query, after) = (query.clone(), after.cloned());
        self.aside(move |shared| shared.dead_letters(&of, &query, after.as_ref(), max))
    }

    fn counts(&self) -> Answer<'_, AllCounts> {
        self.aside(|shared| Ok(shared.all_counts()))
    }

    fn how_many(&self, of: NameId, which: Which) -> Answer<'_, u64> {
        self.aside(move |shared| shared.how_many(of, &which))
    }
}

impl Shared {
    pub fn event_by_number(&self, sequence: u64) -> Result<Arc<StoredEvent>, ReadError> {
        if let Some(event) = lock(&self.recent).get(sequence) {
            return Ok(event);
        }
        self.read_anywhere(sequence, &mut Window::new(LAG_READ_BYTES)).map(Arc::new)
    }

    /// One event, with all that is known of its deliveries.
    pub fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        let sequence = id.sequence();
        let event = self.event_by_number(sequence)?;
        if event.id != id {
            return Err(ReadError::Missing);
        }
        self.index.flush();
        let states = self.states(std::slice::from_ref(&event), &mut SearchLimit::whole())?;
        let view = |(planned, state): (PlannedDelivery, DeliveryState)| {
            let key = DeliveryKey { sequence, destination: planned.destination };
            let attempts = self.index.read().notes(&key).map_err(unreadable)?;
            Ok(DeliveryView { planned, state, attempts })
        };
        let deliveries = states.into_iter().flatten().map(view).collect::<Result<_, ReadError>>()?;
        Ok(EventView { event, deliveries })
    }

    /// Where a delivery stands as far as memory knows: [`DeliveryState::Settled`] for what ended a while ago, and none for a dead letter
    /// of which only the index knows more.
    pub fn state_in_memory(&self, key: &DeliveryKey) -> Option<DeliveryState> {
        let destination = self.destination(key.destination);
        let queue = lock(&destination.queue);
        if let Some(state) = queue.state(key.sequence) {
            return Some(state);
        }
        let is_dead = queue.is_dead(key.sequence);
        drop(queue);
        if let Some(recent) = lock(&self.outcomes).get(key)
            && matches!(recent, DeliveryState::Dead { .. }) == is_dead
        {
            return Some(recent);
        }
        if !is_dead {
            return Some(DeliveryState::Settled);
        }
        let (attempts, at_ms, reason) = self.just_died(key)?;
        Some(DeliveryState::Dead { attempts, at_ms, reason })
    }

    /// What is known of some of a destination's dead letters, by what the index says and what memory still has.
    pub fn letters(&self, destination: NameId, sequences: &BTreeSet<u64>) -> Result<HashMap<u64, Letter>, ReadError> {
        let mut letters = self.index.read().dead_letters(destination, sequences.iter().copied()).map_err(unreadable)?;
        for sequence in sequences {
            let (sequence, key) = (*sequence, DeliveryKey { sequence: *sequence, destination });
            if let Some((attempts, at_ms, reason)) = self.just_died(&key) {
                letters.insert(sequence, Letter { sequence, destination, attempts, at_ms, reason });
            }
        }
        Ok(letters)
    }

    /// One page of the dead letters of some destinations, newest event first. Looks at a bounded number of them.
    pub fn dead_letters(
        &self,
        of: &[NameId],
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<DeadLetter>, StoreError> {
        self.index.flush();
        let after = after.map(|cursor| numbers_of(cursor, List::DeadLetters, self.journal)).transpose()?;
        let mut at = after.map_or((u64::MAX, NameId::NONE), |[number, id]| (number, NameId(id as u32)));
        let of_these = query.events.as_ref().map(|events| self.numbers(events).collect::<BTreeSet<u64>>());
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while looked_at < LOOKED_AT_MAX {
            let keys = self.dead_below(of, at);
            if keys.is_empty() {
                break;
            }
            looked_at += keys.len();
            let letters = self.letters_of(&keys)?;
            for key in keys {
                if found.len() == max {
                    break;
                }
                at = (key.sequence, key.destination);
                let letter = letters.get(&key).cloned().unwrap_or_else(|| unexplained(key.sequence, key.destination));
                let is_meant = of_these.as_ref().is_none_or(|numbers| numbers.contains(&key.sequence));
                if is_meant && query.holds(letter.at_ms, &letter.reason) {
                    found.push(letter);
                }
            }
            if found.len() == max {
                break;
            }
        }
        let event = |sequence| self.event_by_number(sequence).map_err(StoreError::from);
        let items = found.into_iter().map(|Letter { sequence, destination, attempts, at_ms, reason }| DeadLetter {
            event: event(sequence),
            destination,
            attempts,
            at_ms,
            reason,
        });
        let items = items.collect();
        let left = of.iter().map(|id| lock(&self.destination(*id).queue).dead().len()).sum();
        let is_over = self.dead_below(of, at).is_empty();
        let next = (!is_over).then(|| cursor(List::DeadLetters, self.journal, [at.0, at.1.0.into()]));
        Ok(Page { items, next, left })
    }

    /// Some dead letters of some destinations behind one of them, newest event first and then by destination.
    fn dead_below(&self, of: &[NameId], (number, id): (u64, NameId)) -> Vec<DeliveryKey> {
        let (mut keys, mut horizon) = (Vec::new(), 0);
        for destination in of {
            let below = if *destination > id { number.saturating_add(1) } else { number };
            let shared = self.destination(*destination);
            let queue = lock(&shared.queue);
            let older = |below: u64| queue.dead().previous(below);
            let some: Vec<u64> =
                std::iter::successors(older(below), |below| older(*below)).take(LOOKED_AT_ONCE).collect();
            if let Some(last) = some.last().filter(|_| some.len() == LOOKED_AT_ONCE) {
                // What is below it is not known of this destination.
                horizon = horizon.max(*last);
            }
            keys.extend(some.into_iter().map(|sequence| DeliveryKey { sequence, destination: *destination }));
        }
        keys.retain(|key| key.sequence >= horizon);
        keys.sort_by_key(|key| (std::cmp::Reverse(key.sequence), key.destination));
        keys
    }

    /// What is known of some dead letters of several destinations.
    fn letters_of(&self, keys: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, Letter>, ReadError> {
        let mut by_destination: BTreeMap<NameId, BTreeSet<u64>> = BTreeMap::new();
        for key in keys {
            by_destination.entry(key.destination).or_default().insert(key.sequence);
        }
        let mut all = HashMap::new();
        for (destination, sequences) in by_destination {
            let letters = self.letters(destination, &sequences)?;
            all.extend(letters.into_iter().map(|(sequence, letter)| (DeliveryKey { sequence, destination }, letter)));
        }
        Ok(all)
    }

    /// One page of the history.
    pub fn events(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        match query.order {
            Order::NewestFirst => self.newest_first(query, after, max),
            Order::OldestFirst => self.oldest_first(query, after, max),
        }
    }

    fn newest_first(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        let (journal, history) = (self.journal, self.history());
        let [mut below, least] = match after {
            Some(cursor) => numbers_of(cursor, List::NewestFirst, journal)?,
            None => {
                let until = if query.until_ms < u64::MAX { self.first_since(query.until_ms)? } else { history.end };
                [until, self.begins_at(query)?]
            }
        };
        below = below.min(history.end);
        let least = least.max(history.start);
        let (mut room, end) = (PageRoom::new(max), below);
        while below > least && !room.is_full() && end - below < PAGE_LOOKED_AT_MAX {
            let start = below.saturating_sub(STEP.min(max as u64)).max(least);
            let mut step = Vec::new();
            self.scan(start..below, &mut |event| {
                step.push(event);
                true
            })?;
            for event in step.into_iter().rev() {
                if room.is_full() {
                    break;
                }
                below = event.id.sequence();
                room.add(query, event);
            }
            if !room.is_full() {
                below = start;
            }
        }
        let left = below.saturating_sub(least);
        let next = (left > 0).then(|| cursor(List::NewestFirst, journal, [below, least]));
        Ok(Page { items: room.items, next, left })
    }

    fn oldest_first(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        let (journal, history) = (self.journal, self.history());
        let [at, end] = match after {
            Some(cursor) => numbers_of(cursor, List::OldestFirst, journal)?,
            // By the wall clock, which may have been set back: what arrived before `until` may lie anywhere behind.
            None => [self.begins_at(query)?, history.end],
        };
        let (mut at, end) = (at.max(history.start), end.min(history.end));
        let (mut room, start) = (PageRoom::new(max), at);
        if max > 0 && at < end {
            let mut is_cut = false;
            self.scan(at..end, &mut |event| {
                at = event.id.sequence() + 1;
                room.add(query, event);
                is_cut = room.is_full() || at - start >= PAGE_LOOKED_AT_MAX;
                !is_cut
            })?;
            at = if is_cut { at } else { end };
        }
        let left = end.saturating_sub(at);
        let next = (left > 0).then(|| cursor(List::OldestFirst, journal, [at, end]));
        Ok(Page { items: room.items, next, left })
    }

    /// The number of the first event that a list may have.
    fn begins_at(&self, query: &EventQuery) -> Result<u64, ReadError> {
        let history = self.history();
        let since = if query.since_ms > 0 { self.first_since(query.since_ms)? } else { history.start };
        let last = query.last.map_or(0, |last| history.end.saturating_sub(last));
        Ok(since.max(last).clamp(history.start, history.end))
    }

    pub fn history(&self) -> Range<u64> {
        let end = self.next_sequence.load(Ordering::Acquire);
        self.segments.history_start().min(end)..end
    }

    pub fn first_since(&self, at_ms: u64) -> Result<u64, ReadError> {
        let history = self.history();
        let list = self.segments.outline();
        // Segments are stamped by the wall clock, as arrivals are. Where it was set back a later segment may look older; what is
        // looked for lies no earlier than in the last one before the first that looks younger.
        let younger = list.iter().position(|info| info.created_ms > at_ms);
        let at = younger.unwrap_or(list.len()).saturating_sub(1);
        let from = list.get(at).map_or(history.start, |info| info.first_sequence);
        let Some(mut scan) = self.segments.scan_from(from) else { return Ok(history.end) };
        let mut window = Window::new(LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            let heads = window.heads(&group.file, group.offset, &group.head)?;
            let found = events_in(heads).find(|(head, _, is_carried)| !is_carried && head.id.received_ms() >= at_ms);
            if let Some((head, ..)) = found {
                return Ok(head.id.sequence().max(history.start));
            }
        }
        Ok(history.end)
    }

    pub fn scan(&self, stretch: Range<u64>, visit: &mut dyn FnMut(StoredEvent) -> bool) -> Result<(), ReadError> {
        // What is written but not synced yet is nobody's business.
        let end = stretch.end.min(self.history().end);
        let from = stretch.start.max(self.segments.history_start());
        let Some(mut scan) = self.segments.scan_from(from) else { return Ok(()) };
        let mut window = Window::new(4 * LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            if group.head.events > 0 && group.head.first_sequence >= end {
                return Ok(());
            }
            let heads: Vec<_> = events_in(window.heads(&group.file, group.offset, &group.head)?).collect();
            for (head, body_offset, is_carried) in heads {
                let sequence = head.id.sequence();
                if is_carried || sequence < from || sequence >= end {
                    continue;
                }
                match read_body(&group, head, body_offset, &window) {
                    Ok(event) => {
                        if !visit(event) {
                            return Ok(());
                        }
                    }
                    // It was told when the journal was opened, or is by who needs it.
                    Err(ReadError::Damaged(why)) => {
                        tracing::warn!(sequence, why, "an event of the history is passed over")
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What waits, wherever. May read the disk for the age of the oldest.
    pub fn all_counts(&self) -> AllCounts {
        let names = reading(&self.names).shown();
        let destinations = names.of_kind(NameKind::Destination).into_iter().map(|(id, _)| self.counts(id)).collect();
        let sources = self.sources.borrow().clone();
        let holds = sources.iter().filter(|(_, standing)| standing.held_since_ms.is_some());
        AllCounts { destinations, held: holds.map(|(id, _)| (*id, self.held(*id))).collect() }
    }

    /// How many events of a source are held.
    pub fn held(&self, source: NameId) -> u64 {
        let mut all = Bitmap::default();
        for id in self.destination_ids() {
            if let Some(held) = lock(&self.destination(id).queue).held(source) {
                all.insert_all(held);
            }
        }
        all.len()
    }

    /// What waits for a destination.
    pub fn counts(&self, id: NameId) -> Counts {
        let destination = self.destination(id);
        let queue = lock(&destination.queue);
        let (pinning, limited, oldest) = (queue.oldest_pinning(), queue.oldest_never_held(), queue.oldest());
        let counts = Counts {
            destination: id,
            backlog: queue.backlog(),
            postponed: queue.postponed() as u64,
            again: queue.again(),
            under_way: queue.under_way() as u64,
            held: queue.held_in_all(),
            dead: queue.dead().len(),
            standing: queue.standing().clone(),
            ..Counts::default()
        };
        drop(queue);
        let bytes_from = |sequence| self.segments.bytes_from(sequence);
        Counts {
            backlog_bytes: pinning.map_or(0, bytes_from),
            limited_bytes: limited.map_or(0, bytes_from),
            oldest_ms: oldest.and_then(|sequence| self.arrived_ms(&destination, sequence)),
            ..counts
        }
    }

    /// When an event arrived that waits for a destination. The oldest is asked for again and again, and stays so for long where that lags.
    fn arrived_ms(&self, destination: &Destination, sequence: u64) -> Option<u64> {
        let mut known = lock(&destination.oldest);
        if let Some((_, at_ms)) = known.filter(|(number, _)| *number == sequence) {
            return Some(at_ms);
        }
        let recent = lock(&self.recent).get(sequence).map(|event| event.received_ms);
        let from_disk = || self.read_anywhere(sequence, &mut Window::new(4 << 10)).ok();
        let at_ms = recent.or_else(|| from_disk().map(|event| event.received_ms))?;
        *known = Some((sequence, at_ms));
        Some(at_ms)
    }

    pub fn usage(&self) -> Usage {
        let retention = *lock(&self.retention);
        let space = self.disk.space();
        let resolved = resolve(&retention, space.map(|space| space.total));
        let (journal_bytes, index_bytes) = (self.segments.bytes(), self.index.bytes());
        let history = self.history();
        let oldest = (!history.is_empty()).then(|| self.segments.read(history.start, &mut Window::new(4 << 10)).ok());
        Usage {
            bytes: journal_bytes + index_bytes,
            bytes_max: retention.bytes_max.unwrap_or(0),
            journal_bytes,
            history_bytes_max: resolved.history_bytes,
            index_bytes,
            dead_bytes: self.index.read().carried_bytes().ok(),
            dead_bytes_max: resolved.dead_bytes,
            free_bytes: space.map(|space| space.free),
            free_bytes_min: resolved.free_bytes_min,
            oldest_ms: oldest.flatten().map(|event| event.received_ms),
            events: history.end - history.start,
            dead_expired: self.dead_expired.load(Ordering::Relaxed),
            segments: self.segments.outline().len() as u64,
        }
    }
}

/// The index cannot be read, which is not the same as knowing nothing.
pub fn unreadable(error: rusqlite::Error) -> ReadError {
    ReadError::Io(std::io::Error::other(format!("the index: {error}")))
}

/// A page that is being filled.
struct PageRoom {
    items: Vec<Arc<StoredEvent>>,
    max: usize,
    bytes: usize,
}

impl PageRoom {
    fn new(max: usize) -> Self {
        Self { items: Vec::new(), max, bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.max || self.bytes >= PAGE_BYTES_MAX
    }

    /// Adds an event, if its time is asked for.
    fn add(&mut self, query: &EventQuery, event: StoredEvent) {
        if (query.since_ms..query.until_ms).contains(&event.received_ms) {
            self.bytes += event.body.len();
            self.items.push(Arc::new(event));
        }
    }
}

/// A dead letter of which nobody knows more.
fn unexplained(sequence: u64, destination: NameId) -> Letter {
    let reason = "the reason is not known any more: the index was lost".to_owned();
    Letter { sequence, destination, attempts: 0, at_ms: 0, reason }
}

/// What it is as a state.
pub fn unexplained_death() -> DeliveryState {
    died(unexplained(0, NameId::NONE))
}

/// A dead letter as a state.
pub fn died(Letter { attempts, at_ms, reason, .. }: Letter) -> DeliveryState {
    DeliveryState::Dead { attempts, at_ms, reason }
}
