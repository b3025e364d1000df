//! Since when what waits has waited. Neither the time in a window counts, nor that in which a source was held, nor that before a replay.

use super::*;

/// Since when the oldest has waited: the first of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oldest {
    /// This event, since it arrived.
    pub event: Option<u64>,
    /// A digest, since it was closed: unix milliseconds.
    pub closed_ms: Option<u64>,
    /// What a source had held, since it was let go, and what was put into the queue again, since then: milliseconds that the store had lived
    /// through by then.
    pub let_go_ms: Option<u64>,
    /// The oldest that is to be given a lane. It is none of the others.
    pub unplaced: Option<u64>,
    /// The first that is to be given a lane, whatever it is as old as.
    pub first_unplaced: Option<u64>,
}

impl Queue {
    /// The oldest that waits, in no window. What is still to be given a lane stands apart: it may have lain in one, and is placed in seconds.
    pub fn oldest(&self) -> Oldest {
        let lanes = self.lanes.as_deref();
        let sets: Vec<&Bitmap> = match lanes {
            // What is behind another waits as that does, and what was not looked at is behind all of them.
            Some(lanes) if lanes.order.is_some() => vec![&self.unsettled, &self.redeliveries],
            Some(lanes) if lanes.sorts => vec![&lanes.ready, &lanes.urgent],
            // Whether it sorts is not known yet.
            Some(lanes) if !lanes.is_told => Vec::new(),
            _ => vec![&self.unsettled, &self.redeliveries],
        };
        let attempted = || self.claimed.keys().chain(self.due.keys()).copied();
        let younger: Vec<&Bitmap> = self.let_go.values().chain(lanes.map(|lanes| &lanes.closed)).collect();
        let is_younger = |sequence: u64| younger.iter().any(|set| set.contains(sequence));
        let [claimed, due] = [
            self.claimed.keys().copied().find(|sequence| !is_younger(*sequence)),
            self.due.keys().copied().find(|sequence| !is_younger(*sequence)),
        ];
        let first = sets.iter().filter_map(|set| set.iter_outside(&younger).next());
        let waits = |set: &Bitmap| {
            sets.iter().any(|waiting| !set.is_apart_from(waiting)) || attempted().any(|sequence| set.contains(sequence))
        };
        let has_unplaced = !self.is_in_order() && self.count_unplaced() > 0;
        let unplaced = |others: &[&Bitmap]| {
            let outside: Vec<&Bitmap> =
                lanes.map(|lanes| &lanes.placed).into_iter().chain(others.iter().copied()).collect();
            let first = |set: &Bitmap| set.iter_outside(&outside).find(|sequence| !self.claimed.contains_key(sequence));
            [&self.unsettled, &self.redeliveries].into_iter().filter(|_| has_unplaced).filter_map(first).min()
        };
        Oldest {
            unplaced: unplaced(&younger),
            first_unplaced: unplaced(&[]),
            event: first.chain(claimed).chain(due).min(),
            closed_ms: lanes.and_then(|lanes| lanes.digests.values().map(|digest| digest.closed_ms).min()),
            let_go_ms: self.let_go.iter().find(|(_, set)| waits(set)).map(|(passed_ms, _)| *passed_ms),
        }
    }
}
