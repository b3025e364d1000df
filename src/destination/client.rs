//! The one HTTP client. Nothing else in the program names reqwest.
//!
//! It follows no redirect (an event must not go where nobody configured it), sends nothing twice by itself, and reads no more of an
//! answer than it is told to. Making one cannot fail: what is missing for TLS, or wrong with a proxy, is told by the attempt that
//! needs it.
//!
//! # Cast
//!
//! * [`Client`]: makes a [`Call`] and gives its [`Answer`], or a [`Streaming`] one. A clone shares its connections.
//! * `transport`: connections of one [`Way`] (roots to trust, proxy), shared by all that go the same way.
//! * `lines`: when what connects to an origin is made anew (pure). `lookup`: host names, on threads of their own.
//! * [`proxy`]: which proxy (pure). `trust`: whose certificates are taken. `trouble`: why no answer came, in a sentence.
//! * `masks`, [`Masks`], `url`: what must not be shown, and URLs.

mod lines;
mod lookup;
mod masks;
pub mod proxy;
mod transport;
mod trouble;
mod trust;
mod url;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use self::lines::Line;
use self::lookup::LookupError;
pub use self::masks::Masks;
use self::proxy::ProxyEnvironment;
use self::transport::{Network, Transport};
pub use self::transport::{NetworkParts, Way};
use self::trouble::Trouble;
pub use self::trouble::{Cause, NoTls, no_tls};
pub use self::trust::Trust;
pub use self::url::{
    SPACE, URL_FORM, Url, is_loopback, is_loopback_host, parse_url, shown, shown_with_query, without_path,
};
use super::{hops, retry_after};
use crate::secret::Secret;

/// What is read of a destination's answer; a larger one is cut off and its connection closed.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What is kept of it in reasons.
pub const EXCERPT_BYTES_MAX: usize = 1 << 10;
/// To connect, DNS and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Once the status is there, the body may take this long; the status counts whatever becomes of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// What this program calls itself.
pub const USER_AGENT: &str = concat!("vero-relay/", env!("CARGO_PKG_VERSION"));

/// The client. A clone shares its connections.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    /// Answers in the place of everybody.
    #[cfg(any(test, feature = "test-support"))]
    script: Option<Script>,
}

/// What a test answers to a request. `None`: the other side never answers.
#[cfg(any(test, feature = "test-support"))]
type Script = Arc<dyn Fn(&Call) -> Option<Answer> + Send + Sync>;

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
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

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The beginning of the body as text, at most [`EXCERPT_BYTES_MAX`], without what must not be shown.
    pub fn excerpt(&self, masks: &Masks) -> String {
        // Masked before it is cut, so that no beginning of a secret stays at the end.
        let mut text = masks.apply(String::from_utf8_lossy(&self.body).into_owned());
        text.truncate(text.floor_char_boundary(EXCERPT_BYTES_MAX));
        text
    }

    /// Whether a relay refuses an event that it had sent itself.
    pub fn is_loop(&self) -> bool {
        self.status == 508 && self.headers.contains_key(hops::LOOP)
    }

    /// When the other side wants to be asked again, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after::asked(self.status, &self.headers, crate::time::wall_ms())
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// No answer came. The sentence holds no URL, since a URL may be a password.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", help.map(|help| format!(": {help}")).unwrap_or_default())]
pub struct NoAnswer {
    /// What happened.
    pub what: String,
    /// What to do about it where a config says where to connect to.
    pub help: Option<&'static str>,
    pub cause: Cause,
}

impl NoAnswer {
    fn told(what: String) -> Self {
        Self { what, help: None, cause: Cause::Other }
    }

    fn of_tls(Trouble { what, help, cause }: Trouble) -> Self {
        Self { what: format!("could not connect: {what}"), help, cause }
    }
}

