//! One server of PostgreSQL: started, asked, hurt, and gone with its test.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::run::{living_in, run};
use crate::harness::eventually;

/// How a server can be reached, and whether it waits for its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// By a Unix socket, with `fsync=off`: for what is not about faults.
    #[default]
    Socket,
    /// By a port on 127.0.0.1, and by the socket too, with everything on as in earnest.
    Loopback,
}

/// How a server is.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    pub place: Place,
    pub settings: &'a [(&'a str, &'a str)],
    /// Who may connect, in the words of `pg_hba.conf`. Empty: everybody.
    pub hba: &'a str,
    /// Files in its directory, that nobody else may read.
    pub files: &'a [(&'a str, &'a [u8])],
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are closed, and everything is written.
    Fast,
    /// It ends where it is, and its log is read at the next start.
    Immediate,
}

/// What each server has, before its own settings.
const SETTINGS: [(&str, &str); 5] = [
    ("shared_buffers", "32MB"),
    // In its directory, so that nothing is left of a server that is killed.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_line_prefix", "%m [%p] %a "),
    ("log_min_messages", "warning"),
    ("max_connections", "60"),
];

/// The ports of servers: below those that the system gives to others meanwhile, so that a server has its own again when it is restarted.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

pub struct Server {
    pub directory: PathBuf,
    pub port: u16,
    process: Mutex<Option<Child>>,
}

impl Server {
    /// Starts one on a cluster of its own.
    pub async fn start(setup: Setup<'_>) -> Self {
        let directory = run().next_directory();
        run().copy_template(&directory);
        Self::start_on(directory, setup).await
    }

    pub(super) async fn start_on(directory: PathBuf, setup: Setup<'_>) -> Self {
        let port = if setup.place == Place::Loopback { free_port() } else { 5432 };
        let server = Self { directory, port, process: Mutex::new(None) };
        let socket = server.directory.to_str().expect("a plain path");
        let own = match setup.place {
            Place::Socket => [("listen_addresses", ""), ("fsync", "off"), ("full_page_writes", "off")],
            Place::Loopback => [("listen_addresses", "127.0.0.1"), ("fsync", "on"), ("full_page_writes", "on")],
        };
        let port = port.to_string();
        let place = [("unix_socket_directories", socket), ("port", &port)];
        let settings = place.into_iter().chain(own).chain(SETTINGS).chain(setup.settings.iter().copied());
        let settings: String = settings.map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        server.write("postgresql.conf", settings.as_bytes(), true);
        if !setup.hba.is_empty() {
            server.write("pg_hba.conf", setup.hba.as_bytes(), false);
        }
        setup.files.iter().for_each(|(name, bytes)| server.write(name, bytes, false));
        server.go_on().await;
        server
    }

    /// Writes a file that belongs to the server.
    fn write(&self, name: &str, bytes: &[u8], appends: bool) {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        options.create(true).write(true).mode(0o600).append(appends).truncate(!appends);
        options.open(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
        if let Some((user, group)) = run().account {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).expect("given to the server");
        }
    }

