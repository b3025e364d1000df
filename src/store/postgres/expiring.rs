//! Dead letters whose time is over, or that are too many, are dropped by who owns their destination: in memory first, as by a command.
//!
//! What is too many is said by who keeps house: dead letters that were carried out of the history count, by the bytes of their bodies, and the
//! oldest go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::running::Postgres;
use super::spans::CARRIED;
use crate::store::locks::{lock, reading};
use crate::store::queues::{Backing, Bitmap, BulkAct};
use crate::store::{NameId, StoreError};

/// Between two looks. All dead letters are looked at in one.
const EACH: Duration = Duration::from_secs(10 * 60);
/// What is not written by then is looked at another time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Rows that one statement looks at.
const PAGE_ROWS: i64 = 4096;
const WHY: &str = "dead letters were older, or took more room, than store.dead_letters allows";

/// Drops them until the store ends.
pub async fn run(postgres: Arc<Postgres>) {
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = tokio::time::sleep(EACH) => {}
        }
        if let Err(error) = postgres.expire().await {
            tracing::debug!(%error, "dead letters whose time is over are dropped another time");
        }
    }
}

impl Postgres {
    /// Drops dead letters of its destinations whose time is over, or that are too many.
    pub async fn expire(&self) -> Result<(), StoreError> {
        // What has died just now is seen as well, if the database answers.
        let _ = tokio::time::timeout(WRITTEN_WITHIN, self.outbox.written()).await;
        let age_ms = u64::try_from(lock(&self.retention).dead_age.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.now_ms().saturating_sub(age_ms).cast_signed();
        let below = self.upkeep.rows("SELECT dead_below FROM meta", &[]).await?;
        let below: i64 = below.first().map_or(0, |row| row.get(0));
        let owned: Vec<NameId> = reading(&self.owned).keys().copied().collect();
        let mut dropped = 0;
        for id in owned {
            for k in self.segments() {
                let below = if k == CARRIED { below } else { 0 };
                dropped += self.expire_in(id, k, before_ms, below).await?;
            }
        }
        if dropped > 0 {
            self.dead_expired.fetch_add(dropped, Ordering::Relaxed);
            tracing::warn!(
                dead_letters = dropped,
                "dead letters were dropped: they were older, or took more room, than store.dead_letters allows"
            );
        }
        Ok(())
    }

    async fn expire_in(&self, id: NameId, k: i32, before_ms: i64, below: i64) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT n, dead_ms <= $2 OR n <= $3 FROM delivery_{k}
             WHERE dest = $1 AND dead_ms IS NOT NULL AND n > $4 ORDER BY n LIMIT {PAGE_ROWS}"
        );
        let (mut after, mut dropped) = (-1_i64, 0);
        // What is not in memory, or none of ours any more, has nothing to be looked for.
        while self.owns(id) && !lock(&self.destination(id).queue).dead().is_empty() {
            let rows = self.upkeep.rows(&sql, &[&id.0.cast_signed(), &before_ms, &below, &after]).await?;
            let expired = rows.iter().filter(|row| row.get(1)).map(|row| row.get::<_, i64>(0).cast_unsigned());
            let expired: Bitmap = expired.collect();
            if !expired.is_empty() && self.owns(id) {
                dropped += self.select_of(None, id, BulkAct::Drop, WHY, &expired);
            }
            let Some(last) = rows.last() else { break };
            after = last.get(0);
        }
        Ok(dropped)
    }
}
