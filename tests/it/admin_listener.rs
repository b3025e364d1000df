//! The admin listener is no way in, and nobody can close it: slow bodies, web pages, and more requests than it has places for.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::*;

const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_arrive_do_not_close_the_admin_listener() {
    let limits = "limits: { header_timeout: 1s, body_timeout: 1s }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let admin = relay.running.admin_address;
    let mut held = Vec::new();
    let written = "x-vero-relay-write: 1\r\n";
    for (path, header) in [("/bin/x", ""), ("/api/what-if", written), ("/api/reload", written)] {
        for _ in 0..vero_relay::admin::CONNECTIONS_MAX / 2 {
            let mut stream = TcpStream::connect(admin).await.expect("connected");
            let head = format!("POST {path} HTTP/1.1\r\nhost: {admin}\r\n{header}content-length: 10\r\n\r\nx");
            stream.write_all(head.as_bytes()).await.expect("sent");
            held.push(stream);
        }
    }
    let slow = read_message(&mut held[0], &mut Vec::new()).await.expect("an answer");
    assert_eq!(slow.status(), 408, "{}", slow.text());
    assert_eq!(relay.admin("/api/status").await.status(), 200);
    drop(held);
}

/// A connection that stays open, and how its one request was answered.
async fn kept_open(admin: SocketAddr, path: &str, header: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(admin).await.expect("connected");
    let status = ask_on(&mut stream, admin, path, header).await.expect("an answer");
    (stream, status)
}

