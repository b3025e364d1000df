//! `explain`: which rules match an event, each condition's verdict and the value it was tested with, where the event goes, and what each
//! destination would get.

use std::path::Path;

use super::output::{json, print, say};
use super::terminal::{Colours, plain};
use super::{FAILED, Failure, File, USAGE, explained, load, read_event};
use crate::explain::Explanation;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A sample of Vero's by name (sent, bounced …), a file, or - for standard input
    event: String,
    #[command(flatten)]
    file: File,
    /// The source it is to have come in by [default: the first]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (_, config) = load(args.file.or(named))?;
    let body = read_event(&args.event)?;
    let source = args.source.or_else(|| config.sources.first().map(|source| source.name.clone())).unwrap_or_default();
    if !config.sources.iter().any(|known| known.name == source) {
        return Err(Failure::new(USAGE, format!("there is no source `{source}` in the config")));
    }
    let explanation = Explanation::of(&config, &body, &source).map_err(|error| Failure::of(FAILED, &error))?;
    if args.json {
        json(&explanation.json());
    } else {
        let colours = Colours::of(&std::io::stdout());
        say!("type: {}, source: {}\n", plain(&explanation.event_type), plain(&source));
        say!("{}", explained::rules(&explanation, colours));
        print(&explained::deliveries(&explanation, colours));
    }
    Ok(())
}
