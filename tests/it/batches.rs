//! Requests that carry several events: what is in them, what their answers mean for each, and what becomes of those that still wait for others.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::*;

/// One destination `crm` for everything, that batches so.
fn to_batches(fake: &Fake, batch: &str, more: &str) -> String {
    let http = format!("{{ url: \"{}/hook\", batch: {batch} }}", fake.url());
    format!("rules: [ {{ name: all, to: crm }} ]\ndestinations:\n  crm:\n    http: {http}\n    {QUICK}\n{more}")
}

fn event(n: u64) -> String {
    json!({ "type": "sent", "n": n, "user": { "id": n } }).to_string()
}

async fn accept(relay: &TestRelay, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let mut ids = Vec::new();
    for n in numbers {
        ids.push(relay.accept(&event(n)).await);
    }
    ids
}

/// The events of a request, by their numbers.
fn numbers(request: &Message) -> Vec<u64> {
    let events = request.json();
    let events = events.as_array().unwrap_or_else(|| panic!("{events}")).iter();
    events.map(|event| event["n"].as_u64().expect("a number")).collect()
}

fn all_numbers(fake: &Fake) -> Vec<Vec<u64>> {
    fake.seen().iter().map(numbers).collect()
}

/// How many were in each.
fn sizes(fake: &Fake) -> Vec<usize> {
    all_numbers(fake).iter().map(Vec::len).collect()
}

async fn metric(relay: &TestRelay, name: &str) -> String {
    let metrics = relay.admin("/metrics").await.text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap_or_default().to_owned()
}

async fn all_are(relay: &TestRelay, ids: &[String], state: &str) {
    for id in ids {
        relay.until(id, state).await;
    }
}

/// Answers with this where it is so of the events of a request.
fn judge(status: u16, is_so: fn(&[u64]) -> bool) -> Judge {
    Arc::new(move |request: &Message| is_so(&numbers(request)).then(|| Act::status(status)))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_were_asked_for_go_in_one_request_which_is_one_attempt() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "")).await;
    let ids = accept(&relay, [1, 2]).await;
    assert_eq!(relay.deliveries(&ids[0]).await[0]["state"], "waiting", "for others, and in nobody's hands");
    let ids = [ids, accept(&relay, [3]).await].concat();
    all_are(&relay, &ids, "delivered").await;
    assert_eq!(all_numbers(&fake), [[1, 2, 3]]);
    let id = fake.seen()[0].header("webhook-id").expect("an id").to_owned();
    assert!(!ids.contains(&id), "it is no event's");
    let of =
        |what: &str, outcome: &str| format!("vero_relay_{what}_total{{destination=\"crm\",outcome=\"{outcome}\"}}");
    assert_eq!(metric(&relay, &of("attempts", "delivered")).await, "1");
    assert_eq!(metric(&relay, &of("deliveries", "delivered")).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_in_the_middle_gets_all_of_them_again_under_one_id() {
    let fake = Fake::start([Act::Close]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "")).await;
    let ids = accept(&relay, [1, 2, 3]).await;
    all_are(&relay, &ids, "delivered").await;
    assert_eq!(all_numbers(&fake), [[1, 2, 3]; 2]);
    let seen = fake.seen();
    assert!(seen.iter().all(|request| request.header("webhook-id") == seen[0].header("webhook-id")));
    let shown = &relay.deliveries(&ids[1]).await[0];
    assert_eq!(shown["attempted"].as_array().map(Vec::len), Some(2), "{shown}");
}

