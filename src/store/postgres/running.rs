//! The store on PostgreSQL while it runs: what its tasks and its callers share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::cluster::{Duty, Group, House, Surety};
use super::following::{Following, Reply};
use super::holds::Holds;
use super::link::Link;
use super::look::Looker;
use super::names::Names;
use super::outbox::Outbox;
use super::ownership::Owned;
use super::random::dice;
use super::reader::Reader;
use super::recent::Recent;
use super::spans::Span;
use super::trouble::Trouble;
use crate::store::locks::{lock, reading};
use crate::store::queues::Memory;
use crate::store::{Health, NameId, NewEvent, Retention, Usage};
use crate::time::Instant;

/// The destinations that another relay has, which lives.
pub type Elsewhere = HashSet<NameId>;

/// What workers of this process want: how many of them, and by what they share a rate limit.
pub type Wanted = BTreeMap<NameId, (usize, Option<String>)>;

/// What was heard of erasings.
#[derive(Debug, Default)]
pub struct Heard {
    /// How many there were.
    pub count: i64,
    /// It is new: what was being read then came to memory since.
    pub is_new: bool,
}

/// So long a destination is kept that no worker wants any more.
const LINGER: Duration = Duration::from_secs(2);
/// The stream that a process appends to, as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub slot: i16,
    pub epoch: i64,
    pub me: i64,
    /// Where it went on when it was taken: in this segment, and above this number.
    pub segment: i32,
    pub above: i64,
}

/// How long the end of the process waits for what is still to be written.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The store while it runs.
pub struct Postgres {
    /// What is kept in memory of the destinations that this process owns.
    pub memory: Memory<()>,
    pub address: Address,
    /// How this relay is called in the database.
    pub name: String,
    /// Where the tasks run.
    pub runtime: Handle,
    pub names: RwLock<Names>,
    pub recent: Mutex<Recent>,
    pub health: watch::Sender<Health>,
    pub retention: Mutex<Retention>,
    /// Events on their way in.
    pub inbox: mpsc::UnboundedSender<(NewEvent, Reply)>,
    /// Changes on their way out.
    pub outbox: Outbox,
    /// The destinations that this process owns, with their epochs.
    pub owned: RwLock<HashMap<NameId, Arc<Owned>>>,
    /// Counts how often that may be different.
    pub ownership: watch::Sender<u64>,
    pub elsewhere: Mutex<Elsewhere>,
    pub wanted: Mutex<Wanted>,
    /// The rate limits that are kept here, by their groups.
    pub groups: Mutex<BTreeSet<Group>>,
    pub incarnation: AtomicI64,
    /// The stream that this process appends to, if it has one.
    pub streaming: watch::Sender<Option<Stream>>,
    pub surety: Surety,
    /// Some worker was told that nothing may be claimed now, and waits for a word.
    pub has_turned_away: AtomicBool,
    /// From here on moments are counted.
    pub began: Instant,
    /// Which events stand in the queues.
    pub following: Following,
    /// How sources stand.
    pub holds: Mutex<Holds>,
    /// The commands that are being carried out.
    pub carried_out: Mutex<BTreeSet<u128>>,
    /// Held while a command chooses deliveries.
    pub commanding: tokio::sync::Mutex<()>,
    /// The segments that there are, the newest last.
    pub spans: RwLock<Vec<Span>>,
    /// To read events of queues; what people look at; and to ask for something.
    pub reader: Reader,
    pub looker: Reader,
    pub asker: Reader,
    /// For what is done now and then.
    pub upkeep: Reader,
    /// Senders wait for so long while the database is away.
    pub patience: Duration,
    /// Notified when the next heartbeat is to come now.
    pub hurry: Notify,
    /// Dead letters that this process has dropped since they were too old or too many.
    pub dead_expired: AtomicU64,
    /// Of this relay where it keeps house.
    pub house: Mutex<Option<House>>,
    /// Notified when house is to be kept now, or floors are to be written.
    pub tidy: Notify,
    pub tidy_floors: Notify,
    pub is_closing: AtomicBool,
    /// Since when the database gives no answer.
    pub away_since: Mutex<Option<Instant>>,
    /// Since when it takes no events.
    pub refused_since: Mutex<Option<Instant>>,
    /// What is kept was said anew, so that it is to be seen whether the store is full.
    pub has_new_retention: AtomicBool,
    /// Of which destinations something could not be written: how often in a row, and when last.
    pub unwritten: Mutex<HashMap<NameId, (u32, Instant)>>,
    /// What is known of what was erased.
    pub erasings: Mutex<Heard>,
    /// It says no more that it lives: of a test.
    pub stands_still: AtomicBool,
    /// How much there was when it was seen last.
    pub last_usage: Mutex<Usage>,
    /// Cancelled when the store ends.
    pub end: CancellationToken,
}

impl Deref for Postgres {
    type Target = Memory<()>;

    fn deref(&self) -> &Memory<()> {
        &self.memory
    }
}

impl Postgres {
    /// The time of the database.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The segments that there are, the newest last.
    pub fn spans(&self) -> Vec<Span> {
        reading(&self.spans).clone()
    }

