//! The admin listener: health, metrics, what became of an event, the destinations, and the bins.
//!
//! Beyond loopback it listens only with a token. [`door`] knows who may ask; posting to a bin needs no proof and no header, since
//! destinations do that. What is read is bounded in bytes and time, over all requests; what costs time is done beside the threads that
//! serve, in few places.
//!
//! # Cast
//!
//! * [`api`]: what the verbs of the command line ask, one file a resource.
//! * [`page`]: what a browser is shown.
//! * [`door`]: who may ask. [`sight`]: how much of an answer somebody sees. [`reader`]: what those see who only look. [`addresses`]: texts without
//!   those of people. [`work`]: how much is done at once. [`layout`]: how JSON is laid out.

mod addresses;
pub(crate) mod api;
mod door;
mod layout;
mod page;
mod reader;
mod sight;
mod work;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use warp::reply::Response as Reply;
use warp::{Filter, Reply as _};

pub(crate) use self::addresses::without_addresses;
use self::door::{Access, Door, Knock, Visitor};
use self::layout::Layout;
use self::sight::Sight;
use self::work::{Effort, Places};
use crate::bins;
use crate::destination::hops::VIA;
use crate::listener::body::{self, Intake};
use crate::listener::slots::Peer;
use crate::listener::{Answer, answer, text};
use crate::relay::{Relay, SourceState, healthz, readyz};
use crate::telemetry::{DestinationGauges, SourceGauges};

/// The API as an OpenAPI document, which `/api/openapi.json` gives too.
pub fn openapi() -> Value {
    api::document()
}

/// docs/api.md.
pub fn api_reference() -> String {
    api::reference()
}

/// A write needs this header, with any value.
pub const WRITE_HEADER: &str = "x-vero-relay-write";
/// Every answer of the admin listener has it, with the version: so a verb knows that it talks to a relay.
pub const RELAY_HEADER: &str = "x-vero-relay";
/// Operators are few. Where all are in use one gives way: `listener/slots.rs` says which.
pub const CONNECTIONS_MAX: usize = 256;
/// Where few files may be open, this part of them may be connections of the admin listener: webhooks, destinations and the journal have the rest.
const OPEN_FILES_PART: u64 = 4;
/// The largest body that a bin or the API takes, but for a whole config.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest form that signs in: one token.
const FORM_BYTES_MAX: usize = 4 << 10;
/// The bytes of all bodies that are being received: four whole configs.
const INTAKE_BYTES_MAX: usize = 9 << 20;

/// How often it is looked which sessions are over.
const SESSIONS_EVERY: Duration = Duration::from_secs(60);

/// What an answer has, unless it has its own.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store")),
    (HeaderName::from_static("content-security-policy"), HeaderValue::from_static("default-src 'none'")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// What all requests to the admin listener share.
struct Admin {
    relay: Arc<Relay>,
    door: Door,
    intake: Intake,
    places: Places,
    streams: Arc<api::Streams>,
}

/// What answers at the admin listener.
#[derive(Clone)]
pub struct Routes(Arc<Admin>);

impl Routes {
    /// Those of a listener at an address.
    pub fn new(relay: Arc<Relay>, address: SocketAddr) -> Self {
        let door = Door::new(address, &relay.generation().config);
        let intake = Intake::new(INTAKE_BYTES_MAX);
        let admin = Arc::new(Admin { relay, door, intake, places: Places::default(), streams: Arc::default() });
        admin.relay.background.spawn(end_sessions(admin.clone()));
        Self(admin)
    }

    /// For a connection that comes from somewhere.
    pub fn of_connection(&self, peer: Peer) -> impl Filter<Extract = (Reply,), Error = Infallible> + Clone + use<> {
        let admin = self.0.clone();
        warp::path::tail()
            .and(warp::method())
            .and(warp::header::headers_cloned())
            .and(warp::query::<Vec<(String, String)>>())
            .and(warp::body::stream())
            .and(warp::any().map(move || (admin.clone(), peer.clone())))
            .then(move |tail: warp::path::Tail, method, headers, query, stream, (admin, peer): (Arc<Admin>, Peer)| async move {
                let request = Request { peer: &peer, path: tail.as_str(), method: &method, headers: &headers, query };
                let mut response = handle(&admin, request, stream).await;
                let headers = response.headers_mut();
                headers.insert(RELAY_HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
                for (name, value) in HEADERS {
                    headers.entry(name).or_insert(value);
                }
                response
            })
            .or(warp::any().map(|| {
                answer(StatusCode::BAD_REQUEST, "the request's query or body could not be read").into_response()
            }))
            .unify()
    }
}

/// Ends sessions that are over until the relay stops: a stream ends with its session, and nobody else may come by for days.
async fn end_sessions(admin: Arc<Admin>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SESSIONS_EVERY) => admin.door.end_what_is_over(),
            () = admin.relay.until_stopping() => return,
        }
    }
}

/// A body, and what it counts for.
type Read = (Bytes, OwnedSemaphorePermit);

