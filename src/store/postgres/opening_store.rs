//! Opening: the schema is there or is made, this relay has a row, and its tasks run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::cluster::Surety;
use super::link::Link;
use super::names::Names;
use super::outbox::Outbox;
use super::random::dice;
use super::reader::Reader;
use super::running::{Elsewhere, Postgres};
use super::schema::Schema;
use super::spans::{SPANS, Span, span};
use super::trouble::Trouble;
use super::{append, expiring, floors, flush, follow, heart, house, numbers, shown};
use crate::store::queues::Memory;
use crate::store::{Health, Retention};
use crate::time::{Clock, Instant};

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How this relay is called. Unique among those that live.
    pub name: String,
    /// A clock of one's own; without, that of the database.
    pub clock: Option<Clock>,
    /// Senders wait for so long while the database is away.
    pub patience: Duration,
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        let patience = Duration::from_secs(5);
        Self { name: "relay".to_owned(), clock: None, patience, retention: Retention::default() }
    }
}

/// Opens it on a runtime that goes on for as long as the store does.
pub async fn open(address: Address, options: Options) -> Result<Arc<Postgres>, Trouble> {
    Schema::OURS.make(&address).await?;
    let link = Link::open(&address, "opening").await?;
    numbers::raise(&link).await?;
    let meta = link.rows("SELECT cluster, (extract(epoch FROM clock_timestamp()) * 1000)::int8 FROM meta", &[]).await?;
    let meta = meta.first().ok_or_else(|| Trouble::Broken("the table `meta` is empty".to_owned()))?;
    let (cluster, now_ms): (i64, i64) = (meta.get(0), meta.get(1));
    let clock = options.clock.unwrap_or_else(|| Clock::elsewhere(now_ms.cast_unsigned()));
    let (inbox, waiting) = mpsc::unbounded_channel();
    let memory = Memory::new(cluster.cast_unsigned(), clock, HashMap::new());
    let postgres = Arc::new(Postgres {
        memory,
        name: options.name,
        runtime: tokio::runtime::Handle::current(),
        names: RwLock::new(Names::default()),
        recent: Mutex::default(),
        health: watch::Sender::new(Health::Good),
        retention: Mutex::new(options.retention),
        inbox,
        outbox: Outbox::default(),
        owned: RwLock::default(),
        ownership: watch::Sender::new(0),
        elsewhere: Mutex::new(Elsewhere::new()),
        wanted: Mutex::default(),
        groups: Mutex::default(),
        incarnation: AtomicI64::new(dice().cast_signed()),
        streaming: watch::Sender::new(None),
        surety: Surety::default(),
        has_turned_away: AtomicBool::new(false),
        began: Instant::now(),
        following: Default::default(),
        holds: Mutex::default(),
        carried_out: Mutex::default(),
        commanding: tokio::sync::Mutex::default(),
        spans: RwLock::default(),
        reader: Reader::new(address.clone(), "read"),
        looker: Reader::new(address.clone(), "look"),
        asker: Reader::new(address.clone(), "ask"),
        upkeep: Reader::new(address.clone(), "upkeep"),
        address,
        patience: options.patience,
        hurry: Notify::new(),
        dead_expired: AtomicU64::new(0),
        house: Mutex::default(),
        tidy: Notify::new(),
        tidy_floors: Notify::new(),
        is_closing: AtomicBool::new(false),
        away_since: Mutex::default(),
        unwritten: Mutex::default(),
        erasings: Mutex::default(),
        refused_since: Mutex::default(),
        stands_still: AtomicBool::new(false),
        has_new_retention: AtomicBool::new(true),
        last_usage: Mutex::default(),
        end: CancellationToken::new(),
    });
    begin(&postgres, &link).await?;
    let mut beaten = postgres.ownership.subscribe();
    postgres.watch_over(heart::run(postgres.clone()));
    postgres.watch_over(append::run(postgres.clone(), waiting));
    postgres.watch_over(follow::run(postgres.clone()));
    postgres.watch_over(flush::run(postgres.clone()));
    postgres.watch_over(floors::run(postgres.clone()));
    postgres.watch_over(expiring::run(postgres.clone()));
    postgres.watch_over(house::run(postgres.clone()));
    postgres.watch_over(shown::run(postgres.clone()));
    // From the first heartbeat on, names and sources are known.
    let _ = tokio::time::timeout(postgres.patience, beaten.changed()).await;
    // And what this relay has at once is read, unless that takes long.
    let is_read = |_: &u64| crate::store::locks::reading(&postgres.owned).values().all(|owned| owned.is_loaded());
    let _ = tokio::time::timeout(postgres.patience, beaten.wait_for(is_read)).await;
    Ok(postgres)
}

/// This relay has a row, and knows how far all streams have come.
async fn begin(postgres: &Postgres, link: &Link) -> Result<(), Trouble> {
    let me = postgres.me();
    let sql = "INSERT INTO relay (incarnation, name, heartbeat, info) VALUES ($1, $2, 0, '{}')";
    link.rows(sql, &[&me, &postgres.name]).await?;
    let spans = link.rows(SPANS, &[]).await?;
    let spans: Vec<Span> = spans.iter().map(span).collect();
    // Before the streams are read: what is not among them has only greater numbers.
    let base = link.rows("SELECT last_value FROM event_number", &[]).await?;
    let base: i64 = base.first().map_or(0, |row| row.get(0));
    let parts: Vec<String> = spans
        .iter()
        .map(|Span { segment: k, .. }| {
            format!("SELECT s.slot, (SELECT max(n) FROM event_{k} e WHERE e.slot = s.slot) AS n FROM stream s")
        })
        .collect();
    let sql = format!("SELECT slot, coalesce(max(n), 0) FROM ({}) ends GROUP BY slot", parts.join(" UNION ALL "));
    let ends = link.rows(&sql, &[]).await?;
    postgres.following.begin(base, ends.iter().map(|row| (row.get(0), row.get(1))));
    *crate::store::locks::writing(&postgres.spans) = spans;
    Ok(())
}
