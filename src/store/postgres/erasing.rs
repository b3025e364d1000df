//! Erasing what is kept of a person: a walk over the events of every segment by their numbers, a page a step, and then over texts.
//!
//! In each step, and in this order: who is meant is looked for in the page's events; the deliveries that wait for them end, and that is
//! committed; their bodies are emptied, in one transaction with what is said of their deliveries. So nothing that waits ever has an erased
//! event, and a walk made again goes on with what is left.
//!
//! * `owners`: deliveries end where their queues are. Of destinations that another relay has, it is asked to, by a row among the commands.
//! * `texts`: reasons and the like that quote them.
//! * `memory`: what relays have in memory. The others hear with their next heartbeat that something was erased.
//! * `remains`: what PostgreSQL keeps beside the rows that count.
//!
//! The segment of what outlives its own comes last: by then, what is copied into it is copied from what was erased.

mod memory;
mod owners;
mod remains;
mod texts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use self::texts::TextsAt;
use super::link::Link;
use super::rows::{EVENT, EventRow, get, number, signed};
use super::running::Postgres;
use super::spans::CARRIED;
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::locks::lock;
use crate::store::queues::Bitmap;
use crate::store::{Answer, Depth, Erasing, ErasingStep, Kept, Meant, StoreError, Whom};

/// Events that are looked at in one step,
const PAGE_EVENTS: i64 = 500;
/// and bytes of their bodies, and one more.
const PAGE_BYTES: u64 = 2 << 20;
/// Numbers that one statement names.
const NUMBERS_MAX: usize = 10_000;
/// So long a statement of a walk may take: it may read the rows of a whole page from the disk.
const STATEMENT_WITHIN: Duration = Duration::from_secs(60);

/// A walk, for who asked for it.
pub struct PostgresErasing {
    walk: Arc<tokio::sync::Mutex<Walk>>,
    postgres: Arc<Postgres>,
}

impl PostgresErasing {
    pub fn new(postgres: Arc<Postgres>, whom: Whom, depth: Depth) -> Self {
        let walk = Arc::new(tokio::sync::Mutex::new(Walk::new(postgres.clone(), whom, depth)));
        Self { walk, postgres }
    }
}

