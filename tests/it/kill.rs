//! The promise: `kill -9` under load, and every acknowledged event is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::*;

/// Rounds unless `VERO_RELAY_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
const SENDERS: usize = 16;

fn quiet(command: &mut Command) {
    command.env("VERO_RELAY_LOG", "error");
}

/// Posts numbered events until the relay goes away; keeps the id of each that was acknowledged.
async fn send_until_gone(
    address: SocketAddr,
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<BTreeMap<String, u64>>>,
) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let mut buffer = Vec::new();
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let body = body_of(number);
        let head = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
        let Some(answer) = read_message(&mut stream, &mut buffer).await else { return };
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        assert!(acknowledged.lock().expect("not poisoned").insert(id, number).is_none(), "an id is given once");
    }
}

fn body_of(number: u64) -> String {
    format!(r#"{{"type":"sent","n":{number},"padding":"{}"}}"#, "x".repeat((number % 700) as usize))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_under_load_every_acknowledged_event_arrives_unaltered() {
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin) = (closed_port(), closed_port());
    let config = format!(
        "listen: \"{hooks}\"\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources: {{ vero: {{ token: secret }} }}\n\
         rules: [ {{ name: all, to: [crm, archive] }} ]\ndestinations:\n  crm: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  archive: {{ file: {{ path: archive.ndjson }} }}\n",
        fake.url()
    );
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, config).expect("written");

    let numbers = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let is_ready = async || match TcpStream::connect(hooks).await {
        Ok(_) => request(hooks, "GET", "/readyz", &[], b"").await.status() == 200,
        Err(_) => false,
    };
    let rounds = std::env::var("VERO_RELAY_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    // Where each round's numbers begin: what was sent in a round can be doubled by its own end, or by a later one.
    let mut begins = Vec::new();
    for round in 0..rounds {
        begins.push(numbers.load(Ordering::Relaxed));
        let daemon = Daemon::start(&path, quiet);
        eventually("the relay to be ready", is_ready).await;
        let senders: Vec<_> =
            (0..SENDERS).map(|_| tokio::spawn(send_until_gone(hooks, numbers.clone(), acknowledged.clone()))).collect();
        let enough = (round + 1) * 200;
        eventually("some acknowledgements", async || acknowledged.lock().expect("not poisoned").len() >= enough).await;
        drop(daemon);
        for sender in senders {
            sender.await.expect("a sender");
        }
    }

    let daemon = Daemon::start(&path, quiet);
    eventually("the relay to be ready", is_ready).await;
    eventually("the backlog to drain", async || {
        let all = request(admin, "GET", "/api/destinations", &[], b"").await.json();
        all["destinations"].as_array().is_some_and(|all| all.iter().all(|destination| destination["backlog"] == 0))
    })
    .await;
    let acknowledged = acknowledged.lock().expect("not poisoned").clone();
    assert!(acknowledged.len() >= rounds * 200);

    // At the HTTP destination: each at least once, none altered, none that was never sent.
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    let mut numbered: BTreeMap<String, u64> = BTreeMap::new();
    for message in fake.seen() {
        let number = message.json()["n"].as_u64().expect("a number");
        assert!(number < numbers.load(Ordering::Relaxed), "never sent");
        assert_eq!(message.text(), body_of(number), "altered");
        let id = message.header("webhook-id").expect("an id").to_owned();
        if let Some(sent) = acknowledged.get(&id) {
            assert_eq!(*sent, number, "another event's id");
        }
        numbered.insert(id.clone(), number);
        *arrived.entry(id).or_default() += 1;
    }
    let lost: Vec<_> = acknowledged.keys().filter(|id| !arrived.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged events are lost: {lost:?}", lost.len(), acknowledged.len());

    // In the file as well, line by line.
    let text = std::fs::read_to_string(directory.path().join("data/archive.ndjson")).expect("there");
    let in_file: BTreeSet<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|line| line["id"].as_str().expect("an id").to_owned())
        .collect();
    let lost = acknowledged.keys().filter(|id| !in_file.contains(*id)).count();
    assert_eq!(lost, 0, "of {} in the file", acknowledged.len());

    // Twice may come what was delivered in the last second before each kill, and that only.
    let twice: usize = arrived.values().map(|count| count - 1).sum();
    let mut by_round = vec![0; rounds];
    for (id, count) in &arrived {
        let number = numbered[id];
        by_round[begins.partition_point(|begin| *begin <= number).saturating_sub(1)] += count - 1;
    }
    println!(
        "{} acknowledged, {} arrived, {twice} of them twice, in {rounds} rounds: {:.1} a round, at most {}",
        acknowledged.len(),
        arrived.len(),
        twice as f64 / rounds as f64,
        by_round.iter().max().unwrap_or(&0)
    );
    assert!(arrived.values().all(|count| *count <= 1 + rounds), "an event is not delivered again and again");
    drop(daemon);
}
