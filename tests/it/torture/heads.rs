//! Thousands of rules match every event, while the disk stalls: what queues up meanwhile is more than one group of the journal holds.
//!
//! Everything that was acknowledged is there after a SIGKILL.

use super::ledger::{Fault, Report, Scale, thousands};
use super::load::WhenGone;
use super::stage::Stage;

pub const FAULT: Fault = Fault {
    name: "heads",
    about: "thousands of rules match every event while each sync takes its time, then SIGKILL",
    needs_root: false,
    needs: &["strace"],
    run: |scale| Box::pin(run(scale)),
};

async fn run(scale: Scale) -> Report {
    let (rules, senders) = (scale.of(300, 10_000), scale.of(60, 2_000));
    let mut stage = Stage::set(&scale).await;
    let more = "  - { to: archive }\n".repeat(rules);
    stage.rig.change("  - { name: trouble", &format!("{more}  - {{ name: trouble"));
    let delay = "inject=fdatasync:delay_enter=300000";
    let strace =
        ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", delay];
    let up = stage.rig.start_under(&strace).await.unwrap_or_else(|ended| panic!("it did not start: {ended:?}"));
    for name in ["crm", "hot", "archive"] {
        up.act(&format!("/api/destinations/{name}/pause")).await;
    }
    let sending = stage.load.send(up.hooks, senders, WhenGone::End);
    stage.load.more(senders as u64 * 2).await;
    stage.crashed_by(up);
    sending.ended().await;

    // All of it still waits: each event is asked for.
    let up = stage.rig.start().await;
    let verdict = stage.verdict(&up).await;
    let mut report = Report::default().say(format!("{} rules", thousands(rules as u64))).judged(&verdict);
    report.hold(verdict.acknowledged >= senders as u64, || "hardly anything was acknowledged".to_owned());
    let damaged = up.metric("vero_relay_store_damaged_ranges").await;
    report.hold(damaged == Some(0.0), || format!("{damaged:?} damaged ranges"));
    up.stop().await;
    let verified = stage.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report
}
