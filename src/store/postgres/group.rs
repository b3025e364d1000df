//! Events that go to the database in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::types::ToSql;

use super::following::{Arrived, Reply};
use super::link::Link;
use super::running::{Postgres, Stream};
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::{AppendError, NameId, NewEvent, StoredEvent};
use crate::time::Instant;

/// Events of one statement, with their numbers.
pub struct Group {
    pub events: Vec<Arrived>,
    pub replies: Vec<Option<Reply>>,
    columns: Columns,
    /// By which they go, whatever this relay has by now.
    pub stream: Stream,
    segment: i32,
    /// Since when the first of them waits.
    pub since: Instant,
    stored_ms: i64,
    /// It may have been committed before.
    pub is_repeated: bool,
}

/// The same as the statement takes it: of lists in lists, all in one and where each begins and ends.
#[derive(Default)]
struct Columns {
    numbers: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    received: Vec<i64>,
    sources: Vec<i32>,
    rules: Vec<i32>,
    rules_from: Vec<i32>,
    rules_to: Vec<i32>,
    destinations: Vec<i32>,
    by_rule: Vec<i32>,
    destinations_from: Vec<i32>,
    destinations_to: Vec<i32>,
    bodies: Vec<Body>,
    delivery_numbers: Vec<i64>,
    delivery_sources: Vec<i32>,
}

/// The bytes of an event, which are many and are not copied.
#[derive(Debug)]
struct Body(Bytes);

impl ToSql for Body {
    fn to_sql(
        &self,
        _: &tokio_postgres::types::Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(ty: &tokio_postgres::types::Type) -> bool {
        *ty == tokio_postgres::types::Type::BYTEA
    }

    tokio_postgres::types::to_sql_checked!();
}
/// Events with their numbers, as they go to a segment.
pub fn grouped(
    postgres: &Postgres,
    stream: Stream,
    events: Vec<(Instant, NewEvent, Reply)>,
    numbers: Vec<i64>,
    segment: i32,
) -> Group {
    let since = events.first().map_or_else(Instant::now, |(since, ..)| *since);
    let mut columns = Columns { numbers, ..Columns::default() };
    let (mut arrived, mut replies) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    for (i, (_, event, reply)) in events.into_iter().enumerate() {
        let number = columns.numbers[i];
        let NewEvent { received_ms, source, generation: _, rules, deliveries, body } = event;
        let id = EventId::mint(received_ms, stream.slot.cast_unsigned(), number.cast_unsigned());
        columns.ids.push(uuid::Uuid::from_bytes(id.to_bytes()));
        columns.received.push(received_ms.cast_signed());
        columns.sources.push(source.0.cast_signed());
        columns.rules_from.push(columns.rules.len() as i32 + 1);
        columns.rules.extend(rules.iter().map(|rule| rule.0.cast_signed()));
        columns.rules_to.push(columns.rules.len() as i32);
        columns.destinations_from.push(columns.destinations.len() as i32 + 1);
        for delivery in &deliveries {
            columns.destinations.push(delivery.destination.0.cast_signed());
            columns.by_rule.push(delivery.rule.0.cast_signed());
            columns.delivery_numbers.push(number);
            columns.delivery_sources.push(source.0.cast_signed());
        }
        columns.destinations_to.push(columns.destinations.len() as i32);
        columns.bodies.push(Body(body.clone()));
        let event = Arc::new(StoredEvent { id, received_ms, source, rules, deliveries, body, is_redacted: false });
        arrived.push(Arrived { has_body: true, event, hold: None });
        replies.push(Some(reply));
    }
    Group {
        events: arrived,
        replies,
        columns,
        stream,
        since,
        segment,
        stored_ms: postgres.now_ms().cast_signed(),
        is_repeated: false,
    }
}
impl Group {
    /// These sources were held when it came in.
    pub fn came_in_under(&mut self, holds: &HashMap<NameId, i32>) {
        for arrived in &mut self.events {
            arrived.hold = holds.get(&arrived.event.source).copied();
        }
    }

