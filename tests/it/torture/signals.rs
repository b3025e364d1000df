//! SIGTERM under load, twice, with a destination that hangs, and SIGKILL in the middle of shutting down.
//!
//! A SIGTERM ends it within the grace with exit code 0 and costs no duplicate at all, but of attempts that nobody answered. A second
//! one, or a SIGKILL, is a crash like any other.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale};
use super::load::{Load, WhenGone};
use super::recorder::Says;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::eventually;

pub const FAULT: Fault = Fault {
    name: "signals",
    about: "SIGTERM under load, SIGTERM twice, SIGKILL in the middle of shutting down",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 16;
const EVENTS_A_ROUND: u64 = 200;
/// In the config: the usual 8 s would be most of the test's time.
const GRACE: Duration = Duration::from_secs(1);
/// What a busy machine may take on top of it: closing the listeners, the last sync, the end of the process.
const ON_TOP: Duration = Duration::from_secs(4);
/// A SIGKILL comes within this after the relay has said that it stops.
const WHILE_STOPPING: Duration = Duration::from_millis(30);

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let grace = format!("limits: {{ shutdown_grace: {}s }}\n", GRACE.as_secs());
    let mut stage = Stage::set_at(&scale, &scale.directory.join("data"), &grace).await;
    let mut report = Report::default();
    let rounds = scale.of(4, 60);
    for round in 0..rounds {
        stage.hot.say(Says::Ok);
        let up = stage.rig.start().await;
        let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
        stage.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        match round % 4 {
            0 => terminate(up, Duration::ZERO, &mut report).await,
            1 => {
                hang(&stage.load, &stage).await;
                terminate(up, GRACE, &mut report).await;
            }
            2 => twice(up, &mut stage, &mut report).await,
            _ => {
                up.signal(Signal::TERM);
                until_it_stops(&up).await;
                // The moment of the kill, from the seed; there is nothing to wait for.
                tokio::time::sleep(dice.moment(WHILE_STOPPING)).await;
                stage.crashed_by(up);
            }
        }
        sending.ended().await;
    }
    stage.hot.say(Says::Ok);
    let up = stage.rig.start().await;
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    up.stop().await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is not delivered with an empty backlog".to_owned());
    report.hold(verdict.acknowledged >= rounds as u64, || "hardly anything was acknowledged".to_owned());
    report.hold(stage.load.log().refused.is_empty(), || format!("refused: {:?}", stage.load.log().refused));
    report.say(format!("{rounds} rounds")).judged(&verdict)
}

/// SIGTERM, and the end that is promised. `least` is how long it must take because something hangs.
async fn terminate(up: Up, least: Duration, report: &mut Report) {
    let start = Instant::now();
    up.signal(Signal::TERM);
    let ended = up.ended().await;
    let took = start.elapsed();
    report.hold(ended.code == Some(0), || format!("after a SIGTERM exit code {:?}: {}", ended.code, ended.log));
    report.hold_in_time(took <= GRACE + ON_TOP, || format!("it took {took:?} to stop, with a grace of {GRACE:?}"));
    report.hold(took >= least, || format!("it stopped after {took:?} and left attempts alone that had {GRACE:?}"));
}

/// Makes one destination hang, and waits until an attempt does.
async fn hang(load: &Load, stage: &Stage) {
    stage.hot.say(Says::Nothing);
    let before = stage.hot.count();
    let sent = load.acknowledged();
    eventually("an attempt that hangs", async || stage.hot.count() > before && load.acknowledged() > sent).await;
}

async fn until_it_stops(up: &Up) {
    eventually("the relay to say that it stops", async || up.said().contains("stopping: ")).await;
}

/// A second SIGTERM while an attempt hangs.
async fn twice(up: Up, stage: &mut Stage, report: &mut Report) {
    hang(&stage.load, stage).await;
    up.signal(Signal::TERM);
    until_it_stops(&up).await;
    let start = Instant::now();
    up.signal(Signal::TERM);
    let ended = up.ended().await;
    stage.crashed(start);
    let is_told = ended.log.contains("ended at once by a second signal");
    report.hold(ended.code == Some(1) && is_told, || format!("after two SIGTERMs {:?}: {}", ended.code, ended.log));
    report.hold_in_time(start.elapsed() < GRACE, || format!("a second SIGTERM took {:?}", start.elapsed()));
}
