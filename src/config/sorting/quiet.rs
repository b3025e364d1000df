//! `quiet:` of a destination → [`Quiet`]: the hours and the days on which nothing goes out but what is urgent.

use serde_json::json;

use crate::deliver::sorting::Quiet;
use crate::deliver::sorting::quiet::DAY_MINUTES;
use crate::destination::timezone;
use crate::yaml::keys::{Key, Of, Section, by_hand, form, key, text};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Node, NodeId, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::words;

/// When nothing else goes out.
pub(in crate::config) const QUIET: Key<()> = key("quiet", by_hand(Of::Map(quiet_keys)))
    .about("Hours in which only what is urgent goes out. The rest waits, and goes out together afterwards.")
    .example("{ from: \"22:00\", to: \"07:00\", timezone: Europe/Berlin }")
    .never_empty();
const TIME: &str = "^([01]?[0-9]|2[0-3]):[0-5][0-9]$|^24:00$";
const QUIET_FROM: Key<String> = key("from", form(TIME, "time of day"))
    .seen(Sight::All)
    .about("When they begin, by the clock of `timezone`.")
    .example("\"22:00\"")
    .required();
const QUIET_TO: Key<String> = key("to", form(TIME, "time of day"))
    .seen(Sight::All)
    .about("When they end; on the next day, if that is no later than `from`. A day's end is \"24:00\".")
    .example("\"07:00\"")
    .required();
const QUIET_TIMEZONE: Key<String> = key("timezone", text())
    .seen(Sight::All)
    .about("Whose clock, by the name in the system's database. A time that summer time skips is an hour later; one that comes twice is the first.")
    .example("Europe/Berlin")
    .required();
/// The days of a week, as they are written and as others write them.
const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];
const QUIET_DAYS: Key<()> = key("days", by_hand(Of::Own("days", days_schema)))
    .seen(Sight::All)
    .about("The days on which they begin: `mon` `tue` `wed` `thu` `fri` `sat` `sun`.")
    .example("[mon, tue, wed, thu, fri]")
    .otherwise("every day");

fn days_schema() -> serde_json::Value {
    let day = json!({ "enum": DAYS.map(|(day, _)| day) });
    json!({ "anyOf": [day, { "type": "array", "items": day, "minItems": 1 }] })
}

fn quiet_keys() -> Section {
    Section::of(&[QUIET_FROM.info, QUIET_TO.info, QUIET_TIMEZONE.info, QUIET_DAYS.info])
}

/// Reads the hours; `None` where something is wrong with them, which has been told.
pub(super) fn read(reader: &Reader, node: &Node) -> Option<Quiet> {
    if !matches!(node.value, Value::Map(_)) {
        let text = node.scalar().filter(|scalar| !scalar.is_interpolated).map(|scalar| scalar.text.as_str());
        let help = match text.and_then(meant_hours) {
            Some([from, to]) => format!("write quiet: {{ from: \"{from}\", to: \"{to}\", timezone: Europe/Berlin }}"),
            None => format!("write quiet: {}", QUIET.info.example),
        };
        reader.error_with(node.id, format!("`quiet` should be a map, and it is {}", node.kind()), help);
        return None;
    }
    let mut entries = reader.map(node, "`quiet`")?.never_empty();
    let from = entries.node(&QUIET_FROM.info);
    let to = entries.node(&QUIET_TO.info);
    let times = [from, to].map(|node| node.and_then(|node| read_time(reader, node)));
    let zone = entries.node(&QUIET_TIMEZONE.info).and_then(|node| {
        let name = reader.text(node)?;
        timezone::find(name).map_err(|fault| reader.fault(node.id, fault)).ok()
    });
    let days = entries.node(&QUIET_DAYS.info);
    let days_at = days.map_or(node.id, |days| days.id);
    let days = days.map_or(Some([true; 7]), |node| read_days(reader, node));
    entries.finish();
    let ([Some(start), Some(end)], Some(zone), Some(days)) = (times, zone, days) else { return None };
    check_hours(reader, (from.map_or(node.id, |from| from.id), start), end, (days_at, days))?;
    Some(Quiet { from: start, to: end, zone, days })
}

