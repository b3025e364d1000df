//! How many bytes of bodies may be under attempt at once, without one destination's bodies holding up another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For all destinations together.
pub const ALL_BYTES_MAX: usize = 8 << 20;
/// For one of them: half, so that one that hangs leaves room for the others.
pub const ONE_BYTES_MAX: usize = ALL_BYTES_MAX / 2;

/// Vero's bodies are far smaller than this.
const EXPECTED_LEAST: usize = 64 << 10;

/// Counts the bodies under attempt.
#[derive(Debug, Default)]
pub struct Bodies {
    bytes: AtomicUsize,
}

/// One destination's share.
#[derive(Debug)]
pub struct Share {
    all: Arc<Bodies>,
    bytes: Arc<AtomicUsize>,
    /// What a body that must be read from the disk is taken to have: the largest of late.
    expected: Arc<AtomicUsize>,
}

/// A body under attempt; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    all: Arc<Bodies>,
    one: Arc<AtomicUsize>,
    expected: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// A share of all.
    pub fn new(all: Arc<Bodies>) -> Self {
        Self { all, bytes: Arc::default(), expected: Arc::new(AtomicUsize::new(EXPECTED_LEAST)) }
    }

    /// What to set aside for a body whose size is not known yet.
    pub fn expected(&self) -> usize {
        self.expected.load(Ordering::Relaxed)
    }

    /// Reserves room for a body. A destination with none under attempt always gets it, so nothing can be starved.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let (all, one) = (self.all.bytes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let fits = one + bytes <= ONE_BYTES_MAX && all + bytes <= ALL_BYTES_MAX;
        if one > 0 && !fits {
            return None;
        }
        let (all, one, expected) = (self.all.clone(), self.bytes.clone(), self.expected.clone());
        let mut reservation = Reservation { all, one, expected, bytes: 0 };
        // At least one byte, so that a destination with an empty body under attempt is seen to have one.
        reservation.grow_to(bytes.max(1));
        Some(reservation)
    }
}

impl Reservation {
    /// The body has been read, and this is its size.
    pub fn found(&mut self, bytes: usize) {
        // A large one is remembered for a while, since its like are often near it.
        let expected = self.expected.load(Ordering::Relaxed);
        self.expected.store(bytes.max(expected - expected / 8).max(EXPECTED_LEAST), Ordering::Relaxed);
        self.grow_to(bytes);
    }

    fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.all.bytes.fetch_add(more, Ordering::Relaxed);
        self.one.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
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
        drop((held, more));
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
    }
}
