//! Whether there is room for events.

use super::sizes::{Resolved, resolve};
use super::{Journal, lock};
use crate::store::Retention;

impl Journal {
    /// What is kept, and its limits in bytes.
    pub fn limits(&self) -> (Retention, Resolved) {
        let retention = lock(&self.retention).clone();
        let total = self.disk.space().map(|space| space.total);
        let resolved = resolve(&retention, total);
        (retention, resolved)
    }

    /// Why events may not take so many bytes more, if they may not.
    pub fn no_room_for(&self, more: u64) -> Option<String> {
        let (retention, resolved) = self.limits();
        let mib = |bytes: u64| bytes >> 20;
        let used = self.bytes();
        if let Some(most) = retention.bytes_max.filter(|most| used >= *most) {
            return Some(format!("the store has {} MiB, and store.max_size is {} MiB", mib(used), mib(most)));
        }
        let free = self.disk.space()?.free;
        (free < resolved.free_bytes_min + more).then(|| {
            let least = mib(resolved.free_bytes_min);
            let segment = if more > 0 { ", beside room for another segment" } else { "" };
            format!("{} MiB are free on the file system, and store.free_space_min is {least} MiB{segment}", mib(free))
        })
    }

    /// Why nothing may be accepted just now, if it may not.
    pub fn refusal(&self) -> Option<String> {
        lock(&self.refusal).clone()
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes() + self.index.bytes()
    }
}
