//! Damage to the journal and to `state.db`, each on a copy of one store with known deliveries, seen by its listeners.
//!
//! The store has three segments: the first with dead letters, the others with everything still waiting for `crm` and `hot`. The last
//! one was closed well in one copy and left by a SIGKILL in the other. Whatever is done to a copy: no panic, nothing altered, invented
//! or at a wrong destination; what is lost is told (an error in the log, the metric of damage, or a dead letter that says so), is one range of the journal, and
//! `store verify` knows of it; and new events are taken. That every byte offset of a tail is survived is shown by the journal's own
//! tests; here some are looked at by `store verify`, and fewer by a start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vero_relay::store::journal::format::{GroupHead, SegmentHeader};

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::oracle::{Breach, Verdict};
use super::recorder::{Copy, Says};
use super::rig::{Ended, Up};
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "damage",
    about: "cut, flipped, missing, old and unknown bytes in the journal and in state.db",
    needs_root: false,
    needs: &["cp"],
    run: |scale| Box::pin(run(scale)),
};

/// Segments of 4 MiB, the smallest that there are.
const SMALL: &str = "store: { history: { max_size: 64MiB }, free_space_min: 0B }\n";
const EVENTS_A_SEGMENT: u64 = 60;
/// So many events have some that `hot` rejects, and not twenty of those, which would pause it.
const EVENTS_REJECTED: u64 = 30;
const EVENTS_AFTER: u64 = 3;
/// Groups at the end of the last segment that are cut.
const GROUPS_CUT: usize = 4;
/// The log is written by a thread of its own: a line may come after what it tells of, by what a busy machine takes for it.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What must come of some damage.
enum Expect {
    /// Nothing is lost, and nothing is delivered twice.
    Nothing,
    /// Whatever is lost is told.
    Told,
    /// Only the newest events may be lost. Nobody can tell that they were there, unless the store was closed well.
    Newest { is_told: bool },
    /// It does not start, and says this.
    Refused(&'static str),
}

impl Expect {
    /// Whether what is lost must be told.
    fn must_be_told(&self) -> bool {
        matches!(self, Self::Told | Self::Newest { is_told: true })
    }
}

/// A store at rest, with what it has delivered so far.
struct Template<'t> {
    stage: &'t Stage,
    data: PathBuf,
    scratch: PathBuf,
    /// What came to `crm` and to `hot` from it, and not from some copy.
    before: [Vec<Copy>; 2],
}

#[derive(Default)]
struct Tried {
    copies: usize,
    lost: usize,
    problems: Vec<String>,
}

async fn run(scale: Scale) -> Report {
    let directory = scale.directory.clone();
    let mut stage = Stage::set_at(&scale, &directory.join("data"), SMALL).await;
    let old_index = directory.join("old-state.db");
    make_store(&mut stage, &old_index).await;
    let fork = |name: &str| {
        let its = directory.join(name);
        std::fs::create_dir(&its).expect("a directory");
        let data = copy(&stage.rig.data_dir, &its.join("data"));
        stage.fork(&its, &data, SMALL)
    };
    // The third segment: once closed well, once left by a kill.
    let (closed, killed) = (fork("closed"), fork("killed"));
    let first_two = [stage.crm.copies(), stage.hot.copies()];
    let mut tried = Tried::default();
    for (mut stage, is_closed) in [(closed, true), (killed, false)] {
        stage.crm.say(Says::Status(503));
        stage.hot.say(Says::Status(503));
        let counts = [stage.crm.count(), stage.hot.count()];
        let up = stage.rig.start().await;
        stage.load.post(up.hooks, EVENTS_A_SEGMENT).await;
        up.drained_but(&["crm", "hot"]).await;
        if is_closed {
            up.stop().await;
        } else {
            stage.crashed_by(up);
        }
        let mut before = first_two.clone();
        before[0].extend(stage.crm.copies().drain(counts[0]..));
        before[1].extend(stage.hot.copies().drain(counts[1]..));
        let (data, scratch) = (stage.rig.data_dir.clone(), directory.join("copy"));
        let template = Template { stage: &stage, data, scratch, before };
        template.cut_tails(&scale, is_closed, &mut tried).await;
        if is_closed {
            template.flip_bits(&scale, &mut tried).await;
            template.lose_files(&old_index, &mut tried).await;
        }
    }
    let mut report = Report::default().say(format!("{} damaged copies", thousands(tried.copies as u64)));
    report.hold(tried.lost > 0, || "no damage lost anything: that proves nothing".to_owned());
    report.problems.extend(tried.problems);
    report.say(format!("{} events lost with what held them, all told", thousands(tried.lost as u64)))
}

