//! The destinations of the model world, and what they must never see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::dice::Dice;
use super::terms::TURN_OF_LONG_WAITS;
use crate::deliver::{Policy, RETRIES_IN_A_ROW};
use crate::destination::{Delivery, Destination, Outcome, Outcomes, Preview, Reason, Unsent};
use crate::secret::Secret;
use crate::store::NameId;
use crate::store::journal::{JournalStore, OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN};
use crate::time::Clock;

/// What is delivered this long before a crash may be delivered again: the promise, and the writer's turns around it.
fn may_come_twice_ms() -> u64 {
    (OUTCOMES_WRITTEN_WITHIN + OUTCOMES_SYNCED_WITHIN + 2 * TURN_OF_LONG_WAITS).as_millis() as u64
}

/// The least time between opening a breaker and a probe, and between two.
const PROBES_APART_MS: u64 = 2_000;

/// How a destination behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Healthy,
    Down,
    /// One in three works.
    Flaky,
    Hanging,
    /// One in two is refused for good.
    Rejecting,
    Pausing,
    /// Answers 429 with `Retry-After`.
    Busy,
}

impl Mode {
    pub(super) fn any(dice: &mut Dice) -> Self {
        use Mode::{Busy, Down, Flaky, Hanging, Healthy, Pausing, Rejecting};
        [Healthy, Healthy, Healthy, Down, Down, Flaky, Hanging, Rejecting, Pausing, Busy][dice.below(10) as usize]
    }
}

/// Where an event was bound for, and how.
#[derive(Clone, Debug)]
struct Sent {
    planned: u64,
    body: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    at_ms: u64,
    process: usize,
    /// The lease that its attempt began under had been lost: what came of it changed nothing.
    is_lost: bool,
}

/// What one destination sees, in the life of one process.
#[derive(Debug, Default)]
struct View {
    in_flight: BTreeSet<u64>,
    failures: u32,
    /// When its breaker must have opened, or a probe was last begun since.
    quiet_since_ms: u64,
    /// What has worked since it closed again; `None` when it never opened.
    worked: Option<usize>,
    last_begun_ms: Option<u64>,
    /// An operator asked for an attempt.
    is_asked_for: bool,
}

#[derive(Debug)]
struct State {
    modes: [Mode; 3],
    views: [View; 3],
    /// Leases that were lost.
    leases_lost: [usize; 3],
    sent: BTreeMap<u64, Sent>,
    acknowledged: BTreeMap<u64, u64>,
    arrivals: BTreeMap<(usize, u64), Vec<Arrival>>,
    attempts: BTreeMap<(usize, u64), u64>,
    again: BTreeMap<(usize, u64), usize>,
    /// When each process ended, and whether it crashed.
    ends: Vec<(u64, bool)>,
    /// What arrived in these processes may come again whenever it arrived: its outcome found no room.
    excused: BTreeSet<usize>,
    violation: Option<String>,
}

/// How an attempt will end, and what it began under.
struct Begun {
    mode: Mode,
    took: Duration,
    dice: u64,
    /// Leases of its destination that had been lost.
    leases_lost: usize,
}

/// What all destinations see, over all processes.
#[derive(Debug)]
pub(super) struct Witness {
    seed: u64,
    policies: [Policy; 3],
    clock: Clock,
    state: Mutex<State>,
}

