//! The heartbeat: each second a relay counts its own up, and reads in the same snapshot who there is, who does what, and what has changed
//! since. What follows from that is [planned](super::cluster) and done here: leases are taken, given back and let go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::again::Again;
use super::beginning;
use super::cluster::{
    Claim, Duty, Held, Holding, House, Incarnation, LeaseRow, Move, Planner, RelayRow, Slot, StreamRow, Use, View,
    Wants,
};
use super::holds::{self, Holds};
use super::link::{Link, kept};
use super::names::NAMES;
use super::ownership::Owned;
use super::random::dice;
use super::running::{Postgres, Stream};
use super::spans::{SPANS, Span, span};
use super::tide::{self, LOCK_NEWEST};
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::store::NameId;
use crate::store::locks::{lock, reading, writing};

/// Between two heartbeats.
const PERIOD: Duration = Duration::from_secs(1);
/// What was said of a destination that is let go is written within this, or happens again.
const WRITE_WITHIN: Duration = Duration::from_millis(500);
/// Commands are remembered for so long: nobody says one again later.
const COMMANDS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two looks how much there is.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// What is given back waits for so long for its attempts to end: they happen again elsewhere if they are not over by then.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Beats until the store ends.
pub async fn run(postgres: Arc<Postgres>) {
    let mut heart = Heart::new(postgres.clone());
    let mut again = Again::default();
    loop {
        while postgres.stands_still.load(Ordering::Acquire) {
            tokio::time::sleep(PERIOD).await;
        }
        let wait = match heart.beat().await {
            Ok(true) => Duration::ZERO,
            Ok(false) => PERIOD,
            Err(trouble) => {
                postgres.unreachable(&trouble);
                again.wait(postgres.dice())
            }
        };
        if wait == PERIOD {
            again.reached();
        }
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = postgres.hurry.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Heart {
    postgres: Arc<Postgres>,
    /// Of the heartbeat alone: nothing slow is ever asked on it.
    link: Option<Link>,
    /// For what is done about it.
    acts: Option<Link>,
    planner: Planner,
    held: Held,
    /// What is being given back.
    draining: BTreeSet<Duty>,
    /// When it was looked last how much there is.
    measured: Duration,
    /// Destinations whose queues are to be read.
    to_read: UnboundedSender<(NameId, Arc<Owned>)>,
}

impl Heart {
    fn new(postgres: Arc<Postgres>) -> Self {
        let (to_read, waiting) = mpsc::unbounded_channel();
        postgres.watch_over(beginning::run(postgres.clone(), waiting));
        let planner = Planner::new(Incarnation(postgres.me()));
        Self {
            postgres,
            link: None,
            acts: None,
            planner,
            held: Held::new(),
            draining: BTreeSet::new(),
            measured: Duration::ZERO,
            to_read,
        }
    }

    /// One heartbeat, and what follows from it. Returns whether the next is to come at once.
    async fn beat(&mut self) -> Result<bool, Trouble> {
        let postgres = self.postgres.clone();
        self.let_go_of_lost().await?;
        let sent = postgres.began.elapsed();
        let link = kept(&mut self.link, postgres.link("heartbeat")).await?;
        let read = read(&postgres, link, &self.draining).await?;
        // Before this relay is sure of anything again: it may have stood still for long.
        let lost = self.planner.lost(&read.view, &self.held);
        if lost.iter().any(|duty| matches!(duty, Duty::Stream(_))) {
            self.start_over().await?;
            return Ok(true);
        }
        lost.iter().for_each(|duty| self.forget(duty));
        postgres.surety.heartbeat_succeeded(sent);
        postgres.wake_turned_away();
        postgres.reached();
        self.planner.saw(&read.view, postgres.began.elapsed());
        postgres.saw(&read);
        let alive = self.planner.alive();
        let owners = read.view.leases.iter().filter_map(|(duty, lease)| match (duty, lease.owner) {
            (Duty::Destination(id), Some(owner)) if alive.contains(&owner) && owner.0 != postgres.me() => Some(*id),
            _ => None,
        });
        *lock(&postgres.elsewhere) = owners.collect();
        *lock(&postgres.house) = House::of(&read.view, &alive, &self.held);
        self.measure();
        let moves = self.planner.plan(&read.view, &self.held);
        self.show_groups();
        let mut has_moved = false;
        for one in moves {
            has_moved |= self.make(one).await?;
        }
        self.show_groups();
        if !has_moved {
            // Whatever is waited for is there by now, if it comes at all.
            postgres.ownership.send_modify(|count| *count += 1);
        }
        postgres.heard_of_erasings(read.erased);
        postgres.carry_out(read.commands);
        Ok(has_moved)
    }

    /// Says which rate limits are kept here.
    fn show_groups(&self) {
        let groups = self.held.keys().filter_map(|duty| match duty {
            Duty::RateLimitGroup(group) => Some(group.clone()),
            _ => None,
        });
        *lock(&self.postgres.groups) = groups.collect();
    }

    /// Looks how much there is, now and then, and lets go of commands that nobody says again. A heartbeat waits for nobody.
    fn measure(&mut self) {
        let is_new = self.postgres.has_new_retention.swap(false, Ordering::AcqRel);
        let now = self.postgres.began.elapsed();
        if !is_new && now < self.measured + MEASURE_EVERY {
            return;
        }
        self.measured = now;
        let postgres = self.postgres.clone();
        let keeps_house = self.held.contains_key(&Duty::Housekeeping);
        self.postgres.runtime.spawn(async move {
            let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class
                WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
            if let Ok(rows) = postgres.upkeep.rows(sql, &[]).await {
                postgres.has_bytes(rows.first().map_or(0, |row| row.get::<_, i64>(0).cast_unsigned()));
            }
            if keeps_house {
                let before_ms = postgres.now_ms().saturating_sub(COMMANDS_KEPT.as_millis() as u64).cast_signed();
                // What cannot be removed now is removed another time.
                let _ = postgres.upkeep.rows("DELETE FROM command WHERE done_ms < $1", &[&before_ms]).await;
            }
        });
    }

    async fn acts(&mut self) -> Result<&Link, Trouble> {
        kept(&mut self.acts, self.postgres.link("leases")).await
    }

    /// What others in this process have found to be lost is given to whoever takes it.
    async fn let_go_of_lost(&mut self) -> Result<(), Trouble> {
        let owned = reading(&self.postgres.owned).clone();
        let lost = self.held.iter().filter_map(|(duty, holding)| match duty {
            Duty::Destination(id) if owned.get(id).is_none_or(|owned| owned.lost.is_cancelled() && !owned.rests()) => {
                Some((duty.clone(), *id, holding.epoch))
            }
            _ => None,
        });
        for (duty, id, epoch) in lost.collect::<Vec<_>>() {
            // What was said before it was lost is written, as long as the lease is still ours in the database. A heartbeat waits for nobody.
            let _ = tokio::time::timeout(WRITE_WITHIN, self.postgres.outbox.written()).await;
            self.postgres.lose(id);
            self.free(&duty, epoch).await?;
            self.held.remove(&duty);
            self.draining.remove(&duty);
        }
        Ok(())
    }

    async fn free(&mut self, duty: &Duty, epoch: i64) -> Result<(), Trouble> {
        let me = self.postgres.me();
        let text = duty.to_string();
        self.acts().await?.rows_for_sure(FREE, &[&text, &epoch, &me]).await.map(drop)
    }

    /// Makes a move. Returns whether anything is different.
    async fn make(&mut self, one: Move) -> Result<bool, Trouble> {
        match one {
            Move::StartOver => {
                self.start_over().await?;
                Ok(true)
            }
            Move::Lost { duty } => {
                self.forget(&duty);
                Ok(true)
            }
            Move::Take { claims } => {
                let mut has_taken = false;
                for claim in claims {
                    if !self.take(claim).await? {
                        break;
                    }
                    has_taken = true;
                }
                Ok(has_taken)
            }
            Move::GiveBack { duties, .. } => {
                let is_group = |duty: &Duty| matches!(duty, Duty::RateLimitGroup(_));
                let (groups, others): (Vec<_>, Vec<_>) = duties.into_iter().partition(is_group);
                for duty in &others {
                    self.give_back(duty.clone()).await?;
                }
                // As long as one of its destinations drains, its rate limit is kept here.
                if !others.iter().any(|duty| self.held.contains_key(duty)) {
                    for duty in groups {
                        self.give_back(duty).await?;
                    }
                }
                Ok(false)
            }
            Move::RemoveRelay { relay, heartbeat } => {
                let sql = "DELETE FROM relay WHERE incarnation = $1 AND heartbeat = $2";
                self.acts().await?.rows(sql, &[&relay.0, &heartbeat]).await?;
                Ok(false)
            }
        }
    }

    /// A duty is another's, or nobody's.
    fn forget(&mut self, duty: &Duty) {
        self.held.remove(duty);
        self.draining.remove(duty);
        match duty {
            Duty::Destination(id) => self.postgres.lose(*id),
            Duty::RateLimitGroup(group) => self.postgres.lose_group(group),
            Duty::Housekeeping => *lock(&self.postgres.house) = None,
            Duty::Stream(_) | Duty::Replay(_) => {}
        }
    }

    async fn start_over(&mut self) -> Result<(), Trouble> {
        let postgres = self.postgres.clone();
        for duty in std::mem::take(&mut self.held).into_keys() {
            if let Duty::Destination(id) = duty {
                postgres.lose(id);
            }
        }
        self.draining.clear();
        *lock(&postgres.house) = None;
        tracing::warn!("the others have taken this relay for dead: it begins anew");
        let me = dice().cast_signed();
        postgres.renew(me);
        let name = postgres.name.clone();
        let sql =
            "INSERT INTO relay (incarnation, name, heartbeat, info) VALUES ($1, $2, 0, '{}') ON CONFLICT DO NOTHING";
        self.acts().await?.rows(sql, &[&me, &name]).await?;
        self.planner = Planner::new(Incarnation(me));
        Ok(())
    }

    /// Takes a lease. False: somebody else was sooner.
    async fn take(&mut self, claim: Claim) -> Result<bool, Trouble> {
        let Claim { duty, epoch, from, used_for } = claim;
        if let Some(holding) = self.held.get_mut(&duty) {
            holding.used_for = used_for;
            self.is_for(&duty, used_for);
            return Ok(true);
        }
        let postgres = self.postgres.clone();
        let me = postgres.me();
        let text = duty.to_string();
        let taken = if epoch == 0 {
            self.acts().await?.rows_for_sure(TAKE_NEW, &[&text, &me]).await?
        } else {
            let (owner, heartbeat) = from.map_or((None, None), |(owner, heartbeat)| (Some(owner.0), heartbeat));
            self.acts().await?.rows_for_sure(TAKE, &[&text, &epoch, &me, &owner, &heartbeat]).await?
        };
        let Some(epoch) = taken.first().map(|row| row.get::<_, i64>(0)) else { return Ok(false) };
        match &duty {
            Duty::Destination(id) => self.begin(*id, epoch),
            Duty::Stream(slot) if !self.begin_stream(*slot, epoch).await? => return Ok(false),
            _ => {}
        }
        self.held.insert(duty.clone(), Holding { epoch, used_for, is_draining: false });
        self.is_for(&duty, used_for);
        Ok(true)
    }

    fn is_for(&self, duty: &Duty, used_for: Use) {
        if let Duty::Destination(id) = duty
            && let Some(owned) = reading(&self.postgres.owned).get(id)
        {
            owned.is_for_work(used_for == Use::Work);
        }
    }

    /// A destination is this relay's: its queue is to be read, aside from the heartbeat.
    fn begin(&mut self, id: NameId, epoch: i64) {
        let owned = Arc::new(Owned::new(epoch, self.postgres.leases.child_token()));
        // From here on, what comes is kept for it.
        writing(&self.postgres.owned).insert(id, owned.clone());
        // If the reader has gone, the store ends.
        let _ = self.to_read.send((id, owned));
    }

    /// A stream is this relay's: where it goes on is written down. Nothing is appended to it before that is known.
    async fn begin_stream(&mut self, slot: Slot, epoch: i64) -> Result<bool, Trouble> {
        let postgres = self.postgres.clone();
        let (slot, me) = (slot.cast_signed(), postgres.me());
        let duty = format!("stream/{slot}");
        let steps = [
            Step { sql: tide::FENCE, values: &[&duty, &epoch, &me] },
            // Whoever closes this one waits, and sees that the stream is in it.
            Step { sql: LOCK_NEWEST, values: &[] },
            Step {
                sql: "INSERT INTO stream AS s (slot, segment, n_from)
                    SELECT $1, max(k), (SELECT last_value FROM event_number) FROM segment WHERE state = 'open' AND k > 0
                    ON CONFLICT (slot) DO UPDATE SET segment = greatest(s.segment, excluded.segment),
                        n_from = greatest(s.n_from, excluded.n_from)
                    RETURNING segment, n_from",
                values: &[&slot],
            },
        ];
        let go_on = |answers: &[Vec<Row>]| !answers[0].is_empty() && !answers[1].is_empty();
        let done = self.acts().await?.transaction(Snapshot::Each, &steps, go_on).await?;
        let Some(row) = done.answers[2].first().filter(|_| done.is_committed) else { return Ok(false) };
        let (segment, above) = (row.get(0), row.get(1));
        postgres.streaming.send_replace(Some(Stream { slot, epoch, me, segment, above }));
        Ok(true)
    }

    /// Gives a lease back, once nothing of it is in flight.
    async fn give_back(&mut self, duty: Duty) -> Result<(), Trouble> {
        let Some(holding) = self.held.get_mut(&duty) else {
            return Ok(());
        };
        let epoch = holding.epoch;
        holding.is_draining = true;
        let owned = match duty {
            Duty::Destination(id) => reading(&self.postgres.owned).get(&id).cloned().map(|owned| (id, owned)),
            _ => None,
        };
        if let Some((id, owned)) = owned {
            owned.drain();
            if self.draining.insert(duty.clone()) {
                let postgres = self.postgres.clone();
                self.postgres.runtime.spawn(async move {
                    let _ = tokio::time::timeout(DRAIN_WITHIN, postgres.drained(id)).await;
                    let _ = postgres.outbox.written().await;
                    // The next heartbeat frees what is lost.
                    owned.lost.cancel();
                    postgres.hurry.notify_one();
                });
            }
            return Ok(());
        }
        self.free(&duty, epoch).await?;
        self.held.remove(&duty);
        self.draining.remove(&duty);
        Ok(())
    }
}

const FREE: &str =
    "UPDATE lease SET epoch = epoch + 1, incarnation = NULL WHERE duty = $1 AND epoch = $2 AND incarnation = $3";
const TAKE_NEW: &str =
    "INSERT INTO lease (duty, epoch, incarnation) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING RETURNING epoch";
/// Only from the relay that was seen dead, and while its heartbeat stands still.
const TAKE: &str = "UPDATE lease SET epoch = epoch + 1, incarnation = $3
    WHERE duty = $1 AND epoch = $2 AND incarnation IS NOT DISTINCT FROM $4
        AND NOT EXISTS (SELECT 1 FROM relay WHERE incarnation = $4 AND heartbeat IS DISTINCT FROM $5)
    RETURNING epoch";

/// What one heartbeat has read.
pub struct HeartbeatRead {
    pub view: View,
    pub names: Vec<Row>,
    pub sources: Holds,
    pub spans: Vec<Span>,
    pub commands: Vec<Row>,
    /// How often something was erased.
    pub erased: i64,
}

async fn read(postgres: &Postgres, link: &Link, draining: &BTreeSet<Duty>) -> Result<HeartbeatRead, Trouble> {
    let me = postgres.me();
    let info = postgres.info(draining).to_string();
    let changed = reading(&postgres.names).changed;
    let beat: [&(dyn ToSql + Sync); 2] = [&me, &info];
    let since: [&(dyn ToSql + Sync); 1] = [&changed];
    let owned: Vec<i32> = reading(&postgres.owned).keys().map(|id| id.0.cast_signed()).collect();
    let mine: [&(dyn ToSql + Sync); 1] = [&owned];
    let steps = [
        Step { sql: "SET LOCAL synchronous_commit = off", values: &[] },
        Step {
            sql: "UPDATE relay SET heartbeat = heartbeat + 1, info = $2::text::jsonb WHERE incarnation = $1",
            values: &beat,
        },
        Step { sql: "SELECT incarnation, name, heartbeat, info::text FROM relay", values: &[] },
        Step { sql: "SELECT duty, epoch, incarnation FROM lease", values: &[] },
        Step { sql: "SELECT slot, segment, n_from FROM stream", values: &[] },
        Step { sql: NAMES, values: &since },
        Step { sql: holds::SOURCES, values: &[] },
        Step { sql: SPANS, values: &[] },
        Step {
            // What many events are named in is read by who does it alone.
            sql: "SELECT id, of, next, asked, asked_ms, what FROM command WHERE done_ms IS NULL AND coalesce(next, of) = ANY ($1)
                ORDER BY asked_ms",
            values: &mine,
        },
        Step { sql: "SELECT erased FROM meta", values: &[] },
    ];
    let answers = link.transaction(Snapshot::One, &steps, |_| true).await?.answers;
    let [_, _, relays, leases, streams, names, sources, spans, commands, erased] =
        <[Vec<Row>; 10]>::try_from(answers).map_err(|_| Trouble::Broken("answers are missing".to_owned()))?;
    let mut view = View::default();
    for row in relays {
        let (incarnation, text): (i64, String) = (row.get(0), row.get(3));
        let mut relay = relay_row(&text);
        (relay.name, relay.heartbeat) = (row.get(1), row.get(2));
        view.relays.insert(Incarnation(incarnation), relay);
    }
    for row in leases {
        let owner = row.get::<_, Option<i64>>(2).map(Incarnation);
        view.add_lease(row.get(0), LeaseRow { epoch: row.get(1), owner });
    }
    for row in streams {
        let slot: i16 = row.get(0);
        view.streams.insert(slot.cast_unsigned(), StreamRow { segment: row.get(1), n_from: row.get(2) });
    }
    Ok(HeartbeatRead {
        view,
        names,
        sources: holds::read(&sources),
        spans: spans.iter().map(span).collect(),
        commands,
        erased: erased.first().map_or(0, |row| row.get(0)),
    })
}

/// What a relay says of itself. What this program does not understand of a later one is left out.
fn relay_row(text: &str) -> RelayRow {
    let info: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let destinations = info["destinations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(id, group)| Some((NameId(id.parse().ok()?), group.as_str().map(str::to_owned))));
    let replays = info["replays"].as_array().into_iter().flatten();
    let replays = replays.filter_map(|id| Some(uuid::Uuid::try_parse(id.as_str()?).ok()?.as_u128()));
    let back = info["gives_back"].as_array().into_iter().flatten();
    RelayRow {
        wants: Wants { destinations: destinations.collect::<BTreeMap<_, _>>(), replays: replays.collect() },
        is_stopping: info["stopping"].as_bool().unwrap_or(false),
        gives_back: back.filter_map(|duty| duty.as_str()?.parse().ok()).collect(),
        config: text("config"),
        version: text("version"),
        ..RelayRow::default()
    }
}

impl Postgres {
    /// What a heartbeat has read is known from here on.
    pub fn saw(self: &Arc<Self>, read: &HeartbeatRead) {
        self.saw_names(&read.names);
        self.saw_sources(read.sources.clone());
        self.saw_spans(read.spans.clone());
    }

    /// These are the segments, unless one is known already that whoever read them had not seen.
    pub fn saw_spans(&self, spans: Vec<Span>) {
        let newest = |spans: &[Span]| spans.last().map(|span| span.segment);
        if *reading(&self.spans) == spans {
            return;
        }
        let mut known = writing(&self.spans);
        if newest(&spans) >= newest(&known) {
            *known = spans;
        }
    }

    /// The right to a destination is lost, and what is in memory of it is nobody's.
    pub fn lose(&self, id: NameId) {
        let owned = writing(&self.owned).remove(&id);
        if let Some(owned) = owned {
            // Under the lock of its queue, so that whoever settles something has told it, or will not.
            let destination = self.destination(id);
            let _queue = lock(&destination.queue);
            owned.lost.cancel();
        }
        self.outbox.forget(id);
        writing(&self.destinations).remove(&id);
        self.hurry.notify_one();
    }

    /// The same, unless it was taken once more since.
    pub fn lose_owned(&self, id: NameId, owned: Option<&Arc<Owned>>) {
        let is_same = reading(&self.owned).get(&id).zip(owned).is_none_or(|(now, then)| Arc::ptr_eq(now, then));
        if is_same {
            self.lose(id);
        }
    }

    /// Resolves when nothing of a destination is in flight.
    async fn drained(&self, id: NameId) {
        while lock(&self.destination(id).queue).in_flight() > 0 && self.owns(id) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