/// Two segments: dead letters in the first, in the second everything waits. `old_index` is the index from between them.
async fn make_store(stage: &mut Stage, old_index: &Path) {
    stage.hot.say(Says::Status(400));
    let up = stage.rig.start().await;
    stage.load.post(up.hooks, EVENTS_REJECTED).await;
    up.drained().await;
    up.stop().await;
    std::fs::copy(stage.rig.data_dir.join("state.db"), old_index).expect("a copy of the index");
    stage.crm.say(Says::Status(503));
    stage.hot.say(Says::Status(503));
    let up = stage.rig.start().await;
    stage.load.post(up.hooks, EVENTS_A_SEGMENT).await;
    up.drained_but(&["crm", "hot"]).await;
    up.stop().await;
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    let status = std::process::Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status();
    assert!(status.expect("cp runs").success(), "{} is copied", from.display());
    to.to_owned()
}

/// The segments in a data directory, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let files =
        std::fs::read_dir(data.join("journal")).expect("a journal").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "journal")).collect();
    found.sort();
    assert!(found.len() >= 3, "the segments were found: {found:?}");
    found
}

/// Where a segment's groups begin, and where the last one ends.
fn groups(bytes: &[u8]) -> Vec<usize> {
    let header = SegmentHeader::decode(bytes).expect("a sound header");
    let mut at = SegmentHeader::length(bytes).expect("a sound header");
    let mut found = vec![at];
    while let Some(group) = GroupHead::peek(&bytes[at..], header.segment, at as u64) {
        at += group.length() as usize;
        found.push(at);
    }
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("it can be read");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("it can be written");
}

/// Writes another format version into a segment's header, and the CRC that belongs to it.
fn set_version(bytes: &mut [u8], version: u32) {
    let length = SegmentHeader::length(bytes).expect("a sound header");
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..length - 4]).to_le_bytes();
    bytes[length - 4..length].copy_from_slice(&crc);
}

