//! What comes by itself, and what happens when it does not: a relay that is gone, a tab that nobody sees, more events than anybody can read.

use serde_json::{Value, json};

use super::page::Page;
use super::stage::{append, event, rules};
use crate::harness::*;
use crate::slack_server::SlackServer;

/// The ids of the events that the list shows, the newest first.
const IDS: &str = "return all('.rows a.row').map((row) => row.hash.slice('#/events/'.length))";

async fn ids(page: &Page) -> Vec<String> {
    serde_json::from_value(page.run(IDS, &[]).await).expect("ids")
}

/// Whether so many events are shown, or counted among those that were left out.
const COUNTED: &str = "
const number = (row) => Number(/… ([0-9\\u202f]+) more/.exec(row.textContent)[1].replaceAll('\\u202f', ''));
const left = all('.rows .skipped-row').map(number).reduce((one, other) => one + other, 0);
return all('.rows a.row').length + left === arguments[0];
";

/// Waits until the list shows these, and no other.
async fn shows(page: &Page, expected: &[String]) {
    let script = format!(
        "const expected = arguments[0]; const shown = (() => {{ {IDS} }})(); return JSON.stringify(shown) === JSON.stringify(expected)"
    );
    page.until("the list to show what is there", &script, &[json!(expected)]).await;
}

