//! Digests that are not put together yet: one at a time, and one with which that fails costs only itself.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::prepare::{Failure, Known, Preparing};
use super::{LOOK_AGAIN, Sorter};
use crate::store::{self, DigestId};
use crate::time::Instant;

/// So often putting a digest together may panic.
pub(super) const PANICS_MAX: u32 = 3;
/// So often its events may be unreadable, once in [`LOOK_AGAIN`]: a disk that answers again within a minute splits no digest, and one that
/// does not holds up nothing else.
pub(super) const FAILURES_MAX: u32 = 60;

/// What putting a digest together came to: where it belongs, or 0.
pub type Made = (DigestId, Result<u64, Failure>);

/// How often putting one digest together has failed.
#[derive(Debug)]
pub struct Tries {
    panics: u32,
    failures: u32,
    /// It is not tried before then; others are.
    rests_until: Instant,
}

impl Tries {
    fn none(now: Instant) -> Self {
        Self { panics: 0, failures: 0, rests_until: now }
    }

    fn count(&self) -> u32 {
        self.panics + self.failures
    }
}

impl Sorter {
    /// One has been put together, or that has failed: then it is tried again a little later. One that panics or fails again and again cannot be
    /// one message, and goes out as what it is made of.
    pub(super) fn made(&mut self, (id, made): Made) {
        let failure = match made {
            Ok(address) => {
                self.addresses.insert(id, address);
                self.tries.remove(&id);
                return;
            }
            Err(failure) => failure,
        };
        let now = Instant::now();
        let tries = self.tries.entry(id).or_insert_with(|| Tries::none(now));
        tries.rests_until = now + LOOK_AGAIN;
        let destination = self.section.config.name.as_str();
        match failure {
            Failure::Panicked => tries.panics += 1,
            Failure::Apart => {
                if tries.failures == 0 {
                    tracing::warn!(
                        destination,
                        "by the config that there is now the events of a digest go to several addresses: each goes out by itself"
                    );
                }
                tries.failures += 1;
                // An attempt of it may be in flight: it is read again for the next time.
                tries.rests_until = now + LOOK_AGAIN * tries.failures.min(FAILURES_MAX);
                return self.parts.queue.dissolve(id);
            }
            Failure::Unreadable(error) => {
                tries.failures += 1;
                tracing::warn!(destination, %error, "the events of a digest cannot be read; it is tried again");
            }
        }
        if tries.panics >= PANICS_MAX || tries.failures >= FAILURES_MAX {
            self.tries.remove(&id);
            self.parts.queue.dissolve(id);
        }
    }

    /// Has the next digest put together that is not, one at a time: before others the one with which that has failed least often. Returns when
    /// to come back, where one rests.
    pub(super) fn prepare_next(&mut self) -> Option<Instant> {
        while let Some(Ok(made)) = self.preparing.try_join_next() {
            self.made(made);
        }
        let now = Instant::now();
        let digests = self.parts.queue.digests();
        if !self.section.config.can_gather() {
            digests.iter().for_each(|digest| self.parts.queue.dissolve(digest.id));
        } else if self.preparing.is_empty() {
            let lacking = self.lacking(digests.clone());
            let tries = |digest: &store::Digest| self.tries.get(&digest.id);
            let rested =
                lacking.into_iter().filter(|digest| tries(digest).is_none_or(|tries| tries.rests_until <= now));
            let next = rested.min_by_key(|digest| tries(digest).map_or(0, Tries::count));
            if let Some(digest) = next {
                self.prepare(digest, None);
            }
        }
        let is_there = |id: &DigestId| digests.iter().any(|digest| digest.id == *id);
        self.addresses.retain(|id, _| is_there(id));
        self.tries.retain(|id, _| is_there(id));
        self.parts.status.sorted().forget_all_but(|id| is_there(&id));
        // What rests no more waits for the one that is being put together.
        self.tries.values().map(|tries| tries.rests_until).filter(|until| *until > now).min()
    }

    /// Those that cannot go out as they are: not put together by this section, or not offered.
    pub(super) fn lacking(&self, mut digests: Vec<store::Digest>) -> Vec<store::Digest> {
        let sorted = self.parts.status.sorted();
        let fingerprint = &self.section.config.fingerprint;
        // One may have been offered by a sorter whose digests are gone.
        digests.retain(|digest| !digest.is_offered || sorted.digest(digest.id, fingerprint).is_none());
        digests
    }

    /// Beside the rest: what is urgent is given its lane meanwhile.
    pub(super) fn prepare(&mut self, digest: store::Digest, known: Option<Known>) {
        let preparing = Preparing {
            queue: self.parts.queue.clone(),
            store: self.parts.store.clone(),
            status: self.parts.status.clone(),
            section: self.section.clone(),
            destination: self.destination,
        };
        let id = digest.id;
        self.preparing.spawn(async move {
            let made = AssertUnwindSafe(preparing.prepare(digest, known)).catch_unwind().await;
            (id, made.unwrap_or(Err(Failure::Panicked)))
        });
    }
}
