//! The operator's hands on it: pause, resume, retry; dead letters replayed and dropped; events sent elsewhere, and routed again.

use serde_json::json;

use super::page::Page;
use super::stage::{Stage, event, put_in_force, rules, told, write_config};
use crate::harness::*;
use crate::slack_server::SlackServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_paused_resumed_and_retried_and_another_tab_sees_it() {
    let fake = SlackServer::start([Act::status(503), Act::status(503)]).await;
    let relay = TestRelay::start(&rules(&fake).replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let id = relay.accept(&event("clicked", "Cart", "jo@example.com")).await;
    relay.until(&id, "scheduled").await;

    let page = Page::open(relay.running.admin_address, "#/destinations/crm").await;
    let client = &page.browser.client;
    let here = client.window().await.expect("a window");
    let there = client.new_window(false).await.expect("a window").handle;
    client.switch_to_window(there.clone()).await.expect("switched");
    page.go("#/destinations/crm").await;
    page.sees(".detail .sentence", "for another attempt").await;

    client.switch_to_window(here.clone()).await.expect("switched");
    page.click(".detail .acts button", "Retry now").await;
    page.sees(".toast", "1 retry due now").await;
    fake.wait_for(2).await;
    relay.until(&id, "scheduled").await;
    page.click(".detail .acts button", "Pause…").await;
    page.click("dialog button", "Pause crm").await;
    page.sees(".detail .sentence", "Paused since").await;
    page.sees(".toast", "crm is paused").await;
    assert_eq!(relay.destination("crm").await["state"], "paused");
    client.switch_to_window(there.clone()).await.expect("switched");
    page.sees(".detail .sentence", "Paused since").await;
    page.sees(".detail .acts button", "Resume").await;

    client.switch_to_window(here).await.expect("switched");
    page.click(".toast button", "Resume").await;
    page.sees(".detail .acts button", "Pause").await;
    assert_eq!(relay.destination("crm").await["state"], "up");
    relay.until(&id, "delivered").await;
    page.sees(".detail .sentence", "all is delivered").await;
    client.switch_to_window(there).await.expect("switched");
    page.sees(".detail .sentence", "all is delivered").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_paused_with_a_reason_for_who_comes_next() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/destinations/crm").await;
    page.click(".detail .acts button", "Pause…").await;
    page.fill("dialog input", "Their API moves on Friday").await;
    assert_eq!(relay.destination("crm").await["state"], "up", "nothing is done yet");
    page.click("dialog button", "Pause crm").await;
    page.sees(".detail .sentence", ": Their API moves on Friday. Nothing is sent").await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], "Their API moves on Friday");
    page.click(".toast button", "Resume").await;
    // As many characters as the relay takes, whatever they are.
    for letter in ["x", "ü", "🐦"] {
        page.click(".detail .acts button", "Pause…").await;
        page.fill("dialog input", &letter.repeat(251)).await;
        page.click("dialog button", "Pause crm").await;
        page.sees(".detail .sentence", &format!(": {}. Nothing", letter.repeat(250))).await;
        page.click(".toast button", "Resume").await;
        page.sees_no(".detail .sentence", "Paused").await;
    }
    // Nobody must say why.
    page.click(".detail .acts button", "Pause…").await;
    page.click("dialog button", "Pause crm").await;
    page.sees(".detail .sentence", ": paused by the operator. Nothing is sent").await;
    page.end().await;
}

