//! `replay`: delivers a range of the history again. Counts first, and asks.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::dialogue::{Progress, confirm};
use super::events::tell_of_slips;
use super::output::{json, say};
use super::terminal::{are, grouped, numbered, plain};
use super::{FAILED, Failure, block_on};

/// Between two looks at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Events that arrived at or after this: 2026-11-25T08:00:00Z, 2026-11-25, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: String,
    /// And before this [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what a match map, as in a rule, holds for: '{type: bounced}'
    #[arg(long = "match", value_name = "YAML")]
    matching: Option<String>,
    /// To this destination; may be given several times [default: where each event went]
    #[arg(long, value_name = "DESTINATION")]
    to: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// What is said of a command that counts first, besides what it is about.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// An id of your own (a UUID), so that the command can be repeated and done once
    #[arg(long, value_name = "UUID")]
    pub(super) id: Option<String>,
    /// Count and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let mut asked = value!({ "since": args.since, "until": args.until, "match": args.matching });
    // An empty list is refused: it would mean all, and look like none.
    if !args.to.is_empty() {
        asked["to"] = value!(args.to);
    }
    perform(named, asked, &args.how, "delivered again")
}

/// Counts what a replay would do, asks, and has it done. `done` is what happens to its events, in words.
pub(super) fn perform(named: Option<&Path>, mut asked: Value, how: &How, done: &str) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &how.at)?;
    asked["dry_run"] = value!(true);
    let counted = block_on(count(&relay, &asked))?;
    tell_of_slips(&counted);
    if how.dry_run && how.at.json {
        json(&counted);
        return Ok(());
    }
    let what = in_words(&counted, done);
    if how.dry_run {
        say!("{what} (dry run: nothing was done)");
        return Ok(());
    }
    // By an id it may have been begun before, and then it is told how far it is.
    if counted["deliveries"] == 0 && how.id.is_none() {
        if how.at.json {
            json(&counted);
        } else {
            say!("{}{}", nothing_to_do(&counted), passed_by(&counted));
        }
        return Ok(());
    }
    confirm(&format!("{what}. Do it?"), how.yes)?;
    asked["dry_run"] = value!(false);
    asked["id"] = value!(how.id);
    let done = block_on(follow(&relay, &asked))?;
    if how.at.json {
        json(&done);
        return Ok(());
    }
    let was_known = if done["repeated"] == true { " (begun before, by the same id)" } else { "" };
    let number = done["deliveries"].as_u64().unwrap_or(0);
    let deliveries = numbered(number, "delivery");
    let their = if number == 1 { "is on its way" } else { "are on their way" };
    say!("{deliveries} {their}{was_known}; id {}", plain(done["id"].as_str().unwrap_or("?")));
    Ok(())
}

/// Counts piece by piece, and puts the answers together.
async fn count(relay: &RunningRelay, asked: &Value) -> Result<Value, Failure> {
    let progress = Progress::new();
    let mut asked = asked.clone();
    let mut whole = relay.act("/api/replays", &asked).await?;
    while !whole["next"].is_null() {
        let [done, left] = ["looked_at", "events_left"].map(|key| whole[key].as_u64().unwrap_or(0));
        progress.show(done as f64 / (done + left).max(1) as f64, &numbered(done, "event"));
        asked["after"] = whole["next"].clone();
        let piece = relay.act("/api/replays", &asked).await?;
        add(&mut whole, piece);
    }
    Ok(whole)
}

/// Adds a piece of a count to those before it.
fn add(whole: &mut Value, mut piece: Value) {
    let sum = |a: &Value, b: &Value| value!(a.as_u64().unwrap_or(0) + b.as_u64().unwrap_or(0));
    for key in ["events", "deliveries", "redacted", "looked_at"] {
        whole[key] = sum(&whole[key], &piece[key]);
    }
    for part in piece["by_destination"].as_array_mut().map(std::mem::take).unwrap_or_default() {
        let Some(known) = whole["by_destination"].as_array_mut() else { break };
        match known.iter_mut().find(|known| known["destination"] == part["destination"]) {
            Some(known) => {
                for key in ["deliveries", "already_delivered"] {
                    known[key] = sum(&known[key], &part[key]);
                }
            }
            None => known.push(part),
        }
    }
    for warning in piece["warnings"].as_array_mut().map(std::mem::take).unwrap_or_default() {
        if let Some(told) = whole["warnings"].as_array_mut().filter(|told| !told.contains(&warning)) {
            told.push(warning);
        }
    }
    for key in ["next", "events_left"] {
        whole[key] = piece[key].take();
    }
    if !piece["up_to"].is_null() {
        whole["up_to"] = piece["up_to"].take();
    }
}