/// The newest events by the API.
async fn newest(relay: &TestRelay, limit: usize) -> Vec<String> {
    let page = relay.admin(&format!("/api/events?limit={limit}")).await.json();
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_is_told_of_and_when_it_is_back_nothing_is_missing_or_twice() {
    let fake = SlackServer::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin) = (closed_port(), closed_port());
    let head = HEAD.replace("listen: 127.0.0.1:0\n", &format!("listen: {hooks}\n"));
    let head = head.replace("\"127.0.0.1:0\"", &format!("\"{admin}\""));
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{head}{}", rules(&fake))).expect("written");
    let start = async || {
        let daemon = Daemon::start(&config, |command| {
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        });
        eventually("the relay to listen", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
        daemon
    };
    let accept = async |n: usize| {
        let body = event("clicked", &format!("Cart {n}."), "jo@example.com");
        let answer = request(hooks, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
        answer.json()["id"].as_str().expect("an id").to_owned()
    };

    let daemon = start().await;
    let page = Page::open(admin, "#/events").await;
    page.sees("button.live", "Live").await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.insert(0, accept(n).await);
    }
    shows(&page, &expected).await;
    page.run("find('.rows a.row', 'Cart 3.').isMarked = true", &[]).await;
    drop(daemon);
    page.sees("#banner", "The relay does not answer").await;
    page.sees(".health", "Not answering").await;
    shows(&page, &expected).await;

    let daemon = start().await;
    for n in 5..8 {
        expected.insert(0, accept(n).await);
    }
    page.sees(".health", "Accepts events").await;
    page.sees("button.live", "Live").await;
    shows(&page, &expected).await;
    page.sees_no("#banner", "does not answer").await;
    assert_eq!(
        page.run("return find('.rows a.row', 'Cart 3.').isMarked", &[]).await,
        json!(true),
        "it is the same element"
    );
    drop(daemon);
    // The browser logs each connection that is refused, and each that breaks off.
    page.end_with(|line| line.contains("net::ERR_")).await;
}

/// The stream is never answered.
const NO_STREAM: &str = "
const real = window.fetch;
window.fetch = (address, options) => address !== 'api/stream' ? real(address, options) : new Promise((_, fails) => {
  options.signal.addEventListener('abort', () => fails(options.signal.reason));
});
";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_never_answered_is_given_up_and_the_page_asks_instead() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::blank(&format!("http://{}/", relay.running.admin_address)).await;
    page.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": NO_STREAM })).await;
    page.go("#/events").await;
    page.sees("main", "Nothing has come in yet").await;
    relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    page.sees(".rows a.row", "Cart Reminder").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_nobody_sees_listens_to_nothing_and_then_gets_what_it_missed() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees("button.live", "Live").await;
    relay.accept(&event("clicked", "Cart 0.", "jo@example.com")).await;
    page.sees(".rows a.row", "Cart 0.").await;

    let client = &page.browser.client;
    let shown = client.window().await.expect("a window");
    let other = client.new_window(true).await.expect("a tab").handle;
    let mut before = 1;
    for missed in [20, 5000] {
        client.switch_to_window(other.clone()).await.expect("switched");
        append(&relay, missed).await;
        client.switch_to_window(shown.clone()).await.expect("switched");
        page.sees("button.live", "Live").await;
        let mut expected = newest(&relay, 100).await;
        if missed < 100 {
            shows(&page, &expected).await;
        } else {
            // Each is shown, or counted among those that were left out; then the list is begun anew.
            page.until("all to be counted", COUNTED, &[json!(missed + before)]).await;
            // Where only some were left out the list may have every row it had room for, and then there is nothing to press.
            page.run("find('.rows .skipped-row button', 'load the list anew')?.click()", &[]).await;
            shows(&page, &expected).await;
        }
        before += missed;
        let all = ids(&page).await;
        expected.clone_from(&all);
        expected.sort();
        expected.dedup();
        assert_eq!(expected.len(), all.len(), "none is there twice");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_can_be_read_are_counted_and_the_page_answers() {
    const MANY: usize = 2000;
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees("button.live", "Live").await;
    let first = relay.accept(&event("clicked", "Cart first.", "jo@example.com")).await;
    page.sees(".rows a.row", "Cart first.").await;
    append(&relay, MANY).await;
    page.click(".rows a.row", "Cart first.").await;
    page.until("the event", "return find('.detail .id', arguments[0])", &[json!(first)]).await;
    page.until("all to be counted", COUNTED, &[json!(MANY + 1)]).await;
    assert!(page.run("return document.querySelectorAll('*').length", &[]).await.as_u64() < Some(6000));
    page.click(".rows .skipped-row button", "load the list anew").await;
    let expected = newest(&relay, 100).await;
    shows(&page, &expected).await;
    let first = "return document.activeElement === all('.rows a.row')[0]";
    page.until("the first row to have the focus", first, &[]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_windows_are_all_kept_up_to_date() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".tools .health", "Accepts events").await;
    let client = &page.browser.client;
    let mut windows = vec![client.window().await.expect("a window")];
    for _ in 1..7 {
        let window = client.new_window(false).await.expect("a window").handle;
        client.switch_to_window(window.clone()).await.expect("switched");
        page.go("#/events").await;
        page.sees(".tools .health", "Accepts events").await;
        windows.push(window);
    }
    relay.accept(&event("clicked", "Cart 0.", "jo@example.com")).await;
    for window in windows {
        client.switch_to_window(window).await.expect("switched");
        assert_eq!(page.run("return document.visibilityState", &[]).await, Value::from("visible"));
        page.sees(".rows a.row", "Cart 0.").await;
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_opened_while_the_relay_does_not_answer_says_so_and_asks_again_by_itself() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/unrouted").await;
    page.sees("main", "Nothing has come in yet").await;
    for place in ["#/destinations/crm", "#/bins/crm", "#/config", "#/try", "#/events"] {
        page.run("location.hash = arguments[0]", &[json!(place)]).await;
        page.sees("main", "").await;
        page.until("the view to be loaded", "return document.getElementById('main').childElementCount > 0", &[]).await;
    }
    let offline = async |is_offline: bool| {
        let conditions =
            json!({ "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        page.devtools("Network.enable", json!({})).await;
        page.devtools("Network.emulateNetworkConditions", conditions).await;
    };
    for (place, selector, text) in [
        ("#/unrouted", "main", "Nothing has come in yet"),
        ("#/destinations/crm", ".detail .dead", "None: nothing was given up"),
        ("#/bins/crm", "main", "Nothing has come into this bin yet"),
        ("#/config", ".yaml", "rules:"),
        ("#/try", ".verdict", "Goes"),
        ("#/events", ".foot", "Nothing has come in yet"),
    ] {
        offline(true).await;
        page.run("location.hash = arguments[0]", &[json!(place)]).await;
        if place != "#/destinations/crm" {
            page.sees("main", "The relay does not answer. It is asked again by itself.").await;
        }
        offline(false).await;
        page.sees(selector, text).await;
    }
    // Chromium logs each request that is not answered, and that there is no such bin.
    page.end_with(|line| line.contains("net::ERR_") || line.contains("status of 404")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_since_the_start_says_since_when() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/destinations/crm").await;
    let row = page.sees(".list a.destination", "crm").await;
    assert!(row.contains("0 since ") && !row.contains("in the last hour"), "{row}");
    page.sees(".facts", "Delivered since ").await;
    // One that runs for longer counts the hour.
    let long = "return Promise.all(['api', 'dom', 'strip'].map((name) => import(`./${name}.js`))).then(([{ relay }, { now }, { sinceWhen }]) => [3540, 3600].map((up) => { relay.startedMs = now() - up * 1000; return sinceWhen(); }))";
    let told = page.run(long, &[]).await;
    assert!(told[0].as_str().is_some_and(|told| told.starts_with("since ")), "{told}");
    assert_eq!(told[1], "in the last hour");
    page.end().await;
}
