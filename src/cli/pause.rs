//! `pause`: holds a destination's queue, across restarts.

use std::path::Path;

use super::client::RunningRelay;
use super::{Failure, block_on, load};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destination's name
    destination: String,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (_, config) = load(named)?;
    let name = args.destination;
    block_on(async {
        RunningRelay::of(&config)?.act(&format!("/api/destinations/{name}/pause")).await?;
        println!("{name} is paused: its queue is kept");
        Ok(())
    })
}
