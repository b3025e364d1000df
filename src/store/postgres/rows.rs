//! What a row of a segment's tables says.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::event::EventId;
use crate::store::{
    AttemptNote, DeliveryState, ErasedEvent, HeldBy, Kept, NameId, PlannedDelivery, StoreError, StoredEvent,
};

/// The columns of an event, as [`EventRow::read`] expects them first in a row. `body` is the last.
pub const EVENT: &str =
    "n, slot, id, received_ms, source, hold, is_erased, is_redacted, rules, destinations, by_rule, body";
/// All of them but the body, for where only some bodies are sent.
pub const EVENT_HEAD: &str =
    "n, slot, id, received_ms, source, hold, is_erased, is_redacted, rules, destinations, by_rule";
/// Columns of [`EVENT`].
pub const EVENT_COLUMNS: usize = 12;

/// The columns of a delivery, as [`delivery_state`] expects them first in a row, of a table that is called `d`. A source that is held keeps what came
/// in since.
pub const DELIVERY: &str = "d.dest, d.n, d.state::text, d.at_ms, d.due_ms, d.dead_ms, d.moved_to, d.attempts, d.reason";

/// The columns of an attempt, as [`attempt`] expects them first in a row.
pub const ATTEMPT: &str = "dest, at_ms, took_ms, outcome, status, reason, answer";

/// A row of a segment's events.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub number: u64,
    /// The stream that it came by.
    pub slot: i16,
    /// Which of the holds of its source it came in under.
    pub hold: Option<i32>,
    pub event: Kept,
}

impl EventRow {
    /// Reads a row that begins with [`EVENT`]. A body that is null is an empty one.
    pub fn read(row: &Row) -> Result<Self, StoreError> {
        let event = event(row)?;
        let is_erased: bool = get(row, 6)?;
        let event = if is_erased { Kept::Erased(ErasedEvent::from(&event)) } else { Kept::Event(Arc::new(event)) };
        Ok(Self { number: number(row, 0)?, slot: get(row, 1)?, hold: get(row, 5)?, event })
    }
}

/// The event of a row that begins with [`EVENT`]; an error where it was erased.
pub fn stored(row: &Row) -> Result<StoredEvent, StoreError> {
    let is_erased: bool = get(row, 6)?;
    if is_erased { Err(StoreError::Erased) } else { event(row) }
}

fn event(row: &Row) -> Result<StoredEvent, StoreError> {
    let Id(id) = get(row, 2)?;
    let names = |at| -> Result<Vec<NameId>, StoreError> {
        let ids: Vec<i32> = get(row, at)?;
        Ok(ids.into_iter().map(name).collect())
    };
    let deliveries = names(9)?.into_iter().zip(names(10)?);
    let body: Option<&[u8]> = get(row, 11)?;
    Ok(StoredEvent {
        id,
        received_ms: number(row, 3)?,
        source: name(get(row, 4)?),
        rules: names(8)?,
        deliveries: deliveries.map(|(destination, rule)| PlannedDelivery { destination, rule }).collect(),
        body: Bytes::copy_from_slice(body.unwrap_or_default()),
        is_redacted: get(row, 7)?,
    })
}

/// Where the delivery of a row stands that begins with [`DELIVERY`]. `is_held`: its source holds it.
pub fn delivery_state(row: &Row, is_held: bool) -> Result<DeliveryState, StoreError> {
    let state: &str = get(row, 2)?;
    let at_ms = || number_or_0(row, 3);
    let attempts = get::<i16>(row, 7)?.max(0) as u16;
    let reason = || -> Result<String, StoreError> { Ok(get::<Option<String>>(row, 8)?.unwrap_or_default()) };
    let waiting = if is_held { DeliveryState::Held { by: HeldBy::Source } } else { DeliveryState::Waiting };
    Ok(match state {
        "waiting" => waiting,
        "retry" => match number_or_0(row, 4)? {
            // It goes out again, in its turn.
            0 => waiting,
            due_ms => DeliveryState::Scheduled { attempts, due_ms, reason: reason()? },
        },
        "delivered" => DeliveryState::Delivered { attempts, at_ms: at_ms()? },
        "skipped" => DeliveryState::Skipped { at_ms: at_ms()?, reason: reason()? },
        "dead" => DeliveryState::Dead { attempts, at_ms: number_or_0(row, 5)?, reason: reason()? },
        "dropped" => DeliveryState::Dropped { at_ms: at_ms()? },
        "moved" => {
            let to = get::<Option<i32>>(row, 6)?.map_or(NameId::NONE, name);
            DeliveryState::Moved { at_ms: at_ms()?, to }
        }
        other => return Err(StoreError::Damaged(format!("a delivery's state is `{other}`, which is none"))),
    })
}

/// The attempt of a row that begins with [`ATTEMPT`], and where to.
pub fn attempt(row: &Row) -> Result<(NameId, AttemptNote), StoreError> {
    let note = AttemptNote {
        at_ms: number(row, 1)?,
        took_ms: number(row, 2)?,
        outcome: get(row, 3)?,
        status: get::<Option<i32>>(row, 4)?.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
        reason: get(row, 5)?,
        answer: get(row, 6)?,
    };
    Ok((name(get(row, 0)?), note))
}

/// One value of a row.
pub fn get<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(|error| {
        let why = crate::errors::with_causes(&error);
        StoreError::Damaged(format!("a row of the database is not as it was written: {why}"))
    })
}

/// A number, a time or a size.
pub fn number(row: &Row, at: usize) -> Result<u64, StoreError> {
    Ok(get::<i64>(row, at)?.max(0) as u64)
}

/// The same, and 0 where there is none.
pub fn number_or_0(row: &Row, at: usize) -> Result<u64, StoreError> {
    Ok(get::<Option<i64>>(row, at)?.unwrap_or(0).max(0) as u64)
}

/// A number, as the database takes it: what is beyond its own is the greatest.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of a name.
pub fn name(id: i32) -> NameId {
    NameId(id as u32)
}

/// The same, as the database takes it.
pub fn name_in(id: NameId) -> i32 {
    id.0 as i32
}

/// An id that is kept as a UUID.
struct Id(EventId);

impl<'r> FromSql<'r> for Id {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(EventId::from_bytes(raw.try_into()?)))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }
}
