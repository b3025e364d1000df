//! `make bench`: the real binary against a bare loop that only forwards bytes, in one run on one machine.
//!
//! Sender, receivers and relay share the machine, so absolute rates say little: read the CPU seconds of the relay's own process and
//! the ratios. The bare loop has no disk, no rules and no HTTP library; it is what moving the bytes costs here.
//!
//! `cargo bench --bench throughput -- [--events N] [--dead N]`

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Of a hundred events, so many go to a second destination.
const SECOND_IN_100: u64 = 38;
const IN_FLIGHT: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let role = args.iter().position(|arg| arg == "--role").and_then(|at| args.get(at + 1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match role.map(String::as_str) {
        Some("receiver") => runtime.block_on(receiver(&args)),
        Some("bare") => runtime.block_on(bare(&args)),
        _ => runtime.block_on(orchestrate(&args)),
    }
}

fn number(args: &[String], name: &str, usual: u64) -> u64 {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(usual)
}

// ---- HTTP, as little of it as will do -------------------------------------------------------------------------------------------

/// Reads one message: its head and a body of its Content-Length. `None` when the other side is done.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(end) = message_end(buffer) {
            return Some(buffer.drain(..end).collect());
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

fn message_end(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then_some(end)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

// ---- roles ----------------------------------------------------------------------------------------------------------------------

fn announce(addresses: &[SocketAddr]) {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    println!("{}", addresses.join(" "));
    std::io::stdout().flush().expect("announced");
}

/// Takes everything on two ports and says ok.
async fn receiver(args: &[String]) {
    let at = args.iter().position(|arg| arg == "--at").and_then(|at| args.get(at + 1)).map_or("127.0.0.1:0", |at| at);
    let listeners = [TcpListener::bind(at).await, TcpListener::bind("127.0.0.1:0").await].map(|l| l.expect("bound"));
    announce(&listeners.each_ref().map(|listener| listener.local_addr().expect("an address")));
    let serve = |listener: TcpListener| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while read_message(&mut stream, &mut buffer).await.is_some() {
                    if stream.write_all(OK).await.is_err() {
                        return;
                    }
                }
            });
        }
    };
    let [one, two] = listeners;
    tokio::join!(serve(one), serve(two));
}

/// Forwards each request to one receiver, and some to a second, and answers.
async fn bare(args: &[String]) {
    let to = args.iter().position(|arg| arg == "--to").expect("--to ONE TWO");
    let (one, two): (SocketAddr, SocketAddr) =
        (args[to + 1].parse().expect("an address"), args[to + 2].parse().expect("an address"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    announce(&[listener.local_addr().expect("an address")]);
    let count = Arc::new(AtomicU64::new(0));
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let count = count.clone();
        tokio::spawn(async move {
            let (mut one, mut two) =
                (TcpStream::connect(one).await.expect("up"), TcpStream::connect(two).await.expect("up"));
            let (mut buffer, mut answers) = (Vec::new(), Vec::new());
            while let Some(message) = read_message(&mut stream, &mut buffer).await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                one.write_all(&message).await.expect("sent");
                read_message(&mut one, &mut answers).await.expect("answered");
                if number % 100 < SECOND_IN_100 {
                    two.write_all(&message).await.expect("sent");
                    read_message(&mut two, &mut answers).await.expect("answered");
                }
                stream.write_all(OK).await.expect("answered");
            }
        });
    }
}

// ---- the sender -----------------------------------------------------------------------------------------------------------------

struct Sent {
    seconds: f64,
    latencies: Vec<Duration>,
}

impl Sent {
    fn quantile(&self, q: f64) -> f64 {
        let at = ((self.latencies.len() - 1) as f64 * q) as usize;
        self.latencies[at].as_secs_f64() * 1000.0
    }
}

/// Posts `count` events over `connections`, each waiting for its answer; `rate` per second in all, or as fast as it goes.
async fn send(address: SocketAddr, path: &str, count: u64, connections: usize, rate: Option<u64>) -> Sent {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (next, path) = (next.clone(), path.to_owned());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("connected");
                stream.set_nodelay(true).expect("set");
                let (mut buffer, mut latencies) = (Vec::new(), Vec::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return latencies;
                    }
                    let due = rate.map(|rate| start + Duration::from_secs_f64(number as f64 / rate as f64));
                    if let Some(due) = due {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let begun = due.unwrap_or_else(Instant::now);
                    stream.write_all(&request(&path, number)).await.expect("sent");
                    let answer = read_message(&mut stream, &mut buffer).await.expect("answered");
                    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                    latencies.push(begun.elapsed());
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a sender"));
    }
    latencies.sort();
    Sent { seconds: start.elapsed().as_secs_f64(), latencies }
}

