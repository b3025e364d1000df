//! A chat that is down in every way, and a relay that is killed amid it: who is told and how often, and what arrives in the end.

use std::fs::File;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use vero_relay::daemon::start_told_by;
use vero_relay::time::{Clock, rfc3339};

use crate::harness::*;
use crate::slack_server::SlackServer;

/// Names the directory of a config to the process that is to be its relay.
const DIRECTORY: &str = "VERO_RELAY_TEST_DRILL";
const START_MS: u64 = 1_800_000_000_000;
/// The default of `after`, what is gathered for one message, and a little more.
const LASTED: u64 = 10 * 60 + 11;
/// So long a problem must be gone to be over, and as before.
const OVER: u64 = 60 + 11;
/// More failures than there are attempts.
const ALWAYS: usize = 100_000;

/// No test: the relay of the one below, in a process that can be killed, with a clock that is set by lines of milliseconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_relay_of_the_drill() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let clock: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(START_MS)));
    let mut lines = std::io::stdin().lock().lines().map(|line| line.expect("a line").parse().expect("milliseconds"));
    clock.store(lines.next().expect("what time it is"), Ordering::Relaxed);
    let config = std::fs::read_to_string(directory.join("config.yaml")).expect("a config");
    let running = start_told_by(parse(&directory, &config), Clock::by_hand(clock)).await.expect("it starts");
    tokio::task::block_in_place(|| lines.for_each(|now_ms| clock.store(now_ms, Ordering::Relaxed)));
    running.stop().await;
}

struct Drill {
    directory: TempDir,
    hooks: SocketAddr,
    admin: SocketAddr,
    now_ms: u64,
    process: Option<(Child, ChildStdin)>,
    accepted: u64,
}

impl Drill {
    async fn start(rest: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (hooks, admin) = (closed_port(), closed_port());
        let head = HEAD.replacen("127.0.0.1:0", &hooks.to_string(), 1).replacen("127.0.0.1:0", &admin.to_string(), 1);
        std::fs::write(directory.path().join("config.yaml"), format!("{head}{rest}")).expect("written");
        let mut drill = Self { directory, hooks, admin, now_ms: START_MS, process: None, accepted: 0 };
        drill.begin().await;
        drill
    }

