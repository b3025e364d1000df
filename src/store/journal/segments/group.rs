//! A group, and the events in it.

use std::sync::Arc;

use super::DiskFile;
use crate::store::journal::format::{EventHead, GroupHead, Record, records};
use crate::store::{ErasedEvent, StoredEvent};

/// A group that was found.
pub struct FoundGroup {
    pub file: Arc<dyn DiskFile>,
    pub segment: u64,
    pub offset: u64,
    pub head: GroupHead,
}

/// The events among a group's record heads, each with where its body begins among the bodies, and whether it was relocated.
pub fn events_in(heads: &[u8]) -> impl Iterator<Item = (EventHead, u64, bool)> + '_ {
    let mut body_offset = 0;
    records(heads).filter_map(move |record| {
        let (head, is_relocated) = match record {
            Record::Event(head) => (head, false),
            Record::Relocated(head) => (head, true),
            _ => return None,
        };
        let at = body_offset;
        body_offset += u64::from(head.body_bytes);
        Some((head, at, is_relocated))
    })
}

/// What is left of an event whose body was erased.
pub fn erased(head: EventHead) -> ErasedEvent {
    ErasedEvent {
        id: head.id,
        received_ms: head.id.received_ms(),
        source: head.source,
        rules: head.rules,
        deliveries: head.deliveries,
    }
}

/// An event's head and body, put together.
pub fn stored(head: EventHead, body: bytes::Bytes) -> StoredEvent {
    StoredEvent {
        id: head.id,
        received_ms: head.id.received_ms(),
        source: head.source,
        rules: head.rules,
        deliveries: head.deliveries,
        body,
        is_redacted: head.is_redacted,
    }
}
