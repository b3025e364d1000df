//! Connections that make no progress, that end half way, or whose request is more than is taken: none holds a place for ever, and each
//! refusal arrives.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::*;

const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";
const PATH: &str = "/hooks/vero/secret";

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(path: &str, bytes: usize) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
    request.extend_from_slice(&chunk.repeat(bytes.div_ceil(0x10000)));
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// Connects with a small buffer for what comes, and sends until nothing more is taken.
async fn connect_and_never_read(to: SocketAddr, request: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("set");
    let mut stream = socket.connect(to).await.expect("connected");
    let many = request.repeat(64);
    // Each write is taken at once while there is room; the first that is not is the end of it.
    while let Ok(Ok(())) = tokio::time::timeout(std::time::Duration::from_millis(300), stream.write_all(&many)).await {}
    stream
}

/// The connections of the public listener that are open.
async fn open(relay: &TestRelay) -> usize {
    open_at(relay.running.admin_address).await
}

async fn open_at(admin: SocketAddr) -> usize {
    let metrics = request(admin, "GET", "/metrics", &[], b"").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(r#"vero_relay_connections_open{listener="hooks"} "#));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("the metric is in {metrics}"))
}

async fn is_served(to: SocketAddr) -> bool {
    let asked = request(to, "GET", "/healthz", &[], b"");
    tokio::time::timeout(std::time::Duration::from_secs(1), asked).await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_the_answers_does_not_keep_others_out() {
    let limits = "limits: { connections_max: 2, header_timeout: 1s, body_timeout: 1s }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let to = relay.running.address;
    for requests in [b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), post("/nope", "", SENT.as_bytes())] {
        let both = eventually("both places to be taken", async || open(&relay).await == 2);
        let held = tokio::join!(connect_and_never_read(to, &requests), connect_and_never_read(to, &requests), both);
        eventually("somebody else to be served", async || is_served(to).await).await;
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_byte_of_a_large_answer_is_closed_on_the_admin_listener_too() {
    let limits = "limits: { header_timeout: 1s, body_timeout: 1s }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let to = relay.running.admin_address;
    let metrics = format!("GET /metrics HTTP/1.1\r\nhost: {to}\r\n\r\n");
    let mut slow = connect_and_never_read(to, metrics.as_bytes()).await;
    // Whatever was on its way is read at once; then comes the end.
    eventually("the connection to be closed", async || {
        let mut some = [0; 1];
        let read = tokio::time::timeout(std::time::Duration::from_millis(50), slow.write(b"x")).await;
        matches!(read, Ok(Err(_))) || matches!(slow.try_read(&mut some), Ok(0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_its_whole_grace_for_who_makes_no_progress() {
    let limits = "limits: { shutdown_grace: 60m, header_timeout: 60m, body_timeout: 60m }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let to = relay.running.address;
    let mut idle = TcpStream::connect(to).await.expect("connected");
    idle.write_all(&post(PATH, "", SENT.as_bytes())).await.expect("sent");
    assert_eq!(read_message(&mut idle, &mut Vec::new()).await.map(|answer| answer.status()), Some(200));
    let mut in_a_body = TcpStream::connect(to).await.expect("connected");
    let body = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{\"type\"");
    in_a_body.write_all(body.as_bytes()).await.expect("sent");
    let mut in_a_head = TcpStream::connect(to).await.expect("connected");
    in_a_head.write_all(b"POST /hooks HTTP/1.1\r\nx-half: ").await.expect("sent");
    let mut refused = TcpStream::connect(to).await.expect("connected");
    refused.write_all(body.replace("secret", "wrong").as_bytes()).await.expect("sent");
    assert_eq!(read_message(&mut refused, &mut Vec::new()).await.map(|answer| answer.status()), Some(404));
    let deaf = connect_and_never_read(to, b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let stopped = tokio::time::timeout(PATIENCE, relay.running.stop()).await.expect("it stops");
    assert!(stopped.attempts_ended && stopped.all_answered, "nothing had to be dropped");
    let cut = read_message(&mut in_a_body, &mut Vec::new()).await.expect("an answer");
    assert_eq!((cut.status(), cut.header("retry-after")), (503, Some("2")), "{}", cut.text());
    drop((deaf, in_a_head));
}

/// Sends all of it, says that nothing more comes, and reads to the end.
async fn send_and_shut(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    stream.shutdown().await.expect("shut");
    let mut answers = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answers)).await;
    read.expect("closed in time").expect("closed without a reset");
    String::from_utf8_lossy(&answers).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_finished_sending_gets_its_answers() {
    let relay = TestRelay::start(NOWHERE).await;
    let to = relay.running.address;
    let length = post(PATH, "", SENT.as_bytes());
    let chunks = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{SENT}\r\n0\r\n\r\n",
        SENT.len()
    );
    let old = format!("POST {PATH} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{SENT}", SENT.len());
    for (bytes, count) in [
        (length.clone(), 1),
        (chunks.clone().into_bytes(), 1),
        (old.into_bytes(), 1),
        (post(PATH, "connection: close\r\n", SENT.as_bytes()), 1),
        (length.repeat(3), 3),
        ([length.clone(), chunks.into_bytes(), length].concat(), 3),
    ] {
        let answers = send_and_shut(to, &bytes).await;
        assert_eq!(answers.matches(" 200 OK").count(), count, "{answers}");
    }
    let half = send_and_shut(to, &post(PATH, "", SENT.as_bytes())[..90]).await;
    assert!(half.contains(" 400 ") && half.contains("broke off"), "{half}");
    assert_eq!(send_and_shut(to, b"").await, "");
}

/// Writes the whole request before it reads: the first answer that comes.
async fn written_whole(to: SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(to).await.expect("connected");
    tokio::time::timeout(PATIENCE, stream.write_all(bytes)).await.expect("in time").expect("all of it is taken");
    let answer = tokio::time::timeout(PATIENCE, read_message(&mut stream, &mut Vec::new())).await;
    answer.expect("in time").expect("an answer and no reset")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_large_body_arrives_also_where_all_is_written_first() {
    let relay = TestRelay::start(NOWHERE).await;
    let to = relay.running.address;
    for bytes in [900_000, 1_100_000, 3_000_000, 10_000_000] {
        let body = vec![b' '; bytes];
        let taken = if bytes > 1 << 20 { 413 } else { 400 };
        assert_eq!(written_whole(to, &post(PATH, "", &body)).await.status(), taken, "{bytes} by length");
        assert_eq!(written_whole(to, &chunked(PATH, bytes)).await.status(), taken, "{bytes} by chunks");
        assert_eq!(written_whole(to, &post("/hooks/vero/wrong", "", &body)).await.status(), 404, "{bytes}");
        assert_eq!(written_whole(to, &chunked("/nowhere", bytes)).await.status(), 404, "{bytes} by chunks");
        assert_eq!(written_whole(to, &post(PATH, "content-encoding: br\r\n", &body)).await.status(), 415, "{bytes}");
        let put = String::from_utf8(post(PATH, "", &body)).expect("text").replacen("POST", "PUT", 1);
        assert_eq!(written_whole(to, put.as_bytes()).await.status(), 405, "{bytes}");
        let admin = relay.running.admin_address;
        let bin = String::from_utf8(post("/bin/a", "", &body)).expect("text");
        let bin = bin.replacen("host: x", &format!("host: {admin}"), 1);
        let taken = if bytes > 1 << 20 { 413 } else { 200 };
        assert_eq!(written_whole(admin, bin.as_bytes()).await.status(), taken, "{bytes} to a bin");
    }
    let pause = request(
        relay.running.admin_address,
        "POST",
        "/api/sources/vero/pause",
        &[("x-vero-relay-write", "1")],
        b"{\"refuse\":true}",
    );
    assert_eq!(pause.await.status(), 200);
    assert_eq!(written_whole(to, &post(PATH, "", &vec![b' '; 3_000_000])).await.status(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_connection_goes_on_and_who_asks_first_sends_no_body() {
    let relay = TestRelay::start(NOWHERE).await;
    let to = relay.running.address;
    let mut stream = TcpStream::connect(to).await.expect("connected");
    let both = [post(PATH, "", &vec![b' '; 2_000_000]), post(PATH, "", SENT.as_bytes())].concat();
    stream.write_all(&both).await.expect("sent");
    let mut buffer = Vec::new();
    for status in [413, 200] {
        assert_eq!(read_message(&mut stream, &mut buffer).await.map(|answer| answer.status()), Some(status));
    }
    let asking = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    for (path, length, status) in [(PATH, 9_000_000, 413), ("/hooks/vero/wrong", 100, 404), (PATH, SENT.len(), 100)] {
        let answer = send_raw(to, asking(path, length).as_bytes()).await.expect("an answer");
        assert_eq!(answer.status(), status, "{path} {length}");
    }
}

/// The most MiB that the system buffers of a connection, in one direction.
fn largest_buffer(name: &str) -> usize {
    let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("Linux has TCP");
    let bytes: usize = sizes.split_whitespace().last().and_then(|size| size.parse().ok()).expect("three sizes");
    bytes.div_ceil(1 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_what_is_thrown_away_ends_its_connection() {
    let relay = TestRelay::start(NOWHERE).await;
    let mut stream = TcpStream::connect(relay.running.address).await.expect("connected");
    stream.write_all(&post("/x", "", b"")[..]).await.expect("sent");
    assert_eq!(read_message(&mut stream, &mut Vec::new()).await.map(|answer| answer.status()), Some(404));
    let endless = format!("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
    stream.write_all(endless.as_bytes()).await.expect("sent");
    let block = vec![b' '; 1 << 20];
    // As much again is read once it is closed, so that the answer arrives; and the system's buffers hold some of it.
    let drained = vero_relay::listener::drain::DRAIN_BYTES_MAX >> 20;
    let buffers = largest_buffer("tcp_rmem") + largest_buffer("tcp_wmem");
    let mut sent = 0;
    while stream.write_all(&block).await.is_ok() {
        sent += 1;
        assert!(sent <= 2 * drained + buffers + 2, "it reads on for ever");
    }
    assert!(sent >= drained, "a body of that length is thrown away: {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_at_the_limit_is_taken_and_more_is_431_with_a_sentence() {
    let relay = TestRelay::start(NOWHERE).await;
    let to = relay.running.address;
    let of = |bytes: usize| {
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nx: ", SENT.len());
        format!("{head}{}\r\n\r\n{SENT}", "y".repeat(bytes - head.len() - 4)).into_bytes()
    };
    let many = |count: usize| {
        let more = "x: y\r\n".repeat(count - 2);
        format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{more}\r\n{SENT}", SENT.len()).into_bytes()
    };
    let address = |bytes: usize| format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(bytes)).into_bytes();
    for (bytes, status) in [
        (of(65_536), 200),
        (of(65_537), 431),
        (of(100_000), 431),
        (of(1_000_000), 431),
        (many(100), 200),
        (many(101), 431),
        (many(2000), 431),
        (address(60_000), 404),
        (address(100_000), 431),
    ] {
        let answer = written_whole(to, &bytes).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        if status == 431 {
            assert!(answer.json()["error"].as_str().is_some_and(|why| why.contains("at most 65536 bytes")));
        }
    }
    let garbage = written_whole(to, b"\x16\x03\x01 tls?\r\n\r\n").await;
    assert_eq!((garbage.status(), garbage.json()["error"].as_str()), (400, Some("this is not an HTTP/1.1 request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_other_limits_gives_no_new_places() {
    let config = |connections: usize| {
        format!("{HEAD}{NOWHERE}limits: {{ connections_max: {connections}, header_timeout: 60m }}\n")
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, config(3)).expect("written");
    let running = vero_relay::daemon::start(parse(directory.path(), &config(3))).await.expect("it starts");
    let to = running.address;
    let mut held = Vec::new();
    for connections in [3, 2, 1] {
        std::fs::write(&path, config(connections)).expect("written");
        running.relay.reload().await.expect("reloaded");
        let mut stream = TcpStream::connect(to).await.expect("connected");
        if connections > 2 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
            assert_eq!(read_message(&mut stream, &mut Vec::new()).await.map(|answer| answer.status()), Some(200));
        }
        held.push(stream);
    }
    let mut late = TcpStream::connect(to).await.expect("the kernel takes it");
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut buffer = Vec::new();
    let read = read_message(&mut late, &mut buffer);
    // Two were accepted while there could be so many. When one of them has gone there is one, as there may be: had the others, who
    // wait already, been given a place, there would be more.
    let admin = running.admin_address;
    eventually("two to be open", async || open_at(admin).await == 2).await;
    drop(held.remove(0));
    eventually("one to be open", async || open_at(admin).await == 1).await;
    drop(held);
    assert_eq!(tokio::time::timeout(PATIENCE, read).await.expect("in time").map(|answer| answer.status()), Some(200));
    running.stop().await;
}
