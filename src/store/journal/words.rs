//! Values that several parts of the journal give to one another.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;

use super::format::Record;
use crate::store::queues::{Bitmap, DeliveryKey};
use crate::store::{DeliveryState, ErasedEvent, NameId, StoreError, StoredEvent};

/// A range of a segment that was synced once and does not hold together now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    /// Which bytes.
    pub bytes: Range<u64>,
}

/// A record of the last segment's unsynced end, to be written again into the next segment.
#[derive(Clone, Debug)]
pub struct TailRecord {
    pub record: Record,
    /// For an event, its body.
    pub body: Bytes,
}

/// Events to be written again.
pub struct Relocating {
    pub events: Vec<Arc<StoredEvent>>,
    /// How those of their deliveries ended that are over, dead letters among them: it stands in the segment that goes.
    pub ends: Ends,
    /// Resolved when they are synced.
    pub reply: SyncSender<io::Result<()>>,
}

/// A segment to be let go.
pub struct Retiring {
    pub segment: u64,
    /// The numbers of its events.
    pub range: Range<u64>,
    /// Those that were relocated.
    pub relocated: Bitmap,
    /// Whether it may go. It is forgotten then, and its file can be removed.
    pub reply: SyncSender<bool>,
}

/// How deliveries ended, by event and then by destination.
pub type Ends = BTreeMap<DeliveryKey, DeliveryState>;

/// A dead letter, as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub sequence: u64,
    /// Where it was to go.
    pub destination: NameId,
    pub attempts: u16,
    /// When it was given up, unix milliseconds; 0 when that is not known any more.
    pub at_ms: u64,
    pub reason: String,
}

/// A dead letter of which nobody knows more.
pub fn unexplained(sequence: u64, destination: NameId) -> Letter {
    let reason = "the reason is not known any more: the index was lost".to_owned();
    Letter { sequence, destination, attempts: 0, at_ms: 0, reason }
}

/// What it is as a state.
pub fn unexplained_death() -> DeliveryState {
    died(unexplained(0, NameId::NONE))
}

/// A dead letter as a state.
pub fn died(Letter { attempts, at_ms, reason, .. }: Letter) -> DeliveryState {
    DeliveryState::Dead { attempts, at_ms, reason }
}

/// The index cannot be read, which is not the same as knowing nothing.
pub fn unreadable(error: rusqlite::Error) -> ReadError {
    ReadError::Io(std::io::Error::other(format!("the index: {error}")))
}

/// Where a relocated event lies: its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    /// Where the group begins.
    pub offset: u64,
}

/// Why a stored event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("no such event in the store")]
    Missing,
    /// Its body was erased.
    #[error("this event was erased")]
    Erased(Box<ErasedEvent>),
    /// It was to go out and is not what came any more.
    #[error("values of this event were redacted, and what goes out must be what came")]
    Redacted,
    /// It is there and its bytes are not what was written.
    #[error("the event's bytes on the disk are damaged ({0})")]
    Damaged(String),
    /// The disk would not give it.
    #[error("reading the store failed")]
    Io(#[from] std::io::Error),
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing => Self::Missing,
            ReadError::Erased(_) => Self::Erased,
            ReadError::Redacted => Self::Redacted,
            ReadError::Damaged(why) => Self::Damaged(why),
            ReadError::Io(source) => Self::Unavailable(format!("reading the store failed: {source}")),
        }
    }
}
