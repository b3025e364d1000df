//! A newsletter of which two thousand letters bounce within a minute, and a complaint about a receipt behind them: what people see of it in
//! Slack. The real store, sorter, worker and Slack destination, a Slack that enforces its documents, and a clock that stands still unless it
//! is moved.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::terms::Nothing;
use crate::config::Config;
use crate::deliver::{Bodies, RateLimit, Section, Sorter, Worker, WorkerParts};
use crate::destination::slack::strict::{Post, Strict, Watched};
use crate::store::journal::model::ModelDisk;
use crate::store::journal::{Blocking, JournalStore, Options, Untold, Writer};
use crate::store::{Intake, NameId, NameKind, NewEvent, PlannedDelivery};
use crate::telemetry::Metrics;
use crate::time::{Clock, Instant};

const BOUNCES: u64 = 2_000;
/// Between two of them: all in a minute.
const APART: Duration = Duration::from_millis(30);
/// Between two turns of the writer, and while nothing comes in.
const TURN: Duration = Duration::from_millis(30);
const TURN_OF_LONG_WAITS: Duration = Duration::from_secs(1);

/// One relay, one Slack, and who listens there.
struct Scene {
    slack: Watched,
    config: Config,
    disk: ModelDisk,
    clock: Clock,
    began: Instant,
    complaints: u64,
    running: Option<Running>,
}

struct Running {
    store: Arc<JournalStore>,
    writer: Writer,
    ids: Vec<NameId>,
    /// Nobody reloads them.
    _sections: Vec<watch::Sender<Arc<Section>>>,
    tasks: JoinSet<()>,
}

impl Scene {
    /// At this time of a winter's day in UTC, with these destinations.
    fn new(time: &str, destinations: &str) -> Self {
        let slack = Watched::new(Strict::new().with_app("xoxb-1", &["#email"]));
        let text = format!(
            "sources: {{ vero: {{ token: nobody-asks-for-it }} }}\nrules: [{{ to: [chat] }}]\ndestinations:\n{destinations}"
        );
        let config = Config::prove_again(Path::new("newsletter.yaml"), text, &Nothing, slack.client());
        let (config, _) = config.expect("a config");
        let start: jiff::Timestamp = format!("2026-11-27T{time}:00Z").parse().expect("a time");
        let wall_ahead: &'static AtomicI64 = Box::leak(Box::default());
        let clock = Clock::at(start.as_millisecond() as u64, wall_ahead);
        let mut scene = Self {
            slack,
            config,
            disk: ModelDisk::default(),
            clock,
            began: Instant::now(),
            complaints: 0,
            running: None,
        };
        scene.start();
        scene
    }

    fn start(&mut self) {
        let options = Options { clock: self.clock, blocking: Blocking::Here, ..Options::default() };
        let opened = JournalStore::open_by_hand(Arc::new(self.disk.clone()), options, &Untold::default());
        let (store, writer) = opened.expect("the journal opens");
        let store = Arc::new(store);
        let metrics = Metrics::default();
        let bodies = Arc::new(Bodies::default());
        let mut tasks = JoinSet::new();
        let mut limits: Vec<(String, Arc<RateLimit>)> = Vec::new();
        let (mut ids, mut sections) = (Vec::new(), Vec::new());
        for config in &self.config.destinations {
            let id = store.name(NameKind::Destination, &config.name);
            let key = config.destination.rate_limit_key().expect("Slack counts by webhook");
            let known = limits.iter().find(|(known, _)| *known == key).map(|(_, limit)| limit.clone());
            let rate_limit = known.unwrap_or_else(|| Arc::new(RateLimit::new(config.policy.interval)));
            limits.push((key, rate_limit.clone()));
            let metrics = metrics.destination(&config.name);
            let section =
                watch::Sender::new(Arc::new(Section { config: config.clone(), rate_limit, metrics, page: None }));
            let parts = WorkerParts {
                queue: store.leased(id).queues[0].clone(),
                store: store.clone(),
                section: section.subscribe(),
                bodies: bodies.clone(),
                clock: self.clock,
                status: Arc::default(),
                stop: CancellationToken::new(),
            };
            tasks.spawn(Sorter::new(parts.clone(), id).run());
            tasks.spawn(Worker::new(parts).run());
            (ids, sections) = ([ids, vec![id]].concat(), [sections, vec![section]].concat());
        }
        self.running = Some(Running { store, writer, ids, _sections: sections, tasks });
    }

    /// The process is killed, and starts again.
    async fn kill(&mut self) {
        let Running { store, writer, mut tasks, .. } = self.running.take().expect("it runs");
        tasks.shutdown().await;
        self.disk = self.disk.after_power_cut(|length| length);
        drop((store, writer));
        self.start();
    }

