//! Taking in what another store had.
//!
//! A batch is one transaction: an event has its deliveries, or is not there. What is there stays as it is, so a file may be read again from its
//! beginning after anything. Events lie in the oldest segment, under a stream that is nobody's (-1): they are found by their rows, and followed by none.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Quiet, alive};
use crate::store::postgres::handover::storable;
use crate::store::postgres::holds::{self, Holds};
use crate::store::postgres::transaction::{Snapshot, Step};
use crate::store::postgres::trouble::Trouble;
use crate::store::transfer::{Delivery, Moved, Stands, State};
use crate::store::{NameId, NameKind};

type Names = HashMap<(NameKind, String), i32>;

/// A schema that takes events in.
pub struct Import {
    quiet: Quiet,
    names: Names,
    holds: Holds,
}

/// The rows of a batch, column by column; of lists in lists, all in one and where each begins and ends.
#[derive(Default)]
struct Columns {
    numbers: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    received: Vec<i64>,
    sources: Vec<i32>,
    holds: Vec<Option<i32>>,
    erased: Vec<bool>,
    redacted: Vec<bool>,
    rules: Vec<i32>,
    rules_from: Vec<i32>,
    rules_to: Vec<i32>,
    destinations: Vec<i32>,
    by_rule: Vec<i32>,
    destinations_from: Vec<i32>,
    destinations_to: Vec<i32>,
    bodies: Vec<Vec<u8>>,
    deliveries: Deliveries,
}

#[derive(Default)]
struct Deliveries {
    of: Vec<i32>,
    n: Vec<i64>,
    state: Vec<&'static str>,
    attempts: Vec<i16>,
    at: Vec<Option<i64>>,
    due: Vec<Option<i64>>,
    first: Vec<Option<i64>>,
    dead: Vec<Option<i64>>,
    moved: Vec<Option<i32>>,
    reason: Vec<Option<String>>,
    hold: Vec<Option<i32>>,
}

impl Import {
    /// Takes over a schema that no relay uses.
    pub async fn begin(quiet: Quiet) -> Result<Self, Trouble> {
        let mut import = Self { quiet, names: Names::new(), holds: Holds::default() };
        import.look().await?;
        Ok(import)
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let link = &self.quiet.link;
        let names = link.rows("SELECT kind, name, id FROM name", &[]).await?;
        let kind = |row: &Row| match row.get::<_, &str>(0) {
            "source" => NameKind::Source,
            "rule" => NameKind::Rule,
            _ => NameKind::Destination,
        };
        self.names = names.iter().map(|row| ((kind(row), row.get(1)), row.get(2))).collect();
        self.holds = holds::read(&link.rows(holds::SOURCES, &[]).await?);
        Ok(())
    }

    /// Takes over how a source or destination stands, unless it was paused or held here.
    pub async fn stand(&mut self, kind: NameKind, stands: &Stands) -> Result<(), Trouble> {
        self.name(&BTreeSet::from([(kind, stands.name.clone())])).await?;
        let id = self.id(kind, &stands.name);
        let ms = |ms: Option<u64>| ms.map(u64::cast_signed);
        let (paused, held) = (ms(stands.paused_since_ms), ms(stands.held_since_ms));
        let reason = paused.map(|_| storable(&stands.reason));
        let link = &self.quiet.link;
        if kind == NameKind::Destination {
            let sql = "INSERT INTO destination (id, paused_since_ms, pause_reason, stopped_since_ms) VALUES ($1, $2, $3, $2)
                ON CONFLICT (id) DO UPDATE SET paused_since_ms = $2, pause_reason = $3,
                    stopped_since_ms = coalesce(destination.stopped_since_ms, $2) WHERE destination.paused_since_ms IS NULL";
            link.rows(sql, &[&id, &paused, &reason]).await?;
            return Ok(());
        }
        let row = "INSERT INTO source (id) VALUES ($1) ON CONFLICT DO NOTHING";
        link.rows(row, &[&id]).await?;
        if paused.is_some() {
            let sql = "UPDATE source SET paused_since_ms = $2, pause_reason = $3, changed = nextval('name_changed')
                WHERE id = $1 AND paused_since_ms IS NULL";
            link.rows(sql, &[&id, &paused, &reason]).await?;
        }
        if held.is_some() {
            let sql = "UPDATE source SET held_since_ms = $2, hold = hold + 1, changed = nextval('name_changed')
                WHERE id = $1 AND held_since_ms IS NULL";
            link.rows(sql, &[&id, &held]).await?;
        }
        self.look().await
    }

