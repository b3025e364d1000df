//! The way out: names, connections, certificates and proxies.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use vero_relay::config::Config;
use vero_relay::daemon::{Running, start};
use vero_relay::destination::Client;
use vero_relay::destination::client::NetworkParts;
use vero_relay::yaml::values::Process;

use crate::harness::*;
use crate::torture::rig::Rig;

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
    let asked = AtomicU8::new(2);
    // The name has moved when it is asked for the second time.
    let resolve =
        move |_: &str| Ok(vec![IpAddr::from(Ipv4Addr::new(127, 0, 0, asked.fetch_add(1, Ordering::SeqCst).min(3)))]);
    let parts = NetworkParts {
        resolve: Arc::new(resolve),
        connection_age_max: Duration::from_secs(3600),
        ..NetworkParts::default()
    };
    let url = format!("http://moving.test:{}/", old.address.port());
    let (running, _directory) = start_by(Client::with(parts), &destinations(&[("a", url)], "")).await;
    post(&running, SENT).await;
    new.wait_for(1).await;
    // Before the breaker opens, in whose pauses an idle connection is closed and the name looked up for that alone.
    assert_eq!(old.seen().len(), 3);
}

const CA: &str = include_str!("../tls/ca.pem");
/// It signed nothing that is served here.
const OTHER_CA: &str = include_str!("torture/certificates/ca.pem");
const SERVER: &str = include_str!("../tls/server.pem");
const EXPIRED: &str = include_str!("../tls/expired.pem");
/// Signed by itself as a CA, for `localhost`, as `openssl req -x509` makes one.
const AUTHORITY: &str = include_str!("../tls/authority.pem");
const KEY: &str = include_str!("../tls/server.key");

