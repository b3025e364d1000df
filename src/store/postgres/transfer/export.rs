//! Reading all that is needed to go on.

use std::collections::{BTreeMap, HashMap};
use std::io;

use tokio_postgres::Row;

use super::Quiet;
use crate::store::postgres::holds::{self, Holds};
use crate::store::postgres::look::spans;
use crate::store::postgres::reading::find;
use crate::store::postgres::rows::{EventRow, get, number_or_0};
use crate::store::postgres::spans::{CARRIED, Span};
use crate::store::transfer::{Body, Delivery, Line, Moved, Planned, Stands, State};
use crate::store::{Kept, NameId, StoreError, StoredEvent};

/// Events that are looked at in one step,
const PAGE_EVENTS: i64 = 512;
/// and bytes of their bodies that are read at once.
const PAGE_BYTES: usize = 4 << 20;

/// What is known before events are read.
struct Known {
    spans: Vec<Span>,
    names: HashMap<i32, String>,
    destinations: Vec<i32>,
    holds: Holds,
}

impl Known {
    fn name(&self, id: NameId) -> String {
        self.names.get(&id.0.cast_signed()).cloned().unwrap_or_default()
    }
}

impl Quiet {
    /// Writes how everything stands, and the events of which something is still to come, or all.
    pub async fn export(
        &self,
        all: bool,
        write: &mut (dyn FnMut(&Line) -> io::Result<()> + Send),
    ) -> Result<(), StoreError> {
        let known = self.known().await?;
        self.stands(&known, write).await?;
        for span in &known.spans {
            self.segment(span.segment, &known, all, write).await?;
        }
        Ok(())
    }

    async fn known(&self) -> Result<Known, StoreError> {
        let names = self.link.rows("SELECT id, kind, name FROM name", &[]).await?;
        let is_destination = |row: &&Row| row.get::<_, &str>(1) == "destination";
        let destinations = names.iter().filter(is_destination).map(|row| row.get(0)).collect();
        let names = names.iter().map(|row| (row.get(0), row.get(2))).collect();
        let holds = holds::read(&self.link.rows(holds::SOURCES, &[]).await?);
        Ok(Known { spans: spans(&self.link).await?, names, destinations, holds })
    }

    async fn stands(
        &self,
        known: &Known,
        write: &mut (dyn FnMut(&Line) -> io::Result<()> + Send),
    ) -> Result<(), StoreError> {
        for (id, row) in &known.holds.0 {
            if row.paused.is_none() && row.held_since_ms.is_none() {
                continue;
            }
            let stands = Stands {
                name: known.name(*id),
                paused_since_ms: row.paused.as_ref().map(|pause| pause.since_ms),
                reason: row.paused.as_ref().map(|pause| pause.reason.clone()).unwrap_or_default(),
                held_since_ms: row.held_since_ms,
            };
            write(&Line::Source(stands)).map_err(unwritten)?;
        }
        let paused = "SELECT id, paused_since_ms, coalesce(pause_reason, '') FROM destination WHERE paused_since_ms IS NOT NULL ORDER BY id";
        for row in self.link.rows(paused, &[]).await? {
            let stands = Stands {
                name: known.name(NameId(get::<i32>(&row, 0)?.cast_unsigned())),
                paused_since_ms: Some(number_or_0(&row, 1)?),
                reason: get(&row, 2)?,
                held_since_ms: None,
            };
            write(&Line::Destination(stands)).map_err(unwritten)?;
        }
        Ok(())
    }

    /// All events of a segment, of which what was carried over lies in another.
    async fn segment(
        &self,
        k: i32,
        known: &Known,
        all: bool,
        write: &mut (dyn FnMut(&Line) -> io::Result<()> + Send),
    ) -> Result<(), StoreError> {
        let others = known.spans.iter().map(|span| span.segment).filter(|other| *other != CARRIED);
        let elsewhere = |other| format!("AND NOT EXISTS (SELECT FROM event_{other} o WHERE o.n = e.n)");
        // A copy is told once, with its original.
        let only = if k == CARRIED { others.map(elsewhere).collect::<Vec<_>>().join(" ") } else { String::new() };
        let has_carried = k != CARRIED && known.spans.iter().any(|span| span.segment == CARRIED);
        let page = format!("SELECT e.n FROM event_{k} e WHERE e.n > $1 {only} ORDER BY e.n LIMIT {PAGE_EVENTS}");
        let mut after = -1;
        loop {
            let numbers: Vec<i64> = self.link.rows(&page, &[&after]).await?.iter().map(|row| row.get(0)).collect();
            let Some(last) = numbers.last().copied() else { return Ok(()) };
            let mut deliveries = Deliveries::new();
            self.deliveries(k, after, last, known, &mut deliveries).await?;
            if has_carried {
                self.deliveries(CARRIED, after, last, known, &mut deliveries).await?;
            }
            after = last;
            let is_wanted = |number: &i64| all || deliveries.get(number).is_some_and(|rows| rows.values().any(is_open));
            let wanted: Vec<u64> = numbers.iter().filter(|n| is_wanted(n)).map(|n| n.cast_unsigned()).collect();
            self.events(&wanted, known, &deliveries, write).await?;
        }
    }

