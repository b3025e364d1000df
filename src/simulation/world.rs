//! One run in the model world.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::terms::{DESTINATIONS, IN_ORDER, PEOPLE, TOGETHER, TURN_OF_LONG_WAITS, policies, sortings, start_ms};
use super::witness::{Kind, Mode, Model, Witness};
use crate::deliver::sorting::Sorting;
use crate::deliver::{
    BacklogLimits, Bodies, DestinationConfig, Policy, RateLimit, Section, Sorter, Worker, WorkerParts,
};
use crate::event::{EventId, FieldPath};
use crate::store::journal::by_hand::Selection;
use crate::store::journal::model::{Faults, ModelDisk};
use crate::store::journal::{Blocking, JournalStore, Options, Redactor, Untold, Walk, Writer};
use crate::store::queues::BulkAct;
use crate::store::{
    AppendError, Depth, Intake, Meant, NameId, NameKind, NewEvent, PlannedDelivery, Redaction, Retention, StoredEvent,
    Whom,
};
use crate::telemetry::Metrics;
use crate::time::{Clock, Instant, MINUTE_MS};

/// What the world lets happen after all is mended, until nothing may wait any more: many times the longest wait between attempts.
const DRAINED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Small, so that a run fills several.
const SEGMENT_BYTES: u64 = 4 << 10;
/// Values are kept for so long, and are looked at in one of so many steps.
const REDACT_AFTER: Duration = Duration::from_secs(2);
const REDACTS_ONE_IN: u64 = 4;
/// The writer's turns are no further apart than this, but while the world waits for long.
const TURN: Duration = Duration::from_millis(20);

