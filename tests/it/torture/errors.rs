//! System calls that fail: the first, the second, the third … write, sync, open and rename of the journal, and of its index.
//!
//! `strace` makes the n-th call of a thread fail, and only calls on the files in question count. Its log is a witness of its own: every
//! acknowledgement must have a sync that succeeded between the request and the answer. After a failed sync or a broken disk the
//! process ends with exit code 1 and says why; where there is merely no room it answers 503 and goes on; of the index nobody
//! depends on nothing is held up.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::rig::{Ended, Up};
use super::stage::Stage;
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "errors",
    about: "EIO and ENOSPC on the n-th write, sync, open and rename",
    needs_root: false,
    needs: &["strace"],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 8;
/// A round ends without an error after so many events: the call was not made that often.
const EVENTS_A_ROUND: u64 = 40;
/// Segments of 4 MiB, the smallest there are, so that a new one is begun after some thousand events.
const SMALL_SEGMENTS: &str = "store: { history: { max_size: 8MiB } }\n";
const EVENTS_A_SEGMENT: u64 = 20_000;
/// What may lie between the two clocks by which the log of strace and ours are compared.
const CLOCKS_APART: f64 = 0.005;

/// Which files' calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Journal,
    /// The segment after the one that is begun at the start.
    NextSegment,
    Index,
}

/// What the relay does about it, if it got so far as to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Ends,
    GoesOn,
}

#[derive(Clone, Copy, Debug)]
struct Injection {
    call: &'static str,
    error: &'static str,
    at: Where,
    then: Then,
}

const fn injection(call: &'static str, error: &'static str, at: Where, then: Then) -> Injection {
    Injection { call, error, at, then }
}

const INJECTIONS: &[Injection] = &[
    injection("fdatasync", "EIO", Where::Journal, Then::Ends),
    injection("fdatasync", "ENOSPC", Where::Journal, Then::Ends),
    injection("fsync", "EIO", Where::Journal, Then::Ends),
    injection("pwrite64", "EIO", Where::Journal, Then::Ends),
    injection("pwrite64", "ENOSPC", Where::Journal, Then::GoesOn),
    injection("openat", "EIO", Where::Journal, Then::GoesOn),
    injection("/^rename", "EIO", Where::Journal, Then::Ends),
    injection("fallocate", "ENOSPC", Where::Journal, Then::GoesOn),
    injection("openat", "EMFILE", Where::NextSegment, Then::GoesOn),
    injection("pwrite64", "ENOSPC", Where::NextSegment, Then::GoesOn),
    injection("pwrite64", "EIO", Where::NextSegment, Then::Ends),
    injection("fdatasync", "EIO", Where::NextSegment, Then::Ends),
    injection("pwrite64", "EIO", Where::Index, Then::GoesOn),
    injection("pwrite64", "ENOSPC", Where::Index, Then::GoesOn),
    injection("fdatasync", "EIO", Where::Index, Then::GoesOn),
    injection("openat", "EIO", Where::Index, Then::GoesOn),
];

/// Counted up to here, unless the call is not made that often.
fn times(injection: &Injection) -> usize {
    match (injection.at, injection.call) {
        // It is opened once, and takes some thousand events to come to.
        (Where::NextSegment, "openat") => 1,
        (Where::NextSegment, _) => 2,
        _ => 6,
    }
}

/// The short cut: which, and the how manieth call. The sync at the start, the sync of an event, room for an event, the index.
const SHORT: [(usize, usize); 4] = [(0, 1), (0, 3), (4, 2), (12, 2)];

async fn run(scale: Scale) -> Report {
    let stage = Stage::set_at(&scale, &scale.directory.join("data"), SMALL_SEGMENTS).await;
    let mut rounds = Rounds {
        stage,
        directory: scale.directory.clone(),
        report: Report::default(),
        counts: [0; 4],
        is_full: scale.is_full,
    };
    // The directory and the first segment, without trouble.
    let up = rounds.stage.rig.start().await;
    rounds.stage.load.post(up.hooks, 1).await;
    up.stop().await;
    if scale.is_full {
        for injection in INJECTIONS {
            for n in 1..=times(injection) {
                if !rounds.round(*injection, n).await {
                    break;
                }
            }
        }
    } else {
        for (which, n) in SHORT {
            let was_made = rounds.round(INJECTIONS[which], n).await;
            rounds.report.hold(was_made, || format!("{:?} was not made {n} times", INJECTIONS[which]));
        }
    }
    rounds.judge().await
}

