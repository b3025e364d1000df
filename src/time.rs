//! The time, as text and as a clock that cannot jump.

#[cfg(any(test, feature = "test-support"))]
use std::sync::atomic::AtomicI64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What everything here is timed by. In tests it stands still where tokio's clock is paused.
pub use tokio::time::Instant;

/// Milliseconds of a minute. What is counted by minutes is counted by those of the unix epoch.
pub const MINUTE_MS: u64 = 60_000;

/// Waits for a moment; for ever, where there is none.
pub(crate) async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Formats unix milliseconds as RFC 3339 in UTC, with milliseconds. Times beyond the year 9999 print as its end.
pub fn rfc3339(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

/// Reads a moment: RFC 3339 (`2026-11-25T08:00:00Z`), a day in UTC (`2026-11-25`), or how long ago (`90m`, `2d`), as unix
/// milliseconds.
pub fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    if let Ok(ago) = crate::units::duration(text) {
        return Ok(now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    }
    let parsed = text.parse::<jiff::Timestamp>().ok().or_else(|| start_of_day(text));
    if parsed.is_some_and(|timestamp| timestamp < jiff::Timestamp::UNIX_EPOCH) {
        return Err(format!("`{text}` is before 1970, and so is no event"));
    }
    let unix_ms = parsed.and_then(|timestamp| u64::try_from(timestamp.as_millisecond()).ok());
    unix_ms.ok_or_else(|| match text.parse::<jiff::civil::DateTime>() {
        // Whoever means their own time would be hours off.
        Ok(time) if text.contains('[') => format!(
            "`{text}` names a time zone and not what it is ahead: write {time}Z for UTC, or what it is ahead, like {time}+02:00"
        ),
        Ok(time) if !is_day(text) => format!(
            "`{text}` does not say in which time zone: write {time}Z for UTC, or what it is ahead, like {time}+02:00"
        ),
        _ => format!(
            "`{text}` is not a time: write 2026-11-25T08:00:00Z, a day like 2026-11-25, or how long ago, like 90m or 2d"
        ),
    })
}

/// When a day begins, in UTC. What says more than a day is none.
fn start_of_day(text: &str) -> Option<jiff::Timestamp> {
    let day: jiff::civil::Date = text.parse().ok().filter(|_| is_day(text))?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|day| day.timestamp())
}

/// Whether a text has nothing but the digits of a day.
fn is_day(text: &str) -> bool {
    text.len() == "2026-11-25".len() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// Unix milliseconds of year, month, day, hour, minute and second in UTC; `None` before 1970 and where there is no such time.
pub(crate) fn utc_ms([year, month, day, hour, minute, second]: [i16; 6]) -> Option<u64> {
    let small = |part: i16| i8::try_from(part).ok();
    let day = jiff::civil::Date::new(year, small(month)?, small(day)?).ok()?;
    let time = jiff::civil::Time::new(small(hour)?, small(minute)?, small(second)?, 0).ok()?;
    let moment = day.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    u64::try_from(moment.as_millisecond()).ok()
}

/// The timestamp for unix milliseconds, held within what can be printed.
pub(crate) fn timestamp(unix_ms: u64) -> jiff::Timestamp {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
}

/// The end of the year 9999: what comes later can neither be printed nor sent.
const LAST_MS: u64 = 253_402_300_799_999;

/// The wall clock, unix milliseconds: 0 where it says less, and the end of the year 9999 where it says more.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| (since.as_millis() as u64).min(LAST_MS))
}

/// A shorter suspension is none: the two clocks are read one after the other, and the machine may be busy between.
const SUSPENDED_LEAST_MS: u64 = 1000;

/// For how long the machine was suspended since it was started, milliseconds: the monotonic clock stands still then. Never less than
/// it was.
fn suspended_ms() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    static KNOWN_MS: AtomicU64 = AtomicU64::new(0);
    // In this order, what comes between makes it less and never more.
    let [all, awake] = [ClockId::Boottime, ClockId::Monotonic].map(|clock| {
        let now = clock_gettime(clock);
        now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
    });
    let suspended = all.saturating_sub(awake);
    let known = KNOWN_MS.load(Ordering::Relaxed);
    if suspended < known + SUSPENDED_LEAST_MS {
        known
    } else {
        KNOWN_MS.fetch_max(suspended, Ordering::Relaxed).max(suspended)
    }
}

/// A clock that starts at the wall clock's time and from then on only ever runs forward at one speed.
///
/// Everything that is due "in a while" goes by it: a wall clock set back an hour stalls nothing, one set forward buries nothing. It
/// knows of the time in which the machine was suspended.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_ms: u64,
    suspended_before_ms: u64,
    /// It goes by another machine's clock, and not by the wall clock of this one.
    is_elsewhere: bool,
    /// Set by hand, in tests: a day passes in no time.
    #[cfg(any(test, feature = "test-support"))]
    by_hand: Option<&'static AtomicU64>,
    /// How far the wall clock is ahead of this one, in milliseconds, where a test says so.
    #[cfg(any(test, feature = "test-support"))]
    wall_ahead: Option<&'static AtomicI64>,
}

