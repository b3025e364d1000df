//! `resume`: lets a paused destination or source continue.

use std::path::Path;

use serde_json::json as value;

use super::Failure;
use super::output::{json, say};
pub(super) use super::pause::Target as Args;
use super::pause::act;
use super::terminal::plain;

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let said = act(named, &args, "resume", &value!({}))?;
    if args.at.json {
        json(&said);
    } else {
        say!("resumed {}", plain(&args.name));
    }
    Ok(())
}
