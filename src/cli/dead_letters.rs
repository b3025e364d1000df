//! `dead-letters`: what was given up: list, show, replay, drop.

use std::path::Path;

use serde_json::{Value, json};

use super::client::{At, RunningRelay, query, step};
use super::events::attempts_of;
use super::terminal::{confirm, count, plain};
use super::{FAILED, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// List them, newest event first
    List(List),
    /// Show one: its reason, the attempts with what was answered, and the event
    Show(Show),
    /// Deliver them again: one event's, or all that the filters hold for
    Replay(Replay),
    /// Keep them no longer
    Drop(Drop),
}

#[derive(Debug, clap::Args)]
struct Filters {
    /// Given up at or after this: 2026-11-25T08:00:00Z, 2026-11-25, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Given up before this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Whose reason holds this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this destination
    destination: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The event's id
    event: String,
    /// Only of this destination
    #[arg(long)]
    destination: Option<String>,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// Whose they are
    #[arg(long = "from", value_name = "DESTINATION")]
    from: String,
    /// Where they are to go instead
    #[arg(long, value_name = "DESTINATION")]
    to: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
struct Drop {
    /// Whose they are
    #[arg(long = "from", value_name = "DESTINATION")]
    from: String,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// One event's id [default: all that the filters hold for]
    event: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// An id of your own (a UUID), so that the command can be repeated and done once
    #[arg(long, value_name = "UUID")]
    id: Option<String>,
    /// Count them and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    match args.act {
        Act::List(list) => list_them(named, &list),
        Act::Show(show) => show_one(named, &show),
        Act::Replay(Replay { from, to, chosen }) => act(named, "replay", &from, to.as_deref(), &chosen),
        Act::Drop(Drop { from, chosen }) => act(named, "drop", &from, None, &chosen),
    }
}

fn list_them(named: Option<&Path>, args: &List) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let limit = args.limit.to_string();
    let parameters = [
        ("destination", args.destination.as_deref()),
        ("since", args.filters.since.as_deref()),
        ("until", args.filters.until.as_deref()),
        ("reason", args.filters.reason.as_deref()),
        ("limit", Some(limit.as_str())),
    ];
    let mut page = block_on(async { relay.get(&format!("/api/dead-letters{}", query(&parameters))).await })?;
    // A filter that finds little gives empty pages, and where to go on.
    while page["dead_letters"].as_array().is_some_and(Vec::is_empty) && !page["before"].is_null() {
        let before = page["before"].to_string();
        let parameters = [&parameters[..], &[("before", Some(before.as_str()))]].concat();
        page = block_on(async { relay.get(&format!("/api/dead-letters{}", query(&parameters))).await })?;
    }
    if args.json {
        println!("{page:#}");
        return Ok(());
    }
    let letters = page["dead_letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    for letter in letters {
        let text = |key: &str| plain(letter[key].as_str().unwrap_or(""));
        println!(
            "{}  {:<16} {:<14} {:<24} {}",
            text("event"),
            text("destination"),
            text("type"),
            text("campaign"),
            text("reason")
        );
    }
    if letters.is_empty() {
        println!("there are none");
    } else if !page["before"].is_null() {
        println!("… and there may be more: -n, or a filter");
    }
    Ok(())
}

fn show_one(named: Option<&Path>, args: &Show) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let event = block_on(async { relay.get(&format!("/api/events/{}", step(&args.event))).await })?;
    let is_meant = |delivery: &&Value| {
        delivery["state"] == "dead"
            && args.destination.as_deref().is_none_or(|name| delivery["destination"].as_str() == Some(name))
    };
    let deliveries = event["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let dead: Vec<&Value> = deliveries.iter().filter(is_meant).collect();
    if dead.is_empty() {
        return Err(Failure::new(FAILED, "this event is no dead letter there"));
    }
    if args.json {
        println!("{:#}", json!({ "event": event, "dead_letters": dead }));
        return Ok(());
    }
    for delivery in dead {
        let text = |key: &str| plain(delivery[key].as_str().unwrap_or(""));
        println!(
            "{}: {} (given up {}, attempts: {})",
            text("destination"),
            text("reason"),
            text("at"),
            delivery["attempts"]
        );
        print!("{}", attempts_of(delivery));
    }
    println!("{}", plain(event["body"].as_str().unwrap_or("")));
    Ok(())
}

fn act(named: Option<&Path>, act: &str, from: &str, to: Option<&str>, chosen: &Chosen) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &chosen.at)?;
    let mut asked = json!({
        "destination": from,
        "event": chosen.event,
        "since": chosen.filters.since,
        "until": chosen.filters.until,
        "reason": chosen.filters.reason,
        "dry_run": true,
    });
    if let Some(to) = to {
        asked["to"] = json!(to);
    }
    let path = format!("/api/dead-letters/{act}");
    let counted = block_on(async { relay.act(&path, &asked).await })?;
    let number = counted["deliveries"].as_u64().unwrap_or(0);
    let what = match (act, to) {
        ("drop", _) => format!("{} dead letters of {from} are dropped for good", count(number)),
        (_, None) => format!("{} dead letters of {from} are delivered again", count(number)),
        (_, Some(to)) => format!("{} dead letters of {from} are delivered to {to}", count(number)),
    };
    if chosen.dry_run || (number == 0 && chosen.id.is_none()) {
        println!("{what}{}", if chosen.dry_run { " (dry run: nothing was done)" } else { "" });
        return Ok(());
    }
    if chosen.event.is_none() || act == "drop" {
        confirm(&format!("{what}. Do it?"), chosen.yes)?;
    }
    asked["dry_run"] = json!(false);
    asked["id"] = json!(chosen.id);
    let done = block_on(async { relay.act(&path, &asked).await })?;
    let number = done["deliveries"].as_u64().unwrap_or(0);
    let was_known = if done["repeated"] == true { " (done before, by the same id)" } else { "" };
    println!("{} done{was_known}; id {}", count(number), done["id"].as_str().unwrap_or("?"));
    Ok(())
}