    /// Takes events in, each with its id and where its deliveries stand, and returns once they are committed.
    pub async fn take(&mut self, events: &[Moved]) -> Result<(), Trouble> {
        let mut names = BTreeSet::new();
        for event in events {
            names.insert((NameKind::Source, event.source.clone()));
            names.extend(event.all_rules().map(|rule| (NameKind::Rule, rule.to_owned())));
            names.extend(event.destinations().map(|name| (NameKind::Destination, name.to_owned())));
        }
        self.name(&names).await?;
        let columns = self.columns(events)?;
        self.write(&columns).await
    }

    /// Numbers names that have no number yet.
    async fn name(&mut self, names: &BTreeSet<(NameKind, String)>) -> Result<(), Trouble> {
        let mut is_new = false;
        for (kind, name) in names.iter().filter(|name| !self.names.contains_key(*name)) {
            let kind = match kind {
                NameKind::Source => "source",
                NameKind::Rule => "rule",
                NameKind::Destination => "destination",
            };
            let sql = "INSERT INTO name (kind, name, changed) VALUES ($1, $2, nextval('name_changed')) ON CONFLICT DO NOTHING";
            self.quiet.link.rows(sql, &[&kind, name]).await?;
            is_new = true;
        }
        if is_new { self.look().await } else { Ok(()) }
    }

    fn id(&self, kind: NameKind, name: &str) -> i32 {
        self.names.get(&(kind, name.to_owned())).copied().unwrap_or(NameId::NONE.0.cast_signed())
    }

    fn columns(&self, events: &[Moved]) -> Result<Columns, Trouble> {
        let mut c = Columns::default();
        for event in events {
            let number = event.number().cast_signed();
            let source = self.id(NameKind::Source, &event.source);
            let is_held = event.deliveries.iter().any(|delivery| delivery.state == State::Held);
            let row =
                self.holds.0.get(&NameId(source.cast_unsigned())).filter(|row| is_held && row.held_since_ms.is_some());
            let hold = row.map(|row| row.hold);
            let body = event.body.bytes();
            let body = body.ok_or_else(|| Trouble::Refused(format!("the body of {} is no base64", event.id)))?;
            c.numbers.push(number);
            c.ids.push(uuid::Uuid::from_bytes(event.id.to_bytes()));
            c.received.push(event.received_ms.cast_signed());
            c.sources.push(source);
            c.holds.push(hold);
            c.erased.push(event.is_erased);
            c.redacted.push(event.is_redacted);
            c.rules_from.push(c.rules.len() as i32 + 1);
            c.rules.extend(event.rules.iter().map(|rule| self.id(NameKind::Rule, rule)));
            c.rules_to.push(c.rules.len() as i32);
            c.destinations_from.push(c.destinations.len() as i32 + 1);
            for planned in &event.to {
                c.destinations.push(self.id(NameKind::Destination, &planned.destination));
                c.by_rule.push(self.id(NameKind::Rule, &planned.rule));
            }
            c.destinations_to.push(c.destinations.len() as i32);
            c.bodies.push(body.to_vec());
            for delivery in &event.deliveries {
                self.delivery(event, delivery, hold, &mut c.deliveries);
            }
            // Each destination of an event has its row.
            for planned in
                event.to.iter().filter(|planned| !event.deliveries.iter().any(|d| d.destination == planned.destination))
            {
                let delivery = Delivery { destination: planned.destination.clone(), state: State::Settled };
                self.delivery(event, &delivery, hold, &mut c.deliveries);
            }
        }
        Ok(c)
    }

