//! Dead letters, page by page.

use std::collections::{BTreeSet, HashMap};

use super::{Looker, PAGE_BYTES_MAX};
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::postgres::asks::Asks;
use crate::store::postgres::reading::read_some;
use crate::store::postgres::rows::{get, name, name_in, number, number_or_0, signed};
use crate::store::postgres::spans::{CARRIED, each, holding, last_part};
use crate::store::queues::{Bitmap, DeliveryKey};
use crate::store::{Cursor, DeadLetter, DeadQuery, NameId, Page, StoreError, Why};

/// Dead letters looked at for one page: a filter that finds little must not hold it up.
const LOOKED_AT_MAX: usize = 10_000;
/// So many of them are read by one statement.
const LOOKED_AT_ONCE: usize = 250;
/// Where so few deliveries may be meant, each of them is looked up.
const LOOKED_UP_MAX: usize = 16_384;
/// Numbers that are collected by one statement.
const COLLECTED_AT_ONCE: usize = 10_000;
/// How many dead letters are counted for about how many are left: each lies in a page of its own, where few are dead.
const COUNTED_MAX: usize = 1000;

/// What a row says of a dead letter.
const LETTER: &str = "dest, n, attempts, dead_ms, reason";

/// A dead letter.
#[derive(Clone, Debug)]
struct Letter {
    key: DeliveryKey,
    attempts: u16,
    at_ms: u64,
    reason: String,
}

/// Behind which one a list goes on.
type Place = (u64, NameId);
/// Before all of them.
const NEWEST: Place = (u64::MAX, NameId::NONE);