impl Template<'_> {
    /// The last segment, cut within its last groups; and older bytes put behind the cut.
    async fn cut_tails(&self, scale: &Scale, is_closed: bool, tried: &mut Tried) {
        let last = segments(&self.data).pop().expect("a segment");
        let name = Path::new("journal").join(last.file_name().expect("a name"));
        let bytes = std::fs::read(&last).expect("it can be read");
        let groups = groups(&bytes);
        assert!(groups.len() > GROUPS_CUT, "there are groups to cut: {groups:?}");
        let range = groups[groups.len() - 1 - GROUPS_CUT]..groups[groups.len() - 1];
        let mut dice = Dice::new(scale.seed);
        // One offset in so many is started on, and one in so many of the others verified.
        let [starts, verified] = [scale.of(1, 40), scale.of(3, 200)].map(|count| (range.len() / count).max(1));
        for at in range.clone() {
            let is_started = at == range.start || dice.within(0..starts as u64) == 0;
            if is_started {
                let cut = |data: &Path| change(&data.join(&name), |bytes| bytes.truncate(at));
                let expect = Expect::Newest { is_told: is_closed };
                self.check(&format!("the tail cut at byte {at}"), expect, cut, tried).await;
                // What lay there before the segment was begun again: sound groups of another offset.
                let old = |data: &Path| {
                    change(&data.join(&name), |bytes| {
                        let older = bytes[groups[0]..groups[groups.len() - GROUPS_CUT - 1]].to_vec();
                        bytes.truncate(at);
                        bytes.extend_from_slice(&older);
                    });
                };
                let expect = Expect::Newest { is_told: is_closed };
                self.check(&format!("old bytes behind byte {at}"), expect, old, tried).await;
            } else if at % verified == 0 {
                self.verify(&format!("the tail cut at byte {at}"), &name, &bytes[..at], tried);
            }
        }
    }

    /// Single bits, anywhere in what is used of a segment.
    async fn flip_bits(&self, scale: &Scale, tried: &mut Tried) {
        let mut dice = Dice::new(scale.seed ^ 1);
        let segments = segments(&self.data);
        for _ in 0..scale.of(3, 150) {
            let path = &segments[dice.within(0..segments.len() as u64) as usize];
            let bytes = std::fs::read(path).expect("it can be read");
            let end = *groups(&bytes).last().expect("an end");
            let (at, bit) = (dice.within(0..end as u64) as usize, dice.within(0..8));
            let name = Path::new("journal").join(path.file_name().expect("a name"));
            let flip = |data: &Path| change(&data.join(&name), |bytes| bytes[at] ^= 1 << bit);
            self.check(&format!("bit {bit} of byte {at} of {}", name.display()), Expect::Told, flip, tried).await;
        }
    }

    /// Whole files, missing or of another time or release.
    async fn lose_files(&self, old_index: &Path, tried: &mut Tried) {
        let index = |data: &Path| data.join("state.db");
        let no_index = |data: &Path| {
            ["state.db", "state.db-wal", "state.db-shm"]
                .iter()
                .for_each(|name| drop(std::fs::remove_file(data.join(name))));
        };
        self.check("no state.db", Expect::Nothing, no_index, tried).await;
        let rolled_back = |data: &Path| {
            no_index(data);
            std::fs::copy(old_index, index(data)).expect("the old index is put back");
        };
        self.check("state.db of an older time", Expect::Nothing, rolled_back, tried).await;
        // SQLite's user_version stands at byte 60 of the file, big-endian (https://www.sqlite.org/fileformat.html).
        let unknown = |data: &Path| change(&index(data), |bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()));
        self.check("state.db of an unknown version", Expect::Nothing, unknown, tried).await;
        for at in 0..segments(&self.data).len() {
            let missing = |data: &Path| std::fs::remove_file(&segments(data)[at]).expect("it is removed");
            self.check(&format!("segment {at} missing"), Expect::Told, missing, tried).await;
            let unknown = |data: &Path| change(&segments(data)[at], |bytes| set_version(bytes, 99));
            let sentence = "the journal has format version 99 and this release reads versions";
            self.check(&format!("segment {at} of an unknown version"), Expect::Refused(sentence), unknown, tried).await;
        }
    }

    /// `store verify` on a tail that is cut.
    fn verify(&self, what: &str, name: &Path, bytes: &[u8], tried: &mut Tried) {
        let data = self.fresh_copy();
        std::fs::write(data.join(name), bytes).expect("it can be written");
        let ended = self.stage.fork(&self.scratch, &data, SMALL).rig.verb(&["store", "verify"]);
        tried.copies += 1;
        if !matches!(ended.code, Some(0 | 1)) || ended.log.contains("panicked") || ended.log.is_empty() {
            tried.problems.push(format!("{what}: store verify ended with {ended:?}"));
        }
    }

    fn fresh_copy(&self) -> PathBuf {
        let _ = std::fs::remove_dir_all(&self.scratch);
        std::fs::create_dir(&self.scratch).expect("a directory");
        copy(&self.data, &self.scratch.join("data"))
    }

    /// Does some damage to a copy, looks at it, starts on it, and sees what is there.
    async fn check(&self, what: &str, expect: Expect, damage: impl FnOnce(&Path), tried: &mut Tried) {
        tried.copies += 1;
        let data = self.fresh_copy();
        damage(&data);
        let mut stage = self.stage.fork(&self.scratch, &data, SMALL);
        stage.crm.say(Says::Ok);
        stage.hot.say(Says::Ok);
        let counts = [stage.crm.count(), stage.hot.count()];
        let verified = stage.rig.verb(&["store", "verify"]);
        let mut problems = Vec::new();
        let started = stage.rig.start_under(&[]).await;
        let log = match started {
            Err(ended) => {
                problems.extend(refused(&expect, &ended));
                ended.log
            }
            Ok(up) => {
                for name in ["crm", "hot"] {
                    up.act(&format!("/api/destinations/{name}/retry")).await;
                }
                stage.load.post(up.hooks, EVENTS_AFTER).await;
                up.drained().await;
                let [mut crm, mut hot] = self.before.clone();
                crm.extend(stage.crm.copies().drain(counts[0]..));
                hot.extend(stage.hot.copies().drain(counts[1]..));
                let verdict = stage.verdict_on(&up, crm, hot).await;
                tried.lost += verdict.lost_ids.len();
                let is_told = is_told(&up, expect.must_be_told() && !verdict.lost_ids.is_empty()).await;
                problems.extend(judged(&expect, &verdict, is_told, &verified, &stage));
                up.said()
            }
        };
        problems.extend([&log, &verified.log].into_iter().filter(|log| log.contains("panicked")).cloned());
        if !problems.is_empty() {
            let told =
                format!("{what}: {}\n    it said: {log}\n    store verify said: {}", problems.join("; "), verified.log);
            tried.problems.push(told);
        }
    }
}

