//! A socket that accepts: what both listeners, for webhooks and for operators, have in common.
//!
//! # Cast
//!
//! * [`bind`]: the socket itself: an address that the config names, or what the service manager hands over.
//! * [`server`]: our own accept loop under warp: connection cap, header timeout, no CONNECT, a last catch for panics.
//! * [`accept`]: takes a connection where there is a slot and a file descriptor for it.
//! * [`slots`]: the connections that are open, and how many there may be.
//! * [`connection`]: a stream that ends when the other side makes no progress.
//! * [`tls`]: what it encrypts by. [`stream`]: a connection as it is, or encrypted. [`words`]: gives hyper's own answers a sentence.
//! * [`drain`]: takes off the rest of a body that nobody wants, so that the answer arrives.
//! * [`answered`]: knows when an answer has gone out whole.
//! * [`body`]: reads a body, counted and timed while it arrives, within the bytes that all of them share.
//! * [`Answer`]: what a handler gives back.
//!
//! It knows nothing of events, nor of who may come in.

mod accept;
mod answered;
pub mod bind;
pub mod body;
mod connection;
pub mod drain;
pub mod server;
pub mod slots;
mod stream;
pub mod tls;
mod words;

use bytes::Bytes;
use http::{Response, StatusCode};

/// Bytes of a request's head, and of the buffer it is read into.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a sender is asked to wait when its request cannot be taken now.
pub const RETRY_AFTER_SECONDS: &str = "2";

/// What every answer is.
pub type Answer = Response<Bytes>;

/// An answer that says why, as JSON.
pub fn answer(status: StatusCode, why: &str) -> Answer {
    let body = serde_json::json!({ "error": why }).to_string() + "\n";
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
