//! The operator's door: health, metrics, what became of an event, the destinations, and the bins.
//!
//! It listens on loopback only. A page in the operator's browser could still call it, so the Host header must be one of this machine's
//! names (a foreign page that has rebound its own name to loopback sends its own), and what changes something needs the header
//! [`WRITE_HEADER`], which a foreign page cannot send. Posting to a bin is excepted: destinations do that.

pub(crate) mod api;
pub mod bins;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;
use warp::Filter;

use crate::receive::{Answer, answer, healthz, readyz, text};
use crate::relay::Relay;
use crate::store::Health;
use crate::telemetry::DestinationGauges;

/// A write needs this header, with any value.
pub const WRITE_HEADER: &str = "x-vero-relay-write";
/// Every answer of the admin listener has it, with the version: so a verb knows that it talks to a relay.
pub const RELAY_HEADER: &str = "x-vero-relay";
/// Operators are few.
pub const CONNECTIONS_MAX: usize = 256;
/// The largest body that a bin or the API takes, but for a whole config.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The routes of the admin listener.
pub fn routes(
    relay: Arc<Relay>,
    address: SocketAddr,
) -> impl Filter<Extract = (Answer,), Error = std::convert::Infallible> + Clone {
    let hosts = Arc::new(allowed_hosts(address));
    warp::path::tail()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::query::<Vec<(String, String)>>())
        .and(warp::body::stream())
        .and(warp::any().map(move || (relay.clone(), hosts.clone())))
        .then(|tail: warp::path::Tail, method, headers, query, stream, (relay, hosts): (Arc<Relay>, Arc<Vec<String>>)| async move {
            let request = Request { path: tail.as_str(), method: &method, headers: &headers, query };
            let mut response = handle(&relay, &hosts, request, stream).await;
            let headers = response.headers_mut();
            headers.insert(RELAY_HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            headers.insert("cache-control", HeaderValue::from_static("no-store"));
            headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'"));
            response
        })
        .or(warp::any().map(|| answer(StatusCode::BAD_REQUEST, "the request's query or body could not be read")))
        .unify()
}

fn allowed_hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let names = [address.ip().to_string(), "localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    names.into_iter().flat_map(|name| [format!("{name}:{port}"), name]).collect()
}

/// A request to the operator's door, without its body.
struct Request<'r> {
    path: &'r str,
    method: &'r Method,
    headers: &'r HeaderMap,
    query: Vec<(String, String)>,
}

async fn handle<S, B>(relay: &Arc<Relay>, hosts: &[String], request: Request<'_>, stream: S) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let Request { path, method, headers, query } = request;
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return answer(StatusCode::MISDIRECTED_REQUEST, "this listener answers only to the names of this machine");
    }
    let steps: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_post_to_bin = *method == Method::POST && steps.first() == Some(&"bin");
    if !is_read && !is_post_to_bin && !headers.contains_key(WRITE_HEADER) {
        let why = format!("what changes something needs the header {WRITE_HEADER}: 1");
        return answer(StatusCode::FORBIDDEN, &why);
    }
    match (is_read, steps.as_slice()) {
        (true, ["healthz"]) => healthz(),
        (true, ["readyz"]) => readyz(relay),
        (true, ["metrics"]) => {
            let relay = relay.clone();
            // It looks at the disk.
            let told = tokio::task::spawn_blocking(move || metrics(&relay)).await;
            told.unwrap_or_else(|_| answer(StatusCode::INTERNAL_SERVER_ERROR, "it panicked; see the log"))
        }
        (_, ["api", rest @ ..]) => {
            let bytes_max = if rest == ["what-if"] { api::what_if::BODY_BYTES_MAX } else { BODY_BYTES_MAX };
            let body = match read_body(stream, bytes_max).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            api::answer(relay, is_read, rest, &api::Query(query), &body).await
        }
        (true, ["bin"]) => json(&relay.bins.overview()),
        (true, ["bin", name]) => match relay.bins.show(name) {
            Some(shown) => json(&shown),
            None => answer(StatusCode::NOT_FOUND, "nothing has come into this bin yet"),
        },
        (false, ["bin", name, ..]) => bin(relay, name, path, method, headers, stream).await,
        (true, [""]) => text(StatusCode::OK, OVERVIEW),
        _ => answer(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is"),
    }
}

