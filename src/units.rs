//! Durations, sizes and rates as people write them: `15m`, `1MiB`, `5/s`; and numbers of things as people read them: `12 000 events`.

use std::time::Duration;

use crate::fault::Fault;

/// Reads `500ms`, `2s`, `15m`, `72h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let form = "a number and a unit, like 500ms, 2s, 15m, 72h or 7d";
    let meant = || meant(text, &TIME_WORDS, &TIME_UNITS);
    let is_one = |meant: &str| measured(meant, &TIME_UNITS).is_some();
    let millis = measured(text, &TIME_UNITS).ok_or_else(|| not_a(text, "duration", meant(), form, is_one))?;
    Ok(Duration::from_millis(millis))
}

/// Reads `600B`, `64KiB`, `1MiB` or `10GiB`.
pub fn size(text: &str) -> Result<u64, Fault> {
    let form = "a number and a unit, like 600B, 64KiB, 1MiB or 10GiB";
    let meant = || meant(text, &SIZE_WORDS, &SIZE_UNITS);
    measured(text, &SIZE_UNITS)
        .ok_or_else(|| not_a(text, "size", meant(), form, |meant| measured(meant, &SIZE_UNITS).is_some()))
}

/// A time between two as a rate, as it is written: in the largest unit of time that says it exactly.
pub fn shown_rate(interval: Duration) -> String {
    let exactly = |(unit, period): (&str, u64)| {
        let count = (Duration::from_secs(period).as_nanos() + interval.as_nanos() / 2) / interval.as_nanos().max(1);
        let text = format!("{count}/{unit}");
        (rate(&text) == Ok(interval)).then_some(text)
    };
    let known = [("s", 1), ("m", 60), ("h", 3600)].into_iter().find_map(exactly);
    known.unwrap_or_else(|| format!("one in {}", shown_duration(interval)))
}

/// Reads a rate like `5/s`, `100/m` or `1/h`, as the time between two.
pub fn rate(text: &str) -> Result<Duration, Fault> {
    let form = "a number per second, minute or hour, like 5/s, 100/m or 10/h";
    let read = || {
        let (count, unit) = text.split_once('/')?;
        let (_, unit_ms) = TIME_UNITS[1..4].iter().find(|(name, _)| *name == unit.trim())?;
        let count: u32 = count.trim().parse().ok()?;
        (1..=RATE_MAX).contains(&count).then(|| Duration::from_millis(*unit_ms) / count)
    };
    read().ok_or_else(|| not_a(text, "rate", meant_rate(text), form, |_| true))
}

/// A duration in its largest whole unit.
pub fn shown_duration(duration: Duration) -> String {
    shown(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), TIME_UNITS.iter())
}

