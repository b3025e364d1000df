//! What each step costs by itself: reading a body, finding the rules, appending to the journal, making what a
//! destination gets.
//!
//! `cargo bench --bench micro`. Everything is on the samples that the tests use, and through what the relay itself
//! calls.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures_util::FutureExt;
use vero_relay::config::Config;
use vero_relay::destination::{Delivery, Destination};
use vero_relay::event::{EventId, FieldPath, FieldSet, FieldSetBuilder, RelayFields};
use vero_relay::rules::RuleSet;
use vero_relay::store::journal::disk::{Disk, DiskFile, RealDisk, Space};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::{Blocking, JournalStore, Options};
use vero_relay::store::{
    Claimed, Duty, Intake, NameId, NameKind, Named, NewEvent, PlannedDelivery, Room, Settled, Settlement, Store,
    StoredEvent,
};
use vero_relay::yaml::values::Process;

fn main() {
    divan::main();
}

const BODY: &str = include_str!("../samples/bounced.json");
const ARRIVAL: RelayFields<'_> = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };

fn config(text: String) -> Config {
    Config::parse(Path::new("bench.yaml"), text, &Process).unwrap_or_else(|error| panic!("{error}")).0
}

// ---- a body ---------------------------------------------------------------------------------------------------------

fn fields(paths: &[&str]) -> FieldSet {
    let mut builder = FieldSetBuilder::default();
    for path in paths {
        builder.add(&FieldPath::parse(path).expect("a path"));
    }
    builder.build()
}

/// One pass over the body: that it is an object with a type, and the fields that rules ask for.
#[divan::bench(args = [0, 3, 8])]
fn read_a_body(bencher: Bencher<'_, '_>, asked: usize) {
    const PATHS: [&str; 8] = [
        "campaign.name",
        "campaign.type",
        "user.email",
        "campaign.trigger-event",
        "bounce_type",
        "bounce_code",
        "campaign.id",
        "event.data.order.id",
    ];
    let fields = fields(&PATHS[..asked]);
    bencher.bench(|| {
        let event = fields.read(black_box(BODY.as_bytes()), ARRIVAL).expect("an event");
        event.event_type.len()
    });
}

