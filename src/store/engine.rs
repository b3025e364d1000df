//! Which store it is: for what only one of them has, and for how much either has.

use std::sync::Arc;

use super::journal::JournalStore;
use super::postgres::PostgresStore;
use super::{Answer, Store, StoreError, Usage};

/// The store that a relay runs on.
#[derive(Clone)]
pub enum Engine {
    /// Its own, on its disk.
    Journal(Arc<JournalStore>),
    /// One that several share.
    Postgres(Arc<PostgresStore>),
}

impl Engine {
    /// What everybody goes by who need not know which it is.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Journal(journal) => journal.clone(),
            Self::Postgres(postgres) => postgres.clone(),
        }
    }

    /// The journal, where it is one.
    pub fn journal(&self) -> Option<&Arc<JournalStore>> {
        match self {
            Self::Journal(journal) => Some(journal),
            Self::Postgres(_) => None,
        }
    }

    /// How much it has and may have. Reads the disk, or asks the database.
    pub fn usage(&self) -> Answer<'_, Usage> {
        match self {
            Self::Journal(journal) => aside(journal, |journal| Ok(journal.usage())),
            Self::Postgres(postgres) => postgres.usage(),
        }
    }

    /// Lets go what need not be kept.
    pub fn trim(&self) -> Answer<'_, ()> {
        match self {
            Self::Journal(journal) => aside(journal, |journal| {
                journal.trim();
                Ok(())
            }),
            Self::Postgres(postgres) => postgres.trim(),
        }
    }

    /// Has everything on the disk that was settled so far, where that is not so yet.
    pub async fn checkpoint(&self) {
        if let Self::Journal(journal) = self {
            // A panic is one of the store's, and is told when it is closed.
            let _ = aside(journal, |journal| {
                journal.checkpoint();
                Ok(())
            })
            .await;
        }
    }
}

/// Does something that waits for the disk.
fn aside<T: Send + 'static>(
    journal: &Arc<JournalStore>,
    work: impl FnOnce(&JournalStore) -> Result<T, StoreError> + Send + 'static,
) -> Answer<'static, T> {
    let journal = journal.clone();
    let done = tokio::task::spawn_blocking(move || work(&journal));
    Box::pin(async move { done.await.unwrap_or(Err(StoreError::Closed)) })
}
