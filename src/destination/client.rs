//! The one HTTP client. Nothing else in the program names reqwest.
//!
//! It follows no redirect (an event must not go where nobody configured it), uses no proxy from the environment, sends nothing twice
//! by itself, and reads no more of an answer than it is told to.

mod masks;
mod url;

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

pub use self::masks::Masks;
pub use self::url::{Url, is_loopback, parse_url, shown, shown_with_query};
use crate::config::reader::Secret;

/// What is read of a destination's answer; a larger one is cut off and its connection closed.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What is kept of it in reasons.
pub const EXCERPT_BYTES_MAX: usize = 1 << 10;
/// To connect, DNS and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the idle timeout of common servers (Node 5 s, ALB 60 s, nginx 75 s): a connection that the other side is just closing
/// costs a failed attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Once the status is there, the body may take this long; the status counts whatever becomes of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// What this program calls itself.
pub const USER_AGENT: &str = concat!("vero-relay/", env!("CARGO_PKG_VERSION"));

/// The client. A clone shares its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

/// One request.
#[derive(Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// All its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How much of the answer is read.
    pub answer_bytes_max: usize,
}

impl Call {
    /// All headers of the request, as the client sends them, fit to be shown: `…` in the place of what is secret.
    pub fn shown_headers(&self) -> Vec<(String, String)> {
        let shown = |(name, value): (&http::HeaderName, &HeaderValue)| {
            let text = value.to_str().unwrap_or("…");
            let value = match text.split_once(' ') {
                _ if !value.is_sensitive() => text.to_owned(),
                Some((scheme @ ("Bearer" | "Basic"), _)) => format!("{scheme} …"),
                _ => "…".to_owned(),
            };
            (name.to_string(), value)
        };
        let mut headers: Vec<_> = self.headers.iter().map(shown).collect();
        let authority = self.url.authority();
        let added = [("accept", "*/*"), ("host", authority), ("content-length", &self.body.len().to_string())];
        for (name, value) in added.map(|(name, value)| (name.to_owned(), value.to_owned())) {
            if !headers.iter().any(|(known, _)| *known == name) {
                headers.push((name, value));
            }
        }
        headers.sort();
        headers
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's beginning.
    pub body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body as text, at most [`EXCERPT_BYTES_MAX`], without what must not be shown.
    pub fn excerpt(&self, masks: &Masks) -> String {
        // Masked before it is cut, so that no beginning of a secret stays at the end.
        let mut text = masks.apply(String::from_utf8_lossy(&self.body).into_owned());
        text.truncate(text.floor_char_boundary(EXCERPT_BYTES_MAX));
        text
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// No answer came. The sentence holds no URL, since a URL may be a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

impl Client {
    /// Builds the client. Loads the system's certificates, which takes some ten milliseconds.
    pub fn build() -> Result<Self, NoAnswer> {
        // A second installation is refused, and the first one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .referer(false)
            .build();
        http.map(|http| Self { http }).map_err(no_answer)
    }

    /// Makes one request and reads the beginning of its answer.
    pub async fn call(&self, call: Call) -> Result<Answer, NoAnswer> {
        let answer_bytes_max = call.answer_bytes_max;
        let mut request = reqwest::Request::new(call.method, call.url);
        *request.headers_mut() = call.headers;
        *request.body_mut() = Some(call.body.into());
        let mut response = self.http.execute(request).await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        // A body that breaks off or never ends says nothing against the status.
        let _ = tokio::time::timeout(BODY_TIMEOUT, async {
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = answer_bytes_max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break;
                }
            }
        })
        .await;
        Ok(Answer { status, headers, body })
    }
}

/// Says what happened in one sentence: what was being done, and the deepest cause.
fn no_answer(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let doing = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "could not connect"
    } else if error.is_builder() {
        "could not be built"
    } else {
        "the connection broke"
    };
    let cause = cause.to_string();
    if error.is_timeout() { NoAnswer(doing.to_owned()) } else { NoAnswer(format!("{doing}: {cause}")) }
}

/// The value of `Authorization` for a `username:password`, marked so that nothing shows it.
pub fn basic_authorization(pair: &Secret) -> HeaderValue {
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
    let mut value =
        HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 has no byte that a header cannot hold");
    value.set_sensitive(true);
    value
}
