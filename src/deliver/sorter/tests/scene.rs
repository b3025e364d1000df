//! A relay with one destination: the real store on a disk in memory, the real sorter and worker, and a clock that stands still unless it is
//! moved.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Got};
use super::faulty::{Faulty, QueueFaults};
use crate::config::Config;
use crate::deliver::sorting::Sorting;
use crate::deliver::{Bodies, RateLimit, Section, Sorter, Status, Worker, WorkerParts};
use crate::destination::sample::Nothing;
use crate::event::EventId;
use crate::store::journal::model::ModelDisk;
use crate::store::journal::{Blocking, JournalStore, Options, Untold, Writer};
use crate::store::{AppendError, Intake, NameId, NameKind, NewEvent, PlannedDelivery, Queue};
use crate::telemetry::Metrics;
use crate::time::{Clock, MINUTE_MS};

/// The writer's turns are no further apart than this.
const TURN: Duration = Duration::from_millis(50);
/// Small, since a start reads all of it.
const SEGMENT_BYTES: u64 = 256 << 10;

/// One relay, and who gets what it delivers.
pub(super) struct Scene {
    pub(super) disk: ModelDisk,
    pub(super) desk: Arc<Desk>,
    pub(super) faults: Arc<QueueFaults>,
    pub(super) metrics: Metrics,
    clock: Clock,
    keys: String,
    works: bool,
    /// The disk takes nothing more, as one that hangs or is full.
    pub(super) takes_nothing: bool,
    sent: u64,
    running: Option<Running>,
}

/// What a kill ends.
struct Running {
    store: Arc<JournalStore>,
    writer: Writer,
    id: NameId,
    section: watch::Sender<Arc<Section>>,
    leased: Leased,
}

/// What ends with a lease.
struct Leased {
    queue: Arc<dyn Queue>,
    status: Arc<Status>,
    lost: CancellationToken,
    tasks: JoinSet<()>,
}

impl Scene {
    /// At this time of a winter's day in UTC, with these keys beside the destination's kind, one a line.
    pub(super) fn new(time: &str, keys: &str) -> Self {
        let mut scene = Self::unborn(time, keys);
        scene.start();
        scene
    }

    /// The same without a worker: the test is it.
    pub(super) fn without_worker(time: &str, keys: &str) -> Self {
        let mut scene = Self { works: false, ..Self::unborn(time, keys) };
        scene.start();
        scene
    }

    fn unborn(time: &str, keys: &str) -> Self {
        let start: jiff::Timestamp = format!("2026-11-27T{time}:00Z").parse().expect("a time");
        let wall_ahead: &'static AtomicI64 = Box::leak(Box::default());
        let clock = Clock::at(start.as_millisecond() as u64, wall_ahead);
        Self {
            disk: ModelDisk::default(),
            desk: Arc::new(Desk::new(clock)),
            faults: Arc::default(),
            metrics: Metrics::default(),
            clock,
            keys: keys.to_owned(),
            works: true,
            takes_nothing: false,
            sent: 0,
            running: None,
        }
    }

    fn section(&self) -> Arc<Section> {
        let keys: String = self.keys.lines().map(|line| format!("    {}\n", line.trim())).collect();
        let text = format!(
            "sources: {{ vero: {{ token: nobody-asks-for-it }} }}\nrules: [{{ to: [chat] }}]\ndestinations:\n  chat:\n    slack: {{ url: \"http://127.0.0.1/services/T0/B0/x\" }}\n{keys}"
        );
        let (mut config, _) = Config::parse(Path::new("scene.yaml"), text, &Nothing).expect("a config");
        let mut config = config.destinations.remove(0);
        config.destination = self.desk.clone();
        let rate_limit = Arc::new(RateLimit::new(None));
        Arc::new(Section { config, rate_limit, metrics: self.metrics.destination("chat"), page: None })
    }

    fn start(&mut self) {
        let (clock, blocking) = (self.clock, Blocking::Here);
        let options = Options { segment_bytes: SEGMENT_BYTES, clock, blocking, ..Options::default() };
        let opened = JournalStore::open_by_hand(Arc::new(self.disk.clone()), options, &Untold::default());
        let (store, writer) = opened.expect("the journal opens");
        let store = Arc::new(store);
        let id = store.name(NameKind::Destination, "chat");
        let section = watch::Sender::new(self.section());
        let leased = self.lease(&store, id, &section);
        self.running = Some(Running { store, writer, id, section, leased });
    }

