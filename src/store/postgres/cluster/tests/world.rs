//! Several relays and one database, whose connections are slow, break off and come back. Time goes from one event to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::alive::HEARTBEAT;
use super::super::duty::Duty;
use super::super::plan::{Claim, Move, Use, Why};
use super::super::view::{Incarnation, RelayRow, View, Wants};
use super::Dice;
use super::database::{Database, Without};
use super::relay::{Drain, Process, Relay, Run};

enum Call {
    Heartbeat {
        sent: Duration,
        sent_at: u64,
        wall_ms: i64,
        row: Box<RelayRow>,
        view: Option<View>,
    },
    Take {
        claim: Claim,
        was_taken: Option<bool>,
    },
    Free {
        duty: Duty,
        epoch: i64,
        was_freed: bool,
    },
    Remove {
        relay: Incarnation,
        heartbeat: i64,
    },
    /// All that it has, with its row: it ends.
    Leave,
}

/// A statement on its way.
struct Statement {
    by: usize,
    me: Incarnation,
    call: Call,
    /// `None`: it never gets there.
    runs_at: Option<u64>,
    has_run: bool,
    /// When the answer is there; an error, where it is lost.
    answers_at: u64,
    is_answer_lost: bool,
}

pub struct World {
    pub now: u64,
    pub dice: Dice,
    pub without: Without,
    pub database: Database,
    pub relays: Vec<Relay>,
    statements: Vec<Statement>,
    next_incarnation: i64,
    /// One statement in so many is slow, and one is lost.
    pub slow_one_in: u64,
    pub lost_one_in: u64,
    /// How long in flight lasts at most when something is given back.
    pub drain_ms: u64,
    pub story: Vec<String>,
    /// Two relays that were sure of one duty at the same moment.
    pub doubly_sure: Vec<String>,
    /// What goes on being worked on, by a plan, without the rate limit that it shares.
    pub without_limit: Vec<String>,
    /// How often one of two that believed in one lease was not sure any more.
    pub doubly_believed: u64,
    /// Duties that are given back for the balance and not yet another's.
    pub balancing: Vec<Duty>,
    pub balanced: u64,
    pub most_at_once: usize,
}

