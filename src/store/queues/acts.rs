//! What is done to a destination, or to many of its deliveries at once.

use super::bitmap::Bitmap;
use crate::store::{AskedPrint, NameId};

/// An act on a whole destination: an operator's, or one that the relay made in an operator's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Which. A source can be paused too.
    pub destination: NameId,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub act: Act,
}

/// What is done to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is held, for a reason.
    Pause(String),
    /// A source: what comes in by it is kept, and not delivered until it goes on.
    Hold,
    /// It goes on: what is scheduled is due now, and what was held may be delivered.
    Resume,
    /// Its breaker opened: time does not count from here on.
    Open,
    Close,
    /// The config does not name it any more.
    Remove,
    /// The config names it again.
    Restore,
    /// What is scheduled is due now.
    RetryNow,
}

/// Whether somebody waits for an act to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Now,
    /// Written and synced with whatever comes next, within a second.
    Soon,
}

/// What is done to some deliveries of one destination, all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAct {
    /// They are delivered again; what waits already goes on waiting.
    Redeliver,
    /// What waits becomes dead letters.
    DeadLetter,
    /// Dead letters that are kept no longer.
    Drop,
    /// Dead letters that are kept no longer, because another destination was given them.
    MoveDead(NameId),
    /// What waits goes to another destination.
    MoveWaiting(NameId),
}

/// An act on some deliveries of one destination, named by their events' numbers: one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionRecord {
    pub destination: NameId,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub act: BulkAct,
    /// The command that this is part of, where that is remembered.
    pub command: Option<CommandRecord>,
    /// Why, for dead letters; and [`RENAMED`].
    pub reason: String,
    pub sequences: Bitmap,
}

/// The reason of what comes over since its destination was renamed.
pub const RENAMED: &str = "the destination was renamed";

/// What a record says of the command that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    pub id: u128,
    /// What was asked for. Earlier builds did not say.
    pub asked: Option<AskedPrint>,
}

impl SelectionRecord {
    /// Whether what it selects waits from then on. What comes over has waited for longer.
    pub fn begins_anew(&self) -> bool {
        self.act == BulkAct::Redeliver && self.reason != RENAMED
    }
}

/// How many of the oldest deliveries must go for a backlog to fit, if all are of one size; at least one, unless it fits.
pub fn going(waiting: u64, bytes: u64, most: u64) -> u64 {
    if bytes <= most {
        return 0;
    }
    let share = (bytes - most) as f64 / bytes as f64;
    ((waiting as f64 * share).ceil() as u64).clamp(1, waiting.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_go_as_are_too_many() {
        for (waiting, bytes, most, expected) in [
            (100, 1000, 900, 10),
            (100, 1000, 999, 1),
            (100, 1000, 0, 100),
            (1, 1000, 1, 1),
            (3, 1000, 500, 2),
            (9, 1000, 1000, 0),
        ] {
            assert_eq!(going(waiting, bytes, most), expected, "{waiting} in {bytes} of {most}");
        }
    }
}
