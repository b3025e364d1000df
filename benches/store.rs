//! The store alone: what it costs, what it keeps in memory, how fast it opens, drains and answers.
//!
//! `cargo bench --bench store -- [--waiting N] [--history N]`. Everything runs in a process of its own for each measurement, on the
//! real disk below the target directory. CPU seconds are of the whole process; compare ratios, not wall time.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use vero_relay::event::EventId;
use vero_relay::store::journal::disk::RealDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::{
    AppendError, Claimed, DeadQuery, Duty, EventQuery, Intake, Looking, NameId, NameKind, Named, NewEvent, Order,
    PlannedDelivery, Queue, Retention, Room, Settled, Settlement, Store, StoredEvent,
};

/// Events in flight at once, as from so many senders.
const IN_FLIGHT: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let role = args.iter().position(|arg| arg == "--role").map(|at| (args[at + 1].clone(), args[at + 2].clone()));
    let number = |name: &str, usual: u64| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(usual)
    };
    match role {
        Some((role, directory)) => play(&role, Path::new(&directory), number("--count", 0)),
        None => orchestrate(number("--waiting", 1_000_000), number("--history", 2_000_000)),
    }
}

fn orchestrate(waiting: u64, history: u64) {
    let scratch = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let run = |role: &str, directory: &Path, count: u64| {
        let program = std::env::current_exe().expect("this program");
        let count = count.to_string();
        let status = Command::new(program).args(["--role", role]).arg(directory).args(["--count", &count]).status();
        assert!(status.expect("started").success(), "{role} failed");
    };
    println!("-- appending, one delivery each, settled at once");
    run("keeps-up", scratch().path(), waiting.min(1_000_000));
    println!("-- {waiting} waiting for a dead destination");
    let directory = scratch();
    run("fill", directory.path(), waiting);
    run("reopen", directory.path(), 0);
    std::fs::remove_file(directory.path().join("state.db")).expect("the index");
    println!("-- the same without its index");
    run("reopen", directory.path(), 0);
    run("drain", directory.path(), 1_000_000.min(waiting));
    println!("-- a history of {history} events, one in a hundred a dead letter");
    let directory = scratch();
    run("history", directory.path(), history);
    run("look", directory.path(), 0);
}

