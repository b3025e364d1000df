//! `healthcheck`: exit code 0 if a running relay accepts events, 1 if not. For containers and scripts.

use std::path::Path;

use super::client::{At, RunningRelay};
use super::output::{json, say};
use super::{AdminFile, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: AdminFile,
    /// Ask only whether the process is alive, not whether it accepts events
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(args.file.or(named), &args.at)?;
    let path = if args.live { "/healthz" } else { "/readyz" };
    let told = block_on(relay.health(path));
    if args.at.json {
        let why = told.as_ref().err().map(|failure| failure.message.as_str());
        json(&serde_json::json!({ "ok": told.is_ok(), "trouble": why }));
    } else if let Ok(said) = &told {
        say!("{said}");
    }
    told.map(drop)
}
