//! What goes in order: a real relay that is killed while an earlier delivery of a key waits for its retry.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::*;

/// A verb in a directory. What it writes.
async fn verb(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(words).current_dir(directory).env_remove("VERO_RELAY_CONFIG").stdin(Stdio::null());
    let Output { stdout, .. } =
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs");
    String::from_utf8(stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_waits_for_the_subscribe_before_it_through_a_kill_9() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let judge: Judge = Arc::new(move |request: &Message| {
        let refuses = request.json()["type"] == "subscribed" && !well.load(Ordering::Relaxed);
        refuses.then(|| Act::status(503))
    });
    let crm = Fake::judged("127.0.0.1:0", [], judge).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin) = (closed_port(), closed_port());
    let head = HEAD.replacen("127.0.0.1:0", &hooks.to_string(), 1).replacen("127.0.0.1:0", &admin.to_string(), 1);
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{head}{}", to_crm(&crm, "    order_by: user.id\n"))).expect("written");
    let start = || {
        Daemon::start(&config, |command| {
            command.stderr(Stdio::null());
        })
    };
    let get = async |path: &str| request(admin, "GET", path, &[], b"").await.json();
    let send = async |event: Value| {
        let answer = request(hooks, "POST", "/hooks/vero/secret", &[], event.to_string().as_bytes()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let types = || crm.seen().iter().map(|request| request.json()["type"].clone()).collect::<Vec<Value>>();
    let up = async || eventually("it to be up", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;

    let daemon = start();
    up().await;
    let first = send(json!({ "type": "subscribed", "user": { "id": 550 } })).await;
    let second = send(json!({ "type": "unsubscribed", "user": { "id": "550" } })).await;
    send(json!({ "type": "opened", "user": { "id": 551 } })).await;
    send(json!({ "type": "sent" })).await;
    eventually("retries, and the others", async || {
        let types = types();
        types.contains(&json!("opened")) && types.contains(&json!("sent")) && types.len() > 4
    })
    .await;
    let shown = get(&format!("/api/events/{second}")).await;
    assert_eq!(shown["deliveries"][0]["held"], json!({ "by": "order", "earlier": first }), "{shown}");
    let told = verb(directory.path(), &["events", &second]).await;
    assert!(told.contains(&format!("waits for an earlier delivery of its order key: {first}")), "{told}");
    let explained = verb(directory.path(), &["explain", &second]).await;
    assert!(explained.contains("goes in order, by user.id 550"), "{explained}");
    let status = verb(directory.path(), &["status"]).await;
    assert!(status.contains("1 delivery waits for an earlier one of its order key"), "{status}");
    let crm_shown = get("/api/destinations").await["destinations"][0].clone();
    assert_eq!(crm_shown["order"], json!({ "keys": 1, "behind": 1 }), "{crm_shown}");

    drop(daemon);
    let before = types().len();
    let _daemon = start();
    up().await;
    request(admin, "POST", "/api/destinations/crm/retry", &[("x-vero-relay-write", "1")], b"").await;
    eventually("it to be tried again", async || types().len() > before).await;
    assert!(!types().contains(&json!("unsubscribed")), "{:?}", types());
    is_well.store(true, Ordering::Relaxed);
    // Its breaker is open by now.
    request(admin, "POST", "/api/destinations/crm/retry", &[("x-vero-relay-write", "1")], b"").await;
    eventually("the second", async || types().contains(&json!("unsubscribed"))).await;
    let types = types();
    let of_one: Vec<&Value> = types.iter().filter(|name| **name == "subscribed" || **name == "unsubscribed").collect();
    let (last, others) = of_one.split_last().expect("some");
    assert!(**last == "unsubscribed" && others.iter().all(|name| **name == "subscribed"), "{types:?}");
}
