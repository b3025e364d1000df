//! How far this process has followed what all relays take in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::event::EventId;
use crate::store::locks::lock;
use crate::store::{AppendError, NameId, StoredEvent};

/// Resolved with an event's id once it is durable.
pub type Reply = oneshot::Sender<Result<EventId, AppendError>>;

/// What this process has taken in and what waits for what others had taken in before.
#[derive(Debug, Default)]
pub struct Own {
    /// Events, each with where it is still to go: to a queue that is in order.
    pub events: Vec<(Arrived, NameId)>,
    /// Their senders: answered when they stand in their queues.
    pub replies: Vec<(Reply, EventId)>,
}

/// An event with the hold that it came in under.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Whether its body was read with it.
    pub has_body: bool,
    pub event: Arc<StoredEvent>,
    pub hold: Option<i32>,
}

/// How far it has come.
#[derive(Debug, Default)]
pub struct Following {
    state: Mutex<State>,
    /// Notified when there is something to read at once.
    pub more: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of each stream, the greatest number that was read.
    cursors: BTreeMap<i16, i64>,
    /// Streams that were not there when this process began have nothing at or below this number.
    base: i64,
    own: Own,
}

impl Following {
    /// Begins behind what there is.
    pub fn begin(&self, base: i64, cursors: impl IntoIterator<Item = (i16, i64)>) {
        let mut state = lock(&self.state);
        state.base = base;
        state.cursors = cursors.into_iter().collect();
    }

    /// Where to go on in each stream that is known, and in others.
    pub fn cursors(&self) -> (Vec<i16>, Vec<i64>, i64) {
        let state = lock(&self.state);
        (state.cursors.keys().copied().collect(), state.cursors.values().copied().collect(), state.base)
    }

    /// A stream was read up to a number.
    pub fn read(&self, slot: i16, number: i64) {
        let mut state = lock(&self.state);
        let cursor = state.cursors.entry(slot).or_insert(number);
        *cursor = number.max(*cursor);
    }

    /// This process has taken events in that go to queues which are in order.
    pub fn took_in(&self, Own { events, replies }: Own) {
        let mut state = lock(&self.state);
        state.own.events.extend(events);
        state.own.replies.extend(replies);
    }

    /// What it has taken in and what did not go to queues that are in order.
    pub fn own(&self) -> Own {
        std::mem::take(&mut lock(&self.state).own)
    }
}
