//! The ledger: runs faults and writes one line for each.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tempfile::TempDir;

use super::oracle::Verdict;

/// A way to hurt the relay.
pub struct Fault {
    /// One word, by which it is picked.
    pub name: &'static str,
    /// What happens, in half a sentence.
    pub about: &'static str,
    pub needs_root: bool,
    /// Programs that it calls.
    pub needs: &'static [&'static str],
    pub run: fn(Scale) -> LocalBoxFuture<'static, Report>,
}

/// How much of it.
pub struct Scale {
    /// False for the short cut that the ordinary tests take: some three seconds.
    pub is_full: bool,
    /// All chance comes from here.
    pub seed: u64,
    /// For whatever the fault writes. Kept when it fails.
    pub directory: PathBuf,
}

impl Scale {
    /// One number for the short cut, another for the full size.
    pub fn of(&self, short: usize, full: usize) -> usize {
        if self.is_full { full } else { short }
    }
}

/// What a fault has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Phrases for the ledger's line.
    pub said: Vec<String>,
    /// What is wrong, in sentences. None: the promise was kept.
    pub problems: Vec<String>,
    /// What took too long, in sentences. On a machine that does something else beside, that says nothing of the relay: at full size it is
    /// a problem like any other, in the ordinary tests it is only told.
    pub late: Vec<String>,
}

impl Report {
    /// Adds a phrase.
    pub fn say(mut self, phrase: impl Into<String>) -> Self {
        self.said.push(phrase.into());
        self
    }

    /// Adds a verdict: its figures and its problems.
    pub fn judged(mut self, verdict: &Verdict) -> Self {
        self.said.push(format!("{} acknowledged", thousands(verdict.acknowledged)));
        self.said.push(format!("{} lost", verdict.lost));
        self.said.push(format!("{} altered", verdict.altered));
        let crashes = verdict.duplicates_by_crash.len();
        if crashes > 1 {
            let mean = verdict.duplicates as f64 / crashes as f64;
            let most = verdict.duplicates_by_crash.iter().max().copied().unwrap_or(0);
            self.said.push(format!("{mean:.1} duplicates a round (most {most})"));
        } else {
            self.said.push(format!("{} duplicates", verdict.duplicates));
        }
        self.problems.extend(verdict.breaches.iter().map(|(_, sentence)| sentence.clone()));
        self
    }

    /// Something that must be so.
    pub fn hold(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.problems.push(otherwise());
        }
    }

    /// Something that must be so on a machine that has nothing else to do.
    pub fn hold_in_time(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.late.push(otherwise());
        }
    }
}

/// `41 203`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(" ")
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    variable("VERO_RELAY_TORTURE_SEED").unwrap_or(now / 1000 % 1_000_000)
}

/// How one fault went.
struct Run {
    report: Report,
    took: Duration,
    seed: u64,
    kept: Option<PathBuf>,
}

async fn run(fault: &Fault, is_full: bool) -> Run {
    let directory = TempDir::with_prefix(format!("torture-{}-", fault.name)).expect("a directory");
    let (seed, start) = (seed(), Instant::now());
    let scale = Scale { is_full, seed, directory: directory.path().to_owned() };
    // A failed assertion is one more problem in the ledger, and the other faults still have their turn.
    let mut report = match AssertUnwindSafe((fault.run)(scale)).catch_unwind().await {
        Ok(report) => report,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            Report { problems: vec![text.to_owned()], ..Report::default() }
        }
    };
    if is_full {
        report.problems.append(&mut report.late);
    }
    let kept = (!report.problems.is_empty()).then(|| directory.keep());
    Run { report, took: start.elapsed(), seed, kept }
}

/// The short cut of a fault, as an ordinary test.
pub async fn short(fault: &Fault) {
    if let Some(why) = missing(fault) {
        assert!(may_skip(), "{} was not run: {why}; VERO_RELAY_TORTURE_ALLOW_SKIPS=1 accepts that", fault.name);
        println!("– {:<12}not run: {why}", fault.name);
        return;
    }
    let Run { report, seed, kept, took } = run(fault, false).await;
    println!("{}", line('✓', fault.name, &report.said, took, seed));
    report.late.iter().for_each(|late| println!("  late, perhaps because the machine is busy: {late}"));
    let place = kept.map(|kept| kept.display().to_string()).unwrap_or_default();
    assert!(
        report.problems.is_empty(),
        "{}\nseed {seed} (VERO_RELAY_TORTURE_SEED={seed} repeats it); its directory is kept: {place}",
        report.problems.join("\n")
    );
}

fn line(mark: char, name: &str, said: &[String], took: Duration, seed: u64) -> String {
    format!("{mark} {name:<14}{}  {:.0} s  seed {seed}", said.join("  "), took.as_secs_f64())
}

/// Why a fault cannot be made here.
fn missing(fault: &Fault) -> Option<String> {
    if fault.needs_root && !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let is_there = |program: &&&str| !Command::new("which").arg(program).output().is_ok_and(|out| out.status.success());
    fault.needs.iter().find(is_there).map(|program| format!("needs the program {program}"))
}

/// Whether faults may be left out where something is missing.
fn may_skip() -> bool {
    std::env::var("VERO_RELAY_TORTURE_ALLOW_SKIPS").is_ok_and(|text| text == "1")
}

/// Runs the faults that are asked for and writes the ledger. Returns whether all of them ran, and kept the promise.
pub async fn run_all(faults: &[&Fault]) -> bool {
    let picked: Option<String> = variable("VERO_RELAY_TORTURE");
    let picked: Option<Vec<&str>> = picked.as_ref().map(|text| text.split(',').map(str::trim).collect());
    let is_full = std::env::var_os("VERO_RELAY_TORTURE_SHORT").is_none();
    if let Some(unknown) = picked.iter().flatten().find(|name| !faults.iter().any(|fault| fault.name == **name)) {
        let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
        eprintln!("there is no fault `{unknown}`: {}", names.join(", "));
        return false;
    }
    let (start, mut kept_it, mut broke_it, mut skipped) = (Instant::now(), 0, 0, 0);
    for fault in faults.iter().filter(|fault| picked.as_ref().is_none_or(|picked| picked.contains(&fault.name))) {
        if let Some(why) = missing(fault) {
            println!("– {:<14}not run: {why}  ({})", fault.name, fault.about);
            skipped += 1;
            continue;
        }
        let Run { report, took, seed, kept } = run(fault, is_full).await;
        if report.problems.is_empty() {
            println!("{}", line('✓', fault.name, &report.said, took, seed));
            report.late.iter().for_each(|late| println!("  late, perhaps because the machine is busy: {late}"));
            kept_it += 1;
            continue;
        }
        broke_it += 1;
        println!("{}", line('✗', fault.name, &report.said, took, seed));
        report.problems.iter().for_each(|problem| println!("    {problem}"));
        println!("    again: VERO_RELAY_TORTURE={} VERO_RELAY_TORTURE_SEED={seed} make torture", fault.name);
        kept.iter().for_each(|kept| println!("    its directory is kept: {}", kept.display()));
    }
    let took = start.elapsed().as_secs();
    println!("{kept_it} faults kept the promise, {broke_it} broke it, {skipped} were not run  ({took} s)");
    if skipped > 0 && !may_skip() {
        println!("what was not run is not proved: VERO_RELAY_TORTURE_ALLOW_SKIPS=1 accepts that");
    }
    broke_it == 0 && (skipped == 0 || may_skip()) && kept_it > 0
}
