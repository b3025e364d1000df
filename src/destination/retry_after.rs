//! When the other side wants to be asked again: `Retry-After`, and what services send in its place. Pure.
//!
//! Read are seconds (also `1.5`, `"30"`, `120s`, `2m`, `1m30s`, `PT30S`), unix times, and dates: the three forms of RFC 9110, section
//! 5.6.7, and RFC 3339. A date is judged against the answer's own `Date`, since the two clocks are one. Whatever is asked is rounded up
//! to whole seconds, never down. Read as well are dates as programs print them: without a zone, with an hour of one digit or a month's
//! whole name, of date(1), and with a blank before the offset.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The shortest that is honoured; zero would be a busy loop.
pub const LEAST: Duration = Duration::from_secs(1);
/// The longest that is honoured.
pub const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// What services send beside or in place of `Retry-After` with 429 and 503, the moment from which there is room again.
const RESETS: [&str; 7] = [
    "ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-reset",
    "x-rate-limit-reset",
    "x-retry-after",
    "x-ratelimit-retry-after",
    "x-ratelimit-reset-requests",
];
/// A number from here on (September 2001) is a unix time, not some thirty years of waiting.
const UNIX_S_FROM: f64 = 1e9;
/// And from here on one in milliseconds.
const UNIX_MS_FROM: f64 = 1e12;
/// Beyond this (the year 5138 in milliseconds) a number is just a large number.
const UNIX_MS_TO: f64 = 1e14;

/// What an answer asks for. Where several are said, the longest counts: never less than asked.
pub fn asked(status: u16, headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let of = |name: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.filter_map(|value| parse(value, date, now_ms)).max()
    };
    let in_ms = |name: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| number(value.to_str().ok()?.trim()));
        values.map(|ms| clamped(ms / 1000.0)).max()
    };
    let by_name = of("retry-after").max(in_ms("retry-after-ms"));
    let reset = || RESETS.into_iter().filter_map(of).max().or_else(|| in_rate_limit(headers));
    by_name.or_else(|| matches!(status, 429 | 503).then(reset).flatten())
}

/// `RateLimit: limit=10, remaining=0, reset=120` and `"default";r=0;t=120`, as the drafts of draft-ietf-httpapi-ratelimit-headers have it.
fn in_rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("ratelimit").into_iter().filter_map(|value| value.to_str().ok());
    // The older form is one limit with commas in it, the newer a list of limits with semicolons in each.
    let resets = values.flat_map(|value| {
        let (between, within) = if value.contains(';') { (',', ';') } else { ('\n', ',') };
        value.split(between).filter_map(move |limit| reset_of(limit.split(within)))
    });
    resets.map(clamped).max()
}

/// In how many seconds one limit begins anew, where nothing is left of it.
fn reset_of<'v>(parts: impl Iterator<Item = &'v str>) -> Option<f64> {
    let mut has_room = false;
    let mut reset = None;
    for (name, value) in parts.filter_map(|part| part.trim().split_once('=')) {
        match name {
            "remaining" | "r" => has_room = number(value).is_some_and(|left| left > 0.0),
            "reset" | "t" => reset = number(value),
            _ => {}
        }
    }
    reset.filter(|_| !has_room)
}

/// Reads one value, which may be a list. `date` is the answer's own `Date`; without it a date is judged against `now_ms`. `None` if
/// nothing of it is understood.
pub fn parse(value: &str, date: Option<&str>, now_ms: u64) -> Option<Duration> {
    let now_ms = date.and_then(moment_ms).unwrap_or(i64::try_from(now_ms).unwrap_or(i64::MAX));
    one(value, now_ms).or_else(|| value.split([',', ';']).filter_map(|part| one(part, now_ms)).max())
}

fn one(text: &str, now_ms: i64) -> Option<Duration> {
    let text = unquoted(text);
    if let Some(number) = number(text) {
        return Some(match number {
            UNIX_S_FROM..UNIX_MS_FROM => clamped(number - now_ms as f64 / 1000.0),
            UNIX_MS_FROM..UNIX_MS_TO => clamped((number - now_ms as f64) / 1000.0),
            seconds => clamped(seconds),
        });
    }
    if let Some(moment_ms) = moment_ms(text) {
        return Some(clamped(moment_ms.saturating_sub(now_ms) as f64 / 1000.0));
    }
    span(text).map(clamped)
}

/// So many seconds, a fraction allowed.
pub fn seconds(text: &str) -> Option<Duration> {
    number(text.trim()).filter(|seconds| seconds.is_finite()).map(clamped)
}

fn clamped(seconds: f64) -> Duration {
    let whole = seconds.ceil().clamp(LEAST.as_secs() as f64, MOST.as_secs() as f64);
    Duration::from_secs(whole as u64)
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.map_or(text, str::trim)
}

