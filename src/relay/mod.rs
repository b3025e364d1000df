//! What the handlers share: the config in force, the store, and what is known of both.
//!
//! # Cast
//!
//! * [`Relay`]: the state itself. Handlers read it; what is in force is changed by one owner (`daemon/reload.rs`), who is asked by a message.
//! * `generation`, [`Generation`]: one config in force, with everything that is derived from it.
//! * [`doubles`]: events that come twice.
//! * `past`, [`Past`]: the rules of the last ones.
//! * [`auth`]: which source a request comes from, in constant time over all of them.
//! * [`refused`]: the last requests that were turned away, for whoever asks why nothing comes.
//! * `telling`: telling an operator by way of a destination; [`Problems`]: what is wrong now. [`Sections`]: by what the workers go.
//! * [`unreadable`]: events that were asked for and are damaged, for the log.
//! * [`piece`]: how much of the history one answer looks at.
//! * [`forget`]: a person forgotten. [`search`]: every file that may hold what there is of one.
//! * [`replay`]: the history again. `what_if`, [`Comparison`]: what another config would do with it.
//! * `sources`, [`SourceState`]: whether a source accepts, holds or refuses.
//! * [`reload`]: another config, as those see it who ask for one. `on_disk`, [`OnDisk`]: what it would be. [`health`]: whether events can be accepted.
//!
//! It starts nothing and ends nothing: that is the [`daemon`](crate::daemon).

pub mod auth;
pub mod doubles;
pub mod forget;
mod generation;
mod health;
mod on_disk;
mod past;
pub mod piece;
pub mod refused;
mod reload;
pub mod replay;
pub mod search;
mod sources;
mod telling;
pub mod unreadable;
mod what_if;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch::Receiver;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::doubles::Doubles;
use self::forget::Forgetter;
pub use self::generation::{Generation, RuleCount};
pub use self::health::{healthz, readyz};
pub use self::on_disk::{Candidate, Difference, OnDisk, Other, needs_restart};
pub use self::past::Past;
use self::past::Pasts;
use self::refused::Refused;
pub use self::reload::{CONFIG_READ_TIMEOUT, LastReload, OwnerRequest, OwnerRequests, ReloadError, Reloaded};
use self::replay::{Replayer, Route};
pub use self::sources::{SourceAct, SourceState};
pub use self::telling::{Heard, KeptTurns, KnownProblem, Problems, Sections, stand_of};
use self::unreadable::Unreadable;
pub use self::what_if::{Change, Comparison, Example, Group};
use crate::bins::Bins;
use crate::listener::body::Intake;
use crate::rules::RuleTrace;
use crate::store::{Engine, Health, Sources, Store, StoredEvent};
use crate::telemetry::Metrics;
use crate::telemetry::minutes::{Minutes, Recorder, Totals};
use crate::time::{Clock, Instant, MINUTE_MS, wall_ms};

/// What the listener for webhooks and the admin listener share.
pub struct Relay {
    pub store: Arc<dyn Store>,
    /// Which it is, for what only one of them has.
    pub engine: Engine,
    pub metrics: Metrics,
    /// Requests that were turned away.
    pub refused: Refused,
    /// Events that were asked for and are damaged.
    pub unreadable: Unreadable,
    /// By what the workers go.
    pub sections: Arc<Sections>,
    /// What is wrong now.
    pub problems: Problems,
    /// The bytes that all bodies in flight share.
    pub intake: Intake,
    /// What came already.
    pub doubles: Doubles,
    /// The bins that the admin listener hosts.
    pub bins: Bins,
    /// The time that retries go by.
    pub clock: Clock,
    pub started: Instant,
    pub replayer: Replayer,
    pub forgetter: Forgetter,
    minutes: Recorder,
    /// Tasks that end with the workers.
    pub background: TaskTracker,
    stopping: CancellationToken,
    generation: Arc<ArcSwap<Generation>>,
    pasts: Pasts,
    owner: mpsc::Sender<OwnerRequest>,
    /// Only one looks at the config file at a time.
    looks: Semaphore,
    last_reload: Mutex<Option<LastReload>>,
    address: Mutex<SocketAddr>,
    health: Receiver<Health>,
    sources: Receiver<Sources>,
}

