//! Taking in: whatever has queued up while the last statement ran goes to the database in one, and its senders are answered once
//! that is committed.
//!
//! * A relay has one append under way at a time, and draws the numbers just before: whoever sees one of its events sees those with
//!   smaller numbers, and an event that came after another was acknowledged has the greater number, whoever took which.
//! * The statement names the lease of the stream and locks it, so that none follows a take-over.
//! * An append of which it is not known whether it was committed is said again with the same numbers, until it is known. The same holds
//!   where the server warns: a commit whose wait for the standby was cancelled *succeeds*, and the standby does not have it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::types::ToSql;

use super::again::Again;
use super::following::{Arrived, Reply};
use super::link::Link;
use super::running::Postgres;
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::locks::{lock, reading};
use crate::store::{AppendError, Health, NewEvent, StoredEvent};
use crate::time::Instant;

/// Events of one statement: the first of them waits for the commit of all.
const GROUP_MAX: usize = 512;
/// Bytes of their bodies, beside the last one.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A stream is looked for again after this.
const STREAM_WITHIN: Duration = Duration::from_millis(500);

/// Events of one statement, with their numbers.
struct Group {
    events: Vec<Arrived>,
    replies: Vec<Option<Reply>>,
    columns: Columns,
    segment: i32,
    stored_ms: i64,
    is_repeated: bool,
}

/// The same as the statement takes it: of lists in lists, all in one and where each begins and ends.
#[derive(Default)]
struct Columns {
    numbers: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    received: Vec<i64>,
    sources: Vec<i32>,
    holds: Vec<Option<i32>>,
    rules: Vec<i32>,
    rules_from: Vec<i32>,
    rules_to: Vec<i32>,
    destinations: Vec<i32>,
    by_rule: Vec<i32>,
    destinations_from: Vec<i32>,
    destinations_to: Vec<i32>,
    bodies: Vec<Body>,
    delivery_numbers: Vec<i64>,
    delivery_holds: Vec<Option<i32>>,
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

/// Takes events in until the store ends.
pub async fn run(postgres: Arc<Postgres>, mut inbox: UnboundedReceiver<(NewEvent, Reply)>) {
    let mut link: Option<Link> = None;
    let mut again = Again::default();
    let mut waiting: VecDeque<(NewEvent, Reply)> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            tokio::select! {
                () = postgres.end.cancelled() => break,
                next = inbox.recv() => match next {
                    Some(next) => waiting.push_back(next),
                    None => break,
                },
            }
        }
        while waiting.len() < GROUP_MAX
            && let Ok(next) = inbox.try_recv()
        {
            waiting.push_back(next);
        }
        if let Health::Full(why) = &*postgres.health.borrow() {
            let full = AppendError::Full(why.clone());
            waiting.drain(..).for_each(|(_, reply)| drop(reply.send(Err(full.clone()))));
            continue;
        }
        let since = Instant::now();
        let Some(group) = number(&postgres, &mut link, &mut again, &mut waiting, since).await else { continue };
        append(&postgres, &mut link, &mut again, group, since).await;
    }
    for (_, reply) in waiting {
        let _ = reply.send(Err(AppendError::Closed));
    }
}

/// The connection, which is made where there is none.
async fn connected<'l>(postgres: &Postgres, link: &'l mut Option<Link>) -> Result<&'l Link, Trouble> {
    if !link.as_ref().is_some_and(Link::is_open) {
        let new = postgres.link("append").await?;
        super::numbers::raise(&new).await?;
        *link = Some(new);
    }
    Ok(link.as_ref().expect("it was made"))
}

