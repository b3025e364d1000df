//! Pictures of each view, to be looked at: `target/tmp/page`. No picture is compared by its pixels; what a test can say of them, others say.

use serde_json::json;

use super::access::WIDE;
use super::driver::pictures;
use super::hostile::ATTEMPTS;
use super::page::Page;
use super::stage::{BOUNCED, Stage};
use crate::harness::*;
use crate::slack_server::SlackServer;

/// What each is looked at in.
const SCREENS: [(&str, u32, u32, &str); 3] =
    [("light", 1440, 900, "light"), ("dark", 1440, 900, "dark"), ("phone", 390, 844, "light")];

async fn take(page: &Page, name: &str) {
    let picture = page.browser.client.screenshot().await.expect("a picture");
    assert!(picture.len() > 5000, "{name} shows something");
    std::fs::write(pictures().join(format!("{name}.png")), picture).expect("written");
}

/// The name of a place in that of a file: its view.
fn named(place: &str) -> &str {
    place.trim_start_matches("#/").split('/').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_is_drawn_in_light_in_dark_and_on_a_phone() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    for (screen, width, height, scheme) in SCREENS {
        page.screen(width, height).await;
        page.colours(scheme).await;
        for (n, (place, selector, text)) in stage.places().into_iter().enumerate() {
            page.go(&place).await;
            page.sees(selector, text).await;
            take(&page, &format!("{n}-{}-{screen}", named(&place))).await;
        }
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_new_is_drawn() {
    let relay = TestRelay::start("rules: []\ndestinations: {}\n").await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for (place, text) in [
        ("events", "Nothing has come in yet"),
        ("destinations", "No destinations"),
        ("try", "Goes nowhere"),
        ("unrouted", "Nothing has come in yet"),
        ("unrouted/refused", "Nothing was turned away"),
        ("config", "rules:"),
    ] {
        page.go(&format!("#/{place}")).await;
        page.sees("main", text).await;
        take(&page, &format!("empty-{}", place.replace('/', "-"))).await;
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_destinations_one_of_them_down_are_drawn() {
    let down = SlackServer::start(std::iter::repeat_with(|| Act::status(503)).take(1000)).await;
    let up = SlackServer::start([]).await;
    let all: Vec<_> = (0..100).map(|n| format!("d-{n}")).collect();
    let mut config = format!(
        "rules:\n  - {{ name: all, match: {{ type: to_all }}, to: [{}] }}\n  - {{ name: one, match: {{ type: sent }}, to: [d-77] }}\ndestinations:\n",
        all.join(", ")
    );
    for n in 0..100 {
        let down = if n == 77 { &down } else { &up };
        config.push_str(&format!("  d-{n}:\n    http: {{ url: \"{}/{n}\" }}\n    {QUICK}\n", down.url()));
    }
    let relay = TestRelay::start(&config).await;
    for _ in 0..20 {
        relay.accept(SENT).await;
    }
    eventually("the breaker to open", async || relay.destination("d-77").await["state"] == "failing").await;
    let to_all = relay.accept(r#"{"type":"to_all"}"#).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    let first = page
        .until("the strip", "return all('.strip a.card').length === 101 && all('.strip a.card')[1].textContent", &[])
        .await;
    assert!(first.as_str().is_some_and(|first| first.contains("d-77")), "what is down stands first: {first}");
    page.until("the rows", "return all('.rows a.row').length === 21", &[]).await;
    take(&page, "hundred-events").await;
    page.go(&format!("#/events/{to_all}")).await;
    page.until("all boxes", "return all('.delivery details').length === 100", &[]).await;
    let nodes = page.run("return document.querySelectorAll('*').length", &[]).await.as_u64().unwrap_or(0);
    assert!((2200..6000 + 100 * 80).contains(&nodes), "{nodes} nodes");
    take(&page, "hundred-event").await;
    page.go("#/destinations").await;
    page.sees(".find", "").await;
    take(&page, "hundred-list").await;
    page.go("#/destinations/d-77").await;
    page.sees(".detail .sentence", "Failing since").await;
    take(&page, "hundred-down").await;
    page.screen(390, 844).await;
    page.until("the phone", "return innerWidth === arguments[0]", &[json!(390)]).await;
    take(&page, "hundred-down-phone").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_would_like_to_be_more_and_long_names_are_drawn() {
    let fake = SlackServer::start([Act::with(422, &[], ATTEMPTS[0])]).await;
    let long = "a-name-of-a-destination-that-is-longer-than-what-is-beside-it";
    let config = format!(
        "rules: [ {{ name: all, to: [{long}, chat] }} ]\ndestinations:\n  {long}:\n    http: {{ url: \"{0}/long\" }}\n    {QUICK}\n  chat:\n    slack: {{ url: \"{0}/slack\", text: \"*{{{{ type }}}}* {{{{ user.email }}}}\" }}\n    {QUICK}\n",
        fake.url()
    );
    let relay = TestRelay::start(&config).await;
    let mut last = String::new();
    for text in ATTEMPTS {
        let body =
            json!({ "type": text, "user": { "email": text }, "campaign": { "name": text.repeat(6) }, text: [text, 1] });
        last = relay.accept(&body.to_string()).await;
        assert_eq!(relay.post(text).await.status(), 400);
    }
    relay.accept(BOUNCED).await;
    eventually("a dead letter", async || relay.admin("/api/dead-letters").await.text().contains("422")).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for (screen, width, height, scheme) in SCREENS.into_iter().chain([("narrow", 320, 700, "dark")]) {
        page.screen(width, height).await;
        page.colours(scheme).await;
        for (n, (place, selector)) in [
            ("#/events".to_owned(), ".rows"),
            (format!("#/events/{last}"), ".rules"),
            (format!("#/destinations/{long}"), ".detail .sentence"),
            ("#/unrouted/refused".to_owned(), "table"),
        ]
        .into_iter()
        .enumerate()
        {
            page.go(&place).await;
            page.sees(selector, "").await;
            assert_eq!(page.run(WIDE, &[]).await, json!([]), "{place} at {width}");
            take(&page, &format!("hostile-{n}-{}-{screen}", named(&place))).await;
        }
    }
    page.end().await;
}