impl Witness {
    pub(super) fn new(seed: u64, policies: [Policy; 3], clock: Clock) -> Self {
        let state = State {
            modes: [Mode::Healthy; 3],
            views: Default::default(),
            leases_lost: [0; 3],
            sent: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            attempts: BTreeMap::new(),
            again: BTreeMap::new(),
            ends: Vec::new(),
            excused: BTreeSet::new(),
            violation: None,
        };
        Self { seed, policies, clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under it")
    }

    /// The body of an event, which is known as sent from now on.
    pub(super) fn body(&self, number: u64, planned: u64, padding: usize) -> Bytes {
        let body = Bytes::from(format!(r#"{{"n":{number},"x":"{}"}}"#, "x".repeat(padding)));
        self.state().sent.insert(number, Sent { planned, body: body.clone() });
        body
    }

    pub(super) fn acknowledge(&self, sequence: u64, number: u64) {
        self.state().acknowledged.insert(sequence, number);
    }

    pub(super) fn set_mode(&self, at: usize, mode: Mode) {
        self.state().modes[at] = mode;
    }

    /// An operator wants attempts now.
    pub(super) fn asked_for(&self, at: usize) {
        self.state().views[at].is_asked_for = true;
    }

    pub(super) fn arrived(&self, at: usize) -> Vec<u64> {
        self.state().arrivals.keys().filter(|(other, _)| *other == at).map(|(_, sequence)| *sequence).collect()
    }

    pub(super) fn replayed(&self, at: usize, sequences: &[u64]) {
        let mut state = self.state();
        for sequence in sequences {
            *state.again.entry((at, *sequence)).or_default() += 1;
        }
    }

    pub(super) fn end_process(&self, is_crash: bool) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.ends.push((now_ms, is_crash));
        state.views = Default::default();
    }

    /// Who delivers to a destination from now on knows nothing of the attempts in flight, nor of how it went before.
    pub(super) fn lose_lease(&self, at: usize) {
        let mut state = self.state();
        state.leases_lost[at] += 1;
        state.views[at] = View::default();
    }

    /// This process cannot write what it knows.
    pub(super) fn excuse(&self) {
        let mut state = self.state();
        let process = state.ends.len();
        state.excused.insert(process);
    }

    pub(super) fn crashes(&self) -> usize {
        self.state().ends.iter().filter(|(_, is_crash)| *is_crash).count()
    }

    /// Whether no destination saw what it must not.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.state().violation.clone().map_or(Ok(()), Err)
    }

    /// Every acknowledged event has arrived, waits or is a dead letter, at each of its destinations; and so is every event that a
    /// destination has seen.
    pub(super) fn nothing_is_lost(&self, store: &JournalStore, ids: &[NameId]) -> Result<(), String> {
        let state = self.state();
        for (at, id) in ids.iter().enumerate() {
            let waiting = store.waiting(*id);
            let dead = store.dead(*id);
            for (sequence, number) in &state.acknowledged {
                let is_planned = state.sent[number].planned & (1 << at) != 0;
                let has_arrived = state.arrivals.contains_key(&(at, *sequence));
                if is_planned && !has_arrived && !waiting.contains(*sequence) && !dead.contains(*sequence) {
                    return Err(format!("{number} (event {sequence}) is lost at {at}"));
                }
                if !is_planned && (waiting.contains(*sequence) || dead.contains(*sequence)) {
                    return Err(format!("{number} (event {sequence}) waits at {at}, where it does not belong"));
                }
            }
        }
        let history = store.history();
        match state.attempts.keys().find(|(_, sequence)| *sequence >= history.end) {
            Some((at, sequence)) => Err(format!("event {sequence} was attempted at {at} and is not on the disk")),
            None => Ok(()),
        }
    }

    /// Whatever came twice came from a process that crashed soon after, or because somebody asked. Returns how often.
    pub(super) fn explain_what_came_twice(&self) -> Result<usize, String> {
        let state = self.state();
        let mut twice = 0;
        for (key, arrivals) in &state.arrivals {
            let mut asked = state.again.get(key).copied().unwrap_or(0);
            for pair in arrivals.windows(2) {
                let (at, sequence) = key;
                let first = pair[0];
                let end = state.ends.get(first.process).filter(|_| pair[1].process > first.process);
                let is_explained = end.is_some_and(|(end_ms, is_crash)| {
                    let is_recent = *end_ms - first.at_ms <= may_come_twice_ms();
                    (*is_crash && is_recent) || state.excused.contains(&first.process)
                });
                twice += 1;
                if is_explained || pair.iter().any(|arrival| arrival.is_lost) {
                    continue;
                }
                asked = asked.checked_sub(1).ok_or_else(|| {
                    format!("event {sequence} came twice at {at}, and no crash explains it: {arrivals:?}")
                })?;
            }
        }
        Ok(twice)
    }

    /// An attempt begins. Returns how it will end, and after how long.
    fn begin(&self, at: usize, delivery: &Delivery, is_paused: bool) -> Begun {
        let now_ms = self.clock.now_ms();
        let sequence = delivery.event.id.sequence();
        let mut state = self.state();
        let violation = state.check(at, &self.policies[at], delivery, now_ms, is_paused);
        if let (Some(violation), None) = (violation, &state.violation) {
            state.violation = Some(format!("at {at}, event {sequence}: {violation}"));
        }
        let attempts = state.attempts.entry((at, sequence)).or_default();
        *attempts += 1;
        // By the delivery, so that no order of things can change it.
        let mut dice = Dice(self.seed ^ (sequence << 20) ^ ((at as u64) << 16) ^ *attempts);
        let took = Duration::from_millis(1 + dice.below(40));
        Begun { mode: state.modes[at], took, dice: dice.below(6), leases_lost: state.leases_lost[at] }
    }
}

impl State {
    fn check(
        &mut self,
        at: usize,
        policy: &Policy,
        delivery: &Delivery,
        now_ms: u64,
        is_paused: bool,
    ) -> Option<String> {
        let sequence = delivery.event.id.sequence();
        let body = &delivery.event.body;
        let view = &mut self.views[at];
        let is_asked_for = std::mem::take(&mut view.is_asked_for);
        let last_ms = view.last_begun_ms.replace(now_ms);
        if !view.in_flight.insert(sequence) {
            return Some("attempted while an attempt at it is in flight".to_owned());
        }
        if is_paused {
            return Some("attempted while the destination is paused".to_owned());
        }
        let is_open = view.failures >= RETRIES_IN_A_ROW;
        if view.in_flight.len() > policy.concurrency && !is_open {
            return Some(format!("{} attempts at once", view.in_flight.len()));
        }
        if let (Some(last_ms), Some(interval)) = (last_ms, policy.interval)
            && now_ms - last_ms < interval.as_millis() as u64 - 1
        {
            return Some(format!("attempted {} ms after the last", now_ms - last_ms));
        }
        if is_open {
            let quiet_ms = now_ms - view.quiet_since_ms;
            view.quiet_since_ms = now_ms;
            if quiet_ms < PROBES_APART_MS - 1 && !is_asked_for {
                return Some(format!("probed after {quiet_ms} ms"));
            }
        }
        if view.worked.is_some_and(|worked| view.in_flight.len() > worked + 1) {
            return Some(format!("{} at once when it had just come back", view.in_flight.len()));
        }
        let number = self.sent.iter().find(|(_, sent)| sent.body == *body).map(|(number, _)| *number);
        let Some(number) = number else { return Some("its body is none that was sent".to_owned()) };
        if self.sent[&number].planned & (1 << at) == 0 {
            return Some(format!("{number} does not belong here"));
        }
        let known = self.acknowledged.get(&sequence);
        known.filter(|known| **known != number).map(|known| format!("it is {number}, and {known} was answered"))
    }