impl<C: Asks> Looker<'_, C> {
    /// One page of the dead letters of some destinations, newest event first and then by destination. Looks at a bounded number of them.
    pub async fn dead_letters(
        &self,
        of: &[NameId],
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Page<DeadLetter>, StoreError> {
        let after = after.map(|cursor| numbers_of(cursor, List::DeadLetters, self.number)).transpose()?;
        let mut at: Place = after.map_or(NEWEST, |[number, id]| (number, NameId(id as u32)));
        let of_these = numbers_meant(query);
        let mut found: Vec<Letter> = Vec::new();
        let mut looked_at = 0;
        let mut is_over = false;
        while looked_at < LOOKED_AT_MAX && found.len() < max && !is_over {
            let letters = self.dead_behind(of, at, of_these.as_ref()).await?;
            is_over = letters.is_empty();
            looked_at += letters.len();
            for letter in letters {
                if found.len() == max {
                    break;
                }
                at = (letter.key.sequence, letter.key.destination);
                let is_meant = of_these.as_ref().is_none_or(|numbers| numbers.contains(&letter.key.sequence));
                if is_meant && query.holds(letter.at_ms, &letter.reason) {
                    found.push(letter);
                }
            }
        }
        let items = self.with_events(found).await?;
        if let Some(cut_at) = items.cut_at {
            (at, is_over) = (cut_at, false);
        } else if !is_over {
            is_over = self.dead_behind(of, at, of_these.as_ref()).await?.is_empty();
        }
        if is_over {
            return Ok(Page { items: items.letters, next: None, left: 0 });
        }
        let next = cursor(List::DeadLetters, self.number, [at.0, at.1.0.into()]);
        let left = self.count_dead(of, COUNTED_MAX).await?.max(1);
        Ok(Page { items: items.letters, next: Some(next), left })
    }

    /// The numbers of all dead letters of a destination that are meant.
    pub async fn dead_numbers(&self, of: NameId, query: &DeadQuery) -> Result<Bitmap, StoreError> {
        let of_these = numbers_meant(query);
        let mut numbers = Bitmap::default();
        let mut add = |letter: Letter| {
            let is_meant = of_these.as_ref().is_none_or(|numbers| numbers.contains(&letter.key.sequence));
            if is_meant && query.holds(letter.at_ms, &letter.reason) {
                numbers.insert(letter.key.sequence);
            }
        };
        if let Some(of_these) = of_these.as_ref().filter(|numbers| numbers.len() <= LOOKED_UP_MAX) {
            self.dead_among(&[of], NEWEST, of_these).await?.into_iter().for_each(add);
            return Ok(numbers);
        }
        // Segment by segment. What is carried meanwhile is met at its new place at the latest.
        let (carried, history): (Vec<i32>, Vec<i32>) =
            self.spans.iter().map(|span| span.segment).partition(|segment| *segment == CARRIED);
        for k in history.into_iter().chain(carried) {
            let sql = format!(
                "SELECT {LETTER} FROM delivery_{k} WHERE dest = $1::int4 AND dead_ms IS NOT NULL AND n >= $2::int8 \
                 ORDER BY n LIMIT {COLLECTED_AT_ONCE}"
            );
            let mut from = 0;
            loop {
                let rows = self.link.rows(&sql, &[&name_in(of), &signed(from)]).await?;
                for row in &rows {
                    let letter = Letter::read(row)?;
                    from = letter.key.sequence + 1;
                    add(letter);
                }
                if rows.len() < COLLECTED_AT_ONCE {
                    break;
                }
            }
        }
        Ok(numbers)
    }

    /// How many dead letters some destinations have, and at most so many. A hundred thousand take half a second, where they are not in memory.
    pub async fn count_dead(&self, of: &[NameId], most: usize) -> Result<u64, StoreError> {
        if self.spans.is_empty() {
            return Ok(0);
        }
        let segments: Vec<i32> = self.spans.iter().map(|span| span.segment).collect();
        let dead = each(&segments, |k| {
            format!("(SELECT n FROM delivery_{k} WHERE dest = u.dest AND dead_ms IS NOT NULL ORDER BY n LIMIT {most})")
        });
        let sql = format!(
            "SELECT count(*) FROM (SELECT d.n FROM unnest($1::int4[]) u (dest) CROSS JOIN LATERAL (SELECT n FROM ({dead}) a LIMIT {most}) d \
               LIMIT {most}) s"
        );
        let of: Vec<i32> = of.iter().copied().map(name_in).collect();
        let rows = self.link.rows(&sql, &[&of]).await?;
        rows.first().map_or(Ok(0), |row| number(row, 0))
    }

    /// Some dead letters of some destinations behind one of them; none where there are no more. Where only some events are meant, and these are
    /// few, no others are told.
    async fn dead_behind(
        &self,
        of: &[NameId],
        at: Place,
        of_these: Option<&BTreeSet<u64>>,
    ) -> Result<Vec<Letter>, StoreError> {
        match of_these {
            Some(numbers) if numbers.len().saturating_mul(of.len()) <= LOOKED_UP_MAX => {
                self.dead_among(of, at, numbers).await
            }
            _ => self.dead_below(of, at).await,
        }
    }

    async fn dead_below(&self, of: &[NameId], at: Place) -> Result<Vec<Letter>, StoreError> {
        // Of destinations that come later, the event itself is still to be told.
        let below = |id: &NameId| signed(if *id > at.1 { at.0.saturating_add(1) } else { at.0 });
        let belows: Vec<i64> = of.iter().map(below).collect();
        let of: Vec<i32> = of.iter().copied().map(name_in).collect();
        let mut left = 0..at.0.saturating_add(1);
        while !left.is_empty() {
            let few = last_part(self.spans, left.clone());
            if !few.segments.is_empty() {
                let dead = each(&few.segments, |k| format!("SELECT {LETTER} FROM delivery_{k}"));
                let sql = format!(
                    "SELECT d.* FROM unnest($1::int4[], $2::int8[]) u (dest, below) CROSS JOIN LATERAL (\
                       SELECT * FROM ({dead}) a \
                       WHERE a.dest = u.dest AND a.dead_ms IS NOT NULL AND a.n < u.below AND a.n >= $3::int8 \
                       ORDER BY a.n DESC LIMIT {LOOKED_AT_ONCE}) d \
                     ORDER BY d.n DESC, d.dest LIMIT {LOOKED_AT_ONCE}"
                );
                let rows = self.link.rows(&sql, &[&of, &belows, &signed(few.part.start)]).await?;
                if !rows.is_empty() {
                    return rows.iter().map(Letter::read).collect();
                }
            }
            left.end = few.part.start;
        }
        Ok(Vec::new())
    }

    /// The same of a few events alone, all at once.
    async fn dead_among(&self, of: &[NameId], at: Place, numbers: &BTreeSet<u64>) -> Result<Vec<Letter>, StoreError> {
        let is_behind =
            |key: &DeliveryKey| (std::cmp::Reverse(key.sequence), key.destination) > (std::cmp::Reverse(at.0), at.1);
        let key = |sequence: u64| of.iter().map(move |destination| DeliveryKey { sequence, destination: *destination });
        let keys: Vec<DeliveryKey> = numbers.iter().flat_map(|number| key(*number)).filter(is_behind).collect();
        let numbers: Vec<u64> = keys.iter().map(|key| key.sequence).collect();
        let segments = holding(self.spans, &numbers);
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let dead = each(&segments, |k| {
            format!("SELECT {LETTER} FROM delivery_{k} WHERE dest = u.dest AND n = u.number AND dead_ms IS NOT NULL")
        });
        let sql = format!(
            "SELECT d.* FROM unnest($1::int4[], $2::int8[]) u (dest, number) CROSS JOIN LATERAL ({dead} LIMIT 1) d \
             ORDER BY d.n DESC, d.dest"
        );
        let destinations: Vec<i32> = keys.iter().map(|key| name_in(key.destination)).collect();
        let numbers: Vec<i64> = numbers.into_iter().map(signed).collect();
        let rows = self.link.rows(&sql, &[&destinations, &numbers]).await?;
        rows.iter().map(Letter::read).collect()
    }

    /// Dead letters with their events, as many as fit into a page.
    async fn with_events(&self, letters: Vec<Letter>) -> Result<WithEvents, StoreError> {
        let mut numbers: Vec<u64> = letters.iter().map(|letter| letter.key.sequence).collect();
        numbers.dedup();
        let read = if numbers.is_empty() {
            Vec::new()
        } else {
            read_some(self.link, self.spans, &numbers, PAGE_BYTES_MAX).await?
        };
        let events: HashMap<u64, _> = read.into_iter().collect();
        let mut with_events = WithEvents { letters: Vec::with_capacity(letters.len()), cut_at: None };
        let mut at = None;
        for Letter { key, attempts, at_ms, reason } in letters {
            let Some(event) = events.get(&key.sequence) else {
                with_events.cut_at = at;
                break;
            };
            let Why { reason, status, answer } = Why::of(&reason);
            with_events.letters.push(DeadLetter {
                event: event.clone(),
                destination: key.destination,
                attempts,
                at_ms,
                reason: reason.into_owned(),
                status,
                answer: answer.into_owned(),
            });
            at = Some((key.sequence, key.destination));
        }
        Ok(with_events)
    }
}

/// The events that a query names.
fn numbers_meant(query: &DeadQuery) -> Option<BTreeSet<u64>> {
    query.events.as_ref().map(|events| events.iter().map(|id| id.sequence()).collect())
}

struct WithEvents {
    letters: Vec<DeadLetter>,
    /// Behind which one the next page begins, where not all of them fit.
    cut_at: Option<Place>,
}

impl Letter {
    fn read(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: DeliveryKey { sequence: number(row, 1)?, destination: name(get(row, 0)?) },
            attempts: get::<i16>(row, 2)?.max(0) as u16,
            at_ms: number_or_0(row, 3)?,
            reason: get::<Option<String>>(row, 4)?.unwrap_or_default(),
        })
    }
}
