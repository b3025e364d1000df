//! `store`: verifies every byte of a store, copies a running one, says how much it has, and how a database is set up for it.
//!
//! `questions`: what a database is asked. `transfer`: what is written to go on elsewhere, and taken in.

mod questions;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json as value;

use super::client::{At, RunningRelay};
use super::dialogue::Progress;
use super::output::{json, print_whole, say};
use super::terminal::{are, grouped, numbered, plain, size};
use super::{FAILED, Failure, IN_USE, USAGE, block_on, load};
use crate::store::journal::verify::{Verified, verify};
use crate::store::lock::{DataDirLock, LockError};
use crate::store::postgres::{Address, Schema};
use crate::units::duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Check every CRC, and the index against the journal. The relay must not run, or name a backup
    Verify {
        /// The data directory or backup [default: the config's data_dir]
        directory: Option<PathBuf>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Look whether the store is right. A journal as `verify` does; a database by questions in SQL, also while relays run. Exits 1 where something is wrong
    Check {
        /// No more is begun of a database after so long, and what was not looked at counts as wrong
        #[arg(long, default_value = "10m", value_name = "TIME", value_parser = time)]
        within: Duration,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Write a consistent copy of a running relay's store into a new directory; as a data_dir, it goes on from there
    Backup {
        /// Where to, on the relay's machine
        directory: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Say how much the store has, and how much it may have
    Info {
        #[command(flatten)]
        at: At,
    },
    /// Let go what need not be kept, now rather than in a while
    Trim {
        #[command(flatten)]
        at: At,
    },
    /// Write what a stopped relay needs to go on with another store: what waits, retries, dead letters, pauses
    Export {
        /// The file, which is made and nobody else may read; - for standard output
        file: PathBuf,
        /// Write the whole history, not only events of which something is still to come
        #[arg(long)]
        history: bool,
    },
    /// Take in what `store export` wrote, while no relay runs. The same file again goes on where it was ended
    Import {
        /// The file
        file: PathBuf,
    },
    /// Print the SQL that makes the tables in PostgreSQL, for who reads it or runs it as another role; asks no database
    Schema {
        /// The schema that they are made in
        #[arg(long, value_name = "SCHEMA", default_value = "vero_relay")]
        name: String,
    },
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    match args.act {
        Act::Verify { directory, json } => {
            let directory = match directory {
                Some(directory) => directory,
                None => {
                    let config = load(named)?.1;
                    if config.shared.is_some() {
                        let why = "the queue lies in the database that `store.postgres` names: vero-relay store check looks into it";
                        return Err(Failure::new(USAGE, why));
                    }
                    config.data_dir
                }
            };
            verify_it(&directory, json)
        }
        Act::Check { within, json } => {
            let config = load(named)?.1;
            match &config.shared {
                Some(shared) => questions::ask(&shared.address, within, json),
                None => verify_it(&config.data_dir, json),
            }
        }
        Act::Backup { directory, at } => {
            let directory = std::path::absolute(&directory).map_err(|error| Failure::of(FAILED, &error))?;
            let asked = value!({ "directory": directory.display().to_string() });
            let relay = RunningRelay::at(named, &at)?;
            let said = block_on(async { relay.act("/api/store/backup", &asked).await })?;
            if at.json {
                json(&said);
                return Ok(());
            }
            let shown = plain(&directory.display().to_string());
            say!("copied {} to {shown}", size(said["bytes"].as_u64().unwrap_or(0)));
            say!("check it:  vero-relay store verify {shown}");
            Ok(())
        }
        Act::Info { at } => {
            let relay = RunningRelay::at(named, &at)?;
            show(&block_on(async { relay.get("/api/store").await })?, at.json);
            Ok(())
        }
        Act::Trim { at } => {
            let relay = RunningRelay::at(named, &at)?;
            show(&block_on(async { relay.act("/api/store/trim", &value!({})).await })?, at.json);
            Ok(())
        }
        Act::Export { file, history } => transfer::export(&load(named)?.1, &file, history),
        Act::Import { file } => transfer::import(&load(named)?.1, &file),
        Act::Schema { name } => {
            Address::check_schema(&name).map_err(|error| Failure::new(USAGE, format!("`{name}` {error}")))?;
            print_whole(&Schema::OURS.text(&name));
            Ok(())
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|fault| fault.to_string())
}

/// How much the store has, and how much it may have.
fn show(usage: &serde_json::Value, as_json: bool) {
    if as_json {
        return json(usage);
    }
    let number = |key: &str| usage[key].as_u64();
    let bytes = |key: &str| number(key).map_or_else(|| "no limit".to_owned(), size);
    let oldest = plain(usage["oldest_at"].as_str().unwrap_or("-"));
    say!("events in the history   {}", grouped(number("events").unwrap_or(0)));
    say!("oldest event            {oldest}");
    say!("journal                 {} of {}", bytes("journal_bytes"), bytes("history_bytes_max"));
    say!("segments                {}", grouped(number("segments").unwrap_or(0)));
    say!("index                   {}", bytes("index_bytes"));
    say!("dead letters beyond it  {} of {}", bytes("dead_letter_bytes"), bytes("dead_letter_bytes_max"));
    say!("dead letters expired    {}", grouped(number("dead_letters_expired").unwrap_or(0)));
    say!("the store in all        {} of {}", bytes("bytes"), bytes("bytes_max"));
    let free = number("free_bytes").map_or_else(|| "unknown".to_owned(), size);
    say!("free on the disk        {free}, at least {} are kept free", bytes("free_bytes_min"));
}

fn verify_it(directory: &Path, as_json: bool) -> Result<(), Failure> {
    if !directory.join("journal").is_dir() {
        return Err(Failure::new(FAILED, format!("{} holds no journal", directory.display())));
    }
    let _lock = DataDirLock::take(directory).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(
            IN_USE,
            format!("{error}. A running relay is verified by its copy: vero-relay store backup DIRECTORY"),
        ),
        error => Failure::of(FAILED, &error),
    })?;
    let progress = Progress::new();
    let verified = verify(directory, &mut |share| progress.show(share, "read"));
    drop(progress);
    let verified = verified.map_err(|error| Failure::of(FAILED, &error))?;
    let Verified { segments, groups, events, relocated, erased, bytes, torn_bytes, backlog, dead, problems } =
        &verified;
    if as_json {
        json(&value!({
            "segments": segments, "groups": groups, "events": events, "relocated": relocated, "erased": erased, "bytes": bytes,
            "torn_bytes": torn_bytes, "backlog": backlog, "dead_letters": dead, "problems": problems,
        }));
    } else {
        say!(
            "{} in {}: {}, {} and {} relocated; {} {}, {} {} dead",
            size(*bytes),
            numbered(*segments as u64, "segment"),
            numbered(*groups, "group"),
            numbered(*events, "event"),
            grouped(*relocated),
            numbered(*backlog, "delivery"),
            if *backlog == 1 { "waits" } else { "wait" },
            grouped(*dead),
            are(*dead)
        );
        if *erased > 0 {
            let was = if *erased == 1 { "was" } else { "were" };
            say!("{} {was} erased: their bodies are not in the journal any more", numbered(*erased, "event"));
        }
        if *torn_bytes > 0 {
            say!("{} at the end were being written when the process ended: nobody was told of them", size(*torn_bytes));
        }
        problems.iter().for_each(|problem| say!("problem: {}", plain(problem)));
    }
    match problems.len() {
        0 => {
            if !as_json {
                say!("everything holds together");
            }
            Ok(())
        }
        number => Err(Failure::new(FAILED, numbered(number as u64, "problem"))),
    }
}
