//! What a very large digest costs: as many deliveries as nobody wants by themselves wait for one message, the relay is killed and started again
//! over them, and they go out. A second relay has the same backlog for a destination that is down, without a digest, to compare.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use crate::load::{Load, send};
use crate::measure::{Relay, Setup, free_port, quantile};
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, IN_FLIGHT, scratch};

/// What `--only` calls it.
pub const KEY: &str = "gathered";
/// Events that wait.
const EVENTS: u64 = 1_000_000;
/// A trickle while the digest goes out: events, and how many a second.
const MEANWHILE: u64 = 400;
const MEANWHILE_RATE: u64 = 200;
/// The gauge of what waits to go out together.
const GATHERED: &str = "vero_relay_deliveries_gathered{";

/// What waiting together came to.
pub struct Gathered {
    pub events: u64,
    pub waiting: [Waiting; 2],
    /// From the command to its being settled, and the requests that were made for it.
    pub settled_seconds: f64,
    pub messages: u64,
    /// The relay's CPU time for each event of it.
    pub settling_cpu_us: f64,
    /// At most, from the restart to the end.
    pub settling_resident_mib: f64,
    /// How long an event waited for its answer while that went on: p50, p99 and the longest.
    pub ack_ms: [f64; 3],
}

/// A backlog: each for itself, and together.
pub struct Waiting {
    pub taking_cpu_us: f64,
    /// At most, until all had been taken.
    pub resident_mib: f64,
    /// From the start of the second process until it was ready, and until each had its place again.
    pub ready_seconds: f64,
    pub placed_seconds: f64,
    /// At most, of the process that was started over it.
    pub restarted_mib: f64,
}

/// Measures both, one after the other.
pub async fn run(share: u64) -> Gathered {
    let events = EVENTS / share;
    let alone = format!("  d0: {{ http: {{ url: \"http://{}/\" }} }}\n", free_port());
    let directory = scratch();
    let (_, alone) = wait(&alone, "vero_relay_backlog{", events, directory.path()).await;
    let receiver = Receiver::start(None);
    let directory = scratch();
    let (relay, together) = wait(&digest(receiver.ports[0]), GATHERED, events, directory.path()).await;
    let cpu = relay.process.cpu_seconds();
    let start = Instant::now();
    relay.post("/api/destinations/d0/digest-now");
    let meanwhile = Load { body_bytes: BODY_BYTES, connections: 8, rate: Some(MEANWHILE_RATE) };
    let hooks = relay.hooks;
    let sending = tokio::spawn(async move { send(hooks, meanwhile, MEANWHILE).await });
    relay.wait_until("the digest to be settled", |relay| relay.metric(GATHERED) + relay.backlog() <= MEANWHILE as f64);
    let settled_seconds = start.elapsed().as_secs_f64();
    let cpu = relay.process.cpu_seconds() - cpu;
    let sent = sending.await.expect("a sender ends in peace");
    Gathered {
        events,
        waiting: [alone, together],
        settled_seconds,
        messages: receiver.take().await.count,
        settling_cpu_us: cpu / events as f64 * 1e6,
        settling_resident_mib: relay.process.resident_mib(),
        ack_ms: [0.5, 0.99, 1.0].map(|q| quantile(&sent.acks_us, q)),
    }
}

/// A destination that says the stamp of one of its events, as the receiver wants.
fn digest(address: SocketAddr) -> String {
    format!(
        "  d0:\n    http: {{ url: \"http://{address}/\" }}\n    digest:\n      every: 24h\n      by: [type]\n      first: 0\n      text: \
         '\"sent_ns\":{{{{ digest.events[0].sent_ns }}}}'\n"
    )
}

/// Lets so many events wait, as a metric counts them, and starts the relay again over them.
async fn wait(destinations: &str, metric: &str, events: u64, directory: &Path) -> (Relay, Waiting) {
    let rules = "  - { name: all, to: [d0] }\n".to_owned();
    let setup = Setup { destinations: destinations.to_owned(), rules, rule_count: 1, tls: None };
    let relay = Relay::start(directory, &setup);
    send(relay.hooks, Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None }, events).await;
    let have_their_place = |relay: &Relay| relay.metric(metric) == events as f64;
    relay.wait_until("all to have their place", have_their_place);
    let (cpu, resident_mib) = (relay.process.cpu_seconds(), relay.process.resident_mib());
    let start = Instant::now();
    let relay = relay.restart(directory);
    let ready_seconds = start.elapsed().as_secs_f64();
    relay.wait_until("all to have their place again", have_their_place);
    let placed_seconds = start.elapsed().as_secs_f64();
    let taking_cpu_us = cpu / events as f64 * 1e6;
    let restarted_mib = relay.process.resident_mib();
    (relay, Waiting { taking_cpu_us, resident_mib, ready_seconds, placed_seconds, restarted_mib })
}