    /// Tells their senders that they are not taken in.
    pub fn refuse(&mut self, error: &AppendError) {
        for reply in self.replies.iter_mut().filter_map(Option::take) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// What came of a statement.
pub enum Written {
    /// By these sources it came in under holds with these numbers.
    Taken(HashMap<NameId, i32>),
    Fenced,
}

/// Has a group committed.
pub async fn write(link: &Link, group: &Group) -> Result<Written, Trouble> {
    let Stream { slot, epoch, me, .. } = group.stream;
    let duty = format!("stream/{slot}");
    let c = &group.columns;
    let sql = statement(group.segment, group.is_repeated);
    let values: [&(dyn ToSql + Sync); 19] = [
        &duty,
        &epoch,
        &me,
        &slot,
        &c.numbers,
        &c.ids,
        &c.received,
        &c.sources,
        &c.rules,
        &c.rules_from,
        &c.rules_to,
        &c.destinations,
        &c.by_rule,
        &c.destinations_from,
        &c.destinations_to,
        &c.bodies,
        &c.delivery_numbers,
        &c.delivery_sources,
        &group.stored_ms,
    ];
    let (rows, warnings) = link.rows_said(&sql, &values).await?;
    if rows.is_empty() {
        return Ok(Written::Fenced);
    }
    link.be_sure(&warnings).await?;
    if group.is_repeated {
        // What was committed the first time came in under what was in force then.
        let sql = format!("SELECT source, hold FROM event_{} WHERE n = ANY ($1) AND hold IS NOT NULL", group.segment);
        return Ok(Written::Taken(holds(&link.rows(&sql, &[&c.numbers]).await?)));
    }
    Ok(Written::Taken(holds(&rows)))
}

/// The sources that are held, with the numbers of their holds, from rows of the two.
fn holds(rows: &[tokio_postgres::Row]) -> HashMap<NameId, i32> {
    let hold = |row: &tokio_postgres::Row| {
        let (source, hold) = (row.get::<_, Option<i32>>(0)?, row.get::<_, Option<i32>>(1)?);
        Some((NameId(source.cast_unsigned()), hold))
    };
    rows.iter().filter_map(hold).collect()
}

/// The statement that takes a group in. Said again, it leaves alone what is there. It gives no row where the stream is another's, and else the
/// sources that are held: what comes in by one of them is kept, from the moment on when whoever held it knows that it is.
fn statement(segment: i32, is_repeated: bool) -> String {
    let or_leave = if is_repeated { "ON CONFLICT DO NOTHING" } else { "" };
    format!(
        "WITH mine AS MATERIALIZED (
            SELECT 1 FROM lease WHERE duty = $1 AND epoch = $2 AND incarnation = $3 FOR SHARE),
        held AS MATERIALIZED (SELECT id, hold FROM source WHERE held_since_ms IS NOT NULL),
        e AS (
            INSERT INTO event_{segment} (n, slot, id, received_ms, stored_ms, source, hold, rules, destinations, by_rule, body)
            SELECT u.n, $4, u.id, u.received_ms, $19, u.source, (SELECT h.hold FROM held h WHERE h.id = u.source),
                ($9::int4[])[u.rf:u.rt], ($12::int4[])[u.df:u.dt], ($13::int4[])[u.df:u.dt], u.body
            FROM mine, unnest($5::int8[], $6::uuid[], $7::int8[], $8::int4[], $10::int4[], $11::int4[],
                $14::int4[], $15::int4[], $16::bytea[]) u (n, id, received_ms, source, rf, rt, df, dt, body) {or_leave}),
        d AS (
            INSERT INTO delivery_{segment} (dest, n, hold)
            SELECT u.dest, u.n, (SELECT h.hold FROM held h WHERE h.id = u.source)
            FROM mine, unnest($12::int4[], $17::int8[], $18::int4[]) u (dest, n, source) {or_leave})
        SELECT h.id, h.hold FROM mine LEFT JOIN held h ON true"
    )
}
