//! Deliveries on their way from one destination to another that a second relay has.
//!
//! Two steps, each a transaction of one owner. The first one's owner has the rows say `moved`, and puts the deliveries into the table
//! `handover` under the command that it is done for. The second one's takes them from there, makes rows of its own, and the command is done.
//! So a delivery is in one of three places, whoever dies when, and no step is done twice: the first needs a command that is still the
//! first owner's, and what the second has taken is not in the table any more.

use std::num::NonZeroU64;

use serde_json::{Value, json};

use crate::store::queues::{Bitmap, Closed, Going};
use crate::store::{DigestId, GroupKey, NameId, TakenOver, WindowHead};

/// The row of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: u128,
    /// When it was asked for, unix milliseconds: one that is asked for anew has its row again, and another moment.
    pub asked_ms: u64,
}

/// How deliveries go on at the other destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    /// They go out again, as if never tried.
    Again,
    /// As they are: with their attempts, as dead letters.
    AsTheyAre,
}

/// Some deliveries that a destination gives up.
#[derive(Debug)]
pub struct Given {
    pub ticket: Ticket,
    pub from: NameId,
    pub to: NameId,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub go_on: GoOn,
    pub numbers: Bitmap,
}

/// All that it gives up is given: the other one's owner goes on with the command.
#[derive(Debug)]
pub struct AllGiven {
    pub ticket: Ticket,
    pub from: NameId,
    pub to: NameId,
    pub rest: Rest,
}

/// Some that the other destination has taken.
#[derive(Debug)]
pub struct TakenIn {
    pub ticket: Ticket,
    pub of: NameId,
    pub numbers: Bitmap,
    /// These were the last: the command is done then, with what was taken over if that is told.
    pub ends: Option<(u64, Option<TakenOver>)>,
}

/// What is given up beside deliveries, and what is known of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    pub go_on: GoOn,
    pub windows: Vec<WindowHead>,
    pub digests: Vec<(DigestId, Closed)>,
    /// Why it was paused, if it was.
    pub pause: Option<String>,
    /// How much it is. What waits, is scheduled and is dead, the database counts.
    pub taken: TakenOver,
}

impl Rest {
    /// Of dead letters that go out again.
    pub fn of_dead_letters() -> Self {
        let taken = TakenOver::default();
        Self { go_on: GoOn::Again, windows: Vec::new(), digests: Vec::new(), pause: None, taken }
    }

    /// Of all that a queue gives up.
    pub fn of(going: &Going, in_flight: u64) -> Self {
        let Going { windows, digests, pause, .. } = going.clone();
        let taken = TakenOver { paused: pause.is_some(), in_flight, ..TakenOver::default() };
        Self { go_on: GoOn::AsTheyAre, windows, digests, pause, taken }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let Self { go_on, windows, digests, pause, taken } = self;
        let window = |head: &WindowHead| {
            let WindowHead { key, address, opened_ms, ends_ms, passed } = head;
            let key = key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            json!({"key": key, "address": address, "opened_ms": opened_ms, "ends_ms": ends_ms, "passed": passed})
        };
        let digest = |(id, digest): &(DigestId, Closed)| {
            let Closed { closed_ms, members, attempts, first_attempt_ms, due_ms, reason, .. } = digest;
            json!({
                "id": id.0, "closed_ms": closed_ms, "members": members.iter_from(0).collect::<Vec<_>>(), "attempts": attempts,
                "first_ms": first_attempt_ms, "due_ms": due_ms, "reason": storable(reason),
            })
        };
        json!({
            "do": "take in",
            "again": *go_on == GoOn::Again,
            "windows": windows.iter().map(window).collect::<Vec<_>>(),
            "digests": digests.iter().map(digest).collect::<Vec<_>>(),
            "pause": pause.as_deref().map(storable),
            "taken": taken_to_json(taken),
        })
    }

