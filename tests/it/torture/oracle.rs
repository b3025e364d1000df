//! The one checker for all faults: what was acknowledged, against what arrived and what the relay says it still has.
//!
//! For each destination: every acknowledged event that a rule sends there has arrived, or is a dead letter, or waits; what arrived is
//! what was sent, byte for byte, under one id for each event; nothing arrived that was never sent or that no rule sends there; and
//! every copy after the first has an explanation: the destination did not take the copy before it, or the relay ended at most
//! [`OUTCOMES_AT_RISK`] after it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::load::{Load, Log, type_of};
use super::recorder::{Arrived, Copy, hash_of};
use crate::harness::*;

/// Promised is that the outcomes of the last second may happen again. Half a second more, because the clock of the promise starts when
/// the relay has read the answer, and a busy machine's sync takes its time.
pub const OUTCOMES_AT_RISK: Duration = Duration::from_millis(1500);
/// Examples named of each problem.
const EXAMPLES: usize = 3;

/// Which events the rules send to a destination.
#[derive(Clone, Copy)]
pub enum Wants {
    Every,
    Types(&'static [&'static str]),
}

impl Wants {
    pub fn wants(self, event_type: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Types(types) => types.contains(&event_type),
        }
    }
}

/// What one destination got.
pub struct Witness {
    pub name: &'static str,
    pub wants: Wants,
    pub copies: Vec<Copy>,
}

/// An end of the relay's process that was not asked for.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub at: Instant,
    /// How long the file destination was then.
    pub file_bytes: u64,
}

/// What is to be judged.
pub struct Case<'c> {
    pub load: &'c Load,
    pub witnesses: Vec<Witness>,
    pub crashes: &'c [Crash],
    /// Moments in which a disk was being taken away: whether an acknowledgement from then came before or after, nobody can say.
    pub doubtful: &'c [Range<Instant>],
    /// The running relay's admin listener, asked for what is missing.
    pub admin: SocketAddr,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub acknowledged: u64,
    /// Copies that arrived, at all destinations.
    pub arrived: u64,
    /// Deliveries of acknowledged events that neither arrived nor are with the relay.
    pub lost: u64,
    /// The same of events that were acknowledged in a doubtful moment.
    pub lost_in_doubt: u64,
    /// Those lost, by destination.
    pub lost_at: BTreeMap<&'static str, u64>,
    /// Bodies that are not what was sent.
    pub altered: u64,
    /// Acknowledged and not arrived, but the relay has them.
    pub waiting: u64,
    pub dead: u64,
    /// Copies of what a destination had taken already, at all destinations.
    pub duplicates: u64,
    /// The same, by the crash before them.
    pub duplicates_by_crash: Vec<u64>,
    /// Events that arrived though their sender was refused.
    pub arrived_though_refused: u64,
    /// The acknowledged events of which a delivery is lost.
    pub lost_ids: BTreeSet<String>,
    /// Whatever breaks the promise, in sentences.
    pub breaches: Vec<(Breach, String)>,
}

/// A way to break the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Acknowledged, and gone.
    Lost,
    /// Not the bytes that were sent.
    Altered,
    /// Never sent.
    Unknown,
    /// At a destination that no rule names.
    Misrouted,
    /// Two ids for an event, or two events for an id.
    Ids,
    /// Twice, without an explanation.
    Doubled,
}

/// A sort of problem: how often, and the first few.
#[derive(Default)]
struct Tally {
    count: u64,
    examples: Vec<String>,
}

