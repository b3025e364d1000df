//! A new config comes to the relays one after the other, with a destination under another name: two configs are in force at once.

use super::super::ledger::{Fault, Report, Scale};
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "deployed",
    about: "relays on one PostgreSQL get a config with a renamed destination one after the other, under load",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

async fn run(scale: Scale) -> Report {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    let mut fleet = Fleet::of(&scale, &[server.url(), server.url()]).await;
    let mut ups = fleet.start().await;
    let rounds = scale.of(1, 6);
    for round in 0..rounds {
        // To and fro.
        let (old, new) = if round % 2 == 0 { ("hot", "hotter") } else { ("hotter", "hot") };
        for at in 0..2 {
            let sending: Vec<Sending> = ups.iter().map(|up| fleet.send(up)).collect();
            fleet.load.more(100).await;
            let up = ups.remove(at);
            up.stop().await;
            let rig = &fleet.rigs[at];
            rig.change(&format!("to: {old} }}"), &format!("to: {new} }}"));
            let was = if round == 0 { String::new() } else { format!("renamed_from: {new}, ") };
            rig.change(&format!("  {old}: {{ {was}"), &format!("  {new}: {{ renamed_from: {old}, "));
            let up = fleet.rigs[at].start().await;
            ups.insert(at, up);
            fleet.load.more(100).await;
            for one in sending {
                one.stop().await;
            }
        }
    }
    fleet.settled(&server).await;
    let report = fleet.judged(Report::default().say(format!("{rounds} deploys")), &server, &ups[0]).await;
    for up in ups {
        up.stop().await;
    }
    report
}