/// An event as Vero sends it, about 600 bytes. Every hundred, [`SECOND_IN_100`] are bounces.
fn request(path: &str, number: u64) -> Vec<u8> {
    let event_type = if number % 100 < SECOND_IN_100 { "bounced" } else { "delivered" };
    let body = format!(
        r#"{{"type":"{event_type}","user":{{"id":{number},"email":"customer{number}@example.com"}},"campaign":{{"id":1235666234572456,"type":"behavioural","name":"Cart Abandonment Followup","group":"Cart emails","channel":"email","subject":"You have items in your shopping bag","trigger-event":"Abandoned cart","permalink":"http://app.getvero.com/view/1/9c8c3ac6ac65736926a6da5aefbf852d","sent_to":"customer{number}@example.com","variation":"Variation A"}},"{event_type}_at":1435016238,"message_id":"20260112093015.12345.7.A1B2C3@veromail.com","sender_ip":"127.0.0.1"}}"#
    );
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

// ---- the run --------------------------------------------------------------------------------------------------------------------

/// A process of ours, ended when dropped.
struct Process(Child);

impl Process {
    fn role(args: &[&str]) -> (Self, Vec<SocketAddr>) {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program).args(args).stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
            .expect("a line");
        let addresses = line.split_whitespace().map(|address| address.parse().expect("an address")).collect();
        (Self(child), addresses)
    }

    /// User and system time so far, in seconds, from the kernel's ticks of 10 ms.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
        ticks as f64 / 100.0
    }

    fn status(&self, key: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(key)).expect("the key");
        line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
    }

    fn written_bytes(&self) -> f64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.0.id())).expect("it runs");
        let line = io.lines().find(|line| line.starts_with("write_bytes")).expect("the key");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct RelayUnderTest {
    process: Process,
    hooks: SocketAddr,
    admin: SocketAddr,
}

const HOOK: &str = "/hooks/vero/bench";

fn start_relay(directory: &Path, one: SocketAddr, two: SocketAddr) -> RelayUnderTest {
    let [hooks, admin] = [free_port(), free_port()];
    let config = format!(
        "listen: {hooks}\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources: {{ vero: {{ token: bench }} }}\n\
         rules:\n  - {{ name: all, to: [one] }}\n  - {{ name: some, match: {{ type: [bounced, complained], campaign.type: behavioural }}, to: [two] }}\n\
         destinations:\n  one: {{ http: {{ url: \"http://{one}/\" }}, concurrency: 64 }}\n  two: {{ http: {{ url: \"http://{two}/\" }}, concurrency: 64 }}\n"
    );
    std::fs::write(directory.join("config.yaml"), config).expect("written");
    RelayUnderTest::run(directory, hooks, admin)
}

