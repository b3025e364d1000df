//! Relays under test: the real binary, each in a directory of its own, on one server.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Amount;
use crate::load::{Sent, send, wall_ns};
use crate::measure::{Relay, Setup, quantile};
use crate::postgres::Server;
use crate::receiver::{Arrived, Receiver};

/// Some relays, what they deliver to, and their server, if they have one.
pub struct Fleet<'b> {
    relays: Vec<Relay>,
    _directories: Vec<TempDir>,
    receiver: &'b Receiver,
    server: Option<(&'b Server, String)>,
}

/// What one run came to.
pub struct Row {
    pub name: String,
    pub events_per_s: f64,
    /// CPU time for each event, microseconds; not known where there is no server.
    pub server_us: Option<f64>,
    /// Of all relays together.
    pub relays_us: f64,
    /// p50 and p99.
    pub ack_ms: [f64; 2],
    pub end_to_end_ms: [f64; 2],
    /// Of a hundred settlements, so many wrote no index entry.
    pub hot: Option<f64>,
}

impl Row {
    pub const HEAD: &str = "| | events/s | PostgreSQL CPU/event | relays CPU/event | ack p50 · p99 | end to end p50 · p99 | HOT |\n|---|--:|--:|--:|--:|--:|--:|";

    pub fn line(&self) -> String {
        let or = |number: Option<f64>, digits: usize| number.map_or("–".to_owned(), |one| format!("{one:.digits$}"));
        format!(
            "| {} | {:.0} | {} µs | {:.1} µs | {:.1} · {:.1} ms | {:.1} · {:.1} ms | {} % |",
            self.name,
            self.events_per_s,
            or(self.server_us, 1),
            self.relays_us,
            self.ack_ms[0],
            self.ack_ms[1],
            self.end_to_end_ms[0],
            self.end_to_end_ms[1],
            or(self.hot, 2),
        )
    }
}

/// Until everything has its owner: also what a relay had that was killed just before.
const OWNED_WITHIN: Duration = Duration::from_secs(8);
/// Rows of what waits that are made at once.
const MADE_AT_ONCE: u64 = 100_000;

impl<'b> Fleet<'b> {
    /// One relay by itself.
    pub fn on_a_journal(receiver: &'b Receiver) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let relay = Relay::start(directory.path(), &setup(receiver, ""));
        Self { relays: vec![relay], _directories: vec![directory], receiver, server: None }
    }

    /// So many on a schema of their own.
    pub async fn on(server: &'b Server, receiver: &'b Receiver, count: usize, schema: &str) -> Self {
        let mut fleet =
            Self { relays: Vec::new(), _directories: Vec::new(), receiver, server: Some((server, schema.to_owned())) };
        for _ in 0..count {
            fleet.add();
        }
        // Each has its share only after a while of quiet: whoever came first has them.
        tokio::time::sleep(OWNED_WITHIN).await;
        receiver.take().await;
        fleet
    }

    /// Two, of which the first has everything.
    pub async fn one_after_the_other(server: &'b Server, receiver: &'b Receiver, schema: &str) -> Self {
        let mut fleet = Self::on(server, receiver, 1, schema).await;
        fleet.add();
        fleet
    }

    /// The same with so many events that wait for a destination which is down.
    pub async fn one_after_the_other_with_waiting(
        server: &'b Server,
        receiver: &'b Receiver,
        schema: &str,
        waiting: u64,
    ) -> Self {
        let mut fleet = Self::with_waiting(server, receiver, 1, schema, waiting).await;
        fleet.add();
        fleet
    }

    /// So many, and so many events that wait for a destination which is down.
    pub async fn with_waiting(
        server: &'b Server,
        receiver: &'b Receiver,
        count: usize,
        schema: &str,
        waiting: u64,
    ) -> Self {
        // The names get their numbers.
        drop(Self::on(server, receiver, 1, schema).await);
        let mut made = 0;
        while made < waiting {
            let some = MADE_AT_ONCE.min(waiting - made);
            let sql = format!(
                "SET search_path = {schema};
                 WITH dead AS (SELECT id FROM name WHERE kind = 'destination' AND name = 'dead'),
                  source AS (SELECT id FROM name WHERE kind = 'source'), rule AS (SELECT min(id) AS id FROM name WHERE kind = 'rule'),
                  e AS (INSERT INTO event_1 (n, slot, id, received_ms, source, rules, destinations, by_rule, body)
                    SELECT nextval('event_number'), (SELECT min(slot) FROM stream), gen_random_uuid(),
                        (extract(epoch FROM clock_timestamp()) * 1000)::int8, source.id, ARRAY[rule.id], ARRAY[dead.id], ARRAY[rule.id],
                        convert_to('{{\"type\":\"delivered\",\"x\":\"' || repeat('x', 560) || '\"}}', 'UTF8')
                    FROM dead, source, rule, generate_series(1, {some}) RETURNING n)
                 INSERT INTO delivery_1 (dest, n) SELECT dead.id, e.n FROM e, dead"
            );
            server.query(&sql).await;
            made += some;
        }
        server.query("CHECKPOINT").await;
        Self::on(server, receiver, count, schema).await
    }

    fn add(&mut self) {
        let (server, schema) = self.server.as_ref().expect("a server");
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let more = format!(
            "relay: {{ name: relay-{} }}\nstore: {{ postgres: {{ url: \"{}\", schema: {schema} }} }}\n",
            self.relays.len(),
            server.url()
        );
        self.relays.push(Relay::start(directory.path(), &setup(self.receiver, &more)));
        self._directories.push(directory);
    }

