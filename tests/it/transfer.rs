//! `store export` and `store import`: a relay goes on with another store, and each event is delivered once.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use serde_json::Value;
use tempfile::TempDir;
use vero_relay::event::EventId;
use vero_relay::store::NameKind;
use vero_relay::store::journal::disk::RealDisk;
use vero_relay::store::journal::{JournalStore, Location, Options};
use vero_relay::store::postgres::{Address, AddressOptions, Import, Quiet, check};
use vero_relay::store::transfer::{Body, Delivery, Head, Line, Lines, Moved, Planned, Reading, Stands, State, VERSION};

use super::harness::{Act, Fake, HEAD, QUICK, SENT, TestRelay, eventually};
use crate::cli::{err, vero_relay};
use crate::postgres::{contract_server, schema};

/// Fakes of four destinations: one takes everything, one is paused, one is down, one takes nothing.
struct Four {
    good: Fake,
    paused: Fake,
    down: Fake,
    strict: Fake,
}

impl Four {
    async fn start() -> Self {
        let (good, paused) = (Fake::start([]).await, Fake::start([]).await);
        let down = Fake::start(vec![Act::status(503); 64]).await;
        let strict = Fake::start(vec![Act::status(400); 64]).await;
        Self { good, paused, down, strict }
    }

    fn config(&self, store: &str) -> String {
        let to = |name: &str, fake: &Fake, retry: &str| {
            format!("  {name}: {{ http: {{ url: \"{}/hook\" }}, {retry} }}\n", fake.url())
        };
        let long = "retry: { initial: 1h, factor: 1, max: 1h }";
        format!(
            "{HEAD}{store}rules: [ {{ name: all, to: [good, paused, down, strict] }} ]\ndestinations:\n{}{}{}{}",
            to("good", &self.good, QUICK),
            to("paused", &self.paused, QUICK),
            to("down", &self.down, long),
            to("strict", &self.strict, QUICK),
        )
    }
}

/// The deliveries of some events, by event and destination.
async fn states(relay: &TestRelay, ids: &[String]) -> BTreeMap<(String, String), String> {
    let mut states = BTreeMap::new();
    for id in ids {
        for delivery in relay.deliveries(id).await {
            let text = |key: &str| delivery[key].as_str().unwrap_or_default().to_owned();
            states.insert((id.clone(), text("destination")), text("state"));
        }
    }
    states
}

fn run(directory: &Path, verb: &str, file: &Path) -> (Option<i32>, String) {
    let done = vero_relay(directory, &["store", verb, file.to_str().expect("a plain path")]);
    (done.status.code(), err(&done))
}

fn place(config: &str) -> Arc<TempDir> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.yaml"), config).expect("written");
    Arc::new(directory)
}

