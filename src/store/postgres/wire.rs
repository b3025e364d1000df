//! What is to be done, as the table of commands has it.

use std::time::Duration;

use serde_json::{Value, json};

use super::handover::Rest;
use crate::event::EventId;
use crate::store::queues::Bitmap;
use crate::store::{DeadQuery, NameId, Standing, What, Which};

/// What a row of the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// A command that somebody gave.
    Do(What),
    /// A part of an erasing.
    Erase(Part),
    /// What another destination has given up for this one.
    TakeIn(Rest),
}

/// What an erasing asks of a destination's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The numbers of events that are meant.
    pub numbers: Bitmap,
    /// Their deliveries are to end; otherwise it is only asked where they stand.
    pub ends: bool,
}

/// What the owner answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Where the deliveries stood.
    pub standing: Standing,
    /// Those that were ended.
    pub ended: u64,
    /// Those that are in flight now.
    pub in_flight: u64,
}

/// A part of an erasing as JSON. Whom it is about is not in it.
pub fn part_to_json(Part { numbers, ends }: &Part) -> Value {
    json!({"do": "erase", "ends": ends, "numbers": numbers.iter_from(0).collect::<Vec<_>>()})
}

/// An answer as JSON.
pub fn ended_to_json(Ended { standing, ended, in_flight }: &Ended) -> Value {
    let Standing { waiting, scheduled, in_flight: stood_in_flight, dead, held, gathered } = standing;
    json!({
        "waiting": waiting, "scheduled": scheduled, "stood_in_flight": stood_in_flight, "dead": dead, "held": held,
        "gathered": gathered, "ended": ended, "in_flight": in_flight,
    })
}

/// What [`ended_to_json`] gave.
pub fn ended_from_json(text: &str) -> Option<Ended> {
    let value: Value = serde_json::from_str(text).ok()?;
    let count = |key: &str| value[key].as_u64();
    let standing = Standing {
        waiting: count("waiting")?,
        scheduled: count("scheduled")?,
        in_flight: count("stood_in_flight")?,
        dead: count("dead")?,
        held: count("held")?,
        gathered: count("gathered")?,
    };
    Some(Ended { standing, ended: count("ended")?, in_flight: count("in_flight")? })
}

/// As JSON.
pub fn to_json(what: &What) -> Value {
    match what {
        What::Pause { reason } => json!({"do": "pause", "reason": reason}),
        What::Hold => json!({"do": "hold"}),
        What::Resume => json!({"do": "resume"}),
        What::RetryNow => json!({"do": "retry now"}),
        What::Redeliver(which) => json!({"do": "redeliver", "which": of_which(which)}),
        What::DeadLetter { which, reason } => json!({"do": "dead-letter", "which": of_which(which), "reason": reason}),
        What::Drop(which) => json!({"do": "drop", "which": of_which(which)}),
        What::Move { which, to } => json!({"do": "move", "which": of_which(which), "to": to.0}),
        What::TakeOver { to } => json!({"do": "take over", "to": to.0}),
    }
}

/// What [`to_json`], [`part_to_json`] or [`Rest::to_json`] gave; nothing where a later program did.
pub fn from_json(text: &str) -> Option<Task> {
    let value: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let which = || to_which(&value["which"]);
    let to = || Some(NameId(u32::try_from(value["to"].as_u64()?).ok()?));
    Some(Task::Do(match value["do"].as_str()? {
        "erase" => {
            let numbers = value["numbers"].as_array()?.iter().map(Value::as_u64).collect::<Option<Bitmap>>()?;
            return Some(Task::Erase(Part { numbers, ends: value["ends"].as_bool()? }));
        }
        "take in" => return Rest::from_json(&value).map(Task::TakeIn),
        "pause" => What::Pause { reason: text("reason")? },
        "hold" => What::Hold,
        "resume" => What::Resume,
        "retry now" => What::RetryNow,
        "redeliver" => What::Redeliver(which()?),
        "dead-letter" => What::DeadLetter { which: which()?, reason: text("reason")? },
        "drop" => What::Drop(which()?),
        "move" => What::Move { which: which()?, to: to()? },
        "take over" => What::TakeOver { to: to()? },
        _ => return None,
    }))
}

fn of_which(which: &Which) -> Value {
    let ids = |events: &[EventId]| events.iter().map(EventId::to_string).collect::<Vec<_>>();
    match which {
        Which::Pending => json!({"pending": true}),
        Which::UnattemptedFor(age) => json!({"unattempted_for_ms": age.as_millis() as u64}),
        Which::OldestBeyond(bytes) => json!({"oldest_beyond": bytes}),
        Which::Events(events) => json!({"events": ids(events)}),
        Which::Dead(DeadQuery { since_ms, until_ms, reason, reason_is, events }) => json!({"dead": {
            "since_ms": since_ms, "until_ms": until_ms, "reason": reason, "reason_is": reason_is,
            "events": events.as_deref().map(ids),
        }}),
    }
}

fn to_which(value: &Value) -> Option<Which> {
    let ids = |value: &Value| -> Option<Vec<EventId>> {
        value.as_array()?.iter().map(|id| id.as_str()?.parse().ok()).collect()
    };
    let (name, inner) = value.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "pending" => Which::Pending,
        "unattempted_for_ms" => Which::UnattemptedFor(Duration::from_millis(inner.as_u64()?)),
        "oldest_beyond" => Which::OldestBeyond(inner.as_u64()?),
        "events" => Which::Events(ids(inner)?),
        "dead" => {
            let text = |key: &str| inner[key].as_str().map(str::to_owned);
            let events = match &inner["events"] {
                Value::Null => None,
                events => Some(ids(events)?),
            };
            Which::Dead(DeadQuery {
                since_ms: inner["since_ms"].as_u64(),
                until_ms: inner["until_ms"].as_u64(),
                reason: text("reason"),
                reason_is: text("reason_is"),
                events,
            })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_erasing_asks_and_what_is_answered_are_read_as_they_were_written() {
        for ends in [false, true] {
            let part = Part { numbers: [1, 70_000, (1 << 62) - 1].into_iter().collect(), ends };
            assert_eq!(from_json(&part_to_json(&part).to_string()), Some(Task::Erase(part)));
        }
        let standing = Standing { waiting: 1, scheduled: 2, in_flight: 3, dead: 4, held: 5, gathered: 6 };
        let ended = Ended { standing, ended: 7, in_flight: 8 };
        assert_eq!(ended_from_json(&ended_to_json(&ended).to_string()), Some(ended));
        for later in [r#"{"do": "erase", "numbers": [1]}"#, r#"{"do": "erase", "ends": true, "numbers": ["1"]}"#, "{}"]
        {
            assert_eq!(from_json(later), None, "{later}");
        }
        assert_eq!(ended_from_json(r#"{"ended": 1}"#), None);
        assert_eq!(from_json(&to_json(&What::Hold).to_string()), Some(Task::Do(What::Hold)));
    }
}
