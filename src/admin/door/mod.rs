//! The door of the admin listener: who comes in, and for what.
//!
//! Every request goes through [`Door::admit`] before anything is looked up for it, so no way to write a path leads around it: a path that
//! is not known letter by letter is one for which somebody must be known. In order:
//!
//! 1. the Host header is a name that the relay knows (421), so no page reaches it by a name of its own;
//! 2. a browser does not say that another site's page asks (403);
//! 3. somebody is known, by a token or by a session (401), where the config names a token;
//! 4. the token may do it (403);
//! 5. what changes something has the header [`WRITE_HEADER`], which a foreign page cannot send (403).
//!
//! The health checks come before the first, and so do the metrics where they are open; the page, which holds no data, before the third. A
//! bin takes from this machine without the last three, since destinations post there. No header that a proxy sets is believed: one that
//! says that a request was passed on can only take something away.
//!
//! # Cast
//!
//! * [`guard`]: names and origins. [`guesses`]: wrong tokens. [`sessions`]: who has signed in. All three are pure.
//! * [`Door`]: has them together. [`Knock`]: a request, before it is in. [`Visitor`]: who is.

mod guard;
mod guesses;
mod sessions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::guard::{Guard, Names};
use self::guesses::{Guesses, is_guessable};
pub(super) use self::sessions::Access;
use self::sessions::{Found, Proof, Sessions};
use super::layout::Layout;
use super::{WRITE_HEADER, page};
use crate::config::{Admin, CREDENTIAL_BYTES_MAX, Config, digest_of};
use crate::listener::{Answer, answer};
use crate::telemetry::trouble::Trouble;
use crate::time::Instant;

/// Wrong tokens are told this often: each may be one of thousands.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Cookies of one name that are looked at: the relay's own, and some that others have set beside it.
const COOKIES_MAX: usize = 4;
/// Headers by which proxies say that they pass a request on, and how more of them begin. One that says nothing and asks by a name of this
/// machine is not told from a destination: docs/page.md says what to do about that.
const PASSED_ON: [&str; 7] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "cdn-loop"];
const PASSED_ON_PREFIX: &str = "x-forwarded-";

/// The answer to who does not come in. In a box: most do.
type Refusal = Box<Answer>;

/// A request that wants to come in.
pub(super) struct Knock<'r> {
    /// The other end of its connection.
    pub peer: SocketAddr,
    pub method: &'r Method,
    /// Its path as it was sent.
    pub steps: &'r [&'r str],
    pub headers: &'r HeaderMap,
    /// Of the config in force.
    pub config: &'r Config,
}

/// Somebody who is in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub access: Access,
    /// Whether the relay asks who somebody is.
    pub is_asked: bool,
    /// Whether it knows.
    pub is_known: bool,
    /// How long his session lasts if nobody uses it. `None`: he has none.
    pub lasts: Option<Duration>,
    /// The place for the one search of a session.
    pub search: Option<Arc<Semaphore>>,
    /// Cancelled when his session ends: what goes on and on ends with it.
    pub ended: CancellationToken,
    /// Cancelled when he does not wait for the answer any more: what is only looked for ends with it.
    pub has_gone: CancellationToken,
}

impl Visitor {
    /// Somebody who is not asked.
    fn anybody() -> Self {
        Self {
            access: Access::Full,
            is_asked: false,
            is_known: false,
            lasts: None,
            search: None,
            ended: CancellationToken::new(),
            has_gone: CancellationToken::new(),
        }
    }

    /// Somebody who is not known, and may be told so.
    fn stranger() -> Self {
        Self { access: Access::Read, is_asked: true, ..Self::anybody() }
    }
}

/// What a request is for, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Health,
    Metrics,
    /// The page and its files.
    Page,
    SignIn,
    /// To ask whether one has signed in.
    Session,
    /// A destination posts to a bin.
    Bin,
    /// All that somebody must be known for.
    Rest,
}