/// A relay with so many destinations, all of which get every event; and what answers for the last but one of them.
async fn many(count: usize, up: &Fake, down: &Fake) -> TestRelay {
    let names: Vec<_> = (0..count).map(|n| format!("d-{n}")).collect();
    let mut config = format!("rules: [ {{ name: all, to: [{}] }} ]\ndestinations:\n", names.join(", "));
    for (n, name) in names.iter().enumerate() {
        let url = if n + 2 == count { down.url() } else { up.url() };
        let retry = "retry: { initial: 1h, max: 1h }";
        config.push_str(&format!("  {name}:\n    http: {{ url: \"{url}/{n}\" }}\n    {retry}\n"));
    }
    TestRelay::start(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_destinations_the_one_that_fails_stands_first_and_a_word_finds_the_others() {
    let (up, down) = (SlackServer::start([]).await, SlackServer::start([Act::status(503)]).await);
    let relay = many(13, &up, &down).await;
    let id = relay.accept(SENT).await;
    eventually("all to be tried", async || {
        let deliveries = relay.deliveries(&id).await;
        let is_in = |state: &str| deliveries.iter().filter(|delivery| delivery["state"] == state).count();
        (is_in("delivered"), is_in("scheduled")) == (12, 1)
    })
    .await;
    let page = Page::open(relay.running.admin_address, &format!("#/events/{id}")).await;
    page.sees(".rows .pill", "d-11").await;
    // Those that arrived leave it its room.
    let is_whole = "const name = find('.rows .pill span', 'd-11'); return name.scrollWidth <= name.clientWidth";
    assert_eq!(page.run(is_whole, &[]).await, json!(true));
    page.until("it to be first", "return all('.delivery')[0]?.querySelector('header a').textContent === 'd-11'", &[])
        .await;

    page.run("location.hash = '#/destinations'", &[]).await;
    page.sees(".list a.destination", "d-12").await;
    let first = page.texts(".list a.destination b").await;
    assert_eq!((first[0].as_str(), first.len()), ("d-11", 13));
    page.fill(".find input", "D-1").await;
    page.until("four of them", "return all('.list a.destination').length === 4", &[]).await;
    page.fill(".find input", "nowhere").await;
    page.sees(".list", "None of the 13 has that").await;
    page.fill(".find input", "d-7").await;
    page.until("one of them", "return all('.list a.destination').length === 1", &[]).await;
    page.sees_no(".list", "None of the 13").await;
    page.run("location.hash = '#/try'", &[]).await;
    page.sees("#sends", "and goes to 13 destinations.").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_destinations_need_no_filter() {
    let fake = SlackServer::start([]).await;
    let relay = many(12, &fake, &fake).await;
    let page = Page::open(relay.running.admin_address, "#/destinations").await;
    page.sees(".list a.destination", "d-11").await;
    assert_eq!(page.count(".find input").await, 0);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_held_or_refused_when_asked_how_and_the_header_says_so() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/config").await;
    let state = async || told(&relay, "/api/status").await["sources"][0]["state"].clone();
    page.click(".sources button", "Pause").await;
    page.sees("dialog", "Hold its events").await;
    page.click("dialog button", "Cancel").await;
    assert_eq!(state().await, "accepting", "one click does nothing");

    page.click(".sources button", "Pause").await;
    page.click("dialog button", "Pause vero").await;
    page.sees(".health.wait", "Accepts events, holds vero").await;
    assert_eq!(state().await, "held");
    relay.accept(&event("clicked", "Cart", "jo@example.com")).await;
    page.go("#/config").await;
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".sources", "1 event waits").await;
    page.click(".sources button", "Resume").await;
    page.sees(".health.good", "Accepts events").await;

    page.click(".sources button", "Pause").await;
    page.click("dialog label", "Refuse its events").await;
    page.click("dialog button", "Pause vero").await;
    page.sees(".health.wait", "Refuses vero").await;
    assert_eq!(state().await, "refusing");
    // What was said before is taken back by what is so now.
    page.sees_no(".toast", "vero goes on").await;
    page.click(".toast button", "Resume").await;
    page.sees(".health.good", "Accepts events").await;
    page.sees_no(".toast", "vero is refused").await;
    assert_eq!(state().await, "accepting");
    page.end().await;
}

/// A relay whose `crm` has given up eight events for one reason, and a ninth for another; and what it answers later.
async fn nine_dead_letters(later: impl IntoIterator<Item = Act>) -> (SlackServer, TestRelay) {
    let answers = std::iter::repeat_with(|| Act::with(422, &[], "{\"error\":\"no such user\"}")).take(8);
    let fake = SlackServer::start(answers.chain([Act::with(400, &[], "no such field")]).chain(later)).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    for n in 0..9 {
        let id = relay.accept(&event("clicked", &format!("Cart {n}."), "jo@example.com")).await;
        relay.until(&id, "dead").await;
    }
    (fake, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_as_selected_then_by_reason_and_dropped_when_asked_twice() {
    let (fake, relay) = nine_dead_letters([]).await;
    let page = Page::open(relay.running.admin_address, "#/destinations/crm").await;
    page.sees(".dead h2", "9").await;
    page.sees(".dead .chip", "422 Unprocessable Entity · 8").await;
    for n in [1, 3] {
        let row = format!(
            "return all('.dead tbody tr').find((row) => row.textContent.includes('Cart {n}.')).querySelector('input').click()"
        );
        page.run(&row, &[]).await;
    }
    page.sees(".dead button", "Replay 2 selected").await;
    // A double click does it once.
    page.run("const act = find('.dead button', 'Replay 2 selected'); act.click(); act.click()", &[]).await;
    page.sees(".toast", "2 dead letters on the way again").await;
    page.sees(".dead h2", "7").await;
    page.sees(".list a.destination", "7 dead letters").await;
    let seen = fake.wait_for(11).await;
    let mut again: Vec<_> = seen[9..]
        .iter()
        .map(|message| message.json()["campaign"]["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    again.sort();
    assert_eq!(again, ["Cart 1.", "Cart 3."]);
    assert_eq!(relay.destination("crm").await["dead_letters"], 7);

    page.click(".dead .chip", "422").await;
    page.click(".dead button", "Replay all 6 with").await;
    page.sees(".toast", "6 dead letters on the way again").await;
    page.sees(".list a.destination", "1 dead letter").await;
    fake.wait_for(17).await;
    page.run("location.hash = '#/destinations/crm'", &[]).await;
    page.sees(".dead tbody tr", "no such field").await;

    page.click(".dead button", "Drop all 1").await;
    page.sees("dialog", "They will never be delivered").await;
    assert_eq!(page.run("return document.activeElement.textContent", &[]).await, "Keep them");
    page.click("dialog button", "Keep them").await;
    page.sees_no("dialog", "").await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 1);
    page.click(".dead button", "Drop all 1").await;
    page.click("dialog button", "Drop 1").await;
    page.sees(".dead", "None: nothing was given up").await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 0);
    page.run("location.hash = '#/events'", &[]).await;
    page.sees(".strip a.card", "crm").await;
    assert_eq!(page.texts("#tabs .number").await, [""; 0], "nothing needs somebody");
    assert_eq!(fake.seen().len(), 17, "nothing went out but what was asked for");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_what_was_asked_about() {
    let (_fake, relay) = nine_dead_letters([Act::with(422, &[], "no such user")]).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.run("location.hash = '#/destinations'", &[]).await;
    page.run("location.hash = '#/destinations/crm'", &[]).await;
    for n in 0..3 {
        page.until("a row", "return all('.dead tbody input')[arguments[0]]", &[json!(n)]).await;
        page.run("all('.dead tbody input')[arguments[0]].click()", &[json!(n)]).await;
    }
    // A dialog goes with the place that it asks about.
    page.click(".dead button", "Drop 3 selected").await;
    page.sees("dialog", "Drop 3 dead letters?").await;
    page.run("history.back()", &[]).await;
    page.sees_no("dialog", "").await;
    page.sees(".detail", "No destination is chosen").await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 9);

    // What is selected while it is open is not meant.
    page.run("history.forward()", &[]).await;
    page.until("a row", "return all('.dead tbody input')[1]", &[]).await;
    page.run("all('.dead tbody input')[1].click()", &[]).await;
    page.click(".dead button", "Drop 1 selected").await;
    page.sees("dialog", "Drop 1 dead letter?").await;
    page.run("find('.dead thead input', '').click()", &[]).await;
    page.sees(".dead button", "Drop 9 selected").await;
    page.click("dialog button", "Drop 1").await;
    page.sees(".toast", "1 dead letter dropped").await;
    page.sees(".dead h2", "8").await;

    // Nor is what is given up while it is open.
    page.click(".dead button", "Drop all 8").await;
    page.sees("dialog", "Drop 8 dead letters?").await;
    let later = relay.accept(&event("clicked", "Cart of later", "jo@example.com")).await;
    relay.until(&later, "dead").await;
    page.click("dialog button", "Drop 8").await;
    page.sees(".toast", "8 dead letters dropped").await;
    page.sees(".dead tbody tr", "Cart of later").await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 1);
    page.end().await;
}

/// Has the page wait for answers to what has a text in its address, until `window.letGo()`; `window.taken` says when it has one of them.
const HOLD: &str = "
const real = window.fetch;
const open = new Promise((resolve) => (window.letGo = resolve));
window.held = 0;
window.fetch = async (address, options) => {
  const answer = await real(address, options);
  if (String(address).includes(arguments[0])) {
    window.held += 1;
    await open;
    const text = await answer.text();
    answer.text = async () => {
      setTimeout(() => (window.taken = true));
      return text;
    };
  }
  return answer;
};
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_reason_never_stand_under_another() {
    let (_fake, relay) = nine_dead_letters([]).await;
    let page = Page::open(relay.running.admin_address, "#/destinations/crm").await;
    page.sees(".dead .chip", "422").await;
    page.run(HOLD, &[json!("reason_is=422")]).await;
    page.click(".dead .chip", "422").await;
    page.until("the slow answer", "return window.held", &[]).await;
    page.click(".dead .chip", "400").await;
    page.sees(".dead .chip[aria-pressed=true]", "400").await;
    page.sees(".dead button", "Drop all 1 with").await;
    page.run("window.letGo()", &[]).await;
    page.until("the slow answer", "return window.taken", &[]).await;
    assert_eq!(page.run("return find('.dead tbody tr', 'no such user') ?? null", &[]).await, json!(null));
    page.sees(".dead tbody tr", "no such field").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_replayed_to_a_destination_that_lacks_it() {
    let stage = Stage::start().await;
    let page = stage.page(&format!("#/events/{}", stage.unrouted)).await;
    page.click(".detail .acts button", "Replay…").await;
    page.sees("dialog", "was not sent there").await;
    page.sees("dialog button:disabled", "Replay to 0 destinations").await;
    page.click("dialog label", "alerts").await;
    page.click("dialog button", "Replay to 1 destination").await;
    page.sees(".toast", "It is on its way").await;
    page.sees(".delivery", "alerts").await;
    page.sees(".delivery .badge", "delivered").await;
    let event = told(&stage.relay, &format!("/api/events/{}", stage.unrouted)).await;
    assert_eq!(event["deliveries"].as_array().map(Vec::len), Some(1), "{event}");
    page.end().await;
}

/// Has each count of a replay warn, as one of a long history does.
const WARNED: &str = "
const real = window.fetch;
window.fetch = async (address, options) => {
  const answer = await real(address, options);
  if (!String(address).endsWith('api/replays')) return answer;
  return new Response(JSON.stringify({ ...(await answer.json()), warnings: ['not all was searched'] }));
};
";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_mended_rule_exactly_what_is_missing_is_routed_again() {
    let stage = Stage::start().await;
    let before = stage.fake.seen().len();
    let page = stage.page("#/unrouted").await;
    page.sees(".group", "opens of receipts").await;
    assert_eq!(page.count(".group button").await, 0, "by the rules in force it would go nowhere again");

    put_in_force(&stage.relay, &rules(&stage.fake).replace("campaign.name: Receipts", "campaign.name: Receipt")).await;
    page.run(WARNED, &[]).await;
    page.click(".group button", "Route again…").await;
    page.sees("dialog", "1 delivery of 1 event: 1 to crm").await;
    page.sees("dialog .wait", "not all was searched").await;
    page.run("const act = find('dialog button', 'Route 1 event'); act.click(); act.click()", &[]).await;
    page.sees(".toast", "They are on their way").await;
    page.sees_no("dialog", "").await;
    eventually("it to be delivered", async || {
        let deliveries = stage.relay.deliveries(&stage.unrouted).await;
        deliveries.len() == 1 && deliveries[0]["destination"] == "crm" && deliveries[0]["state"] == "delivered"
    })
    .await;
    assert_eq!(stage.fake.seen().len(), before + 1);
    // Once more: now nothing is missing.
    page.sees_no(".group button", "Route again").await;
    page.run("location.hash = arguments[0]", &[json!(format!("#/events/{}", stage.unrouted))]).await;
    page.sees(".delivery", "crm").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_groups_are_routed_again_together_and_what_a_file_adds_right_after_its_reload() {
    let stage = Stage::start().await;
    let other = stage.relay.accept(&event("created", "Receipt", "mo@example.com")).await;
    let mended = rules(&stage.fake).replace("campaign.name: Receipts", "campaign.name: Receipt");
    let with_created = mended.replace("type: opened, ", "type: [opened, created], ");
    put_in_force(&stage.relay, &with_created).await;
    let page = stage.page("#/unrouted").await;
    page.click(".wide .acts button", "Route all of these 2 groups again…").await;
    page.sees("dialog", "2 deliveries of 2 events: 2 to crm").await;
    page.click("dialog button", "Route 2 events").await;
    page.sees(".toast", "They are on their way").await;
    for id in [&stage.unrouted, &other] {
        stage.relay.until(id, "delivered").await;
    }

    // A rule that sends what has been delivered to another place too.
    let late = stage.relay.accept(&event("read", "Receipt", "mo@example.com")).await;
    write_config(&stage.relay, &with_created.replace("created]", "created, read]"));
    page.run("location.hash = '#/config'", &[]).await;
    page.click(".news button", "What would it do?").await;
    page.click(".news button", "Reload, then route again…").await;
    page.sees("dialog", "1 delivery of 1 event: 1 to crm").await;
    page.click("dialog button", "Route 1 event").await;
    stage.relay.until(&late, "delivered").await;
    page.sees_no("dialog", "").await;

    // Or later, by what is said of the reload.
    let later = stage.relay.accept(&event("shared", "Receipt", "mo@example.com")).await;
    write_config(&stage.relay, &with_created.replace("created]", "created, read, shared]"));
    page.run("location.hash = '#/events'", &[]).await;
    page.run("location.hash = '#/config'", &[]).await;
    page.click(".news button", "What would it do?").await;
    page.sees(".news .effects li", "crm").await;
    page.click(".news button", "Reload now").await;
    page.click(".toast button", "Route again…").await;
    page.sees("dialog", "1 delivery of 1 event: 1 to crm").await;
    page.click("dialog button", "Route 1 event").await;
    stage.relay.until(&later, "delivered").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_and_who_was_told_stands_first_in_the_strip() {
    let crm = Fake::start([]).await;
    let rest = format!("notify: {{ to: [ops] }}\n{}  ops:\n    http: {{ url: \"{}\" }}\n", to_crm(&crm, ""), crm.url());
    let relay = TestRelay::start(&rest).await;
    request(relay.running.address, "POST", "/hooks/vero/wrong", &[], b"{}").await;
    eventually("it to be seen", async || relay.admin("/api/status").await.json()["problems"][0].is_object()).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".strip a.card", "1 problem").await;
    page.sees(".strip a.card", "1 request to the source vero was refused for a wrong token").await;
    page.sees(".strip a.card", "nobody was told yet").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_digest_is_drawn_and_can_go_out_now() {
    let slack = SlackServer::hurried([]).await;
    let config = format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack: {{ url: \"{}/T/B/x\" }}\n    digest: {{ every: 1h, by: [type, campaign.name], first: 0 }}\n",
        slack.url()
    );
    let relay = TestRelay::start(&config).await;
    for number in 0..3 {
        relay.accept(&event("bounced", "<b>Spring</b> & more", &format!("u{number}@example.com"))).await;
    }
    eventually("they wait", async || relay.destination("chat").await["digest"]["events"] == 3).await;
    let page = Page::open(relay.running.admin_address, "#/destinations/chat").await;
    page.sees(".detail .sentence", "3 deliveries held to go out together").await;
    page.sees(".detail .facts", "Held for a digest").await;
    page.sees(".digest h2", "Next digest").await;
    page.sees(".digest td", "bounced · <b>Spring</b> & more").await;
    page.sees(".digest .slack", "3 × bounced").await;
    page.sees(".digest .slack", "u0@example.com").await;
    relay.act("/api/destinations/chat/pause").await;
    page.sees(".digest h2", "when it is resumed, and not before").await;
    page.sees_no(".digest", "Send it now").await;
    relay.act("/api/destinations/chat/resume").await;
    page.click(".digest button", "Send it now").await;
    page.sees(".toast", "3 deliveries go out together now.").await;
    page.sees(".detail .sentence", "all is delivered").await;
    page.sees_no(".detail", "Next digest").await;
    assert_eq!(slack.seen().len(), 1);
    page.end().await;
}
