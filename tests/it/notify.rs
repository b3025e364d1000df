//! Who is told of trouble: relays with real outages, and a clock that the tests move.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use vero_relay::time::{Clock, rfc3339};

use crate::harness::*;
use crate::mail_server::{Begins, MailServer};
use crate::slack_server::SlackServer;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// A little more than what is gathered for one message, and than what a problem must be gone for.
const SOON: u64 = 11;
const STEADY: u64 = 61 + SOON;

/// A relay that tells by a clock which only the test moves.
struct Drill {
    relay: TestRelay,
    clock: &'static AtomicU64,
    config: String,
}

impl Drill {
    async fn start(rest: &str) -> Self {
        Self::start_with(&format!("{HEAD}{rest}")).await
    }

    async fn start_with(config: &str) -> Self {
        let clock: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_800_000_000_000)));
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::start_at(clock, directory, config).await
    }

    async fn start_at(clock: &'static AtomicU64, directory: Arc<TempDir>, config: &str) -> Self {
        let relay = TestRelay::start_told_by(Clock::by_hand(clock), directory, config).await;
        Self { relay, clock, config: config.to_owned() }
    }

    /// Stops it, and starts it again on the same data.
    async fn restart(self) -> Self {
        let Self { relay: TestRelay { running, directory, .. }, clock, config } = self;
        running.stop().await;
        Self::start_at(clock, directory, &config).await
    }

    /// Puts another config in force, or tries to.
    async fn reload(&mut self, config: &str) -> Message {
        std::fs::write(self.relay.directory.path().join("config.yaml"), config).expect("written");
        self.config = config.to_owned();
        self.relay.act("/api/reload").await
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    async fn problems(&self) -> Vec<Value> {
        let shown = self.relay.admin("/api/problems").await.json();
        shown["problems"].as_array().cloned().unwrap_or_else(|| panic!("{shown}"))
    }

    /// Waits until a problem of a kind is seen, and is as it should be.
    async fn until(&self, kind: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        eventually(kind, async || {
            let problems = self.problems().await;
            found = problems.into_iter().find(|problem| problem["kind"] == kind).unwrap_or_default();
            !found.is_null() && is_so(&found)
        })
        .await;
        found
    }

    async fn until_seen(&self, kind: &str) -> Value {
        self.until(kind, |problem| problem["gone_since"].is_null()).await
    }

    async fn until_gone(&self, kind: &str) -> Value {
        self.until(kind, |problem| problem["gone_since"].is_string()).await
    }

    /// Waits until so many messages have come and the relay knows that the last one was heard; gives what that says. Whoever moves the clock
    /// before that has it heard at the later time, and the next message a minute after it.
    async fn told(&self, fake: &Fake, count: usize) -> Message {
        let message = fake.wait_for(count).await.remove(count - 1);
        let now = rfc3339(self.clock.load(Ordering::Relaxed));
        let told = message.json()["notice"]["problems"].as_array().cloned().expect("problems");
        eventually("it to be known as told", async || {
            let known = self.problems().await;
            told.iter().all(|told| {
                let same = |known: &&Value| known["kind"] == told["kind"] && known["about"] == told["about"];
                let known = known.iter().find(same);
                if told["is_over"] == true {
                    known.is_none()
                } else {
                    known.is_some_and(|known| known["told"]["at"] == *now)
                }
            })
        })
        .await;
        message
    }

    /// Waits until somebody has looked for the first time: what was there before is old.
    async fn until_looked(&self) {
        let metrics = async || self.relay.admin("/metrics").await.text();
        eventually("a look", async || metrics().await.contains("vero_relay_problems{kind=\"dead_letters\"} 0")).await;
    }

    async fn send_by_a_wrong_token(&self) {
        let answer = request(self.relay.running.address, "POST", "/hooks/vero/wrong", &[], SENT.as_bytes()).await;
        assert_eq!(answer.status(), 404);
    }

    /// Has something else told, so that whatever was to be told before it has been.
    async fn mark(&self, told: &Fake, count: usize) {
        self.send_by_a_wrong_token().await;
        self.until_seen("source_refused").await;
        self.pass(STEADY);
        assert_eq!(said(&self.told(told, count).await), ["source_refused vero begins"]);
        assert_eq!(told.seen().len(), count);
    }
}

