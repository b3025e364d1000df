//! `events`: the history by filter, newest first, or one event with everything that is known of it.

use std::path::Path;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::columns::{Cell, LEAST, Layout, Part, Table, end, middle, whole};
use super::output::{json, print, print_whole, say, tell};
use super::terminal::{plain, reason_of, wait_of, width};
use super::{Failure, block_on};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One event's id: everything that is known of it
    id: Option<String>,
    /// Only this type, or one of several: bounced,failed
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what a match map, as in a rule, holds for: '{campaign.name: {glob: "Cart*"}}'
    #[arg(long = "match", value_name = "YAML")]
    matching: Option<String>,
    /// Only of the person with this address; capital and small letters are alike
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only of this campaign, by its whole name, or by its beginning with a * behind it: 'Cart*'; capital and small letters are alike
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only with this text in the body; capital and small letters of ASCII are alike
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only what this rule matched when it came
    #[arg(long)]
    rule: Option<String>,
    /// Only what came in by this source
    #[arg(long)]
    source: Option<String>,
    /// Only what goes to this destination
    #[arg(long)]
    destination: Option<String>,
    /// Only with a delivery in this state: held, waiting, in_flight, scheduled, delivered, skipped, dead, dropped, moved, unknown
    #[arg(long)]
    state: Option<String>,
    /// Only what went nowhere, by a rule or by a replay
    #[arg(long)]
    unrouted: bool,
    /// Arrived at or after this: 2026-11-25T08:00:00Z, 2026-11-25, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Arrived before this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    at: At,
}

impl Args {
    /// The filters, as they are asked of the relay.
    fn asked(&self) -> Value {
        value!({
            "type": self.event_type,
            "match": self.matching,
            "email": self.email,
            "campaign": self.campaign,
            "text": self.text,
            "rule": self.rule,
            "source": self.source,
            "destination": self.destination,
            "state": self.state,
            "unrouted": self.unrouted,
            "since": self.since,
            "until": self.until,
        })
    }
}

/// What the relay gives in one answer.
const PAGE_MAX: usize = 1000;

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    if let Some(id) = &args.id {
        let event = block_on(async { relay.get(&format!("/api/events/{}", step(id))).await })?;
        if args.at.json {
            json(&event);
        } else {
            print(&one(&event));
            let body = event["body"].as_str();
            print_whole(&format!("{}\n", plain(body.unwrap_or("(its body was erased)"))));
        }
        return Ok(());
    }
    let (mut events, mut after): (_, Option<String>) = (Vec::new(), None);
    let wanted = args.limit as usize;
    loop {
        let mut asked = args.asked();
        asked["limit"] = value!((wanted - events.len()).min(PAGE_MAX));
        asked["after"] = value!(after);
        // An address stands in no access log of a proxy.
        let mut page = block_on(async { relay.act("/api/events/search", &asked).await })?;
        if after.is_none() {
            tell_of_slips(&page);
        }
        events.extend(page["events"].as_array_mut().map(std::mem::take).unwrap_or_default());
        let next = page["next"].as_str().map(str::to_owned);
        // Pages go back in time, so they end. One that stands still is no relay's.
        if next.is_none() || next == after || events.len() >= wanted {
            break;
        }
        after = next;
    }
    if args.at.json {
        json(&Value::Array(events));
        return Ok(());
    }
    let rows: Vec<_> = events.iter().map(row).collect();
    let layout = Layout::of(&TABLE, &rows, width());
    for row in rows {
        say!("{}", layout.row(row));
    }
    if events.is_empty() {
        say!("no events match");
    }
    Ok(())
}

/// What in a filter probably does not do what was meant.
pub(super) fn tell_of_slips(answer: &Value) {
    let warnings = answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    warnings.for_each(|warning| tell!("warning: {}", plain(warning)));
}

/// A line an event: when, what, and where it went.
static TABLE: Table = Table {
    columns: &[whole("", 0), whole("  ", 0), end("  ", 14), middle(" ", 28), end(" ", 24), end(" → ", 0)],
    second_line: 3,
    least: LEAST,
};

fn row(event: &Value) -> Vec<Cell> {
    let text = |key: &str| Cell::from(plain(event[key].as_str().unwrap_or("")));
    let mut row: Vec<_> = ["received_at", "id", "type", "who", "campaign"].map(text).into();
    row.push(went(event["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default()));
    row
}

/// Where an event went, and what became of it there.
pub(super) fn went(deliveries: &[Value]) -> Cell {
    if deliveries.is_empty() {
        return Cell::painted("33", "nowhere".to_owned());
    }
    let parts = deliveries.iter().map(|delivery| {
        let state = delivery["state"].as_str().unwrap_or("?");
        let (order, colour) = match state {
            "dead" | "dropped" => (0, "31"),
            "delivered" | "skipped" | "moved" => (2, "32"),
            _ => (1, "33"),
        };
        let text = plain(delivery["destination"].as_str().unwrap_or("?"));
        Part { text, painted: Some((colour, plain(&state.replace('_', " ")))), order }
    });
    Cell::list(parts.collect())
}

fn one(event: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or(""));
    let mut out =
        format!("{}  received {} from {}\n", text(&event["id"]), text(&event["received_at"]), text(&event["source"]));
    if event["redacted"] == true {
        out.push_str("redacted: values of it were taken away, as store.history.redact says, and it goes out to nobody any more\n");
    }
    for delivery in event["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let state = delivery["state"].as_str().unwrap_or("?").replace('_', " ");
        let attempts = delivery["attempts"].as_u64().map(|n| format!(", attempts: {n}")).unwrap_or_default();
        let reason = reason_of(delivery).map(|reason| format!(": {reason}")).unwrap_or_default();
        let [to, at] = ["to", "at"].map(|key| delivery[key].as_str().map(|of| format!(" {key} {}", plain(of))));
        let to = to.unwrap_or_default();
        let at = at.unwrap_or_default();
        let wait = wait_of(delivery).map(|wait| format!(" ({wait})")).unwrap_or_default();
        out.push_str(&format!("→ {} {state}{to}{at}{wait}{attempts}{reason}\n", text(&delivery["destination"])));
        out.push_str(&attempts_of(delivery));
    }
    out
}

/// The attempts that failed, one line each, and what was answered. Of one that delivered, the delivery's line has told.
pub(super) fn attempts_of(delivery: &Value) -> String {
    let mut out = String::new();
    let attempted = delivery["attempted"].as_array().map(Vec::as_slice).unwrap_or_default();
    for attempt in attempted.iter().filter(|attempt| attempt["outcome"] != "delivered") {
        let text = |key: &str| plain(attempt[key].as_str().unwrap_or(""));
        let [at, outcome, reason] = ["at", "outcome", "reason"].map(text);
        out.push_str(&format!("    {at} {outcome} {reason} ({} ms)\n", attempt["took_ms"]));
        if !text("answer").is_empty() {
            out.push_str(&format!("      answered: {}\n", text("answer")));
        }
    }
    out
}
