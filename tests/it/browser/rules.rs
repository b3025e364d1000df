//! The rules: what no rule wanted and why, an event before it happens, the config as it runs and the file that is not in force yet.

use serde_json::json;

use super::page::Page;
use super::stage::{Stage, event, rules, told, write_config};
use crate::harness::*;
use crate::slack_server::SlackServer;

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_wanted_is_grouped_by_its_nearest_miss() {
    let stage = Stage::start().await;
    for _ in 0..3 {
        stage.relay.accept(&event("opened", "Receipt", "jo@example.com")).await;
        stage.relay.accept(&json!({ "type": "user_created" }).to_string()).await;
    }
    let page = stage.page("#/unrouted").await;
    let near = page.sees(".group", "opens of receipts").await;
    for part in [
        "4",
        "opened",
        "1 of 2 conditions holds",
        "campaign.name",
        "expected",
        "Receipts",
        "got",
        "Receipt",
        "Did the rule mean Receipt?",
    ] {
        assert!(near.contains(part), "{part} in {near}");
    }
    let far = page.sees(".group", "user_created").await;
    assert!(far.contains("No rule comes near"), "{far}");
    page.click(".group a", "example 1").await;
    page.sees(".detail", "No rule wanted this event").await;
    page.go("#/unrouted").await;
    page.click(".group a", "See all of this type").await;
    page.until("them alone", "return all('.rows a.row').length >= 3 && !find('.rows a.row', 'bounced')", &[]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_fifty_groups_the_others_are_shown_type_by_type() {
    let stage = Stage::start().await;
    for number in 0..50 {
        for _ in 0..2 {
            stage.relay.accept(&json!({ "type": format!("often-{number}") }).to_string()).await;
        }
    }
    stage.relay.accept(&json!({ "type": "rare, \"one\"" }).to_string()).await;
    let page = stage.page("#/unrouted").await;
    page.click("a.chip", "rare, \"one\"").await;
    page.sees(".group", "rare, \"one\"").await;
    assert_eq!(page.count(".group").await, 1);
    page.click(".group a", "See all of this type").await;
    page.until("it alone", "return all('.rows a.row').length === 1 && find('.rows a.row', 'rare')", &[]).await;
    page.go("#/unrouted?type=rare%2C+%22one%22").await;
    page.sees(".group", "rare").await;
    page.click(".wide a", "Show all").await;
    page.sees(".group", "often-7").await;
    assert_eq!(page.count(".group").await, 50);
    page.end().await;
}

/// Puts a text in the editor, as typing or pasting it does.
async fn write(page: &Page, text: &str) {
    let put = "const field = document.querySelector('textarea'); field.value = arguments[0]; field.dispatchEvent(new Event('input', { bubbles: true }))";
    page.run(put, &[json!(text)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_tried_by_the_rules_in_force_and_by_the_file_and_then_sent_for_real() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    write_config(&relay, &rules(&fake).replace("campaign.name: Receipts", "campaign.name: Receipt"));
    let page = Page::open(relay.running.admin_address, "#/try").await;
    page.sees(".verdict", "Goes to alerts, crm").await;
    page.sees(".result .slack b", "bounced").await;
    page.click(".chip", "user_created").await;
    page.sees(".verdict", "Goes nowhere").await;

    write(&page, &event("opened", "Receipt", "jo@example.com")).await;
    page.sees(".verdict", "Goes nowhere").await;
    page.sees(".note", "Did the rule mean Receipt?").await;
    page.click(".choice button", "The file as it stands").await;
    page.sees(".verdict", "Goes to crm").await;

    page.fill("textarea", "{ \"type\": \"opened\", }").await;
    page.sees(".told .bad", "trailing comma at byte 20").await;
    page.sees("button:disabled", "Send it for real").await;
    page.fill("textarea", &event("clicked", "Cart", "jo@example.com")).await;
    page.sees(".verdict", "Goes to crm").await;
    assert_eq!(fake.seen().len(), 0, "nothing was sent so far");
    page.sees("#sends", "goes where the rules in force say").await;
    page.click(".choice button", "The rules in force").await;
    page.sees("#sends", "It is accepted as from a sender, and goes to crm.").await;
    page.click("button", "Send it for real").await;
    page.click(".toast button", "See it").await;
    page.sees(".detail h1", "clicked").await;
    page.sees(".delivery .badge", "delivered").await;
    assert_eq!(fake.wait_for(1).await[0].json()["campaign"]["name"], "Cart");
    // Chromium logs that the broken one was refused.
    page.end_with(|line| line.contains("status of 422")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_stays_while_somebody_looks_elsewhere_and_lies_in_no_storage() {
    let fake = SlackServer::start([]).await;
    let sources = "vero: { token: secret }, shop: { token: other }";
    let config = format!("{HEAD}{}", rules(&fake)).replace("vero: { token: secret }", sources);
    let relay = TestRelay::start_with(&config).await;
    std::fs::write(relay.directory.path().join("config.yaml"), &config).expect("written");
    let kept = relay.accept(&event("opened", "Receipts", "jo@example.com")).await;
    let page = Page::open(relay.running.admin_address, "#/try").await;
    page.sees(".verdict", "Goes to alerts, crm").await;
    let typed = event("clicked", "Cart of mine", "jo@example.com");
    write(&page, &typed).await;
    page.run(
        "const source = find('.from select', ''); source.value = 'shop'; source.dispatchEvent(new Event('change'))",
        &[],
    )
    .await;
    page.click(".choice button", "The file as it stands").await;
    page.sees(".verdict", "Goes to crm").await;

    page.run("location.hash = '#/events'", &[]).await;
    page.sees(".rows a.row", "opened").await;
    page.run("history.back()", &[]).await;
    page.sees(".choice button[aria-pressed=true]", "The file as it stands").await;
    let shown = "return [find('textarea', '').value, find('.from select', '').value]";
    assert_eq!(page.run(shown, &[]).await, json!([typed, "shop"]));
    page.sees(".verdict", "Goes to crm").await;

    // Another event takes its place when it is opened here, as what it came by does.
    page.run("location.hash = arguments[0]", &[json!(format!("#/events/{kept}"))]).await;
    page.click(".detail .acts button", "Open in Try it").await;
    page.sees(".told", "opened").await;
    assert_eq!(page.run(shown, &[]).await, json!([event("opened", "Receipts", "jo@example.com"), "vero"]));
    assert_eq!(page.run("return localStorage.length + sessionStorage.length", &[]).await, json!(0));
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_turned_away_is_summed_up_in_words() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/unrouted/refused").await;
    page.sees("main", "Nothing was turned away").await;
    assert_eq!(relay.post("{ no JSON").await.status(), 400);
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".wide p", "1 request was turned away since the start: 1 held no event that can be read.").await;
    assert_eq!(relay.post("[1").await.status(), 400);
    let address = relay.running.address;
    assert_eq!(request(address, "GET", "/hooks/vero/secret", &[], b"").await.status(), 405);
    assert_eq!(request(address, "POST", "/hooks/vero/wrong", &[], b"{}").await.status(), 404);
    page.browser.client.refresh().await.expect("loaded again");
    let told = page.sees(".wide p", "4 requests were turned away since the start").await;
    for part in ["2 held no event", "1 did not come as a POST", "1 came to an address that is no source's"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_source_says_what_would_not_come_in_any_more() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(relay.accept(&event("clicked", &format!("Cart {n}"), "jo@example.com")).await);
    }
    write_config(&relay, &rules(&fake));
    let path = relay.directory.path().join("config.yaml");
    let config = std::fs::read_to_string(&path).expect("a config");
    std::fs::write(&path, config.replace("vero: { token", "shop: { token")).expect("written");

    let page = Page::open(relay.running.admin_address, "#/config").await;
    page.click(".news button", "What would it do?").await;
    page.sees(".news .bad", "The source vero is gone: its events would be refused").await;
    let lost = page.sees(".news .bad", "would match no rule any more").await;
    assert!(lost.starts_with("3 events "), "{lost}");
    page.sees(".news .effects li", "vanish").await;
    page.click(".news .bad a", "example 1").await;
    let shown = page.sees(".detail .id", "").await;
    assert!(ids.contains(&shown), "{shown} is one of {ids:?}");
    page.end().await;
}

/// Stands in the config where a secret does.
const CANARY: &str = "canary-4f1d";

#[tokio::test(flavor = "multi_thread")]
async fn the_config_is_shown_as_it_runs_and_a_changed_file_says_what_it_would_do() {
    let fake = SlackServer::start([]).await;
    let secret = |config: String| {
        config
            .replace("/crm\"", &format!("/crm\", auth: {{ bearer: \"{CANARY}\" }}"))
            .replace("/slack\"", &format!("/slack/{CANARY}\""))
    };
    let now = secret(rules(&fake));
    let relay = TestRelay::start(&now).await;
    write_config(&relay, &now);
    for n in 0..3 {
        relay.accept(&event("clicked", &format!("Cart {n}"), "jo@example.com")).await;
        relay.accept(&event("opened", "Receipt", "jo@example.com")).await;
    }
    let page = Page::open(relay.running.admin_address, "#/config").await;
    page.sees(".yaml li", "name: cart followups").await;
    page.sees(".yaml li", "3×").await;
    page.sees(".yaml li.never", "never").await;
    page.sees(".hits li", "never matched: is it meant?").await;
    let first = told(&relay, "/api/config").await["generation"].clone();

    // A file that is wrong: its text, and nothing to press.
    write_config(&relay, &now.replace("to: alerts", "to: alrts"));
    page.run("location.hash = '#/events'", &[]).await;
    page.run("location.hash = '#/config'", &[]).await;
    page.sees(".note.s-bad", "did you mean `alerts`?").await;
    assert_eq!(page.run("return Boolean(find('button', 'Reload now'))", &[]).await, json!(false));

    // One that is good: what changes, what it would do, and then it is in force.
    write_config(&relay, &now.replace("campaign.name: Receipts", "campaign.name: Receipt"));
    page.run("location.hash = '#/events'", &[]).await;
    page.run("location.hash = '#/config'", &[]).await;
    page.sees(".news .changes", "opens of receipts").await;
    page.click(".news button", "What would it do?").await;
    let effect = page.sees(".news .effects li", "crm").await;
    assert!(effect.contains("appear") && effect.contains('3') && effect.contains("opens of receipts"), "{effect}");
    assert_eq!(told(&relay, "/api/config").await["generation"], first, "nothing has changed");
    page.click(".news button", "Reload now").await;
    page.sees(".toast", "is in force").await;
    page.sees_no(".news", "").await;
    assert_ne!(told(&relay, "/api/config").await["generation"], first);

    // No secret in what the page shows, nor in what it was told.
    for place in ["#/config", "#/destinations/crm", "#/destinations/alerts", "#/try", "#/events"] {
        page.go(place).await;
        page.sees(".health", "Accepts events").await;
        let text = page.run("return document.documentElement.textContent + [...document.querySelectorAll('input, textarea')].map((field) => field.value).join()", &[]).await;
        assert!(!text.as_str().unwrap_or_default().contains(CANARY), "{place}");
    }
    for path in ["/api/config", "/api/config/on-disk", "/api/destinations", "/api/status", "/api/rules"] {
        assert!(!relay.admin(path).await.text().contains(CANARY), "{path}");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_good_is_told_of_in_every_view_until_it_is() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    write_config(&relay, &format!("{}bogus: 1\n", rules(&fake).replace("to: alerts", "to: alrts")));
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".strip a.card", "The config file is not good").await;
    page.sees("#tabs a .number", "!").await;
    page.click(".strip a.card", "The config file is not good").await;
    page.sees(".note pre", "did you mean `alerts`?").await;
    let sorted = "return import('./config.js').then(({ errorsFirst }) => errorsFirst(arguments[0]))";
    let problems = json!("warning: one\n\n  1 | x\n\nerror: two\n\nwarning: three\n\nerror: four");
    let expected = "error: two\n\nerror: four\n\nwarning: one\n\n  1 | x\n\nwarning: three";
    assert_eq!(page.run(sorted, &[problems]).await, expected);
    write_config(&relay, &rules(&fake));
    page.run("location.hash = '#/events'", &[]).await;
    page.sees_no(".strip a.card", "The config file is not good").await;
    page.sees_no("#tabs a .number", "!").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_beyond_the_first_are_behind_one_that_says_how_many() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/try").await;
    page.sees(".chip", "11 more").await;
    assert_eq!(page.texts(".editor .chip").await, ["bounced", "clicked", "opened", "user_created", "11 more"]);
    page.click(".chip", "11 more").await;
    page.click(".chip", "unsubscribed-campaign").await;
    page.sees(".told", "unsubscribed").await;
    assert_eq!(page.count(".editor .chip").await, 15);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bin_that_has_let_go_of_some_says_so() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let admin = relay.running.admin_address;
    let page = Page::open(admin, "#/bins/full").await;
    for (number, said) in [
        (vero_relay::bins::ENTRIES_MAX, "A bin: 100 messages came in."),
        (1, "the newest 100 of 101 messages are shown; a bin lets go of what is older."),
    ] {
        for _ in 0..number {
            assert_eq!(request(admin, "POST", "/bin/full", &[], b"{}").await.status(), 200);
        }
        page.browser.client.refresh().await.expect("loaded again");
        page.sees(".pagehead", said).await;
    }
    // Chromium logs that there was no such bin.
    page.end_with(|line| line.contains("status of 404")).await;
}