/// Draws numbers for the first of what waits. Where the database is away for longer than senders are kept waiting, they are refused.
async fn number(
    postgres: &Postgres,
    link: &mut Option<Link>,
    again: &mut Again,
    waiting: &mut VecDeque<(NewEvent, Reply)>,
    since: Instant,
) -> Option<Group> {
    let mut bytes = 0;
    let fits = |(event, _): &&(NewEvent, Reply)| {
        let has_room = bytes < GROUP_BYTES_MAX;
        bytes += event.body.len();
        has_room
    };
    let count = waiting.iter().take(GROUP_MAX).take_while(fits).count();
    let mut streaming = postgres.streaming.subscribe();
    loop {
        let drawn = async {
            // Before the first heartbeat, and after the others have taken this relay for dead, there is no stream to append to.
            let has_stream = tokio::time::timeout(STREAM_WITHIN, streaming.wait_for(|has| *has)).await;
            if !has_stream.is_ok_and(|has| has.is_ok()) {
                return Err(Trouble::Away("this relay has no stream to append to yet".to_owned()));
            }
            let link = connected(postgres, link).await?;
            let count = count as i64;
            link.rows("SELECT nextval('event_number') FROM generate_series(1, $1::int8)", &[&count]).await
        };
        match drawn.await {
            Ok(rows) => {
                again.reached();
                let numbers = rows.iter().map(|row| row.get::<_, i64>(0)).collect();
                let segment = reading(&postgres.spans).last()?.segment;
                return Some(grouped(postgres, waiting.drain(..count).collect(), numbers, segment));
            }
            Err(trouble) => {
                postgres.unreachable(&trouble);
                if since.elapsed() >= postgres.patience || postgres.end.is_cancelled() {
                    let refused = AppendError::Unavailable(trouble.to_string());
                    waiting.drain(..).for_each(|(_, reply)| drop(reply.send(Err(refused.clone()))));
                    return None;
                }
                tokio::time::sleep(again.wait(postgres.dice())).await;
            }
        }
    }
}

fn grouped(postgres: &Postgres, events: Vec<(NewEvent, Reply)>, numbers: Vec<i64>, segment: i32) -> Group {
    let slot = postgres.slot.load(Ordering::Acquire);
    let holds = lock(&postgres.holds).clone();
    let mut columns = Columns { numbers, ..Columns::default() };
    let (mut arrived, mut replies) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    let mut sorted = columns.numbers.clone();
    sorted.sort_unstable();
    columns.numbers = sorted;
    for (i, (event, reply)) in events.into_iter().enumerate() {
        let number = columns.numbers[i];
        let NewEvent { received_ms, source, generation: _, rules, deliveries, body } = event;
        let id = EventId::mint(received_ms, slot as u16, number.cast_unsigned());
        let hold = holds.of(source);
        columns.ids.push(uuid::Uuid::from_bytes(id.to_bytes()));
        columns.received.push(received_ms.cast_signed());
        columns.sources.push(source.0.cast_signed());
        columns.holds.push(hold);
        columns.rules_from.push(columns.rules.len() as i32 + 1);
        columns.rules.extend(rules.iter().map(|rule| rule.0.cast_signed()));
        columns.rules_to.push(columns.rules.len() as i32);
        columns.destinations_from.push(columns.destinations.len() as i32 + 1);
        for delivery in &deliveries {
            columns.destinations.push(delivery.destination.0.cast_signed());
            columns.by_rule.push(delivery.rule.0.cast_signed());
            columns.delivery_numbers.push(number);
            columns.delivery_holds.push(hold);
        }
        columns.destinations_to.push(columns.destinations.len() as i32);
        columns.bodies.push(Body(body.clone()));
        let event = Arc::new(StoredEvent { id, received_ms, source, rules, deliveries, body, is_redacted: false });
        arrived.push(Arrived { has_body: true, event, hold });
        replies.push(Some(reply));
    }
    Group { events: arrived, replies, columns, segment, stored_ms: postgres.now_ms().cast_signed(), is_repeated: false }
}

