//! The power goes: an ext4 of its own is cut off from its disk under load, mounted again, and the relay started on what is left.
//!
//! Every second round the relay is left alone after the cut: its next sync fails, and it must say so and end with exit code 1. In the
//! others it is killed at once. A control round makes every sync a no-op (`strace` injects success without the call); it must be seen
//! to lose acknowledged events, or the rounds before it prove nothing.
//!
//! Judged is what was acknowledged before the cut. Of a request that was in flight in the very moment nobody can say whether its sync
//! came before or after (the kernel lets a sync that overlaps the shutdown end well): these are counted apart, as in doubt. A request
//! that was sent after the cut must not be acknowledged at all.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::mount::{Mounted, Scissors};
use super::oracle::Verdict;
use super::recorder::Says;
use super::rig::Up;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "power",
    about: "an ext4 cut off from its disk under load; and a control round in which syncs do nothing",
    needs_root: true,
    needs: &["mount", "mkfs.ext4", "perl", "strace"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 16;
const EVENTS_A_ROUND: u64 = 400;
/// What each sender has in flight, at three destinations.
const DOUBTFUL_A_ROUND: u64 = SENDERS as u64 * 3;
/// Room for the history of all rounds.
const IMAGE_MIB: u64 = 256;
/// Syncs that say they have been done, and have not.
const SYNCS_THAT_LIE: &[&str] = &[
    "strace",
    "-D",
    "-f",
    "-qq",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync,sync_file_range,msync,syncfs",
    "-e",
    "inject=fsync,fdatasync,sync_file_range,msync,syncfs:retval=0",
];

/// A relay whose data lie on a disk that can be cut off.
struct Machine {
    stage: Stage,
    mounted: Option<Mounted>,
    image: PathBuf,
    point: PathBuf,
}

impl Machine {
    async fn make(scale: &Scale) -> Self {
        let (image, point) = (scale.directory.join("image"), scale.directory.join("mounted"));
        Mounted::make_image(&image, IMAGE_MIB);
        let mounted = Some(Mounted::image(&point, &image));
        let stage = Stage::set_at(scale, &point.join("data"), "").await;
        Self { stage, mounted, image, point }
    }

    fn scissors(&self) -> Scissors {
        self.mounted.as_ref().expect("it is mounted").scissors()
    }

    /// Mounts what is left after a cut.
    fn power_on(&mut self, cut: &Range<Instant>) {
        self.mounted = None;
        self.mounted = Some(Mounted::image(&self.point, &self.image));
        self.stage.crashed(cut.start);
    }
}

async fn run(scale: Scale) -> Report {
    let (lost, mut problems) = control(&Scale { directory: scale.directory.join("control"), ..scale }).await;
    let mut dice = Dice::new(scale.seed);
    let mut machine = Machine::make(&scale).await;
    let rounds = scale.of(4, 50);
    for round in 0..rounds {
        // Half of the rounds end with deliveries that wait.
        machine.stage.hot.say(if dice.roll().is_multiple_of(2) { Says::Status(503) } else { Says::Ok });
        let up = machine.stage.rig.start().await;
        let sending = machine.stage.load.send(up.hooks, SENDERS, WhenGone::End);
        let scissors = machine.scissors();
        machine.stage.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        let cut = scissors.cut();
        problems.extend(end_after_cut(up, round % 2 == 0).await);
        sending.ended().await;
        machine.power_on(&cut);
        problems.extend(acknowledged_without_a_disk(&machine.stage, &cut));
        // A sync that is in flight while the disk goes may say that all is well: the kernel's simulation is not that exact.
        machine.stage.doubtful.push(cut.start..Instant::now());
    }
    machine.stage.hot.say(Says::Ok);
    let up = machine.stage.rig.start().await;
    up.act("/api/destinations/hot/retry").await;
    up.drained().await;
    let verdict = machine.stage.verdict(&up).await;
    let damaged = up.metric("vero_relay_store_damaged_ranges").await;
    up.stop().await;
    let verified = machine.stage.rig.verb(&["store", "verify"]);
    let mut report = Report { problems, ..Report::default() }.say(format!("{rounds} rounds")).judged(&verdict);
    report.hold(verdict.waiting + verdict.dead == 0, || "something is not delivered with an empty backlog".to_owned());
    report.hold(damaged == Some(0.0), || format!("a power cut left {damaged:?} damaged ranges"));
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report.hold(verdict.lost_in_doubt <= rounds as u64 * DOUBTFUL_A_ROUND, || "too much is in doubt".to_owned());
    report.say(format!("{} in doubt  control lost {lost}", verdict.lost_in_doubt))
}

/// Ends the relay whose disk is gone. Returns what is wrong with how it ended.
async fn end_after_cut(up: Up, is_left_alone: bool) -> Option<String> {
    if !is_left_alone {
        up.kill();
        return None;
    }
    let ended = up.ended().await;
    let is_told = ended.log.contains("the store has failed");
    let is_right = ended.code == Some(1) && is_told && !ended.log.contains("panicked");
    (!is_right).then(|| format!("without its disk it ended with {:?}: {}", ended.code, ended.log))
}

/// An event that was sent after the cut cannot be synced any more, and so must not get a 2xx.
fn acknowledged_without_a_disk(stage: &Stage, cut: &Range<Instant>) -> Option<String> {
    let log = stage.load.log();
    let count = log.acknowledged.values().filter(|acknowledged| acknowledged.sent_at > cut.end).count();
    (count > 0).then(|| format!("{count} events were sent when the disk was gone, and acknowledged"))
}

/// The same with syncs that do nothing. Returns how many acknowledged events it was seen to lose, and a problem if there were none.
async fn control(scale: &Scale) -> (u64, Vec<String>) {
    std::fs::create_dir(&scale.directory).expect("a directory");
    let mut machine = Machine::make(scale).await;
    // What waits is in the journal alone.
    machine.stage.hot.say(Says::Status(503));
    let up = machine.stage.rig.start_under(SYNCS_THAT_LIE).await.expect("it starts under strace");
    let sending = machine.stage.load.send(up.hooks, SENDERS, WhenGone::End);
    machine.stage.load.more(EVENTS_A_ROUND).await;
    let cut = machine.scissors().cut();
    up.kill();
    sending.ended().await;
    machine.power_on(&cut);
    let up = machine.stage.rig.start().await;
    let verdict: Verdict = machine.stage.verdict(&up).await;
    let lost = verdict.lost_at.get("hot").copied().unwrap_or(0);
    let problem =
        (lost == 0).then(|| "the control round, with syncs that do nothing, lost nothing: no proof".to_owned());
    (lost, problem.into_iter().collect())
}
