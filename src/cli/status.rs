//! `status`: one screen of how a running relay stands. Exits 1 when it takes no events.

use std::path::Path;

use serde_json::Value;

use super::client::{At, RunningRelay};
use super::columns::{Cell, LEAST, Layout, Table, middle, whole};
use super::output::{json, print};
use super::terminal::{age, grouped, numbered, paint, plain, size, width};
use super::{AdminFile, FAILED, Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: AdminFile,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(args.file.or(named), &args.at)?;
    let status = block_on(async { relay.get("/api/status").await })?;
    if args.at.json {
        json(&status);
    } else {
        print(&screen(&status, width()));
    }
    if status["ready"] == true { Ok(()) } else { Err(Failure::new(FAILED, "the relay accepts no events just now")) }
}

fn screen(status: &Value, terminal: Option<usize>) -> String {
    let up = age(number(&status["uptime_s"]));
    let sources = status["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refuses_all = !sources.is_empty() && sources.iter().all(|source| source["state"] == "refusing");
    let mut out = match status["trouble"].as_str() {
        None if refuses_all => {
            format!("{} for {up}, accepts NO events: every source refuses them\n", paint("33", "up"))
        }
        None => format!("{} for {up}, accepts events\n", paint("32", "up")),
        Some(why) => format!("{} for {up}, accepts NO events: {}\n", paint("31", "up"), plain(why)),
    };
    for source in sources {
        let what = match source["state"].as_str() {
            Some("held") => "its events are kept and not delivered",
            Some("refusing") => "its events are answered with 503",
            _ => continue,
        };
        let [name, state, since] = ["name", "state", "since"].map(|key| plain(source[key].as_str().unwrap_or("?")));
        let state = paint("33", &state);
        let held = numbered(number(&source["held"]), "event");
        out.push_str(&format!("source {name} is {state} since {since}: {what}; {held} held\n"));
    }
    let damaged = number(&status["store"]["damaged_ranges"]);
    if damaged > 0 {
        let what = paint("31", &format!("damaged ranges of the journal at the start: {damaged}"));
        out.push_str(&format!("{what}; the log says what was lost, `vero-relay store verify` looks at all of it\n"));
    }
    let last = &status["config"]["last_reload"];
    if let Some(why) = last["error"].as_str() {
        let at = plain(last["at"].as_str().unwrap_or("?"));
        let first = plain(why.lines().next().unwrap_or_default());
        out.push_str(&format!("{} at {at}: {first}\n", paint("31", "the last reload failed")));
    }
    for problem in status["problems"].as_array().into_iter().flatten() {
        let [text, since] = ["text", "since"].map(|key| plain(problem[key].as_str().unwrap_or("?")));
        let told = match (problem["told"]["to"].as_str(), problem["gone_since"].as_str()) {
            (Some(to), None) => format!("; {} was told", plain(to)),
            (Some(to), Some(_)) => format!("; {} is told soon", plain(to)),
            (None, _) => String::new(),
        };
        out.push_str(&format!("{}, since {since}{told}\n", paint("33", &text)));
    }
    out.push('\n');
    let destinations = status["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = std::iter::once(head()).chain(destinations.iter().map(row)).collect();
    let layout = Layout::of(&TABLE, &rows, terminal);
    let all_below = std::iter::once(String::new()).chain(destinations.iter().map(below));
    for (row, below) in rows.into_iter().zip(all_below) {
        out.push_str(&format!("{}\n{below}", layout.row(row)));
    }
    let store = &status["store"];
    let of = |bytes: &str, most: &str| {
        let most = store[most].as_u64().map_or_else(String::new, |most| format!(" of {}", size(most)));
        format!("{}{most}", size(number(&store[bytes])))
    };
    out.push_str(&format!(
        "\nhistory {}, {}; dead letters beyond it {}; free {}\n",
        numbered(number(&store["events"]), "event"),
        of("journal_bytes", "history_bytes_max"),
        of("dead_letter_bytes", "dead_letter_bytes_max"),
        store["free_bytes"].as_u64().map_or_else(|| "unknown".to_owned(), size),
    ));
    out
}

/// A line a destination.
static TABLE: Table = Table { columns: &[middle("", 20), whole(" ", 10), whole(" ", 0)], second_line: 2, least: LEAST };

fn head() -> Vec<Cell> {
    let numbers = numbers(["backlog", "scheduled", "oldest", "dead letters"]);
    ["destination".to_owned(), "state".to_owned(), numbers].map(Cell::from).into()
}

fn numbers([waiting, scheduled, oldest, dead]: [&str; 4]) -> String {
    format!("{waiting:>9} {scheduled:>11} {oldest:>8} {dead:>14}")
}

fn row(destination: &Value) -> Vec<Cell> {
    let state = plain(destination["state"].as_str().unwrap_or("?"));
    let colour = if state == "up" && destination["held_until"].is_null() { "32" } else { "33" };
    let oldest = destination["oldest_age_s"].as_u64().map_or_else(|| "-".to_owned(), age);
    let name = plain(destination["name"].as_str().unwrap_or("?"));
    let [waiting, scheduled, dead] =
        ["backlog", "scheduled", "dead_letters"].map(|key| grouped(number(&destination[key])));
    let numbers = numbers([&waiting, &scheduled, &oldest, &dead]);
    vec![Cell::from(name), Cell::painted(colour, state), Cell::from(numbers)]
}

/// Below its line: why a destination does not go on, and what becomes of it.
fn below(destination: &Value) -> String {
    let mut out = String::new();
    let state = destination["state"].as_str().unwrap_or("?");
    let held_until = destination["held_until"].as_str();
    let why = destination["paused"]["reason"].as_str().or(destination["last_error"]["reason"].as_str());
    match (held_until, why) {
        (Some(until), why) if state == "up" => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            out.push_str(&format!("  it asked to be left alone until {}{}\n", plain(until), plain(&why)));
        }
        (_, Some(why)) if state != "up" => out.push_str(&format!("  {}\n", plain(why))),
        _ => {}
    }
    out.push_str(&gathered(destination).unwrap_or_default());
    out.push_str(&behind(destination).unwrap_or_default());
    out.push_str(&removal(destination));
    out
}

/// What waits to go out together, and that it is quiet.
fn gathered(destination: &Value) -> Option<String> {
    let digest = destination["digest"].as_object()?;
    let events = number(&digest["events"]);
    let quiet = digest["quiet_until"].as_str().map(|until| format!("  quiet until {}\n", plain(until)));
    let waits = (events > 0).then(|| {
        let at = match (digest["at"].as_str(), destination["state"] == "paused") {
            (Some(at), false) => format!(", at {}", plain(at)),
            (Some(at), true) => format!(", when it is resumed, and not before {}", plain(at)),
            (None, true) => ", when it is resumed".to_owned(),
            (None, false) => String::new(),
        };
        let wait = if events == 1 { "waits" } else { "wait" };
        format!("  {} {wait} to go out together{at}\n", deliveries(events))
    });
    Some([quiet, waits].into_iter().flatten().collect())
}

/// What waits for an earlier one of its order key.
fn behind(destination: &Value) -> Option<String> {
    let behind = destination["order"]["behind"].as_u64().filter(|behind| *behind > 0)?;
    let (wait, whose) = if behind == 1 { ("waits", "its") } else { ("wait", "their") };
    Some(format!("  {} {wait} for an earlier one of {whose} order key\n", deliveries(behind)))
}

fn deliveries(count: u64) -> String {
    if count == 1 { "1 delivery".to_owned() } else { format!("{} deliveries", grouped(count)) }
}

/// What becomes of what waits for a name that has left the config.
fn removal(destination: &Value) -> String {
    let removed = &destination["removed"];
    let Some(since) = removed["since"].as_str().map(plain) else { return String::new() };
    match removed["dead_letters_from"].as_str().filter(|_| destination["backlog"] != 0) {
        Some(from) => {
            format!("  removed from the config {since}: what waits becomes dead letters at {}\n", plain(from))
        }
        None => format!("  removed from the config {since}\n"),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn a_destination_that_left_the_config_says_so_and_until_when_also_where_it_is_paused() {
        let of = |state: &str, backlog: u64, removed: Value| {
            let one = value!({ "name": "crm", "state": state, "backlog": backlog, "removed": removed });
            screen(&value!({ "destinations": [one] }), None)
        };
        let removed = value!({ "since": "2026-01-02T03:04:05Z", "dead_letters_from": "2026-01-05T03:04:05Z" });
        for state in ["paused", "removed"] {
            let screen = of(state, 3, removed.clone());
            assert!(screen.contains(state), "{screen}");
            assert!(screen.contains("removed from the config 2026-01-02T03:04:05Z: what waits becomes dead letters at 2026-01-05T03:04:05Z\n"), "{screen}");
            let without = of(state, 0, removed.clone());
            assert!(without.contains("removed from the config 2026-01-02T03:04:05Z\n"), "{without}");
        }
        assert!(!of("paused", 3, Value::Null).contains("removed"));
    }

    #[test]
    fn what_waits_together_says_when_it_goes_out_and_what_is_paused_when_it_is_resumed() {
        let of = |state: &str, at: Value| {
            let one =
                value!({ "name": "chat", "state": state, "digest": { "at": at, "events": 2, "quiet_until": null } });
            let screen = screen(&value!({ "destinations": [one] }), None);
            let line = screen.lines().find(|line| line.contains("together")).expect("a line").to_owned();
            line.trim_start_matches("  2 deliveries wait to go out together").to_owned()
        };
        assert_eq!(of("up", value!("12:30")), ", at 12:30");
        assert_eq!(of("paused", value!("12:30")), ", when it is resumed, and not before 12:30");
        assert_eq!(of("paused", Value::Null), ", when it is resumed");
        assert_eq!(of("up", Value::Null), "");
    }

    #[test]
    fn a_long_name_moves_no_number() {
        let one =
            |name: &str| value!({ "name": name, "state": "paused", "paused": { "reason": "their move, ask Ann" } });
        let names = ["crm", "a-destination-with-a-name-that-is-longer-than-the-column-eu"];
        let status = value!({ "destinations": names.map(one) });
        let on = |terminal| {
            let screen = screen(&status, terminal);
            screen
                .lines()
                .filter(|line| line.contains("paused") || line.contains("  their"))
                .map(str::to_owned)
                .collect()
        };
        let short: Vec<String> = on(Some(80));
        assert_eq!(
            short,
            [
                "crm                         paused         0           0        -              0",
                "  their move, ask Ann",
                "a-destination…the-column-eu paused         0           0        -              0",
                "  their move, ask Ann",
            ]
        );
        let whole: Vec<String> = on(None);
        assert_eq!(whole[2], format!("{} paused             0           0        -              0", names[1]));
    }

    #[test]
    fn what_is_wrong_is_on_the_screen_and_what_is_not_is_not() {
        let screen = |error: Value| {
            let last = value!({ "at": "2026-01-02T03:04:05Z", "error": error });
            screen(&value!({ "uptime_s": 1, "config": { "last_reload": last } }), None)
        };
        let of_sources = |states: [&str; 2]| {
            let sources = states.map(|state| value!({ "name": "vero", "state": state, "since": "now" }));
            super::screen(&value!({ "uptime_s": 1, "sources": sources, "store": { "damaged_ranges": 2 } }), None)
        };
        assert!(of_sources(["refusing", "refusing"]).contains("accepts NO events: every source refuses them\n"));
        assert!(of_sources(["refusing", "open"]).contains(", accepts events\n"));
        assert!(of_sources(["open", "open"]).contains("damaged ranges of the journal at the start: 2; the log says"));
        let destination = |state: &str, held_until: Value| {
            let last_error = value!({ "reason": "429 Too Many Requests" });
            let one = value!({ "name": "crm", "state": state, "held_until": held_until, "last_error": last_error });
            super::screen(&value!({ "destinations": [one] }), None)
        };
        assert!(destination("up", value!("12:30")).contains("left alone until 12:30: 429 Too Many"));
        assert!(!destination("up", Value::Null).contains("429"));
        assert!(destination("failing", value!("12:30")).contains("\n  429 Too Many"));
        let failed = screen(value!("the config is not good\nerror: …"));
        assert!(failed.contains("the last reload failed"), "{failed}");
        assert!(failed.contains(" at 2026-01-02T03:04:05Z: the config is not good\n"), "{failed}");
        assert!(!screen(Value::Null).contains("reload"));
    }
}
