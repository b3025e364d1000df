//! What one heartbeat has read, in one snapshot: who there is, who does what, and which streams there are.
//!
//! One snapshot, because rows that were read at two moments say what never was: a relay that had just begun, with its lease and without
//! its row, would be taken for a dead one.

use std::collections::{BTreeMap, BTreeSet};

use super::duty::{Duty, Group, Slot};
use crate::store::NameId;

/// One run of one relay: random bits, new at each start and whenever it begins anew. A new incarnation is another relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub i64);

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub relays: BTreeMap<Incarnation, RelayRow>,
    /// Those of duties that this program knows.
    pub leases: BTreeMap<Duty, LeaseRow>,
    pub streams: BTreeMap<Slot, StreamRow>,
}

/// What a relay says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayRow {
    pub name: String,
    /// Counted up by each heartbeat. Only that it changes says something: after a failover that lost commits it may be lower.
    pub heartbeat: i64,
    pub wants: Wants,
    /// It ends: it takes nothing more and is counted for no share.
    pub is_stopping: bool,
    /// What it is giving back, and still has until nothing is in flight.
    pub gives_back: BTreeSet<Duty>,
    /// A digest of its config.
    pub config: String,
    /// Of its program.
    pub version: String,
}

/// What a relay can do, by its own config.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wants {
    /// Its destinations, with the group that each shares a rate limit with, if it does.
    pub destinations: BTreeMap<NameId, Option<Group>>,
    /// The replays that are not done.
    pub replays: BTreeSet<u128>,
}

impl Wants {
    /// Whether there would be work for it here.
    pub fn has(&self, duty: &Duty) -> bool {
        match duty {
            Duty::Destination(id) => self.destinations.contains_key(id),
            Duty::Replay(id) => self.replays.contains(id),
            Duty::RateLimitGroup(group) => self.destinations.values().flatten().any(|known| known == group),
            Duty::Stream(_) | Duty::Housekeeping => false,
        }
    }

    /// The group that a destination shares a rate limit with.
    pub fn group_of(&self, id: NameId) -> Option<Duty> {
        self.destinations.get(&id)?.clone().map(Duty::RateLimitGroup)
    }
}

/// Who does a duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Counts changes of owner; also when it is given back.
    pub epoch: i64,
    /// `None`: free.
    pub owner: Option<Incarnation>,
}

/// Where a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// What its relay appends to now.
    pub segment: i32,
    /// The next owner begins above this.
    pub n_from: i64,
}

impl View {
    /// Adds a row of `lease`. A duty of a later program is left alone.
    pub fn add_lease(&mut self, duty: &str, row: LeaseRow) {
        if let Ok(duty) = duty.parse() {
            self.leases.insert(duty, row);
        }
    }

    /// Whether a relay has a row. One that finds that it has none has to begin anew.
    pub fn knows(&self, relay: Incarnation) -> bool {
        self.relays.contains_key(&relay)
    }

    /// Who owns a duty, dead or alive.
    pub fn owner(&self, duty: &Duty) -> Option<Incarnation> {
        self.leases.get(duty)?.owner
    }

    /// Everybody who is named by a row.
    pub fn everybody(&self) -> BTreeSet<Incarnation> {
        let owners = self.leases.values().filter_map(|lease| lease.owner);
        self.relays.keys().copied().chain(owners).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_a_later_program_is_left_alone_and_an_owner_without_a_row_is_somebody() {
        let mut view = View::default();
        view.add_lease("destination/12", LeaseRow { epoch: 3, owner: Some(Incarnation(1)) });
        view.add_lease("destination/12/0", LeaseRow { epoch: 1, owner: Some(Incarnation(2)) });
        assert_eq!(view.leases.len(), 1);
        assert_eq!(view.owner(&Duty::Destination(NameId(12))), Some(Incarnation(1)));
        assert_eq!(view.everybody(), BTreeSet::from([Incarnation(1)]));
        assert!(!view.knows(Incarnation(1)));
    }
}
