//! `notify`: asks a running relay to tell those who are told of trouble, as a test.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay};
use super::output::{json, say};
use super::terminal::plain;
use super::{FAILED, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Send a test to all whom `notify` in the config names, and show what each answered. Exits 1 if nobody could be told
    Test {
        /// Only to this destination, which must be one of them
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        #[command(flatten)]
        at: At,
    },
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let Act::Test { to, at } = args.act;
    let relay = RunningRelay::at(named, &at)?;
    let asked = to.map_or_else(|| value!({}), |to| value!({ "to": to }));
    let said = block_on(async { relay.act("/api/notify/test", &asked).await })?;
    let answers = said["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if at.json {
        json(&said);
    } else {
        answers.iter().for_each(|answer| say!("{}", line(answer)));
    }
    let is_told = answers.iter().any(|answer| answer["told"] == true);
    if is_told { Ok(()) } else { Err(Failure::new(FAILED, "nobody could be told")) }
}

fn line(answer: &Value) -> String {
    let name = plain(answer["to"].as_str().unwrap_or("?"));
    match answer["error"].as_str() {
        None => format!("{name} was told, within {} ms", answer["took_ms"]),
        Some(why) => format!("{name} could not be told: {}", plain(why)),
    }
}