/// Has a group committed, and says so to its senders. Those who have waited for too long are refused meanwhile; it goes on all the
/// same, since it may have been committed already.
async fn append(postgres: &Postgres, link: &mut Option<Link>, again: &mut Again, mut group: Group, since: Instant) {
    loop {
        let came = async {
            let link = connected(postgres, link).await?;
            write(postgres, link, &group).await
        };
        match came.await {
            Ok(Written::Taken) => {
                again.reached();
                postgres.reached();
                return taken(postgres, group);
            }
            Ok(Written::Fenced) => {
                // Another relay has this stream, so what was not committed by now never will be.
                postgres.give_up_stream();
                let why = "this relay was taken for dead by the others, and begins anew".to_owned();
                return group.refuse(&AppendError::Unavailable(why));
            }
            Ok(Written::Unsure) => {}
            Err(trouble) => postgres.unreachable(&trouble),
        }
        group.is_repeated = true;
        if postgres.end.is_cancelled() {
            return group.refuse(&AppendError::Closed);
        }
        if since.elapsed() >= postgres.patience {
            group.refuse(&AppendError::Unavailable("the database does not answer".to_owned()));
        }
        tokio::time::sleep(again.wait(postgres.dice())).await;
    }
}

impl Group {
    fn refuse(&mut self, error: &AppendError) {
        for reply in self.replies.iter_mut().filter_map(Option::take) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// What came of a statement.
enum Written {
    Taken,
    Fenced,
    /// It was committed, and perhaps not replicated.
    Unsure,
}

async fn write(postgres: &Postgres, link: &Link, group: &Group) -> Result<Written, Trouble> {
    let slot = postgres.slot.load(Ordering::Acquire) as i16;
    let duty = format!("stream/{slot}");
    let epoch = postgres.stream_epoch.load(Ordering::Acquire);
    let me = postgres.me();
    let c = &group.columns;
    let sql = statement(group.segment, group.is_repeated);
    let values: [&(dyn ToSql + Sync); 20] = [
        &duty,
        &epoch,
        &me,
        &slot,
        &c.numbers,
        &c.ids,
        &c.received,
        &c.sources,
        &c.holds,
        &c.rules,
        &c.rules_from,
        &c.rules_to,
        &c.destinations,
        &c.by_rule,
        &c.destinations_from,
        &c.destinations_to,
        &c.bodies,
        &c.delivery_numbers,
        &c.delivery_holds,
        &group.stored_ms,
    ];
    let (rows, warnings) = link.rows_said(&sql, &values).await?;
    if rows.first().is_none_or(|row| row.get::<_, i64>(0) == 0) {
        return Ok(Written::Fenced);
    }
    if let Some(warning) = warnings.first() {
        tracing::warn!(
            ?warning,
            "events were committed and perhaps not replicated: they are said again before they are acknowledged"
        );
        return Ok(Written::Unsure);
    }
    Ok(Written::Taken)
}

/// The statement that takes a group in. Said again, it leaves alone what is there.
fn statement(segment: i32, is_repeated: bool) -> String {
    let or_leave = if is_repeated { "ON CONFLICT DO NOTHING" } else { "" };
    format!(
        "WITH mine AS MATERIALIZED (
            SELECT 1 FROM lease WHERE duty = $1 AND epoch = $2 AND incarnation = $3 FOR SHARE),
        e AS (
            INSERT INTO event_{segment} (n, slot, id, received_ms, stored_ms, source, hold, rules, destinations, by_rule, body)
            SELECT u.n, $4, u.id, u.received_ms, $20, u.source, u.hold, ($10::int4[])[u.rf:u.rt], ($13::int4[])[u.df:u.dt],
                ($14::int4[])[u.df:u.dt], u.body
            FROM mine, unnest($5::int8[], $6::uuid[], $7::int8[], $8::int4[], $9::int4[], $11::int4[], $12::int4[],
                $15::int4[], $16::int4[], $17::bytea[]) u (n, id, received_ms, source, hold, rf, rt, df, dt, body) {or_leave}),
        d AS (
            INSERT INTO delivery_{segment} (dest, n, hold)
            SELECT u.dest, u.n, u.hold FROM mine, unnest($13::int4[], $18::int8[], $19::int4[]) u (dest, n, hold) {or_leave})
        SELECT count(*) FROM mine"
    )
}

/// A group is committed.
fn taken(postgres: &Postgres, group: Group) {
    let (answered, woken) = postgres.publish_own(&group.events, group.replies);
    for (reply, id) in answered {
        // The sender may have hung up: the event is taken all the same.
        let _ = reply.send(Ok(id));
    }
    woken.into_iter().for_each(|wakeup| wakeup.notify_one());
}
