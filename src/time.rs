//! The time, as text and as a clock that cannot jump.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Formats unix milliseconds as RFC 3339 in UTC, with milliseconds. Times beyond the year 9999 print as its end.
pub fn rfc3339(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

/// The timestamp for unix milliseconds, held within what can be printed.
pub(crate) fn timestamp(unix_ms: u64) -> jiff::Timestamp {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
}

/// The wall clock, unix milliseconds.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A clock that starts at the wall clock's time and from then on only ever runs forward at one pace.
///
/// Everything that is due "in a while" goes by it: a wall clock set back an hour stalls nothing, one set forward buries nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Clock {
    /// Starts the clock now.
    pub fn start() -> Self {
        Self { start: Instant::now(), start_ms: wall_ms() }
    }

    /// Unix milliseconds by this clock.
    pub fn now_ms(&self) -> u64 {
        self.start_ms + self.start.elapsed().as_millis() as u64
    }

    /// How long until `due_ms`; zero when it has passed.
    pub fn until(&self, due_ms: u64) -> Duration {
        Duration::from_millis(due_ms.saturating_sub(self.now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_435_016_238_007), "2015-06-22T23:37:18.007Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-"));
    }
}
