//! `resume`: lets a paused destination or source continue.

use std::path::Path;

use serde_json::json as value;

use super::Failure;
use super::client::At;
use super::output::{json, say};
use super::pause::{Subject, act};
use super::terminal::plain;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of a destination, or with --source of a source
    name: String,
    /// It is a source: it accepts events again, and what was kept meanwhile is delivered
    #[arg(long)]
    source: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let Args { name, source, at } = args;
    let subject = Subject { name, source, at };
    let said = act(named, &subject, "resume", &value!({}))?;
    let name = plain(&subject.name);
    if subject.at.json {
        json(&said);
    } else if said["changed"] == false {
        say!("{name} was not paused");
    } else {
        say!("resumed {name}");
    }
    Ok(())
}
