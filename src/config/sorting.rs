//! `digest:`, `urgent:` and `quiet:` of a destination → [`Sorting`]: what goes out together, what passes everything else, and when nothing else
//! goes out.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

use super::{advice, rules};
use crate::deliver::sorting::quiet::DAY_MINUTES;
use crate::deliver::sorting::{Field, Gathering, Quiet, Sorting};
use crate::destination::{self, Kind, timezone};
use crate::event::{FieldPath, FieldSetBuilder, RelayField};
use crate::rules::Condition;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Key, Of, Section, by_hand, duration, form, key, text, whole};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Node, NodeId, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Below it a window gathers nothing, and what waits for more than a day nobody waits for.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 60 * 60);
/// Fields that make a group. More would make a group of each event.
const BY_MAX: usize = 8;
/// Each example is rendered, and lies in memory while it is.
const EXAMPLES: RangeInclusive<u64> = 1..=1000;

/// What goes out together.
pub(super) const DIGEST: Key<()> = key("digest", by_hand(Of::Map(digest_keys)))
    .seen(Sight::All)
    .about("Deliveries of a group go out as one message: a group opens a window with its first event, the first few go out by themselves, the rest waits for the window's end. It waits on disk.")
    .example("{ every: 15m, by: [type, campaign.name], first: 3 }");
const DIGEST_EVERY: Defaulted<Duration> = key("every", duration(EVERY))
    .about("How long a window is open.")
    .example("15m")
    .default(Duration::from_secs(15 * 60));
const DIGEST_BY: Key<()> = key("by", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The fields whose values make a group, at most 8, written as in a match. `[]`: all events are one group.")
    .example("[type, campaign.name]")
    .otherwise("`[type]`");
const DIGEST_FIRST: Defaulted<u64> = key("first", whole(0..=100))
    .about("So many events of each window go out by themselves, at once. Of all groups together no more than 20 in the time of one window.")
    .example("3")
    .default(3);
const DIGEST_MAX: Defaulted<u64> = key("max", whole(*EXAMPLES.start()..=*EXAMPLES.end()))
    .about("So many events are shown as examples, half of them the first and half the last. All are counted.")
    .example("10")
    .default(50);
const DIGEST_BREAKDOWN: Key<String> = key("breakdown", text())
    .seen(Sight::All)
    .about("A field by whose values each group is counted.")
    .example("bounce_type")
    .otherwise("the first of `type`, `campaign.name`, `bounce_type` that `by` does not have");

/// What passes everything that waits.
pub(super) const URGENT: Key<()> = key("urgent", by_hand(Of::Own("match map", || json!({ "$ref": "#/$defs/match" }))))
    .seen(Sight::All)
    .about("Deliveries that pass everything that waits before them, digests and quiet hours too, within the rate. See [Match maps](#match-maps).")
    .example("{ type: complained, campaign.type: transactional }")
    .otherwise("nothing is urgent");

/// When nothing else goes out.
pub(super) const QUIET: Key<()> = key("quiet", by_hand(Of::Map(quiet_keys)))
    .about("Hours in which only what is urgent goes out. The rest waits, and goes out together afterwards.")
    .example("{ from: \"22:00\", to: \"07:00\", timezone: Europe/Berlin }");
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

fn digest_keys() -> Section {
    let common = [DIGEST_EVERY.info, DIGEST_BY.info, DIGEST_FIRST.info, DIGEST_MAX.info, DIGEST_BREAKDOWN.info];
    Section::of(&common).and(&destination::digest_keys())
}

fn quiet_keys() -> Section {
    Section::of(&[QUIET_FROM.info, QUIET_TO.info, QUIET_TIMEZONE.info, QUIET_DAYS.info])
}

/// The nodes of what sorts a destination's deliveries.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'n> {
    pub digest: Option<&'n Node>,
    pub urgent: Option<&'n Node>,
    pub quiet: Option<&'n Node>,
}

impl<'n> Nodes<'n> {
    /// Takes them from what all destinations may set.
    pub fn take(entries: &mut Entries<'_, 'n>) -> Self {
        let [digest, urgent, quiet] = [DIGEST.info, URGENT.info, QUIET.info].map(|info| entries.node(&info));
        Self { digest, urgent, quiet }
    }
}

