//! A walk over the history, the newest event first, piece by piece: each piece is bounded, and says where the next begins.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::parameters::whole;
use super::{Query, Refusal, refused};
use crate::relay::Relay;
use crate::relay::piece::{AT_ONCE, PIECE};
use crate::store::{Cursor, EventQuery, Order, StoredEvent};
use crate::time::{Instant, rfc3339};

/// The parameters that say which part of the history is meant.
pub(super) const PARAMETERS: [&str; 3] = ["last", "since", "after"];
/// Events unless it is said.
pub(super) const LAST: u64 = 100_000;
/// Bytes of the journal that are read for one answer to find out what became of deliveries.
pub(super) const SEARCHED_BYTES_MAX: u64 = PIECE.searched_bytes;

/// Which part of the history is meant, and where in it the walk goes on.
pub(super) struct Part {
    query: EventQuery,
    after: Option<Cursor>,
}

/// What has been looked at for one answer.
#[derive(Debug)]
pub(super) struct Work {
    begun: Instant,
    events: usize,
    bytes: usize,
    /// When the last event that was looked at arrived.
    back_to_ms: Option<u64>,
}

/// How far a piece went.
#[derive(Debug)]
pub(super) struct Piece {
    work: Work,
    next: Option<Cursor>,
}

impl Work {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), events: 0, bytes: 0, back_to_ms: None }
    }

    pub(super) fn add(&mut self, event: &StoredEvent) {
        self.events += 1;
        self.bytes += event.body.len();
        self.back_to_ms = Some(event.received_ms);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.events > 0
    }

    /// Whether an answer ends here, wherever it is.
    pub(super) fn is_enough(&self) -> bool {
        self.events >= PIECE.events || self.bytes >= PIECE.bytes || self.begun.elapsed() >= PIECE.time
    }

    /// How far it went, in an answer.
    pub(super) fn tell(&self, told: &mut Value) {
        told["looked_at"] = json!(self.events);
        told["back_to"] = json!(self.back_to_ms.map(rfc3339));
    }
}

/// The `last` events, or those `since` a time, in an order.
pub(super) fn meant(query: &Query, order: Order) -> Result<EventQuery, Refusal> {
    let wrong = || Refusal::wrong("`last` should be how many events to look at, from 1 on");
    let last = query.get("last").map(|text| whole(text).filter(|last| *last > 0).ok_or_else(wrong));
    let last = last.transpose()?;
    let since_ms = query.moment("since")?;
    if last.is_some() && since_ms.is_some() {
        return Err(Refusal::wrong("`last` and `since` both say where it begins: give one of them"));
    }
    let last = if since_ms.is_some() { None } else { Some(last.unwrap_or(LAST)) };
    Ok(EventQuery { since_ms: since_ms.unwrap_or(0), last, ..EventQuery::all(order) })
}

impl Part {
    /// The `last` events, or those `since` a time, from `after` on.
    pub(super) fn read(query: &Query) -> Result<Self, Refusal> {
        Ok(Self { query: meant(query, Order::NewestFirst)?, after: query.after()? })
    }

    /// Has each event of one piece looked at, until who looks has had enough, or whoever asked has gone. It waits for the disk, so it belongs
    /// beside the threads that serve.
    pub(super) fn walk(
        self,
        relay: &Relay,
        waits: &Handle,
        has_gone: &CancellationToken,
        mut look: impl FnMut(&Arc<StoredEvent>) -> Result<ControlFlow<()>, Refusal>,
    ) -> Result<Piece, Refusal> {
        let Self { query, mut after } = self;
        let mut piece = Piece { work: Work::begin(), next: None };
        loop {
            let read =
                |after: Option<&Cursor>, most| waits.block_on(relay.store.events(&query, after, most)).map_err(refused);
            let page = read(after.as_ref(), AT_ONCE)?;
            if relay.is_stopping() {
                return Err(Refusal::unavailable("the relay is stopping"));
            }
            let mut seen = 0;
            let mut is_enough = false;
            for event in &page.items {
                if has_gone.is_cancelled() {
                    return Err(Refusal::has_gone());
                }
                let has_enough = look(event)?.is_break();
                seen += 1;
                piece.work.add(event);
                is_enough = has_enough || piece.work.is_enough();
                if is_enough {
                    break;
                }
            }
            // Where it ends amid what was read, the next piece begins where a page of so many would.
            piece.next = if seen < page.items.len() { read(after.as_ref(), seen)?.next } else { page.next };
            if piece.next.is_none() || is_enough {
                return Ok(piece);
            }
            after = piece.next.clone();
        }
    }
}

impl Piece {
    /// Events of it.
    pub(super) fn looked_at(&self) -> u64 {
        self.work.events as u64
    }

    /// How far it went, in an answer.
    pub(super) fn tell(&self, told: &mut Value) {
        self.work.tell(told);
        told["next"] = json!(self.next.as_ref().map(Cursor::to_string));
    }
}