    fn delivery(&self, event: &Moved, delivery: &Delivery, hold: Option<i32>, d: &mut Deliveries) {
        let ms = |ms: u64| Some(ms.cast_signed());
        let came_ms = ms(event.received_ms);
        let text = |reason: &str| Some(storable(reason)).filter(|reason| !reason.is_empty());
        let nothing = (0, None, None, None, None, None);
        let (state, (attempts, at, due, first, dead, reason)) = match &delivery.state {
            State::Waiting | State::Held => ("waiting", nothing),
            State::Retry { attempts, first_ms, due_ms, reason } => {
                ("retry", (*attempts, ms(*first_ms), ms((*due_ms).max(1)), ms(*first_ms), None, text(reason)))
            }
            State::Dead { attempts, at_ms, reason } => {
                ("dead", (*attempts, ms(*at_ms), None, None, ms(*at_ms), text(reason)))
            }
            State::Delivered { attempts, at_ms } => ("delivered", (*attempts, ms(*at_ms), None, None, None, None)),
            State::Skipped { at_ms, reason } => ("skipped", (0, ms(*at_ms), None, None, None, text(reason))),
            State::Dropped { at_ms } => ("dropped", (0, ms(*at_ms), None, None, None, None)),
            State::Moved { at_ms, .. } => ("moved", (0, ms(*at_ms), None, None, None, None)),
            State::Settled => ("delivered", (0, came_ms, None, None, None, None)),
        };
        let moved = match &delivery.state {
            State::Moved { to, .. } => Some(self.id(NameKind::Destination, to)),
            _ => None,
        };
        d.of.push(self.id(NameKind::Destination, &delivery.destination));
        d.n.push(event.number().cast_signed());
        d.state.push(state);
        d.attempts.push(i16::try_from(attempts).unwrap_or(i16::MAX));
        d.at.push(at);
        d.due.push(due);
        d.first.push(first);
        d.dead.push(dead);
        d.moved.push(moved);
        d.reason.push(reason);
        d.hold.push(hold.filter(|_| delivery.state == State::Held));
    }

