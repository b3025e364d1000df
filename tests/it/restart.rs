//! What is pending when the relay ends is pending when it starts again.

use vero_relay::relay::{StartError, start};

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn pending_work_is_done_after_a_restart_and_finished_work_is_not_done_again() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let done = relay.accept(r#"{"type":"done"}"#).await;
    relay.until(&done, "delivered").await;
    fake.then(std::iter::repeat_with(|| Act::status(503)).take(10_000));
    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(relay.accept(&format!(r#"{{"type":"pending","n":{i}}}"#)).await);
    }
    relay.until(&ids[0], "postponed").await;
    let other = Fake::start([]).await;
    let relay = relay.restart(|config| config.replace(&fake.address.to_string(), &other.address.to_string())).await;
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    let seen = other.seen();
    assert_eq!(seen.len(), 20, "each once, and the finished one not again");
    assert!(ids.iter().all(|id| seen.iter().any(|message| message.header("webhook-id") == Some(id))));
    assert_eq!(relay.deliveries(&done).await[0]["state"], "delivered", "also known from the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart() {
    let fake = Fake::start([Act::status(410)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    eventually("the pause", async || !relay.destination("crm").await["paused"].is_null()).await;
    let relay = relay.restart(|config| config).await;
    assert!(!relay.destination("crm").await["paused"].is_null());
    relay.act("/api/destinations/crm/resume").await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_attempts_under_way_and_settles_them() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..200 {
        relay.accept(SENT).await;
    }
    let relay = relay.restart(|config| config).await;
    eventually("the rest", async || relay.destination("crm").await["backlog"] == 0).await;
    assert_eq!(fake.seen().len(), 200, "none twice after a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_attempt_does_not_keep_the_relay_from_ending() {
    let fake = Fake::start([Act::Hang]).await;
    // The attempt may take an hour; that the end does not wait for it shows in that this comes to an end.
    let config = to_crm(&fake, "    timeout: 1h\nlimits: { shutdown_grace: 300ms }\n");
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    fake.wait_for(1).await;
    let restarting = relay.restart(|config| config);
    let relay = tokio::time::timeout(4 * PATIENCE, restarting).await.expect("the relay ends without waiting");
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_relay() {
    let relay = TestRelay::start("rules: [ { to: [], stop: true } ]\n").await;
    let config = "listen: 127.0.0.1:0\nadmin: { listen: \"127.0.0.1:0\" }\ndata_dir: data\nsources: { vero: { token: t } }\nrules: [ { to: [], stop: true } ]\n";
    let second = start(parse(relay.directory.path(), config)).await;
    let Err(StartError::Locked(error)) = second else { panic!("started") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let config = "rules: [ { to: f } ]\ndestinations: { f: { file: { path: \"archive/a.ndjson\" } } }\n";
    let relay = TestRelay::start(config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let data = relay.directory.path().join("data");
    let mode = |path: &str| std::fs::metadata(data.join(path)).expect(path).permissions().mode() & 0o777;
    assert_eq!([mode("."), mode("journal"), mode("archive")], [0o700; 3]);
    assert_eq!([mode("journal/0000000001.journal"), mode("archive/a.ndjson"), mode("lock")], [0o600; 3]);
}