    fn lease(&self, store: &Arc<JournalStore>, id: NameId, section: &watch::Sender<Arc<Section>>) -> Leased {
        let mut lease = store.leased(id);
        let queue: Arc<dyn Queue> = Arc::new(Faulty { queue: lease.queues.remove(0), faults: self.faults.clone() });
        let status: Arc<Status> = Arc::default();
        let parts = WorkerParts {
            queue: queue.clone(),
            store: store.clone(),
            section: section.subscribe(),
            bodies: Arc::new(Bodies::default()),
            clock: self.clock,
            status: status.clone(),
            stop: CancellationToken::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Sorter::new(parts.clone(), id).run());
        if self.works {
            tasks.spawn(Worker::new(parts).run());
        }
        Leased { queue, status, lost: lease.lost, tasks }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(super) fn store(&self) -> &Arc<JournalStore> {
        &self.running().store
    }

    pub(super) fn id(&self) -> NameId {
        self.running().id
    }

    pub(super) fn queue(&self) -> &Arc<dyn Queue> {
        &self.running().leased.queue
    }

    /// Somebody wants to have out what waits in windows.
    pub(super) fn end_now(&self) {
        self.running().leased.status.sorted().end_now(1);
    }

    /// What its section says of the order.
    pub(super) fn sorting(&self) -> Arc<Sorting> {
        self.running().section.borrow().config.sorting.clone().expect("it sorts")
    }

    /// The process is killed, and starts again.
    pub(super) async fn kill(&mut self) {
        let Running { store, writer, mut leased, .. } = self.running.take().expect("it runs");
        leased.tasks.shutdown().await;
        self.disk = self.disk.after_power_cut(|length| length);
        drop((store, writer, leased));
        self.takes_nothing = false;
        self.start();
    }

    /// The same, and it starts with other keys.
    pub(super) async fn kill_and_start_with(&mut self, keys: &str) {
        keys.clone_into(&mut self.keys);
        self.kill().await;
    }

    pub(super) fn reload(&mut self, keys: &str) {
        keys.clone_into(&mut self.keys);
        self.running().section.send_replace(self.section());
    }

    /// The right to deliver goes to another worker, which begins at once.
    pub(super) fn lose_lease(&mut self) {
        let running = self.running.take().expect("it runs");
        running.leased.lost.cancel();
        running.store.take_back(running.id);
        let leased = self.lease(&running.store, running.id, &running.section);
        self.running = Some(Running { leased, ..running });
    }

    pub(super) async fn pass(&mut self, seconds: u64) {
        self.pass_ms(seconds * 1000).await;
    }

    pub(super) async fn pass_ms(&mut self, ms: u64) {
        let end = tokio::time::Instant::now() + Duration::from_millis(ms);
        let turn = if ms > MINUTE_MS { 20 * TURN } else { TURN };
        while tokio::time::Instant::now() < end {
            let running = self.running.as_mut().expect("it runs");
            if !self.takes_nothing {
                running.writer.turn().expect("the disk is sound");
            }
            tokio::time::sleep(turn.min(end - tokio::time::Instant::now())).await;
        }
    }

    /// One event, with these fields beside its number. Returns that.
    pub(super) fn send(&mut self, fields: &str) -> u64 {
        self.send_to(fields, self.id())
    }

    pub(super) fn send_to(&mut self, fields: &str, destination: NameId) -> u64 {
        drop(self.append(fields, destination));
        self.sent
    }

    /// The same. Resolves with its id, when it is on the disk.
    pub(super) fn append(
        &mut self,
        fields: &str,
        destination: NameId,
    ) -> oneshot::Receiver<Result<EventId, AppendError>> {
        self.sent += 1;
        let event = NewEvent {
            received_ms: self.clock.now_ms(),
            source: NameId(0),
            generation: 1,
            rules: Vec::new(),
            deliveries: [PlannedDelivery { destination, rule: NameId(0) }].into_iter().collect(),
            body: Bytes::from(format!(r#"{{"n":{},{fields}}}"#, self.sent)),
        };
        self.store().append(event)
    }

    /// Some events. Returns their numbers.
    pub(super) fn send_some(&mut self, count: u64, fields: &str) -> RangeInclusive<u64> {
        for _ in 0..count {
            self.send(fields);
        }
        self.sent - count + 1..=self.sent
    }

    /// The number of the last event.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// What has come, in order.
    pub(super) fn got(&self) -> Vec<Got> {
        self.desk.got()
    }

    /// The numbers of the events of each message.
    pub(super) fn numbers(&self) -> Vec<Vec<u64>> {
        self.got().into_iter().map(|got| got.numbers).collect()
    }

    /// How many lie in windows, and how many wait otherwise.
    pub(super) fn waits(&self) -> (u64, u64) {
        let counts = self.store().counts(self.id());
        (counts.gathered, counts.backlog)
    }
}

/// Runs a scene where the clock stands still.
pub(super) fn run<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(scene)
}