fn destinations_of(counted: &Value) -> &[Value] {
    counted["by_destination"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn nothing_to_do(counted: &Value) -> &'static str {
    if destinations_of(counted).iter().any(|part| part["already_delivered"] != 0) {
        "nothing to do: their destinations have them already"
    } else {
        "nothing to do: no event that is meant would go anywhere"
    }
}

fn in_words(counted: &Value, done: &str) -> String {
    let number = |value: &Value| grouped(value.as_u64().unwrap_or(0));
    let parts = destinations_of(counted).iter().filter(|part| part["deliveries"] != 0).map(|part| {
        format!("{} to {}", number(&part["deliveries"]), plain(part["destination"].as_str().unwrap_or("?")))
    });
    let parts: Vec<_> = parts.collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let events = counted["events"].as_u64().unwrap_or(0);
    format!("{} {} {done}{parts}{}", numbered(events, "event"), are(events), passed_by(counted))
}

/// What is not sent again, whatever is asked for.
fn passed_by(counted: &Value) -> String {
    match counted["redacted"].as_u64().unwrap_or(0) {
        0 => String::new(),
        events => format!("; {} of it {} redacted, and cannot be sent again", numbered(events, "event"), are(events)),
    }
}

/// Begins it and waits until everything is selected; delivering goes on by itself.
async fn follow(relay: &RunningRelay, asked: &Value) -> Result<Value, Failure> {
    let begun = relay.act("/api/replays", asked).await?;
    let path = format!("/api/replays/{}", step(begun["id"].as_str().unwrap_or_default()));
    let all = begun["events_left"].as_u64().unwrap_or(0).max(1) as f64;
    let progress = Progress::new();
    let mut now = begun.clone();
    while now["done"] != true {
        let left = now["events_left"].as_u64().unwrap_or(0) as f64;
        progress.show(1.0 - left / all, &numbered(now["deliveries"].as_u64().unwrap_or(0), "delivery"));
        tokio::time::sleep(LOOK_EVERY).await;
        now = relay.get(&path).await?;
        if let Some(why) = now["failed"].as_str() {
            return Err(Failure::new(
                FAILED,
                format!("the replay stopped: {}; it is tried again at the next start", plain(why)),
            ));
        }
    }
    now["repeated"] = begun["repeated"].clone();
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_count_are_added_up() {
        let of = |destination: &str, deliveries: u64| value!({ "destination": destination, "deliveries": deliveries, "already_delivered": 1 });
        let piece = |by: &[Value], warnings: &[&str], up_to: Option<&str>, next: Option<&str>| {
            value!({
                "dry_run": true, "events": 2, "deliveries": 3, "by_destination": by, "warnings": warnings,
                "redacted": 1, "looked_at": 5, "up_to": up_to, "next": next, "events_left": if next.is_some() { 5 } else { 0 },
            })
        };
        let mut whole = piece(&[of("a", 3)], &["slip"], Some("1"), Some("x"));
        add(&mut whole, piece(&[of("b", 1), of("a", 2)], &["slip", "far"], None, None));
        let expected = value!({
            "dry_run": true, "events": 4, "deliveries": 6, "warnings": ["slip", "far"],
            "by_destination": [{ "destination": "a", "deliveries": 5, "already_delivered": 2 }, of("b", 1)],
            "redacted": 2, "looked_at": 10, "up_to": "1", "next": null, "events_left": 0,
        });
        assert_eq!(whole, expected);
        assert_eq!(passed_by(&whole), "; 2 events of it are redacted, and cannot be sent again");
    }
}
