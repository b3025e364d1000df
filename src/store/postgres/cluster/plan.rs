//! What one relay does next about leases. Pure: a view, who lives and what it has go in, moves come out.
//!
//! ```text
//!  one heartbeat: a view ──► who lives (alive) ──► bundles ──► what stood still (calm) ──► plan
//!
//!  a lease that is                        is to
//!  free, or its owner is dead             Take      one statement, by the epoch that it was seen with
//!  not this relay's to do, or too much    GiveBack  no new claims · attempts end · last flush · one statement
//!  another one's by now                   Lost      be dropped at once: its epoch lets nothing through any more
//! ```
//!
//! # Promises
//!
//! * What a living relay can do is done by one: free bundles fall to who has least of those that can do them, however much everybody has.
//! * No two relays have one rate limit: a destination is taken behind all groups of its bundle, and given back before them.
//! * What no worker can do is in the custody of the relay that keeps house: commands are carried out there, and nothing is delivered.
//! * Loads come to rest. For the balance one bundle goes at a time over all relays, and only while these stand still.
//! * An outage of the database moves nothing, nor do clocks that differ (`alive`).
//!
//! Not promised: that no two relays believe the same for a moment. One that was stopped and goes on does until its next look at the clock
//! (`surety`). That changes nothing, since each statement names its epoch.
//!
//! # The statements
//!
//! ```sql
//! -- Take; $from and $counter as in the claim. Where there is no row: an INSERT with epoch 1, ON CONFLICT DO NOTHING.
//! UPDATE lease SET epoch = epoch + 1, incarnation = $me
//!  WHERE duty = $duty AND epoch = $epoch AND incarnation IS NOT DISTINCT FROM $from
//!    AND NOT EXISTS (SELECT FROM relay WHERE incarnation = $from AND heartbeat IS DISTINCT FROM $counter);
//! -- GiveBack. It counts too: who has seen the lease before must not take it by an old view.
//! UPDATE lease SET epoch = epoch + 1, incarnation = NULL WHERE duty = $duty AND epoch = $epoch AND incarnation = $me;
//! -- RemoveRelay
//! DELETE FROM relay WHERE incarnation = $relay AND heartbeat = $heartbeat;
//! ```
//!
//! # The caller
//!
//! Drops what a heartbeat shows to be [`lost`] before it counts the heartbeat for its surety, each time. Plans after one that was sent when all
//! moves of the plan before were done or had failed; what was given back may still be on its way. Of a move whose outcome it does not know it
//! forgets that it tried: the next view tells. It says in its row what it is giving back. A worker claims only while the relay has the rate
//! limit that it works under, and works by the config that the plan was made of: where another one puts it under another limit, it begins again
//! behind the plan that follows.

use std::collections::{BTreeMap, BTreeSet};

use super::bundles::{Bundle, Cluster};
use super::calm::Calm;
use super::duty::{Duty, SLOTS_MAX};
use super::shares::Shares;
use super::view::{Incarnation, LeaseRow, View, Wants};

/// So many relays append at once. Each costs every other one a row to watch and a stream to follow.
pub const RELAYS_MAX: usize = 64;

/// What a relay does with a duty that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What the duty says.
    Work,
    /// It only carries out commands: nobody who could deliver is there, or only one that may not now.
    Custody,
}

/// A lease that this relay has, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub epoch: i64,
    pub used_for: Use,
    /// It is being given back, and not yet free.
    pub is_draining: bool,
}

/// All leases that this relay has.
pub type Held = BTreeMap<Duty, Holding>;

/// A lease to take, if nothing has changed since it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub duty: Duty,
    /// The epoch that it was seen with; 0 where there was no row. Who takes it has the next one.
    pub epoch: i64,
    /// The dead relay that has it, with its counter, if it has a row: the claim is refused where that has moved since. So a relay that was
    /// stopped and goes on keeps what nobody has taken yet. Or this relay itself, where it does not know that it has it, or has it for another
    /// use.
    pub from: Option<(Incarnation, Option<i64>)>,
    pub used_for: Use,
}

