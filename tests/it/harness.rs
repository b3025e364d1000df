//! What the tests share: a relay in this process, a fake destination with a script, and just enough HTTP to be rude with.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vero_relay::config::Config;
use vero_relay::daemon::{Running, start, start_on, start_told_by};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::time::Clock;
use vero_relay::yaml::values::Process;

/// How long a condition may take before a test gives up. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so).await;
}

/// The same for something that takes longer.
pub async fn eventually_within(patience: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < patience, "waited {patience:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All files below a directory, with what they hold; nothing, where one has gone meanwhile.
pub fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = directories.pop() {
        for entry in std::fs::read_dir(&at).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push((path, bytes));
            }
        }
    }
    found
}

// ---- HTTP -----------------------------------------------------------------------------------------------------------------------

/// A request or an answer.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `POST /x HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first_line: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// When it was read.
    pub at: Option<Instant>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one message. `None` when the other side closes before it is whole.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Message> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        if let Some(head_end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
            let mut lines = head.split("\r\n");
            let first_line = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
            let end = head_end + 4 + length.unwrap_or(0);
            if buffer.len() >= end {
                let body = buffer[head_end + 4..end].to_vec();
                buffer.drain(..end);
                return Some(Message { first_line, headers, body, at: Some(Instant::now()) });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Sends bytes as they are and reads one answer.
pub async fn send_raw(address: SocketAddr, bytes: &[u8]) -> Option<Message> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The relay may answer and close before it has taken all of it.
    let _ = stream.write_all(bytes).await;
    tokio::time::timeout(PATIENCE, read_message(&mut stream, &mut Vec::new()))
        .await
        .expect("an answer or an end in time")
}

/// One request on a connection of its own.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
    let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    let answer = send_raw(address, &[head.as_bytes(), body].concat()).await.expect("an answer");
    super::judge::holds(method, path, &answer);
    answer
}

// ---- the relay ------------------------------------------------------------------------------------------------------------------

/// A relay in this process, on a data directory that goes with it.
pub struct TestRelay {
    pub running: Running,
    pub directory: Arc<TempDir>,
    config: String,
}

