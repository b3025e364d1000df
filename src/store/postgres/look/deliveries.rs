//! Where deliveries stand, and the attempts at them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::Looker;
use crate::store::postgres::asks::Asks;
use crate::store::postgres::rows::{ATTEMPT, DELIVERY, attempt, delivery_state, get, name, name_in, number, signed};
use crate::store::postgres::spans::{each, holding, overlapping};
use crate::store::queues::DeliveryKey;
use crate::store::{AttemptNote, DeliveryState, NameId, StoreError, StoredEvent};

/// Deliveries looked up in one statement: a tenth of a second.
const LOOKED_UP_AT_ONCE: usize = 16_384;
/// Attempts told of one event: those of a week at a destination that never answers, several times.
const ATTEMPTS_MAX: usize = 10_000;

impl<C: Asks> Looker<'_, C> {
    /// Where deliveries of some events stand: those that were planned, and those to `others`, to where something else may have sent them.
    pub async fn states(
        &self,
        events: &[Arc<StoredEvent>],
        others: &[NameId],
    ) -> Result<BTreeMap<DeliveryKey, DeliveryState>, StoreError> {
        let numbers: Vec<u64> = events.iter().map(|event| event.id.sequence()).collect();
        let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else {
            return Ok(BTreeMap::new());
        };
        let others = self.with_any(others, *first..*last + 1).await?;
        let mut keys = BTreeSet::new();
        for event in events {
            let planned = event.deliveries.iter().map(|delivery| delivery.destination);
            let key = |destination| DeliveryKey { sequence: event.id.sequence(), destination };
            keys.extend(planned.chain(others.iter().copied()).map(key));
        }
        self.states_of(&keys.into_iter().collect::<Vec<_>>()).await
    }

    /// The destinations that have any delivery of a range of events, whatever became of it.
    async fn with_any(&self, destinations: &[NameId], events: Range<u64>) -> Result<Vec<NameId>, StoreError> {
        let segments = overlapping(self.spans, &events);
        if segments.is_empty() || destinations.is_empty() {
            return Ok(Vec::new());
        }
        let any = each(&segments, |k| {
            format!("SELECT dest FROM delivery_{k} WHERE dest = u.dest AND n >= $2::int8 AND n < $3::int8")
        });
        let sql = format!("SELECT d.dest FROM unnest($1::int4[]) u (dest) CROSS JOIN LATERAL ({any} LIMIT 1) d");
        let destinations: Vec<i32> = destinations.iter().copied().map(name_in).collect();
        let rows = self.link.rows(&sql, &[&destinations, &signed(events.start), &signed(events.end)]).await?;
        rows.iter().map(|row| get(row, 0).map(name)).collect()
    }

    /// Where some deliveries stand; nothing of those that are not there.
    pub async fn states_of(&self, keys: &[DeliveryKey]) -> Result<BTreeMap<DeliveryKey, DeliveryState>, StoreError> {
        let mut states = BTreeMap::new();
        for keys in keys.chunks(LOOKED_UP_AT_ONCE) {
            let numbers: Vec<u64> = keys.iter().map(|key| key.sequence).collect();
            let segments = holding(self.spans, &numbers);
            if segments.is_empty() {
                continue;
            }
            let there = each(&segments, |k| {
                // Of what waits, it is looked whether its source is still held as it was when it came.
                format!(
                    "SELECT {DELIVERY}, d.hold IS NOT NULL AND d.state IN ('waiting', 'retry') AND EXISTS (\
                       SELECT 1 FROM source s WHERE s.hold = d.hold AND s.held_since_ms IS NOT NULL \
                         AND s.id = (SELECT e.source FROM event_{k} e WHERE e.n = d.n)) AS is_held \
                     FROM delivery_{k} d WHERE d.dest = u.dest AND d.n = u.n"
                )
            });
            let sql = format!(
                "SELECT t.* FROM unnest($1::int4[], $2::int8[]) u (dest, n) CROSS JOIN LATERAL ({there} LIMIT 1) t"
            );
            let destinations: Vec<i32> = keys.iter().map(|key| name_in(key.destination)).collect();
            let numbers: Vec<i64> = numbers.into_iter().map(signed).collect();
            for row in &self.link.rows(&sql, &[&destinations, &numbers]).await? {
                let key = DeliveryKey { sequence: number(row, 1)?, destination: name(get(row, 0)?) };
                states.insert(key, delivery_state(row, get(row, 9)?)?);
            }
        }
        Ok(states)
    }

    /// The attempts at an event's deliveries that are kept, oldest first.
    pub async fn attempts(&self, event: u64) -> Result<BTreeMap<NameId, Vec<AttemptNote>>, StoreError> {
        // They are written down where the newest events are.
        let segments = overlapping(self.spans, &(event..u64::MAX));
        let mut notes: BTreeMap<NameId, Vec<AttemptNote>> = BTreeMap::new();
        if segments.is_empty() {
            return Ok(notes);
        }
        let all = each(&segments, |k| format!("SELECT {ATTEMPT} FROM attempt_{k} WHERE n = $1::int8"));
        let sql = format!("SELECT * FROM ({all} LIMIT {ATTEMPTS_MAX}) a ORDER BY at_ms");
        for row in &self.link.rows(&sql, &[&signed(event)]).await? {
            let (destination, note) = attempt(row)?;
            let of_it = notes.entry(destination).or_default();
            // Where it was carried it is there twice for a while.
            if of_it.last() != Some(&note) {
                of_it.push(note);
            }
        }
        Ok(notes)
    }
}
