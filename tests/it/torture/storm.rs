//! A destination that answers 5xx to everything while ten thousand deliveries wait for it, and then gets up again.
//!
//! The destination's own clock is the witness. While it is down: a first burst of what was in flight when the breaker opened, then one
//! probe at a time, further and further apart, also after a crash. When it is back: one, two, four, eight requests at once and never
//! more. At full size it falls over once more in the middle of the recovery.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::ledger::{Fault, Report, Scale, thousands};
use super::load::WhenGone;
use super::recorder::{Says, Turn};
use super::stage::Stage;
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "storm",
    about: "5xx from a destination with 10 000 pending, then recovery",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 16;
/// What the relay promises: see `deliver/breaker.rs` and the http destination's defaults.
const CONCURRENCY: usize = 8;
const RETRIES_IN_A_ROW: usize = 5;
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_LAST: Duration = Duration::from_secs(60);
/// The fifth failure opens the breaker; as many as fit beside it may be in flight by then.
const BURST_MAX: usize = RETRIES_IN_A_ROW - 1 + CONCURRENCY;
/// The recovered destination takes this long for each request, so that those made at once are seen to be.
const WORK: Duration = Duration::from_millis(5);

async fn run(scale: Scale) -> Report {
    let mut report = Report::default();
    let pending = scale.of(500, 10_000) as u64;
    let mut stage = Stage::set(&scale).await;
    let mut up = stage.rig.start().await;
    stage.crm.say(Says::Status(503));
    let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
    stage.load.more(pending).await;
    sending.stop().await;
    // The others have theirs, and the relay is ready, while this one is down.
    up.drained_but(&["crm"]).await;
    report.hold(up.readyz().await == 200, || "a destination that is down makes the relay unready".to_owned());
    let mut down = Requests::default();
    if scale.is_full {
        stage.crm.say(Says::Status(502));
        probed(&stage, &mut report, &mut down, 0, 1).await;
        let mark = stage.crm.count();
        stage.crashed_by(up);
        stage.crm.say(Says::Status(500));
        up = stage.rig.start().await;
        // The first probe is due at once, the next eight seconds later: it finds the destination up.
        eventually("a probe after the restart", async || stage.crm.count() > mark).await;
        recovers(&stage, &mut report, &mut down, mark, pending / 3).await;
        let mark = stage.crm.count();
        stage.crm.say(Says::Status(504));
        let first_failed = || stage.crm.turns().iter().skip(mark).position(|turn| !turn.is_taken);
        eventually("the second storm", async || first_failed().is_some()).await;
        eventually("the breaker to open again", async || {
            let is_quiet = stage.crm.turns().iter().all(|turn| turn.answered.is_some());
            is_quiet && up.destinations().await[0]["breaker"]["state"] == "open"
        })
        .await;
        let first = mark + first_failed().expect("it was seen a moment ago");
        recovers(&stage, &mut report, &mut down, first, 1).await;
    } else {
        recovers(&stage, &mut report, &mut down, 0, 1).await;
    }
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    report = report.say(format!("{} pending", thousands(pending))).judged(&verdict);
    report.hold(verdict.waiting + verdict.dead == 0, || format!("{} wait, {} are dead", verdict.waiting, verdict.dead));
    up.stop().await;
    report.say(format!("{} requests while down, {} at once at most", down.failed, down.at_once))
}

/// What was counted.
#[derive(Default)]
struct Requests {
    failed: usize,
    at_once: usize,
}

/// Waits for so many failed probes after the burst that begins at `from`, and checks all of them.
async fn probed(stage: &Stage, report: &mut Report, down: &mut Requests, from: usize, probes: usize) {
    let failed = |turns: &[Turn]| {
        let (burst, rest) = parts(&turns[from..]);
        (burst.len(), rest.len())
    };
    eventually("probes", async || failed(&stage.crm.turns()).1 >= probes).await;
    let turns = stage.crm.turns();
    check_down(&turns, from..turns.len(), report, down);
}

