//! The texts in the database that quote whom an erasing is about.
//!
//! What is said of a delivery of theirs goes wholly. Of other texts only what names them does: as many `*` as it has bytes. A text that has
//! become another one meanwhile is left alone: a further walk finds it.

use super::*;

/// Rows of deliveries that are looked at in one step, most of which have no text,
const DELIVERIES: i64 = 10_000;
/// and of attempts.
const ATTEMPTS: i64 = 2_000;

/// A table that is small, with one column of texts.
struct Small {
    table: &'static str,
    /// What tells its rows apart, as a text.
    key: &'static str,
    column: &'static str,
    /// Rows that are read at once: of what may be long, few.
    rows: i64,
}

const SMALL: [Small; 8] = [
    Small { table: "digest", key: "dest || '/' || id", column: "reason", rows: 1_000 },
    Small { table: "destination", key: "id::text", column: "pause_reason", rows: 1_000 },
    Small { table: "handover", key: "command || '/' || n", column: "reason", rows: 1_000 },
    Small { table: "command", key: "id::text", column: "what", rows: 4 },
    Small { table: "source", key: "id::text", column: "pause_reason", rows: 1_000 },
    Small { table: "remembered", key: "dest || '/' || key", column: "text", rows: 500 },
    Small { table: "memo", key: "key", column: "text", rows: 20 },
    Small { table: "replay", key: "id::text", column: "spec", rows: 4 },
];

/// Which texts come next: behind a key.
#[derive(Clone, Debug)]
pub enum TextsAt {
    Deliveries { segment: usize, dest: i32, n: i64 },
    Attempts { segment: usize, n: i64, dest: i32, at_ms: i64 },
    Small { table: usize, key: String },
}

impl Default for TextsAt {
    fn default() -> Self {
        Self::deliveries(0)
    }
}

impl TextsAt {
    fn deliveries(segment: usize) -> Self {
        Self::Deliveries { segment, dest: i32::MIN, n: i64::MIN }
    }

    fn small(table: usize) -> Self {
        Self::Small { table, key: String::new() }
    }

    fn attempts(segment: usize) -> Self {
        Self::Attempts { segment, n: i64::MIN, dest: i32::MIN, at_ms: i64::MIN }
    }

    /// The segment that it is in; what is small comes behind all of them.
    pub fn segment(&self) -> usize {
        match self {
            Self::Deliveries { segment, .. } | Self::Attempts { segment, .. } => *segment,
            Self::Small { .. } => usize::MAX,
        }
    }
}

/// The statements that take away what is said of deliveries of some events: two for each segment.
pub struct Said {
    pub statements: Vec<String>,
    segments: Vec<i32>,
    destinations: Vec<i32>,
    numbers: Vec<i64>,
}

/// What is said of deliveries of some events.
pub fn said_of(postgres: &Postgres, numbers: &Bitmap) -> Said {
    Said::of(postgres, numbers_in(numbers))
}

impl Said {
    fn of(postgres: &Postgres, numbers: Vec<i64>) -> Self {
        let segments = postgres.segments();
        let of_segment = |k: &i32| {
            [
                format!(
                    "UPDATE delivery_{k} SET reason = repeat('*', octet_length(reason)) WHERE dest = ANY ($1) AND n = ANY ($2)
                       AND reason <> repeat('*', octet_length(reason)) RETURNING 1"
                ),
                format!("DELETE FROM attempt_{k} WHERE n = ANY ($1) RETURNING 1"),
            ]
        };
        let statements = segments.iter().flat_map(of_segment).collect();
        Self { statements, segments, destinations: postgres.destinations_in(), numbers }
    }

    /// The values of each.
    pub fn values(&self) -> Vec<Vec<&(dyn ToSql + Sync)>> {
        let of_segment = |_| [vec![&self.destinations as &(dyn ToSql + Sync), &self.numbers], vec![&self.numbers as _]];
        self.segments.iter().flat_map(of_segment).collect()
    }

    /// How many texts were masked, and the tables that were changed, by the answers.
    pub fn came_to(&self, answers: &[Vec<tokio_postgres::Row>]) -> (u64, Vec<String>) {
        let (mut texts, mut tables) = (0, Vec::new());
        for (k, answers) in self.segments.iter().zip(answers.chunks(2)) {
            texts += answers[0].len() as u64;
            for (rows, table) in answers.iter().zip(["delivery", "attempt"]) {
                if !rows.is_empty() {
                    tables.push(format!("{table}_{k}"));
                }
            }
        }
        (texts, tables)
    }
}

