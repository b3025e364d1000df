//! `send`: Vero's *Test URL* button. Posts samples to a running relay and says what became of them.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay};
use super::dialogue::{self, says_yes};
use super::output::{json, say};
use super::terminal::{plain, wait_of};
use super::{FAILED, Failure, STANDARD_INPUT, USAGE, block_on, load, read_event};
use crate::config::{Config, Source};
use crate::deliver::DestinationConfig;
use crate::destination::{Delivery, Outcome};
use crate::event::{EventId, RelayFields, vero};
use crate::listener::body::BodyError;
use crate::receive::DUPLICATE;
use crate::store::{NameId, StoredEvent};

/// How long to wait for deliveries before saying that they are still in flight.
const WAIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How the name of a config ends: an event is JSON.
const CONFIG_ENDS: [&str; 2] = [".yaml", ".yml"];

/// By which way in an event goes.
#[derive(Clone, Copy)]
enum WayIn<'a> {
    /// As the source's sender posts it.
    Source(&'a Source),
    /// By the admin listener, as a source by its name or as the first.
    Operator(Option<&'a str>),
}

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "vero-relay send [OPTIONS] <EVENT>... [FILE]\n       vero-relay send [OPTIONS] --all [FILE]"
)]
pub(super) struct Args {
    /// Samples of Vero's by name (sent, bounced …), files, or - for standard input; a last one like *.yaml is the config, instead of --config
    #[arg(value_name = "EVENT", required_unless_present = "all")]
    events: Vec<String>,
    /// One sample of each type, in place of EVENT
    #[arg(long)]
    all: bool,
    /// Try one destination, without rules and without a running relay
    #[arg(long, value_name = "DESTINATION")]
    to: Option<String>,
    /// The source to send as; with --to what `relay.source` says [default: the first]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Send to the relay whose admin listener is there, without a config; $VERO_RELAY_ADMIN_TOKEN holds its token, and $VERO_RELAY_ADMIN is not looked at
    #[arg(long, value_name = "URL", conflicts_with = "to", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    admin: Option<String>,
    /// Do not ask, also where destinations are on other machines
    #[arg(long)]
    yes: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (words, file) = words_of(&args, named)?;
    if let Some(admin) = &args.admin {
        let relay = RunningRelay::at(None, &At::named(admin, args.json))?;
        let events = read_events(&words)?;
        for (name, body) in &events {
            if let Err(error) = std::str::from_utf8(body) {
                let why = "is not UTF-8 from byte";
                let text = format!("{}: the event {why} {} on, and JSON is UTF-8", plain(name), error.valid_up_to());
                return Err(Failure::new(USAGE, text));
            }
        }
        dialogue::confirm(&format!("The relay at {} sends this where its rules say.", plain(admin)), args.yes)?;
        return block_on(send_all(&relay, WayIn::Operator(args.source.as_deref()), events, args.json));
    }
    let (path, config) = load(file.or(named))?;
    // What is refused is kept for a while, to be looked at.
    if words.iter().any(|word| Path::new(word) == path) {
        let path = plain(&path.to_string_lossy());
        return Err(Failure::new(
            USAGE,
            format!("`{path}` is the config, and tells what nobody else should know: name an event"),
        ));
    }
    let events = read_events(&words)?;
    let source = find_source(&config, args.source.as_deref())?;
    if let Some(name) = &args.to {
        refuse_what_is_no_event(&config, source, &events)?;
        refuse_files_of_root(&config, name)?;
    }
    ask(&config, &args)?;
    block_on(async {
        match &args.to {
            Some(name) => try_destination(&config, source, name, events, args.json).await,
            None => send_all(&RunningRelay::of(&config)?, WayIn::Source(source), events, args.json).await,
        }
    })
}

/// What is to be sent, none for all samples, and the config. With --all the one word is the config. Where --config names one too, it is
/// not guessed which of the two is an event: a config that is posted may tell its secrets.
fn words_of<'a>(args: &'a Args, named: Option<&Path>) -> Result<(Vec<&'a str>, Option<&'a Path>), Failure> {
    let mut words: Vec<_> = args.events.iter().map(String::as_str).collect();
    let is_config = |word: &&str| {
        args.all || (args.events.len() > 1 && CONFIG_ENDS.iter().any(|end| word.to_ascii_lowercase().ends_with(end)))
    };
    let file = words.pop_if(|word| is_config(&&**word)).map(Path::new);
    if args.all && !words.is_empty() {
        return Err(Failure::new(USAGE, "--all sends one sample of each type: name no other event"));
    }
    if args.admin.is_some() && (file.is_some() || named.is_some()) {
        return Err(Failure::new(USAGE, "with --admin no config is read: leave it out"));
    }
    if let (Some(file), Some(named)) = (file, named) {
        let [file, named] = [file, named].map(|path| plain(&path.to_string_lossy()).to_string());
        let why = format!("the config is named twice, by `{file}` and by --config {named}: leave out one");
        let help =
            if args.all { "" } else { "; an event in a file like *.yaml is sent alone, or before one of another name" };
        return Err(Failure::new(USAGE, why + help));
    }
    if words.iter().filter(|word| **word == STANDARD_INPUT).count() > 1 {
        return Err(Failure::new(USAGE, "standard input can be read once: name `-` once, or put the events in files"));
    }
    Ok((words, file))
}

