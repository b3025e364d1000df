//! The last requests that were turned away. "I pasted the URL and nothing comes" is the first question asked.
//!
//! Whoever slips a token into the wrong place has it refused, so nothing is kept that could be one: of a path, only the word `hooks`
//! and the names of sources; of a body, its beginning without any configured secret.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode};

use crate::config::{Auth, Source};
use crate::spelled::{self, Letters, MASK};
use crate::telemetry::Metrics;
use crate::telemetry::trouble::{News, Trouble};
use crate::time::Instant;

pub const KEPT_MAX: usize = 100;
/// Bytes kept of each body.
const BODY_BYTES_MAX: usize = 1 << 10;
/// Steps kept of a path: a wrong one is wrong at its beginning.
const STEPS_MAX: usize = 8;

/// A request that was turned away.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RefusedRequest {
    /// When, RFC 3339.
    pub at: String,
    pub status: u16,
    pub reason: String,
    pub method: String,
    /// At which path, masked.
    pub path: String,
    /// From which source, if it proved itself.
    pub source: Option<String>,
    /// The beginning of its body, masked.
    pub body: String,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'r> {
    pub method: &'r Method,
    pub path: &'r str,
    /// Which it proved to come from.
    pub source: Option<&'r str>,
    pub body: &'r [u8],
}

impl RefusedRequest {
    /// Takes down a request.
    pub(crate) fn new(status: StatusCode, reason: &str, seen: Seen<'_>, sources: &[Source]) -> Self {
        let secrets = secrets(sources);
        Self {
            at: crate::time::rfc3339(crate::time::wall_ms()),
            status: status.as_u16(),
            reason: without(&secrets, reason.as_bytes()),
            method: known(seen.method).to_owned(),
            path: masked(seen.path, sources, &secrets),
            source: seen.source.map(str::to_owned),
            body: without(&secrets, seen.body),
        }
    }
}

/// A method's name, if it has one: a word of the sender's own may be anything.
fn known(method: &Method) -> &str {
    let all = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];
    if all.contains(method) || *method == Method::TRACE { method.as_str() } else { MASK }
}

/// What proves a source: what stands in the config, and what of it a request holds.
fn secrets(sources: &[Source]) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    for source in sources {
        match &source.auth {
            Auth::Token(tokens) => secrets.extend(tokens.iter().map(|token| token.expose().to_owned())),
            Auth::Basic(pair) => {
                secrets.extend(pair.expose().split_once(':').map(|(_, password)| password.to_owned()));
                secrets.push(STANDARD_NO_PAD.encode(pair.expose()));
                secrets.push(URL_SAFE_NO_PAD.encode(pair.expose()));
            }
            Auth::Header { value, .. } => {
                // Also without the scheme before it.
                secrets.extend(value.expose().split_once(' ').map(|(_, credential)| credential.to_owned()));
                secrets.push(value.expose().to_owned());
            }
        }
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets
}

/// A path in which only the word `hooks` and the sources' names are shown.
fn masked(path: &str, sources: &[Source], secrets: &[String]) -> String {
    let is_shown = |step: &str| {
        let is_word = step.is_empty() || step == "hooks" || sources.iter().any(|source| source.name == step);
        is_word && !secrets.iter().any(|secret| secret.eq_ignore_ascii_case(step))
    };
    let mut steps = path.split('/');
    let shown = steps.by_ref().take(STEPS_MAX).map(|step| if is_shown(step) { step } else { MASK });
    let mut shown = shown.collect::<Vec<_>>().join("/");
    if steps.next().is_some() && !shown.ends_with(MASK) {
        shown.push_str(MASK);
    }
    shown
}

/// The beginning of a text, without the secrets: in any letters, and however they are spelled.
fn without(secrets: &[String], text: &[u8]) -> String {
    String::from_utf8_lossy(&spelled::without(secrets, text, BODY_BYTES_MAX, Letters::Any)).into_owned()
}

/// The last of them, and how many there were since the start.
pub struct Refused {
    since_ms: u64,
    kept: Mutex<Kept>,
    /// By the source that they named: requests that did not prove to come from it.
    wrong_tokens: Mutex<BTreeMap<String, u64>>,
    metrics: Metrics,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Kept {
    /// Newest first.
    requests: VecDeque<RefusedRequest>,
    /// By the word for the reason, of which there are few.
    counts: BTreeMap<&'static str, u64>,
}

/// Whoever reaches the listener can be refused as often as they like: the log sums it up.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What the log says of them.
struct Told {
    trouble: Trouble,
    last: (u16, &'static str),
}

/// Why, in a word for metrics and log; nothing of the request is in it.
fn in_a_word(status: u16) -> &'static str {
    match status {
        404 => "wrong_address",
        405 => "method",
        408 => "body_timeout",
        413 => "too_large",
        415 => "encoding",
        400 => "bad_event",
        503 => "unavailable",
        _ => "other",
    }
}

impl Refused {
    pub fn new(metrics: &Metrics) -> Self {
        let told = Told { trouble: Trouble::summed_up(TOLD_EVERY), last: (0, "other") };
        let since_ms = crate::time::wall_ms();
        Self {
            since_ms,
            kept: Mutex::default(),
            wrong_tokens: Mutex::default(),
            metrics: metrics.clone(),
            told: Mutex::new(told),
        }
    }

