//! A connection to read by, made again where it is lost.

use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::address::Address;
use super::asks::Asks;
use super::link::{Link, kept};
use super::trouble::Trouble;
use crate::store::StoreError;

/// Reads, for one purpose.
#[derive(Debug)]
pub struct Reader {
    address: Address,
    purpose: &'static str,
    link: Mutex<Option<Link>>,
}

impl Reader {
    /// Nothing is connected before it is asked.
    pub fn new(address: Address, purpose: &'static str) -> Self {
        Self { address, purpose, link: Mutex::new(None) }
    }

    /// Asks one statement, once more on a new connection where the first was lost: what it does may be done twice.
    pub async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let mut link = self.link.lock().await;
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
        kept(link, Link::open(&self.address, self.purpose)).await?.rows(sql, values).await
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
