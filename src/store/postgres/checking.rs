//! Asks a schema whether what it holds is right, in SQL that anybody could say: for people, and for who has put a backup back.
//!
//! * `events`: what belongs to events: each of their deliveries has its row, where relays look for it. `deliveries`: what those rows say.
//! * `cluster`: numbers, streams and leases. `server`: how PostgreSQL itself stands: what depends on it is slow or not safe, and not wrong.
//!
//! It changes nothing and may be asked at any time, also while relays run: each statement is a snapshot of its own, of a bounded number of rows, and
//! locks nothing that relays need. A segment that goes meanwhile is passed over.

mod cluster;
mod deliveries;
mod events;
mod server;

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::address::Address;
use super::link::Link;
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::time::Instant;

/// Of all that is wrong in one way, so many are named: who sees these knows where to look.
pub const NAMED_MAX: usize = 20;
/// Rows that one statement looks at: a snapshot that is held longer keeps PostgreSQL from cleaning up.
const PAGE_ROWS: i64 = 50_000;
/// A statement over a page may read all of it from the disk.
const STATEMENT_WITHIN: Duration = Duration::from_secs(60);

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// The event's id, or its number where it has no row.
    pub event: Option<String>,
    pub destination: Option<String>,
    pub why: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(event) = &self.event {
            write!(f, "{event}")?;
            if let Some(destination) = &self.destination {
                write!(f, " → {destination}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.why)
    }
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What is asked, as a claim that should hold, or the name of what is only told.
    pub question: &'static str,
    pub answer: String,
    /// How much is wrong,
    pub wrong: u64,
    /// and the first of it.
    pub named: Vec<Wrong>,
}

impl Answered {
    fn new(question: &'static str) -> Self {
        Self { question, answer: String::new(), wrong: 0, named: Vec::new() }
    }

    /// Something of which nothing can be wrong.
    fn told(question: &'static str, answer: impl Into<String>) -> Self {
        Self { answer: answer.into(), ..Self::new(question) }
    }

    fn add(&mut self, wrong: Wrong) {
        self.wrong += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(wrong);
        }
    }

    fn add_why(&mut self, why: impl Into<String>) {
        self.add(Wrong { why: why.into(), ..Wrong::default() });
    }
}

/// What all of it came to.
#[derive(Clone, Debug)]
pub struct Checked {
    pub answers: Vec<Answered>,
    /// False: the time was over before everything was looked at.
    pub is_whole: bool,
}

impl Checked {
    /// How much is wrong.
    pub fn wrong(&self) -> u64 {
        self.answers.iter().map(|answered| answered.wrong).sum()
    }
}

/// Looks at everything, for so long at most, and a statement more.
pub async fn check(address: &Address, within: Duration) -> Result<Checked, Trouble> {
    let link = Link::open(address, "check").await?.with_deadline(STATEMENT_WITHIN);
    let mut check = Check { link, until: Instant::now() + within, is_whole: true };
    let tables = check.ask("SELECT to_regclass('meta') IS NOT NULL", &[]).await?;
    if !tables.first().is_some_and(|row| row.get(0)) {
        let schema = address.schema();
        return Err(Trouble::Refused(format!("there are no tables of a relay in the schema {schema}")));
    }
    // What of a segment that goes is still needed lies elsewhere, and the rest of it is asked for by nobody.
    let kept = "SELECT k FROM segment WHERE k = 0 OR state IN ('open', 'closed') ORDER BY k";
    let segments: Vec<i32> = check.ask(kept, &[]).await?.iter().map(|row| row.get(0)).collect();
    let mut answers = check.events(&segments).await?;
    answers.extend(check.deliveries(&segments).await?);
    answers.extend(check.cluster(&segments).await?);
    answers.extend(check.server().await?);
    Ok(Checked { answers, is_whole: check.is_whole })
}

struct Check {
    link: Link,
    until: Instant,
    is_whole: bool,
}

/// A run of rows: behind the first number, up to the second.
#[derive(Clone, Copy, Debug)]
struct Page {
    after: i64,
    until: i64,
    rows: i64,
}

impl Check {
    /// Asks one statement that reads.
    async fn ask(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let steps = [Step { sql: "SET TRANSACTION READ ONLY", values: &[] }, Step { sql, values }];
        let mut answers = self.link.transaction(Snapshot::One, &steps, |_| true).await?.answers;
        Ok(answers.pop().unwrap_or_default())
    }

    /// The same of a table that may be gone.
    async fn ask_of_segment(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Vec<Row>>, Trouble> {
        match self.ask(sql, values).await {
            Err(Trouble::Gone(_)) => Ok(None),
            came => came.map(Some),
        }
    }

    /// Whether there is time for more.
    fn has_time(&mut self) -> bool {
        self.is_whole &= Instant::now() < self.until;
        self.is_whole
    }

    /// The next rows, of a query for numbers above `$1` in their order; none where there are none, or no time is left.
    async fn page(&mut self, numbers: &str, after: i64, dest: Option<i32>) -> Result<Option<Page>, Trouble> {
        if !self.has_time() {
            return Ok(None);
        }
        let sql = format!("SELECT max(n), count(*) FROM ({numbers} ORDER BY n LIMIT {PAGE_ROWS}) page");
        let rows = match dest {
            Some(dest) => self.ask_of_segment(&sql, &[&after, &dest]).await?,
            None => self.ask_of_segment(&sql, &[&after]).await?,
        };
        let page = |row: &Row| Some(Page { after, until: row.get::<_, Option<i64>>(0)?, rows: row.get(1) });
        Ok(rows.and_then(|rows| rows.first().and_then(page)))
    }

    /// Whether there is a segment of what outlives its own.
    fn has_carried(segments: &[i32]) -> bool {
        segments.contains(&super::spans::CARRIED)
    }
}

/// A number as people read it, and of what.
fn of(number: i64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}
