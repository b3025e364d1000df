//! The tables of the model world, as the statements of a real relay change them.

use std::collections::BTreeMap;

use super::super::alive::TTL;
use super::super::duty::Duty;
use super::super::plan::Claim;
use super::super::view::{Incarnation, LeaseRow, RelayRow, StreamRow, View};

/// Rules that a control leaves out, so that the property which needs them is seen to fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Without {
    /// Time in which nothing could be read counts as if all had stood still.
    pub gaps: bool,
    /// Who lives is told by the wall clock that a relay writes into its row.
    pub counters: bool,
    /// Who has a lease is always sure of it.
    pub surety: bool,
    /// A dead relay's lease is taken also where its counter has moved since.
    pub claims_check: bool,
    /// A lease is taken whatever its epoch is by now.
    pub epochs: bool,
}

#[derive(Default)]
pub struct Database {
    pub is_down: bool,
    pub view: View,
    walls_ms: BTreeMap<Incarnation, i64>,
    /// How often a lease has changed, and when it last did.
    pub changes: u64,
    pub changed_at: u64,
}

impl Database {
    pub fn take(&mut self, claim: &Claim, me: Incarnation, now: u64, without: Without) -> bool {
        let epoch = self.view.leases.get(&claim.duty).map_or(0, |lease| lease.epoch);
        let counter = |relay: Incarnation| self.view.relays.get(&relay).map(|row| row.heartbeat);
        let has_moved = claim.from.is_some_and(|(dead, seen)| counter(dead) != seen);
        if (epoch != claim.epoch && !without.epochs) || (has_moved && !without.claims_check && !without.counters) {
            return false;
        }
        self.view.leases.insert(claim.duty.clone(), LeaseRow { epoch: claim.epoch + 1, owner: Some(me) });
        if let Duty::Stream(slot) = claim.duty {
            self.view.streams.entry(slot).or_insert(StreamRow { segment: 1, n_from: 0 });
        }
        self.has_changed(now);
        true
    }

    pub fn free(&mut self, duty: &Duty, epoch: i64, me: Incarnation, now: u64) -> bool {
        let own = |lease: &&mut LeaseRow| lease.epoch == epoch && lease.owner == Some(me);
        let Some(lease) = self.view.leases.get_mut(duty).filter(own) else { return false };
        *lease = LeaseRow { epoch: epoch + 1, owner: None };
        self.has_changed(now);
        true
    }

    /// A heartbeat: counts up, and reads. The first one brings its row; later ones find it, or nothing.
    pub fn heartbeat(&mut self, me: Incarnation, row: &RelayRow, wall_ms: i64) -> View {
        let last = self.view.relays.get(&me).map(|row| row.heartbeat);
        if row.heartbeat == 0 || last.is_some() {
            let heartbeat = last.map_or(1, |last| last + 1);
            self.view.relays.insert(me, RelayRow { heartbeat, ..row.clone() });
            self.walls_ms.insert(me, wall_ms);
        }
        self.view.clone()
    }

    /// Frees all that a relay has, and deletes its row.
    pub fn leave(&mut self, me: Incarnation, now: u64) {
        let own = |(_, lease): &(&Duty, &LeaseRow)| lease.owner == Some(me);
        let own: Vec<_> =
            self.view.leases.iter().filter(own).map(|(duty, lease)| (duty.clone(), lease.epoch)).collect();
        for (duty, epoch) in own {
            self.free(&duty, epoch, me, now);
        }
        self.view.relays.remove(&me);
    }

    fn has_changed(&mut self, now: u64) {
        self.changes += 1;
        self.changed_at = now;
    }

    /// A view as a control has it: where wall clocks decide, a counter moves only while its relay's clock and one's own agree.
    pub fn as_seen(&self, view: &View, wall_ms: i64, without: Without) -> View {
        let mut seen = view.clone();
        if without.counters {
            for (relay, row) in &mut seen.relays {
                let is_fresh = self.walls_ms.get(relay).is_some_and(|at| wall_ms - at < TTL.as_millis() as i64);
                row.heartbeat = if is_fresh { wall_ms } else { 0 };
            }
        }
        seen
    }
}
