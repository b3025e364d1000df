//! `forget`: erases what there is of a person. Looks first, asks, erases, and searches every file for what is left.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::dialogue::{Progress, confirm};
use super::output::{json, print_error, say};
use super::terminal::{grouped, numbered, plain, size};
use super::{FAILED, Failure, STANDARD_INPUT, USAGE, block_on};

/// Between two looks at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Files that are shown of each sort; `--json` has up to a thousand.
const SHOWN_MAX: usize = 20;
/// An address has far less: what is longer is something else.
const INPUT_BYTES_MAX: u64 = 4096;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The person's address; - reads it from standard input, so that neither `ps` nor the shell's history has it
    #[arg(long, value_name = "ADDRESS", required_unless_present = "user_id")]
    email: Option<String>,
    /// Every event with this user.id, beside those of the address or in their place
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// Events about others that name the address in their text, too
    #[arg(long, requires = "email")]
    mentions: bool,
    /// Search every file below data_dir for the address, and change nothing. The exit code is 1 where a file of the relay has it
    #[arg(long, conflicts_with_all = ["user_id", "mentions", "dry_run", "yes"])]
    search: bool,
    /// Count and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let email = args.email.map(address).transpose()?;
    let relay = RunningRelay::at(named, &args.at)?;
    let mut asked = value!({ "email": email, "user_id": args.user_id, "mentions": args.mentions });
    if args.search {
        asked["search"] = value!(true);
        let found = block_on(follow(&relay, &asked))?;
        tell(&found, args.at.json, show_search);
        return whether_clean(&found);
    }
    asked["dry_run"] = value!(true);
    let looked = block_on(follow(&relay, &asked))?;
    if args.dry_run {
        tell(&looked, args.at.json, |looked| {
            show_look(looked);
            show_unreached(looked);
            say!("(dry run: nothing was done)");
        });
        return done(&looked);
    }
    done(&looked)?;
    if !args.at.json {
        show_look(&looked);
        show_unreached(&looked);
    }
    let events = looked["about"]["events"].as_u64().unwrap_or(0);
    // Also where there is none: what was erased of one before may lie somewhere.
    confirm(
        &format!("{} will be erased, and nobody can bring them back. Do it?", numbered(events, "event")),
        args.yes,
    )?;
    asked["dry_run"] = value!(false);
    let forgotten = block_on(follow(&relay, &asked))?;
    tell(&forgotten, args.at.json, show_forgotten);
    done(&forgotten)?;
    if forgotten["proved"] == true { Ok(()) } else { Err(Failure::new(FAILED, why_not_proved(&forgotten))) }
}

