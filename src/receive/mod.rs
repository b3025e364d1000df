//! The listener for webhooks: a request becomes an event that is on disk, or an answer that says why not.
//!
//! # Cast
//!
//! * [`coding`]: unpacks what came by gzip.
//!
//! # Answers
//!
//! 200 with the event's id, after the sync; of one that a source with `dedupe` sends again the id of the first. 400 with a sentence and a byte. One and the same 404 for a wrong source, a wrong token and
//! an unknown path. 405 with Allow. 408, 413, 415 and 431 while reading. 508 for what this relay has sent itself. 503 with Retry-After when the store
//! cannot take it.

mod coding;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use warp::Filter;

use self::coding::Coding;
use crate::destination::hops::{self, LOOP, WEBHOOK_ID};
use crate::event::{EventId, Print, RelayFields};
use crate::listener::body::{self, BodyError};
use crate::listener::{Answer, answer};
use crate::relay::doubles::{Claim, Claims};
use crate::relay::refused::{RefusedRequest, Seen};
use crate::relay::{Generation, Relay, auth, healthz, readyz};
use crate::store::{AppendError, NewEvent, PlannedDelivery};

/// Stands in the answer to an event that came before, beside the id of the first.
pub const DUPLICATE: HeaderName = HeaderName::from_static("x-vero-relay-duplicate");

/// The routes of the public listener: hooks, and the two health checks.
pub fn routes(relay: Arc<Relay>) -> impl Filter<Extract = (Answer,), Error = Infallible> + Clone {
    warp::path::full()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(warp::any().map(move || relay.clone()))
        .then(|path: warp::path::FullPath, method, headers, stream, relay: Arc<Relay>| async move {
            match path.as_str() {
                "/healthz" | "/healthz/" => healthz(),
                "/readyz" | "/readyz/" => readyz(&relay),
                path => receive(&relay, path, &method, &headers, stream).await,
            }
        })
        // Only a body that was read before is rejected, and there is one filter.
        .or(warp::any().map(not_found))
        .unify()
}

/// Whether a request carries the id of an event of this relay: something between a destination and here has taken away the header that
/// names the relays on the way. Vero sends no such header, and of another relay's request that one tells all: only a request that names
/// no relay is asked about, so the disk is read for nobody else.
async fn is_own_event(relay: &Relay, headers: &HeaderMap) -> bool {
    let id = headers.get(WEBHOOK_ID).and_then(|id| id.to_str().ok()?.parse::<EventId>().ok());
    let Some(id) = id else { return false };
    // What cannot be looked up is taken for another relay's: to refuse it could lose an event.
    relay.store.event(id).await.is_ok()
}

/// A request that goes on as an event, or the answer that ends it.
async fn receive<S, B>(relay: &Relay, path: &str, method: &Method, headers: &HeaderMap, stream: S) -> Answer
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let generation = relay.generation();
    let sources = &generation.config.sources;
    let Some(source) = generation.authenticator.authenticate(path, headers) else {
        let why = "the path, the source or its token is wrong";
        let seen = Seen { method, path, source: None, body: &[] };
        relay.refused.add(RefusedRequest::new(StatusCode::NOT_FOUND, why, seen, sources));
        if let Some(source) = auth::named(path, sources) {
            relay.refused.add_wrong_token(source);
        }
        relay.metrics.request("", 404);
        return not_found();
    };
    let known = Known { relay, generation: &generation, source, path, method, is_operator: false };
    let way = hops::way(headers);
    if let Some(refusal) = known.refusal_of_head(headers, &way).await {
        return refusal;
    }
    let (body, permit) = match known.body(headers, stream).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    known.accept(&way, body, permit).await
}

/// Lets an event in that an operator has written, as if it had come to the address of a source, and answers what its sender would hear.
/// `None`: there is no such source. What is left out is what belongs to a request: its token, its header and its way here.
pub async fn let_in(relay: &Relay, source: Option<&str>, body: Bytes) -> Option<Answer> {
    let generation = relay.generation();
    let mut sources = generation.config.sources.iter();
    let at = source.map_or(Some(0), |name| sources.position(|source| source.name == name))?;
    let path = format!("/hooks/{}", generation.config.sources.get(at)?.name);
    let known =
        Known { relay, generation: &generation, source: at, path: &path, method: &Method::POST, is_operator: true };
    if let Some(refusal) = known.refusal_while_paused() {
        return Some(refusal);
    }
    let bytes_max = generation.config.limits.body_max;
    let room = match body.len() > bytes_max {
        true => Err(BodyError::TooLarge(bytes_max)),
        false => relay.intake.take(body.len()).await,
    };
    Some(match room {
        Ok(permit) => known.accept(&[], body, permit).await,
        Err(error) => known.refuse(error.status(), &error.to_string(), &[]),
    })
}