    /// Looks into the database, by segments that there are.
    pub fn looking<'a>(&'a self, spans: &'a [Span]) -> Looker<'a, Reader> {
        Looker { link: &self.looker, spans, number: self.number }
    }

    /// Their numbers.
    pub fn segments(&self) -> Vec<i32> {
        reading(&self.spans).iter().map(|span| span.segment).collect()
    }

    /// Whether this process has the right to a destination, and its queue in memory.
    pub fn owns(&self, id: NameId) -> bool {
        reading(&self.owned).get(&id).is_some_and(|owned| owned.is_loaded())
    }

    /// Says whether events can be taken in.
    pub fn set_health(&self, health: Health) {
        self.health.send_if_modified(|now| {
            if *now == health || matches!(now, Health::Poisoned(_)) {
                return false;
            }
            *now = health;
            true
        });
    }

    /// Has those look again who were told that nothing may be claimed: perhaps it may now. Whoever is told it just after this is among those of
    /// the next heartbeat.
    pub fn wake_turned_away(&self) {
        if !self.has_turned_away.swap(false, Ordering::AcqRel) {
            return;
        }
        let destinations: Vec<_> = reading(&self.destinations).values().cloned().collect();
        for destination in destinations {
            destination.sorting.wakeup.notify_one();
            destination.wakeup.notify_one();
        }
    }

    /// The database gave no answer.
    pub fn unreachable(&self, trouble: &Trouble) {
        self.is_in_trouble(&self.away_since, trouble);
    }

    /// It gives answers.
    pub fn reached(&self) {
        *lock(&self.away_since) = None;
        self.is_well_again();
    }

    /// Nothing can be taken in: because the database gives no answer, or it gives none to that.
    pub fn takes_nothing(&self, trouble: &Trouble) {
        if let Trouble::Full(why) = trouble {
            lock(&self.refused_since).get_or_insert_with(Instant::now);
            self.set_health(Health::Full(why.clone()));
        } else {
            self.is_in_trouble(&self.refused_since, trouble);
        }
    }

    /// Something was taken in.
    pub fn takes_in(&self) {
        if lock(&self.refused_since).take().is_some() {
            if matches!(*self.health.borrow(), Health::Full(_)) {
                self.set_health(Health::Good);
            }
            self.is_well_again();
        }
    }

    fn is_in_trouble(&self, since: &Mutex<Option<Instant>>, trouble: &Trouble) {
        let since = *lock(since).get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience {
            tracing::debug!(%trouble, "the database gave no answer");
        } else if *self.health.borrow() == Health::Good {
            tracing::error!(%trouble, "the database does not answer: events are refused with 503 until it does");
            self.set_health(Health::Away(trouble.to_string()));
        }
    }

    fn is_well_again(&self) {
        let is_well = lock(&self.away_since).is_none() && lock(&self.refused_since).is_none();
        if is_well && matches!(*self.health.borrow(), Health::Away(_)) {
            tracing::info!("the database answers again");
            self.set_health(Health::Good);
        }
    }

    /// So many bytes lie in the schema: it may be full, or be so no more.
    pub fn has_bytes(&self, bytes: u64) {
        let most = lock(&self.retention).bytes_max;
        let full = most
            .filter(|most| bytes >= *most)
            .map(|most| Health::Full(format!("the schema has {bytes} bytes, and `max_size` of the store is {most}")));
        let is_full = matches!(*self.health.borrow(), Health::Full(_));
        match full {
            Some(full) => self.set_health(full),
            None if is_full && lock(&self.refused_since).is_none() => self.set_health(Health::Good),
            None => {}
        }
    }

    /// A random number, for waits that differ from relay to relay.
    pub fn dice(&self) -> u64 {
        dice()
    }

    /// Another connection, for one purpose.
    pub async fn link(&self, purpose: &'static str) -> Result<Link, Trouble> {
        Link::open(&self.address, purpose).await
    }

    /// How this process calls itself in the table of relays.
    pub fn me(&self) -> i64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Another incarnation: the others have taken the one before for dead.
    pub fn renew(&self, incarnation: i64) {
        self.incarnation.store(incarnation, Ordering::Release);
        self.streaming.send_replace(None);
    }

    /// A stream is another relay's: nothing is appended before there is a new one.
    pub fn give_up_stream(&self, stream: Stream) {
        self.streaming.send_if_modified(|now| {
            let is_this = *now == Some(stream);
            if is_this {
                *now = None;
            }
            is_this
        });
        self.hurry.notify_one();
    }

    /// The stream that this process appends to, if it has one.
    pub fn stream(&self) -> Option<Stream> {
        *self.streaming.borrow()
    }