/// Lets the destination get up, waits until it has taken so many, and checks what came since `from`: how it was left alone while it was
/// down, and how it was brought back.
async fn recovers(stage: &Stage, report: &mut Report, down: &mut Requests, from: usize, count: u64) {
    stage.crm.say(Says::OkAfter(WORK));
    let taken = || stage.crm.turns()[from..].iter().filter(|turn| turn.is_taken).count() as u64;
    eventually("the destination to get up", async || taken() >= count).await;
    // The ramp is over by then.
    eventually("the rest to follow", async || taken() >= count.max(3 * CONCURRENCY as u64)).await;
    let turns = stage.crm.turns();
    let up_at = turns.iter().rposition(|turn| !turn.is_taken).map_or(from, |last| last + 1);
    // The probe that finds it up is one of those that were to wait for their turn.
    check_down(&turns, from..turns.len().min(up_at + 1), report, down);
    check_ramp(&turns[up_at..], report, down);
}

/// Splits what a destination that is down got: the burst until the breaker was open, and the probes.
///
/// The breaker opens when the relay reads the fifth failure, so no sooner than that was answered, and the first probe is due a while after
/// that. It is not due a while after the last answer of the burst: on a busy machine that one may be much later than the fifth.
fn parts(turns: &[Turn]) -> (&[Turn], &[Turn]) {
    let is_probe_after =
        |since: Option<Instant>, turn: &Turn| since.is_some_and(|since| turn.came >= since + PROBE_FIRST);
    let Some(first) = turns.first() else { return (turns, turns) };
    if turns.get(1).is_none_or(|second| is_probe_after(first.answered, second)) {
        // The breaker was open before.
        return turns.split_at(1);
    }
    let mut answered: Vec<Instant> = turns.iter().filter_map(|turn| turn.answered).collect();
    answered.sort();
    let fifth = answered.get(RETRIES_IN_A_ROW - 1).copied();
    let burst = turns.iter().position(|turn| is_probe_after(fifth, turn)).unwrap_or(turns.len());
    turns.split_at(burst)
}

/// While it is down.
fn check_down(turns: &[Turn], range: Range<usize>, report: &mut Report, down: &mut Requests) {
    let fell_at = turns[range.start].came;
    let is_late = |turn: &&Turn| turn.is_taken && turn.answered.is_some_and(|at| at >= fell_at);
    let late = turns[..range.end - 1].iter().filter(is_late).count();
    let (burst, probes) = parts(&turns[range]);
    down.failed += burst.iter().chain(probes).filter(|turn| !turn.is_taken).count();
    // Who was at work when it fell over still gives its good answer, and failures in a row are counted from there again.
    let burst_max = BURST_MAX + RETRIES_IN_A_ROW * late;
    report.hold(burst.len() <= burst_max, || format!("{} requests before the breaker was open", burst.len()));
    // A burst of one is a probe: the breaker was open before the restart.
    let mut wait = if burst.len() == 1 { PROBE_FIRST * 4 } else { PROBE_FIRST };
    let mut answered: Vec<Instant> = burst.iter().filter_map(|turn| turn.answered).collect();
    answered.sort();
    // The wait begins with the fifth failure; what was in flight then moves nothing.
    let opening = burst.len().saturating_sub(CONCURRENCY).max(RETRIES_IN_A_ROW - 1);
    let mut since = answered.get(opening).or(answered.last()).copied();
    for (number, probe) in probes.iter().enumerate() {
        let waited = since.map(|since| probe.came.saturating_duration_since(since));
        report.hold(waited.is_some_and(|waited| waited >= wait), || {
            format!("probe {} came {waited:?} after the failure before it, not {wait:?}", number + 1)
        });
        since = probe.answered;
        wait = (wait * 4).min(PROBE_LAST);
    }
}

/// While it comes back. The first turn is the probe that found it up.
fn check_ramp(turns: &[Turn], report: &mut Report, down: &mut Requests) {
    let mut answered: Vec<Instant> = turns.iter().filter_map(|turn| turn.answered).collect();
    answered.sort();
    report.hold(turns.len() > 2 * CONCURRENCY, || format!("only {} requests after it was back", turns.len()));
    for (place, turn) in turns.iter().enumerate() {
        // What is answered may not have been read yet, so the relay knows of fewer.
        let ended = answered.partition_point(|at| *at <= turn.came);
        let at_once = place + 1 - ended;
        let allowed = match ended {
            0..=1 => 1,
            2..=3 => 2,
            4..=7 => 4,
            _ => CONCURRENCY,
        };
        down.at_once = down.at_once.max(at_once);
        report.hold(at_once <= allowed, || {
            format!("request {place} after it was back: {at_once} at once, not {allowed}")
        });
    }
}
