//! `/api/stream`: what happens, as it happens, for pages and for `tail`: an event stream that goes on until somebody hangs up, or the relay
//! stops.
//!
//! While somebody reads, and a little longer, one task, [`pump`], takes from the store what has changed, four times a second, and puts it on
//! the [`ring`]. Each [`reader`] takes from there what its filter holds for, at its own speed, and has no queue. So what is open costs
//! little, what nobody reads costs nothing, and who is slow costs nobody anything.
//!
//! Each is a [`frame`](mod@frame): `hello`, once; `event`, as a list shows it; `deliveries`, of an event, those that have changed; `destination`, as `/api/destinations`
//! shows it; `minute`, so far; `config`; `skipped`, what there was no room for; `reset`: what is known may not be so any more, ask anew, and
//! why.

mod frame;
mod pump;
mod reader;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use warp::Reply;

use self::frame::{FrameId, frame};
use self::reader::Reader;
use self::ring::{Behind, Entry, Ring};
use super::endpoint::joined;
use super::events::filter::{Filter, SELECTION};
use super::{Query, Refusal, Resource, get, refuse};
use crate::relay::Relay;
use crate::time::{Instant, rfc3339, wall_ms};

/// Streams that are open at once. A page has one, and six tabs of a browser have at most four.
pub const STREAMS_MAX: usize = 32;
/// After the last reader the frames are kept for so long: one that has lost its connection goes on where it was.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A reader whose connection is lost comes back after this.
const RETRY_MS: u32 = 2000;

/// What it takes.
const PARAMETERS: [&str; 11] = joined(&[&SELECTION, &["last_event_id"]]);

pub(super) const RESOURCE: Resource = Resource {
    name: "stream",
    endpoints: &[get(
        "",
        &PARAMETERS,
        "what happens, as it happens: an event stream; after a break it goes on behind the frame that is named",
    )],
    ..Resource::USUAL
};

/// What all streams share.
pub(in crate::admin) struct Streams {
    epoch: u64,
    places: Arc<Semaphore>,
    kept: Mutex<Kept>,
    /// The number of the newest frame, for who waits for it.
    newest: watch::Sender<u64>,
}

struct Kept {
    ring: Ring,
    readers: usize,
    /// Since when nobody reads.
    idle_since: Instant,
    is_pumped: bool,
}

impl Default for Streams {
    fn default() -> Self {
        let kept = Kept { ring: Ring::default(), readers: 0, idle_since: Instant::now(), is_pumped: false };
        Self {
            epoch: wall_ms(),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            kept: Mutex::new(kept),
            newest: watch::Sender::new(0),
        }
    }
}

impl Streams {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> FrameId {
        FrameId { epoch: self.epoch, number }
    }

    /// What comes behind a frame; nothing ever, where the pump has ended.
    fn behind(&self, number: u64) -> Option<Behind> {
        let kept = self.kept();
        kept.is_pumped.then(|| kept.ring.behind(number))
    }

    /// Adds what came together.
    fn push(&self, entries: Vec<Entry>) {
        let mut kept = self.kept();
        kept.ring.push(entries);
        let last = kept.ring.last();
        drop(kept);
        self.newest.send_replace(last);
    }

    /// A step takes more than it did.
    fn trim(&self) {
        self.kept().ring.trim();
    }

    /// Counts a reader, and has the pump work while there is one. Returns where it begins: behind a frame that it knows, if it may.
    fn enter(self: &Arc<Self>, relay: &Arc<Relay>, known: Option<FrameId>) -> Start {
        let mut kept = self.kept();
        kept.readers += 1;
        if !kept.is_pumped {
            kept.is_pumped = true;
            // From here on nothing is missed.
            let watch = relay.store.watch();
            relay.background.spawn(pump::pump(self.clone(), relay.clone(), watch));
        }
        let position = kept.ring.last();
        match known {
            None => Start { position, resumes: Resumes::New },
            // A frame of another run says nothing here.
            Some(known) if known.epoch != self.epoch => Start { position, resumes: Resumes::Lost(Reason::Restarted) },
            Some(known) => match kept.ring.behind(known.number) {
                Behind::TooFar { .. } => Start { position, resumes: Resumes::Lost(Reason::Behind) },
                Behind::Nothing | Behind::Step(_) => Start { position: known.number, resumes: Resumes::Known },
            },
        }
    }

    fn leave(&self) {
        let mut kept = self.kept();
        kept.readers -= 1;
        kept.idle_since = Instant::now();
    }

    /// Whether nobody has read for so long that the pump may end; then it has ended.
    fn is_left(&self) -> bool {
        let mut kept = self.kept();
        let is_left = kept.readers == 0 && kept.idle_since.elapsed() >= KEPT_FOR;
        if is_left {
            kept.end();
        }
        is_left
    }
}

