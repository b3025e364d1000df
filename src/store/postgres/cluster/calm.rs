//! Since when things have stood still: what a plan needs to know of views before the last one.
//!
//! All by the monotonic clock of the relay that looks. Nothing here decides who lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bundles::{Bundle, Cluster};
use super::duty::Duty;
use super::view::Incarnation;

/// Nothing goes for the balance before the same relays have worked for so long: while they are replaced one by one, each move would be made
/// again.
const RELAYS_SETTLED: Duration = Duration::from_secs(30);
/// And before everything has had the same owner for so long: the move before has been seen by everybody then.
const OWNERS_SETTLED: Duration = Duration::from_secs(3);
/// What stays free for so long although it falls to somebody is taken by anybody who can do it. That somebody may just have died, or be
/// unable to take.
const PASSED_OVER: Duration = Duration::from_secs(5);
/// How long a relay has a bundle that others need too and no relay can do all of. Long enough that handing over costs little.
const TURN: Duration = Duration::from_secs(60);

/// Something, and since when it has been so.
#[derive(Clone, Debug)]
struct Still<T> {
    what: T,
    since: Duration,
}

impl<T: PartialEq> Still<T> {
    fn look(last: &mut Option<Self>, what: T, now: Duration) {
        if last.as_ref().is_none_or(|last| last.what != what) {
            *last = Some(Self { what, since: now });
        }
    }

    fn lasted(last: Option<&Self>, now: Duration) -> Duration {
        last.map_or(Duration::ZERO, |last| now.saturating_sub(last.since))
    }
}

/// What one relay remembers of the views that it has seen.
#[derive(Clone, Debug, Default)]
pub struct Calm {
    now: Duration,
    workers: Option<Still<BTreeSet<Incarnation>>>,
    owners: Option<Still<BTreeMap<Duty, Incarnation>>>,
    /// Of each bundle, by its first duty: whose it is.
    bundles: BTreeMap<Duty, Option<Still<Option<Incarnation>>>>,
    /// Who keeps house.
    house: Option<Still<Option<Incarnation>>>,
    /// When this relay had its last turn with a contested bundle.
    turns: BTreeMap<Duty, Duration>,
}

impl Calm {
    /// Takes in a view.
    pub fn look(&mut self, cluster: &Cluster<'_>, bundles: &[Bundle], now: Duration) {
        self.now = now;
        Still::look(&mut self.workers, cluster.workers().map(|(relay, _)| relay).collect(), now);
        let shared_out = cluster.view.leases.keys().filter(|duty| duty.is_shared_out());
        let owners = shared_out.filter_map(|duty| Some((duty.clone(), cluster.owner(duty)?))).collect();
        Still::look(&mut self.owners, owners, now);
        Still::look(&mut self.house, cluster.owner(&Duty::Housekeeping), now);
        let known: BTreeSet<_> = bundles.iter().map(Bundle::first).collect();
        self.bundles.retain(|first, _| known.contains(first));
        self.turns.retain(|first, _| known.contains(first));
        for bundle in bundles {
            let owner = bundle.owner(cluster);
            Still::look(self.bundles.entry(bundle.first().clone()).or_default(), owner, now);
            if bundle.is_contested && owner == Some(cluster.me) {
                self.turns.insert(bundle.first().clone(), now);
            }
        }
    }

    /// Whether something may go for the balance.
    pub fn is_settled(&self) -> bool {
        Still::lasted(self.workers.as_ref(), self.now) >= RELAYS_SETTLED
            && Still::lasted(self.owners.as_ref(), self.now) >= OWNERS_SETTLED
    }

    /// Whether a bundle that is free has been so for longer than who it falls to would need.
    pub fn is_passed_over(&self, bundle: &Bundle) -> bool {
        self.owner_lasted(bundle) >= PASSED_OVER
    }

    /// The same of housekeeping.
    pub fn is_house_passed_over(&self) -> bool {
        Still::lasted(self.house.as_ref(), self.now) >= PASSED_OVER
    }

    /// Whether this relay has had a contested bundle for long enough.
    pub fn is_turn_over(&self, bundle: &Bundle) -> bool {
        bundle.is_contested && self.owner_lasted(bundle) >= TURN
    }

    /// Whether it is for others to take a contested bundle: this relay had its turn, and not everybody else has had one since.
    pub fn is_others_turn(&self, bundle: &Bundle) -> bool {
        let others = u32::try_from(bundle.fit.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let had_its_turn = |last: &Duration| self.now.saturating_sub(*last) < TURN.saturating_mul(others);
        bundle.is_contested && self.turns.get(bundle.first()).is_some_and(had_its_turn)
    }

    fn owner_lasted(&self, bundle: &Bundle) -> Duration {
        Still::lasted(self.bundles.get(bundle.first()).and_then(Option::as_ref), self.now)
    }
}
