//! `init`: a config to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::output::say;
use super::terminal::plain;
use super::{FAILED, Failure, named_outside};
use crate::config::USUAL_PLACES;

/// A config that keeps each event, and shows how the rest is written.
const STARTER: &str = include_str!("starter.yaml");

#[derive(Debug, clap::Args)]
#[command(after_help = "It never writes over a file that is there.")]
pub(super) struct Args {
    /// Where to write it, instead of --config [default: config.yaml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let path = args.file.or_else(|| named.map(Path::to_owned)).or_else(named_outside);
    let path = path.as_deref().unwrap_or(Path::new(USUAL_PLACES[0]));
    let shown = plain(&path.display().to_string());
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(FAILED, format!("{shown} is there already, and was left as it is: name another file"))
        }
        _ => Failure::new(FAILED, format!("{shown} could not be written: {error}")),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    if let Err(error) = file.write_all(STARTER.as_bytes()).and_then(|()| file.sync_all()) {
        // It was not there before, and half of it helps nobody.
        let _ = std::fs::remove_file(path);
        return Err(failed(error));
    }
    say!("{shown} is written: it keeps every event in a file. Next:");
    let named = quoted(&shown);
    for (command, why) in [
        (
            "export VERO_TOKEN=$(openssl rand -hex 16)".to_owned(),
            "a secret of your own; the relay needs it at each start",
        ),
        (format!("vero-relay check {named}"), "is it good?"),
        (format!("vero-relay run {named}"), "http://127.0.0.1:8081/ has its page"),
        (
            format!("vero-relay send bounced {named}"),
            "in another terminal with that VERO_TOKEN: post a sample, and see what becomes of it",
        ),
        (format!("vero-relay urls {named}"), "the address to paste into Vero"),
    ] {
        say!("  {command:<44} # {why}");
    }
    Ok(())
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
