//! `explain`: which rules match an event, each condition's verdict and the value it was tested with, where the event goes, and what each
//! destination would get.
//!
//! An event that is named by its id is one of a running relay's history: that relay explains it, by the config that it runs on.

use std::path::Path;

use serde_json::Value;

use super::client::{At, RunningRelay, query};
use super::output::{json, print, print_whole, say};
use super::terminal::{Colours, plain};
use super::{FAILED, Failure, File, USAGE, block_on, explained, load, read_event};
use crate::event::EventId;
use crate::explain::Explanation;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A sample of Vero's by name (sent, bounced …), a file, or - for standard input; or the id of an event that a running relay keeps
    event: String,
    #[command(flatten)]
    file: File,
    /// The source it is to have come in by [default: the first]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// With an id: by the relay's config file as it lies on the disk, and not by the config in force
    #[arg(long)]
    on_disk: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let id = args.event.parse::<EventId>().ok().filter(|_| !Path::new(&args.event).exists());
    let explanation = match id {
        Some(id) => of_relay(named, &args, id)?,
        None => here(named, &args)?,
    };
    if args.at.json {
        json(&explanation);
        return Ok(());
    }
    let colours = Colours::of(&std::io::stdout());
    let text = |key: &str| plain(explanation[key].as_str().unwrap_or_default());
    say!("type: {}, source: {}\n", text("type"), text("source"));
    if explanation["redacted"] == true {
        say!(
            "values of this event were taken away, as store.history.redact says: this is what is left of it, judged now\n"
        );
    }
    say!("{}", explained::rules(&explanation, colours));
    for (at, goes) in explained::deliveries(&explanation, colours).iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        print(&format!("{gap}{}", goes.words));
        print_whole(&goes.sends);
    }
    if id.is_some() {
        print(&format!("\n{}", explained::then(&explanation)));
    }
    Ok(())
}

/// A running relay explains an event that it keeps.
fn of_relay(named: Option<&Path>, args: &Args, id: EventId) -> Result<Value, Failure> {
    if args.source.is_some() {
        return Err(Failure::new(USAGE, "by which source an event of the history came is known: leave out --source"));
    }
    let relay = RunningRelay::at(args.file.or(named), &args.at)?;
    let config = query(&[("on_disk", args.on_disk.then_some("true"))]);
    block_on(async { relay.get(&format!("/api/events/{id}/explain{config}")).await })
}

/// An event that is brought is explained by a config file, whether or not a relay runs.
fn here(named: Option<&Path>, args: &Args) -> Result<Value, Failure> {
    if args.on_disk {
        let why =
            "--on-disk is for an event of a running relay, by its id: any other is explained by the file as it is";
        return Err(Failure::new(USAGE, why));
    }
    let (_, config) = load(args.file.or(named))?;
    let body = read_event(&args.event)?;
    let first = || config.sources.first().map(|source| source.name.clone());
    let source = args.source.clone().or_else(first).unwrap_or_default();
    if !config.sources.iter().any(|known| known.name == source) {
        return Err(Failure::new(USAGE, format!("there is no source `{source}` in the config")));
    }
    let explanation = Explanation::of(&config, &body, &source).map_err(|error| Failure::of(FAILED, &error))?;
    Ok(explanation.json())
}