/// Events, each with what it was called.
fn read_events(words: &[&str]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    if words.is_empty() {
        let samples = vero::SAMPLES.iter();
        return Ok(samples.map(|(name, body)| ((*name).to_owned(), body.as_bytes().to_vec())).collect());
    }
    words.iter().map(|word| Ok(((*word).to_owned(), read_event(word)?))).collect()
}

/// Asks before anything leaves this machine.
fn ask(config: &Config, args: &Args) -> Result<(), Failure> {
    let is_meant = |destination: &&DestinationConfig| args.to.as_ref().is_none_or(|name| *name == destination.name);
    let remote = config.destinations.iter().filter(is_meant).filter(|d| !d.destination.is_loopback());
    let remote: Vec<_> = remote.map(|d| format!("  {} ({})", d.name, d.destination.address())).collect();
    if args.yes || remote.is_empty() {
        return Ok(());
    }
    let listed = remote.join("\n");
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, format!("this may reach other machines; to send it, say --yes:\n{listed}")));
    }
    let is_allowed = says_yes(&format!("This may reach other machines:\n{listed}\nSend?"));
    if is_allowed { Ok(()) } else { Err(Failure::new(FAILED, "nothing was sent")) }
}

/// What the relay would not accept goes nowhere from here either: a file of another kind may hold secrets.
fn refuse_what_is_no_event(config: &Config, source: &Source, events: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let relay = RelayFields { source: &source.name, received_ms: crate::time::wall_ms() };
    for (name, body) in events {
        let most = config.limits.body_max;
        let refused = if body.len() > most {
            BodyError::TooLarge(most).to_string()
        } else if let Err(refused) = config.rules.route(body, relay) {
            refused.to_string()
        } else {
            continue;
        };
        return Err(Failure::new(FAILED, format!("nothing was sent: `{name}`: {refused}")));
    }
    Ok(())
}

/// Files that root writes below the relay's directory belong to root, and the relay could not go on with them.
fn refuse_files_of_root(config: &Config, name: &str) -> Result<(), Failure> {
    let is_file = config.destinations.iter().any(|d| d.name == name && d.destination.file_pattern().is_some());
    let owner = std::fs::metadata(&config.data_dir).map_or(0, |metadata| metadata.uid());
    if !is_file || owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let why = "the file would belong to root, and the relay could not write to it";
    let directory = config.data_dir.display();
    Err(Failure::new(
        FAILED,
        format!("{why}: run this as the user that {directory} belongs to, like sudo -u '#{owner}' vero-relay send …"),
    ))
}

fn find_source<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Source, Failure> {
    let found = match name {
        Some(name) => config.sources.iter().find(|source| source.name == name),
        None => config.sources.first(),
    };
    found.ok_or_else(|| Failure::new(USAGE, "there is no such source in the config"))
}

async fn send_all(
    relay: &RunningRelay,
    way_in: WayIn<'_>,
    events: Vec<(String, Vec<u8>)>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut told = Vec::new();
    let sent = send_each(relay, way_in, events, as_json, &mut told).await;
    // Also where one of them could not be sent: what was sent before is told.
    if as_json {
        json(&value!({ "sent": told }));
    }
    if sent? { Ok(()) } else { Err(Failure::new(FAILED, "not everything arrived")) }
}

/// Sends them one after the other, and adds to `told` what became of each. Returns whether all arrived.
async fn send_each(
    relay: &RunningRelay,
    way_in: WayIn<'_>,
    events: Vec<(String, Vec<u8>)>,
    as_json: bool,
    told: &mut Vec<Value>,
) -> Result<bool, Failure> {
    let mut all_arrived = true;
    // Destinations that have kept us waiting once: they are down, and nobody waits for them again.
    let mut slow = Vec::new();
    for (name, body) in events {
        let answer = match way_in {
            WayIn::Source(source) => relay.post_event(source, body).await?,
            WayIn::Operator(source) => relay.let_in(source, &body).await?,
        };
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(id) = said["id"].as_str().filter(|_| answer.status == 200) else {
            let why = plain(said["error"].as_str().unwrap_or("no reason was given; is it a vero-relay?"));
            told.push(value!({ "event": name, "status": answer.status, "error": why }));
            if !as_json {
                say!("{}: refused with {}: {why}", plain(&name), answer.status);
            }
            all_arrived = false;
            continue;
        };
        let is_again = answer.headers.contains_key(DUPLICATE);
        if !as_json && is_again {
            say!(
                "{}: the same came before: {}; nothing is sent again within the source's `dedupe`",
                plain(&name),
                plain(id)
            );
        } else if !as_json {
            say!("{}: accepted: {}", plain(&name), plain(id));
        }
        let view = wait_until_settled(relay, id, &mut slow).await?;
        all_arrived &= deliveries(&view).iter().all(is_as_intended);
        if !as_json {
            show(&view);
        }
        told.push(value!({ "event": name, "status": answer.status, "id": id, "duplicate": is_again, "deliveries": view["deliveries"] }));
    }
    Ok(all_arrived)
}

