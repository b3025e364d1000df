//! The relay put together: store, listeners, workers and what looks after them, from start to stop.
//!
//! # Cast
//!
//! * [`start`]: opens the store, binds both listeners, starts everything. [`Running`]: what runs. [`Running::stop`]: the end, in order.
//! * [`reload`]: the one owner of what a config sets: the workers, and the listener for webhooks. [`mod@watch`] asks it when the file changes.
//! * [`opening`]: the store, and what was found in it; [`names`]: those of a config, as the store numbers them.
//! * [`workers`]: one for each destination, through all reloads. [`hooks`]: the listener for webhooks, which may move.
//! * [`mod@keep`]: starts again what panicked. [`patience`]: reads files that may never be read.
//! * [`limits`], [`reminders`], [`pauses`], [`mod@notify`], [`place`], [`minutes`], [`upkeep`]: what looks after the rest: what waits too long, what
//!   the log says again, who is told of trouble, whether the data still lies where it did, when a minute begins, and what destinations do beside
//!   their attempts.
//!
//! Nothing below imports it; the command line starts it.

mod hooks;
mod keep;
mod limits;
mod minutes;
mod names;
mod notify;
mod opening;
mod patience;
mod pauses;
mod place;
mod reload;
mod reminders;
mod upkeep;
mod watch;
mod workers;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::hooks::Hooks;
use self::keep::{Kept, keep};
use self::limits::keep_limits;
use self::minutes::note_minutes;
use self::names::{in_words, names_of};
use self::notify::notify;
pub use self::opening::StartError;
use self::opening::{OpenStore, Own, Place, open};
use self::patience::Patience;
use self::place::watch_place;
use self::reload::{Owner, server_options};
use self::reminders::remind;
use self::upkeep::look_after;
use self::watch::watch;
use self::workers::Workers;
use crate::admin;
use crate::config::Config;
use crate::listener::bind::{first_listener, listen, local};
use crate::listener::server::{At, ServerOptions, Stops, serve};
use crate::listener::slots::Slots;
use crate::listener::tls::Tls;
use crate::relay::{Generation, Parts, Relay};
use crate::store::Health;
#[cfg(any(test, feature = "test-support"))]
use crate::store::journal::Options;
#[cfg(any(test, feature = "test-support"))]
use crate::store::journal::disk::Disk;
use crate::store::journal::disk::RealDisk;
use crate::store::journal::{Location, segment_bytes};
use crate::store::lock::DataDirLock;
use crate::telemetry::Metrics;
use crate::time::Clock;

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
    stops: Tokens,
    tasks: Trackers,
    // Returned last, when everything that writes has ended.
    _lock: Option<Arc<DataDirLock>>,
}

/// What ends what, in the order of the end.
#[derive(Clone, Default)]
struct Tokens {
    /// The relay is stopping: each answer ends its connection.
    stopping: CancellationToken,
    /// No further attempts, and nothing else that ends with the workers.
    attempts: CancellationToken,
    /// The operator's listener closes.
    admin: CancellationToken,
    /// The listener for webhooks closes, and with it what changes what is in force.
    hooks: CancellationToken,
}

/// What is waited for at the end.
#[derive(Clone, Default)]
struct Trackers {
    /// Workers, and what ends with them.
    workers: TaskTracker,
    admin: TaskTracker,
    /// The listeners for webhooks that are or were open.
    hooks: TaskTracker,
}

/// Starts a relay on its data directory.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_by(config, Clock::start()).await
}

/// The same, in which who tells of trouble goes by another clock. For tests.
#[cfg(any(test, feature = "test-support"))]
pub async fn start_told_by(config: Config, clock: Clock) -> Result<Running, StartError> {
    start_by(config, clock).await
}