/// Reads them; `None` where there are none, or something is wrong with them, which has been told. `can_be_one`: whether several of the
/// destination's deliveries can go out as one message, where that is known.
pub(super) fn read(reader: &Reader, nodes: Nodes<'_>, kind: &Kind, can_be_one: Option<bool>) -> Option<Sorting> {
    if nodes.digest.is_none() && nodes.urgent.is_none() && nodes.quiet.is_none() {
        return None;
    }
    if kind.digest.is_none() || can_be_one == Some(false) {
        tell_of_single(reader, nodes, kind);
    }
    let mut fields = FieldSetBuilder::default();
    let quiet = nodes.quiet.and_then(|node| read_quiet(reader, node));
    let gathering = match nodes.digest {
        Some(node) => read_digest(reader, node, nodes, &mut fields),
        None => nodes.quiet.is_some().then(|| Gathering {
            every: None,
            by: usual_by(&mut fields),
            breakdown: usual_breakdown(&mut fields, &["type".to_owned()]),
            first: 0,
            examples: DIGEST_MAX.default as usize,
        }),
    };
    let urgent = nodes.urgent.and_then(|node| read_urgent(reader, node, &mut fields));
    Some(Sorting::new(fields.build(), urgent, gathering, quiet))
}

/// Deliveries that cannot be one message.
fn tell_of_single(reader: &Reader, nodes: Nodes<'_>, kind: &Kind) {
    for (node, name) in [(nodes.digest, "digest"), (nodes.quiet, "quiet")] {
        let Some(node) = node else { continue };
        let (message, help) = if kind.digest.is_none() {
            let message =
                format!("a destination of kind `{}` takes every event by itself, so it has no `{name}`", kind.name);
            (message, format!("take `{name}` out; `urgent` may stand there"))
        } else {
            let message = "this destination sends each event as it came, and several of them are none";
            let form = "json: { count: \"{{ digest.count }}\" }";
            let help = match name {
                "digest" => format!("say what goes out for several, below `digest`: {form}"),
                _ => format!("what waited goes out together afterwards: say as what, digest: {{ {form} }}"),
            };
            (message.to_owned(), help)
        };
        reader.error_with(node.id, message, help);
    }
}

fn read_digest(reader: &Reader, node: &Node, nodes: Nodes<'_>, fields: &mut FieldSetBuilder) -> Option<Gathering> {
    if !matches!(node.value, Value::Map(_)) {
        let help = match node.scalar().map(|scalar| scalar.text.as_str()) {
            Some(text) if crate::units::duration(text).is_ok() => format!("write digest: {{ every: {text} }}"),
            _ => "write digest: { every: 15m }".to_owned(),
        };
        reader.error_with(node.id, format!("`digest` should be a map, and it is {}", node.kind()), help);
        return None;
    }
    let mut entries = reader.map(node, "`digest`")?;
    let every = entries.value(&DIGEST_EVERY);
    let by = match entries.node(&DIGEST_BY.info) {
        Some(by) => read_by(reader, by, fields),
        None => usual_by(fields),
    };
    let first = entries.value(&DIGEST_FIRST);
    let examples = entries.value(&DIGEST_MAX);
    let paths: Vec<String> = by.iter().map(|field| field.path.clone()).collect();
    let breakdown = match entries.node(&DIGEST_BREAKDOWN.info) {
        Some(node) => read_field(reader, node, fields).inspect(|field| {
            if paths.contains(&field.path) {
                let help = "every event of a group has the same value there: name another, or take it out".to_owned();
                reader.warning(node.id, format!("`by` has `{}` already", field.path), help);
            }
        }),
        None => usual_breakdown(fields, &paths),
    };
    if first == 0 && nodes.urgent.is_none() && node.get(DIGEST_FIRST.info.name).is_some() {
        let help =
            "write `first: 1`, so that the first of its kind is seen at once; or say what is `urgent`".to_owned();
        let at = node.get(DIGEST_FIRST.info.name).map_or(node.id, |node| node.id);
        reader.warning(at, "every event waits for its digest, whatever it is", help);
    }
    // What the message looks like is read by the kind.
    for info in destination::digest_keys() {
        entries.node(&info);
    }
    entries.finish();
    Some(Gathering { every: Some(every), by, breakdown, first: first as u32, examples: examples as usize })
}

fn usual_by(fields: &mut FieldSetBuilder) -> Vec<Field> {
    usual_field(fields, "type").into_iter().collect()
}

fn usual_breakdown(fields: &mut FieldSetBuilder, by: &[String]) -> Option<Field> {
    let usual = ["type", "campaign.name", "bounce_type"];
    let lacking = usual.into_iter().find(|path| !by.iter().any(|known| known == path))?;
    usual_field(fields, lacking)
}

fn usual_field(fields: &mut FieldSetBuilder, path: &str) -> Option<Field> {
    let id = fields.add(&FieldPath::parse(path).ok()?);
    Some(Field { path: path.to_owned(), id })
}

