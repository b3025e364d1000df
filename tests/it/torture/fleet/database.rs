//! What happens to databases: they are restarted, their tables are locked by others, their connections are all in use, somebody holds a
//! snapshot for as long as it all lasts.

use super::super::ledger::{Fault, Report, Scale};
use super::*;
use crate::postgres::{Place, Setup, Stop};

pub const FAULT: Fault = Fault {
    name: "database",
    about: "PostgreSQL is restarted, locked, out of connections, and holds an old snapshot, while relays work",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// What a role may do besides being one that the relays are.
const ROLE: &str = "CREATE ROLE relay LOGIN SUPERUSER";
const NO_CONNECTION: &str = "ALTER ROLE relay NOSUPERUSER CONNECTION LIMIT 0";
const AS_BEFORE: &str = "ALTER ROLE relay SUPERUSER CONNECTION LIMIT -1";
const ENDED: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relay'";
const MEANWHILE: Duration = Duration::from_secs(3);

async fn run(scale: Scale) -> Report {
    let server = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    server.query(ROLE).await;
    let url = server.url_as("relay");
    let mut fleet = Fleet::of(&scale, &[url.clone(), url]).await;
    let ups = fleet.start().await;
    let sending: Vec<Sending> = ups.iter().map(|up| fleet.load.send(up.hooks, SENDERS, WhenGone::ComeAgain)).collect();
    fleet.load.more(100).await;
    // It is ended with the server, and begun again.
    let holds = || async {
        let holding = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class; SELECT pg_sleep(300)";
        let _ = server.try_query(holding).await;
    };
    let restarts = scale.of(2, 10);
    let from = Instant::now();
    for at in 0..restarts {
        let held = tokio::time::timeout(Duration::from_millis(300), holds());
        let _ = held.await;
        server.restart(if at % 2 == 0 { Stop::Immediate } else { Stop::Fast }).await;
        fleet.load.more(50).await;
    }
    // A table that somebody else has: appends and flushes wait.
    let table = fleet.sql("BEGIN; LOCK TABLE SCHEMA.delivery_1 IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT");
    server.query(&table).await;
    fleet.load.more(50).await;
    // A limit of the role, which the relay's own connections go by only if they do not say otherwise.
    server.query("ALTER ROLE relay SET statement_timeout = '1ms'").await;
    server.query(ENDED).await;
    fleet.load.more(50).await;
    server.query("ALTER ROLE relay RESET statement_timeout").await;
    // No connection for who was there.
    let refused = fleet.load.refused();
    server.query(NO_CONNECTION).await;
    server.query(ENDED).await;
    last(if scale.is_full { 3 * MEANWHILE } else { MEANWHILE }).await;
    server.query(AS_BEFORE).await;
    fleet.load.more(50).await;
    for one in sending {
        one.stop().await;
    }
    fleet.doubtful(from, Instant::now());
    fleet.settled(&server).await;
    let refused = fleet.load.refused() - refused;
    let report =
        Report::default().say(format!("{restarts} restarts")).say(format!("{refused} refused without a connection"));
    let mut report = fleet.judged(report, &server, &ups[0]).await;
    if scale.is_full {
        report.hold(refused > 0, || "control: without a connection nothing was refused".to_owned());
    }
    fleet.a_row_that_is_taken_away_is_missed(&server, &ups[0], &mut report).await;
    for up in ups {
        up.stop().await;
    }
    report
}
