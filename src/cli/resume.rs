//! `resume`: lets a paused destination or source continue.

use std::path::Path;

use super::Failure;
use super::output::{json, say};
pub(super) use super::pause::Args;
use super::pause::act;
use super::terminal::plain;

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let said = act(named, &args, "resume")?;
    if args.at.json {
        json(&said);
    } else {
        say!("resumed {}", plain(&args.name));
    }
    Ok(())
}
