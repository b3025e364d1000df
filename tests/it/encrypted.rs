//! Listeners that encrypt: a certificate is taken over by a reload, a wrong one changes nothing, and who does not encrypt is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cli::{err, out};
use crate::harness::*;

const CA: &str = include_str!("../tls/ca.pem");
const FIRST: [&str; 2] = [include_str!("../tls/server.pem"), include_str!("../tls/server.key")];
const SECOND: [&str; 2] = [include_str!("../tls/second.pem"), include_str!("../tls/second.key")];
const TOKEN: &str = "the-token-of-the-operator";
const BEARER: (&str, &str) = ("authorization", "Bearer the-token-of-the-operator");

/// A relay whose listeners both encrypt, by files that can be changed.
struct Encrypted {
    relay: TestRelay,
    files: TempDir,
}

impl Encrypted {
    async fn start() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        write(&files, FIRST);
        let relay = TestRelay::start_with(&config(&files, [true; 2])).await;
        let encrypted = Self { relay, files };
        encrypted.write_config([true; 2]);
        encrypted
    }

    fn path(&self) -> PathBuf {
        self.relay.directory.path().join("config.yaml")
    }

    fn write_config(&self, encrypts: [bool; 2]) {
        std::fs::write(self.path(), config(&self.files, encrypts)).expect("written");
    }

    async fn reload(&self) -> Result<(), String> {
        self.relay.running.relay.reload().await.map(drop).map_err(|error| error.in_full())
    }

    fn listeners(&self) -> [SocketAddr; 2] {
        [self.relay.running.address, self.relay.running.admin_address]
    }
}

/// A config in which the listener for webhooks, and that of the operator, may encrypt.
fn config(files: &TempDir, encrypts: [bool; 2]) -> String {
    let at = files.path().display();
    let tls = format!("tls: {{ cert: {at}/cert.pem, key: {at}/key.pem }}");
    let [hooks, admin] = encrypts.map(|encrypts| if encrypts { tls.as_str() } else { "" });
    format!(
        "listen: 127.0.0.1:0\n{hooks}\nadmin: {{ listen: \"127.0.0.1:0\", token: {TOKEN}, {admin} }}\ndata_dir: data\n\
         sources: {{ vero: {{ token: secret }} }}\nrules: [ {{ name: silence, to: [], stop: true }} ]\n"
    )
}

fn write(files: &TempDir, [cert, key]: [&str; 2]) {
    std::fs::write(files.path().join("cert.pem"), cert).expect("written");
    std::fs::write(files.path().join("key.pem"), key).expect("written");
}

