//! What is measured: each scenario once, with the bare loop before and after it under the same load and with the same
//! fan-out.

use std::net::SocketAddr;
use std::time::Instant;

use vero_relay::store::journal::OUTCOMES_SYNCED_WITHIN;

use crate::bare::{self, Target};
use crate::load::{BOUNCED_IN_100, Load, Sent, send, wall_ns};
use crate::measure::{Relay, Setup, free_port, quantile};
use crate::receiver::{Arrived, Receiver, SLOW_MS};

/// Where the events of a scenario go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// All to one destination, [`BOUNCED_IN_100`] of a hundred to a second one too: what a usual config comes to.
    Mix,
    /// Each to so many destinations.
    Each(usize),
    /// Each to one that takes [`SLOW_MS`] to answer.
    Slow,
    /// Each to a file, synced before it counts. The bare loop then only answers.
    File,
}

/// One thing to measure.
pub struct Scenario {
    pub group: &'static str,
    /// What `--only` calls it.
    pub key: &'static str,
    pub name: String,
    pub fan: Fan,
    pub rules: usize,
    pub load: Load,
    /// Events of the whole run: enough for two seconds of CPU time in the relay, so that a tick is half a hundredth.
    pub events: u64,
}

/// Events of a backlog are counted by `--dead`.
pub const DRAIN_KEY: &str = "drain";
/// Requests in flight, as from so many senders.
pub const IN_FLIGHT: usize = 64;
/// Vero's bodies have 500 to 700 bytes.
pub const BODY_BYTES: usize = 600;
/// Twenty-four of the largest bodies are all that the relay has in hand at once; more would measure how it refuses.
const IN_FLIGHT_LARGE: usize = 16;

/// The rate that acknowledgements are measured at.
pub const RATE: u64 = 1000;

/// All scenarios, in the order of the report.
pub fn all() -> Vec<Scenario> {
    let usual = Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None };
    let mix = |group, key, name: &str, load, rules, events| Scenario {
        group,
        key,
        name: name.to_owned(),
        fan: Fan::Mix,
        rules,
        load,
        events,
    };
    let fanned = |group, key, name: &str, fan, load, events| Scenario {
        group,
        key,
        name: name.to_owned(),
        fan,
        rules: 1,
        load,
        events,
    };
    let (standard, fan_out, rules, bodies, kinds) = (
        "The standard mix",
        "Fan-out: destinations for each event",
        "Rules, of which each event matches the same",
        "Bodies",
        "Destinations of other kinds",
    );
    let of = |body_bytes, connections| Load { body_bytes, connections, rate: None };
    let at = |rate| Load { rate: Some(rate), ..usual };
    vec![
        mix(standard, "standard", "64 requests in flight", usual, 2, 100_000),
        mix(standard, "one", "one request at a time", of(BODY_BYTES, 1), 2, 15_000),
        mix(standard, "rate", "1000 events/s", at(RATE), 2, 20_000),
        fanned(fan_out, "fan-1", "1", Fan::Each(1), usual, 80_000),
        fanned(fan_out, "fan-3", "3", Fan::Each(3), usual, 40_000),
        fanned(fan_out, "fan-10", "10", Fan::Each(10), usual, 15_000),
        mix(rules, "rules-10", "10", usual, 10, 60_000),
        mix(rules, "rules-100", "100", usual, 100, 60_000),
        mix(rules, "rules-1000", "1000", usual, 1000, 60_000),
        mix(rules, "rules-10000", "10 000", usual, 10_000, 60_000),
        mix(bodies, "body-600", "600 B", usual, 2, 60_000),
        mix(bodies, "body-10k", "10 KiB", of(10 << 10, IN_FLIGHT), 2, 40_000),
        mix(bodies, "body-1m", "1 MiB, 16 in flight", of(1 << 20, IN_FLIGHT_LARGE), 2, 1_500),
        fanned(kinds, "slow", &format!("one that takes {SLOW_MS} ms, 2000 events/s"), Fan::Slow, at(2000), 20_000),
        fanned(kinds, "file", "a file, synced before it counts", Fan::File, usual, 100_000),
    ]
}

impl Scenario {
    /// The part of the scenario that the bare loop has to match.
    fn shape(&self) -> (Fan, Load) {
        (self.fan, self.load)
    }

    fn targets(&self, receiver: &Receiver) -> Vec<Target> {
        targets_of(self.fan, receiver)
    }

    fn setup(&self, receiver: &Receiver) -> Setup {
        setup_of(self.fan, self.rules, receiver)
    }

