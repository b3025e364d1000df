//! `make bench`: the real binary against a bare loop that only forwards bytes, in one run on one machine.
//!
//! # Cast
//!
//! * [`load`]: the sender. [`receiver`]: the other side, which notes how long each event took. [`bare`]: the loop in
//!   the relay's place.
//! * [`asked`]: how long the API takes over a long history. [`watched`]: what an open page costs.
//! * [`encrypted`]: what TLS costs. [`gathered`]: what a very large digest does. [`together`]: what batches save. [`counted`]: how often the relay asks for memory.
//! * [`driver`]: a browser, that of the tests.
//! * [`measure`]: what the kernel knows of a process, and the relay, started on a config of its own.
//! * [`scenarios`]: what is measured, each between two runs of the bare loop. [`report`]: the tables and BENCHMARKS.md.
//! * [`wire`]: as little HTTP as will do.
//!
//! Sender, receivers and relay share the machine, so a rate says little by itself: read the CPU time of the relay's own
//! process, and the ratios.
//!
//! `cargo bench --bench throughput -- [--quick] [--only NAME] [--dead N] [--write]`

mod asked;
mod bare;
mod counted;
#[path = "../../tests/it/browser/driver.rs"]
mod driver;
mod encrypted;
mod gathered;
mod load;
mod measure;
mod receiver;
mod report;
mod scenarios;
mod together;
mod watched;
mod wire;

use std::alloc::System;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Of this program in all its roles; the relay that is timed is another program, and has its own.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures the relay against a bare loop that only forwards bytes.
#[derive(Parser)]
struct Options {
    /// A tenth of the events: to see that it runs, not what it costs
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name begins so: standard, one, rate, fan, rules, body, slow, file, drain, allocations, api,
    /// page, tls, gathered, batch
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Events of the backlog
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    dead: u64,
    /// Write BENCHMARKS.md
    #[arg(long, conflicts_with_all = ["quick", "only"])]
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
    /// Where the bare loop forwards to
    #[arg(long, hide = true)]
    to: Vec<bare::Target>,
    /// What the relay that counts is started on
    #[arg(long, hide = true)]
    config: Option<PathBuf>,
}

/// The head of the figures of the other benchmark, `shared`.
const OF_SEVERAL: &str = "\n## Several relays on one PostgreSQL\n";

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Receiver,
    Bare,
    Relay,
}

fn main() {
    let options = Options::parse();
    if let (Some(Role::Relay), Some(config)) = (options.role, &options.config) {
        return counted::serve(config);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    match options.role {
        Some(Role::Receiver) => runtime.block_on(receiver::run(options.at)),
        Some(Role::Bare) => runtime.block_on(bare::run(options.to)),
        Some(Role::Relay) | None => runtime.block_on(measure_all(&options)),
    }
}

async fn measure_all(options: &Options) {
    let is_wanted = |key: &str| options.only.as_deref().is_none_or(|only| key.starts_with(only));
    let share = if options.quick { 10 } else { 1 };
    let chosen: Vec<_> = scenarios::all().into_iter().filter(|scenario| is_wanted(scenario.key)).collect();
    let is_draining = is_wanted(scenarios::DRAIN_KEY);
    let is_counting = is_wanted(counted::KEY);
    let is_asking = is_wanted(asked::KEY);
    let is_watching = is_wanted(watched::KEY);
    let is_encrypting = is_wanted(encrypted::KEY);
    let is_gathering = is_wanted(gathered::KEY);
    let is_batching = is_wanted(together::KEY);
    let others = [is_draining, is_counting, is_asking, is_watching, is_encrypting, is_gathering, is_batching];
    assert!(others.contains(&true) || !chosen.is_empty(), "no scenario has a name that begins so: see --help");
    let machine = report::Machine::look();
    print!("{}", machine.text());
    let measured = scenarios::run(chosen, share, |one| eprintln!("{}", report::line(one))).await;
    let drained = if is_draining { Some(scenarios::drain(options.dead / share).await) } else { None };
    let counted = if is_counting { counted::run(share).await } else { Vec::new() };
    let asked = if is_asking { Some(asked::run(share).await) } else { None };
    let watched = if is_watching { Some(watched::run(share).await) } else { None };
    let encrypted = if is_encrypting { Some(encrypted::run(share).await) } else { None };
    let gathered = if is_gathering { Some(gathered::run(share).await) } else { None };
    let together = if is_batching { Some(together::run(share).await) } else { None };
    let report = report::Report {
        machine,
        measured,
        drained,
        counted,
        asked,
        watched,
        encrypted,
        gathered,
        together,
        is_quick: options.quick,
    };
    let text = report.text();
    println!("{text}");
    if options.write {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md");
        // What another program has written behind its own head stays.
        let known = std::fs::read_to_string(path).unwrap_or_default();
        let others = known.find(OF_SEVERAL).map(|at| known[at..].to_owned()).unwrap_or_default();
        std::fs::write(path, text + &others).expect("the project's directory is writable");
        eprintln!("BENCHMARKS.md is written");
    }
}