impl Erasing for PostgresErasing {
    fn step(&mut self) -> Answer<'_, ErasingStep> {
        let walk = self.walk.clone();
        let step = self.postgres.runtime.spawn(async move { walk.lock().await.step().await });
        Box::pin(async move { step.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

/// What a walk does next.
#[derive(Clone, Debug)]
enum Stage {
    Begin,
    /// The events of a segment that are above a number.
    Events {
        segment: usize,
        after: i64,
    },
    Texts(TextsAt),
    End,
}

/// A segment as it was when the walk began.
#[derive(Clone, Copy, Debug)]
struct Extent {
    k: i32,
    /// Bytes of its events.
    bytes: u64,
    /// Bytes of its deliveries and attempts.
    texts_bytes: u64,
    /// The numbers of its first event and of its last.
    first: u64,
    last: u64,
}

/// How far a walk has come.
struct Walk {
    postgres: Arc<Postgres>,
    whom: Whom,
    erases: bool,
    /// The numbers of events that are meant, and of all that were found erased, whomever they were about: a run that was ended may have left
    /// something.
    gone: Bitmap,
    stage: Stage,
    extents: Vec<Extent>,
    /// What is above came after the walk began.
    until: i64,
    /// Tables that have old versions of rows.
    changed: BTreeSet<String>,
    link: Option<Link>,
}

/// What a page of events has of whom is meant.
#[derive(Default)]
struct Found {
    about: Vec<EventId>,
    mentions: Vec<EventId>,
    numbers: Bitmap,
    already: Bitmap,
    unreadable: u64,
}

impl Walk {
    fn new(postgres: Arc<Postgres>, whom: Whom, depth: Depth) -> Self {
        let (erases, known) = match depth {
            Depth::Look => (false, Vec::new()),
            Depth::Erase { known } => (true, known),
        };
        let gone = known.iter().map(|id| id.sequence()).collect();
        let stage = Stage::Begin;
        Self {
            postgres,
            whom,
            erases,
            gone,
            stage,
            extents: Vec::new(),
            until: 0,
            changed: BTreeSet::new(),
            link: None,
        }
    }

    async fn step(&mut self) -> Result<ErasingStep, StoreError> {
        let mut step = ErasingStep::default();
        if matches!(self.stage, Stage::Begin) {
            step.texts = self.begin().await?;
        }
        match self.stage.clone() {
            Stage::Begin => {}
            Stage::Events { segment, after } => self.events(segment, after, &mut step).await?,
            Stage::Texts(at) => step.texts = self.texts(at).await?,
            Stage::End => self.end(&mut step).await?,
        }
        step.left = self.left();
        Ok(step)
    }

    /// The connection of the walk alone.
    async fn link(&mut self) -> Result<&Link, StoreError> {
        if !self.link.as_ref().is_some_and(Link::is_open) {
            self.link = Some(self.postgres.link("erasing").await?.with_deadline(STATEMENT_WITHIN));
        }
        Ok(self.link.as_ref().expect("it was made"))
    }

    /// Looks how much there is, and masks in memory what would be written down again. Returns how many texts that were.
    async fn begin(&mut self) -> Result<u64, StoreError> {
        let mut texts = 0;
        if self.erases {
            self.refuse_amid_replay().await?;
            texts = self.postgres.mask_memory(&self.whom, &self.gone);
        }
        let mut segments = self.postgres.segments();
        segments.sort_by_key(|k| (*k == CARRIED, *k));
        let link = self.link().await?;
        let until = link.rows("SELECT last_value FROM event_number", &[]).await?;
        let until = until.first().map_or(0, |row| row.get(0));
        let mut extents = Vec::with_capacity(segments.len());
        for k in segments {
            let sql = format!(
                "SELECT pg_table_size('event_{k}'), pg_table_size('delivery_{k}') + pg_table_size('attempt_{k}'),
                    (SELECT min(n) FROM event_{k}), (SELECT max(n) FROM event_{k})"
            );
            let rows = match link.rows(&sql, &[]).await {
                // Its time was over meanwhile.
                Err(Trouble::Gone(_)) => continue,
                rows => rows?,
            };
            for row in &rows {
                let number_or_0 = |at| super::rows::number_or_0(row, at);
                let (bytes, texts_bytes) = (number(row, 0)?, number(row, 1)?);
                extents.push(Extent { k, bytes, texts_bytes, first: number_or_0(2)?, last: number_or_0(3)? });
            }
        }
        (self.extents, self.until) = (extents, until);
        self.stage = Stage::Events { segment: 0, after: 0 };
        Ok(texts)
    }

    /// Bytes that a walk has still before it, about.
    fn left(&self) -> u64 {
        let of_texts = |extents: &[Extent]| extents.iter().map(|extent| extent.texts_bytes).sum::<u64>();
        match &self.stage {
            Stage::Begin | Stage::End => 0,
            Stage::Texts(at) => of_texts(self.extents.get(at.segment()..).unwrap_or_default()),
            Stage::Events { segment, after } => {
                let Some((this, later)) = self.extents.get(*segment..).and_then(<[Extent]>::split_first) else {
                    return of_texts(&self.extents);
                };
                let numbers = this.last.saturating_sub(this.first) + 1;
                let to_come = this.last.saturating_sub((*after).max(0) as u64).min(numbers);
                let of_this = (this.bytes as f64 * (to_come as f64 / numbers as f64)).ceil() as u64;
                of_this + later.iter().map(|extent| extent.bytes).sum::<u64>() + of_texts(&self.extents)
            }
        }
    }

    /// A page of events.
    async fn events(&mut self, segment: usize, after: i64, step: &mut ErasingStep) -> Result<(), StoreError> {
        let Some(Extent { k, .. }) = self.extents.get(segment).copied() else {
            self.stage = Stage::Texts(TextsAt::default());
            return Ok(());
        };
        let until = self.until;
        let sql = format!(
            "SELECT {EVENT} FROM (
               SELECT *, sum(octet_length(body)) OVER (ORDER BY n) AS total FROM (
                 SELECT * FROM event_{k} WHERE n > $1::int8 AND n <= $2::int8 ORDER BY n LIMIT {PAGE_EVENTS}) p) s
             WHERE total - octet_length(body) < $3::int8 ORDER BY n"
        );
        let rows = match self.link().await?.rows(&sql, &[&after, &until, &signed(PAGE_BYTES)]).await {
            Err(Trouble::Gone(_)) => Vec::new(),
            rows => rows?,
        };
        let Some(last) = rows.last() else {
            self.stage = Stage::Events { segment: segment + 1, after: 0 };
            return Ok(());
        };
        let last: i64 = get(last, 0)?;
        let whom = self.whom.clone();
        let looked = self.postgres.runtime.spawn_blocking(move || look_through(&rows, &whom));
        let found = looked.await.map_err(|_| StoreError::Closed)?;
        let mut touched = found.numbers.clone();
        if self.erases {
            touched.insert_all(&found.already);
            self.gone.insert_all(&touched);
        }
        let ended = self.end_deliveries(&touched, &found.numbers).await?;
        if self.erases && !touched.is_empty() {
            let (erased, texts) = self.erase_in(k, &found.numbers, &touched).await?;
            step.erased = erased;
            step.texts += texts;
        }
        (step.standing, step.ended) = (ended.standing, ended.ended);
        (step.already, step.unreadable) = (found.already.len(), found.unreadable);
        (step.about, step.mentions) = (found.about, found.mentions);
        self.stage = Stage::Events { segment, after: last };
        Ok(())
    }

    /// Empties the bodies of some events of a segment, with what is said of deliveries of these and of others that are erased. Returns how
    /// many bodies and how many texts that were.
    async fn erase_in(&mut self, k: i32, numbers: &Bitmap, touched: &Bitmap) -> Result<(u64, u64), StoreError> {
        let postgres = self.postgres.clone();
        let (me, bodies) = (postgres.me(), numbers_in(numbers));
        let erase = format!(
            "UPDATE event_{k} SET body = '', is_erased = true WHERE n = ANY ($1) AND NOT is_erased RETURNING n"
        );
        let fence: [&(dyn ToSql + Sync); 1] = [&me];
        let values: [&(dyn ToSql + Sync); 1] = [&bodies];
        // Who was taken for dead erases nothing.
        let mut steps = vec![
            Step { sql: "SELECT 1 FROM relay WHERE incarnation = $1 FOR KEY SHARE", values: &fence },
            Step { sql: &erase, values: &values },
            Step { sql: "UPDATE meta SET erased = erased + 1", values: &[] },
        ];
        let said = texts::said_of(&postgres, touched);
        let said_values = said.values();
        steps.extend(said.statements.iter().zip(&said_values).map(|(sql, values)| Step { sql, values }));
        let done = self.link().await?.transaction(Snapshot::Each, &steps, |answers| !answers[0].is_empty()).await?;
        if !done.is_committed {
            let why = "this relay was taken for dead by the others, and begins anew: ask again".to_owned();
            return Err(StoreError::Unavailable(why));
        }
        let erased = done.answers[1].len() as u64;
        let (texts, tables) = said.came_to(&done.answers[3..]);
        if erased > 0 {
            self.changed.insert(format!("event_{k}"));
        }
        self.changed.extend(tables);
        lock(&postgres.recent).clear();
        postgres.watchers.erased(|id| numbers.contains(id.sequence()));
        Ok((erased, texts))
    }

    /// All is behind it: what was in flight may have come back since.
    async fn end(&mut self, step: &mut ErasingStep) -> Result<(), StoreError> {
        if self.erases {
            let gone = self.gone.clone();
            let ended = self.end_deliveries(&gone, &Bitmap::default()).await?;
            (step.ended, step.in_flight) = (ended.ended, ended.in_flight);
            step.texts = self.postgres.mask_memory(&self.whom, &gone) + self.erase_said(&gone).await?;
            step.left_behind = self.clean().await?;
        }
        step.is_done = true;
        Ok(())
    }
}

/// Looks for whom is meant in some rows.
fn look_through(rows: &[tokio_postgres::Row], whom: &Whom) -> Found {
    let mut found = Found::default();
    for row in rows {
        match EventRow::read(row) {
            Ok(EventRow { event: Kept::Event(event), .. }) => match (whom.meant)(&event) {
                Meant::No => {}
                Meant::Mentions => found.mentions.push(event.id),
                Meant::Yes => {
                    found.about.push(event.id);
                    found.numbers.insert(event.id.sequence());
                }
            },
            Ok(EventRow { event: Kept::Erased(_), number, .. }) => drop(found.already.insert(number)),
            Err(_) => found.unreadable += 1,
        }
    }
    found
}

/// Numbers as the database takes them.
fn numbers_in(numbers: &Bitmap) -> Vec<i64> {
    numbers.iter_from(0).map(signed).collect()
}
