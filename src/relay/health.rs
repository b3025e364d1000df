//! Whether the process is there, and whether it can take events in: asked at both listeners.

use http::StatusCode;

use super::Relay;
use crate::listener::{Answer, text};
use crate::store::Health;

/// Whether the process is there at all.
pub fn healthz() -> Answer {
    text(StatusCode::OK, "ok\n")
}

/// Whether events can be accepted.
pub fn readyz(relay: &Relay) -> Answer {
    match relay.health() {
        Health::Good => text(StatusCode::OK, "ready\n"),
        Health::Full(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("the store has no room: {why}\n")),
        Health::Away(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("the store does not answer: {why}\n")),
        Health::Poisoned(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("the store has failed: {why}\n")),
    }
}
