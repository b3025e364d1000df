//! A million events wait for a dead destination, then bodies of a megabyte come on top; the relay is started again, and the
//! destination comes back.
//!
//! What waited goes out in order of age, and the memory stays flat all the while: below [`RESIDENT_MIB_MAX`], and below
//! [`RESIDENT_MIB_MAX_LARGE`] while large bodies are accepted and sent. It is measured (the most that was ever resident) rather than
//! enforced: a limit of virtual memory says nothing about it, and a control group may be made on few machines.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::{Fault, Report, Scale, thousands};
use super::load::{Load, WhenGone};
use super::oracle::{Case, Wants, Witness, judge};
use super::recorder::{Arrived, Copy, Recorder, Says};
use super::rig::{Rig, Up};
use crate::harness::{PATIENCE, QUICK};

pub const FAULT: Fault = Fault {
    name: "backlog",
    about: "a million events wait for a dead destination, large bodies on top, a restart, and it comes back",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// Promised with any backlog.
const RESIDENT_MIB_MAX: f64 = 60.0;
/// What a small container has: with bodies of a megabyte on their way in and out.
const RESIDENT_MIB_MAX_LARGE: f64 = 128.0;
/// More connections, larger groups, fewer syncs.
const SENDERS: usize = 200;
/// Each with a body of a megabyte in flight: more than there is room for at once, so that some are refused.
const LARGE_SENDERS: usize = 40;
/// How many the destination takes at once. In the config, and how far an event may come before its turn.
const AT_ONCE: usize = 32;
/// Reading the journal is part of a start, and so is a busy machine.
const START_MAX: Duration = Duration::from_secs(10);

async fn run(scale: Scale) -> Report {
    let count = scale.of(1_500, 1_000_000) as u64;
    let (crm, load) = (Recorder::start().await, Load::new(scale.seed));
    crm.say(Says::Status(503));
    let rest = format!(
        "rules: [ {{ name: all, to: crm }} ]\ndestinations:\n  crm: {{ http: {{ url: \"{}\" }}, concurrency: {AT_ONCE}, {QUICK} }}\n",
        crm.url()
    );
    let mut rig = Rig::new(&scale.directory, &scale.directory.join("data"), &rest);
    let mut report = Report::default();

    let up = rig.start().await;
    let filling = Instant::now();
    load.pour(up.hooks, count, SENDERS).await;
    let filled = filling.elapsed();
    // Judged at full size, where the build is the one that is released.
    let small_max = if scale.is_full { RESIDENT_MIB_MAX } else { f64::INFINITY };
    let large_max = if scale.is_full { RESIDENT_MIB_MAX_LARGE } else { f64::INFINITY };
    // Two hundred senders at full speed are more than a backlog.
    let mut most_large = holds_memory(&up, large_max, "filling", &mut report);
    load.grow();
    let sending = load.send(up.hooks, LARGE_SENDERS, WhenGone::End);
    load.more(scale.of(20, 300) as u64).await;
    sending.stop().await;
    most_large = most_large.max(holds_memory(&up, large_max, "taking in large bodies", &mut report));
    let waiting = backlog(&up).await;
    report.hold(waiting == load.acknowledged(), || format!("{waiting} wait of {}", load.acknowledged()));
    up.stop().await;

    let starting = Instant::now();
    let up = rig.start().await;
    let started = starting.elapsed();
    report.hold_in_time(started <= START_MAX, || format!("it took {started:?} to start"));
    let mut most = holds_memory(&up, small_max, "starting", &mut report);
    let tried: BTreeSet<String> = crm.copies().into_iter().map(|copy| copy.id).collect();
    crm.say(Says::Ok);
    up.act("/api/destinations/crm/retry").await;
    let draining = Instant::now();
    let most_small = drain(&up, &crm, count as usize).await;
    let drained = draining.elapsed();
    most = most.max(most_small);
    report.hold(most_small <= small_max, || format!("{most_small:.0} MiB resident while draining small ones"));
    let most_large = most_large.max(holds_memory(&up, large_max, "draining", &mut report));

    let early = earliest(&crm.copies(), &tried);
    report.hold(early < AT_ONCE, || format!("an event came {early} places before its turn"));
    let witnesses = vec![Witness { name: "crm", wants: Wants::Every, copies: crm.copies() }];
    let verdict = judge(Case { load: &load, witnesses, crashes: &[], doubtful: &[], admin: up.admin }).await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report.hold(!up.said().contains("panicked"), || up.said());
    up.stop().await;
    let rate = |took: Duration| thousands((count as f64 / took.as_secs_f64()) as u64);
    report
        .judged(&verdict)
        .say(format!("{} a second in, {} a second out", rate(filled), rate(drained)))
        .say(format!("started in {} ms", started.as_millis()))
        .say(format!("{most:.0} MiB resident, {most_large:.0} with large bodies"))
        .say(format!("at most {early} places early"))
}

/// The most that was ever resident, which must be below a limit.
fn holds_memory(up: &Up, limit: f64, when: &str, report: &mut Report) -> f64 {
    let most = up.memory_mib("VmHWM");
    report.hold(most <= limit, || format!("{most:.0} MiB resident while {when}: more than {limit:.0}"));
    most
}

async fn backlog(up: &Up) -> u64 {
    let destinations = up.destinations().await;
    destinations.iter().filter_map(|destination| destination["backlog"].as_u64()).sum()
}

/// Waits until nothing waits. Gives the most that was resident while the first so many went out.
async fn drain(up: &Up, crm: &Recorder, small: usize) -> f64 {
    let before = crm.count();
    let (mut most, mut last, mut since) = (0.0_f64, before, Instant::now());
    while backlog(up).await > 0 {
        let now = crm.count();
        if now > last {
            (last, since) = (now, Instant::now());
        }
        // A million take longer than anybody's patience, so it is patience with a standstill.
        assert!(since.elapsed() < PATIENCE, "nothing has gone out for {PATIENCE:?}: {}", up.said());
        // Sampled: what was ever resident would count the large ones too, which come last.
        if now < before + small - AT_ONCE {
            most = most.max(up.memory_mib("VmRSS"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

/// How many places an event came before its turn at most, of those that had not been tried before.
///
/// Claims are made in order of age, and at most [`AT_ONCE`] are in flight, so whoever comes that far ahead of others has overtaken
/// some that were not even begun.
fn earliest(copies: &[Copy], tried: &BTreeSet<String>) -> usize {
    let taken = copies.iter().filter(|copy| matches!(copy.arrived, Arrived::At { is_taken: true, .. }));
    let arrived: Vec<u64> = taken.filter(|copy| !tried.contains(&copy.id)).map(|copy| sequence_of(&copy.id)).collect();
    let mut in_order = arrived.clone();
    in_order.sort_unstable();
    let places = arrived.iter().enumerate();
    let early =
        places.map(|(place, sequence)| in_order.partition_point(|known| known < sequence).saturating_sub(place));
    early.max().unwrap_or(0)
}

/// The number that the relay gave to an event: the low 62 bits of its id.
fn sequence_of(id: &str) -> u64 {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).expect("an id is a UUID") as u64 & (u64::MAX >> 2)
}
