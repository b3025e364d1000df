//! One relay of the model world: what it knows, and what it does with a plan. It is the shell around the plan, as a real one is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::alive::{HEARTBEAT, TTL};
use super::super::duty::Duty;
use super::super::plan::{Claim, Held, Holding, Move, Use, Why};
use super::super::planner::Planner;
use super::super::surety::Surety;
use super::super::view::{Incarnation, View, Wants};

/// Where its process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Runs,
    /// By a signal: its clock goes on, and it does.
    Stopped,
    Down,
}

/// A relay through all its incarnations.
pub struct Relay {
    pub process: Process,
    /// How fast its monotonic clock runs.
    pub rate: f64,
    /// What its monotonic clock said when the world began.
    pub offset: Duration,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset_ms: i64,
    pub wants: Wants,
    /// Until when it does not reach the database.
    pub cut_off_until: u64,
    pub run: Run,
}

impl Relay {
    /// Its monotonic clock.
    pub fn clock(&self, world_ms: u64) -> Duration {
        self.offset + Duration::from_secs_f64(world_ms as f64 / 1000.0 * self.rate)
    }

    /// When in the world so much of its time has passed.
    pub fn after(&self, world_ms: u64, own: Duration) -> u64 {
        world_ms + (own.as_secs_f64() * 1000.0 / self.rate).ceil() as u64
    }

    /// Whether it would claim deliveries by this lease. Also a stopped one: its clock would tell it, the moment it goes on.
    pub fn is_sure_of(&self, duty: &Duty, world_ms: u64) -> bool {
        self.process != Process::Down && self.run.has(duty) && self.run.surety.is_sure(self.clock(world_ms))
    }
}

/// One incarnation: what a kill takes with it.
pub struct Run {
    pub me: Incarnation,
    pub planner: Planner,
    pub surety: Surety,
    pub held: Held,
    /// Of each destination it works on: the group under whose rate limit it does.
    pub under: BTreeMap<Duty, Option<Duty>>,
    pub is_registered: bool,
    pub is_stopping: bool,
    pub next_heartbeat: u64,
    pub heartbeat_sent: bool,
    /// When the last move was done: the next plan is made of a heartbeat that was sent later.
    pub moved_at: u64,
    /// Claims not yet sent, and whether one is under way.
    pub claims: VecDeque<VecDeque<Claim>>,
    pub is_claiming: bool,
    pub drains: BTreeMap<Duty, Drain>,
    pub is_leaving: bool,
    /// What it has read last, and when.
    last_read: Option<(Duration, View)>,
}

/// Something that is given back.
pub struct Drain {
    pub why: Why,
    /// When nothing of it is in flight any more, or it is said again that it is free.
    pub ends: u64,
    /// What goes before it: a group's destinations.
    pub behind: BTreeSet<Duty>,
    /// It said that it is free, and has no answer yet; it may have said so before.
    pub is_freeing: bool,
    pub was_said: bool,
}

impl Run {
    pub fn new(me: Incarnation, now: u64) -> Self {
        Self {
            me,
            planner: Planner::new(me),
            surety: Surety::default(),
            held: Held::new(),
            under: BTreeMap::new(),
            is_registered: false,
            is_stopping: false,
            next_heartbeat: now,
            heartbeat_sent: false,
            moved_at: now,
            claims: VecDeque::new(),
            is_claiming: false,
            drains: BTreeMap::new(),
            is_leaving: false,
            last_read: None,
        }
    }

    /// Takes in what a heartbeat has read; as a control that counts gaps does, as if it had read the same all the while.
    pub fn saw(&mut self, view: &View, clock: Duration, counts_gaps: bool) {
        if let Some((last, seen)) = self.last_read.take().filter(|_| counts_gaps) {
            let mut at = last.max(clock.saturating_sub(2 * TTL)) + HEARTBEAT;
            while at < clock {
                self.planner.saw(&seen, at);
                at += HEARTBEAT;
            }
        }
        self.planner.saw(view, clock);
        self.last_read = Some((clock, view.clone()));
    }

    /// Whether it may delete its row: nothing is left but the stream.
    pub fn is_empty(&self) -> bool {
        self.drains.is_empty() && !self.is_moving() && self.held.keys().all(|duty| matches!(duty, Duty::Stream(_)))
    }