/// Moves what a stopped relay has in one place to another, and starts a relay there.
async fn moved(from: &Path, config: String) -> (TestRelay, PathBuf) {
    let file = from.join("all.jsonl");
    let (code, told) = run(from, "export", &file);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(file.metadata().expect("there").permissions(), Permissions::from_mode(0o100_600));
    let to = place(&config);
    let (code, told) = run(to.path(), "import", &file);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("4 events taken in"), "{told}");
    let (code, again) = run(to.path(), "import", &file);
    assert!(code == Some(0) && again.contains("already"), "{again}");
    let relay = TestRelay::start_at(to, config.strip_prefix(HEAD).expect("the usual head")).await;
    (relay, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_goes_on_in_postgresql_and_back_and_each_event_is_delivered_once_under_its_id() {
    let four = Four::start().await;
    let in_journal = four.config("");
    let in_postgres = four.config(&format!(
        "store: {{ postgres: {{ url: \"{}\", schema: {} }} }}\n",
        contract_server().url(),
        schema()
    ));
    let relay = TestRelay::start_with(&in_journal).await;
    assert_eq!(relay.act("/api/destinations/paused/pause").await.status(), 200);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(relay.accept(SENT).await);
    }
    ids.sort_unstable();
    let expected = |destination: &str| match destination {
        "good" => "delivered",
        "paused" => "waiting",
        "down" => "scheduled",
        _ => "dead",
    };
    eventually("all to have been tried", async || {
        states(&relay, &ids).await.iter().all(|((_, to), state)| state == expected(to))
    })
    .await;
    let before = states(&relay, &ids).await;
    let dead = relay.deliveries(&ids[0]).await;
    let reason = |deliveries: &[Value]| {
        let strict = deliveries.iter().find(|delivery| delivery["destination"] == "strict").expect("there");
        strict["reason"].clone()
    };
    let TestRelay { running, directory, .. } = relay;
    running.stop().await;

    let (relay, _) = moved(directory.path(), in_postgres).await;
    assert_eq!(states(&relay, &ids).await, before);
    assert_eq!(reason(&relay.deliveries(&ids[0]).await), reason(&dead));
    assert_eq!(relay.destination("paused").await["state"], "paused");
    let [down, strict] = [relay.destination("down").await, relay.destination("strict").await];
    assert_eq!((&down["backlog"], &strict["dead_letters"]), (&4.into(), &4.into()), "{down} {strict}");
    let TestRelay { running, directory, .. } = relay;
    running.stop().await;

    let (relay, _) = moved(directory.path(), in_journal).await;
    let after = states(&relay, &ids).await;
    assert_eq!(after, before);
    assert_eq!(reason(&relay.deliveries(&ids[0]).await), reason(&dead));
    let tried = four.down.recovers();
    assert_eq!(tried, 4);
    assert_eq!(relay.act("/api/destinations/paused/resume").await.status(), 200);
    assert_eq!(relay.act("/api/destinations/down/retry").await.status(), 200);
    eventually("what waited to go out", async || {
        states(&relay, &ids).await.iter().all(|((_, to), state)| to == "strict" || state == "delivered")
    })
    .await;
    let sent = |fake: &Fake, from: usize| {
        let seen = fake.seen();
        let mut sent: Vec<_> =
            seen[from..].iter().map(|request| request.header("webhook-id").unwrap_or_default().to_owned()).collect();
        sent.sort_unstable();
        sent
    };
    for (name, fake, from) in [("good", &four.good, 0), ("paused", &four.paused, 0), ("down", &four.down, tried)] {
        assert_eq!(sent(fake, from), ids, "{name}");
    }
    // And the relay takes in what comes, as ever.
    let id = relay.accept(SENT).await;
    eventually("it to arrive", async || {
        relay.deliveries(&id).await.iter().any(|d| d["destination"] == "good" && d["state"] == "delivered")
    })
    .await;
}

// ---- interrupted at any moment --------------------------------------------------------------------------------------------------

/// Numbers that look random, the same for each seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn events(dice: &mut Dice, count: u64) -> Vec<Moved> {
    let one = |number: u64| {
        let states = [
            State::Waiting,
            State::Retry { attempts: 2, first_ms: 1_000, due_ms: 9_000_000_000_000, reason: "503".to_owned() },
            State::Dead { attempts: 3, at_ms: 2_000, reason: "400".to_owned() },
            State::Delivered { attempts: 1, at_ms: 3_000 },
        ];
        let names = ["crm", "log"];
        let delivery = |name: &&str| {
            let state = states[dice.below(4) as usize].clone();
            Delivery { destination: (*name).to_owned(), state }
        };
        let deliveries: Vec<Delivery> = names.iter().map(delivery).collect();
        let planned = |name: &&str| Planned { destination: (*name).to_owned(), rule: "all".to_owned() };
        Moved {
            id: EventId::mint(1_000 + number, 5, (number - 1) * 3),
            received_ms: 1_000 + number,
            source: "vero".to_owned(),
            rules: vec!["all".to_owned()],
            to: names.iter().map(planned).collect(),
            is_erased: false,
            is_redacted: false,
            body: Body::of(format!("{{\"n\":{number}}}").as_bytes()),
            deliveries,
        }
    };
    (1..=count).map(one).filter(Moved::is_open).collect()
}

