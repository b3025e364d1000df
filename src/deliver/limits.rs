//! What may not wait for ever: deliveries that are too old to be wanted, a backlog that takes too much room, and the queues of
//! destinations that the config does not name any more. All become dead letters with a reason, ready to be replayed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::errors::with_causes;
use crate::store::{AllCounts, Command, NameId, Store, What, Which};
use crate::telemetry::trouble::{self, News, Trouble};
use crate::time::{Clock, Instant};

/// What may wait for one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Deliveries never attempted whose event arrived longer ago than this are not wanted any more.
    pub max_age: Option<Duration>,
    /// Bytes of journal that the backlog may keep from being trimmed.
    pub max_size: Option<u64>,
}

/// One destination and its limits.
#[derive(Clone, Debug)]
pub struct Limited {
    pub id: NameId,
    pub name: String,
    pub limits: BacklogLimits,
}

/// Looks after the limits of all destinations. It is asked to [`look`](Self::look) now and then.
pub struct Limiter {
    store: Arc<dyn Store>,
    clock: Clock,
    destinations: Vec<Limited>,
    removed_grace: Duration,
    /// When stale deliveries of a destination are looked for again, unix milliseconds.
    next_stale_ms: HashMap<NameId, u64>,
    /// What has been given up and not told yet, and when something was told last.
    untold: HashMap<NameId, (u64, Option<Instant>)>,
    /// Of which it was told that something waits although the config does not name them.
    told_removed: HashSet<NameId>,
    /// The store does not do what it is asked.
    trouble: Trouble,
    /// Why, in this round.
    failure: Option<String>,
}

/// Stale deliveries are given up in bunches: each bunch is a row of the index for each 65 536 events that it touches.
const STALE_EVERY_MS: u64 = 60_000;

/// Stale deliveries are told at most this often: a flood of them must not flood the log.
const TOLD_EVERY: Duration = Duration::from_secs(60 * 60);

impl Limiter {
    /// A limiter that knows of no destination yet.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            destinations: Vec::new(),
            removed_grace: Duration::MAX,
            next_stale_ms: HashMap::new(),
            untold: HashMap::new(),
            told_removed: HashSet::new(),
            trouble: Trouble::lasting(trouble::TOLD_EVERY),
            failure: None,
        }
    }

    /// Goes by the destinations of a config from now on.
    pub fn set(&mut self, destinations: Vec<Limited>, removed_grace: Duration) {
        (self.destinations, self.removed_grace) = (destinations, removed_grace);
    }

    /// Gives up what is beyond a limit. What the store does not do is tried again the next time.
    pub async fn look(&mut self) {
        match self.store.counts().await {
            Ok(counts) => self.keep_limits(&counts).await,
            Err(error) => self.failure = Some(with_causes(&error)),
        }
        self.tell_of_trouble();
    }

    fn tell_of_trouble(&mut self) {
        let now = Instant::now();
        let Some(error) = self.failure.take() else {
            if let Some(ended) = self.trouble.ends(now) {
                tracing::info!(after_s = ended.lasted.as_secs(), "limits are kept again");
            }
            return;
        };
        match self.trouble.happens(now) {
            Some(News { is_first: true, .. }) => {
                tracing::warn!(error, "limits cannot be kept now; it is tried again all the time");
            }
            Some(News { lasted, .. }) => tracing::warn!(error, for_s = lasted.as_secs(), "limits still cannot be kept"),
            None => {}
        }
    }

    async fn keep_limits(&mut self, counts: &AllCounts) {
        for Limited { id, name, limits } in self.destinations.clone() {
            let counts = counts.of(id);
            if counts.backlog == 0 {
                continue;
            }
            if let Some(age) = limits.max_age.filter(|_| counts.state.paused.is_none()) {
                self.dead_letter_stale(id, &name, age).await;
            }
            if let Some(most) = limits.max_size.filter(|most| counts.limited_bytes > *most) {
                let why =
                    format!("the backlog was larger than backlog.max_size ({most} B), and this was the oldest of it");
                let count = self.dead_letter(id, Which::OldestBeyond(most), why).await;
                if count > 0 {
                    tracing::warn!(destination = %name, dead_letters = count, "its backlog is larger than backlog.max_size: the oldest deliveries are dead letters now");
                }
            }
        }
        self.look_at_removed(counts).await;
    }

    async fn dead_letter_stale(&mut self, id: NameId, name: &str, age: Duration) {
        let age_ms = age.as_millis() as u64;
        let now_ms = self.clock.now_ms();
        if self.next_stale_ms.get(&id).is_some_and(|next_ms| now_ms < *next_ms) {
            return;
        }
        // Arrivals are stamped by the wall clock, which may be wrong now or have been so then: their stamps are not asked.
        let why = format!("stale: it waited longer than backlog.max_age ({} s) for its first attempt", age.as_secs());
        let count = self.dead_letter(id, Which::UnattemptedFor(age), why).await;
        if count > 0 {
            self.next_stale_ms.insert(id, now_ms + STALE_EVERY_MS.min(age_ms / 10));
            self.tell(id, name, count);
        }
    }

    /// Gives deliveries up. Returns how many.
    async fn dead_letter(&mut self, of: NameId, which: Which, reason: String) -> u64 {
        match self.store.ask(Command::once(of, What::DeadLetter { which, reason })).await {
            Ok(done) => done.deliveries,
            Err(error) => {
                self.failure = Some(with_causes(&error));
                0
            }
        }
    }

    fn tell(&mut self, id: NameId, name: &str, count: u64) {
        let (untold, told_at) = self.untold.entry(id).or_default();
        *untold += count;
        if *untold > 0 && told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            tracing::warn!(destination = %name, dead_letters = *untold, "deliveries were stale before their first attempt: they are dead letters now");
            (*untold, *told_at) = (0, Some(Instant::now()));
        }
    }

    /// A delivery is bound to a name. A name that is gone keeps its queue for a while; one that is back goes on.
    async fn look_at_removed(&mut self, counts: &AllCounts) {
        let names = self.store.names();
        for counts in &counts.destinations {
            let id = counts.destination;
            let name = names.name(counts.destination);
            if self.destinations.iter().any(|known| known.id == id) {
                if self.told_removed.remove(&id) {
                    tracing::info!(destination = %name, "it is in the config again, and its queue goes on");
                }
                continue;
            }
            let Some(since_ms) = counts.state.removed_since_ms.filter(|_| counts.backlog > 0) else { continue };
            let gone = Duration::from_millis(self.clock.now_ms().saturating_sub(since_ms));
            if gone >= self.removed_grace {
                let why = "the destination was removed from the config".to_owned();
                let count = self.dead_letter(id, Which::Pending, why).await;
                if count == 0 {
                    continue;
                }
                tracing::warn!(destination = %name, dead_letters = count, "removed_grace has passed: what waited for it became dead letters");
            } else if self.told_removed.insert(id) {
                let grace = crate::units::shown_duration(self.removed_grace);
                tracing::warn!(destination = %name, deliveries = counts.backlog, removed_grace = grace, "deliveries wait for a destination that the config does not name: they become dead letters unless it comes back (or another has `renamed_from: {name}`)");
            }
        }
    }
}
