//! What the index is told, and a dead letter as it knows it.

use crate::store::journal::format::ReplayRecord;
use crate::store::journal::words::{Damage, Letter, Place};
use crate::store::queues::{DeliveryKey, KnownCommand, OutcomeRecord, OutcomeState, RememberedRow, SelectionRecord};
use crate::store::{AttemptNote, NameId};

/// Something that has happened, and is synced in the journal where it stands there at all.
#[derive(Clone, Debug)]
pub enum Update {
    /// A delivery was given up.
    Dead(Letter),
    /// A delivery arrived that had failed before.
    Late {
        key: DeliveryKey,
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
    },
    /// Something was done to deliveries.
    Selection(SelectionRecord),
    /// A command was done.
    Command(KnownCommand),
    /// A replay has come this far.
    Replay(ReplayRecord),
    /// Events lie elsewhere now: number, place, bytes of the body.
    Relocated(Vec<(u64, Place, u64)>),
    Notes(Vec<(DeliveryKey, AttemptNote)>),
    /// Something to remember of a destination.
    Fact(NameId, String),
    /// What a part of the relay writes down, under its key.
    Memo(String, String),
    /// What attempts leave behind for those that follow.
    Remembered(Vec<RememberedRow>),
    /// Nothing refers to these any more.
    NamesGone(Vec<NameId>),
    /// The journal is damaged.
    Damage(Damage),
}

impl Update {
    /// What the index keeps of an outcome: nothing of one that arrived at once, nor of one that is tried again.
    pub fn of_outcome(outcome: OutcomeRecord) -> Option<Self> {
        let OutcomeRecord { key, attempts, at_ms, state } = outcome;
        match state {
            OutcomeState::Dead { reason } => {
                let sequence = key.sequence;
                let destination = key.destination;
                Some(Update::Dead(Letter { sequence, destination, attempts, at_ms, reason }))
            }
            OutcomeState::Delivered if attempts > 1 => Some(Update::Late { key, attempts, at_ms }),
            _ => None,
        }
    }
}
