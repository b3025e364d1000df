//! The way out: names, connections, certificates and proxies.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use vero_relay::config::Config;
use vero_relay::config::values::Process;
use vero_relay::destination::Client;
use vero_relay::destination::client::NetworkParts;
use vero_relay::relay::{Running, start};

use crate::harness::*;

/// A relay in a directory of its own, by a client of the test's.
async fn start_by(client: Client, rest: &str) -> (Running, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{HEAD}{rest}")).expect("written");
    let (config, _) = Config::load_again(&path, &Process, client).unwrap_or_else(|error| panic!("{error}"));
    (start(config).await.expect("starts"), directory)
}

async fn post(running: &Running, body: &str) {
    let answer = request(
        running.address,
        "POST",
        "/hooks/vero/secret",
        &[("content-type", "application/json")],
        body.as_bytes(),
    );
    assert_eq!(answer.await.status(), 200);
}

fn destinations(urls: &[(&str, String)], more: &str) -> String {
    let names: Vec<_> = urls.iter().map(|(name, _)| *name).collect();
    let each = urls.iter().map(|(name, url)| format!("  {name}: {{ http: {{ url: \"{url}\" }}, {QUICK}{more} }}\n"));
    format!("rules: [ {{ to: [{}] }} ]\ndestinations:\n{}", names.join(", "), each.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_says_nothing_holds_no_other_destination_up() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let asked = Arc::new(AtomicUsize::new(0));
    let (held, count) = (gate.clone(), asked.clone());
    let resolve = move |name: &str| {
        if name.starts_with("hung") {
            count.fetch_add(1, Ordering::SeqCst);
            let is_open = held.0.lock().expect("the lock");
            drop(held.1.wait_while(is_open, |is_open| !*is_open));
        }
        Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)])
    };
    let client = Client::with(NetworkParts { resolve: Arc::new(resolve), ..NetworkParts::default() });
    let fake = Fake::start([]).await;
    let port = fake.address.port();
    let mut urls = vec![("good", format!("http://good.test:{port}/"))];
    let hung = ["a", "b", "c"];
    urls.extend(hung.iter().map(|name| (*name, format!("http://hung-{name}.test:{port}/"))));
    let rest = destinations(&urls, ", concurrency: 256").replace("to: [", "to: [archive, ")
        + "  archive: { file: { path: archive.ndjson } }\n";
    let (running, directory) = start_by(client, &rest).await;
    for _ in 0..100 {
        post(&running, SENT).await;
    }
    fake.wait_for(100).await;
    let archive = directory.path().join("data/archive.ndjson");
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    eventually("the archive", async || lines(&archive) == 100).await;
    let status = request(running.admin_address, "GET", "/api/status", &[], b"").await;
    assert_eq!(status.status(), 200);
    assert_eq!(asked.load(Ordering::SeqCst), hung.len(), "one look-up for each name that hangs");
    *gate.0.lock().expect("the lock") = true;
    gate.1.notify_all();
    fake.wait_for(100 + hung.len()).await;
}

/// Two servers on one port of two loopback addresses, as a name moves from one to the other.
async fn pair(old: impl IntoIterator<Item = Act>) -> (Fake, Fake) {
    let old = Fake::start_on("127.0.0.2:0", old).await;
    let new = Fake::start_on(&format!("127.0.0.3:{}", old.address.port()), []).await;
    (old, new)
}

fn moving(last: &Arc<AtomicU8>, connection_age_max: Duration) -> Client {
    let last = last.clone();
    let resolve = move |_: &str| Ok(vec![IpAddr::from(Ipv4Addr::new(127, 0, 0, last.load(Ordering::SeqCst)))]);
    Client::with(NetworkParts { resolve: Arc::new(resolve), connection_age_max, ..NetworkParts::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_destination_follows_a_name_that_moves_once_its_connection_is_old() {
    let (old, new) = pair([]).await;
    let last = Arc::new(AtomicU8::new(2));
    let url = format!("http://moving.test:{}/", old.address.port());
    let (running, _directory) =
        start_by(moving(&last, Duration::from_millis(300)), &destinations(&[("a", url)], "")).await;
    post(&running, SENT).await;
    old.wait_for(1).await;
    last.store(3, Ordering::SeqCst);
    eventually("the new server to be found", async || {
        post(&running, SENT).await;
        !new.seen().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_some_failures_in_a_row_the_name_is_looked_up_anew() {
    let (old, new) = pair(std::iter::repeat_with(|| Act::status(503)).take(1000)).await;
    let last = Arc::new(AtomicU8::new(2));
    let url = format!("http://moving.test:{}/", old.address.port());
    let (running, _directory) =
        start_by(moving(&last, Duration::from_secs(3600)), &destinations(&[("a", url)], "")).await;
    post(&running, SENT).await;
    old.wait_for(1).await;
    last.store(3, Ordering::SeqCst);
    new.wait_for(1).await;
}
