//! The last requests that were turned away. "I pasted the URL and nothing comes" is the first question asked.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};

/// Requests kept.
pub const KEPT_MAX: usize = 100;
/// Bytes kept of each body.
const BODY_BYTES_MAX: usize = 1 << 10;

/// A request that was turned away.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RefusedRequest {
    /// When, RFC 3339.
    pub at: String,
    /// With which status.
    pub status: u16,
    /// Why.
    pub reason: String,
    /// By which method.
    pub method: String,
    /// At which path, its token masked.
    pub path: String,
    /// From which source, if it proved itself.
    pub source: Option<String>,
    /// The beginning of its body.
    pub body: String,
}

impl RefusedRequest {
    /// Takes down a request to `/hooks/` and `tail`.
    pub fn new(
        status: StatusCode,
        reason: &str,
        method: &Method,
        tail: &str,
        source: Option<&str>,
        body: &[u8],
    ) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned();
        let first = tail.split('/').next().unwrap_or_default();
        let path = if tail.contains('/') { format!("/hooks/{first}/…") } else { format!("/hooks/{first}") };
        Self {
            at: crate::time::rfc3339(crate::time::wall_ms()),
            status: status.as_u16(),
            reason: reason.to_owned(),
            method: method.to_string(),
            path: path.chars().take(200).collect(),
            source: source.map(str::to_owned),
            body: text,
        }
    }
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Refused {
    requests: Mutex<VecDeque<RefusedRequest>>,
}

impl Refused {
    /// Adds one, and drops the oldest.
    pub fn add(&self, request: RefusedRequest) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == KEPT_MAX {
            requests.pop_back();
        }
        requests.push_front(request);
    }

    /// All of them, newest first.
    pub fn list(&self) -> Vec<RefusedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
