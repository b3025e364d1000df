//! How what only reads asks the database.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::link::Link;
use crate::store::StoreError;

/// Somebody who can be asked a statement.
pub trait Asks: Sync {
    /// Asks one statement, which is a transaction of its own: nothing is held open between two of them. A text may come again and again, and
    /// there is a bounded number of them for each segment.
    fn rows(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;
}

impl Asks for Link {
    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        Link::rows(self, sql, values).await.map_err(|trouble| StoreError::Unavailable(trouble.to_string()))
    }
}