    /// Sends to all of them, as much to each.
    pub async fn run(&self, name: &str, amount: Amount) -> Row {
        self.measured(name, amount, &self.relays.iter().collect::<Vec<_>>()).await
    }

    /// Sends all to the one that came last.
    pub async fn run_through_the_last(&self, name: &str, amount: Amount) -> Row {
        self.measured(name, amount, &[self.relays.last().expect("a relay")]).await
    }

    async fn measured(&self, name: &str, Amount { load, events }: Amount, through: &[&Relay]) -> Row {
        let relays_before: f64 = self.cpu_seconds();
        let server_before = self.server.as_ref().map(|(server, _)| server.cpu_seconds());
        let each = events / through.len() as u64;
        let begun = Instant::now();
        let sending: Vec<_> = through.iter().map(|relay| tokio::spawn(send(relay.hooks, load, each))).collect();
        let mut sent: Vec<Sent> = Vec::new();
        for one in sending {
            sent.push(one.await.expect("it sends"));
        }
        let mut arrived = Arrived::default();
        let deliveries: u64 = through.len() as u64 * deliveries_of(each);
        let mut count = 0;
        while count < deliveries {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let some = self.receiver.take().await;
            if some.count > arrived.count {
                arrived = some;
            }
            count += some.count;
            assert!(begun.elapsed() < Duration::from_secs(600), "{count} of {deliveries} came");
        }
        let seconds = begun.elapsed().as_secs_f64();
        // What is settled is written within a moment.
        self.all_settled().await;
        let relays = self.cpu_seconds() - relays_before;
        let server = self.server.as_ref().zip(server_before).map(|((server, _), before)| server.cpu_seconds() - before);
        let mut acks: Vec<u32> = sent.into_iter().flat_map(|sent| sent.acks_us).collect();
        acks.sort_unstable();
        let each = |seconds: f64| seconds * 1e6 / events as f64;
        Row {
            name: name.to_owned(),
            events_per_s: events as f64 / seconds,
            server_us: server.map(each),
            relays_us: each(relays),
            ack_ms: [0.5, 0.99].map(|q| quantile(&acks, q)),
            // Of the largest part, which is nearly all: the receiver was asked while it went on.
            end_to_end_ms: [arrived.p50_ms, arrived.p99_ms],
            hot: self.hot().await,
        }
    }

    fn cpu_seconds(&self) -> f64 {
        self.relays.iter().map(|relay| relay.process.cpu_seconds()).sum()
    }

    async fn all_settled(&self) {
        let Some((server, schema)) = &self.server else { return self.relays.iter().for_each(Relay::wait_drained) };
        let sql = format!(
            "SELECT count(*) FROM {schema}.delivery_1 WHERE state IN ('waiting', 'retry')
             AND dest IN (SELECT id FROM {schema}.name WHERE kind = 'destination' AND name <> 'dead')"
        );
        while server.value(&sql).await != "0" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Of a hundred updates of deliveries, so many wrote no index entry.
    async fn hot(&self) -> Option<f64> {
        let (server, schema) = self.server.as_ref()?;
        let sql = format!(
            "SELECT pg_stat_force_next_flush(); SELECT 100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1) FROM pg_stat_user_tables
             WHERE schemaname = '{schema}' AND relname = 'delivery_1'"
        );
        server.value(&sql).await.parse().ok()
    }

    /// How long it takes, after the relay that delivers everything was killed, until another delivers.
    pub async fn taken_over(mut self) -> f64 {
        let takes = self.relays.pop().expect("two");
        let load = crate::Load { body_bytes: crate::BODY_BYTES, connections: 4, rate: Some(100) };
        let sending = tokio::spawn(send(takes.hooks, load, 1500));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let killed_ns = wall_ns();
        drop(self.relays.pop().expect("the one that has everything"));
        // What was on its way at that moment.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.receiver.take().await;
        let first_ns = loop {
            let some = self.receiver.take().await;
            if some.count > 0 {
                break some.first_ns;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        sending.await.expect("it sends");
        self.relays.push(takes);
        self.all_settled().await;
        self.receiver.take().await;
        first_ns.saturating_sub(killed_ns) as f64 / 1e9
    }
}

/// One destination gets all, another the bounces; nothing is sent to a third, which is down.
fn setup(receiver: &Receiver, more: &str) -> Setup {
    let to = |name: &str, address: &str| {
        format!("  {name}: {{ http: {{ url: \"http://{address}/\" }}, concurrency: 64 }}\n")
    };
    let down = crate::measure::free_port().to_string();
    let [first, second] = [0, 1].map(|at| receiver.ports[at].to_string());
    let destinations = [to("d0", &first), to("d1", &second), to("dead", &down)].concat();
    let rules = format!(
        "  - {{ name: all, to: d0 }}\n  - {{ name: some, match: {{ type: bounced }}, to: d1 }}\n  \
         - {{ name: none, match: {{ type: unsubscribed }}, to: dead }}\n{more}"
    );
    Setup { destinations, rules, rule_count: 0, tls: None }
}

/// Of a hundred events 38 go to two.
fn deliveries_of(events: u64) -> u64 {
    use crate::load::BOUNCED_IN_100;
    events + events / 100 * BOUNCED_IN_100 + (events % 100).min(BOUNCED_IN_100)
}
