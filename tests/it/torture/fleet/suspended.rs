//! A relay stands still for longer than it is believed to live, and goes on as if nothing had been.

use rustix::process::Signal;

use super::super::ledger::{Fault, Report, Scale};
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "zombie",
    about: "a relay of several is stopped for twice as long as it is believed to live, and goes on",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// Twice as long as a relay is believed to live that says nothing.
const STANDS_STILL: Duration = Duration::from_secs(10);
/// Who has what, with how often that changed.
const LEASES: &str = "SELECT coalesce(string_agg(duty || '=' || epoch, ',' ORDER BY duty), '') FROM SCHEMA.lease WHERE duty LIKE 'destination/%'";

async fn run(scale: Scale) -> Report {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let mut fleet = Fleet::of(&scale, &[server.url(), server.url()]).await;
    let ups = fleet.start().await;
    let rounds = scale.of(1, 5);
    let mut report = Report::default().say(format!("{rounds} times"));
    for round in 0..rounds {
        let stopped = &ups[round % 2];
        let sending: Vec<Sending> = ups.iter().map(|up| fleet.send(up)).collect();
        fleet.load.more(200).await;
        let before = fleet.value(&server, LEASES).await;
        let from = Instant::now();
        stopped.signal(Signal::STOP);
        last(STANDS_STILL).await;
        let between = fleet.value(&server, LEASES).await;
        stopped.signal(Signal::CONT);
        fleet.doubtful(from, Instant::now());
        // All that was its is another's, unless it had nothing.
        report.hold(before != between || round > 0, || format!("nothing was taken over: {before}"));
        fleet.load.more(200).await;
        for one in sending {
            one.stop().await;
        }
        fleet.settled(&server).await;
    }
    let mut report = fleet.judged(report, &server, &ups[0]).await;
    fleet.a_row_that_is_taken_away_is_missed(&server, &ups[0], &mut report).await;
    for up in ups {
        up.stop().await;
    }
    report
}