/// A connection by TLS as `localhost`, that trusts one certificate and offers some protocols.
async fn connect(address: SocketAddr, root: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, text: &str) -> Message {
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    read_message(stream, &mut Vec::new()).await.expect("an answer")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n\r\n", BEARER.0, BEARER.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_encrypt_and_are_otherwise_as_ever() {
    let encrypted = Encrypted::start().await;
    let [hooks, admin] = encrypted.listeners();
    let mut stream = connect(hooks, CA, &["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let event = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{SENT}", SENT.len());
    for _ in 0..2 {
        let accepted = ask(&mut stream, &event).await;
        assert_eq!(accepted.status(), 200, "{}", accepted.text());
    }
    let mut stream = connect(admin, CA, &[]).await.expect("a handshake");
    assert_eq!(ask(&mut stream, &get("/api/status")).await.status(), 200);
    let events = ask(&mut stream, &get("/api/events")).await.json();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(2), "{events}");
    let page = ask(&mut stream, &get("/app.js")).await;
    assert!(page.body.len() > 10_000, "{}", page.body.len());
    let form = format!("token={TOKEN}");
    let head = format!("POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", form.len());
    let signed_in = ask(&mut stream, &format!("{head}origin: https://localhost:{}\r\n\r\n{form}", admin.port())).await;
    let set = signed_in.header("set-cookie").expect("a cookie");
    assert!(set.starts_with("__Host-vero-relay-") && set.ends_with("; Secure"), "{set}");
    let foreign = ask(&mut stream, &format!("{head}origin: http://localhost:{}\r\n\r\n{form}", admin.port())).await;
    assert_eq!(foreign.status(), 403, "a page that came in the clear is not the relay's");
    let only_h2 = connect(admin, CA, &["h2"]).await;
    assert!(only_h2.is_err(), "it is not spoken");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http_cannot_read_is_told_in_a_sentence_by_tls_too() {
    let encrypted = Encrypted::start().await;
    for address in encrypted.listeners() {
        let mut stream = connect(address, CA, &[]).await.expect("a handshake");
        let answer = ask(&mut stream, "nonsense\r\n\r\n").await;
        assert_eq!(answer.status(), 400);
        assert!(answer.text().contains("this is not an HTTP/1.1 request"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_encrypt_is_told_and_who_speaks_nonsense_is_closed() {
    let encrypted = Encrypted::start().await;
    for address in encrypted.listeners() {
        let answer = request(address, "POST", "/hooks/vero/secret", &[BEARER], SENT.as_bytes()).await;
        assert_eq!(answer.status(), 400);
        assert!(answer.text().contains("use https://"), "{}", answer.text());
        for nonsense in [&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9][..], &[22; 300]] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(nonsense).await.expect("sent");
            let mut told = Vec::new();
            let _ = stream.read_to_end(&mut told).await;
            assert!(told.len() < 16, "an alert at most: {told:?}");
        }
        assert!(connect(address, CA, &[]).await.is_ok(), "the others are served");
    }
    let events = connect(encrypted.listeners()[1], CA, &[]).await;
    let events = ask(&mut events.expect("a handshake"), &get("/api/events")).await.json();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(0), "nothing came in in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_counts_for_new_connections_and_old_ones_go_on() {
    let encrypted = Encrypted::start().await;
    let [hooks, admin] = encrypted.listeners();
    let mut before = connect(admin, CA, &[]).await.expect("a handshake");
    write(&encrypted.files, SECOND);
    assert!(connect(admin, SECOND[0], &[]).await.is_err(), "files alone change nothing");
    encrypted.reload().await.expect("reloaded");
    for address in [hooks, admin] {
        assert!(connect(address, SECOND[0], &[]).await.is_ok());
        assert!(connect(address, CA, &[]).await.is_err(), "the old certificate is shown no more");
    }
    assert_eq!(ask(&mut before, &get("/api/status")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_cannot_be_used_changes_nothing_and_is_told() {
    let encrypted = Encrypted::start().await;
    let wrong = [
        ([FIRST[0], SECOND[1]], "the key is not the certificate's"),
        ([FIRST[0], "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"], "the file of `key`"),
        (["", FIRST[1]], "the file of `cert` holds no certificate"),
    ];
    for (files, expected) in wrong {
        write(&encrypted.files, files);
        let told = encrypted.reload().await.expect_err("refused");
        assert!(told.contains(expected) && !told.contains("canary"), "{told}");
        for address in encrypted.listeners() {
            assert!(connect(address, CA, &[]).await.is_ok(), "{expected}");
        }
    }
    std::fs::remove_file(encrypted.files.path().join("key.pem")).expect("removed");
    let told = encrypted.reload().await.expect_err("refused");
    assert!(told.contains("could not be read"), "{told}");
    assert!(connect(encrypted.listeners()[0], CA, &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pair_that_lies_there_anew_it_is_told_what_a_reload_would_say() {
    let encrypted = Encrypted::start().await;
    let admin = encrypted.listeners()[1];
    let on_disk = async || {
        let mut stream = connect(admin, CA, &[]).await.expect("a handshake");
        ask(&mut stream, &get("/api/config/on-disk")).await.json()
    };
    assert_eq!(on_disk().await["same"], true);
    write(&encrypted.files, SECOND);
    let changed = on_disk().await;
    let of = |file: &str| format!("the file {} has changed", encrypted.files.path().join(file).display());
    assert_eq!((&changed["same"], &changed["problems"]), (&false.into(), &serde_json::Value::Null), "{changed}");
    assert_eq!(changed["changes"], serde_json::json!([of("cert.pem"), of("key.pem")]));
    write(&encrypted.files, FIRST);
    assert_eq!(on_disk().await["same"], true, "it is as it was");
    std::fs::remove_file(encrypted.files.path().join("key.pem")).expect("removed");
    eventually("it to be told", async || {
        on_disk().await["problems"].as_str().is_some_and(|problems| problems.contains("could not be read"))
    })
    .await;
    write(&encrypted.files, FIRST);
    assert_eq!(on_disk().await["same"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_begins_and_ceases_to_encrypt_by_a_reload() {
    let encrypted = Encrypted::start().await;
    let [hooks, admin] = encrypted.listeners();
    encrypted.write_config([false, true]);
    encrypted.reload().await.expect("reloaded");
    assert_eq!(encrypted.relay.post(SENT).await.status(), 200, "in the clear");
    assert!(connect(admin, CA, &[]).await.is_ok());
    encrypted.write_config([true, false]);
    encrypted.reload().await.expect("reloaded");
    assert_eq!(request(admin, "GET", "/api/status", &[BEARER], b"").await.status(), 200);
    assert!(connect(hooks, CA, &[]).await.is_ok());
}

fn verb(encrypted: &Encrypted, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(args).current_dir(encrypted.relay.directory.path()).env("COLUMNS", "100");
    command.env_remove("VERO_RELAY_CONFIG").env_remove("VERO_RELAY_ADMIN_TOKEN").envs(variables.iter().copied());
    command.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_come_in_by_tls_and_trust_a_name_only_with_its_certificate() {
    let encrypted = Encrypted::start().await;
    let [hooks, admin] = encrypted.listeners();
    // The ports were chosen by the system, and the verbs must find them.
    let text = config(&encrypted.files, [true; 2]);
    let found = text.replacen("127.0.0.1:0", &hooks.to_string(), 1).replacen("127.0.0.1:0", &admin.to_string(), 1);
    std::fs::write(encrypted.path(), found).expect("written");
    let ca = encrypted.files.path().join("ca.pem");
    std::fs::write(&ca, CA).expect("written");
    let trusted = [("SSL_CERT_FILE", ca.to_str().expect("text")), ("VERO_RELAY_ADMIN_TOKEN", TOKEN)];
    let named = format!("https://localhost:{}", admin.port());
    let by_address = format!("https://{admin}");
    let in_the_clear = format!("http://localhost:{}", admin.port());
    for (args, variables, expected, part) in [
        (&["status"][..], &[][..], 0, ""),
        (&["healthcheck"], &[], 0, ""),
        (&["send", "bounced"], &[], 0, ""),
        (&["status", "--admin", &named], &trusted, 0, ""),
        (
            &["status", "--admin", &named],
            &trusted[1..],
            1,
            "has an unknown issuer): name the file of a private CA, or of a self-signed certificate, in SSL_CERT_FILE",
        ),
        (&["status", "--admin", &in_the_clear], &trusted, 1, "use https://"),
        (&["status", "--admin", &by_address], &trusted, 1, "name the relay by --admin https://NAME:PORT"),
    ] {
        let said = verb(&encrypted, args, variables);
        assert_eq!(said.status.code(), Some(expected), "{args:?} {}{}", out(&said), err(&said));
        assert!(err(&said).contains(part), "{args:?} {}", err(&said));
    }
    let plain = TestRelay::start("rules: [ { name: silence, to: [], stop: true } ]\n").await;
    let no_tls = format!("https://localhost:{}", plain.running.admin_address.port());
    let said = verb(&encrypted, &["status", "--admin", &no_tls], &trusted);
    assert!(err(&said).contains("does not speak TLS): name it by --admin http://"), "{}", err(&said));
    let urls = verb(&encrypted, &["urls"], &[]);
    assert!(out(&urls).starts_with(&format!("https://{hooks}/hooks/vero/")), "{}", out(&urls));
}
