//! Every thread and task is watched: one that panics is started again, or the process is told to end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use vero_relay::daemon::{Running, start_on};
use vero_relay::destination::{Delivery, Destination, Outcomes, Preview, Unsent};
use vero_relay::relay::ReloadError;
use vero_relay::secret::Secret;
use vero_relay::store::journal::model::{Call, ModelDisk};

use crate::harness::*;

async fn post(running: &Running) -> Message {
    request(running.address, "POST", "/hooks/vero/secret", &[], br#"{"type":"sent"}"#).await
}

async fn readyz(running: &Running) -> u16 {
    request(running.address, "GET", "/readyz", &[], b"").await.status()
}

async fn metrics(running: &Running) -> String {
    request(running.admin_address, "GET", "/metrics", &[], b"").await.text()
}

fn config(directory: &Path, fake: &Fake) -> vero_relay::config::Config {
    let url = fake.url();
    parse(
        directory,
        &format!("{HEAD}rules: [{{ to: [a] }}]\ndestinations: {{ a: {{ http: {{ url: \"{url}\" }}, {QUICK} }} }}\n"),
    )
}

/// A destination that panics on demand: in its worker's hands, or when it is asked for an attempt.
struct Touchy {
    inner: Arc<dyn Destination>,
    breaks_worker: AtomicBool,
    breaks_attempt: AtomicBool,
}

impl Destination for Touchy {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        assert!(!self.breaks_attempt.swap(false, Ordering::SeqCst), "a test breaks an attempt");
        self.inner.attempt(deliveries)
    }

    fn batch_max(&self) -> usize {
        assert!(!self.breaks_worker.swap(false, Ordering::SeqCst), "a test breaks a worker");
        self.inner.batch_max()
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        self.inner.preview(delivery)
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        self.inner.content(delivery)
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        self.inner.way(delivery)
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        self.inner.address()
    }
}

