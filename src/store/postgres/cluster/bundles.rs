//! What goes to one relay together: destinations that share a rate limit, by anybody's config.
//!
//! A destination alone and a replay are bundles of one. Destinations that a config puts in a group are a bundle with the lease of that group,
//! so the limit is kept in one process. Configs may differ while relays are replaced one by one, and then the groups of all of them count:
//! what one config joins and another parts is one bundle, with the leases of all its groups. So no two relays each hold a half that the other
//! one needs.

use std::collections::{BTreeMap, BTreeSet};

use super::duty::Duty;
use super::view::{Incarnation, RelayRow, View};

/// A view as one relay judges it.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    pub view: &'a View,
    /// Who lives, this relay included.
    pub alive: &'a BTreeSet<Incarnation>,
    pub me: Incarnation,
}

impl<'a> Cluster<'a> {
    /// Who owns a duty and lives. A duty that nobody alive owns is free.
    pub fn owner(&self, duty: &Duty) -> Option<Incarnation> {
        self.view.owner(duty).filter(|owner| self.alive.contains(owner))
    }

    pub fn is_mine(&self, duty: &Duty) -> bool {
        self.view.owner(duty) == Some(self.me)
    }

    /// This relay's row; `None` where it has to begin anew.
    pub fn my_row(&self) -> Option<&'a RelayRow> {
        self.view.relays.get(&self.me)
    }

    /// The relays that take duties: they live, and are not stopping.
    pub fn workers(&self) -> impl Iterator<Item = (Incarnation, &'a RelayRow)> {
        let works = |(relay, row): &(&Incarnation, &RelayRow)| self.alive.contains(relay) && !row.is_stopping;
        self.view.relays.iter().filter(works).map(|(relay, row)| (*relay, row))
    }
}

/// Duties that one relay does together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// In the order in which they are taken: the groups, then what there is to do.
    pub duties: BTreeSet<Duty>,
    /// The relays it may go to: those that can do all of it. Where nobody can, everybody who can do a part.
    pub fit: BTreeSet<Incarnation>,
    /// No relay can do all of it: their configs put different destinations under one rate limit. They do it in turns.
    pub is_contested: bool,
}

impl Bundle {
    /// The bundles of all that some worker wants, in the order of their first duties.
    pub fn all(cluster: &Cluster<'_>) -> Vec<Self> {
        let mut joined = Joined::default();
        // Nearly always all want the same.
        let wants: BTreeSet<_> = cluster.workers().map(|(_, row)| &row.wants).collect();
        for wants in wants {
            for (id, group) in &wants.destinations {
                let group = group.clone().map(Duty::RateLimitGroup);
                joined.join(Duty::Destination(*id), group);
            }
            for id in &wants.replays {
                joined.join(Duty::Replay(*id), None);
            }
        }
        joined.sets().into_iter().map(|duties| Self::of(duties, cluster)).collect()
    }

    fn of(duties: BTreeSet<Duty>, cluster: &Cluster<'_>) -> Self {
        let is_work = |duty: &&Duty| !matches!(duty, Duty::RateLimitGroup(_));
        let work: Vec<_> = duties.iter().filter(is_work).collect();
        let can = |row: &RelayRow| work.iter().filter(|duty| row.wants.has(duty)).count();
        let able: Vec<_> =
            cluster.workers().map(|(relay, row)| (relay, can(row))).filter(|(_, can)| *can > 0).collect();
        let is_contested = able.iter().all(|(_, can)| *can < work.len());
        let fits = |can: usize| is_contested || can == work.len();
        let fit = able.into_iter().filter(|(_, can)| fits(*can)).map(|(relay, _)| relay).collect();
        Self { duties, fit, is_contested }
    }

    /// What it is known by, and what decides whose it is.
    pub fn first(&self) -> &Duty {
        self.duties.first().expect("a bundle has a duty")
    }

    /// Its rate limits.
    pub fn groups(&self) -> impl Iterator<Item = &Duty> {
        self.duties.iter().take_while(|duty| matches!(duty, Duty::RateLimitGroup(_)))
    }

    /// Whose it is: who owns the first of its groups that somebody owns. Where there are groups, a destination alone says nothing.
    pub fn owner(&self, cluster: &Cluster<'_>) -> Option<Incarnation> {
        match self.first() {
            Duty::RateLimitGroup(_) => self.groups().find_map(|group| cluster.owner(group)),
            alone => cluster.owner(alone),
        }
    }
}

/// Sets of duties that are joined pair by pair.
#[derive(Default)]
struct Joined {
    /// Each duty with one of its set that is nearer to the one the set is known by, or itself.
    nearer: BTreeMap<Duty, Duty>,
}

impl Joined {
    fn join(&mut self, duty: Duty, other: Option<Duty>) {
        let one = self.known_by(duty);
        if let Some(other) = other {
            let other = self.known_by(other);
            self.nearer.insert(one, other);
        }
    }

    fn known_by(&mut self, duty: Duty) -> Duty {
        let mut at = duty.clone();
        loop {
            let nearer = self.nearer.entry(at.clone()).or_insert_with(|| at.clone());
            if *nearer == at {
                break;
            }
            at = nearer.clone();
        }
        // The next one finds it at once.
        self.nearer.insert(duty, at.clone());
        at
    }

    fn sets(mut self) -> Vec<BTreeSet<Duty>> {
        let mut sets: BTreeMap<Duty, BTreeSet<Duty>> = BTreeMap::new();
        for duty in self.nearer.keys().cloned().collect::<Vec<_>>() {
            sets.entry(self.known_by(duty.clone())).or_default().insert(duty);
        }
        let mut sets: Vec<_> = sets.into_values().collect();
        sets.sort();
        sets
    }
}