    fn deliveries(&self, events: u64) -> u64 {
        match self.fan {
            Fan::Mix => events + events / 100 * BOUNCED_IN_100 + (events % 100).min(BOUNCED_IN_100),
            Fan::Each(count) => events * count as u64,
            Fan::Slow | Fan::File => events,
        }
    }
}

fn targets_of(fan: Fan, receiver: &Receiver) -> Vec<Target> {
    let to = |address, in_100| Target { address, in_100 };
    match fan {
        Fan::Mix => vec![to(receiver.ports[0], 100), to(receiver.ports[1], BOUNCED_IN_100)],
        Fan::Each(count) => receiver.ports[..count].iter().map(|port| to(*port, 100)).collect(),
        Fan::Slow => vec![to(receiver.slow, 100)],
        Fan::File => Vec::new(),
    }
}

/// A relay's config, by where its events go.
pub fn setup_of(fan: Fan, rule_count: usize, receiver: &Receiver) -> Setup {
    let targets = targets_of(fan, receiver);
    let mut destinations: String = targets.iter().enumerate().map(|(i, to)| http(i, to.address)).collect();
    let mut names: Vec<String> = (0..targets.len()).map(|i| format!("d{i}")).collect();
    let mut rules = String::new();
    match fan {
        Fan::Mix => {
            rules.push_str(
                "  - { name: some, match: { type: [bounced, complained], campaign.type: behavioural }, to: d1 }\n",
            );
            names.truncate(1);
        }
        Fan::File => {
            destinations.push_str("  d0: { file: { path: \"archive/{date}.ndjson\" } }\n");
            names.push("d0".to_owned());
        }
        Fan::Each(_) | Fan::Slow => {}
    }
    if names.is_empty() {
        destinations.push_str("  nobody: { file: { path: unused } }\n");
        rules.push_str(
            "  - { name: none, match: { type: nothing }, to: nobody }\n  - { name: all, to: [], stop: true }\n",
        );
    } else {
        rules.push_str(&format!("  - {{ name: all, to: [{}] }}\n", names.join(", ")));
    }
    Setup { destinations, rules, rule_count, tls: None }
}

fn http(i: usize, address: SocketAddr) -> String {
    format!("  d{i}: {{ http: {{ url: \"http://{address}/\" }}, concurrency: 64 }}\n")
}

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub events_per_s: f64,
    pub deliveries_per_s: f64,
    /// CPU time of the process in the middle, for each event.
    pub cpu_us: f64,
    pub cpu_seconds: f64,
    /// p50, p99, p999.
    pub ack_ms: [f64; 3],
    /// p50, p99; `None` where no receiver saw the events.
    pub end_to_end_ms: Option<[f64; 2]>,
    pub resident_mib: f64,
    /// Bytes written for each byte of a body, and events a sync; only of the relay.
    pub disk: Option<(f64, f64)>,
}

impl Figures {
    fn new(sent: &Sent, arrived: Arrived, cpu_seconds: f64) -> Self {
        let seconds = arrived.last_ns.saturating_sub(sent.begun_ns) as f64 / 1e9;
        Self {
            events_per_s: sent.events as f64 / sent.seconds,
            deliveries_per_s: if arrived.count == 0 { 0.0 } else { arrived.count as f64 / seconds },
            cpu_us: cpu_seconds / sent.events as f64 * 1e6,
            cpu_seconds,
            ack_ms: [0.5, 0.99, 0.999].map(|q| quantile(&sent.acks_us, q)),
            end_to_end_ms: (arrived.count > 0).then_some([arrived.p50_ms, arrived.p99_ms]),
            resident_mib: 0.0,
            disk: None,
        }
    }
}

/// A scenario's figures between those of the bare loop.
pub struct Measured {
    pub scenario: Scenario,
    pub relay: Figures,
    pub bare: [Figures; 2],
}

/// What a backlog came to.
pub struct Drained {
    pub events: u64,
    pub taken_per_s: f64,
    pub taking_cpu_us: f64,
    /// At most, while it grew.
    pub resident_mib: f64,
    pub restart_seconds: f64,
    pub drained_per_s: f64,
    pub draining_cpu_us: f64,
    /// At most, from the restart to the end.
    pub draining_resident_mib: f64,
}

/// Runs scenarios one after the other; neighbours with the same shape share the run of the bare loop between them.
pub async fn run(scenarios: Vec<Scenario>, share: u64, mut show: impl FnMut(&Measured)) -> Vec<Measured> {
    let receiver = Receiver::start(None);
    let mut measured: Vec<Measured> = Vec::new();
    for scenario in scenarios {
        let known = measured.last().filter(|last| last.scenario.shape() == scenario.shape());
        let before = match known {
            Some(last) => last.bare[1].clone(),
            None => run_bare(&scenario, share, &receiver).await,
        };
        let relay = run_relay(&scenario, share, &receiver).await;
        let bare = [before, run_bare(&scenario, share, &receiver).await];
        let one = Measured { scenario, relay, bare };
        show(&one);
        measured.push(one);
    }
    measured
}

