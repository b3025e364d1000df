//! Values that are kept for a shorter time than their events, through the front door.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{err, out, vero_relay};
use crate::harness::*;
use crate::operator::told;

/// In no config and no message.
const ZOE: &str = "zoe@example.org";
/// Bytes beside it, so that few events fill a segment of 4 MiB.
const FILLING: usize = 900_000;

const RULES: &str = "
  - { match: { type: sent }, to: crm }
  - { match: { type: held }, to: slow }
  - { match: { type: bad }, to: strict }
";

/// A store of small segments; `redact` has more of its keys.
pub fn config([crm, slow, strict]: [&Fake; 3], redact: &str) -> String {
    let to = |name: &str, fake: &Fake, retry: &str| {
        format!("  {name}:\n    http: {{ url: {:?} }}\n    retry: {retry}\n", fake.url())
    };
    let patient = "{ initial: 1h, max: 1h }";
    let destinations = [to("crm", crm, patient), to("slow", slow, patient), to("strict", strict, patient)].concat();
    format!("store: {{ history: {{ max_size: 64MiB{redact} }} }}\nrules:{RULES}destinations:\n{destinations}")
}

/// Of all that is older than a second.
pub const REDACT: &str = ", redact: [user.email, user.first_name], redact_after: 1s";

pub fn event(kind: &str, address: &str) -> String {
    format!(r#"{{"type":"{kind}","user":{{"id":7,"email":"{address}","first_name":"Zoe","plan":"pro"}}}}"#)
}

/// What is left of it.
fn left(kind: &str, address: &str) -> String {
    event(kind, address).replace(address, &"*".repeat(address.len())).replace("Zoe", "***")
}

/// Fills a segment, so that the one before is sealed. Nobody is named there.
pub async fn roll(address: std::net::SocketAddr) {
    let body = format!(r#"{{"type":"filling","x":"{}"}}"#, "y".repeat(FILLING));
    for _ in 0..5 {
        let answer = request(address, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

async fn shown(relay: &TestRelay, id: &str) -> Value {
    relay.admin(&format!("/api/events/{id}")).await.json()
}

pub async fn until_redacted(relay: &TestRelay, id: &str) {
    eventually("values to go", async || shown(relay, id).await["redacted"] == true).await;
}

/// The files of a store in which a text stands.
fn files_with(data: &Path, text: &str) -> Vec<PathBuf> {
    let journal = std::fs::read_dir(data.join("journal")).expect("a journal").map(|entry| entry.expect("read").path());
    let index = ["state.db", "state.db-wal"].map(|name| data.join(name));
    let has = |path: &PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).contains(text);
    journal.chain(index).filter(has).collect()
}

fn bodies(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(Message::text).collect()
}

fn scheduled() -> Vec<Act> {
    vec![Act::status(503)]
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_from_every_file_once_nobody_waits_for_them_and_what_goes_out_is_whole() {
    let (waits, dead) = ("waits@example.org", "dead@example.org");
    let fakes = [Fake::start([]).await, Fake::start(scheduled()).await, Fake::start([Act::status(400)]).await];
    let [crm, slow, strict] = &fakes;
    let relay = TestRelay::start(&config([crm, slow, strict], REDACT)).await;
    let data = relay.directory.path().join("data");
    let sent = relay.accept(&event("sent", ZOE)).await;
    let held = relay.accept(&event("held", waits)).await;
    let bad = relay.accept(&event("bad", dead)).await;
    let unrouted = relay.accept(&event("nowhere", ZOE)).await;
    relay.until(&sent, "delivered").await;
    relay.until(&held, "scheduled").await;
    relay.until(&bad, "dead").await;
    roll(relay.running.address).await;
    until_redacted(&relay, &sent).await;
    let now = shown(&relay, &sent).await;
    assert_eq!(
        (now["body"].as_str(), &now["deliveries"][0]["state"]),
        (Some(&*left("sent", ZOE)), &json!("delivered"))
    );
    assert_eq!(shown(&relay, &unrouted).await["body"], left("nowhere", ZOE));
    assert_eq!(files_with(&data, ZOE), Vec::<PathBuf>::new());
    // What waits and the dead letter are as they came.
    for (id, kind, address) in [(&held, "held", waits), (&bad, "bad", dead)] {
        let now = shown(&relay, id).await;
        assert_eq!((now["body"].as_str(), &now["redacted"]), (Some(&*event(kind, address)), &Value::Null));
        assert_eq!(files_with(&data, address).len(), 1, "{address}");
    }

    let relay = relay.restart(|config| config).await;
    assert_eq!(shown(&relay, &sent).await["body"], left("sent", ZOE));
    // They are over, having gone out as they came, and go then.
    told(&relay, "/api/destinations/slow/retry", json!({})).await;
    told(&relay, "/api/dead-letters/replay", json!({ "destination": "strict" })).await;
    for id in [&held, &bad] {
        relay.until(id, "delivered").await;
    }
    until_redacted(&relay, &held).await;
    until_redacted(&relay, &bad).await;
    assert_eq!(bodies(crm), [event("sent", ZOE)]);
    assert_eq!(bodies(slow), [event("held", waits), event("held", waits)]);
    assert_eq!(bodies(strict), [event("bad", dead), event("bad", dead)]);
    assert_eq!((files_with(&data, waits), files_with(&data, dead)), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redacted_is_told_as_such_and_goes_out_to_nobody() {
    let fakes = [Fake::start([]).await, Fake::start([]).await, Fake::start([]).await];
    let [crm, slow, strict] = &fakes;
    let relay = TestRelay::start(&config([crm, slow, strict], REDACT)).await;
    let sent = relay.accept(&event("sent", ZOE)).await;
    let unrouted = relay.accept(&event("nowhere", ZOE)).await;
    relay.until(&sent, "delivered").await;
    roll(relay.running.address).await;
    until_redacted(&relay, &sent).await;
    // One that is whole.
    relay.accept(&event("sent", "new@example.org")).await;
    crm.wait_for(2).await;

    let admin = format!("http://{}", relay.running.admin_address);
    let directory = relay.directory.path();
    let verb = |words: &[&str]| out(&vero_relay(directory, &[words, &["--admin", &admin]].concat()));
    let one = verb(&["events", &sent]);
    assert!(one.contains("redacted: values of it were taken away") && one.contains(&left("sent", ZOE)), "{one}");
    let explained = verb(&["explain", &sent]);
    assert!(explained.contains("values of this event were taken away"), "{explained}");
    let explained = relay.admin(&format!("/api/events/{sent}/explain")).await.json();
    assert_eq!((&explained["redacted"], &explained["then"]["generation"]), (&json!(true), &Value::Null), "{explained}");
    let listed = relay.admin("/api/events?type=sent").await.json();
    let marks: Vec<_> = listed["events"].as_array().expect("events").iter().map(|event| &event["redacted"]).collect();
    assert_eq!(marks, [&Value::Null, &json!(true)]);
    let tried = relay.admin("/api/what-if?last=1000").await.json();
    let tried = told(&relay, "/api/what-if", json!({ "on_disk": true, "after": tried["next"] })).await;
    assert_eq!([&tried["redacted"], &tried["skipped"], &tried["events"]], [&json!(2), &json!(0), &json!(6)], "{tried}");
    let nowhere = relay.admin("/api/unrouted?ids=true").await.json();
    assert_eq!([&nowhere["events"], &nowhere["redacted"]], [&json!(6), &json!(1)], "{nowhere}");
    let found = told(&relay, "/api/events/search", json!({ "email": ZOE })).await;
    assert_eq!(found["events"], json!([]));

    // Asked for by its id, with others, and by where it would go now.
    let both = json!([sent, unrouted]);
    for (asked, meant) in [
        (json!({ "events": both, "to": ["crm"] }), 0),
        (json!({ "events": both, "by": "now" }), 0),
        (json!({ "since": "1h" }), 1),
        (json!({ "since": "1h", "match": "type: sent" }), 1),
    ] {
        let mut asked = asked;
        asked["dry_run"] = json!(true);
        let counted = told(&relay, "/api/replays", asked.clone()).await;
        assert_eq!([&counted["redacted"], &counted["deliveries"]], [&json!(2), &json!(meant)], "{asked}");
        asked["dry_run"] = json!(false);
        let begun = told(&relay, "/api/replays", asked.clone()).await;
        let path = format!("/api/replays/{}", begun["id"].as_str().expect("an id"));
        eventually("the replay's end", async || relay.admin(&path).await.json()["done"] == true).await;
        assert_eq!(relay.admin(&path).await.json()["deliveries"], meant, "{asked}");
    }
    let counted = verb(&["replay", "--since", "1h", "--dry-run"]);
    assert!(counted.contains("; 2 events of it are redacted, and cannot be sent again"), "{counted}");
    crm.wait_for(4).await;
    assert!(bodies(crm).iter().all(|body| !body.contains('*')), "{:?}", bodies(crm));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whose_address_was_redacted_is_forgotten_by_an_id() {
    let fakes = [Fake::start([]).await, Fake::start([]).await, Fake::start([]).await];
    let [crm, slow, strict] = &fakes;
    let relay = TestRelay::start(&config([crm, slow, strict], REDACT)).await;
    let sent = relay.accept(&event("sent", ZOE)).await;
    relay.until(&sent, "delivered").await;
    roll(relay.running.address).await;
    until_redacted(&relay, &sent).await;
    let run = async |asked: Value| {
        let begun = told(&relay, "/api/forget", asked).await;
        let path = format!("/api/forget/{}", begun["id"].as_str().expect("an id"));
        eventually("the run to end", async || relay.admin(&path).await.json()["phase"] == "done").await;
        relay.admin(&path).await.json()
    };
    let looked = run(json!({ "email": ZOE, "dry_run": true })).await;
    assert_eq!([&looked["about"]["events"], &looked["redacted"]], [&json!(0), &json!(1)], "{looked}");
    let unreached = looked["not_reached"].to_string();
    assert!(unreached.contains("`store.history.redact` has taken the address away"), "{unreached}");
    let other = run(json!({ "user_id": "8", "dry_run": true })).await;
    assert_eq!([&other["about"]["events"], &other["redacted"]], [&json!(0), &json!(0)], "{other}");
    // By an id that is seen beside the address elsewhere, and by one that is named.
    let newer = relay.accept(&event("sent", ZOE)).await;
    let looked = run(json!({ "email": ZOE, "dry_run": true })).await;
    assert_eq!([&looked["about"]["events"], &looked["redacted"]], [&json!(2), &json!(0)], "{looked}");
    let forgotten = run(json!({ "user_id": "7" })).await;
    assert_eq!([&forgotten["about"]["events"], &forgotten["proved"]], [&json!(2), &json!(true)], "{forgotten}");
    for id in [&sent, &newer] {
        let now = shown(&relay, id).await;
        assert_eq!((&now["erased"], &now["redacted"]), (&json!(true), &Value::Null), "{now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_paths_and_takes_them_away_and_gives_nothing_back() {
    let fakes = [Fake::start([]).await, Fake::start([]).await, Fake::start([]).await];
    let [crm, slow, strict] = &fakes;
    let relay = TestRelay::start(&config([crm, slow, strict], "")).await;
    let reload = async |redact: &str| {
        let text = format!("{HEAD}{}", config([crm, slow, strict], redact));
        std::fs::write(relay.directory.path().join("config.yaml"), text).expect("written");
        relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    };
    let first = relay.accept(&event("sent", ZOE)).await;
    relay.until(&first, "delivered").await;
    roll(relay.running.address).await;
    assert_eq!(shown(&relay, &first).await["body"], event("sent", ZOE));
    reload(REDACT).await;
    until_redacted(&relay, &first).await;
    assert_eq!(shown(&relay, &first).await["body"], left("sent", ZOE));
    // What it says now is done to all, and what is away stays away.
    reload(", redact: user.plan, redact_after: 1s").await;
    let both = left("sent", ZOE).replace("pro", "***");
    eventually("the other value to go", async || shown(&relay, &first).await["body"] == both).await;
    reload("").await;
    assert_eq!(shown(&relay, &first).await["body"], both);
    let second = relay.accept(&event("sent", ZOE)).await;
    relay.until(&second, "delivered").await;
    roll(relay.running.address).await;
    assert_eq!(shown(&relay, &second).await["body"], event("sent", ZOE));
    assert_eq!(bodies(crm), [event("sent", ZOE), event("sent", ZOE)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_amid_it_leaves_each_event_whole_or_blank_and_the_next_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let fakes = [Fake::start([]).await, Fake::start([]).await, Fake::start([]).await];
    let [crm, slow, strict] = &fakes;
    let (hooks, admin) = (closed_port(), closed_port());
    let head = HEAD.replacen("127.0.0.1:0", &hooks.to_string(), 1).replace("127.0.0.1:0", &admin.to_string());
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{head}{}", config([crm, slow, strict], REDACT))).expect("written");
    let start = async || {
        let daemon = Daemon::start(&path, |_| {});
        eventually("the relay to be ready", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
        daemon
    };
    let look = async |id: &str| request(admin, "GET", &format!("/api/events/{id}"), &[], b"").await.json();
    let data = directory.path().join("data");
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..3 {
        let mut daemon = start().await;
        for id in &ids {
            let now = look(id).await;
            let is_whole = now["redacted"].is_null() && now["body"] == event("sent", ZOE);
            assert!(is_whole || (now["redacted"] == true && now["body"] == left("sent", ZOE)), "{now}");
        }
        for _ in 0..20 {
            let answer = request(hooks, "POST", "/hooks/vero/secret", &[], event("sent", ZOE).as_bytes()).await;
            ids.push(answer.json()["id"].as_str().expect("an id").to_owned());
        }
        crm.wait_for(ids.len()).await;
        roll(hooks).await;
        // A copy is being written, or it is over already.
        let begins = async || {
            let entries = std::fs::read_dir(data.join("journal")).expect("a journal");
            let is_aside = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "tmp"))
            };
            entries.into_iter().any(is_aside) || files_with(&data, ZOE).is_empty()
        };
        eventually("it to begin", begins).await;
        daemon.0.kill().expect("killed");
        daemon.0.wait().expect("it ends");
    }
    let mut daemon = start().await;
    eventually("all of them to be redacted", async || {
        let mut all = true;
        for id in &ids {
            all &= look(id).await["redacted"] == true;
        }
        all
    })
    .await;
    assert_eq!(files_with(&data, ZOE), Vec::<PathBuf>::new());
    daemon.0.kill().expect("killed");
    daemon.0.wait().expect("it ends");
    let output = vero_relay(directory.path(), &["store", "verify", "data"]);
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    assert!(bodies(crm).iter().all(|body| *body == event("sent", ZOE)));
}