    async fn write(&self, c: &Columns) -> Result<(), Trouble> {
        let Quiet { link, dead } = &self.quiet;
        let segments = link.rows("SELECT k, state FROM segment ORDER BY k", &[]).await?;
        let all: Vec<i32> = segments.iter().map(|row| row.get(0)).collect();
        let takes = |row: &&Row| row.get::<_, i32>(0) > 0 && matches!(row.get::<_, &str>(1), "open" | "closed");
        let k: i32 = segments
            .iter()
            .find(takes)
            .map(|row| row.get(0))
            .ok_or_else(|| Trouble::Broken("there is no segment that takes anything in".to_owned()))?;
        let other = |other: &i32| format!("SELECT FROM event_{other} o WHERE o.n = u.n AND o.id IS DISTINCT FROM u.id");
        let others: Vec<String> = all.iter().map(other).collect();
        let conflicts = format!(
            "SELECT u.id::text FROM unnest($1::int8[], $2::uuid[]) u (n, id) WHERE EXISTS ({}) LIMIT 1",
            others.join(" UNION ALL ")
        );
        let is_elsewhere = |what: &str| -> String {
            all.iter()
                .filter(|other| **other != k)
                .map(|other| format!(" AND NOT EXISTS (SELECT FROM {what}_{other} o WHERE o.n = u.n)"))
                .collect()
        };
        let events = format!(
            "INSERT INTO event_{k} (n, slot, id, received_ms, stored_ms, source, hold, is_erased, is_redacted, rules, destinations, by_rule, body)
             SELECT u.n, -1, u.id, u.received_ms, u.received_ms, u.source, u.hold, u.is_erased, u.is_redacted, ($1::int4[])[u.rf:u.rt],
                ($2::int4[])[u.df:u.dt], ($3::int4[])[u.df:u.dt], u.body
             FROM unnest($4::int8[], $5::uuid[], $6::int8[], $7::int4[], $8::int4[], $9::bool[], $10::bool[], $11::int4[], $12::int4[],
                $13::int4[], $14::int4[], $15::bytea[]) u (n, id, received_ms, source, hold, is_erased, is_redacted, rf, rt, df, dt, body)
             WHERE true{} ON CONFLICT DO NOTHING",
            is_elsewhere("event")
        );
        let deliveries = format!(
            "INSERT INTO delivery_{k} (dest, n, state, attempts, at_ms, due_ms, first_ms, dead_ms, moved_to, reason, hold)
             SELECT u.dest, u.n, u.state::delivery_state, u.attempts, u.at_ms, u.due_ms, u.first_ms, u.dead_ms, u.moved_to, u.reason, u.hold
             FROM unnest($1::int4[], $2::int8[], $3::text[], $4::int2[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int4[], $10::text[],
                $11::int4[]) u (dest, n, state, attempts, at_ms, due_ms, first_ms, dead_ms, moved_to, reason, hold)
             WHERE EXISTS (SELECT FROM event_{k} e WHERE e.n = u.n) ON CONFLICT DO NOTHING"
        );
        let span = format!(
            "UPDATE segment SET n_from = least(n_from, greatest($1::int8 - 1, 0)), n_until = CASE WHEN n_until IS NOT NULL THEN greatest(n_until, $2::int8) END WHERE k = {k}"
        );
        let d = &c.deliveries;
        let first = c.numbers.iter().copied().min().unwrap_or(i64::MAX);
        let last = c.numbers.iter().copied().max().unwrap_or(0);
        let of_conflicts: [&(dyn ToSql + Sync); 2] = [&c.numbers, &c.ids];
        let of_relays: [&(dyn ToSql + Sync); 1] = [dead];
        let of_events: [&(dyn ToSql + Sync); 15] = [
            &c.rules,
            &c.destinations,
            &c.by_rule,
            &c.numbers,
            &c.ids,
            &c.received,
            &c.sources,
            &c.holds,
            &c.erased,
            &c.redacted,
            &c.rules_from,
            &c.rules_to,
            &c.destinations_from,
            &c.destinations_to,
            &c.bodies,
        ];
        let of_deliveries: [&(dyn ToSql + Sync); 11] =
            [&d.of, &d.n, &d.state, &d.attempts, &d.at, &d.due, &d.first, &d.dead, &d.moved, &d.reason, &d.hold];
        let of_span: [&(dyn ToSql + Sync); 2] = [&first, &last];
        let of_floors: [&(dyn ToSql + Sync); 2] = [&first, &d.of];
        let of_numbers: [&(dyn ToSql + Sync); 1] = [&last];
        let steps = [
            // One after the other, also where somebody asks twice.
            Step { sql: "SELECT one FROM meta FOR UPDATE", values: &[] },
            Step { sql: "SELECT name FROM relay WHERE incarnation <> ALL ($1) LIMIT 1", values: &of_relays },
            Step { sql: &conflicts, values: &of_conflicts },
            Step { sql: &events, values: &of_events },
            Step { sql: &deliveries, values: &of_deliveries },
            Step { sql: &span, values: &of_span },
            Step { sql: "UPDATE destination SET floor = $1 WHERE floor > $1 AND id = ANY ($2)", values: &of_floors },
            // What comes later has a greater number.
            Step {
                sql: "SELECT setval('event_number', $1) FROM event_number WHERE last_value < $1",
                values: &of_numbers,
            },
        ];
        let is_good = |answers: &[Vec<Row>]| answers[1].is_empty() && answers[2].is_empty();
        let done = link.transaction(Snapshot::Each, &steps, is_good).await?;
        if let Some(row) = done.answers[1].first() {
            return Err(alive(row.get(0)));
        }
        if let Some(row) = done.answers[2].first() {
            let id: String = row.get(0);
            return Err(Trouble::Refused(format!(
                "event {id} cannot be taken in: another one has its number in this schema. Import into a schema of its own (store.postgres.schema)"
            )));
        }
        match done.warnings.first() {
            // It is there, and perhaps not on the standby: said again, it is.
            Some(warning) => {
                Err(Trouble::Away(format!("the batch was committed and perhaps not replicated ({})", warning.message)))
            }
            None => Ok(()),
        }
    }

    /// What was written down about imports.
    pub async fn memo(&self) -> Result<Option<String>, Trouble> {
        let rows = self.quiet.link.rows("SELECT text FROM memo WHERE key = 'import'", &[]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// Writes down which file was taken in.
    pub async fn keep_memo(&self, text: &str) -> Result<(), Trouble> {
        let sql = "INSERT INTO memo (key, text) VALUES ('import', $1) ON CONFLICT (key) DO UPDATE SET text = $1";
        self.quiet.link.rows(sql, &[&text]).await.map(drop)
    }
}