impl Walk {
    /// Refuses to begin while a replay names whom it is about: it would not know any more what was asked for.
    pub(super) async fn refuse_amid_replay(&mut self) -> Result<(), StoreError> {
        let rows = self.link().await?.rows("SELECT spec FROM replay WHERE NOT done", &[]).await?;
        if rows.iter().any(|row| self.whom.masked(row.get(0)).is_some()) {
            let why = "a replay that names them is not done yet: wait until it is, or stop it, and erase then";
            return Err(StoreError::Conflict(why.to_owned()));
        }
        Ok(())
    }

    /// Takes away what is said of deliveries of erased events. Returns how many texts were masked.
    pub(super) async fn erase_said(&mut self, numbers: &Bitmap) -> Result<u64, StoreError> {
        let mut texts = 0;
        for some in numbers_in(numbers).chunks(NUMBERS_MAX) {
            let said = Said::of(&self.postgres, some.to_vec());
            let values = said.values();
            let steps = said.statements.iter().zip(&values).map(|(sql, values)| Step { sql, values });
            let steps: Vec<Step<'_>> = steps.collect();
            let done = self.link().await?.transaction(Snapshot::Each, &steps, |_| true).await?;
            let (masked, tables) = said.came_to(&done.answers);
            texts += masked;
            self.changed.extend(tables);
        }
        Ok(texts)
    }

    /// Masks a page of texts, and goes on. Returns how many were masked, or would be.
    pub(super) async fn texts(&mut self, at: TextsAt) -> Result<u64, StoreError> {
        let (masked, next) = match at {
            TextsAt::Deliveries { segment, dest, n } => self.of_deliveries(segment, (dest, n)).await?,
            TextsAt::Attempts { segment, n, dest, at_ms } => self.of_attempts(segment, (n, dest, at_ms)).await?,
            TextsAt::Small { table, key } => self.of_small(table, &key).await?,
        };
        self.stage = next.map_or(Stage::End, Stage::Texts);
        Ok(masked)
    }

