//! The API: what the verbs of the command line and a page ask. One file for each thing that can be asked about, a [`Resource`], and one
//! line in the list of them; [`endpoint`] is one path of it, and [`parameters`] what a request says besides its path. [`history`]: a walk over
//! what came in, piece by piece.
//!
//! Every list is a page of at most 1000 entries, and says where the next begins. Reading the disk happens where blocking is
//! allowed. What a resource takes stands in its list of [`Endpoint`]s, from which `GET /` is made too: a wrong parameter is answered with 400 and
//! a sentence, and so is one that stands nowhere, so that a slip narrows nothing silently.

mod endpoint;
mod history;
mod parameters;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tracing::field::{DisplayValue, display};

use self::endpoint::{Endpoint, get, post};
pub(super) use self::parameters::Query;
use self::parameters::{Asked, LIMIT, Range};
pub(super) use self::stream::{Streams, open as open_stream};
use super::door::Visitor;
use super::layout::Layout;
use super::work::Effort;
use crate::listener::{Answer, answer as refuse};
use crate::relay::Relay;
use crate::store::{Command, DeliveryState, Done, HeldBy, NameId, NameKind, StoreError, Why};
use crate::time::rfc3339;

/// Why something was not done: a status and a sentence. One that is made by its name is bounded; the problems of a config are many lines,
/// have bounds of their own, and are told whole.
pub(super) struct Refusal(StatusCode, String);

type Outcome = Result<Value, Refusal>;

/// What is answered.
pub(super) enum Said {
    Json(Value),
    /// Bytes of an event, as they came.
    Bytes(Bytes),
    /// What somebody who sends an event hears.
    Door(Answer),
    Refusal(Refusal),
}

impl Said {
    /// As it is sent.
    pub(super) fn answer(self, layout: Layout) -> Answer {
        match self {
            Self::Json(value) => super::json(&value, layout),
            Self::Bytes(bytes) => foreign(bytes),
            Self::Door(answer) => answer,
            Self::Refusal(Refusal(status, message)) => refuse(status, &message),
        }
    }
}

/// Characters of a thing that a refusal repeats of a request: enough to know it again. A name has at most 64.
const REPEATED_CHARACTERS_MAX: usize = 100;
/// And of the whole sentence: one that tells of a match map may have several things to say.
const SENTENCE_CHARACTERS_MAX: usize = 2000;

impl Refusal {
    fn wrong(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, bounded(&message.into()))
    }

    fn conflict(message: impl Into<String>) -> Self {
        Self(StatusCode::CONFLICT, bounded(&message.into()))
    }

    fn missing(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, bounded(&message.into()))
    }

    /// It was there, and will not be there again.
    fn gone(message: impl Into<String>) -> Self {
        Self(StatusCode::GONE, bounded(&message.into()))
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, bounded(&message.into()))
    }

    /// Nobody hears it.
    fn has_gone() -> Self {
        Self::unavailable("whoever asked has gone")
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, bounded(&crate::errors::with_causes(error)))
    }
}

/// A sentence that is short, whatever came in the request: what it repeats of that stands between backticks.
fn bounded(sentence: &str) -> String {
    let short = |(at, part)| if at % 2 == 1 { cut(part, REPEATED_CHARACTERS_MAX) } else { Cow::Borrowed(part) };
    let parts: Vec<_> = sentence.split('`').enumerate().map(short).collect();
    cut(&parts.join("`"), SENTENCE_CHARACTERS_MAX).into_owned()
}