/// The address as it was typed, or the first line of standard input.
fn address(typed: String) -> Result<String, Failure> {
    if typed != STANDARD_INPUT {
        return Ok(typed);
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        print_error("the address: ");
    }
    let mut text = String::new();
    let read = stdin.lock().take(INPUT_BYTES_MAX).read_line(&mut text);
    read.map_err(|error| Failure::new(USAGE, format!("standard input holds no address: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Begins it, and waits until it is done. Who presses Ctrl-C ends it after what it is at, and sees how far it came.
async fn follow(relay: &RunningRelay, asked: &Value) -> Result<Value, Failure> {
    let mut now = relay.act("/api/forget", asked).await?;
    let path = format!("/api/forget/{}", step(now["id"].as_str().unwrap_or_default()));
    let progress = Progress::new();
    while now["phase"] != "done" {
        let waits_for = now["waits_for"].as_str().map(|what| format!(", waits for {what}")).unwrap_or_default();
        let what = format!("{}{waits_for}", now["phase"].as_str().unwrap_or_default());
        progress.show(now["share"].as_f64().unwrap_or(0.0), &what);
        now = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => relay.get(&path).await?,
            _ = tokio::signal::ctrl_c() => relay.act("/api/forget/stop", &value!({})).await?,
        };
    }
    Ok(now)
}

/// Shows what a run has come to.
fn tell(run: &Value, as_json: bool, show: impl FnOnce(&Value)) {
    if as_json { json(run) } else { show(run) }
}

/// A failure, where a run ended before its end.
fn done(run: &Value) -> Result<(), Failure> {
    run["failed"].as_str().map_or(Ok(()), |why| Err(Failure::new(FAILED, plain(why))))
}

fn number(run: &Value, key: &str) -> u64 {
    run[key].as_u64().unwrap_or(0)
}

fn list<'v>(run: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    run[key].as_array().into_iter().flatten()
}

/// What there is, in a few lines.
fn show_look(run: &Value) {
    let about = &run["about"];
    say!("{} about this person", numbered(number(about, "events"), "event"));
    let by_user_id = number(about, "by_user_id");
    if by_user_id > 0 {
        say!("  {} of them by the user id alone, which was seen beside the address", grouped(by_user_id));
    }
    let states = [
        ("waiting", "waiting"),
        ("scheduled", "scheduled for a retry"),
        ("held", "held with their source"),
        ("gathered", "gathered for a digest"),
        ("dead", "dead letters"),
        ("in_flight", "in flight: what is sent is sent"),
    ];
    let states = states.into_iter().filter(|(key, _)| number(about, key) > 0);
    let states: Vec<_> = states.map(|(key, words)| format!("{} {words}", grouped(number(about, key)))).collect();
    if !states.is_empty() {
        say!("  their deliveries: {}", states.join(", "));
    }
    for got in list(about, "got") {
        let name = plain(got["destination"].as_str().unwrap_or("?"));
        let deliveries = number(got, "deliveries");
        if deliveries > 0 {
            say!("  {name} has got {}: erase them there", numbered(deliveries, "delivery"));
        }
        let unfound = number(got, "unfound");
        if unfound > 0 {
            say!("  {name} may have got {} more, which ended too long ago to look for how", grouped(unfound));
        }
    }
    show_mentions(run);
}

/// What is about others.
fn show_mentions(run: &Value) {
    let mentions = number(run, "mentions");
    let meant = number(&run["about"], "mentions");
    if mentions > 0 {
        say!(
            "{} about others, with this address in the text; say --mentions to erase them too:",
            numbered(mentions, "event")
        );
    } else if meant > 0 {
        say!("{} of them about others, with this address in the text:", grouped(meant));
    }
    list(run, "mentioned_in").take(SHOWN_MAX).for_each(|id| say!("  {}", plain(id.as_str().unwrap_or("?"))));
    if mentions + meant > SHOWN_MAX as u64 {
        say!("  … and {} more; --json lists up to 1000", grouped(mentions + meant - SHOWN_MAX as u64));
    }
    let unreadable = number(run, "unreadable");
    if unreadable > 0 {
        say!("{}", not_readable(unreadable));
    }
    let others = number(run, "other_addresses");
    if others > 0 {
        say!("{} of the same user id with another address; they stay without --user-id", numbered(others, "event"));
    }
    let redacted = number(run, "redacted");
    if redacted > 0 {
        say!(
            "{} may be about this person: store.history.redact has taken away what says so; --user-id finds those whose user.id is left",
            numbered(redacted, "event")
        );
    }
}

fn not_readable(count: u64) -> String {
    let what = numbered(count, "event");
    format!(
        "{what} cannot be read, and nobody knows whose: `vero-relay store verify` says which; the journal file goes with its age (`max_age` of `store: history`), run it again then"
    )
}

fn show_unreached(run: &Value) {
    say!("what the relay cannot reach:");
    list(run, "not_reached").for_each(|what| say!("  - {}", plain(what.as_str().unwrap_or("?"))));
}

/// What was done, and what was found afterwards.
fn show_forgotten(run: &Value) {
    let found = numbered(number(&run["about"], "events"), "event");
    let ended = numbered(number(run, "ended"), "delivery");
    match run["failed"].is_null() {
        true => say!("erased: {found}; {ended} ended"),
        // Which of them is not known here: one that was relocated has copies.
        false => say!("found: {found}; erased of them: {}; {ended} ended", numbered(number(run, "erased"), "copy")),
    }
    let damaged = number(run, "damaged");
    if damaged > 0 {
        say!("written over with zeros: {} of the journal that had the address", numbered(damaged, "damaged range"));
    }
    list(run, "removed").for_each(|name| say!("removed: {}", plain(name.as_str().unwrap_or("?"))));
    list(run, "left_behind").for_each(|what| say!("left: {}", plain(what.as_str().unwrap_or("?"))));
    show_mentions(run);
    if run["searched"] == true {
        show_places(run);
    }
    if run["proved"] == true {
        let unreached = numbered(list(run, "not_reached").count() as u64, "place");
        match run["searched"] == true {
            true => say!("no file of the relay has this address; {unreached} above cannot be reached by it"),
            false => say!("none of the events can be read; no address was given to search the files for"),
        }
    }
}

fn why_not_proved(run: &Value) -> String {
    let in_flight = number(run, "in_flight");
    if in_flight > 0 {
        return format!("{} in flight: run it again", numbered(in_flight, "attempt"));
    }
    if let Err(failure) = whether_clean(run)
        && run["searched"] == true
    {
        return format!("the events are erased, and {}", failure.message);
    }
    let mentions = number(run, "mentions");
    if mentions > 0 {
        return format!("{} still name the address: say --mentions to erase them too", numbered(mentions, "event"));
    }
    let unreadable = number(run, "unreadable");
    if unreadable > 0 {
        return not_readable(unreadable);
    }
    "not all of it could be erased".to_owned()
}

fn show_search(run: &Value) {
    show_places(run);
    if run["clean"] == true {
        say!("no file of the relay has this address");
    }
    show_unreached(run);
}

/// Whether the address stands in no file of the relay's.
fn whether_clean(run: &Value) -> Result<(), Failure> {
    done(run)?;
    if run["clean"] == true {
        return Ok(());
    }
    let own = |key| list(run, key).filter(|one| one["kind"] == "own");
    let message = match own("found").filter(|one| one["hits"] != 0).count() as u64 {
        0 => format!("{} could not be searched", numbered(own("unread").count() as u64, "file")),
        places => format!("the relay has this address in {}", numbered(places, "place")),
    };
    Err(Failure::new(FAILED, message))
}

/// Where the address stands.
fn show_places(run: &Value) {
    say!("searched {} with {}", numbered(number(run, "files"), "file"), size(number(run, "bytes")));
    let places = |title: &str, key: &str, kind: &str| {
        let meant: Vec<_> = list(run, "found").filter(|one| one["kind"] == kind && one[key] != 0).collect();
        if !meant.is_empty() {
            say!("{title}:");
        }
        meant.iter().take(SHOWN_MAX).for_each(|one| say!("{}", line(one, key)));
        if meant.len() > SHOWN_MAX {
            say!("  … and {} more", numbered((meant.len() - SHOWN_MAX) as u64, "file"));
        }
    };
    places("in the relay's own files", "hits", "own");
    places(
        "in other files below data_dir, of file destinations or of yours; the relay changes none of them",
        "hits",
        "other",
    );
    places("as a part of a longer word, which may be another address; in the relay's own files", "parts", "own");
    places("the same in other files", "parts", "other");
    if number(run, "found_more") > 0 {
        say!("and {} that were too many to list", numbered(number(run, "found_more"), "place"));
    }
    for unread in list(run, "unread") {
        let text = |key: &str| plain(unread[key].as_str().unwrap_or("?"));
        say!("not searched whole: {}: {}", text("name"), text("why"));
    }
}

/// One file, and how often it stands there.
fn line(one: &Value, key: &str) -> String {
    let name = plain(one["name"].as_str().unwrap_or("?"));
    let table = one["table"].as_str().map(|table| format!(", in its table {}", plain(table))).unwrap_or_default();
    let first = one["first_at"].as_u64().filter(|_| key == "hits");
    let first = first.map(|at| format!(", the first at byte {}", grouped(at))).unwrap_or_default();
    format!("  {name}{table}: {}{first}", numbered(number(one, key), "time"))
}
