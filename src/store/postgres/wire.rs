//! What is to be done, as the table of commands has it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::event::EventId;
use crate::store::{DeadQuery, NameId, What, Which};

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

/// What [`to_json`] gave; nothing where a later program did.
pub fn from_json(text: &str) -> Option<What> {
    let value: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let which = || to_which(&value["which"]);
    let to = || Some(NameId(u32::try_from(value["to"].as_u64()?).ok()?));
    Some(match value["do"].as_str()? {
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
    })
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
