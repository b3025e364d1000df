//! How often the relay asks for memory, for an event and for a delivery: the same daemon, in a process of this program, whose
//! allocator counts.
//!
//! The counts hardly depend on the machine or on how the program was compiled. An event that goes nowhere is accepted and no more, so
//! the rest of what another costs is its deliveries'.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use vero_relay::cli::Cli;

use crate::ALLOCATOR;
use crate::load::{Load, send};
use crate::measure::{Relay, Setup};
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, Fan, IN_FLIGHT, scratch, setup_of};

/// What `--only` calls it.
pub const KEY: &str = "allocations";
/// So many that what the relay does beside them, like telling its state ten times a second, is a hundredth.
const EVENTS: u64 = 20_000;

/// What an event asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub times: f64,
    pub bytes: f64,
}

/// What events ask for that go to some destinations.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub fan: Fan,
    pub event: Asked,
}

impl Counted {
    /// The part of one delivery, beside an event that has none.
    pub fn delivery(&self, intake: &Self, deliveries: f64) -> Asked {
        let part = |with: f64, without: f64| (with - without) / deliveries;
        Asked { times: part(self.event.times, intake.event.times), bytes: part(self.event.bytes, intake.event.bytes) }
    }
}

/// Counts for an event that goes nowhere, for one of the standard mix, and for those with one and with ten destinations.
pub async fn run(share: u64) -> Vec<Counted> {
    let receiver = Receiver::start(None);
    let mut counted = Vec::new();
    for fan in [Fan::Each(0), Fan::Mix, Fan::Each(1), Fan::Each(10)] {
        counted.push(Counted { fan, event: count(fan, EVENTS / share, &receiver).await });
    }
    counted
}

async fn count(fan: Fan, events: u64, receiver: &Receiver) -> Asked {
    let directory = scratch();
    let (relay, mut counter) = Counter::start(directory.path(), &setup_of(fan, 1, receiver));
    let load = Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None };
    send(relay.hooks, load, events / 5).await;
    relay.wait_drained();
    let before = counter.read();
    send(relay.hooks, load, events).await;
    relay.wait_drained();
    let after = counter.read();
    receiver.take().await;
    let each = |at: usize| (after[at] - before[at]) as f64 / events as f64;
    Asked { times: each(0), bytes: each(1) }
}

/// The other end of a relay that counts.
struct Counter {
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Counter {
    fn start(directory: &Path, setup: &Setup) -> (Relay, Self) {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--role", "relay", "--config"]).arg(directory.join("config.yaml"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut ends = None;
        let take = |child: &mut Child| ends = child.stdin.take().zip(child.stdout.take());
        let relay = Relay::start_by(command, directory, setup, take);
        let (ask, answers) = ends.expect("both are piped");
        (relay, Self { ask, answers: BufReader::new(answers) })
    }

    /// How often it has asked for memory, and for how many bytes in all.
    fn read(&mut self) -> [u64; 2] {
        // What runs beside the last settlement has ended.
        std::thread::sleep(Duration::from_millis(300));
        writeln!(self.ask).expect("it runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().expect("two numbers")
    }
}

/// The role: the daemon, which tells what it has asked for whenever a line comes in.
pub fn serve(config: &Path) {
    std::thread::spawn(|| {
        for _ in std::io::stdin().lines() {
            let stats = ALLOCATOR.stats();
            println!("{} {}", stats.allocations + stats.reallocations, stats.bytes_allocated);
        }
    });
    let words = ["vero-relay".as_ref(), "run".as_ref(), "-c".as_ref(), config.as_os_str()];
    if let Err(failure) = Cli::parse_from(words).run() {
        eprintln!("{}", failure.message);
    }
}
