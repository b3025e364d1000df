//! Sixty-four file descriptors, and connections that take all of them.
//!
//! Nobody new is let in then, which costs no CPU time to find out again and again; who is connected is served on; the operator is
//! answered, since some are kept from the connections; and when there are descriptors again everything goes on without a restart. At
//! full size the journal needs a new segment meanwhile.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::ledger::{Fault, Report, Scale};
use super::load::WhenGone;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::{PATIENCE, eventually, request};

pub const FAULT: Fault = Fault {
    name: "descriptors",
    about: "64 file descriptors, and connections that take all of them",
    needs_root: false,
    needs: &["prlimit"],
    run: |scale| Box::pin(run(scale)),
};

const DESCRIPTORS: usize = 64;
/// What connections may take of them: an eighth is kept from them.
const TAKEN: usize = DESCRIPTORS - DESCRIPTORS / 8;
/// Connections for which there is no descriptor: they wait in the kernel's queue, and take what the relay's own give up.
const QUEUED: usize = 100;
/// An accepted connection shows among the relay's descriptors by then, or another is tried.
const TAKEN_WITHIN: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const SENDERS: usize = 4;
const EVENTS: u64 = 100;
/// How long the CPU time is measured. A duration is what is being asked about.
const WATCHED_FOR: Duration = Duration::from_millis(500);
/// Of it, so much may be used up: one that spins uses all of it, and more with several threads.
const BUSY_MAX: f64 = 0.25;
/// Bodies of a megabyte that are more than a segment of the journal: 64 MiB.
const LARGE_BODIES: u64 = 72;

async fn run(scale: Scale) -> Report {
    let more = "limits: { header_timeout: 60s }\n";
    let mut stage = Stage::set_at(&scale, &scale.directory.join("data"), more).await;
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let up = stage.rig.start_under(&["prlimit", &limit]).await.expect("64 descriptors are enough to start with");
    let mut report = Report::default();
    let (begun, mut busiest) = (Instant::now(), 0.0_f64);
    for _ in 0..scale.of(1, 4) {
        let sending = stage.load.send(up.hooks, SENDERS, WhenGone::ComeAgain);
        stage.load.more(EVENTS).await;
        let hogs = take(&up, QUEUED).await;
        stage.load.more(EVENTS).await;
        sending.stop().await;
        eventually("every descriptor to be taken again", async || up.descriptors(DESCRIPTORS) >= TAKEN).await;
        let busy = busy(&up).await;
        busiest = busiest.max(busy);
        report.hold(up.descriptors(DESCRIPTORS) >= TAKEN, || "there were descriptors while it was watched".to_owned());
        report.hold(busy <= BUSY_MAX, || format!("without descriptors it used {:.0} % of a CPU", busy * 100.0));
        let asked = tokio::time::timeout(PATIENCE, request(up.admin, "GET", "/api/status", &[], b"")).await;
        report.hold(asked.is_ok_and(|answer| answer.status() == 200), || "the operator got no answer".to_owned());
        drop(hogs);
        stage.load.post(up.hooks, EVENTS).await;
        up.drained().await;
        report.hold(up.readyz().await == 200, || "it is not ready with descriptors free".to_owned());
    }
    if scale.is_full {
        roll_with_few_left(&stage, &up).await;
    }
    up.drained().await;
    let verdict = stage.verdict(&up).await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report.hold(!up.said().contains("panicked"), || up.said());
    let told = up.said().lines().filter(|line| line.contains("connections cannot be accepted")).count() as u64;
    // Once a minute by each listener: there were thousands of tries.
    report.hold(told <= 2 * (1 + begun.elapsed().as_secs() / 60), || format!("{told} lines about it: {}", up.said()));
    up.stop().await;
    let verified = stage.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report.judged(&verdict).say(format!("{:.1} % of a CPU at most while there were none", busiest * 100.0))
}

/// Connects until the connections have what they may have, and then so many more, who wait in the kernel's queue.
async fn take(up: &Up, queued: usize) -> Vec<TcpStream> {
    let mut hogs = Vec::new();
    while up.descriptors(DESCRIPTORS) < TAKEN {
        hogs.push(TcpStream::connect(up.hooks).await.expect("the kernel takes it"));
        let (before, begin) = (up.descriptors(DESCRIPTORS), Instant::now());
        while up.descriptors(DESCRIPTORS) == before && begin.elapsed() < TAKEN_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    for _ in 0..queued {
        hogs.push(TcpStream::connect(up.hooks).await.expect("the kernel takes it"));
    }
    hogs
}

/// The share of a CPU that it uses up.
async fn busy(up: &Up) -> f64 {
    let (begin, before) = (Instant::now(), up.cpu_time());
    tokio::time::sleep(WATCHED_FOR).await;
    (up.cpu_time() - before).as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// The journal goes on in a new segment while connections have all that they may have.
async fn roll_with_few_left(stage: &Stage, up: &Up) {
    const ALL: [&str; 3] = ["crm", "hot", "archive"];
    for name in ALL {
        assert_eq!(up.act(&format!("/api/destinations/{name}/pause")).await.status(), 200);
    }
    stage.load.grow();
    let (load, hooks) = (stage.load.clone(), up.hooks);
    let sending = tokio::spawn(async move { load.post(hooks, LARGE_BODIES).await });
    let mut hogs = Vec::new();
    // Kept up, since descriptors of the relay's own come and go: the connection on which it was told to pause, for one.
    while !sending.is_finished() {
        hogs.extend(take(up, 0).await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    sending.await.expect("every event is taken");
    drop(hogs);
    for name in ALL {
        eventually("the destination to be resumed", async || {
            up.act(&format!("/api/destinations/{name}/resume")).await.status() == 200
        })
        .await;
    }
}