impl Clock {
    /// Starts the clock now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            start_ms: wall_ms(),
            suspended_before_ms: suspended_ms(),
            is_elsewhere: false,
            #[cfg(any(test, feature = "test-support"))]
            by_hand: None,
            #[cfg(any(test, feature = "test-support"))]
            wall_ahead: None,
        }
    }

    /// A clock that shows what another machine's did a moment ago, unix milliseconds. What arrives is stamped by it as well.
    pub fn elsewhere(now_ms: u64) -> Self {
        Self { start_ms: now_ms, is_elsewhere: true, ..Self::start() }
    }

    /// A clock that begins at a moment, unix milliseconds, beside a wall clock that shows so many milliseconds more and may be set. For tests
    /// that must come out alike on any day.
    #[cfg(any(test, feature = "test-support"))]
    pub fn at(start_ms: u64, wall_ahead: &'static AtomicI64) -> Self {
        Self { start_ms, wall_ahead: Some(wall_ahead), ..Self::start() }
    }

    /// A clock that stands still but for who sets it. For tests.
    #[cfg(any(test, feature = "test-support"))]
    pub fn by_hand(now_ms: &'static AtomicU64) -> Self {
        Self { by_hand: Some(now_ms), ..Self::start() }
    }

    /// Unix milliseconds by this clock.
    pub fn now_ms(&self) -> u64 {
        if let Some(now_ms) = self.set_ms() {
            return now_ms;
        }
        let suspended_ms = suspended_ms().saturating_sub(self.suspended_before_ms);
        self.start_ms + self.start.elapsed().as_millis() as u64 + suspended_ms
    }

    /// The wall clock, by which arrivals are stamped; what is set by hand for a clock that is.
    pub fn arrival_ms(&self) -> u64 {
        let set = self.set_ms().or_else(|| self.set_wall_ms());
        set.unwrap_or_else(|| if self.is_elsewhere { self.now_ms() } else { wall_ms() })
    }

    /// The wall clock of a test.
    #[cfg(any(test, feature = "test-support"))]
    fn set_wall_ms(&self) -> Option<u64> {
        self.wall_ahead.map(|ahead| self.now_ms().saturating_add_signed(ahead.load(Ordering::Relaxed)))
    }

    #[cfg(not(any(test, feature = "test-support")))]
    fn set_wall_ms(&self) -> Option<u64> {
        None
    }

    /// What somebody set it to.
    #[cfg(any(test, feature = "test-support"))]
    fn set_ms(&self) -> Option<u64> {
        self.by_hand.map(|now_ms| now_ms.load(Ordering::Relaxed))
    }

    #[cfg(not(any(test, feature = "test-support")))]
    fn set_ms(&self) -> Option<u64> {
        None
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
    fn a_moment_is_read_in_every_form() {
        let now_ms = 1_763_971_200_000;
        for (text, expected) in [
            ("2025-11-24T08:00:00Z", 1_763_971_200_000),
            ("2025-11-24T10:00:00+02:00", 1_763_971_200_000),
            ("2025-11-24", 1_763_942_400_000),
            ("90m", now_ms - 5_400_000),
            ("100000d", 0),
        ] {
            assert_eq!(moment(text, now_ms), Ok(expected), "{text}");
        }
        assert_eq!(moment("1970-01-01T00:00:00Z", now_ms), Ok(0));
        for early in ["1969-12-31", "1969-12-31T23:59:59.999Z", "-000001-01-01T00:00:00Z"] {
            assert!(moment(early, now_ms).is_err_and(|told| told.contains("before 1970")), "{early}");
        }
        for wrong in ["", "yesterday", "2025-13-01", "2025-11-24T", "2025-11-24Z", "20251124", "12"] {
            assert!(moment(wrong, now_ms).is_err(), "{wrong}");
        }
        for (text, time) in [
            ("2025-11-24T08:00:00", "2025-11-24T08:00:00"),
            ("2025-11-24T08:00", "2025-11-24T08:00:00"),
            ("2025-11-24 08:00", "2025-11-24T08:00:00"),
            ("20251124T0800", "2025-11-24T08:00:00"),
            ("2025-11-24T08:00[Europe/Berlin]", "2025-11-24T08:00:00"),
        ] {
            let told = moment(text, now_ms).expect_err(text);
            assert!(told.contains("time zone") && told.contains(&format!("write {time}Z")), "{told}");
        }
    }

    #[test]
    fn times_print_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_435_016_238_007), "2015-06-22T23:37:18.007Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-"));
    }
}
