//! What a destination that goes in order must never see: two of a key at once, or one before an earlier one that waits.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of one destination that goes in order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By which replay each went out again last, and 0 for those that none did. Those of one replay, and those of none, go by their numbers; where
    /// one goes that comes before the other, both may be on their way already.
    replays: BTreeMap<u64, usize>,
    last_replay: usize,
    /// Attempts that were made while others of their key waited.
    pub(super) with_others: usize,
}

/// What arrived: when, in which process, and its number.
pub(super) type Came = (u64, usize, u64);

impl Order {
    /// These, which were settled, go out again.
    pub(super) fn replayed(&mut self, sequences: &[u64]) {
        self.last_replay += 1;
        self.replays.extend(sequences.iter().map(|sequence| (*sequence, self.last_replay)));
    }

    fn replay_of(&self, sequence: u64) -> usize {
        self.replays.get(&sequence).copied().unwrap_or(0)
    }

    /// An attempt begins while others of its key are in flight, and others wait. Returns what is wrong with that.
    pub(super) fn check(&mut self, sequence: u64, in_flight: Option<u64>, waiting: &BTreeSet<u64>) -> Option<String> {
        if let Some(other) = in_flight {
            return Some(format!("attempted while {other} of its key is in flight"));
        }
        self.with_others += usize::from(!waiting.is_empty());
        let replay = self.replay_of(sequence);
        let earlier = waiting.range(..sequence).find(|other| self.replay_of(**other) == replay)?;
        Some(format!("attempted before {earlier} of its key, which waits"))
    }
}

/// Of a key, what succeeded did so in order in each process; and where a crash had some of it succeed again, the last of all is again the last.
/// That is asked of the processes from one on: of those before it a power cut may have left later outcomes and no earlier ones.
pub(super) fn came_in_order(mut arrivals: Vec<Came>, from_process: usize) -> Result<(), String> {
    arrivals.sort_unstable();
    for pair in arrivals.windows(2) {
        let [(_, before, first), (at_ms, process, second)] = [pair[0], pair[1]];
        if before == process && second <= first {
            return Err(format!("{second} came after {first} of its key, at {at_ms}"));
        }
    }
    arrivals.retain(|(_, process, _)| *process >= from_process);
    let last = arrivals.last().map(|(_, _, sequence)| sequence);
    let greatest = arrivals.iter().map(|(_, _, sequence)| sequence).max();
    if last == greatest { Ok(()) } else { Err(format!("{last:?} was the last, and not {greatest:?}: {arrivals:?}")) }
}
