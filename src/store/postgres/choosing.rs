//! Which deliveries a command means.

use super::running::Postgres;
use crate::event::EventId;
use crate::store::locks::lock;
use crate::store::queues::{Bitmap, going};
use crate::store::{DEAD_EVENTS_MAX, DeadQuery, EVENTS_MAX, NameId, StoreError, Which};

impl Postgres {
    /// The numbers of the deliveries that are meant, as far as they are there now.
    pub async fn chosen(&self, of: NameId, which: &Which) -> Result<Bitmap, StoreError> {
        let destination = self.destination(of);
        let queue = || lock(&destination.queue);
        Ok(match which {
            Which::Pending => queue().waiting(),
            Which::UnattemptedFor(age) => {
                let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                let Some(before_ms) = self.now_ms().checked_sub(age_ms) else { return Ok(Bitmap::default()) };
                let candidates = queue().unattempted_below(u64::MAX, before_ms);
                self.that_came_before(candidates, before_ms).await?
            }
            Which::OldestBeyond(most) => {
                let (oldest, waiting) = {
                    let queue = queue();
                    (queue.oldest_never_held(), queue.never_held())
                };
                let bytes = match oldest {
                    Some(oldest) => self.bytes_from(oldest).await?,
                    None => 0,
                };
                waiting.iter_from(0).take(going(waiting.len(), bytes, *most) as usize).collect()
            }
            Which::Dead(query) if *query == DeadQuery::default() => queue().dead().clone(),
            Which::Dead(query) => self.dead_by(of, query).await?,
            Which::Events(events) => {
                assert!(events.len() <= EVENTS_MAX, "one command names at most {EVENTS_MAX} events");
                self.numbers_of(events).await?
            }
        })
    }

    /// The numbers of events, but for those that are not there.
    pub async fn numbers_of(&self, events: &[EventId]) -> Result<Bitmap, StoreError> {
        assert!(events.len() <= DEAD_EVENTS_MAX, "one command names at most {DEAD_EVENTS_MAX} events");
        let mut found = Bitmap::default();
        for some in events.chunks(EVENTS_MAX) {
            let numbers: Vec<i64> = some.iter().map(|event| event.sequence().cast_signed()).collect();
            let ids: Vec<uuid::Uuid> = some.iter().map(|event| uuid::Uuid::from_bytes(event.to_bytes())).collect();
            for k in self.segments() {
                let sql = format!(
                    "SELECT e.n FROM unnest($1::int8[], $2::uuid[]) u (n, id) JOIN event_{k} e ON e.n = u.n WHERE e.id = u.id"
                );
                let rows = self.asker.rows(&sql, &[&numbers, &ids]).await?;
                found.insert_all(&rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect());
            }
        }
        Ok(found)
    }

    /// Those of some events that can go out again.
    pub async fn that_are_there(&self, numbers: Bitmap) -> Result<Bitmap, StoreError> {
        let all: Vec<i64> = numbers.iter_from(0).map(u64::cast_signed).collect();
        let mut there = Bitmap::default();
        for some in all.chunks(EVENTS_MAX) {
            for k in self.segments() {
                let sql = format!("SELECT n FROM event_{k} WHERE n = ANY ($1) AND NOT is_erased AND NOT is_redacted");
                let rows = self.asker.rows(&sql, &[&some]).await?;
                there.insert_all(&rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect());
            }
        }
        Ok(there)
    }

    /// Those of some events that came before a moment. They came about in the order of their numbers.
    async fn that_came_before(&self, numbers: Bitmap, before_ms: u64) -> Result<Bitmap, StoreError> {
        let all: Vec<i64> = numbers.iter_from(0).map(u64::cast_signed).collect();
        let mut old = Bitmap::default();
        for some in all.chunks(EVENTS_MAX) {
            let before = old.len();
            for k in self.segments() {
                let sql = format!("SELECT n FROM event_{k} WHERE n = ANY ($1) AND stored_ms < $2");
                let rows = self.asker.rows(&sql, &[&some, &before_ms.cast_signed()]).await?;
                old.insert_all(&rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect());
            }
            if old.len() == before {
                break;
            }
        }
        Ok(old)
    }

    async fn dead_by(&self, of: NameId, query: &DeadQuery) -> Result<Bitmap, StoreError> {
        let mut dead = lock(&self.destination(of).queue).dead().clone();
        if let Some(events) = &query.events {
            dead.keep_within(&self.numbers_of(events).await?);
        }
        if query.is_of_any_kind() {
            return Ok(dead);
        }
        // What died a moment ago may be on its way.
        let _ = self.outbox.written().await;
        let all: Vec<i64> = dead.iter_from(0).map(u64::cast_signed).collect();
        let of = of.0.cast_signed();
        let mut chosen = Bitmap::default();
        for some in all.chunks(EVENTS_MAX) {
            for k in self.segments() {
                let sql = format!(
                    "SELECT n, dead_ms, reason FROM delivery_{k} WHERE dest = $1 AND n = ANY ($2) AND dead_ms IS NOT NULL"
                );
                for row in self.asker.rows(&sql, &[&of, &some]).await? {
                    let reason = row.get::<_, Option<&str>>("reason").unwrap_or_default();
                    if query.holds(row.get::<_, i64>("dead_ms").cast_unsigned(), reason) {
                        chosen.insert(row.get::<_, i64>("n").cast_unsigned());
                    }
                }
            }
        }
        Ok(chosen)
    }
}
