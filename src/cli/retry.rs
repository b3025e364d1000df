//! `retry`: makes a destination's waiting deliveries due now, a few at first.

use std::path::Path;

use serde_json::json as value;

use super::client::{At, RunningRelay, step};
use super::output::{json, say};
use super::terminal::{are, numbered, plain};
use super::{Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destination's name
    destination: String,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let path = format!("/api/destinations/{}/retry", step(&args.destination));
    let said = block_on(async { relay.act(&path, &value!({})).await })?;
    if args.at.json {
        json(&said);
        return Ok(());
    }
    let due = said["due_now"].as_u64().unwrap_or(0);
    say!("{}: {} {} due now", plain(&args.destination), numbered(due, "scheduled retry"), are(due));
    Ok(())
}
