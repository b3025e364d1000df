//! Several relays on one PostgreSQL, all real: what happens to the queue when one of them, or the database, or the way between them fails.
//!
//! * [`Fleet`]: the relays, what they deliver to, and the verdict over all of them. [`proxy`]: a way to the database that can be broken.
//! * [`killed`]: relays are killed, one after the other. [`suspended`]: one stands still, is taken for dead and goes on.
//! * [`primary`]: the primary is killed and its standby promoted, also with a relay, and where a commit's wait was cancelled.
//! * [`cut`]: the way to the database drops, delays, resets and cuts in the middle of a message.
//! * [`database`]: the database is restarted, is locked, has no connection left, holds an old snapshot.
//! * [`clocks`]: the relays' clocks are hours apart. [`deployed`]: the relays get a new config one after the other, with a destination renamed.
//!
//! Each has a control, which must be seen to fail: a check that finds nothing proves nothing.

pub mod clocks;
pub mod cut;
pub mod database;
pub mod deployed;
pub mod killed;
pub mod primary;
pub mod proxy;
pub mod suspended;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ledger::{Report, Scale};
use super::load::{Load, Sending, WhenGone};
use super::oracle::{Case, Crash, Verdict, Wants, Witness, judge};
use super::recorder::Recorder;
use super::rig::{Rig, Up};
use crate::harness::*;
use crate::postgres::Server;

/// Each destination of each event has its row.
const THE_LAW: &str = "SELECT count(*) FROM SCHEMA.event_1 e CROSS JOIN unnest(e.destinations) t (dest)
    LEFT JOIN SCHEMA.delivery_1 d ON d.dest = t.dest AND d.n = e.n WHERE d.n IS NULL";
/// What is not settled.
const UNSETTLED: &str = "SELECT count(*) FROM SCHEMA.delivery_1 WHERE state IN ('waiting', 'retry')";
/// What there is of each, and who has what: told where something is never settled.
const STATES: &str = "SELECT dest, state, count(*), min(n), max(n) FROM SCHEMA.delivery_1 GROUP BY 1, 2";
const OWNERS: &str = "SELECT duty, epoch, name FROM SCHEMA.lease l LEFT JOIN SCHEMA.relay r USING (incarnation)";
/// Senders at each relay.
pub const SENDERS: usize = 8;
/// After a relay has died, another has its work within this.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(7);

/// Several relays that share one queue.
pub struct Fleet {
    pub load: Arc<Load>,
    pub rigs: Vec<Rig>,
    pub crm: Recorder,
    pub hot: Recorder,
    pub crashes: Vec<Crash>,
    pub schema: String,
}

impl Fleet {
    /// As many relays as there are URLs, each of which leads to the same database.
    pub async fn of(scale: &Scale, urls: &[String]) -> Self {
        let (crm, hot) = (Recorder::start().await, Recorder::start().await);
        let schema = "torture".to_owned();
        let mut rigs = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let directory = scale.directory.join(format!("relay-{at}"));
            std::fs::create_dir_all(&directory).expect("a directory");
            let store = format!(
                "relay: {{ name: relay-{at} }}\nstore: {{ postgres: {{ url: \"{url}\", schema: {schema} }} }}\n"
            );
            rigs.push(Rig::new(&directory, &directory.join("data"), &format!("{store}{}", Self::rules(&crm, &hot))));
        }
        Self { load: Load::new(scale.seed), rigs, crm, hot, crashes: Vec::new(), schema }
    }

    fn rules(crm: &Recorder, hot: &Recorder) -> String {
        format!(
            "rules:\n  - {{ name: all, to: crm }}\n  - {{ name: trouble, match: {{ type: [bounced, complained] }}, to: hot }}\n\
             destinations:\n  crm: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  hot: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n",
            crm.url(),
            hot.url()
        )
    }

    /// Starts all of them.
    pub async fn start(&mut self) -> Vec<Up> {
        let mut ups = Vec::new();
        for rig in &mut self.rigs {
            ups.push(rig.start().await);
        }
        ups
    }

    /// Senders for one of them, until it is gone.
    pub fn send(&self, up: &Up) -> Sending {
        self.load.send(up.hooks, SENDERS, WhenGone::End)
    }

    /// A relay was killed.
    pub fn crashed_by(&mut self, up: Up) {
        let at = up.kill();
        self.crashes.push(Crash { at, file_bytes: 0 });
    }

    /// From one moment to another some relay could not write down what it had done, or was taken for dead.
    pub fn doubtful(&mut self, from: Instant, until: Instant) {
        let mut at = from;
        while at < until + TAKEN_OVER_WITHIN {
            self.crashes.push(Crash { at, file_bytes: 0 });
            at += Duration::from_secs(1);
        }
    }

    fn sql(&self, sql: &str) -> String {
        sql.replace("SCHEMA", &self.schema)
    }

    /// What the database answers, with the name of its schema in the place of `SCHEMA`.
    pub async fn value(&self, server: &Server, sql: &str) -> String {
        server.value(&self.sql(sql)).await
    }

    /// Waits until every delivery is settled.
    pub async fn settled(&self, server: &Server) {
        let start = Instant::now();
        while self.value(server, UNSETTLED).await != "0" {
            if start.elapsed() > 3 * PATIENCE {
                let states = server.query(&self.sql(STATES)).await;
                let owners = server.query(&self.sql(OWNERS)).await;
                panic!("not settled after {:?}: {states:?}, owned by {owners:?}", 3 * PATIENCE);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Judges everything that has happened so far, by what one relay and the database say.
    pub async fn judged(&self, report: Report, server: &Server, up: &Up) -> Report {
        let verdict = self.verdict(up).await;
        let mut report = report.judged(&verdict);
        let broken = self.value(server, THE_LAW).await;
        report.hold(broken == "0", || format!("{broken} deliveries of events have no row"));
        report.hold(verdict.acknowledged > 0, || "nothing was acknowledged".to_owned());
        report.hold(verdict.waiting + verdict.dead == 0, || {
            format!("{} wait and {} are dead, though everything is settled", verdict.waiting, verdict.dead)
        });
        report
    }

    pub async fn verdict(&self, up: &Up) -> Verdict {
        let crm = Witness { name: "crm", wants: Wants::Every, copies: self.crm.copies() };
        let hot = Witness { name: "hot", wants: Wants::Types(&["bounced", "complained"]), copies: self.hot.copies() };
        let Self { load, crashes, .. } = self;
        judge(Case { load, witnesses: vec![crm, hot], crashes, doubtful: &[], admin: up.admin }).await
    }

    /// The control of the checker itself: a row that somebody takes away is missed, by the law and by who was answered.
    pub async fn a_row_that_is_taken_away_is_missed(&self, server: &Server, up: &Up, report: &mut Report) {
        let held = up.act("/api/destinations/crm/pause").await;
        report.hold(held.status() == 200, || format!("pausing: {}", held.text()));
        self.load.post(up.hooks, 1).await;
        let taken = "WITH newest AS (SELECT max(n) AS n FROM SCHEMA.event_1)
            DELETE FROM SCHEMA.delivery_1 d USING newest WHERE d.n = newest.n RETURNING d.n";
        let taken = server.query(&self.sql(taken)).await.len();
        let broken = self.value(server, THE_LAW).await;
        report.hold(taken > 0 && broken == taken.to_string(), || {
            format!("control: {taken} rows were taken away, and {broken} are missed")
        });
    }
}

/// Waits for a moment that the fault is about.
pub async fn last(time: Duration) {
    tokio::time::sleep(time).await;
}
