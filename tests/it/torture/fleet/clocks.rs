//! The relays' wall clocks are hours apart: nobody takes another for dead, and nothing is early or late by it.

use super::super::clock::WallClock;
use super::super::ledger::{Fault, Report, Scale};
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "clocks",
    about: "the clocks of three relays on one PostgreSQL are an hour apart, each",
    needs_root: false,
    needs: &["cc"],
    run: |scale| Box::pin(run(scale)),
};

const HOUR: i64 = 3600;
const LEASES: &str = "SELECT string_agg(duty || '=' || epoch, ',' ORDER BY duty) FROM SCHEMA.lease";
/// Longer than a relay is believed to live that says nothing.
const LONG: Duration = Duration::from_secs(6);

async fn run(scale: Scale) -> Report {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let mut fleet = Fleet::of(&scale, &[server.url(), server.url(), server.url()]).await;
    let mut ups = Vec::new();
    for (at, ahead) in [-HOUR, 0, HOUR].into_iter().enumerate() {
        let directory = scale.directory.join(format!("clock-{at}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let clock = WallClock::build(&directory);
        clock.set(ahead);
        let words = clock.command();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ups.push(fleet.rigs[at].start_under(&words).await.expect("it starts by a clock of its own"));
    }
    // Until everybody has what is his.
    last(LONG).await;
    let before = fleet.value(&server, LEASES).await;
    // Each waits once: by no clock is that an hour.
    fleet.crm.say(super::super::recorder::Says::StatusFirst(503));
    let sending: Vec<Sending> = ups.iter().map(|up| fleet.load.send(up.hooks, 1, WhenGone::End)).collect();
    fleet.load.more(scale.of(30, 300) as u64).await;
    for one in sending {
        one.stop().await;
    }
    fleet.crm.say(super::super::recorder::Says::Ok);
    for up in &ups {
        up.act("/api/destinations/crm/retry").await;
    }
    fleet.settled(&server).await;
    last(LONG).await;
    let after = fleet.value(&server, LEASES).await;
    let mut report = fleet.judged(Report::default().say("−1 h, 0, +1 h"), &server, &ups[0]).await;
    report.hold(before == after, || format!("leases have moved: {before} → {after}"));
    fleet.a_row_that_is_taken_away_is_missed(&server, &ups[0], &mut report).await;
    for up in ups {
        up.stop().await;
    }
    report
}
