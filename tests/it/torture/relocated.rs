//! Dead letters of small events, far more bytes of outcomes than of bodies, outlive the segment that their events came in with.

use super::ledger::{Fault, Report, Scale, thousands};
use super::rig::{Rig, Up};
use crate::harness::{closed_port, eventually, request};

pub const FAULT: Fault = Fault {
    name: "relocated",
    about: "dead letters of hundreds of thousands of small events are relocated, then SIGKILL",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: u64 = 32;
/// More than the whole history may have.
const FILLERS: u64 = 12;
const FILLER_BYTES: usize = 1_000_000;

async fn post(up: &Up, body: &str) -> bool {
    request(up.hooks, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await.status() == 200
}

async fn dead(up: &Up) -> Vec<u64> {
    up.destinations().await.iter().map(|one| one["dead_letters"].as_u64().unwrap_or(0)).collect()
}

async fn run(scale: Scale) -> Report {
    let events = scale.of(320, 300_000) as u64;
    let section = |name| {
        format!(
            "  {name}: {{ http: {{ url: \"http://{}/\" }}, retry: {{ initial: 1h, max: 1h }}, backlog: {{ max_age: 1s }}, concurrency: 1 }}\n",
            closed_port()
        )
    };
    let rest = format!(
        "store: {{ history: {{ max_size: 8MiB }}, free_space_min: 0B }}\n\
         rules: [ {{ name: lost, match: {{ type: a }}, to: [one, two] }} ]\ndestinations:\n{}{}",
        section("one"),
        section("two")
    );
    let mut rig = Rig::new(&scale.directory, &scale.directory.join("data"), &rest);
    let up = rig.start().await;
    let posts = (0..SENDERS).map(|_| async {
        for _ in 0..events / SENDERS {
            assert!(post(&up, r#"{"type":"a"}"#).await, "it is taken");
        }
    });
    futures_util::future::join_all(posts).await;
    // Those that were tried before the breaker opened are scheduled, and nobody buries them.
    eventually("all but those that were tried to be dead", async || {
        up.destinations().await.iter().all(|one| one["backlog"] == one["scheduled"] && one["in_flight"] == 0)
    })
    .await;
    let filler = format!(r#"{{"type":"filler","x":"{}"}}"#, "x".repeat(FILLER_BYTES));
    for _ in 0..FILLERS {
        assert!(post(&up, &filler).await, "it is taken");
    }
    up.act("/api/store/trim").await;
    let before = dead(&up).await;
    up.kill();

    let up = rig.start().await;
    let mut report = Report::default().say(format!("{} dead letters", thousands(before.iter().sum())));
    let after = dead(&up).await;
    report.hold(after == before, || format!("{before:?} dead letters before, {after:?} after"));
    for name in ["one", "two"] {
        let page = up.admin(&format!("/api/dead-letters?destination={name}&limit=100")).await.json();
        let letters = page["dead_letters"].as_array().cloned().unwrap_or_default();
        let is_whole = letters.iter().all(|letter| !letter["event"].is_null());
        report.hold(!letters.is_empty() && is_whole, || format!("dead letters without their events: {page}"));
    }
    let first = format!("{:010}.journal", 1);
    let is_gone = !rig.data_dir.join("journal").join(first).exists();
    report.hold(is_gone, || "the first segment is still there: nothing was relocated".to_owned());
    up.stop().await;
    let verified = rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report
}