const OVERVIEW: &str = "vero-relay\n\n\
    GET  /healthz                            the process is there\n\
    GET  /readyz                             events can be taken in\n\
    GET  /metrics                            for Prometheus\n\
    GET  /api/status                         everything on one page\n\
    GET  /api/events                         the history, newest first: ?type= ?source= ?destination= ?state= ?since= ?until= ?match= ?limit= ?before=\n\
    GET  /api/events/ID                      one event, what became of its deliveries, and the attempts that failed\n\
    GET  /api/destinations                   every destination: backlog, age of the oldest, dead letters, breaker, paused\n\
    POST /api/destinations/NAME/pause        hold its queue                    resume: let it go on; retry: make what waits due now\n\
    POST /api/sources/NAME/pause             answer its events with 503        resume: take them in again\n\
    GET  /api/dead-letters                   ?destination= ?since= ?until= ?reason= ?limit= ?before=\n\
    POST /api/dead-letters/replay            {destination, event?, since?, until?, reason?, to?, id?, dry_run?}\n\
    POST /api/dead-letters/drop              the same, but to; they are kept no longer\n\
    GET  /api/replays                        replays of the history; /api/replays/ID one of them\n\
    POST /api/replays                        {id?, since, until?, match?, to?, dry_run?}\n\
    POST /api/reload                         read the config file again: what changed, or what is wrong with it\n\
    GET  /api/what-if                        ?last= or ?since=: the numbers of these events, from and until\n\
    POST /api/what-if                        {config, file?, from, until}: which deliveries would change if that config were in force\n\
    GET  /api/store                          how much it has, and how much it may have\n\
    POST /api/store/trim                     let go what need not be kept       backup: {directory}, a consistent copy\n\
    GET  /api/refused                        the last requests that were turned away, and why\n\
    GET  /bin                                all bins; /bin/NAME what came into one\n\
    POST /bin/NAME                           answers ok and keeps what came\n\n\
    POSTs but to a bin need the header x-vero-relay-write.\n";

/// A JSON answer.
fn json(value: &Value) -> Answer {
    let mut response = Response::new(Bytes::from(format!("{value:#}\n")));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn metrics(relay: &Relay) -> Answer {
    let generation = relay.generation();
    let now_ms = relay.clock.now_ms();
    for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
        let counts = relay.store.counts(*id);
        relay.metrics.set_destination(&DestinationGauges {
            name: &config.name,
            counts: &counts,
            backlog: config.backlog,
            now_ms,
        });
    }
    relay.metrics.set_store(&relay.store.usage(), relay.health() == Health::Good, now_ms);
    let mut response = Response::new(Bytes::from(relay.metrics.encode()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

async fn bin<S, B>(relay: &Relay, name: &str, path: &str, method: &Method, headers: &HeaderMap, stream: S) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let body = match read_body(stream, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match relay.bins.add(name, bins::Entry::new(method, path, headers, &body)) {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(message) => answer(StatusCode::TOO_MANY_REQUESTS, message),
    }
}

/// Reads a body of at most so many bytes.
async fn read_body<S, B>(stream: S, bytes_max: usize) -> Result<Vec<u8>, Answer>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let mut body = Vec::new();
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        let Ok(mut chunk) = chunk else { return Err(answer(StatusCode::BAD_REQUEST, "the body broke off")) };
        if body.len() + chunk.remaining() > bytes_max {
            let why = format!("bodies here have at most {bytes_max} bytes");
            return Err(answer(StatusCode::PAYLOAD_TOO_LARGE, &why));
        }
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    Ok(body)
}