/// Between two connects, and for a statement that is slow.
const SLOW_MS: u64 = 2500;
/// A relay that finds the database away looks again after at most so long.
const AGAIN_MS: u64 = 1000;

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            dice: Dice::new(seed),
            without: Without::default(),
            database: Database::default(),
            relays: Vec::new(),
            statements: Vec::new(),
            next_incarnation: 1,
            slow_one_in: u64::MAX,
            lost_one_in: u64::MAX,
            drain_ms: 1500,
            story: Vec::new(),
            doubly_sure: Vec::new(),
            without_limit: Vec::new(),
            doubly_believed: 0,
            balancing: Vec::new(),
            balanced: 0,
            most_at_once: 0,
        }
    }

    /// A relay that starts now, with clocks of its own.
    pub fn add(&mut self, wants: Wants) -> usize {
        let rate = 1.0 + (self.dice.below(41) as f64 - 20.0) / 1000.0;
        let offset = Duration::from_millis(self.dice.below(10_000_000_000));
        let run = Run::new(self.incarnation(), self.now + self.dice.below(1000));
        let wall_offset_ms = 0;
        self.relays.push(Relay { process: Process::Runs, rate, offset, wall_offset_ms, wants, cut_off_until: 0, run });
        self.relays.len() - 1
    }

    fn incarnation(&mut self) -> Incarnation {
        self.next_incarnation += 1;
        // Not in the order of their starts.
        Incarnation((self.dice.below(1 << 20) << 20) as i64 + self.next_incarnation)
    }

    pub fn tell(&mut self, what: String) {
        self.story.push(format!("{:>9.3} {what}", self.now as f64 / 1000.0));
    }

    pub fn kill(&mut self, relay: usize) {
        self.tell(format!("relay {relay} is killed"));
        self.relays[relay].process = Process::Down;
    }

    pub fn start(&mut self, relay: usize) {
        let me = self.incarnation();
        self.tell(format!("relay {relay} starts as {}", me.0));
        self.relays[relay].process = Process::Runs;
        self.relays[relay].run = Run::new(me, self.now);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.step();
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<u64> {
        let answers =
            |statement: &Statement| self.relays[statement.by].process != Process::Stopped || self.is_orphan(statement);
        let statements = self.statements.iter().filter_map(|statement| match statement.runs_at {
            Some(runs_at) if !statement.has_run => Some(runs_at),
            _ => answers(statement).then_some(statement.answers_at),
        });
        let runs = self.relays.iter().filter(|relay| relay.process == Process::Runs);
        let own = runs.flat_map(|relay| {
            let heartbeat = (!relay.run.heartbeat_sent && !relay.run.is_leaving).then_some(relay.run.next_heartbeat);
            let is_due = |drain: &&Drain| !drain.is_freeing && (drain.ends > self.now || drain.behind.is_empty());
            let drains = relay.run.drains.values().filter(is_due).map(|drain| drain.ends);
            heartbeat.into_iter().chain(drains)
        });
        statements.chain(own).min()
    }

    /// Nobody waits for its answer.
    fn is_orphan(&self, statement: &Statement) -> bool {
        let relay = &self.relays[statement.by];
        relay.process == Process::Down || relay.run.me != statement.me
    }

    fn step(&mut self) {
        for at in 0..self.statements.len() {
            if !self.statements[at].has_run && self.statements[at].runs_at.is_some_and(|runs_at| runs_at <= self.now) {
                self.run_statement(at);
            }
        }
        let mut waiting = Vec::new();
        for statement in std::mem::take(&mut self.statements) {
            let is_due = statement.answers_at <= self.now && (statement.has_run || statement.runs_at.is_none());
            if !is_due || (self.relays[statement.by].process == Process::Stopped && !self.is_orphan(&statement)) {
                waiting.push(statement);
            } else if !self.is_orphan(&statement) {
                self.answer(statement);
            }
        }
        self.statements.append(&mut waiting);
        for by in 0..self.relays.len() {
            if self.relays[by].process == Process::Runs {
                self.act(by);
            }
        }
        self.look();
    }

    fn send(&mut self, by: usize, call: Call) {
        let relay = &self.relays[by];
        let takes =
            |dice: &mut Dice| 1 + if dice.one_in(self.slow_one_in) { dice.below(SLOW_MS) } else { dice.below(15) };
        let there = self.now + takes(&mut self.dice);
        let answers_at = there + takes(&mut self.dice);
        let is_cut_off = relay.cut_off_until > self.now || self.database.is_down;
        let (is_lost, half) = (self.dice.one_in(self.lost_one_in), self.dice.one_in(2));
        let runs_at = (!(is_cut_off || is_lost && half)).then_some(there);
        let is_answer_lost = is_lost || is_cut_off;
        let me = relay.run.me;
        self.statements.push(Statement { by, me, call, runs_at, has_run: false, answers_at, is_answer_lost });
    }

    fn run_statement(&mut self, at: usize) {
        let statement = &mut self.statements[at];
        statement.has_run = true;
        let database = &mut self.database;
        if database.is_down {
            statement.is_answer_lost = true;
            return;
        }
        let me = statement.me;
        match &mut statement.call {
            Call::Heartbeat { wall_ms, row, view, .. } => *view = Some(database.heartbeat(me, row, *wall_ms)),
            Call::Take { claim, was_taken } => *was_taken = Some(database.take(claim, me, self.now, self.without)),
            Call::Free { duty, epoch, was_freed } => *was_freed = database.free(duty, *epoch, me, self.now),
            Call::Remove { relay, heartbeat } => {
                if database.view.relays.get(relay).is_some_and(|row| row.heartbeat == *heartbeat) {
                    database.view.relays.remove(relay);
                }
            }
            Call::Leave => database.leave(me, self.now),
        }
    }

    fn answer(&mut self, statement: Statement) {
        let Statement { by, call, is_answer_lost, .. } = statement;
        match call {
            Call::Heartbeat { sent, sent_at, view, .. } => {
                let again = self.now + 20 + self.dice.below(AGAIN_MS);
                let relay = &mut self.relays[by];
                relay.run.heartbeat_sent = false;
                match view.filter(|_| !is_answer_lost) {
                    _ if relay.run.is_leaving => {}
                    None => relay.run.next_heartbeat = again,
                    Some(view) => {
                        relay.run.next_heartbeat = relay.after(sent_at, HEARTBEAT).max(self.now);
                        self.heartbeat_succeeded(by, sent, sent_at, &view);
                    }
                }
            }
            Call::Take { claim, was_taken } => {
                let run = &mut self.relays[by].run;
                run.is_claiming = false;
                run.moved_at = self.now;
                if was_taken == Some(true) && !is_answer_lost {
                    run.got(&claim);
                } else if let Some(rest) = run.claims.front_mut() {
                    rest.clear();
                }
                if run.claims.front().is_some_and(|rest| rest.is_empty()) {
                    run.claims.pop_front();
                }
            }
            Call::Free { duty, .. } if !is_answer_lost => self.relays[by].run.forget(&duty),
            Call::Free { duty, .. } => {
                let again = self.now + 20 + self.dice.below(AGAIN_MS);
                if let Some(drain) = self.relays[by].run.drains.get_mut(&duty) {
                    (drain.ends, drain.is_freeing) = (again, false);
                }
            }
            Call::Remove { .. } => {}
            Call::Leave if !is_answer_lost => self.relays[by].process = Process::Down,
            Call::Leave => self.send(by, Call::Leave),
        }
    }

    fn heartbeat_succeeded(&mut self, by: usize, sent: Duration, sent_at: u64, view: &View) {
        let (now, dice, drain_ms) = (self.now, &mut self.dice, self.drain_ms);
        let relay = &mut self.relays[by];
        let clock = relay.clock(now);
        let seen = self.database.as_seen(view, now as i64 + relay.wall_offset_ms, self.without);
        relay.run.saw(&seen, clock, self.without.gaps);
        for duty in relay.run.planner.lost(&seen, &relay.run.held) {
            relay.run.forget(&duty);
        }
        let is_there = seen.knows(relay.run.me);
        relay.run.is_registered |= is_there;
        if is_there {
            relay.run.surety.heartbeat_succeeded(sent);
        }
        if relay.run.is_moving() || relay.run.moved_at > sent_at {
            return;
        }
        let Some(moves) = relay.run.plan(&seen, || now + dice.below(drain_ms)) else {
            self.tell(format!("relay {by} begins anew"));
            return self.start(by);
        };
        let without =
            self.relays[by].run.without_its_limit().map(|duty| format!("{:.3} {duty}: {by}", now as f64 / 1000.0));
        self.without_limit.extend(without);
        for planned in moves {
            self.tell(format!("relay {by}: {planned:?}"));
            match planned {
                Move::GiveBack { duties, why: Why::Balance } => {
                    self.balanced += 1;
                    self.balancing.extend(duties.last().cloned());
                    self.most_at_once = self.most_at_once.max(self.balancing.len());
                }
                Move::RemoveRelay { relay, heartbeat } => self.send(by, Call::Remove { relay, heartbeat }),
                _ => {}
            }
        }
    }

    /// What a relay does by itself.
    fn act(&mut self, by: usize) {
        let run = &mut self.relays[by].run;
        if run.is_leaving {
            return;
        }
        if run.is_stopping && run.is_empty() {
            run.is_leaving = true;
            return self.send(by, Call::Leave);
        }
        if !run.heartbeat_sent && run.next_heartbeat <= self.now {
            run.heartbeat_sent = true;
            let relay = &self.relays[by];
            let row = Box::new(RelayRow {
                heartbeat: i64::from(relay.run.is_registered),
                wants: relay.wants.clone(),
                is_stopping: relay.run.is_stopping,
                gives_back: relay.run.gives_back(),
                ..RelayRow::default()
            });
            let wall_ms = self.now as i64 + relay.wall_offset_ms;
            let sent = relay.clock(self.now);
            self.send(by, Call::Heartbeat { sent, sent_at: self.now, wall_ms, row, view: None });
        }
        let run = &mut self.relays[by].run;
        if !run.is_claiming
            && let Some(claim) = run.claims.front_mut().and_then(|claims| claims.pop_front())
        {
            run.is_claiming = true;
            self.send(by, Call::Take { claim, was_taken: None });
        }
        for duty in self.relays[by].run.drained(self.now) {
            let epoch = self.relays[by].run.held.get(&duty).map_or(0, |held| held.epoch);
            self.send(by, Call::Free { duty, epoch, was_freed: false });
        }
    }

    /// Whether two relays are sure of one duty, and of one rate limit.
    fn look(&mut self) {
        let leases = &self.database.view.leases;
        let is_settled = |duty: &Duty| leases.get(duty).is_some_and(|lease| lease.owner.is_some());
        let drains = || self.relays.iter().flat_map(|relay| &relay.run.drains);
        let is_drained = |duty: &Duty| !drains().any(|(other, drain)| drain.why == Why::Balance && other == duty);
        let balancing = std::mem::take(&mut self.balancing);
        self.balancing = balancing.into_iter().filter(|duty| !(is_settled(duty) && is_drained(duty))).collect();
        let mut sure: BTreeMap<&Duty, Vec<usize>> = BTreeMap::new();
        let mut believe: BTreeMap<&Duty, u64> = BTreeMap::new();
        for (by, relay) in self.relays.iter().enumerate().filter(|(_, relay)| relay.process != Process::Down) {
            for duty in relay.run.held.keys().filter(|duty| relay.run.has(duty)) {
                *believe.entry(duty).or_default() += 1;
                if self.without.surety || relay.is_sure_of(duty, self.now) {
                    sure.entry(duty).or_default().push(by);
                }
            }
        }
        self.doubly_believed += believe.values().filter(|count| **count > 1).count() as u64;
        let double = sure.into_iter().filter(|(_, who)| who.len() > 1);
        let double: Vec<_> =
            double.map(|(duty, who)| format!("{:.3} {duty}: {who:?}", self.now as f64 / 1000.0)).collect();
        self.doubly_sure.extend(double);
    }

    /// Who has a lease and is up, by its number.
    pub fn owner(&self, duty: &Duty) -> Option<usize> {
        let owner = self.database.view.owner(duty)?;
        let has = |relay: &Relay| {
            relay.process != Process::Down && relay.run.me == owner && relay.run.held.contains_key(duty)
        };
        self.relays.iter().position(has)
    }

    pub fn works_on(&self, by: usize, duty: &Duty) -> bool {
        let relay = &self.relays[by];
        let is_up = relay.process != Process::Down;
        is_up && relay.run.held.get(duty).is_some_and(|held| held.used_for == Use::Work && !held.is_draining)
    }
}
