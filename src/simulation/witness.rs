//! The destinations of the model world, and what they must never see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::dice::Dice;
use super::in_order::{Came, Order, came_in_order};
use super::terms::{BATCHING, DESTINATIONS, IN_ORDER, PEOPLE, TOGETHER, TURN_OF_LONG_WAITS};
use crate::deliver::sorting::Sorting;
use crate::deliver::{Policy, RETRIES_IN_A_ROW};
use crate::destination::{Batching, Delivery, Destination, Outcome, Outcomes, Preview, Reason, Unsent};
use crate::secret::Secret;
use crate::store::journal::{JournalStore, OUTCOMES_SYNCED_WITHIN, OUTCOMES_WRITTEN_WITHIN};
use crate::store::{NameId, StoredEvent};
use crate::time::Clock;

/// What is delivered this long before a crash may be delivered again: the promise, and the writer's turns around it.
fn may_come_twice_ms() -> u64 {
    (OUTCOMES_WRITTEN_WITHIN + OUTCOMES_SYNCED_WITHIN + 2 * TURN_OF_LONG_WAITS).as_millis() as u64
}

/// A sorter looks at the wall clock so often at least, and a little later.
const WALL_SEEN_WITHIN_MS: u64 = 61_000;
/// What is begun together with quiet hours began before them.
const MOMENT_MS: u64 = 50;

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

/// What an event is to a destination that puts together what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Urgent,
    Group(u64),
}

/// Where an event was bound for, and how.
#[derive(Clone, Debug)]
struct Sent {
    planned: u64,
    kind: Kind,
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
    /// By the first of them, the events of each attempt.
    in_flight: BTreeMap<u64, BTreeSet<u64>>,
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
    modes: [Mode; DESTINATIONS],
    views: [View; DESTINATIONS],
    /// Leases that were lost.
    leases_lost: [usize; DESTINATIONS],
    /// How often it was configured: what an older config attempts says nothing of the one in force.
    configured: [usize; DESTINATIONS],
    sent: BTreeMap<u64, Sent>,
    acknowledged: BTreeMap<u64, u64>,
    arrivals: BTreeMap<(usize, u64), Vec<Arrival>>,
    attempts: BTreeMap<(usize, u64), u64>,
    again: BTreeMap<(usize, u64), usize>,
    /// The members of each digest, by its id.
    digests: BTreeMap<(usize, String), BTreeSet<u64>>,
    /// The digest that each event was last attempted with.
    digest_of: BTreeMap<(usize, u64), String>,
    /// Attempts that took several at once; and events that were refused with others.
    together: usize,
    refused_together: usize,
    /// With how many each of these may go, as far as who delivers now was told so.
    apart: BTreeMap<u64, usize>,
    /// When the clock on the wall was set last.
    wall_set_ms: u64,
    /// Attempts at what is urgent in quiet hours.
    by_night: usize,
    /// When each process ended, and whether it crashed.
    ends: Vec<(u64, bool)>,
    /// What arrived in these processes may come again whenever it arrived: its outcome found no room.
    excused: BTreeSet<usize>,
    /// The senders' numbers of what is to be forgotten; of that, of what is forgotten.
    forgotten: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    /// Of each destination that goes in order.
    orders: BTreeMap<usize, Order>,
    /// The process after the last power cut.
    power_was_cut_before: usize,
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
    policies: [Policy; DESTINATIONS],
    sortings: [Option<Arc<Sorting>>; DESTINATIONS],
    clock: Clock,
    state: Mutex<State>,
}

