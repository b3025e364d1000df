//! A strict Slack to try by hand: `cargo test --test fake_slack -- 8099` serves webhooks at `http://127.0.0.1:8099/services/…` until it is
//! ended, and prints what came, when, and what it refused. `cargo test --test fake_slack -- report` adds up what the tests left.

#[path = "it/harness.rs"]
#[expect(dead_code, reason = "shared with the ordinary tests, which use more of it")]
mod harness;
#[path = "it/judge.rs"]
mod judge;
#[path = "it/slack_server.rs"]
#[expect(dead_code, reason = "shared with the ordinary tests, which own what they start")]
mod slack_server;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::time::Instant;
use vero_relay::destination::slack::strict::ledger::{LEDGER, sum};
use vero_relay::destination::slack::strict::{Strict, Watched};

use harness::{Act, Fake, Message};

/// The app of the workspace, and the channels that it is in.
const TOKEN: &str = "xoxb-by-hand";
const CHANNELS: [&str; 2] = ["#email", "#shop"];
/// Characters of a body that are printed.
const SHOWN_MAX: usize = 2000;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_else(|| "8099".to_owned());
    if word == "report" {
        return report();
    }
    let Ok(port) = word.parse::<u16>() else {
        eprintln!("name a port, or `report`, and not `{word}`");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve(port));
    ExitCode::SUCCESS
}

/// What all strict Slacks of the tests saw, since the ledger was last taken away.
fn report() -> ExitCode {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(LEDGER);
    let [owners, requests, refused, asked] = sum(&std::fs::read_to_string(&path).unwrap_or_default());
    println!(
        "strict Slack: {owners} of them, {requests} requests, {refused} refused, {asked} more as a test asked it to"
    );
    if refused == 0 && requests > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve(port: u16) {
    let watched = Watched::new(Strict::new().with_app(TOKEN, &CHANNELS));
    let (handle, begin) = (watched.handle(), Instant::now());
    let judge = move |message: &Message| {
        let act = slack_server::answered(&handle, begin, message);
        let said = match &act {
            Some(Act::Answer { status, body, .. }) => format!("{status} {body}"),
            _ => format!("404: a path of Slack begins with one of {:?}", slack_server::WEBHOOKS),
        };
        let text: String = message.text().chars().take(SHOWN_MAX).collect();
        println!("{:>9.3} s  {}  {said}\n    {text}", begin.elapsed().as_secs_f64(), message.first_line);
        Some(act.unwrap_or_else(|| Act::status(404)))
    };
    let address = format!("127.0.0.1:{port}");
    let fake = Fake::judged(&address, [], Arc::new(judge)).await;
    println!("a strict Slack: url: {}/services/T0/B0/by-hand", fake.url());
    println!("as an app: api: {}/api/, token: {TOKEN}, into {CHANNELS:?}", fake.url());
    let _ = tokio::signal::ctrl_c().await;
    let (posts, requests) = (watched.lock().posts().len(), watched.lock().requests());
    println!("{requests} requests, {posts} messages taken; refused:");
    for refusal in watched.lock().refusals() {
        println!("  {}: {}", refusal.word, refusal.about);
    }
    // It was looked at: nothing fails for it, and nothing is written down.
    std::mem::forget(watched);
}
