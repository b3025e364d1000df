//! `{after: 2026-01-01, before: "2026-02-01T09:00"}`: moments, in the rule's time zone.
//!
//! `after` holds for the moment itself, `before` does not, so that each moment of a year lies in one month of those that tile it. What is no
//! moment satisfies neither.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::{Argument, Bound, Built, Edge, Holds, Operator, OperatorKind, Setting, Takes};
use crate::event::{Value, Written, moment_of};
use crate::fault::Fault;

pub(super) const AFTER: OperatorKind = OperatorKind {
    name: "after",
    about: "It is this moment or a later one: see [Times](#times).",
    example: "{ after: 2026-01-01 }",
    takes: Takes::Moment,
    of: &[Holds::Anything],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_ge),
};
pub(super) const BEFORE: OperatorKind = OperatorKind {
    name: "before",
    about: "It is a moment before this one.",
    example: "{ before: \"2026-02-01T09:00\" }",
    takes: Takes::Moment,
    of: &[Holds::Anything],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_lt),
};

fn build(argument: &Argument, setting: &Setting<'_>, is_wanted: fn(Ordering) -> bool) -> Built {
    let at = Edge::Moment(moment(argument, setting.zone)?);
    Ok(Box::new(Compare { at, zone: setting.zone.clone(), is_wanted }))
}

/// The moment that an argument names. It must be one and only one.
fn moment(argument: &Argument, zone: &TimeZone) -> Result<Timestamp, Fault> {
    let text = argument.text()?;
    let wrong = |help: String| Fault::with_help(format!("`{text}` is not a time"), Some(help));
    let Some(written) = Written::parse(text) else {
        let help = match moment_of(text, zone) {
            // Four digits are a year, and eight a date.
            Some(at) if text.len() > 8 => format!("write it as a date: {at}"),
            _ => "write a date, 2026-01-31, or a date and a time, \"2026-01-31T09:00\"".to_owned(),
        };
        return Err(wrong(help));
    };
    let name = zone.iana_name().unwrap_or("UTC");
    if let Written::Local(time) = written {
        let [early, late] = match zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { .. } => [None; 2],
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                [before, after].map(Some)
            }
        };
        if let (Some(early), Some(late)) = (early, late) {
            let is_gap = late > early;
            let what = if is_gap { "is no time" } else { "is two times" };
            let why = if is_gap { "clocks go over it" } else { "clocks show it twice" };
            let help = format!("say what it is ahead of UTC: {time}{} or {time}{}", ahead(early), ahead(late));
            return Err(Fault::with_help(format!("`{text}` {what} in {name}: {why} that day"), Some(help)));
        }
    }
    written.within(zone).ok_or_else(|| wrong("write a year from 0001 to 9999".to_owned()))
}

/// `+02:00`.
fn ahead(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    format!("{:+03}:{:02}", minutes / 60, minutes.abs() % 60)
}

#[derive(Debug)]
struct Compare {
    at: Edge,
    zone: TimeZone,
    is_wanted: fn(Ordering) -> bool,
}

impl Operator for Compare {
    fn accepts(&self, value: &Value<'_>) -> bool {
        let moment = value.text().and_then(|text| moment_of(text, &self.zone));
        let order = moment.and_then(|moment| Edge::Moment(moment).partial_cmp(&self.at));
        order.is_some_and(self.is_wanted)
    }

    fn bound(&self) -> Option<Bound<'_>> {
        Some(Bound { edge: &self.at, is_wanted: self.is_wanted })
    }

    fn read_as(&self, value: &Value<'_>) -> Option<String> {
        let text = value.text()?;
        let is_plain = matches!(Written::parse(text), Some(Written::At(_)));
        moment_of(text, &self.zone).filter(|_| !is_plain).map(|moment| moment.to_string())
    }
}