/// What a relay is made of.
pub struct Parts {
    pub engine: Engine,
    pub metrics: Metrics,
    /// The time that retries go by.
    pub clock: Clock,
    /// The config in force.
    pub generation: Generation,
    /// Where webhooks come in.
    pub address: SocketAddr,
    /// Tasks that end with the workers …
    pub background: TaskTracker,
    /// … once this is cancelled.
    pub stop: CancellationToken,
    /// Cancelled when the relay begins to stop.
    pub stopping: CancellationToken,
}

/// Where events go by the rules that are in force when it is asked: all of them by the same.
fn by_rules_in_force(store: &Arc<dyn Store>, in_force: &Arc<ArcSwap<Generation>>) -> Route {
    let (store, in_force) = (store.clone(), in_force.clone());
    Arc::new(move |events| {
        let generation = in_force.load();
        let names = store.names();
        events.iter().map(|event| generation.route(&names.name(event.source), event)).collect()
    })
}

/// The minute of a time, from the unix epoch.
fn minute(unix_ms: u64) -> u64 {
    unix_ms / MINUTE_MS
}

/// The destinations of a config.
fn names_of(generation: &Generation) -> impl Iterator<Item = &str> {
    generation.config.destinations.iter().map(|destination| destination.name.as_str())
}

impl Relay {
    /// Puts a relay together. Whoever owns what is in force takes the requests to change it.
    pub fn new(parts: Parts) -> (Arc<Self>, OwnerRequests) {
        let Parts { engine, metrics, clock, generation, address, background, stop, stopping } = parts;
        let store = engine.store();
        let (owner, requests) = reload::requests();
        let minutes = Recorder::new(minute(wall_ms()), metrics.totals(names_of(&generation)));
        let intake = Intake::new(generation.config.limits.intake_max);
        let pasts = Pasts::default();
        pasts.add(&generation);
        let generation = Arc::new(ArcSwap::from_pointee(generation));
        let relay = Arc::new(Self {
            intake,
            doubles: Doubles::new(metrics.keys_forgotten()),
            refused: Refused::new(&metrics),
            unreadable: Unreadable::default(),
            sections: Arc::default(),
            problems: Problems::default(),
            started: Instant::now(),
            minutes,
            bins: Bins::default(),
            replayer: Replayer::new(store.clone(), by_rules_in_force(&store, &generation), stop),
            forgetter: Forgetter::new(engine.clone(), generation.load().config.data_dir.clone(), stopping.clone()),
            last_reload: Mutex::default(),
            address: Mutex::new(address),
            health: store.health(),
            sources: store.sources(),
            generation,
            pasts,
            owner,
            looks: Semaphore::new(1),
            background,
            stopping,
            clock,
            metrics,
            engine,
            store,
        });
        (relay, requests)
    }

    /// The config in force.
    pub fn generation(&self) -> arc_swap::Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// The config that routed an event, and what became of each of its rules; nothing, where it is not known any more.
    pub fn routed_by(&self, event: &StoredEvent, source: &str) -> Option<(Arc<Past>, Vec<RuleTrace>)> {
        self.pasts.of(event, source)
    }

    /// Says that another minute may have begun.
    pub fn note_minute(&self) {
        self.minutes.note(minute(wall_ms()), self.totals());
    }

    /// What was counted in the last so many minutes, the running one last, and up to when, unix milliseconds.
    pub fn last_minutes(&self, most: usize) -> (u64, Minutes) {
        let now_ms = wall_ms();
        (now_ms, self.minutes.last(minute(now_ms), self.totals(), most))
    }

    fn totals(&self) -> Totals {
        self.metrics.totals(names_of(&self.generation()))
    }

    /// Whether the relay has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Resolves when the relay begins to stop.
    pub async fn until_stopping(&self) {
        self.stopping.cancelled().await;
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

    /// Puts another config in force. Only the owner of what is in force calls this.
    pub(crate) fn put_in_force(&self, generation: Generation) -> Arc<Generation> {
        let generation = Arc::new(generation);
        self.pasts.add(&generation);
        self.generation.store(generation.clone());
        generation
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Takes down how a reload went: why it failed, if it did.
    pub(crate) fn note_reload(&self, error: Option<String>) {
        let mut last = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        let number = last.as_ref().map_or(1, |last| last.number + 1);
        *last = Some(LastReload { number, at_ms: wall_ms(), error });
    }
}