    async fn deliveries(
        &self,
        k: i32,
        after: i64,
        until: i64,
        known: &Known,
        deliveries: &mut Deliveries,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT d.n, d.dest, d.state::text AS state, d.at_ms, d.due_ms, d.first_ms, d.dead_ms, d.moved_to, d.attempts, d.reason, d.hold
             FROM unnest($1::int4[]) u (dest) CROSS JOIN LATERAL (
                SELECT * FROM delivery_{k} d WHERE d.dest = u.dest AND d.n > $2 AND d.n <= $3 ORDER BY d.n) d"
        );
        for row in self.link.rows(&sql, &[&known.destinations, &after, &until]).await? {
            deliveries.entry(row.get("n")).or_default().insert(row.get("dest"), row);
        }
        Ok(())
    }

    async fn events(
        &self,
        mut wanted: &[u64],
        known: &Known,
        deliveries: &Deliveries,
        write: &mut (dyn FnMut(&Line) -> io::Result<()> + Send),
    ) -> Result<(), StoreError> {
        while !wanted.is_empty() {
            let found = find(&self.link, &known.spans, wanted, PAGE_BYTES).await?;
            wanted = &wanted[found.len()..];
            for (number, row) in found {
                let EventRow { event, .. } = row.ok_or(StoreError::Missing)?;
                let (event, is_erased) = match event {
                    Kept::Event(event) => (event, false),
                    Kept::Erased(left) => (left.without_body().into(), true),
                };
                let rows = deliveries.get(&number.cast_signed());
                write(&Line::Event(Box::new(moved(&event, is_erased, rows, known)))).map_err(unwritten)?;
            }
        }
        Ok(())
    }
}

/// The rows of some events, by their numbers and by where they go.
type Deliveries = BTreeMap<i64, BTreeMap<i32, Row>>;

fn is_open(row: &Row) -> bool {
    matches!(row.get::<_, &str>("state"), "waiting" | "retry" | "dead")
}

fn moved(event: &StoredEvent, is_erased: bool, rows: Option<&BTreeMap<i32, Row>>, known: &Known) -> Moved {
    let deliveries = rows.into_iter().flatten().map(|(dest, row)| Delivery {
        destination: known.name(NameId(dest.cast_unsigned())),
        state: state(event, row, known),
    });
    let planned = event
        .deliveries
        .iter()
        .map(|planned| Planned { destination: known.name(planned.destination), rule: known.name(planned.rule) });
    Moved {
        id: event.id,
        received_ms: event.received_ms,
        source: known.name(event.source),
        rules: event.rules.iter().map(|rule| known.name(*rule)).collect(),
        to: planned.collect(),
        is_erased,
        is_redacted: event.is_redacted,
        body: Body::of(&event.body),
        deliveries: deliveries.collect(),
    }
}

fn state(event: &StoredEvent, row: &Row, known: &Known) -> State {
    let ms = |column: &str| row.get::<_, Option<i64>>(column).map_or(0, i64::cast_unsigned);
    let attempts = row.get::<_, i16>("attempts").cast_unsigned();
    let reason = || row.get::<_, Option<String>>("reason").unwrap_or_default();
    match row.get::<_, &str>("state") {
        "waiting" if known.holds.is_held(event.source, row.get("hold")) => State::Held,
        "waiting" => State::Waiting,
        // It goes out again, in its turn.
        "retry" if ms("due_ms") == 0 => State::Waiting,
        "retry" => {
            let due_ms = ms("due_ms");
            let first_ms = row.get::<_, Option<i64>>("first_ms").map_or(due_ms, i64::cast_unsigned);
            State::Retry { attempts, first_ms, due_ms, reason: reason() }
        }
        "dead" => State::Dead { attempts, at_ms: ms("dead_ms"), reason: reason() },
        "delivered" => State::Delivered { attempts, at_ms: ms("at_ms") },
        "skipped" => State::Skipped { at_ms: ms("at_ms"), reason: reason() },
        "dropped" => State::Dropped { at_ms: ms("at_ms") },
        "moved" => {
            let to = row.get::<_, Option<i32>>("moved_to").map_or(NameId::NONE, |id| NameId(id.cast_unsigned()));
            State::Moved { at_ms: ms("at_ms"), to: known.name(to) }
        }
        _ => State::Settled,
    }
}

fn unwritten(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("the export cannot be written: {error}"))
}
