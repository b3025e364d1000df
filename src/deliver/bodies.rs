//! How many bytes of bodies may be in flight at once, without one destination's bodies holding up another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For all destinations together.
pub const ALL_BYTES_MAX: usize = 8 << 20;
/// For one of them: half, so that one that hangs leaves room for the others.
pub const ONE_BYTES_MAX: usize = ALL_BYTES_MAX / 2;

/// A claim is of so many bytes at most: what 64 attempts at Vero's usual bodies take, many times over.
const CLAIM_BYTES_MAX: usize = 512 << 10;

/// Counts the bodies in flight.
#[derive(Debug, Default)]
pub struct Bodies {
    bytes: AtomicUsize,
}

/// One destination's share.
#[derive(Debug)]
pub struct Share {
    all: Arc<Bodies>,
    bytes: Arc<AtomicUsize>,
}

/// Bodies that are read or in flight; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    all: Arc<Bodies>,
    one: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// A share of all.
    pub fn new(all: Arc<Bodies>) -> Self {
        Self { all, bytes: Arc::default() }
    }

    /// How much may be claimed now. None where that is nothing; but a destination with no body in flight always gets some, and a claim
    /// is of one event at least: so nothing can be starved.
    pub fn room(&self) -> Option<usize> {
        let all = self.all.bytes.load(Ordering::Relaxed);
        let one = self.bytes.load(Ordering::Relaxed);
        let free = ONE_BYTES_MAX.saturating_sub(one).min(ALL_BYTES_MAX.saturating_sub(all)).min(CLAIM_BYTES_MAX);
        (free > 0 || one == 0).then(|| free.max(1))
    }

    /// Reserves room for bodies. A destination with none in flight always gets it.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let all = self.all.bytes.load(Ordering::Relaxed);
        let one = self.bytes.load(Ordering::Relaxed);
        let fits = one + bytes <= ONE_BYTES_MAX && all + bytes <= ALL_BYTES_MAX;
        // At least one byte, so that a destination with an empty body in flight is seen to have one.
        (fits || one == 0).then(|| self.take(bytes.max(1)))
    }

    /// Takes what [`room`](Self::room) gave.
    pub fn take(&self, bytes: usize) -> Reservation {
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Reservation { all: self.all.clone(), one: self.bytes.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.one.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_destination_gets_half_and_none_is_starved() {
        let all = Arc::new(Bodies::default());
        let [hung, other, third] = [(); 3].map(|()| Share::new(all.clone()));
        let mib = 1 << 20;
        let held: Vec<_> = (0..10).map_while(|_| hung.reserve(mib)).collect();
        assert_eq!(held.len(), 4, "half of eight");
        let more: Vec<_> = (0..10).map_while(|_| other.reserve(mib)).collect();
        assert_eq!(more.len(), 4);
        assert!(third.reserve(mib).is_some(), "the first is always granted");
        assert_eq!(third.room(), Some(1), "the first claim as well");
        let one = third.reserve(mib);
        assert_eq!(third.room(), None, "and no other");
        drop((held, more, one));
        assert_eq!(third.room(), Some(CLAIM_BYTES_MAX));
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
    }
}