/// Who comes in.
#[derive(Debug)]
pub(super) struct Door {
    guard: Guard,
    /// The end of the cookie's name: browsers send the cookies of a host to all its ports and paths, and there may be two relays.
    name: String,
    sessions: Mutex<Sessions>,
    guesses: Mutex<Guesses>,
    wrong: Mutex<Trouble>,
}

impl Door {
    /// The door of a listener; `config` is of the relay that begins.
    pub(super) fn new(address: SocketAddr, config: &Config) -> Self {
        let host_name = rustix::system::uname();
        let relay = [host_name.nodename().to_bytes(), config.data_dir.as_os_str().as_encoded_bytes()].concat();
        let name = digest_of(&relay)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            guard: Guard::new(address),
            name,
            sessions: Mutex::default(),
            guesses: Mutex::default(),
            wrong: Mutex::new(Trouble::summed_up(TOLD_EVERY)),
        }
    }

    /// Ends the sessions that are over; to be called now and then.
    pub(super) fn end_what_is_over(&self) {
        lock(&self.sessions).end_what_is_over(Instant::now());
    }

    /// Lets a request in, or says why not.
    pub(super) fn admit(&self, knock: &Knock<'_>) -> Result<Visitor, Refusal> {
        let Knock { headers, method, config, .. } = *knock;
        let admin = &config.admin;
        let what = self.what(knock);
        let names = names(admin);
        let is_open = what == What::Health || (what == What::Metrics && admin.open_metrics);
        if !is_open && let Some(refusal) = self.guard.refusal_of_host(headers, &names) {
            return Err(refusal.into());
        }
        // A link on another site leads to the page, which is the same for everybody.
        let is_link = what == What::Page && is_navigation(headers);
        if !is_link && let Some(refusal) = self.guard.refusal_of_site(headers, &names) {
            return Err(refusal.into());
        }
        if is_open || matches!(what, What::Page | What::SignIn | What::Bin) {
            return Ok(Visitor::anybody());
        }
        let visitor = match admin.tokens.is_empty() {
            true => Ok(Visitor::anybody()),
            false => self.known(knock),
        };
        let visitor = match visitor {
            // A proxy in between may have a password of its own in that header, and a stranger is told that he is one.
            Err(_) if what == What::Session && token_of(headers).is_none() => Visitor::stranger(),
            known => known?,
        };
        let is_read = is_read(method);
        let is_leaving = knock.steps == ["sign-out"];
        if visitor.access == Access::Read && !is_read && !is_leaving {
            return Err(answer(
                StatusCode::FORBIDDEN,
                "this token is for looking at states and numbers: it shows no event, and changes nothing",
            )
            .into());
        }
        if !is_read && !headers.contains_key(WRITE_HEADER) {
            let why = format!("what changes something needs the header {WRITE_HEADER}: 1");
            return Err(answer(StatusCode::FORBIDDEN, &why).into());
        }
        Ok(visitor)
    }

    fn what(&self, knock: &Knock<'_>) -> What {
        let is_post = *knock.method == Method::POST;
        match (is_read(knock.method), knock.steps) {
            (true, ["healthz" | "readyz"]) => What::Health,
            (true, ["metrics"]) => What::Metrics,
            (true, ["api", "session"]) => What::Session,
            (true, [file]) if page::has(file) => What::Page,
            // It is only led to the page, which then asks.
            (true, ["bin"] | ["bin", _]) if page::is_wanted(knock.headers) => What::Page,
            (false, ["sign-in"]) if is_post => What::SignIn,
            // One whose name is none is told so, as it is most likely a destination's. A step up is no name at all.
            (false, ["bin", name, ..]) if !matches!(*name, "." | "..") && self.is_from_here(knock) => What::Bin,
            _ => What::Rest,
        }
    }

    /// Whether a request comes from this machine, and nobody says that he passes it on. Without a token nobody is asked.
    fn is_from_here(&self, knock: &Knock<'_>) -> bool {
        let says_so = |name: &str| PASSED_ON.contains(&name) || name.starts_with(PASSED_ON_PREFIX);
        let is_passed_on = knock.headers.keys().any(|name| says_so(name.as_str()));
        let is_from_here = knock.peer.ip().to_canonical().is_loopback() && !is_passed_on;
        knock.config.admin.tokens.is_empty() || (is_from_here && self.guard.is_own_name(knock.headers))
    }

    /// Who asks: by a token, or by a session.
    fn known(&self, knock: &Knock<'_>) -> Result<Visitor, Refusal> {
        if let Some(token) = token_of(knock.headers) {
            let proof = self.prove(knock, token)?;
            return Ok(Visitor { access: proof.access, is_known: true, ..Visitor::stranger() });
        }
        match self.session(knock) {
            Some(Found { access, lasts, search, ended }) => {
                let (lasts, search) = (Some(lasts), Some(search));
                Ok(Visitor { access, is_known: true, lasts, search, ended, ..Visitor::stranger() })
            }
            None => Err(unknown("sign in, or send the token as Authorization: Bearer …").into()),
        }
    }

    /// Looks at a token; after too many that were wrong, only at whether it is one that cannot be guessed.
    fn prove(&self, knock: &Knock<'_>, token: &[u8]) -> Result<Proof, Refusal> {
        let now = Instant::now();
        let from = knock.peer.ip();
        let mut guesses = lock(&self.guesses);
        let admin = &knock.config.admin;
        if let Some(wait) = guesses.wait(now, from) {
            let proof = proof_of(token, &proofs_of(admin, |token| !is_guessable(token)));
            return proof.ok_or_else(|| wait_for(wait).into());
        }
        if let Some(proof) = proof_of(token, &proofs(admin)) {
            return Ok(proof);
        }
        guesses.note(now, from, digest_of(token));
        drop(guesses);
        if let Some(news) = lock(&self.wrong).happens(now) {
            tracing::warn!(%from, times = news.times, "a token that is not known came to the admin listener");
        }
        Err(unknown("this token is not known here").into())
    }

    fn session(&self, knock: &Knock<'_>) -> Option<Found> {
        let proofs = proofs(&knock.config.admin);
        let mut sessions = lock(&self.sessions);
        self.cookies(knock).into_iter().find_map(|secret| sessions.use_one(Instant::now(), secret, &proofs))
    }

    /// What the browser has kept. There may be several of the name, of which others have set some: for a path, or for a domain above.
    fn cookies<'r>(&self, knock: &Knock<'r>) -> Vec<&'r str> {
        let name = self.cookie_name(&knock.config.admin);
        let lists = knock.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        // Pair by pair: others may hold whatever they like.
        let texts =
            lists.flat_map(|list| list.split(|byte| *byte == b';')).filter_map(|pair| str::from_utf8(pair).ok());
        let pairs = texts.filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).take(COOKIES_MAX).collect()
    }

    fn cookie_name(&self, admin: &Admin) -> String {
        // What begins so is taken by browsers only with `Secure`, for this host alone.
        let prefix = if is_encrypted(admin) { "__Host-" } else { "" };
        format!("{prefix}vero-relay-{}", self.name)
    }

    fn cookie_to_set(&self, admin: &Admin, value: &str, more: &str) -> HeaderValue {
        let name = self.cookie_name(admin);
        let secure = if is_encrypted(admin) { "; Secure" } else { "" };
        let text = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/{secure}{more}");
        let mut value = HeaderValue::try_from(text).expect("digits, and words without a line end");
        value.set_sensitive(true);
        value
    }

    /// Answers somebody who signs in, by the form that he has sent, and says what he may do.
    pub(super) fn sign_in(&self, knock: &Knock<'_>, form: &[u8]) -> Result<(Access, Answer), Refusal> {
        let admin = &knock.config.admin;
        if admin.tokens.is_empty() {
            let why = "nobody needs to sign in here: the config has no token under `admin:`";
            return Err(Box::new(answer(StatusCode::CONFLICT, why)));
        }
        let mut given = form_urlencoded::parse(form).filter(|(key, _)| key == "token");
        let (Some((_, token)), None) = (given.next(), given.next()) else {
            return Err(Box::new(answer(StatusCode::BAD_REQUEST, "a form with one `token` signs in")));
        };
        let proof = self.prove(knock, token.trim().as_bytes())?;
        let access = proof.access;
        let Some(secret) = lock(&self.sessions).begin(Instant::now(), proof) else {
            return Err(Box::new(answer(StatusCode::INTERNAL_SERVER_ERROR, "the system has no random numbers")));
        };
        tracing::info!(from = %knock.peer.ip(), ?access, "somebody has signed in");
        let wants_json = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("json"));
        let mut response = if knock.headers.get(http::header::ACCEPT).is_some_and(wants_json) {
            super::json(&json!({ "needed": true, "signed_in": true }), Layout::Compact)
        } else {
            // Relative, so that it is right below any path.
            let mut response = answer(StatusCode::SEE_OTHER, "signed in");
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("./"));
            response
        };
        response.headers_mut().insert(SET_COOKIE, self.cookie_to_set(admin, &secret, ""));
        Ok((access, response))
    }

    /// Ends the session of who is in.
    pub(super) fn sign_out(&self, knock: &Knock<'_>) -> Answer {
        let mut sessions = lock(&self.sessions);
        self.cookies(knock).into_iter().for_each(|secret| sessions.end(secret));
        drop(sessions);
        let mut response = super::json(&json!({ "signed_in": false }), Layout::Compact);
        let gone = self.cookie_to_set(&knock.config.admin, "", "; Max-Age=0");
        response.headers_mut().insert(SET_COOKIE, gone);
        response
    }
}