    /// Whether it does a duty, as far as it knows. What it is giving back it does until it says so.
    pub fn has(&self, duty: &Duty) -> bool {
        !self.is_leaving && self.held.contains_key(duty) && !self.drains.get(duty).is_some_and(|drain| drain.was_said)
    }

    pub fn is_moving(&self) -> bool {
        self.is_claiming || !self.claims.is_empty()
    }

    pub fn gives_back(&self) -> BTreeSet<Duty> {
        self.held.iter().filter(|(_, held)| held.is_draining).map(|(duty, _)| duty.clone()).collect()
    }

    /// Plans, and begins what can be begun. Gives back what is new, for the world's record; `None`: it must begin anew.
    pub fn plan(&mut self, view: &View, drain_ends: impl FnMut() -> u64) -> Option<Vec<Move>> {
        let moves = self.planner.plan(view, &self.held);
        let wants = view.relays.get(&self.me).map(|row| row.wants.clone()).unwrap_or_default();
        self.carry_out(&moves, &wants, drain_ends).then_some(moves)
    }

    fn carry_out(&mut self, moves: &[Move], wants: &Wants, mut drain_ends: impl FnMut() -> u64) -> bool {
        for planned in moves {
            match planned {
                Move::StartOver => return false,
                Move::Lost { duty } => self.forget(duty),
                Move::Take { claims } => self.claims.push_back(claims.iter().cloned().collect()),
                Move::GiveBack { duties, why } => {
                    let is_group = |duty: &&Duty| matches!(duty, Duty::RateLimitGroup(_));
                    let rest: BTreeSet<_> = duties.iter().filter(|duty| !is_group(duty)).cloned().collect();
                    for duty in duties {
                        self.held.get_mut(duty).expect("it has what it gives back").is_draining = true;
                        let behind = if is_group(&duty) { rest.clone() } else { BTreeSet::new() };
                        let ends = drain_ends();
                        let drain = Drain { why: *why, ends, behind, is_freeing: false, was_said: false };
                        self.drains.entry(duty.clone()).or_insert(drain);
                    }
                }
                Move::RemoveRelay { .. } => {}
            }
        }
        // The worker of a destination begins again by the section of the config in force.
        let works = |(duty, held): (&Duty, &Holding)| match duty {
            Duty::Destination(id) if held.used_for == Use::Work && !held.is_draining => Some((duty.clone(), *id)),
            _ => None,
        };
        for (duty, id) in self.held.iter().filter_map(works).collect::<Vec<_>>() {
            self.under.insert(duty, wants.group_of(id));
        }
        true
    }

    /// A claim has gone through.
    pub fn got(&mut self, claim: &Claim) {
        let holding = Holding { epoch: claim.epoch + 1, used_for: claim.used_for, is_draining: false };
        self.held.insert(claim.duty.clone(), holding);
    }

    /// A lease is not this relay's any more.
    pub fn forget(&mut self, duty: &Duty) {
        self.held.remove(duty);
        self.under.remove(duty);
        self.drains.remove(duty);
    }

    /// What is drained by now, of what it has not said so yet.
    pub fn drained(&mut self, now: u64) -> Vec<Duty> {
        let is_due = |drain: &Drain| {
            let is_last = !drain.behind.iter().any(|duty| self.drains.contains_key(duty));
            drain.ends <= now && !drain.is_freeing && is_last
        };
        let due: Vec<_> = self.drains.iter().filter(|(_, drain)| is_due(drain)).map(|(duty, _)| duty.clone()).collect();
        for duty in &due {
            let drain = self.drains.get_mut(duty).expect("it was there");
            (drain.is_freeing, drain.was_said) = (true, true);
        }
        due
    }

    /// What it works on although it does not have the rate limit for it.
    pub fn without_its_limit(&self) -> Option<&Duty> {
        let lacks = |(duty, group): &(&Duty, &Option<Duty>)| {
            let is_working = self.held.get(*duty).is_some_and(|held| held.used_for == Use::Work && !held.is_draining);
            is_working && group.as_ref().is_some_and(|group| !self.held.contains_key(group))
        };
        self.under.iter().find(lacks).map(|(duty, _)| duty)
    }
}
