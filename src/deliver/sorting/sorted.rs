//! What a sorter has ready for its worker, and shows of itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::windows::GROUPS_MAX;
use super::{Fold, Windows};
use crate::destination::Digest;
use crate::store::{DigestId, GroupKey};

/// Between one destination's sorter, its worker, and whoever looks.
#[derive(Debug, Default)]
pub struct Sorted {
    inner: Mutex<Inner>,
    /// Until when it is quiet, 0 where it is not: the worker asks before each claim, and waits for no lock.
    quiet_until_ms: AtomicU64,
    /// Somebody wants windows to be over.
    told: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    windows: Windows,
    /// Digests that have been put together and are not settled.
    ready: HashMap<DigestId, Arc<Digest>>,
}

/// One open window, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownWindow {
    pub key: GroupKey,
    /// When it is over, unix milliseconds.
    pub ends_ms: u64,
    /// What its events have in common: the paths, and the values. None of the window that takes all others.
    pub values: Vec<(String, String)>,
    /// How many wait in it.
    pub count: u64,
    /// How many went out by themselves.
    pub passed: u32,
    /// When the first of those that wait arrived, unix milliseconds.
    pub since_ms: u64,
}

impl Sorted {
    /// Until when nothing but what is urgent goes out, by the wall clock in unix milliseconds; `None`: it is not quiet.
    pub fn quiet_until_ms(&self) -> Option<u64> {
        Some(self.quiet_until_ms.load(Ordering::Relaxed)).filter(|until_ms| *until_ms > 0)
    }

    pub(in crate::deliver) fn show_quiet(&self, until_ms: Option<u64>) {
        self.quiet_until_ms.store(until_ms.unwrap_or(0), Ordering::Relaxed);
    }

    /// A digest that has been put together.
    pub fn digest(&self, id: DigestId) -> Option<Arc<Digest>> {
        self.lock().ready.get(&id).cloned()
    }

    pub(in crate::deliver) fn keep(&self, id: DigestId, digest: Arc<Digest>) {
        self.lock().ready.insert(id, digest);
    }

    pub(in crate::deliver) fn forget_all_but(&self, is_kept: impl Fn(DigestId) -> bool) {
        self.lock().ready.retain(|id, _| is_kept(*id));
    }

    /// Looks at the open windows, or changes them.
    pub(in crate::deliver) fn windows<T>(&self, with: impl FnOnce(&mut Windows) -> T) -> T {
        with(&mut self.lock().windows)
    }

    /// The window of a group, where one is open.
    pub fn window(&self, key: &GroupKey) -> Option<ShownWindow> {
        self.lock().windows.get(key).map(|(head, fold)| shown(head, fold))
    }

    /// The open windows in which something waits: how many, and the first to be over of them.
    pub fn waiting(&self, most: usize) -> (usize, Vec<ShownWindow>) {
        let inner = self.lock();
        let mut all: Vec<_> = inner.windows.iter().filter(|(_, fold)| fold.count > 0).collect();
        all.sort_by_key(|(head, fold)| (head.ends_ms, std::cmp::Reverse(fold.count), head.key));
        (all.len(), all.into_iter().take(most).map(|(head, fold)| shown(head, fold)).collect())
    }

    /// What waits in windows is to go out as soon as it can: they are over now. Returns how many deliveries that are.
    pub fn end_now(&self) -> u64 {
        self.windows(|windows| windows.shorten(None));
        self.told.notify_one();
        self.gathered()
    }

    /// Resolves when somebody wanted windows to be over.
    pub(in crate::deliver) async fn told(&self) {
        self.told.notified().await;
    }

    /// How many deliveries wait in windows.
    pub fn gathered(&self) -> u64 {
        self.lock().windows.iter().map(|(_, fold)| fold.count).sum()
    }

    /// What the next digest will tell of, as far as it is known, and when its first window is over; `None`: nothing waits.
    pub fn next(&self) -> Option<(u64, Vec<Fold>)> {
        let inner = self.lock();
        let first_ms = inner.windows.iter().filter(|(_, fold)| fold.count > 0).map(|(head, _)| head.ends_ms).min()?;
        let over = inner.windows.over(first_ms, GROUPS_MAX);
        let folds = over.iter().filter_map(|key| inner.windows.get(key)).map(|(_, fold)| fold.clone());
        Some((first_ms, folds.filter(|fold| fold.count > 0).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(head: &crate::store::WindowHead, fold: &Fold) -> ShownWindow {
    ShownWindow {
        key: head.key,
        ends_ms: head.ends_ms,
        values: fold.values.clone(),
        count: fold.count,
        passed: head.passed,
        since_ms: fold.since_ms,
    }
}
