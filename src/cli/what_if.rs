//! `what-if`: the stored history through a config that is not in force, against the one that is. Sends nothing.
//!
//! The running relay does the work, in its own surroundings; this asks it for one piece after the other, puts the answers together and
//! shows how far it has come. The config is proved there, so what `${…}` stands for need not be known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, query};
use super::dialogue::Progress;
use super::output::{json, print};
use super::terminal::{grouped, numbered, paint, plain};
use super::{BAD_CONFIG, FAILED, Failure, block_on, find_config, tell_of_warnings};
use crate::config::{self, read_text};
use crate::relay::Change;

/// Examples that are shown of each group, as many as one answer has.
const EXAMPLES_MAX: usize = 3;
/// Groups that are printed; the rest is a number, and all of them are in the JSON.
const PRINTED_MAX: usize = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config to try [default: the file that --config names, as it stands now]
    #[arg(value_name = "NEW")]
    candidate: Option<PathBuf>,
    /// Look at so many events, the newest [default: 100000]
    #[arg(long, value_name = "N", conflicts_with = "since", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Look at events that arrived at or after this: 2026-11-25T08:00:00Z, 2026-11-25, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let bad = |error: &config::ConfigError| Failure::of(BAD_CONFIG, error);
    let running = find_config(named);
    let candidate = args.candidate.clone().map_or_else(|| find_config(named), Ok).map_err(|error| bad(&error))?;
    let text = read_text(&candidate).map_err(|error| bad(&error))?;
    // Where no config of the running relay is to be found, the new one most likely says where it is as well.
    let relay = RunningRelay::at(Some(running.as_ref().unwrap_or(&candidate)), &args.at)?;
    let file = candidate.display().to_string();
    let found = block_on(ask(&relay, &args, &file, &text))?;
    tell_of_warnings(found.warnings.len(), Some(&candidate));
    if args.at.json {
        json(&found.json());
    } else {
        print(&found.text(&file));
    }
    Ok(())
}

/// Asks for one piece after the other.
async fn ask(relay: &RunningRelay, args: &Args, file: &str, text: &str) -> Result<Found, Failure> {
    let last = args.last.map(|last| last.to_string());
    let parameters = query(&[("last", last.as_deref()), ("since", args.since.as_deref())]);
    let range = relay.get(&format!("/api/what-if{parameters}")).await?;
    let mut found = Found::default();
    let progress = Progress::new();
    let mut after = range["next"].clone();
    let events = range["events"].as_u64().unwrap_or(0);
    // Also where there is no event at all: the config is proved.
    loop {
        let asked = value!({ "config": text, "file": file, "after": after });
        let piece = relay.try_act("/api/what-if", &asked).await?.map_err(|why| Failure::new(BAD_CONFIG, why))?;
        if piece["generation"] != range["generation"] {
            return Err(Failure::new(FAILED, "the relay's own config was reloaded meanwhile: ask again"));
        }
        found.add(&piece);
        if piece["next"].is_null() {
            return Ok(found);
        }
        after = piece["next"].clone();
        let done = ["events", "skipped", "redacted"].map(|name| found.count(name)).iter().sum::<u64>();
        progress.show(done as f64 / events.max(done) as f64, &numbered(done, "event"));
    }
}

/// What was found in all pieces.
#[derive(Debug, Default)]
struct Found {
    /// Numbers by their name.
    counts: BTreeMap<&'static str, u64>,
    groups: BTreeMap<Key, Alike>,
    /// Of each destination that puts deliveries together, the messages now, and by the file.
    messages: BTreeMap<String, [u64; 2]>,
    no_longer_accepted: Alike,
    sources_gone: Vec<String>,
    warnings: Vec<String>,
}

/// The change, the rule and the destination.
type Key = (String, String, String);

#[derive(Debug, Default)]
struct Alike {
    count: u64,
    examples: Vec<Value>,
    /// Why the contents were not compared, if they were not.
    not_compared: Option<String>,
}

impl Alike {
    fn add(&mut self, count: &Value, examples: &Value) {
        self.count += count.as_u64().unwrap_or(0);
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples.extend(examples.as_array().into_iter().flatten().take(room).cloned());
    }
}

const COUNTS: [&str; 10] =
    ["events", "skipped", "redacted", "appears", "vanishes", "changes", "moves", "waits", "stays", "not_grouped"];

impl Found {
    fn add(&mut self, piece: &Value) {
        for name in COUNTS {
            *self.counts.entry(name).or_default() += piece[name].as_u64().unwrap_or(0);
        }
        for group in piece["groups"].as_array().into_iter().flatten() {
            let text = |key: &str| group[key].as_str().unwrap_or("?").to_owned();
            let alike = self.groups.entry((text("change"), text("rule"), text("destination"))).or_default();
            alike.add(&group["deliveries"], &group["examples"]);
            alike.not_compared = group["not_compared"].as_str().map(str::to_owned);
        }
        for told in piece["messages"].as_array().into_iter().flatten() {
            let known = self.messages.entry(told["destination"].as_str().unwrap_or("?").to_owned()).or_default();
            for (sum, key) in known.iter_mut().zip(["now", "then"]) {
                *sum += told[key].as_u64().unwrap_or(0);
            }
        }
        self.no_longer_accepted.add(&piece["no_longer_accepted"]["events"], &piece["no_longer_accepted"]["examples"]);
        let texts = |key: &str| -> Vec<String> {
            piece[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        // Every piece is told the same.
        (self.sources_gone, self.warnings) = (texts("sources_gone"), texts("warnings"));
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// The groups, the largest first.
    fn sorted(&self) -> Vec<(&Key, &Alike)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, alike)| std::cmp::Reverse(alike.count));
        groups
    }