struct Rounds {
    stage: Stage,
    directory: PathBuf,
    report: Report,
    /// Rounds with an error, those that did not start, those that ended, and acknowledgements whose sync was seen.
    counts: [usize; 4],
    is_full: bool,
}

impl Rounds {
    /// One start with one error in it. Returns whether the call was made often enough to fail.
    async fn round(&mut self, injection: Injection, n: usize) -> bool {
        let what = format!("{} {} on the {:?}, call {n}", injection.call, injection.error, injection.at);
        let trace = Trace::new(&self.directory, self.counts[0]);
        let words = trace.command(&self.stage.rig.data_dir, injection, n);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let before = Instant::now();
        match self.stage.rig.start_under(&words).await {
            Err(ended) => {
                self.counts[1] += 1;
                self.stage.crashed(Instant::now());
                self.check_end(&what, &ended);
            }
            Ok(up) => self.send(injection, &what, &trace, up).await,
        }
        if injection.at == Where::Journal {
            self.check_syncs(&what, &trace, before);
        }
        let was_made = trace.has_injected();
        self.counts[0] += usize::from(was_made);
        was_made
    }

    /// Sends until the error has happened, and looks at what the relay makes of it.
    async fn send(&mut self, injection: Injection, what: &str, trace: &Trace, mut up: Up) {
        let load = self.stage.load.clone();
        let most = if injection.at == Where::NextSegment { EVENTS_A_SEGMENT } else { EVENTS_A_ROUND };
        let enough = load.acknowledged() + most;
        let sending = load.send(up.hooks, SENDERS, WhenGone::End);
        eventually(&format!("{what}: it to fail, or {most} events"), async || {
            trace.has_injected() || up.has_ended().is_some() || load.acknowledged() >= enough
        })
        .await;
        let is_met = trace.has_injected();
        if is_met && injection.then == Then::Ends {
            let ended = up.ended().await;
            self.stage.crashed(Instant::now());
            self.counts[2] += 1;
            sending.ended().await;
            let is_told = ended.log.contains("the store has failed and only a restart can tell what is on the disk");
            self.report.hold(is_told, || format!("{what}: it does not say what has failed: {}", ended.log));
            return self.check_end(what, &ended);
        }
        if is_met {
            load.more(20).await;
        }
        sending.stop().await;
        eventually(&format!("{what}: the relay to be ready again"), async || up.readyz().await == 200).await;
        let said = up.said();
        self.report.hold(!said.contains("panicked"), || format!("{what}: it panicked: {said}"));
        up.stop().await;
    }

    /// It has ended because of the error: with exit code 1 and the reason.
    fn check_end(&mut self, what: &str, ended: &Ended) {
        self.report.hold(ended.code == Some(1), || format!("{what}: exit code {:?}: {}", ended.code, ended.log));
        let reasons = ["Input/output error", "No space left on device", "Too many open files"];
        let is_told = reasons.iter().any(|reason| ended.log.contains(reason));
        self.report.hold(is_told, || format!("{what}: it does not say why: {}", ended.log));
        self.report.hold(!ended.log.contains("panicked"), || format!("{what}: it panicked: {}", ended.log));
    }

    /// Every acknowledgement since `before` has a sync that began after its request and returned before its answer.
    fn check_syncs(&mut self, what: &str, trace: &Trace, before: Instant) {
        let syncs = trace.syncs();
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"));
        let wall_of = |at: Instant| (wall - now.duration_since(at)).as_secs_f64();
        let log = self.stage.load.log();
        for acknowledged in log.acknowledged.values().filter(|acknowledged| acknowledged.sent_at >= before) {
            let (sent, at) = (wall_of(acknowledged.sent_at) - CLOCKS_APART, wall_of(acknowledged.at) + CLOCKS_APART);
            let is_synced = syncs.iter().any(|(began, returned)| sent <= *began && *returned <= at);
            self.counts[3] += 1;
            let number = acknowledged.number;
            self.report.hold(is_synced, || format!("{what}: event {number} was acknowledged without a sync"));
        }
    }

