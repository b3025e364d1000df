//! `schema`: the JSON Schema of the config, for editors; or the same as a reference for people.

use std::path::Path;

use super::Failure;
use super::output::{json, print_whole};
use crate::config::schema;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print docs/config.md in its place
    #[arg(long, hide = true)]
    markdown: bool,
}

pub(super) fn run(_: Option<&Path>, args: Args) -> Result<(), Failure> {
    if args.markdown {
        print_whole(&schema::reference());
    } else {
        json(&schema::schema());
    }
    Ok(())
}
