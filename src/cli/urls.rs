//! `urls`: what to paste into Vero.

use std::path::Path;

use super::client::{hook_path, reachable};
use super::output::{json, say, tell};
use super::{Failure, File, load};
use crate::event::vero;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One address for each event type, as Vero 2.0 asks for
    #[arg(long)]
    per_type: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: File,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (_, config) = load(args.file.or(named))?;
    let base = match &config.public_url {
        Some(url) => url.clone(),
        None => {
            tell!("note: Vero must be able to reach this; `public_url: https://…` in the config says how it does");
            let scheme = if config.tls.is_some() { "https://" } else { "http://" };
            format!("{scheme}{}", reachable(config.listen))
        }
    };
    let mut told = Vec::new();
    for source in &config.sources {
        let url = format!("{base}{}", hook_path(source));
        if args.json {
            let each: serde_json::Map<String, serde_json::Value> =
                vero::TYPES.iter().map(|name| ((*name).to_owned(), format!("{url}/{name}").into())).collect();
            told.push(serde_json::json!({ "source": source.name, "url": url, "per_type": each }));
        } else if args.per_type {
            vero::TYPES.iter().for_each(|name| say!("{name:<14} {url}/{name}"));
        } else {
            say!("{url}");
        }
    }
    if args.json {
        json(&serde_json::json!({ "urls": told }));
    }
    Ok(())
}
