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
    Claim, Duty, Held, Holding, Incarnation, LeaseRow, Move, Planner, RelayRow, Slot, StreamRow, Use, View, Wants,
};
use super::holds::{self, Holds};
use super::link::Link;
use super::names::{FORMER_NAMES, NAMES};
use super::ownership::Owned;
use super::random::dice;
use super::running::Postgres;
use super::spans::{SPANS, Span, span};
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::store::NameId;
use crate::store::locks::{lock, reading, writing};

/// Between two heartbeats.
const PERIOD: Duration = Duration::from_secs(1);
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
        postgres.runtime.spawn(beginning::run(postgres.clone(), waiting));
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
        if !self.link.as_ref().is_some_and(Link::is_open) {
            self.link = Some(postgres.link("heartbeat").await?);
        }
        let link = self.link.as_ref().expect("it was made");
        let read = read(&postgres, link, &self.draining).await?;
        // Before this relay is sure of anything again: it may have stood still for long.
        for duty in self.planner.lost(&read.view, &self.held) {
            self.forget(&duty);
        }
        postgres.surety.heartbeat_succeeded(sent);
        postgres.reached();
        self.planner.saw(&read.view, postgres.began.elapsed());
        postgres.saw(&read);
        let alive = self.planner.alive();
        let owners = read.view.leases.iter().filter_map(|(duty, lease)| match (duty, lease.owner) {
            (Duty::Destination(id), Some(owner)) if alive.contains(&owner) && owner.0 != postgres.me() => Some(*id),
            _ => None,
        });
        *lock(&postgres.elsewhere) = owners.collect();
        self.measure().await?;
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

    /// Looks how much there is, now and then.
    async fn measure(&mut self) -> Result<(), Trouble> {
        let is_new = self.postgres.has_new_retention.swap(false, Ordering::AcqRel);
        let now = self.postgres.began.elapsed();
        if !is_new && now < self.measured + MEASURE_EVERY {
            return Ok(());
        }
        self.measured = now;
        let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
        let rows = self.acts().await?.rows(sql, &[]).await?;
        let bytes = rows.first().map_or(0, |row| row.get::<_, i64>(0).cast_unsigned());
        self.postgres.has_bytes(bytes);
        Ok(())
    }

    async fn acts(&mut self) -> Result<&Link, Trouble> {
        if !self.acts.as_ref().is_some_and(Link::is_open) {
            self.acts = Some(self.postgres.link("leases").await?);
        }
        Ok(self.acts.as_ref().expect("it was made"))
    }

    /// What others in this process have found to be lost is given to whoever takes it.
    async fn let_go_of_lost(&mut self) -> Result<(), Trouble> {
        let owned = reading(&self.postgres.owned).clone();
        let lost = self.held.iter().filter_map(|(duty, holding)| match duty {
            Duty::Destination(id) if owned.get(id).is_none_or(|owned| owned.lost.is_cancelled()) => {
                Some((duty.clone(), *id, holding.epoch))
            }
            _ => None,
        });
        for (duty, id, epoch) in lost.collect::<Vec<_>>() {
            // What was said before it was lost is written, as long as the lease is still ours in the database.
            let _ = self.postgres.outbox.written().await;
            self.postgres.lose(id);
            self.free(&duty, epoch).await?;
            self.held.remove(&duty);
        }
        Ok(())
    }

    async fn free(&mut self, duty: &Duty, epoch: i64) -> Result<(), Trouble> {
        let me = self.postgres.me();
        let text = duty.to_string();
        self.acts().await?.rows(FREE, &[&text, &epoch, &me]).await.map(drop)
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
                for claim in claims {
                    if !self.take(claim).await? {
                        break;
                    }
                }
                Ok(true)
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
            Duty::Housekeeping | Duty::Stream(_) | Duty::Replay(_) => {}
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
            self.acts().await?.rows(TAKE_NEW, &[&text, &me]).await?
        } else {
            let (owner, heartbeat) = from.map_or((None, None), |(owner, heartbeat)| (Some(owner.0), heartbeat));
            self.acts().await?.rows(TAKE, &[&text, &epoch, &me, &owner, &heartbeat]).await?
        };
        let Some(epoch) = taken.first().map(|row| row.get::<_, i64>(0)) else { return Ok(false) };
        match &duty {
            Duty::Destination(id) => self.begin(*id, epoch),
            Duty::Stream(slot) => self.begin_stream(*slot, epoch).await?,
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

    async fn begin_stream(&mut self, slot: Slot, epoch: i64) -> Result<(), Trouble> {
        let postgres = self.postgres.clone();
        let segment = postgres.segments().last().copied().unwrap_or(1);
        let slot = slot.cast_signed();
        let sql = "INSERT INTO stream (slot, segment, n_from) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING";
        self.acts().await?.rows(sql, &[&slot, &segment]).await?;
        postgres.stream_epoch.store(epoch, Ordering::Release);
        postgres.slot.store(slot.into(), Ordering::Release);
        postgres.streaming.send_replace(true);
        Ok(())
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
            if owned.is_out() && self.draining.insert(duty.clone()) {
                let postgres = self.postgres.clone();
                self.postgres.runtime.spawn(async move {
                    let _ = tokio::time::timeout(DRAIN_WITHIN, postgres.drained(id)).await;
                    let _ = postgres.outbox.written().await;
                    // The next heartbeat frees what is lost.
                    owned.lost.cancel();
                    postgres.hurry.notify_one();
                });
                return Ok(());
            }
            if owned.is_out() {
                return Ok(());
            }
            let _ = self.postgres.outbox.written().await;
            self.postgres.lose(id);
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
    pub former: Vec<Row>,
    pub sources: Holds,
    /// How often this process had acted on a source before that was read.
    pub sources_as_of: u64,
    pub spans: Vec<Span>,
    pub commands: Vec<Row>,
    /// How often something was erased.
    pub erased: i64,
}

async fn read(postgres: &Postgres, link: &Link, draining: &BTreeSet<Duty>) -> Result<HeartbeatRead, Trouble> {
    let me = postgres.me();
    let sources_as_of = lock(&postgres.holds).acted;
    let info = postgres.info(draining).to_string();
    let changed = reading(&postgres.names).changed;
    let beat: [&(dyn ToSql + Sync); 2] = [&me, &info];
    let since: [&(dyn ToSql + Sync); 1] = [&changed];
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
        Step { sql: FORMER_NAMES, values: &[] },
        Step { sql: holds::SOURCES, values: &[] },
        Step { sql: SPANS, values: &[] },
        Step {
            sql: "SELECT id, of, kind, other, asked, what::text FROM command WHERE done_ms IS NULL ORDER BY asked_ms",
            values: &[],
        },
        Step { sql: "SELECT erased FROM meta", values: &[] },
    ];
    let answers = link.transaction(Snapshot::One, &steps, |_| true).await?.answers;
    let [_, _, relays, leases, streams, names, former, sources, spans, commands, erased] =
        <[Vec<Row>; 11]>::try_from(answers).map_err(|_| Trouble::Broken("answers are missing".to_owned()))?;
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
        former,
        sources: holds::read(&sources),
        sources_as_of,
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
    pub fn saw(&self, read: &HeartbeatRead) {
        self.saw_names(&read.names, &read.former);
        self.saw_sources(read.sources.clone(), Some(read.sources_as_of));
        if *reading(&self.spans) != read.spans {
            writing(&self.spans).clone_from(&read.spans);
        }
    }

    /// Sources stand like this: what was held and is not any more goes to the queues. `as_of`: how often this process had acted on a source when
    /// that was read; what it has done since is newer.
    pub fn saw_sources(&self, mut now: Holds, as_of: Option<u64>) {
        let mut holds = lock(&self.holds);
        if as_of.is_some_and(|as_of| as_of != holds.acted) {
            return;
        }
        now.acted = holds.acted + u64::from(as_of.is_none());
        let before = std::mem::replace(&mut *holds, now.clone());
        if before.rows == now.rows {
            return;
        }
        self.sources.send_modify(|shown| {
            let states = now.rows.iter().map(|(id, row)| (*id, row.state()));
            *shown = Arc::new(states.filter(|(_, state)| *state != Default::default()).collect());
        });
        for (source, row) in &before.rows {
            let is_let_go = row.held_since_ms.is_some() && !now.rows.get(source).is_some_and(|now| now.holds(row.hold));
            if is_let_go {
                let at_ms = now.let_go_ms(*source, row.hold).unwrap_or_else(|| self.now_ms());
                self.let_go_of_source(*source, at_ms);
            }
        }
    }

    fn let_go_of_source(&self, source: NameId, at_ms: u64) {
        for id in self.destination_ids() {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            if queue.held(source).is_some() {
                // It comes all at once: a few deliveries at first.
                destination.ramp_up();
                queue.let_go(source, at_ms);
                destination.wake(&queue);
            }
        }
    }

    /// The right to a destination is lost, and what is in memory of it is nobody's.
    pub fn lose(&self, id: NameId) {
        if let Some(owned) = writing(&self.owned).remove(&id) {
            owned.lost.cancel();
        }
        self.outbox.forget(id);
        writing(&self.destinations).remove(&id);
        self.hurry.notify_one();
    }

    /// Resolves when nothing of a destination is in flight.
    async fn drained(&self, id: NameId) {
        while lock(&self.destination(id).queue).in_flight() > 0 && self.owns(id) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
