//! `dead-letters`: what was given up: list, show, replay, drop.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::columns::{Cell, LEAST, Layout, Table, end, middle, whole};
use super::dialogue::{Progress, confirm};
use super::events::attempts_of;
use super::output::{json, print, print_whole, say};
use super::replay::How;
use super::terminal::{are, grouped, numbered, plain, reason_of, width};
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
    /// Whose reason, or the answer behind it, holds this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Of events of this type, or of one of several: bounced,failed
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Of a campaign, by its name or the beginning of it: 'Cart*'; capital and small letters are alike
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Of the person with this address; capital and small letters are alike
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

impl Filters {
    /// As it is asked of the relay.
    fn asked(&self, destination: Option<&str>) -> Value {
        let Self { since, until, reason, event_type, campaign, email } = self;
        value!({
            "destination": destination,
            "since": since,
            "until": until,
            "reason": reason,
            "type": event_type,
            "campaign": campaign,
            "email": email,
        })
    }
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this destination
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
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
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "vero-relay dead-letters replay [OPTIONS] <DESTINATION> [EVENT]")]
struct Replay {
    #[command(flatten)]
    whose: Whose,
    /// Where they are to go instead
    #[arg(long, value_name = "DESTINATION")]
    to: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "vero-relay dead-letters drop [OPTIONS] <DESTINATION> [EVENT]")]
struct Drop {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// The destination whose dead letters they are; it must be named
    #[arg(value_name = "DESTINATION", required_unless_present = "from")]
    destination: Option<String>,
    /// The same, as it was written before
    #[arg(long, value_name = "DESTINATION", hide = true)]
    from: Option<String>,
}

impl Whose {
    /// The destination, and an event where `--from` names the destination and the one word is an event.
    fn split(self, event: Option<String>) -> (String, Option<String>) {
        match (self.from, self.destination) {
            (Some(from), word) => (from, event.or(word)),
            (None, destination) => (destination.unwrap_or_default(), event),
        }
    }
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// One event's id [default: all that the filters hold for]
    #[arg(value_name = "EVENT")]
    event: Option<String>,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    match args.act {
        Act::List(list) => list_them(named, &list),
        Act::Show(show) => show_one(named, &show),
        Act::Replay(Replay { whose, to, mut chosen }) => {
            let (from, event) = whose.split(chosen.event.take());
            act(named, "replay", &from, to.as_deref(), &Chosen { event, ..chosen })
        }
        Act::Drop(Drop { whose, mut chosen }) => {
            let (from, event) = whose.split(chosen.event.take());
            act(named, "drop", &from, None, &Chosen { event, ..chosen })
        }
    }
}

fn list_them(named: Option<&Path>, args: &List) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    // A filter that finds little gives pages that are empty or nearly, and where to go on.
    let mut letters = Vec::new();
    let mut after = None::<String>;
    loop {
        let mut asked = args.filters.asked(args.destination.as_deref());
        asked["limit"] = value!(args.limit as usize - letters.len());
        asked["after"] = value!(after);
        // An address stands in no access log of a proxy.
        let mut page = block_on(async { relay.act("/api/dead-letters/search", &asked).await })?;
        let found = page["dead_letters"].as_array_mut().map(std::mem::take).unwrap_or_default();
        letters.extend(found);
        // Pages go back in time, so they end. One that stands still is no relay's.
        let next = page["next"].as_str().map(str::to_owned).filter(|next| after.as_ref() != Some(next));
        after = next;
        if after.is_none() || letters.len() >= args.limit as usize {
            break;
        }
    }
    if args.at.json {
        json(&value!({ "dead_letters": letters, "next": after }));
        return Ok(());
    }
    let rows: Vec<_> = letters.iter().map(row).collect();
    let layout = Layout::of(&TABLE, &rows, width());
    for row in rows {
        say!("{}", layout.row(row));
    }
    if letters.is_empty() {
        say!("no dead letters match");
    } else if after.is_some() {
        say!("… and there may be more: -n, or a filter");
    }
    Ok(())
}

/// A line a dead letter.
static TABLE: Table = Table {
    columns: &[whole("", 0), middle("  ", 16), end(" ", 14), middle(" ", 28), end(" ", 24), end(" ", 0)],
    second_line: 3,
    least: LEAST,
};

fn row(letter: &Value) -> Vec<Cell> {
    let text = |key: &str| Cell::from(plain(letter[key].as_str().unwrap_or("")));
    let mut row: Vec<_> = ["event", "destination", "type", "who", "campaign"].map(text).into();
    row.push(Cell::from(reason_of(letter).unwrap_or_default()));
    row
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
    if args.at.json {
        json(&value!({ "event": event, "dead_letters": dead }));
        return Ok(());
    }
    for delivery in dead {
        let text = |key: &str| plain(delivery[key].as_str().unwrap_or(""));
        say!(
            "{}: {} (given up {}, attempts: {})",
            text("destination"),
            reason_of(delivery).unwrap_or_default(),
            text("at"),
            delivery["attempts"]
        );
        print(&attempts_of(delivery));
    }
    print_whole(&format!("{}\n", plain(event["body"].as_str().unwrap_or(""))));
    Ok(())
}

fn act(named: Option<&Path>, act: &str, from: &str, to: Option<&str>, chosen: &Chosen) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &chosen.how.at)?;
    let mut asked = chosen.filters.asked(Some(from));
    asked["event"] = value!(chosen.event);
    asked["dry_run"] = value!(true);
    if let Some(to) = to {
        asked["to"] = value!(to);
    }
    let path = format!("/api/dead-letters/{act}");
    let counting = Progress::of_unknown_length("counting");
    let counted = block_on(async { relay.act(&path, &asked).await })?;
    drop(counting);
    let number = counted["deliveries"].as_u64().unwrap_or(0);
    let does_nothing = number == 0 && chosen.how.id.is_none();
    let done = match (act, to) {
        ("drop", _) => "dropped for good".to_owned(),
        (_, None) => "delivered again".to_owned(),
        (_, Some(to)) => format!("delivered to {to}"),
    };
    let what = match number {
        0 => format!("nothing to do: no dead letter of {from} is meant"),
        _ => format!("{} of {from} {} {done}", numbered(number, "dead letter"), are(number)),
    };
    if chosen.how.dry_run || does_nothing {
        if chosen.how.at.json {
            json(&counted);
            return Ok(());
        }
        say!("{what}{}", if chosen.how.dry_run { " (dry run: nothing was done)" } else { "" });
        return Ok(());
    }
    if chosen.event.is_none() || act == "drop" {
        confirm(&format!("{what}. Do it?"), chosen.how.yes)?;
    }
    asked["dry_run"] = value!(false);
    asked["id"] = value!(chosen.how.id);
    let acting = Progress::of_unknown_length(&numbered(number, "dead letter"));
    let done = block_on(async { relay.act(&path, &asked).await })?;
    drop(acting);
    if chosen.how.at.json {
        json(&done);
        return Ok(());
    }
    let number = done["deliveries"].as_u64().unwrap_or(0);
    let was_known = if done["repeated"] == true { " (done before, by the same id)" } else { "" };
    let left = done["left"].as_u64().filter(|left| *left > 0).map(|left| format!("; {} left there", grouped(left)));
    let left = left.unwrap_or_default();
    say!("{} done{was_known}{left}; id {}", grouped(number), plain(done["id"].as_str().unwrap_or("?")));
    Ok(())
}
