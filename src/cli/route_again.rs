//! `route-again`: sends events where the rules in force send them, to destinations that lack them. Counts first, and asks.

use std::path::Path;

use serde_json::json as value;

use super::Failure;
use super::replay::{How, perform};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Events by their ids, instead of a range of time
    #[arg(value_name = "EVENT", conflicts_with_all = ["since", "until", "matching", "unrouted"])]
    events: Vec<String>,
    /// Events that arrived at or after this: 2026-11-25T08:00:00Z, 2026-11-25, or how long ago (2h)
    #[arg(long, value_name = "TIME", required_unless_present = "events")]
    since: Option<String>,
    /// And before this [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what a match map, as in a rule, holds for: '{type: bounced}'
    #[arg(long = "match", value_name = "YAML")]
    matching: Option<String>,
    /// Only what no rule sent anywhere when it came
    #[arg(long)]
    unrouted: bool,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(named: Option<&Path>, mut args: Args) -> Result<(), Failure> {
    // One event that is named is what is meant, as one dead letter is: nobody is asked first.
    args.how.yes |= args.events.len() == 1;
    let mut asked = value!({ "by": "now", "only": "missing" });
    if args.events.is_empty() {
        asked["since"] = value!(args.since);
        asked["until"] = value!(args.until);
        asked["match"] = value!(args.matching);
        asked["unrouted"] = value!(args.unrouted);
    } else {
        asked["events"] = value!(args.events);
    }
    perform(named, asked, &args.how, "sent where the rules in force send them")
}
