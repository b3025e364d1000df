//! How far replays of the history have come.

use tokio_postgres::Row;

use super::commands::known;
use super::running::Postgres;
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::{ReplayProgress, StoreError};

/// Replays that are remembered.
const REPLAYS_MAX: i64 = 100;
/// What a replay was asked for, as text, in bytes: as long as a whole config.
const SPEC_MAX: usize = 1 << 20;
/// Numbers of events go no further.
const NUMBER_MAX: u64 = (1 << 62) - 1;

impl Postgres {
    /// All replays that are known, newest first.
    pub async fn replays(&self) -> Result<Vec<ReplayProgress>, StoreError> {
        let sql = "SELECT id, spec, cursor, until, selected, at_ms, done FROM replay ORDER BY at_ms DESC, id LIMIT $1";
        let rows = self.looker.rows(sql, &[&REPLAYS_MAX]).await?;
        Ok(rows.iter().map(|row| self.progress_of(row)).collect())
    }

    /// Writes down how far a replay has come, unless more is known of it already.
    pub async fn save_replay(&self, progress: ReplayProgress) -> Result<ReplayProgress, StoreError> {
        let bytes = progress.spec.len();
        if bytes > SPEC_MAX {
            let why = format!("what is asked for has {bytes} bytes, and {SPEC_MAX} is the most");
            return Err(StoreError::Conflict(why));
        }
        let uuid = uuid::Uuid::from_u128(progress.id);
        let sql = "SELECT of, kind, other, asked, done_ms, deliveries FROM command WHERE id = $1";
        if let Some(row) = self.asker.rows(sql, &[&uuid]).await?.first() {
            return Err(self.taken_by(known(progress.id, row)?, None));
        }
        let ReplayProgress { id: _, spec, cursor, selected, at_ms, is_done, .. } = &progress;
        let numbers = cursor.as_ref().map(|cursor| numbers_of(cursor, List::OldestFirst, self.number)).transpose()?;
        let [at, until] = numbers.unwrap_or([NUMBER_MAX; 2]).map(u64::cast_signed);
        let (selected, at_ms) = (selected.cast_signed(), at_ms.cast_signed());
        let sql =
            "INSERT INTO replay (id, spec, cursor, until, selected, at_ms, done) VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (id) DO UPDATE SET spec = $2, cursor = $3, until = $4, selected = $5, at_ms = $6, done = $7
            WHERE NOT replay.done AND replay.cursor <= $3";
        let spec = spec.replace('\0', "\u{fffd}");
        self.asker.rows(sql, &[&uuid, &spec, &at, &until, &selected, &at_ms, is_done]).await?;
        let sql = "SELECT id, spec, cursor, until, selected, at_ms, done FROM replay WHERE id = $1";
        let rows = self.asker.rows(sql, &[&uuid]).await?;
        let missing = || StoreError::Unavailable("the replay was not written".to_owned());
        rows.first().map(|row| self.progress_of(row)).ok_or_else(missing)
    }

    fn progress_of(&self, row: &Row) -> ReplayProgress {
        let number = |column: &str| row.get::<_, i64>(column).cast_unsigned();
        let (at, until, is_done) = (number("cursor"), number("until"), row.get("done"));
        let left = if is_done { 0 } else { until.saturating_sub(at) };
        ReplayProgress {
            id: row.get::<_, uuid::Uuid>("id").as_u128(),
            spec: row.get("spec"),
            cursor: (left > 0).then(|| cursor(List::OldestFirst, self.number, [at, until])),
            left,
            selected: number("selected"),
            at_ms: number("at_ms"),
            is_done,
        }
    }
}
