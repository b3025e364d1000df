//! The relay put together: store, front door, workers and admin listener, from start to stop.

mod changes;
mod door;
mod generation;
mod keep;
mod patience;
mod place;
mod reload;
mod reminders;
mod sources;
mod what_if;
mod workers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::changes::{go_by_sections, in_words, keep_limits, names_of};
use self::door::{Door, first_listener, listen, local};
pub use self::generation::Generation;
use self::keep::{Kept, keep};
use self::patience::Patience;
use self::place::watch_place;
pub use self::reload::{LastReload, ReloadError, Reloaded};
use self::reload::{server_options, watch};
use self::reminders::remind;
pub use self::sources::{SourceAct, SourceState};
pub use self::what_if::{Change, Comparison, Example, Group};
use self::workers::Workers;
use crate::admin;
use crate::config::Config;
use crate::deliver::replay::Replayer;
use crate::listener::body::Intake;
use crate::listener::server::{ServerOptions, Stops, serve};
use crate::listener::slots::Slots;
use crate::receive::refused::Refused;
use crate::store::journal::disk::{Disk, RealDisk};
use crate::store::journal::{JournalStore, Location, OpenError, Options, segment_bytes};
use crate::store::lock::{DataDirLock, LockError};
use crate::store::{Health, NamesFull, Sources, Store, StoreError};
use crate::telemetry::Metrics;
use crate::time::Clock;

/// What the front door and the admin listener share.
pub struct Relay {
    /// The durable queue.
    pub store: Arc<dyn Store>,
    /// The same, for what only an embedded one has.
    pub journal: Arc<JournalStore>,
    /// Counters.
    pub metrics: Metrics,
    /// Requests that were turned away.
    pub refused: Refused,
    /// The bytes that all bodies under way share.
    pub intake: Intake,
    /// The bins that the admin listener hosts.
    pub bins: admin::bins::Bins,
    /// The time that retries go by.
    pub clock: Clock,
    /// When it started.
    pub started: Instant,
    /// Makes replays.
    pub replayer: Replayer,
    /// Tasks that end with the workers.
    pub background: TaskTracker,
    generation: ArcSwap<Generation>,
    /// Held by who changes what is in force.
    changing: tokio::sync::Mutex<Changing>,
    /// Held by who reads the config anew. Nobody else waits for that: a file may never be read.
    reloading: tokio::sync::Mutex<()>,
    patience: Patience,
    last_reload: Mutex<Option<LastReload>>,
    address: Mutex<SocketAddr>,
    health: Receiver<Health>,
    sources: Receiver<Sources>,
}

impl Relay {
    /// The config in force.
    pub fn generation(&self) -> arc_swap::Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// Whether the store can do its work.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The same, to be watched.
    pub fn watch_health(&self) -> Receiver<Health> {
        self.health.clone()
    }

    /// Where webhooks come in.
    pub fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the last reload went; `None` before the first.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is in force beside the generation, and changes with it.
struct Changing {
    workers: Workers,
    door: Door,
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
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}, which {said} names{}", help(.source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Who says so: a key and its place.
        said: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    fn of_names(error: StoreError) -> Self {
        match error {
            StoreError::NamesFull(full) => Self::Names(full),
            error => Self::Interning(error),
        }
    }
}

