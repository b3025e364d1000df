//! What happens, as it happens: `/api/stream`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::frame_holds;
use crate::harness::*;

/// One frame of an event stream.
#[derive(Clone, Debug)]
struct Frame {
    id: String,
    kind: String,
    data: Value,
}

/// An open stream.
struct Listening {
    socket: TcpStream,
    head: Message,
    /// What came and is not unpacked yet; what is unpacked and is no whole frame yet.
    packed: Vec<u8>,
    text: Vec<u8>,
    /// The last frame's id.
    last: String,
    is_over: bool,
}

impl Listening {
    /// Opens one; an answer that is none is in `head`.
    async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET /api/stream{query} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut packed = Vec::new();
        let head = read_message(&mut socket, &mut packed).await.expect("an answer");
        Self { socket, head, packed, text: Vec::new(), last: String::new(), is_over: false }
    }

    async fn on(relay: &TestRelay, query: &str) -> Self {
        let listening = Self::open(relay.running.admin_address, query, "").await;
        assert_eq!(listening.head.status(), 200, "{}", listening.head.text());
        listening
    }

    /// The same relay, behind the last frame.
    async fn again(self, relay: &TestRelay) -> Self {
        let header = format!("last-event-id: {}\r\n", self.last);
        Self::open(relay.running.admin_address, "", &header).await
    }

    /// Takes whole chunks out of what came.
    fn unpack(&mut self) {
        while let Some(end) = self.packed.windows(2).position(|pair| pair == b"\r\n") {
            let length = String::from_utf8_lossy(&self.packed[..end]).into_owned();
            let length = usize::from_str_radix(&length, 16).expect("a length");
            let (from, until) = (end + 2, end + 2 + length);
            if self.packed.len() < until + 2 {
                return;
            }
            self.is_over |= length == 0;
            self.text.extend_from_slice(&self.packed[from..until]);
            self.packed.drain(..until + 2);
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        loop {
            let end = self.text.windows(2).position(|pair| pair == b"\n\n")?;
            let text = String::from_utf8(self.text.drain(..end + 2).collect()).expect("text");
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let Some(data) = field("data: ") else { continue };
            let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {text}"));
            let frame = Frame { id: field("id: ").expect("an id"), kind: field("event: ").expect("a kind"), data };
            frame_holds(&frame.kind, &frame.data);
            self.last.clone_from(&frame.id);
            return Some(frame);
        }
    }

    /// The next frame; none at the end.
    async fn next(&mut self) -> Option<Frame> {
        let mut piece = vec![0; 64 << 10];
        loop {
            if let Some(frame) = self.whole() {
                return Some(frame);
            }
            if self.is_over {
                return None;
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut piece)).await.expect("something in time");
            let read = read.expect("no reset");
            assert!(read > 0, "it was cut off");
            self.packed.extend_from_slice(&piece[..read]);
            self.unpack();
        }
    }

    /// The next frame of which something holds.
    async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("it goes on");
            if is_it(&frame) {
                return frame;
            }
        }
    }

    async fn kind(&mut self, kind: &str) -> Frame {
        self.until(|frame| frame.kind == kind).await
    }

    /// Where the delivery of an event stands, as soon as it is told to be so.
    async fn until_state(&mut self, id: &str, state: &str) -> Frame {
        let is_it = |frame: &Frame| {
            frame.data["id"] == id && frame.data["deliveries"].as_array().is_some_and(|all| all[0]["state"] == state)
        };
        self.until(is_it).await
    }
}

