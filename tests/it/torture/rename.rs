//! A destination is renamed and the renaming is taken back, again and again, by reloads and by starts, under load and with SIGKILLs.

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::recorder::Says;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "rename",
    about: "a destination is renamed and back again under load, by reloads and starts, with SIGKILLs",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 8;
const EVENTS_A_ROUND: u64 = 60;

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let mut stage = Stage::set(&scale).await;
    let rounds = scale.of(4, 60);
    let mut report = Report::default();
    let mut up = stage.rig.start().await;
    for round in 0..rounds {
        // Some of it waits for its next attempt when the name goes.
        let says = if round % 2 == 0 { Says::Status(503) } else { Says::Ok };
        stage.crm.say(says);
        let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
        stage.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        let (is_there, kills) = (round % 2 == 0, dice.roll().is_multiple_of(2));
        if is_there {
            stage.rig.change("[crm,", "[hubspot,");
            stage.rig.change("  crm: {", "  hubspot: { renamed_from: crm,");
        } else {
            stage.rig.change("[hubspot,", "[crm,");
            stage.rig.change("  hubspot: { renamed_from: crm,", "  crm: {");
        }
        if kills {
            stage.crashed_by(up);
            sending.ended().await;
            up = stage.rig.start().await;
        } else {
            let reloaded = up.act("/api/reload").await;
            report.hold(reloaded.status() == 200, || format!("round {round}: {}", reloaded.text()));
            stage.crashed_by(up);
            sending.ended().await;
            up = stage.rig.start().await;
        }
    }
    stage.crm.say(Says::Ok);
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    let mut judged = Report::default().say(format!("{rounds} renamings")).judged(&verdict);
    judged.problems.extend(report.problems);
    judged.hold(verdict.waiting + verdict.dead == 0, || {
        format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
    });
    up.stop().await;
    judged
}
