//! What can be done to deliveries, destinations and sources: a [`Command`], which says *which* and is done once by its id.

use std::time::Duration;

use super::{DeadQuery, NameId};
use crate::event::EventId;

/// Something to be done. Whoever says it again, with the same id, has not said it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Given by who asks: a UUID's bits. `None`: nobody says it again. The newest [`COMMANDS_MAX`] are remembered, also after a restart and
    /// the end of the process at any moment. When the machine ends, the id of one that was done to no deliveries may be forgotten, and the
    /// same command acts again; so it is where the journal's index is lost and made again. Who says an id again for something else is refused.
    pub id: Option<u128>,
    /// The destination whose deliveries they are; to pause, hold and resume also a source.
    pub of: NameId,
    pub what: What,
    /// Tells which deliveries were asked for, and why, from others of the same kind of act at the same destination.
    pub asked: AskedPrint,
}

/// A fingerprint of what somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedPrint(pub u64);

impl AskedPrint {
    /// Of what nobody says again.
    const NONE: Self = Self(0);

    /// Of some parts, in their order. It is written down: another release must find the same.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            // With its length, so that no two lists of parts run into the same bytes.
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let digest = context.finish();
        let (bytes, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
        Self(u64::from_le_bytes(*bytes))
    }
}

/// So many commands are remembered, the steps of replays among them.
pub const COMMANDS_MAX: usize = 1000;
/// Events that one command can name.
pub const EVENTS_MAX: usize = 16_384;
/// Events that one command on dead letters can name: 16 MiB of ids. It is one command however many they are, so that it is done once.
pub const DEAD_EVENTS_MAX: usize = 1 << 20;

impl Command {
    /// A command that may be said again, by its id.
    pub fn new(id: u128, of: NameId, what: What) -> Self {
        let asked = what.asked();
        Self { id: Some(id), of, what, asked }
    }

    /// The same, where the deliveries were looked for by what somebody asked: said again, that finds others.
    pub fn asked_as(self, asked: AskedPrint) -> Self {
        Self { asked, ..self }
    }

    /// The id of a part of what has an id itself: a part that is asked for again is done once as well.
    pub fn id_of_part(whole: u128, part: &[u8]) -> u128 {
        let digest = ring::digest::digest(&ring::digest::SHA256, &[&whole.to_be_bytes(), part].concat());
        let (bytes, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
        u128::from_be_bytes(*bytes)
    }

    /// A command that nobody says again. It is not remembered, and resolves when it is in effect. Until it is durable, which may take a
    /// second, or until there is room on the disk, a crash undoes it: it is for what is looked for again anyway.
    pub fn once(of: NameId, what: What) -> Self {
        Self { id: None, of, what, asked: AskedPrint::NONE }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A destination's queue is held until it is resumed, across restarts. Of a source: that its events are refused is the caller's
    /// business.
    Pause {
        /// Why, for who looks.
        reason: String,
    },
    /// A source's events are accepted and kept, and nothing of them is delivered until it is resumed. Ends a pause of the source.
    Hold,
    /// It goes on. What was scheduled is due now, and the time in between does not count.
    Resume,
    /// What is scheduled is due now.
    RetryNow,
    /// They are delivered again; what waits already goes on waiting.
    Redeliver(Which),
    /// They are given up.
    DeadLetter {
        /// Which of those that wait.
        which: Which,
        reason: String,
    },
    /// Dead letters are kept no longer.
    Drop(Which),
    /// Dead letters are delivered to another destination, and are kept no longer where they were.
    Move { which: Which, to: NameId },
    /// Another destination takes over all that the queue is: what waits and what is scheduled, dead letters, a pause. What is in flight
    /// ends where it began.
    TakeOver { to: NameId },
}

impl What {
    /// Tells what is asked for from everything else of the same kind. The destinations are compared by themselves.
    fn asked(&self) -> AskedPrint {
        match self {
            Self::Pause { reason } => AskedPrint::of([reason.as_bytes()]),
            Self::Hold | Self::Resume | Self::RetryNow | Self::TakeOver { .. } => AskedPrint::of([]),
            Self::Redeliver(which) | Self::Drop(which) | Self::Move { which, .. } => which.asked(b""),
            Self::DeadLetter { which, reason } => which.asked(reason.as_bytes()),
        }
    }
}

/// Which deliveries of a destination. What is in flight is left alone, whatever is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everything that waits for an attempt.
    Pending,
    /// What was never attempted, and whose event arrived longer ago than this by the time that the store has lived through. What its
    /// source had held arrived when that was resumed.
    UnattemptedFor(Duration),
    /// The oldest of what waits and keeps the journal from being trimmed, so that the rest keeps no more than so many bytes.
    OldestBeyond(u64),
    Dead(DeadQuery),
    /// Those of some events, at most [`EVENTS_MAX`].
    Events(Vec<EventId>),
}

impl Which {
    /// A fingerprint of which are meant, and why.
    fn asked(&self, why: &[u8]) -> AskedPrint {
        let ids = |events: &[EventId]| -> Vec<u8> { events.iter().flat_map(|event| event.to_bytes()).collect() };
        let number = |number: Option<u64>| number.map(|number| number.to_le_bytes().to_vec()).unwrap_or_default();
        let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec()).unwrap_or_default();
        let parts: Vec<Vec<u8>> = match self {
            Self::Pending => vec![b"pending".to_vec()],
            Self::UnattemptedFor(age) => vec![b"unattempted".to_vec(), age.as_millis().to_le_bytes().to_vec()],
            Self::OldestBeyond(most) => vec![b"oldest".to_vec(), number(Some(*most))],
            Self::Events(events) => vec![b"events".to_vec(), ids(events)],
            Self::Dead(DeadQuery { since_ms, until_ms, reason, reason_is, events }) => {
                // An empty selection of events is one: it means none.
                let named = events.as_deref().map(|events| [b"of".to_vec(), ids(events)].concat()).unwrap_or_default();
                vec![b"dead".to_vec(), number(*since_ms), number(*until_ms), text(reason), text(reason_is), named]
            }
        };
        AskedPrint::of([why].into_iter().chain(parts.iter().map(Vec::as_slice)))
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Deliveries that it was done to; of a pause and its end: 1 where it changed something.
    pub deliveries: u64,
    /// It had been done before.
    pub was_done_before: bool,
    /// Of [`What::TakeOver`]: what there was.
    pub taken_over: Option<TakenOver>,
}

impl Done {
    /// Whether anything is different now.
    pub fn has_changed(&self) -> bool {
        self.deliveries > 0
    }
}

/// What one destination has taken over from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Deliveries that wait for an attempt.
    pub waiting: u64,
    /// Deliveries that wait for another attempt, with the attempts that were made.
    pub scheduled: u64,
    pub dead: u64,
    /// It was paused, and the other is now.
    pub paused: bool,
    /// Attempts that were in flight. They end where they began.
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_has_the_fingerprint_that_is_written_down() {
        let dead = DeadQuery { since_ms: Some(5), reason: Some("422".to_owned()), ..DeadQuery::default() };
        for (what, print) in [
            (What::Pause { reason: "by hand".to_owned() }, 0xfdce_35a7_d264_8b3e),
            (What::Redeliver(Which::Pending), 0xf1ce_adda_ea0d_106a),
            (What::Drop(Which::Dead(dead)), 0x48af_5134_9f5c_0367),
            (What::DeadLetter { which: Which::OldestBeyond(9), reason: "operator".to_owned() }, 0x0ce6_b9e1_3a3a_0a6c),
        ] {
            assert_eq!(what.asked(), AskedPrint(print), "{what:?}");
        }
    }
}
