//! A person: what there is of one.

use std::io::Write;
use std::net::SocketAddr;
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
    let begun = told(relay, "/api/forget", json!({ "email": address, "search": true })).await;
    let mut last = Value::Null;
    eventually("the search to end", async || {
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
    let found = searched(&relay, ZOE).await;
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
        assert!(err(&output).contains("the relay has this address"), "{}", err(&output));
        said.push(format!("{}{}", out(&output), err(&output)));
    }
    assert!(said[0].contains("in the relay's own files:\n  journal/"), "{}", said[0]);
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
        (json!({ "email": ZOE }), 400, "search"),
        (json!({ "email": ZOE, "search": false }), 400, "search"),
        (json!({ "search": true }), 400, "email"),
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