/// The same with a megabyte of something that no rule asks for.
#[divan::bench]
fn read_a_body_of_1_mib(bencher: Bencher<'_, '_>) {
    let body = format!(r#"{{"type":"bounced","padding":"{}"}}"#, "x".repeat((1 << 20) - 32));
    let fields = fields(&["campaign.name"]);
    bencher.bench(|| fields.read(black_box(body.as_bytes()), ARRIVAL).expect("an event").event_type.len());
}

// ---- the rules ------------------------------------------------------------------------------------------------------

/// Rules as people write them: by campaign, by type and campaign, by a name's beginning, by a number, by exclusion.
fn rules(count: usize) -> Arc<RuleSet> {
    let rule = |i: usize| match i % 5 {
        0 => format!("{{ campaign.id: {i} }}"),
        1 => format!("{{ type: [bounced, failed], campaign.name: \"Campaign {i}\" }}"),
        2 => format!("{{ campaign.name: {{ glob: \"Sale {i} *\" }} }}"),
        3 => format!("{{ type: opened, user.email: {{ ends_with: \"@customer{i}.example.com\" }} }}"),
        _ => format!("{{ campaign.trigger-event: \"Event {i}\", campaign.type: {{ not: transactional }} }}"),
    };
    let rules: String = (1..count).map(|i| format!("  - {{ match: {}, to: a }}\n", rule(i))).collect();
    let text = format!(
        "sources: {{ vero: {{ token: t }} }}\ndestinations: {{ a: {{ file: {{ path: a }} }} }}\nrules:\n{rules}  - {{ match: {{ campaign.name: {{ glob: \"Cart*\" }} }}, to: a }}\n"
    );
    config(text).rules
}

/// Reading the fields, finding the rules that may match, evaluating them.
#[divan::bench(args = [10, 100, 1_000, 10_000])]
fn route(bencher: Bencher<'_, '_>, count: usize) {
    let rules = rules(count);
    let routing = rules.route(BODY.as_bytes(), ARRIVAL).expect("an event");
    assert_eq!(routing.deliveries.len(), 1, "the last rule matches");
    bencher.bench(|| rules.route(black_box(BODY.as_bytes()), ARRIVAL).map(|routing| routing.deliveries.len()));
}

/// The same without the index, to see what the index is worth.
#[divan::bench(args = [10, 10_000])]
fn every_rule_asked(bencher: Bencher<'_, '_>, count: usize) {
    let rules = rules(count);
    bencher.bench(|| rules.route_plainly(black_box(BODY.as_bytes()), ARRIVAL).map(|routing| routing.deliveries.len()));
}

// ---- a large config -------------------------------------------------------------------------------------------------

/// A file of a mebibyte, all of one kind of thing.
fn large(kind: &str) -> String {
    let mut text = "sources: { vero: { token: t } }\n".to_owned();
    let (head, part): (&str, fn(usize) -> String) = match kind {
        "rules" => ("destinations: { a: { file: { path: a } } }\nrules:\n", |i| {
            format!("- {{ match: {{ user.id: {i} }}, to: a }}\n")
        }),
        "fields" => ("destinations: { a: { file: { path: a } } }\nrules:\n", |i| {
            format!("- {{ match: {{ user.f{i}: x }}, to: a }}\n")
        }),
        "templates" => ("rules: [{ to: d0 }]\ndestinations:\n", |i| {
            format!("  d{i}: {{ slack: {{ url: 'http://127.0.0.1:1/', text: '{{{{ user.email }}}} {i}' }} }}\n")
        }),
        _ => ("destinations: { a: { file: { path: a } } }\nrules:\n", |i| format!("- {{ mtch: {i}, to: a }}\n")),
    };
    text.push_str(head);
    let parts = (0..).map(part);
    for part in parts {
        if text.len() + part.len() > 1 << 20 {
            break;
        }
        text.push_str(&part);
    }
    text
}

/// Reading and proving a file of 1 MiB, good or with a problem in each line.
#[divan::bench(args = ["rules", "fields", "templates", "problems"], sample_count = 5, sample_size = 1)]
fn read_a_config_of_1_mib(bencher: Bencher<'_, '_>, kind: &str) {
    let text = large(kind);
    bencher.bench(|| Config::parse(Path::new("bench.yaml"), black_box(text.clone()), &Process).is_ok());
}

// ---- the journal ----------------------------------------------------------------------------------------------------

/// Events that go to the writer together, as from so many senders.
const GROUP: u64 = 64;

/// A disk that says it has synced: what the journal costs without the disk's own time.
struct Unsynced(RealDisk);

struct UnsyncedFile(Arc<dyn DiskFile>);

impl Disk for Unsynced {
    fn create(&self, name: &str, bytes: u64) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.create(name, bytes)?)))
    }
    fn create_aside(&self, name: &str, bytes: u64) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.create_aside(name, bytes)?)))
    }
    fn open(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(name)?)))
    }
    fn is_taken(&self, name: &str) -> bool {
        self.0.is_taken(name)
    }

    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }
    fn copy(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.copy(from, to)
    }
    fn sync_names(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn space(&self) -> Option<Space> {
        self.0.space()
    }
}

impl DiskFile for UnsyncedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn set_len(&self, bytes: u64) -> std::io::Result<()> {
        self.0.set_len(bytes)
    }
    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }
}

/// A store to append to, and what an event needs.
struct Journal {
    store: JournalStore,
    destination: NameId,
    rule: NameId,
    source: NameId,
    body: Bytes,
}

impl Journal {
    fn open(disk: impl Disk, options: Options) -> Self {
        let options = Options { blocking: Blocking::Here, ..options };
        let (store, _) = JournalStore::open(Arc::new(disk), options).expect("an empty disk");
        let named = |kind| Named { kind, name: "one".to_owned(), renamed_from: None };
        let named = [NameKind::Destination, NameKind::Rule, NameKind::Source].map(named).into();
        let interned = store.intern(named).now_or_never().expect("it is done here").expect("there is room");
        let (destination, rule, source) = (interned.ids[0], interned.ids[1], interned.ids[2]);
        Self { store, destination, rule, source, body: Bytes::from_static(BODY.as_bytes()) }
    }

    /// Appends a group, waits for every answer, and settles it, so that nothing piles up.
    fn append_group(&self) {
        let event = || NewEvent {
            received_ms: ARRIVAL.received_ms,
            source: self.source,
            generation: 1,
            rules: vec![self.rule],
            deliveries: vec![PlannedDelivery { destination: self.destination, rule: self.rule }],
            body: self.body.clone(),
        };
        let answers: Vec<_> = (0..GROUP).map(|_| self.store.append(event())).collect();
        for answer in answers {
            answer.blocking_recv().expect("the writer lives").expect("there is room");
        }
        let leased = self.store.lease(Duty::deliver_to(self.destination)).now_or_never();
        let queue = leased.expect("a journal's lease is there at once").queues.remove(0);
        let room = Room { deliveries: GROUP as usize, body_bytes: usize::MAX, urgent_only: false };
        let claimed = queue.claim(room).now_or_never().expect("all of it is in memory");
        let delivered =
            |Claimed { claim, .. }| Settled { claim, settlement: Settlement::Delivered { attempts: 1 }, attempt: None };
        queue.settle(claimed.into_iter().map(delivered).collect());
    }

