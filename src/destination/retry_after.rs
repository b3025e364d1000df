//! `Retry-After`: seconds, or an HTTP date judged against the answer's own `Date`. Pure.

use std::time::Duration;

/// The shortest wish that is honoured; zero would be a busy loop.
pub const LEAST: Duration = Duration::from_secs(1);
/// The longest.
pub const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a `Retry-After`. A date is judged against the answer's own `Date`, since the two clocks are one; without a `Date`,
/// against `now_ms`. `None` if it is neither.
pub fn parse(value: &str, date: Option<&str>, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).clamp(LEAST, MOST));
    }
    let wanted = http_date(value)?;
    let now = date.and_then(http_date).unwrap_or((now_ms / 1000) as i64);
    Some(Duration::from_secs(u64::try_from(wanted.saturating_sub(now)).unwrap_or(0)).clamp(LEAST, MOST))
}

/// An HTTP date (RFC 9110, section 5.6.7) as unix seconds. The obsolete forms are not read: nobody sends them any more.
fn http_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let stamp = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(stamp.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: &str, date: Option<&str>, expected: Option<u64>) {
        assert_eq!(parse(value, date, 0), expected.map(Duration::from_secs), "{value} {date:?}");
    }

    #[test]
    fn seconds_and_dates() {
        check("120", None, Some(120));
        check(" 5 ", None, Some(5));
        check("0", None, Some(1));
        check("86400", None, Some(86_400));
        check("86401", None, Some(86_400));
        check("99999999999999999999999", None, Some(86_400));
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        check("Wed, 21 Oct 2026 07:30:00 GMT", date, Some(120));
        check("Wed, 21 Oct 2026 07:00:00 GMT", date, Some(1));
        check("Fri, 21 Oct 2033 07:00:00 GMT", date, Some(86_400));
        for nonsense in ["", "soon", "-5", "1.5", "Wed"] {
            check(nonsense, date, None);
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_the_wait_is_within_its_limits(value in "\\PC{0,40}", date in prop::option::of("\\PC{0,40}")) {
            if let Some(wait) = parse(&value, date.as_deref(), 1_700_000_000_000) {
                prop_assert!((LEAST..=MOST).contains(&wait));
            }
        }
    }
}
