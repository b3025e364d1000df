//! `pause`: holds a destination's queue, or a source, across restarts.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::output::{json, say};
use super::terminal::plain;
use super::{Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Answer the source's events with 503 instead of keeping them
    #[arg(long, requires = "source")]
    refuse: bool,
    /// Why a destination is paused, for who comes next: `status` shows it. A source has none
    #[arg(long, value_name = "TEXT", conflicts_with = "source")]
    reason: Option<String>,
}

/// What is paused.
#[derive(Debug, clap::Args)]
pub(super) struct Subject {
    /// The name of a destination, or with --source of a source
    pub(super) name: String,
    /// It is a source: its events are accepted and kept until `resume --source`, or answered with 503 by --refuse
    #[arg(long)]
    pub(super) source: bool,
    #[command(flatten)]
    pub(super) at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let asked = match &args.reason {
        Some(reason) => value!({ "reason": reason }),
        None if args.refuse => value!({ "refuse": true }),
        None => value!({}),
    };
    let said = act(named, &args.subject, "pause", &asked)?;
    if args.subject.at.json {
        json(&said);
        return Ok(());
    }
    let what = match (args.subject.source, args.refuse) {
        (false, _) => "its queue is kept",
        (true, false) => "its events are accepted and kept; `resume --source` delivers them",
        (true, true) => "its events are answered with 503",
    };
    say!("paused {}: {what}", plain(&args.subject.name));
    Ok(())
}

/// Tells the running relay to pause or resume.
pub(super) fn act(named: Option<&Path>, subject: &Subject, act: &str, asked: &Value) -> Result<Value, Failure> {
    let relay = RunningRelay::at(named, &subject.at)?;
    let what = if subject.source { "sources" } else { "destinations" };
    block_on(async { relay.act(&format!("/api/{what}/{}/{act}", step(&subject.name)), asked).await })
}