/// A request of a source that is known.
struct Known<'r> {
    relay: &'r Relay,
    generation: &'r Generation,
    /// By its place in the config.
    source: usize,
    path: &'r str,
    method: &'r Method,
    /// An operator has written the event: it is taken also where the same came before, whatever `dedupe` says.
    is_operator: bool,
}

impl Known<'_> {
    fn name(&self) -> &str {
        &self.generation.config.sources[self.source].name
    }

    fn refuse(&self, status: StatusCode, why: &str, body: &[u8]) -> Answer {
        let Self { relay, path, method, .. } = *self;
        let seen = Seen { method, path, source: Some(self.name()), body };
        relay.refused.add(RefusedRequest::new(status, why, seen, &self.generation.config.sources));
        relay.metrics.request(self.name(), status.as_u16());
        answer(status, why)
    }

    /// The same with a header that says more.
    fn refuse_with(&self, status: StatusCode, why: &str, header: (HeaderName, &'static str)) -> Answer {
        let mut refusal = self.refuse(status, why, &[]);
        refusal.headers_mut().insert(header.0, HeaderValue::from_static(header.1));
        refusal
    }

    /// The answer to what need not be read to be refused.
    async fn refusal_of_head(&self, headers: &HeaderMap, way: &[&str]) -> Option<Answer> {
        if *self.method != Method::POST {
            let why = "this address takes POSTs from Vero";
            return Some(self.refuse_with(StatusCode::METHOD_NOT_ALLOWED, why, (ALLOW, "POST")));
        }
        let mut loops = self.generation.config.client.hops().loop_of(way);
        if way.is_empty() && is_own_event(self.relay, headers).await {
            loops = Some(hops::OWN_EVENT);
        }
        if let Some(why) = loops {
            return Some(self.refuse_with(StatusCode::LOOP_DETECTED, why, (LOOP, "1")));
        }
        self.refusal_while_paused()
    }

    fn refusal_while_paused(&self) -> Option<Answer> {
        let is_paused = self.relay.is_source_paused(self.generation.source_ids[self.source]);
        let why = "this source is paused by the operator";
        is_paused.then(|| self.refuse(StatusCode::SERVICE_UNAVAILABLE, why, &[]))
    }

    /// Routes a body and has it stored: an event that is on the disk, or the answer that says why not.
    async fn accept(&self, way: &[&str], body: Bytes, permit: OwnedSemaphorePermit) -> Answer {
        let Self { relay, generation, source, .. } = *self;
        let received_ms = crate::time::wall_ms();
        let relay_fields = RelayFields { source: self.name(), received_ms };
        let event = match generation.config.rules.read(&body, relay_fields) {
            Ok(event) => event,
            Err(refused) => return self.refuse(StatusCode::BAD_REQUEST, &refused.to_string(), &body),
        };
        let claim = match self.claim(event.identity, received_ms).await {
            Ok(claim) => claim,
            Err(first) => return self.answer_again(first),
        };
        let (routing, mut claims) =
            relay.doubles.route(&generation.config.rules, &event, received_ms, generation.number).await;
        claims.extend(claim);
        let mut event = new_event(generation, source, received_ms, &routing);
        generation.config.client.hops().remember(way, received_ms, &body);
        event.body = body;
        count_rules(relay, generation, &event);
        let appended = Appending { answer: Some(relay.store.append(event)), permit: Some(permit), claims }.wait().await;
        match appended {
            Ok(id) => {
                generation.accepted[source].accepted(received_ms);
                accepted(id)
            }
            Err(error) => self.refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), &[]),
        }
    }

    /// The right to be the first of an event that may come twice, or which one that was. `None`: nobody asks.
    async fn claim(&self, identity: Option<Print>, received_ms: u64) -> Result<Option<Claim>, EventId> {
        let within = self.generation.config.sources[self.source].dedupe;
        let Some((key, within)) = identity.zip(within) else { return Ok(None) };
        if self.is_operator {
            return Ok(self.relay.doubles.claim(key, received_ms, within));
        }
        self.relay.doubles.first(key, received_ms, within, self.generation.number).await.map(Some)
    }

    /// The answer to an event that came before: that of the first.
    fn answer_again(&self, first: EventId) -> Answer {
        self.relay.metrics.duplicate(self.name());
        tracing::debug!(source = self.name(), event = %first, "the same event came again, and is answered with the id of the first");
        let mut answer = accepted(first);
        answer.headers_mut().insert(DUPLICATE, HeaderValue::from_static("1"));
        answer
    }

    /// The body as it was before it was packed, and the room that it takes.
    async fn body<S, B>(&self, headers: &HeaderMap, stream: S) -> Result<(Bytes, OwnedSemaphorePermit), Answer>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let Some(coding) = Coding::of(headers) else {
            let why = format!("the Content-Encoding is not known: send one of {}, and one only", coding::TAKEN);
            let taken = (ACCEPT_ENCODING, coding::TAKEN);
            return Err(self.refuse_with(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why, taken));
        };
        let limits = &self.generation.config.limits;
        let intake = &self.relay.intake;
        let read = async {
            let (body, permit) = body::read(stream, headers, limits.body_max, intake).await?;
            coding.unpack(body, permit, limits.body_max, intake).await
        };
        match tokio::time::timeout(limits.body_timeout, read).await {
            Ok(Ok(read)) => Ok(read),
            // Whoever had not sent all of it by the stop is cut off, and should send it again.
            Ok(Err(BodyError::Broken)) if self.relay.is_stopping() => {
                Err(self.refuse(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping", &[]))
            }
            Ok(Err(error)) => Err(self.refuse(error.status(), &error.to_string(), &[])),
            Err(_) => Err(self.refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time", &[])),
        }
    }
}

/// The event has its keys from now on, or, where it could not be stored, gives them back to the next one.
fn keep(claims: Claims, appended: &Result<EventId, AppendError>) {
    if let Ok(id) = appended {
        claims.into_iter().for_each(|claim| claim.keep(*id));
    }
}

/// An event in the writer's hands, with the room that its body takes. The writer finishes what it was given, also when the sender
/// hangs up; the room is given back then, and not before.
struct Appending {
    /// The keys that are its own once it is stored.
    claims: Claims,
    answer: Option<oneshot::Receiver<Result<EventId, AppendError>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Appending {
    async fn wait(mut self) -> Result<EventId, AppendError> {
        let Some(answer) = self.answer.as_mut() else { return Err(AppendError::Closed) };
        let appended = answer.await.unwrap_or(Err(AppendError::Closed));
        self.answer = None;
        keep(std::mem::take(&mut self.claims), &appended);
        appended
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if let (Some(answer), Some(permit)) = (self.answer.take(), self.permit.take()) {
            let claims = std::mem::take(&mut self.claims);
            tokio::spawn(async move {
                keep(claims, &answer.await.unwrap_or(Err(AppendError::Closed)));
                drop(permit);
            });
        }
    }
}

/// The 200 with an event's id.
fn accepted(id: EventId) -> Answer {
    let mut accepted = Response::new(accepted_body(id));
    accepted.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    accepted
}

/// `{"id":"…"}` and a line break. Made in its length at once: to grow would cost more than to write it.
fn accepted_body(id: EventId) -> Bytes {
    const BYTES: usize = 46;
    let mut body = String::with_capacity(BYTES);
    // Writing to a string cannot fail.
    let _ = writeln!(body, r#"{{"id":"{id}"}}"#);
    debug_assert_eq!(body.len(), BYTES);
    body.into()
}

fn count_rules(relay: &Relay, generation: &Generation, event: &NewEvent) {
    for rule in &event.rules {
        if let Some(count) = generation.rule_count(*rule) {
            count.matched(event.received_ms);
        }
    }
    if event.deliveries.is_empty() {
        relay.metrics.unmatched();
    }
}

/// The one answer for every failure of address or authentication.
fn not_found() -> Answer {
    answer(StatusCode::NOT_FOUND, "there is nothing at this address: check the source's name and its token")
}

/// Puts an event together for the store, but for its body, from which the routing still borrows.
fn new_event(
    generation: &Generation,
    source: usize,
    received_ms: u64,
    routing: &crate::rules::Routing<'_>,
) -> NewEvent {
    let delivery = |(destination, rule): &(usize, usize)| PlannedDelivery {
        destination: generation.destination_ids[*destination],
        rule: generation.rule_ids[*rule],
    };
    NewEvent {
        received_ms,
        source: generation.source_ids[source],
        generation: generation.number,
        rules: routing.rules.iter().map(|rule| generation.rule_ids[*rule]).collect(),
        deliveries: routing.deliveries.iter().map(delivery).collect(),
        body: Bytes::new(),
    }
}