fn check_hours(
    reader: &Reader,
    (at, from): (NodeId, u16),
    to: u16,
    (days_at, days): (NodeId, [bool; 7]),
) -> Option<()> {
    if from == DAY_MINUTES {
        reader.error_with(at, "quiet hours cannot begin at the end of a day", "write from: \"00:00\"".to_owned());
        return None;
    }
    if from == to {
        let help = "for whole days write from: \"00:00\", to: \"24:00\", and the `days`".to_owned();
        reader.error_with(at, "`from` and `to` are the same time", help);
        return None;
    }
    if from == 0 && to == DAY_MINUTES && days == [true; 7] {
        let help = "name the days, like days: [sat, sun]; `vero-relay pause` holds a destination".to_owned();
        reader.error_with(days_at, "it would be quiet for ever, and nothing would go out", help);
        return None;
    }
    Some(())
}

/// `22:00` as minutes of a day.
fn read_time(reader: &Reader, node: &Node) -> Option<u16> {
    let text = reader.text(node)?;
    let time = text.split_once(':').and_then(|(hours, minutes)| {
        let is_number = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let both = is_number(hours) && is_number(minutes) && minutes.len() == 2;
        let (hours, minutes): (u16, u16) = both.then(|| Some((hours.parse().ok()?, minutes.parse().ok()?)))??;
        let is_time = (hours < 24 && minutes < 60) || (hours, minutes) == (24, 0);
        is_time.then_some(hours * 60 + minutes)
    });
    if time.is_none() {
        let help =
            meant_time(text).map_or_else(|| "write it like \"22:00\"".to_owned(), |time| format!("write \"{time}\""));
        reader.error_with(node.id, format!("`{text}` is not a time of day"), help);
    }
    time
}

/// The hours that were meant by `22:00-07:00` or `10pm to 7am`.
fn meant_hours(text: &str) -> Option<[String; 2]> {
    let (from, to) =
        ["-", "–", "—", "..", " to ", " until ", ","].into_iter().find_map(|sign| text.split_once(sign))?;
    Some([meant_time(from)?, meant_time(to)?])
}

/// The time that was meant by `22`, `22.30`, `10pm`, `2230`, or `1320`, which is what an older YAML makes of `22:00`.
fn meant_time(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (text, is_afternoon) = match text.strip_suffix("pm") {
        Some(text) => (text.trim().to_owned(), Some(true)),
        None => match text.strip_suffix("am") {
            Some(text) => (text.trim().to_owned(), Some(false)),
            None => (text, None),
        },
    };
    let (hours, minutes) = text.split_once([':', '.', 'h']).unwrap_or((&text, "0"));
    let minutes = minutes.strip_suffix(":00").unwrap_or(minutes);
    let minutes: u16 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let mut hours: u16 = hours.parse().ok()?;
    match is_afternoon {
        Some(_) if hours > 12 || hours == 0 => return None,
        Some(true) => hours = hours % 12 + 12,
        Some(false) => hours %= 12,
        None => {}
    }
    let (hours, minutes) = match hours {
        0..24 => (hours, minutes),
        // Base sixty.
        _ if hours < DAY_MINUTES && hours.is_multiple_of(60) => (hours / 60, hours % 60),
        100..2400 if minutes == 0 => (hours / 100, hours % 100),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| format!("{hours:02}:{minutes:02}"))
}