    /// What [`to_json`](Self::to_json) gave, with what the database has counted since.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |value: &Value, key: &str| value[key].as_u64();
        let window = |value: &Value| {
            let text = value["key"].as_str()?;
            let key = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
            Some(WindowHead {
                key: GroupKey(key.to_be_bytes()),
                address: number(value, "address")?,
                opened_ms: number(value, "opened_ms")?,
                ends_ms: number(value, "ends_ms")?,
                passed: u32::try_from(number(value, "passed")?).ok()?,
            })
        };
        let digest = |value: &Value| {
            let members = value["members"].as_array()?.iter().map(Value::as_u64).collect::<Option<Bitmap>>()?;
            let mut digest = Closed::new(number(value, "closed_ms")?, members);
            digest.attempts = u16::try_from(number(value, "attempts")?).ok()?;
            digest.first_attempt_ms = number(value, "first_ms");
            digest.due_ms = number(value, "due_ms")?;
            digest.reason = value["reason"].as_str()?.into();
            Some((DigestId(NonZeroU64::new(number(value, "id")?)?), digest))
        };
        Some(Self {
            go_on: if value["again"].as_bool()? { GoOn::Again } else { GoOn::AsTheyAre },
            windows: value["windows"].as_array()?.iter().map(window).collect::<Option<_>>()?,
            digests: value["digests"].as_array()?.iter().map(digest).collect::<Option<_>>()?,
            pause: value["pause"].as_str().map(str::to_owned),
            taken: taken_from_json(&value["taken"])?,
        })
    }
}

/// What was taken over as JSON.
pub fn taken_to_json(TakenOver { waiting, scheduled, dead, paused, in_flight }: &TakenOver) -> Value {
    json!({"waiting": waiting, "scheduled": scheduled, "dead": dead, "paused": paused, "in_flight": in_flight})
}

/// What [`taken_to_json`] gave.
pub fn taken_from_json(value: &Value) -> Option<TakenOver> {
    let count = |key: &str| value[key].as_u64();
    Some(TakenOver {
        waiting: count("waiting")?,
        scheduled: count("scheduled")?,
        dead: count("dead")?,
        paused: value["paused"].as_bool()?,
        in_flight: count("in_flight")?,
    })
}

/// A text that the database takes: none of its texts has the character NUL.
pub fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest() -> Rest {
        let mut digest = Closed::new(7, [1, (1 << 62) - 1].into_iter().collect());
        (digest.attempts, digest.first_attempt_ms, digest.due_ms) = (2, Some(8), 9);
        digest.reason = "503".into();
        let key = GroupKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let head = WindowHead { key, address: u64::MAX, opened_ms: 1, ends_ms: 2, passed: WindowHead::NO_MORE };
        let taken = TakenOver { waiting: 1, scheduled: 2, dead: 3, paused: true, in_flight: 4 };
        let id = DigestId(NonZeroU64::MAX);
        let digests = vec![(id, digest), (DigestId(NonZeroU64::MIN), Closed::new(5, [3].into_iter().collect()))];
        Rest { go_on: GoOn::AsTheyAre, windows: vec![head], digests, pause: Some("by hand".to_owned()), taken }
    }

    #[test]
    fn what_goes_over_is_read_as_it_was_written() {
        for rest in [rest(), Rest::of_dead_letters()] {
            assert_eq!(Rest::from_json(&rest.to_json()), Some(rest));
        }
    }

    #[test]
    fn what_a_later_program_has_written_is_not_read_as_something_else() {
        for (pointer, later) in [
            ("/again", json!("perhaps")),
            ("/windows/0/key", json!("0")),
            ("/windows/0/passed", json!(u64::MAX)),
            ("/digests/0/id", json!(0)),
            ("/digests/0/members", json!(["1"])),
            ("/taken/dead", json!(-1)),
        ] {
            let mut value = rest().to_json();
            *value.pointer_mut(pointer).expect("it is there") = later;
            assert_eq!(Rest::from_json(&value), None, "{pointer}");
        }
    }

    #[test]
    fn no_text_that_goes_over_has_what_the_database_does_not_take() {
        let mut rest = rest();
        rest.pause = Some("a\0b".to_owned());
        rest.digests[0].1.reason = "c\0d".into();
        assert!(!rest.to_json().to_string().contains("\\u0000"));
    }
}