/// Whether a delivery came to what the config and the operator want: what a template leaves out is skipped, and what a held source
/// sends is kept until `resume --source`.
fn is_as_intended(delivery: &Value) -> bool {
    matches!(delivery["state"].as_str(), Some("delivered" | "skipped" | "held"))
}

async fn wait_until_settled(relay: &RunningRelay, id: &str, slow: &mut Vec<Value>) -> Result<Value, Failure> {
    let start = Instant::now();
    loop {
        let view = relay.get(&format!("/api/events/{id}")).await?;
        let is_open = |delivery: &Value| matches!(delivery["state"].as_str(), Some("waiting" | "in_flight"));
        let open =
            deliveries(&view).iter().filter(|delivery| is_open(delivery)).map(|delivery| &delivery["destination"]);
        let open: Vec<_> = open.filter(|name| !slow.contains(name)).cloned().collect();
        if start.elapsed() > WAIT {
            slow.extend(open);
            return Ok(view);
        }
        if open.is_empty() {
            return Ok(view);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn deliveries(view: &Value) -> &[Value] {
    view["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Prints what became of an event.
fn show(view: &Value) {
    if deliveries(view).is_empty() {
        say!("  no rule sends it anywhere");
    }
    for delivery in deliveries(view) {
        let destination = &delivery["destination"];
        let rule = &delivery["rule"];
        let name = plain(destination.as_str().unwrap_or("?"));
        let reason = delivery["reason"].as_str().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        let state = plain(&delivery["state"].as_str().unwrap_or("?").replace('_', " "));
        let wait = wait_of(delivery).map(|wait| format!(": {wait}")).unwrap_or_default();
        say!("  → {name:<16} {state}{wait}{reason}   (rule: {})", plain(rule.as_str().unwrap_or("?")));
    }
}

/// One attempt at one destination, straight from here.
async fn try_destination(
    config: &Config,
    source: &Source,
    name: &str,
    events: Vec<(String, Vec<u8>)>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut told = Vec::new();
    let found = config.destinations.iter().find(|destination| destination.name == name);
    let Some(destination) = found else {
        let names: Vec<_> = config.destinations.iter().map(|destination| destination.name.as_str()).collect();
        return Err(Failure::new(USAGE, format!("there is no destination `{name}`; there are {}", names.join(", "))));
    };
    let mut all_arrived = true;
    for (i, (event, body)) in events.into_iter().enumerate() {
        let received_ms = crate::time::wall_ms();
        let stored = StoredEvent {
            id: EventId::mint(received_ms, 0, i as u64),
            received_ms,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: body.into(),
            is_redacted: false,
        };
        let delivery = Delivery {
            event: Arc::new(stored),
            source: source.name.as_str().into(),
            rule: "none (send --to)".into(),
            digest: None,
        };
        let attempt = destination.destination.attempt(std::slice::from_ref(&delivery));
        let outcome = match tokio::time::timeout(destination.policy.timeout, attempt).await {
            Ok(outcomes) => outcomes.into_iter().next().unwrap_or_else(|| Outcome::retry("no outcome")),
            Err(_) => Outcome::retry("no answer in time"),
        };
        if !as_json {
            let reason = outcome.reason().map(|reason| format!(": {}", plain(&reason.to_string()))).unwrap_or_default();
            // Nobody tries it again: what a relay would do next is not what happens here.
            let became = match &outcome {
                Outcome::Delivered | Outcome::DeliveredInPart { .. } | Outcome::Skipped { .. } => outcome.name(),
                Outcome::Retry { .. } | Outcome::Reject { .. } | Outcome::Apart { .. } | Outcome::Pause { .. } => {
                    "not delivered"
                }
            };
            say!("{} → {name}: {became}{reason}", plain(&event));
        }
        let reason = outcome.reason().map(ToString::to_string);
        told.push(value!({ "event": event, "destination": name, "outcome": outcome.name(), "reason": reason }));
        all_arrived &= outcome.is_delivered() || matches!(outcome, Outcome::Skipped { .. });
    }
    if as_json {
        json(&value!({ "attempts": told }));
    }
    if all_arrived { Ok(()) } else { Err(Failure::new(FAILED, "not everything arrived")) }
}
