//! `forget`: what there is of a person, in every file below `data_dir`.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json as value};

use super::client::{At, RunningRelay, step};
use super::dialogue::Progress;
use super::output::{json, say};
use super::terminal::{grouped, numbered, plain, size};
use super::{FAILED, Failure, STANDARD_INPUT, USAGE, block_on};

/// Between two looks at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Files that are shown of each sort; `--json` has up to a thousand.
const SHOWN_MAX: usize = 20;
/// An address has far less: what is longer is something else.
const INPUT_BYTES_MAX: u64 = 4096;

/// What a search does not see.
const NOT_SEARCHED: &str = "\
not searched: what destinations have got, files of file destinations outside data_dir, backups, logs, the relay's memory, what the
  disk has freed; and in files what stands there in base64, quoted-printable or punycode";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The person's address; - reads it from standard input, so that neither `ps` nor the shell's history has it
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// Search every file below data_dir for the address, and change nothing. The exit code is 1 where a file of the relay has it
    #[arg(long, required = true)]
    search: bool,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let email = address(args.email)?;
    let relay = RunningRelay::at(named, &args.at)?;
    let asked = value!({ "email": email, "search": args.search });
    let found = block_on(follow(&relay, &asked))?;
    if args.at.json {
        json(&found);
    } else {
        show(&found);
    }
    if let Some(why) = found["failed"].as_str() {
        return Err(Failure::new(FAILED, plain(why)));
    }
    if found["clean"] == true {
        return Ok(());
    }
    let own = |key: &str| found[key].as_array().into_iter().flatten().filter(|one| one["kind"] == "own");
    let message = match own("found").filter(|one| one["hits"] != 0).count() {
        0 => format!("{} could not be searched", numbered(own("unread").count() as u64, "file")),
        _ => "the relay has this address".to_owned(),
    };
    Err(Failure::new(FAILED, message))
}

/// The address as it was typed, or the first line of standard input.
fn address(typed: String) -> Result<String, Failure> {
    if typed != STANDARD_INPUT {
        return Ok(typed);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::new(USAGE, format!("standard input holds no address: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Begins it, and waits until it is done. Who presses Ctrl-C ends it, and sees what it has found by then.
async fn follow(relay: &RunningRelay, asked: &Value) -> Result<Value, Failure> {
    let mut now = relay.act("/api/forget", asked).await?;
    let path = format!("/api/forget/{}", step(now["id"].as_str().unwrap_or_default()));
    let progress = Progress::new();
    while now["phase"] != "done" {
        progress.show(now["share"].as_f64().unwrap_or(0.0), now["phase"].as_str().unwrap_or_default());
        now = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => relay.get(&path).await?,
            _ = tokio::signal::ctrl_c() => relay.act("/api/forget/stop", &value!({})).await?,
        };
    }
    Ok(now)
}

fn show(found: &Value) {
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    say!("searched {} with {}", numbered(number("files"), "file"), size(number("bytes")));
    let places = found["found"].as_array().map(Vec::as_slice).unwrap_or_default();
    let list = |title: &str, key: &str, kind: &str| {
        let meant: Vec<_> = places.iter().filter(|one| one["kind"] == kind && one[key] != 0).collect();
        if !meant.is_empty() {
            say!("{title}:");
        }
        meant.iter().take(SHOWN_MAX).for_each(|one| say!("{}", line(one, key)));
        if meant.len() > SHOWN_MAX {
            say!("  … and {} more", numbered((meant.len() - SHOWN_MAX) as u64, "file"));
        }
    };
    list("in the relay's own files", "hits", "own");
    list(
        "in other files below data_dir, of file destinations or of yours; the relay changes none of them",
        "hits",
        "other",
    );
    list("as a part of a longer word, which may be another address; in the relay's own files", "parts", "own");
    list("the same in other files", "parts", "other");
    if number("found_more") > 0 {
        say!("and {} that were too many to list", numbered(number("found_more"), "place"));
    }
    for unread in found["unread"].as_array().into_iter().flatten() {
        let text = |key: &str| plain(unread[key].as_str().unwrap_or("?"));
        say!("not searched whole: {}: {}", text("name"), text("why"));
    }
    if found["clean"] == true {
        say!("no file of the relay has this address");
    }
    say!("{NOT_SEARCHED}");
}

/// One file, and how often it stands there.
fn line(one: &Value, key: &str) -> String {
    let name = plain(one["name"].as_str().unwrap_or("?"));
    let table = one["table"].as_str().map(|table| format!(", in its table {}", plain(table))).unwrap_or_default();
    let first = one["first_at"].as_u64().filter(|_| key == "hits");
    let first = first.map(|at| format!(", the first at byte {}", grouped(at))).unwrap_or_default();
    format!("  {name}{table}: {}{first}", numbered(one[key].as_u64().unwrap_or(0), "time"))
}