/// Whether it tells of damage. Where it must, its log's thread is given its time on a busy machine.
async fn is_told(up: &Up, must_be: bool) -> bool {
    let damaged = up.metric("vero_relay_store_damaged_ranges").await.unwrap_or(0.0);
    let until = Instant::now() + if must_be { TOLD_WITHIN } else { Duration::ZERO };
    loop {
        let said = up.said();
        if damaged > 0.0 || [" ERROR ", "bytes on the disk are damaged"].iter().any(|it| said.contains(it)) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn refused(expect: &Expect, ended: &Ended) -> Option<String> {
    match expect {
        Expect::Refused(sentence) if ended.code == Some(1) && ended.log.contains(sentence) => None,
        _ => Some(format!("it did not start, with exit code {:?}", ended.code)),
    }
}

fn judged(expect: &Expect, verdict: &Verdict, is_told: bool, verified: &Ended, stage: &Stage) -> Vec<String> {
    // What is damaged may be what said that something was delivered; what may be lost is looked at below.
    let is_broken = |breach: &Breach| match expect {
        Expect::Nothing => true,
        _ => !matches!(breach, Breach::Lost | Breach::Doubled),
    };
    let broken = verdict.breaches.iter().filter(|(breach, _)| is_broken(breach));
    let mut problems: Vec<String> = broken.map(|(_, sentence)| sentence.clone()).collect();
    let lost = &verdict.lost_ids;
    let mut hold = |is_so: bool, otherwise: &str| {
        if !is_so {
            problems.push(format!("{} events are lost {otherwise}", lost.len()));
        }
    };
    let log = stage.load.log();
    let ids: Vec<&String> = log.acknowledged.keys().collect();
    let places: Vec<usize> = (0..ids.len()).filter(|at| lost.contains(ids[*at])).collect();
    let is_one_range = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match expect {
        Expect::Nothing => {}
        Expect::Refused(_) => problems.push("it started".to_owned()),
        Expect::Told => {
            hold(lost.is_empty() || is_told, "and nobody is told");
            hold(lost.is_empty() || verified.code == Some(1), "and store verify finds nothing");
            hold(is_one_range, "from several places");
        }
        Expect::Newest { is_told: must_be_told } => {
            hold(lost.is_empty() || is_told || !must_be_told, "and nobody is told");
            hold(lost.is_empty() || verified.code == Some(1) || !must_be_told, "and store verify finds nothing");
            let newest_old = ids.len() - EVENTS_AFTER as usize;
            hold(is_one_range && places.last().is_none_or(|at| at + 1 == newest_old), "that are not the newest");
        }
    }
    problems
}
