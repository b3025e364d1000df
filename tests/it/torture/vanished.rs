//! The data directory, or a part of it, is removed, moved, replaced or cut while the relay runs.
//!
//! What is open goes on working, and is gone with the process: so the relay must notice, take nothing in any more, say so and end, and
//! it makes nothing new where the directory was. What was only moved is there again when it is put back.

use std::path::Path;
use std::time::Instant;

use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::mount::Mounted;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "vanished",
    about: "the data directory or a part of it is removed, moved, replaced or cut; with root also unmounted",
    needs_root: false,
    needs: &["cp"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
const EVENTS: u64 = 20;

/// What is done, and how it is made good again; the short cut takes the first few. Without the second everything is lost, and nothing more is asked.
type Way = (&'static str, fn(&Path), Option<fn(&Path)>);

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("renamed");
}

/// The newest segment.
fn newest(data: &Path) -> std::path::PathBuf {
    let entries =
        std::fs::read_dir(data.join("journal")).expect("a journal").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).max().expect("a segment")
}

const WAYS: [Way; 10] = [
    ("all removed", |data| std::fs::remove_dir_all(data).expect("removed"), None),
    ("all moved", |data| rename(data, &data.with_extension("x")), Some(|data| rename(&data.with_extension("x"), data))),
    (
        "another directory in its place",
        |data| {
            rename(data, &data.with_extension("x"));
            std::fs::create_dir(data).expect("made");
        },
        Some(|data| {
            // Only an empty one is removed by this.
            std::fs::remove_dir(data).expect("nothing was made in the other directory");
            rename(&data.with_extension("x"), data);
        }),
    ),
    (
        "the segment in use cut",
        |data| {
            let file = std::fs::OpenOptions::new().write(true).open(newest(data)).expect("opened");
            file.set_len(100).expect("cut");
        },
        None,
    ),
    (
        "an older copy written over all of it",
        |data| {
            let copy = data.with_extension("copy");
            for words in [["-a", "data", "data.copy"], ["-a", "data.copy/.", "data"]] {
                // Between the two something must have been written: the senders see to it.
                let mut cp = std::process::Command::new("cp");
                // It complains of files that came and went meanwhile.
                cp.args(words).current_dir(data.parent().expect("a parent")).status().expect("cp runs");
                assert!(copy.join("journal").is_dir(), "cp copies");
            }
        },
        None,
    ),
    ("the journal removed", |data| std::fs::remove_dir_all(data.join("journal")).expect("removed"), None),
    (
        "the journal moved",
        |data| rename(&data.join("journal"), &data.join("x")),
        Some(|data| rename(&data.join("x"), &data.join("journal"))),
    ),
    (
        "the segment in use moved",
        |data| rename(&newest(data), &data.join("x")),
        Some(|data| rename(&data.join("x"), &data.join("journal/0000000001.journal"))),
    ),
    (
        "the segment in use replaced by a copy",
        |data| {
            std::fs::copy(newest(data), data.join("x")).expect("copied");
            rename(&data.join("x"), &newest(data));
        },
        None,
    ),
    ("the index removed", |data| std::fs::remove_file(data.join("state.db")).expect("removed"), Some(|_| {})),
];

async fn run(scale: Scale) -> Report {
    let mut report = Report::default();
    let mut count = scale.of(5, WAYS.len());
    for (number, way) in WAYS.iter().take(count).enumerate() {
        report = go(&scale, number, way, report).await;
    }
    if scale.is_full && rustix::process::geteuid().is_root() {
        report = unmount(&scale, report).await;
        count += 1;
    }
    report.say(format!("{count} ways"))
}

async fn go(scale: &Scale, number: usize, (name, harm, repair): &Way, mut report: Report) -> Report {
    let directory = scale.directory.join(number.to_string());
    std::fs::create_dir(&directory).expect("made");
    let scale = Scale { is_full: scale.is_full, seed: scale.seed, directory };
    let data = scale.directory.join("data");
    let mut stage = Stage::set_at(&scale, &data, "").await;
    let up = stage.rig.start().await;
    let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
    stage.load.more(EVENTS).await;
    harm(&data);
    let ended = up.ended().await;
    let at = Instant::now();
    sending.ended().await;
    let is_told = ended.log.contains("the store has failed");
    report.hold(ended.code == Some(1) && is_told, || format!("{name}: it ended with {:?}: {}", ended.code, ended.log));
    if *name == "all removed" || *name == "all moved" {
        report.hold(!data.exists(), || format!("{name}: something was made again at its place"));
    }
    let Some(repair) = repair else { return report };
    repair(&data);
    stage.crashed(at);
    let up = stage.rig.start().await;
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    up.stop().await;
    report.hold(verdict.waiting + verdict.dead == 0, || format!("{name}: something is not delivered"));
    // The figures of so many small rounds say nothing.
    report.problems.extend(Report::default().judged(&verdict).problems);
    report
}

/// The file system of the data directory is unmounted under it.
async fn unmount(scale: &Scale, mut report: Report) -> Report {
    let mounted = Mounted::memory(&scale.directory.join("mounted"), 256);
    let data = mounted.point.join("data");
    let mut stage = Stage::set_at(scale, &data, "").await;
    let up = stage.rig.start().await;
    let sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
    stage.load.more(EVENTS).await;
    mounted.detach();
    let ended = up.ended().await;
    sending.ended().await;
    let is_told = ended.log.contains("the store has failed");
    report
        .hold(ended.code == Some(1) && is_told, || format!("unmounted: it ended with {:?}: {}", ended.code, ended.log));
    report.hold(!data.exists(), || "unmounted: something was made in its place".to_owned());
    report
}