/// Where a reader begins.
struct Start {
    /// The number of the frame that it has seen last.
    position: u64,
    resumes: Resumes,
}

/// Whether it goes on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resumes {
    /// It was nowhere.
    New,
    Known,
    Lost(Reason),
}

/// Why what a reader knows may not be so any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It was away for too long, or is too slow: what it has missed is not kept.
    Behind,
    /// What it has seen last is of another run of the relay.
    Restarted,
    /// A command was done, like a replay; no event is missing.
    Command,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Restarted => "restarted",
            Self::Command => "command",
        }
    }
}

impl Kept {
    fn end(&mut self) {
        self.is_pumped = false;
        self.ring.clear();
    }
}

/// Opens a stream; once who asks may not any more, it ends.
pub(in crate::admin) fn open(
    streams: &Arc<Streams>,
    relay: &Arc<Relay>,
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
    ended: CancellationToken,
) -> warp::reply::Response {
    let opened = asked(relay, query, headers).and_then(|(filter, after)| {
        if *method == Method::HEAD {
            return Ok(mpsc::channel(1).1);
        }
        let place = streams.places.clone().try_acquire_owned().map_err(|_| {
            Refusal::unavailable(format!(
                "{STREAMS_MAX} streams are open, and there are no more: close one, or ask now and then"
            ))
        })?;
        let (send, receive) = mpsc::channel(1);
        let start = streams.enter(relay, after);
        let beginning = beginning(streams, relay, &start);
        let reader = Reader::new(streams.clone(), relay.clone(), filter.map(Arc::new), &start, send);
        tokio::spawn(async move {
            tokio::select! {
                () = reader.run(beginning) => {}
                () = ended.cancelled() => {}
            }
            drop(place);
        });
        Ok(receive)
    });
    match opened {
        Ok(receive) => streaming(receive),
        Err(Refusal(status, message)) => refuse(status, &message).into_response(),
    }
}

/// What is asked for: only some events, and from where on.
fn asked(relay: &Relay, query: &Query, headers: &HeaderMap) -> Result<(Option<Filter>, Option<FrameId>), Refusal> {
    RESOURCE.endpoints[0].take(query, &[])?;
    let by_header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let after = by_header.or(query.get("last_event_id")).filter(|text| !text.is_empty());
    let read = |text: &str| {
        let wrong = || {
            Refusal::wrong(format!("`{text}` is not where a stream goes on: give what the last frame said as its id"))
        };
        FrameId::parse(text).ok_or_else(wrong)
    };
    let after = after.map(read).transpose()?;
    let is_filtered = query.0.iter().any(|(key, _)| key != "last_event_id");
    let filter = is_filtered.then(|| Filter::read(relay, query)).transpose()?;
    Ok((filter, after))
}

/// The first frames.
fn beginning(streams: &Streams, relay: &Relay, start: &Start) -> Bytes {
    let Start { position, resumes } = *start;
    let id = streams.id(position);
    let hello = json!({
        "epoch": streams.epoch.to_string(),
        "position": position,
        "resumed": resumes == Resumes::Known,
        "generation": relay.generation().number,
        "version": env!("CARGO_PKG_VERSION"),
        "now": rfc3339(wall_ms()),
    });
    let retry = format!("retry: {RETRY_MS}\n\n").into_bytes();
    let mut beginning = [retry, frame(id, "hello", &hello).into()].concat();
    if let Resumes::Lost(reason) = resumes {
        beginning.extend_from_slice(&reset(id, reason));
    }
    Bytes::from(beginning)
}

fn reset(id: FrameId, reason: Reason) -> Bytes {
    frame(id, "reset", json!({ "position": id.number, "reason": reason.name() }))
}

fn streaming(mut receive: mpsc::Receiver<Bytes>) -> warp::reply::Response {
    let pieces = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
    let mut response = warp::reply::stream(pieces.map(Ok::<_, std::convert::Infallible>)).into_response();
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // What stands in between should pass on each piece as it comes, and pack none.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frames_are_kept_for_a_minute_after_the_last_reader_and_no_longer() {
        let streams = Streams::default();
        streams.push(vec![Entry::Reset]);
        streams.kept().is_pumped = true;
        streams.kept().readers = 1;
        tokio::time::advance(KEPT_FOR * 2).await;
        assert!(!streams.is_left());
        streams.leave();
        tokio::time::advance(KEPT_FOR - Duration::from_millis(1)).await;
        assert!(!streams.is_left());
        assert!(matches!(streams.behind(0), Some(Behind::Step(_))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(streams.is_left());
        assert!(streams.behind(0).is_none());
        assert!(matches!(streams.kept().ring.behind(1), Behind::TooFar { .. }));
    }
}
