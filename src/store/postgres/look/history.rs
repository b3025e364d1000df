//! The history, page by page. What was carried out of it is not of it any more, as what was erased.

use std::ops::Range;
use std::sync::Arc;

use super::{Looker, PAGE_BYTES_MAX};
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::postgres::asks::Asks;
use crate::store::postgres::rows::{EVENT, EVENT_COLUMNS, EVENT_HEAD, get, number, signed, stored};
use crate::store::postgres::spans::{Few, Span, each, first_part, last_part, of_history};
use crate::store::{Cursor, EventQuery, Order, Page, StoreError, StoredEvent};

/// Events looked at for one page: those of another time must not hold it up.
const LOOKED_AT_MAX: u64 = 16_384;
/// Events looked at in the first statement of a page, and in each that follows: mostly the first few are what is asked for.
const STEPS: [u64; 2] = [512, 8192];

/// How far a list has come: what is left of it.
struct Walk {
    order: Order,
    left: Range<u64>,
}

/// What one statement has found.
struct Step {
    items: Vec<Arc<StoredEvent>>,
    looked_at: u64,
}

impl<C: Asks> Looker<'_, C> {
    /// One page of the history. A list that begins ends below `end`, and what comes later is not on it: where it is to see everything it is the
    /// number below which nothing new can appear.
    pub async fn events(
        &self,
        query: &EventQuery,
        after: Option<&Cursor>,
        max: usize,
        end: u64,
    ) -> Result<Page<Arc<StoredEvent>>, StoreError> {
        let mut walk = match after {
            Some(cursor) => Walk::at(query.order, cursor, self.number)?,
            None => Walk { order: query.order, left: self.begins(query, end).await? },
        };
        let mut items: Vec<Arc<StoredEvent>> = Vec::new();
        let mut bytes = 0;
        let mut looked_at = 0;
        let mut steps = STEPS.into_iter().chain(std::iter::repeat(STEPS[1]));
        while !walk.left.is_empty() && items.len() < max && bytes < PAGE_BYTES_MAX && looked_at < LOOKED_AT_MAX {
            let room = (max - items.len(), PAGE_BYTES_MAX - bytes);
            let step = self.step(query, &mut walk, room, steps.next().unwrap_or(STEPS[1])).await?;
            looked_at += step.looked_at;
            bytes += step.items.iter().map(|event| event.body.len()).sum::<usize>();
            items.extend(step.items);
        }
        if walk.left.is_empty() {
            return Ok(Page { items, next: None, left: 0 });
        }
        let left = self.how_many(walk.left.clone()).await?.max(1);
        Ok(Page { items, next: Some(walk.cursor(self.number)), left })
    }

    /// Looks at some events more, and goes on behind them.
    async fn step(
        &self,
        query: &EventQuery,
        walk: &mut Walk,
        (items_max, bytes_max): (usize, usize),
        looked_at_max: u64,
    ) -> Result<Step, StoreError> {
        let Few { segments, part } = walk.next_part(&of_history(self.spans));
        if segments.is_empty() {
            walk.pass(part);
            return Ok(Step { items: Vec::new(), looked_at: 0 });
        }
        let order = walk.sql_order();
        let some = each(&segments, |k| format!("SELECT {EVENT} FROM event_{k}"));
        let sql = format!(
            "SELECT {EVENT_HEAD}, CASE WHEN is_item THEN body END, is_item, looked_at FROM (\
               SELECT s.*, is_meant AND place <= $5::int8 AND total - length < $6::int8 AS is_item FROM (\
                 SELECT l.*, octet_length(body) AS length, \
                   count(*) FILTER (WHERE is_meant) OVER so_far AS place, \
                   sum(octet_length(body)) FILTER (WHERE is_meant) OVER so_far AS total, \
                   row_number() OVER so_far AS looked_at, lead(n) OVER so_far IS NULL AS is_last \
                 FROM (SELECT a.*, NOT is_erased AND received_ms >= $3::int8 AND received_ms < $4::int8 AS is_meant \
                   FROM ({some}) a WHERE n >= $1::int8 AND n < $2::int8 ORDER BY n {order} LIMIT {looked_at_max}) l \
                 WINDOW so_far AS (ORDER BY n {order} ROWS UNBOUNDED PRECEDING)) s) p \
             WHERE is_item OR is_last ORDER BY n {order}"
        );
        let [start, end, since_ms, until_ms, items_max, bytes_max] =
            [part.start, part.end, query.since_ms, query.until_ms, items_max as u64, bytes_max as u64].map(signed);
        let rows = self.link.rows(&sql, &[&start, &end, &since_ms, &until_ms, &items_max, &bytes_max]).await?;
        let mut items = Vec::new();
        // The number of the last item, and of the last that was looked at; with how many were looked at up to there.
        let mut full_at = None;
        let mut last = None;
        let mut bytes = 0;
        for row in &rows {
            last = Some((number(row, 0)?, number(row, EVENT_COLUMNS + 1)?));
            if get(row, EVENT_COLUMNS)? {
                let event = Arc::new(stored(row)?);
                bytes += event.body.len() as i64;
                items.push(event);
                let is_full = items.len() as i64 >= items_max || bytes >= bytes_max;
                full_at = last.filter(|_| is_full);
            }
        }
        let looked_at = last.map_or(0, |(_, looked_at)| looked_at);
        match full_at.or(last.filter(|_| looked_at >= looked_at_max)) {
            Some((number, _)) => walk.pass_event(number),
            None => walk.pass(part),
        }
        let looked_at = full_at.map_or(looked_at, |(_, looked_at)| looked_at);
        Ok(Step { items, looked_at })
    }
}

impl Walk {
    fn at(order: Order, after: &Cursor, store: u64) -> Result<Self, StoreError> {
        let left = match order {
            Order::NewestFirst => {
                let [below, least] = numbers_of(after, List::NewestFirst, store)?;
                least..below
            }
            Order::OldestFirst => {
                let [at, end] = numbers_of(after, List::OldestFirst, store)?;
                at..end
            }
        };
        Ok(Self { order, left })
    }

    fn cursor(&self, store: u64) -> Cursor {
        match self.order {
            Order::NewestFirst => cursor(List::NewestFirst, store, [self.left.end, self.left.start]),
            Order::OldestFirst => cursor(List::OldestFirst, store, [self.left.start, self.left.end]),
        }
    }

    fn sql_order(&self) -> &'static str {
        match self.order {
            Order::NewestFirst => "DESC",
            Order::OldestFirst => "ASC",
        }
    }

    fn next_part(&self, history: &[Span]) -> Few {
        match self.order {
            Order::NewestFirst => last_part(history, self.left.clone()),
            Order::OldestFirst => first_part(history, self.left.clone()),
        }
    }

    /// Goes on behind a part.
    fn pass(&mut self, part: Range<u64>) {
        match self.order {
            Order::NewestFirst => self.left.end = part.start,
            Order::OldestFirst => self.left.start = part.end,
        }
    }

    /// Goes on behind an event.
    fn pass_event(&mut self, number: u64) {
        match self.order {
            Order::NewestFirst => self.left.end = number,
            Order::OldestFirst => self.left.start = number + 1,
        }
    }
}
