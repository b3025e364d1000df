//! Events by their numbers.

use super::asks::Asks;
use super::rows::{EVENT, EVENT_COLUMNS, EVENT_HEAD, EventRow, get, number, signed};
use super::spans::{Span, each, holding};
use crate::store::StoreError;
use crate::store::queues::Read;

/// An event that was asked for; `None`: it is not there.
pub type Found = (u64, Option<EventRow>);

/// Reads the first of some events, in the order in which they are asked for, as far as their bodies are within so many bytes, and at least
/// one. What is not there is told up to that point. No body beyond it leaves the database: a length is known without reading what it is of.
pub async fn find<C: Asks>(
    link: &C,
    spans: &[Span],
    numbers: &[u64],
    body_bytes: usize,
) -> Result<Vec<Found>, StoreError> {
    let segments = holding(spans, numbers);
    if segments.is_empty() {
        return Ok(numbers.iter().map(|number| (*number, None)).collect());
    }
    // An event that was carried is there twice for a while: the first copy that is met is enough.
    let copies = each(&segments, |k| format!("SELECT {EVENT} FROM event_{k} WHERE n = u.number"));
    let sql = format!(
        "SELECT {EVENT_HEAD}, CASE WHEN fits THEN body END, fits, nth FROM (\
           SELECT s.*, total <= $2::int8 OR place = 1 AS fits FROM (\
             SELECT e.*, u.nth, octet_length(e.body) AS length, sum(octet_length(e.body)) OVER so_far AS total, \
               row_number() OVER so_far AS place \
             FROM unnest($1::int8[]) WITH ORDINALITY u (number, nth) \
             CROSS JOIN LATERAL ({copies} LIMIT 1) e \
             WINDOW so_far AS (ORDER BY u.nth ROWS UNBOUNDED PRECEDING)) s \
           WHERE total - length <= $2::int8 OR place = 2) f ORDER BY nth"
    );
    let asked: Vec<i64> = numbers.iter().copied().map(signed).collect();
    let rows = link.rows(&sql, &[&asked, &signed(body_bytes as u64)]).await?;
    let mut rows = rows.iter().peekable();
    let mut found = Vec::with_capacity(numbers.len());
    for (asked, nth) in numbers.iter().zip(1..) {
        let is_this = |row: &&tokio_postgres::Row| number(row, EVENT_COLUMNS + 1).is_ok_and(|of| of == nth);
        match rows.next_if(is_this) {
            // It is there, and one too many.
            Some(row) if !get::<bool>(row, EVENT_COLUMNS)? => break,
            Some(row) => found.push((*asked, Some(EventRow::read(row)?))),
            None => found.push((*asked, None)),
        }
    }
    Ok(found)
}

/// The same, each as the event itself or why there is none.
pub async fn read_some<C: Asks>(
    link: &C,
    spans: &[Span],
    numbers: &[u64],
    body_bytes: usize,
) -> Result<Vec<Read>, StoreError> {
    let found = find(link, spans, numbers, body_bytes).await?;
    let read = |(number, row): Found| (number, row.ok_or(StoreError::Missing).and_then(|row| row.event.event()));
    Ok(found.into_iter().map(read).collect())
}
