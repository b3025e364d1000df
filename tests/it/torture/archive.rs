//! A file destination whose file is rotated, truncated, deleted, replaced by a directory or a symlink, or locked by somebody else.
//!
//! All of it under load, but for truncating: what an operator cuts away is gone, so that is done between two loads, after what was
//! there has been read. The other destinations are served meanwhile, and what cannot be written waits.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::recorder::{Copy, read_lines};
use super::rig::Up;
use super::stage::Stage;
use crate::harness::eventually;

pub const FAULT: Fault = Fault {
    name: "archive",
    about: "a file destination rotated, truncated, deleted, replaced by a directory or a symlink, locked",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
const EVENTS: u64 = 100;
/// So many events wait for the file before it can be written again.
const HELD_UP: u64 = 20;

/// What becomes of the file.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Rotate,
    Delete,
    Truncate,
    CutInALine,
    Directory,
    Symlink,
    Lock,
}

const DEEDS: [Deed; 7] =
    [Deed::Rotate, Deed::Delete, Deed::Truncate, Deed::CutInALine, Deed::Directory, Deed::Symlink, Deed::Lock];

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let mut stage = Stage::set(&scale).await;
    let up = stage.rig.start().await;
    let mut kept = Kept { directory: scale.directory.join("kept"), files: Vec::new(), copies: Vec::new() };
    fs::create_dir(&kept.directory).expect("a directory");
    let rounds = scale.of(1, 6);
    let mut report = Report::default().say(format!("{rounds} rounds of {} deeds", DEEDS.len()));
    let mut sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
    for deed in (0..rounds).flat_map(|_| DEEDS) {
        stage.load.more(dice.within(1..EVENTS)).await;
        let has_lines = || fs::metadata(&stage.archive).is_ok_and(|file| file.is_file() && file.len() > 0);
        eventually("a file with lines in it", async || has_lines()).await;
        let mut doing = Doing { stage: &stage, up: &up, kept: &mut kept, is_full: scale.is_full };
        if matches!(deed, Deed::Truncate | Deed::CutInALine) {
            sending.stop().await;
            up.drained().await;
            let length = fs::metadata(&stage.archive).expect("the file is there").len();
            doing.cut(if matches!(deed, Deed::Truncate) { 0 } else { dice.within(1..length) });
            sending = stage.load.send(up.hooks, SENDERS, WhenGone::End);
        } else {
            doing.during_load(deed, &mut report).await;
        }
    }
    stage.load.more(EVENTS).await;
    sending.stop().await;
    up.drained().await;
    let mut copies = kept.all();
    copies.extend(read_lines(&stage.archive));
    let verdict = stage.verdict_with_archive(&up, copies).await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report.hold(!up.said().contains("panicked"), || up.said());
    up.stop().await;
    report.judged(&verdict)
}

/// Files and lines that were taken away.
struct Kept {
    directory: PathBuf,
    files: Vec<PathBuf>,
    copies: Vec<Copy>,
}

impl Kept {
    /// Where the next file is kept.
    fn next(&mut self) -> PathBuf {
        let path = self.directory.join(self.files.len().to_string());
        self.files.push(path.clone());
        path
    }

    /// All lines.
    fn all(mut self) -> Vec<Copy> {
        self.copies.extend(self.files.iter().flat_map(|file| read_lines(file)));
        self.copies
    }
}

/// Something that may be done to the file, while the senders are at work.
struct Doing<'d> {
    stage: &'d Stage,
    up: &'d Up,
    kept: &'d mut Kept,
    is_full: bool,
}

impl Doing<'_> {
    async fn during_load(&mut self, deed: Deed, report: &mut Report) {
        let file = self.stage.archive.clone();
        match deed {
            Deed::Rotate => fs::rename(&file, self.kept.next()).expect("the file is moved away"),
            Deed::Delete => {
                // Under another name its lines can still be read.
                fs::hard_link(&file, self.kept.next()).expect("another name");
                fs::remove_file(&file).expect("the file is deleted");
            }
            Deed::Directory => {
                self.replace(|| fs::create_dir(&file));
                self.is_held_up().await;
                fs::remove_dir(&file).expect("nothing was put into the directory");
            }
            Deed::Symlink => {
                let target = self.kept.directory.join("target");
                self.replace(|| std::os::unix::fs::symlink(&target, &file));
                self.is_held_up().await;
                report.hold(!target.exists(), || "a symlink was followed".to_owned());
                fs::remove_file(&file).expect("the symlink is removed");
            }
            Deed::Lock => {
                let mut held = None;
                self.replace(|| {
                    let created = fs::OpenOptions::new().append(true).create_new(true).open(&file)?;
                    created.try_lock().map_err(std::io::Error::other)?;
                    held = Some(created);
                    Ok(())
                });
                self.is_held_up().await;
                let length = held.as_ref().and_then(|held| held.metadata().ok()).map(|metadata| metadata.len());
                report.hold(length == Some(0), || "a file that another had locked was written to".to_owned());
            }
            Deed::Truncate | Deed::CutInALine => unreachable!("done between two loads"),
        }
        // At full size it finds out by itself that it can go on.
        if !self.is_full {
            self.up.act("/api/destinations/archive/retry").await;
        }
    }

    /// Moves the file away and puts something else in its place, before the relay has made a new one.
    fn replace(&mut self, mut put: impl FnMut() -> std::io::Result<()>) {
        loop {
            fs::rename(&self.stage.archive, self.kept.next()).expect("the file is moved away");
            if put().is_ok() {
                return;
            }
        }
    }

    /// Waits until events wait for the file, and arrive elsewhere.
    async fn is_held_up(&self) {
        let arrived = self.stage.crm.count();
        eventually("events to wait for the file, and for nothing else", async || {
            let destinations = self.up.destinations().await;
            let archive = destinations.iter().find(|destination| destination["name"] == "archive");
            let waiting = archive.and_then(|archive| archive["backlog"].as_u64());
            waiting >= Some(HELD_UP) && self.stage.crm.count() >= arrived + HELD_UP as usize
        })
        .await;
    }

    /// Cuts the file while nothing is written. What is cut away is kept.
    fn cut(&mut self, to: u64) {
        let file = &self.stage.archive;
        let before = read_lines(file);
        let cut = fs::OpenOptions::new().write(true).open(file).expect("the file is there");
        cut.set_len(to).expect("the file is cut");
        let stays: BTreeSet<String> = read_lines(file).into_iter().map(|copy| copy.id).collect();
        self.kept.copies.extend(before.into_iter().filter(|copy| !stays.contains(&copy.id)));
    }
}
