//! `urls`: what to paste into Vero.

use std::path::Path;

use super::client::{hook_path, reachable};
use super::{Failure, load};
use crate::event::vero;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One address for each event type, as Vero 2.0 asks for
    #[arg(long)]
    per_type: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (_, config) = load(named)?;
    let base = match &config.public_url {
        Some(url) => url.clone(),
        None => {
            eprintln!("note: Vero must be able to reach this; `public_url: https://…` in the config says how it does");
            format!("http://{}", reachable(config.listen))
        }
    };
    for source in &config.sources {
        let url = format!("{base}{}", hook_path(source));
        if args.per_type {
            vero::TYPES.iter().for_each(|name| println!("{name:<14} {url}/{name}"));
        } else {
            println!("{url}");
        }
    }
    Ok(())
}
