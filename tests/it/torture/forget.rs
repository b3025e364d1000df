//! `kill -9` at random moments while a person is forgotten, under load, on one data directory throughout.
//!
//! Afterwards it is said again until it is proved. Then no file below the directory has the address, nothing of theirs goes out any more, and
//! nothing of anybody else is lost. The search is this file's own. That it finds something is shown before: it finds the person, while there is one.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::load::{Load, WhenGone};
use super::oracle::{Case, Crash, Wants, Witness, judge};
use super::recorder::{Copy, Recorder};
use super::rig::{Rig, Up};
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "forget",
    about: "SIGKILL while a person is forgotten, under load, and forgotten again",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
const EVENTS_A_ROUND: u64 = 200;
/// Events of the person's, a round.
const HERS_A_ROUND: u64 = 8;
/// A run over a small store ends within this, mostly.
const WHILE_FORGETTING: Duration = Duration::from_millis(600);
/// A run reads all that there is several times, while more comes in.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// So often it is said again, at most, until it is proved.
const RUNS_MAX: usize = 5;

const NAME: &str = "zoe.torture";
const DOMAIN: &str = "example.org";
/// What stands between the two, in small letters.
const SIGNS: [&str; 5] = ["@", "%40", "\\u0040", "&#64;", "&#x40;"];

fn address() -> String {
    format!("{NAME}@{DOMAIN}")
}

/// An event of the person's; it has no number.
fn hers(k: u64) -> String {
    let sign = SIGNS[k as usize % SIGNS.len()];
    format!(
        r#"{{"type":"bounced","k":{k},"user":{{"id":7,"email":"Zoe.Torture@Example.org"}},"url":"https://x.example/?e={NAME}{sign}{DOMAIN}"}}"#
    )
}

/// How many files below a directory have the address, in any of its spellings, and how many were looked at.
fn search(directory: &Path) -> (Vec<String>, usize) {
    let needles: Vec<String> = SIGNS.iter().map(|sign| format!("{NAME}{sign}{DOMAIN}")).collect();
    let files = files_below(directory);
    let looked_at = files.len();
    let has_it = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        needles.iter().any(|needle| text.contains(needle))
    };
    let found = files.into_iter().filter(|(_, bytes)| has_it(bytes)).map(|(path, _)| path.display().to_string());
    (found.collect(), looked_at)
}

/// Begins a run. `None` where the relay has gone.
async fn begin(up: &Up) -> Option<String> {
    let asked = json!({ "email": address() }).to_string();
    let answer = request(up.admin, "POST", "/api/forget", &[("x-vero-relay-write", "1")], asked.as_bytes()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["id"].as_str().map(str::to_owned)
}

/// One run, to its end.
async fn forgotten(up: &Up) -> Value {
    let id = begin(up).await.expect("it runs");
    let mut last = Value::Null;
    eventually_within(FORGOTTEN_WITHIN, "the run to end", async || {
        last = up.admin(&format!("/api/forget/{id}")).await.json();
        last["phase"] == "done"
    })
    .await;
    last
}

fn is_hers(copy: &Copy) -> bool {
    copy.number.is_none()
}

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let (load, crm) = (Load::new(scale.seed), Recorder::start().await);
    let quoting = std::iter::repeat_with(|| Act::with(400, &[], &format!("no mailbox <{}>", address())));
    let refuses = Fake::start(quoting.take(100_000)).await;
    let data = scale.directory.join("data");
    let mut rig = Rig::new(
        &scale.directory,
        &data,
        &format!(
            "rules:\n  - {{ name: others, match: {{ n: {{ exists: true }} }}, to: crm }}\n  - {{ name: hers, match: {{ k: {{ exists: true }} }}, to: [crm, refuses, down] }}\n\
             destinations:\n  crm: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  refuses: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  \
             down: {{ http: {{ url: \"http://{}/hook\" }}, retry: {{ initial: 1h, max: 1h }} }}\n",
            crm.url(),
            refuses.url(),
            closed_port(),
        ),
    );
    let mut report = Report::default();
    let mut crashes = Vec::new();
    let mut posted = 0;
    let rounds = scale.of(3, 40);
    for round in 0..rounds {
        let up = rig.start().await;
        let sending = load.send(up.hooks, SENDERS, WhenGone::End);
        for _ in 0..HERS_A_ROUND {
            let answer = request(up.hooks, "POST", "/hooks/vero/secret", &[], hers(posted).as_bytes()).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            posted += 1;
        }
        load.more(dice.within(1..EVENTS_A_ROUND)).await;
        let (found, _) = search(&data);
        report.hold(!found.is_empty(), || format!("round {round}: the search does not find who is there"));
        begin(&up).await;
        // The moment of the kill, from the seed; there is nothing to wait for.
        tokio::time::sleep(dice.moment(WHILE_FORGETTING)).await;
        crashes.push(Crash { at: up.kill(), file_bytes: 0 });
        sending.ended().await;
    }
    let up = rig.start().await;
    let sending = load.send(up.hooks, SENDERS, WhenGone::End);
    let mut last = Value::Null;
    let mut runs = 0;
    while last["proved"] != true && runs < RUNS_MAX {
        last = forgotten(&up).await;
        runs += 1;
    }
    report.hold(last["proved"] == true, || format!("{runs} runs do not prove it: {last}"));
    let (proved_at, of_hers) = (Instant::now(), crm.copies().iter().filter(|copy| is_hers(copy)).count());
    let (found, looked_at) = search(&data);
    report.hold(found.is_empty(), || format!("proved, and {found:?} have the address"));
    report.hold(looked_at > 3, || format!("only {looked_at} files were looked at"));
    load.more(EVENTS_A_ROUND).await;
    sending.stop().await;
    crashes.push(Crash { at: up.kill(), file_bytes: 0 });

    let up = rig.start().await;
    up.drained().await;
    let (found, _) = search(&data);
    report.hold(found.is_empty(), || format!("after a kill {found:?} have the address"));
    let (theirs, others): (Vec<_>, Vec<_>) = crm.copies().into_iter().partition(is_hers);
    report.hold(theirs.len() == of_hers, || {
        format!(
            "{} copies of hers came {:?} after it was proved or sooner",
            theirs.len() - of_hers,
            proved_at.elapsed()
        )
    });
    report.hold(!theirs.is_empty(), || "nothing of hers ever went out".to_owned());
    let witnesses = vec![Witness { name: "crm", wants: Wants::Every, copies: others }];
    let verdict = judge(Case { load: &load, witnesses, crashes: &crashes, doubtful: &[], admin: up.admin }).await;
    let mut report = report.say(format!("{rounds} rounds")).judged(&verdict);
    report.hold(verdict.waiting + verdict.dead == 0, || {
        format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
    });
    up.stop().await;
    let (found, _) = search(&data);
    report.hold(found.is_empty(), || format!("after a stop {found:?} have the address"));
    let verified = rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report.say(format!("{} of one person forgotten in {runs} runs more", thousands(posted)))
}