async fn start_by(config: Config, telling: Clock) -> Result<Running, StartError> {
    if let Some(shared) = config.shared.clone() {
        return start_at(config, Place::Shared(shared), telling).await;
    }
    let data_dir = config.data_dir.clone();
    let in_data_dir = |source| StartError::DataDir { path: data_dir.display().to_string(), source };
    let lock = DataDirLock::take(&data_dir)?;
    let disk = RealDisk::open(&data_dir.join("journal")).map_err(in_data_dir)?;
    if disk.is_written_to().map_err(in_data_dir)? {
        return Err(DataDirLock::held(&data_dir).into());
    }
    let own = Own {
        disk: Arc::new(disk),
        segment_bytes: segment_bytes(&config.retention, &data_dir),
        index: Location::File(data_dir.join("state.db")),
        lock: Some(lock),
    };
    start_at(config, Place::Own(own), telling).await
}

/// Starts a relay on any disk, with its index in memory. For tests.
#[cfg(any(test, feature = "test-support"))]
pub async fn start_on(config: Config, disk: Arc<dyn Disk>) -> Result<Running, StartError> {
    let segment_bytes = Options::default().segment_bytes;
    let own = Own { disk, segment_bytes, index: Location::Memory, lock: None };
    start_at(config, Place::Own(own), Clock::start()).await
}

async fn start_at(config: Config, place: Place, telling: Clock) -> Result<Running, StartError> {
    let listener = first_listener(config.listen, &config.said.listen).await?;
    let admin_listener = listen(config.admin.listen, &config.said.admin_listen).await?;
    let address = local(&listener.listener, config.listen);
    let admin_address = local(&admin_listener, config.admin.listen);
    let options = server_options(&config);
    let index = config.data_dir.join("state.db");
    let metrics = Metrics::default();
    let OpenStore { engine, clock, lock } = open(&config, place, &metrics).await?;
    let store = engine.store();
    let interned = store.intern(names_of(&config)).await.map_err(StartError::of_names)?;
    interned.taken_over.iter().for_each(|taken| tracing::info!("config: {}", in_words(taken)));
    let generation = Generation::new(config, None, interned.ids, &metrics);
    generation.announce(&*store);
    let stops = Tokens::default();
    let mut tasks = Trackers::default();
    let mut hooks = Hooks::new(stops.stopping.clone(), &metrics);
    tasks.hooks = hooks.tasks.clone();
    let background = tasks.workers.clone();
    let stop = stops.attempts.clone();
    let stopping = stops.stopping.clone();
    let parts = Parts { engine, metrics, clock, generation, address, background, stop, stopping };
    let (relay, requests) = Relay::new(parts);
    let mut workers = Workers::new(&relay, tasks.workers.clone(), stops.attempts.clone());
    workers.follow(&relay.generation());
    let admin_options = ServerOptions {
        connections_max: admin::connections_max(getrlimit(Resource::Nofile).current),
        shutdown_grace: Duration::from_secs(1),
        // Searches end when whoever asked has gone.
        has_half_closed: false,
        connections_give_way: true,
        descriptors_kept: 0,
        ..options.clone()
    };
    let admin_tls = Tls::new(relay.generation().config.admin.tls.clone());
    hooks.encrypt(relay.generation().config.tls.clone());
    // Nobody is let in before it is known who has been.
    let in_force = relay.generation().clone();
    let read = relay.doubles.read_back(&*relay.store, None, &in_force).await;
    relay.doubles.catch_up(&*relay.store, &in_force, read.whole()).await;
    hooks.open(&relay, listener, options);
    let patience = Arc::new(Patience::default());
    let owner = Owner {
        relay: relay.clone(),
        workers,
        hooks,
        admin_tls: admin_tls.clone(),
        patience: patience.clone(),
        requests,
        seen: None,
    };
    tokio::spawn(owner.work(stops.hooks.clone()));
    let looking_after = LookingAfter { relay: &relay, tasks: &tasks.workers, stop: &stops.attempts };
    looking_after.begin(patience);
    let has_begun = Arc::<AtomicBool>::default();
    looking_after.keep("notify", move |relay, stop| notify(relay, telling, has_begun.clone(), stop));
    let lock = lock.map(|mut lock| {
        lock.watch(index);
        Arc::new(lock)
    });
    if let (Some(lock), Some(journal)) = (&lock, relay.engine.journal()) {
        let (lock, journal) = (lock.clone(), journal.clone());
        looking_after.keep("place", move |_, stop| watch_place(journal.clone(), lock.clone(), stop));
    }
    let replays = relay.store.replays().await.unwrap_or_else(|error| {
        tracing::error!(%error, "replays that are not done go on at the next start");
        Vec::new()
    });
    for progress in replays.into_iter().filter(|progress| !progress.is_done) {
        tasks.workers.spawn(relay.replayer.clone().work(progress));
    }
    let operators =
        Operators { listener: admin_listener, address: admin_address, options: admin_options, tls: admin_tls.clone() };
    operators.serve(&relay, &tasks.admin, &stops.admin);
    Ok(Running { relay, address, admin_address, stops, tasks, _lock: lock })
}