/// A number that is not negative: digits, and perhaps a fraction.
fn number(text: &str) -> Option<f64> {
    let text = unquoted(text);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = are_digits(whole) && are_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Seconds of a duration with units: `120s`, `2 m`, `1m30s`, `PT30S`, `500ms`.
fn span(text: &str) -> Option<f64> {
    let span: jiff::Span = text.parse().ok()?;
    // A week and a day are seven and one times 24 hours; months and years are not plain.
    let total = span.total(jiff::SpanTotal::from(jiff::Unit::Second).days_are_24_hours()).ok()?;
    (total >= 0.0 && !span.is_negative()).then_some(total)
}

/// A date, in any form that servers send, as unix milliseconds.
fn moment_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let stamp = http_date(text).or_else(|| rfc3339(text))?;
    Some(stamp.as_millisecond())
}

fn http_date(text: &str) -> Option<Timestamp> {
    // Which day of the week it was says nothing that the rest does not, and is wrong now and then.
    let rest = text.split_once(',').map_or(text, |(_, rest)| rest).trim();
    if let Ok(stamp) = jiff::fmt::rfc2822::parse(rest) {
        return Some(stamp.timestamp());
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words[..] {
        // RFC 850: 06-Nov-94 08:49:37 GMT, also with a whole year.
        [date, time, "GMT" | "UTC"] => {
            let [day, month, year] = date.split('-').collect::<Vec<_>>()[..] else { return None };
            let year = if year.len() == 2 { century(year.parse().ok()?).to_string() } else { year.to_owned() };
            imf(day, month, &year, time)
        }
        // With a whole month's name, or an hour of one digit, which no RFC has.
        [day, month, year, time] | [day, month, year, time, "GMT" | "UTC"] => imf(day, month, year, time),
        // asctime: Sun Nov  6 08:49:37 1994; and date(1), which says UTC before the year.
        [_, month, day, time, year] | [_, month, day, time, "GMT" | "UTC", year] => imf(day, month, year, time),
        _ => None,
    }
}

/// Of two digits, the year that lies no more than fifty years ahead.
fn century(year: u16) -> u16 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

fn imf(day: &str, month: &str, year: &str, time: &str) -> Option<Timestamp> {
    let month = month.get(..3)?;
    let hour = if time.find(':') == Some(1) { "0" } else { "" };
    let stamp = jiff::fmt::rfc2822::parse(&format!("{day} {month} {year} {hour}{time} GMT")).ok()?;
    Some(stamp.timestamp())
}

/// A date without a zone is taken for UTC, as in every header.
fn rfc3339(text: &str) -> Option<Timestamp> {
    // A bare day says no time.
    text.contains(':').then_some(())?;
    let text = text.trim_end_matches(" UTC").trim_end_matches(" GMT");
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(stamp);
    }
    // 2026-10-21 07:30:00 +0200: with a blank before the offset, and none in it.
    let is_offset = |offset: &str| offset.len() == 5 && offset.is_ascii() && offset.starts_with(['+', '-']);
    if let Some((civil, offset)) = text.rsplit_once(' ').filter(|(_, offset)| is_offset(offset)) {
        return format!("{civil}{}:{}", &offset[..3], &offset[3..]).parse().ok();
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATE: &str = "Wed, 21 Oct 2026 07:28:00 GMT";
    const DATE_S: u64 = 1_792_567_680;

    #[track_caller]
    fn check(value: &str, expected: Option<u64>) {
        assert_eq!(parse(value, Some(DATE), 0), expected.map(Duration::from_secs), "{value}");
        assert_eq!(parse(value, None, DATE_S * 1000), expected.map(Duration::from_secs), "{value} by our own clock");
    }

    #[test]
    fn a_number_is_seconds_from_one_to_a_day() {
        check("120", Some(120));
        check(" 5 ", Some(5));
        check("0", Some(1));
        check("86400", Some(86_400));
        check("86401", Some(86_400));
        check("99999999999999999999999", Some(86_400));
        check("+5", Some(5));
        check("\"30\"", Some(30));
        check("' 30 '", Some(30));
        for nonsense in ["", "soon", "-5", "-0.5", "Wed", "\"", "1e3", "0x10", "NaN", "inf", ".", "5 apples", "--"] {
            check(nonsense, None);
        }
    }

    #[test]
    fn fractions_are_rounded_up() {
        check("1.5", Some(2));
        check("1.0", Some(1));
        check("0.2", Some(1));
        check("59.0001", Some(60));
        check("3.", Some(3));
        check(".5", Some(1));
    }

    #[test]
    fn units_are_read_where_their_meaning_is_plain() {
        check("120s", Some(120));
        check("120 s", Some(120));
        check("2m", Some(120));
        check("1m30s", Some(90));
        check("6m0s", Some(360));
        check("1h", Some(3600));
        check("1d", Some(86_400));
        check("500ms", Some(1));
        check("1500ms", Some(2));
        check("1.5s", Some(2));
        check("30 seconds", Some(30));
        check("2 minutes", Some(120));
        check("PT30S", Some(30));
        check("PT1M30S", Some(90));
        check("-30s", None);
        check("30s ago", None);
    }

    #[test]
    fn a_date_is_read_in_all_its_forms() {
        check("Wed, 21 Oct 2026 07:30:00 GMT", Some(120));
        check("Wed, 21 Oct 2026 07:00:00 GMT", Some(1));
        check("Fri, 21 Oct 2033 07:00:00 GMT", Some(86_400));
        check("21 Oct 2026 07:30:00 GMT", Some(120));
        check("Wed, 21 Oct 2026 07:30:00", Some(120));
        check("Wed, 21 Oct 2026 7:30:00 GMT", Some(120));
        check("Wednesday, 21 October 2026 07:30:00 GMT", Some(120));
        check("Wed Oct 21 07:30:00 UTC 2026", Some(120));
        check("Wed Oct 21 07:30:00 GMT 2026", Some(120));
        check("2026-10-21 07:30:00 +0000", Some(120));
        check("2026-10-21 09:30:00 +0200", Some(120));
        check("2026-10-21 07:30", Some(120));
        check("Mon, 21 Oct 2026 07:30:00 GMT", Some(120));
        check("Wednesday, 21-Oct-26 07:30:00 GMT", Some(120));
        check("Wed, 21-Oct-2026 07:30:00 GMT", Some(120));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(1));
        check("Wed Oct 21 07:30:00 2026", Some(120));
        check("Thu Oct  1 07:30:00 2026", Some(1));
        check("Wed, 21 Oct 2026 09:30:00 +0200", Some(120));
        check("2026-10-21T07:30:00Z", Some(120));
        check("2026-10-21T07:30:00.5Z", Some(121));
        check("2026-10-21T09:30:00+02:00", Some(120));
        check("2026-10-21T07:30:00", Some(120));
        check("2026-10-21 07:30:00 UTC", Some(120));
        check("2026-10-21", None);
        check("Wed, 32 Oct 2026 07:30:00 GMT", None);
    }

    #[test]
    fn a_large_number_is_a_unix_time() {
        check(&(DATE_S + 90).to_string(), Some(90));
        check(&format!("{}.5", DATE_S + 90), Some(91));
        check(&((DATE_S + 90) * 1000 + 1).to_string(), Some(91));
        check(&(DATE_S - 90).to_string(), Some(1));
    }

    #[test]
    fn of_a_list_the_longest_counts() {
        check("120, 60", Some(120));
        check("60, Wed, 21 Oct 2026 07:30:00 GMT", Some(120));
        check("60; what=ever", Some(60));
        check("soon, 60", Some(60));
    }

    #[track_caller]
    fn check_headers(status: u16, headers: &[(&'static str, &str)], expected: Option<u64>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        assert_eq!(asked(status, &map, DATE_S * 1000), expected.map(Duration::from_secs), "{status} {headers:?}");
    }

    #[test]
    fn what_services_send_in_its_place_counts_where_they_limit() {
        check_headers(429, &[], None);
        check_headers(429, &[("retry-after", "5"), ("retry-after", "9")], Some(9));
        check_headers(500, &[("retry-after", "5")], Some(5));
        check_headers(429, &[("retry-after-ms", "1500")], Some(2));
        check_headers(429, &[("ratelimit-reset", "30")], Some(30));
        check_headers(503, &[("x-ratelimit-reset", &(DATE_S + 40).to_string())], Some(40));
        check_headers(429, &[("x-ratelimit-reset-after", "1.337")], Some(2));
        check_headers(429, &[("x-ratelimit-reset-requests", "6m0s")], Some(360));
        check_headers(429, &[("retry-after", "5"), ("x-ratelimit-reset", "3600")], Some(5));
        check_headers(429, &[("retry-after", "soon"), ("ratelimit-reset", "30")], Some(30));
        check_headers(500, &[("ratelimit-reset", "30")], None);
        check_headers(429, &[("ratelimit", "limit=10, remaining=0, reset=120")], Some(120));
        check_headers(429, &[("ratelimit", "\"default\";r=0;t=120")], Some(120));
        check_headers(429, &[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=900;t=86400")], Some(5));
        check_headers(429, &[("ratelimit", "limit=10, remaining=3, reset=120")], None);
        check_headers(429, &[("ratelimit", "limit=10"), ("ratelimit-reset", "7")], Some(7));
        check_headers(500, &[("ratelimit", "\"default\";r=0;t=120")], None);
        check_headers(429, &[("date", DATE), ("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT")], Some(7));
    }

    proptest! {
        #[test]
        fn whatever_it_says_the_wait_is_within_its_limits(value in "\\PC{0,40}", date in prop::option::of("\\PC{0,40}")) {
            if let Some(wait) = parse(&value, date.as_deref(), 1_700_000_000_000) {
                prop_assert!((LEAST..=MOST).contains(&wait));
            }
        }

        #[test]
        fn a_fraction_is_never_cut_off(seconds in 1_u64..86_000, fraction in 0_u32..1_000_000) {
            let wait = parse(&format!("{seconds}.{fraction:06}"), None, 0);
            prop_assert_eq!(wait, Some(Duration::from_secs(seconds + u64::from(fraction > 0))));
        }
    }
}