    fn bench(self, bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(GROUP)).bench_local(|| self.append_group());
        self.store.close_here();
    }
}

fn real_disk(directory: &tempfile::TempDir) -> RealDisk {
    RealDisk::open(&directory.path().join("journal")).expect("a writable directory")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a writable target directory")
}

/// 64 events, one delivery each: written, synced, answered, claimed, settled.
#[divan::bench]
fn append_64_synced(bencher: Bencher<'_, '_>) {
    let directory = scratch();
    Journal::open(real_disk(&directory), Options::default()).bench(bencher);
}

/// The same where syncing costs nothing.
#[divan::bench]
fn append_64_unsynced(bencher: Bencher<'_, '_>) {
    let directory = scratch();
    Journal::open(Unsynced(real_disk(&directory)), Options::default()).bench(bencher);
}

/// The same on the disk in memory that tests and simulations use. It keeps everything, so the runs are few.
#[divan::bench(sample_count = 20, sample_size = 10)]
fn append_64_on_the_model_disk(bencher: Bencher<'_, '_>) {
    Journal::open(ModelDisk::default(), Options { segment_bytes: 1 << 20, ..Options::default() }).bench(bencher);
}

// ---- what a destination gets ----------------------------------------------------------------------------------------

fn delivery() -> Delivery {
    let event = StoredEvent {
        id: EventId::mint(ARRIVAL.received_ms, 0, 7),
        received_ms: ARRIVAL.received_ms,
        source: NameId(1),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: Bytes::from_static(BODY.as_bytes()),
        is_redacted: false,
    };
    Delivery { event: Arc::new(event), source: "vero".into(), rule: "everything".into(), digest: None }
}

/// A destination as a config has it.
fn destination(yaml: &str) -> Arc<dyn Destination> {
    let text = format!(
        "sources: {{ vero: {{ token: t }} }}\nrules:\n  - {{ to: a }}\ndestinations:\n  a:\n    {}\n",
        yaml.replace('\n', "\n    ")
    );
    let config = config(text);
    config.destinations[0].destination.clone()
}

fn content(bencher: Bencher<'_, '_>, yaml: &str) {
    let (destination, delivery) = (destination(yaml), delivery());
    assert!(!destination.content(&delivery).expect("it renders").is_empty());
    bencher.bench(|| destination.content(black_box(&delivery)).map(|content| content.len()));
}

#[divan::bench]
fn slack_usual_message(bencher: Bencher<'_, '_>) {
    content(bencher, "slack: { url: \"http://127.0.0.1:1/x\" }");
}

#[divan::bench]
fn slack_own_text(bencher: Bencher<'_, '_>) {
    content(
        bencher,
        "slack: { url: \"http://127.0.0.1:1/x\", text: \":rotating_light: *{{ type }}* {{ user.email }} · {{ campaign.name }}\" }",
    );
}

#[divan::bench]
fn slack_blocks(bencher: Bencher<'_, '_>) {
    content(
        bencher,
        r#"slack:
  url: "http://127.0.0.1:1/x"
  text: "{{ type }} {{ user.email }}"
  blocks:
    - { type: header, text: { type: plain_text, text: "{{ campaign.name }}" } }
    - { type: section, text: { type: mrkdwn, text: "*{{ type }}* {{ user.email }}: {{ bounce_message }}" } }"#,
    );
}

#[divan::bench]
fn http_as_it_came(bencher: Bencher<'_, '_>) {
    content(bencher, "http: { url: \"http://127.0.0.1:1/x\" }");
}

#[divan::bench]
fn http_json_structure(bencher: Bencher<'_, '_>) {
    content(
        bencher,
        r#"http:
  url: "http://127.0.0.1:1/x"
  json:
    kind: "vero.{{ type }}"
    user: "{{ user.id }}"
    email: "{{ user.email }}"
    campaign: { id: "{{ campaign.id }}", name: "{{ campaign.name }}" }
    at: "{{ relay.occurred_at }}"
    tags: [vero, "{{ campaign.type }}"]"#,
    );
}

#[divan::bench]
fn file_line(bencher: Bencher<'_, '_>) {
    content(bencher, "file: { path: a }");
}
