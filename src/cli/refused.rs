//! `refused`: the last requests that were turned away, and why. "I pasted the URL and nothing comes" is the first question asked.

use std::path::Path;

use serde_json::Value;

use super::client::{At, RunningRelay};
use super::output::{json, say};
use super::terminal::{grouped, paint, plain};
use super::{AdminFile, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: AdminFile,
    /// At most so many, the newest
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(args.file.or(named), &args.at)?;
    let mut told = block_on(async { relay.get("/api/refused").await })?;
    if let Some(list) = told["refused"].as_array_mut() {
        list.truncate(args.limit.into());
    }
    if args.at.json {
        json(&told);
        return Ok(());
    }
    let list = told["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().for_each(|one| say!("{}", line(one)));
    let since = plain(told["since"].as_str().unwrap_or("?"));
    let counts = told["counts"].as_object().into_iter().flatten();
    let counts = counts.map(|(reason, count)| {
        let reason = plain(&reason.replace('_', " "));
        format!("{} {reason}", grouped(count.as_u64().unwrap_or(0)))
    });
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() {
        say!("nothing was turned away since {since}");
    } else {
        say!("since {since}: {}", counts.join(", "));
    }
    Ok(())
}

/// One request: when, what was answered and why, and the beginning of what came.
fn line(one: &Value) -> String {
    let text = |key: &str| plain(one[key].as_str().unwrap_or(""));
    let status = paint("31", &one["status"].to_string());
    let mut out = format!("{}  {status}  {} {}  {}", text("at"), text("method"), text("path"), text("reason"));
    if !text("body").is_empty() {
        out.push_str(&format!("\n    {}", text("body")));
    }
    out
}
