//! The real binary on a directory that outlives it: started, watched, ended in every way, started again.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::*;

/// A relay that can be started again and again on one data directory.
pub struct Rig {
    pub data_dir: PathBuf,
    config: PathBuf,
    logs: PathBuf,
    starts: usize,
    /// Set in the environment of each process.
    pub variables: Vec<(&'static str, &'static str)>,
}

/// A process that runs, and where it listens.
pub struct Up {
    child: Child,
    log: PathBuf,
    pub hooks: SocketAddr,
    pub admin: SocketAddr,
}

/// A process that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything it said.
    pub log: String,
}

impl Rig {
    /// Writes the config: the usual head and `rest`. `directory` holds it and the logs; the data may lie elsewhere.
    pub fn new(directory: &Path, data_dir: &Path, rest: &str) -> Self {
        let config = directory.join("config.yaml");
        let head = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: \"127.0.0.1:0\" }}\ndata_dir: \"{}\"\nsources: {{ vero: {{ token: secret }} }}\n",
            data_dir.display()
        );
        std::fs::write(&config, format!("{head}{rest}")).expect("the config is written");
        Self { data_dir: data_dir.to_owned(), config, logs: directory.to_owned(), starts: 0, variables: Vec::new() }
    }

    /// Starts it and waits until it takes events.
    pub async fn start(&mut self) -> Up {
        self.start_under(&[]).await.unwrap_or_else(|ended| panic!("the relay did not start: {ended:?}"))
    }

    /// Starts it under another program (`strace …`), and waits until it takes events or has ended.
    pub async fn start_under(&mut self, wrapper: &[&str]) -> Result<Up, Ended> {
        let mut up = self.spawn(wrapper);
        let start = Instant::now();
        loop {
            if let Some((hooks, admin)) = addresses_in(&up.said()) {
                (up.hooks, up.admin) = (hooks, admin);
                return Ok(up);
            }
            if let Some(status) = up.child.try_wait().expect("it is our child") {
                return Err(Ended { code: status.code(), log: up.said() });
            }
            assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for the relay to be ready: {}", up.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts it and waits for nothing. Its addresses are not known.
    pub fn spawn(&mut self, wrapper: &[&str]) -> Up {
        self.starts += 1;
        let log = self.logs.join(format!("log-{}", self.starts));
        let words: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_vero-relay"), "run", "-c"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(self.variables.iter().copied());
        command.env("VERO_RELAY_LOG", "info").stderr(File::create(&log).expect("a log"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Up { child: command.spawn().expect("it can be started"), log, hooks: nowhere, admin: nowhere }
    }

    /// Another verb of the binary on the same config: its exit code and all that it said.
    pub fn verb(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        let output = command.args(words).arg("-c").arg(&self.config).stdin(Stdio::null()).output().expect("it runs");
        let log = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        Ended { code: output.status.code(), log }
    }

    /// Changes the config; takes effect at the next start.
    pub fn change(&self, from: &str, to: &str) {
        let config = std::fs::read_to_string(&self.config).expect("the config is there");
        assert!(config.contains(from), "{from} is in the config");
        std::fs::write(&self.config, config.replace(from, to)).expect("the config is written");
    }

    /// Adds to the config; takes effect at the next start.
    pub fn configure(&self, more: &str) {
        let mut config = OpenOptions::new().append(true).open(&self.config).expect("the config is there");
        std::io::Write::write_all(&mut config, more.as_bytes()).expect("the config is written");
    }
}

/// The addresses in the line that says it is ready.
fn addresses_in(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().find(|line| line.contains("vero-relay is ready"))?;
    let after = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok());
    Some((after("listen=")?, after("admin=")?))
}

impl Up {
    /// Everything it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many file descriptors it has open whose numbers are below a limit. (Those above it were handed down to it.)
    pub fn descriptors(&self, below: usize) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<usize>().ok());
        numbers.filter(|number| *number < below).count()
    }

    /// Its memory: a line of `/proc/PID/status` in MiB, like `VmHWM` (the most that was ever resident) or `VmRSS`.
    pub fn memory_mib(&self, line: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let found = status.lines().find_map(|known| known.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("a number of kB") / 1024.0
    }

    /// The CPU time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // proc(5): behind the name in brackets, utime and stime are the 12th and the 13th, in ticks of which a second has 100 everywhere.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = |at| fields.split_whitespace().nth(at).and_then(|field| field.parse::<u64>().ok());
        Duration::from_millis(10 * (ticks(11).expect("utime") + ticks(12).expect("stime")))
    }

    /// SIGKILL, and waits for the end. Returns when the signal was sent.
    pub fn kill(mut self) -> Instant {
        let at = Instant::now();
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        at
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for it to end by itself.
    pub async fn ended(mut self) -> Ended {
        let mut status = None;
        eventually("the relay to end", async || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        Ended { code: status.and_then(|status| status.code()), log: self.said() }
    }

    /// SIGTERM, and waits for exit code 0.
    pub async fn stop(self) {
        self.signal(Signal::TERM);
        let ended = self.ended().await;
        assert_eq!(ended.code, Some(0), "a SIGTERM ends it well: {}", ended.log);
    }

    pub async fn admin(&self, path: &str) -> Message {
        request(self.admin, "GET", path, &[], b"").await
    }

    pub async fn act(&self, path: &str) -> Message {
        request(self.admin, "POST", path, &[("x-vero-relay-write", "1")], b"").await
    }

    /// The status of `/readyz` at the listener for webhooks.
    pub async fn readyz(&self) -> u16 {
        request(self.hooks, "GET", "/readyz", &[], b"").await.status()
    }

    /// The value of a metric, by its name and labels as `/metrics` shows them: `vero_relay_store_ready`.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.admin("/metrics").await.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub async fn destinations(&self) -> Vec<Value> {
        let all = self.admin("/api/destinations").await.json();
        all["destinations"].as_array().cloned().expect("a list of destinations")
    }

    /// Waits until nothing waits for any destination.
    pub async fn drained(&self) {
        self.drained_but(&[]).await;
    }

    /// Waits until nothing waits after a destination was down: what is in flight when it comes back may still be refused, and then
    /// waits for long.
    pub async fn drained_with(&self, back: &str) {
        eventually("the backlog to drain", async || {
            self.act(&format!("/api/destinations/{back}/retry")).await;
            self.is_drained_but(&[]).await
        })
        .await;
    }

    /// Waits until nothing waits, but for some destinations.
    pub async fn drained_but(&self, not: &[&str]) {
        eventually("the backlog to drain", async || self.is_drained_but(not).await).await;
    }

    async fn is_drained_but(&self, not: &[&str]) -> bool {
        let has_none =
            |destination: &Value| not.iter().any(|name| destination["name"] == *name) || destination["backlog"] == 0;
        self.destinations().await.iter().all(has_none)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