/// A time span in all of its units, for people: `2d 3h`, `1m 30s`.
pub fn shown_span(span: Duration) -> String {
    let mut rest_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, unit_ms) in TIME_UNITS.iter().rev() {
        if rest_ms >= *unit_ms {
            parts.push(format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A size in its largest whole binary unit.
pub fn shown_size(bytes: u64) -> String {
    shown(bytes, SIZE_UNITS.iter().filter(|(name, _)| *name == "B" || is_binary(name)))
}

/// `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 event`, `2 events`, `2 deliveries`, `2 retries`, `2 days`.
pub fn numbered(number: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if number == 1 => format!("1 {what}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{} {stem}ies", grouped(number)),
        _ => format!("{} {what}s", grouped(number)),
    }
}

/// How a duration is written, as a regular expression.
pub fn duration_pattern() -> String {
    pattern(&TIME_UNITS)
}

/// How a size is written, as a regular expression.
pub fn size_pattern() -> String {
    pattern(&SIZE_UNITS)
}

/// Units of time, and how many milliseconds each is.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size, and how many bytes each is: the decimal ones rise, and so do the binary ones.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

fn is_binary(unit: &str) -> bool {
    unit.contains('i')
}

/// What people write for a unit, and the unit; lower-cased.
const TIME_WORDS: [(&str, &str); 25] = [
    ("", "s"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millis", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("ms", "ms"),
    ("s", "s"),
    ("m", "m"),
    ("h", "h"),
    ("d", "d"),
];
const SIZE_WORDS: [(&str, &str); 20] = [
    ("", "B"),
    ("b", "B"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kib", "KiB"),
    ("kb", "kB"),
    ("ki", "KiB"),
    ("m", "MiB"),
    ("mi", "MiB"),
    ("mib", "MiB"),
    ("mb", "MB"),
    ("g", "GiB"),
    ("gi", "GiB"),
    ("gib", "GiB"),
    ("gb", "GB"),
    ("t", "TiB"),
    ("ti", "TiB"),
    ("tib", "TiB"),
    ("tb", "TB"),
];

/// More than this in one unit of time is no limit.
const RATE_MAX: u32 = 100_000;

fn not_a(text: &str, what: &str, meant: Option<String>, form: &str, is_one: impl Fn(&str) -> bool) -> Fault {
    let help = match meant {
        Some(meant) if is_one(&meant) => format!("did you mean `{meant}`?"),
        Some(_) => format!("no {what} is so much: write a smaller number"),
        None => format!("write {form}"),
    };
    Fault::with_help(format!("`{text}` is not a {what}"), help)
}

fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse::<u64>().ok()?;
    let unit = text[digits..].trim();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The right way to write `5`, `15 minutes`, `1.5h` or `1mb`.
fn meant(text: &str, words: &[(&str, &str)], units: &[(&str, u64)]) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'', '~', '+']).to_lowercase().replace(',', ".");
    if let Some(sum) = summed(&text, words, units) {
        return Some(sum);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = &text[..end];
    let word = text[end..].trim();
    let (_, unit) = words.iter().find(|(known, _)| *known == word)?;
    let (_, factor) = units.iter().find(|(name, _)| name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.is_empty() {
        return whole.parse::<u64>().ok().map(|whole| format!("{whole}{unit}"));
    }
    // 1.5h is 90m: a smaller unit in which the number is whole.
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = format!("{whole}{fraction}").parse::<u64>().ok()?.checked_mul(*factor)?;
    let is_alike = |name: &str| name == "B" || is_binary(name) == is_binary(unit);
    let mut smaller: Vec<_> = units.iter().filter(|(name, _)| is_alike(name)).collect();
    smaller.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
    let (name, factor) =
        smaller.into_iter().find(|(_, factor)| scaled.is_multiple_of(scale.checked_mul(*factor).unwrap_or(0)))?;
    Some(format!("{}{name}", scaled / scale / factor))
}

/// `1d12h`, `1h 30m`: several of them, as one in the smallest unit that is named.
fn summed(text: &str, words: &[(&str, &str)], units: &[(&str, u64)]) -> Option<String> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut parts = 0;
    let mut least = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let behind = rest[end..].trim_start();
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let word = behind[..end].trim().trim_end_matches("and").trim();
        let known = words.iter().find(|(known, _)| *known == word && !known.is_empty()).map_or(word, |(_, unit)| unit);
        let (_, factor) = units.iter().find(|(name, _)| *name == known)?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        (rest, parts, least) = (behind[end..].trim_start(), parts + 1, least.min(*factor));
    }
    let (name, factor) = units.iter().find(|(_, factor)| *factor == least)?;
    (parts > 1).then(|| format!("{}{name}", total / factor))
}

fn meant_rate(text: &str) -> Option<String> {
    let text = text.to_lowercase().replace(" per ", "/").replace("per ", "/");
    let text = match text.trim().strip_suffix("rps").or(text.trim().strip_suffix("qps")) {
        Some(count) => format!("{}/s", count.trim()),
        None => match text.trim().strip_suffix("rpm") {
            Some(count) => format!("{}/m", count.trim()),
            None => text,
        },
    };
    let (count, word) = text.split_once('/').unwrap_or((&text, ""));
    let (_, unit) = TIME_WORDS.iter().find(|(known, _)| *known == word.trim())?;
    let count = count.trim().parse::<u32>().ok().filter(|count| (1..=RATE_MAX).contains(count))?;
    matches!(*unit, "s" | "m" | "h").then(|| format!("{count}/{unit}"))
}

/// In the largest of some units in which it is whole. They rise, and the first is for nothing at all.
fn shown<'u>(value: u64, mut units: impl DoubleEndedIterator<Item = &'u (&'static str, u64)> + Clone) -> String {
    let whole = units.clone().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = whole.or_else(|| units.next()).expect("there are units");
    format!("{}{name}", value / factor)
}

fn pattern(units: &[(&str, u64)]) -> String {
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    format!(r"^[0-9]+\s*({})\s*$", names.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_goes_by_its_number() {
        let said =
            [numbered(0, "event"), numbered(1, "delivery"), numbered(1200, "delivery"), numbered(2, "dead letter")];
        assert_eq!(said, ["0 events", "1 delivery", "1 200 deliveries", "2 dead letters"]);
        assert_eq!(["entry", "day", "key"].map(|what| numbered(2, what)), ["2 entries", "2 days", "2 keys"]);
        assert_eq!([grouped(7), grouped(1000), grouped(1_234_567)], ["7", "1 000", "1 234 567"]);
    }

    #[test]
    fn a_number_with_its_unit_is_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("72h"), Ok(Duration::from_secs(72 * 3600)));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("10 GiB"), Ok(10 << 30));
        assert_eq!(rate("5/s"), Ok(Duration::from_millis(200)));
        assert_eq!(rate("60/m"), Ok(Duration::from_secs(1)));
        for bad in ["", "5", "s", "5 parsecs", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for (text, bytes) in [("4TiB", 4 << 40), ("2TB", 2_000_000_000_000), ("1kB", 1_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["5", "MiB", "1mib", "1PiB", "16777216TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for known in ["5/s", "7/s", "100/m", "10/h", "1/h", "1/s"] {
            assert_eq!(shown_rate(rate(known).expect("a rate")), known);
        }
        assert_eq!(
            [shown_rate(rate("60/m").expect("a rate")), shown_rate(Duration::from_secs(7000))],
            ["1/s", "one in 7000s"]
        );
        for bad in ["5", "0/s", "5/d", "x/s", "100001/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_told() {
        let help = |fault: Fault| fault.help.expect("help");
        for (text, meant) in
            [("5", "5s"), ("15 minutes", "15m"), ("1.5h", "90m"), ("0.25s", "250ms"), ("10 SEC", "10s")]
        {
            assert_eq!(help(duration(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for (text, meant) in [
            ("5", "5B"),
            ("1mb", "1MB"),
            ("64K", "64KiB"),
            ("1.5GiB", "1536MiB"),
            ("2.5kB", "2500B"),
            ("2t", "2TiB"),
            ("1.5tb", "1500GB"),
        ] {
            assert_eq!(help(size(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for (text, meant) in [("1d12h", "36h"), ("1h 30m", "90m"), ("1 hour and 5 minutes", "65m")] {
            assert_eq!(help(duration(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        for text in ["99999999999999d", "18446744073709551615 seconds"] {
            assert_eq!(help(duration(text).expect_err(text)), "no duration is so much: write a smaller number");
        }
        assert_eq!(help(size("16777216TiB").expect_err("a size")), "no size is so much: write a smaller number");
        for (text, meant) in [
            ("5", "5/s"),
            ("10 rps", "10/s"),
            ("5/second", "5/s"),
            ("60rpm", "60/m"),
            ("5 per second", "5/s"),
            ("100/min", "100/m"),
        ] {
            assert_eq!(help(rate(text).expect_err(text)), format!("did you mean `{meant}`?"));
        }
        assert!(help(duration("5 parsecs").expect_err("no unit")).starts_with("write a number"));
        assert!(help(rate("5/d").expect_err("no unit")).starts_with("write a number"));
    }

    #[test]
    fn measures_are_shown_as_they_are_written() {
        assert_eq!(shown_duration(Duration::from_secs(90)), "90s");
        assert_eq!(shown_duration(Duration::from_secs(3600)), "1h");
        assert_eq!(shown_duration(Duration::from_millis(100)), "100ms");
        for (ms, shown) in [(0, "0s"), (90_000, "1m 30s"), (183_600_250, "2d 3h 250ms"), (3_600_000, "1h")] {
            assert_eq!(shown_span(Duration::from_millis(ms)), shown);
        }
        assert_eq!(shown_size(8 << 20), "8MiB");
        assert_eq!(shown_size(0), "0B");
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for bytes in [0, 600, 1 << 10, 3 << 20, 5 << 30, 1 << 40, 1 << 50, u64::MAX] {
            assert_eq!(size(&shown_size(bytes)), Ok(bytes));
        }
        for millis in [1, 1_500, 90_000, 7_200_000, 7 * 86_400_000] {
            let duration_of = Duration::from_millis(millis);
            assert_eq!(duration(&shown_duration(duration_of)), Ok(duration_of));
        }
    }
}
