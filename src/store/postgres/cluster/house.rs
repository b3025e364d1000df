//! What there is to do for the relay that keeps house.

use std::collections::BTreeSet;

use super::duty::{Duty, Slot};
use super::plan::Held;
use super::view::{Incarnation, View};

/// What the relay that keeps house knows from its heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct House {
    /// The epoch of its lease.
    pub epoch: i64,
    /// Streams of relays that are dead.
    pub dead: Vec<DeadStream>,
}

/// A stream whose relay was seen dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadStream {
    pub slot: Slot,
    pub epoch: i64,
    pub owner: Incarnation,
    /// Its counter, if it has a row: where that has moved since, it lives.
    pub heartbeat: Option<i64>,
}

impl House {
    /// Of a relay that has what it has; nothing if it does not keep house.
    pub fn of(view: &View, alive: &BTreeSet<Incarnation>, held: &Held) -> Option<Self> {
        let epoch = held.get(&Duty::Housekeeping)?.epoch;
        let dead = view.leases.iter().filter_map(|(duty, lease)| {
            let (Duty::Stream(slot), Some(owner)) = (duty, lease.owner) else { return None };
            let heartbeat = view.relays.get(&owner).map(|relay| relay.heartbeat);
            (!alive.contains(&owner)).then_some(DeadStream { slot: *slot, epoch: lease.epoch, owner, heartbeat })
        });
        Some(Self { epoch, dead: dead.collect() })
    }
}
