//! Looking: what lies in the database, and over it what this process knows better of the destinations that it owns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::running::Postgres;
use super::shown::Shown;
use super::store::PostgresStore;
use crate::event::EventId;
use crate::store::locks::{lock, reading};
use crate::store::queues::{Bitmap, DeliveryKey, states_of};
use crate::store::{
    AllCounts, Answer, AttemptNote, Cursor, DeadLetter, DeadQuery, DeadReasons, DeliveryState, DeliveryView,
    ErasedEvent, EventQuery, EventView, HeldBy, Kept, Looking, NameId, NameKind, Page, SearchLimit, States, StoreError,
    StoredEvent, Watch, Which,
};

/// Who looks waits so long for what was said before.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

impl Looking for PostgresStore {
    fn event(&self, id: EventId) -> Answer<'_, EventView> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.event(id).await })
    }

    fn events(&self, query: &EventQuery, after: Option<&Cursor>, max: usize) -> Answer<'_, Page<Arc<StoredEvent>>> {
        let (postgres, query, after) = (self.postgres.clone(), *query, after.cloned());
        self.aside(async move {
            let end = postgres.seen_whole().await?;
            let spans = postgres.spans();
            postgres.looking(&spans).events(&query, after.as_ref(), max, end).await
        })
    }

    fn events_of(&self, ids: Vec<EventId>) -> Answer<'_, (Vec<Arc<StoredEvent>>, usize)> {
        let postgres = self.postgres.clone();
        self.aside(async move {
            let spans = postgres.spans();
            postgres.looking(&spans).events_of(&ids).await
        })
    }

    fn states(&self, events: Vec<Arc<StoredEvent>>, limit: SearchLimit) -> Answer<'_, (Vec<States>, SearchLimit)> {
        let postgres = self.postgres.clone();
        self.aside(async move { Ok((postgres.states(&events).await?, limit)) })
    }

    fn dead_letters(
        &self,
        of: Vec<NameId>,
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Answer<'_, Page<DeadLetter>> {
        let (postgres, query, after) = (self.postgres.clone(), query.clone(), after.cloned());
        self.aside(async move {
            postgres.write_all().await;
            let spans = postgres.spans();
            postgres.looking(&spans).dead_letters(&of, &query, after.as_ref(), max).await
        })
    }

    fn watch(&self) -> Watch {
        self.postgres.watchers.begin()
    }

    fn dead_reasons(&self, of: Vec<NameId>) -> Answer<'_, DeadReasons> {
        let postgres = self.postgres.clone();
        self.aside(async move {
            postgres.write_all().await;
            let spans = postgres.spans();
            postgres.looking(&spans).dead_reasons(&of).await
        })
    }

    fn counts(&self) -> Answer<'_, AllCounts> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.all_counts().await })
    }

    fn how_many(&self, of: NameId, which: Which) -> Answer<'_, u64> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.how_many(of, &which).await })
    }
}

impl Postgres {
    /// Has everything written that was said so far, if the database takes it now.
    async fn write_all(&self) {
        let _ = tokio::time::timeout(WRITTEN_WITHIN, self.outbox.written()).await;
    }

