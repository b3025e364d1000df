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
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::types::ToSql;

use super::again::Again;
use super::following::{Arrived, Reply};
use super::link::{Link, kept};
use super::numbers;
use super::running::{Postgres, Stream};
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
    /// By which they go, whatever this relay has by now.
    stream: Stream,
    segment: i32,
    /// Since when the first of them waits.
    since: Instant,
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
pub async fn run(postgres: Arc<Postgres>, inbox: UnboundedReceiver<(NewEvent, Reply)>) {
    let mut door = Door { postgres, inbox, waiting: VecDeque::new(), link: None, again: Again::default() };
    while door.wait().await {
        if let Some(group) = door.number().await {
            door.append(group).await;
        }
    }
    for (_, _, reply) in door.waiting {
        let _ = reply.send(Err(AppendError::Closed));
    }
}

/// Where events come in.
struct Door {
    postgres: Arc<Postgres>,
    inbox: UnboundedReceiver<(NewEvent, Reply)>,
    /// Those that were taken over, with since when they wait.
    waiting: VecDeque<(Instant, NewEvent, Reply)>,
    link: Option<Link>,
    again: Again,
}

impl Door {
    /// Waits for an event. False: the store ends.
    async fn wait(&mut self) -> bool {
        if self.waiting.is_empty() {
            tokio::select! {
                () = self.postgres.end.cancelled() => return false,
                next = self.inbox.recv() => match next {
                    Some((event, reply)) => self.waiting.push_back((Instant::now(), event, reply)),
                    None => return false,
                },
            }
        }
        while self.waiting.len() < GROUP_MAX
            && let Ok((event, reply)) = self.inbox.try_recv()
        {
            self.waiting.push_back((Instant::now(), event, reply));
        }
        true
    }

    /// Waits before something is tried again. Meanwhile whoever has waited for too long is refused.
    async fn pause(&mut self) {
        let until = Instant::now() + self.again.wait(self.postgres.dice());
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                () = self.postgres.end.cancelled() => break,
                next = self.inbox.recv() => match next {
                    Some((event, reply)) => self.waiting.push_back((Instant::now(), event, reply)),
                    None => break,
                },
            }
        }
        let patience = self.postgres.patience;
        let has_waited = |(since, ..): &(Instant, NewEvent, Reply)| since.elapsed() >= patience;
        while self.waiting.front().is_some_and(has_waited)
            && let Some((_, _, reply)) = self.waiting.pop_front()
        {
            let _ = reply.send(Err(not_now()));
        }
    }

    /// The connection, which is made where there is none.
    async fn link(&mut self) -> Result<&Link, Trouble> {
        let postgres = &self.postgres;
        let open = async {
            let new = postgres.link("append").await?;
            numbers::raise(&new).await?;
            Ok(new)
        };
        kept(&mut self.link, open).await
    }

    /// Draws numbers for the first of what waits.
    async fn number(&mut self) -> Option<Group> {
        loop {
            self.refuse_if_full();
            if self.postgres.end.is_cancelled() || self.waiting.is_empty() {
                return None;
            }
            let mut bytes = 0;
            let fits = |(_, event, _): &&(Instant, NewEvent, Reply)| {
                let has_room = bytes < GROUP_BYTES_MAX;
                bytes += event.body.len();
                has_room
            };
            let count = self.waiting.iter().take(GROUP_MAX).take_while(fits).count();
            match self.draw(count as i64).await {
                Ok((stream, numbers)) => {
                    self.again.reached();
                    let segment = reading(&self.postgres.spans).last()?.segment;
                    let events = self.waiting.drain(..count).collect();
                    return Some(grouped(&self.postgres, stream, events, numbers, segment));
                }
                Err(trouble) => {
                    self.postgres.takes_nothing(&trouble);
                    self.pause().await;
                }
            }
        }
    }

    /// Where there is as much as there may be, nothing is tried. A disk that was full is tried: only that shows whether it still is.
    fn refuse_if_full(&mut self) {
        let was_tried = lock(&self.postgres.refused_since).is_some();
        if let Health::Full(why) = &*self.postgres.health.borrow()
            && !was_tried
        {
            let full = AppendError::Full(why.clone());
            self.waiting.drain(..).for_each(|(_, _, reply)| drop(reply.send(Err(full.clone()))));
        }
    }

    async fn draw(&mut self, count: i64) -> Result<(Stream, Vec<i64>), Trouble> {
        // Before the first heartbeat, and after the others have taken this relay for dead, there is no stream to append to.
        let mut streaming = self.postgres.streaming.subscribe();
        let stream = tokio::time::timeout(STREAM_WITHIN, streaming.wait_for(Option::is_some)).await;
        let stream = stream.ok().and_then(|stream| stream.ok().and_then(|stream| *stream));
        let none = || Trouble::Away("this relay has no stream to append to yet".to_owned());
        let stream = stream.ok_or_else(none)?;
        let link = self.link().await?;
        let rows = link.rows("SELECT nextval('event_number') FROM generate_series(1, $1::int8)", &[&count]).await?;
        let mut numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        numbers.sort_unstable();
        Ok((stream, numbers))
    }

    /// Has a group committed, and says so to its senders. Those who have waited for too long are refused meanwhile; it goes on all the
    /// same, since it may have been committed already.
    async fn append(&mut self, mut group: Group) {
        loop {
            let came = match self.link().await {
                Ok(link) => write(link, &group).await,
                Err(trouble) => Err(trouble),
            };
            match came {
                Ok(Written::Taken) => {
                    self.again.reached();
                    self.postgres.takes_in();
                    return taken(&self.postgres, group);
                }
                Ok(Written::Fenced) => {
                    // Another relay has this stream, so what was not committed by now never will be.
                    self.postgres.give_up_stream(group.stream);
                    let why = "this relay was taken for dead by the others, and begins anew".to_owned();
                    return group.refuse(&AppendError::Unavailable(why));
                }
                Ok(Written::Unsure) => {}
                Err(Trouble::Broken(why)) => {
                    // Said again, it would fail again, and hold up everything behind it.
                    tracing::error!(why, "events could not be written, and were refused");
                    return group.refuse(&AppendError::Unavailable(why));
                }
                Err(trouble) => self.postgres.takes_nothing(&trouble),
            }
            group.is_repeated = true;
            if self.postgres.end.is_cancelled() {
                return group.refuse(&AppendError::Closed);
            }
            if group.since.elapsed() >= self.postgres.patience {
                group.refuse(&not_now());
            }
            self.pause().await;
        }
    }
}

fn not_now() -> AppendError {
    AppendError::Unavailable("the database does not take events now".to_owned())
}

fn grouped(
    postgres: &Postgres,
    stream: Stream,
    events: Vec<(Instant, NewEvent, Reply)>,
    numbers: Vec<i64>,
    segment: i32,
) -> Group {
    let since = events.first().map_or_else(Instant::now, |(since, ..)| *since);
    let holds = lock(&postgres.holds).clone();
    let mut columns = Columns { numbers, ..Columns::default() };
    let (mut arrived, mut replies) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    for (i, (_, event, reply)) in events.into_iter().enumerate() {
        let number = columns.numbers[i];
        let NewEvent { received_ms, source, generation: _, rules, deliveries, body } = event;
        let id = EventId::mint(received_ms, stream.slot.cast_unsigned(), number.cast_unsigned());
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

async fn write(link: &Link, group: &Group) -> Result<Written, Trouble> {
    let Stream { slot, epoch, me } = group.stream;
    let duty = format!("stream/{slot}");
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