impl Tally {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// Compares.
pub async fn judge(case: Case<'_>) -> Verdict {
    let log = case.load.log();
    let mut verdict = Verdict {
        acknowledged: log.acknowledged.len() as u64,
        duplicates_by_crash: vec![0; case.crashes.len()],
        ..Verdict::default()
    };
    let mut tallies = Tallies::default();
    log.given_twice.iter().for_each(|id| tallies.ids.add(|| format!("{id} was given to two events")));
    // By id, and by number: an event has one of each.
    let mut numbers: BTreeMap<String, u64> =
        log.acknowledged.iter().map(|(id, acknowledged)| (id.clone(), acknowledged.number)).collect();
    let mut ids: BTreeMap<u64, String> = numbers.iter().map(|(id, number)| (*number, id.clone())).collect();
    for witness in &case.witnesses {
        verdict.arrived += witness.copies.len() as u64;
        let mut by_id: BTreeMap<&str, Vec<Arrived>> = BTreeMap::new();
        for copy in &witness.copies {
            by_id.entry(&copy.id).or_default().push(copy.arrived);
            check_copy(&case, witness, copy, &mut tallies);
            let Some(number) = copy.number else { continue };
            verdict.arrived_though_refused += u64::from(log.refused.contains_key(&number));
            let (known_number, known_id) =
                (*numbers.entry(copy.id.clone()).or_insert(number), ids.entry(number).or_insert(copy.id.clone()));
            if known_number != number || *known_id != copy.id {
                tallies.ids.add(|| format!("{}: {} carries event {number} at {}", known_id, copy.id, witness.name));
            }
        }
        for (id, copies) in &by_id {
            count_duplicates(&case, witness, id, copies, &mut verdict, &mut tallies);
        }
        find_missing(&case, witness, &log, &by_id, &mut verdict, &mut tallies).await;
    }
    verdict.lost = tallies.lost.count;
    verdict.altered = tallies.altered.count;
    verdict.breaches = tallies.into_breaches();
    verdict
}

#[derive(Default)]
struct Tallies {
    lost: Tally,
    altered: Tally,
    unknown: Tally,
    misrouted: Tally,
    ids: Tally,
    unexplained: Tally,
}

impl Tallies {
    fn into_breaches(self) -> Vec<(Breach, String)> {
        let named = [
            (Breach::Lost, "deliveries of acknowledged events are lost", self.lost),
            (Breach::Altered, "bodies are altered", self.altered),
            (Breach::Unknown, "copies are of events that were never sent", self.unknown),
            (Breach::Misrouted, "copies came to a destination that no rule names for them", self.misrouted),
            (Breach::Ids, "ids are not one for each event", self.ids),
            (Breach::Doubled, "copies are doubled without an explanation", self.unexplained),
        ];
        let told = named.into_iter().filter(|(_, _, tally)| tally.count > 0);
        let tell = |what, tally: Tally| format!("{} {what}: {}", tally.count, tally.examples.join("; "));
        told.map(|(breach, what, tally)| (breach, tell(what, tally))).collect()
    }
}

fn check_copy(case: &Case<'_>, witness: &Witness, copy: &Copy, tallies: &mut Tallies) {
    let (load, name) = (case.load, witness.name);
    let Some(number) = copy.number else {
        return tallies.altered.add(|| format!("{} at {name} has no number", copy.id));
    };
    if number >= load.sent() {
        return tallies.unknown.add(|| format!("number {number} at {name}"));
    }
    if copy.hash != hash_of(load.body(number).as_bytes()) {
        tallies.altered.add(|| format!("number {number} at {name}"));
    }
    if !witness.wants.wants(type_of(load.seed, number)) {
        tallies.misrouted.add(|| format!("number {number}, {}, at {name}", type_of(load.seed, number)));
    }
}

/// Counts the copies of what was taken already, and explains each. A copy after one that was not taken is what retries are for.
fn count_duplicates(
    case: &Case<'_>,
    witness: &Witness,
    id: &str,
    copies: &[Arrived],
    verdict: &mut Verdict,
    tallies: &mut Tallies,
) {
    for pair in copies.windows(2) {
        if matches!(pair[0], Arrived::At { is_taken: false, .. }) {
            continue;
        }
        verdict.duplicates += 1;
        match explaining_crash(case.crashes, pair[0], pair[1]) {
            Some(crash) => verdict.duplicates_by_crash[crash] += 1,
            None => tallies.unexplained.add(|| format!("{id} at {}: {}", witness.name, told(case.crashes, pair))),
        }
    }
}

/// The crash because of which the relay could not know that the first of two copies had arrived.
fn explaining_crash(crashes: &[Crash], first: Arrived, second: Arrived) -> Option<usize> {
    crashes.iter().position(|crash| match (first, second) {
        (Arrived::At { at: first, .. }, Arrived::At { at: second, .. }) => {
            first <= crash.at + OUTCOMES_AT_RISK && crash.at <= first + OUTCOMES_AT_RISK && crash.at <= second
        }
        (Arrived::Byte(first), Arrived::Byte(second)) => first < crash.file_bytes && crash.file_bytes <= second,
        _ => false,
    })
}

fn told(crashes: &[Crash], pair: &[Arrived]) -> String {
    match (pair[0], pair[1]) {
        (Arrived::At { at: first, .. }, Arrived::At { at: second, .. }) => {
            let next = crashes.iter().find(|crash| crash.at >= first).map(|crash| crash.at - first);
            format!("{:?} apart; the next crash was {next:?} after the first", second - first)
        }
        (first, second) => format!("{first:?} and {second:?}"),
    }
}

/// Asks the relay for what was acknowledged and has not arrived.
async fn find_missing(
    case: &Case<'_>,
    witness: &Witness,
    log: &Log,
    arrived: &BTreeMap<&str, Vec<Arrived>>,
    verdict: &mut Verdict,
    tallies: &mut Tallies,
) {
    for (id, acknowledged) in &log.acknowledged {
        let is_wanted = witness.wants.wants(type_of(case.load.seed, acknowledged.number));
        if !is_wanted || arrived.contains_key(id.as_str()) {
            continue;
        }
        let answer = request(case.admin, "GET", &format!("/api/events/{id}"), &[], b"").await;
        let state = if answer.status() == 200 {
            let shown = answer.json();
            let deliveries = shown["deliveries"].as_array().cloned().unwrap_or_default();
            let its = deliveries.iter().find(|delivery| delivery["destination"] == witness.name);
            its.and_then(|delivery| delivery["state"].as_str()).unwrap_or("not for it").to_owned()
        } else {
            format!("status {}", answer.status())
        };
        match state.as_str() {
            "waiting" | "in_flight" | "scheduled" => verdict.waiting += 1,
            "dead" => verdict.dead += 1,
            _ if case.doubtful.iter().any(|moment| moment.contains(&acknowledged.at)) => verdict.lost_in_doubt += 1,
            _ => {
                verdict.lost_ids.insert(id.clone());
                *verdict.lost_at.entry(witness.name).or_default() += 1;
                tallies.lost.add(|| format!("number {} at {} ({state})", acknowledged.number, witness.name));
            }
        }
    }
}