    async fn begin(&mut self) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["outage::the_relay_of_the_drill", "--exact", "--nocapture"])
            .env(DIRECTORY, self.directory.path());
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).expect("a log");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("started");
        let clock = child.stdin.take().expect("its input");
        self.process = Some((child, clock));
        self.pass(0);
        for listener in [self.hooks, self.admin] {
            eventually("it to listen", async || tokio::net::TcpStream::connect(listener).await.is_ok()).await;
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now_ms += seconds * 1000;
        let (_, clock) = self.process.as_mut().expect("it runs");
        writeln!(clock, "{}", self.now_ms).expect("it reads");
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let (mut child, _) = self.process.take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Posts events, each of which must be taken, to a person of its own.
    async fn accept(&mut self, count: u64) {
        for _ in 0..count {
            let event = format!(r#"{{"type":"bounced","user":{{"email":"u{}@example.com"}}}}"#, self.accepted);
            let answer = request(self.hooks, "POST", "/hooks/vero/secret", &[], event.as_bytes()).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            self.accepted += 1;
        }
    }

    async fn retry(&self) {
        request(self.admin, "POST", "/api/destinations/chat/retry", &[("x-vero-relay-write", "1")], b"").await;
    }

    /// Waits until a problem is as it should be.
    async fn until(&self, kind: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(kind, async || {
            let shown = request(self.admin, "GET", "/api/problems", &[], b"").await.json();
            let known = shown["problems"].as_array().cloned().expect("a list");
            is_so(known.iter().find(|problem| problem["kind"] == kind).unwrap_or(&Value::Null))
        })
        .await;
    }

    /// Waits until somebody was told just now.
    async fn until_told(&self, kind: &str, to: &str) {
        let now = rfc3339(self.now_ms);
        self.until(kind, |problem| problem["told"]["to"] == to && problem["told"]["at"] == *now).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("a log")
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

fn texts(slack: &SlackServer) -> Vec<String> {
    slack.seen().iter().map(|post| post.json()["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_with_a_kill_9_amid_it_is_two_messages_and_loses_and_doubles_nothing() {
    let chat_at = closed_port();
    let ops = SlackServer::start([]).await;
    let backup = Fake::start([]).await;
    let mut drill = Drill::start(&format!(
        "notify: {{ to: [ops, backup] }}\nrules: [ {{ to: chat }} ]\ndestinations:\n  \
         chat: {{ slack: {{ url: \"http://{chat_at}/services/T0/B0/chat\" }}, rate: 1000/s, timeout: 300ms, {QUICK} }}\n  \
         ops: {{ slack: {{ url: \"{}/services/T0/B0/ops\" }} }}\n  backup: {{ http: {{ url: \"{}/backup\" }} }}\n",
        ops.url(),
        backup.url()
    ))
    .await;

    // It refuses connections, then it hangs, then it fails, then it asks for time.
    drill.accept(5).await;
    drill.until("destination_failing", |problem| problem["gone_since"].is_null() && problem.is_object()).await;
    let later = Act::with(429, &[("retry-after", "1")], "slow_down");
    let script = [Act::Hang, Act::Hang, Act::status(500), Act::status(500), later].into_iter();
    let chat = SlackServer::hurried_at(&chat_at.to_string(), script.chain(vec![Act::status(503); ALWAYS])).await;
    eventually("all ways to fail", async || {
        drill.retry().await;
        chat.seen().len() >= 6
    })
    .await;
    drill.accept(5).await;
    drill.pass(LASTED);
    drill.until_told("destination_failing", "ops").await;

    drill.accept(5).await;
    drill.kill();
    drill.begin().await;
    drill.accept(5).await;
    drill.until("destination_failing", |problem| problem["told"]["to"] == "ops").await;
    drill.pass(60 * 60);
    drill.kill();
    drill.begin().await;
    drill.accept(5).await;

    let refused = chat.recovers();
    eventually("everything to arrive", async || {
        drill.retry().await;
        chat.seen().len() - refused >= drill.accepted as usize
    })
    .await;
    drill.until("destination_failing", |problem| problem["gone_since"].is_string()).await;
    drill.pass(OVER);
    drill.until("destination_failing", Value::is_null).await;
    let told = texts(&ops);
    println!("{} notices of an outage with two kills: {told:#?}", told.len());
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("chat fails, and what is for it waits"), "{told:#?}");
    assert!(told[1].contains("over: chat does not fail any more"), "{told:#?}");

    let mut arrived = texts(&chat).split_off(refused);
    for number in 0..drill.accepted {
        let (its, others): (Vec<_>, Vec<_>) =
            arrived.into_iter().partition(|text| text.contains(&format!("u{number}@example.com")));
        // When it was killed the chat took nothing: there is no reason to send anything twice.
        assert_eq!(its.len(), 1, "{number}: {its:?}");
        arrived = others;
    }
    assert_eq!(arrived, [""; 0]);

    // The first whom it names is down itself.
    ops.then(vec![Act::status(404); ALWAYS]);
    request(drill.hooks, "POST", "/hooks/vero/wrong", &[], SENT.as_bytes()).await;
    drill.until("source_refused", Value::is_object).await;
    drill.pass(OVER);
    drill.until_told("source_refused", "backup").await;
    assert_eq!((ops.seen().len(), backup.seen().len()), (5, 1), "three attempts, and then the next name");
    let lines = drill.log();
    assert!(lines.lines().any(|line| line.contains("nobody could be told by it") && line.contains("ops")), "{lines}");
}