    async fn pass(&mut self, wait: Duration) {
        let end = Instant::now() + wait;
        let turn = if wait > Duration::from_secs(5) { TURN_OF_LONG_WAITS } else { TURN };
        while Instant::now() < end {
            self.running.as_mut().expect("it runs").writer.turn().expect("the disk is sound");
            tokio::time::sleep(turn.min(end - Instant::now())).await;
        }
    }

    /// An event for the destinations at these places.
    fn send(&mut self, body: String, to: &[usize]) {
        let running = self.running.as_ref().expect("it runs");
        let deliveries = to.iter().map(|at| PlannedDelivery { destination: running.ids[*at], rule: NameId(0) });
        let event = NewEvent {
            received_ms: self.clock.now_ms(),
            source: NameId(0),
            generation: 1,
            rules: Vec::new(),
            deliveries: deliveries.collect(),
            body: Bytes::from(body),
        };
        drop(running.store.append(event));
    }

    async fn newsletter(&mut self, to: &[usize]) {
        for number in 0..BOUNCES {
            let kind = if number % 10 == 0 { "soft" } else { "hard" };
            self.send(
                format!(
                    r#"{{"type":"bounced","bounce_type":"{kind}","user":{{"id":{number},"email":"u{number}@example.com"}},"campaign":{{"id":7,"name":"Spring newsletter","type":"newsletter"}}}}"#
                ),
                to,
            );
            self.pass(APART).await;
        }
    }

    /// A complaint about a receipt. Returns how long it took to be seen.
    async fn complaint(&mut self) -> Duration {
        let sent = self.began.elapsed();
        self.complaints += 1;
        let buyer = format!("buyer{}@example.com", self.complaints);
        let body = format!(
            r#"{{"type":"complained","user":{{"id":1,"email":"{buyer}"}},"campaign":{{"id":8,"name":"Receipt","type":"transactional"}}}}"#
        );
        self.send(body, &[0]);
        let mut wait = Duration::from_millis(100);
        loop {
            self.pass(wait).await;
            let slack = self.slack.lock();
            let is_it = |post: &&Post| post.message["text"].as_str().is_some_and(|text| text.contains(&buyer));
            if let Some(post) = slack.posts().iter().rev().find(is_it) {
                return post.at.saturating_sub(sent);
            }
            // When it came is told by Slack, however seldom it is looked for.
            wait = (wait * 2).min(Duration::from_secs(60));
        }
    }

    fn posts(&self) -> Vec<Post> {
        self.slack.lock().posts().to_vec()
    }

    /// How many bounces the messages tell of.
    fn told(&self) -> u64 {
        let of = |post: &Post| {
            let text = post.message["text"].as_str().unwrap_or_default().replace(['*', '\u{202f}', '\u{a0}', ' '], "");
            let count = text.split_once("×").and_then(|(count, _)| count.parse().ok());
            count.unwrap_or(u64::from(text.contains("@example.com") && !text.contains("buyer")))
        };
        self.posts().iter().map(of).sum()
    }
}

fn run<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(scene)
}

const CHAT: &str = r#"  chat:
    slack: { url: "http://127.0.0.1/services/T0/B0/x" }
    digest: { every: 15m, by: [type, campaign.name], first: 3 }
    urgent: { type: complained, campaign.type: transactional }
"#;

const TWO_SECONDS: Duration = Duration::from_secs(2);

#[test]
fn two_thousand_bounces_are_a_handful_of_messages_and_the_complaint_behind_them_is_seen_at_once() {
    run(async {
        let mut scene = Scene::new("09:00", CHAT);
        scene.newsletter(&[0]).await;
        let took = scene.complaint().await;
        assert!(took <= TWO_SECONDS, "{took:?}");
        scene.pass(Duration::from_secs(60 * 60)).await;
        let posts = scene.posts();
        println!("{BOUNCES} bounces in {} messages, the complaint after {took:?}", posts.len() - 1);
        assert!(posts.len() <= 10, "{} messages: {posts:#?}", posts.len());
        assert_eq!(scene.told(), BOUNCES);
    });
}

#[test]
fn without_digests_they_are_as_many_messages_and_the_complaint_waits_behind_them() {
    run(async {
        let mut scene = Scene::new("09:00", "  chat: { slack: { url: \"http://127.0.0.1/services/T0/B0/x\" } }\n");
        scene.newsletter(&[0]).await;
        let took = scene.complaint().await;
        let posts = scene.posts().len();
        println!("without: {} messages, the complaint after {took:?}", posts - 1);
        assert!(took > Duration::from_secs(30 * 60) && posts as u64 > BOUNCES, "{took:?}, {posts}");
    });
}

