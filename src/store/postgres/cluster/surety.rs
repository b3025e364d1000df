//! Until when a relay is sure that what it has is its own.
//!
//! Others wait for [`TTL`] from when they have seen a heartbeat, which is after it was sent; the relay itself counts
//! [`SURE`] from when it sent it. So it has stopped before anybody takes over, as long as no clock runs a fifth faster than another. This
//! spares work that would be in vain; what makes it safe are the epochs, which each statement names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::alive::TTL;

/// A relay is sure of itself for so long from when it sent a heartbeat that succeeded.
pub const SURE: Duration = Duration::from_secs(4);

const _: () = assert!(SURE.as_millis() < TTL.as_millis());

/// One relay's. Asked without a lock, by each claim. All moments are of one monotonic clock of this process.
#[derive(Debug, Default)]
pub struct Surety {
    until_ms: AtomicU64,
}

impl Surety {
    /// A heartbeat has succeeded that was sent at `sent`. One that was sent before another takes nothing back.
    pub fn heartbeat_succeeded(&self, sent: Duration) {
        self.until_ms.fetch_max(whole_ms(sent + SURE), Ordering::AcqRel);
    }

    /// Whether what this relay has is surely its own.
    pub fn is_sure(&self, now: Duration) -> bool {
        whole_ms(now) < self.until_ms.load(Ordering::Acquire)
    }

    /// Until when, unless another heartbeat succeeds.
    pub fn until(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Acquire))
    }
}

fn whole_ms(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_sure_until_four_seconds_after_it_sent_its_last_heartbeat() {
        let surety = Surety::default();
        let ms = Duration::from_millis;
        assert!(!surety.is_sure(ms(0)), "before the first one");
        surety.heartbeat_succeeded(ms(1000));
        assert!(surety.is_sure(ms(1000)) && surety.is_sure(ms(4999)));
        assert!(!surety.is_sure(ms(5000)) && !surety.is_sure(ms(900_000)));
        surety.heartbeat_succeeded(ms(2500));
        assert!(surety.is_sure(ms(6499)) && !surety.is_sure(ms(6500)));
        assert_eq!(surety.until(), ms(6500));
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_back_and_gives_nothing_more() {
        let surety = Surety::default();
        surety.heartbeat_succeeded(Duration::from_millis(3000));
        surety.heartbeat_succeeded(Duration::from_millis(2000));
        assert_eq!(surety.until(), Duration::from_millis(7000));
        // A part of a millisecond is not counted for it.
        surety.heartbeat_succeeded(Duration::from_micros(3_999_999));
        assert!(!surety.is_sure(Duration::from_millis(7999)));
    }
}
