//! `reload`: lets a running relay read its config again, waits, and says what changed or what is wrong.
//!
//! The relay reads its own file with its own variables. Here only the address of its admin listener is read.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay};
use super::output::{json, say};
use super::terminal::plain;
use super::{AdminFile, BAD_CONFIG, Failure, block_on, tell_of_warnings};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: AdminFile,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(args.file.or(named), &args.at)?;
    let reloaded = block_on(relay.try_act("/api/reload", &value!({})))?;
    let reloaded = reloaded.map_err(|why| Failure::new(BAD_CONFIG, why))?;
    if args.at.json {
        json(&reloaded);
        return Ok(());
    }
    let lines = |key: &str| -> Vec<String> {
        let all = reloaded[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    tell_of_warnings(lines("warnings").len(), args.file.or(named));
    let changes = lines("changes");
    if changes.is_empty() {
        say!("reloaded: no changes");
    } else {
        say!("reloaded:");
        changes.iter().for_each(|change| say!("  {}", plain(change)));
    }
    Ok(())
}
