//! Opening the store, and what is told of what was found in it.

use std::sync::Arc;

use crate::config::Config;
use crate::listener::bind::ListenError;
use crate::store::journal::disk::Disk;
use crate::store::journal::{JournalStore, Location, OpenError, Opened, Options};
use crate::store::lock::LockError;
use crate::store::{NamesFull, StoreError};
use crate::telemetry::Metrics;
use crate::time::Clock;

/// Where and how the store lies.
pub(super) struct Place {
    pub segment_bytes: u64,
    pub index: Location,
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the data directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The journal could not be opened.
    #[error("the store could not be opened")]
    Store(#[from] OpenError),
    /// The store has no room for the config's names.
    #[error("the config has too many names for this store")]
    Names(#[from] NamesFull),
    /// The store did not number the config's names.
    #[error("the store did not take the config's names")]
    Interning(#[source] StoreError),
    /// The data directory could not be made or read.
    #[error("the data directory {path} cannot be used")]
    DataDir {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl StartError {
    pub(super) fn of_names(error: StoreError) -> Self {
        match error {
            StoreError::NamesFull(full) => Self::Names(full),
            error => Self::Interning(error),
        }
    }
}

/// Opens the store of a config.
pub(super) async fn open(
    config: &Config,
    disk: Arc<dyn Disk>,
    place: Place,
    clock: Clock,
    metrics: &Metrics,
) -> Result<Arc<JournalStore>, StartError> {
    let on_sync = metrics.clone();
    let options = Options {
        clock,
        on_sync: Box::new(move |took| on_sync.synced(took)),
        segment_bytes: place.segment_bytes,
        retention: config.retention.clone(),
        ..Options::new(place.index)
    };
    let metrics = metrics.clone();
    // It reads the disk.
    let opening = tokio::task::spawn_blocking(move || {
        let (store, opened) = JournalStore::open(disk, options)?;
        tell_what_was_found(&opened, &metrics);
        Ok(Arc::new(store))
    });
    let panicked = |_| OpenError::Io(std::io::Error::other("opening the store panicked"));
    let opened: Result<_, OpenError> = opening.await.map_err(panicked)?;
    Ok(opened?)
}

fn tell_what_was_found(opened: &Opened, metrics: &Metrics) {
    metrics.set_damage(opened.damage.len());
    for damage in &opened.damage {
        let file = &damage.file;
        let start = damage.bytes.start;
        let end = damage.bytes.end;
        tracing::error!(
            file,
            start,
            end,
            "the journal is damaged here: what these bytes held is lost; a copy is kept beside it"
        );
    }
    for file in &opened.strays {
        tracing::warn!(
            file,
            "this file is not part of the journal and is not read: move it out of the journal directory"
        );
    }
    for destination in &opened.nameless {
        tracing::error!(destination, "the name of this destination is lost: what waits for it is kept under this one");
    }
    if opened.torn_bytes > 0 {
        let bytes = opened.torn_bytes;
        tracing::info!(
            bytes,
            "the last process ended while it was writing; nobody was told that these events are there"
        );
    }
    if opened.backlog > 0 {
        tracing::info!(deliveries = opened.backlog, "deliveries are waiting from before");
    }
    tracing::debug!(segments = opened.segments, read = opened.segments_read, "the journal is open");
}
