//! A new config while the relay runs: all of it or nothing, and nothing is lost on the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use vero_relay::relay::{ReloadError, Reloaded};

use crate::harness::*;
use crate::slack_server::SlackServer;

/// A relay whose config stands in a file.
struct Reloading {
    relay: TestRelay,
    path: PathBuf,
}

impl Reloading {
    async fn start(rest: &str) -> Self {
        let relay = TestRelay::start(rest).await;
        let path = relay.directory.path().join("config.yaml");
        let reloading = Self { relay, path };
        reloading.write(rest);
        reloading
    }

    fn write(&self, rest: &str) {
        std::fs::write(&self.path, format!("{HEAD}{rest}")).expect("written");
    }

    async fn reload(&self, rest: &str) -> Result<Reloaded, ReloadError> {
        self.write(rest);
        self.relay.running.relay.reload().await
    }

    async fn changed(&self, rest: &str) -> Vec<String> {
        self.reload(rest).await.unwrap_or_else(|error| panic!("{}", error.in_full())).changes
    }

    async fn metric(&self, name: &str) -> String {
        let metrics = self.relay.admin("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap_or_default().to_owned()
    }
}

fn to_two(one: &Fake, two: &Fake, to: &str) -> String {
    format!(
        "rules: [ {{ name: all, to: {to} }} ]\ndestinations:\n  one: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  two: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n",
        one.url(),
        two.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_told_and_holds_for_the_next_event() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let reloading = Reloading::start(&to_two(&one, &two, "one")).await;
    reloading.relay.accept(SENT).await;
    one.wait_for(1).await;
    let changes = reloading.changed(&to_two(&one, &two, "two")).await;
    assert_eq!(changes, ["rule `all`: `to` has changed"]);
    reloading.relay.accept(SENT).await;
    two.wait_for(1).await;
    assert_eq!(one.seen().len(), 1);
    assert_eq!(reloading.changed(&to_two(&one, &two, "two")).await, Vec::<String>::new());
    assert_eq!(reloading.metric("vero_relay_config_last_reload_successful").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_config_changes_nothing_and_says_why() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let good = to_two(&one, &two, "one");
    let reloading = Reloading::start(&good).await;
    let error = reloading.reload(&good.replace("to: one", "to: thre")).await.expect_err("it is bad");
    assert!(error.in_full().contains("there is no destination named `thre`"), "{}", error.in_full());
    assert_eq!(reloading.metric("vero_relay_config_last_reload_successful").await, "0");
    let status = reloading.relay.admin("/api/status").await.json();
    assert_eq!(status["config"]["generation"], 1);
    assert!(status["config"]["last_reload"]["error"].as_str().is_some_and(|error| error.contains("thre")), "{status}");
    reloading.relay.accept(SENT).await;
    one.wait_for(1).await;

    let answer = reloading.relay.act("/api/reload").await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(answer.text().contains("thre"), "{}", answer.text());
    reloading.write(&good);
    assert_eq!(reloading.relay.act("/api/reload").await.json()["generation"], 2);
    assert_eq!(reloading.metric("vero_relay_config_last_reload_successful").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_not_read_and_holds_nothing_up() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let good = to_two(&one, &two, "one");
    let reloading = Reloading::start(&good).await;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    std::fs::remove_file(&reloading.path).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, &reloading.path, mode).expect("made");
    let error = reloading.relay.running.relay.reload().await.expect_err("a pipe is no config").in_full();
    assert!(error.contains("it is not a regular file"), "{error}");
    std::fs::remove_file(&reloading.path).expect("removed");
    let pipe = reloading.relay.directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("made");
    for endless in ["/proc/kmsg", "/proc/self/environ", "/dev/zero", "pipe"] {
        let error = reloading.reload(&format!("{good}x-more: \"${{file:{endless}}}\"\n")).await.expect_err(endless);
        assert!(error.in_full().contains("it is not a regular file"), "{}", error.in_full());
    }
    let paused = request(
        reloading.relay.running.admin_address,
        "POST",
        "/api/sources/vero/pause",
        &[("x-vero-relay-write", "1")],
        b"",
    );
    assert_eq!(paused.await.status(), 200);
    reloading.reload(&good).await.unwrap_or_else(|error| panic!("{}", error.in_full()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_start_can_set_is_refused_by_name() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let good = to_two(&one, &two, "one");
    let reloading = Reloading::start(&good).await;
    for (more, key) in [("limits: { intake_max: 32MiB }\n", "`limits.intake_max`")] {
        let error = reloading.reload(&format!("{good}{more}")).await.expect_err("it needs a restart");
        assert!(error.to_string().starts_with(key), "{error}");
    }
    let text = std::fs::read_to_string(&reloading.path).expect("there").replace("data_dir: data", "data_dir: other");
    std::fs::write(&reloading.path, text).expect("written");
    let error = reloading.relay.running.relay.reload().await.expect_err("it needs a restart");
    assert!(error.to_string().starts_with("`data_dir` and `limits.intake_max` cannot be changed"), "{error}");
    assert!(!reloading.relay.directory.path().join("other").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_moves_and_open_connections_stay() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let reloading = Reloading::start(&to_two(&one, &two, "one")).await;
    let old = reloading.relay.running.address;
    let mut kept = TcpStream::connect(old).await.expect("connected");
    let mut buffer = Vec::new();
    let event = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{SENT}", SENT.len());
    // Half of an event is on its way while the listener moves.
    kept.write_all(&event.as_bytes()[..event.len() - 5]).await.expect("sent");

    let moved = closed_port();
    let text = std::fs::read_to_string(&reloading.path).expect("there");
    std::fs::write(&reloading.path, text.replace("listen: 127.0.0.1:0\nadmin", &format!("listen: {moved}\nadmin")))
        .expect("written");
    let changes = reloading.relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{error}")).changes;
    assert_eq!(changes, ["`listen` has changed"]);
    assert_eq!(reloading.relay.running.relay.address(), moved);

    kept.write_all(&event.as_bytes()[event.len() - 5..]).await.expect("sent");
    assert_eq!(read_message(&mut kept, &mut buffer).await.expect("answered").status(), 200);
    kept.write_all(event.as_bytes()).await.expect("sent");
    assert_eq!(read_message(&mut kept, &mut buffer).await.expect("answered again").status(), 200);
    assert_eq!(request(moved, "POST", "/hooks/vero/secret", &[], SENT.as_bytes()).await.status(), 200);
    eventually("the old address to be closed", async || TcpStream::connect(old).await.is_err()).await;
    one.wait_for(3).await;

    // An address that is taken is refused, and the one before stays.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let text = std::fs::read_to_string(&reloading.path).expect("there");
    let text = text.replace(&moved.to_string(), &taken.local_addr().expect("an address").to_string());
    std::fs::write(&reloading.path, text).expect("written");
    let error = reloading.relay.running.relay.reload().await.expect_err("taken");
    assert!(error.in_full().contains("cannot listen on"), "{}", error.in_full());
    assert_eq!(request(moved, "POST", "/hooks/vero/secret", &[], SENT.as_bytes()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_go_come_are_renamed_fail_or_are_paused_keep_what_waits() {
    let (one, two) = (Fake::start(vec![Act::status(503); 3]).await, Fake::start([]).await);
    let slow = "retry: { initial: 1h, max: 1h }";
    let config = |name: &str, more: &str| {
        format!(
            "rules: [ {{ name: all, to: [{name}, two] }} ]\ndestinations:\n  {name}: {{ http: {{ url: \"{}\" }}, {slow}{more} }}\n  two: {{ http: {{ url: \"{}\" }} }}\n",
            one.url(),
            two.url()
        )
    };
    let reloading = Reloading::start(&config("one", "")).await;
    let relay = &reloading.relay;
    for _ in 0..3 {
        relay.accept(SENT).await;
    }
    one.wait_for(3).await;
    eventually("three to be scheduled", async || relay.destination("one").await["scheduled"] == 3).await;
    relay.act("/api/destinations/two/pause").await;

    // Gone: its queue is kept, and it is shown as removed.
    let only_two = format!(
        "rules: [ {{ name: all, to: two }} ]\ndestinations:\n  two: {{ http: {{ url: \"{}\" }} }}\n",
        two.url()
    );
    let changes = reloading.changed(&only_two).await;
    assert_eq!(changes, ["destination `one` is gone", "rule `all`: `to` has changed"]);
    eventually("it to be shown as removed", async || relay.destination("one").await["state"] == "removed").await;
    assert_eq!(relay.destination("two").await["state"], "paused");

    // Back under another name: what waited goes there, due now, since the section is another.
    reloading.changed(&config("uno", ", renamed_from: one")).await;
    one.wait_for(6).await;
    eventually("nothing to wait", async || relay.destination("uno").await["backlog"] == 0).await;
    assert_eq!(relay.destination("two").await["state"], "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_is_taken_when_it_is_written_renamed_or_a_link_is_swapped() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let config = |to: &str| format!("watch: true\n{}", to_two(&one, &two, to));
    let reloading = Reloading::start(&config("one")).await;
    let generation = || reloading.relay.running.relay.generation().number;
    reloading.write(&config("two"));
    eventually("the change to be seen", async || generation() == 2).await;

    let beside = reloading.path.with_extension("new");
    std::fs::write(&beside, format!("{HEAD}{}", config("one"))).expect("written");
    std::fs::rename(&beside, &reloading.path).expect("renamed");
    eventually("the renamed file to be seen", async || generation() == 3).await;

    // As Kubernetes does it: the file is a link through a directory that is a link.
    let directory = reloading.relay.directory.path();
    for (name, to) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(directory.join(name)).expect("made");
        std::fs::write(directory.join(name).join("config.yaml"), format!("{HEAD}{}", config(to))).expect("written");
    }
    std::os::unix::fs::symlink("v1", directory.join("current")).expect("linked");
    std::fs::remove_file(&reloading.path).expect("removed");
    std::os::unix::fs::symlink("current/config.yaml", &reloading.path).expect("linked");
    std::os::unix::fs::symlink("v2", directory.join("next")).expect("linked");
    std::fs::rename(directory.join("next"), directory.join("current")).expect("swapped");
    eventually("the swapped link to be seen", async || generation() == 4).await;

    // A bad one is told once, and the next good one is taken.
    std::fs::write(directory.join("v2/config.yaml"), "rules: nothing").expect("written");
    eventually("the bad one to be told", async || {
        reloading.relay.running.relay.last_reload().is_some_and(|last| last.error.is_some())
    })
    .await;
    assert_eq!(generation(), 4);
    std::fs::write(directory.join("v2/config.yaml"), format!("{HEAD}{}", config("one"))).expect("written");
    eventually("the good one to be seen", async || generation() == 5).await;

    // A bad one that is taken back is told no longer.
    let failed = || reloading.relay.running.relay.last_reload().is_some_and(|last| last.error.is_some());
    std::fs::write(directory.join("v2/config.yaml"), "rules: nothing").expect("written");
    eventually("the bad one to be told", async || failed()).await;
    std::fs::write(directory.join("v2/config.yaml"), format!("{HEAD}{}", config("one"))).expect("written");
    eventually("what is in force to be good again", async || !failed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_that_is_put_back_behind_a_reload_by_hand_is_in_force_again() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let config = |to: &str| format!("watch: true\n{}", to_two(&one, &two, to));
    let reloading = Reloading::start(&config("one")).await;
    let relay = &reloading.relay.running.relay;
    let sends_to = || relay.generation().config.rules.rules()[0].to.clone();
    let first = sends_to();
    // At once, before the watcher has looked at what came between.
    reloading.write(&config("two"));
    relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    assert_ne!(sends_to(), first);
    reloading.write(&config("one"));
    eventually("the file to be in force", async || sends_to() == first).await;

    std::fs::write(&reloading.path, "rules: nothing").expect("written");
    assert!(relay.reload().await.is_err());
    reloading.write(&config("one"));
    eventually("no failure to be told", async || relay.last_reload().is_some_and(|last| last.error.is_none())).await;
}

/// A destination that the test answers by hand.
struct ByHand(TcpListener);

impl ByHand {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("bound"))
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("an address"))
    }

    /// Waits for a request, and gives what answers it.
    async fn next(&self) -> TcpStream {
        let (mut stream, _) =
            tokio::time::timeout(PATIENCE, self.0.accept()).await.expect("in time").expect("accepted");
        read_message(&mut stream, &mut Vec::new()).await.expect("a request");
        stream
    }
}

async fn answer(mut stream: TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.expect("answered");
}

fn to_one(name: &str, section: &str) -> String {
    format!("rules: [ {{ name: all, to: {name} }} ]\ndestinations:\n  {name}: {{ {section} }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_to_an_older_section_says_nothing_of_the_new_one() {
    let (old, new) = (ByHand::start().await, Fake::start([]).await);
    let config = |url: String| to_one("crm", &format!("http: {{ url: \"{url}\" }}"));
    let reloading = Reloading::start(&config(old.url())).await;
    reloading.relay.accept(SENT).await;
    let in_flight = old.next().await;
    // The operator has seen that the address is gone, and gives another.
    reloading.changed(&config(new.url())).await;
    answer(in_flight, 410).await;
    new.wait_for(1).await;
    let destination = reloading.relay.destination("crm").await;
    assert_ne!(destination["state"], "paused", "{destination}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_ending_opens_no_breaker_for_the_one_that_follows() {
    let (old, two) = (ByHand::start().await, Fake::start([]).await);
    let slow = "retry: { initial: 1h, max: 1h }";
    let config = to_one("one", &format!("http: {{ url: \"{}\" }}, {slow}", old.url()));
    let reloading = Reloading::start(&config).await;
    let relay = &reloading.relay;
    for _ in 0..4 {
        relay.accept(SENT).await;
        answer(old.next().await, 503).await;
    }
    relay.accept(SENT).await;
    let fifth = old.next().await;
    eventually("four to be scheduled", async || relay.destination("one").await["scheduled"] == 4).await;
    reloading.changed(&to_one("two", &format!("http: {{ url: \"{}\" }}", two.url()))).await;
    reloading.changed(&config).await;
    answer(fifth, 503).await;
    eventually("all to be scheduled", async || relay.destination("one").await["scheduled"] == 5).await;
    let destination = relay.destination("one").await;
    assert_ne!(destination["breaker"]["state"], "open", "{destination}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_section_changes_is_written_on_at_the_first_attempt() {
    let config = |more: &str| to_one("archive", &format!("file: {{ path: x.ndjson{more} }}"));
    let reloading = Reloading::start(&config("")).await;
    for more in ["", ", envelope: false", ", fsync: never", ""] {
        reloading.changed(&config(more)).await;
        let id = reloading.relay.accept(SENT).await;
        let delivery = reloading.relay.until(&id, "delivered").await;
        assert_eq!(delivery["attempts"], 1, "{delivery}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_coming_in_while_its_destination_was_renamed_goes_to_the_new_name() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let reloading = Reloading::start(&to_two(&one, &two, "one")).await;
    let mut stream = TcpStream::connect(reloading.relay.running.address).await.expect("connected");
    let length = SENT.len();
    let head = format!(
        "POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut buffer = Vec::new();
    // Whoever is told to go on has been let in by the config of now.
    assert_eq!(read_message(&mut stream, &mut buffer).await.expect("told to go on").status(), 100);
    let renamed = to_one("two", &format!("http: {{ url: \"{}\" }}, renamed_from: one", two.url()));
    reloading.changed(&renamed).await;
    stream.write_all(SENT.as_bytes()).await.expect("sent");
    assert_eq!(read_message(&mut stream, &mut buffer).await.expect("answered").status(), 200);
    two.wait_for(1).await;
    assert!(one.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_shared_a_rate_limit_each_have_their_own_when_they_share_no_url() {
    let (one, two) = (SlackServer::start([]).await, Fake::start([]).await);
    let both = |first: &str, second: &str| {
        format!(
            "rules: [ {{ name: all, to: [one, two] }} ]\ndestinations:\n  one: {{ {first} }}\n  two: {{ {second} }}\n"
        )
    };
    let slack = format!("slack: {{ url: \"{}/services/x\" }}", one.url());
    let reloading = Reloading::start(&both(&slack, &slack)).await;
    let http = |fake: &Fake| format!("http: {{ url: \"{}\" }}", fake.url());
    reloading.changed(&both(&http(&one), &format!("{}, rate: 1/h", http(&two)))).await;
    for _ in 0..3 {
        reloading.relay.accept(SENT).await;
    }
    one.wait_for(3).await;
    two.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_cannot_move_to_all_addresses_of_its_port_and_that_is_said() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let reloading = Reloading::start(&to_two(&one, &two, "one")).await;
    let moved = closed_port();
    let text = std::fs::read_to_string(&reloading.path).expect("there").replace("secret", "sixteen-letters-long");
    let listen = |address: String| {
        let text = text.replace("listen: 127.0.0.1:0\nadmin", &format!("listen: {address}\nadmin"));
        std::fs::write(&reloading.path, text).expect("written");
        reloading.relay.running.relay.reload()
    };
    listen(moved.to_string()).await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    let error = listen(format!("0.0.0.0:{}", moved.port())).await.expect_err("the port is in use");
    let all = format!("0.0.0.0:{}", moved.port());
    assert_eq!(
        error.in_full(),
        format!(
            "`listen` cannot go from {moved} to {all} while the relay runs, since both take one port, and the config before stays in force: restart it to apply the change"
        )
    );
}

/// Reloads under load, every fifth of them broken.
const RELOADS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_nothing_double_nothing_and_mix_no_two_configs() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    // Each config sends to one destination, and tells its own name there: an event that saw half of each would tell.
    let config = |number: u64| {
        let (to, at) = if number.is_multiple_of(2) { ("one", &one) } else { ("two", &two) };
        let template = format!("{{ url: \"{}/{to}\", json: {{ n: \"{{{{ n }}}}\", config: {to} }} }}", at.url());
        format!(
            "rules: [ {{ name: {to}, to: {to} }} ]\nremoved_grace: 1h\ndestinations:\n  {to}: {{ http: {template} }}\n"
        )
    };
    let reloading = Reloading::start(&config(0)).await;
    let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = reloading.relay.running.address;
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, next) = (is_over.clone(), next.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let body = format!(r#"{{"type":"sent","n":{}}}"#, next.fetch_add(1, Ordering::Relaxed));
                    let answer = request(address, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                }
            })
        })
        .collect();
    let mut good = 0;
    for reload in 1..=RELOADS {
        if reload.is_multiple_of(5) {
            reloading.reload("rules: [ { name: broken } ]").await.expect_err("it is broken");
        } else {
            good += 1;
            reloading.changed(&config(good)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.expect("a sender");
    }
    // Whatever waits for the one that is gone at the end comes when it is back.
    let both = format!(
        "{}  two: {{ http: {{ url: \"{}/two\", json: {{ n: \"{{{{ n }}}}\", config: two }} }} }}\n",
        config(0),
        two.url()
    )
    .replace("to: one", "to: [one, two]");
    reloading.changed(&both).await;
    let sent = next.load(Ordering::Relaxed);
    let arrived = || one.seen().len() + two.seen().len();
    eventually("all to arrive", async || arrived() as u64 >= sent).await;
    let mut numbers: Vec<u64> = Vec::new();
    for (fake, name) in [(&one, "one"), (&two, "two")] {
        for message in fake.seen() {
            assert_eq!(message.json()["config"], name);
            assert!(message.first_line.contains(&format!("/{name} ")), "{}", message.first_line);
            numbers.push(message.json()["n"].as_u64().expect("a number"));
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "each exactly once");
    assert_eq!(reloading.relay.running.relay.generation().number as u64, 2 + RELOADS - RELOADS / 5);
    println!("{RELOADS} reloads, {} broken, with {sent} events: none lost, none doubled", RELOADS / 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_rate_limit_makes_nobody_wait_for_the_attempt_of_another() {
    let fake = SlackServer::hurried([Act::Hang]).await;
    let config = |members: &[&str]| {
        let member = |name: &&str| {
            format!(
                "  {name}: {{ slack: {{ url: \"{}/services/x\", text: x }}, rate: 50/s, timeout: 60s }}\n",
                fake.url()
            )
        };
        format!(
            "rules: [ {{ name: to a, match: {{ type: sent }}, to: [a] }}, {{ name: to b, match: {{ type: bounced }}, to: [b] }} ]\n\
             destinations:\n{}",
            members.iter().map(member).collect::<String>()
        )
    };
    let reloading = Reloading::start(&config(&["a", "b"])).await;
    reloading.relay.accept(SENT).await;
    fake.wait_for(1).await;
    // Its attempt hangs for longer than anything here waits.
    for members in [["c", "a", "b"].as_slice(), &["b", "a", "c"], &["b", "a"]] {
        reloading.changed(&config(members)).await;
        let id = reloading.relay.accept(r#"{"type":"bounced"}"#).await;
        let state = async || reloading.relay.deliveries(&id).await[0]["state"] == "delivered";
        eventually("the delivery to b", state).await;
    }
    assert_eq!(reloading.relay.destination("a").await["in_flight"], 1, "and it is in flight still");
}