fn typed(event_type: &str) -> String {
    json!({ "type": event_type, "user": { "id": 1, "email": "a@example.com" } }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_as_a_list_shows_it_and_then_what_becomes_of_it() {
    let fake = Fake::start([Act::status(503)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let mut stream = Listening::on(&relay, "").await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(stream.head.header(name), Some(value));
    }
    let hello = stream.next().await.expect("hello");
    assert_eq!((hello.kind.as_str(), hello.data["resumed"].as_bool()), ("hello", Some(false)));
    assert_eq!(hello.data["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(hello.id, format!("{}-{}", hello.data["epoch"].as_str().expect("text"), hello.data["position"]));
    let id = relay.accept(SENT).await;
    let event = stream.kind("event").await;
    assert_eq!(event.data["id"], id.as_str());
    // It may have been tried before it was told of.
    if event.data["deliveries"][0]["state"] != "scheduled" {
        stream.until_state(&id, "scheduled").await;
    }
    let listed = relay.admin("/api/events").await.json()["events"][0].clone();
    let keys = |event: &Value| event.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&event.data), keys(&listed));
    relay.act("/api/destinations/crm/retry").await;
    let now = stream.until_state(&id, "delivered").await;
    assert_eq!(now.data, json!({ "id": id, "deliveries": [{ "destination": "crm", "state": "delivered" }] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_exactly_what_was_missed() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut stream = Listening::on(&relay, "").await;
    let first = relay.accept(SENT).await;
    assert_eq!(stream.kind("event").await.data["id"], first.as_str());
    let last = stream.last.clone();
    let before = stream;
    let mut missed = Vec::new();
    for _ in 0..5 {
        missed.push(relay.accept(SENT).await);
    }
    // It is on the ring once another has seen it.
    let mut other = Listening::on(&relay, &format!("?last_event_id={last}")).await;
    assert_eq!(other.kind("hello").await.data["resumed"], true);
    for id in &missed {
        assert_eq!(other.kind("event").await.data["id"], id.as_str());
    }
    let mut stream = Listening { last, ..before }.again(&relay).await;
    let hello = stream.next().await.expect("hello");
    assert_eq!(hello.data["resumed"], true);
    for id in &missed {
        assert_eq!(stream.kind("event").await.data["id"], id.as_str());
    }
    let later = relay.accept(SENT).await;
    assert_eq!(stream.kind("event").await.data["id"], later.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_with_a_filter_is_told_what_becomes_of_what_was_sent_before() {
    let fake = Fake::start([Act::status(503), Act::status(503)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let mut stream = Listening::on(&relay, "?type=bounced").await;
    let other = relay.accept(&typed("sent")).await;
    relay.until(&other, "scheduled").await;
    let id = relay.accept(&typed("bounced")).await;
    stream.until_state(&id, "scheduled").await;
    let last = stream.last.clone();
    drop(stream);
    let mut stream = Listening::on(&relay, &format!("?type=bounced&last_event_id={last}")).await;
    assert_eq!(stream.next().await.expect("hello").data["resumed"], true);
    relay.act("/api/destinations/crm/retry").await;
    let told = stream
        .until(|frame| {
            assert_ne!(frame.data["id"], other.as_str(), "it was never meant: {frame:?}");
            frame.data["id"] == id.as_str() && frame.data["deliveries"][0]["state"] == "delivered"
        })
        .await;
    assert_eq!(told.kind, "deliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_any_more_is_a_reset_and_what_is_no_place_is_refused() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut stream = Listening::on(&relay, "").await;
    let hello = stream.kind("hello").await;
    let epoch = hello.data["epoch"].as_str().expect("text").to_owned();
    for (elsewhere, why) in [("1-1".to_owned(), "restarted"), (format!("{epoch}-999999999"), "behind")] {
        let mut stream = Listening::on(&relay, &format!("?last_event_id={elsewhere}")).await;
        assert_eq!(stream.next().await.expect("hello").data["resumed"], false);
        let reset = stream.next().await.expect("a reset");
        assert_eq!((reset.kind.as_str(), reset.data["reason"].as_str()), ("reset", Some(why)));
    }
    let long = format!("?last_event_id={}", "7".repeat(5000));
    let refused = Listening::open(relay.running.admin_address, &long, "").await.head;
    assert!(refused.status() == 400 && refused.text().len() < 300, "{}", refused.text());
    for wrong in ["?last_event_id=yesterday", "?last_event_id=1-", "?since=1h", "?limit=5", "?type=", "?state=lost"] {
        let refused = Listening::open(relay.running.admin_address, wrong, "").await.head;
        assert_eq!(refused.status(), 400, "{wrong}: {}", refused.text());
        assert!(!refused.json()["error"].as_str().expect("a sentence").is_empty());
    }
    assert_eq!(Listening::open(relay.running.admin_address, "?destination=nowhere", "").await.head.status(), 404);
    assert_eq!(relay.act("/api/stream").await.status(), 405);
    assert_eq!(relay.admin("/api/stream/more").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_is_told_also_once_it_comes_to_be_so() {
    let fake = Fake::start([Act::status(422)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let dead = {
        let mut bounced = Listening::on(&relay, "?type=bounced").await;
        let mut dead = Listening::on(&relay, "?state=dead").await;
        let id = relay.accept(&typed("sent")).await;
        let told = dead.kind("event").await;
        assert_eq!(
            (told.data["id"].as_str(), told.data["deliveries"][0]["state"].as_str()),
            (Some(&*id), Some("dead"))
        );
        let other = relay.accept(&typed("bounced")).await;
        assert_eq!(bounced.kind("event").await.data["id"], other.as_str(), "the first is none of these");
        bounced
            .until(|frame| {
                assert!(frame.data["id"] != id.as_str(), "of what was not sent nothing is told: {frame:?}");
                frame.kind == "minute"
            })
            .await;
        id
    };
    relay.until(&dead, "dead").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_replay_sends_to_a_destination_comes_to_be_meant_by_it() {
    let fake = Fake::start([]).await;
    let both = to_crm(&fake, "").replace("destinations:", "destinations:\n  archive: { file: { path: archive } }");
    let relay = TestRelay::start(&both).await;
    let mut archived = Listening::on(&relay, "?destination=archive").await;
    let mut dead = Listening::on(&relay, "?destination=archive&state=dead").await;
    let other = relay.accept(SENT).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let listed = async |query: &str| -> Vec<Value> {
        let list = relay.admin(&format!("/api/events?{query}")).await.json();
        list["events"].as_array().expect("events").iter().map(|event| event["id"].clone()).collect()
    };
    assert_eq!(listed("destination=archive").await, [json!(null); 0]);
    let headers = [("x-vero-relay-write", "1")];
    let asked = json!({ "events": [id], "to": ["archive"] }).to_string();
    let begun = request(relay.running.admin_address, "POST", "/api/replays", &headers, asked.as_bytes()).await;
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let told = archived.kind("event").await;
    assert_eq!(told.data["id"], id.as_str(), "and not {other}");
    assert_eq!(told.data["deliveries"][1]["destination"], "archive", "{told:?}");
    for query in ["destination=archive", "destination=archive&limit=1", "destination=archive&state=delivered"] {
        assert_eq!(listed(query).await, [json!(id)], "{query}");
    }
    assert_eq!(listed("destination=crm").await, [json!(id), json!(other)]);
    let relay = relay.restart(|config| config).await;
    let list = relay.admin("/api/events?destination=archive").await.json();
    assert_eq!(list["events"][0]["id"], id.as_str(), "what memory has forgotten stands in the journal: {list}");
    while let Some(frame) = dead.next().await {
        assert!(frame.kind != "event", "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_some_are_told_and_the_rest_is_counted() {
    const ALL: usize = 600;
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut stream = Listening::on(&relay, "").await;
    let mut filtered = Listening::on(&relay, "?type=rare").await;
    let mut sending = tokio::task::JoinSet::new();
    for sender in 0..6 {
        let address = relay.running.address;
        sending.spawn(async move {
            for n in 0..ALL / 6 {
                let kind = if sender == 0 && n % 20 == 0 { "rare" } else { "usual" };
                let body = typed(kind);
                let answer = request(address, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
                assert_eq!(answer.status(), 200);
            }
        });
    }
    let mut told = BTreeSet::new();
    let mut left_out = 0;
    while told.len() as u64 + left_out < ALL as u64 {
        let frame = stream.until(|frame| matches!(frame.kind.as_str(), "event" | "skipped")).await;
        match frame.kind.as_str() {
            "event" => assert!(told.insert(frame.data["id"].to_string()), "twice: {frame:?}"),
            _ => left_out += frame.data["events"].as_u64().expect("a number"),
        }
    }
    assert_eq!(told.len() as u64 + left_out, ALL as u64);
    sending.join_all().await;
    // Whoever asks for few gets all of them.
    for _ in 0..5 {
        assert_eq!(filtered.kind("event").await.data["type"], "rare");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_streams_are_open_and_a_further_one_is_told_so() {
    let relay = TestRelay::start("rules: [ { name: silence, to: [], stop: true } ]\n").await;
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(Listening::on(&relay, "").await);
    }
    let refused = Listening::open(relay.running.admin_address, "", "").await.head;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("32 streams are open"), "{}", refused.text());
    // They take none of the places of those who ask for something.
    assert_eq!(relay.admin("/api/status").await.status(), 200);
    assert_eq!(request(relay.running.admin_address, "HEAD", "/api/stream", &[], b"").await.status(), 200);
    open.pop();
    eventually("its place to be free", async || {
        relay.accept(SENT).await;
        Listening::open(relay.running.admin_address, "", "").await.head.status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_holds_nobody_up_and_is_told_that_it_has_missed_some() {
    let relay = TestRelay::start("rules: [ { name: silence, to: [], stop: true } ]\n").await;
    let mut slow = Listening::on(&relay, "").await;
    let mut quick = Listening::on(&relay, "").await;
    // What waits between the two takes some MiB. The frames are as large as the names in them.
    let large = json!({ "type": "sent", "campaign": { "name": "x".repeat(700 << 10) } }).to_string();
    for _ in 0..40 {
        let id = relay.accept(&large).await;
        assert_eq!(quick.kind("event").await.data["id"], id.as_str());
    }
    let last = relay.accept(SENT).await;
    assert_eq!(slow.kind("reset").await.data["reason"], "behind");
    drop(quick);
    let next = relay.accept(SENT).await;
    let told = slow.until(|frame| frame.kind == "event" && frame.data["bytes"] == SENT.len()).await;
    assert!([last, next].iter().any(|id| told.data["id"] == id.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_and_waits_for_none() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut stream = Listening::on(&relay, "").await;
    let mut unread = Listening::on(&relay, "").await;
    unread.kind("hello").await;
    stream.kind("hello").await;
    let TestRelay { running, directory: _directory, .. } = relay;
    let stopped = running.stop().await;
    assert!(stopped.attempts_ended && stopped.all_answered);
    while stream.next().await.is_some() {}
    assert!(stream.is_over, "it was ended and not cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_minutes_and_commands_are_told_for_longer_than_an_answer_may_take() {
    let fake = Fake::start([Act::status(422)]).await;
    let limits = "limits: { header_timeout: 1s, body_timeout: 1s }\n";
    let relay = TestRelay::start(&to_crm(&fake, limits)).await;
    let mut stream = Listening::on(&relay, "").await;
    // What is told first is how they stand: they may have changed since whoever reads has asked for the list.
    let first = stream.kind("destination").await;
    assert_eq!((first.data["name"].as_str(), first.data["dead_letters"].as_u64()), (Some("crm"), Some(0)));
    let id = relay.accept(SENT).await;
    stream.until_state(&id, "dead").await;
    let shown = stream.until(|frame| frame.kind == "destination" && frame.data["dead_letters"] == 1).await;
    assert_eq!((shown.data["name"].as_str(), shown.data["kind"].as_str()), (Some("crm"), Some("http")));
    stream.kind("minute").await;
    let minute = stream.kind("minute").await;
    let keys: Vec<_> = minute.data.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, ["accepted", "at", "destinations", "refused", "unrouted"]);
    let of_crm = minute.data["destinations"]["crm"].as_object().expect("an object");
    let counts: Vec<_> = of_crm.iter().map(|(key, count)| (key.as_str(), count.is_u64())).collect();
    assert_eq!(counts, [("dead", true), ("delivered", true), ("failed", true)]);
    let asked = json!({ "destination": "crm" }).to_string();
    let headers = [("x-vero-relay-write", "1")];
    let done = request(relay.running.admin_address, "POST", "/api/dead-letters/drop", &headers, asked.as_bytes()).await;
    assert_eq!(done.json()["deliveries"], 1, "{}", done.text());
    assert_eq!(stream.kind("reset").await.data["reason"], "command");
    relay.act("/api/destinations/crm/pause").await;
    stream.until(|frame| frame.kind == "destination" && frame.data["state"] == "paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_config_is_told_and_so_is_a_file_that_is_not_in_force() {
    const NOWHERE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";
    let relay = TestRelay::start(NOWHERE).await;
    let path = relay.directory.path().join("config.yaml");
    let write = |rest: &str| std::fs::write(&path, format!("{HEAD}{rest}")).expect("written");
    write(NOWHERE);
    let mut stream = Listening::on(&relay, "").await;
    write(&NOWHERE.replace("silence", "quiet"));
    let told = stream.kind("config").await.data;
    assert_eq!((told["generation"].as_u64(), &told["last_reload"]), (Some(1), &Value::Null));
    assert!(told["on_disk_changed_at"].is_string(), "{told}");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    let told = stream.until(|frame| frame.kind == "config" && frame.data["on_disk_changed_at"].is_null()).await.data;
    assert_eq!((told["generation"].as_u64(), &told["last_reload"]["error"]), (Some(2), &Value::Null));
    write("rules: 7\n");
    assert!(relay.running.relay.reload().await.is_err());
    let failed = |frame: &Frame| frame.kind == "config" && frame.data["last_reload"]["error"].is_string();
    assert_eq!(stream.until(failed).await.data["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_config_that_is_gone_is_told_as_a_change_and_told_again_when_it_is_back() {
    let directory = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let named = directory.path().join("path");
    std::fs::write(&named, "archive").expect("written");
    const REST: &str = "rules: [ { to: kept } ]\ndestinations: { kept: { file: { path: \"${file:path}\" } } }\n";
    let relay = TestRelay::start_at(directory.clone(), REST).await;
    let mut stream = Listening::on(&relay, "").await;
    for path in [directory.path().join("config.yaml"), named] {
        let held = std::fs::read(&path).expect("read");
        std::fs::remove_file(&path).expect("removed");
        let told = stream.until(|frame| frame.kind == "config").await.data;
        assert!(told["on_disk_changed_at"].is_string(), "{}: {told}", path.display());
        // At once: half of it would be another change.
        let whole = directory.path().join("whole");
        std::fs::write(&whole, held).expect("written");
        std::fs::rename(&whole, &path).expect("renamed");
        let told = stream.until(|frame| frame.kind == "config").await.data;
        assert!(told["on_disk_changed_at"].is_null(), "{}: {told}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_came_in_by_a_token_that_is_gone_reads_no_further() {
    let config = |token: &str| {
        let admin = format!("admin: {{ listen: \"127.0.0.1:0\", token: {token} }}");
        let head = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", &admin);
        format!("{head}rules: [ {{ name: silence, to: [], stop: true }} ]\n")
    };
    let relay = TestRelay::start_with(&config("the-first-token-of-all")).await;
    let bearer = "authorization: Bearer the-first-token-of-all\r\n";
    let mut stream = Listening::open(relay.running.admin_address, "", bearer).await;
    assert_eq!(stream.head.status(), 200, "{}", stream.head.text());
    stream.kind("hello").await;
    std::fs::write(relay.directory.path().join("config.yaml"), config("the-second-token-of-all")).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    relay.accept(SENT).await;
    while let Some(frame) = stream.next().await {
        assert_ne!(frame.kind, "event", "{frame:?}");
    }
    assert!(stream.is_over, "it was ended and not cut off");
    assert_eq!(Listening::open(relay.running.admin_address, "", bearer).await.head.status(), 401);
}
