//! Sources that are held or refuse: what comes in meanwhile, across restarts, and when they are resumed.

use serde_json::json;

use crate::harness::*;
use crate::operator::{ask, told, types};

#[tokio::test(flavor = "multi_thread")]
async fn a_held_source_takes_in_and_keeps_across_restarts_and_delivers_in_order_when_it_is_resumed() {
    let fake = Fake::start([]).await;
    let one = format!("{}    concurrency: 1\n", to_crm(&fake, ""));
    let relay = TestRelay::start(&one).await;
    let before = relay.accept(r#"{"type":"before"}"#).await;
    relay.until(&before, "delivered").await;
    assert_eq!(told(&relay, "/api/sources/vero/pause", json!({})).await["state"], "held");
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(relay.accept(&format!(r#"{{"type":"held{n}"}}"#)).await);
    }
    let source = async |relay: &TestRelay| relay.admin("/api/status").await.json()["sources"][0].clone();
    let shown = source(&relay).await;
    assert_eq!((shown["state"].as_str(), shown["held"].as_u64()), (Some("held"), Some(3)), "{shown}");
    assert_eq!(relay.admin("/readyz").await.status(), 200);
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("vero_relay_source_held_events{source=\"vero\"} 3"), "{metrics}");
    assert!(metrics.contains("vero_relay_source_refusing{source=\"vero\"} 0"), "{metrics}");
    assert_eq!(relay.admin("/api/events?state=held").await.json()["events"].as_array().map(Vec::len), Some(3));
    // A second pause changes what it is, and not what is held.
    assert_eq!(told(&relay, "/api/sources/vero/pause", json!({ "refuse": true })).await["state"], "refusing");
    assert_eq!(relay.post(SENT).await.status(), 503);
    assert_eq!(source(&relay).await["held"], 3);
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("vero_relay_source_refusing{source=\"vero\"} 1"), "{metrics}");
    told(&relay, "/api/sources/vero/pause", json!({})).await;
    let directory = relay.directory.clone();
    let mut relay = relay.restart(|config| config).await;
    for without_index in [false, true] {
        ids.push(relay.accept(&format!(r#"{{"type":"held{}"}}"#, ids.len())).await);
        relay = relay
            .restart(|config| {
                for suffix in ["", "-wal", "-shm"].into_iter().filter(|_| without_index) {
                    let _ = std::fs::remove_file(directory.path().join(format!("data/state.db{suffix}")));
                }
                config
            })
            .await;
        for id in &ids {
            assert_eq!(relay.deliveries(id).await[0]["state"], "held");
        }
    }
    assert_eq!(types(&fake), ["before"], "nothing of what came in meanwhile");
    assert_eq!(told(&relay, "/api/sources/vero/resume", json!({})).await["state"], "accepting");
    ids.push(relay.accept(r#"{"type":"after"}"#).await);
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    assert_eq!(types(&fake), ["before", "held0", "held1", "held2", "held3", "held4", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_source_that_leaves_the_config_is_shown_and_can_be_resumed() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    told(&relay, "/api/sources/vero/pause", json!({})).await;
    let id = relay.accept(SENT).await;
    let relay = relay.restart(|config| config.replace("sources: { vero:", "sources: { other:")).await;
    let sources = relay.admin("/api/status").await.json()["sources"].clone();
    assert_eq!((sources[1]["name"].as_str(), sources[1]["held"].as_u64()), (Some("vero"), Some(1)), "{sources}");
    assert_eq!(ask(&relay, "/api/sources/vero/pause", json!({})).await.status(), 404);
    told(&relay, "/api/sources/vero/resume", json!({})).await;
    relay.until(&id, "delivered").await;
    assert_eq!(ask(&relay, "/api/sources/vero/resume", json!({})).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_refuses_is_answered_with_503_across_a_restart() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    told(&relay, "/api/sources/vero/pause", json!({ "refuse": true })).await;
    let refused = relay.post(SENT).await;
    assert_eq!((refused.status(), refused.header("retry-after").is_some()), (503, true));
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.post(SENT).await.status(), 503);
    told(&relay, "/api/sources/vero/resume", json!({})).await;
    relay.accept(SENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_finds_no_room_on_the_disk_is_not_answered_as_done() {
    use vero_relay::store::journal::model::{Faults, ModelDisk};
    let (disk, fake) = (ModelDisk::default(), Fake::start([]).await);
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let relay = TestRelay::start_on(&disk, &to_crm(&fake, "")).await;
    for act in ["/api/sources/vero/pause", "/api/destinations/crm/pause"] {
        let answer = relay.act(act).await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.text().contains("not on the disk yet"), "{}", answer.text());
    }
    disk.set_faults(Faults::default());
    assert_eq!(relay.act("/api/sources/vero/pause").await.status(), 200);
    let id = relay.accept(SENT).await;
    relay.until(&id, "held").await;
}