/// Polls a future so often, and drops it then.
async fn for_a_while<F: Future>(future: F, mut polls: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(move |ctx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(ctx).map(Some)
    })
    .await
}

fn address(schema: &str) -> Address {
    let options = AddressOptions { schema: schema.to_owned(), ..AddressOptions::default() };
    Address::parse(&contract_server().url(), options).expect("an address")
}

async fn read_from_postgres(schema: &str) -> Vec<Moved> {
    let quiet = Quiet::open(&address(schema)).await.expect("nobody is there");
    let mut read = Vec::new();
    let mut write = |line: &Line| {
        if let Line::Event(event) = line {
            read.push((**event).clone());
        }
        Ok(())
    };
    quiet.export(true, &mut write).await.expect("it is read");
    read
}

/// Fails with the first that differs: all of them are long.
#[track_caller]
fn assert_same(read: Vec<Moved>, expected: Vec<Moved>) {
    let (read, expected) = (sorted(read), sorted(expected));
    for (read, expected) in read.iter().zip(&expected) {
        assert_eq!(read, expected);
    }
    assert_eq!(read.len(), expected.len());
}

/// The same whatever the order of an event's deliveries is.
fn sorted(mut events: Vec<Moved>) -> Vec<Moved> {
    events.sort_by_key(|event| event.id);
    for event in &mut events {
        event.deliveries.sort_by(|a, b| a.destination.cmp(&b.destination));
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_postgresql_that_is_ended_anywhere_goes_on_and_nothing_is_lost_or_doubled() {
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let schema = schema();
        let events = events(&mut dice, 120);
        for round in 0..8 {
            let all = async {
                let quiet = Quiet::open(&address(&schema)).await.expect("nobody is there");
                let mut import = Import::begin(quiet).await.expect("it begins");
                let paused = Stands { name: "crm".to_owned(), paused_since_ms: Some(7), ..Stands::default() };
                import.stand(NameKind::Destination, &paused).await.expect("paused");
                for batch in events.chunks(16) {
                    import.take(batch).await.expect("taken in");
                }
            };
            for_a_while(all, if round == 7 { u64::MAX } else { 20 + dice.below(80) }).await;
        }
        assert_same(read_from_postgres(&schema).await, events);
        let checked = check(&address(&schema), std::time::Duration::from_secs(600)).await.expect("it is asked");
        let wrong: Vec<_> = checked.answers.iter().filter(|answered| answered.wrong > 0).collect();
        assert!(wrong.iter().all(|answered| answered.question == "commits are durable"), "{wrong:?}");
    }
}

fn journal(directory: &Path) -> JournalStore {
    let disk = RealDisk::open(&directory.join("journal")).expect("a disk");
    let options = Options {
        segment_bytes: 1 << 20,
        first_number: 1_000,
        due_within: std::time::Duration::from_secs(u64::from(u32::MAX) * 60),
        ..Options::new(Location::File(directory.join("state.db")))
    };
    JournalStore::open(Arc::new(disk), options).expect("it opens").0
}

#[test]
fn an_import_into_a_journal_that_is_ended_between_any_two_batches_goes_on_and_nothing_is_lost_or_doubled() {
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().expect("a directory");
        let events = events(&mut dice, 120);
        for round in 0..6 {
            // It ends as a process does that is killed: nothing is closed.
            let store = journal(directory.path());
            let batches = if round == 5 { usize::MAX } else { dice.below(9) as usize };
            for batch in events.chunks(16).take(batches) {
                store.take_moved(batch).expect("taken in");
            }
        }
        let store = journal(directory.path());
        let mut read = Vec::new();
        let mut write = |line: &Line| {
            if let Line::Event(event) = line {
                read.push((**event).clone());
            }
            Ok(())
        };
        store.export(false, &mut write).expect("it is read");
        assert_same(read, events);
    }
}

