//! A second relay is started on the journal of one that runs, by every way that leads there.
//!
//! People remove a lock file that "is stale", copy it back, clean a directory, move it, link to it, make a copy of hard links. Either
//! the second process is refused with exit code 75, or the first has ended by itself and said why. Whatever was acknowledged arrives.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::oracle::Crash;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "two_processes",
    about: "a second relay on a journal in use: lock removed or replaced, moved, symlink, hard links",
    needs_root: false,
    needs: &["cp"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
const EVENTS: u64 = 20;
/// The exit code of who finds the directory in use.
const IN_USE: i32 = 75;

/// A way to the journal: its name, and what is done to a data directory; the short cut takes the first few. Gives the data directory of the second process.
type Way = (&'static str, fn(&Path) -> PathBuf);

const WAYS: [Way; 6] = [
    ("the lock file removed", |data| {
        std::fs::remove_file(data.join("lock")).expect("removed");
        data.to_owned()
    }),
    ("a copy of hard links", |data| {
        let copy = data.with_extension("copy");
        let status = std::process::Command::new("cp").arg("-al").arg(data).arg(&copy).status().expect("cp runs");
        assert!(status.success(), "cp -al copies");
        std::fs::remove_file(copy.join("lock")).expect("removed");
        copy
    }),
    ("the directory moved", |data| {
        std::fs::rename(data, data.with_extension("moved")).expect("moved");
        data.with_extension("moved")
    }),
    ("the lock file replaced", |data| {
        std::fs::copy(data.join("lock"), data.join("lock~")).expect("copied");
        std::fs::rename(data.join("lock~"), data.join("lock")).expect("replaced");
        data.to_owned()
    }),
    ("a symlink to the directory", |data| {
        std::os::unix::fs::symlink(data, data.with_extension("link")).expect("linked");
        data.with_extension("link")
    }),
    ("a symlink to the journal", |data| {
        let other = data.with_extension("other");
        std::fs::create_dir(&other).expect("made");
        std::os::unix::fs::symlink(data.join("journal"), other.join("journal")).expect("linked");
        other
    }),
];

async fn run(scale: Scale) -> Report {
    let mut report = Report::default();
    let ways = scale.of(3, WAYS.len());
    for (number, (name, way)) in WAYS.iter().take(ways).enumerate() {
        let directory = scale.directory.join(number.to_string());
        std::fs::create_dir(&directory).expect("made");
        let scale = Scale { is_full: scale.is_full, seed: scale.seed, directory };
        report = go(&scale, name, *way, report).await;
    }
    report.say(format!("{ways} ways"))
}

async fn go(scale: &Scale, name: &str, way: fn(&Path) -> PathBuf, mut report: Report) -> Report {
    let data = scale.directory.join("data");
    let mut stage = Stage::set_at(scale, &data, "").await;
    let first = stage.rig.start().await;
    let sending = stage.load.send(first.hooks, SENDERS, WhenGone::End);
    stage.load.more(EVENTS).await;
    let seconds = way(&data);
    let elsewhere = scale.directory.join("second");
    std::fs::create_dir(&elsewhere).expect("made");
    let mut other = stage.fork(&elsewhere, &seconds, "");
    // Where its own directory is not what it was, the first ends; where nothing happened to it, it goes on.
    let is_hurt = !["link", "other", "copy"].iter().any(|extension| seconds == data.with_extension(extension));
    let second = async { (other.rig.start_under(&[]).await, Instant::now()) };
    let first_ended = async {
        if !is_hurt {
            return Err(first);
        }
        let ended = first.ended().await;
        let file_bytes = std::fs::metadata(seconds.join("archive.ndjson")).map_or(0, |metadata| metadata.len());
        Ok((ended, Crash { at: Instant::now(), file_bytes }))
    };
    let ((second, started_at), first) = tokio::join!(second, first_ended);
    match second {
        Err(ended) => {
            let wrong = || format!("{name}: the second ended with {:?}: {}", ended.code, ended.log);
            report.hold(ended.code == Some(IN_USE), wrong);
        }
        Ok(second) => {
            let was_alone = first.as_ref().is_ok_and(|(_, crash)| crash.at <= started_at);
            report.hold(was_alone, || format!("{name}: both took events"));
            second.stop().await;
        }
    }
    match first {
        Ok((ended, crash)) => {
            let is_told = ended.log.contains("changed the data directory while the relay ran");
            let wrong = || format!("{name}: the first ended with {:?}: {}", ended.code, ended.log);
            report.hold(ended.code == Some(1) && is_told, wrong);
            if seconds != data {
                std::fs::rename(&seconds, &data).expect("moved back");
            }
            stage.crashes.push(crash);
        }
        Err(first) => {
            stage.load.more(EVENTS).await;
            report.hold(first.readyz().await == 200, || format!("{name}: the first is not ready any more"));
            first.stop().await;
        }
    }
    sending.ended().await;
    let up = stage.rig.start().await;
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    up.stop().await;
    report.hold(verdict.waiting + verdict.dead == 0, || format!("{name}: something is not delivered"));
    // The figures of so many small rounds say nothing.
    report.problems.extend(Report::default().judged(&verdict).problems);
    report
}