fn read_by(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Vec<Field> {
    let mut by: Vec<Field> = Vec::new();
    for item in reader.list(node) {
        let Some(field) = read_field(reader, item, fields) else { continue };
        if by.iter().any(|known| known.id == field.id) {
            reader.warning(item.id, format!("`{}` is named twice", field.path), None);
            continue;
        }
        if is_of_one_event(&field.path) {
            let help = "group by what many events share, like type and campaign.name".to_owned();
            let message = format!("nearly every event has a `{}` of its own, so nothing is gathered", field.path);
            reader.warning(item.id, message, help);
        }
        by.push(field);
    }
    if by.len() > BY_MAX {
        let help = "group by what many events share, like type and campaign.name".to_owned();
        reader.error_with(node.id, format!("a group is made by at most {BY_MAX} fields"), help);
    }
    by
}

/// Whether hardly two events share what stands there.
fn is_of_one_event(path: &str) -> bool {
    let names = ["id", "message_id", "user.id", "user.email", "email", "relay.received_at", "relay.occurred_at"];
    names.contains(&path) || path.ends_with("_at")
}

fn read_field(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<Field> {
    let text = reader.text(node)?;
    if text.contains("{{") {
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}').trim().to_owned();
        let bare = if FieldPath::parse(&bare).is_ok() { bare } else { "campaign.name".to_owned() };
        reader.error_with(node.id, "this is a field and no template", format!("write {bare}"));
        return None;
    }
    match FieldPath::parse(text) {
        Ok(FieldPath::Relay(RelayField::Id | RelayField::Rule)) => {
            let help = "it can be relay.source, or a field of the event".to_owned();
            reader.error_with(node.id, format!("events are not grouped by `{text}`"), help);
            None
        }
        Ok(path) => {
            advice::fields::advise_of_path(reader, node.id, &path);
            Some(Field { path: text.to_owned(), id: fields.add(&path) })
        }
        Err(error) => {
            reader.error_with(node.id, error.to_string(), "write a field like campaign.name".to_owned());
            None
        }
    }
}

fn read_urgent(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<Condition> {
    if let (Some(inner), Value::Map(entries)) = (node.get("match"), &node.value)
        && entries.len() == 1
        && matches!(inner.value, Value::Map(_))
    {
        let help = "write urgent: { type: complained }".to_owned();
        reader.error_with(node.id, "the conditions stand below `urgent` at once, without `match`", help);
        return None;
    }
    let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    if is_empty || !matches!(node.value, Value::Map(_)) {
        let help = "write conditions as in a rule: urgent: { type: complained }".to_owned();
        let message = match is_empty {
            true => "`urgent` asks for nothing, so everything would be urgent".to_owned(),
            false => format!("`urgent` should be a match map, and it is {}", node.kind()),
        };
        reader.error_with(node.id, message, help);
        return None;
    }
    rules::read_condition(reader, node, fields)
}

fn read_quiet(reader: &Reader, node: &Node) -> Option<Quiet> {
    if !matches!(node.value, Value::Map(_)) {
        let help = "write quiet: { from: \"22:00\", to: \"07:00\", timezone: Europe/Berlin }".to_owned();
        reader.error_with(node.id, format!("`quiet` should be a map, and it is {}", node.kind()), help);
        return None;
    }
    let mut entries = reader.map(node, "`quiet`")?;
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
                let help = meant_days(text).unwrap_or_else(|| "write mon, tue, wed, thu, fri, sat or sun".to_owned());
                reader.error_with(item.id, format!("`{text}` is not a day"), help);
            }
        }
    }
    is_complete.then_some(days)
}

/// What was meant by `Monday`, `mo` or `mon-fri`.
fn meant_days(text: &str) -> Option<String> {
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
        let days: Vec<_> = (first..first + length).map(|at| DAYS[at % 7].0).collect();
        return Some(format!("write {}", days.join(", ")));
    }
    match text.to_lowercase().as_str() {
        "weekdays" | "workdays" => return Some("write mon, tue, wed, thu, fri".to_owned()),
        "weekend" | "weekends" => return Some("write sat, sun".to_owned()),
        _ => {}
    }
    day(text).map(|day| format!("write {day}")).or_else(|| did_you_mean(text, DAYS.map(|(day, _)| day)))
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
        ] {
            assert_eq!(meant_time(text).as_deref(), Some(time), "{text}");
        }
        for text in ["", "late", "25:00", "22:60", "13pm", "0am", "9999", "-1"] {
            assert_eq!(meant_time(text), None, "{text}");
        }
    }

    #[test]
    fn days_that_were_written_otherwise_are_understood() {
        for (text, told) in [
            ("Monday", "write mon"),
            ("mo", "write mon"),
            ("Thurs", "write thu"),
            ("Tuesdays", "write tue"),
            ("mon-fri", "write mon, tue, wed, thu, fri"),
            ("fri–mon", "write fri, sat, sun, mon"),
            ("mon..wed", "write mon, tue, wed"),
            ("Weekend", "write sat, sun"),
        ] {
            assert_eq!(meant_days(text).as_deref(), Some(told), "{text}");
        }
        assert_eq!(meant_days("holidays"), None);
    }
}