    /// Has a task go on by itself. One that panics ends the store: what it leaves behind is known to nobody.
    pub fn watch_over(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let postgres = self.clone();
        let task = self.runtime.spawn(task);
        drop(self.runtime.spawn(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                let why = "a task of the store has panicked, which is a bug: see the log".to_owned();
                postgres.set_health(Health::Poisoned(why));
                postgres.leases.cancel();
                postgres.end.cancel();
            }
        }));
    }

    /// What it says of itself in the table of relays.
    pub fn info(&self, gives_back: &BTreeSet<Duty>) -> serde_json::Value {
        let wanted = lock(&self.wanted);
        let destinations: serde_json::Map<String, serde_json::Value> =
            wanted.iter().map(|(id, (_, group))| (id.0.to_string(), group.clone().into())).collect();
        let gives_back: Vec<String> = gives_back.iter().map(Duty::to_string).collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "destinations": destinations,
            "stopping": self.is_closing.load(Ordering::Acquire),
            "gives_back": gives_back,
        })
    }

    /// Says that a worker wants some destinations, until what this gives goes.
    pub fn want(self: &Arc<Self>, destinations: &[NameId], group: Option<String>) -> Arc<Wish> {
        // What lies behind a group may be a secret, so its digest is the store's own.
        let group = group.map(|group| {
            let salted = [&self.number.to_le_bytes(), group.as_bytes()].concat();
            let digest = ring::digest::digest(&ring::digest::SHA256, &salted);
            digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        let mut wanted = lock(&self.wanted);
        for id in destinations {
            let (count, its_group) = wanted.entry(*id).or_default();
            *count += 1;
            its_group.clone_from(&group);
        }
        Arc::new(Wish { postgres: self.clone(), destinations: destinations.to_vec() })
    }

    /// A rate limit is kept elsewhere from now on: nothing more goes out by it here.
    pub fn lose_group(&self, group: &str) {
        lock(&self.groups).remove(group);
        let of_group: Vec<NameId> = {
            let wanted = lock(&self.wanted);
            let is_of = |(_, (_, its)): &(&NameId, &(usize, Option<Group>))| its.as_deref() == Some(group);
            wanted.iter().filter(is_of).map(|(id, _)| *id).collect()
        };
        let owned = reading(&self.owned);
        of_group.iter().filter_map(|id| owned.get(id)).for_each(|owned| owned.lost.cancel());
        self.hurry.notify_one();
    }

    /// Ends: what is settled is written, and others go on with the rest at once.
    pub async fn close(&self) {
        if self.is_closing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.leases.cancel();
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.outbox.written()).await;
        let me = self.me();
        for sql in [
            // In the order in which a flush locks them.
            "WITH mine AS MATERIALIZED (SELECT duty FROM lease WHERE incarnation = $1 ORDER BY duty FOR UPDATE)
             UPDATE lease l SET epoch = epoch + 1, incarnation = NULL FROM mine WHERE l.duty = mine.duty",
            "DELETE FROM relay WHERE incarnation = $1",
        ] {
            if let Err(error) = self.asker.rows(sql, &[&me]).await {
                tracing::warn!(%error, "the other relays take over in a few seconds: this one could not say that it has ended");
                break;
            }
        }
        self.end.cancel();
    }
}

/// What a worker wants.
pub struct Wish {
    postgres: Arc<Postgres>,
    destinations: Vec<NameId>,
}

impl Drop for Wish {
    /// What is wanted again within a moment, as by a worker that is started again, stays here.
    fn drop(&mut self) {
        let (postgres, destinations) = (self.postgres.clone(), std::mem::take(&mut self.destinations));
        self.postgres.runtime.spawn(async move {
            tokio::time::sleep(LINGER).await;
            let mut wanted = lock(&postgres.wanted);
            for id in &destinations {
                if let Some((count, _)) = wanted.get_mut(id) {
                    *count -= 1;
                    if *count == 0 {
                        wanted.remove(id);
                    }
                }
            }
            drop(wanted);
            postgres.hurry.notify_one();
        });
    }
}

/// A destination in the hands of a worker, until this goes.
pub struct HandedOut {
    postgres: Arc<Postgres>,
    pub owned: Arc<Owned>,
    _wish: Arc<Wish>,
}

impl HandedOut {
    /// All of some destinations; none where one of them is not to be had now.
    pub fn all(postgres: &Arc<Postgres>, destinations: &[NameId], wish: &Arc<Wish>) -> Option<Vec<Self>> {
        let wanted = lock(&postgres.wanted).clone();
        let groups = lock(&postgres.groups).clone();
        // Without its rate limit, nothing goes out.
        let is_limited = |id: &NameId| {
            wanted.get(id).and_then(|(_, group)| group.as_ref()).is_none_or(|group| groups.contains(group))
        };
        let owned: Vec<Arc<Owned>> = {
            let owned = reading(&postgres.owned);
            destinations.iter().map(|id| owned.get(id).cloned()).collect::<Option<_>>()?
        };
        if !destinations.iter().all(is_limited) || !owned.iter().all(|owned| owned.is_ready()) {
            return None;
        }
        let hand_out = |owned: Arc<Owned>| {
            let handed = owned.hand_out();
            handed.then(|| Self { postgres: postgres.clone(), owned, _wish: wish.clone() })
        };
        owned.into_iter().map(hand_out).collect()
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        self.owned.came_back();
        self.postgres.ownership.send_modify(|count| *count += 1);
    }
}
