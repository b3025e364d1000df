//! Opening the store, and what is told of what was found in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Shared};
use crate::listener::bind::ListenError;
use crate::store::journal::disk::Disk;
use crate::store::journal::{JournalStore, Location, OpenError, Opened, Options};
use crate::store::lock::{DataDirLock, LockError};
use crate::store::postgres::{self, Again, PostgresStore, Trouble};
use crate::store::{Engine, NamesFull, StoreError};
use crate::telemetry::Metrics;
use crate::time::{Clock, Instant};

/// A database that does not answer is asked again for so long, and then the start has failed: whoever supervises the process sees that.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// Where the store lies.
pub(super) enum Place {
    /// In a journal of its own.
    Own(Own),
    /// In a database that several relays share.
    Shared(Shared),
}

/// Where and how the journal lies.
pub(super) struct Own {
    pub disk: Arc<dyn Disk>,
    pub segment_bytes: u64,
    pub index: Location,
    pub lock: Option<DataDirLock>,
}

/// A store that is open.
pub(super) struct OpenStore {
    pub engine: Engine,
    /// The time that it goes by.
    pub clock: Clock,
    pub lock: Option<DataDirLock>,
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
    /// The database is not to be had.
    #[error("the database of `store.postgres` ({address}) cannot be used")]
    Postgres {
        address: String,
        #[source]
        trouble: Trouble,
    },
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
pub(super) async fn open(config: &Config, place: Place, metrics: &Metrics) -> Result<OpenStore, StartError> {
    match place {
        Place::Own(own) => {
            let clock = Clock::start();
            let Own { disk, segment_bytes, index, lock } = own;
            let journal = open_journal(config, disk, (segment_bytes, index), clock, metrics).await?;
            Ok(OpenStore { engine: Engine::Journal(journal), clock, lock })
        }
        Place::Shared(shared) => {
            tell_of_a_journal(&config.data_dir);
            make_directory_for_files(config)?;
            let store = open_shared(config, &shared).await?;
            let clock = store.clock();
            Ok(OpenStore { engine: Engine::Postgres(Arc::new(store)), clock, lock: None })
        }
    }
}

/// Opens the store that several relays share, and waits a while for a server that does not answer.
async fn open_shared(config: &Config, shared: &Shared) -> Result<PostgresStore, StartError> {
    let options = || postgres::Options {
        name: config.relay_name.clone(),
        patience: shared.patience,
        retention: config.retention.clone(),
        ..postgres::Options::default()
    };
    let until = Instant::now() + REACHED_WITHIN;
    let mut again = Again::default();
    let mut is_told = false;
    loop {
        match PostgresStore::open(shared.address.clone(), options()).await {
            Ok(store) => {
                tracing::info!(database = %shared.address, schema = shared.address.schema(), relay = config.relay_name, "the shared store is open");
                return Ok(store);
            }
            Err(trouble) if Instant::now() < until && trouble.passes() => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(database = %shared.address, %trouble, "the database does not answer: it is asked again for a minute");
                }
                tokio::time::sleep(again.wait(u64::from(std::process::id()))).await;
            }
            Err(trouble) => return Err(StartError::Postgres { address: shared.address.to_string(), trouble }),
        }
    }
}

/// File destinations write below the data directory, if nothing else does.
fn make_directory_for_files(config: &Config) -> Result<(), StartError> {
    let is_written = config
        .destinations
        .iter()
        .any(|one| one.destination.file_pattern().is_some_and(|pattern| pattern.starts_with(&config.data_dir)));
    if !is_written {
        return Ok(());
    }
    let path = &config.data_dir;
    std::fs::create_dir_all(path).map_err(|source| StartError::DataDir { path: path.display().to_string(), source })
}

/// What lies in a journal from before is not in the database.
fn tell_of_a_journal(data_dir: &Path) {
    let files = std::fs::read_dir(data_dir.join("journal")).into_iter().flatten().flatten();
    let has_any = files.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(".journal"));
    if has_any {
        tracing::warn!(
            directory = %data_dir.display(),
            "a journal lies in the data directory, and the store is a database now: what waits in the journal is not delivered. Move it over as docs/cluster.md says, or remove the directory `journal` if nothing in it is needed"
        );
    }
}

/// Opens the journal of a config.
async fn open_journal(
    config: &Config,
    disk: Arc<dyn Disk>,
    (segment_bytes, index): (u64, Location),
    clock: Clock,
    metrics: &Metrics,
) -> Result<Arc<JournalStore>, StartError> {
    let on_sync = metrics.clone();
    let options = Options {
        clock,
        on_sync: Box::new(move |took| on_sync.synced(took)),
        segment_bytes,
        retention: config.retention.clone(),
        ..Options::new(index)
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
