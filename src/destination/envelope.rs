//! An event in an envelope, on one line: what it is known by beside what came.

use super::Delivery;

/// `{"id", "received_at", "source", "event": …}` without a line break; `event` is JSON without white space.
pub fn enveloped(delivery: &Delivery, event: &[u8]) -> Vec<u8> {
    let source = serde_json::Value::from(delivery.source.as_ref());
    let received_at = crate::time::rfc3339(delivery.event.received_ms);
    let head = format!(r#"{{"id":"{}","received_at":"{received_at}","source":{source},"event":"#, delivery.event.id);
    let mut line = Vec::with_capacity(head.len() + event.len() + 2);
    line.extend_from_slice(head.as_bytes());
    line.extend_from_slice(event);
    line.push(b'}');
    line
}