impl Witness {
    pub(super) fn new(
        seed: u64,
        policies: [Policy; DESTINATIONS],
        sortings: [Option<Arc<Sorting>>; DESTINATIONS],
        clock: Clock,
    ) -> Self {
        let state = State {
            modes: [Mode::Healthy; DESTINATIONS],
            views: Default::default(),
            leases_lost: [0; DESTINATIONS],
            configured: [0; DESTINATIONS],
            sent: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            attempts: BTreeMap::new(),
            again: BTreeMap::new(),
            digests: BTreeMap::new(),
            digest_of: BTreeMap::new(),
            together: 0,
            refused_together: 0,
            apart: BTreeMap::new(),
            wall_set_ms: 0,
            by_night: 0,
            ends: Vec::new(),
            excused: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            gone: BTreeSet::new(),
            orders: BTreeMap::new(),
            power_was_cut_before: 0,
            violation: None,
        };
        Self { seed, policies, sortings, clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under it")
    }

    /// The body of an event, which is known as sent from now on.
    pub(super) fn body(&self, number: u64, planned: u64, kind: Kind, padding: usize) -> Bytes {
        let kind_told = match kind {
            Kind::Urgent => r#""type":"alarm","urgent":true"#.to_owned(),
            Kind::Group(group) => format!(r#""type":"group {group}","k":{group}"#),
        };
        let body = Bytes::from(format!(r#"{{{kind_told},"n":{number},"x":"{}"}}"#, "x".repeat(padding)));
        self.state().sent.insert(number, Sent { planned, kind, body: body.clone() });
        body
    }

    /// What was sent of a person with numbers below one may go from now on.
    pub(super) fn forgets(&self, person: u64, below: u64) {
        self.state().forgotten.extend((0..below).filter(|number| number % PEOPLE == person));
    }

    /// It is gone: nobody is given it any more.
    pub(super) fn has_forgotten(&self, person: u64, below: u64) {
        self.state().gone.extend((0..below).filter(|number| number % PEOPLE == person));
    }

    /// The bodies of what is gone.
    pub(super) fn bodies_that_are_gone(&self) -> Vec<Bytes> {
        let state = self.state();
        state.gone.iter().filter_map(|number| state.sent.get(number)).map(|sent| sent.body.clone()).collect()
    }

    /// How many were forgotten.
    pub(super) fn forgotten(&self) -> usize {
        self.state().gone.len()
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
        state.orders.entry(at).or_default().replayed(sequences);
    }

    /// What is in flight by who may deliver now.
    pub(super) fn in_flight(&self, at: usize) -> Vec<u64> {
        self.state().in_flight(at).collect()
    }

    /// Whether each key went in order; how many attempts were made while others of their key waited.
    pub(super) fn went_in_order(&self, store: &JournalStore, ids: &[NameId]) -> Result<usize, String> {
        let state = self.state();
        state.went_in_order(IN_ORDER, &store.dead(ids[IN_ORDER]).iter_from(0).collect())?;
        Ok(state.orders.get(&IN_ORDER).map_or(0, |order| order.with_others))
    }

    /// Digests that were attempted, and the events in them.
    pub(super) fn digests(&self) -> (usize, usize) {
        let state = self.state();
        (state.digests.len(), state.digests.values().map(BTreeSet::len).sum())
    }

    /// Attempts that took several at once; and events that were refused with others.
    pub(super) fn together(&self) -> (usize, usize) {
        let state = self.state();
        (state.together, state.refused_together)
    }

    pub(super) fn by_night(&self) -> usize {
        self.state().by_night
    }

    pub(super) fn wall_is_set(&self) {
        self.state().wall_set_ms = self.clock.now_ms();
    }

    pub(super) fn end_process(&self, is_crash: bool) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.ends.push((now_ms, is_crash));
        state.apart.clear();
        state.views = Default::default();
    }

    /// The machine lost its power: of what was not synced any part may be on the disk.
    pub(super) fn power_is_cut(&self) {
        let mut state = self.state();
        state.power_was_cut_before = state.ends.len();
    }

    /// Who delivers to a destination from now on knows nothing of the attempts in flight, nor of how it went before.
    pub(super) fn lose_lease(&self, at: usize) {
        let mut state = self.state();
        state.leases_lost[at] += 1;
        if at == TOGETHER {
            state.apart.clear();
        }
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
                if state.forgotten.contains(number) {
                    continue;
                }
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

    /// What somebody waits for, dead letters too, is as it was sent. Returns of how many events that are kept values were taken away.
    pub(super) fn what_is_needed_is_whole(&self, store: &JournalStore, ids: &[NameId]) -> Result<usize, String> {
        let state = self.state();
        let needed: Vec<_> = ids.iter().map(|id| (store.waiting(*id), store.dead(*id))).collect();
        let mut redacted = 0;
        for (sequence, number) in &state.acknowledged {
            let Ok(event) = store.event_by_number(*sequence) else { continue };
            redacted += usize::from(event.is_redacted);
            let again = |at: usize| state.again.contains_key(&(at, *sequence));
            let mut needed = needed.iter().enumerate();
            // Somebody may have sent it again when it was without them already.
            let is_needed = needed
                .any(|(at, (waiting, dead))| (waiting.contains(*sequence) || dead.contains(*sequence)) && !again(at));
            if is_needed && event.body != state.sent[number].body {
                return Err(format!(
                    "{number} (event {sequence}) is needed, and is {}",
                    String::from_utf8_lossy(&event.body)
                ));
            }
        }
        Ok(redacted)
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

    /// An attempt begins: at one, or at several together. Returns how it will end, and after how long.
    fn begin(&self, at: usize, deliveries: &[Delivery], is_paused: bool, waiting: Option<&BTreeSet<u64>>) -> Begun {
        let now_ms = self.clock.now_ms();
        let delivery = &deliveries[0];
        let sequence = delivery.event.id.sequence();
        let mut state = self.state();
        // Before it is in flight itself.
        let disorder = waiting.and_then(|waiting| state.check_order(at, sequence, waiting));
        let violation = state.check(at, &self.policies[at], deliveries, now_ms, is_paused);
        let violation = violation.or(disorder);
        let violation = violation.or_else(|| state.check_forgotten(deliveries));
        let violation = violation.or_else(|| state.check_together(at, deliveries));
        let violation = violation.or_else(|| state.check_digest(at, delivery));
        let violation = violation.or_else(|| self.check_quiet(&mut state, at, delivery, now_ms));
        if let (Some(violation), None) = (violation, &state.violation) {
            state.violation = Some(format!("at {at}, event {sequence}: {violation}"));
        }
        let mut attempts = 0;
        for member in deliveries.iter().flat_map(members) {
            let made = state.attempts.entry((at, member.id.sequence())).or_default();
            *made += 1;
            attempts = attempts.max(*made);
        }
        // By the delivery, so that no order of things can change it.
        let mut dice = Dice(self.seed ^ (sequence << 20) ^ ((at as u64) << 16) ^ attempts);
        let took = Duration::from_millis(1 + dice.below(40));
        Begun { mode: state.modes[at], took, dice: dice.below(6), leases_lost: state.leases_lost[at] }
    }
}

impl Witness {
    /// In quiet hours nothing is begun but what is urgent: a moment after they begin, and a minute after the wall clock was set.
    fn check_quiet(&self, state: &mut State, at: usize, delivery: &Delivery, now_ms: u64) -> Option<String> {
        let quiet = self.sortings[at].as_ref()?.quiet.as_ref()?;
        let wall_ms = self.clock.arrival_ms();
        let is_quiet = |wall_ms: u64| quiet.until_ms(wall_ms).is_some();
        let is_known = now_ms.saturating_sub(state.wall_set_ms) > WALL_SEEN_WITHIN_MS;
        let is_urgent = delivery.digest.is_none()
            && state.sent.values().any(|sent| sent.body == delivery.event.body && sent.kind == Kind::Urgent);
        state.by_night += usize::from(is_urgent && is_quiet(wall_ms));
        let breaks = is_quiet(wall_ms) && is_quiet(wall_ms.saturating_sub(MOMENT_MS)) && is_known && !is_urgent;
        breaks.then(|| "attempted in quiet hours".to_owned())
    }
}

impl State {
    /// The order key of an event; none of one that goes by itself, of one of which nobody was told, and of one that was erased: after a reload nobody
    /// can read what it was, also while an attempt at it is in flight still.
    fn key_of(&self, sequence: u64) -> Option<u64> {
        let number = self.acknowledged.get(&sequence)?;
        if self.gone.contains(number) {
            return None;
        }
        match self.sent[number].kind {
            Kind::Group(key) => Some(key),
            Kind::Urgent => None,
        }
    }

    fn in_flight(&self, at: usize) -> impl Iterator<Item = u64> + '_ {
        self.views[at].in_flight.keys().copied()
    }

    /// An attempt begins while these wait.
    fn check_order(&mut self, at: usize, sequence: u64, waiting: &BTreeSet<u64>) -> Option<String> {
        let key = self.key_of(sequence)?;
        let is_other = |other: &u64| *other != sequence && self.key_of(*other) == Some(key);
        let in_flight = self.in_flight(at).find(is_other);
        let waiting = waiting.iter().copied().filter(is_other).collect();
        self.orders.entry(at).or_default().check(sequence, in_flight, &waiting)
    }

    /// Of each key, what came of itself and changed something. What came before a crash and was given up after it is none of it.
    fn went_in_order(&self, at: usize, dead: &BTreeSet<u64>) -> Result<(), String> {
        let mut keys: BTreeMap<u64, Vec<Came>> = BTreeMap::new();
        for ((_, sequence), arrivals) in self.arrivals.range((at, 0)..(at + 1, 0)) {
            let Some(key) = self
                .key_of(*sequence)
                .filter(|_| !dead.contains(sequence) && !self.again.contains_key(&(at, *sequence)))
            else {
                continue;
            };
            let came = arrivals.iter().filter(|arrival| !arrival.is_lost);
            keys.entry(key).or_default().extend(came.map(|came| (came.at_ms, came.process, *sequence)));
        }
        keys.into_iter().try_for_each(|(key, arrivals)| {
            came_in_order(arrivals, self.power_was_cut_before).map_err(|error| format!("at {at}, key {key}: {error}"))
        })
    }
}

/// All events of a delivery.
fn members(delivery: &Delivery) -> Vec<&Arc<StoredEvent>> {
    match &delivery.digest {
        Some(digest) => digest.events.iter().map(|member| &member.event).collect(),
        None => vec![&delivery.event],
    }
}

impl State {
    /// Nothing that is forgotten is attempted.
    fn check_forgotten(&self, deliveries: &[Delivery]) -> Option<String> {
        let events = || deliveries.iter().flat_map(members);
        let is_gone = |number: &&u64| {
            let body = &self.sent[*number].body;
            events().any(|event| event.body == *body)
        };
        self.gone.iter().find(is_gone).map(|number| format!("{number} was forgotten, and is attempted"))
    }

    /// Several go together where that is the way, as many as may, and no more than each of them was told.
    fn check_together(&mut self, at: usize, deliveries: &[Delivery]) -> Option<String> {
        let count = deliveries.len();
        if count == 1 {
            return None;
        }
        self.together += 1;
        let bytes: usize = deliveries.iter().map(|delivery| delivery.event.body.len()).sum();
        if at != TOGETHER || count > BATCHING.max || bytes > BATCHING.bytes_max {
            return Some(format!("{count} at once, of {bytes} bytes"));
        }
        let most = |delivery: &Delivery| self.apart.get(&delivery.event.id.sequence()).copied();
        let most = deliveries.iter().filter_map(most).min()?;
        (count > most).then(|| format!("{count} at once, and one of them was to go with {most} at most"))
    }

    /// A digest has all its members, the same on every attempt, and each of them in no other; what is urgent is in none.
    fn check_digest(&mut self, at: usize, delivery: &Delivery) -> Option<String> {
        let digest = delivery.digest.as_ref()?;
        let members: BTreeSet<u64> = members(delivery).iter().map(|event| event.id.sequence()).collect();
        if members.len() as u64 != digest.count || digest.left_out != 0 || digest.count < 2 {
            return Some(format!("a digest of {} shows {members:?}", digest.count));
        }
        let counted: u64 = digest.groups.iter().map(|group| group.count).sum();
        if counted != digest.count {
            return Some(format!("a digest of {} counts {counted} in its groups", digest.count));
        }
        let known = self.digests.entry((at, digest.id.clone())).or_insert_with(|| members.clone());
        // Some of it may have been given up since.
        if !members.is_subset(known) {
            return Some(format!("the digest {} was of {known:?}, and is of {members:?}", digest.id));
        }
        let process = self.ends.len();
        for member in &members {
            let kind = self.acknowledged.get(member).map(|number| self.sent[number].kind);
            if kind == Some(Kind::Urgent) {
                return Some(format!("event {member} is urgent, and in a digest"));
            }
            let before = self.digest_of.insert((at, *member), digest.id.clone());
            let is_other = before.is_some_and(|before| before != digest.id);
            let is_excused =
                self.again.contains_key(&(at, *member)) || (0..=process).any(|at| self.excused.contains(&at));
            if is_other && !is_excused {
                return Some(format!("event {member} is in two digests"));
            }
        }
        None
    }

    fn check(
        &mut self,
        at: usize,
        policy: &Policy,
        deliveries: &[Delivery],
        now_ms: u64,
        is_paused: bool,
    ) -> Option<String> {
        let sequence = deliveries[0].event.id.sequence();
        let view = &mut self.views[at];
        let is_asked_for = std::mem::take(&mut view.is_asked_for);
        let last_ms = view.last_begun_ms.replace(now_ms);
        let events = || deliveries.iter().flat_map(members);
        let begun: BTreeSet<u64> = events().map(|event| event.id.sequence()).collect();
        let is_in_flight = view.in_flight.values().any(|others| !others.is_disjoint(&begun));
        view.in_flight.insert(sequence, begun);
        if is_in_flight {
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
        events().find_map(|event| self.check_event(at, event))
    }

    fn check_event(&self, at: usize, event: &StoredEvent) -> Option<String> {
        let number = self.sent.iter().find(|(_, sent)| sent.body == event.body).map(|(number, _)| *number);
        let Some(number) = number else { return Some("its body is none that was sent".to_owned()) };
        if self.sent[&number].planned & (1 << at) == 0 {
            return Some(format!("{number} does not belong here"));
        }
        let known = self.acknowledged.get(&event.id.sequence());
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
    /// Of how many that it had, this one included.
    configured: usize,
    /// Its attempts take several at once.
    pub(super) batches: bool,
}

impl Model {
    pub(super) fn new(at: usize, witness: Arc<Witness>, store: Arc<JournalStore>, id: NameId) -> Self {
        let mut state = witness.state();
        state.configured[at] += 1;
        let configured = state.configured[at];
        drop(state);
        Self { at, witness, store, id, configured, batches: at == TOGETHER }
    }

    /// One attempt, at one delivery or several.
    async fn attempt(&self, deliveries: &[Delivery]) -> Outcome {
        let is_paused = self.store.state(self.id).paused.is_some();
        let sequence = deliveries[0].event.id.sequence();
        let waiting = (self.at == IN_ORDER).then(|| self.store.waiting(self.id).iter_from(0).collect());
        let begun = self.witness.begin(self.at, deliveries, is_paused, waiting.as_ref());
        let Begun { mode, took, dice, leases_lost } = begun;
        // Whatever becomes of it, also when nobody waits any more.
        let mut ending = Ending { model: self, sequence, leases_lost, works: Some(false) };
        tokio::time::sleep(took).await;
        let outcome = match mode {
            // Who takes each of them may not take all at once.
            Mode::Healthy if deliveries.len() > 1 && dice == 5 => Outcome::Apart {
                reason: Reason::new("too many"),
                at_most: deliveries.len().div_ceil(2),
                was_sent: true,
            },
            Mode::Healthy => Outcome::Delivered,
            Mode::Flaky if dice < 2 => Outcome::Delivered,
            Mode::Rejecting if dice < 3 => Outcome::Delivered,
            Mode::Rejecting if deliveries.len() > 1 => {
                let at_most = if dice == 5 { deliveries.len().div_ceil(2) } else { 1 };
                Outcome::Apart { reason: Reason::new("one of them is no such thing"), at_most, was_sent: true }
            }
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
            Outcome::Delivered | Outcome::DeliveredInPart { .. } | Outcome::Reject { .. } | Outcome::Apart { .. } => {
                Some(true)
            }
            Outcome::Retry { .. } => Some(false),
            Outcome::Pause { .. } | Outcome::Skipped { .. } => None,
        };
        let mut state = self.witness.state();
        let is_lost = state.leases_lost[self.at] > leases_lost;
        if let (Outcome::Apart { at_most, .. }, false) = (&outcome, is_lost) {
            state.refused_together += deliveries.len();
            state.apart.extend(deliveries.iter().map(|delivery| (delivery.event.id.sequence(), *at_most)));
        } else if outcome.is_delivered() || matches!(outcome, Outcome::Reject { .. }) {
            for delivery in deliveries {
                state.apart.remove(&delivery.event.id.sequence());
            }
        }
        if outcome == Outcome::Delivered {
            let at_ms = self.witness.clock.now_ms();
            let process = state.ends.len();
            for member in deliveries.iter().flat_map(members) {
                let key = (self.at, member.id.sequence());
                state.arrivals.entry(key).or_default().push(Arrival { at_ms, process, is_lost });
            }
        }
        drop(state);
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
        let Model { at, witness, configured, .. } = self.model;
        let mut state = witness.state();
        let works = self.works.filter(|_| state.configured[*at] == *configured);
        // Who has the right to deliver now began with a view of its own.
        if state.leases_lost[*at] == self.leases_lost {
            state.end(*at, self.sequence, witness.clock.now_ms(), works, &witness.policies[*at]);
        }
    }
}

impl Destination for Model {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        async move {
            if self.batches {
                return Outcomes::from_elem(self.attempt(deliveries).await, deliveries.len());
            }
            let mut outcomes = Outcomes::new();
            for delivery in deliveries {
                outcomes.push(self.attempt(std::slice::from_ref(delivery)).await);
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

    fn digests(&self) -> bool {
        true
    }

    fn batch_max(&self) -> usize {
        self.batching().map_or(1, |batching| batching.max)
    }

    fn batching(&self) -> Option<Batching> {
        self.batches.then_some(BATCHING)
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        "a model".to_owned()
    }
}
