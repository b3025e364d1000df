//! A delivery to try destinations with, for tests, benchmarks and fuzz targets.

use std::sync::Arc;

use bytes::Bytes;

use super::Delivery;
use crate::event::EventId;
use crate::store::{NameId, StoredEvent};

/// When the event of a [`sample`] came.
pub const SAMPLE_MS: u64 = 1_700_000_000_000;

/// A delivery of a body that came at some time, by the source `vero` and the rule `everything`.
pub fn sample(body: impl Into<Bytes>, received_ms: u64) -> Delivery {
    let event = StoredEvent {
        id: EventId::mint(received_ms, 0, 7),
        received_ms,
        source: NameId(1),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: body.into(),
    };
    Delivery { event: Arc::new(event), source: "vero".into(), rule: "everything".into() }
}