/// What looks after a relay that runs.
struct LookingAfter<'r> {
    relay: &'r Arc<Relay>,
    tasks: &'r TaskTracker,
    stop: &'r CancellationToken,
}

impl LookingAfter<'_> {
    fn begin(&self, patience: Arc<Patience>) {
        self.keep("limits", keep_limits);
        self.keep("reminders", remind);
        self.keep("minutes", note_minutes);
        self.keep("upkeep", look_after);
        self.keep("watch", move |relay, stop| watch(relay, patience.clone(), stop));
    }

    /// Keeps a task going until the workers end.
    fn keep<F>(&self, task: &'static str, begin: impl Fn(Arc<Relay>, CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let relay = self.relay.clone();
        let stop = self.stop.clone();
        let kept = Kept { task, of: String::new(), metrics: relay.metrics.clone(), stop: stop.clone() };
        self.tasks.spawn(keep(kept, move || begin(relay.clone(), stop.clone())));
    }
}

/// The operator's listener.
struct Operators {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
    tls: Arc<Tls>,
}

impl Operators {
    /// Serves it until it is stopped.
    fn serve(self, relay: &Arc<Relay>, tasks: &TaskTracker, stop: &CancellationToken) {
        let Self { listener, address, options, tls } = self;
        let listener = Arc::new(listener);
        let routes = admin::Routes::new(relay.clone(), address);
        let stops = Stops::at_once(stop.clone());
        let slots = Slots::new(options.connections_max, relay.metrics.connections("admin"));
        let at = At { slots, tls };
        let metrics = relay.metrics.clone();
        let kept = Kept { task: "admin_listener", of: String::new(), metrics, stop: stop.clone() };
        tasks.spawn(keep(kept, move || {
            let routes = routes.clone();
            let filter = move |peer| routes.of_connection(peer);
            serve(listener.clone(), at.clone(), filter, options.clone(), stops.clone())
        }));
    }
}

impl Running {
    /// Resolves when the store has failed and the process should end, with the reason.
    pub async fn failed(&self) -> String {
        let mut health = self.relay.watch_health();
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
        let Self { relay, stops, tasks, .. } = &self;
        let grace = relay.generation().config.limits.shutdown_grace;
        let until = tokio::time::Instant::now() + grace;
        stops.stopping.cancel();
        stops.attempts.cancel();
        tasks.workers.close();
        let attempts_ended = tokio::time::timeout_at(until, tasks.workers.wait()).await.is_ok();
        // Before the listener for webhooks, so that that is shut for as short as can be.
        stops.admin.cancel();
        tasks.admin.close();
        tasks.admin.wait().await;
        relay.engine.checkpoint().await;
        let until = until.max(tokio::time::Instant::now() + LAST_ANSWERS);
        stops.hooks.cancel();
        let all_answered = tokio::time::timeout_at(until, tasks.hooks.wait()).await.is_ok();
        relay.store.close().await;
        let failure = match relay.health() {
            Health::Poisoned(why) => Some(why),
            Health::Good | Health::Full(_) | Health::Away(_) => None,
        };
        Stopped { attempts_ended, all_answered, failure }
    }
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether all attempts ended within the grace; those that did not will be made again.
    pub attempts_ended: bool,
    /// Whether everybody who was sending had an answer; who had none sends again.
    pub all_answered: bool,
    /// Why the store failed, if it did: what was settled last may happen again.
    pub failure: Option<String>,
}
