//! `resume`: lets a paused destination go on.

use std::path::Path;

use super::Failure;
use super::client::act_on_destination;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destination's name
    destination: String,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let name = args.destination;
    act_on_destination(named, &name, "resume")?;
    println!("{name} goes on");
    Ok(())
}
