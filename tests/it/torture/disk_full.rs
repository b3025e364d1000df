//! The disk is full to the last byte: a small file system in memory, and a file that fills it.
//!
//! Once with the usual floor of free space, below which nothing is accepted, and once without one, so that the writes themselves fail.
//! Events are refused with 503 and Retry-After; deliveries go on, but for those into a file on the full disk; when there is room again
//! the relay goes on without a restart.

use std::io::Write;
use std::path::Path;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::load::{Load, WhenGone};
use super::mount::Mounted;
use super::oracle::Verdict;
use super::recorder::Says;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::eventually;

pub const FAULT: Fault = Fault {
    name: "disk_full",
    about: "a small file system filled to the last byte under load, and emptied again",
    needs_root: true,
    needs: &["mount"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 16;
const EVENTS_BEFORE: u64 = 300;
const REFUSALS: usize = 20;
/// A segment has 4 MiB here, and an event some 900 bytes with its place; twice that, for the one that is being made.
const EVENTS_IN_A_SEGMENT: u64 = 10_000;
/// A fifth of it is history, 12 MiB stay free, and the file destination, which nobody trims, gets some MiB a round.
const SIZE_MIB: u64 = 128;

async fn run(scale: Scale) -> Report {
    let rounds = scale.of(1, 10);
    let mut report = Report::default().say(format!("{} rounds", 2 * rounds));
    let mut refusals = 0;
    for (name, more) in [("floor", ""), ("no-floor", "store: { free_space_min: 0B }\n")] {
        let directory = scale.directory.join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let mounted = Mounted::memory(&directory.join("mounted"), SIZE_MIB);
        let its = Scale { is_full: scale.is_full, seed: scale.seed, directory };
        let mut stage = Stage::set_at(&its, &mounted.point.join("data"), more).await;
        let verdict = fill_and_empty(&mut stage, &mounted.point, rounds, &mut report).await;
        let log = stage.load.log();
        refusals += log.refused.len() as u64;
        report = report.judged(&verdict).say(format!("({name})"));
        report
            .hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
        report.hold(verdict.arrived_though_refused == 0, || {
            format!("{} events arrived whose senders were refused", verdict.arrived_though_refused)
        });
        report.hold(log.without_retry_after == 0, || format!("{} 503 had no Retry-After", log.without_retry_after));
        report.hold(log.refused.values().all(|status| *status == 503), || format!("refused: {:?}", log.refused));
    }
    report.say(format!("{} refused", thousands(refusals)))
}

async fn fill_and_empty(stage: &mut Stage, disk: &Path, rounds: usize, report: &mut Report) -> Verdict {
    let mut dice = Dice::new(stage.load.seed);
    let up = stage.rig.start().await;
    let sending = stage.load.send(up.hooks, SENDERS, WhenGone::ComeAgain);
    for _ in 0..rounds {
        // Something waits when the disk fills up.
        stage.hot.say(Says::Status(503));
        stage.load.more(dice.within(1..EVENTS_BEFORE)).await;
        let filler = disk.join("filler");
        until_refused(&stage.load, &filler).await;
        stands(&up, false).await;
        stage.hot.say(Says::Ok);
        up.act("/api/destinations/hot/retry").await;
        up.drained_but(&["archive"]).await;
        std::fs::remove_file(&filler).expect("the filler is removed");
        stage.load.more(dice.within(1..EVENTS_BEFORE)).await;
        stands(&up, true).await;
    }
    sending.stop().await;
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    let said = up.said();
    report.hold(!said.contains("panicked"), || said.clone());
    up.stop().await;
    let verified = stage.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    verdict
}

/// Fills the disk until events are refused. What the segment at hand has room for is still taken: some thousand events.
async fn until_refused(load: &Load, filler: &Path) {
    let (enough, most) = (load.refused() + REFUSALS, load.acknowledged() + EVENTS_IN_A_SEGMENT);
    while load.refused() < enough {
        let taken = load.acknowledged();
        assert!(taken < most, "the disk is full and events are taken and taken");
        eventually("an answer", async || {
            // What the history lets go makes room, and is filled as well.
            fill(filler);
            load.refused() >= enough || load.acknowledged() > taken
        })
        .await;
    }
}

/// Takes all the room that there is.
pub fn fill(path: &Path) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the filler");
    for bytes in [&[0; 1 << 20][..], &[0; 4096], &[0; 1]] {
        while file.write(bytes).is_ok_and(|written| written > 0) {}
    }
}

/// Waits until the health checks say so.
async fn stands(up: &Up, is_ready: bool) {
    let (status, metric) = if is_ready { (200, 1.0) } else { (503, 0.0) };
    eventually("/readyz and the metric to tell the truth", async || {
        up.readyz().await == status && up.metric("vero_relay_store_ready").await == Some(metric)
    })
    .await;
}
