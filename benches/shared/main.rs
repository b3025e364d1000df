//! `make bench-shared`: several relays on one PostgreSQL over real HTTP, beside one relay on its journal, in one run on one machine.
//!
//! # Cast
//!
//! * [`fleet`]: the relays under test, on a server of their own. [`control`]: how queues are usually kept in a database, for scale.
//! * [`load`], [`receiver`], [`measure`], [`wire`]: those of the other benchmark.
//!
//! Server, relays, senders and receiver share the machine's cores, so rates are lower bounds: read the CPU time, and the ratios.
//!
//! `cargo bench --bench shared -- [--events N] [--seconds N] [--waiting N] [--write]`

mod control;
mod fleet;
#[path = "../../tests/it/harness.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod harness;
#[path = "../../tests/it/judge.rs"]
mod judge;
#[path = "../throughput/load.rs"]
#[expect(dead_code, reason = "shared with the other benchmark, which uses more of it")]
mod load;
#[path = "../throughput/measure.rs"]
#[expect(dead_code, reason = "shared with the other benchmark, which uses more of it")]
mod measure;
#[path = "../../tests/it/postgres/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests, which use more of it")]
mod postgres;
#[path = "../throughput/receiver.rs"]
#[expect(dead_code, reason = "shared with the other benchmark, which uses more of it")]
mod receiver;
#[path = "../throughput/wire.rs"]
mod wire;

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

use self::fleet::{Fleet, Row};
use self::load::Load;
use self::postgres::{Place, Server, Setup};
use self::receiver::Receiver;

/// Several relays on one PostgreSQL, measured.
#[derive(Parser)]
struct Options {
    /// Events of a run as fast as they are taken
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// How long a run at a fixed rate lasts
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What waits for a destination that is down, in the second half
    #[arg(long, default_value_t = 2_000_000)]
    waiting: u64,
    /// Write the figures into BENCHMARKS.md
    #[arg(long)]
    write: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// What this process is, when the program has started itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Where the receiver listens first
    #[arg(long, hide = true)]
    at: Option<SocketAddr>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Receiver,
}

/// Requests in flight at each relay, as from so many senders.
const IN_FLIGHT: usize = 64;
/// Vero's bodies have 500 to 700 bytes.
const BODY_BYTES: usize = 600;
/// Events a second of runs at a fixed rate.
const RATE: u64 = 1000;
/// As much as a small server has. It waits for its disk.
const SETTINGS: [(&str, &str); 3] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("max_connections", "100")];
/// In BENCHMARKS.md, the figures of this program stand behind this line.
pub const HEAD: &str = "\n## Several relays on one PostgreSQL\n";

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    match options.role {
        Some(Role::Receiver) => runtime.block_on(receiver::run(options.at)),
        None => runtime.block_on(measure_all(&options)),
    }
}

async fn measure_all(options: &Options) {
    let server = Server::start(Setup { place: Place::Loopback, settings: &SETTINGS, ..Setup::default() }).await;
    let receiver = Receiver::start(None);
    let full = |events| Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None }.of(events);
    let slow = Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: Some(RATE) }.of(RATE * options.seconds);
    let mut rows = Vec::new();
    let mut add = |row: Row| {
        println!("{}", row.line());
        rows.push(row);
    };
    println!("{}", Row::HEAD);
    let journal = Fleet::on_a_journal(&receiver).run("1 relay on its journal", full(options.events)).await;
    add(journal);
    let one = Fleet::on(&server, &receiver, 1, "one").await;
    add(one.run("1 relay", full(options.events)).await);
    drop(one);
    let two = Fleet::on(&server, &receiver, 2, "two").await;
    add(two.run("2 relays", full(options.events)).await);
    drop(two);
    let pair = Fleet::one_after_the_other(&server, &receiver, "pair").await;
    add(pair.run_through_the_last("2 relays at 1000/s, all delivered by the other", slow).await);
    let taken_over = pair.taken_over().await;
    let waiting = Fleet::with_waiting(&server, &receiver, 2, "waiting", options.waiting).await;
    add(waiting
        .run(&format!("2 relays, {} wait for another destination", options.waiting), full(options.events))
        .await);
    drop(waiting);
    let pair = Fleet::one_after_the_other_with_waiting(&server, &receiver, "held", options.waiting).await;
    let name = format!("2 relays at 1000/s, {} wait for another destination", options.waiting);
    add(pair.run_through_the_last(&name, slow).await);
    let taken_over_with_waiting = pair.taken_over().await;
    add(control::run(&server, options.events / 4).await);
    let text = format!(
        "{HEAD}\nWritten by `make bench-shared`. PostgreSQL, relays, senders and receiver share the machine; `fsync` is on; 1.38 deliveries an \
         event over HTTP; {IN_FLIGHT} requests in flight at each relay.\n\n{}\n{}\n\n\
         After `kill -9` of the relay that delivered everything, the other delivered {taken_over:.1} s later; with {} waiting for another \
         destination {taken_over_with_waiting:.1} s later.\n",
        Row::HEAD,
        rows.iter().map(Row::line).collect::<Vec<_>>().join("\n"),
        options.waiting,
    );
    println!("{text}");
    if options.write {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md");
        let known = std::fs::read_to_string(path).unwrap_or_default();
        let others = known.split(HEAD).next().unwrap_or_default();
        std::fs::write(path, format!("{others}{text}")).expect("the project's directory is writable");
    }
}

/// A load, and how much of it.
#[derive(Clone, Copy)]
pub struct Amount {
    pub load: Load,
    pub events: u64,
}

impl Load {
    fn of(self, events: u64) -> Amount {
        Amount { load: self, events }
    }
}
