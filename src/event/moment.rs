//! Moments in bodies: what a text or a number of an event says of a time.
//!
//! Unix seconds, with a fraction or without; beyond the year 5138 they are taken for milliseconds, as templates take them. RFC 3339 by what it
//! is ahead of UTC; a date, and a time that says nothing of a zone, in the zone of who asks. Nothing else is a moment.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Seconds beyond this would be in the year 5138; so it is milliseconds.
pub const UNIX_SECONDS_MAX: i64 = 100_000_000_000;
/// The bytes of `2026-11-25`.
const DATE_BYTES: usize = 10;

/// A date, or a date and a time, as it is written: not yet in any zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It says what it is ahead of UTC.
    At(Timestamp),
    /// A day: its first moment is meant.
    Day(Date),
    /// By a clock on a wall.
    Local(DateTime),
}

impl Written {
    /// Reads `2026-11-25`, `2026-11-25T08:00`, also with seconds and their fraction, and with `Z` or `+02:00` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_date = bytes.len() >= DATE_BYTES
            && bytes[..DATE_BYTES].iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        // The name of a zone in brackets says what clocks showed and not what was meant: nobody sends it.
        if !is_date || text.contains('[') {
            return None;
        }
        let Some(separator) = bytes.get(DATE_BYTES) else { return text.parse().ok().map(Written::Day) };
        if !matches!(separator, b'T' | b't' | b' ') || bytes.get(DATE_BYTES + 3) != Some(&b':') {
            return None;
        }
        let at = text.parse().ok().map(Written::At);
        at.or_else(|| text.parse().ok().map(Written::Local))
    }

    /// The moment in a zone. A time that does not exist there, because clocks go over it, is taken by what they showed before; one that
    /// exists twice is the first; a day begins when it does.
    pub fn within(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Written::At(at) => Some(at),
            Written::Day(day) => zone.to_ambiguous_timestamp(day.at(0, 0, 0, 0)).compatible().ok(),
            Written::Local(time) => zone.to_ambiguous_timestamp(time).compatible().ok(),
        }
    }
}

/// The moment that a text or a number of an event means, in a zone where it does not say itself.
pub fn of_text(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return of_seconds(text);
    }
    Written::parse(text)?.within(zone)
}

/// `1767225600`, `1767225600.25`, `1767225600250`. What lies below a nanosecond is cut.
fn of_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && !fraction.contains('.') => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let whole: i64 = whole.parse().ok()?;
    let nanos = |digits: usize| format!("{fraction:0<digits$.digits$}").parse::<i32>().ok();
    if whole <= UNIX_SECONDS_MAX {
        return Timestamp::new(whole, nanos(9)?).ok();
    }
    Timestamp::new(whole / 1000, (whole % 1000) as i32 * 1_000_000 + nanos(6)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, text: &str, expected: Option<&str>) {
        let zone = TimeZone::get(zone).expect("a zone");
        let got = of_text(text, &zone).map(|at| at.to_string());
        assert_eq!(got.as_deref(), expected, "{text}");
    }

    #[test]
    fn numbers_are_unix_seconds_and_large_ones_milliseconds() {
        check("UTC", "0", Some("1970-01-01T00:00:00Z"));
        check("UTC", "1767225600", Some("2026-01-01T00:00:00Z"));
        check("UTC", "1767225600.25", Some("2026-01-01T00:00:00.25Z"));
        check("UTC", "1767225600.0000000019", Some("2026-01-01T00:00:00.000000001Z"));
        check("UTC", "1767225600250", Some("2026-01-01T00:00:00.25Z"));
        check("UTC", "100000000000", Some("5138-11-16T09:46:40Z"));
        for none in ["", ".", "1.", ".5", "1.2.3", "-5", "1e9", "17672256000000000000", "999999999999999999"] {
            check("UTC", none, None);
        }
    }

    #[test]
    fn dates_and_times_are_read_in_the_zone_that_they_do_not_name() {
        check("Europe/Berlin", "2026-01-01", Some("2025-12-31T23:00:00Z"));
        check("Europe/Berlin", "2026-07-01T09:00", Some("2026-07-01T07:00:00Z"));
        check("Europe/Berlin", "2026-07-01 09:00:30.5", Some("2026-07-01T07:00:30.5Z"));
        check("Europe/Berlin", "2026-07-01T09:00:00Z", Some("2026-07-01T09:00:00Z"));
        check("Europe/Berlin", "2026-07-01T09:00:00-05:00", Some("2026-07-01T14:00:00Z"));
        for none in [
            "2026-02-30",
            "2026-13-01",
            "2026-01",
            "20260101T0900",
            "2026-01-01T",
            "2026-01-01T09",
            "2026-1-1",
            "2026-01-01T25:00",
            "2026-01-01x09:00",
            "2026-07-01T09:00[Europe/Berlin]",
            "soon",
            "2026-01-01 ",
            " 2026-01-01",
        ] {
            check("Europe/Berlin", none, None);
        }
    }

    #[test]
    fn a_time_that_clocks_go_over_or_show_twice_is_still_one_moment() {
        // Clocks go from 2:00 to 3:00, and back from 3:00 to 2:00.
        check("Europe/Berlin", "2026-03-29T02:30", Some("2026-03-29T01:30:00Z"));
        check("Europe/Berlin", "2026-10-25T02:30", Some("2026-10-25T00:30:00Z"));
        // A day that begins at 1:00.
        check("America/Santiago", "2026-09-06", Some("2026-09-06T04:00:00Z"));
    }
}
