//! Which deliveries a command means.

use super::look::Looker;
use super::reader::Reader;
use super::running::Postgres;
use super::spans::Span;
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

    /// Looks into the database for what a command means, beside what people look at.
    fn choosing<'a>(&'a self, spans: &'a [Span]) -> Looker<'a, Reader> {
        Looker { link: &self.asker, ..self.looking(spans) }
    }

    /// The numbers of events, but for those that are not there.
    pub async fn numbers_of(&self, events: &[EventId]) -> Result<Bitmap, StoreError> {
        assert!(events.len() <= DEAD_EVENTS_MAX, "one command names at most {DEAD_EVENTS_MAX} events");
        let spans = self.spans();
        let mut found = Bitmap::default();
        for some in events.chunks(EVENTS_MAX) {
            found.insert_all(&self.choosing(&spans).numbers_of(some).await?.into_iter().collect());
        }
        Ok(found)
    }

    /// Those of some events that can go out again.
    pub async fn that_are_there(&self, numbers: Bitmap) -> Result<Bitmap, StoreError> {
        let spans = self.spans();
        let all: Vec<u64> = numbers.iter_from(0).collect();
        let mut there = Bitmap::default();
        for some in all.chunks(EVENTS_MAX) {
            there.insert_all(&self.choosing(&spans).are_whole(some).await?.into_iter().collect());
        }
        Ok(there)
    }

    /// Those of some events that came before a moment. They came about in the order of their numbers.
    async fn that_came_before(&self, numbers: Bitmap, before_ms: u64) -> Result<Bitmap, StoreError> {
        let spans = self.spans();
        let all: Vec<u64> = numbers.iter_from(0).collect();
        let mut old = Bitmap::default();
        for some in all.chunks(EVENTS_MAX) {
            let found = self.choosing(&spans).came_before(some, before_ms).await?;
            if found.is_empty() {
                break;
            }
            old.insert_all(&found.into_iter().collect());
        }
        Ok(old)
    }

    async fn dead_by(&self, of: NameId, query: &DeadQuery) -> Result<Bitmap, StoreError> {
        let mut dead = lock(&self.destination(of).queue).dead().clone();
        if let Some(events) = &query.events {
            dead.keep_within(&self.numbers_of(events).await?);
        }
        if !query.is_of_any_kind() {
            // What died a moment ago may be on its way.
            let _ = self.outbox.written().await;
            let spans = self.spans();
            dead.keep_within(&self.choosing(&spans).dead_numbers(of, query).await?);
        }
        Ok(dead)
    }
}
