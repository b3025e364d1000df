//! A walk over the history, the newest event first, piece by piece: each piece is bounded, and says where the next begins.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Query, Refusal, refused};
use crate::relay::Relay;
use crate::store::{Cursor, EventQuery, Order, StoredEvent};
use crate::time::{Instant, rfc3339};

/// The parameters that say which part of the history is meant.
pub(super) const PARAMETERS: [&str; 3] = ["last", "since", "after"];
/// Events unless it is said.
pub(super) const LAST: u64 = 100_000;
/// Events of one piece.
const EVENTS_MAX: u64 = 50_000;
/// Bytes of bodies of one piece.
const BYTES_MAX: usize = 64 << 20;
/// A piece takes no longer.
const TIME_MAX: Duration = Duration::from_millis(300);
/// Events that are read at once.
const AT_ONCE: usize = 1024;

/// Which part of the history is meant, and where in it the walk goes on.
pub(super) struct Part {
    query: EventQuery,
    after: Option<Cursor>,
}

/// How far a piece went.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) looked_at: u64,
    back_to_ms: Option<u64>,
    next: Option<Cursor>,
}

/// The `last` events, or those `since` a time, in an order.
pub(super) fn meant(query: &Query, order: Order) -> Result<EventQuery, Refusal> {
    let wrong = || Refusal::wrong("`last` should be how many events to look at, from 1 on");
    let last = query.get("last").map(|text| text.parse().ok().filter(|last| *last > 0).ok_or_else(wrong));
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

    /// Has each event of one piece looked at, until who looks has had enough. It waits for the disk, so it belongs beside the threads that
    /// serve.
    pub(super) fn walk(
        self,
        relay: &Relay,
        waits: &Handle,
        mut look: impl FnMut(&Arc<StoredEvent>) -> Result<ControlFlow<()>, Refusal>,
    ) -> Result<Piece, Refusal> {
        let Self { query, mut after } = self;
        let begun = Instant::now();
        let mut piece = Piece { looked_at: 0, back_to_ms: None, next: None };
        let mut bytes = 0;
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
                let has_enough = look(event)?.is_break();
                seen += 1;
                bytes += event.body.len();
                piece.looked_at += 1;
                piece.back_to_ms = Some(event.received_ms);
                is_enough =
                    has_enough || piece.looked_at >= EVENTS_MAX || bytes >= BYTES_MAX || begun.elapsed() >= TIME_MAX;
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
    /// How far it went, in an answer.
    pub(super) fn tell(&self, told: &mut Value) {
        told["looked_at"] = json!(self.looked_at);
        told["back_to"] = json!(self.back_to_ms.map(rfc3339));
        told["next"] = json!(self.next.as_ref().map(Cursor::to_string));
    }
}