/// Of the relay's events, so many warm it up, and the bare loop gets so many.
const WARM_UP: u64 = 10;
const BARE: u64 = 2;

async fn run_bare(scenario: &Scenario, share: u64, receiver: &Receiver) -> Figures {
    let (process, address) = bare::start(&scenario.targets(receiver));
    let events = scenario.events / share / BARE;
    send(address, Load { rate: None, ..scenario.load }, events / WARM_UP).await;
    receiver.take().await;
    let before = process.cpu_seconds();
    let sent = send(address, scenario.load, events).await;
    let cpu = process.cpu_seconds() - before;
    Figures { resident_mib: process.resident_mib(), ..Figures::new(&sent, receiver.take().await, cpu) }
}

async fn run_relay(scenario: &Scenario, share: u64, receiver: &Receiver) -> Figures {
    let directory = scratch();
    let relay = Relay::start(directory.path(), &scenario.setup(receiver));
    let events = scenario.events / share;
    send(relay.hooks, Load { rate: None, ..scenario.load }, events / WARM_UP).await;
    relay.wait_drained();
    tokio::time::sleep(OUTCOMES_SYNCED_WITHIN).await;
    receiver.take().await;
    let (cpu, written, syncs) = (relay.process.cpu_seconds(), relay.process.written_bytes(), relay.syncs());
    let sent = send(relay.hooks, scenario.load, events).await;
    relay.wait_drained();
    let drained_ns = wall_ns();
    let syncs = relay.syncs() - syncs;
    // The last outcomes are on their way to the disk.
    tokio::time::sleep(OUTCOMES_SYNCED_WITHIN).await;
    let cpu = relay.process.cpu_seconds() - cpu;
    let written = relay.process.written_bytes() - written;
    let arrived = receiver.take().await;
    if scenario.fan != Fan::File {
        let (arrived, expected) = (arrived.count, scenario.deliveries(events));
        assert!(arrived >= expected, "{arrived} of {expected} deliveries arrived");
    }
    let mut figures = Figures::new(&sent, arrived, cpu);
    if scenario.fan == Fan::File {
        figures.deliveries_per_s = events as f64 * 1e9 / drained_ns.saturating_sub(sent.begun_ns) as f64;
    }
    figures.resident_mib = relay.process.resident_mib();
    let body_bytes = events as f64 * scenario.load.body_bytes as f64;
    figures.disk = Some((written / body_bytes, events as f64 / syncs));
    figures
}

/// On the disk that the target directory lies on: what `/tmp` is made of may be memory.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a writable target directory")
}

/// Lets a backlog grow while its destination is down, starts the relay again over it, and lets the destination come
/// back.
pub async fn drain(events: u64) -> Drained {
    let directory = scratch();
    let down = free_port();
    let rules = "  - { name: all, to: [d0] }\n".to_owned();
    let setup = Setup { destinations: http(0, down), rules, rule_count: 1, tls: None };
    let relay = Relay::start(directory.path(), &setup);
    let load = Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None };
    let sent = send(relay.hooks, load, events).await;
    let (taking_cpu, resident_mib) = (relay.process.cpu_seconds(), relay.process.resident_mib());
    let start = Instant::now();
    let relay = relay.restart(directory.path());
    let restart_seconds = start.elapsed().as_secs_f64();
    let waiting = relay.backlog();
    assert!(waiting == events as f64, "{waiting} of {events} wait after the restart");
    let receiver = Receiver::start(Some(down));
    let before = relay.process.cpu_seconds();
    relay.retry("d0");
    relay.wait_drained();
    let draining_cpu = relay.process.cpu_seconds() - before;
    let arrived = receiver.take().await;
    assert!(arrived.count >= events, "{} of {events} arrived", arrived.count);
    Drained {
        events,
        taken_per_s: events as f64 / sent.seconds,
        taking_cpu_us: taking_cpu / events as f64 * 1e6,
        resident_mib,
        restart_seconds,
        drained_per_s: arrived.count as f64 * 1e9 / (arrived.last_ns - arrived.first_ns) as f64,
        draining_cpu_us: draining_cpu / events as f64 * 1e6,
        draining_resident_mib: relay.process.resident_mib(),
    }
}
