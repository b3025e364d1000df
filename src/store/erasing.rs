//! Erasing what is kept of a person: a walk over all of it, and what is left of an event.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Answer, NameId, PlannedDelivery, StoredEvent};
use crate::event::EventId;
use crate::spelled::{OVERLAP_BYTES, PIECE_BYTES};

/// What is left of an event whose body was erased: when it came, by which way, and where it was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedEvent {
    pub id: EventId,
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    pub deliveries: Vec<PlannedDelivery>,
}

impl ErasedEvent {
    /// The same with no body, for who looks at where its deliveries stand.
    pub(crate) fn without_body(self) -> StoredEvent {
        let Self { id, received_ms, source, rules, deliveries } = self;
        StoredEvent { id, received_ms, source, rules, deliveries, body: bytes::Bytes::new(), is_redacted: false }
    }
}

impl From<&StoredEvent> for ErasedEvent {
    fn from(event: &StoredEvent) -> Self {
        let StoredEvent { id, received_ms, source, rules, deliveries, body: _, is_redacted: _ } = event.clone();
        Self { id, received_ms, source, rules, deliveries }
    }
}

/// Whom an erasing is about. Both are asked from any thread, and nothing of what they know is ever written down.
#[derive(Clone)]
pub struct Whom {
    /// Whether an event is meant.
    pub meant: Arc<dyn Fn(&StoredEvent) -> Meant + Send + Sync>,
    /// Where in some bytes stands what is to be found nowhere afterwards, in order.
    pub found: Arc<Finds>,
}

/// Where something stands in some bytes, in order.
pub type Finds = dyn Fn(&[u8]) -> Vec<Range<usize>> + Send + Sync;

/// Writes zeros over so many bytes, piece by piece.
pub(crate) fn overwrite(length: u64, mut write_at: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
    let zeros = vec![0; PIECE_BYTES];
    let mut pieces = (0..length).step_by(PIECE_BYTES);
    pieces.try_for_each(|at| write_at(&zeros[..(length - at).min(PIECE_BYTES as u64) as usize], at))
}

impl Whom {
    /// Whether so many bytes name them, which are read piece by piece.
    pub(crate) fn is_named_in(
        &self,
        length: u64,
        mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut bytes = Vec::new();
        for at in (0..length).step_by(PIECE_BYTES) {
            bytes.resize((length - at).min((PIECE_BYTES + OVERLAP_BYTES) as u64) as usize, 0);
            read_at(&mut bytes, at)?;
            if !(self.found)(&bytes).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A text with as many `*` as it has bytes where it names them; `None` where it does not.
    pub fn masked(&self, text: &str) -> Option<String> {
        let ranges = (self.found)(text.as_bytes());
        if ranges.is_empty() {
            return None;
        }
        let mut bytes = text.as_bytes().to_vec();
        ranges.into_iter().for_each(|range| bytes[range].fill(b'*'));
        // Whoever cuts a character in two loses all of the text.
        Some(String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(text.len())))
    }
}

/// Whether an event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    No,
    /// It is about somebody else and names who is meant. It is told, and stays.
    Mentions,
    Yes,
}

/// What a walk does with what it finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Tells of it, and changes nothing.
    Look,
    /// Ends its deliveries and erases it.
    Erase {
        /// The events that a look has found: what is said of their deliveries goes wherever it stands.
        known: Vec<EventId>,
    },
}

/// One walk over all that is kept, oldest first, also over copies that no list shows.
///
/// It takes a step at a time, so that who walks can stop, and others have their turn. When it is dropped it ends between two steps; what a step
/// did stays done. A walk that was not finished is made again from the beginning: to erase twice is to erase once. What arrives while it goes on may
/// be found by the next one only.
pub trait Erasing: Send {
    /// Goes on. An error leaves everything as it was before the step, or as it is after it: the next step tries the same again.
    fn step(&mut self) -> Answer<'_, ErasingStep>;
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasingStep {
    /// Bytes that are still to be walked over.
    pub left: u64,
    /// The events that are meant: found in this step, and erased in it unless it only looks. One that has copies may come again.
    pub about: Vec<EventId>,
    /// Events that name who is meant.
    pub mentions: Vec<EventId>,
    /// Where the deliveries of those that are meant stood.
    pub standing: Standing,
    /// Deliveries that were ended.
    pub ended: u64,
    /// Bodies that were erased.
    pub erased: u64,
    /// Events that had been erased before.
    pub already: u64,
    /// Texts in which something was masked, or would be: reasons, and what replays were asked for.
    pub texts: u64,
    /// Damaged ranges that say what is meant, which nobody can read as events. They are zeros now, unless it only looks.
    pub damaged: u64,
    /// Events that cannot be read, and damaged ranges, that do not say what is meant as far as they are bytes. They stay as they are, and nobody knows
    /// who they are about.
    pub unreadable: u64,
    /// Files of ours that were overwritten and removed: copies of damaged segments.
    pub removed: Vec<String>,
    /// What could not be reached, in sentences.
    pub left_behind: Vec<String>,
    /// Nothing was done yet, for this reason: it is to be asked again in a while.
    pub waits_for: Option<String>,
    /// In the last step: attempts at what was erased that are in flight. What they leave is attempted no more, and a further walk ends it.
    pub in_flight: u64,
    /// It was the last step.
    pub is_done: bool,
}

/// Where deliveries stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub waiting: u64,
    pub scheduled: u64,
    pub in_flight: u64,
    pub dead: u64,
    /// Their sources are held.
    pub held: u64,
    /// They lie in open windows.
    pub gathered: u64,
}
