//! `resume`: lets a paused destination or source go on.

use std::path::Path;

use super::Failure;
pub(super) use super::pause::Args;
use super::pause::act;

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    act(named, &args, "resume")?;
    println!("{} goes on", args.name);
    Ok(())
}