/// The head of every test's config.
pub const HEAD: &str = "\
listen: 127.0.0.1:0
admin: { listen: \"127.0.0.1:0\" }
data_dir: data
sources: { vero: { token: secret } }
";

/// A retry policy for impatient tests.
pub const QUICK: &str = "retry: { initial: 20ms, factor: 1, max: 50ms }";

pub fn parse(directory: &Path, config: &str) -> Config {
    match Config::parse(&directory.join("config.yaml"), config.to_owned(), &Process) {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

impl TestRelay {
    /// Starts a relay whose config is the usual head and `rest`.
    pub async fn start(rest: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a directory")), &format!("{HEAD}{rest}")).await
    }

    /// Starts a relay with a config of its own.
    pub async fn start_with(config: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a directory")), config).await
    }

    /// Starts one in a directory that has something in it already.
    pub async fn start_at(directory: Arc<TempDir>, rest: &str) -> Self {
        Self::start_in(directory, &format!("{HEAD}{rest}")).await
    }

    /// Starts one with a config of its own, in which who tells of trouble goes by a clock of the test's.
    pub async fn start_told_by(clock: Clock, directory: Arc<TempDir>, config: &str) -> Self {
        std::fs::write(directory.path().join("config.yaml"), config).expect("written");
        let running = start_told_by(parse(directory.path(), config), clock).await.expect("the relay starts");
        Self { running, directory, config: config.to_owned() }
    }

    async fn start_in(directory: Arc<TempDir>, config: &str) -> Self {
        // As a relay has it: what runs lies on the disk.
        std::fs::write(directory.path().join("config.yaml"), config).expect("written");
        let running = start(parse(directory.path(), config)).await.expect("the relay starts");
        Self { running, directory, config: config.to_owned() }
    }

    /// Starts a relay on a disk that fails on demand.
    pub async fn start_on(disk: &ModelDisk, rest: &str) -> Self {
        Self::start_on_with(disk, format!("{HEAD}{rest}")).await
    }

    /// The same with a config of its own.
    pub async fn start_on_with(disk: &ModelDisk, config: String) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        std::fs::write(directory.path().join("config.yaml"), &config).expect("written");
        let running = start_on(parse(directory.path(), &config), Arc::new(disk.clone())).await.expect("starts");
        Self { running, directory, config }
    }

    /// Stops it and starts it again on the same data, with `change` made to its config.
    pub async fn restart(self, change: impl FnOnce(String) -> String) -> Self {
        let Self { running, directory, config } = self;
        running.stop().await;
        Self::start_in(directory, &change(config)).await
    }

    pub async fn post(&self, body: &str) -> Message {
        request(self.running.address, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await
    }

    /// Posts an event that must be taken, and gives its id.
    pub async fn accept(&self, body: &str) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub async fn admin(&self, path: &str) -> Message {
        request(self.running.admin_address, "GET", path, &[], b"").await
    }

    pub async fn act(&self, path: &str) -> Message {
        request(self.running.admin_address, "POST", path, &[("x-vero-relay-write", "1")], b"").await
    }

    /// The deliveries of an event as the API shows them.
    pub async fn deliveries(&self, id: &str) -> Vec<Value> {
        let view = self.admin(&format!("/api/events/{id}")).await.json();
        view["deliveries"].as_array().cloned().unwrap_or_else(|| panic!("{view}"))
    }

    /// Waits until an event's first delivery is in a state, and gives it.
    pub async fn until(&self, id: &str, state: &str) -> Value {
        let mut last = Value::Null;
        eventually(&format!("{id} to be {state}"), async || {
            last = self.deliveries(id).await.first().cloned().unwrap_or_default();
            last["state"] == state
        })
        .await;
        last
    }

    pub async fn destination(&self, name: &str) -> Value {
        let all = self.admin("/api/destinations").await.json();
        let all = all["destinations"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|destination| destination["name"] == name).expect("the destination")
    }
}

/// The real binary, ended with SIGKILL when dropped.
pub struct Daemon(pub Child);

impl Daemon {
    /// `vero-relay run` on a config, with `change` made to the command.
    pub fn start(config: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(["run", "-c"]).arg(config).stdin(Stdio::null());
        change(&mut command);
        Self(command.spawn().expect("started"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- the fake destination -------------------------------------------------------------------------------------------------------

/// What a fake destination does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
}

impl Act {
    pub fn status(status: u16) -> Self {
        Act::Answer { status, headers: Vec::new(), body: "said".to_owned() }
    }

    pub fn ok() -> Self {
        Act::Answer { status: 200, headers: Vec::new(), body: "ok".to_owned() }
    }

    pub fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Act::Answer { status, headers, body: body.to_owned() }
    }
}

/// What a destination that judges what it gets would answer, unless the script says otherwise.
pub type Judge = Arc<dyn Fn(&Message) -> Option<Act> + Send + Sync>;

#[derive(Default)]
struct FakeState {
    script: VecDeque<Act>,
    seen: Vec<Message>,
}

/// A destination that does what its script says, then answers 200 `ok`, and remembers everything.
#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<Mutex<FakeState>>,
    judge: Judge,
}

impl Fake {
    pub async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_on("127.0.0.1:0", script).await
    }

    /// The same, at an address.
    pub async fn start_on(address: &str, script: impl IntoIterator<Item = Act>) -> Self {
        Self::judged(address, script, Arc::new(|_| None)).await
    }

    /// The same, with what looks at each request, whatever the script then says.
    pub async fn judged(address: &str, script: impl IntoIterator<Item = Act>, judge: Judge) -> Self {
        let listener = TcpListener::bind(address).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(FakeState { script: script.into_iter().collect(), seen: Vec::new() }));
        let fake = Self { address, state, judge };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        fake
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(message) = read_message(&mut stream, &mut buffer).await {
            let judged = (self.judge)(&message);
            let act = {
                let mut state = self.state.lock().expect("not poisoned");
                state.seen.push(message);
                state.script.pop_front().or(judged).unwrap_or_else(Act::ok)
            };
            match act {
                Act::Answer { status, headers, body } => {
                    let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                    headers.iter().for_each(|(name, value)| answer.push_str(&format!("{name}: {value}\r\n")));
                    answer.push_str("\r\n");
                    answer.push_str(&body);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Act::Hang => std::future::pending().await,
                Act::Close => return,
                Act::Raw(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
            }
        }
    }

    /// Adds to the script.
    pub fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.state.lock().expect("not poisoned").script.extend(acts);
    }

    /// Throws the rest of the script away. How many requests had come by then.
    pub fn recovers(&self) -> usize {
        let mut state = self.state.lock().expect("not poisoned");
        state.script.clear();
        state.seen.len()
    }

    /// Everything that has come.
    pub fn seen(&self) -> Vec<Message> {
        self.state.lock().expect("not poisoned").seen.clone()
    }

    /// Waits for so many requests.
    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        eventually(&format!("{count} requests"), async || self.seen().len() >= count).await;
        self.seen()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A config with one http destination `crm` that takes everything.
pub fn to_crm(fake: &Fake, more: &str) -> String {
    format!(
        "rules: [ {{ name: all, to: crm }} ]\ndestinations:\n  crm:\n    http: {{ url: \"{}/hook\" }}\n    {QUICK}\n{more}",
        fake.url()
    )
}

/// A small event.
pub const SENT: &str = r#"{"type":"sent","user":{"id":1,"email":"a@example.com"}}"#;

/// Ports that are given here: below those that the system gives to whoever asks for any, or connects, so that none of these has one of them meanwhile;
/// and below those of servers of PostgreSQL.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// An address that nobody listens on.
pub fn closed_port() -> SocketAddr {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    // Two runs at once begin at two places.
    let own = (std::process::id() % 97) as u16 * 100;
    let free = (0..PORTS.len()).find_map(|_| {
        let at = own.wrapping_add(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + at % (PORTS.end - PORTS.start)));
        std::net::TcpListener::bind(address).ok().map(|_| address)
    });
    free.expect("a port that is free")
}

/// Has this thread's log go to a subscriber, until the guard is dropped.
///
/// Where there is one subscriber alone, tracing asks only the thread that comes to a line of the log first whether anybody wants it, and
/// remembers that for all: another test that comes first would make this one deaf. So there is always a second.
pub fn log_to(subscriber: impl Into<tracing::Dispatch>) -> tracing::subscriber::DefaultGuard {
    static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        all.with_writer(std::io::sink).finish().into()
    });
    LazyLock::force(&SECOND);
    tracing::dispatcher::set_default(&subscriber.into())
}
