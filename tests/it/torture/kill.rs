//! `kill -9` at random moments under load, on one data directory throughout.
//!
//! One round in eight is killed while it starts: reading the journal, writing a torn tail again and the first checkpoint must stand
//! that as well.

use std::time::Duration;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::load::WhenGone;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "kill",
    about: "SIGKILL at random moments under load, the same data directory throughout",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 16;
/// A round is killed once fewer than so many events have been accepted in it.
const EVENTS_A_ROUND: u64 = 400;
/// Starting takes some tens of milliseconds.
const WHILE_STARTING: Duration = Duration::from_millis(40);

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let mut stage = Stage::set(&scale).await;
    let rounds = scale.of(5, 200);
    for _ in 0..rounds {
        if dice.roll().is_multiple_of(8) {
            let up = stage.rig.spawn(&[]);
            // The moment of the kill, from the seed; there is nothing to wait for.
            tokio::time::sleep(dice.moment(WHILE_STARTING)).await;
            stage.crashed_by(up);
        }
        let up = stage.rig.start().await;
        let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
        stage.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        stage.crashed_by(up);
        sending.ended().await;
    }
    let up = stage.rig.start().await;
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    let mut report = Report::default().say(format!("{rounds} rounds")).judged(&verdict);
    report.hold(verdict.acknowledged >= rounds as u64, || "hardly anything was acknowledged".to_owned());
    report.hold(verdict.waiting + verdict.dead == 0, || {
        format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
    });
    let damaged = up.metric("vero_relay_store_damaged_ranges").await;
    report.hold(damaged == Some(0.0), || format!("a kill left {damaged:?} damaged ranges"));
    up.stop().await;
    let verified = stage.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report.say(format!("{} unanswered", thousands(stage.load.log().unanswered)))
}
