//! `pause`: holds a destination's queue, or a source, across restarts.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::output::{json, say};
use super::terminal::plain;
use super::{Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destination's name, or with --source a source's: its events are then answered with 503
    pub(super) name: String,
    /// It is a source
    #[arg(long)]
    source: bool,
    #[command(flatten)]
    pub(super) at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let said = act(named, &args, "pause")?;
    if args.at.json {
        json(&said);
        return Ok(());
    }
    let what = if args.source { "its events are answered with 503" } else { "its queue is kept" };
    say!("paused {}: {what}", plain(&args.name));
    Ok(())
}

/// Tells the running relay to pause or resume.
pub(super) fn act(named: Option<&Path>, args: &Args, act: &str) -> Result<Value, Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let what = if args.source { "sources" } else { "destinations" };
    block_on(async { relay.act(&format!("/api/{what}/{}/{act}", step(&args.name)), &value!({})).await })
}
