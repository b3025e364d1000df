//! Bodies that do not fit beside one another: each waits for the one before it, and nothing else does.

use crate::harness::*;

/// Two of these are more than one destination may have in flight.
const LARGE: usize = 3 << 20;

fn body(bytes: usize) -> String {
    format!(r#"{{"type":"sent","pad":"{}"}}"#, "x".repeat(bytes))
}

fn config(fake: &Fake) -> String {
    format!(
        "limits: {{ body_max: 4MiB }}\nrules: [ {{ name: all, to: crm }} ]\ndestinations:\n  crm:\n    http: {{ url: \"{}/hook\" }}\n    \
         concurrency: 2\n    timeout: 3s\n    retry: {{ initial: 10m, max: 1h }}\n",
        fake.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_fit_beside_another_waits_for_its_end() {
    let fake = Fake::start([Act::Hang]).await;
    let relay = TestRelay::start(&config(&fake)).await;
    relay.accept(&body(LARGE)).await;
    fake.wait_for(1).await;
    let id = relay.accept(&body(LARGE)).await;
    eventually("the second to go out", async || relay.deliveries(&id).await[0]["state"] == "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_does_not_fit_beside_an_attempt_is_made_when_that_has_ended() {
    let acts = std::iter::once(Act::Hang).chain((0..5).map(|_| Act::status(500)));
    let fake = Fake::start(acts).await;
    let relay = TestRelay::start(&config(&fake)).await;
    relay.accept(&body(LARGE)).await;
    fake.wait_for(1).await;
    for _ in 0..5 {
        relay.accept(SENT).await;
    }
    fake.wait_for(6).await;
    eventually("it opens", async || relay.destination("crm").await["breaker"]["state"] == "open").await;
    let id = relay.accept(&body(LARGE)).await;
    eventually("the probe to go out", async || relay.deliveries(&id).await[0]["state"] == "delivered").await;
}