/// Who an event is about that was sent with a number below one.
fn whom(person: u64, below: u64) -> Whom {
    let number = |bytes: &[u8]| -> Option<u64> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (_, rest) = text.split_once(r#""n":"#)?;
        rest.split_once(',')?.0.parse().ok()
    };
    let meant = move |event: &StoredEvent| {
        let is_meant = number(&event.body).is_some_and(|number| number < below && number % PEOPLE == person);
        if is_meant { Meant::Yes } else { Meant::No }
    };
    // What a torn write has left of one, anywhere in what nobody can read.
    let found = move |bytes: &[u8]| {
        let begins = bytes.windows(4).enumerate().filter(|(_, window)| *window == br#""n":"#);
        let is_meant = |at: &usize| {
            let digits = bytes[at + 4..].iter().take_while(|byte| byte.is_ascii_digit());
            let number =
                digits.fold(0_u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            number % PEOPLE == person
        };
        begins.map(|(at, _)| at).filter(is_meant).map(|at| at..at + 4).collect()
    };
    Whom { meant: Arc::new(meant), found: Arc::new(found) }
}

/// What a process is made of.
struct Process {
    store: Arc<JournalStore>,
    /// None, once it has failed.
    writer: Option<Writer>,
    ids: Vec<NameId>,
    /// Of each worker, as nobody reloads them.
    sections: Vec<watch::Sender<Arc<Section>>>,
    bodies: Arc<Bodies>,
    stop: CancellationToken,
    /// Of each destination, the end of the right to deliver to it.
    leases: Vec<CancellationToken>,
    workers: JoinSet<()>,
    redactor: Redactor,
}

impl Process {
    /// The writer works. False once it has failed: a failed sync is never tried again, and the process ends.
    fn let_write(writer: &mut Option<Writer>) -> bool {
        let has_failed = writer.as_mut().is_none_or(|writer| writer.turn().is_err());
        if has_failed {
            // Who waits for it sees its other end go.
            *writer = None;
        }
        !has_failed
    }

    /// Leases a destination, and lets a worker deliver to it until the lease is lost.
    fn deliver_to(&mut self, at: usize, clock: Clock) {
        let lease = self.store.leased(self.ids[at]);
        let stop = self.stop.child_token();
        let parts = WorkerParts {
            queue: lease.queues[0].clone(),
            store: self.store.clone(),
            section: self.sections[at].subscribe(),
            bodies: self.bodies.clone(),
            clock,
            status: Arc::default(),
            stop: stop.clone(),
        };
        self.leases[at] = lease.lost.clone();
        self.workers.spawn(Sorter::new(parts.clone(), self.ids[at]).run());
        let worker = Worker::new(parts);
        self.workers.spawn(async move {
            let mut working = std::pin::pin!(worker.run());
            tokio::select! {
                // In this order, so that a run can be repeated.
                biased;
                () = lease.lost.cancelled() => stop.cancel(),
                () = &mut working => return,
            }
            working.await;
        });
    }
}

type Answer = oneshot::Receiver<Result<EventId, AppendError>>;

pub(super) struct World {
    dice: Dice,
    /// When values are taken away: of their own, so that the rest of a seed's story does not depend on it.
    redacting: Dice,
    disk: ModelDisk,
    /// Syncs of every disk say that they worked and do nothing.
    lies: bool,
    clock: Clock,
    wall_ahead: &'static AtomicI64,
    process: Option<Process>,
    witness: Arc<Witness>,
    sortings: [Option<Arc<Sorting>>; DESTINATIONS],
    untold: Untold,
    /// What was sent and is not answered yet: its number and its answer.
    sent: Vec<(u64, Answer)>,
    /// What was answered well: the event's number in the store, and the sender's.
    acknowledged: BTreeMap<u64, u64>,
    next: u64,
    redacted: usize,
    story: String,
    began: Instant,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) acknowledged: usize,
    pub(super) twice: usize,
    pub(super) dead: usize,
    /// Events that were erased.
    pub(super) forgotten: usize,
    /// Events of which values were taken away, at once.
    pub(super) redacted: usize,
    pub(super) crashes: usize,
    /// Digests that were attempted, and the events in them.
    pub(super) digests: usize,
    pub(super) gathered: usize,
    /// Attempts at what is urgent in quiet hours.
    pub(super) by_night: usize,
    /// Attempts in order that were made while others of their key waited.
    pub(super) in_order: usize,
    /// Attempts that took several at once, and events that were refused with others.
    pub(super) together: usize,
    pub(super) apart: usize,
}

impl World {
    pub(super) fn new(seed: u64, lies: bool, untold: Untold) -> Self {
        let mut dice = Dice(seed);
        // As long as the test, as a clock is copied everywhere.
        let wall_ahead: &'static AtomicI64 = Box::leak(Box::default());
        let clock = Clock::at(start_ms(&mut dice), wall_ahead);
        let world = Self {
            dice,
            redacting: Dice(!seed),
            wall_ahead,
            disk: ModelDisk::default(),
            lies,
            clock,
            process: None,
            witness: Arc::new(Witness::new(seed, policies(), sortings(), clock)),
            sortings: sortings(),
            untold,
            sent: Vec::new(),
            acknowledged: BTreeMap::new(),
            next: 0,
            redacted: 0,
            story: String::new(),
            began: Instant::now(),
        };
        world.disk.set_faults(world.faults());
        world
    }

    fn faults(&self) -> Faults {
        Faults { sync_lies: self.lies, ..Faults::default() }
    }

    pub(super) async fn run(mut self) -> Result<Told, String> {
        let lived = self.live().await;
        let told = lived.and_then(|()| self.judge());
        told.map_err(|error| format!("{error}\n{}", self.story))
    }

    async fn live(&mut self) -> Result<(), String> {
        self.start()?;
        for _ in 0..10 + self.dice.below(50) {
            self.step().await?;
            if self.redacting.one_in(REDACTS_ONE_IN) {
                self.redact().await?;
            }
            self.witness.verdict()?;
        }
        self.mend().await
    }

    fn tell(&mut self, what: impl std::fmt::Display) {
        let _ = writeln!(self.story, "{:>9.3} s  {what}", self.began.elapsed().as_secs_f64());
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process runs between two steps")
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.dice.below(34) {
            0..=6 => self.send(),
            7..=10 => return self.wait_up_to(200).await,
            11 | 12 => return self.wait_up_to(5_000).await,
            13 => return self.wait_up_to(120_000).await,
            14..=17 => self.change_a_destination(),
            18 => self.pause_or_resume(),
            19 => self.retry_now(),
            20 => self.replay(),
            21 => self.fill_or_empty_the_disk(),
            22 => return self.restart().await,
            23 => return self.crash("killed", true).await,
            24 | 25 => self.lose_a_lease(),
            26 => self.set_the_wall(),
            27 | 28 => self.flood(),
            29 => self.reload(),
            30 => self.give_up(),
            31 | 32 => return self.forget().await,
            _ if self.dice.one_in(3) => {
                self.tell("the next sync fails");
                self.disk.set_faults(Faults { sync_fails: true, ..self.faults() });
            }
            _ => return self.crash("the power goes", false).await,
        }
        Ok(())
    }

    fn send(&mut self) {
        for _ in 0..1 + self.dice.below(6) {
            // At least one destination.
            let planned = 1 + self.dice.below((1 << DESTINATIONS) - 1);
            let kind = if self.dice.one_in(8) { Kind::Urgent } else { Kind::Group(self.dice.below(3)) };
            self.send_one(planned, kind);
        }
    }

    fn send_one(&mut self, planned: u64, kind: Kind) {
        let number = self.next;
        self.next += 1;
        let body = self.witness.body(number, planned, kind, self.dice.below(300) as usize);
        let now_ms = self.clock.now_ms();
        let process = self.process();
        let deliveries = (0..DESTINATIONS).filter(|at| planned & (1 << at) != 0);
        let deliveries = deliveries.map(|at| PlannedDelivery { destination: process.ids[at], rule: NameId(0) });
        let event = NewEvent {
            received_ms: now_ms,
            source: NameId(0),
            generation: 1,
            rules: Vec::new(),
            deliveries: deliveries.collect(),
            body,
        };
        let answer = process.store.append(event);
        self.sent.push((number, answer));
        self.tell(format_args!("sent {number}, {kind:?}, to {planned:07b}"));
    }

    /// Many of one group, as when a newsletter goes out.
    fn flood(&mut self) {
        let kind = Kind::Group(self.dice.below(3));
        for _ in 0..10 + self.dice.below(30) {
            self.send_one(0b111_1000, kind);
        }
    }

    /// Somebody sets the clock on the wall, into quiet hours or out of them.
    fn set_the_wall(&mut self) {
        let minutes = self.dice.below(20) as i64 - 10;
        let ahead = self.wall_ahead.fetch_add(minutes * MINUTE_MS as i64, Ordering::Relaxed);
        self.witness.wall_is_set();
        self.tell(format_args!("the wall clock is set by {minutes} minutes, {} s ahead before", ahead / 1000));
    }

    async fn wait_up_to(&mut self, ms: u64) -> Result<(), String> {
        let wait = Duration::from_millis(self.dice.below(ms));
        self.tell(format_args!("{wait:?} pass"));
        self.pass(wait).await
    }

    /// Lets time pass, and the writer work.
    async fn pass(&mut self, wait: Duration) -> Result<(), String> {
        let end = Instant::now() + wait;
        let turn = if wait > Duration::from_secs(5) { TURN_OF_LONG_WAITS } else { TURN };
        loop {
            if !Process::let_write(&mut self.process().writer) {
                return self.crash("a sync failed", false).await;
            }
            self.hear_answers()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(turn)).await;
        }
    }

    fn hear_answers(&mut self) -> Result<(), String> {
        let mut waiting = Vec::new();
        for (number, mut answer) in std::mem::take(&mut self.sent) {
            match answer.try_recv() {
                Ok(Ok(id)) => {
                    if let Some(other) = self.acknowledged.insert(id.sequence(), number) {
                        return Err(format!("{number} and {other} were both given the number {}", id.sequence()));
                    }
                    self.witness.acknowledge(id.sequence(), number);
                }
                Err(oneshot::error::TryRecvError::Empty) => waiting.push((number, answer)),
                // Refused: nobody was told that it is there.
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        self.sent = waiting;
        Ok(())
    }

    fn change_a_destination(&mut self) {
        let at = self.dice.below(DESTINATIONS as u64) as usize;
        let mode = Mode::any(&mut self.dice);
        self.tell(format_args!("destination {at} is {mode:?}"));
        self.witness.set_mode(at, mode);
    }

    fn pause_or_resume(&mut self) {
        let at = self.dice.below(DESTINATIONS as u64) as usize;
        let process = self.process();
        let id = process.ids[at];
        if process.store.state(id).paused.is_none() {
            process.store.pause(id, "paused by the operator");
            self.tell(format_args!("paused {at}"));
            return;
        }
        process.store.resume(id);
        self.witness.asked_for(at);
        self.tell(format_args!("resumed {at}"));
    }

    fn retry_now(&mut self) {
        let at = self.dice.below(DESTINATIONS as u64) as usize;
        let process = self.process();
        let id = process.ids[at];
        process.store.retry_now(id);
        self.witness.asked_for(at);
        self.tell(format_args!("retry now {at}"));
    }

    /// The right to deliver to a destination goes to somebody else, who begins at once. What is in flight goes on and its outcome
    /// changes nothing.
    fn lose_a_lease(&mut self) {
        let at = self.dice.below(DESTINATIONS as u64) as usize;
        self.tell(format_args!("the lease of {at} is lost"));
        self.witness.lose_lease(at);
        let clock = self.clock;
        let process = self.process();
        process.leases[at].cancel();
        process.store.take_back(process.ids[at]);
        process.deliver_to(at, clock);
    }

    /// Some of what has arrived, or was given up, goes out again.
    fn replay(&mut self) {
        let at = self.dice.below(DESTINATIONS as u64) as usize;
        let id = self.process().ids[at];
        let (waiting, dead) = (self.process().store.waiting(id), self.process().store.dead(id));
        let in_flight = self.witness.in_flight(at);
        let mut settled = self.witness.arrived(at);
        settled.extend(dead.iter_from(0).filter(|sequence| !settled.contains(sequence)).collect::<Vec<_>>());
        settled.sort_unstable();
        settled.retain(|sequence| !waiting.contains(*sequence) && !in_flight.contains(sequence));
        let sequences: Vec<u64> = settled.into_iter().filter(|_| self.dice.one_in(3)).collect();
        self.tell(format_args!("replay of {sequences:?} at {at}"));
        self.witness.replayed(at, &sequences);
        let process = self.process();
        let act = BulkAct::Redeliver;
        let reason = String::new();
        let sequences = sequences.into_iter().collect();
        drop(process.store.select(Selection { destination: process.ids[at], act, reason, sequences }));
    }

    /// The config is read again: it says the same of what goes in order in another form, and takes batches away or gives them.
    fn reload(&mut self) {
        let batches = self.dice.one_in(2);
        self.tell(format_args!("reloaded, with batches: {batches}"));
        let said = format!("anew, at {}", self.next);
        let witness = self.witness.clone();
        let process = self.process();
        let mut model = Model::new(TOGETHER, witness, process.store.clone(), process.ids[TOGETHER]);
        model.batches = batches;
        let model = Arc::new(model);
        reload(&process.sections[IN_ORDER], |config| DestinationConfig { said, ..config });
        reload(&process.sections[TOGETHER], |config| DestinationConfig { destination: model, ..config });
    }

    /// Somebody gives up some of what waits where it goes in order.
    fn give_up(&mut self) {
        let id = self.process().ids[IN_ORDER];
        let waiting = self.process().store.waiting(id);
        let sequences: Vec<u64> = waiting.iter_from(0).filter(|_| self.dice.one_in(3)).collect();
        self.tell(format_args!("{sequences:?} are given up at {IN_ORDER}"));
        let reason = "by hand".to_owned();
        let sequences = sequences.into_iter().collect();
        let selection = Selection { destination: id, act: BulkAct::DeadLetter, reason, sequences };
        drop(self.process().store.select(selection));
    }

    /// All that is kept of one person is erased, as far as it has come in by now, unless the process ends amid it.
    async fn forget(&mut self) -> Result<(), String> {
        let person = self.dice.below(PEOPLE);
        self.tell(format_args!("person {person} is to be forgotten"));
        self.witness.forgets(person, self.next);
        let mut walk = Walk::new(whom(person, self.next), Depth::Erase { known: Vec::new() });
        let mut steps = self.dice.one_in(4).then(|| self.dice.below(6));
        loop {
            let is_over = steps == Some(0);
            steps = steps.map(|left| left.saturating_sub(1));
            if is_over {
                let keeps_all = self.dice.one_in(2);
                return self.crash("the process ends amid forgetting", keeps_all).await;
            }
            let Process { store, writer, .. } = self.process();
            let step = store.erase_by_hand(&mut walk, &mut || {
                Process::let_write(writer);
            });
            let has_failed = writer.is_none();
            if has_failed {
                return self.crash("a sync failed", false).await;
            }
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    self.tell(format_args!("it cannot be done now: {error}"));
                    return Ok(());
                }
            };
            if step.is_done {
                break;
            }
        }
        self.tell(format_args!("person {person} is forgotten"));
        self.witness.has_forgotten(person, self.next);
        self.nothing_is_left()
    }

    /// Values are taken away from what is old enough and nobody waits for, in some segments. Sometimes the power goes after one of them.
    async fn redact(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.redacting.below(3) {
            let Process { store, writer, redactor, .. } = self.process();
            let was_one = store.redact_by_hand(redactor, &mut || {
                Process::let_write(writer);
            });
            if writer.is_none() {
                return self.crash("a sync failed", false).await;
            }
            if !was_one {
                return Ok(());
            }
            let Process { store, ids, .. } = self.process.as_ref().expect("a process runs");
            let redacted = self.witness.what_is_needed_is_whole(store, ids)?;
            self.redacted = self.redacted.max(redacted);
            self.tell(format_args!("values are taken away: {redacted} events are without"));
            if self.redacting.one_in(8) {
                return self.crash("the power goes amid taking values away", false).await;
            }
        }
        Ok(())
    }

    /// Nothing of what was forgotten is on the disk, whatever a power cut would keep.
    fn nothing_is_left(&self) -> Result<(), String> {
        if self.lies {
            return Ok(());
        }
        let durable = self.disk.durable();
        let left = self
            .witness
            .bodies_that_are_gone()
            .into_iter()
            .find(|body| durable.iter().any(|bytes| bytes.windows(body.len()).any(|window| window == &body[..])));
        left.map_or(Ok(()), |body| Err(format!("{} is on the disk", String::from_utf8_lossy(&body))))
    }

    fn fill_or_empty_the_disk(&mut self) {
        let capacity = self.dice.one_in(2).then_some(0);
        if capacity.is_some() {
            // Outcomes that find no room wait in memory.
            self.witness.excuse();
        }
        self.tell(if capacity.is_some() { "the disk is full" } else { "the disk has room" });
        self.disk.set_faults(Faults { capacity, ..self.faults() });
    }

    /// Ends the process as it is, and what the disk did not sync with it, unless the machine goes on.
    async fn crash(&mut self, why: &str, keeps_all: bool) -> Result<(), String> {
        self.tell(why);
        let Process { store, writer, mut workers, .. } = self.process.take().expect("a process runs");
        workers.shutdown().await;
        self.hear_answers()?;
        self.sent.clear();
        self.witness.end_process(true);
        if !keeps_all {
            self.witness.power_is_cut();
        }
        let mut keeps: Vec<usize> = (0..4).map(|_| self.dice.below(1_200) as usize).collect();
        keeps.push(0);
        let mut keeps = keeps.into_iter().cycle();
        self.disk = self.disk.after_power_cut(|length| if keeps_all { length } else { keeps.next().unwrap_or(0) });
        drop((store, writer));
        self.disk.set_faults(self.faults());
        self.start()
    }

    /// Stops the process as SIGTERM does, and starts it again.
    async fn restart(&mut self) -> Result<(), String> {
        self.tell("stopped and started");
        self.process().stop.cancel();
        while self.process().workers.try_join_next().is_some() || !self.process().workers.is_empty() {
            if !Process::let_write(&mut self.process().writer) {
                return self.crash("a sync failed", false).await;
            }
            tokio::time::sleep(TURN).await;
        }
        let Process { store, writer, .. } = self.process.take().expect("a process runs");
        let mut writer = writer.expect("it has not failed");
        let mut is_clean = true;
        std::thread::scope(|scope| {
            // It waits for the writer.
            scope.spawn(|| store.close());
            loop {
                match writer.turn() {
                    Ok(true) => std::thread::yield_now(),
                    Ok(false) => break,
                    Err(_) => {
                        is_clean = false;
                        break;
                    }
                }
            }
            drop(writer);
        });
        self.hear_answers()?;
        self.sent.clear();
        self.witness.end_process(!is_clean);
        drop(store);
        self.disk.set_faults(self.faults());
        self.start()
    }

    fn start(&mut self) -> Result<(), String> {
        let blocking = Blocking::Here;
        let paths = vec![FieldPath::parse("x").map_err(|error| error.to_string())?];
        let redaction = Some(Arc::new(Redaction { paths, after: REDACT_AFTER }));
        let retention = Retention { redaction, ..Retention::default() };
        let clock = self.clock;
        let options = Options { segment_bytes: SEGMENT_BYTES, clock, blocking, retention, ..Options::default() };
        let opened = JournalStore::open_by_hand(Arc::new(self.disk.clone()), options, &self.untold);
        let (store, writer) = opened.map_err(|error| format!("the journal does not open: {error}"))?;
        let store = Arc::new(store);
        let ids: Vec<_> = (0..DESTINATIONS).map(|at| store.name(NameKind::Destination, &format!("d{at}"))).collect();
        self.witness.nothing_is_lost(&store, &ids)?;
        let metrics = Metrics::default();
        let bodies = Arc::new(Bodies::default());
        let stop = CancellationToken::new();
        let mut sections = Vec::new();
        for (at, (policy, sorting)) in policies().into_iter().zip(self.sortings.clone()).enumerate() {
            let destination = Arc::new(Model::new(at, self.witness.clone(), store.clone(), ids[at]));
            let section = watch::Sender::new(Arc::new(Section {
                config: config(at, policy, sorting, destination),
                rate_limit: Arc::new(RateLimit::new(policy.interval)),
                metrics: metrics.destination(&format!("d{at}")),
                page: None,
            }));
            sections.push(section);
        }
        let workers = JoinSet::new();
        let leases = vec![CancellationToken::new(); ids.len()];
        let writer = Some(writer);
        let redactor = Redactor::default();
        let mut process = Process { store, writer, ids, sections, bodies, stop, leases, workers, redactor };
        (0..DESTINATIONS).for_each(|at| process.deliver_to(at, self.clock));
        self.process = Some(process);
        Ok(())
    }

    /// Heals everything and waits until nothing waits.
    async fn mend(&mut self) -> Result<(), String> {
        self.tell("all is well from here on");
        self.disk.set_faults(self.faults());
        (0..DESTINATIONS).for_each(|at| self.witness.set_mode(at, Mode::Healthy));
        let end = Instant::now() + DRAINED_WITHIN;
        loop {
            self.pass(Duration::from_secs(2)).await?;
            self.witness.verdict()?;
            let process = self.process.as_ref().expect("a process runs");
            for (at, id) in process.ids.iter().enumerate() {
                // A destination that rejected again and again may have been paused.
                if process.store.state(*id).paused.is_some() {
                    process.store.resume(*id);
                    self.witness.asked_for(at);
                }
            }
            let waiting = |id: &NameId| {
                let counts = process.store.counts(*id);
                counts.backlog + counts.gathered
            };
            let backlog: u64 = process.ids.iter().map(waiting).sum();
            if backlog == 0 && self.sent.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{backlog} deliveries still wait {DRAINED_WITHIN:?} after all was mended"));
            }
        }
    }

    fn judge(&mut self) -> Result<Told, String> {
        self.nothing_is_left()?;
        let process = self.process.take().expect("a process runs");
        self.witness.nothing_is_lost(&process.store, &process.ids)?;
        let twice = self.witness.explain_what_came_twice()?;
        let dead = process.ids.iter().map(|id| process.store.dead(*id).len() as usize).sum();
        let (digests, gathered) = self.witness.digests();
        let (crashes, by_night) = (self.witness.crashes(), self.witness.by_night());
        let in_order = self.witness.went_in_order(&process.store, &process.ids)?;
        let acknowledged = self.acknowledged.len();
        let (together, apart) = self.witness.together();
        let forgotten = self.witness.forgotten();
        let told = Told {
            acknowledged,
            twice,
            dead,
            forgotten,
            redacted: self.redacted,
            crashes,
            digests,
            gathered,
            by_night,
            in_order,
            together,
            apart,
        };
        Ok(told)
    }
}

fn reload(section: &watch::Sender<Arc<Section>>, change: impl FnOnce(DestinationConfig) -> DestinationConfig) {
    section.send_modify(|section| {
        let Section { config, rate_limit, metrics, page } = &**section;
        let (rate_limit, metrics, page) = (rate_limit.clone(), metrics.clone(), page.clone());
        *section = Arc::new(Section { config: change(config.clone()), rate_limit, metrics, page });
    });
}

fn config(at: usize, policy: Policy, sorting: Option<Arc<Sorting>>, destination: Arc<Model>) -> DestinationConfig {
    DestinationConfig {
        name: format!("d{at}"),
        kind: "model",
        policy,
        backlog: BacklogLimits::default(),
        renamed_from: None,
        said: String::new(),
        fingerprint: String::new(),
        shows_content: true,
        sorting,
        destination,
    }
}