/// What a message to an http destination says.
fn said(message: &Message) -> Vec<String> {
    let notice = &message.json()["notice"];
    let word = |told: &Value| {
        let word = if told["is_over"] == true { "over" } else { "begins" };
        format!("{} {} {word}", told["kind"].as_str().expect("a kind"), told["about"].as_str().expect("a name"))
    };
    let problems = notice["problems"].as_array().expect("problems");
    assert_eq!(message.header("webhook-id"), notice["id"].as_str());
    problems.iter().map(|told| word(told).replace("  ", " ")).collect()
}

/// A config in which `crm` takes everything, and these are told.
fn told_by(crm: &Fake, names: &str, destinations: &str) -> String {
    format!("notify: {{ to: [{names}] }}\n{}{destinations}", to_crm(crm, ""))
}

fn http(name: &str, fake: &Fake) -> String {
    format!("  {name}:\n    http: {{ url: \"{}/{name}\" }}\n", fake.url())
}

fn fails(times: usize) -> Vec<Act> {
    vec![Act::status(503); times]
}

/// More failures than there are attempts.
const ALWAYS: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_one_message_when_it_has_lasted_and_one_when_it_is_over() {
    let crm = Fake::start(fails(ALWAYS)).await;
    let ops = Fake::start([]).await;
    let config = told_by(&crm, "ops", &http("ops", &ops)).replace(HEAD, "");
    let head = HEAD.replace("admin: { ", "admin: { url: \"http://127.0.0.1:1/vero/\", ");
    let drill = Drill::start_with(&format!("{head}{config}")).await;
    let id = drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(10 * MINUTE + SOON);
    let first = drill.told(&ops, 1).await;
    assert_eq!(said(&first), ["destination_failing crm begins"]);
    let notice = &first.json()["notice"];
    let told = &notice["problems"][0];
    assert_eq!(told["page"], "http://127.0.0.1:1/vero/#/destinations/crm");
    assert!(told["text"].as_str().is_some_and(|text| text.contains("crm fails") && text.contains("503")), "{told}");
    assert!(notice["title"].as_str().is_some_and(|title| title.starts_with("vero-relay: crm fails")), "{notice}");
    let told = drill.until("destination_failing", |problem| problem["told"]["to"] == "ops").await;
    assert!(told["since"].is_string() && told["gone_since"].is_null(), "{told}");
    let status = drill.relay.admin("/api/status").await.json();
    assert_eq!(status["problems"][0]["about"], "crm");
    crm.recovers();
    // The breaker's next probe may be a minute away.
    drill.relay.act("/api/destinations/crm/retry").await;
    drill.relay.until(&id, "delivered").await;
    drill.until_gone("destination_failing").await;
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 2).await), ["destination_failing crm over"]);
    drill.mark(&ops, 3).await;
    let metrics = drill.relay.admin("/metrics").await.text();
    let counted = "vero_relay_notifications_total{destination=\"ops\",outcome=\"delivered\"} 3\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("vero_relay_problems{kind=\"source_refused\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_between_says_nothing() {
    let crm = Fake::start(fails(ALWAYS)).await;
    let ops = Fake::start([]).await;
    let drill = Drill::start(&told_by(&crm, "ops", &http("ops", &ops))).await;
    let id = drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(10 * MINUTE + SOON);
    drill.told(&ops, 1).await;
    let drill = drill.restart().await;
    let known = drill.until_seen("destination_failing").await;
    assert_eq!(known["told"]["to"], "ops", "it is known");
    drill.pass(HOUR);
    drill.mark(&ops, 2).await;
    let drill = drill.restart().await;
    crm.recovers();
    // The breaker's next probe may be a minute away.
    drill.relay.act("/api/destinations/crm/retry").await;
    drill.relay.until(&id, "delivered").await;
    drill.until_gone("destination_failing").await;
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 3).await), ["destination_failing crm over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_once_is_one_message_the_worst_first() {
    let crm = Fake::start([Act::status(410)]).await;
    let ops = Fake::start([]).await;
    let rest = told_by(&crm, "ops", &http("ops", &ops));
    let mut drill = Drill::start(&rest).await;
    assert_eq!(drill.reload("listen: nowhere\n").await.status(), 422);
    drill.until_seen("reload_failed").await;
    drill.relay.accept(SENT).await;
    drill.until_seen("destination_paused").await;
    drill.send_by_a_wrong_token().await;
    drill.until_seen("source_refused").await;
    drill.pass(SOON);
    let expected = ["source_refused vero begins", "destination_paused crm begins", "reload_failed begins"];
    assert_eq!(said(&drill.told(&ops, 1).await), expected);
    let config = format!("{HEAD}{rest}");
    assert_eq!(drill.reload(&config).await.status(), 200);
    drill.until_gone("reload_failed").await;
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 2).await), ["reload_failed over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_a_destination_by_way_of_it_nor_by_another_name_of_its_place() {
    let ops = Fake::start([]).await;
    let mail = Fake::start([]).await;
    ops.then(fails(ALWAYS));
    let place = format!("{}/one", ops.url());
    let rest = format!(
        "notify: {{ to: [ops, same, mail] }}\nrules: [ {{ name: all, to: [ops] }} ]\ndestinations:\n  ops:\n    slack: {{ url: \"{place}\" }}\n    \
         {QUICK}\n    rate: 100/s\n  same:\n    slack: {{ url: \"{place}\" }}\n    rate: 100/s\n{}",
        http("mail", &mail)
    );
    let drill = Drill::start(&rest).await;
    drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(10 * MINUTE + SOON);
    assert_eq!(said(&drill.told(&mail, 1).await), ["destination_failing ops begins"]);
    assert!(ops.seen().iter().all(|message| !message.text().contains("ops fails")), "not even tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_is_followed_by_the_next_and_at_last_by_the_log() {
    let crm = Fake::start([]).await;
    let refusals = |count: usize| vec![Act::status(400); count];
    let ops = Fake::start(refusals(2)).await;
    let mail = Fake::start(refusals(1)).await;
    let drill = Drill::start(&told_by(&crm, "ops, mail", &[http("ops", &ops), http("mail", &mail)].concat())).await;
    drill.send_by_a_wrong_token().await;
    drill.until_seen("source_refused").await;
    drill.pass(SOON);
    let first = mail.wait_for(1).await.remove(0);
    // Nobody has taken it: it stays untold, and is told in the next round, under the same id.
    assert!(drill.until_seen("source_refused").await["told"].is_null());
    let mut told = Value::Null;
    eventually("it to be told", async || {
        drill.pass(1);
        told = drill.until_seen("source_refused").await["told"].clone();
        !told.is_null()
    })
    .await;
    assert_eq!((told["to"].as_str(), ops.seen().len()), (Some("mail"), 2));
    let ids: Vec<_> =
        ops.seen().iter().chain(&mail.seen()).map(|seen| seen.header("webhook-id").map(str::to_owned)).collect();
    assert_eq!(ids, vec![first.header("webhook-id").map(str::to_owned); 4]);
}

/// One in whose way is nothing but its rate, and another who refuses the first message: `ops` has had its turn for this hour, something was to
/// be told, and nobody could be. Another event waits for `ops`.
struct Kept {
    drill: Drill,
    config: String,
    ops: Fake,
    pager: Fake,
}

const SLOW: &str = "    rate: 1/h\n";

impl Kept {
    async fn start() -> Self {
        let ops = Fake::start([]).await;
        let pager = Fake::start([Act::status(400)]).await;
        let destinations = [http("ops", &ops), SLOW.to_owned(), http("pager", &pager)].concat();
        let rest = "notify: { to: [ops, pager] }\nrules: [ { name: all, to: ops } ]\ndestinations:\n";
        let config = format!("{HEAD}{rest}{destinations}");
        let drill = Drill::start_with(&config).await;
        drill.relay.accept(SENT).await;
        ops.wait_for(1).await;
        drill.relay.accept(SENT).await;
        untold(&drill, &pager).await;
        Self { drill, config, ops, pager }
    }

    async fn reload(&mut self, from: &str, to: &str) {
        self.config = self.config.replace(from, to);
        assert_eq!(self.drill.reload(&self.config).await.status(), 200);
    }

    /// Lets time pass until somebody has been told.
    async fn until_told(&self, who: &str) {
        let mut told = Value::Null;
        eventually("it to be told", async || {
            self.drill.pass(1);
            told = self.drill.until_seen("source_refused").await["told"].clone();
            !told.is_null()
        })
        .await;
        assert_eq!(told["to"], who);
    }

    /// Waits until the event that waited has arrived, and a number of notices.
    async fn until_free(&self, notices: usize) {
        let seen = self.ops.wait_for(2 + notices).await;
        assert_eq!(seen.iter().filter(|seen| seen.text().contains("notice")).count(), notices);
    }
}

/// Has something to tell, of which nobody can be told now: the last who could refuses.
async fn untold(drill: &Drill, pager: &Fake) {
    drill.send_by_a_wrong_token().await;
    drill.until_seen("source_refused").await;
    drill.pass(SOON);
    pager.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_kept_is_given_back_when_another_was_told() {
    let mut kept = Kept::start().await;
    kept.until_told("pager").await;
    assert_eq!(said(&kept.pager.seen()[1]), ["source_refused vero begins"]);
    kept.reload(SLOW, "").await;
    kept.until_free(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_turn_is_taken_as_soon_as_it_comes_and_what_waits_goes_on() {
    let mut kept = Kept::start().await;
    kept.reload(SLOW, "").await;
    kept.until_told("ops").await;
    kept.until_free(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_kept_is_given_back_when_nobody_is_to_be_told_any_more() {
    let mut kept = Kept::start().await;
    kept.reload("notify: { to: [ops, pager] }\n", "").await;
    kept.reload(SLOW, "").await;
    kept.until_free(0).await;
    let mut kept = Kept::start().await;
    kept.reload("[ops, pager]", "[pager]").await;
    kept.reload(SLOW, "").await;
    kept.until_free(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_turn_is_kept_that_the_probe_of_what_fails_would_take() {
    // By the one who is to be told, and by another on the same webhook.
    for (to, slow) in [("ops", "ops"), ("same", "ops")] {
        let ops = Fake::start(fails(1)).await;
        let pager = Fake::start([Act::status(400)]).await;
        let slack = |name: &str| {
            format!("  {name}:\n    slack: {{ url: \"{}/one\" }}\n    {QUICK}\n    rate: 1/h\n", ops.url())
        };
        let destinations = [slack("ops"), slack("same"), http("pager", &pager)].concat();
        let config = format!(
            "{HEAD}notify: {{ to: [{to}, pager] }}\nrules: [ {{ name: all, to: {slow} }} ]\ndestinations:\n{destinations}"
        );
        let mut drill = Drill::start_with(&config).await;
        drill.relay.accept(SENT).await;
        drill.until_seen("destination_failing").await;
        untold(&drill, &pager).await;
        assert_eq!(drill.reload(&config.replace("1/h", "100/s")).await.status(), 200);
        ops.wait_for(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_is_told_of_to_a_chat() {
    let crm = Fake::start([]).await;
    let chat = SlackServer::start([]).await;
    let destinations = format!("  chat:\n    slack: {{ url: \"{}/services/T0/B0/x\" }}\n", chat.url());
    let rest = told_by(&crm, "chat", &destinations);
    let full = format!("{HEAD}store: {{ free_space_min: 1024TiB }}\n{rest}");
    let mut drill = Drill::start_with(&full).await;
    eventually("it to be full", async || drill.relay.post(SENT).await.status() == 503).await;
    drill.until_seen("store_full").await;
    drill.pass(SOON);
    let text = chat.wait_for(1).await[0].json()["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("🔴 the store has no room, and events are refused with 503"), "{text}");
    assert_eq!(drill.reload(&format!("{HEAD}{rest}")).await.status(), 200);
    drill.until_gone("store_full").await;
    drill.pass(STEADY);
    let text = chat.wait_for(2).await[1].json()["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("🟢 over: events are accepted again, after "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_in_a_message_is_told_in_the_next() {
    let chat = SlackServer::start([]).await;
    // Its links leave room for three problems.
    let url = format!("https://relay.example.com/{}", "x".repeat(900));
    let sources = ["one", "two", "three", "four", "five"];
    let config = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: \"127.0.0.1:0\", url: \"{url}\" }}\ndata_dir: data\nsources: {{ {} }}\nnotify: {{ to: \
         [chat] }}\nrules: [ {{ to: [], stop: true }} ]\ndestinations:\n  chat:\n    slack: {{ url: \"{}/services/T0/B0/x\" }}\n",
        sources.map(|name| format!("{name}: {{ token: secret-{name} }}")).join(", "),
        chat.url()
    );
    let drill = Drill::start_with(&config).await;
    drill.until_looked().await;
    for name in sources {
        let path = format!("/hooks/{name}/wrong");
        let answer = request(drill.relay.running.address, "POST", &path, &[], SENT.as_bytes()).await;
        assert_eq!(answer.status(), 404);
    }
    eventually("all to be seen", async || drill.problems().await.len() == sources.len()).await;
    drill.pass(SOON);
    let told = async |count: usize| {
        eventually("it to be known", async || {
            drill.problems().await.iter().filter(|problem| problem["told"].is_object()).count() == count
        })
        .await;
    };
    told(3).await;
    drill.pass(STEADY);
    told(5).await;
    let texts = chat.wait_for(2).await.into_iter().map(|message| message.json()["text"].to_string());
    let texts = texts.collect::<String>();
    for name in sources {
        assert_eq!(texts.matches(&format!("to the source {name} ")).count(), 1, "{texts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_told_all_the_same_and_written_later() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let drill = Drill::start(&told_by(&crm, "ops", &http("ops", &ops))).await;
    drill.until_looked().await;
    let index = drill.relay.directory.path().join("data/state.db");
    let change = |sql: &str| {
        let index = rusqlite::Connection::open(&index).expect("opens");
        index.busy_timeout(PATIENCE).expect("it waits");
        index.execute_batch(sql).expect("changed");
    };
    change("CREATE TRIGGER full BEFORE INSERT ON memo BEGIN SELECT RAISE(ABORT, 'disk is full'); END;");
    drill.send_by_a_wrong_token().await;
    drill.until_seen("source_refused").await;
    drill.pass(SOON);
    assert_eq!(said(&drill.told(&ops, 1).await), ["source_refused vero begins"]);
    drill.until("source_refused", |problem| problem["told"]["to"] == "ops").await;
    change("DROP TRIGGER full;");
    let drill = drill.restart().await;
    drill.until("source_refused", |problem| problem["told"]["to"] == "ops").await;
    assert_eq!(ops.seen().len(), 1, "it is known as told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_silent_for_longer_than_it_says_is_told_of_until_it_is_heard() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let config = format!("{HEAD}{}", told_by(&crm, "ops", &http("ops", &ops)));
    let config = config.replace("token: secret }", "token: secret, expect_every: 1h }");
    let drill = Drill::start_with(&config).await;
    drill.relay.accept(SENT).await;
    drill.mark(&ops, 1).await;
    drill.pass(HOUR + STEADY);
    drill.until_seen("source_silent").await;
    drill.pass(STEADY);
    let told = drill.told(&ops, 2).await;
    assert!(said(&told).contains(&"source_silent vero begins".to_owned()), "{:?}", said(&told));
    let text = told.json()["notice"]["problems"].to_string();
    assert!(text.contains("no event came from the source vero for") && text.contains("`expect_every` is 1h"), "{text}");
    drill.relay.accept(SENT).await;
    drill.until_gone("source_silent").await;
    drill.pass(STEADY);
    let told = drill.told(&ops, 3).await;
    assert!(said(&told).contains(&"source_silent vero over".to_owned()), "{:?}", said(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_with_their_number_and_the_reasons() {
    let crm = Fake::start([Act::with(422, &[], "no such user"), Act::with(422, &[], "no such user")]).await;
    let ops = Fake::start([]).await;
    let drill = Drill::start(&told_by(&crm, "ops", &http("ops", &ops))).await;
    drill.until_looked().await;
    for _ in 0..2 {
        let id = drill.relay.accept(SENT).await;
        drill.relay.until(&id, "dead").await;
    }
    drill.until("dead_letters", |problem| problem["text"].as_str().is_some_and(|text| text.starts_with('2'))).await;
    drill.pass(SOON);
    let told = drill.told(&ops, 1).await;
    assert_eq!(said(&told), ["dead_letters crm begins"]);
    let told = &told.json()["notice"]["problems"][0];
    assert!(
        told["text"].as_str().is_some_and(|text| text.starts_with("2 deliveries to crm became dead letters")),
        "{told}"
    );
    assert!(told["details"][0].as_str().is_some_and(|line| line.starts_with("2 × ") && line.contains("422")), "{told}");
    drill.pass(HOUR + MINUTE);
    drill.until_gone("dead_letters").await;
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 2).await), ["dead_letters crm over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_of_a_destination_that_was_removed_is_told_and_over_when_none_is_left() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let config = format!("{HEAD}removed_grace: 1s\n{}", told_by(&crm, "ops", &http("ops", &ops)));
    let mut drill = Drill::start_with(&config).await;
    drill.until_looked().await;
    drill.relay.act("/api/destinations/crm/pause").await;
    for _ in 0..2 {
        drill.relay.accept(SENT).await;
    }
    let gone = format!(
        "{HEAD}removed_grace: 1s\nnotify: {{ to: [ops] }}\nrules: [ {{ to: [], stop: true }} ]\ndestinations:\n{}",
        http("ops", &ops)
    );
    assert_eq!(drill.reload(&gone).await.status(), 200);
    let text = drill.until_seen("dead_letters").await["text"].to_string();
    assert!(text.contains("2 deliveries to crm became dead letters, since the config does not name it"), "{text}");
    drill.pass(SOON);
    let told = drill.told(&ops, 1).await;
    assert_eq!(said(&told), ["dead_letters crm begins"]);
    let details = &told.json()["notice"]["problems"][0]["details"];
    assert_eq!(details, &serde_json::json!(["2 × the destination was removed from the config"]));
    // Neither an hour nor another process ends it.
    let drill = drill.restart().await;
    drill.pass(2 * HOUR);
    drill.mark(&ops, 2).await;
    drill.until_seen("dead_letters").await;
    let dropped =
        crate::operator::told(&drill.relay, "/api/dead-letters/drop", serde_json::json!({ "destination": "crm" }))
            .await;
    assert_eq!(dropped["deliveries"], 2);
    drill.until_gone("dead_letters").await;
    drill.pass(STEADY);
    let over = drill.told(&ops, 3).await;
    assert!(over.text().contains("over: no dead letter of the deliveries to crm is left"), "{}", over.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_paused_is_told_when_it_has_lasted_and_a_backlog_beyond_its_bounds_at_once() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let rest = told_by(&crm, "ops", &http("ops", &ops));
    let rest = rest.replace("to: [ops] }", "to: [ops], backlog: { deliveries: 1 } }");
    let drill = Drill::start(&rest).await;
    drill.relay.act("/api/destinations/crm/pause").await;
    drill.until_seen("destination_paused").await;
    for _ in 0..2 {
        drill.relay.accept(SENT).await;
    }
    drill.until_seen("backlog_size").await;
    drill.pass(SOON);
    assert_eq!(said(&drill.told(&ops, 1).await), ["backlog_size crm begins"]);
    drill.pass(10 * MINUTE + SOON);
    assert_eq!(said(&drill.told(&ops, 2).await), ["destination_paused crm begins"]);
    drill.relay.act("/api/destinations/crm/resume").await;
    drill.until_gone("backlog_size").await;
    drill.until_gone("destination_paused").await;
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 3).await), ["destination_paused crm over", "backlog_size crm over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_that_lasts_is_told_again_as_often_as_the_config_says() {
    let crm = Fake::start(fails(ALWAYS)).await;
    let ops = Fake::start([]).await;
    let rest = told_by(&crm, "ops", &http("ops", &ops)).replace("to: [ops] }", "to: [ops], after: 1h, repeat: 2h }");
    let drill = Drill::start(&rest).await;
    drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(HOUR + SOON);
    for count in 2..4 {
        assert_eq!(said(&drill.told(&ops, count - 1).await), ["destination_failing crm begins"]);
        drill.pass(2 * HOUR + STEADY);
        let text = drill.told(&ops, count).await.json()["notice"]["problems"][0]["text"].to_string();
        assert!(text.starts_with("\"still: crm fails"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_who_is_told() {
    let crm = Fake::start([]).await;
    let [ops, other] = [Fake::start([]).await, Fake::start([]).await];
    let quiet = format!("{HEAD}{}{}{}", to_crm(&crm, ""), http("ops", &ops), http("other", &other));
    let mut drill = Drill::start_with(&quiet).await;
    drill.send_by_a_wrong_token().await;
    let shown = drill.relay.admin("/api/problems").await.json();
    assert_eq!((&shown["to"], &shown["problems"]), (&Value::Null, &serde_json::json!([])), "nobody looks");
    for (name, fake) in [("ops", &ops), ("other", &other)] {
        drill.reload(&format!("notify: {{ to: [{name}] }}\n{quiet}")).await;
        assert_eq!(drill.relay.admin("/api/problems").await.json()["to"], serde_json::json!([name]));
        if name == "ops" {
            // What was refused before anybody was to be told is not news.
            drill.until_looked().await;
            assert_eq!(drill.problems().await, Vec::<Value>::new());
            drill.send_by_a_wrong_token().await;
            let text = drill.until_seen("source_refused").await["text"].to_string();
            assert!(text.contains("1 request to the source vero was refused"), "{text}");
            drill.pass(SOON);
        } else {
            drill.until("source_refused", |problem| problem["told"].is_object()).await;
            drill.pass(2 * HOUR);
            drill.until_gone("source_refused").await;
            drill.pass(STEADY);
        }
        fake.wait_for(1).await;
    }
    assert_eq!(
        (said(&ops.seen()[0]), said(&other.seen()[0])),
        (vec!["source_refused vero begins".to_owned()], vec!["source_refused vero over".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_a_reload_has_taken_notify_out_is_old_when_it_is_back() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let quiet = format!("{HEAD}{}{}", to_crm(&crm, ""), http("ops", &ops));
    let told = format!("notify: {{ to: [ops] }}\n{quiet}");
    let mut drill = Drill::start_with(&told).await;
    drill.until_looked().await;
    drill.send_by_a_wrong_token().await;
    drill.until_seen("source_refused").await;
    assert_eq!(drill.reload(&quiet).await.status(), 200);
    eventually("nobody to look", async || drill.problems().await.is_empty()).await;
    drill.send_by_a_wrong_token().await;
    assert_eq!(drill.reload(&told).await.status(), 200);
    let text = drill.until_seen("source_refused").await["text"].to_string();
    assert!(text.contains("1 request to the source vero was refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_renamed_while_it_fails_is_one_problem_and_one_that_leaves_is_not_said_to_be_well() {
    let crm = Fake::start(fails(ALWAYS)).await;
    let ops = Fake::start([]).await;
    let config = format!("{HEAD}{}", told_by(&crm, "ops", &http("ops", &ops)));
    let mut drill = Drill::start_with(&config).await;
    drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(10 * MINUTE + SOON);
    assert_eq!(said(&drill.told(&ops, 1).await), ["destination_failing crm begins"]);
    let renamed = config.replace("to: crm", "to: shop").replace("  crm:\n", "  shop:\n    renamed_from: crm\n");
    assert_eq!(drill.reload(&renamed).await.status(), 200);
    drill.until("destination_failing", |problem| problem["about"] == "shop" && problem["told"]["to"] == "ops").await;
    drill.pass(HOUR);
    drill.mark(&ops, 2).await;
    let gone = format!(
        "{HEAD}notify: {{ to: [ops] }}\nrules: [ {{ to: [], stop: true }} ]\ndestinations:\n{}",
        http("ops", &ops)
    );
    assert_eq!(drill.reload(&gone).await.status(), 200);
    assert_eq!(drill.until_gone("destination_failing").await["text"], "shop is not in the config any more");
    drill.pass(STEADY);
    assert_eq!(said(&drill.told(&ops, 3).await), ["destination_failing shop over"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_that_is_taken_out_and_put_back_repeats_nothing_and_counts_nothing_meanwhile() {
    let crm = Fake::start(fails(ALWAYS)).await;
    let ops = Fake::start([]).await;
    let config = format!("{HEAD}{}", told_by(&crm, "ops", &http("ops", &ops)));
    let mut drill = Drill::start_with(&config).await;
    drill.relay.accept(SENT).await;
    drill.until_seen("destination_failing").await;
    drill.pass(10 * MINUTE + SOON);
    drill.told(&ops, 1).await;
    assert_eq!(drill.reload(&config.replace("notify: { to: [ops] }\n", "")).await.status(), 200);
    let counted = "vero_relay_problems{kind=\"destination_failing\"} 0\n";
    eventually("no problem", async || drill.relay.admin("/metrics").await.text().contains(counted)).await;
    assert_eq!(drill.problems().await, Vec::<Value>::new());
    drill.pass(HOUR);
    assert_eq!(drill.reload(&config).await.status(), 200);
    drill.until("destination_failing", |problem| problem["told"]["to"] == "ops").await;
    drill.mark(&ops, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_and_a_signed_request_say_the_same() {
    let crm = Fake::start([]).await;
    let hook = Fake::start([]).await;
    let mail = MailServer::start(Begins::InTheClear);
    let destinations = format!(
        "  hook:\n    http: {{ url: \"{}/x\", method: PUT, signing_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw], text: \"{{{{ type }}}}\" }}\n  \
         mail:\n    email: {{ server: \"127.0.0.1:{}\", starttls: never, from: relay@example.com, to: ops@example.com, subject: \"{{{{ type }}}}\", text: \"{{{{ type }}}}\" }}\n",
        hook.url(),
        mail.port()
    );
    for (name, destinations) in [("hook", &destinations), ("mail", &destinations)] {
        let drill = Drill::start(&told_by(&crm, name, destinations)).await;
        drill.send_by_a_wrong_token().await;
        drill.until_seen("source_refused").await;
        drill.pass(SOON);
        drill.until("source_refused", |problem| problem["told"].is_object()).await;
    }
    let told = hook.wait_for(1).await.remove(0);
    assert!(told.first_line.starts_with("PUT /x "), "{}", told.first_line);
    assert_eq!(told.header("content-type"), Some("application/json"));
    assert!(told.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")), "{told:?}");
    let letter = mail.wait_for(1).await.remove(0);
    assert_eq!(letter.to, ["ops@example.com"]);
    let subject = letter.header("Subject").expect("a subject");
    assert!(subject.starts_with("vero-relay: 1 request to the source vero was refused for a wrong token"), "{subject}");
    assert!(letter.body().contains("since "), "{}", letter.body());
}

/// The real program on a config of its own.
struct Real {
    daemon: Daemon,
    admin: std::net::SocketAddr,
    hooks: std::net::SocketAddr,
    directory: TempDir,
}

impl Real {
    async fn start(rest: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (hooks, admin) = (closed_port(), closed_port());
        let head = format!(
            "listen: {hooks}\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources: {{ vero: {{ token: secret }} }}\n"
        );
        std::fs::write(directory.path().join("config.yaml"), format!("{head}{rest}")).expect("written");
        let daemon = Self::run(&directory);
        let real = Self { daemon, admin, hooks, directory };
        real.until_up().await;
        real
    }

    fn run(directory: &TempDir) -> Daemon {
        Daemon::start(&directory.path().join("config.yaml"), |command| {
            command.stderr(Stdio::null());
        })
    }

    async fn until_up(&self) {
        eventually("it to be ready", async || tokio::net::TcpStream::connect(self.hooks).await.is_ok()).await;
        eventually("its page", async || tokio::net::TcpStream::connect(self.admin).await.is_ok()).await;
    }

    fn verb(&self, words: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(words).arg("-c").arg(self.directory.path().join("config.yaml"));
        command.output().expect("it runs")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_told_when_it_was_killed_is_told_again_under_the_same_id_and_once() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([Act::Hang]).await;
    let mut real = Real::start(&told_by(&crm, "ops", &http("ops", &ops))).await;
    let wrong = || request(real.hooks, "POST", "/hooks/vero/wrong", &[], SENT.as_bytes());
    assert_eq!(wrong().await.status(), 404);
    ops.wait_for(1).await;
    // Killed while the other side has it and has not answered.
    drop(real.daemon);
    real.daemon = Real::run(&real.directory);
    eventually("its page", async || tokio::net::TcpStream::connect(real.admin).await.is_ok()).await;
    let told = ops.wait_for(2).await;
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    assert_eq!([said(&told[0]), said(&told[1])], [["source_refused vero begins"], ["source_refused vero begins"]]);
    eventually("it to be known as told", async || {
        let shown = request(real.admin, "GET", "/api/problems", &[], b"").await.json();
        shown["problems"][0]["told"]["to"] == "ops"
    })
    .await;
    assert_eq!(ops.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_what_each_answered_and_fails_where_nobody_was_told() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let pager = Fake::start(vec![Act::status(403); 2]).await;
    let real = Real::start(&told_by(&crm, "ops, pager", &[http("ops", &ops), http("pager", &pager)].concat())).await;
    let verb = |words: &[&str]| {
        let output = real.verb(words);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = tokio::task::block_in_place(|| verb(&["notify", "test"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ops was told, within ") && said.contains("pager could not be told: 403"), "{said}");
    let test = ops.wait_for(1).await.remove(0).json();
    assert_eq!(test["notice"]["problems"][0]["kind"], "test");
    let (code, said) = tokio::task::block_in_place(|| verb(&["notify", "test", "--to", "pager"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody could be told"), "{said}");
    let (code, said) = tokio::task::block_in_place(|| verb(&["notify", "test", "--to", "crm"]));
    assert!(code == Some(1) && said.contains("`crm` is none of those whom `notify` names: ops, pager"), "{said}");
    let status = tokio::task::block_in_place(|| verb(&["status"]));
    assert!(!status.1.contains("refused for a wrong token"), "{}", status.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_without_notify_says_what_to_write() {
    let crm = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&crm, "")).await;
    let refused = relay.act("/api/notify/test").await;
    assert_eq!(refused.status(), 409);
    assert!(refused.text().contains("write notify: { to: [NAME] }"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_told_of() {
    let crm = Fake::start([]).await;
    let ops = Fake::start([]).await;
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    for (name, pem) in
        [("cert.pem", include_str!("../tls/expired.pem")), ("key.pem", include_str!("../tls/server.key"))]
    {
        std::fs::write(directory.path().join(name), pem).expect("written");
    }
    let clock: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_800_000_000_000)));
    let config = format!("{HEAD}tls: {{ cert: cert.pem, key: key.pem }}\n{}", told_by(&crm, "ops", &http("ops", &ops)));
    let drill = Drill::start_at(clock, directory, &config).await;
    let seen = drill.until_seen("certificate_ends").await;
    assert_eq!(seen["text"], "the certificate of `tls` has ended on 2021-01-01: nobody takes it any more");
    drill.pass(SOON);
    assert_eq!(said(&ops.wait_for(1).await[0]), ["certificate_ends tls begins"]);
}
