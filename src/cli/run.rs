//! `run`: the daemon.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, Failure, IN_USE, load};
use crate::relay::{Running, StartError, start};

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(named: Option<&Path>, _: Args) -> Result<(), Failure> {
    crate::telemetry::start_logging();
    let (path, config) = load(named)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(FAILED, &error))?;
    let ended = runtime.block_on(async {
        let running = start(config).await.map_err(|error| match error {
            StartError::Locked(crate::store::lock::LockError::Held { .. }) => Failure::of(IN_USE, &error),
            error => Failure::of(FAILED, &error),
        })?;
        tracing::info!(config = %path.display(), listen = %running.address, admin = %running.admin_address, "vero-relay is ready");
        wait(running).await
    });
    // Whatever still blocks a thread (a file system that hangs) must not keep the process: all that counts is synced.
    runtime.shutdown_background();
    ended
}

/// Takes as many file descriptors as the system allows: each connection needs one, and the usual soft limit of 1024 is far below
/// the connections that may come.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Waits for a reason to end, and ends.
async fn wait(running: Running) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::of(FAILED, &error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Aside, so that whatever it waits for, a signal to end is heard. What comes of it is told in the log.
            _ = hang_up.recv() => {
                let relay = running.relay.clone();
                tokio::spawn(async move { relay.reload().await });
            }
            why = running.failed() => {
                return Err(Failure::new(FAILED, format!("the store has failed and only a restart can tell what is on the disk: {why}")));
            }
        }
    }
    tracing::info!("stopping: attempts under way are finished first; a second signal ends at once");
    tokio::select! {
        stopped = running.stop() => {
            if let Some(why) = stopped.failure {
                return Err(Failure::new(FAILED, format!("the store failed while it was closed: {why}")));
            }
            if !stopped.in_time {
                tracing::warn!("some attempts did not end within the grace; they will be made again");
            }
            tracing::info!("stopped");
            Ok(())
        }
        _ = terminate.recv() => Err(Failure::new(FAILED, "ended at once by a second signal")),
        _ = interrupt.recv() => Err(Failure::new(FAILED, "ended at once by a second signal")),
    }
}
