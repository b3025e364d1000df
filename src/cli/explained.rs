//! An explanation as people read it, for `explain` and `check`. It is drawn from what scripts get, so one of a running relay looks as one that
//! was made here.

use std::fmt::Write as _;

use serde_json::Value;

use super::terminal::{Colours, plain};
use crate::destination::MISSING;

/// Each rule with its conditions: verdicts, what was expected, what it got, and why the first failing condition failed.
pub(super) fn rules(explanation: &Value, colours: Colours) -> String {
    let mut out = String::new();
    for rule in items(&explanation["rules"]) {
        let verdict = verdict(explanation, rule, colours);
        let name = colours.paint("1", &format!("{}:", text(&rule["rule"])));
        let _ = writeln!(out, "{name} {verdict}");
        for condition in items(&rule["conditions"]) {
            let line = match condition["group"].as_str() {
                Some(group) => format!("{group}:"),
                None => test(condition),
            };
            let depth = condition["depth"].as_u64().unwrap_or(0).min(DEPTH_MAX) as usize;
            let mark = mark(condition["holds"] == true, colours);
            let _ = writeln!(out, "{}{mark} {}", "  ".repeat(depth + 1), plain(&line));
        }
        if items(&rule["conditions"]).is_empty() && rule["matches"] == true {
            let _ = writeln!(out, "  {} matches every event (no conditions)", mark(true, colours));
        }
    }
    out
}

/// Conditions lie no deeper in a config.
const DEPTH_MAX: u64 = crate::yaml::load::NESTING_MAX as u64;

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    plain(value.as_str().unwrap_or_default())
}

fn texts(list: &Value) -> Vec<String> {
    items(list).iter().map(text).collect()
}

fn mark(verdict: bool, colours: Colours) -> String {
    if verdict { colours.paint("32", "yes") } else { colours.paint("31", "no ") }
}

fn verdict(explanation: &Value, rule: &Value, colours: Colours) -> String {
    match rule["matches"].as_bool() {
        None => {
            let stops = |rule: &&Value| rule["matches"] == true && rule["stop"] == true;
            let stopper = items(&explanation["rules"]).iter().find(stops).map(|rule| text(&rule["rule"]));
            format!("not tried: {} matches and has `stop`", stopper.unwrap_or_default())
        }
        Some(true) => {
            let unless = rule["unless"].as_str().map(|what| format!(" unless {}", plain(what))).unwrap_or_default();
            let stops = if rule["stop"] == true { ", and no later rule is tried (`stop`)" } else { "" };
            format!("{}{unless}{stops}", colours.paint("32", "matches"))
        }
        Some(false) => {
            let because = rule["because"].as_str().map(|why| format!(": {}", plain(why))).unwrap_or_default();
            format!("{}{because}", colours.paint("31", "does not match"))
        }
    }
}

/// `campaign.id: expected 42, got "43" (string)`.
fn test(condition: &Value) -> String {
    let [field, expected] = ["field", "expected"].map(|key| condition[key].as_str().unwrap_or_default());
    let list = expected.strip_prefix('[').and_then(|expected| expected.strip_suffix(']'));
    let expected = list.map_or(expected.to_owned(), |items| format!("one of {items}"));
    let got = items(&condition["got"]).iter().map(|got| {
        let [value, kind] = ["value", "type"].map(|key| got[key].as_str().unwrap_or_default());
        format!("{value} ({kind})")
    });
    let got: Vec<_> = got.collect();
    let got = if got.is_empty() { "nothing: the field is missing".to_owned() } else { got.join(", ") };
    format!("{field}: expected {expected}, got {got}")
}

/// What is said of one destination.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Goes {
    /// For who reads.
    pub words: String,
    /// Exactly what it would get: to be compared with what came, or copied.
    pub sends: String,
}

/// Each destination with the rules that named it, and exactly what it would get.
pub(super) fn deliveries(explanation: &Value, colours: Colours) -> Vec<Goes> {
    let deliveries = items(&explanation["deliveries"]);
    if deliveries.is_empty() {
        let words = "goes nowhere: the event is accepted and kept, and delivered to nobody\n".to_owned();
        return vec![Goes { words, ..Goes::default() }];
    }
    deliveries.iter().map(|delivery| self::delivery(delivery, colours)).collect()
}

fn delivery(delivery: &Value, colours: Colours) -> Goes {
    let rules = texts(&delivery["rules"]);
    let by = if rules.len() == 1 { "the rule" } else { "the rules" };
    let name = colours.paint("1", &text(&delivery["destination"]));
    let order = order(&delivery["goes"]).map(|order| format!("  {order}\n")).unwrap_or_default();
    let words = format!("→ {name} ({}), by {by} {}\n{order}", text(&delivery["kind"]), rules.join(", "));
    match (delivery["error"].as_str(), delivery["skipped"].as_str()) {
        (Some(why), _) => {
            let nothing = colours.paint("31", "nothing");
            Goes {
                words: format!("{words}  {nothing}: {}; it would be a dead letter\n", plain(why)),
                ..Goes::default()
            }
        }
        (None, Some(why)) => {
            let skipped = colours.paint("33", "skipped");
            Goes { words: format!("{words}  {skipped}: {}\n", plain(why)), ..Goes::default() }
        }
        (None, None) => {
            let together = match delivery["digest"].as_object() {
                Some(_) => format!("\nand together with others:\n{}", preview(&delivery["digest"], colours)),
                None => String::new(),
            };
            Goes { words, sends: indented(&(preview(&delivery["sends"], colours) + &together)) }
        }
    }
}

