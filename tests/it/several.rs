//! Relays that share one queue, each with its own listeners, as people have them: through the front doors.

use std::sync::Arc;

use serde_json::json;
use vero_relay::daemon::start;

use super::harness::{Fake, QUICK, SENT, TestRelay, eventually, files_below, parse, request};
use crate::postgres::{contract_server, schema};

/// The head of a relay's config that shares a queue.
fn head(name: &str, schema: &str) -> String {
    let url = contract_server().url();
    format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: \"127.0.0.1:0\" }}\ndata_dir: data\nrelay: {{ name: {name} }}\n\
         sources: {{ vero: {{ token: secret }} }}\nstore: {{ postgres: {{ url: \"{url}\", schema: {schema} }} }}\n"
    )
}

/// Some relays that share a queue of their own, each with a directory.
async fn several<const N: usize>(rest: &str) -> [TestRelay; N] {
    let schema = schema();
    let mut relays = Vec::new();
    for at in 0..N {
        relays.push(TestRelay::start_with(&format!("{}{rest}", head(&format!("relay-{at}"), &schema))).await);
    }
    relays.try_into().unwrap_or_else(|_| panic!("as many as were asked for"))
}

fn to_crm(fake: &Fake) -> String {
    format!(
        "rules: [ {{ name: all, to: crm }} ]\ndestinations: {{ crm: {{ http: {{ url: \"{}/hook\" }}, {QUICK} }} }}\n",
        fake.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_once_whichever_relay_took_it_in_and_each_knows_of_it() {
    let fake = Fake::start([]).await;
    let relays: [TestRelay; 2] = several(&to_crm(&fake)).await;
    let mut ids = Vec::new();
    for at in 0..20 {
        ids.push(relays[at % 2].accept(SENT).await);
    }
    for id in &ids {
        for relay in &relays {
            relay.until(id, "delivered").await;
        }
    }
    let mut seen: Vec<String> =
        fake.seen().iter().map(|request| request.header("webhook-id").unwrap_or_default().to_owned()).collect();
    seen.sort_unstable();
    ids.sort_unstable();
    assert_eq!(seen, ids, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_speaks_to_any_of_them() {
    let fake = Fake::start([]).await;
    let relays: [TestRelay; 2] = several(&to_crm(&fake)).await;
    assert_eq!(relays[0].act("/api/destinations/crm/pause").await.status(), 200);
    let id = relays[1].accept(SENT).await;
    for relay in &relays {
        relay.until(&id, "waiting").await;
    }
    assert!(fake.seen().is_empty());
    assert_eq!(relays[1].act("/api/destinations/crm/resume").await.status(), 200);
    relays[0].until(&id, "delivered").await;
    relays[1].until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_leaves_its_work_to_the_other_at_once() {
    let fake = Fake::start([]).await;
    let [first, second]: [TestRelay; 2] = several(&to_crm(&fake)).await;
    first.act("/api/destinations/crm/pause").await;
    let id = first.accept(SENT).await;
    let TestRelay { running, .. } = first;
    running.stop().await;
    assert_eq!(second.act("/api/destinations/crm/resume").await.status(), 200);
    second.until(&id, "delivered").await;
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_each_relay_and_a_file_of_one() {
    let rest = "rules: [ { name: all, to: [each, one] } ]\ndestinations:\n  each: { file: { path: \"{relay}.ndjson\" } }\n  \
                one: { file: { path: one.ndjson, on: relay-1 } }\n";
    let relays: [TestRelay; 2] = several(rest).await;
    let mut ids = Vec::new();
    for relay in &relays {
        ids.push(relay.accept(SENT).await);
    }
    for id in &ids {
        eventually("both are written", async || {
            relays[0].deliveries(id).await.iter().all(|delivery| delivery["state"] == "delivered")
        })
        .await;
    }
    let lines = |at: usize, name: &str| {
        let files = files_below(&relays[at].directory.path().join("data"));
        let file = files.into_iter().find(|(path, _)| path.ends_with(name));
        file.map_or(0, |(_, text)| text.iter().filter(|byte| **byte == b'\n').count())
    };
    assert_eq!(lines(0, "relay-0.ndjson") + lines(1, "relay-1.ndjson"), 2);
    assert_eq!((lines(0, "one.ndjson"), lines(1, "one.ndjson")), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_says_why_the_relay_does_not_start() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let server = contract_server().url();
    let nobody = server.replace("postgres@", "nobody-there@");
    let config = head("a", "some").replace(&server, &nobody) + "rules: []\n";
    let error = start(parse(directory.path(), &config)).await.err().expect("it does not start");
    let told = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
    assert!(told.contains("store.postgres") && told.contains("nobody-there"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_how_much_is_in_the_database() {
    let fake = Fake::start([]).await;
    let [relay]: [TestRelay; 1] = several(&to_crm(&fake)).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let store = relay.admin("/api/store").await.json();
    assert!(store["bytes"].as_u64() > Some(100_000), "{store}");
    assert_eq!(store["free_bytes"], json!(null));
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let asked = br#"{"directory":"/nowhere/at/all"}"#;
    let refused = request(relay.running.admin_address, "POST", "/api/store/backup", &headers, asked).await;
    assert!(refused.status() == 400 && refused.text().contains("pg_dump"), "{}", refused.text());
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("vero_relay_store_bytes"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_them_tells_who_there_is_and_who_does_what() {
    let fake = Fake::start([]).await;
    let relays: [TestRelay; 2] = several(&to_crm(&fake)).await;
    for (at, relay) in relays.iter().enumerate() {
        let mut shown = json!(null);
        eventually("both are known, and crm has its owner", async || {
            shown = relay.admin("/api/relays").await.json();
            let duties = shown["duties"].as_array().cloned().unwrap_or_default();
            let crm = duties.iter().find(|duty| duty["destination"] == "crm");
            shown["relays"].as_array().is_some_and(|all| all.len() == 2)
                && crm.is_some_and(|crm| crm["relay"].is_string())
        })
        .await;
        assert_eq!((&shown["name"], &shown["shared"]), (&json!(format!("relay-{at}")), &json!(true)));
        assert_eq!(shown["relays"][at]["this"], true, "{shown}");
        assert_eq!(shown["relays"][1 - at]["this"], false, "{shown}");
        assert!(shown["database"]["version"].is_string(), "{shown}");
        assert!(!shown.to_string().contains("hunter2"));
    }
    let alone = TestRelay::start(&to_crm(&fake)).await;
    let shown = alone.admin("/api/relays").await.json();
    assert_eq!((&shown["shared"], &shown["database"]), (&json!(false), &json!(null)));
}