    /// An attempt has ended: it worked, failed, or neither.
    fn end(&mut self, at: usize, sequence: u64, now_ms: u64, works: Option<bool>, policy: &Policy) {
        let view = &mut self.views[at];
        view.in_flight.remove(&sequence);
        match works {
            Some(true) => {
                let was_open = view.failures >= RETRIES_IN_A_ROW;
                view.failures = 0;
                view.worked = if was_open { Some(0) } else { view.worked.map(|worked| worked + 1) };
                // As many at once as ever.
                view.worked = view.worked.filter(|worked| worked + 1 < policy.concurrency);
            }
            Some(false) => {
                view.failures += 1;
                view.worked = view.worked.map(|_| 0);
                if view.failures == RETRIES_IN_A_ROW {
                    view.quiet_since_ms = now_ms;
                }
            }
            None => {}
        }
    }
}

/// A destination of the model world.
pub(super) struct Model {
    at: usize,
    witness: Arc<Witness>,
    store: Arc<JournalStore>,
    id: NameId,
}

impl Model {
    pub(super) fn new(at: usize, witness: Arc<Witness>, store: Arc<JournalStore>, id: NameId) -> Self {
        Self { at, witness, store, id }
    }

    async fn attempt_one(&self, delivery: &Delivery) -> Outcome {
        let is_paused = self.store.state(self.id).paused.is_some();
        let sequence = delivery.event.id.sequence();
        let Begun { mode, took, dice, leases_lost } = self.witness.begin(self.at, delivery, is_paused);
        // Whatever becomes of it, also when nobody waits any more.
        let mut ending = Ending { model: self, sequence, leases_lost, works: Some(false) };
        tokio::time::sleep(took).await;
        let outcome = match mode {
            Mode::Healthy => Outcome::Delivered,
            Mode::Flaky if dice < 2 => Outcome::Delivered,
            Mode::Rejecting if dice < 3 => Outcome::Delivered,
            Mode::Rejecting => Outcome::reject("no such thing"),
            Mode::Pausing => Outcome::Pause { reason: Reason::new("gone") },
            Mode::Hanging => std::future::pending().await,
            Mode::Busy => Outcome::Retry {
                reason: Reason::new("429"),
                after: Some(Duration::from_secs(1 + dice)),
                holds_all: dice < 3,
            },
            Mode::Down | Mode::Flaky => Outcome::retry("503"),
        };
        ending.works = match outcome {
            Outcome::Delivered | Outcome::DeliveredInPart { .. } | Outcome::Reject { .. } => Some(true),
            Outcome::Retry { .. } => Some(false),
            Outcome::Pause { .. } | Outcome::Skipped { .. } => None,
        };
        if outcome == Outcome::Delivered {
            let mut state = self.witness.state();
            let at_ms = self.witness.clock.now_ms();
            let process = state.ends.len();
            let is_lost = state.leases_lost[self.at] > leases_lost;
            state.arrivals.entry((self.at, sequence)).or_default().push(Arrival { at_ms, process, is_lost });
        }
        outcome
    }
}

struct Ending<'m> {
    model: &'m Model,
    sequence: u64,
    leases_lost: usize,
    works: Option<bool>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let Model { at, witness, .. } = self.model;
        let mut state = witness.state();
        // Who has the right to deliver now began with a view of its own.
        if state.leases_lost[*at] == self.leases_lost {
            state.end(*at, self.sequence, witness.clock.now_ms(), self.works, &witness.policies[*at]);
        }
    }
}

impl Destination for Model {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        async move {
            let mut outcomes = Outcomes::new();
            for delivery in deliveries {
                outcomes.push(self.attempt_one(delivery).await);
            }
            outcomes
        }
        .boxed()
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        Ok(Preview::line("a model".to_owned(), &delivery.event.body))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        Ok(delivery.event.body.to_vec())
    }

    fn way(&self, _: &Delivery) -> Result<Secret, Unsent> {
        Ok(Secret::from("a model".to_owned()))
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        "a model".to_owned()
    }
}
