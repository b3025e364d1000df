//! Where a list begins and ends: from which number on events are of a time.
//!
//! Events have their numbers nearly in the order in which they came. A relay draws a number when it writes an event, which is a moment after that
//! came, and while the database is away that is longer. So a time is looked for with some slack, and what lies within is told by its own time.

use std::ops::Range;

use super::Looker;
use crate::store::postgres::asks::Asks;
use crate::store::postgres::rows::{get, number, signed};
use crate::store::postgres::spans::{each, last_part, of_history};
use crate::store::{EventQuery, Order, StoreError};

/// By how much an event with a smaller number may have come later. Senders are kept waiting for seconds, not for a minute. Where the clock of
/// the database was set back by more, a list of a time may miss events of that time.
const SLACK_MS: u64 = 60_000;
/// Of the newest events, so many are counted in one statement.
const COUNTED_AT_ONCE: u64 = 65_536;

/// The first and the last event of a segment: its number, and when it came.
#[derive(Clone, Copy, Debug)]
struct Edges {
    segment: i32,
    first: (u64, u64),
    last: (u64, u64),
}

impl<C: Asks> Looker<'_, C> {
    /// The numbers that a list may have which begins now and ends below `end`.
    pub(super) async fn begins(&self, query: &EventQuery, end: u64) -> Result<Range<u64>, StoreError> {
        let edges = self.edges().await?;
        let Some(first) = edges.iter().map(|edges| edges.first.0).min() else { return Ok(0..0) };
        let beyond = edges.iter().map(|edges| edges.last.0 + 1).max().unwrap_or(0).min(end);
        let since = if query.since_ms > 0 { self.since(&edges, query.since_ms).await? } else { Some(first) };
        let last = match query.last {
            Some(last) => self.newest(last, beyond).await?,
            None => first,
        };
        // What came before a time may lie anywhere in what is told from the oldest on: there it is passed over one by one.
        let until = match query.order {
            Order::NewestFirst if query.until_ms < u64::MAX => self.until(&edges, query.until_ms).await?,
            _ => beyond,
        };
        Ok(since.map_or(beyond, |since| since.max(last))..until.min(beyond))
    }

    /// Of each segment of the history in which there is something.
    async fn edges(&self) -> Result<Vec<Edges>, StoreError> {
        let segments: Vec<i32> = of_history(self.spans).iter().map(|span| span.segment).collect();
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let sql = each(&segments, |k| {
            let edge = |order| format!("(SELECT n, received_ms FROM event_{k} ORDER BY n {order} LIMIT 1)");
            let (first, last) = (edge("ASC"), edge("DESC"));
            format!("SELECT {k}::int4, a.n, a.received_ms, z.n, z.received_ms FROM {first} a, {last} z")
        });
        let rows = self.link.rows(&sql, &[]).await?;
        let edges = |row| {
            let [first, first_ms, last, last_ms] = [1, 2, 3, 4].map(|at| number(row, at));
            Ok(Edges { segment: get(row, 0)?, first: (first?, first_ms?), last: (last?, last_ms?) })
        };
        rows.iter().map(edges).collect()
    }

    /// A number below which nothing came at or after a moment; none where nothing did at all.
    async fn since(&self, edges: &[Edges], at_ms: u64) -> Result<Option<u64>, StoreError> {
        let from_ms = at_ms.saturating_sub(SLACK_MS);
        let mut least: Option<u64> = None;
        for edges in edges.iter().filter(|edges| edges.last.1 >= from_ms) {
            let first = self.first_of(edges, from_ms).await?;
            least = Some(least.map_or(first, |least| least.min(first)));
        }
        Ok(least)
    }

    /// A number from which on nothing came before a moment.
    async fn until(&self, edges: &[Edges], at_ms: u64) -> Result<u64, StoreError> {
        let from_ms = at_ms.saturating_add(SLACK_MS);
        let mut end = 0;
        for edges in edges.iter().filter(|edges| edges.first.1 < from_ms) {
            let is_all = edges.last.1 < from_ms;
            end = end.max(if is_all { edges.last.0 + 1 } else { self.first_of(edges, from_ms).await? });
        }
        Ok(end)
    }

    /// The first event of a segment that came at or after a moment, as its last one did, by halving what is between.
    async fn first_of(&self, edges: &Edges, from_ms: u64) -> Result<u64, StoreError> {
        if edges.first.1 >= from_ms {
            return Ok(edges.first.0);
        }
        let k = edges.segment;
        let sql = format!(
            "WITH RECURSIVE between (low, high) AS (\
               SELECT $1::int8, $2::int8 UNION ALL \
               SELECT CASE WHEN e.received_ms < $3::int8 THEN e.n + 1 ELSE b.low END, \
                 CASE WHEN e.received_ms < $3::int8 THEN b.high ELSE b.low + (b.high - b.low) / 2 END \
               FROM between b CROSS JOIN LATERAL (\
                 SELECT n, received_ms FROM event_{k} WHERE n >= b.low + (b.high - b.low) / 2 ORDER BY n LIMIT 1) e \
               WHERE b.low < b.high) \
             SELECT max(low) FROM between"
        );
        let [first, last, from_ms] = [edges.first.0, edges.last.0, from_ms].map(signed);
        let rows = self.link.rows(&sql, &[&first, &last, &from_ms]).await?;
        rows.first().map_or(Ok(edges.first.0), |row| number(row, 0))
    }

    /// The number of the first of the newest so many events below an end.
    async fn newest(&self, mut count: u64, end: u64) -> Result<u64, StoreError> {
        let history = of_history(self.spans);
        let mut left = 0..end;
        while count > 0 && !left.is_empty() {
            let few = last_part(&history, left.clone());
            let some = count.min(COUNTED_AT_ONCE);
            let mut found = 0;
            if !few.segments.is_empty() {
                let numbers = each(&few.segments, |k| format!("SELECT n FROM event_{k}"));
                let sql = format!(
                    "SELECT count(*), min(n) FROM (SELECT n FROM ({numbers}) a WHERE n >= $1::int8 AND n < $2::int8 \
                       ORDER BY n DESC LIMIT {some}) s"
                );
                let rows = self.link.rows(&sql, &[&signed(few.part.start), &signed(few.part.end)]).await?;
                if let Some(row) = rows.first() {
                    found = number(row, 0)?;
                    left.end = if found > 0 { number(row, 1)? } else { left.end };
                }
            }
            count -= found;
            left.end = if found < some { few.part.start } else { left.end };
        }
        Ok(left.end)
    }
}