/// Of 0 to 9 in one request the 3 has each request fail that it is in; each delivery has so many attempts. Returns its dead letter and all requests.
async fn one_fails(status: u16, attempts: u16) -> (Value, Vec<Vec<u64>>) {
    let fake = Fake::judged("127.0.0.1:0", [], judge(status, |numbers| numbers.contains(&3))).await;
    let more =
        format!("    concurrency: 1\n    retry: {{ initial: 20ms, factor: 1, max: 50ms, max_attempts: {attempts} }}\n");
    let config = to_batches(&fake, "{ max: 10, every: 60s }", "").replace(QUICK, "") + &more;
    let relay = TestRelay::start(&config).await;
    let mut ids = accept(&relay, 0..10).await;
    let bad = ids.remove(3);
    all_are(&relay, &ids, "delivered").await;
    (relay.until(&bad, "dead").await, all_numbers(&fake))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_each_time_takes_no_other_with_it() {
    for (status, says) in [(500, "500 Internal Server Error"), (404, "404 Not Found")] {
        let (dead, requests) = one_fails(status, 3).await;
        assert_eq!(dead["reason"], format!("given up after 3 attempts: {says}"), "{dead}");
        let sizes: Vec<usize> = requests.iter().map(Vec::len).collect();
        assert_eq!(sizes[..3], [10, 10, 5], "by halves, once it was no accident: {requests:?}");
        let alone = requests.iter().filter(|request| request[..] == [3]).count();
        assert!(alone == 2 && requests.len() <= 12, "{requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_given_up_by_what_came_of_several() {
    let (dead, requests) = one_fails(503, 1).await;
    assert_eq!(dead["reason"], "given up after 1 attempt: 503 Service Unavailable", "{dead}");
    let told = &dead["attempted"][0];
    let together = "503 Service Unavailable for 10 events together, and each is tried alone";
    assert_eq!((&told["outcome"], &told["reason"]), (&json!("retry"), &json!(together)), "{dead}");
    assert_eq!((requests[0].len(), requests.len()), (10, 11), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_order_keys_that_of_one_that_fails_each_time_stands_and_the_others_go_on() {
    let fake = Fake::judged("127.0.0.1:0", [], judge(500, |numbers| numbers.contains(&3))).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 10, every: 20ms }", "    order_by: user.id\n")).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(relay.accept(&json!({ "type": "sent", "n": n, "user": { "id": n % 5 } }).to_string()).await);
    }
    let others: Vec<_> = ids.iter().enumerate().filter(|(n, _)| n % 5 != 3).map(|(_, id)| id.clone()).collect();
    all_are(&relay, &others, "delivered").await;
    let behind = [8, 13, 18];
    assert!(all_numbers(&fake).iter().flatten().all(|n| !behind.contains(n)), "they stand behind the one that fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_together_goes_by_halves_and_the_bad_one_alone_is_dead() {
    let fake = Fake::judged("127.0.0.1:0", [], judge(422, |numbers| numbers.contains(&3))).await;
    let more = "    concurrency: 1\n    retry: { max_attempts: 1 }\n";
    let config = to_batches(&fake, "{ max: 25, every: 60s }", "").replace(QUICK, "") + more;
    let relay = TestRelay::start(&config).await;
    let ids = accept(&relay, 0..25).await;
    let good: Vec<_> = ids.iter().enumerate().filter(|(n, _)| *n != 3).map(|(_, id)| id.clone()).collect();
    all_are(&relay, &good, "delivered").await;
    let dead = relay.until(&ids[3], "dead").await;
    assert_eq!((&dead["attempts"], &dead["status"]), (&json!(1), &json!(422)), "{dead}");
    let told: Vec<&Value> = dead["attempted"].as_array().expect("a list").iter().map(|made| &made["reason"]).collect();
    let together = |count, next| json!(format!("422 Unprocessable Entity for {count} events together, and {next}"));
    // The five newest are kept.
    assert_eq!(told[0], &together(13, "they are tried again, 7 at once"));
    assert_eq!(told[3..], [&together(2, "each is tried alone"), &json!("422 Unprocessable Entity")]);
    let (refused, taken): (Vec<_>, Vec<_>) = all_numbers(&fake).into_iter().partition(|numbers| numbers.contains(&3));
    assert_eq!(refused.iter().map(Vec::len).collect::<Vec<_>>(), [25, 13, 7, 4, 2, 1]);
    let mut once: Vec<u64> = taken.concat();
    once.sort_unstable();
    assert_eq!(once, (0..25).filter(|n| *n != 3).collect::<Vec<_>>());
    assert!(taken.len() <= 8, "of 25 not one by one: {taken:?}");
    assert_eq!(relay.destination("crm").await["state"], "up", "a refusal of 25 is none of 25 in a row");
    let attempts = "vero_relay_attempts_total{destination=\"crm\",outcome=\"reject\"}";
    assert_eq!(metric(&relay, attempts).await, "6", "those with the bad one");
    let before = fake.seen().len();
    accept(&relay, 30..55).await;
    let next = &fake.wait_for(before + 1).await[before];
    assert_eq!(numbers(next).len(), 25, "what comes next goes together");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_that_are_refused_alone_pause_the_destination() {
    let fake = Fake::judged("127.0.0.1:0", [], judge(400, |_| true)).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 30, every: 60s }", "    concurrency: 1\n")).await;
    accept(&relay, 0..30).await;
    eventually("a pause", async || relay.destination("crm").await["state"] == "paused").await;
    let alone = all_numbers(&fake).iter().filter(|numbers| numbers.len() == 1).count();
    assert_eq!(alone, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_at_once_goes_by_halves() {
    let fake = Fake::judged("127.0.0.1:0", [], judge(413, |numbers| numbers.len() > 3 || numbers.contains(&7))).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 9, every: 60s }", "    concurrency: 1\n")).await;
    let ids = accept(&relay, 0..9).await;
    let good: Vec<_> = ids.iter().enumerate().filter(|(n, _)| *n != 7).map(|(_, id)| id.clone()).collect();
    all_are(&relay, &good, "delivered").await;
    relay.until(&ids[7], "dead").await;
    let sizes = sizes(&fake);
    assert!(sizes[..2] == [9, 5] && sizes[2..].iter().all(|size| *size <= 3), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_holds_all_of_them() {
    let fake = Fake::start([Act::with(429, &[("retry-after", "3600")], "later")]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 2, every: 60s }", "")).await;
    let ids = accept(&relay, [1, 2]).await;
    all_are(&relay, &ids, "scheduled").await;
    let due = |delivery: &Value| delivery["next_attempt_at"].as_str().expect("a time").to_owned();
    let [first, second] = [&ids[0], &ids[1]].map(|id| relay.deliveries(id));
    let (first, second) = (first.await, second.await);
    assert_eq!(due(&first[0]), due(&second[0]), "they are due together");
    accept(&relay, [3, 4]).await;
    assert!(!relay.destination("crm").await["held_until"].is_null());
    relay.act("/api/destinations/crm/retry").await;
    let seen = fake.wait_for(3).await;
    let mut rest: Vec<u64> = seen[1..].iter().flat_map(numbers).collect();
    rest.sort_unstable();
    assert_eq!(rest, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_others_is_paused_given_up_and_let_go_like_anything_else() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "")).await;
    accept(&relay, [1, 2]).await;
    assert_eq!(relay.destination("crm").await["in_flight"], 0);
    relay.act("/api/destinations/crm/pause").await;
    let ids = accept(&relay, [3, 4]).await;
    assert_eq!(relay.deliveries(&ids[0]).await[0]["waits_for"], "pause");
    relay.act("/api/destinations/crm/resume").await;
    fake.wait_for(1).await;
    assert_eq!(all_numbers(&fake), [[1, 2, 3]]);
    assert_eq!(relay.deliveries(&ids[1]).await[0]["state"], "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_or_a_kill_9_while_they_wait_loses_none() {
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin) = (closed_port(), closed_port());
    let head = HEAD.replacen("127.0.0.1:0", &hooks.to_string(), 1).replacen("127.0.0.1:0", &admin.to_string(), 1);
    let config: PathBuf = directory.path().join("config.yaml");
    let start = |max: u64| {
        let batch = format!("{{ max: {max}, every: 60s }}");
        std::fs::write(&config, format!("{head}{}", to_batches(&fake, &batch, ""))).expect("written");
        Daemon::start(&config, |command| {
            command.stderr(Stdio::null());
        })
    };
    let up = async || eventually("it to be up", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
    let send = async |n: u64| {
        let answer = request(hooks, "POST", "/hooks/vero/secret", &[], event(n).as_bytes()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    let daemon = start(10);
    up().await;
    send(1).await;
    send(2).await;
    // Killed.
    drop(daemon);
    let _daemon = start(3);
    up().await;
    assert_eq!(fake.seen().len(), 0, "they wait for a third");
    send(3).await;
    fake.wait_for(1).await;
    assert_eq!(all_numbers(&fake), [[1, 2, 3]]);

    let relay = TestRelay::start(&to_batches(&fake, "{ max: 10, every: 60s }", "")).await;
    accept(&relay, [4, 5]).await;
    let relay = relay.restart(|config| config.replace("max: 10", "max: 2")).await;
    fake.wait_for(2).await;
    assert_eq!(all_numbers(&fake)[1], [4, 5]);
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_takes_batches_away_or_gives_them_loses_and_doubles_none() {
    let fake = Fake::start([]).await;
    let with = to_batches(&fake, "{ max: 3, every: 60s }", "");
    let without = with.replace(", batch: { max: 3, every: 60s }", "");
    let relay = TestRelay::start(&with).await;
    let reload = async |rest: &str| {
        std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
        relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    };
    accept(&relay, [1, 2]).await;
    reload(&without).await;
    let seen = fake.wait_for(2).await;
    let mut alone: Vec<u64> = seen.iter().map(|request| request.json()["n"].as_u64().expect("a number")).collect();
    alone.sort_unstable();
    assert_eq!(alone, [1, 2]);
    reload(&with).await;
    accept(&relay, [3, 4, 5]).await;
    let seen = fake.wait_for(3).await;
    assert_eq!(numbers(&seen[2]), [3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_order_key_one_goes_and_the_others_wait_behind_it() {
    let fake = Fake::start([Act::status(503)]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 10, every: 20ms }", "    order_by: user.id\n")).await;
    let of = |user: u64, n: u64| json!({ "type": "sent", "n": n, "user": { "id": user } }).to_string();
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(relay.accept(&of(n % 3, n)).await);
    }
    all_are(&relay, &ids, "delivered").await;
    let requests = all_numbers(&fake);
    for request in &requests {
        let mut users: Vec<u64> = request.iter().map(|n| n % 3).collect();
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len(), request.len(), "{requests:?}");
    }
    for user in 0..3 {
        let of_user = || requests[1..].iter().flatten().copied().filter(|n| n % 3 == user);
        assert!(of_user().is_sorted(), "{requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_behind_another_of_its_key_waits_for_no_others() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 2, every: 60s }", "    order_by: user.id\n")).await;
    let mut ids = Vec::new();
    for (user, n) in [(1, 1), (1, 2), (1, 3), (1, 4), (2, 5)] {
        ids.push(relay.accept(&json!({ "type": "sent", "n": n, "user": { "id": user } }).to_string()).await);
    }
    all_are(&relay, &ids, "delivered").await;
    assert_eq!(all_numbers(&fake), [vec![1, 5], vec![2], vec![3], vec![4]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_a_request_goes_alone() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "    concurrency: 1\n")).await;
    let large = json!({ "type": "sent", "n": 1, "x": "x".repeat(600_000) }).to_string();
    let mut ids = accept(&relay, [0]).await;
    ids.push(relay.accept(&large).await);
    ids.extend(accept(&relay, [2]).await);
    eventually("the large one", async || fake.seen().iter().any(|request| request.body.len() > 600_000)).await;
    relay.act("/api/destinations/crm/retry").await;
    let large = fake.seen().into_iter().find(|request| request.body.len() > 600_000).expect("it came");
    assert_eq!(numbers(&large), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_goes_together_too() {
    let fake = Fake::judged("127.0.0.1:0", [], judge(422, |_| true)).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "")).await;
    let ids = accept(&relay, [1, 2, 3]).await;
    all_are(&relay, &ids, "dead").await;
    let mut sent = sizes(&fake);
    // The two halves go at one moment, so either may come first.
    sent[1..].sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(sent, [3, 2, 1, 1, 1], "together, by halves, and each alone");
    let body = br#"{"destination":"crm"}"#;
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let told = request(relay.running.admin_address, "POST", "/api/dead-letters/replay", &headers, body).await;
    assert_eq!(told.json()["deliveries"], 3, "{}", told.text());
    let seen = fake.wait_for(6).await;
    assert_eq!(numbers(&seen[5]), [1, 2, 3]);
    assert_eq!(seen[5].header("webhook-id"), seen[0].header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_no_other_joins_goes_alone_in_the_same_form() {
    let fake = Fake::start([]).await;
    let relay =
        TestRelay::start(&to_batches(&fake, "{ max: 100, every: 50ms, wrap: events, envelope: true }", "")).await;
    let ids = accept(&relay, [7]).await;
    all_are(&relay, &ids, "delivered").await;
    let request = fake.seen()[0].clone();
    let event = &request.json()["events"][0];
    assert_eq!((&event["id"], &event["source"], &event["event"]["n"]), (&json!(ids[0]), &json!("vero"), &json!(7)));
    assert_eq!(request.header("webhook-id"), Some(ids[0].as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_counts_requests_and_what_waits_for_its_turn_grows_together() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 4, every: 0s }", "    rate: 1/h\n")).await;
    let first = accept(&relay, [0]).await;
    all_are(&relay, &first, "delivered").await;
    let rest = accept(&relay, 1..4).await;
    let limit = "    rate: 1/h\n";
    let path = relay.directory.path().join("config.yaml");
    let config = std::fs::read_to_string(&path).expect("read");
    for id in &rest {
        assert_eq!(relay.deliveries(id).await[0]["state"], "waiting");
    }
    std::fs::write(&path, config.replace(limit, "")).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    all_are(&relay, &rest, "delivered").await;
    assert_eq!(all_numbers(&fake), [vec![0], vec![1, 2, 3]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_pauses_keeps_all_of_them() {
    let fake = Fake::start([Act::status(410)]).await;
    let relay = TestRelay::start(&to_batches(&fake, "{ max: 3, every: 60s }", "")).await;
    let ids = accept(&relay, [1, 2, 3]).await;
    // It is paused first and lets go what it had in flight then, so that nobody claims it in between.
    eventually("a pause with nothing in flight", async || {
        let crm = relay.destination("crm").await;
        crm["state"] == "paused" && crm["in_flight"] == 0
    })
    .await;
    let crm = relay.destination("crm").await;
    assert_eq!((&crm["backlog"], &crm["dead_letters"]), (&json!(3), &json!(0)), "{crm}");
    relay.act("/api/destinations/crm/resume").await;
    all_are(&relay, &ids, "delivered").await;
    let mut came: Vec<u64> = fake.seen()[1..].iter().flat_map(numbers).collect();
    came.sort_unstable();
    assert_eq!(came, [1, 2, 3]);
}
