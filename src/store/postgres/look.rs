//! Looking, by what lies in the database alone. What a relay knows better of the destinations that it owns, it lays over this.
//!
//! * `history`: events, page by page. `times`: from which number on they are of a time. `about`: how many and how much there is, about.
//! * `deliveries`: where deliveries stand, and the attempts at them. `dead`: dead letters, page by page; `reasons`: why they are.
//!
//! Each statement is its own, goes by an index, and looks at a bounded number of rows: no snapshot is held from one page to the next, and
//! nothing depends on what the database believes of its tables, which are never analyzed. So a row that is looked up is looked up by a
//! `LATERAL` query with a limit, of which there is but one plan. A list over several segments is cut out of all of them (`SELECT … UNION ALL SELECT …`)
//! from without: only so it is merged in order as far as it is read. Limits of lists are written out in the texts: by an unknown one a tenth of a table would be
//! expected.

mod about;
mod dead;
mod deliveries;
mod history;
mod reasons;
mod times;

use std::sync::Arc;

use tokio_postgres::types::ToSql;

use super::asks::Asks;
use super::reading::{find, read_some};
use super::rows::{get, number, signed};
use super::spans::{Span, each, holding};
use crate::event::EventId;
use crate::store::{Kept, StoreError, StoredEvent};

/// Bytes of bodies on one page, and one more.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Looks, with one connection and by what is known of segments now. A segment that is dropped meanwhile makes the statement fail that names it: then
/// the segments are to be asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Looker<'a, C> {
    pub link: &'a C,
    /// All segments, oldest first.
    pub spans: &'a [Span],
    /// The store's own number.
    pub number: u64,
}

/// All segments that there are now, oldest first.
pub async fn spans<C: Asks>(link: &C) -> Result<Vec<Span>, StoreError> {
    let rows = link.rows("SELECT k, n_from, n_until FROM segment ORDER BY k", &[]).await?;
    let span = |row| {
        let until = get::<Option<i64>>(row, 2)?.map(|until| until.max(0) as u64);
        Ok(Span { segment: get(row, 0)?, above: number(row, 1)?, until })
    };
    rows.iter().map(span).collect()
}

impl<C: Asks> Looker<'_, C> {
    /// One event; none where it is not there.
    pub async fn event(&self, id: EventId) -> Result<Option<Kept>, StoreError> {
        let found = find(self.link, self.spans, &[id.sequence()], 0).await?;
        let row = found.into_iter().next().and_then(|(_, row)| row);
        Ok(row.map(|row| row.event).filter(|event| id_of(event) == id))
    }

    /// Some events by their ids, in that order: as many as fit into a page, and how many ids were looked at. What is not there or was erased is
    /// left out.
    pub async fn events_of(&self, ids: &[EventId]) -> Result<(Vec<Arc<StoredEvent>>, usize), StoreError> {
        let numbers: Vec<u64> = ids.iter().map(|id| id.sequence()).collect();
        let read = read_some(self.link, self.spans, &numbers, PAGE_BYTES_MAX).await?;
        let looked_at = read.len();
        let events =
            read.into_iter().zip(ids).filter_map(|((_, event), id)| event.ok().filter(|event| event.id == *id));
        Ok((events.collect(), looked_at))
    }

    /// When an event came, unix milliseconds; none where it is not there.
    pub async fn arrived_ms(&self, event: u64) -> Result<Option<u64>, StoreError> {
        let segments = holding(self.spans, &[event]);
        if segments.is_empty() {
            return Ok(None);
        }
        let copies = each(&segments, |k| format!("SELECT received_ms FROM event_{k} WHERE n = $1::int8"));
        let rows = self.link.rows(&format!("{copies} LIMIT 1"), &[&signed(event)]).await?;
        rows.first().map(|row| number(row, 0)).transpose()
    }

    /// Which of some events are there, whatever is left of them.
    pub async fn are_there(&self, events: &[u64]) -> Result<Vec<u64>, StoreError> {
        self.that(events, "true", None).await
    }

    /// Which of some events can go out again: they are there as they came.
    pub async fn are_whole(&self, events: &[u64]) -> Result<Vec<u64>, StoreError> {
        self.that(events, "NOT is_erased AND NOT is_redacted", None).await
    }

    /// Which of some events came before a moment by the clock that ages go by, unix milliseconds.
    pub async fn came_before(&self, events: &[u64], before_ms: u64) -> Result<Vec<u64>, StoreError> {
        self.that(events, "stored_ms < $2::int8", Some(before_ms)).await
    }

    /// The numbers of events by their ids, but for those that are not there.
    pub async fn numbers_of(&self, ids: &[EventId]) -> Result<Vec<u64>, StoreError> {
        let numbers: Vec<u64> = ids.iter().map(|id| id.sequence()).collect();
        let segments = holding(self.spans, &numbers);
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let copies = each(&segments, |k| format!("SELECT n FROM event_{k} WHERE n = u.number AND id = u.id"));
        let sql = format!(
            "SELECT e.n FROM unnest($1::int8[], $2::uuid[]) u (number, id) CROSS JOIN LATERAL ({copies} LIMIT 1) e"
        );
        let numbers: Vec<i64> = numbers.into_iter().map(signed).collect();
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| uuid::Uuid::from_bytes(id.to_bytes())).collect();
        let rows = self.link.rows(&sql, &[&numbers, &ids]).await?;
        rows.iter().map(|row| number(row, 0)).collect()
    }

    /// Which of some events are there and have something to them, which may be about `$2`.
    async fn that(&self, events: &[u64], is_so: &str, about: Option<u64>) -> Result<Vec<u64>, StoreError> {
        let segments = holding(self.spans, events);
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let copies = each(&segments, |k| format!("SELECT n FROM event_{k} WHERE n = u.number AND {is_so}"));
        let sql = format!("SELECT e.n FROM unnest($1::int8[]) u (number) CROSS JOIN LATERAL ({copies} LIMIT 1) e");
        let asked: Vec<i64> = events.iter().copied().map(signed).collect();
        let about = about.map(signed);
        let values: &[&(dyn ToSql + Sync)] = match &about {
            Some(about) => &[&asked, about],
            None => &[&asked],
        };
        let rows = self.link.rows(&sql, values).await?;
        rows.iter().map(|row| number(row, 0)).collect()
    }
}

fn id_of(event: &Kept) -> EventId {
    match event {
        Kept::Event(event) => event.id,
        Kept::Erased(left) => left.id,
    }
}
