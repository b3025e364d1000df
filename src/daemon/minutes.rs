//! The beginning of each minute, for the charts.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::relay::Relay;
use crate::time::{MINUTE_MS, wall_ms};

/// Notes how far the counters have come at the beginning of each minute, by the wall clock.
pub(super) async fn note_minutes(relay: Arc<Relay>, stop: CancellationToken) {
    loop {
        let left = Duration::from_millis(MINUTE_MS - wall_ms() % MINUTE_MS);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(left) => relay.note_minute(),
        }
    }
}
