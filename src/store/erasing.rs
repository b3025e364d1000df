//! Erasing what is kept of a person: the words of it.

use super::{NameId, PlannedDelivery, StoredEvent};
use crate::event::EventId;

/// What is left of an event whose body was erased: when it came, by which way, and where it was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedEvent {
    pub id: EventId,
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    pub deliveries: Vec<PlannedDelivery>,
}

impl ErasedEvent {
    /// The same with no body, for who looks at where its deliveries stand.
    pub(crate) fn without_body(self) -> StoredEvent {
        let Self { id, received_ms, source, rules, deliveries } = self;
        StoredEvent { id, received_ms, source, rules, deliveries, body: bytes::Bytes::new() }
    }
}

impl From<&StoredEvent> for ErasedEvent {
    fn from(event: &StoredEvent) -> Self {
        let StoredEvent { id, received_ms, source, rules, deliveries, body: _ } = event.clone();
        Self { id, received_ms, source, rules, deliveries }
    }
}
