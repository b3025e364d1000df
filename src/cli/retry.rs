//! `retry`: makes a destination's waiting deliveries due now, a few at first.

use std::path::Path;

use serde_json::json;

use super::client::{At, RunningRelay, step};
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
    let said = block_on(async { relay.act(&path, &json!({})).await })?;
    println!("{}: {} deliveries that waited for another attempt are due now", args.destination, said["due_now"]);
    Ok(())
}