/// Why something is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This relay ends.
    Stopping,
    /// This relay cannot do it, or another can do more of it, or it lacks the rate limit.
    NotMine,
    /// Another one's turn.
    Turn,
    /// Another relay has less to do.
    Balance,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// End everything and begin anew, as another incarnation: the row is gone, or the stream is another's.
    StartOver,
    /// No longer this relay's: no claim and no flush any more.
    Lost { duty: Duty },
    /// To take, one after the other; where one is refused the rest of these is passed over. What is taken for another use ends its use before.
    Take { claims: Vec<Claim> },
    /// To give back, all at once, each as soon as nothing of it is in flight, and a group behind all destinations that are named with it.
    GiveBack { duties: Vec<Duty>, why: Why },
    /// To delete the row of a relay that is long dead, if its counter still stands there.
    RemoveRelay { relay: Incarnation, heartbeat: i64 },
}

/// What another relay has had since, or has now: epochs only grow, so that this holds however old the view is. What a failover has set back is not
/// among it, and is found by the plan.
pub fn lost(view: &View, me: Incarnation, held: &Held) -> Vec<Duty> {
    let is_lost = |(duty, holding): &(&Duty, &Holding)| {
        let lease = view.leases.get(duty);
        let is_others = |lease: &LeaseRow| lease.epoch == holding.epoch && lease.owner != Some(me);
        lease.is_some_and(|lease| lease.epoch > holding.epoch || is_others(lease))
    };
    held.iter().filter(is_lost).map(|(duty, _)| duty.clone()).collect()
}

/// What `me` of a cluster does next.
pub fn plan(
    cluster: &Cluster<'_>,
    bundles: &[Bundle],
    calm: &Calm,
    held: &Held,
    long_dead: &BTreeSet<Incarnation>,
) -> Vec<Move> {
    let mut planning = Planning { cluster, held, going: BTreeSet::new(), moves: Vec::new() };
    let Some(row) = cluster.my_row() else { return vec![Move::StartOver] };
    let lost: Vec<_> = held.keys().filter(|duty| !planning.is_still_held(duty)).collect();
    if lost.iter().any(|duty| matches!(duty, Duty::Stream(_))) {
        return vec![Move::StartOver];
    }
    planning.moves.extend(lost.into_iter().map(|duty| Move::Lost { duty: duty.clone() }));
    if row.is_stopping {
        planning.stop();
        return planning.moves;
    }
    planning.stream();
    planning.housekeeping(calm);
    planning.without_limit(&row.wants);
    planning.shared_out(bundles, calm);
    planning.unwanted(bundles);
    planning.balance(bundles, calm);
    if planning.keeps_house() {
        planning.remove_rows(long_dead);
    }
    planning.moves
}

struct Planning<'a> {
    cluster: &'a Cluster<'a>,
    held: &'a Held,
    /// What this plan gives back.
    going: BTreeSet<Duty>,
    moves: Vec<Move>,
}

