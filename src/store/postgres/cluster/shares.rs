//! Who gets what: free bundles to who has least, and one bundle at a time from who has more than another.
//!
//! Every relay works this out from its view for all of them, and does only what falls to itself. Views are nearly the same, so seldom do two
//! reach for one bundle; where they do, the epoch lets one of them have it.

use std::collections::BTreeMap;

use super::bundles::{Bundle, Cluster};
use super::duty::Duty;
use super::view::Incarnation;

/// How many bundles each worker has. Contested ones go by turns and are not counted: with each turn others would have to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(BTreeMap<Incarnation, usize>);

/// One bundle that makes the shares more even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift<'a> {
    pub bundle: &'a Bundle,
    pub from: Incarnation,
    pub to: Incarnation,
}

impl Shares {
    pub fn of(cluster: &Cluster<'_>, bundles: &[Bundle]) -> Self {
        let mut shares: BTreeMap<_, _> = cluster.workers().map(|(relay, _)| (relay, 0)).collect();
        let counted = bundles.iter().filter(|bundle| !bundle.is_contested);
        for owner in counted.filter_map(|bundle| bundle.owner(cluster)) {
            if let Some(count) = shares.get_mut(&owner) {
                *count += 1;
            }
        }
        Self(shares)
    }

    fn get(&self, relay: Incarnation) -> usize {
        self.0.get(&relay).copied().unwrap_or_default()
    }

    /// Of each free bundle, by its first duty, who takes it: who has least of those it may go to, what was given out before it included. Each
    /// falls to somebody, however much everybody has. Bundles that few may take come first. Contested ones fall to nobody.
    pub fn takers(mut self, cluster: &Cluster<'_>, bundles: &[Bundle]) -> BTreeMap<Duty, Incarnation> {
        let is_free = |bundle: &&Bundle| !bundle.is_contested && bundle.owner(cluster).is_none();
        let mut free: Vec<_> = bundles.iter().filter(is_free).collect();
        free.sort_by_key(|bundle| bundle.fit.len());
        let mut takers = BTreeMap::new();
        for bundle in free {
            if let Some(taker) = bundle.fit.iter().copied().min_by_key(|relay| self.get(*relay)) {
                *self.0.entry(taker).or_default() += 1;
                takers.insert(bundle.first().clone(), taker);
            }
        }
        takers
    }

    /// The one bundle that goes next for the balance: from who has most, to who has at least two less. The same for everybody with the same
    /// view, so that never two go at once; and as each makes the sum of the squares smaller, it comes to rest.
    pub fn next_shift<'a>(&self, cluster: &Cluster<'_>, bundles: &'a [Bundle]) -> Option<Shift<'a>> {
        let shift = |bundle: &'a Bundle| {
            let from = bundle.owner(cluster)?;
            let to = bundle.fit.iter().copied().min_by_key(|relay| self.get(*relay))?;
            let is_better = self.get(from) >= self.get(to) + 2;
            (is_better && !bundle.is_contested).then_some(Shift { bundle, from, to })
        };
        let mut shifts: Vec<_> = bundles.iter().filter_map(shift).collect();
        shifts.sort_by_key(|shift| (self.get(shift.to), shift.from));
        // The sort is stable and `max_by_key` would take the last one.
        shifts.into_iter().rev().max_by_key(|shift| self.get(shift.from))
    }
}