    async fn judge(mut self) -> Report {
        let up = self.stage.rig.start().await;
        up.drained().await;
        let verdict = self.stage.verdict(&up).await;
        let damaged = up.metric("vero_relay_store_damaged_ranges").await;
        up.stop().await;
        let [rounds, not_started, ended, synced] = self.counts;
        let mut report = Report { problems: self.report.problems, ..Report::default() };
        report = report.say(format!("{rounds} errors, {not_started} at the start, {ended} ended it")).judged(&verdict);
        let log = self.stage.load.log();
        report.hold(verdict.waiting + verdict.dead == 0, || {
            format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
        });
        report.hold(damaged == Some(0.0), || format!("there are {damaged:?} damaged ranges"));
        report.hold(log.refused.values().all(|status| *status == 503), || "not every refusal was a 503".to_owned());
        report.hold(log.without_retry_after == 0, || "a 503 came without Retry-After".to_owned());
        report.hold(!self.is_full || !log.refused.is_empty(), || "no event was refused for want of room".to_owned());
        let verified = self.stage.rig.verb(&["store", "verify"]);
        report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
        report.say(format!("{} refused  {synced} syncs seen before the answer", log.refused.len()))
    }
}

/// What strace writes: one file for each thread.
struct Trace {
    directory: PathBuf,
}

impl Trace {
    fn new(directory: &Path, round: usize) -> Self {
        let directory = directory.join(format!("trace-{round}"));
        // Left by a round in which the call was not made often enough.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).expect("a directory");
        Self { directory }
    }

    /// The command that starts a program with one failing call in it. The program is our child, and strace its child.
    fn command(&self, data_dir: &Path, injection: Injection, n: usize) -> Vec<String> {
        let calls = "trace=openat,pwrite64,fdatasync,fsync,fallocate,ftruncate,/^rename";
        let Injection { call, error, at, .. } = injection;
        let words = ["strace", "-D", "-ff", "--seccomp-bpf", "-qq", "-ttt", "-T", "-e", calls, "-o"];
        let mut command: Vec<String> = words.map(str::to_owned).to_vec();
        command.push(self.directory.join("thread").display().to_string());
        command.extend(["-e".to_owned(), format!("inject={call}:error={error}:when={n}")]);
        for path in paths(data_dir, at) {
            command.extend(["-P".to_owned(), path.display().to_string()]);
        }
        command
    }

    fn text(&self) -> String {
        let files = std::fs::read_dir(&self.directory).expect("it is there");
        files
            .filter_map(|file| std::fs::read(file.ok()?.path()).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    fn has_injected(&self) -> bool {
        self.text().contains("(INJECTED)")
    }

    /// When each successful sync began and returned, in seconds of unix time.
    fn syncs(&self) -> Vec<(f64, f64)> {
        let text = self.text();
        let sync = |line: &str| {
            let (began, call) = line.split_once(' ')?;
            let (_, answer) = call.strip_prefix("fdatasync(")?.split_once(')')?;
            let took = answer.trim_start().strip_prefix("= 0 <")?.strip_suffix('>')?;
            let (began, took): (f64, f64) = (began.parse().ok()?, took.parse().ok()?);
            Some((began, began + took))
        };
        text.lines().filter_map(sync).collect()
    }
}

/// The files whose calls count.
fn paths(data_dir: &Path, at: Where) -> Vec<PathBuf> {
    let journal = data_dir.join("journal");
    let names = std::fs::read_dir(&journal).expect("a journal");
    let number = |name: String| name.strip_suffix(".journal")?.parse::<u64>().ok();
    let newest = names.filter_map(|name| number(name.ok()?.file_name().into_string().ok()?)).max().expect("a segment");
    let segment = |number: u64| {
        let name = journal.join(format!("{number:010}.journal"));
        [name.with_extension("journal.tmp"), name]
    };
    match at {
        Where::Journal => (newest..newest + 4).flat_map(segment).chain([journal.clone()]).collect(),
        Where::NextSegment => segment(newest + 2).to_vec(),
        Where::Index => ["state.db", "state.db-wal", "state.db-shm"].map(|name| data_dir.join(name)).to_vec(),
    }
}