// ---- what is refused ------------------------------------------------------------------------------------------------------------

/// A file with some events, and whatever else.
fn file(directory: &Path, stands: Option<Line>, events: &[Moved]) -> PathBuf {
    let path = directory.join("some.jsonl");
    let head = Head {
        version: VERSION,
        id: "some".to_owned(),
        from: "journal".to_owned(),
        by: "0".to_owned(),
        made_ms: 1,
        has_history: false,
    };
    let mut lines = Lines::begin(Vec::new(), head).expect("it begins");
    stands.iter().for_each(|line| lines.write(line).expect("written"));
    events.iter().for_each(|event| lines.write(&Line::Event(Box::new(event.clone()))).expect("written"));
    let (bytes, _) = lines.end().expect("it ends");
    assert!(Reading::new(&*bytes).line().expect("a line").is_some());
    std::fs::write(&path, bytes).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_file_is_refused_before_anything_is_made_of_it() {
    let four = Four::start().await;
    let directory = place(&four.config(""));
    let path = file(directory.path(), None, &events(&mut Dice(1), 20));
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    let (code, told) = run(directory.path(), "import", &path);
    assert!(code == Some(1) && told.contains("make the export again"), "{told}");
    assert!(!directory.path().join("data").exists(), "nothing was made");
    let (code, told) = run(directory.path(), "export", &path);
    assert!(code == Some(1) && told.contains("holds no journal"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_relay_runs_nothing_is_exported_or_imported() {
    let four = Four::start().await;
    let shared = format!("store: {{ postgres: {{ url: \"{}\", schema: {} }} }}\n", contract_server().url(), schema());
    for (store, code) in [(String::new(), 75), (shared, 1)] {
        let relay = TestRelay::start_with(&four.config(&store)).await;
        let directory = relay.directory.path();
        let path = file(directory, None, &events(&mut Dice(1), 20));
        let new = directory.join("new.jsonl");
        for (verb, path) in [("export", &new), ("import", &path)] {
            let (got, told) = run(directory, verb, path);
            assert!(got == Some(code) && told.to_lowercase().contains("stop"), "{verb}: {told}");
        }
        assert!(!new.exists(), "what is not whole is taken away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_journal_cannot_take_over_is_refused_and_postgresql_takes_it() {
    let four = Four::start().await;
    let mut held = events(&mut Dice(1), 3);
    held.iter_mut().for_each(|event| event.deliveries[0].state = State::Held);
    let source = Line::Source(Stands { name: "vero".to_owned(), held_since_ms: Some(5), ..Stands::default() });
    let directory = place(&four.config(""));
    let path = file(directory.path(), Some(source), &held);
    let (code, told) = run(directory.path(), "import", &path);
    assert!(code == Some(1) && told.contains("resume --source vero"), "{told}");
    let schema = schema();
    let shared = format!("store: {{ postgres: {{ url: \"{}\", schema: {schema} }} }}\n", contract_server().url());
    let elsewhere = place(&four.config(&shared));
    let (code, told) = run(elsewhere.path(), "import", &path);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("for crm, which this config does not have"), "{told}");
    assert_same(read_from_postgres(&schema).await, held.clone());
    // Another event of the same number is another store's.
    let mut other = held[..1].to_vec();
    other[0].id = EventId::mint(77, 1, 0);
    let mut import = Import::begin(Quiet::open(&address(&schema)).await.expect("quiet")).await.expect("it begins");
    let refused = import.take(&other).await.expect_err("its number is taken").to_string();
    assert!(refused.contains("another one has its number"), "{refused}");
    assert_same(read_from_postgres(&schema).await, held);
}
