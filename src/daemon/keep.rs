//! Tasks that must not end before they are stopped. One that panics is told, counted and started again, after a wait that grows, so
//! that one that panics at once does not spin.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::time::Instant;

/// The wait before a task is started again, the first time: what was an accident goes on nearly at once.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// And each further one is so many times longer …
const WAIT_FACTOR: u32 = 4;
/// … up to this: an operator who has removed the cause does not wait long.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A task that has worked for so long begins with the shortest wait again.
const SOUND_AFTER: Duration = Duration::from_secs(10 * 60);

/// What is kept going.
#[derive(Clone)]
pub(super) struct Kept {
    /// What it is called in the metrics: one of a few.
    pub task: &'static str,
    /// What it works for, for the log.
    pub of: String,
    /// Where restarts are counted.
    pub metrics: Metrics,
    /// It may end once this is cancelled.
    pub stop: CancellationToken,
}

/// Keeps a task going until it is stopped and has ended.
pub(super) async fn keep<F: Future<Output = ()>>(kept: Kept, mut begin: impl FnMut() -> F) {
    let Kept { task, of, metrics, stop } = kept;
    let mut wait = WAIT_MIN;
    loop {
        let began = Instant::now();
        // Where it panics is told by the panic itself.
        let ended = AssertUnwindSafe(async { begin().await }).catch_unwind().await;
        if stop.is_cancelled() {
            return;
        }
        if began.elapsed() >= SOUND_AFTER {
            wait = WAIT_MIN;
        }
        metrics.task_restarted(task);
        let why = if ended.is_err() { "panicked" } else { "ended" };
        let wait_ms = wait.as_millis() as u64;
        tracing::error!(task, of, wait_ms, "a task {why}, which is a bug: it is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * WAIT_FACTOR).min(WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn kept(stop: &CancellationToken) -> Kept {
        Kept { task: "worker", of: "crm".to_owned(), metrics: Metrics::default(), stop: stop.clone() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_after_a_wait_that_grows() {
        let stop = CancellationToken::new();
        let begun = Mutex::new(Vec::new());
        let start = Instant::now();
        let kept = kept(&stop);
        keep(kept.clone(), || {
            let mut begun = begun.lock().expect("nobody panicked with it");
            begun.push(start.elapsed().as_millis());
            let count = begun.len();
            drop(begun);
            // At once, and while its future is made; then in its future; then by ending.
            assert!(count > 1, "a panic while it is made");
            let stop = stop.clone();
            async move {
                assert!(count > 2, "a panic while it works");
                if count == 9 {
                    stop.cancel();
                }
                if count == 7 {
                    tokio::time::sleep(SOUND_AFTER).await;
                }
            }
        })
        .await;
        let begun = begun.into_inner().expect("nobody panicked with it");
        let waits: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits, [100, 400, 1600, 6400, 25_600, 60_000, 600_100, 400]);
        assert!(kept.metrics.encode().contains("vero_relay_task_restarts_total{task=\"worker\"} 8"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_stopped_while_it_waits_to_start_again_ends() {
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let begun = std::cell::Cell::new(0);
        let keeping = keep(kept(&stop), || {
            begun.set(begun.get() + 1);
            let stopping = stopping.clone();
            async move {
                tokio::spawn(async move { stopping.cancel() });
            }
        });
        keeping.await;
        assert_eq!(begun.get(), 1);
    }
}
