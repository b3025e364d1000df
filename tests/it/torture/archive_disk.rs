//! A file destination on a disk of its own, which fills up to the last byte or makes the file immutable.
//!
//! Only what goes into that file waits; the relay takes events in and delivers to the others. When it can be written again it goes on
//! without a restart, and no half line is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dice::Dice;
use super::disk_full::fill;
use super::ledger::{Fault, Report, Scale};
use super::mount::Mounted;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::eventually;

pub const FAULT: Fault = Fault {
    name: "archive_disk",
    about: "a file destination whose own disk is full to the last byte, and whose file is made immutable",
    needs_root: true,
    needs: &["mount", "mkfs.ext4", "chattr"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
const EVENTS: u64 = 200;
/// So many events wait for the file before it can be written again.
const HELD_UP: u64 = 50;
/// Larger than everything that is written into it, so that the filler alone fills it.
const SIZE_MIB: u64 = 24;

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let image = scale.directory.join("image");
    Mounted::make_image(&image, SIZE_MIB);
    // An ext4, because one in memory does not keep a file that is open already from being written when it is made immutable.
    let mounted = Mounted::image(&scale.directory.join("mounted"), &image);
    let archive = mounted.point.join("archive.ndjson");
    let mut stage = Stage::set(&scale).await;
    stage.rig.change("path: archive.ndjson", &format!("path: \"{}\"", archive.display()));
    stage.archive.clone_from(&archive);
    let up = stage.rig.start().await;
    let rounds = scale.of(1, 5);
    let mut report = Report::default().say(format!("{rounds} rounds, full and immutable"));
    let filler = mounted.point.join("filler");
    for _ in 0..rounds {
        stage.load.pour(up.hooks, dice.within(1..EVENTS), SENDERS).await;
        eventually("a file", async || archive.is_file()).await;
        fill(&filler);
        is_held_up(&stage, &up).await;
        report.hold(ends_with_a_line(&archive), || "half a line stayed on the full disk".to_owned());
        report.hold(up.readyz().await == 200, || "it is not ready because of a destination's disk".to_owned());
        fs::remove_file(&filler).expect("the filler is removed");
        goes_on(&up, &archive).await;

        is_immutable(&archive, true);
        is_held_up(&stage, &up).await;
        is_immutable(&archive, false);
        goes_on(&up, &archive).await;
    }
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report
        .hold(stage.load.log().refused.is_empty(), || "events were refused because of a destination's disk".to_owned());
    report.hold(!up.said().contains("panicked"), || up.said());
    up.stop().await;
    report.judged(&verdict)
}

fn is_immutable(file: &Path, is_so: bool) {
    let set = Command::new("chattr").arg(if is_so { "+i" } else { "-i" }).arg(file).status().expect("chattr is there");
    assert!(set.success(), "chattr on {}", file.display());
}

fn ends_with_a_line(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.last().is_none_or(|last| *last == b'\n'))
}

async fn backlog(up: &Up) -> Option<u64> {
    let destinations = up.destinations().await;
    let archive = destinations.iter().find(|destination| destination["name"] == "archive")?;
    archive["backlog"].as_u64()
}

/// Waits until events wait for the file, and arrive elsewhere.
async fn is_held_up(stage: &Stage, up: &Up) {
    let arrived = stage.crm.count();
    stage.load.pour(up.hooks, EVENTS, SENDERS).await;
    eventually("events to wait for the file, and for nothing else", async || {
        backlog(up).await >= Some(HELD_UP) && stage.crm.count() >= arrived + HELD_UP as usize
    })
    .await;
}

/// Waits until the file grows again, of itself.
async fn goes_on(up: &Up, file: &Path) {
    let length = || fs::metadata(file).map_or(0, |metadata| metadata.len());
    let before = length();
    eventually("the file to grow again", async || length() > before && backlog(up).await < Some(HELD_UP)).await;
}
