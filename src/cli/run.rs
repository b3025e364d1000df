//! `run`: the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::{BAD_CONFIG, FAILED, Failure, File, IN_USE, find_config};
use crate::config::{Config, ConfigError};
use crate::daemon::{Running, StartError, start};
use crate::systemd;
use crate::telemetry::log::{self, Log};
use crate::yaml::problem::Report;
use crate::yaml::values::Process;

/// At the end, lines that are queued are waited for. A log that nobody reads must not keep the process: it is killed ten seconds
/// after SIGTERM in containers, and eight of them are the grace.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(1);
/// File descriptors that the relay cannot do without: some 25 are open while nothing happens, and the rest is for the first connections
/// and attempts. With fewer it would start, and then take nothing in.
const DESCRIPTORS_MIN: u64 = 64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    take_memory_by_small_pages();
    raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(FAILED, &error))?;
    // First of all: a signal that comes while the config and the journal are read must not end the process in its own way.
    let signals = runtime.block_on(async { outlive_the_limit_of_a_file().and_then(|()| Signals::listen()) })?;
    let log = log::start();
    let ended = runtime.block_on(work(args.file.or(named).map(Path::to_owned), signals, &log));
    if let Err(failure) = &ended {
        log.print(Level::ERROR, &failure.message);
    }
    log.finish(LOG_FLUSH_MAX);
    // Whatever still blocks a thread (a file system that hangs) must not keep the process: all that counts is synced.
    runtime.shutdown_background();
    // It is told: the log is standard error.
    ended.map_err(|failure| Failure::new(failure.code, ""))
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::of(FAILED, &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Resolves when the process should end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts the relay and waits for its end.
async fn work(named: Option<PathBuf>, mut signals: Signals, log: &Log) -> Result<(), Failure> {
    let starting = start_up(named, log);
    let running = tokio::select! {
        running = starting => running?,
        // As after a power cut, the next start finds out what is there.
        () = signals.end() => {
            tracing::info!("stopped while it was starting");
            return Ok(());
        }
    };
    // A SIGHUP that has come meanwhile is the first thing this sees.
    wait(running, signals).await
}

async fn start_up(named: Option<PathBuf>, log: &Log) -> Result<Running, Failure> {
    let told = log.clone();
    let loading = tokio::task::spawn_blocking(move || load(named.as_deref(), &told));
    let loaded = loading.await.map_err(|_| Failure::new(BAD_CONFIG, "reading the config panicked, which is a bug"))?;
    let (path, config) = loaded?;
    let running = start(config).await.map_err(|error| match error {
        StartError::Locked(crate::store::lock::LockError::Held { .. }) => Failure::of(IN_USE, &error),
        error => Failure::of(FAILED, &error),
    })?;
    tracing::info!(config = %path.display(), listen = %running.address, admin = %running.admin_address, "vero-relay is ready");
    systemd::ready(&format!("accepts events at {}", running.address));
    tokio::spawn(systemd::keep_watchdog_calm(running.relay.watch_health()));
    Ok(running)
}

/// Finds and proves the config, and tells its problems.
fn load(named: Option<&Path>, log: &Log) -> Result<(PathBuf, Config), Failure> {
    let path = find_config(named).map_err(|error| Failure::of(BAD_CONFIG, &error))?;
    match Config::load(&path, &Process) {
        Ok((config, report)) => {
            tell(log, Level::WARN, &report);
            Ok((path, config))
        }
        Err(ConfigError::Problems(report)) => {
            tell(log, Level::ERROR, &report);
            // It is told.
            Err(Failure::new(BAD_CONFIG, ""))
        }
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

/// Tells the problems of a config: with their lines where people read, and a line each where machines do.
fn tell(log: &Log, level: Level, report: &Report) {
    if !log.is_json() {
        log.print(level, &report.render(log.is_coloured()));
        return;
    }
    report.lines().for_each(|line| log.print(level, &line));
    if report.hidden() > 0 {
        log.print(level, &format!("… and {} more", report.hidden()));
    }
}

/// Takes memory in pages of 4 KiB. The allocator asks for huge ones, and then each 2 MiB of which a part is touched is resident as a
/// whole: half as much again under load, and six times as much while nothing happens.
fn take_memory_by_small_pages() {
    // Where it is refused, more is resident, and nothing else is different.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Takes as many file descriptors as the system allows: each connection needs one, and the usual soft limit of 1024 is far below
/// the connections that may come.
fn raise_descriptor_limit() -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    // Where that is refused, the limit stays as it is, and is looked at.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < DESCRIPTORS_MIN => Err(Failure::new(
            FAILED,
            format!(
                "the limit of open files is {limit}, and at least {DESCRIPTORS_MIN} are needed: raise it \
                 (LimitNOFILE= of the systemd unit, ulimit -n of the shell)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Takes the signal that a write beyond `ulimit -f` sends, and does nothing with it: the write itself then fails like one on a full
/// disk, which the store knows how to live with.
fn outlive_the_limit_of_a_file() -> Result<(), Failure> {
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when this is dropped.
    signal(too_large).map(drop).map_err(|error| Failure::of(FAILED, &error))
}

/// Waits for a reason to end, and ends.
async fn wait(running: Running, mut signals: Signals) -> Result<(), Failure> {
    loop {
        tokio::select! {
            // Aside, so that whatever it waits for, a signal to end is heard. What comes of it is told in the log.
            _ = signals.hang_up.recv() => {
                tracing::info!("SIGHUP: the config is read again");
                let relay = running.relay.clone();
                tokio::spawn(async move { relay.reload().await });
                continue;
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            why = running.failed() => {
                return Err(Failure::new(FAILED, format!("the store has failed and only a restart can tell what is on the disk: {why}")));
            }
        }
    }
    systemd::stopping();
    tracing::info!("stopping: attempts in flight are finished first; a second signal ends at once");
    tokio::select! {
        stopped = running.stop() => {
            if let Some(why) = stopped.failure {
                return Err(Failure::new(FAILED, format!("the store failed while it was closed: {why}")));
            }
            if !stopped.attempts_ended {
                tracing::warn!("some attempts did not end within shutdown_grace; they will be made again");
            }
            if !stopped.all_answered {
                tracing::warn!("some connections were closed without an answer; who was sending there sends again");
            }
            tracing::info!("stopped");
            Ok(())
        }
        () = signals.end() => Err(Failure::new(FAILED, "ended at once by a second signal")),
    }
}