/// A server by TLS that answers each connection's first request with 200; its port.
fn serve_tls(certificate: &'static str) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::io::{Read as _, Write as _};

    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(|one| one.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(connection) = rustls::ServerConnection::new(config.clone()) else { return };
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    port
}

async fn tls_outcome(certificate: &'static str, host: &str, ca: &str) -> serde_json::Value {
    let port = serve_tls(certificate);
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    std::fs::write(directory.path().join("ca.pem"), CA).expect("written");
    let rest = format!(
        "rules: [ {{ to: a }} ]\ndestinations:\n  a:\n    http: {{ url: \"https://{host}:{port}/\"{ca} }}\n    \
         retry: {{ initial: 20ms, max: 20ms, max_attempts: 1 }}\n"
    );
    let relay = TestRelay::start_at(directory, &rest).await;
    let id = relay.accept(SENT).await;
    eventually("an end", async || {
        let state = relay.deliveries(&id).await[0]["state"].clone();
        state == "delivered" || state == "dead"
    })
    .await;
    relay.deliveries(&id).await[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_is_trusted_by_the_destination_that_names_it_and_troubles_are_told() {
    let ca = ", ca: ca.pem";
    assert_eq!(tls_outcome(SERVER, "localhost", ca).await["state"], "delivered");
    for (certificate, host, ca, told) in [
        (SERVER, "localhost", "", "unknown issuer: name a private CA's file in `ca:`"),
        (EXPIRED, "localhost", ca, "has expired: whoever runs the server has to renew it"),
        (SERVER, "127.0.0.1", ca, "is for another name than the URL's: use a name that it has"),
        (AUTHORITY, "localhost", ca, "is that of a CA: a server needs one of its own, made with CA:FALSE"),
    ] {
        let dead = tls_outcome(certificate, host, ca).await;
        assert!(dead["reason"].as_str().is_some_and(|reason| reason.contains(told)), "{told}: {dead}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_has_changed_is_trusted_from_the_next_reload_on() {
    let port = serve_tls(SERVER);
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, OTHER_CA).expect("written");
    // Whoever waits for the retry waits for ever: only a section that has changed makes it due.
    let rest = format!(
        "rules: [ {{ to: a }} ]\ndestinations:\n  a:\n    http: {{ url: \"https://localhost:{port}/\", ca: ca.pem }}\n    \
         retry: {{ initial: 1h, max: 1h }}\n"
    );
    std::fs::write(directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
    let relay = TestRelay::start_at(directory, &rest).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let reload = async || relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    assert_eq!(reload().await.changes, Vec::<String>::new());
    assert_eq!(relay.deliveries(&id).await[0]["state"], "scheduled", "the same file is no change");
    std::fs::write(&ca, CA).expect("written");
    assert_eq!(reload().await.changes, [format!("the file {} has changed", ca.display())]);
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_ones_own_is_used_and_its_password_is_shown_nowhere() {
    let proxy = Fake::start([]).await;
    let with = format!(", proxy: \"http://relay:s3cret-word@{}\"", proxy.address);
    let config = format!(
        "rules: [ {{ to: a }} ]\ndestinations:\n  a: {{ http: {{ url: \"http://crm.invalid/x\"{with} }}, {QUICK} }}\n"
    );
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let seen = proxy.seen();
    assert_eq!(seen[0].first_line, "POST http://crm.invalid/x HTTP/1.1");
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic cmVsYXk6czNjcmV0LXdvcmQ="));
    // Whatever the other side says again is masked, and so is what the verbs and the log say.
    proxy.then([Act::with(400, &[], "I got s3cret-word and Basic cmVsYXk6czNjcmV0LXdvcmQ=")]);
    let echoed = relay.accept(SENT).await;
    relay.until(&echoed, "dead").await;
    let mut shown = Vec::new();
    for path in [
        "/api/destinations",
        "/api/dead-letters",
        "/api/events",
        "/api/status",
        "/metrics",
        &format!("/api/events/{id}"),
        &format!("/api/events/{echoed}"),
    ] {
        shown.push(relay.admin(path).await.text());
    }
    assert!(shown.iter().any(|shown| shown.contains("I got ")), "the answer is shown: {shown:?}");
    let directory = tempfile::tempdir().expect("a directory");
    let rig = Rig::new(directory.path(), &directory.path().join("data"), &config);
    for words in [&["check"][..], &["check", "--json"], &["explain", "sent"], &["explain", "sent", "--json"]] {
        shown.push(rig.verb(words).log);
    }
    proxy.then([Act::Close]);
    shown.push(rig.verb(&["send", "sent", "--to", "a", "--yes"]).log);
    proxy.then([Act::Close, Act::status(407), Act::with(400, &[], "s3cret-word")]);
    let mut rig = rig;
    rig.variables.push(("RUST_LOG", "trace"));
    let up = rig.start().await;
    let before = proxy.seen().len();
    assert_eq!(request(up.hooks, "POST", "/hooks/vero/secret", &[], SENT.as_bytes()).await.status(), 200);
    proxy.wait_for(before + 2).await;
    up.signal(rustix::process::Signal::TERM);
    shown.push(up.ended().await.log);
    for shown in shown {
        let is_shown = shown.contains("s3cret-word") || shown.contains("cmVsYXk6czNjcmV0LXdvcmQ");
        assert!(!shown.is_empty() && !is_shown, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_proxy_is_used_but_for_loopback_and_where_the_config_says_none() {
    let (proxy, direct) = (Fake::start([]).await, Fake::start([]).await);
    let of_environment = proxy.url();
    let client = Client::new(move |name| (name == "http_proxy").then(|| of_environment.clone()));
    let urls = [("far", "http://crm.invalid/x".to_owned()), ("near", format!("{}/near", direct.url()))];
    let rest = destinations(&urls, "") + "  none: { http: { url: \"http://none.invalid/x\", proxy: none } }\n";
    let (running, _directory) = start_by(client, &rest.replace("to: [", "to: [none, ")).await;
    post(&running, SENT).await;
    assert_eq!(proxy.wait_for(1).await[0].first_line, "POST http://crm.invalid/x HTTP/1.1");
    assert_eq!(direct.wait_for(1).await[0].first_line, "POST /near HTTP/1.1");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ca_certificates_check_is_about_the_file_and_a_start_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    let rest = "rules: [ { to: a } ]\ndestinations:\n  a:\n    http: { url: \"https://127.0.0.1:1/\" }\n    \
                retry: { max_attempts: 1 }\n";
    std::fs::write(&path, format!("{HEAD}{rest}")).expect("written");
    let bare = |command: &mut std::process::Command| {
        command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    };
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        bare(command.args(args).arg("-c").arg(&path));
        command.output().expect("it runs")
    };
    assert_eq!(run(&["check"]).status.code(), Some(0));
    let tried = run(&["send", "sent", "--to", "a", "--yes"]);
    let said = String::from_utf8_lossy(&tried.stdout).into_owned() + &String::from_utf8_lossy(&tried.stderr);
    assert!(said.contains("ca-certificates") && said.contains("SSL_CERT_FILE"), "{said}");
    let rest = format!("{}  b: {{ file: {{ path: b.ndjson }} }}\n", rest.replace("to: a", "to: [a, b]"));
    let mut rig = Rig::new(directory.path(), &directory.path().join("data"), &rest);
    rig.variables.extend([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")]);
    let up = rig.start().await;
    assert_eq!(request(up.hooks, "POST", "/hooks/vero/secret", &[], SENT.as_bytes()).await.status(), 200);
    eventually("what needs no certificates to arrive", async || directory.path().join("data/b.ndjson").exists()).await;
    eventually("what needs them to be told", async || {
        up.admin("/api/dead-letters").await.text().contains("there are no CA certificates on this system")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_certificates_are_read_once_and_hold_nothing_up() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let read = Arc::new(AtomicUsize::new(0));
    let (held, count) = (gate.clone(), read.clone());
    let read_certificates = move || {
        count.fetch_add(1, Ordering::SeqCst);
        drop(held.1.wait_while(held.0.lock().expect("the lock"), |is_open| !*is_open));
        rustls_native_certs::CertificateResult::default()
    };
    let parts = NetworkParts { read_certificates: Arc::new(read_certificates), ..NetworkParts::default() };
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("ca.pem"), CA).expect("written");
    // More ways by TLS, each of its own, than the runtime has threads.
    let ways: String = (0..8)
        .map(|i| {
            let way = format!("url: \"https://127.0.0.1:1/\", ca: ca.pem, proxy: \"http://127.0.0.{}:1\"", i + 1);
            format!("  w{i}: {{ http: {{ {way} }}, {QUICK} }}\n")
        })
        .collect();
    let names: Vec<_> = (0..8).map(|i| format!("w{i}")).collect();
    let rest = format!(
        "rules: [ {{ to: [plain, {}] }} ]\ndestinations:\n  plain: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n{ways}",
        names.join(", "),
        fake.url()
    );
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{HEAD}{rest}")).expect("written");
    let (config, _) =
        Config::load_again(&path, &Process, Client::with(parts)).unwrap_or_else(|error| panic!("{error}"));
    let running = start(config).await.expect("starts");
    for _ in 0..20 {
        post(&running, SENT).await;
    }
    fake.wait_for(20).await;
    assert_eq!(request(running.admin_address, "GET", "/api/status", &[], b"").await.status(), 200);
    assert_eq!(read.load(Ordering::SeqCst), 1, "all wait for one");
    *gate.0.lock().expect("the lock") = true;
    gate.1.notify_all();
    let tried = async || {
        let all = request(running.admin_address, "GET", "/api/destinations", &[], b"").await.json();
        let all = all["destinations"].as_array().expect("a list").clone();
        all.iter().filter(|one| one["name"] != "plain").all(|one| !one["last_error"].is_null())
    };
    eventually("all to go on", tried).await;
}