#[test]
fn after_a_kill_in_the_middle_nothing_is_told_twice_or_not_at_all() {
    run(async {
        let mut scene = Scene::new("09:00", CHAT);
        scene.newsletter(&[0]).await;
        scene.pass(Duration::from_secs(60)).await;
        scene.kill().await;
        let took = scene.complaint().await;
        assert!(took <= TWO_SECONDS, "right after a restart: {took:?}");
        scene.pass(Duration::from_secs(60 * 60)).await;
        assert_eq!(scene.told(), BOUNCES);
        let ends: Vec<_> = scene.posts().iter().map(|post| post.at.as_secs() / 60).filter(|at| *at > 3).collect();
        assert_eq!(ends, [15], "the window ends when it was to");
    });
}

#[test]
fn in_quiet_hours_only_the_complaint_is_heard_and_the_rest_in_the_morning() {
    let quiet = format!("{CHAT}    quiet: {{ from: \"22:00\", to: \"07:00\", timezone: UTC }}\n");
    run(async {
        let mut scene = Scene::new("23:00", &quiet);
        scene.newsletter(&[0]).await;
        let took = scene.complaint().await;
        assert!(took <= TWO_SECONDS, "{took:?}");
        scene.pass(Duration::from_secs(7 * 60 * 60)).await;
        assert_eq!(scene.posts().len(), 1, "nothing but the complaint");
        scene.pass(Duration::from_secs(2 * 60 * 60)).await;
        assert_eq!((scene.posts().len(), scene.told()), (2, BOUNCES));
    });
}

#[test]
fn who_shares_the_webhook_does_not_hold_the_complaint_up() {
    let two = format!("{CHAT}  other: {{ slack: {{ url: \"http://127.0.0.1/services/T0/B0/x\" }} }}\n");
    run(async {
        let mut scene = Scene::new("09:00", &two);
        scene.newsletter(&[1]).await;
        for _ in 0..5 {
            let took = scene.complaint().await;
            assert!(took <= TWO_SECONDS, "{took:?}");
            scene.pass(Duration::from_millis(1_700)).await;
        }
    });
}

const APP: &str = r##"  chat:
    slack: { token: xoxb-1, channel: "#email", thread_by: [campaign.id], api: "http://127.0.0.1/api/" }
    digest: { every: 15m, by: [type, campaign.name], first: 3 }
    urgent: { type: complained, campaign.type: transactional }
"##;

#[test]
fn the_newsletters_bounces_stand_in_one_thread_and_the_receipts_complaint_in_the_channel() {
    run(async {
        let mut scene = Scene::new("09:00", APP);
        scene.newsletter(&[0]).await;
        let took = scene.complaint().await;
        assert!(took <= TWO_SECONDS, "{took:?}");
        scene.pass(Duration::from_secs(60 * 60)).await;
        assert_eq!(scene.told(), BOUNCES);
        let posts = scene.posts();
        let (below, first): (Vec<_>, Vec<_>) = posts.iter().partition(|post| post.thread.is_some());
        assert_eq!(first.len(), 2, "{first:#?}");
        assert!(below.len() >= 3 && below.iter().all(|post| post.thread.as_ref() == Some(&first[0].ts)), "{below:#?}");
        assert!(first[1].message["text"].as_str().is_some_and(|text| text.contains("buyer1")), "{first:#?}");
        // What is known of threads lies beside the journal, which is all that this disk has.
        scene.kill().await;
        for number in 0..3 {
            let body = format!(r#"{{"type":"opened","user":{{"id":{number}}},"campaign":{{"id":7}}}}"#);
            scene.send(body, &[0]);
            scene.pass(Duration::from_secs(5)).await;
        }
        let threads: Vec<_> = scene.posts().split_off(posts.len()).into_iter().map(|post| post.thread).collect();
        let begun = scene.posts()[posts.len()].ts.clone();
        assert_eq!(threads, [None, Some(begun.clone()), Some(begun)]);
    });
}

#[test]
fn one_message_counts_all_bounces_of_a_newsletter() {
    let counting = APP.replace("thread_by: [campaign.id]", "update: true");
    run(async {
        let mut scene = Scene::new("09:00", &counting);
        scene.newsletter(&[0]).await;
        let took = scene.complaint().await;
        assert!(took <= TWO_SECONDS, "{took:?}");
        scene.pass(Duration::from_secs(60 * 60)).await;
        assert_eq!((scene.told(), scene.posts().len()), (BOUNCES, 2), "{:#?}", scene.posts());
        assert!(scene.posts()[0].edits >= 3);
    });
}