/// What to do when an address cannot be had.
fn help(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; choose another port, or end what listens there",
        std::io::ErrorKind::AddrNotAvailable => "; choose an address that this machine has, or 0.0.0.0 for all of them",
        std::io::ErrorKind::PermissionDenied => {
            "; choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// Who is being answered when the listener closes has this long, also where attempts have taken all of the grace: a little more than
/// a connection without progress.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// A relay that runs.
pub struct Running {
    /// What its listeners share.
    pub relay: Arc<Relay>,
    /// Where webhooks come in.
    pub address: SocketAddr,
    /// Where the operator looks in.
    pub admin_address: SocketAddr,
    ending: CancellationToken,
    attempts: CancellationToken,
    admin: CancellationToken,
    listeners: TaskTracker,
    workers: TaskTracker,
    admin_tasks: TaskTracker,
    health: Receiver<Health>,
    // Released last, when everything that writes has ended.
    _lock: Option<Arc<DataDirLock>>,
}

/// Starts a relay on its data directory.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let data_dir = config.data_dir.clone();
    let in_data_dir = |source| StartError::DataDir { path: data_dir.display().to_string(), source };
    let lock = DataDirLock::take(&data_dir)?;
    let disk = RealDisk::open(&data_dir.join("journal")).map_err(in_data_dir)?;
    if disk.is_written_to().map_err(in_data_dir)? {
        return Err(DataDirLock::held(&data_dir).into());
    }
    let place = Place {
        segment_bytes: segment_bytes(&config.retention, &data_dir),
        index: Location::File(data_dir.join("state.db")),
    };
    start_at(config, Arc::new(disk), Some(lock), place).await
}

/// Where and how the store lies.
struct Place {
    segment_bytes: u64,
    index: Location,
}

/// Starts a relay on any disk, with its index in memory. For tests.
#[cfg(any(test, feature = "test-support"))]
pub async fn start_on(config: Config, disk: Arc<dyn Disk>) -> Result<Running, StartError> {
    let place = Place { segment_bytes: Options::default().segment_bytes, index: Location::Memory };
    start_at(config, disk, None, place).await
}

async fn start_at(
    config: Config,
    disk: Arc<dyn Disk>,
    lock: Option<DataDirLock>,
    place: Place,
) -> Result<Running, StartError> {
    let listener = first_listener(config.listen, &config.said.listen).await?;
    let admin_listener = listen(config.admin_listen, &config.said.admin_listen).await?;
    let (metrics, clock) = (Metrics::default(), Clock::start());
    let on_sync = metrics.clone();
    let store_options = Options {
        clock,
        on_sync: Box::new(move |took| on_sync.synced(took)),
        segment_bytes: place.segment_bytes,
        retention: config.retention,
        ..Options::new(place.index)
    };
    let (address, admin_address) =
        (local(&listener.listener, config.listen), local(&admin_listener, config.admin_listen));
    let data_dir = config.data_dir.clone();
    let (intake_max, options) = (config.limits.intake_max, server_options(&config));
    let shown = metrics.clone();
    let opening = tokio::task::spawn_blocking(move || open(disk, store_options, &shown));
    let opened = opening.await.map_err(|_| OpenError::Io(std::io::Error::other("opening the store panicked")))?;
    let journal = opened?;
    let store: Arc<dyn Store> = journal.clone();
    let interned = store.intern(names_of(&config)).await.map_err(StartError::of_names)?;
    interned.taken_over.iter().for_each(|taken| tracing::info!("config: {}", in_words(taken)));
    let generation = Generation::new(config, None, interned.ids, &metrics);
    generation.announce(&*store);
    let health = store.health();
    let [doors, attempts, admin_stop] = [(); 3].map(|()| CancellationToken::new());
    let [workers, admin_tasks] = [(); 2].map(|()| TaskTracker::new());
    let door = Door::new(doors.clone(), &metrics);
    let (listeners, ending) = (door.tasks.clone(), door.ending.clone());
    let changing = Changing {
        workers: Workers {
            store: store.clone(),
            clock,
            metrics: metrics.clone(),
            tasks: workers.clone(),
            stop: attempts.clone(),
            bodies: Arc::default(),
            shared_paces: HashMap::new(),
            hands: HashMap::new(),
        },
        door,
    };
    let relay = Arc::new(Relay {
        intake: Intake::new(intake_max),
        refused: Refused::new(&metrics),
        started: Instant::now(),
        bins: admin::bins::Bins::default(),
        clock,
        generation: ArcSwap::from_pointee(generation),
        changing: tokio::sync::Mutex::new(changing),
        reloading: tokio::sync::Mutex::default(),
        patience: Patience::default(),
        last_reload: Mutex::default(),
        address: Mutex::new(address),
        health: health.clone(),
        sources: store.sources(),
        journal,
        metrics,
        replayer: Replayer::new(store.clone(), attempts.clone()),
        background: workers.clone(),
        store,
    });
    let mut changing = relay.changing.lock().await;
    changing.workers.follow(&relay.generation());
    go_by_sections(&relay.generation(), &*relay.store);
    let kept = |task, stop: &CancellationToken| Kept {
        task,
        of: String::new(),
        metrics: relay.metrics.clone(),
        stop: stop.clone(),
    };
    let with = |relay: &Arc<Relay>| (relay.clone(), attempts.clone());
    let (limited, watching, reminding) = (with(&relay), with(&relay), with(&relay));
    workers.spawn(keep(kept("limits", &attempts), move || keep_limits(limited.0.clone(), limited.1.clone())));
    workers.spawn(keep(kept("watch", &attempts), move || watch(watching.0.clone(), watching.1.clone())));
    workers.spawn(keep(kept("reminders", &attempts), move || remind(reminding.0.clone(), reminding.1.clone())));
    let lock = lock.map(|mut lock| {
        lock.watch(data_dir.join("state.db"));
        Arc::new(lock)
    });
    if let Some(lock) = lock.clone() {
        let (relay, stop) = with(&relay);
        workers.spawn(keep(kept("place", &attempts), move || watch_place(relay.clone(), lock.clone(), stop.clone())));
    }
    let replays = relay.store.replays().await.unwrap_or_default();
    for progress in replays.into_iter().filter(|progress| !progress.is_done) {
        workers.spawn(relay.replayer.clone().work(progress));
    }
    let admin_options = ServerOptions {
        connections_max: admin::CONNECTIONS_MAX,
        shutdown_grace: Duration::from_secs(1),
        descriptors_kept: 0,
        ..options.clone()
    };
    changing.door.open(&relay, listener, options);
    drop(changing);
    let (listener, routes) = (Arc::new(admin_listener), admin::routes(relay.clone(), admin_address));
    let stops = Stops::at_once(admin_stop.clone());
    let slots = Slots::new(admin_options.connections_max, relay.metrics.connections("admin"));
    admin_tasks.spawn(keep(kept("admin_listener", &admin_stop), move || {
        serve(listener.clone(), slots.clone(), routes.clone(), admin_options.clone(), stops.clone())
    }));
    Ok(Running {
        relay,
        address,
        admin_address,
        ending,
        attempts,
        admin: admin_stop,
        listeners,
        workers,
        admin_tasks,
        health,
        _lock: lock,
    })
}

/// Opens the store. Blocks on the disk.
fn open(disk: Arc<dyn Disk>, options: Options, metrics: &Metrics) -> Result<Arc<JournalStore>, OpenError> {
    let (store, opened) = JournalStore::open(disk, options)?;
    tell_what_was_found(&opened, metrics);
    Ok(Arc::new(store))
}

fn tell_what_was_found(opened: &crate::store::journal::Opened, metrics: &Metrics) {
    metrics.set_damage(opened.damage.len());
    for damage in &opened.damage {
        let (file, start, end) = (&damage.file, damage.bytes.start, damage.bytes.end);
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

impl Running {
    /// Resolves when the store has failed and the process should end, with the reason.
    pub async fn failed(&self) -> String {
        let mut health = self.health.clone();
        loop {
            if let Health::Poisoned(why) = &*health.borrow_and_update() {
                return why.clone();
            }
            if health.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops: attempts in flight are finished within the grace while events are still accepted, which the next process delivers. Then
    /// the listener closes, who has begun is answered, and everything settled is synced.
    pub async fn stop(self) -> Stopped {
        let grace = self.relay.generation().config.limits.shutdown_grace;
        let until = tokio::time::Instant::now() + grace;
        self.ending.cancel();
        self.attempts.cancel();
        self.workers.close();
        let attempts_ended = tokio::time::timeout_at(until, self.workers.wait()).await.is_ok();
        // Before the door, so that it is shut for as short as can be.
        self.admin.cancel();
        self.admin_tasks.close();
        self.admin_tasks.wait().await;
        let journal = self.relay.journal.clone();
        // A panic is one of the store's, and is told when it is closed.
        let _ = tokio::task::spawn_blocking(move || journal.checkpoint()).await;
        let until = until.max(tokio::time::Instant::now() + LAST_ANSWERS);
        // A change that hangs keeps the listener open until the process ends.
        if let Ok(mut changing) = tokio::time::timeout_at(until, self.relay.changing.lock()).await {
            changing.door.close();
        }
        let answered = tokio::time::timeout_at(until, self.listeners.wait()).await.is_ok();
        let in_time = attempts_ended && answered;
        self.relay.store.close().await;
        let failure = match &*self.health.borrow() {
            Health::Poisoned(why) => Some(why.clone()),
            Health::Good | Health::Full(_) => None,
        };
        Stopped { in_time, failure }
    }
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether all attempts ended within the grace; those that did not will be made again.
    pub in_time: bool,
    /// Why the store failed, if it did: what was settled last may happen again.
    pub failure: Option<String>,
}
