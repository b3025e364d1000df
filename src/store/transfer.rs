//! What a store is written as to go on elsewhere: lines of JSON, of which people can read each.
//!
//! [`Head`] first, then how sources and destinations [stand](Stands), then events, each with where its deliveries stand, and
//! [`End`] last, by which a file is known to be whole. Names are texts here, and numbers of names nowhere. `lines`: writing and reading them.
//!
//! [`Store`](super::Store) does not say this: each backend reads and writes its own way, in its own `transfer`.

mod lines;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::lines::{Lines, Proved, Reading, TransferError, prove};
use crate::event::EventId;

/// The version of these lines. A program reads what has its own or an earlier one.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Head(Head),
    Source(Stands),
    Destination(Stands),
    Event(Box<Moved>),
    End(End),
}

/// What the lines are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub version: u32,
    /// Drawn when they were written: the same ones are known by it.
    pub id: String,
    /// `journal` or `postgres`.
    pub from: String,
    /// Which program wrote them.
    pub by: String,
    pub made_ms: u64,
    /// Whether events are there of which nothing waits any more.
    pub has_history: bool,
}

/// A source or destination that does not simply go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stands {
    pub name: String,
    /// Paused; a source refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of a source: what comes is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since_ms: Option<u64>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    #[serde(with = "as_text")]
    pub id: EventId,
    pub received_ms: u64,
    pub source: String,
    /// That matched, in order.
    pub rules: Vec<String>,
    /// Where it was to go when it came, and by which rule each.
    pub to: Vec<Planned>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_erased: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_redacted: bool,
    #[serde(flatten)]
    pub body: Body,
    /// Where its deliveries stand.
    pub deliveries: Vec<Delivery>,
}

/// A destination by a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub destination: String,
    /// Empty where none is known.
    pub rule: String,
}

/// The bytes that came: as they came where they are a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Body(String),
    BodyBase64(String),
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub destination: String,
    #[serde(flatten)]
    pub state: State,
}

/// Where a delivery stands. What was in flight, or lay in a digest, waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Waiting,
    /// Its source keeps it.
    Held,
    Retry {
        attempts: u16,
        first_ms: u64,
        due_ms: u64,
        reason: String,
    },
    Dead {
        attempts: u16,
        at_ms: u64,
        reason: String,
    },
    Delivered {
        attempts: u16,
        at_ms: u64,
    },
    Skipped {
        at_ms: u64,
        reason: String,
    },
    Dropped {
        at_ms: u64,
    },
    Moved {
        at_ms: u64,
        /// Empty where it is not known.
        to: String,
    },
    /// It is over, and how is not known any more.
    Settled,
}

/// The last line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub events: u64,
    /// The greatest number of an event.
    pub greatest: u64,
    /// CRC-32C over all bytes before this line.
    pub crc32c: u32,
}

impl State {
    /// Whether something is still to come of it.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Held | Self::Retry { .. } | Self::Dead { .. })
    }
}

impl Moved {
    /// Whether something is still to come of it.
    pub fn is_open(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.state.is_open())
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.id.sequence()
    }

    /// All destinations that it names.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        let planned = self.to.iter().map(|planned| &*planned.destination);
        let moved = self.deliveries.iter().filter_map(|delivery| match &delivery.state {
            State::Moved { to, .. } if !to.is_empty() => Some(&**to),
            _ => None,
        });
        planned.chain(self.deliveries.iter().map(|delivery| &*delivery.destination)).chain(moved)
    }

    /// All rules that it names.
    pub fn all_rules(&self) -> impl Iterator<Item = &str> {
        let by = self.to.iter().map(|planned| &*planned.rule).filter(|rule| !rule.is_empty());
        self.rules.iter().map(|rule| &**rule).chain(by)
    }
}

impl Body {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Body(text.to_owned()),
            Err(_) => Self::BodyBase64(STANDARD.encode(bytes)),
        }
    }

    /// The bytes; none where they are no base64.
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Body(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Self::BodyBase64(text) => STANDARD.decode(text).ok().map(Bytes::from),
        }
    }

    /// How many there are, about.
    pub fn length(&self) -> usize {
        match self {
            Self::Body(text) | Self::BodyBase64(text) => text.len(),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// An id as people write it.
mod as_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::event::EventId;

    pub fn serialize<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<EventId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
