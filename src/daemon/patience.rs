//! Work that may never come back, since it reads files: a network file system that is away answers nobody.
//!
//! It runs on a thread of its own, which is left behind when its time is over. A thread cannot be ended from outside, so only a few may be
//! left: then nothing more is begun until one of them has come back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

/// Threads that may wait at once. Each costs a stack that is hardly touched.
const THREADS_MAX: usize = 4;
/// A config lies deep in the stack while it is read; twice what a thread has by default.
const STACK_BYTES: usize = 4 << 20;

/// Threads that work, or were left behind.
#[derive(Debug, Default)]
pub struct Patience {
    threads: std::sync::Arc<AtomicUsize>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// It took too long and was left behind.
    Late,
    /// So many were left behind that nothing was begun.
    TooMany,
    /// The system gave no thread for it.
    NoThread,
    Panicked,
}

/// Counts a thread out when it ends, however it does.
struct Counted(std::sync::Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Patience {
    /// Does some work, and waits for it as long as the limit.
    pub async fn wait<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let counted = Counted(self.threads.clone());
        if self.threads.fetch_add(1, Ordering::Relaxed) >= THREADS_MAX {
            return Err(NotDone::TooMany);
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("config".to_owned()).stack_size(STACK_BYTES);
        let begun = thread.spawn(move || {
            let _counted = counted;
            // Who asked may have gone.
            let _ = tell.send(work());
        });
        if begun.is_err() {
            return Err(NotDone::NoThread);
        }
        match tokio::time::timeout(limit, told).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(NotDone::Panicked),
            Err(_) => Err(NotDone::Late),
        }
    }
}

/// What came of work on a thread that may block. A panic goes on in who waits for it.
pub(super) async fn joined<T>(work: JoinHandle<T>) -> T {
    match work.await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // It was never begun: the process is ending.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_left_behind_and_the_next_is_not_held_up() {
        let patience = Patience::default();
        let (end, ended) = mpsc::channel::<()>();
        assert_eq!(patience.wait(LIMIT, move || ended.recv()).await, Err(NotDone::Late));
        // Nothing waits for the paused clock here: the thread answers in real time.
        assert_eq!(patience.wait(Duration::MAX, || 7).await, Ok(7));
        drop(end);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_left_behind_and_no_more_until_one_is_back() {
        let patience = Patience::default();
        let mut ends = Vec::new();
        for _ in 0..THREADS_MAX {
            let (end, ended) = mpsc::channel::<()>();
            assert_eq!(patience.wait(LIMIT, move || ended.recv()).await, Err(NotDone::Late));
            ends.push(end);
        }
        assert_eq!(patience.wait(LIMIT, || 7).await, Err(NotDone::TooMany));
        ends.pop();
        while patience.threads.load(Ordering::Relaxed) >= THREADS_MAX {
            std::thread::yield_now();
        }
        assert_eq!(patience.wait(Duration::MAX, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_told_and_counted_out() {
        let patience = Patience::default();
        for _ in 0..2 * THREADS_MAX {
            let panicked = patience.wait(LIMIT, || -> u8 { panic!("a bug") }).await;
            assert_eq!(panicked, Err(NotDone::Panicked));
            while patience.threads.load(Ordering::Relaxed) > 0 {
                std::thread::yield_now();
            }
        }
    }

    #[tokio::test]
    async fn a_panic_of_work_that_blocks_goes_on_in_who_waits_for_it() {
        let panicked = tokio::spawn(async { joined(tokio::task::spawn_blocking(|| panic!("a bug"))).await });
        assert!(panicked.await.is_err_and(|error| error.is_panic()));
        assert_eq!(joined(tokio::task::spawn_blocking(|| 7)).await, 7);
    }
}
