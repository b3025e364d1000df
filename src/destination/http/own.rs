//! The headers that each request makes anew: which event it is, when it came, when this is sent, and how long the body is.
//!
//! Their places are in the map that is copied for a request, so that the copy need not grow; and their values lie in one piece of memory,
//! which the copies that the client makes share.

use std::fmt;
use std::io::{Cursor, Write};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, header};

use crate::destination::hops::{VIA, WEBHOOK_ID};

const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const RECEIVED_AT: HeaderName = HeaderName::from_static("x-vero-relay-received-at");

/// An id has 36 bytes, a moment 24, and each of two numbers 20 at most.
const VALUES_BYTES_MAX: usize = 100;

/// Makes room for them in the headers that are the same for all requests.
pub(super) fn prepare(headers: &mut HeaderMap, is_signed: bool) {
    let signature = is_signed.then_some(WEBHOOK_SIGNATURE);
    for name in [WEBHOOK_ID, VIA, WEBHOOK_TIMESTAMP, RECEIVED_AT, CONTENT_LENGTH].into_iter().chain(signature) {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

/// What the values are made from.
pub(super) struct Own<'a> {
    /// The event's id, or what stands in its place: at most 36 bytes.
    pub id: &'a dyn fmt::Display,
    pub received_ms: u64,
    pub body: &'a Bytes,
    /// The relays that the event came through.
    pub via: HeaderValue,
    pub timestamp_s: u64,
    pub signature: Option<String>,
}

/// Puts them into the headers of a request.
pub(super) fn insert(headers: &mut HeaderMap, own: Own<'_>) {
    let Own { id, received_ms, body, mut via, timestamp_s, signature } = own;
    let received_at = crate::time::timestamp(received_ms);
    let mut values = Values::default();
    let ends = [
        (WEBHOOK_ID, values.push(format_args!("{id}"))),
        (WEBHOOK_TIMESTAMP, values.push(format_args!("{timestamp_s}"))),
        (RECEIVED_AT, values.push(format_args!("{received_at:.3}"))),
        (CONTENT_LENGTH, values.push(format_args!("{}", body.len()))),
    ];
    let values = Bytes::from_owner(values);
    let mut start = 0;
    for (name, end) in ends {
        headers.insert(name, value(values.slice(start..end)));
        start = end;
    }
    // It is another with each start, and says nothing to people.
    via.set_sensitive(true);
    headers.insert(VIA, via);
    if let Some(signature) = signature {
        let mut signature = value(signature.into());
        // Whoever has it can post this body once more while the receiver's tolerance lasts.
        signature.set_sensitive(true);
        headers.insert(WEBHOOK_SIGNATURE, signature);
    }
}

/// A header value of the relay's own making.
fn value(text: Bytes) -> header::HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Texts, one behind the other.
struct Values(Cursor<[u8; VALUES_BYTES_MAX]>);

impl Default for Values {
    fn default() -> Self {
        Self(Cursor::new([0; VALUES_BYTES_MAX]))
    }
}

impl Values {
    /// Adds one, and says where it ends.
    fn push(&mut self, text: fmt::Arguments<'_>) -> usize {
        self.0.write_fmt(text).expect("there is room for the longest of each");
        self.0.position() as usize
    }
}

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        &self.0.get_ref()[..self.0.position() as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_longest_values() {
        let mut values = Values::default();
        let id = crate::event::EventId::mint(u64::MAX >> 16, u16::MAX, u64::MAX >> 2);
        let moment = crate::time::timestamp(u64::MAX);
        let ends = [
            values.push(format_args!("{id}")),
            values.push(format_args!("{}", u64::MAX)),
            values.push(format_args!("{moment:.3}")),
            values.push(format_args!("{}", usize::MAX)),
        ];
        assert_eq!(ends, [36, 56, 80, 100]);
        assert!(values.as_ref().starts_with(id.to_string().as_bytes()));
    }
}
