//! What became of deliveries and of digests, as it is told to who writes it down.

use std::collections::BTreeMap;

use super::acts::BulkAct;
use super::bitmap::Bitmap;
use crate::store::{DeliveryState, DigestId, GroupKey, NameId, PlannedDelivery, States, StoredEvent, WindowHead};

/// Names one delivery by its event's number and its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The event's sequence number.
    pub sequence: u64,
    pub destination: NameId,
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    pub key: DeliveryKey,
    /// Attempts made in all.
    pub attempts: u16,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub state: OutcomeState,
}

/// The states that are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeState {
    /// The destination has it.
    Delivered,
    /// There was nothing to send. Older releases read this, and the next two, as delivered: it is over.
    Skipped,
    /// It was a dead letter and was dropped: said again where its event is relocated.
    Dropped,
    /// It was given to another destination: said again where its event is relocated.
    Moved(NameId),
    /// To be tried again.
    Scheduled {
        /// When the first attempt was made.
        first_attempt_ms: u64,
        /// When the next is due.
        due_ms: u64,
        /// What the last one came to.
        reason: String,
    },
    Dead {
        reason: String,
    },
}

/// Windows that are open, as they are from now on: each takes the place of what was said of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsRecord {
    pub destination: NameId,
    pub heads: Vec<WindowHead>,
}

/// Something that happened to a digest, or to windows that are none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestRecord {
    pub destination: NameId,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub what: DigestAct,
}

/// What happened. Each says all that it is about, so that reading it twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestAct {
    /// These windows are no more, and these deliveries are members of it: all of them, or some of many, or some said again.
    Closed { id: DigestId, windows: Vec<GroupKey>, members: Bitmap },
    /// To be tried again.
    Scheduled {
        id: DigestId,
        attempts: u16,
        first_attempt_ms: u64,
        due_ms: u64,
        /// What the last attempt came to.
        reason: String,
    },
    /// It arrived, and these with it.
    Delivered { id: DigestId, attempts: u16, members: Bitmap },
    /// There was nothing to send.
    Skipped { id: DigestId, attempts: u16, members: Bitmap },
    /// These windows are no more.
    Ended { windows: Vec<GroupKey> },
    /// It is none any more: its members are plain deliveries.
    Dissolved { id: DigestId },
}

impl DigestRecord {
    /// The deliveries that are over by it.
    pub fn ended(&self) -> Option<&Bitmap> {
        match &self.what {
            DigestAct::Delivered { members, .. } | DigestAct::Skipped { members, .. } => Some(members),
            _ => None,
        }
    }

    /// The digest that it is about.
    pub fn id(&self) -> Option<DigestId> {
        match self.what {
            DigestAct::Closed { id, .. } | DigestAct::Scheduled { id, .. } | DigestAct::Dissolved { id } => Some(id),
            DigestAct::Delivered { id, .. } | DigestAct::Skipped { id, .. } => Some(id),
            DigestAct::Ended { .. } => None,
        }
    }
}

/// Where a delivery stands of which this became.
pub fn state_of(outcome: &OutcomeRecord) -> DeliveryState {
    let attempts = outcome.attempts;
    let at_ms = outcome.at_ms;
    match &outcome.state {
        OutcomeState::Delivered => DeliveryState::Delivered { attempts, at_ms },
        OutcomeState::Skipped => DeliveryState::Skipped { at_ms, reason: String::new() },
        OutcomeState::Dropped => DeliveryState::Dropped { at_ms },
        OutcomeState::Moved(to) => DeliveryState::Moved { at_ms, to: *to },
        OutcomeState::Dead { reason } => DeliveryState::Dead { attempts, at_ms, reason: reason.clone() },
        OutcomeState::Scheduled { due_ms, reason, .. } => {
            DeliveryState::Scheduled { attempts, due_ms: *due_ms, reason: reason.clone() }
        }
    }
}

/// What became of a digest's members, where they are over by it.
pub fn state_by(digest: &DigestRecord) -> Option<DeliveryState> {
    let at_ms = digest.at_ms;
    match digest.what {
        DigestAct::Delivered { attempts, .. } => Some(DeliveryState::Delivered { attempts, at_ms }),
        DigestAct::Skipped { .. } => Some(DeliveryState::Skipped { at_ms, reason: String::new() }),
        _ => None,
    }
}

/// What an act makes of a delivery, where it ends it.
pub fn state_after(act: BulkAct, at_ms: u64, reason: &str) -> Option<DeliveryState> {
    match act {
        BulkAct::Redeliver => None,
        BulkAct::DeadLetter => Some(DeliveryState::Dead { attempts: 0, at_ms, reason: reason.to_owned() }),
        BulkAct::Drop => Some(DeliveryState::Dropped { at_ms }),
        BulkAct::MoveDead(to) | BulkAct::MoveWaiting(to) => Some(DeliveryState::Moved { at_ms, to }),
    }
}

/// Where the deliveries of an event stand, by what is known: those that were planned, and then those to where no rule sent it.
pub fn states_of(event: &StoredEvent, known: &BTreeMap<DeliveryKey, DeliveryState>) -> States {
    let key = |destination| DeliveryKey { sequence: event.id.sequence(), destination };
    let planned = event.deliveries.iter().map(|delivery| {
        let state = known.get(&key(delivery.destination)).cloned();
        (*delivery, state.unwrap_or(DeliveryState::Settled))
    });
    let others = known.range(key(NameId(0))..=key(NameId::NONE)).filter_map(|(key, state)| {
        let is_planned = event.deliveries.iter().any(|delivery| delivery.destination == key.destination);
        let delivery = PlannedDelivery { destination: key.destination, rule: NameId::NONE };
        (!is_planned).then(|| (delivery, state.clone()))
    });
    planned.chain(others).collect()
}
