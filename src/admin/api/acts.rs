//! A line in the log for each thing that an operator has done by the API. What only looks is not told, and a reload tells of itself.

use serde_json::Value;
use tracing::field::display;

/// Tells of what was asked at `/api/…` and done. Selections of events are left out: they may hold an address of a person.
pub(super) fn tell(path: &[&str], body: &[u8], done: &Value) {
    if done["dry_run"] == true || done["repeated"] == true {
        return;
    }
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |key: &str| asked[key].as_str().map(display);
    let deliveries = done["deliveries"].as_u64().or(done["due_now"].as_u64());
    let id = done["id"].as_str();
    match path {
        ["destinations", name, act] => tracing::info!(destination = %name, deliveries, "by the operator: {act}"),
        ["sources", name, act] => tracing::info!(source = %name, "by the operator: {act}"),
        ["dead-letters", act] => {
            let (destination, to) = (said("destination"), said("to"));
            tracing::info!(destination, to, deliveries, id, "by the operator: {act} dead letters");
        }
        ["replays"] => tracing::info!(since = said("since"), until = said("until"), id, "by the operator: replay"),
        ["store", act] => tracing::info!(directory = said("directory"), "by the operator: {act} the store"),
        _ => {}
    }
}
