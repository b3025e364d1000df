//! A connection to read by, made again where it is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::address::Address;
use super::asks::Asks;
use super::link::{Link, kept};
use super::trouble::Trouble;
use crate::store::StoreError;

/// So many wait for one connection: an erasing asks each of a thousand destinations at once.
const WAITING_MAX: usize = 1100;
/// And each of them for so long, where the database is slow or away.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Reads, for one purpose.
#[derive(Debug)]
pub struct Reader {
    address: Address,
    purpose: &'static str,
    link: Mutex<Option<Link>>,
    /// Who waits for it, or has it.
    waiting: AtomicUsize,
}

/// A place among those who wait, until this goes.
struct Place<'r>(&'r AtomicUsize);

impl<'r> Place<'r> {
    fn take(waiting: &'r AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reader {
    /// Nothing is connected before it is asked.
    pub fn new(address: Address, purpose: &'static str) -> Self {
        Self { address, purpose, link: Mutex::new(None), waiting: AtomicUsize::new(0) }
    }

    /// Asks one statement, once more on a new connection where the first was lost: what it does may be done twice.
    pub async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let busy = || StoreError::Unavailable("the database has too much to do now: ask again later".to_owned());
        let _place = Place::take(&self.waiting).ok_or_else(busy)?;
        let mut link = tokio::time::timeout(TURN_WITHIN, self.link.lock()).await.map_err(|_| busy())?;
        let was_open = link.as_ref().is_some_and(Link::is_open);
        match self.try_rows(&mut link, sql, values).await {
            Err(Trouble::Away(_)) if was_open => Ok(self.try_rows(&mut link, sql, values).await?),
            came => Ok(came?),
        }
    }

    async fn try_rows(
        &self,
        link: &mut Option<Link>,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        kept(link, Link::open(&self.address, self.purpose)).await?.rows_for_sure(sql, values).await
    }
}

impl Asks for Reader {
    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        Self::rows(self, sql, values).await
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken(why) => Self::Damaged(why),
            trouble => Self::Unavailable(trouble.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_may_and_who_goes_makes_room() {
        let waiting = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..WAITING_MAX).map(|_| Place::take(&waiting).expect("there is room")).collect();
        assert!(Place::take(&waiting).is_none());
        places.pop();
        assert!(Place::take(&waiting).is_some(), "who was refused has taken nothing");
        drop(places);
        assert_eq!(waiting.into_inner(), 0);
    }
}