impl Client {
    /// A client that uses the proxies which some variables name.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self::with(NetworkParts { environment: ProxyEnvironment::read(variable), ..NetworkParts::default() })
    }

    /// A client that uses no proxy.
    pub fn direct() -> Self {
        Self::with(NetworkParts::default())
    }

    /// The same for what never leaves this machine: who answers needs no certificate for the name that it is called by.
    pub fn on_this_machine() -> Self {
        Self::direct().by(Way { trust: Trust::Anybody, ..Way::default() })
    }

    /// A client with a network of its own.
    pub fn with(parts: NetworkParts) -> Self {
        // A second installation is refused, and the first one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            transport: Network::new(parts).transport(Way::default()),
            #[cfg(any(test, feature = "test-support"))]
            script: None,
        }
    }

    /// A client that opens no socket: all requests are answered by a function, so that what makes them runs under a paused clock.
    #[cfg(any(test, feature = "test-support"))]
    pub fn scripted(answer: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self { script: Some(Arc::new(answer)), ..Self::direct() }
    }

    /// A client that goes another way; all that ask for the same way share its connections.
    pub fn by(&self, way: Way) -> Self {
        let mut other = self.clone();
        other.transport = self.transport.network().transport(way);
        other
    }

    /// The addresses of a host, for kinds that do not speak HTTP: looked up where requests have them from.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.transport.network().lookups().find(host).await
    }

    /// How requests are encrypted and whom they trust, for the same.
    pub async fn tls(&self) -> Result<rustls::ClientConfig, NoAnswer> {
        self.transport.tls_without_alpn().await
    }

    /// The relays that events have come through.
    pub fn hops(&self) -> &hops::Hops {
        self.transport.network().hops()
    }

    /// The way it goes, to be compared and never shown.
    pub fn way_text(&self) -> String {
        let Way { ca_path, proxy, .. } = self.transport.way();
        format!("{}\n{ca_path}", proxy.text())
    }

    /// What of its proxies must not be shown: a proxy may say it again in a page of its own.
    pub fn secrets(&self) -> Vec<String> {
        let environment = self.transport.network().environment();
        environment.urls().chain([self.transport.way().proxy.text()]).flat_map(proxy::secrets).collect()
    }

    /// Makes one request and reads the beginning of its answer.
    pub async fn call(&self, call: Call) -> Result<Answer, NoAnswer> {
        #[cfg(any(test, feature = "test-support"))]
        if let Some(script) = &self.script {
            return match script(&call) {
                Some(Answer { status, headers, body }) => {
                    let body = body.slice(..body.len().min(call.answer_bytes_max));
                    Ok(Answer { status, headers, body })
                }
                None => std::future::pending().await,
            };
        }
        let line = self.transport.line(&call.url).await?;
        let mut watch = Watch { line: &line, has_failed: true };
        let answer = execute(&line.what, call).await;
        watch.has_failed = answer.as_ref().map_or(true, |answer| answer.status >= 500);
        answer
    }

    /// Makes one request whose answer comes piece by piece.
    pub async fn stream(&self, call: Call) -> Result<Streaming, NoAnswer> {
        let line = self.transport.line(&call.url).await?;
        let answer_bytes_max = call.answer_bytes_max;
        let response = send(&line.what, call).await?;
        Ok(Streaming { response, answer_bytes_max })
    }
}

/// Tells a line what became of a request, also of one that is dropped at its timeout.
struct Watch<'l> {
    line: &'l Line<reqwest::Client>,
    has_failed: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.line.observe(self.has_failed);
    }
}

/// An answer that comes piece by piece, for as long as the other side goes on.
#[derive(Debug)]
pub struct Streaming {
    response: reqwest::Response,
    answer_bytes_max: usize,
}

impl Streaming {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece; none at the end. Waits for as long as nothing comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        self.response.chunk().await.map_err(trouble::no_answer)
    }

    /// The beginning of all of it, for an answer that is none of many pieces.
    pub async fn whole(self) -> Answer {
        read(self.response, self.answer_bytes_max).await
    }
}

async fn execute(line: &reqwest::Client, call: Call) -> Result<Answer, NoAnswer> {
    let answer_bytes_max = call.answer_bytes_max;
    let response = send(line, call).await?;
    Ok(read(response, answer_bytes_max).await)
}

async fn send(line: &reqwest::Client, call: Call) -> Result<reqwest::Response, NoAnswer> {
    let mut request = reqwest::Request::new(call.method, call.url);
    *request.headers_mut() = call.headers;
    *request.body_mut() = Some(call.body.into());
    line.execute(request).await.map_err(trouble::no_answer)
}

async fn read(mut response: reqwest::Response, answer_bytes_max: usize) -> Answer {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut beginning = Beginning::default();
    // A body that breaks off or never ends says nothing against the status.
    let _ = tokio::time::timeout(BODY_TIMEOUT, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = answer_bytes_max - beginning.len();
            beginning.push(chunk.slice(..chunk.len().min(room)));
            if chunk.len() > room {
                break;
            }
        }
    })
    .await;
    Answer { status, headers, body: beginning.into() }
}

/// What has come of a body. Most answers are one chunk, which is kept as it came.
#[derive(Default)]
struct Beginning {
    first: Bytes,
    /// All of it, once there is more than one.
    all: Vec<u8>,
}

impl Beginning {
    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
    }
}

impl From<Beginning> for Bytes {
    fn from(Beginning { first, all }: Beginning) -> Self {
        if all.is_empty() { first } else { all.into() }
    }
}

/// The value of `Authorization` for a `username:password`, marked so that nothing shows it.
pub fn basic_authorization(pair: &Secret) -> HeaderValue {
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
    let mut value =
        HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 has no byte that a header cannot hold");
    value.set_sensitive(true);
    value
}