/// The beginning of a text.
fn cut(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// What can be asked about under one name.
pub(super) struct Resource {
    /// The first step of its paths behind `/api/`.
    name: &'static str,
    /// Its paths, what they take and what they do. Nothing else is answered.
    endpoints: &'static [Endpoint],
    /// The largest body it takes.
    pub body_bytes_max: usize,
    answer: fn(Request<'_>) -> BoxFuture<'_, Result<Said, Refusal>>,
    /// Tells the log of what an operator has done by it.
    tell: fn(&Act<'_>),
}

impl Resource {
    /// One as most are; without a name, and with nothing there.
    const USUAL: Self = Self {
        name: "",
        endpoints: &[],
        body_bytes_max: super::BODY_BYTES_MAX,
        answer: |_| in_json(std::future::ready(nothing_here())),
        tell: |_| {},
    };

    /// Reads what is asked of it, and tells what that costs. What means nothing here is refused.
    pub(super) fn take(
        &self,
        is_read: bool,
        steps: &[&str],
        query: &Query,
        body: &[u8],
    ) -> Result<(Asked, Effort), Refusal> {
        let endpoint = endpoint::find(self.endpoints, is_read, steps)?;
        let asked = endpoint.take(query, body)?;
        let effort = endpoint.effort_of(query, &asked);
        Ok((asked, effort))
    }

    /// Whether what can be asked at a path shows nothing of an event.
    pub(super) fn tells_of_no_event(&self, steps: &[&str]) -> bool {
        endpoint::tell_of_no_event(self.endpoints, steps)
    }

    /// The answer to a method that a path does not take. Of a path that is not there, [`take`](Self::take) tells.
    pub(super) fn refusal(&self, method: &Method, steps: &[&str]) -> Option<Answer> {
        let (allowed, how) = endpoint::methods(self.endpoints, steps)?;
        if allowed.split(", ").any(|allowed| method == allowed) {
            return None;
        }
        let method = cut(method.as_str(), REPEATED_CHARACTERS_MAX);
        let mut refusal = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this is {how}, not by {method}"));
        refusal.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allowed));
        Some(refusal)
    }
}

/// One file each.
macro_rules! resources {
    ($($file:ident),+ $(,)?) => {
        $(mod $file;)+

        /// Everything that can be asked about, in the order in which people read of it.
        const RESOURCES: &[&Resource] = &[$(&$file::RESOURCE),+];
    };
}

resources! {
    session,
    status,
    events,
    destinations,
    minutes,
    sources,
    dead_letters,
    replays,
    forget,
    config,
    rules,
    reload,
    problems,
    notify,
    explain,
    unrouted,
    samples,
    send,
    what_if,
    store,
    relays,
    turned_away,
    stream,
    openapi,
}

pub(super) use self::openapi::{document, reference};

/// A request to one of them.
struct Request<'r> {
    relay: &'r Arc<Relay>,
    /// Who asks.
    visitor: &'r Visitor,
    is_read: bool,
    /// The path behind the resource's name.
    steps: &'r [&'r str],
    query: &'r Query,
    /// What the body says; nothing, where something is asked only.
    body: &'r Asked,
}

/// What an operator has done.
struct Act<'a> {
    /// The path behind the resource's name.
    steps: &'a [&'a str],
    asked: &'a Asked,
    /// To how many deliveries.
    deliveries: Option<u64>,
    id: Option<&'a str>,
}

impl Act<'_> {
    /// What was asked for under a key. A selection of events is not told: it may hold an address of a person.
    fn said(&self, key: &str) -> Option<DisplayValue<&str>> {
        self.asked.text(key).ok().flatten().map(display)
    }
}

/// What the first step behind `/api/` names.
pub(super) fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().copied().find(|resource| resource.name == name)
}

/// Whether what is asked for goes on and on, so that it is no [`answer`].
pub(super) fn is_stream(method: &Method, path: &[&str]) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && path == ["api", stream::RESOURCE.name]
}

/// All of them: what can be asked and done, and what each takes.
pub(super) fn overview() -> String {
    let lines = |resource: &&Resource| resource.endpoints.iter().map(|endpoint| endpoint.line(resource.name));
    RESOURCES.iter().flat_map(|resource| lines(resource).collect::<Vec<_>>()).collect()
}

