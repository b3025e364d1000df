//! The store on PostgreSQL: what an event costs the relays and what it costs the database, with several relays in one process.
//!
//! `cargo bench --bench shared -- --url URL --data DIRECTORY [--events N] [--relays N]`: a server of one's own, and where its data lies, by
//! which its processes are found. Each run makes a schema and leaves it. CPU seconds are of whole processes; compare ratios, not wall
//! time. What is delivered is settled at once: no request is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use vero_relay::store::postgres::{Address, AddressOptions, Options, PostgresStore};
use vero_relay::store::{
    Claimed, Duty, Intake, NameId, NameKind, Named, NewEvent, PlannedDelivery, Queue, Room, Settled, Settlement, Store,
};

/// Events in flight at each relay, as from so many senders.
const IN_FLIGHT: u64 = 64;
/// Destinations; of eight events three go to two of them.
const DESTINATIONS: usize = 4;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let number = |name: &str, usual: u64| value(name).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (Some(url), Some(data)) = (value("--url"), value("--data")) else {
        println!("needs --url and --data: see the head of benches/shared.rs");
        return;
    };
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(run(&url, &data, number("--events", 200_000), number("--relays", 2)));
}

async fn run(url: &str, data: &str, events: u64, relays: u64) {
    let schema = format!("bench_{}", std::process::id());
    make(url, &schema).await;
    let mut stores = Vec::new();
    for relay in 0..relays {
        let options = AddressOptions { schema: schema.clone(), ..AddressOptions::default() };
        let address = Address::parse(url, options).expect("an address");
        let options = Options { name: format!("relay-{relay}"), ..Options::default() };
        stores.push(Arc::new(PostgresStore::open(address, options).await.expect("it opens")));
    }
    let mut named = vec![(NameKind::Rule, "all".to_owned()), (NameKind::Source, "vero".to_owned())];
    named.extend((0..DESTINATIONS).map(|at| (NameKind::Destination, format!("to-{at}"))));
    let named = named.into_iter().map(|(kind, name)| Named { kind, name, renamed_from: None });
    let ids = stores[0].intern(named.collect()).await.expect("numbered").ids;
    let delivered = Arc::new(AtomicU64::new(0));
    for (at, id) in ids[2..].iter().enumerate() {
        let store = &stores[at % stores.len()];
        let queue = store.lease(Duty::deliver_to(*id)).await.queues.remove(0);
        tokio::spawn(work(queue, delivered.clone()));
    }
    let (own, theirs, began) = (cpu_seconds("self"), server_seconds(data), Instant::now());
    let next = Arc::new(AtomicU64::new(0));
    let senders = stores.iter().flat_map(|store| (0..IN_FLIGHT).map(move |_| store.clone()));
    let senders: Vec<_> = senders.map(|store| tokio::spawn(send(store, ids.clone(), next.clone(), events))).collect();
    let mut answered: Vec<f64> = Vec::new();
    for sender in senders {
        answered.extend(sender.await.expect("it sends"));
    }
    let planned = (0..events).map(deliveries).sum::<u64>();
    while delivered.load(Ordering::Relaxed) < planned {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed().as_secs_f64();
    for store in &stores {
        store.close().await;
    }
    let each = |seconds: f64| seconds * 1e6 / events as f64;
    answered.sort_by(f64::total_cmp);
    let at = |share: f64| answered[((answered.len() - 1) as f64 * share) as usize] * 1000.0;
    println!(
        "{relays} relays, {IN_FLIGHT} in flight each: {events} events, {planned} deliveries in {took:.1} s: {:.0} events/s; CPU an event: \
         PostgreSQL {:.1} µs, all relays with load and workers {:.1} µs; answered within {:.1} ms (p50), {:.1} ms (p99)",
        events as f64 / took,
        each(server_seconds(data) - theirs),
        each(cpu_seconds("self") - own),
        at(0.5),
        at(0.99),
    );
}

async fn make(url: &str, schema: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).await.expect("a schema");
}

/// Three of eight events go to two destinations.
fn deliveries(event: u64) -> u64 {
    if event % 8 < 3 { 2 } else { 1 }
}

async fn send(store: Arc<PostgresStore>, ids: Vec<NameId>, next: Arc<AtomicU64>, events: u64) -> Vec<f64> {
    let mut answered = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= events {
            return answered;
        }
        let to =
            |at: u64| PlannedDelivery { destination: ids[2 + ((number + at) as usize) % DESTINATIONS], rule: ids[0] };
        let body = format!(
            r#"{{"type":"delivered","user":{{"id":{number},"email":"customer{number}@example.com"}},"padding":"{}"}}"#,
            "x".repeat(510)
        );
        let event = NewEvent {
            received_ms: vero_relay::time::wall_ms(),
            source: ids[1],
            generation: 1,
            rules: vec![ids[0]],
            deliveries: (0..deliveries(number)).map(to).collect(),
            body: Bytes::from(body),
        };
        let sent = Instant::now();
        store.append(event).await.expect("an answer").expect("taken");
        answered.push(sent.elapsed().as_secs_f64());
    }
}

async fn work(queue: Arc<dyn Queue>, delivered: Arc<AtomicU64>) {
    loop {
        queue.ready().await;
        loop {
            let claimed = queue.claim(Room { deliveries: 64, body_bytes: 4 << 20, urgent_only: false }).await;
            if claimed.is_empty() {
                break;
            }
            let count = claimed.len() as u64;
            queue.settle(claimed.into_iter().map(settled).collect());
            delivered.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn settled(claimed: Claimed) -> Settled {
    assert!(claimed.event.is_ok(), "each can be read");
    Settled { claim: claimed.claim, settlement: Settlement::Delivered { attempts: 1 }, attempt: None }
}

/// User and system time of a process and of its children that have ended, in seconds.
fn cpu_seconds(process: &str) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0.0 };
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
    (11..15).map(ticks).sum::<u64>() as f64 / 100.0
}

/// The same of all processes of a server, which work where its data lies.
fn server_seconds(data: &str) -> f64 {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let is_its = |process: &String| {
        let works_in = std::fs::read_link(format!("/proc/{process}/cwd"));
        process.bytes().all(|byte| byte.is_ascii_digit()) && works_in.is_ok_and(|directory| directory.ends_with(data))
    };
    processes
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(is_its)
        .map(|id| cpu_seconds(&id))
        .sum()
}