/// Whether it goes out at once, and if not, with what.
fn order(goes: &Value) -> Option<String> {
    let value = |field: &Value| match text(&field["value"]) {
        value if value.is_empty() => format!("{} {MISSING}", text(&field["field"])),
        value => format!("{} {value}", text(&field["field"])),
    };
    let group = match items(&goes["group"]) {
        [] if goes["others"] == true => "all other groups".to_owned(),
        [] => "all events".to_owned(),
        fields => fields.iter().map(value).collect::<Vec<_>>().join(", "),
    };
    let at = goes["at"].as_str();
    let with = match goes["with"].as_u64() {
        Some(1) => ", with 1 other".to_owned(),
        Some(with) if with > 1 => format!(", with {with} others"),
        _ => String::new(),
    };
    Some(match goes["how"].as_str()? {
        "in_order" => {
            let key = items(&goes["key"]).iter().map(value).collect::<Vec<_>>().join(", ");
            format!("goes in order, by {key}: it waits until the earlier ones with this key have gone")
        }
        "urgent" => "urgent: it passes digests and quiet hours".to_owned(),
        "first" => {
            let first = &goes["first"];
            match goes["nth"].as_u64() {
                Some(nth) => format!("goes out by itself: number {nth} of the first {first} of {group}"),
                None => {
                    format!("goes out by itself if it is one of the first {first} of {group}; else it joins a digest")
                }
            }
        }
        "digest" => match (at, goes["quiet"].as_bool()) {
            (Some(at), Some(true)) => format!("held until {at} (quiet hours), then joins the digest of {group}{with}"),
            (Some(at), _) => format!("held, joins the digest of {group} at {at}{with}"),
            (None, _) => format!("held, joins a digest of {group}"),
        },
        _ => return None,
    })
}

fn indented(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let indent = if line.is_empty() { "" } else { "  " };
        let _ = writeln!(out, "{indent}{line}");
    }
    out
}

fn preview(sends: &Value, colours: Colours) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", text(&sends["title"]));
    if let Some(headers) = sends["headers"].as_object() {
        for (name, value) in headers {
            let _ = writeln!(out, "{} {}", colours.paint("2", &format!("{}:", plain(name))), text(value));
        }
        out.push('\n');
    }
    let content = ["content", "body", "line"].iter().find_map(|name| sends[name].as_str());
    for line in content.unwrap_or_default().lines() {
        let _ = writeln!(out, "{}", plain(line));
    }
    out
}

/// What was so when an event came, beside where it goes now.
pub(super) fn then(explanation: &Value) -> String {
    let now: Vec<_> = items(&explanation["deliveries"]).iter().map(|delivery| text(&delivery["destination"])).collect();
    let then = texts(&explanation["then"]["destinations"]);
    let rules = texts(&explanation["then"]["rules"]);
    let by = match rules.len() {
        0 => "by no rule".to_owned(),
        1 => format!("by the rule {}", rules[0]),
        _ => format!("by the rules {}", rules.join(", ")),
    };
    let is_same = now.len() == then.len() && now.iter().all(|name| then.contains(name));
    match (is_same, then.is_empty()) {
        (true, _) => format!("when it came it was the same, {by}\n"),
        (false, true) => format!("when it came it went nowhere, {by}\n"),
        (false, false) => format!("when it came it went to {}, {by}\n", then.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_told_in_the_order_of_by() {
        let fields = json!([{ "field": "type", "value": "bounced" }, { "field": "campaign.name", "value": "" }]);
        let told = |goes: Value| order(&goes).unwrap_or_default();
        assert_eq!(
            told(json!({ "how": "first", "nth": 2, "first": 3, "group": fields })),
            "goes out by itself: number 2 of the first 3 of type bounced, campaign.name (none)"
        );
        assert_eq!(
            told(json!({ "how": "in_order", "key": [{ "field": "user.id", "value": "550" }] })),
            "goes in order, by user.id 550: it waits until the earlier ones with this key have gone"
        );
        let at = "2026-07-01T12:15:00Z";
        assert_eq!(
            told(json!({ "how": "digest", "at": at, "with": 1, "quiet": false, "group": [], "others": true })),
            format!("held, joins the digest of all other groups at {at}, with 1 other")
        );
        assert_eq!(
            told(json!({ "how": "digest", "at": at, "with": 0, "quiet": false, "group": [], "others": false })),
            format!("held, joins the digest of all events at {at}")
        );
    }

    #[test]
    fn what_is_read_is_apart_from_what_is_copied() {
        let to = |more: Value| {
            let mut delivery = json!({ "destination": "crm", "kind": "http", "rules": ["a", "b"] });
            delivery.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            deliveries(&json!({ "deliveries": [delivery] }), Colours { are_on: false }).pop().expect("one")
        };
        let head = "→ crm (http), by the rules a, b\n";
        let goes = |more: &str, sends: &str| Goes { words: format!("{head}{more}"), sends: sends.to_owned() };
        let sends = json!({ "sends": { "title": "POST /", "headers": { "a": "b" }, "body": "{}" } });
        assert_eq!(to(sends), goes("", "  POST /\n  a: b\n\n  {}\n"));
        assert_eq!(to(json!({ "error": "no user" })), goes("  nothing: no user; it would be a dead letter\n", ""));
        assert_eq!(to(json!({ "skipped": "it is empty" })), goes("  skipped: it is empty\n", ""));
        let nowhere = deliveries(&json!({ "deliveries": [] }), Colours { are_on: false });
        assert!(nowhere.len() == 1 && nowhere[0].words.starts_with("goes nowhere: "), "{nowhere:?}");
    }
}
