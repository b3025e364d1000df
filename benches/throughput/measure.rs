//! What the kernel knows of a process, and a relay under test.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The kernel tells the time that a process has run in ticks of this length. User and system time are each cut from
/// what the scheduler has counted, so a difference is out by two ticks at most, however long it is.
pub const TICK_SECONDS: f64 = 0.01;

/// The value below which so many of all lie, in milliseconds; from sorted microseconds.
pub fn quantile(sorted_us: &[u32], q: f64) -> f64 {
    let last = sorted_us.len().saturating_sub(1);
    sorted_us.get((last as f64 * q) as usize).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

/// Tells the program that started this one where it listens.
pub fn announce(addresses: &[SocketAddr]) {
    let text: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    println!("{}", text.join(" "));
}

/// A process of ours, ended when dropped.
pub struct Process(Child);

impl Process {
    /// Starts this program in another role and waits for the addresses that it announces.
    pub fn role(arguments: &[String]) -> (Self, Vec<SocketAddr>) {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it announces its addresses");
        let addresses = line.split_whitespace().map(|address| address.parse().expect("an address")).collect();
        (Self(child), addresses)
    }

    fn read(&self, what: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{what}", self.0.id())).expect("the process runs, on Linux")
    }

    /// User and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
        (ticks(11) + ticks(12)) as f64 * TICK_SECONDS
    }

    /// Resident memory at most, since it began.
    pub fn resident_mib(&self) -> f64 {
        number_after(&self.read("status"), "VmHWM:") / 1024.0
    }

    /// Bytes that it made the kernel write to a disk.
    pub fn written_bytes(&self) -> f64 {
        number_after(&self.read("io"), "write_bytes:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number in the line of a `/proc` file that begins with a key.
pub fn number_after(text: &str, key: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(key)).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number follows")
}

/// The binary, started on a config of its own.
pub struct Relay {
    pub process: Process,
    pub hooks: SocketAddr,
    pub admin: SocketAddr,
}

/// What a relay is told to do.
pub struct Setup {
    /// Its `destinations:`, and the rules that name them, as YAML.
    pub destinations: String,
    pub rules: String,
    /// Rules in all; those that are missing are made up, and match nothing that is sent.
    pub rule_count: usize,
    /// A certificate and its key, where it encrypts.
    pub tls: Option<[&'static str; 2]>,
}

impl Relay {
    /// Writes a config into a directory and starts the binary on it.
    pub fn start(directory: &Path, setup: &Setup) -> Self {
        Self::start_by(binary(directory), directory, setup, |_| {})
    }

    /// Writes a config into a directory and starts a relay on it by some command; `take` may keep the ends of its pipes.
    pub fn start_by(command: Command, directory: &Path, setup: &Setup, take: impl FnOnce(&mut Child)) -> Self {
        let [hooks, admin] = [free_port(), free_port()];
        let mut config = format!(
            "listen: {hooks}\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\n\
             sources: {{ vero: {{ token: bench }} }}\ndestinations:\n{}rules:\n",
            setup.destinations
        );
        if let Some(files) = setup.tls {
            config.insert_str(0, "tls: { cert: cert.pem, key: key.pem }\n");
            for (name, text) in ["cert.pem", "key.pem"].iter().zip(files) {
                std::fs::write(directory.join(name), text).expect("a writable directory");
            }
        }
        let own = setup.rules.lines().count();
        (0..setup.rule_count.saturating_sub(own)).for_each(|i| push_other_rule(&mut config, i));
        config.push_str(&setup.rules);
        std::fs::write(directory.join("config.yaml"), config).expect("a writable directory");
        Self::run(command, hooks, admin, take)
    }

    /// Starts the binary again on the config and the data that stand in a directory, once the process before it has
    /// ended.
    pub fn restart(self, directory: &Path) -> Self {
        let Self { process, hooks, admin } = self;
        drop(process);
        Self::run(binary(directory), hooks, admin, |_| {})
    }

    fn run(mut command: Command, hooks: SocketAddr, admin: SocketAddr, take: impl FnOnce(&mut Child)) -> Self {
        let mut child = command.env("VERO_RELAY_LOG", "error").spawn().expect("it starts");
        take(&mut child);
        let process = Process(child);
        wait_for("the relay to be ready", || get(admin, "/readyz").is_some());
        Self { process, hooks, admin }
    }

    /// The sum of a metric over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = get(self.admin, "/metrics").expect("the relay runs");
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Syncs of the journal so far.
    pub fn syncs(&self) -> f64 {
        self.metric("vero_relay_journal_fsync_duration_seconds_count")
    }

    /// Deliveries that are not settled.
    pub fn backlog(&self) -> f64 {
        self.metric("vero_relay_backlog{")
    }

    /// Waits until every delivery is settled.
    pub fn wait_drained(&self) {
        self.wait_until("the backlog to drain", |relay| relay.backlog() == 0.0);
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        wait_for(what, || is_so(self));
    }

    /// Gives the relay a command that needs no body.
    pub fn post(&self, path: &str) {
        let answer = ask(self.admin, &format!("POST {path} HTTP/1.1\r\nx-vero-relay-write: 1\r\ncontent-length: 0"));
        assert!(answer.is_some(), "the relay takes it");
    }

    /// Makes what waits for a destination due now.
    pub fn retry(&self, destination: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(["retry", destination, "--admin", &format!("http://{}", self.admin)]).stdout(Stdio::null());
        assert!(command.status().expect("it starts").success(), "the relay takes it");
    }
}

fn binary(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.arg("run").arg("-c").arg(directory.join("config.yaml"));
    command
}

/// A rule as people write them, that matches nothing that is sent here: mostly a type and a campaign, some patterns.
fn push_other_rule(config: &mut String, i: usize) {
    let types = ["sent", "delivered", "opened", "clicked", "bounced", "unsubscribed", "complained", "converted"];
    let event_type = types[i % types.len()];
    let conditions = match i % 10 {
        0..=4 => format!("type: {event_type}, campaign.name: Campaign {i}"),
        5 => format!("type: [bounced, failed], campaign.id: {i}"),
        6 => format!("campaign.trigger-event: Event {i}, campaign.type: {{ not: transactional }}"),
        7 => format!("campaign.name: {{ glob: \"Sale {i} *\" }}"),
        8 => format!("type: {event_type}, user.email: {{ ends_with: \"@customer{i}.example.com\" }}"),
        _ => format!("type: {event_type}, campaign.subject: {{ regex: \"^Order [0-9]+ of {i}$\" }}"),
    };
    writeln!(config, "  - {{ match: {{ {conditions} }}, to: d0 }}").expect("a String takes everything");
}

/// A port that nobody listens on.
pub fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    listener.and_then(|listener| listener.local_addr()).expect("a free port")
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    ask(address, &format!("GET {path} HTTP/1.1"))
}

/// The answer to a request without a body, if it is a 200; `head` is its first lines.
fn ask(address: SocketAddr, head: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// Asking costs the relay some 0.2 ms, so ten times a second is not seen in its figures.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A million deliveries take a minute or two.
const WAIT_AT_MOST: Duration = Duration::from_secs(600);

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_AT_MOST, "waited ten minutes for {what}");
        std::thread::sleep(ASK_EVERY);
    }
}
