//! How much there is in the schema.

use super::running::Postgres;
use super::spans::CARRIED;
use super::store::PostgresStore;
use crate::store::locks::lock;
use crate::store::{Answer, StoreError, Usage};

/// All tables of the schema with what belongs to them; of that, their indexes; and the rows of events that the server counts.
const SIZES: &str =
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8, coalesce(sum(pg_indexes_size(oid)), 0)::int8,
        coalesce(sum(pg_stat_get_live_tuples(oid)) FILTER (WHERE relname ~ '^event_[0-9]+$'), 0)::int8
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";

impl PostgresStore {
    /// How much it has and may have, by all relays. How many events is about so many, as the server counts rows.
    pub fn usage(&self) -> Answer<'_, Usage> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.usage().await })
    }

    /// Lets go what need not be kept.
    pub fn trim(&self) -> Answer<'_, ()> {
        let postgres = self.postgres.clone();
        self.aside(async move {
            postgres.hurry.notify_one();
            Ok(())
        })
    }
}

impl Postgres {
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
        let retention = lock(&self.retention).clone();
        Ok(Usage {
            bytes,
            bytes_max: retention.bytes_max,
            journal_bytes: bytes.saturating_sub(index_bytes),
            history_bytes_max: retention.history_bytes.unwrap_or(0),
            index_bytes,
            dead_bytes: None,
            dead_bytes_max: retention.dead_bytes,
            oldest_ms,
            events,
            segments: segments.len() as u64,
            ..Usage::default()
        })
    }
}
