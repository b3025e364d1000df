//! Reading for people: one event and what became of it, pages of dead letters, ranges of the history, counts.
//!
//! [`history`], [`dead`]: the pages. [`counts`]: how much waits, and how much room it takes.

mod counts;
mod dead;
mod history;

use std::sync::Arc;

use self::dead::COUNTED_MAX;
use super::segments::Window;
use super::words::{ReadError, unreadable};
use super::{Journal, JournalStore, LAG_READ_BYTES, lock};
use crate::event::EventId;
use crate::store::queues::DeliveryKey;
use crate::store::{
    AllCounts, Answer, Cursor, DeadLetter, DeadQuery, DeadReasons, DeliveryState, DeliveryView, ErasedEvent,
    EventQuery, EventView, HeldBy, Kept, Looking, NameId, Page, PlannedDelivery, SearchLimit, States, StoredEvent,
    Watch, Which,
};

impl Looking for JournalStore {
    fn event(&self, id: EventId) -> Answer<'_, EventView> {
        self.aside(move |journal| Ok(journal.event(id)?))
    }

    fn events(&self, query: &EventQuery, after: Option<&Cursor>, max: usize) -> Answer<'_, Page<Arc<StoredEvent>>> {
        let query = *query;
        let after = after.cloned();
        self.aside(move |journal| journal.events(&query, after.as_ref(), max))
    }

    fn events_of(&self, ids: Vec<EventId>) -> Answer<'_, (Vec<Arc<StoredEvent>>, usize)> {
        self.aside(move |journal| journal.events_of(&ids))
    }

    fn states(&self, events: Vec<Arc<StoredEvent>>, mut limit: SearchLimit) -> Answer<'_, (Vec<States>, SearchLimit)> {
        self.aside(move |journal| {
            let states = journal.states(&events, &mut limit)?;
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
        let query = query.clone();
        let after = after.cloned();
        self.aside(move |journal| journal.dead_letters(&of, &query, after.as_ref(), max))
    }

    fn watch(&self) -> Watch {
        self.journal.watchers.begin()
    }

    fn dead_reasons(&self, of: Vec<NameId>) -> Answer<'_, DeadReasons> {
        self.aside(move |journal| journal.dead_reasons(&of, COUNTED_MAX))
    }

    fn counts(&self) -> Answer<'_, AllCounts> {
        self.aside(|journal| Ok(journal.all_counts()))
    }

    fn how_many(&self, of: NameId, which: Which) -> Answer<'_, u64> {
        self.aside(move |journal| journal.how_many(of, &which))
    }
}

impl Journal {
    pub fn event_by_number(&self, sequence: u64) -> Result<Arc<StoredEvent>, ReadError> {
        if let Some(event) = lock(&self.recent).get(sequence) {
            return Ok(event);
        }
        self.read_anywhere(sequence, &mut Window::new(LAG_READ_BYTES)).map(Arc::new)
    }

    /// One event, with all that is known of its deliveries.
    pub fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        let sequence = id.sequence();
        let (event, is_erased) = match self.event_by_number(sequence) {
            Ok(event) => (event, false),
            Err(ReadError::Erased(left)) => (Arc::new(left.without_body()), true),
            Err(error) => return Err(error),
        };
        if event.id != id {
            return Err(ReadError::Missing);
        }
        self.index.flush();
        let states = self.states(std::slice::from_ref(&event), &mut SearchLimit::whole())?;
        let view = |(planned, state): (PlannedDelivery, DeliveryState)| {
            let key = DeliveryKey { sequence, destination: planned.destination };
            let state = self.with_earlier(&key, state);
            let attempts = self.index.read().notes(&key).map_err(unreadable)?;
            Ok(DeliveryView { planned, state, attempts })
        };
        let deliveries = states.into_iter().flatten().map(view).collect::<Result<_, ReadError>>()?;
        let event = if is_erased { Kept::Erased(ErasedEvent::from(&*event)) } else { Kept::Event(event) };
        Ok(EventView { event, deliveries })
    }

    /// What waits behind another, with the event of that where it can be read.
    fn with_earlier(&self, key: &DeliveryKey, state: DeliveryState) -> DeliveryState {
        let DeliveryState::Held { by: HeldBy::Order { .. } } = state else { return state };
        let earlier = lock(&self.destination(key.destination).queue).earlier_than(key.sequence);
        let earlier = earlier.and_then(|earlier| self.event_by_number(earlier).ok()).map(|event| event.id);
        DeliveryState::Held { by: HeldBy::Order { earlier } }
    }
}