    async fn of_deliveries(&mut self, segment: usize, after: (i32, i64)) -> Result<(u64, Option<TextsAt>), StoreError> {
        let Some(Extent { k, .. }) = self.extents.get(segment).copied() else {
            return Ok((0, Some(TextsAt::small(0))));
        };
        let sql = format!(
            "SELECT dest, n, reason FROM (
               SELECT dest, n, reason, lead(n) OVER (ORDER BY dest, n) IS NULL AS is_last FROM (
                 SELECT dest, n, reason FROM delivery_{k} WHERE (dest, n) > ($1::int4, $2::int8) ORDER BY dest, n
                 LIMIT {DELIVERIES}) p) q
             WHERE reason IS NOT NULL OR is_last ORDER BY dest, n"
        );
        let rows = match self.link().await?.rows(&sql, &[&after.0, &after.1]).await {
            Err(Trouble::Gone(_)) => Vec::new(),
            rows => rows?,
        };
        let Some(last) = rows.last() else { return Ok((0, Some(TextsAt::attempts(segment)))) };
        let next = TextsAt::Deliveries { segment, dest: get(last, 0)?, n: get(last, 1)? };
        let texts = rows.iter().map(|row| get::<Option<String>>(row, 2)).collect::<Result<Vec<_>, _>>()?;
        let changed = self.masked(texts).await?;
        if self.erases && !changed.is_empty() {
            let (mut dests, mut numbers, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (at, old, new) in &changed {
                dests.push(get::<i32>(&rows[*at], 0)?);
                numbers.push(get::<i64>(&rows[*at], 1)?);
                before.push(old.as_str());
                after.push(new.as_str());
            }
            let sql = format!(
                "UPDATE delivery_{k} d SET reason = u.after
                 FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[]) u (dest, n, before, after)
                 WHERE d.dest = u.dest AND d.n = u.n AND d.reason = u.before"
            );
            self.link().await?.rows(&sql, &[&dests, &numbers, &before, &after]).await?;
            self.changed.insert(format!("delivery_{k}"));
        }
        Ok((changed.len() as u64, Some(next)))
    }

    async fn of_attempts(
        &mut self,
        segment: usize,
        after: (i64, i32, i64),
    ) -> Result<(u64, Option<TextsAt>), StoreError> {
        let Some(Extent { k, .. }) = self.extents.get(segment).copied() else {
            return Ok((0, Some(TextsAt::deliveries(segment))));
        };
        let sql = format!(
            "SELECT n, dest, at_ms, reason, answer FROM attempt_{k} WHERE (n, dest, at_ms) > ($1::int8, $2::int4, $3::int8)
             ORDER BY n, dest, at_ms LIMIT {ATTEMPTS}"
        );
        let rows = match self.link().await?.rows(&sql, &[&after.0, &after.1, &after.2]).await {
            Err(Trouble::Gone(_)) => Vec::new(),
            rows => rows?,
        };
        let Some(last) = rows.last() else { return Ok((0, Some(TextsAt::deliveries(segment + 1)))) };
        let next = TextsAt::Attempts { segment, n: get(last, 0)?, dest: get(last, 1)?, at_ms: get(last, 2)? };
        let mut masked = 0;
        for (column, place) in [("reason", 3), ("answer", 4)] {
            let texts = rows.iter().map(|row| get::<Option<String>>(row, place)).collect::<Result<Vec<_>, _>>()?;
            let changed = self.masked(texts).await?;
            masked += changed.len() as u64;
            if !self.erases || changed.is_empty() {
                continue;
            }
            let (mut numbers, mut dests, mut times, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (at, _, new) in &changed {
                numbers.push(get::<i64>(&rows[*at], 0)?);
                dests.push(get::<i32>(&rows[*at], 1)?);
                times.push(get::<i64>(&rows[*at], 2)?);
                after.push(new.as_str());
            }
            // What an attempt came to is written once.
            let sql = format!(
                "UPDATE attempt_{k} a SET {column} = u.after
                 FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::text[]) u (n, dest, at_ms, after)
                 WHERE a.n = u.n AND a.dest = u.dest AND a.at_ms = u.at_ms"
            );
            self.link().await?.rows(&sql, &[&numbers, &dests, &times, &after]).await?;
            self.changed.insert(format!("attempt_{k}"));
        }
        Ok((masked, Some(next)))
    }

    async fn of_small(&mut self, table: usize, after: &str) -> Result<(u64, Option<TextsAt>), StoreError> {
        let Some(Small { table: name, key, column, rows: most }) = SMALL.get(table) else { return Ok((0, None)) };
        let sql = format!(
            "SELECT {key}, {column} FROM {name} WHERE {column} IS NOT NULL AND ({key}) COLLATE \"C\" > $1
             ORDER BY ({key}) COLLATE \"C\" LIMIT {most}"
        );
        let rows = self.link().await?.rows(&sql, &[&after]).await?;
        let Some(last) = rows.last() else { return Ok((0, Some(TextsAt::small(table + 1)))) };
        let next = TextsAt::Small { table, key: get(last, 0)? };
        let texts = rows.iter().map(|row| get::<Option<String>>(row, 1)).collect::<Result<Vec<_>, _>>()?;
        let changed = self.masked(texts).await?;
        if self.erases && !changed.is_empty() {
            let keys = changed.iter().map(|(at, ..)| get::<String>(&rows[*at], 0)).collect::<Result<Vec<_>, _>>()?;
            let before: Vec<&str> = changed.iter().map(|(_, old, _)| old.as_str()).collect();
            let after: Vec<&str> = changed.iter().map(|(.., new)| new.as_str()).collect();
            let sql = format!(
                "UPDATE {name} SET {column} = u.u_after FROM unnest($1::text[], $2::text[], $3::text[]) u (u_key, u_before, u_after)
                 WHERE {key} = u.u_key AND {column} = u.u_before"
            );
            self.link().await?.rows(&sql, &[&keys, &before, &after]).await?;
            self.changed.insert((*name).to_owned());
        }
        Ok((changed.len() as u64, Some(next)))
    }

    /// Those of some texts that name whom it is about: which they are, and what they were and become.
    async fn masked(&self, texts: Vec<Option<String>>) -> Result<Vec<(usize, String, String)>, StoreError> {
        let whom = self.whom.clone();
        let masked = self.postgres.runtime.spawn_blocking(move || {
            let texts = texts.into_iter().enumerate();
            let changed = |(at, text): (usize, Option<String>)| {
                let text = text?;
                let masked = whom.masked(&text)?;
                Some((at, text, masked))
            };
            texts.filter_map(changed).collect()
        });
        masked.await.map_err(|_| StoreError::Closed)
    }
}
