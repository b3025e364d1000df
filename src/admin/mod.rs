//! The operator's door: health, metrics, what became of an event, the destinations, and the bins.
//!
//! It listens on loopback only. A page in the operator's browser could still call it, so the Host header must be one of this machine's
//! names (a foreign page that has rebound its own name to loopback sends its own), and what changes something needs the header
//! [`WRITE_HEADER`], which a foreign page cannot send. Posting to a bin is excepted: destinations do that.

pub mod bins;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use warp::Filter;

use crate::event::EventId;
use crate::receive::{Answer, answer, healthz, readyz, text};
use crate::relay::Relay;
use crate::store::{DeliveryState, Health, NameId, ReadError};
use crate::telemetry::DestinationGauges;
use crate::time::rfc3339;

/// A write needs this header, with any value.
pub const WRITE_HEADER: &str = "x-vero-relay-write";
/// Operators are few.
pub const CONNECTIONS_MAX: usize = 256;
/// The largest body that a bin takes.
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
        .and(warp::body::stream())
        .and(warp::any().map(move || (relay.clone(), hosts.clone())))
        .then(|tail: warp::path::Tail, method, headers, stream, (relay, hosts): (Arc<Relay>, Arc<Vec<String>>)| async move {
            let mut response = handle(&relay, &hosts, tail.as_str(), &method, &headers, stream).await;
            let headers = response.headers_mut();
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            headers.insert("cache-control", HeaderValue::from_static("no-store"));
            headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'"));
            response
        })
        .or(warp::any().map(|| answer(StatusCode::BAD_REQUEST, "the request has no body that could be read")))
        .unify()
}

fn allowed_hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let names = [address.ip().to_string(), "localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    names.into_iter().flat_map(|name| [format!("{name}:{port}"), name]).collect()
}

async fn handle<S, B>(
    relay: &Relay,
    hosts: &[String],
    path: &str,
    method: &Method,
    headers: &HeaderMap,
    stream: S,
) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
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
        (true, ["metrics"]) => metrics(relay),
        (true, ["api", "events", id]) => event(relay, id).await,
        (true, ["api", "destinations"]) => json(&destinations(relay)),
        (true, ["api", "refused"]) => json(&json!({ "refused": relay.refused.list() })),
        (false, ["api", "destinations", name, act @ ("pause" | "resume")]) => pause_or_resume(relay, name, act),
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
    GET  /healthz                           the process is there\n\
    GET  /readyz                            events can be taken in\n\
    GET  /metrics                           for Prometheus\n\
    GET  /api/events/ID                     one event, and what became of its deliveries\n\
    GET  /api/destinations                  every destination: backlog, age of the oldest, dead letters, paused\n\
    POST /api/destinations/NAME/pause       hold its queue      (needs the header x-vero-relay-write)\n\
    POST /api/destinations/NAME/resume      let it go on        (needs the header x-vero-relay-write)\n\
    GET  /api/refused                       the last requests that were turned away, and why\n\
    GET  /bin                               all bins\n\
    GET  /bin/NAME                          what came into one\n\
    POST /bin/NAME                          answers ok and keeps what came\n";

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
        relay.metrics.set_destination(&DestinationGauges { name: &config.name, counts: &counts, now_ms });
    }
    relay.metrics.set_store(relay.store.usage().bytes, relay.health() == Health::Good);
    let mut response = Response::new(Bytes::from(relay.metrics.encode()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

async fn event(relay: &Relay, id: &str) -> Answer {
    let Ok(id) = id.parse::<EventId>() else {
        return answer(StatusCode::NOT_FOUND, "this is not an event's id");
    };
    let store = relay.store.clone();
    let found = tokio::task::spawn_blocking(move || store.event(id)).await;
    let view = match found {
        Ok(Ok(view)) => view,
        Ok(Err(error @ ReadError::Missing)) => return answer(StatusCode::NOT_FOUND, &error.to_string()),
        Ok(Err(error)) => return answer(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_) => return answer(StatusCode::INTERNAL_SERVER_ERROR, "reading the event panicked; see the log"),
    };
    let name = |id: NameId| relay.store.name_of(id).map(|name| name.to_string());
    let deliveries = view.states.iter().map(|(planned, state)| {
        let mut shown = shown_state(state);
        shown["destination"] = json!(name(planned.destination));
        shown["rule"] = json!(name(planned.rule));
        shown
    });
    json(&json!({
        "id": view.event.id.to_string(),
        "received_at": rfc3339(view.event.received_ms),
        "source": name(view.event.source),
        "rules": view.event.rules.iter().map(|rule| name(*rule)).collect::<Vec<_>>(),
        "deliveries": deliveries.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(&view.event.body),
    }))
}

fn shown_state(state: &DeliveryState) -> Value {
    match state {
        DeliveryState::Settled => json!({ "state": "settled" }),
        DeliveryState::Waiting => json!({ "state": "waiting" }),
        DeliveryState::UnderWay => json!({ "state": "under_way" }),
        DeliveryState::Postponed { attempts, due_ms, reason } => {
            json!({ "state": "postponed", "attempts": attempts, "next_attempt_at": rfc3339(*due_ms), "reason": reason })
        }
        DeliveryState::Delivered { attempts, at_ms } => {
            json!({ "state": "delivered", "attempts": attempts, "at": rfc3339(*at_ms) })
        }
        DeliveryState::Dead { attempts, at_ms, reason } => {
            json!({ "state": "dead", "attempts": attempts, "at": rfc3339(*at_ms), "reason": reason })
        }
    }
}

fn destinations(relay: &Relay) -> Value {
    let generation = relay.generation();
    let all = generation.config.destinations.iter().zip(&generation.destination_ids).map(|(config, id)| {
        let counts = relay.store.counts(*id);
        json!({
            "name": config.name,
            "kind": config.kind,
            "address": config.destination.address(),
            "backlog": counts.backlog,
            "postponed": counts.postponed,
            "under_way": counts.under_way,
            "oldest_at": counts.oldest_ms.map(rfc3339),
            "dead_letters": counts.dead,
            "paused": counts.standing.paused.map(|pause| json!({ "since": rfc3339(pause.since_ms), "reason": pause.reason })),
        })
    });
    json!({ "destinations": all.collect::<Vec<_>>() })
}

fn pause_or_resume(relay: &Relay, name: &str, act: &str) -> Answer {
    let generation = relay.generation();
    let at = generation.config.destinations.iter().position(|config| config.name == name);
    let Some(id) = at.map(|at| generation.destination_ids[at]) else {
        return answer(StatusCode::NOT_FOUND, "there is no such destination");
    };
    if act == "pause" {
        relay.store.pause(id, "paused by the operator");
    } else {
        relay.store.resume(id);
    }
    json(&json!({ "destination": name, "paused": act == "pause" }))
}

async fn bin<S, B>(relay: &Relay, name: &str, path: &str, method: &Method, headers: &HeaderMap, stream: S) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let mut body = Vec::new();
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        let Ok(mut chunk) = chunk else { return answer(StatusCode::BAD_REQUEST, "the body broke off") };
        if body.len() + chunk.remaining() > BODY_BYTES_MAX {
            return answer(StatusCode::PAYLOAD_TOO_LARGE, "a bin takes bodies of at most 1 MiB");
        }
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    match relay.bins.add(name, bins::Entry::new(method, path, headers, &body)) {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(message) => answer(StatusCode::TOO_MANY_REQUESTS, message),
    }
}