impl RelayUnderTest {
    /// Starts the binary on the config and the data that stand in a directory.
    fn run(directory: &Path, hooks: SocketAddr, admin: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.arg("run").arg("-c").arg(directory.join("config.yaml")).env("VERO_RELAY_LOG", "error");
        let process = Process(command.spawn().expect("started"));
        wait_for("the relay to be ready", || get(admin, "/readyz").is_some());
        Self { process, hooks, admin }
    }
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = StdStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "waited five minutes for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn metric_sum(admin: SocketAddr, name: &str) -> f64 {
    let metrics = get(admin, "/metrics").expect("metrics");
    metrics
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

async fn orchestrate(args: &[String]) {
    let events = number(args, "--events", 200_000);
    let dead = number(args, "--dead", 0);
    let (_receiver, to) = Process::role(&["--role", "receiver"]);
    let (one, two) = (to[0], to[1]);
    println!(
        "{events} events of about 600 B, {:.2} deliveries each, {IN_FLIGHT} requests in flight\n",
        1.0 + SECOND_IN_100 as f64 / 100.0
    );

    let (bare, bare_address) = Process::role(&["--role", "bare", "--to", &one.to_string(), &two.to_string()]);
    let before = bare.cpu_seconds();
    let sent = send(bare_address[0], HOOK, events, IN_FLIGHT, None).await;
    let bare_cpu = (bare.cpu_seconds() - before) / events as f64 * 1e6;
    row("bare loop, no disk, no rules", &sent, events, bare_cpu, bare_cpu);
    drop(bare);

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let relay = start_relay(directory.path(), one, two);
    send(relay.hooks, HOOK, events / 10, IN_FLIGHT, None).await;
    wait_drained(&relay);
    let (before, written, synced) = (
        relay.process.cpu_seconds(),
        relay.process.written_bytes(),
        metric_sum(relay.admin, "vero_relay_sync_seconds_count"),
    );
    let sent = send(relay.hooks, HOOK, events, IN_FLIGHT, None).await;
    let start = Instant::now();
    wait_drained(&relay);
    let cpu = (relay.process.cpu_seconds() - before) / events as f64 * 1e6;
    row("vero-relay, fsync before the 2xx", &sent, events, cpu, bare_cpu);
    let groups = metric_sum(relay.admin, "vero_relay_sync_seconds_count") - synced;
    println!(
        "    drained {:.2} s after the last answer; {:.1} events a sync; {:.2} bytes written a body byte; resident {:.1} MiB\n",
        start.elapsed().as_secs_f64(),
        events as f64 / groups,
        (relay.process.written_bytes() - written) / (events as f64 * 600.0),
        relay.process.status("VmRSS:"),
    );

    let few = (events / 40).max(500);
    let before = relay.process.cpu_seconds();
    let sent = send(relay.hooks, HOOK, few, 1, None).await;
    wait_drained(&relay);
    let one_cpu = (relay.process.cpu_seconds() - before) / few as f64 * 1e6;
    row("vero-relay, one request at a time", &sent, few, one_cpu, bare_cpu);

    let before = relay.process.cpu_seconds();
    let sent = send(relay.hooks, HOOK, 10_000, IN_FLIGHT, Some(1000)).await;
    wait_drained(&relay);
    let rate_cpu = (relay.process.cpu_seconds() - before) / 10_000.0 * 1e6;
    row("vero-relay, 1000 events/s", &sent, 10_000, rate_cpu, bare_cpu);
    drop(relay);

    if dead > 0 {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let down = free_port();
        let relay = start_relay(directory.path(), down, two);
        send(relay.hooks, HOOK, dead, IN_FLIGHT, None).await;
        let rss = relay.process.status("VmRSS:");
        let peak = relay.process.status("VmHWM:");
        println!("    {dead} waiting for a dead destination: resident {rss:.1} MiB, at most {peak:.1} MiB");
        let (hooks, admin) = (relay.hooks, relay.admin);
        drop(relay);
        let start = Instant::now();
        let relay = RelayUnderTest::run(directory.path(), hooks, admin);
        println!(
            "    restarted over them in {:.2} s, resident {:.1} MiB",
            start.elapsed().as_secs_f64(),
            relay.process.status("VmRSS:")
        );
        println!("    waiting after the restart: {}", metric_sum(relay.admin, "vero_relay_backlog{"));
        let down = down.to_string();
        let (_back, _) = Process::role(&["--role", "receiver", "--at", &down]);
        let (start, before) = (Instant::now(), relay.process.cpu_seconds());
        wait_drained(&relay);
        let took = start.elapsed().as_secs_f64();
        println!(
            "    drained {:.1} s after it came back, the wait for a probe included: {:.0}/s, CPU {:.1} µs each; resident {:.1} MiB, at most {:.1}",
            took,
            dead as f64 / took,
            (relay.process.cpu_seconds() - before) / dead as f64 * 1e6,
            relay.process.status("VmRSS:"),
            relay.process.status("VmHWM:")
        );
    }
}

fn wait_drained(relay: &RelayUnderTest) {
    wait_for("the backlog to drain", || metric_sum(relay.admin, "vero_relay_backlog{") == 0.0);
}

fn row(what: &str, sent: &Sent, events: u64, cpu: f64, bare_cpu: f64) {
    println!(
        "{what:<36} {:>8.0} events/s   CPU {cpu:>6.1} µs/event ({:.1} × bare)   ack p50 {:.2} ms  p99 {:.2} ms  p999 {:.2} ms",
        events as f64 / sent.seconds,
        cpu / bare_cpu,
        sent.quantile(0.5),
        sent.quantile(0.99),
        sent.quantile(0.999),
    );
}