    fn json(&self) -> Value {
        let groups = self.sorted().into_iter().map(|((change, rule, destination), alike)| {
            let mut told = value!({
                "change": change,
                "rule": rule,
                "destination": destination,
                "deliveries": alike.count,
                "examples": alike.examples,
            });
            if let Some(why) = &alike.not_compared {
                told["not_compared"] = value!(why);
            }
            told
        });
        let mut told = value!({
            "groups": groups.collect::<Vec<_>>(),
            "no_longer_accepted": {
                "events": self.no_longer_accepted.count,
                "examples": self.no_longer_accepted.examples,
            },
            "messages": self.messages.iter().map(|(destination, [now, then])| {
                value!({ "destination": destination, "now": now, "then": then })
            }).collect::<Vec<_>>(),
            "sources_gone": self.sources_gone,
            "warnings": self.warnings,
        });
        for name in COUNTS {
            told[name] = value!(self.count(name));
        }
        told
    }

    fn text(&self, file: &str) -> String {
        let [events, skipped, stays] = ["events", "skipped", "stays"].map(|name| self.count(name));
        let mut out = format!("{file}, tried with {}", numbered(events, "event"));
        if skipped > 0 {
            out.push_str(&format!(" ({} more cannot be read any more)", grouped(skipped)));
        }
        let redacted = self.count("redacted");
        if redacted > 0 {
            out.push_str(&format!(" ({} more are redacted and cannot be judged)", grouped(redacted)));
        }
        let totals = Change::ALL.map(|change| (change, self.count(change.word())));
        if totals.iter().all(|(_, total)| *total == 0) {
            let rest =
                if stays > 0 { format!(", {} as they are", stay(stays)) } else { ": they go nowhere".to_owned() };
            let nothing = match self.messages.values().any(|[now, then]| now != then) {
                true => "the same deliveries in another number of messages",
                false => "nothing would change",
            };
            out.push_str(&format!(": {nothing}{rest}\n"));
        } else {
            let changed = totals.iter().filter(|(_, total)| *total > 0);
            let changed = changed.map(|(change, total)| format!("{} would {}", grouped(*total), would(change.word())));
            let changed: Vec<_> = changed.collect();
            out.push_str(&format!(": of their deliveries {}; {} as they are\n", changed.join(", "), stay(stays)));
        }
        for source in &self.sources_gone {
            out.push_str(&format!("the source `{}` is gone: its events would be refused\n", plain(source)));
        }
        for (destination, [now, then]) in &self.messages {
            let told = format!("{} → {}", grouped(*now), numbered(*then, "message"));
            out.push_str(&format!("→ {}: {told}\n", paint("1", &plain(destination))));
        }
        let groups = self.sorted();
        for (key, alike) in groups.iter().take(PRINTED_MAX) {
            out.push_str(&shown(key, alike));
        }
        let unshown: u64 = groups.iter().skip(PRINTED_MAX).map(|(_, alike)| alike.count).sum();
        if unshown + self.count("not_grouped") > 0 {
            out.push_str(&format!("\n… and {} more\n", numbered(unshown + self.count("not_grouped"), "delivery")));
        }
        if self.no_longer_accepted.count > 0 {
            let title = format!("{} would match no rule any more", numbered(self.no_longer_accepted.count, "event"));
            out.push_str(&format!("\n{}\n", paint("1", &title)));
            self.no_longer_accepted.examples.iter().for_each(|example| out.push_str(&line(example)));
        }
        out
    }
}

/// How many deliveries are left alone.
fn stay(number: u64) -> String {
    match number {
        0 => "none stays".to_owned(),
        1 => "1 stays".to_owned(),
        number => format!("{} stay", grouped(number)),
    }
}

/// What a delivery would do, in words.
fn would(change: &str) -> &'static str {
    match change {
        "appears" => "appear",
        "vanishes" => "vanish",
        "moves" => "go another way",
        "waits" => "go out at another time or with others",
        _ => "change",
    }
}

fn shown((change, rule, destination): &Key, alike: &Alike) -> String {
    let colour = match change.as_str() {
        "appears" => "32",
        "vanishes" => "31",
        _ => "33",
    };
    let rule = plain(rule);
    let destination = plain(destination);
    let what = paint(colour, &format!("{} would {}", grouped(alike.count), would(change)));
    let mut out = format!("\n{what}: → {}, by the rule {rule}\n", paint("1", &destination));
    if change == "moves" {
        out.push_str(
            "  the same content with another URL, method, header, key, mail server, sender, recipient, file, thread or message that counts\n",
        );
    }
    if let Some(why) = &alike.not_compared {
        out.push_str(&format!("  not compared: {}\n", plain(why)));
    }
    for example in &alike.examples {
        out.push_str(&line(example));
        let excerpt = |key: &str| example[key].as_str().map(plain);
        match (excerpt("now"), excerpt("then")) {
            (Some(now), Some(then)) => out.push_str(&format!("    - {now}\n    + {then}\n")),
            _ if change == "changes" && alike.not_compared.is_none() => {
                out.push_str("    what a ${…} stands for is in it, so it is not shown\n")
            }
            _ => {}
        }
    }
    out
}

/// An event on one line.
fn line(example: &Value) -> String {
    let text = |key: &str| plain(example[key].as_str().unwrap_or_default());
    let line = format!("  {}  {:<12}  {}", text("id"), text("type"), text("campaign"));
    format!("{}\n", line.trim_end())
}