    /// Adds one, and drops the oldest.
    pub fn add(&self, request: RefusedRequest) {
        let reason = in_a_word(request.status);
        self.metrics.refused(reason).inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.last = (request.status, reason);
        let news = told.trouble.happens(Instant::now());
        told.tell(news);
        drop(told);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept.counts.entry(reason).or_default() += 1;
        if kept.requests.len() == KEPT_MAX {
            kept.requests.pop_back();
        }
        kept.requests.push_front(request);
    }

    /// Counts a request that named a source of the config and did not prove to come from it.
    pub fn add_wrong_token(&self, source: &str) {
        let mut wrong_tokens = self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *wrong_tokens.entry(source.to_owned()).or_default() += 1;
    }

    /// How many of those there were since the start.
    pub fn wrong_tokens(&self) -> BTreeMap<String, u64> {
        self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time has passed: tells what is due.
    pub fn look(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.trouble.look(Instant::now());
        told.tell(news);
    }

    /// Those that are kept, newest first.
    pub fn list(&self) -> Vec<RefusedRequest> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).requests.iter().cloned().collect()
    }

    /// Lets go of those that say something. They are counted as before.
    pub fn forget(&self, says: impl Fn(&[u8]) -> bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.requests.retain(|request| {
            let RefusedRequest { reason, path, body, .. } = request;
            ![reason, path, body].into_iter().any(|text| says(text.as_bytes()))
        });
    }

    /// Since when they are counted, unix milliseconds, and how many there were for each reason.
    pub fn counts(&self) -> (u64, BTreeMap<&'static str, u64>) {
        (self.since_ms, self.kept.lock().unwrap_or_else(PoisonError::into_inner).counts.clone())
    }
}

impl Told {
    fn tell(&self, news: Option<News>) {
        if let Some(News { times, .. }) = news {
            let (status, reason) = self.last;
            tracing::warn!(
                count = times,
                last_status = status,
                last_reason = reason,
                "requests to the hooks were refused: see /api/refused on the admin listener"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn sources() -> Vec<Source> {
        let token = |token: &str| Auth::Token(vec![Secret::from(token.to_owned())]);
        let source = |name: &str, auth| Source { name: name.to_owned(), auth, expect_every: None, dedupe: None };
        vec![
            source("vero", token("s3cret-Token")),
            source("shop", token("shop")),
            source("old", Auth::Basic(Secret::from("user:p@ss word".to_owned()))),
            source(
                "key",
                Auth::Header {
                    name: http::HeaderName::from_static("x-key"),
                    value: Secret::from("Bearer k/\"y\\z+".to_owned()),
                },
            ),
        ]
    }

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let sources = sources();
        assert_eq!(masked(path, &sources, &secrets(&sources)), expected, "{path}");
    }

    #[test]
    fn a_path_shows_nothing_that_could_be_a_token() {
        check("/hooks/vero/s3cret-Token", "/hooks/vero/…");
        check("/hooks/vero/s3cret-Tokem/bounced", "/hooks/vero/…/…");
        check("//hooks/vero/s3cret-Token", "//hooks/vero/…");
        check("/prefix/hooks/vero/s3cret-Token", "/…/hooks/vero/…");
        check("/hooks/s3cret-Token", "/hooks/…");
        check("/hooks/s3cret-Token/vero", "/hooks/…/vero");
        check("/s3cret-Token", "/…");
        check("/hooks/vero%2Fs3cret-Token", "/hooks/…");
        check("/hooks/Vero/x", "/hooks/…/…");
        check("/hooks/shop/shop", "/hooks/…/…");
        check("/", "/");
        check("/favicon.ico", "/…");
        check("*", "…");
        check("/a/b/c/d/e/f/g/h/i/j", "/…/…/…/…/…/…/…");
        check("/hooks/hooks/hooks/hooks/hooks/hooks/hooks/x", "/hooks/hooks/hooks/hooks/hooks/hooks/hooks…");
    }

    #[track_caller]
    fn check_text(text: &str, expected: &str) {
        assert_eq!(without(&secrets(&sources()), text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn a_body_shows_no_configured_secret_however_it_is_written() {
        check_text("a s3cret-Token b", "a … b");
        check_text("S3CRET-TOKEN", "…");
        check_text("s3cret-Tokens3cret-Token", "……");
        check_text("s3cret%2dTok%65n", "…");
        check_text("s3cret%252DTok%25252565n", "…");
        check_text(r"\u00733cret-Toke\u006E", "…");
        check_text("key=p@ss word&", "key=…&");
        check_text("p%40ss%20word", "…");
        check_text("p%40ss+word", "…");
        check_text("Basic dXNlcjpwQHNzIHdvcmQ=", "Basic …=");
        check_text("dXNlcjpwQHNzIHdvcmQ%3D", "…%3D");
        check_text(r#"{"a":"k\/\"y\\z+"}"#, r#"{"a":"…"}"#);
        check_text("Bearer k/\"y\\z+", "…");
        check_text("s3cret-Toke", "s3cret-Toke");
        check_text("100% of 25% are %zz", "100% of 25% are %zz");
        let long = format!("{}s3cret-Token", "x".repeat(BODY_BYTES_MAX - 1));
        check_text(&long, &format!("{}…", "x".repeat(BODY_BYTES_MAX - 1)));
    }
}
