//! `kill -9` while the files of a destination are closed and packed, all the time.
//!
//! Of every line there is one in one of the files, closed, packed or neither, whatever moment the end comes at; none is in two but what a crash
//! explains, and nothing half packed is taken for a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::oracle::Crash;
use super::recorder::read_lines;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::eventually;

pub const FAULT: Fault = Fault {
    name: "closing",
    about: "SIGKILL while a file destination closes its files and packs them",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
/// Each round closes some files: one holds three lines.
const EVENTS_A_ROUND: u64 = 60;
const CLOSING: &str = "path: archive.ndjson, rotate: { size: 1KiB }, gzip: true";
/// What was closed is packed as soon as the relay is up.
const WHILE_PACKING: Duration = Duration::from_millis(40);
const MOMENT: &str = "20260101T000000Z";

/// All that the files hold, in the order in which it was written; and how many of them are packed. No relay runs meanwhile.
fn all_of(data_dir: &Path) -> (Vec<u8>, usize) {
    let mut files: BTreeMap<(String, u64), (Vec<u8>, bool)> = BTreeMap::new();
    for entry in fs::read_dir(data_dir).expect("a directory").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let Some(rest) = name.strip_prefix("archive.") else { continue };
        let (rest, is_packed) = rest.strip_suffix(".gz").map_or((rest, false), |rest| (rest, true));
        let moment = rest.strip_suffix("ndjson").map(|moment| moment.trim_end_matches('.')).expect("a line's file");
        let (moment, count) =
            moment.split_once('-').map_or((moment, 0), |(at, count)| (at, count.parse().expect("a count")));
        assert!(moment.is_empty() || moment.len() == MOMENT.len(), "{name}");
        // The one that is written to is the last.
        let place = if moment.is_empty() { "~".to_owned() } else { moment.to_owned() };
        let mut bytes = fs::read(entry.path()).expect("a file");
        if is_packed {
            let mut unpacked = Vec::new();
            GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).expect("whole");
            bytes = unpacked;
        }
        // After a crash it may be there packed and not packed.
        let before = files.insert((place, count), (bytes.clone(), is_packed));
        assert!(before.is_none_or(|(before, _)| before == bytes), "{name} holds something else than it did");
    }
    let packed = files.values().filter(|(_, is_packed)| *is_packed).count();
    (files.into_values().flat_map(|(bytes, _)| bytes).collect(), packed)
}

/// How many files are packed, by their names: while the relay runs, none is there for sure when it is read.
fn packed_names(data_dir: &Path) -> usize {
    let files = fs::read_dir(data_dir).expect("a directory").flatten();
    files.filter(|entry| entry.file_name().to_string_lossy().ends_with("ndjson.gz")).count()
}

fn crashed_by(stage: &mut Stage, up: Up, data_dir: &Path) {
    let at = up.kill();
    let file_bytes = all_of(data_dir).0.len() as u64;
    stage.crashes.push(Crash { at, file_bytes });
}

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let data_dir = scale.directory.join("data");
    let mut stage = Stage::set(&scale).await;
    stage.rig.change("path: archive.ndjson", CLOSING);
    let rounds = scale.of(6, 100);
    for round in 0..rounds {
        let up = stage.rig.start().await;
        if round % 3 == 2 {
            // Amid packing what the rounds before have closed; there is nothing to wait for.
            tokio::time::sleep(dice.moment(WHILE_PACKING)).await;
            crashed_by(&mut stage, up, &data_dir);
            continue;
        }
        let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
        stage.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        crashed_by(&mut stage, up, &data_dir);
        sending.ended().await;
    }
    let up = stage.rig.start().await;
    up.drained().await;
    // A busy machine may have ended each round before it came to packing.
    eventually("files to be packed", async || packed_names(&data_dir) >= rounds / 2).await;
    let has_panicked = up.said().contains("panicked").then(|| up.said());
    // While it packs, a listing may have a file under neither of its names.
    up.stop().await;
    let (all, packed) = all_of(&data_dir);
    let up = stage.rig.start().await;
    let together = scale.directory.join("together");
    fs::write(&together, all).expect("written");
    let verdict = stage.verdict_with_archive(&up, read_lines(&together)).await;
    let mut report = Report::default().say(format!("{rounds} rounds, {packed} packed files")).judged(&verdict);
    report.hold(verdict.acknowledged >= rounds as u64, || "hardly anything was acknowledged".to_owned());
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report.hold(packed >= rounds / 2, || format!("only {packed} files were packed"));
    report.hold(has_panicked.is_none(), || has_panicked.unwrap_or_default());
    up.stop().await;
    report
}
