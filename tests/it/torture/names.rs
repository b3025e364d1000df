//! A generator puts something new into every rule's name, and reloads; then a SIGKILL. Queues keep their names, and what is unused goes.

use super::ledger::{Fault, Report, Scale, thousands};
use super::rig::Rig;
use crate::harness::{closed_port, request};

pub const FAULT: Fault = Fault {
    name: "names",
    about: "reload after reload with other names in thousands of rules, a paused queue, then SIGKILL",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const EVENTS: u64 = 20;

async fn run(scale: Scale) -> Report {
    let (rounds, rules) = (scale.of(4, 20), scale.of(100, 4_700));
    let named = |round: usize| -> String {
        let rule = |at| format!("  - {{ name: \"{round:05} {at:05} {}\", to: a }}\n", "r".repeat(180));
        (0..rules).map(rule).collect()
    };
    let rest = |round: usize| {
        let url = format!("http://{}/", closed_port());
        format!("rules:\n{}destinations:\n  a: {{ http: {{ url: \"{url}\" }} }}\n", named(round))
    };
    let mut rig = Rig::new(&scale.directory, &scale.directory.join("data"), &rest(0));
    let mut up = rig.start().await;
    up.act("/api/destinations/a/pause").await;
    let mut report = Report::default();
    for round in 1..=rounds {
        rig.change(&named(round - 1), &named(round));
        let reloaded = up.act("/api/reload").await;
        report.hold(reloaded.status() == 200, || format!("round {round}: {}", reloaded.text()));
        // Every other one by a start.
        if round % 2 == 0 {
            up.kill();
            up = rig.start().await;
        }
    }
    for _ in 0..EVENTS {
        let taken = request(up.hooks, "POST", "/hooks/vero/secret", &[], br#"{"type":"sent"}"#).await;
        report.hold(taken.status() == 200, || format!("not taken: {}", taken.text()));
    }
    up.kill();

    let up = rig.start().await;
    let all = up.destinations().await;
    let is_so = all.len() == 1 && all[0]["state"] == "paused" && all[0]["backlog"] == EVENTS;
    report.hold(is_so, || format!("the queue is not what it was: {all:?}"));
    let damaged = up.metric("vero_relay_store_damaged_ranges").await;
    report.hold(damaged == Some(0.0), || format!("{damaged:?} damaged ranges"));
    up.stop().await;
    let header = newest_header_bytes(&rig);
    // Those of the config in force, of the one before, and of the events.
    let most = 4 * rules * 260 + 4096;
    report.hold(header <= most, || format!("the newest header has {header} bytes, more than {most}"));
    report.say(format!(
        "{rounds} reloads of {} rules, a header of {} bytes",
        thousands(rules as u64),
        thousands(header as u64)
    ))
}

fn newest_header_bytes(rig: &Rig) -> usize {
    let files = std::fs::read_dir(rig.data_dir.join("journal")).expect("the journal's directory");
    let newest = files.map(|file| file.expect("a file").path()).max().expect("a segment");
    let start = std::fs::read(newest).expect("it can be read");
    vero_relay::store::journal::format::SegmentHeader::length(&start[..16]).expect("a header")
}