/// Answers what is asked about a resource, which has [taken](Resource::take) it.
pub(super) async fn answer(
    resource: &Resource,
    relay: &Arc<Relay>,
    visitor: &Visitor,
    is_read: bool,
    steps: &[&str],
    query: &Query,
    asked: &Asked,
) -> Said {
    match (resource.answer)(Request { relay, visitor, is_read, steps, query, body: asked }).await {
        Ok(Said::Door(answer)) => {
            if answer.status().is_success() {
                (resource.tell)(&Act { steps, asked, deliveries: None, id: None });
            }
            Said::Door(answer)
        }
        Ok(Said::Json(done)) => {
            let changes_nothing = is_read || done["dry_run"] == true || done["repeated"] == true;
            if !changes_nothing {
                (resource.tell)(&Act {
                    steps,
                    asked,
                    deliveries: done["deliveries"].as_u64().or(done["due_now"].as_u64()),
                    id: done["id"].as_str(),
                });
            }
            Said::Json(done)
        }
        Ok(said) => said,
        Err(refusal) => Said::Refusal(refusal),
    }
}

/// An answer in JSON.
fn in_json<'r>(outcome: impl Future<Output = Outcome> + Send + 'r) -> BoxFuture<'r, Result<Said, Refusal>> {
    Box::pin(async { outcome.await.map(Said::Json) })
}

/// Bytes that may be anything, so that no browser takes them for a page.
fn foreign(bytes: Bytes) -> Answer {
    let mut response = Answer::new(bytes);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

fn nothing() -> Refusal {
    Refusal::missing("there is nothing here; / lists what there is")
}

/// What a resource says of a path that its match does not name. Nobody hears it: what its endpoints do not list was refused before.
fn nothing_here() -> Outcome {
    Err(nothing())
}

/// An id that nobody has.
fn new_id() -> Result<u128, Refusal> {
    let mut bytes = [0; 16];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "no random number".to_owned()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().as_u128())
}

/// How long an answer waits until what was done is on the disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// Has a command carried out, and waits until what was done would outlive the end of the process and of the machine.
async fn ask(relay: &Relay, command: Command) -> Result<Done, Refusal> {
    match tokio::time::timeout(DURABLE_WITHIN, relay.store.ask(command)).await {
        Ok(done) => done.map_err(refused),
        Err(_) => Err(Refusal::unavailable(
            "it is in effect, but it is not on the disk yet and a restart would undo it: the disk is full or slow",
        )),
    }
}

/// Why the store did not do something, or did not tell.
fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Unavailable(_) | StoreError::Closed => Refusal::unavailable(error.to_string()),
        StoreError::Missing => Refusal::missing(error.to_string()),
        StoreError::Erased | StoreError::Redacted => Refusal::gone(error.to_string()),
        StoreError::Conflict(_) | StoreError::NamesFull(_) => Refusal::wrong(error.to_string()),
        StoreError::IdTaken { .. } => Refusal::conflict(error.to_string()),
        StoreError::Damaged(_) => Refusal::failed(&error),
    }
}

fn parse_id(text: &str) -> Result<u128, Refusal> {
    let parsed = uuid::Uuid::try_parse(text).ok().map(|id| id.as_u128()).filter(|id| *id != 0);
    parsed.ok_or_else(|| Refusal::wrong(format!("`{text}` is not an id: it should be a UUID")))
}

/// A destination that the store has heard of, whether or not the config names it.
fn destination(relay: &Relay, name: &str) -> Result<NameId, Refusal> {
    let names = relay.store.names();
    if let Some(id) = names.find(NameKind::Destination, name) {
        return Ok(id);
    }
    let known = names.of_kind(NameKind::Destination);
    let help = crate::yaml::problem::did_you_mean(name, known.iter().map(|(_, known)| &**known));
    let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
    Err(Refusal::missing(format!("there is no destination `{name}`{help}")))
}

fn name(relay: &Relay, id: NameId) -> Option<String> {
    relay.store.names().of(id).map(|(_, name)| name.to_string())
}

/// Does what reads the disk where blocking is allowed.
async fn blocking<T: Send + 'static>(
    relay: &Arc<Relay>,
    read: impl FnOnce(&Relay) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let relay = relay.clone();
    let done = tokio::task::spawn_blocking(move || read(&relay)).await;
    done.unwrap_or_else(|_| Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "it panicked; see the log".to_owned())))
}

