//! `date`: a moment of an event as people read it.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};

use super::super::timezone;
use crate::destination::number;
use crate::event::UNIX_SECONDS_MAX;

/// How a date reads if the template does not say.
const FORMAT: &str = "%Y-%m-%d %H:%M";
/// A format longer than this is a slip; each sign of it may print some dozens.
const FORMAT_BYTES_MAX: usize = 200;

/// `{{ bounced_at | date("%d.%m.%Y %H:%M", "Europe/Berlin") }}`.
pub fn date(value: &Value, format: Option<Value>, zone: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let format = named(format, &kwargs, "format")?.unwrap_or_else(|| FORMAT.to_owned());
    let zone = named(zone, &kwargs, "timezone")?;
    kwargs.assert_all_used()?;
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => timezone::find(&name).map_err(|fault| {
            let help = fault.help.map_or_else(String::new, |help| format!(": {help}"));
            invalid(format!("{}{help}", fault.message))
        })?,
    };
    if format.len() > FORMAT_BYTES_MAX {
        return Err(invalid(format!("a date's format has at most {FORMAT_BYTES_MAX} bytes")));
    }
    if !format.contains('%') {
        let help = match timezone::find(format.trim()) {
            Ok(_) => format!("the zone stands second: date(\"%Y-%m-%d %H:%M\", \"{}\")", format.trim()),
            Err(_) => "write strftime: %Y-%m-%d".to_owned(),
        };
        return Err(invalid(format!("`{format}` is no format of a date: {help}")));
    }
    let write = |moment: Timestamp| {
        strtime::format(&format, &moment.to_zoned(zone.clone()))
            .map_err(|error| invalid(format!("`{format}` is no format of a date like %Y-%m-%d: {error}")))
    };
    // A slip in the format shows when the config is read, even if no sample has the field.
    write(Timestamp::UNIX_EPOCH)?;
    if value.is_undefined() || value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(Value::UNDEFINED);
    }
    let moment = moment(value)
        .ok_or_else(|| invalid(format!("`{value}` is no moment: unix seconds, or a text like 2026-11-25T08:00:00Z")))?;
    write(moment).map(Value::from)
}

fn named(given: Option<Value>, kwargs: &Kwargs, name: &str) -> Result<Option<String>, Error> {
    let value = match given {
        Some(value) => Some(value),
        None => kwargs.get::<Option<Value>>(name)?,
    };
    match value.filter(|value| !value.is_undefined() && !value.is_none()) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(invalid(format!("the {name} of a date is a text"))),
        },
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn moment(value: &Value) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        return of_number(text.trim()).or_else(|| of_text(text.trim()));
    }
    let number = number::native(value.clone());
    if number.is_number() { of_number(&number.to_string()) } else { None }
}

/// Unix seconds or milliseconds, with a fraction or without.
fn of_number(text: &str) -> Option<Timestamp> {
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let seconds = if number.abs() >= UNIX_SECONDS_MAX as f64 { number / 1000.0 } else { number };
    let whole = seconds.floor();
    let nanoseconds = ((seconds - whole) * 1e9) as i32;
    Timestamp::new(whole as i64, nanoseconds.min(999_999_999)).ok()
}

/// RFC 3339, RFC 2822, or a day or a time of day without an offset, which is in UTC.
fn of_text(text: &str) -> Option<Timestamp> {
    let in_utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<DateTime>().ok().and_then(in_utc))
        .or_else(|| text.parse::<Date>().ok().and_then(|day| in_utc(day.at(0, 0, 0, 0))))
        .or_else(|| rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: impl Into<Value>, format: Option<&str>, zone: Option<&str>, expected: &str) {
        let value = value.into();
        let shown =
            date(&value, format.map(Value::from), zone.map(Value::from), Kwargs::from_iter::<[(&str, Value); 0]>([]));
        assert_eq!(shown.expect("a date").to_string(), expected, "{value} {format:?} {zone:?}");
    }

    #[test]
    fn a_moment_is_told_in_a_format_and_a_zone() {
        check(1_435_016_238, None, None, "2015-06-22 23:37");
        check("1435016238", None, None, "2015-06-22 23:37");
        check(1_435_016_238_000_i64, None, None, "2015-06-22 23:37");
        check(1_435_016_238.75, Some("%H:%M:%S%.3f"), None, "23:37:18.750");
        check(-1, Some("%Y-%m-%d %H:%M:%S"), None, "1969-12-31 23:59:59");
        check(0, Some("%s"), None, "0");
        check(1_435_016_238, Some("%d.%m.%Y %H:%M"), Some("Europe/Berlin"), "23.06.2015 01:37");
        check("2024-10-27T00:30:00Z", Some("%H:%M %Z"), Some("Europe/Berlin"), "02:30 CEST");
        check("2024-10-27T01:30:00Z", Some("%H:%M %Z"), Some("Europe/Berlin"), "02:30 CET");
        check("2026-11-25T08:00:00+02:00", None, None, "2026-11-25 06:00");
        check("2026-11-25", None, None, "2026-11-25 00:00");
        check("2026-11-25 08:15:00", None, None, "2026-11-25 08:15");
        check("Wed, 25 Nov 2026 08:00:00 +0000", None, None, "2026-11-25 08:00");
        check(Value::UNDEFINED, None, None, "");
        check(Value::from(()), None, None, "");
        check("", None, None, "");
    }

    #[track_caller]
    fn refused(value: impl Into<Value>, format: Option<&str>, zone: Option<&str>, part: &str) {
        let value = value.into();
        let shown =
            date(&value, format.map(Value::from), zone.map(Value::from), Kwargs::from_iter::<[(&str, Value); 0]>([]));
        let error = shown.expect_err("no date").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_is_no_moment_format_or_zone_is_told_even_of_a_missing_value() {
        refused("soon", None, None, "is no moment");
        refused(Value::from(vec![1]), None, None, "is no moment");
        refused(f64::MAX, None, None, "is no moment");
        refused(Value::UNDEFINED, Some("%!"), None, "is no format of a date");
        refused(Value::UNDEFINED, None, Some("europe/berlin"), "did you mean `Europe/Berlin`?");
        for format in ["YYYY-MM-DD", "yyyy-MM-dd HH:mm", "short", "", "d.m.Y"] {
            refused(Value::UNDEFINED, Some(format), None, "write strftime: %Y-%m-%d");
        }
        for zone in ["Europe/Berlin", "UTC"] {
            refused(0, Some(zone), None, &format!("date(\"%Y-%m-%d %H:%M\", \"{zone}\")"));
        }
        refused(0, None, Some("GMT+2"), "a time zone is a place");
        refused(0, Some(&"%Y".repeat(200)), None, "at most 200 bytes");
    }
}