/// The answer to a request on a connection; none, where that has ended.
async fn ask_on(stream: &mut TcpStream, admin: SocketAddr, path: &str, header: &str) -> Option<u16> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let answer = tokio::time::timeout(PATIENCE, read_message(stream, &mut Vec::new())).await.expect("in time");
    answer.map(|answer| answer.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_strangers_keep_nobody_out_and_those_of_who_is_known_stay() {
    let config = HEAD.replace("\"127.0.0.1:0\" }", "\"127.0.0.1:0\", token: the-token-of-the-operator }");
    let relay = TestRelay::start_with(&format!("{config}{NOWHERE}limits: {{ header_timeout: 60m }}\n")).await;
    let admin = relay.running.admin_address;
    let known = "authorization: Bearer the-token-of-the-operator\r\n";
    let (mut ours, status) = kept_open(admin, "/api/status", known).await;
    assert_eq!(status, 200);
    let mut strangers = Vec::new();
    for (path, expected) in [("/healthz", 200), ("/", 200), ("/api/status", 401)] {
        let (stream, status) = kept_open(admin, path, "").await;
        assert_eq!(status, expected, "{path}");
        strangers.push(stream);
    }
    // So many more that all who came before must give way: the limit is a constant, and no key.
    let mut silent = Vec::new();
    for _ in 0..=vero_relay::admin::CONNECTIONS_MAX {
        silent.push(TcpStream::connect(admin).await.expect("the system takes it"));
    }
    let (_, status) = kept_open(admin, "/healthz", "").await;
    assert_eq!(status, 200, "who comes last");
    assert_eq!(ask_on(&mut ours, admin, "/api/status", known).await, Some(200), "who was there first, and is known");
    for mut stranger in strangers {
        assert_eq!(ask_on(&mut stranger, admin, "/healthz", "").await, None, "it has given way");
    }
    assert_eq!(ask_on(&mut silent[0], admin, "/healthz", "").await, None, "so has who came first and said nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_token_is_set_silent_connections_and_idle_ones_shut_nobody_out() {
    let relay = TestRelay::start(&format!("{NOWHERE}limits: {{ header_timeout: 60m }}\n")).await;
    let admin = relay.running.admin_address;
    let mut silent = Vec::new();
    for _ in 0..=vero_relay::admin::CONNECTIONS_MAX {
        silent.push(TcpStream::connect(admin).await.expect("the system takes it"));
    }
    let mut idle = Vec::new();
    for path in ["/healthz", "/", "/api/status"] {
        for _ in 0..=vero_relay::admin::CONNECTIONS_MAX {
            let (stream, status) = kept_open(admin, path, "").await;
            assert_eq!(status, 200, "{path}");
            idle.push(stream);
        }
    }
    // Who was used last stays longest.
    assert_eq!(ask_on(&mut idle[0], admin, "/healthz", "").await, None, "it has given way");
    let newest = idle.last_mut().expect("one");
    assert_eq!(ask_on(newest, admin, "/healthz", "").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answer_is_waited_for_by_nobody() {
    let relay = TestRelay::start(&format!("{NOWHERE}limits: {{ header_timeout: 60m }}\n")).await;
    let admin = relay.running.admin_address;
    let mut stuck = Vec::new();
    for _ in 0..3 {
        // Some 30 MB of answers: more than lies between the two.
        let mut stream = TcpStream::connect(admin).await.expect("connected");
        let asked = format!("GET /api/openapi.json HTTP/1.1\r\nhost: {admin}\r\n\r\n").repeat(400);
        stream.write_all(asked.as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.expect("an answer");
        stuck.push(stream);
    }
    let mut idle = Vec::new();
    for _ in 0..vero_relay::admin::CONNECTIONS_MAX {
        idle.push(kept_open(admin, "/healthz", "").await.0);
    }
    let newest = idle.last_mut().expect("one");
    assert_eq!(ask_on(newest, admin, "/healthz", "").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_signed_in_is_known_and_an_open_stream_gives_way_to_nobody() {
    let config = HEAD.replace("\"127.0.0.1:0\" }", "\"127.0.0.1:0\", token: the-token-of-the-operator }");
    let relay = TestRelay::start_with(&format!("{config}{NOWHERE}limits: {{ header_timeout: 60m }}\n")).await;
    let admin = relay.running.admin_address;
    let known = "authorization: Bearer the-token-of-the-operator\r\n";
    let mut reader = TcpStream::connect(admin).await.expect("connected");
    let asked = format!("GET /api/stream HTTP/1.1\r\nhost: {admin}\r\n{known}\r\n");
    reader.write_all(asked.as_bytes()).await.expect("sent");
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut reader, &mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut signed_in = TcpStream::connect(admin).await.expect("connected");
    let form = "token=the-token-of-the-operator";
    let length = form.len();
    let asked = format!(
        "POST /sign-in HTTP/1.1\r\nhost: {admin}\r\naccept: application/json\r\ncontent-length: {length}\r\n\r\n{form}"
    );
    signed_in.write_all(asked.as_bytes()).await.expect("sent");
    let answer = read_message(&mut signed_in, &mut Vec::new()).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let mut strangers = Vec::new();
    for _ in 0..=vero_relay::admin::CONNECTIONS_MAX {
        strangers.push(TcpStream::connect(admin).await.expect("the system takes it"));
    }
    assert_eq!(kept_open(admin, "/healthz", "").await.1, 200);
    assert_eq!(ask_on(&mut signed_in, admin, "/healthz", "").await, Some(200), "strangers give way first");
    let mut others = Vec::new();
    for _ in 0..vero_relay::admin::CONNECTIONS_MAX {
        let (stream, status) = kept_open(admin, "/api/status", known).await;
        assert_eq!(status, 200);
        others.push(stream);
    }
    assert_eq!(ask_on(&mut signed_in, admin, "/healthz", "").await, None, "it had nothing to do for longest");
    assert_eq!(ask_on(&mut others[0], admin, "/healthz", "").await, None, "and this one after it");
    relay.accept(SENT).await;
    let mut read = Vec::new();
    let hears = async {
        while !String::from_utf8_lossy(&read).contains("event: event\n") {
            assert!(tokio::io::AsyncReadExt::read_buf(&mut reader, &mut read).await.expect("read") > 0, "it goes on");
        }
    };
    tokio::time::timeout(PATIENCE, hears).await.expect("the stream tells of an event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_of_another_site_gets_nothing_at_all() {
    let relay = TestRelay::start(NOWHERE).await;
    let admin = relay.running.admin_address;
    assert_eq!(request(admin, "POST", "/bin/a", &[], b"x").await.status(), 200, "destinations say nothing of a site");
    let paths = ["/", "/healthz", "/readyz", "/metrics", "/bin", "/bin/a", "/api/status", "/api/events", "/nothing"];
    let marks = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
    ];
    for mark in marks {
        for path in paths {
            let answer = request(admin, "GET", path, &[mark], b"").await;
            assert_eq!(answer.status(), 403, "{path} {mark:?}");
            assert!(answer.text().contains("other sites"), "{}", answer.text());
        }
        assert_eq!(request(admin, "POST", "/bin/evil", &[mark], b"x").await.status(), 403);
        let written = [mark, ("x-vero-relay-write", "1")];
        assert_eq!(request(admin, "POST", "/api/reload", &written, b"").await.status(), 403);
    }
    let own = format!("http://{admin}");
    for mark in [("sec-fetch-site", "none"), ("sec-fetch-site", "same-origin"), ("origin", own.as_str())] {
        assert_eq!(request(admin, "GET", "/api/status", &[mark], b"").await.status(), 200, "{mark:?}");
    }
    assert_eq!(relay.admin("/bin/evil").await.status(), 404, "nothing came in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_acts_on_a_post_and_on_nothing_else() {
    let relay = TestRelay::start(NOWHERE).await;
    let admin = relay.running.admin_address;
    for (path, allowed, part) in [
        ("/api/reload", "POST", "this is done by POST, not by"),
        ("/api/destinations/nowhere/pause", "POST", "this is done by POST, not by"),
        ("/api/status", "GET, HEAD", "this is read by GET, not by"),
        ("/api/events/42", "GET, HEAD", "this is read by GET, not by"),
        ("/api/replays", "GET, HEAD, POST", "this is read by GET and done by POST, not by"),
    ] {
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "NONSENSE"] {
            let answer = request(admin, method, path, &[("x-vero-relay-write", "1")], b"").await;
            assert_eq!((answer.status(), answer.header("allow")), (405, Some(allowed)), "{method} {path}");
            assert!(answer.text().contains(&format!("{part} {method}")), "{method} {path}: {}", answer.text());
        }
    }
    for (method, path) in
        [("GET", "/api/nothing"), ("PUT", "/api/nothing"), ("PUT", "/api/store/nothing"), ("PUT", "/api")]
    {
        let answer = request(admin, method, path, &[("x-vero-relay-write", "1")], b"").await;
        assert_eq!(answer.status(), 404, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_are_bounded_and_small_requests_find_room() {
    // None of them is given up while a busy machine takes in the others.
    let limits = "limits: { body_timeout: 5m }\n";
    let relay = TestRelay::start(&format!("{NOWHERE}{limits}")).await;
    let admin = relay.running.admin_address;
    // It has sent all of its megabyte but one byte.
    let hold = async || {
        let mut stream = TcpStream::connect(admin).await.expect("connected");
        let head = format!("POST /bin/x HTTP/1.1\r\nhost: {admin}\r\ncontent-length: {}\r\n\r\n", 1 << 20);
        stream.write_all(head.as_bytes()).await.expect("sent");
        let _ = stream.write_all(&vec![b'x'; (1 << 20) - 1]).await;
        stream
    };
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(hold().await);
    }
    let large = async || request(admin, "POST", "/bin/y", &[], &vec![b'x'; 1 << 20]).await.status();
    // Bodies that come together may wait for each other's bytes until some of them are refused, and then there is room for another.
    while large().await != 503 {
        held.push(hold().await);
        assert!(held.len() < 100, "the bytes are never taken");
    }
    assert_eq!(relay.admin("/api/status").await.status(), 200);
    drop(held);
    eventually("the bytes to be given back", async || large().await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_searches_go_on_health_and_status_are_answered() {
    let relay = TestRelay::start(NOWHERE).await;
    for _ in 0..50 {
        relay.accept(SENT).await;
    }
    let admin = relay.running.admin_address;
    let searches: Vec<_> = (0..64)
        .map(|_| tokio::spawn(async move { request(admin, "GET", "/api/events?limit=1000", &[], b"").await.status() }))
        .collect();
    for (address, path) in
        [(admin, "/healthz"), (admin, "/readyz"), (admin, "/api/status"), (relay.running.address, "/readyz")]
    {
        assert_eq!(request(address, "GET", path, &[], b"").await.status(), 200, "{path}");
    }
    for search in searches {
        let status = search.await.expect("no panic");
        assert!(matches!(status, 200 | 503), "{status}");
    }
}
