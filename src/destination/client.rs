//! The one HTTP client. Nothing else in the program names reqwest.
//!
//! It follows no redirect (an event must not go where nobody configured it), uses no proxy from the environment, sends nothing twice
//! by itself, and reads no more of an answer than it is told to.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use crate::config::advice::exposure::names_a_secret;
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

/// A URL that was checked.
pub type Url = reqwest::Url;

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

/// What must not come back out of an answer that echoes the request: credentials, and the parts of a URL that may be one.
#[derive(Clone, Default)]
pub struct Masks(Vec<String>);

/// Shorter texts are no secrets, and would be found everywhere.
const MASKED_BYTES_MIN: usize = 6;
/// In what is sent, a part of a URL, or a header that does not sound like a secret, is taken for one only from here on: `customers`
/// is a word of many events.
const MASKED_IN_CONTENT_BYTES_MIN: usize = 16;

impl Masks {
    /// The masks for an answer to a request with these headers and this URL.
    pub fn new(headers: &HeaderMap, url: &Url) -> Self {
        Self::from_texts(credentials(headers, |_| true).into_iter().chain(parts(url)))
    }

    /// The masks for what is sent with these headers to this URL.
    pub fn of_content(headers: &HeaderMap, url: &Url) -> Self {
        let is_long = |text: &String| text.len() >= MASKED_IN_CONTENT_BYTES_MIN;
        let others = credentials(headers, |name| !names_a_secret(name)).into_iter().chain(parts(url));
        Self::from_texts(credentials(headers, names_a_secret).into_iter().chain(others.filter(is_long)))
    }

    /// Masks for some texts.
    pub fn from_texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self(Vec::new()).with(texts)
    }

    /// The same, and some more texts.
    pub fn with(self, texts: impl IntoIterator<Item = String>) -> Self {
        let long = texts.into_iter().filter(|text| text.len() >= MASKED_BYTES_MIN);
        let mut texts = self.0;
        texts.extend(long.flat_map(as_written));
        // The longest first, so that no rest of one stays.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Self(texts)
    }

    /// A text without them.
    pub fn apply(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| if text.contains(secret) { text.replace(secret, "…") } else { text })
    }
}

/// A text as it may stand in a body: as it is, in a JSON string, and in a JSON string of Slack's.
fn as_written(text: String) -> [String; 3] {
    let in_json = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let in_slack = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    [in_json(&text), in_json(&in_slack), text]
}

/// What the sensitive headers among some hold: whole, without its scheme, and decoded.
fn credentials(headers: &HeaderMap, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut texts = Vec::new();
    for (_, value) in headers.iter().filter(|(name, value)| value.is_sensitive() && is_meant(name.as_str())) {
        if let Ok(value) = value.to_str() {
            texts.push(value.to_owned());
            // Without the scheme before it.
            texts.extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
        }
    }
    let basic = texts.iter().filter_map(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let basic: Vec<_> = basic.filter_map(|pair| String::from_utf8(pair).ok()).collect();
    for pair in basic {
        texts.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
        texts.push(pair);
    }
    texts
}

/// The parts of a URL that may be a password.
fn parts(url: &Url) -> Vec<String> {
    let mut texts = Vec::new();
    if !is_loopback(url) {
        texts.push(url.path().trim_start_matches('/').to_owned());
        texts.extend(url.path().split('/').map(str::to_owned));
    }
    texts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let raw = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    texts.extend(raw.map(|(_, value)| value.to_owned()));
    texts
}

/// Whether a URL's host can only be this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// A URL fit to be shown. On another machine a path may be a password, so it is left out.
pub fn shown(url: &Url) -> String {
    let origin = url.origin().ascii_serialization();
    match url.path() {
        "/" | "" => origin,
        path if is_loopback(url) => format!("{origin}{path}"),
        _ => format!("{origin}/…"),
    }
}

/// The same, and a sign that there is more where there is a query.
pub fn shown_with_query(url: &Url) -> String {
    let query = if url.query().is_some() && is_loopback(url) { "?…" } else { "" };
    format!("{}{query}", shown(url))
}

/// Reads an http or https URL, or says what is wrong with it. The sentence never holds the URL.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let begins = "a URL here begins with http:// or https://";
    if !text.contains("://") {
        return Err(begins.to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("this is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(begins.to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a user or password: put them under `auth: {basic: …}`".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_echoes_the_request_gives_no_secret_away() {
        let mut headers = HeaderMap::new();
        let mut value = HeaderValue::from_static("Bearer s3cret-token");
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = parse_url("https://hooks.example.com/services/T000/B000/XXXXXXXX?key=abcdefgh").expect("a URL");
        let said =
            "no: Bearer s3cret-token, s3cret-token, /services/T000/B000/XXXXXXXX, XXXXXXXX, abcdefgh; application/json";
        let masked = Masks::new(&headers, &url).apply(said.to_owned());
        assert_eq!(masked, "no: …, …, /…, …, …; application/json");
    }

    #[test]
    fn what_is_sent_keeps_its_words_and_gives_no_secret_away() {
        let mut headers = HeaderMap::new();
        for (name, text) in
            [("authorization", "Bearer s3cret"), ("x-team", "growth"), ("x-who", "a-long-text-that-may-be-one")]
        {
            let mut value = HeaderValue::from_static(text);
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let url = parse_url("https://crm.example.com/customers/XXXXXXXXXXXXXXXXXXXXXXXX?format=ndjson").expect("a URL");
        let taken = ["taken-from-outside", "short", "two\nlines & more"].map(str::to_owned);
        let masks = Masks::of_content(&headers, &url).with(taken);
        let sent = "growth customers ndjson short s3cret a-long-text-that-may-be-one XXXXXXXXXXXXXXXXXXXXXXXX taken-from-outside";
        assert_eq!(masks.apply(sent.to_owned()), "growth customers ndjson short … … … …");
        assert_eq!(
            masks.apply(r#"{"a":"two\nlines & more","b":"two\nlines &amp; more"}"#.to_owned()),
            r#"{"a":"…","b":"…"}"#
        );
    }
}