/// A request to the admin listener, without its body.
struct Request<'r> {
    peer: &'r Peer,
    path: &'r str,
    method: &'r Method,
    headers: &'r HeaderMap,
    query: Vec<(String, String)>,
}

async fn handle<S, B>(admin: &Admin, request: Request<'_>, stream: S) -> Reply
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let Request { peer, path, method, headers, .. } = request;
    let steps: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    if headers.contains_key(VIA) && steps.first() != Some(&"bin") {
        let why = "an event of a relay's cannot act here: only a bin is a destination";
        return answer(StatusCode::LOOP_DETECTED, why).into_response();
    }
    let generation = admin.relay.generation().clone();
    let knock = Knock { peer: peer.address, method, steps: &steps, headers, config: &generation.config };
    let visitor = match admin.door.admit(&knock) {
        Ok(visitor) => visitor,
        Err(refusal) => {
            peer.seat.set_known(false);
            return (*refusal).into_response();
        }
    };
    let is_ours = |proved: Option<Access>| gives_way_last(proved, &generation.config);
    peer.seat.set_known(is_ours(visitor.is_known.then_some(visitor.access)));
    if visitor.access == Access::Full && api::is_stream(method, &steps) {
        let query = api::Query(request.query);
        return api::open_stream(&admin.streams, &admin.relay, method, &query, headers, visitor.ended);
    }
    let answer = match (method, steps.as_slice()) {
        (&Method::POST, ["sign-out"]) => admin.door.sign_out(&knock),
        (&Method::POST, ["sign-in"]) => match read_body(admin, headers, stream, FORM_BYTES_MAX).await {
            Ok((form, _permit)) => {
                let signed_in = admin.door.sign_in(&knock, &form);
                if let Ok((access, _)) = signed_in {
                    peer.seat.set_known(is_ours(Some(access)));
                }
                signed_in.map_or_else(|refusal| *refusal, |(_, answer)| answer)
            }
            Err(refusal) => refusal,
        },
        (_, steps) if visitor.access == Access::Full || reader::may_ask(steps) => {
            let sight = Sight::of(visitor.access, generation.config.admin.shows_addresses);
            sight.of_answer(respond(admin, visitor, sight, request, steps, stream).await)
        }
        _ => answer(StatusCode::FORBIDDEN, reader::WHY),
    };
    answer.into_response()
}

/// How many connections there may be at once, by the limit of open files.
pub fn connections_max(open_files: Option<u64>) -> usize {
    let part = open_files.and_then(|limit| usize::try_from(limit / OPEN_FILES_PART).ok());
    part.map_or(CONNECTIONS_MAX, |part| part.min(CONNECTIONS_MAX))
}

/// Whether a connection by which somebody has come gives way after those of strangers. Who only looks is a stranger to who may do everything;
/// where nobody is asked, all are known who come past the door.
fn gives_way_last(proved: Option<Access>, config: &crate::config::Config) -> bool {
    proved == Some(Access::Full) || config.admin.tokens.is_empty()
}

/// Answers somebody who is in.
async fn respond<S, B>(
    admin: &Admin,
    visitor: Visitor,
    sight: Sight,
    request: Request<'_>,
    steps: &[&str],
    stream: S,
) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let Request { path, method, headers, mut query, .. } = request;
    let relay = &admin.relay;
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    // What comes into a bin is kept as it came.
    let is_for_bin = !is_read && steps.first() == Some(&"bin");
    let layout = if is_for_bin { Ok(Layout::Compact) } else { Layout::asked(headers, &mut query) };
    let layout = match layout {
        Ok(layout) => layout,
        Err(why) => return answer(StatusCode::BAD_REQUEST, why),
    };
    match (is_read, steps) {
        (true, ["healthz"]) => healthz(),
        (true, ["readyz"]) => readyz(relay),
        (true, ["metrics"]) => {
            let relay = relay.clone();
            admin.places.run(Effort::Look, async move { metrics(&relay).await }).await
        }
        (_, ["api", name, rest @ ..]) => {
            let Some(resource) = api::find(name) else { return nothing_here() };
            if let Some(refusal) = resource.refusal(method, rest) {
                return refusal;
            }
            // What asks only needs no body, and none that comes is read.
            let read =
                if is_read { None } else { Some(read_body(admin, headers, stream, resource.body_bytes_max).await) };
            let (body, permit) = match read.transpose() {
                Ok(read) => read.unzip(),
                Err(refusal) => return refusal,
            };
            let relay = relay.clone();
            // Where he hangs up, this is dropped.
            let _waits = visitor.has_gone.clone().drop_guard();
            let steps: Vec<String> = rest.iter().map(|step| (*step).to_owned()).collect();
            let query = api::Query(query);
            let (asked, effort) = match resource.take(is_read, rest, &query, &body.unwrap_or_default()) {
                Ok(taken) => taken,
                Err(refusal) => return api::Said::Refusal(refusal).answer(layout),
            };
            let search = visitor.search.clone();
            let answered = async move {
                let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
                let said = api::answer(resource, &relay, &visitor, is_read, &steps, &query, &asked).await;
                drop(permit);
                sight.of_large_answer(said.answer(layout)).await
            };
            admin.places.run_for(search, effort, answered).await
        }
        (true, ["bin"]) if page::is_wanted(headers) => page::at_view(path, steps),
        (true, ["bin", name]) if page::is_wanted(headers) && bins::is_name(name) => page::at_view(path, steps),
        (true, ["bin"]) => json(&relay.bins.overview(), layout),
        (_, ["bin", name, ..]) if !bins::is_name(name) => answer(StatusCode::BAD_REQUEST, bins::NAME_RULE),
        (true, ["bin", name]) => {
            let relay = relay.clone();
            let name = (*name).to_owned();
            admin.places.run(Effort::Search, blocking(move || sight.of_answer(show_bin(&relay, &name, layout)))).await
        }
        (false, ["bin", name, ..]) => match read_body(admin, headers, stream, BODY_BYTES_MAX).await {
            Ok((body, _permit)) => {
                relay.bins.add(name, bins::Entry::new(method, path, &query, headers, body));
                text(StatusCode::OK, "ok")
            }
            Err(refusal) => refusal,
        },
        (true, [""]) if !page::is_wanted(headers) => text(StatusCode::OK, overview()),
        (true, [file]) => page::find(file, headers).unwrap_or_else(nothing_here),
        _ => nothing_here(),
    }
}