fn read_days(reader: &Reader, node: &Node) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    let mut is_complete = true;
    let items = reader.list(node);
    if items.is_empty() {
        let help = "name at least one, or take `days` out: then it is every day".to_owned();
        reader.error_with(node.id, "there is no day in this list, so it would never be quiet", help);
        return None;
    }
    for item in items {
        let Some(text) = reader.text(item) else {
            is_complete = false;
            continue;
        };
        match DAYS.iter().position(|(day, _)| *day == text) {
            Some(at) if days[at] => reader.warning(item.id, format!("`{text}` is named twice"), None),
            Some(at) => days[at] = true,
            None => {
                is_complete = false;
                let near = || did_you_mean(text, DAYS.map(|(day, _)| day));
                let help = match meant_days(text) {
                    Some(days) if item.id == node.id && days.len() > 1 => {
                        format!("write days: [{}]", days.join(", "))
                    }
                    Some(days) => format!("write {}", days.join(", ")),
                    None => near().unwrap_or_else(|| "write mon, tue, wed, thu, fri, sat or sun".to_owned()),
                };
                reader.error_with(item.id, format!("`{text}` is not a day"), help);
            }
        }
    }
    is_complete.then_some(days)
}

/// What was meant by `Monday`, `mo`, `mon-fri` or `mon, tue`.
fn meant_days(text: &str) -> Option<Vec<&'static str>> {
    let day = |text: &str| {
        let text = text.trim().to_lowercase();
        let of = |(short, long): &(&'static str, &'static str)| {
            (text.len() >= 2 && long.starts_with(text.trim_end_matches('s'))).then_some(*short)
        };
        DAYS.iter().find_map(of)
    };
    let at = |wanted: &str| DAYS.iter().position(|(day, _)| *day == wanted);
    if let Some((first, last)) = text.split_once(['-', '–', '…']).or_else(|| text.split_once(".."))
        && let (Some(first), Some(last)) = (day(first).and_then(at), day(last.trim_start_matches('.')).and_then(at))
    {
        let length = (last + 7 - first) % 7 + 1;
        return Some((first..first + length).map(|at| DAYS[at % 7].0).collect());
    }
    match text.to_lowercase().as_str() {
        "weekdays" | "workdays" => return Some(vec!["mon", "tue", "wed", "thu", "fri"]),
        "weekend" | "weekends" => return Some(vec!["sat", "sun"]),
        _ => {}
    }
    let several = || words::listed(text)?.into_iter().map(day).collect();
    day(text).map(|day| vec![day]).or_else(several)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_written_otherwise_is_understood() {
        for (text, time) in [
            ("22", "22:00"),
            ("22.30", "22:30"),
            ("10pm", "22:00"),
            ("10:15 PM", "22:15"),
            ("12am", "00:00"),
            ("12pm", "12:00"),
            ("7h", "07:00"),
            ("2230", "22:30"),
            ("1320", "22:00"),
            ("22:30:00", "22:30"),
        ] {
            assert_eq!(meant_time(text).as_deref(), Some(time), "{text}");
        }
        for text in ["", "late", "25:00", "22:60", "22:30:15", "13pm", "0am", "9999", "-1"] {
            assert_eq!(meant_time(text), None, "{text}");
        }
    }

    #[test]
    fn hours_that_were_written_as_one_text_are_understood() {
        for (text, from, to) in [
            ("22:00-07:00", "22:00", "07:00"),
            ("22:00 – 7:30", "22:00", "07:30"),
            ("10pm to 7am", "22:00", "07:00"),
            ("22..7", "22:00", "07:00"),
        ] {
            assert_eq!(meant_hours(text), Some([from.to_owned(), to.to_owned()]), "{text}");
        }
        for text in ["22:00", "night", "22:00-late", ""] {
            assert_eq!(meant_hours(text), None, "{text}");
        }
    }

    #[test]
    fn days_that_were_written_otherwise_are_understood() {
        for (text, told) in [
            ("Monday", "mon"),
            ("mo", "mon"),
            ("Thurs", "thu"),
            ("Tuesdays", "tue"),
            ("mon-fri", "mon, tue, wed, thu, fri"),
            ("fri–mon", "fri, sat, sun, mon"),
            ("mon..wed", "mon, tue, wed"),
            ("Weekend", "sat, sun"),
            ("mon, Tue", "mon, tue"),
            ("sat and sun", "sat, sun"),
        ] {
            assert_eq!(meant_days(text).map(|days| days.join(", ")).as_deref(), Some(told), "{text}");
        }
        assert_eq!(meant_days("holidays"), None);
    }
}
