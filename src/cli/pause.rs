//! `pause`: holds a destination's queue, or a source, across restarts.

use std::path::Path;

use serde_json::json;

use super::client::{At, RunningRelay, step};
use super::{Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destination's name, or with --source a source's: its events are then answered with 503
    pub(super) name: String,
    /// It is a source
    #[arg(long)]
    source: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    act(named, &args, "pause")?;
    let what = if args.source { "its events are answered with 503" } else { "its queue is kept" };
    println!("{} is paused: {what}", args.name);
    Ok(())
}

/// Tells the running relay to pause or resume.
pub(super) fn act(named: Option<&Path>, args: &Args, act: &str) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let what = if args.source { "sources" } else { "destinations" };
    block_on(async { relay.act(&format!("/api/{what}/{}/{act}", step(&args.name)), &json!({})).await.map(drop) })
}