/// The names that a config adds.
fn names(admin: &Admin) -> Names<'_> {
    Names { hosts: &admin.hosts, url: admin.url.as_ref(), has_tls: admin.tls.is_some() }
}

/// Whether browsers come by https, so that a cookie may go by nothing else.
fn is_encrypted(admin: &Admin) -> bool {
    admin.tls.is_some() || admin.url.as_ref().is_some_and(|url| url.scheme() == "https")
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a browser opens a page, and no page asks for something.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

/// What the tokens of a config prove.
fn proofs(admin: &Admin) -> Vec<Proof> {
    proofs_of(admin, |_| true)
}

/// The same of some of them.
fn proofs_of(admin: &Admin, is_meant: impl Fn(&[u8]) -> bool) -> Vec<Proof> {
    let full = admin.tokens.iter().map(|token| (token, Access::Full));
    let all = full.chain(admin.read_tokens.iter().map(|token| (token, Access::Read)));
    let meant = all.map(|(token, access)| (token.expose().as_bytes(), access)).filter(|(token, _)| is_meant(token));
    meant.map(|(token, access)| Proof { digest: digest_of(token), access }).collect()
}

/// What a token proves. All are compared, each in constant time: how long a refusal takes tells nothing.
fn proof_of(token: &[u8], proofs: &[Proof]) -> Option<Proof> {
    let digest = digest_of(token);
    proofs.iter().fold(None, |found, proof| if bool::from(proof.digest.ct_eq(&digest)) { Some(*proof) } else { found })
}

/// The token of an `Authorization` header. Proxies pass on what they were told by other schemes: that is none of ours.
fn token_of(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && value.len() <= CREDENTIAL_BYTES_MAX).then(|| token.trim_ascii())
}

fn unknown(why: &str) -> Answer {
    let mut refusal = answer(StatusCode::UNAUTHORIZED, why);
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vero-relay\""));
    refusal
}

fn wait_for(wait: Duration) -> Answer {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let why = format!("too many wrong tokens came: try again in {seconds} s");
    let mut refusal = answer(StatusCode::TOO_MANY_REQUESTS, &why);
    refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    refusal
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