/// Does something beside the threads that serve.
async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|_| answer(StatusCode::INTERNAL_SERVER_ERROR, "it panicked; see the log"))
}

fn show_bin(relay: &Relay, name: &str, layout: Layout) -> Answer {
    match relay.bins.show(name, |shown| json(&shown, layout)) {
        Some(shown) => shown,
        None => answer(StatusCode::NOT_FOUND, "nothing has come into this bin yet"),
    }
}

fn nothing_here() -> Answer {
    answer(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is")
}

/// What there is, a line each.
fn overview() -> String {
    let first = "vero-relay\n\n\
        GET  /healthz                            the process is there\n\
        GET  /readyz                             events are accepted\n\
        GET  /metrics                            for Prometheus\n\
        POST /sign-in                            {token} as a form: begins a session\n\
        POST /sign-out                           ends it\n";
    let last = "\
        GET  /bin                                all bins\n\
        GET  /bin/NAME                           what came into one\n\
        ANY  /bin/NAME                           another method than GET and HEAD: answers ok and keeps what came\n\n\
        POSTs need the header x-vero-relay-write, but to a bin and to sign in.\n\
        Where the config names a token: send it as Authorization: Bearer TOKEN.\n";
    format!("{first}{}{last}", api::overview())
}

/// A JSON answer.
fn json(value: &impl Serialize, layout: Layout) -> Answer {
    let Ok(text) = layout.text(value) else {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "a bug: the answer cannot be written as JSON");
    };
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn metrics(relay: &Relay) -> Answer {
    let (Ok(usage), Ok(counts)) = tokio::join!(relay.engine.usage(), relay.store.counts()) else {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "the store does not say how it stands; see the log");
    };
    let generation = relay.generation();
    let now_ms = relay.clock.now_ms();
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        // Of what another relay has, that one tells: so a sum over all relays counts each once.
        let counts = Some(counts.of(*id)).filter(|counts| counts.as_of_ms.is_none()).unwrap_or_default();
        relay.metrics.set_destination(&DestinationGauges {
            name: &config.name,
            counts: &counts,
            backlog_age_max: config.backlog.max_age,
            backlog_bytes_max: config.backlog.max_size,
            now_ms,
        });
    }
    for (source, id) in generation.config.sources.iter().zip(&generation.source_ids) {
        let state = relay.source_state(*id);
        relay.metrics.set_source(&SourceGauges {
            name: &source.name,
            is_paused: state.since_ms().is_some(),
            is_refusing: matches!(state, SourceState::Refusing(_)),
            held: counts.held(*id),
        });
    }
    relay.metrics.set_store_health(&relay.health());
    relay.metrics.set_store_usage(&usage, now_ms);
    let mut response = Response::new(Bytes::from(relay.metrics.encode()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Reads a body of at most so many bytes, in the time that bodies have. It counts among the bytes that all share until the permit is
/// dropped.
async fn read_body<S, B>(admin: &Admin, headers: &HeaderMap, stream: S, bytes_max: usize) -> Result<Read, Answer>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let body_timeout = admin.relay.generation().config.limits.body_timeout;
    let read = body::read(stream, headers, bytes_max, &admin.intake);
    match tokio::time::timeout(body_timeout, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(answer(error.status(), &error.to_string())),
        Err(_) => Err(answer(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_few_files_may_be_open_the_admin_listener_has_a_quarter_of_them() {
        let max = |limit: u64| connections_max(Some(limit));
        assert_eq!([max(64), max(1023), max(1024), max(u64::MAX), connections_max(None)], [16, 255, 256, 256, 256]);
    }
}
