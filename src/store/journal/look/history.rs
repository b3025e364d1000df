//! The history, page by page.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::EventId;
use crate::store::journal::segments::{Window, events_in};
use crate::store::journal::words::ReadError;
use crate::store::journal::{Journal, LAG_READ_BYTES};
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::{Cursor, EventQuery, Order, Page, StoreError, StoredEvent};

/// Bytes of bodies on one page of events, and one more.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Events looked at for one page: those of another time must not hold it up.
const PAGE_LOOKED_AT_MAX: u64 = 16_384;
/// Events read backwards in one step.
const STEP: u64 = 512;

impl Journal {
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

    /// Some events by their ids, and how many of the ids were looked at.
    pub fn events_of(&self, ids: &[EventId]) -> Result<(Vec<Arc<StoredEvent>>, usize), StoreError> {
        let mut room = PageRoom::new(ids.len());
        for (nth, id) in ids.iter().enumerate() {
            if room.is_full() {
                return Ok((room.items, nth));
            }
            match self.event_by_number(id.sequence()) {
                Ok(event) if event.id == *id => room.put(event),
                // The number is another event's: of this journal, and the id of another's.
                Ok(_) | Err(ReadError::Missing | ReadError::Erased(_)) => {}
                Err(ReadError::Damaged(why)) => {
                    tracing::warn!(event = %id, why, "an event that was asked for is passed over");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((room.items, ids.len()))
    }

    pub(super) fn newest_first(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        let journal = self.number;
        let history = self.history();
        let [mut below, least] = match after {
            Some(cursor) => numbers_of(cursor, List::NewestFirst, journal)?,
            None => {
                let until = if query.until_ms < u64::MAX { self.first_since(query.until_ms)? } else { history.end };
                [until, self.begins_at(query)?]
            }
        };
        below = below.min(history.end);
        let least = least.max(history.start);
        let mut room = PageRoom::new(max);
        let end = below;
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

    pub(super) fn oldest_first(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        let journal = self.number;
        let history = self.history();
        let [at, end] = match after {
            Some(cursor) => numbers_of(cursor, List::OldestFirst, journal)?,
            // By the wall clock, which may have been set back: what arrived before `until` may lie anywhere behind.
            None => [self.begins_at(query)?, history.end],
        };
        let mut at = at.max(history.start);
        let end = end.min(history.end);
        let mut room = PageRoom::new(max);
        let start = at;
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
    pub(super) fn begins_at(&self, query: &EventQuery) -> Result<u64, ReadError> {
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
            let found =
                events_in(heads).find(|(head, _, is_relocated)| !is_relocated && head.id.received_ms() >= at_ms);
            if let Some((head, ..)) = found {
                return Ok(head.id.sequence().max(history.start));
            }
        }
        Ok(history.end)
    }

    pub fn scan(&self, range: Range<u64>, visit: &mut dyn FnMut(StoredEvent) -> bool) -> Result<(), ReadError> {
        // What is written but not synced yet is nobody's business.
        let end = range.end.min(self.history().end);
        let from = range.start.max(self.segments.history_start());
        let Some(mut scan) = self.segments.scan_from(from) else { return Ok(()) };
        let mut window = Window::new(4 * LAG_READ_BYTES);
        while let Some(group) = scan.next_group(&mut window)? {
            if group.head.events > 0 && group.head.first_sequence >= end {
                return Ok(());
            }
            let heads: Vec<_> = events_in(window.heads(&group.file, group.offset, &group.head)?).collect();
            for (head, body_offset, is_relocated) in heads {
                let sequence = head.id.sequence();
                if is_relocated || sequence < from || sequence >= end {
                    continue;
                }
                match window.read_body(&group, head, body_offset) {
                    Ok(event) => {
                        if !visit(event) {
                            return Ok(());
                        }
                    }
                    // It is of the history no more, as is what was let go.
                    Err(ReadError::Erased(_)) => {}
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

    fn put(&mut self, event: Arc<StoredEvent>) {
        self.bytes += event.body.len();
        self.items.push(event);
    }

    /// Adds an event, if its time is asked for.
    fn add(&mut self, query: &EventQuery, event: StoredEvent) {
        if (query.since_ms..query.until_ms).contains(&event.received_ms) {
            self.put(Arc::new(event));
        }
    }
}
