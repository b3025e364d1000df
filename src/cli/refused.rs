//! `refused`: the last requests that were turned away, and why. "I pasted the URL and nothing comes" is the first question asked.

use std::path::Path;

use serde_json::Value;

use super::client::{At, RunningRelay};
use super::columns::{Cell, Layout, Table, cut, end, middle, whole};
use super::output::{json, say};
use super::terminal::{grouped, plain, width};
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
    let terminal = width();
    let rows: Vec<_> = list.iter().map(row).collect();
    let layout = Layout::of(&TABLE, &rows, terminal);
    for (one, row) in list.iter().zip(rows) {
        say!("{}", layout.row(row));
        body(one, terminal).iter().for_each(|body| say!("{body}"));
    }
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

/// The reason is what is looked for: it is not shortened below the length of most.
const REASON: usize = 50;

/// A line a request: when, what was answered, and why.
static TABLE: Table = Table {
    columns: &[whole("", 0), whole("  ", 0), end("  ", 0), middle(" ", 0), end("  ", 0)],
    second_line: 2,
    least: REASON,
};

fn row(one: &Value) -> Vec<Cell> {
    let text = |key: &str| Cell::from(plain(one[key].as_str().unwrap_or("")));
    let status = Cell::painted("31", one["status"].to_string());
    vec![text("at"), status, text("method"), text("path"), text("reason")]
}

/// The beginning of what came, on a line of its own.
fn body(one: &Value, terminal: Option<usize>) -> Option<String> {
    let body = one["body"].as_str().filter(|body| !body.is_empty())?;
    Some(cut(format!("    {}", plain(body)), terminal))
}