fn state_name(state: &DeliveryState) -> &'static str {
    match state {
        DeliveryState::Settled => "unknown",
        DeliveryState::Held { .. } => "held",
        DeliveryState::Waiting => "waiting",
        DeliveryState::InFlight => "in_flight",
        DeliveryState::Scheduled { .. } => "scheduled",
        DeliveryState::Delivered { .. } => "delivered",
        DeliveryState::Dead { .. } => "dead",
        DeliveryState::Skipped { .. } => "skipped",
        DeliveryState::Dropped { .. } => "dropped",
        DeliveryState::Moved { .. } => "moved",
    }
}

fn shown_state(relay: &Relay, destination: NameId, state: &DeliveryState) -> Value {
    let mut shown = json!({ "state": state_name(state) });
    match state {
        DeliveryState::Waiting | DeliveryState::InFlight => {}
        DeliveryState::Held { by: HeldBy::Source } => shown["held"] = json!({ "by": "source" }),
        DeliveryState::Held { by: HeldBy::Window { ends_ms } } => {
            let generation = relay.generation();
            let place = generation.destination_ids.iter().position(|id| *id == destination);
            let sorting = place.and_then(|at| generation.config.destinations[at].sorting.as_deref());
            let until_ms =
                sorting.map_or(*ends_ms, |sorting| sorting.goes_out_ms((*ends_ms).max(relay.clock.arrival_ms())));
            shown["held"] = json!({ "by": "digest", "until": rfc3339(until_ms) });
        }
        DeliveryState::Held { by: HeldBy::Order { earlier } } => {
            shown["held"] = json!({ "by": "order", "earlier": earlier.map(|id| id.to_string()) })
        }
        DeliveryState::Settled => shown["reason"] = json!("how it ended is not in the journal any more"),
        DeliveryState::Scheduled { attempts, due_ms, reason } => {
            shown["attempts"] = json!(attempts);
            shown["next_attempt_at"] = json!(rfc3339(*due_ms));
            show_why(&mut shown, &Why::of(reason));
        }
        DeliveryState::Delivered { attempts, at_ms } => {
            shown["attempts"] = json!(attempts);
            shown["at"] = json!(rfc3339(*at_ms));
        }
        DeliveryState::Skipped { at_ms, reason } => {
            shown["at"] = json!(rfc3339(*at_ms));
            shown["reason"] = json!((!reason.is_empty()).then_some(reason));
        }
        DeliveryState::Dropped { at_ms } => shown["at"] = json!(rfc3339(*at_ms)),
        DeliveryState::Moved { at_ms, to } => {
            shown["at"] = json!(rfc3339(*at_ms));
            shown["to"] = json!(name(relay, *to));
        }
        DeliveryState::Dead { attempts, at_ms, reason } => {
            shown["attempts"] = json!(attempts);
            shown["at"] = json!(rfc3339(*at_ms));
            show_why(&mut shown, &Why::of(reason));
        }
    }
    shown
}

/// A reason, and apart from it what the other side answered.
fn show_why(shown: &mut Value, why: &Why<'_>) {
    shown["reason"] = json!(why.reason);
    shown["status"] = json!(why.status);
    shown["answer"] = json!((!why.answer.is_empty()).then_some(&why.answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_repeats_no_more_of_a_request_than_tells_which_thing_is_meant() {
        for (characters, expected) in [(REPEATED_CHARACTERS_MAX, false), (REPEATED_CHARACTERS_MAX + 1, true)] {
            let Refusal(_, sentence) = Refusal::wrong(format!("`{}` is no time: write `2h`", "ä".repeat(characters)));
            assert_eq!(sentence.contains('…'), expected, "{sentence}");
            assert!(sentence.ends_with("` is no time: write `2h`"), "{sentence}");
        }
        // It may hold backticks itself.
        for (characters, expected) in [(SENTENCE_CHARACTERS_MAX, false), (SENTENCE_CHARACTERS_MAX + 1, true)] {
            let message = "x".repeat(characters);
            for Refusal(status, sentence) in [
                Refusal::wrong(message.clone()),
                Refusal::missing(message.clone()),
                Refusal::unavailable(message.clone()),
                Refusal::failed(&std::io::Error::other(message.clone())),
            ] {
                assert_eq!(sentence.ends_with('…'), expected, "{status}");
            }
        }
    }
}
