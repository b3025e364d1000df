//! The wall clock is set while the relay runs: by an hour, by a day, to 1970, to 2100, and right again. And processes begin with a wrong
//! one: see [`clock_start`].
//!
//! A small library (`wall_clock.c`) steps the clock that the process sees; the monotonic one runs on, as it does when somebody sets the
//! time. Retries must come when they would have come, neither at once nor never; the history, the dead letters and what waits, which
//! are kept for half an hour here, must survive every step; and an event that arrives while the clock is wrong is an event like any
//! other once it is right again.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::clock_start;
use super::ledger::{Fault, Report, Scale};
use super::load::{Load, type_of};
use super::oracle::{Case, Wants, Witness, judge};
use super::recorder::{Recorder, Says, Turn, read_lines};
use super::rig::{Rig, Up};
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "clock",
    about: "the wall clock steps by an hour, a day, to 1970 and to 2100, and back; starts by a wrong one",
    needs_root: false,
    needs: &["cc"],
    run: |scale| Box::pin(run(scale)),
};

const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;
/// 2100-01-01 as unix seconds.
pub(super) const IN_2100: i64 = 4_102_444_800;
/// What waits for one retry when the clock steps: fewer than open the breaker.
const RETRIES_A_STEP: usize = 2;
/// Requests before the breaker is open: see `storm`.
const BURST_MAX: u64 = 12;
/// Between the two attempts at each of them, give or take a fifth.
const RETRY: Duration = Duration::from_millis(400);
/// A busy machine may be late by this, a stalled retry is by hours.
const LATE: Duration = Duration::from_secs(5);
/// What watches over ages and limits looks every second: it must have done so by each wrong clock.
pub(super) const LOOKED_WITHIN: Duration = Duration::from_millis(1100);
/// Dead letters before the first step. Twenty in a row would pause the destination.
const DEAD: usize = 3;

const CONFIG: &str = "\
store: { history: { max_age: 30m }, dead_letters: { max_age: 30m } }
rules:
  - { name: all, to: [crm, archive, down] }
  - { name: again, match: { type: bounced }, to: flaky }
  - { name: refused, match: { type: complained }, to: refuses }