    /// The number behind which events may still appear: all below are seen.
    async fn seen_whole(&self) -> Result<u64, StoreError> {
        // What is being appended just now has its numbers, and may appear below them.
        let rows = self.looker.rows("SELECT last_value FROM event_number", &[]).await?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).cast_unsigned() + 1))
    }

    /// One event, with all that is known of its deliveries.
    async fn event(&self, id: EventId) -> Result<EventView, StoreError> {
        self.write_all().await;
        let spans = self.spans();
        let looker = self.looking(&spans);
        let kept = looker.event(id).await?.ok_or(StoreError::Missing)?;
        let event = match &kept {
            Kept::Event(event) => event.clone(),
            Kept::Erased(left) => Arc::new(left.clone().without_body()),
        };
        let states = self.states(std::slice::from_ref(&event)).await?;
        let mut attempts: BTreeMap<NameId, Vec<AttemptNote>> = looker.attempts(id.sequence()).await?;
        let mut deliveries = Vec::new();
        for (planned, state) in states.into_iter().flatten() {
            let key = DeliveryKey { sequence: id.sequence(), destination: planned.destination };
            let state = self.with_earlier(&key, state).await;
            let attempts = attempts.remove(&planned.destination).unwrap_or_default();
            deliveries.push(DeliveryView { planned, state, attempts });
        }
        let event = match kept {
            Kept::Event(event) => Kept::Event(event),
            Kept::Erased(_) => Kept::Erased(ErasedEvent::from(&*event)),
        };
        Ok(EventView { event, deliveries })
    }

    /// What waits behind another, with the event of that where it can be read.
    async fn with_earlier(&self, key: &DeliveryKey, state: DeliveryState) -> DeliveryState {
        let DeliveryState::Held { by: HeldBy::Order { .. } } = state else { return state };
        let earlier = lock(&self.destination(key.destination).queue).earlier_than(key.sequence);
        let spans = self.spans();
        let earlier = match earlier {
            Some(earlier) => super::reading::read_some(&self.looker, &spans, &[earlier], 0).await.ok(),
            None => None,
        };
        let event = earlier.into_iter().flatten().next().and_then(|(_, event)| event.ok());
        DeliveryState::Held { by: HeldBy::Order { earlier: event.map(|event| event.id) } }
    }

    /// Where all deliveries of some events stand.
    async fn states(&self, events: &[Arc<StoredEvent>]) -> Result<Vec<States>, StoreError> {
        let numbers: Vec<u64> = events.iter().map(|event| event.id.sequence()).collect();
        let names = reading(&self.names).shown();
        let all: Vec<NameId> = names.of_kind(NameKind::Destination).into_iter().map(|(id, _)| id).collect();
        let spans = self.spans();
        let looker = self.looking(&spans);
        let mut known = looker.states(events, &all).await?;
        let owned: Vec<NameId> = reading(&self.owned).keys().copied().filter(|id| self.owns(*id)).collect();
        for number in &numbers {
            for destination in &owned {
                let key = DeliveryKey { sequence: *number, destination: *destination };
                match self.state_in_memory(&key) {
                    // How it ended, or what a dead letter was, is in the database.
                    Some(DeliveryState::Settled) | None => {}
                    Some(state) => drop(known.insert(key, state)),
                }
            }
        }
        Ok(events.iter().map(|event| states_of(event, &known)).collect())
    }

    /// What waits, wherever: of destinations that this process owns by its queues, and of others by what their owners have said.
    async fn all_counts(&self) -> Result<AllCounts, StoreError> {
        let names = reading(&self.names).shown();
        let all: Vec<NameId> = names.of_kind(NameKind::Destination).into_iter().map(|(id, _)| id).collect();
        // Of what nobody has now, it is told what was said last.
        let _ = tokio::time::timeout(self.patience, self.until_all_owned(&all)).await;
        let mut elsewhere = self.shown_elsewhere().await?;
        let mut destinations = Vec::with_capacity(all.len());
        let mut known: HashMap<NameId, u64> = HashMap::new();
        for id in all {
            if self.owns(id) {
                destinations.push(self.counts_of(self.shown_here(id)).await?);
                continue;
            }
            let shown = elsewhere.remove(&id).unwrap_or_else(|| Shown::unknown(id));
            for (source, count) in &shown.held {
                let most = known.entry(*source).or_default();
                *most = (*most).max(*count);
            }
            destinations.push(self.counts_of(shown).await?);
        }
        let sources = self.sources.borrow().clone();
        let holds = sources.iter().filter(|(_, state)| state.held_since_ms.is_some());
        let held = holds.map(|(id, _)| {
            let mut here = Bitmap::default();
            for destination in self.destination_ids() {
                if let Some(held) = lock(&self.destination(destination).queue).held(*id) {
                    here.insert_all(held);
                }
            }
            (*id, here.len().max(known.get(id).copied().unwrap_or(0)))
        });
        Ok(AllCounts { destinations, held: held.collect() })
    }

    /// Bytes of events from a number on, about.
    pub async fn bytes_from(&self, number: u64) -> Result<u64, StoreError> {
        let spans = self.spans();
        self.looking(&spans).bytes_from(number).await
    }

    /// Waits until a destination is this process's, or another's that lives.
    pub async fn until_owned(&self, id: NameId) -> Result<(), StoreError> {
        let owned = tokio::time::timeout(self.patience, self.until_all_owned(&[id])).await;
        owned.map_err(|_| StoreError::Unavailable("no relay has this destination now".to_owned()))
    }

    /// The same of several.
    async fn until_all_owned(&self, all: &[NameId]) {
        let mut changed = self.ownership.subscribe();
        loop {
            changed.borrow_and_update();
            if all.iter().all(|id| self.owns(*id) || lock(&self.elsewhere).contains(id)) {
                return;
            }
            self.hurry.notify_one();
            // The store is what sends: it is there for as long as this is.
            let _ = changed.changed().await;
        }
    }

    /// How many deliveries of a destination are meant, also of another relay's.
    async fn how_many(&self, of: NameId, which: &Which) -> Result<u64, StoreError> {
        self.until_owned(of).await?;
        if self.owns(of) {
            return Ok(self.chosen(of, which).await?.len());
        }
        let spans = self.spans();
        let looker = self.looking(&spans);
        Ok(match which {
            Which::Dead(query) => looker.dead_numbers(of, query).await?.len(),
            Which::Events(events) => self.numbers_of(events).await?.len(),
            Which::Pending => {
                let counts = self.shown_elsewhere().await?.remove(&of).map(|shown| shown.counts).unwrap_or_default();
                counts.backlog.saturating_sub(counts.in_flight)
            }
            Which::UnattemptedFor(_) | Which::OldestBeyond(_) => {
                let why = "only the relay that has this destination knows how many these are".to_owned();
                return Err(StoreError::Unavailable(why));
            }
        })
    }
}