    /// Starts it again, once it has stopped or was killed.
    pub async fn go_on(&self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut command = run().command("postgres");
        // In its own directory, as it would go by itself: what belongs to it is known by that from the beginning.
        command.arg("-D").arg(&self.directory).current_dir(&self.directory);
        let also = log.try_clone().expect("a second handle");
        let child = command.stdout(log).stderr(also).spawn().expect("PostgreSQL can be started");
        let id = child.id().to_string();
        *self.process() = Some(child);
        eventually("PostgreSQL to be ready", async || {
            let has_ended =
                self.process().as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some()));
            assert!(!has_ended, "PostgreSQL did not start:\n{}", self.log());
            let said = std::fs::read_to_string(self.directory.join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<&str> = said.lines().map(str::trim).collect();
            lines.first() == Some(&id.as_str()) && matches!(lines.get(7), Some(&("ready" | "standby")))
        })
        .await;
    }

    /// Stops it, and waits until none of its processes is left.
    pub async fn stop(&self, how: Stop) {
        self.signal(if how == Stop::Fast { Signal::INT } else { Signal::QUIT });
        self.until_gone().await;
    }

    /// Kills it, and waits until its children have noticed.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.until_gone().await;
    }

    pub async fn restart(&self, how: Stop) {
        self.stop(how).await;
        self.go_on().await;
    }

    fn signal(&self, signal: Signal) {
        let process = self.process();
        let child = process.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is ours");
    }

    async fn until_gone(&self) {
        let mut child = self.process().take().expect("it runs");
        eventually("PostgreSQL to end", async || {
            child.try_wait().expect("it is ours").is_some() && living_in(&self.directory).is_empty()
        })
        .await;
    }

    /// Has all its processes stand still: what is sent to it is taken by the system, and never answered.
    pub fn suspend(&self) {
        self.processes().into_iter().for_each(|id| send(id, Signal::STOP));
    }

    /// Has them go on.
    pub fn resume(&self) {
        self.processes().into_iter().for_each(|id| send(id, Signal::CONT));
    }

    pub fn processes(&self) -> Vec<i32> {
        living_in(&self.directory)
    }

    /// How it is reached by the superuser: any server by its socket, and what that is only for by its port.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// The same by another user, with a password where there is a `:`.
    pub fn url_as(&self, user: &str) -> String {
        if self.port == 5432 {
            format!("postgresql://{user}@/postgres?host={}", self.directory.display())
        } else {
            format!("postgresql://{user}@127.0.0.1:{}/postgres", self.port)
        }
    }

    /// The same with a schema, which is made if it is not there yet.
    pub fn address(&self, schema: &str) -> String {
        self.script(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        self.url()
    }

    /// Runs a text of several statements, for a test that is not asynchronous.
    pub fn script(&self, sql: &str) {
        on_a_thread(|| self.query(sql));
    }

    /// Asks it, by a connection of its own through its socket, and gives the last rows as texts; a null is empty.
    pub async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self.try_query(sql).await {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error:?}\n{}", self.log()),
        }
    }

    pub async fn try_query(&self, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.directory).port(self.port).user("postgres").application_name("the test");
        let (client, connection) = config.connect(NoTls).await?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query(sql).await;
        drop(client);
        let _ = driver.await;
        let texts = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect()
        };
        Ok(answer?
            .iter()
            .filter_map(|said| if let SimpleQueryMessage::Row(row) = said { Some(texts(row)) } else { None })
            .collect())
    }

    /// The one value that a question has.
    pub async fn value(&self, sql: &str) -> String {
        self.query(sql).await.pop().and_then(|mut row| row.pop()).unwrap_or_else(|| panic!("{sql}: no row"))
    }

    /// Changes a setting while it runs, and waits until it counts.
    pub async fn change(&self, name: &str, value: &str) {
        self.query(&format!("ALTER SYSTEM SET {name} = '{value}'")).await;
        self.query("SELECT pg_reload_conf()").await;
        eventually("the setting to count", async || {
            self.value(&format!("SELECT setting FROM pg_settings WHERE name = '{name}'")).await == value
        })
        .await;
    }

    /// What all its processes have used of the processor, those that have ended too, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let main = self.process().as_ref().map(|child| child.id() as i32);
        let ticks = |id: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let fields: Vec<u64> =
                fields.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
            // Its own, and those of its children that have ended.
            fields.iter().take(if main == Some(id) { 4 } else { 2 }).sum::<u64>()
        };
        self.processes().into_iter().map(ticks).sum::<u64>() as f64 / TICKS_PER_SECOND
    }

    /// What marks a directory as in use outlives a server that was killed, until it is started again. Its number is the last thing in the
    /// seventh line of what the server wrote of itself.
    fn free_shared_memory(&self) {
        let said = std::fs::read_to_string(self.directory.join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = said.lines().nth(6).and_then(|line| line.split_whitespace().last()) {
            let _ = run().command("ipcrm").args(["-m", id]).output();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for something on a thread of its own: for who cannot, or must not, on the one that it has.
pub fn on_a_thread<F: Future<Output: Send>>(work: impl FnOnce() -> F + Send) -> F::Output {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let run = || runtime().block_on(work());
    let done = std::thread::scope(|scope| scope.spawn(run).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What /proc counts by, on every Linux (proc_pid_stat(5), sysconf(3)).
const TICKS_PER_SECOND: f64 = 100.0;
/// How much of a log a failing test shows.
const LOG_LINES: usize = 40;
/// How long one that goes with its test may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(5);

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of PostgreSQL at {}:\n{}", self.directory.display(), self.log());
        }
        let Some(mut child) = self.process().take() else {
            self.free_shared_memory();
            return remove(&self.directory);
        };
        self.resume();
        let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
        let start = std::time::Instant::now();
        while child.try_wait().is_ok_and(|ended| ended.is_none()) && start.elapsed() < END_WITHIN {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    let _ = std::fs::remove_dir_all(directory);
}

fn send(id: i32, signal: Signal) {
    if let Some(id) = Pid::from_raw(id) {
        // It may have ended meanwhile.
        let _ = kill_process(id, signal);
    }
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at two places.
    let own = (std::process::id() % 97) as u16 * 100;
    let free = (0..PORTS.len()).find_map(|_| {
        let at = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    free.expect("a port that is free")
}
