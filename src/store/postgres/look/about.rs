//! How many events there are and how much room they take, about. Nothing is counted for long: a segment's events lie in their table in the order in
//! which they came, so where one lies says how much is behind it.

use std::ops::Range;

use super::Looker;
use crate::store::StoreError;
use crate::store::postgres::asks::Asks;
use crate::store::postgres::rows::{number, number_or_0, signed};
use crate::store::postgres::spans::{CARRIED, each, of_history, overlapping};

/// Up to so many events are counted one by one.
const COUNTED_MAX: u64 = 2000;
/// Pages of a table by which it is said how many events a page has.
const SAMPLE_PAGES: u64 = 4;
/// Some of the events that follow are looked at, since one that was changed lies at the end of its table.
const NEIGHBOURS: u64 = 8;

impl<C: Asks> Looker<'_, C> {
    /// About how many events of the history have numbers in a range.
    pub async fn how_many(&self, range: Range<u64>) -> Result<u64, StoreError> {
        let segments = overlapping(&of_history(self.spans), &range);
        if segments.is_empty() || range.is_empty() {
            return Ok(0);
        }
        let [start, end] = [range.start, range.end].map(signed);
        let most = COUNTED_MAX + 1;
        let some = each(&segments, |k| {
            format!("(SELECT n FROM event_{k} WHERE n >= $1::int8 AND n < $2::int8 ORDER BY n LIMIT {most})")
        });
        let sql = format!("SELECT count(*) FROM (SELECT n FROM ({some}) a LIMIT {most}) s");
        let rows = self.link.rows(&sql, &[&start, &end]).await?;
        let counted = rows.first().map_or(Ok(0), |row| number(row, 0))?;
        if counted <= COUNTED_MAX {
            return Ok(counted);
        }
        let sql = each(&segments, |k| {
            let (pages, first, last) = (pages(k), page(k, "$1"), page(k, "$2"));
            format!(
                "SELECT {pages}, {first}, {last}, (SELECT count(*) FROM event_{k} WHERE ctid < '({SAMPLE_PAGES},0)')"
            )
        });
        let rows = self.link.rows(&sql, &[&start, &end]).await?;
        let mut about = 0;
        for row in &rows {
            let [pages, sample] = [number(row, 0)?, number(row, 3)?];
            let begins = number_or(row, 1, pages)?;
            let ends = number_or(row, 2, pages)?;
            about += ends.saturating_sub(begins) * sample / pages.clamp(1, SAMPLE_PAGES);
        }
        Ok(about.max(counted))
    }

    /// About how many bytes the events of the history take from one of them on.
    pub async fn bytes_from(&self, event: u64) -> Result<u64, StoreError> {
        let segments = overlapping(&of_history(self.spans), &(event..u64::MAX));
        if segments.is_empty() {
            return Ok(0);
        }
        let sql = each(&segments, |k| {
            let (pages, first) = (pages(k), page(k, "$1"));
            format!("SELECT pg_table_size('event_{k}'), {pages}, {first}")
        });
        let rows = self.link.rows(&sql, &[&signed(event)]).await?;
        let share = |row| {
            let [bytes, pages] = [number(row, 0)?, number(row, 1)?];
            let behind = pages.saturating_sub(number_or(row, 2, pages)?);
            Ok((u128::from(bytes) * u128::from(behind) / u128::from(pages.max(1))) as u64)
        };
        rows.iter().map(share).sum()
    }
}

/// The pages of a segment's events.
fn pages(k: i32) -> String {
    debug_assert_ne!(k, CARRIED, "what was carried lies in no order");
    format!("pg_relation_size('event_{k}') / current_setting('block_size')::int8")
}

/// In which page the first event lies that has a number or a greater one.
fn page(k: i32, number: &str) -> String {
    let next = format!("SELECT ctid FROM event_{k} WHERE n >= {number}::int8 ORDER BY n LIMIT {NEIGHBOURS}");
    format!("(SELECT min((ctid::text::point)[0])::int8 FROM ({next}) s)")
}

fn number_or(row: &tokio_postgres::Row, at: usize, none: u64) -> Result<u64, StoreError> {
    let is_none = super::get::<Option<i64>>(row, at)?.is_none();
    if is_none { Ok(none) } else { number_or_0(row, at) }
}
