//! Looking: events and what became of them, the history page by page, dead letters. All of it may wait for the disk.

use std::sync::Arc;

use super::{
    AllCounts, AttemptNote, Cursor, DeadQuery, DeliveryState, ErasedEvent, NameId, PlannedDelivery, StoreError,
    StoredEvent, Watch, Which,
};
use crate::event::EventId;
use crate::store::Answer;

/// What is read for people, and by what walks over the history.
///
/// A list is asked for page by page: each page says where the next begins, and a list goes on while events arrive and go. A page may
/// hold fewer than was asked for and not be the last; it never holds more.
pub trait Looking: Send + Sync {
    /// One event, where its deliveries stand, and the attempts at them.
    fn event(&self, id: EventId) -> Answer<'_, EventView>;

    /// Events of the history. What is asked for, and what was there, is fixed when the list begins.
    fn events(&self, query: &EventQuery, after: Option<&Cursor>, max: usize) -> Answer<'_, Page<Arc<StoredEvent>>>;

    /// Some events by their ids, at most [`EVENTS_MAX`](super::EVENTS_MAX): as many as fit into a page, and how many ids were looked at, which
    /// is at least one. What is not there, or cannot be read, is left out.
    fn events_of(&self, ids: Vec<EventId>) -> Answer<'_, (Vec<Arc<StoredEvent>>, usize)>;

    /// Where all deliveries of some events stand, also to where only a replay sent them, and how those that are over ended. Reads no more
    /// than the limit allows, and gives back what is left of it.
    fn states(&self, events: Vec<Arc<StoredEvent>>, limit: SearchLimit) -> Answer<'_, (Vec<States>, SearchLimit)>;

    /// Dead letters of some destinations, newest event first.
    fn dead_letters(
        &self,
        of: Vec<NameId>,
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Answer<'_, Page<DeadLetter>>;

    /// Sees what changes from now on: what arrives, once it stands in its queues, and what becomes of deliveries. For who shows it as it
    /// happens: it may be told less than has happened, and then how much less.
    fn watch(&self) -> Watch;

    /// Why the dead letters of some destinations were given up. Looks at a bounded number of them, the newest.
    fn dead_reasons(&self, of: Vec<NameId>) -> Answer<'_, DeadReasons>;

    /// What waits for each destination, and what is held of each source.
    fn counts(&self) -> Answer<'_, AllCounts>;

    /// To how many deliveries of a destination a command would be done.
    fn how_many(&self, of: NameId, which: Which) -> Answer<'_, u64>;
}

/// Which events of the history, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// That arrived at or after this, unix milliseconds.
    pub since_ms: u64,
    pub until_ms: u64,
    /// Only about the newest so many.
    pub last: Option<u64>,
    pub order: Order,
}

impl EventQuery {
    /// All events, in an order.
    pub fn all(order: Order) -> Self {
        Self { since_ms: 0, until_ms: u64::MAX, last: None, order }
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None`: there is no more.
    pub next: Option<Cursor>,
    /// About how many there are behind it, for a progress bar.
    pub left: u64,
}

/// The deliveries of one event, and where each stands.
pub type States = Vec<(PlannedDelivery, DeliveryState)>;

/// How much of the journal may be read to find out how deliveries ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchLimit {
    /// Bytes that may still be read.
    pub bytes_left: u64,
    /// Deliveries whose end was not found within it.
    pub unfound: u64,
}

impl SearchLimit {
    /// No limit: the whole journal may be read.
    pub fn whole() -> Self {
        Self { bytes_left: u64::MAX, unfound: 0 }
    }
}

/// An event with all that is known of its deliveries.
#[derive(Clone, Debug)]
pub struct EventView {
    pub event: Kept,
    /// In the order in which it was planned.
    pub deliveries: Vec<DeliveryView>,
}

/// What is kept of an event.
#[derive(Clone, Debug)]
pub enum Kept {
    Event(Arc<StoredEvent>),
    /// Its body was erased.
    Erased(ErasedEvent),
}

impl Kept {
    /// The event itself; an error where it was erased.
    pub fn event(self) -> Result<Arc<StoredEvent>, StoreError> {
        match self {
            Self::Event(event) => Ok(event),
            Self::Erased(_) => Err(StoreError::Erased),
        }
    }
}

/// A delivery of an event, for people.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    /// Where to, and by which rule.
    pub planned: PlannedDelivery,
    pub state: DeliveryState,
    /// What is known of the attempts at it, oldest first.
    pub attempts: Vec<AttemptNote>,
}

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The event; why not, where it cannot be read.
    pub event: Result<Arc<StoredEvent>, StoreError>,
    /// Where it was to go.
    pub destination: NameId,
    pub attempts: u16,
    /// When it was given up, unix milliseconds; 0 when that is not known any more.
    pub at_ms: u64,
    pub reason: String,
    /// The answer's status, where one came.
    pub status: Option<u16>,
    /// The answer's beginning; empty where there was none.
    pub answer: String,
}

/// Dead letters that were given up for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    pub reason: String,
    /// The answer's status, where one came.
    pub status: Option<u16>,
    pub deliveries: u64,
    /// When the first and the last of them were given up, unix milliseconds; 0 when that is not known any more.
    pub first_ms: u64,
    pub last_ms: u64,
}

/// Why dead letters were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadReasons {
    /// The most frequent first, at most [`REASONS_MAX`].
    pub reasons: Vec<DeadReason>,
    /// Dead letters that were looked at.
    pub looked_at: u64,
    /// Of them, those whose reasons are too many to be listed.
    pub not_listed: u64,
    /// Older ones, which were not looked at.
    pub not_looked_at: u64,
}

/// Reasons that are listed.
pub const REASONS_MAX: usize = 50;