destinations:
  crm: { http: { url: \"CRM\" } }
  archive: { file: { path: archive.ndjson } }
  down: { http: { url: \"DOWN\" }, backlog: { max_age: 30m } }
  flaky: { http: { url: \"FLAKY\" }, retry: { initial: 400ms, factor: 1, max: 400ms, give_up_after: 30m } }
  refuses: { http: { url: \"REFUSES\" } }
";

async fn run(scale: Scale) -> Report {
    let mut of_starts = Report::default();
    let (mut report, ()) = tokio::join!(steps(&scale), clock_start::check(&scale, &mut of_starts));
    report.problems.extend(of_starts.problems);
    report.late.extend(of_starts.late);
    report
}

/// The clock is set while the relay runs.
async fn steps(scale: &Scale) -> Report {
    let clock = WallClock::build(&scale.directory);
    let [crm, down, flaky, refuses] =
        [Recorder::start().await, Recorder::start().await, Recorder::start().await, Recorder::start().await];
    let config = CONFIG.replace("CRM", &crm.url()).replace("DOWN", &down.url()).replace("FLAKY", &flaky.url());
    let data_dir = scale.directory.join("data");
    let mut rig = Rig::new(&scale.directory, &data_dir, &config.replace("REFUSES", &refuses.url()));
    let (mut report, load) = (Report::default(), Load::new(scale.seed));
    down.say(Says::Status(503));
    refuses.say(Says::Status(400));
    // A first process, so that there is history in a segment that could go.
    let up = rig.start().await;
    post_until(&load, &up, "complained", DEAD).await;
    up.drained_but(&["down"]).await;
    up.stop().await;
    refuses.say(Says::Ok);
    let old: Vec<String> = load.log().acknowledged.keys().cloned().collect();

    let words = clock.command();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let up = rig.start_under(&words).await.expect("it starts by a clock that can be set");
    let now_s = (vero_relay::time::wall_ms() / 1000) as i64;
    let steps: &[i64] = match scale.is_full {
        true => &[HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0, -now_s, 0, IN_2100 - now_s, 0, -now_s, IN_2100 - now_s, 0],
        false => &[-now_s, 0],
    };
    for step in steps {
        // By the clock that is about to be set, all of this waits without an attempt for its destination, but for the breaker's burst.
        down.say(Says::Status(503));
        load.post(up.hooks, BURST_MAX + 4).await;
        let before = flaky.count();
        flaky.say(Says::StatusFirst(503));
        post_until(&load, &up, "bounced", RETRIES_A_STEP).await;
        eventually("first attempts", async || flaky.count() >= before + RETRIES_A_STEP).await;
        flaky.say(Says::Ok);
        clock.set(*step);
        let since = Instant::now();
        // Some arrive by the old clock, some by the new one.
        load.post(up.hooks, 10).await;
        eventually(&format!("retries after a step by {step} s"), async || {
            up.destinations().await.iter().any(|shown| shown["name"] == "flaky" && shown["backlog"] == 0)
        })
        .await;
        eventually("the limits to be looked at", async || since.elapsed() >= LOOKED_WITHIN).await;
        report.hold(up.readyz().await == 200, || format!("not ready after a step by {step} s"));
        check_told(&up, *step, &mut report).await;
        down.say(Says::Ok);
        up.drained_with("down").await;
    }
    check_history(&up, &old, &mut report).await;
    check_retries(&flaky, &mut report);
    check_storm(&down, steps.len(), &mut report);
    let witness = |name, wants, copies| Witness { name, wants, copies };
    let witnesses = vec![
        witness("crm", Wants::Every, crm.copies()),
        witness("archive", Wants::Every, read_lines(&data_dir.join("archive.ndjson"))),
        witness("down", Wants::Every, down.copies()),
        witness("flaky", Wants::Types(&["bounced"]), flaky.copies()),
        // What it refused it did not get.
        witness("refuses", Wants::Types(&["complained"]), refuses.copies()),
    ];
    let verdict = judge(Case { load: &load, witnesses, crashes: &[], doubtful: &[], admin: up.admin }).await;
    let dead: Vec<(String, u64)> = up.destinations().await.iter().map(dead_letters).collect();
    let is_kept = dead.iter().all(|(name, count)| *count == if name == "refuses" { DEAD as u64 } else { 0 });
    report.hold(is_kept, || format!("the dead letters are {dead:?}, and not the {DEAD} of `refuses`"));
    up.stop().await;
    report.say(format!("{} steps", steps.len())).judged(&verdict)
}

pub(super) fn dead_letters(destination: &serde_json::Value) -> (String, u64) {
    let name = destination["name"].as_str().unwrap_or_default().to_owned();
    (name, destination["dead_letters"].as_u64().unwrap_or_default())
}

/// Posts events until so many of a type are among them.
pub(super) async fn post_until(load: &std::sync::Arc<Load>, up: &Up, event_type: &str, count: usize) {
    let mut posted = 0;
    while posted < count {
        posted += usize::from(type_of(load.seed, load.sent()) == event_type);
        load.post(up.hooks, 1).await;
    }
}

/// What arrives is stamped by the clock on the wall, right or wrong: otherwise the process does not see the step.
async fn check_told(up: &Up, step: i64, report: &mut Report) {
    let latest = up.admin("/api/events?limit=1").await.json();
    let at = latest["events"][0]["received_at"].as_str().unwrap_or_default().to_owned();
    let now_ms = (vero_relay::time::wall_ms() as i64 + step * 1000).max(0) as u64;
    let expected = vero_relay::time::rfc3339(now_ms);
    report.hold(at.get(..10) == expected.get(..10), || format!("the latest event came at {at}, and not at {expected}"));
}

/// The history of before is there.
async fn check_history(up: &Up, old: &[String], report: &mut Report) {
    for id in old {
        let status = up.admin(&format!("/api/events/{id}")).await.status();
        report.hold(status == 200, || format!("the event {id} is gone from the history ({status})"));
    }
    report.hold(old.len() >= DEAD, || "there was hardly any history".to_owned());
}

/// What `flaky` refused once came once more, when it was due.
fn check_retries(flaky: &Recorder, report: &mut Report) {
    let mut by_id: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
    for (copy, turn) in flaky.copies().into_iter().zip(flaky.turns()) {
        by_id.entry(copy.id).or_default().push(turn);
    }
    by_id.retain(|_, turns| !turns[0].is_taken);
    for (id, turns) in &by_id {
        let waited = match turns.as_slice() {
            [first, second] => first.answered.map(|answered| second.came.saturating_duration_since(answered)),
            _ => None,
        };
        let told = || format!("{id}: {} attempts, the second after {waited:?}", turns.len());
        report.hold(waited.is_some_and(|waited| waited >= RETRY * 4 / 5), told);
        report.hold_in_time(waited.is_some_and(|waited| waited <= RETRY * 6 / 5 + LATE), told);
    }
    report.hold(by_id.len() >= RETRIES_A_STEP, || "hardly anything was tried again".to_owned());
}

/// A destination that is down was left alone: the breaker's burst, and a probe each two seconds at most.
fn check_storm(down: &Recorder, steps: usize, report: &mut Report) {
    let turns = down.turns();
    let (Some(first), Some(last)) = (turns.first(), turns.last()) else { return };
    let most = (steps + 1) * BURST_MAX as usize + (last.came - first.came).as_secs() as usize / 2 + 1;
    let failed = turns.iter().filter(|turn| !turn.is_taken).count();
    report.hold(failed <= most, || format!("{failed} requests to a destination that is down, not {most}"));
}

/// A clock that a process can be started with.
pub(super) struct WallClock {
    library: PathBuf,
    step: PathBuf,
}

impl WallClock {
    pub(super) fn build(directory: &Path) -> Self {
        let (source, library) = (directory.join("wall_clock.c"), directory.join("wall_clock.so"));
        std::fs::write(&source, include_str!("wall_clock.c")).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().expect("cc runs").success(), "the stepped clock does not compile");
        let clock = Self { library, step: directory.join("step") };
        std::fs::write(&clock.step, 0_i64.to_ne_bytes()).expect("written");
        clock
    }

    pub(super) fn command(&self) -> [String; 3] {
        let preload = format!("LD_PRELOAD={}", self.library.display());
        ["env".to_owned(), preload, format!("STEPPED_CLOCK={}", self.step.display())]
    }

    /// Steps the clock to so many seconds beside the right time.
    pub(super) fn set(&self, step: i64) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.step).expect("it is there");
        // Not truncated and written anew: the process has it mapped.
        file.write_all_at(&step.to_ne_bytes(), 0).expect("written");
    }
}