async fn with_touchy(directory: &Path, fake: &Fake) -> (Running, Arc<Touchy>) {
    let mut config = config(directory, fake);
    let inner = config.destinations[0].destination.clone();
    let touchy =
        Arc::new(Touchy { inner, breaks_worker: AtomicBool::default(), breaks_attempt: AtomicBool::default() });
    config.destinations[0].destination = touchy.clone();
    (start_on(config, Arc::new(ModelDisk::default())).await.expect("it starts"), touchy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_is_started_again_and_nothing_stays_in_flight() {
    let directory = tempfile::tempdir().expect("a directory");
    // The first attempt is in flight, and stays there, when the worker panics.
    let fake = Fake::start([Act::Hang]).await;
    let (running, touchy) = with_touchy(directory.path(), &fake).await;
    assert_eq!(post(&running).await.status(), 200);
    fake.wait_for(1).await;
    touchy.breaks_worker.store(true, Ordering::SeqCst);
    assert_eq!(post(&running).await.status(), 200);
    fake.wait_for(3).await;
    let mut shown = String::new();
    eventually("both to be delivered", async || {
        shown = metrics(&running).await;
        shown.contains("vero_relay_deliveries_total{destination=\"a\",outcome=\"delivered\"} 2")
    })
    .await;
    assert!(shown.contains("vero_relay_task_restarts_total{task=\"worker\"} 1"), "{shown}");
    assert_eq!(readyz(&running).await, 200);
    assert_eq!(running.stop().await.failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_panics_costs_one_delivery_and_no_worker() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::start([]).await;
    let (running, touchy) = with_touchy(directory.path(), &fake).await;
    touchy.breaks_attempt.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(post(&running).await.status(), 200);
    }
    let mut shown = String::new();
    eventually("both to end", async || {
        shown = metrics(&running).await;
        shown.contains("outcome=\"delivered\"} 1") && shown.contains("outcome=\"dead_letter\"} 1")
    })
    .await;
    assert!(!shown.contains("task_restarts_total{"), "{shown}");
    running.stop().await;
}

/// Makes a task of this thread panic where it logs a text, once it is set.
struct Trap {
    text: &'static str,
    is_set: AtomicBool,
}

impl tracing::Subscriber for Trap {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        assert!(!(said.0.contains(self.text) && self.is_set.swap(false, Ordering::SeqCst)), "a test breaks a task");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What a line of the log says.
#[derive(Default)]
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

// One thread: the trap is of the thread that sets it.
#[tokio::test]
async fn what_leases_queues_is_started_again_when_it_panics_and_no_destination_has_two_workers() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::start([]).await;
    let trap = Arc::new(Trap { text: "are leased", is_set: AtomicBool::new(true) });
    let _guard = log_to(trap.clone());
    let running = start_on(config(directory.path(), &fake), Arc::new(ModelDisk::default())).await.expect("it starts");
    for _ in 0..3 {
        assert_eq!(post(&running).await.status(), 200);
    }
    eventually("all to be delivered", async || {
        metrics(&running).await.contains("vero_relay_deliveries_total{destination=\"a\",outcome=\"delivered\"} 3")
    })
    .await;
    assert!(!trap.is_set.load(Ordering::SeqCst), "it panicked");
    assert_eq!(fake.seen().len(), 3, "each once");
    let shown = metrics(&running).await;
    assert!(shown.contains("vero_relay_task_restarts_total{task=\"delivering\"} 1"), "{shown}");
    assert!(running.stop().await.attempts_ended);
}

#[tokio::test]
async fn who_reloads_is_started_again_when_it_panics_and_the_next_config_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::start([]).await;
    let running = start_on(config(directory.path(), &fake), Arc::new(ModelDisk::default())).await.expect("it starts");
    let relay = running.relay.clone();
    let text = format!(
        "{HEAD}rules: [{{ to: [a] }}]\ndestinations: {{ a: {{ http: {{ url: \"{}\" }}, {QUICK} }} }}\n",
        fake.url()
    );
    std::fs::write(&relay.generation().config.path, text).expect("written");
    let trap = Arc::new(Trap { text: "the config was reloaded", is_set: AtomicBool::new(true) });
    let _guard = log_to(trap);
    let broken = relay.reload().await;
    assert!(matches!(broken, Err(ReloadError::Panicked)), "{broken:?}");
    relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    let shown = metrics(&running).await;
    assert!(shown.contains("vero_relay_task_restarts_total{task=\"reloads\"} 1"), "{shown}");
    assert!(running.stop().await.all_answered, "its listener was closed");
}

async fn ends_when_it_panics(thread: &'static str) {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::start([]).await;
    let (disk, is_set) = (ModelDisk::default(), Arc::new(AtomicBool::default()));
    let trap = is_set.clone();
    disk.before_each_call(move |call| {
        let is_it = matches!(call, Call::Write | Call::Space) && std::thread::current().name() == Some(thread);
        assert!(!(is_it && trap.load(Ordering::SeqCst)), "a test breaks the {thread} thread");
    });
    let running = start_on(config(directory.path(), &fake), Arc::new(disk)).await.expect("it starts");
    assert_eq!(post(&running).await.status(), 200);
    is_set.store(true, Ordering::SeqCst);
    if thread == "journal" {
        assert_eq!(post(&running).await.status(), 503);
    }
    let why = tokio::time::timeout(PATIENCE, running.failed()).await.expect("it says that it must end");
    assert!(why.contains(&format!("its {thread} thread panicked")), "{why}");
    assert_eq!(readyz(&running).await, 503);
    // Also when the rest of the store sees that there is room.
    is_set.store(false, Ordering::SeqCst);
    post(&running).await;
    assert_eq!(readyz(&running).await, 503);
    assert!(running.stop().await.failure.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_thread_panics_is_not_ready_and_ends_the_process() {
    ends_when_it_panics("journal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_whose_thread_panics_is_not_ready_and_ends_the_process() {
    ends_when_it_panics("retention").await;
}
