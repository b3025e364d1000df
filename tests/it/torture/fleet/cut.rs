//! The way from one relay to the database fails in every way that a way can fail; the other relay's way is whole.

use super::super::ledger::{Fault, Report, Scale};
use super::proxy::{Does, Proxy};
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "cut",
    about: "the way from a relay to PostgreSQL drops, delays, resets and cuts in the middle of a message",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// Longer than a relay is believed to live that says nothing.
const LONG: Duration = Duration::from_secs(8);
/// Shorter than anybody waits.
const DELAY: Duration = Duration::from_secs(2);
const CUT: Duration = Duration::from_secs(2);
/// Who has what, with how often that changed.
const LEASES: &str = "SELECT string_agg(duty || '=' || epoch, ',' ORDER BY duty) FROM SCHEMA.lease";

async fn run(scale: Scale) -> Report {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let proxy = Proxy::before(server.port).await;
    let by_proxy = format!("postgresql://postgres@127.0.0.1:{}/postgres", proxy.port);
    let mut fleet = Fleet::of(&scale, &[by_proxy, server.url()]).await;
    let ups = fleet.start().await;
    let all = [
        (Does::DropsAnswers, LONG),
        (Does::Resets, CUT),
        (Does::Drops, LONG),
        (Does::DropsQuestions, LONG),
        (Does::CutsQuestions, CUT),
        (Does::CutsAnswers, CUT),
    ];
    let rounds = scale.of(2, all.len());
    let mut report = Report::default().say(format!("{rounds} ways"));
    for (does, time) in all.into_iter().take(rounds) {
        let sending: Vec<Sending> = ups.iter().map(|up| fleet.send(up)).collect();
        fleet.load.more(100).await;
        let from = Instant::now();
        proxy.does(does);
        last(time).await;
        proxy.does(Does::Passes);
        // Both take in again, also who was cut off.
        eventually("the relay that was cut off to be ready", async || ups[0].readyz().await == 200).await;
        fleet.doubtful(from, Instant::now());
        fleet.load.more(100).await;
        for one in sending {
            one.stop().await;
        }
        fleet.settled(&server).await;
    }
    // The control: what is only late moves nothing.
    let before = fleet.value(&server, LEASES).await;
    let from = Instant::now();
    proxy.does(Does::Delays(DELAY));
    fleet.load.post(ups[1].hooks, 20).await;
    last(2 * DELAY).await;
    proxy.does(Does::Passes);
    let after = fleet.value(&server, LEASES).await;
    report.hold(before == after, || format!("control: a delay of {DELAY:?} has moved leases: {before} → {after}"));
    fleet.doubtful(from, Instant::now());
    fleet.settled(&server).await;
    let mut report = fleet.judged(report, &server, &ups[1]).await;
    fleet.a_row_that_is_taken_away_is_missed(&server, &ups[1], &mut report).await;
    for up in ups {
        up.stop().await;
    }
    report
}
