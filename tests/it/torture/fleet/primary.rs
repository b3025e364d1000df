//! The primary is killed and its synchronous standby promoted; so also together with a relay, and after a commit's wait was cancelled.
//!
//! The control: a standby that nobody waits for, and that had fallen behind, has not got all that was acknowledged.

use super::super::ledger::{Fault, Report, Scale};
use super::super::oracle::Breach;
use super::*;
use crate::postgres::{Place, Setup};

pub const FAULT: Fault = Fault {
    name: "primary",
    about: "the primary of PostgreSQL is killed under load and a synchronous standby promoted, also with a relay",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// What happens besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Also {
    Nothing,
    /// A relay is killed at the same moment.
    ARelay,
    /// The standby stands still, and whoever waits for it is told to wait no longer.
    CancelledWaits,
    /// Nobody waits for the standby, and it had fallen behind: what was acknowledged is lost.
    NobodyWaits,
}

/// A relay that got no answer holds its senders for so long.
const PATIENCE_OF_A_RELAY: Duration = Duration::from_secs(5);

async fn run(scale: Scale) -> Report {
    let mut report = Report::default();
    let rounds: &[Also] = if scale.is_full {
        use Also::{ARelay, CancelledWaits, NobodyWaits, Nothing};
        &[Nothing, ARelay, CancelledWaits, Nothing, ARelay, CancelledWaits, Nothing, ARelay, NobodyWaits]
    } else {
        &[Also::ARelay]
    };
    for (at, also) in rounds.iter().enumerate() {
        let directory = scale.directory.join(format!("{at}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let one = Scale { is_full: scale.is_full, seed: scale.seed + at as u64, directory };
        report = round(&one, *also, report.say(format!("{also:?}"))).await;
    }
    report
}

async fn round(scale: &Scale, also: Also, mut report: Report) -> Report {
    let setup = Setup { place: Place::Loopback, ..Setup::default() };
    let primary = Server::start(setup).await;
    let standby = primary.standby("s1").await;
    if also != Also::NobodyWaits {
        primary.wait_for("s1").await;
    }
    let url = format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", primary.port, standby.port);
    let mut fleet = Fleet::of(scale, &[url.clone(), url]).await;
    let mut ups = fleet.start().await;
    let mut sending: Vec<Sending> = ups.iter().map(|up| fleet.send(up)).collect();
    fleet.load.more(300).await;
    match also {
        Also::Nothing | Also::ARelay => {}
        Also::CancelledWaits => {
            standby.suspend();
            // What was on its way may still have got its answer.
            last(Duration::from_millis(500)).await;
            let before = fleet.load.acknowledged();
            for _ in 0..20 {
                let waiting = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
                primary.query(waiting).await;
                last(Duration::from_millis(50)).await;
            }
            let after = fleet.load.acknowledged();
            report.hold(before == after, || format!("{} were acknowledged that no standby has", after - before));
        }
        Also::NobodyWaits => {
            standby.suspend();
            fleet.load.more(200).await;
        }
    }
    let from = Instant::now();
    if also == Also::ARelay {
        fleet.crashed_by(ups.remove(0));
        sending.remove(0).ended().await;
    }
    primary.kill().await;
    standby.resume();
    standby.promote().await;
    fleet.load.more(200).await;
    let longest = from.elapsed();
    fleet.doubtful(from, Instant::now());
    for one in sending {
        one.stop().await;
    }
    fleet.settled(&standby).await;
    report
        .hold_in_time(longest < 3 * PATIENCE_OF_A_RELAY, || format!("{also:?}: nothing was taken in for {longest:?}"));
    if also == Also::NobodyWaits {
        // Nobody can have what the standby never had: the checker must say so, and nothing else may be wrong.
        let verdict = fleet.verdict(&ups[0]).await;
        report.hold(verdict.lost_ids.is_empty() || verdict.lost > 0, || "lost and not counted".to_owned());
        let gone = fleet.gone(&standby).await;
        report.hold(gone > 0, || "control: a standby that nobody waited for has everything".to_owned());
        let others: Vec<_> = verdict.breaches.iter().filter(|(breach, _)| *breach != Breach::Lost).collect();
        report.hold(others.is_empty(), || format!("control: {others:?}"));
        return report.say(format!("the control misses {gone}"));
    }
    let report = fleet.judged(report, &standby, &ups[0]).await;
    for up in ups {
        up.stop().await;
    }
    report
}

impl Fleet {
    /// How many acknowledged events a database does not have.
    async fn gone(&self, server: &Server) -> usize {
        let stored: std::collections::BTreeSet<String> =
            server.query(&self.sql("SELECT id FROM SCHEMA.event_1")).await.into_iter().flatten().collect();
        self.load.log().acknowledged.keys().filter(|id| !stored.contains(*id)).count()
    }
}
