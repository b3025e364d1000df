//! `reload`: lets a running relay read its config again, waits, and says what changed or what is wrong.
//!
//! The file is proved here first, to learn where the relay is; one that is bad is told at once, and the relay is not asked.

use std::path::Path;

use serde_json::{Value, json};

use super::client::{At, RunningRelay};
use super::{BAD_CONFIG, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    at: At,
    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let reloaded = block_on(relay.try_act("/api/reload", &json!({})))?;
    let reloaded = reloaded.map_err(|why| Failure::new(BAD_CONFIG, why))?;
    if args.json {
        println!("{reloaded:#}");
        return Ok(());
    }
    let lines = |key: &str| -> Vec<String> {
        let all = reloaded[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for warning in lines("warnings") {
        eprintln!("{warning}");
    }
    let changes = lines("changes");
    if changes.is_empty() {
        println!("reloaded: the config says what it said before");
    } else {
        println!("reloaded:");
        changes.iter().for_each(|change| println!("  {change}"));
    }
    Ok(())
}
