//! One relay's eyes and memory for leases: each heartbeat's view goes in, moves come out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::alive::Watcher;
use super::bundles::{Bundle, Cluster};
use super::calm::Calm;
use super::duty::Duty;
use super::plan::{self, Held, Move};
use super::view::{Incarnation, View};

/// What an incarnation knows of all the others, and for how long. A new incarnation has a new one.
#[derive(Clone, Debug)]
pub struct Planner {
    me: Incarnation,
    watcher: Watcher,
    calm: Calm,
    /// Of the view that was taken in last.
    bundles: Vec<Bundle>,
}

impl Planner {
    pub fn new(me: Incarnation) -> Self {
        Self { me, watcher: Watcher::new(me), calm: Calm::default(), bundles: Vec::new() }
    }

    /// Takes in what a heartbeat has read; `now` is when its answer was there. For each that succeeded, also where nothing is planned.
    pub fn saw(&mut self, view: &View, now: Duration) {
        self.watcher.saw(view, now);
        let alive = self.watcher.alive();
        let cluster = Cluster { view, alive: &alive, me: self.me };
        self.bundles = Bundle::all(&cluster);
        self.calm.look(&cluster, &self.bundles, now);
    }

    /// Who lives, this relay included.
    pub fn alive(&self) -> BTreeSet<Incarnation> {
        self.watcher.alive()
    }

    /// What of all that it has is surely another one's by a view, which may be an old one.
    pub fn lost(&self, view: &View, held: &Held) -> Vec<Duty> {
        plan::lost(view, self.me, held)
    }

    /// What to do about the view that was taken in last, which is this one. What the caller promises is told in [`plan`](mod@super::plan).
    pub fn plan(&self, view: &View, held: &Held) -> Vec<Move> {
        let alive = self.watcher.alive();
        let cluster = Cluster { view, alive: &alive, me: self.me };
        plan::plan(&cluster, &self.bundles, &self.calm, held, &self.watcher.long_dead())
    }
}
