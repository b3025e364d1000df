//! How much there is in the schema.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::running::Postgres;
use super::spans::{CARRIED, SPANS, span};
use super::store::PostgresStore;
use crate::store::locks::lock;
use crate::store::{Answer, StoreError, Usage};
use crate::time::Instant;

/// So long who asks waits until house was kept: a relay that is dead may have to be waited for.
const TRIM_WITHIN: Duration = Duration::from_secs(25);
/// Between two looks whether it was.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All tables of the schema with what belongs to them; of that, their indexes; and the rows of events that the server counts.
const SIZES: &str =
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8, coalesce(sum(pg_indexes_size(oid)), 0)::int8,
        coalesce(sum(pg_stat_get_live_tuples(oid)) FILTER (WHERE relname ~ '^event_[0-9]+$'), 0)::int8
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";

impl PostgresStore {
    /// How much it has and may have, by all relays. How many events is about so many, as the server counts rows.
    pub fn usage(&self) -> Answer<'_, Usage> {
        let postgres = self.postgres.clone();
        self.aside(async move {
            // Who looks while the database does not answer sees what was there before.
            match postgres.usage().await {
                Ok(usage) => {
                    *lock(&postgres.last_usage) = usage;
                    Ok(usage)
                }
                Err(StoreError::Unavailable(_)) => Ok(*lock(&postgres.last_usage)),
                Err(error) => Err(error),
            }
        })
    }

    /// Lets go of what need not be kept, whichever relay keeps house. Resolves when it has looked, and this relay knows what there is left.
    pub fn trim(&self) -> Answer<'_, ()> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.trim().await })
    }
}

impl Postgres {
    async fn trim(&self) -> Result<(), StoreError> {
        let until = Instant::now() + TRIM_WITHIN;
        self.expire().await?;
        let asked = self.asker.rows("UPDATE meta SET trims_asked = trims_asked + 1 RETURNING trims_asked", &[]).await?;
        let asked: i64 = asked.first().map_or(0, |row| row.get(0));
        self.hurry.notify_one();
        loop {
            self.tidy.notify_one();
            let done = self.asker.rows("SELECT trims_done >= $1 FROM meta", &[&asked]).await?;
            if done.first().is_some_and(|row| row.get(0)) {
                break;
            }
            if Instant::now() >= until {
                let why = "the relay that keeps house has not looked yet: it will".to_owned();
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let spans = self.asker.rows(SPANS, &[]).await?;
        self.saw_spans(spans.iter().map(span).collect());
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let rows = self.upkeep.rows(SIZES, &[]).await?;
        let sizes = rows.first().map_or([0; 3], |row| [0, 1, 2].map(|at| row.get::<_, i64>(at).cast_unsigned()));
        let [bytes, index_bytes, events] = sizes;
        let mut oldest_ms = None;
        let segments = self.segments();
        for k in segments.iter().filter(|k| **k != CARRIED) {
            let sql = format!("SELECT received_ms FROM event_{k} ORDER BY n LIMIT 1");
            if let Some(row) = self.upkeep.rows(&sql, &[]).await?.first() {
                oldest_ms = Some(row.get::<_, i64>(0).cast_unsigned());
                break;
            }
        }
        let dead = self.upkeep.rows("SELECT dead_bytes FROM meta", &[]).await?;
        let dead_bytes = dead.first().map(|row| row.get::<_, i64>(0).cast_unsigned());
        let retention = lock(&self.retention).clone();
        Ok(Usage {
            bytes,
            bytes_max: retention.bytes_max,
            journal_bytes: bytes.saturating_sub(index_bytes),
            history_bytes_max: retention.history_bytes.unwrap_or(0),
            index_bytes,
            dead_bytes,
            dead_expired: self.dead_expired.load(Ordering::Relaxed),
            dead_bytes_max: retention.dead_bytes,
            oldest_ms,
            events,
            segments: segments.len() as u64,
            ..Usage::default()
        })
    }
}
