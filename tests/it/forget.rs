//! A person: what there is of one, and its end.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::cli::{err, out};
use crate::harness::*;
use crate::operator::{ask, told};

/// In no help and no message.
const ZOE: &str = "zoe@example.org";

/// Runs the verb against a relay, with the address on its standard input.
fn forget(admin: SocketAddr, address: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(["forget", "--email", "-", "--admin", &format!("http://{admin}")]).args(more);
    command.env_remove("VERO_RELAY_ADMIN_TOKEN").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(format!("{address}\n").as_bytes()).expect("written");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// Has it searched by the API, and waits for the end.
async fn searched(relay: &TestRelay, address: &str) -> Value {
    ended(relay, json!({ "email": address, "search": true })).await
}

/// Begins a run, and waits for its end.
async fn ended(relay: &TestRelay, asked: Value) -> Value {
    let begun = told(relay, "/api/forget", asked).await;
    let mut last = Value::Null;
    eventually("the run to end", async || {
        last = relay.admin(&format!("/api/forget/{}", begun["id"].as_str().expect("an id"))).await.json();
        last["phase"] == "done"
    })
    .await;
    last
}

fn names(found: &Value, kind: &str) -> Vec<String> {
    let places = found["found"].as_array().expect("places").iter();
    let names = places.filter(|one| one["kind"] == kind).map(|one| {
        let table = one["table"].as_str().map(|table| format!(":{table}")).unwrap_or_default();
        format!("{}{table}", one["name"].as_str().expect("a name"))
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_an_address_in_every_file_that_has_it() {
    let answer = format!("no mailbox <{ZOE}> here");
    let fake = Fake::start(vec![Act::with(400, &[], &answer)]).await;
    let relay = TestRelay::start(&format!(
        "destinations: {{ crm: {{ http: {{ url: {:?} }} }}, archive: {{ file: {{ path: \"archive/{{date}}.ndjson\" }} }} }}\n\
         rules: [ {{ to: [crm, archive] }} ]\n",
        fake.url()
    ))
    .await;
    assert_eq!(searched(&relay, ZOE).await["clean"], true, "before she came");
    let hers = r#"{"type":"bounced","user":{"id":7,"email":"Zoe@Example.org"},"url":"https://x.example/?e=zoe%40example.org"}"#;
    let id = relay.accept(hers).await;
    relay.accept(r#"{"type":"bounced","user":{"id":8,"email":"jozoe@example.org"}}"#).await;
    relay.until(&id, "dead").await;
    eventually("the archive to be written", async || {
        relay.deliveries(&id).await.iter().any(|delivery| delivery["state"] == "delivered")
    })
    .await;
    // A dead letter is in a file within a second.
    let mut found = Value::Null;
    eventually("the dead letter to be written", async || {
        found = searched(&relay, ZOE).await;
        names(&found, "own").iter().any(|name| name == "state.db:dead")
    })
    .await;
    assert_eq!((found["clean"].as_bool(), &found["failed"], &found["unread"]), (Some(false), &Value::Null, &json!([])));
    let own = names(&found, "own");
    assert!(own.iter().any(|name| name.starts_with("journal/") && name.ends_with(".journal")), "{own:?}");
    for table in ["state.db:attempt", "state.db:dead"] {
        assert!(own.iter().any(|name| name == table), "{own:?}");
    }
    assert!(names(&found, "other").iter().any(|name| name.starts_with("archive/")), "{found}");
    let journal = found["found"].as_array().expect("places").iter().find(|one| one["name"].as_str() == Some(&own[0]));
    let journal = journal.expect("the journal");
    assert!(journal["hits"].as_u64() >= Some(2) && journal["parts"] == 1, "{journal}");
    assert_eq!(searched(&relay, "nobody@example.com").await["clean"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_searches_and_no_output_and_no_log_has_the_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin, log) = (closed_port(), closed_port(), directory.path().join("log"));
    let fake = Fake::start([]).await;
    let head = HEAD.replacen("127.0.0.1:0", &hooks.to_string(), 1).replace("127.0.0.1:0", &admin.to_string());
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{head}{}", to_crm(&fake, ""))).expect("written");
    let mut daemon = Daemon::start(&config, |command| {
        command.env("VERO_RELAY_LOG", "debug").stderr(std::fs::File::create(&log).expect("made"));
    });
    eventually("the relay to be ready", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
    let output = forget(admin, ZOE, &["--search"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("no file of the relay has this address"), "{}", out(&output));
    let hers = format!(r#"{{"type":"sent","user":{{"id":7,"email":"{ZOE}"}}}}"#);
    assert_eq!(request(hooks, "POST", "/hooks/vero/secret", &[], hers.as_bytes()).await.status(), 200);
    fake.wait_for(1).await;
    let mut said = Vec::new();
    for more in [&["--search"][..], &["--search", "--json"]] {
        let output = forget(admin, ZOE, more);
        assert_eq!(output.status.code(), Some(1), "{}{}", out(&output), err(&output));
        assert!(err(&output).contains("the relay has this address in "), "{}", err(&output));
        said.push(format!("{}{}", out(&output), err(&output)));
    }
    assert!(said[0].contains("in the relay's own files:\n  journal/"), "{}", said[0]);
    // The first line is the address, whatever follows it.
    assert_eq!(forget(admin, "nobody@example.org\nzoe@example.org", &["--search"]).status.code(), Some(0));
    for bad in ["zoe", " zoe@example.org", "zoe@"] {
        let output = forget(admin, bad, &["--search"]);
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        assert!(err(&output).contains("`email` should be an address"), "{}", err(&output));
        said.push(err(&output));
    }
    daemon.0.kill().expect("ended");
    said.push(std::fs::read_to_string(&log).expect("a log"));
    assert!(said.iter().all(|said| !said.is_empty() && !said.contains("zoe@") && !said.contains("zoe%40")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_admin_token_learns_whether_somebody_is_known() {
    let tokens = ["token-of-the-operator-32-characters", "token-that-reads-and-is-long-enough"];
    let head = HEAD.replace(
        "admin: { listen: \"127.0.0.1:0\" }",
        &format!("admin: {{ listen: \"127.0.0.1:0\", token: {}, read_token: {} }}", tokens[0], tokens[1]),
    );
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_with(&format!("{head}{}", to_crm(&fake, ""))).await;
    let asked = json!({ "email": ZOE, "search": true }).to_string();
    for (token, expected) in [(None, 401), (Some(tokens[1]), 403), (Some(tokens[0]), 200)] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("x-vero-relay-write", "1")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let at = relay.running.admin_address;
        let begun = request(at, "POST", "/api/forget", &headers, asked.as_bytes()).await;
        assert_eq!(begun.status(), expected, "{}", begun.text());
        let id = "0191d6b0-0000-7000-8000-000000000001";
        let shown = request(at, "GET", &format!("/api/forget/{id}"), &headers[1..], b"").await;
        assert_eq!(shown.status(), if expected == 200 { 404 } else { expected }, "{}", shown.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_search_of_this_relay_is_refused() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for (asked, status, expected) in [
        (json!({ "email": "zoe", "search": true }), 400, "`email` should be an address"),
        (json!({ "search": true }), 400, "`email` or `user_id` says who"),
        (json!({ "email": ZOE, "search": true, "user_id": "7" }), 400, "`search` looks for an address alone"),
        (json!({ "user_id": "7", "mentions": true, "dry_run": true }), 400, "give `email` too"),
        (json!({ "user_id": "", "dry_run": true }), 400, "`user_id` should have"),
        (json!({ "email": ZOE, "search": true, "name": "x" }), 400, "name"),
    ] {
        let answer = ask(&relay, "/api/forget", asked.clone()).await;
        assert_eq!(answer.status(), status, "{asked}: {}", answer.text());
        assert!(answer.text().contains(expected) && !answer.text().contains(ZOE), "{asked}: {}", answer.text());
    }
    assert_eq!(ask(&relay, "/api/forget/stop", json!({})).await.status(), 404);
    let unknown = relay.admin("/api/forget/0191d6b0-0000-7000-8000-000000000001").await;
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().contains("run it again"), "{}", unknown.text());
    // One that has ended is known for a while, and nothing is to be stopped in it.
    let ended = searched(&relay, ZOE).await;
    let stopped = told(&relay, "/api/forget/stop", json!({})).await;
    assert_eq!((&stopped["id"], &stopped["failed"], &stopped["clean"]), (&ended["id"], &Value::Null, &json!(true)));
}

/// The files below a directory in which her address stands as it is, and not as a part of another's.
fn grep(directory: &Path) -> Vec<PathBuf> {
    let files = files_below(directory);
    assert!(files.len() > 2, "the files of a relay");
    let has_hers = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        text.replace("jozoe@example.org", "").contains(ZOE)
    };
    files.into_iter().filter(|(_, bytes)| has_hers(bytes)).map(|(path, _)| path).collect()
}

fn of(address: &str, n: u32) -> String {
    format!(r#"{{"type":"sent","n":{n},"user":{{"id":7,"email":"{address}"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_in_every_state_and_others_are_as_they_were() {
    // Of the first destination all is delivered; the second is down, the third refuses, the fourth is paused, the fifth gathers.
    let (up, down) = (Fake::start([]).await, Fake::start(std::iter::repeat_with(|| Act::status(503)).take(1000)).await);
    let refuses = Fake::start(std::iter::repeat_with(|| Act::status(400)).take(1000)).await;
    let (held, digest) = (Fake::start([]).await, Fake::start([]).await);
    let config = format!(
        "rules: [ {{ name: all, to: [up, down, refuses, held, digest] }} ]\ndestinations:\n  up: {{ http: {{ url: {:?} }} }}\n  \
         down: {{ http: {{ url: {:?} }}, retry: {{ initial: 1h, max: 1h }} }}\n  refuses: {{ http: {{ url: {:?} }} }}\n  \
         held: {{ http: {{ url: {:?} }} }}\n  digest: {{ http: {{ url: {:?}, json: {{ n: \"{{{{ n }}}}\" }} }}, digest: {{ every: 1h, first: 1 }} }}\n",
        up.url(),
        down.url(),
        refuses.url(),
        held.url(),
        digest.url()
    );
    let relay = TestRelay::start(&config).await;
    assert_eq!(relay.act("/api/destinations/held/pause").await.status(), 200);
    let mut hers = Vec::new();
    let mut others = Vec::new();
    for n in 0..3 {
        hers.push(relay.accept(&of("Zoe@Example.org", n)).await);
        others.push(relay.accept(&of("jozoe@example.org", n).replace("\"id\":7", "\"id\":8")).await);
    }
    let state =
        async |id: &str, at: usize| relay.deliveries(id).await[at]["state"].as_str().expect("a state").to_owned();
    let states = ["delivered", "scheduled", "dead", "waiting", "held"];
    // The breaker of what is down lets the later ones wait, and the first of a digest goes out at once.
    let is_so =
        |at: usize, state: &str| state == states[at] || matches!((at, state), (1, "waiting") | (4, "delivered"));
    for id in hers.iter().chain(&others) {
        for (at, expected) in states.into_iter().enumerate() {
            eventually(&format!("{id} to be {expected}"), async || is_so(at, &state(id, at).await)).await;
        }
    }
    let data = relay.directory.path().join("data");
    assert!(!grep(&data).is_empty());

    let looked = ended(&relay, json!({ "email": ZOE, "dry_run": true })).await;
    let about = &looked["about"];
    assert_eq!((&looked["failed"], &about["events"], &about["dead"]), (&Value::Null, &json!(3), &json!(3)), "{looked}");
    let got = |name: &str, deliveries: u64| json!({ "destination": name, "deliveries": deliveries, "unfound": 0 });
    assert_eq!(about["got"], json!([got("up", 3), got("digest", 1)]), "{looked}");
    let waiting =
        about["waiting"].as_u64().zip(about["scheduled"].as_u64()).map(|(waiting, scheduled)| waiting + scheduled);
    assert_eq!((&about["gathered"], waiting), (&json!(2), Some(6)), "{looked}");
    assert_eq!((&looked["proved"], &looked["dry_run"]), (&json!(false), &json!(true)));
    assert!(
        relay.admin(&format!("/api/events/{}", hers[0])).await.json()["erased"].is_null(),
        "a look changes nothing"
    );

    let forgotten = ended(&relay, json!({ "email": ZOE })).await;
    assert_eq!((&forgotten["failed"], &forgotten["about"]["events"]), (&Value::Null, &json!(3)), "{forgotten}");
    assert_eq!((&forgotten["in_flight"], &forgotten["mentions"]), (&json!(0), &json!(0)), "{forgotten}");
    assert_eq!(forgotten["left_behind"], json!([]), "{forgotten}");
    assert_eq!(forgotten["proved"], true, "{forgotten}");
    assert_eq!(grep(&data), Vec::<PathBuf>::new());
    for id in &hers {
        let shown = relay.admin(&format!("/api/events/{id}")).await.json();
        assert_eq!(shown["erased"], true, "{shown}");
        assert_eq!(relay.admin(&format!("/api/events/{id}/body")).await.status(), 410);
        for (at, delivery) in shown["deliveries"].as_array().expect("deliveries").iter().enumerate() {
            let is_over = matches!(delivery["state"].as_str(), Some("delivered" | "dropped"));
            assert!(is_over, "{}: {delivery}", states[at]);
        }
    }
    for id in &others {
        for (at, expected) in states.into_iter().enumerate() {
            let state = state(id, at).await;
            assert!(is_so(at, &state), "{id}: {state}, was {expected}");
        }
    }
    // Nothing of it goes out, also after a restart, and what waits of others does.
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.act("/api/destinations/held/resume").await.status(), 200);
    let bodies: Vec<_> = held.wait_for(3).await.iter().map(|message| message.text().to_lowercase()).collect();
    assert!(bodies.iter().all(|body| body.contains("jozoe@")), "{bodies:?}");
    assert_eq!(searched(&relay, ZOE).await["clean"], true);
    let again = ended(&relay, json!({ "email": ZOE })).await;
    assert_eq!((&again["proved"], &again["about"]["events"]), (&json!(true), &json!(0)), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_looks_asks_and_erases_and_what_it_finds_left_is_its_failure() {
    let fake = Fake::start([Act::with(400, &[], &format!("no such mailbox: {ZOE}"))]).await;
    let relay = TestRelay::start(&format!("# zoe@example.org is a friend\n{}", to_crm(&fake, ""))).await;
    let admin = relay.running.admin_address;
    // No file of the store's, and it lies among them.
    let note = relay.directory.path().join("data/journal/note");
    std::fs::write(&note, format!("ask {ZOE}")).expect("written");
    let quotes = relay.accept(&of("bob@example.org", 1)).await;
    relay.until(&quotes, "dead").await;
    let hers = relay.accept(&of(ZOE, 2)).await;
    relay.until(&hers, "delivered").await;
    let mut said = Vec::new();
    let mut verb = |more: &[&str], expected: Option<i32>| {
        let output = forget(admin, ZOE, more);
        let text = format!("{}{}", out(&output), err(&output));
        assert_eq!(output.status.code(), expected, "{more:?}: {text}");
        said.push(text.clone());
        text
    };
    let dry = verb(&["--dry-run"], Some(0));
    assert!(dry.contains("1 event about this person") && dry.contains("crm has got 1 delivery"), "{dry}");
    assert!(dry.contains("what the relay cannot reach:\n  - what destinations have got"), "{dry}");
    assert!(dry.contains("the config names the address in line 5: take it out and reload"), "{dry}");
    // Nobody can be asked in a pipe.
    let unasked = verb(&[], Some(2));
    assert!(unasked.contains("1 event will be erased") && unasked.contains("To do it, say --yes"), "{unasked}");
    assert!(relay.admin(&format!("/api/events/{hers}")).await.json()["erased"].is_null());
    let done = verb(&["--yes"], Some(1));
    assert!(
        done.contains("erased: 1 event;") && done.contains("  journal/note: 1 time, the first at byte 4"),
        "{done}"
    );
    assert!(done.contains("the events are erased, and the relay has this address in 1 place"), "{done}");
    let delivery = relay.deliveries(&quotes).await[0].to_string();
    assert!(delivery.contains(&format!("no such mailbox: {}", "*".repeat(ZOE.len()))), "{delivery}");
    assert_eq!(relay.admin(&format!("/api/events/{hers}")).await.json()["erased"], true);
    let as_json: Value = serde_json::from_str(out(&forget(admin, ZOE, &["--yes", "--json"])).trim()).expect("JSON");
    assert_eq!((&as_json["proved"], &as_json["dry_run"]), (&json!(false), &json!(false)));
    std::fs::remove_file(&note).expect("removed");
    let output = forget(admin, ZOE, &["--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    assert!(
        out(&output).contains("no file of the relay has this address; 9 places above cannot be reached"),
        "{}",
        out(&output)
    );
    said.push(out(&output));
    assert!(said.iter().all(|said| !said.contains("zoe@")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_names_the_address_stays_unless_it_is_said() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mention = r#"{"type":"clicked","user":{"id":8,"email":"bob@example.org"},"url":"https://x.example/?e=zoe%40example.org"}"#;
    let mention = relay.accept(mention).await;
    let same_id = relay.accept(&of("new@example.org", 1)).await;
    let hers = relay.accept(&of(ZOE, 2)).await;
    let nameless = relay.accept(r#"{"type":"sent","user":{"id":7}}"#).await;
    for id in [&mention, &same_id, &hers, &nameless] {
        relay.until(id, "delivered").await;
    }
    let is_erased = async |id: &str| relay.admin(&format!("/api/events/{id}")).await.json()["erased"] == true;
    let run = ended(&relay, json!({ "email": ZOE })).await;
    assert_eq!(
        (&run["about"]["events"], &run["mentions"], &run["other_addresses"]),
        (&json!(2), &json!(1), &json!(1)),
        "{run}"
    );
    assert_eq!(run["about"]["by_user_id"], 1, "the one that has no address: {run}");
    assert_eq!(
        (&run["mentioned_in"], &run["proved"], &run["failed"]),
        (&json!([mention]), &json!(false), &Value::Null),
        "{run}"
    );
    for (id, expected) in [(&mention, false), (&same_id, false), (&hers, true), (&nameless, true)] {
        assert_eq!(is_erased(id).await, expected, "{id}");
    }
    let looked = ended(&relay, json!({ "email": ZOE, "mentions": true, "dry_run": true })).await;
    assert_eq!(
        (&looked["about"]["mentions"], &looked["mentions"], &looked["mentioned_in"]),
        (&json!(1), &json!(0), &json!([mention])),
        "{looked}"
    );
    let run = ended(&relay, json!({ "email": ZOE, "mentions": true, "user_id": "7" })).await;
    assert_eq!((&run["about"]["mentions"], &run["mentioned_in"]), (&json!(1), &json!([mention])), "{run}");
    assert_eq!(
        (&run["about"]["events"], &run["mentions"], &run["proved"]),
        (&json!(2), &json!(0), &json!(true)),
        "{run}"
    );
    assert!(is_erased(&mention).await && is_erased(&same_id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_with_no_id_or_with_a_longer_address_stay_whatever_is_said() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let of = |user: &str| format!(r#"{{"type":"sent","user":{user}}}"#);
    let hers = relay.accept(&of(r#"{"id":"","email":"zoe@example.org"}"#)).await;
    let mut others = Vec::new();
    for user in [
        r#"{"id":""}"#,
        r#"{"id":" ","email":""}"#,
        r#"{"id":null}"#,
        r#"{"id":8,"email":"bob+zoe@example.org"}"#,
        r#"{"id":9,"email":"o'zoe@example.org"}"#,
    ] {
        others.push(relay.accept(&of(user)).await);
    }
    for id in others.iter().chain([&hers]) {
        relay.until(id, "delivered").await;
    }
    let run = ended(&relay, json!({ "email": ZOE, "mentions": true })).await;
    assert_eq!((&run["about"]["events"], &run["proved"]), (&json!(1), &json!(true)), "{run}");
    let is_erased = async |id: &str| relay.admin(&format!("/api/events/{id}")).await.json()["erased"] == true;
    assert!(is_erased(&hers).await);
    for id in &others {
        assert!(!is_erased(id).await, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_a_name_is_told_with_what_to_do() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&format!(
        "destinations: {{ crm: {{ http: {{ url: {:?} }} }} }}\nrules: [ {{ name: {ZOE}, to: crm }} ]\n",
        fake.url()
    ))
    .await;
    let id = relay.accept(&of("bob@example.org", 1)).await;
    relay.until(&id, "delivered").await;
    let looked = ended(&relay, json!({ "email": ZOE, "dry_run": true })).await;
    let told = looked["not_reached"].to_string();
    assert!(told.contains("the name of a rule has the address") && told.contains("reload"), "{told}");
    assert!(!told.contains("zoe@") && !told.contains("name of a source"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_in_flight_is_waited_for_and_another_run_is_refused_meanwhile() {
    let fake = Fake::start([Act::Hang]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(&of(ZOE, 1)).await;
    fake.wait_for(1).await;
    let begun = told(&relay, "/api/forget", json!({ "email": ZOE })).await;
    let path = format!("/api/forget/{}", begun["id"].as_str().expect("an id"));
    eventually("it waits", async || relay.admin(&path).await.json()["waits_for"].is_string()).await;
    let other = ask(&relay, "/api/forget", json!({ "email": ZOE, "search": true })).await;
    assert_eq!(other.status(), 409, "{}", other.text());
    assert!(other.text().contains("another run goes on"), "{}", other.text());
    told(&relay, "/api/forget/stop", json!({})).await;
    eventually("it is stopped", async || relay.admin(&path).await.json()["phase"] == "done").await;
    let stopped = relay.admin(&path).await.json();
    assert!(stopped["failed"].as_str().is_some_and(|why| why.contains("what was erased is erased")), "{stopped}");
    assert_eq!(stopped["proved"], false);
    let shown = relay.admin(&format!("/api/events/{id}")).await.json();
    assert_eq!((&shown["erased"], &shown["deliveries"][0]["state"]), (&json!(true), &json!("in_flight")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_that_was_stopped_has_erased_may_come_again() {
    let head = HEAD.replace("token: secret", "token: secret, dedupe: 1h");
    let fake = Fake::start([Act::Hang]).await;
    let relay = TestRelay::start_with(&format!("{head}{}", to_crm(&fake, ""))).await;
    let first = relay.accept(&of(ZOE, 1)).await;
    fake.wait_for(1).await;
    let begun = told(&relay, "/api/forget", json!({ "email": ZOE })).await;
    let path = format!("/api/forget/{}", begun["id"].as_str().expect("an id"));
    eventually("it waits", async || relay.admin(&path).await.json()["waits_for"].is_string()).await;
    told(&relay, "/api/forget/stop", json!({})).await;
    eventually("it is stopped", async || relay.admin(&path).await.json()["phase"] == "done").await;
    assert_eq!(relay.admin(&format!("/api/events/{first}")).await.json()["erased"], true);
    // Of what was erased before no later run knows.
    let again = relay.accept(&of(ZOE, 1)).await;
    assert_ne!(again, first, "she is forgotten, not blocked");
    assert!(relay.admin(&format!("/api/events/{again}")).await.json()["erased"].is_null());
    assert_eq!(relay.accept(&of(ZOE, 1)).await, again);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_lets_go_of_what_names_somebody_and_the_same_event_may_come_again() {
    let head = HEAD.replace("token: secret", "token: secret, dedupe: 10m");
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_with(&format!("{head}{}", to_crm(&fake, ""))).await;
    let hers = of(ZOE, 1);
    let first = relay.accept(&hers).await;
    assert_eq!(relay.accept(&hers).await, first);
    relay.until(&first, "delivered").await;
    for address in [ZOE, "bob@example.org"] {
        assert_eq!(relay.post(&format!("no JSON of {address}")).await.status(), 400);
        let put = request(relay.running.admin_address, "POST", "/bin/one", &[], address.as_bytes()).await;
        assert_eq!(put.status(), 200);
    }
    let run = ended(&relay, json!({ "email": ZOE })).await;
    assert_eq!(run["proved"], true, "{run}");
    for path in ["/api/refused", "/bin/one"] {
        let shown = relay.admin(path).await.text();
        assert!(shown.contains("bob@example.org") && !shown.contains(ZOE), "{path}: {shown}");
    }
    let again = relay.accept(&hers).await;
    assert_ne!(again, first, "she is forgotten, not blocked");
    relay.until(&again, "delivered").await;
}
