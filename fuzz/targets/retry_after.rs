//! `Retry-After` and dates: two lines, the header's value and the answer's own `Date` (empty for none).

use std::time::Duration;

use vero_relay::destination::retry_after::{LEAST, MOST, parse};

/// 2023-11-14T22:13:20Z.
const NOW_MS: u64 = 1_700_000_000_000;

/// Returns whether the value was understood.
pub fn retry_after(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (value, date) = text.split_once('\n').unwrap_or((text, ""));
    let date = Some(date).filter(|date| !date.is_empty());
    let wait = parse(value, date, NOW_MS);
    if let Some(wait) = wait {
        assert!((LEAST..=MOST).contains(&wait), "{wait:?} is out of bounds");
        assert_eq!(parse(&format!(" {value}\t"), date, NOW_MS), Some(wait), "blanks around it mean nothing");
    }
    if let Some(seconds) = reference_seconds(value) {
        assert_eq!(wait, Some(seconds), "the seconds form, which no date changes");
    } else if wait.is_some() {
        assert!(value.bytes().any(|byte| byte.is_ascii_digit()), "no number, no time");
    }
    wait.is_some()
}

/// Seconds added up digit by digit.
fn reference_seconds(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.chars().map(|digit| digit.to_digit(10)).collect::<Option<Vec<u32>>>()?;
    let add = |seconds: u64, digit: &u32| (seconds * 10 + u64::from(*digit)).min(MOST.as_secs());
    let seconds = digits.iter().fold(0, add);
    // Longer ones may be unix times.
    (1..10).contains(&digits.len()).then(|| Duration::from_secs(seconds.max(LEAST.as_secs())))
}
