//! How sources stand, as this process sees it, and what they had held: it goes out when they are let go.

use std::sync::Arc;
use std::time::Duration;

use super::holds::{Holds, SOURCES, read};
use super::link::Link;
use super::running::Postgres;
use super::trouble::Trouble;
use crate::store::locks::lock;
use crate::store::queues::Bitmap;
use crate::store::{Command, Done, EVENTS_MAX, NameId, StoreError, What};

/// Before the database is asked again that gave no answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Postgres {
    /// Pauses a source, holds it, or lets it go on: that is nobody's, so it is written by who asks.
    pub async fn act_on_source(self: &Arc<Self>, command: &Command) -> Result<Done, StoreError> {
        let of = command.of.0.cast_signed();
        let at_ms = self.now_ms().cast_signed();
        let row = "INSERT INTO source (id) VALUES ($1) ON CONFLICT DO NOTHING";
        self.asker.rows(row, &[&of]).await?;
        let (set, condition) = match &command.what {
            What::Pause { .. } => ("paused_since_ms = $2, pause_reason = $3", "paused_since_ms IS NULL"),
            What::Hold => (
                "paused_since_ms = NULL, pause_reason = NULL, held_since_ms = coalesce(held_since_ms, $2),
                 hold = hold + CASE WHEN held_since_ms IS NULL THEN 1 ELSE 0 END",
                "(held_since_ms IS NULL OR paused_since_ms IS NOT NULL)",
            ),
            What::Resume => (
                "paused_since_ms = NULL, pause_reason = NULL, held_since_ms = NULL,
                 let_go = CASE WHEN held_since_ms IS NULL THEN let_go ELSE let_go || jsonb_build_object(hold::text, $2::int8) END",
                "(held_since_ms IS NOT NULL OR paused_since_ms IS NOT NULL)",
            ),
            _ => return Err(StoreError::Conflict("a source has no deliveries of its own".to_owned())),
        };
        let reason = match &command.what {
            What::Pause { reason } => reason.replace('\0', "\u{fffd}"),
            _ => String::new(),
        };
        let id = command.id.map(uuid::Uuid::from_u128);
        // What has an id is done by who finds it not done, in one transaction with the mark that it is.
        let sql = format!(
            "WITH asked AS MATERIALIZED (SELECT 1 FROM command WHERE id = $4 AND done_ms IS NULL FOR UPDATE),
             act AS (UPDATE source SET {set}, changed = nextval('name_changed') WHERE id = $1 AND {condition} AND ($4::uuid IS NULL OR EXISTS (SELECT 1 FROM asked))
                AND $3::text IS NOT NULL RETURNING 1),
             mark AS (UPDATE command SET done_ms = $2, deliveries = (SELECT count(*) FROM act), what = NULL
                WHERE id = $4 AND EXISTS (SELECT 1 FROM asked))
             SELECT count(*) FROM act"
        );
        let done = self.asker.rows(&sql, &[&of, &at_ms, &reason, &id]).await?;
        let mut deliveries: i64 = done.first().map_or(0, |row| row.get(0));
        if let Some(id) = id {
            let rows = self.asker.rows("SELECT deliveries FROM command WHERE id = $1", &[&id]).await?;
            deliveries = rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).unwrap_or(deliveries);
        }
        let rows = self.asker.rows(SOURCES, &[]).await?;
        self.saw_sources(read(&rows));
        Ok(Done { deliveries: deliveries.cast_unsigned(), was_done_before: false, taken_over: None })
    }

    /// Learns how sources stand before events are handed over that came in under these holds: what was read of sources before, and is looked at
    /// later, lets nothing go that came in under a hold of after that.
    pub async fn know_holds(
        self: &Arc<Self>,
        link: &Link,
        mut holds: impl Iterator<Item = (NameId, Option<i32>)>,
    ) -> Result<(), Trouble> {
        let is_unknown = {
            let known = lock(&self.holds);
            holds.any(|(source, hold)| known.is_unknown(source, hold))
        };
        if is_unknown {
            self.saw_sources(read(&link.rows(SOURCES, &[]).await?));
        }
        Ok(())
    }

    /// Sources stand like this, unless something newer is known: what is not held any more goes out.
    pub fn saw_sources(self: &Arc<Self>, seen: Holds) {
        let mut holds = lock(&self.holds);
        let before = holds.clone();
        holds.update(seen);
        if *holds == before {
            return;
        }
        let now = holds.clone();
        self.sources.send_modify(|shown| {
            let states = now.0.iter().map(|(id, row)| (*id, row.state()));
            *shown = Arc::new(states.filter(|(_, state)| *state != Default::default()).collect());
        });
        drop(holds);
        for (source, row) in &now.0 {
            if row.held_since_ms.is_none() {
                let at_ms = now.let_go_ms(*source, row.hold).unwrap_or_else(|| self.now_ms());
                self.let_go_of_source(*source, at_ms);
            } else if before.0.get(source).is_some_and(|before| before.hold < row.hold) {
                self.let_go_of_older_soon(*source, row.hold);
            }
        }
    }

    /// It may have been let go meanwhile, and is held again: what is held by which of the two, the database knows.
    fn let_go_of_older_soon(self: &Arc<Self>, source: NameId, hold: i32) {
        let postgres = self.clone();
        self.runtime.spawn(async move {
            while let Err(error) = postgres.let_go_of_older(source, hold).await {
                tracing::debug!(%error, "what an earlier hold kept is looked for again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
    }

    /// What came in under earlier holds of a source goes out.
    async fn let_go_of_older(&self, source: NameId, hold: i32) -> Result<(), StoreError> {
        let at_ms = lock(&self.holds).let_go_ms(source, 0).unwrap_or_else(|| self.now_ms());
        for id in self.destination_ids() {
            let held = lock(&self.destination(id).queue).held(source).cloned().unwrap_or_default();
            let numbers: Vec<i64> = held.iter_from(0).map(u64::cast_signed).collect();
            let mut older = Bitmap::default();
            for some in numbers.chunks(EVENTS_MAX) {
                for k in self.segments() {
                    let sql = format!("SELECT n FROM delivery_{k} WHERE dest = $1 AND n = ANY ($2) AND hold < $3");
                    let rows = self.upkeep.rows(&sql, &[&id.0.cast_signed(), &some, &hold]).await?;
                    older.insert_all(&rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect());
                }
            }
            if !older.is_empty() {
                let destination = self.destination(id);
                let mut queue = lock(&destination.queue);
                destination.ramp_up();
                queue.let_go_some(source, &older, at_ms);
                destination.wake(&queue);
            }
        }
        Ok(())
    }

    /// What a queue holds of sources that are not held any more goes out: they may have been let go while it was read.
    pub fn let_go_of_late(self: &Arc<Self>, id: NameId) {
        let holds = lock(&self.holds);
        let destination = self.destination(id);
        let mut queue = lock(&destination.queue);
        let holders: Vec<NameId> = queue.holders().collect();
        for source in holders {
            let Some(row) = holds.0.get(&source) else { continue };
            if row.held_since_ms.is_some() {
                self.let_go_of_older_soon(source, row.hold);
                continue;
            }
            let at_ms = holds.let_go_ms(source, row.hold).unwrap_or_else(|| self.now_ms());
            queue.let_go(source, at_ms);
            destination.wake(&queue);
        }
    }
}
