//! Relays are killed, one after the other and at random, while all take events in.

use super::super::dice::Dice;
use super::super::ledger::{Fault, Report, Scale};
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "relays",
    about: "one of three relays on one PostgreSQL is killed, again and again",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// A round is over once fewer than so many events have been accepted in it.
const EVENTS_A_ROUND: u64 = 400;

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let mut fleet = Fleet::of(&scale, &[server.url(), server.url(), server.url()]).await;
    let mut ups = fleet.start().await;
    let mut sending: Vec<Sending> = ups.iter().map(|up| fleet.send(up)).collect();
    let rounds = scale.of(3, 60);
    for _ in 0..rounds {
        fleet.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        let victim = dice.within(0..3) as usize;
        fleet.crashed_by(ups.remove(victim));
        sending.remove(victim).ended().await;
        let up = fleet.rigs[victim].start().await;
        sending.insert(victim, fleet.send(&up));
        ups.insert(victim, up);
    }
    fleet.load.more(EVENTS_A_ROUND).await;
    for one in sending {
        one.stop().await;
    }
    fleet.settled(&server).await;
    let mut report = fleet.judged(Report::default().say(format!("{rounds} kills")), &server, &ups[0]).await;
    fleet.a_row_that_is_taken_away_is_missed(&server, &ups[0], &mut report).await;
    for up in ups {
        up.stop().await;
    }
    report
}
