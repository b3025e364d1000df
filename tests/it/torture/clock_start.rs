//! Processes that begin with a wrong clock, on data of one that had the right one, and the other way round.
//!
//! What is kept for half an hour must be there after each of them: dead letters, the history, what waits for its first attempt. So must
//! what was accepted while the clock was wrong, after it is right, also where it is put right while the process runs.

use std::path::Path;
use std::time::Instant;

use super::clock::{DAY, IN_2100, LOOKED_WITHIN, WallClock, dead_letters, post_until};
use super::ledger::{Report, Scale};
use super::load::Load;
use super::recorder::{Recorder, Says};
use super::rig::{Rig, Up};
use crate::harness::eventually;

const CONFIG: &str = "\
store: { history: { max_age: 30m }, dead_letters: { max_age: 30m } }
removed_grace: 30m
rules:
  - { name: all, to: down }
  - { name: refused, match: { type: complained }, to: refuses }
destinations:
  down: { http: { url: \"DOWN\" }, backlog: { max_age: 30m }, retry: { give_up_after: 30m } }
  refuses: { http: { url: \"REFUSES\" } }
";

/// 2232-01-01 as unix seconds: about the last that Linux lets a clock be set to, and none can be set before 1970.
const IN_2232: i64 = 8_267_875_200;
/// Dead letters that each process adds. Twenty in a row would pause the destination.
const DEAD: usize = 1;

/// What must be there.
struct Kept {
    dead: u64,
    events: Vec<String>,
}

/// A process's clock when it begins, and then, in seconds beside the right time.
type Start = (i64, i64);

pub(super) async fn check(scale: &Scale, report: &mut Report) {
    let now_s = (vero_relay::time::wall_ms() / 1000) as i64;
    let mut starts = vec![(-now_s, -now_s), (IN_2100 - now_s, IN_2100 - now_s), (-now_s, 0)];
    if !scale.is_full {
        // Each on data of its own, side by side.
        let chains = starts.iter().enumerate().map(|(number, start)| {
            let directory = scale.directory.join(format!("start {number}"));
            async move { chain(scale.seed, &directory, &[*start]).await }
        });
        for chain in futures_util::future::join_all(chains).await {
            report.problems.extend(chain.problems);
            report.late.extend(chain.late);
        }
        return;
    }
    // Less than four days may as well be the time for which it was off, and that counts.
    let more = [-40 * DAY, -5 * DAY, 5 * DAY, 40 * DAY, IN_2232 - now_s];
    starts.extend(more.map(|step| (step, step)));
    starts.push((IN_2100 - now_s, 0));
    let chain = chain(scale.seed, &scale.directory.join("start"), &starts).await;
    report.problems.extend(chain.problems);
    report.late.extend(chain.late);
}

/// Processes on the same data, with a wrong clock and then with the right one again.
async fn chain(seed: u64, directory: &Path, wrong: &[Start]) -> Report {
    std::fs::create_dir(directory).expect("made");
    let clock = WallClock::build(directory);
    let mut report = Report::default();
    let (down, refuses) = (Recorder::start().await, Recorder::start().await);
    down.say(Says::Status(503));
    refuses.say(Says::Status(400));
    let config = CONFIG.replace("DOWN", &down.url()).replace("REFUSES", &refuses.url());
    let mut rig = Rig::new(directory, &directory.join("data"), &config);
    let load = Load::new(seed);
    let mut kept = Kept { dead: 0, events: Vec::new() };
    for (begins, goes_on) in std::iter::once((0, 0)).chain(wrong.iter().flat_map(|wrong| [*wrong, (0, 0)])) {
        clock.set(begins);
        let words = clock.command();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let up = rig.start_under(&words).await.expect("it starts by any clock");
        live(&up, &load, &mut kept, begins, &mut report).await;
        if goes_on != begins {
            clock.set(goes_on);
            live(&up, &load, &mut kept, begins, &mut report).await;
        }
        up.stop().await;
    }
    let up = rig.start().await;
    down.say(Says::Ok);
    up.drained_with("down").await;
    let arrived = down.copies().len();
    report.hold(arrived >= kept.events.len(), || format!("{arrived} of {} events came at last", kept.events.len()));
    up.stop().await;
    report
}

/// Takes some more in, and looks whether everything is there when the limits have been looked at.
async fn live(up: &Up, load: &std::sync::Arc<Load>, kept: &mut Kept, step: i64, report: &mut Report) {
    let since = Instant::now();
    post_until(load, up, "complained", DEAD).await;
    kept.dead += DEAD as u64;
    kept.events = load.log().acknowledged.keys().cloned().collect();
    let dead = async || up.destinations().await.iter().map(dead_letters).find(|(name, _)| name == "refuses");
    eventually("the dead letter", async || dead().await.is_some_and(|(_, count)| count >= kept.dead)).await;
    eventually("the limits to be looked at", async || since.elapsed() >= 2 * LOOKED_WITHIN).await;
    let count = dead().await.map_or(0, |(_, count)| count);
    report.hold(count == kept.dead, || format!("{count} of {} dead letters are there, {step} s off", kept.dead));
    let waiting =
        up.destinations().await.iter().find(|shown| shown["name"] == "down").map(|down| down["backlog"].clone());
    let expected = kept.events.len();
    let is_there = waiting == Some(serde_json::json!(expected));
    report.hold(is_there, || format!("{waiting:?} of {expected} deliveries wait, {step} s off"));
    for id in &kept.events {
        let status = up.admin(&format!("/api/events/{id}")).await.status();
        report.hold(status == 200, || format!("the event {id} is gone ({status}), {step} s off"));
    }
    report.hold(up.readyz().await == 200, || format!("not ready, {step} s off"));
}