impl Planning<'_> {
    /// Whether a lease that this relay thinks it has is its own in the view.
    fn is_still_held(&self, duty: &Duty) -> bool {
        let own = |lease: &&LeaseRow| lease.owner == Some(self.cluster.me);
        let lease = self.cluster.view.leases.get(duty).filter(own);
        lease.is_some_and(|lease| self.held.get(duty).is_some_and(|held| held.epoch == lease.epoch))
    }

    /// What this relay has, if it knows that it has it.
    fn holding(&self, duty: &Duty) -> Option<&Holding> {
        self.held.get(duty).filter(|_| self.is_still_held(duty))
    }

    fn is_draining(&self, duty: &Duty) -> bool {
        self.going.contains(duty) || self.held.get(duty).is_some_and(|held| held.is_draining)
    }

    fn keeps_house(&self) -> bool {
        self.holding(&Duty::Housekeeping).is_some()
    }

    fn claim(&self, duty: &Duty, used_for: Use) -> Claim {
        let view = self.cluster.view;
        let lease = view.leases.get(duty);
        let heartbeat = |relay| view.relays.get(&relay).map(|row| row.heartbeat);
        Claim {
            duty: duty.clone(),
            epoch: lease.map_or(0, |lease| lease.epoch),
            from: lease.and_then(|lease| lease.owner).map(|owner| (owner, heartbeat(owner))),
            used_for,
        }
    }

    fn take(&mut self, claims: Vec<Claim>) {
        if !claims.is_empty() {
            self.moves.push(Move::Take { claims });
        }
    }

    /// Gives back, destinations before their groups; what is on its way already is not said again. What it has without knowing is taken once
    /// more first, so that it knows it by an epoch.
    fn give_back<'b>(&mut self, duties: impl IntoIterator<Item = &'b Duty>, why: Why) {
        let new = duties.into_iter().filter(|duty| !self.is_draining(duty));
        let (known, unknown): (BTreeSet<&Duty>, BTreeSet<_>) = new.partition(|duty| self.holding(duty).is_some());
        for duty in unknown {
            self.take(vec![self.claim(duty, Use::Custody)]);
        }
        if !known.is_empty() {
            self.moves.push(Move::GiveBack { duties: known.iter().rev().copied().cloned().collect(), why });
            self.going.extend(known.into_iter().cloned());
        }
    }

    fn mine(&self) -> Vec<Duty> {
        self.cluster.view.leases.keys().filter(|duty| self.cluster.is_mine(duty)).cloned().collect()
    }

    /// Gives back everything but the stream, which is needed as long as anything comes in: it goes with the relay's row.
    fn stop(&mut self) {
        let mine = self.mine();
        self.give_back(mine.iter().filter(|duty| !matches!(duty, Duty::Stream(_))), Why::Stopping);
    }

    /// A stream of its own: one that nobody alive has, else one with a new number. Relays that look for one at once each take another.
    fn stream(&mut self) {
        let owned: BTreeMap<_, _> =
            (1..=SLOTS_MAX).filter_map(|slot| Some((slot, self.cluster.owner(&Duty::Stream(slot))?))).collect();
        if let Some((slot, _)) = owned.iter().find(|(_, owner)| **owner == self.cluster.me) {
            let duty = Duty::Stream(*slot);
            if self.holding(&duty).is_none() {
                self.take(vec![self.claim(&duty, Use::Work)]);
            }
            return;
        }
        if owned.len() >= RELAYS_MAX {
            return;
        }
        let has_one: BTreeSet<_> = owned.values().copied().collect();
        let before_me =
            self.cluster.workers().filter(|(relay, _)| *relay < self.cluster.me && !has_one.contains(relay));
        let is_free = |slot: &u16| !owned.contains_key(slot);
        let known = self.cluster.view.streams.keys().copied().filter(|slot| is_free(slot));
        let new = (1..=SLOTS_MAX).filter(|slot| !self.cluster.view.streams.contains_key(slot) && is_free(slot));
        if let Some(slot) = known.chain(new).nth(before_me.count()) {
            self.take(vec![self.claim(&Duty::Stream(slot), Use::Work)]);
        }
    }

    /// One relay keeps house until it dies or stops. Whoever is first of the workers takes over.
    fn housekeeping(&mut self, calm: &Calm) {
        let duty = Duty::Housekeeping;
        let first = self.cluster.workers().next().map(|(relay, _)| relay);
        let falls_to_me = first == Some(self.cluster.me) || calm.is_house_passed_over();
        let is_unknown = self.cluster.is_mine(&duty) && self.holding(&duty).is_none();
        if is_unknown || (falls_to_me && self.cluster.owner(&duty).is_none()) {
            self.take(vec![self.claim(&duty, Use::Work)]);
        }
    }

    /// Gives back what it works on under a rate limit that it does not keep: that was lost or goes, or the config is another one since.
    fn without_limit(&mut self, wants: &Wants) {
        let keeps = |group: &Duty| self.holding(group).is_some() && !self.is_draining(group);
        let lacks = |duty: &Duty| {
            let Duty::Destination(id) = duty else { return false };
            wants.group_of(*id).is_some_and(|group| !keeps(&group))
        };
        let works = |duty: &Duty| self.holding(duty).is_some_and(|holding| holding.used_for == Use::Work);
        let lacking: Vec<_> = self.held.keys().filter(|duty| works(duty) && lacks(duty)).collect();
        self.give_back(lacking, Why::NotMine);
    }

    /// What workers can do.
    fn shared_out(&mut self, bundles: &[Bundle], calm: &Calm) {
        let takers = Shares::of(self.cluster, bundles).takers(self.cluster, bundles);
        for bundle in bundles {
            let falls_to_me = takers.get(bundle.first()) == Some(&self.cluster.me);
            self.bundle(bundle, falls_to_me, calm);
        }
    }

    fn bundle(&mut self, bundle: &Bundle, falls_to_me: bool, calm: &Calm) {
        if bundle.duties.iter().any(|duty| self.is_draining(duty)) {
            // What is on its way goes; afterwards one sees.
            return;
        }
        let me = self.cluster.me;
        let is_fit = bundle.fit.contains(&me);
        let mine: Vec<_> = bundle.duties.iter().filter(|duty| self.cluster.is_mine(duty)).collect();
        match bundle.owner(self.cluster) {
            Some(owner) if owner == me && is_fit && calm.is_turn_over(bundle) => self.give_back(mine, Why::Turn),
            Some(owner) if owner == me && is_fit => self.hold(bundle),
            // Also of a bundle of somebody else, or of nobody, it may have a part: of a time when it was another bundle.
            _ if !mine.is_empty() => self.give_back(mine, Why::NotMine),
            Some(_) => {}
            None if bundle.is_contested && calm.is_others_turn(bundle) => {}
            None if falls_to_me || (is_fit && (bundle.is_contested || calm.is_passed_over(bundle))) => {
                self.hold(bundle)
            }
            None => {}
        }
    }

    /// Takes what is missing of a bundle that is this relay's, and gives back what it may not do any more.
    fn hold(&mut self, bundle: &Bundle) {
        let Some(row) = self.cluster.my_row() else { return };
        let is_elsewhere = |duty: &Duty| self.cluster.owner(duty).is_some_and(|owner| owner != self.cluster.me);
        let has_all_groups = !bundle.groups().any(is_elsewhere);
        let (mut claims, mut too_much) = (Vec::new(), Vec::new());
        for duty in bundle.duties.iter().filter(|duty| !is_elsewhere(duty)) {
            let is_group = matches!(duty, Duty::RateLimitGroup(_));
            let used_for = if is_group || row.wants.has(duty) { Use::Work } else { Use::Custody };
            match self.holding(duty).map(|holding| holding.used_for) {
                Some(Use::Work) if used_for == Use::Custody => too_much.push(duty),
                Some(holding) if holding == used_for => {}
                _ if is_group || has_all_groups => claims.push(self.claim(duty, used_for)),
                _ => {}
            }
        }
        self.give_back(too_much, Why::NotMine);
        self.take(claims);
    }

    /// What no worker can do: in custody of who keeps house, and of nobody else.
    fn unwanted(&mut self, bundles: &[Bundle]) {
        let wanted: BTreeSet<_> = bundles.iter().flat_map(|bundle| &bundle.duties).collect();
        let shared_out = self.cluster.view.leases.keys().filter(|duty| duty.is_shared_out());
        let unwanted: Vec<_> = shared_out.filter(|duty| !wanted.contains(duty)).collect();
        let keeps_house = self.keeps_house();
        let is_for_custody = |duty: &Duty| keeps_house && matches!(duty, Duty::Destination(_));
        let (mut claims, mut going) = (Vec::new(), Vec::new());
        for duty in &unwanted {
            let used_for = self.holding(duty).map(|holding| holding.used_for);
            let is_free = self.cluster.owner(duty).is_none() || self.cluster.is_mine(duty);
            if self.cluster.is_mine(duty) && (!is_for_custody(duty) || used_for == Some(Use::Work)) {
                going.push(*duty);
            } else if is_for_custody(duty) && is_free && used_for.is_none() {
                claims.push(self.claim(duty, Use::Custody));
            }
        }
        // A group may be that of a destination that is still on its way.
        if !unwanted.iter().any(|duty| self.is_draining(duty)) {
            self.give_back(going, Why::NotMine);
        }
        claims.into_iter().for_each(|claim| self.take(vec![claim]));
    }

    /// One bundle, where this relay has most, everything has its owner, and nothing is on its way.
    fn balance(&mut self, bundles: &[Bundle], calm: &Calm) {
        let is_in_place = |bundle: &Bundle| bundle.owner(self.cluster).is_some_and(|owner| bundle.fit.contains(&owner));
        let gives_back =
            |relay: &Incarnation| self.cluster.view.relays.get(relay).is_some_and(|row| !row.gives_back.is_empty());
        let is_on_its_way =
            self.held.values().any(|held| held.is_draining) || self.cluster.alive.iter().any(gives_back);
        if !calm.is_settled() || is_on_its_way || !self.moves.is_empty() || !bundles.iter().all(is_in_place) {
            return;
        }
        let shift = Shares::of(self.cluster, bundles).next_shift(self.cluster, bundles);
        if let Some(shift) = shift.filter(|shift| shift.from == self.cluster.me) {
            let mine: Vec<_> = shift.bundle.duties.iter().filter(|duty| self.cluster.is_mine(duty)).collect();
            self.give_back(mine, Why::Balance);
        }
    }

    fn remove_rows(&mut self, long_dead: &BTreeSet<Incarnation>) {
        for relay in long_dead {
            if let Some(row) = self.cluster.view.relays.get(relay) {
                self.moves.push(Move::RemoveRelay { relay: *relay, heartbeat: row.heartbeat });
            }
        }
    }
}