fn open(directory: &Path) -> JournalStore {
    let disk = RealDisk::open(&directory.join("journal")).expect("a directory");
    let index = Location::File(directory.join("state.db"));
    let retention = Retention { history_bytes: Some(1 << 40), ..Retention::default() };
    let start = Instant::now();
    let (store, opened) =
        JournalStore::open(Arc::new(disk), Options { index, retention, ..Options::default() }).expect("it opens");
    println!(
        "    opened in {:.3} s: {} waiting, {} of {} segments read; resident {:.1} MiB",
        start.elapsed().as_secs_f64(),
        opened.backlog,
        opened.segments_read,
        opened.segments,
        status("VmRSS:")
    );
    store
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// The numbers of the destination, the rule and the source.
fn names(store: &JournalStore) -> [NameId; 3] {
    let named = [(NameKind::Destination, "crm"), (NameKind::Rule, "all"), (NameKind::Source, "vero")];
    let named = named.map(|(kind, name)| Named { kind, name: name.to_owned(), renamed_from: None });
    let ids = RUNTIME.block_on(async { store.intern(named.into()).await }).expect("there is room").ids;
    store.announce(1, &ids);
    [ids[0], ids[1], ids[2]]
}

/// The deliveries of a destination.
fn queue(store: &JournalStore, of: NameId) -> Arc<dyn Queue> {
    RUNTIME.block_on(store.lease(Duty::deliver_to(of))).queues.remove(0)
}

/// Claims what is there; what is read from the disk is read here.
fn claim(queue: &dyn Queue, deliveries: usize) -> Vec<Claimed> {
    RUNTIME.block_on(async { queue.claim(Room { deliveries, body_bytes: 4 << 20, urgent_only: false }).await })
}

fn delivered(claimed: Claimed) -> Settled {
    Settled { claim: claimed.claim, settlement: Settlement::Delivered { attempts: 1 }, attempt: None }
}

fn play(role: &str, directory: &Path, count: u64) {
    let store = open(directory);
    let [crm, ..] = names(&store);
    match role {
        "fill" => {
            append_all(&store, crm, count, |_| {});
            report("appended", count);
            store.close_here();
        }
        "keeps-up" => {
            append_all(&store, crm, count, |store| {
                let queue = queue(store, crm);
                queue.settle(claim(&*queue, 1024).into_iter().map(delivered).collect());
            });
            store.close_here();
            report("appended and delivered", count);
        }
        "reopen" => {}
        "drain" => {
            let (start, before, mut done) = (Instant::now(), cpu_seconds(), 0);
            while done < count {
                let queue = queue(&store, crm);
                let claimed = claim(&*queue, 64);
                assert!(!claimed.is_empty(), "there is more");
                assert!(claimed.iter().all(|claimed| claimed.event.is_ok()), "each can be read");
                done += claimed.len() as u64;
                queue.settle(claimed.into_iter().map(delivered).collect());
            }
            let (took, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - before);
            println!(
                "    drained {done} in {took:.2} s: {:.0}/s, {:.2} CPU-s per 100 000; resident {:.1} MiB",
                done as f64 / took,
                cpu * 1e5 / done as f64,
                status("VmRSS:")
            );
            store.close_here();
        }
        "history" => {
            let mut number = 0u64;
            append_all(&store, crm, count, |store| {
                let queue = queue(store, crm);
                let settled = claim(&*queue, 1024).into_iter().map(|claimed| {
                    number += 1;
                    let reason = "422 Unprocessable Entity: said".to_owned();
                    let dead = Settlement::Dead { attempts: 1, reason };
                    let settled = delivered(claimed);
                    if number.is_multiple_of(100) { Settled { settlement: dead, ..settled } } else { settled }
                });
                queue.settle(settled.collect());
            });
            store.close_here();
            report("appended and settled", count);
        }
        "look" => look(&store, crm),
        other => panic!("no role {other}"),
    }
}

/// The median of some runs, in milliseconds.
fn timed(what: &str, mut act: impl FnMut(usize)) {
    let mut times: Vec<f64> = (0..21)
        .map(|run| {
            let start = Instant::now();
            act(run);
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("    {what}: {:.2} ms (median of 21; slowest {:.2})", times[10], times[20]);
}

fn look(store: &JournalStore, crm: NameId) {
    let runtime = Runtime::new().expect("a runtime");
    // Events from everywhere in the history.
    let mut sample: Vec<Arc<StoredEvent>> = Vec::new();
    let mut after = None;
    loop {
        let page = runtime
            .block_on(async { store.events(&EventQuery::all(Order::OldestFirst), after.as_ref(), 10_000).await });
        let page = page.expect("readable");
        sample.extend(page.items.first().cloned());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let any = |run: usize| &sample[run * 7919 % sample.len()];
    timed("the latest 100 events", |_| {
        let latest = EventQuery::all(Order::NewestFirst);
        let page = runtime.block_on(async { store.events(&latest, None, 100).await });
        assert_eq!(page.expect("readable").items.len(), 100);
    });
    timed("one event by id with what became of it", |run| {
        runtime.block_on(async { store.event(any(run).id).await }).expect("there");
    });
    timed("the latest 100 dead letters of a destination", |_| {
        let page = runtime.block_on(async { store.dead_letters(vec![crm], &DeadQuery::default(), None, 100).await });
        assert_eq!(page.expect("a page").items.len(), 100);
    });
    timed("the first event since a time", |run| {
        let since = EventQuery { since_ms: any(run).received_ms, ..EventQuery::all(Order::OldestFirst) };
        runtime.block_on(async { store.events(&since, None, 1).await }).expect("readable");
    });
}

fn append_all(store: &JournalStore, crm: NameId, count: u64, mut between: impl FnMut(&JournalStore)) {
    let [_, rule, source] = names(store);
    let mut waiting: Answers = Vec::new();
    for number in 0..count {
        let body = format!(
            r#"{{"type":"delivered","user":{{"id":{number},"email":"customer{number}@example.com"}},"padding":"{}"}}"#,
            "x".repeat(510)
        );
        waiting.push(store.append(NewEvent {
            received_ms: vero_relay::time::wall_ms(),
            source,
            generation: 1,
            rules: vec![rule],
            deliveries: vec![PlannedDelivery { destination: crm, rule }],
            body: Bytes::from(body),
        }));
        if waiting.len() == IN_FLIGHT {
            taken(&mut waiting);
            between(store);
        }
    }
    taken(&mut waiting);
    between(store);
}

type Answers = Vec<oneshot::Receiver<Result<EventId, AppendError>>>;

fn taken(waiting: &mut Answers) {
    for answer in waiting.drain(..) {
        answer.blocking_recv().expect("an answer").expect("taken");
    }
}

fn report(what: &str, count: u64) {
    println!(
        "    {what}: {:.2} CPU-s per 100 000; {:.2} bytes written a body byte; resident {:.1} MiB, at most {:.1}",
        cpu_seconds() * 1e5 / count as f64,
        written_bytes() / (count as f64 * 600.0),
        status("VmRSS:"),
        status("VmHWM:")
    );
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
    ticks as f64 / 100.0
}

fn status(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it runs");
    let line = status.lines().find(|line| line.starts_with(key)).expect("the key");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
}

fn written_bytes() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("it runs");
    let line = io.lines().find(|line| line.starts_with("write_bytes")).expect("the key");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
